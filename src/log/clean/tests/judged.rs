//! What is judged is compared with a plain model, which reads the whole log into maps.

mod cases;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use harness::allocation::peak_during;
use proptest::prelude::*;

use super::super::book::Weights;
use super::super::judge::{Input, Judged, MEMORY_MIN, Rule, Task, Verdict, judge, judge_by};
use super::super::policy::{Cleanup, Policies};
use super::super::put::Marked;
use super::super::rewrite::{Choice, Job, discard, rewrite};
use super::super::seen::{KeyHash, Xxh3};
use super::clocked::ClockedDisk;
use super::{Dice, rewrite_some};
use crate::error::{ErrorKind, Result};
use crate::format::header::{Rewritten, SegmentHeader};
use crate::format::record::thin::{Fate, Part};
use crate::format::{FRAMES_START, segment_draft_name, segment_name};
use crate::log::catalog::{Entry, copy_for_reading};
use crate::log::survey::survey;
use crate::log::window::{Scan, Scanned, Store};
use crate::log::{Background, Commit, Options, Retention};
use crate::platform::{Access, Disk};
use crate::segment::walk::Frames;
use crate::types::{Offset, Record, Timestamp, Topic, length};

const TOPICS: u32 = 4;
/// So few that some stretches go as a whole.
const STRETCH_PARTS: u64 = 3;

/// A frame to append: its records, as topic, key, form and length of payload; its state entries, as key and value; and how far
/// the clock goes before it.
#[derive(Debug, Clone)]
struct Planned {
    records: Vec<(u32, Option<u8>, u8, usize)>,
    entries: Vec<(u8, Option<u8>)>,
    advance: i64,
}

fn planned() -> impl Strategy<Value = Planned> {
    let key = prop_oneof![1 => Just(None), 6 => (0..24_u8).prop_map(Some)];
    let one = (0..TOPICS, key, any::<u8>(), 0..500_usize);
    let records = (proptest::collection::vec(one, 0..5), any::<bool>()).prop_map(|(mut records, mixed)| {
        let first = records.first().map_or(0, |(topic, ..)| *topic);
        for record in records.iter_mut().filter(|_| !mixed) {
            record.0 = first;
        }
        records
    });
    let entries = proptest::collection::vec((0..9_u8, proptest::option::of(any::<u8>())), 0..3);
    let entries = prop_oneof![2 => Just(Vec::new()), 1 => entries];
    (records, entries, 0..3_i64)
        .prop_filter("a frame holds something", |(records, entries, _)| !records.is_empty() || !entries.is_empty())
        .prop_map(|(records, entries, advance)| Planned { records, entries, advance })
}

fn append(log: &crate::log::Log, disk: &ClockedDisk, frame: &Planned) {
    disk.advance(frame.advance);
    let payload = [7; 500];
    let key_of = |key: u8| vec![key; usize::from(key).min(1 + usize::from(key) * 3 % 40)];
    let keys: Vec<_> = frame.records.iter().map(|(_, key, ..)| key.map(key_of)).collect();
    let headers = [crate::types::Header { name: "h", value: b"v" }];
    let mut commit = Commit::new();
    for ((topic, _, form, bytes), key) in frame.records.iter().zip(&keys) {
        let mut record = match key {
            Some(key) if form % 3 == 0 => Record::tombstone(key),
            Some(key) => Record::new(&payload[..*bytes]).key(key),
            None => Record::new(&payload[..*bytes]),
        };
        record = record.topic(Topic::new(*topic).expect("small"));
        if form & 64 > 0 {
            record = record.event_time(Timestamp::from_nanoseconds(3));
        }
        commit = commit.record(if form & 128 > 0 { record.headers(&headers) } else { record });
    }
    for (key, value) in &frame.entries {
        commit = match value {
            Some(value) => commit.state(std::slice::from_ref(key), std::slice::from_ref(value)),
            None => commit.remove_state(std::slice::from_ref(key)),
        };
    }
    let _ = log.commit(commit).expect("commits");
}

