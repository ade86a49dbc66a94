//! Compaction: what is superseded goes from the whole log, what is not stays as it was, and whatever dies or fails meanwhile, the
//! log is the one before or the one after.

mod background;
mod beside;
mod crash;
mod full;
mod meanwhile;
mod open;
mod starts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use esker::{Attached, Cleanup, Commit, Compaction, Log, Offset, Options, Record, Topic, inspect, repair};
use harness::MemoryDisk;

use crate::support::{options, segments};

/// A record as these tests see it.
type Seen = (u64, u32, Option<Vec<u8>>, Vec<u8>);

const KEYS: u64 = 7;

fn topic(number: u32) -> Topic {
    Topic::new(number).expect("small")
}

fn eager() -> Options {
    options().checkpoint_bytes(4096)
}

/// Records of few keys in two topics, some without key.
fn planned(number: u64) -> Seen {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(8 + usize::try_from(number * 37 % 300).expect("small"), 0xab);
    let key = (number % 10 != 9).then(|| (number % KEYS).to_le_bytes().to_vec());
    (number, u32::from(number.is_multiple_of(3)), key, payload)
}

/// Appends planned records, and changes of few state entries.
fn fill(log: &Log, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let (_, of, key, payload) = planned(number);
        let mut record = Record::new(&payload).topic(topic(of));
        if let Some(key) = &key {
            record = record.key(key);
        }
        let mut commit = Commit::new().record(record);
        let state = (number % KEYS).to_le_bytes();
        if number % 4 == 0 {
            commit = commit.state(&state, &payload);
        }
        let _ = log.commit(commit).expect("commits");
    }
}

fn filled(disk: &MemoryDisk, records: u64) -> Log {
    let log = eager().open_on(Arc::new(disk.clone())).expect("opens");
    fill(&log, 0..records);
    log
}

fn read(log: &Log) -> Vec<Seen> {
    seen(log.reader())
}

fn seen(mut reader: esker::Reader) -> Vec<Seen> {
    let mut all = Vec::new();
    while let Some(batch) = reader.poll().expect("reads") {
        all.extend(batch.iter().map(|record| {
            let key = record.key().map(<[u8]>::to_vec);
            (record.offset().get(), record.topic().get(), key, record.payload().to_vec())
        }));
    }
    all
}

/// The latest of each key in its topic, and what has no key.
fn compacted(all: &[Seen]) -> Vec<Seen> {
    let latest: BTreeMap<_, _> = all.iter().map(|(offset, topic, key, _)| ((*topic, key.clone()), *offset)).collect();
    let stays = |(offset, topic, key, _): &&Seen| key.is_none() || latest[&(*topic, key.clone())] == *offset;
    all.iter().filter(stays).cloned().collect()
}

/// Of a log that was filled up to the last of these, nothing went that is not superseded, and nothing is there that was not
/// appended.
fn check_kept(left: &[Seen]) {
    let end = left.last().map_or(0, |seen| seen.0 + 1);
    let appended: Vec<Seen> = (0..end).map(planned).collect();
    assert!(left.is_sorted_by(|a, b| a.0 < b.0));
    assert!(
        left.iter()
            .all(|seen| appended.binary_search_by_key(&seen.0, |seen| seen.0).is_ok_and(|at| appended[at] == *seen))
    );
    assert_eq!(compacted(left), compacted(&appended));
}

/// The state with its versions.
fn state(log: &Log) -> Vec<(Vec<u8>, Vec<u8>, esker::Version)> {
    let states = log.states(b"").expect("lists");
    states.into_iter().map(|(key, held)| (key.to_vec(), held.value().to_vec(), held.version())).collect()
}

/// The files of segments that hold something.
fn in_use(disk: &MemoryDisk) -> usize {
    let is_used =
        |name: &&String| disk.read_file(name).is_some_and(|bytes| bytes.iter().take(256).any(|byte| *byte != 0));
    segments(disk).iter().filter(is_used).count()
}

fn verified(disk: &MemoryDisk) -> Vec<inspect::FindingClass> {
    let found = inspect::verify_on(disk, &mut |_| {}).expect("verifies");
    assert!(!found.is_damaged(), "{:?}", found.findings);
    assert_eq!(repair::plan_on(disk).expect("plans").steps, []);
    found.findings.iter().map(|finding| finding.class).collect()
}

/// Lookups say what the records say.
fn check_lookups(log: &Log, all: &[Seen]) {
    for number in 0..KEYS {
        for of in [0, 1] {
            let key = number.to_le_bytes();
            let expected = all.iter().rev().find(|(_, topic, found, _)| *topic == of && found.as_deref() == Some(&key));
            let found = log.latest(topic(of), &key).expect("looks");
            assert_eq!(found.map(|found| found.offset().get()), expected.map(|seen| seen.0), "{of} {number}");
        }
    }
}