/// Makes a closed log of these frames.
fn write(folder: &Path, frames: &[Planned], segment_bytes: u64) -> ClockedDisk {
    let disk = ClockedDisk::new(folder);
    let options = Options::new().segment_bytes(segment_bytes).background(Background::Manual);
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    for frame in frames {
        append(&log, &disk, frame);
    }
    log.close().expect("closes");
    disk
}

/// All segments of a log, the last one also, each with where its frames end.
fn segments(disk: &dyn Disk) -> Vec<(Entry, u64)> {
    let members = survey(disk).expect("looks").chain(disk).expect("a chain").members;
    let entries = members.iter().map(Entry::of_member);
    let ended = entries.map(|entry| {
        let mut scan = scan(disk, &entry, entry.end.unwrap_or(entry.header.capacity));
        while let Scanned::Frame(_) = scan.next().expect("reads") {}
        (entry, scan.position)
    });
    ended.collect()
}

fn scan(disk: &dyn Disk, entry: &Entry, limit: u64) -> Scan {
    let view = copy_for_reading(disk, entry).expect("opens");
    Scan::new(view.store, view.frames, FRAMES_START, entry.header.first_offset, limit)
}

/// A frame of the log, as the model knows it.
#[derive(Debug, Clone)]
struct Known {
    at: usize,
    position: u64,
    length: u64,
    parts: Vec<Held>,
}

/// A part of the log, as the model knows it.
#[derive(Debug, Clone)]
struct Held {
    at: usize,
    ordinal: u64,
    sort: Sort,
    bytes: u64,
}

#[derive(Debug, Clone)]
enum Sort {
    Record { topic: Topic, offset: Offset, time: Timestamp, key: Option<Vec<u8>>, tombstone: bool },
    State { space: usize, key: Vec<u8>, removed: bool },
}

/// All frames below the limits.
fn known(disk: &dyn Disk, inputs: &[Input]) -> Vec<Known> {
    let mut all = Vec::new();
    for (at, input) in inputs.iter().enumerate() {
        let mut scan = scan(disk, &input.entry, input.limit);
        let mut ordinals = 0..;
        while let Scanned::Frame(found) = scan.next().expect("reads") {
            let frame = scan.frame(&found);
            let weights = Weights::of(&frame, found.records);
            let records = frame.records().map(|record| {
                let key = record.key().map(<[u8]>::to_vec);
                let (topic, offset, time) = (record.topic(), record.offset(), record.time());
                let sort = Sort::Record { topic, offset, time, key, tombstone: record.is_tombstone() };
                (sort, weights.record(&record))
            });
            let states = frame.states().filter(|_| found.header.state_count > 0).map(|entry| {
                let (space, key, removed) = (entry.space.index(), entry.key.to_vec(), entry.value.is_none());
                (Sort::State { space, key, removed }, weights.state(&entry))
            });
            let parts = records.chain(states).zip(ordinals.by_ref());
            let held = |((sort, bytes), ordinal)| Held { at, ordinal, sort, bytes: u64::from(bytes) };
            let parts = parts.map(held).collect();
            all.push(Known { at, position: found.position, length: found.header.length.into(), parts });
        }
    }
    all
}

/// By what the model decides.
struct Model<'a> {
    rule: Rule<'a>,
    open: Vec<bool>,
    has_damage: bool,
}

/// Where parts go, and how many tombstones wait.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    dropped: BTreeSet<(usize, u64)>,
    waiting: u64,
    keys: u64,
    starts: BTreeMap<Topic, Offset>,
}

impl Model<'_> {
    fn cleanup(&self, topic: Topic) -> Option<Cleanup> {
        self.rule.policies.of(topic).copied()
    }

    fn expect(&self, parts: &[Held]) -> Expected {
        let mut expected = Expected::default();
        let mut copies: BTreeMap<_, Vec<&Held>> = BTreeMap::new();
        for part in parts {
            match &part.sort {
                Sort::Record { topic, offset, key, .. } => {
                    if *offset < self.rule.start {
                        expected.dropped.insert((part.at, part.ordinal));
                    }
                    let compacted = self.cleanup(*topic).is_some_and(|cleanup| cleanup.grace.is_some());
                    if let Some(key) = key.clone().filter(|_| compacted) {
                        copies.entry((Some(*topic), 0, key)).or_default().push(part);
                    }
                }
                Sort::State { space, key, .. } => copies.entry((None, *space, key.clone())).or_default().push(part),
            }
        }
        expected.keys = length(copies.len());
        for parts in copies.values() {
            let (last, older) = parts.split_last().expect("one at least");
            expected.dropped.extend(older.iter().map(|part| (part.at, part.ordinal)));
            if self.is_over(last) && !self.has_damage && self.open[last.at] {
                if older.is_empty() {
                    expected.dropped.insert((last.at, last.ordinal));
                } else {
                    expected.waiting += 1;
                }
            }
        }
        for topic in (0..TOPICS).filter_map(Topic::new) {
            self.expire(topic, parts, &mut expected);
        }
        expected.dropped.retain(|(at, _)| self.open[*at]);
        expected
    }

    fn is_over(&self, part: &Held) -> bool {
        match &part.sort {
            Sort::Record { topic, offset, time, tombstone, .. } => {
                let grace = self.cleanup(*topic).and_then(|cleanup| cleanup.grace).expect("compacted");
                *tombstone && *time <= self.rule.now.before(grace) && *offset < (self.rule.passed)(*topic)
            }
            Sort::State { removed, .. } => *removed,
        }
    }

    fn expire(&self, topic: Topic, parts: &[Held], expected: &mut Expected) {
        let Some(cleanup) = self.cleanup(topic) else { return };
        let mut segments: BTreeMap<usize, Vec<(&Held, Offset, Timestamp)>> = BTreeMap::new();
        for part in parts {
            if let Sort::Record { topic: of, offset, time, .. } = &part.sort
                && *of == topic
                && *offset >= self.rule.start
            {
                segments.entry(part.at).or_default().push((part, *offset, *time));
            }
        }
        let oldest = segments.keys().next().copied().unwrap_or_default();
        let bytes_of = |parts: &Vec<(&Held, Offset, Timestamp)>| parts.iter().map(|(part, ..)| part.bytes).sum::<u64>();
        for (at, here) in &segments {
            let newer: u64 = segments.range(at + 1..).map(|(_, parts)| bytes_of(parts)).sum();
            let time = here.iter().map(|(.., time)| *time).max().expect("one at least");
            let last = here.iter().map(|(_, offset, _)| *offset).max().expect("one at least");
            let aged = cleanup.retention.age.is_some_and(|age| time < self.rule.now.before(age));
            let many = cleanup.retention.bytes.is_some_and(|bytes| newer >= bytes);
            let comes_back = cleanup.grace.is_some() && (self.has_damage || !(oldest..=*at).all(|at| self.open[at]));
            if (aged || many) && last < (self.rule.passed)(topic) && !comes_back {
                expected.dropped.extend(here.iter().map(|(part, ..)| (part.at, part.ordinal)));
                if self.open[*at] {
                    expected.starts.insert(topic, last.after(1));
                }
            }
        }
    }
}

fn cleanup() -> impl Strategy<Value = Option<Cleanup>> {
    let retention = || {
        prop_oneof![
            (0..9000_u64).prop_map(|bytes| Retention::new().bytes(bytes)),
            (0..150_u64).prop_map(|age| Retention::new().age(Duration::from_nanos(age))),
            (500..9000_u64, 0..150_u64).prop_map(|(b, age)| Retention::new().bytes(b).age(Duration::from_nanos(age))),
        ]
    };
    let grace = || (0..150_u64).prop_map(Duration::from_nanos);
    prop_oneof![
        1 => Just(None),
        3 => grace().prop_map(|grace| Some(Cleanup::compact().grace(grace))),
        1 => retention().prop_map(|retention| Some(Cleanup::delete(retention))),
        2 => (grace(), retention()).prop_map(|(grace, retention)| Some(Cleanup::compact().grace(grace).and_delete(retention))),
    ]
}