#[test]
fn the_latest_of_each_key_stays_at_its_offset_and_the_rest_goes() {
    let disk = MemoryDisk::new(1);
    let log = filled(&disk, 400);
    let (all, entries, before) = (read(&log), state(&log), in_use(&disk));
    assert_eq!(all.len(), 400);
    let report = log.compact(&Compaction::new()).expect("compacts");
    let kept = compacted(&all);
    assert_eq!(
        (report.replaced.records_before, report.replaced.records_after),
        (400, u64::try_from(kept.len()).expect("small"))
    );
    assert!(kept.len() < 60 && report.damaged.is_empty() && report.passes == 1, "{report:?}");
    assert!(in_use(&disk) < before / 2, "{:?}", segments(&disk));
    assert_eq!(read(&log), kept);
    assert_eq!(state(&log), entries);
    check_lookups(&log, &kept);
    let again = log.compact(&Compaction::new()).expect("compacts");
    assert_eq!(again.replaced.segments_before, 0, "there is nothing more to go, or to merge: {again:?}");
    assert_eq!(log.clean_stats().runs, 2);
    fill(&log, 400..500);
    let kept: Vec<Seen> = read(&log);
    assert_eq!(kept.last().expect("records").0, 499);
    let killed = disk.snapshot();
    log.close().expect("closes");
    for left in [killed, disk] {
        assert_eq!(seen(Attached::open_on(Arc::new(left.clone())).expect("attaches").reader()), kept);
        let log = eager().open_on(Arc::new(left.clone())).expect("opens");
        assert_eq!(read(&log), kept);
        let entries = state(&log);
        let report = log.compact(&Compaction::new()).expect("compacts");
        assert!(report.replaced.segments_before > 1, "{report:?}");
        assert_eq!((read(&log), state(&log)), (compacted(&kept), entries.clone()));
        log.close().expect("closes");
        assert_eq!(verified(&left), []);
        let log = eager().open_on(Arc::new(left)).expect("opens");
        assert_eq!((read(&log), state(&log)), (compacted(&kept), entries));
    }
}

#[test]
fn only_topics_that_are_named_are_compacted() {
    let disk = MemoryDisk::new(1);
    let log = filled(&disk, 200);
    let all = read(&log);
    let report = log.compact(&Compaction::new().topic(topic(1))).expect("compacts");
    assert!(report.replaced.segments_before > 0);
    let kept = compacted(&all);
    let expected: Vec<Seen> = all.iter().filter(|seen| seen.1 == 0 || kept.contains(seen)).cloned().collect();
    assert_eq!(read(&log), expected);
}

#[test]
fn a_topic_that_was_given_up_is_gone_and_the_others_stay() {
    let disk = MemoryDisk::new(1);
    let given_up = Cleanup::delete(esker::Retention::new().bytes(0));
    let log = eager().cleanup(topic(1), given_up).open_on(Arc::new(disk.clone())).expect("opens");
    for part in 0..3 {
        fill(&log, part * 100..part * 100 + 100);
        log.sync().expect("syncs");
    }
    let all = read(&log);
    let _ = log.compact(&Compaction::new().topic(topic(9))).expect("merges at most");
    assert_eq!(read(&log), all);
    let report = log.clean().expect("cleans");
    let left = read(&log);
    let (of_topic, others): (Vec<Seen>, Vec<Seen>) = left.into_iter().partition(|seen| seen.1 == 1);
    assert_eq!(others, all.iter().filter(|seen| seen.1 == 0).cloned().collect::<Vec<_>>());
    assert!(of_topic.is_empty() && report.replaced.records_after == 200, "{report:?}");
}

#[test]
fn a_tombstone_goes_once_its_time_has_come_and_everybody_has_passed_it() {
    let disk = MemoryDisk::new(1);
    let compact = Cleanup::compact().grace(Duration::from_secs(60));
    let log = eager().cleanup(topic(0), compact).open_on(Arc::new(disk.clone())).expect("opens");
    let append = |record: Record<'_>| log.append(record).expect("appends").offset();
    append(Record::new(b"old").key(b"k"));
    fill(&log, 0..60);
    let grave = append(Record::tombstone(b"k"));
    fill(&log, 60..120);
    let cursor = log.cursor_from("holds", esker::Start::Offset(grave)).expect("is made");
    let offsets = |log: &Log| read(log).into_iter().map(|seen| seen.0).collect::<Vec<_>>();
    let has = |log: &Log| offsets(log).contains(&grave.get());
    let _ = log.compact(&Compaction::new()).expect("compacts");
    assert!(has(&log) && !offsets(&log).contains(&0), "its time has not come");
    disk.advance(Duration::from_secs(61));
    let _ = log.compact(&Compaction::new()).expect("compacts");
    assert!(has(&log), "a cursor has not read it");
    let _ = log.commit(Commit::new().cursor("holds", grave.after(1))).expect("commits");
    drop(cursor);
    let _ = log.compact(&Compaction::new()).expect("compacts");
    assert!(!has(&log));
    assert_eq!(log.latest(topic(0), b"k").expect("looks").map(|found| found.offset()), None);
    // Older records and the tombstone go by one call, in two rounds.
    append(Record::new(b"old").key(b"j"));
    let grave = append(Record::tombstone(b"j"));
    let _ = log.commit(Commit::new().cursor("holds", log.visible())).expect("commits");
    disk.advance(Duration::from_secs(61));
    let report = log.compact(&Compaction::new()).expect("compacts");
    assert!(!offsets(&log).contains(&grave.get()) && report.passes == 2, "{report:?}");
    assert_eq!(log.reader().poll().expect("reads").expect("records").first(), Offset::new(offsets(&log)[0]));
}