/// Beside the log: what is judged by, and on how little memory.
#[derive(Debug, Clone)]
struct Case {
    cleanups: Vec<Option<Cleanup>>,
    others: Option<Cleanup>,
    /// Percent of the log: where it begins, what cursors of each topic passed, how much may be rewritten, how much is read.
    start: u64,
    passed: Vec<u64>,
    rewritable: usize,
    read: usize,
    /// Bytes that are wrong, as parts of the log.
    damage: Vec<prop::sample::Index>,
    memory: usize,
    hash: Option<u32>,
    thinned: Vec<(usize, u64)>,
}

fn case() -> impl Strategy<Value = Case> {
    let damage = prop_oneof![3 => Just(Vec::new()), 1 => proptest::collection::vec(any::<prop::sample::Index>(), 1..4)];
    let passed = prop_oneof![Just(100), Just(100), 0..100_u64];
    let memory = prop_oneof![
        2 => Just((4 << 10, None)),
        1 => Just((8 << 10, None)),
        1 => Just((MEMORY_MIN, None)),
        1 => (0..4_u32).prop_map(|bits| (32 << 10, Some(bits))),
    ];
    let all = (
        proptest::collection::vec(cleanup(), usize::try_from(TOPICS).expect("small") - 1),
        cleanup(),
        prop_oneof![Just(0), 0..60_u64],
        proptest::collection::vec(passed, usize::try_from(TOPICS).expect("small")),
        prop_oneof![Just(100_usize), 20..100_usize],
        prop_oneof![Just(100_usize), 50..100_usize],
        damage,
        memory,
        proptest::collection::vec((0..100_usize, any::<u64>()), 0..3),
    );
    all.prop_map(|(cleanups, others, start, passed, rewritable, read, damage, (memory, hash), thinned)| Case {
        cleanups,
        others,
        start,
        passed,
        rewritable,
        read,
        damage,
        memory,
        hash,
        thinned,
    })
}

/// All keys have one of a few hashes.
struct Poor {
    bits: u32,
}

impl KeyHash for Poor {
    fn hash(&self, scope: u64, key: &[u8]) -> u64 {
        let hash = Xxh3 { seed: 5 }.hash(scope, key);
        hash.checked_shr(64 - self.bits).unwrap_or_default() << (64 - self.bits).min(63)
    }
}

/// Goes by what was judged too, but passes no stretch unread.
struct Unpassed<'a>(Marked<'a>);

impl Choice for Unpassed<'_> {
    fn begin(&mut self, segment: &SegmentHeader) {
        self.0.begin(segment);
    }

    fn passed(&mut self, _position: u64) -> Option<(u64, Offset)> {
        None
    }

    fn shared(&mut self, parts: u32) -> Option<Fate> {
        self.0.shared(parts)
    }

    fn fate(&mut self, part: &Part<'_>) -> Fate {
        self.0.fate(part)
    }

    fn ended(&mut self) -> bool {
        self.0.ended()
    }
}

/// What a segment becomes: what its header says of it, and its frames, whatever the incarnation that they are sealed with.
fn written(disk: &dyn Disk, entry: &Entry, judged: &Judged, choice: &mut dyn Choice) -> (Rewritten, Vec<Frame>) {
    let view = &|entry: &Entry| copy_for_reading(disk, entry);
    let bytes_max = FRAMES_START + judged.bytes_kept;
    let inputs = std::slice::from_ref(entry);
    let mut job = Job { disk, inputs, view, bytes_max, pace: &mut |_| Ok(()) };
    let header = rewrite(&mut job, choice).expect("rewrites");
    let rewritten = header.rewritten.expect("rewritten");
    let file = disk.open(&segment_draft_name(header.number), Access::Read).expect("opens");
    let frames = Frames::new(&header, rewritten.end);
    let mut scan = Scan::new(Store::File(file), frames, FRAMES_START, header.first_offset, rewritten.end);
    let mut found = Vec::new();
    while let Scanned::Frame(frame) = scan.next().expect("reads") {
        found.push((frame.position, frame.offset, scan.frame(&frame).body.to_vec()));
    }
    discard(disk, header.number);
    (rewritten, found)
}

/// Position, offset and body of a frame.
type Frame = (u64, Offset, Vec<u8>);

/// What is kept of a segment is as much as was said, and no more; and the same whether stretches are passed or not.
fn check_written(disk: &dyn Disk, entry: &Entry, judged: &Judged) {
    let one = std::slice::from_ref(judged);
    let (rewritten, frames) = written(disk, entry, judged, &mut Marked::new(one));
    assert_eq!(rewritten.records, judged.records_kept);
    let bytes = rewritten.end - FRAMES_START;
    assert!(bytes <= judged.bytes_kept, "{bytes}: {judged:?}");
    assert!(judged.dropped.count() > 0 || bytes == judged.bytes_kept, "{bytes}: {judged:?}");
    assert_eq!((rewritten, frames), written(disk, entry, judged, &mut Unpassed(Marked::new(one))));
}

fn run(disk: &dyn Disk, inputs: &[Input], rule: Rule<'_>, case: &Case) -> Result<Verdict> {
    let told = Cell::new(0);
    let mut pace = |bytes| {
        told.set(told.get() + bytes);
        Ok(())
    };
    let open = &|entry: &Entry| copy_for_reading(disk, entry).map(Some);
    let mut task = Task { disk, inputs, rule, memory: case.memory, open, pace: &mut pace };
    let verdict = match case.hash {
        Some(bits) => judge_by(Poor { bits }, case.memory, STRETCH_PARTS, &mut task),
        None => judge_by(Xxh3 { seed: 7 }, case.memory, STRETCH_PARTS, &mut task),
    }?;
    let read: u64 = inputs.iter().map(|input| input.limit - FRAMES_START).sum();
    let all = u64::from(verdict.passes) * read;
    assert!(told.get() >= all || !verdict.damaged.is_empty(), "{} of {all}", told.get());
    Ok(verdict)
}

/// Turns bits of some frames; which frames those are.
fn hurt(disk: &dyn Disk, inputs: &[Input], frames: &[Known], picks: &[prop::sample::Index]) -> BTreeSet<usize> {
    let mut wrong = BTreeSet::new();
    for pick in picks.iter().filter(|_| !frames.is_empty()) {
        let at = pick.index(frames.len());
        let frame = &frames[at];
        let position = frame.position + u64::try_from(pick.index(1 << 20)).expect("small") % frame.length;
        if !wrong.insert(at) {
            continue;
        }
        let file = disk.open(&segment_name(inputs[frame.at].entry.number()), Access::Write).expect("opens");
        let mut byte = [0];
        file.read_at(&mut byte, position).expect("reads");
        file.write_at(&[byte[0] ^ 4], position).expect("writes");
    }
    wrong
}

fn check_case(frames: &[Planned], case: &Case) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let disk = write(folder.path(), frames, 16 << 10);
    for (part, salt) in &case.thinned {
        let entries = super::sealed(&disk);
        if !entries.is_empty() {
            rewrite_some(&disk, &entries, (*part, 1, Dice { salt: *salt, percent: 50 }));
        }
    }
    let segments = segments(&disk);
    let read = (segments.len() * case.read).div_ceil(100);
    let rewritable = segments.len() * case.rewritable / 100;
    let inputs = segments[..read].iter().enumerate().map(|(at, (entry, end))| Input {
        entry: entry.clone(),
        limit: *end,
        rewritable: entry.end.is_some() && at < rewritable,
    });
    let mut inputs: Vec<Input> = inputs.collect();
    let frames = known(&disk, &inputs);
    if let Some(last) = inputs.last_mut().filter(|_| case.read < 100) {
        // The log is durable up to somewhere inside of it.
        let of_last: Vec<_> = frames.iter().filter(|frame| frame.at == read - 1).collect();
        last.limit = of_last[of_last.len() / 2].position;
        last.rewritable = false;
    }
    let frames: Vec<_> = frames.into_iter().filter(|frame| frame.position < inputs[frame.at].limit).collect();
    let end = segments.last().map_or(0, |(entry, _)| entry.header.first_offset.get() + 20);
    let wrong = hurt(&disk, &inputs, &frames, &case.damage);
    let damaged: BTreeSet<usize> = wrong.iter().map(|at| frames[*at].at).collect();
    let sound = frames.iter().enumerate().filter(|(at, _)| !wrong.contains(at));
    let parts: Vec<Held> = sound.flat_map(|(_, frame)| frame.parts.clone()).collect();

    let mut policies = Policies::default();
    for (topic, cleanup) in (0..).filter_map(Topic::new).zip(&case.cleanups) {
        if let Some(cleanup) = cleanup {
            policies.set(topic, *cleanup);
        }
    }
    if let Some(cleanup) = case.others {
        policies.set_others(cleanup);
    }
    let passed = |topic: Topic| Offset::new(end * case.passed[usize::try_from(topic.get()).expect("small")] / 100);
    let rule =
        Rule { policies: &policies, now: disk.now(), start: Offset::new(end * case.start / 100), passed: &passed };
    loop {
        let verdict = run(&disk, &inputs, rule, case).expect("judges");
        let next = inputs.iter().position(|input| Some(input.entry.number()) == verdict.next);
        let is_open = |at: usize| inputs[at].rewritable && !damaged.contains(&at) && next.is_none_or(|next| at > next);
        let open: Vec<bool> = (0..inputs.len()).map(is_open).collect();
        let model = Model { rule, open: open.clone(), has_damage: !damaged.is_empty() };
        let judged = verdict.segments.iter();
        let dropped = judged.flat_map(|judged| {
            let ordinals = (0..judged.parts).filter(|ordinal| judged.dropped.contains(*ordinal));
            ordinals.map(|ordinal| (judged.at, ordinal))
        });
        let (waiting, keys, starts) = (verdict.waiting_tombstones, verdict.keys, verdict.starts);
        let found = Expected { dropped: dropped.collect(), waiting, keys, starts };
        assert_eq!(found, model.expect(&parts));
        assert_eq!(verdict.damaged.len(), damaged.len());
        for (error, at) in verdict.damaged.iter().zip(&damaged) {
            let first = wrong.iter().map(|frame| &frames[*frame]).find(|frame| frame.at == *at).expect("one is wrong");
            let place = error.place().expect("a place");
            assert_eq!((place.segment, place.position), (inputs[*at].entry.number(), first.position));
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
        let judged: Vec<usize> = verdict.segments.iter().map(|judged| judged.at).collect();
        assert_eq!(judged, (0..inputs.len()).filter(|at| open[*at]).collect::<Vec<_>>());
        // One of them: a sync takes its time.
        let some = verdict.segments.iter().cycle().nth(frames.len()).filter(|_| frames.len() % 2 == 0);
        if let Some(judged) = some {
            check_written(&disk, &inputs[judged.at].entry, judged);
        }
        let Some(next) = next else { break };
        for newer in &mut inputs[next + 1..] {
            newer.rewritable = false;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_is_what_a_plain_model_says(
        frames in proptest::collection::vec(planned(), 30..140),
        case in case(),
    ) {
        check_case(&frames, &case);
    }
}
