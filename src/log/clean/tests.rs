//! Segments are rewritten by random decisions, and every way to read is compared with a plain model.

mod clocked;
mod judged;
mod live;

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::draft::Draft;
use super::rewrite::{Choice, Job, put_in_place, rewrite};
use crate::error::{ErrorKind, Result};
use crate::format::header::{Places, Rewritten, SegmentHeader};
use crate::format::record::thin::{Fate, Part};
use crate::format::{FRAMES_START, GAP_FRAME_BYTES, segment_name};
use crate::log::catalog::{Entry, copy_for_reading};
use crate::log::survey::survey;
use crate::log::window::{Scan, Scanned};
use crate::log::{Attached, Background, Batch, Commit, Log, Options, ReadLine, ReadMode, Reader, Salvage, Salvaged};
use crate::platform::Disk;
use crate::types::{Header, Offset, Record, RecordRef, Timestamp, Topic};
use clocked::ClockedDisk;

/// A record as a test compares it.
#[derive(Debug, Clone, PartialEq)]
struct Stored {
    offset: u64,
    time: i64,
    topic: u32,
    key: Option<Vec<u8>>,
    event_time: Option<Timestamp>,
    tombstone: bool,
    headers: Vec<(String, Vec<u8>)>,
    payload: Vec<u8>,
}

impl Stored {
    fn of(record: &RecordRef<'_>) -> Self {
        let headers = record.headers().map(|header| (header.name.to_owned(), header.value.to_vec()));
        Self {
            offset: record.offset().get(),
            time: record.time().nanoseconds(),
            topic: record.topic().get(),
            key: record.key().map(<[u8]>::to_vec),
            event_time: record.event_time(),
            tombstone: record.is_tombstone(),
            headers: headers.collect(),
            payload: record.payload().to_vec(),
        }
    }
}

/// A frame to append: its records, as topic, form and length of payload; its state entries, as key and value; and how far the
/// clock goes before it.
#[derive(Debug, Clone)]
struct Planned {
    records: Vec<(u32, u8, usize)>,
    entries: Vec<(u8, Option<u8>)>,
    advance: i64,
}

fn planned() -> impl Strategy<Value = Planned> {
    let records = proptest::collection::vec((0..2_u32, any::<u8>(), 0..700_usize), 0..5);
    let entries = proptest::collection::vec((0..9_u8, proptest::option::of(any::<u8>())), 0..3);
    (records, entries, 0..3_i64)
        .prop_filter("a frame holds something", |(records, entries, _)| !records.is_empty() || !entries.is_empty())
        .prop_map(|(records, entries, advance)| Planned { records, entries, advance })
}

fn options() -> Options {
    Options::new().segment_bytes(16 * 1024).background(Background::Manual)
}

fn open(disk: &ClockedDisk) -> Log {
    options().open_on(Arc::new(disk.clone())).expect("opens")
}

fn append(log: &Log, disk: &ClockedDisk, frame: &Planned) {
    disk.advance(frame.advance);
    let payload = [7; 700];
    let headers = [Header { name: "h", value: b"v" }, Header { name: "h", value: b"" }];
    let mut commit = Commit::new();
    for (topic, form, bytes) in &frame.records {
        let mut record = Record::new(&payload[..*bytes]).topic(Topic::new(*topic).expect("small"));
        if form & 4 > 0 {
            record = record.headers(&headers[..=usize::from(form % 2)]);
        }
        if form & 8 > 0 {
            record = record.event_time(Timestamp::from_nanoseconds(i64::from(*form) - 100));
        }
        match form / 16 % 4 {
            0 => record = record.key(std::slice::from_ref(form)),
            1 => record = Record::tombstone(std::slice::from_ref(form)),
            _ => {}
        }
        commit = commit.record(record);
    }
    for (key, value) in &frame.entries {
        commit = match value {
            Some(value) => commit.state(std::slice::from_ref(key), std::slice::from_ref(value)),
            None => commit.remove_state(std::slice::from_ref(key)),
        };
    }
    let _ = log.commit(commit).expect("commits");
}

/// Decides by dice that depend on what is asked about alone, as a decision is asked for twice.
#[derive(Debug, Clone, Copy)]
struct Dice {
    salt: u64,
    percent: u64,
}

impl Dice {
    fn keeps(self, offset: u64) -> bool {
        let word = (offset ^ self.salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd134_2543_de82_ef95);
        (word >> 32) % 100 < self.percent
    }

    fn decide(self, part: &Part<'_>) -> Fate {
        let keeps = match part {
            Part::Record(record) => self.keeps(record.offset().get()),
            Part::State(entry) => self.keeps(entry.key.iter().fold(1, |sum, byte| sum * 31 + u64::from(*byte))),
        };
        if keeps { Fate::Keep } else { Fate::Drop }
    }
}

/// Decides each part by itself.
struct By<'a>(&'a mut dyn FnMut(&Part<'_>) -> Fate);

impl Choice for By<'_> {
    fn begin(&mut self, _segment: &SegmentHeader) {}

    fn passed(&mut self, _position: u64) -> Option<(u64, Offset)> {
        None
    }

    fn shared(&mut self, _parts: u32) -> Option<Fate> {
        None
    }

    fn fate(&mut self, part: &Part<'_>) -> Fate {
        (self.0)(part)
    }

    fn ended(&mut self) -> bool {
        true
    }
}

/// Rewrites neighbours as one, which takes the name of the first.
pub(crate) fn replace(disk: &dyn Disk, inputs: &[Entry], decide: &mut dyn FnMut(&Part<'_>) -> Fate) -> Result<Entry> {
    // A sparse frame may be longer than the one that it was.
    let bytes_max = inputs.iter().map(|input| 2 * input.end.unwrap_or_default()).sum();
    let view = &|entry: &Entry| copy_for_reading(disk, entry);
    let mut job = Job { disk, inputs, view, bytes_max, pace: &mut |_| Ok(()) };
    let entry = put_in_place(disk, &rewrite(&mut job, &mut By(decide))?)?;
    disk.sync_directory().expect("the name is durable");
    Ok(entry)
}

/// Where to rewrite, as parts of the sealed segments, and what to keep.
fn rounds() -> impl Strategy<Value = Vec<(usize, usize, Dice)>> {
    let percent = prop_oneof![Just(0), Just(15), Just(60), Just(95), Just(100)];
    let dice = (any::<u64>(), percent).prop_map(|(salt, percent)| Dice { salt, percent });
    proptest::collection::vec((0..100_usize, 1..4_usize, dice), 1..6)
}

/// The sealed segments of the log.
fn sealed(disk: &dyn Disk) -> Vec<Entry> {
    let members = survey(disk).expect("looks").chain(disk).expect("a chain").members;
    members[..members.len() - 1].iter().map(Entry::of_member).collect()
}

/// Rewrites some neighbours, and unlinks what the new one stands for.
fn rewrite_some(disk: &dyn Disk, entries: &[Entry], round: (usize, usize, Dice)) -> (Entry, std::ops::Range<Offset>) {
    let (part, count, dice) = round;
    let begin = part * entries.len() / 100;
    let inputs = &entries[begin..(begin + count).min(entries.len())];
    let entry = replace(disk, inputs, &mut |part| dice.decide(part)).expect("rewrites");
    for input in &inputs[1..] {
        disk.unlink(&segment_name(input.number())).expect("is there");
    }
    let end = entry.header.rewritten.expect("rewritten").end_offset;
    (entry.clone(), entry.header.first_offset..end)
}

fn drop_from(model: &mut Vec<Stored>, range: &std::ops::Range<Offset>, dice: Dice) {
    model.retain(|record| !range.contains(&Offset::new(record.offset)) || dice.keeps(record.offset));
}

fn check_batch(batch: &Batch) -> Vec<Stored> {
    let records: Vec<Stored> = batch.iter().map(|record| Stored::of(&record)).collect();
    assert!(!records.is_empty() && !batch.is_empty());
    assert_eq!((batch.len(), batch.first().get()), (records.len(), records[0].offset));
    assert!(batch.next().get() > records[records.len() - 1].offset);
    let back: Vec<Stored> = batch.iter_back().map(|record| Stored::of(&record)).collect();
    assert!(back.iter().rev().eq(&records));
    records
}

fn forward(reader: &mut Reader) -> Result<Vec<Stored>> {
    let mut all = Vec::new();
    while let Some(batch) = reader.poll()? {
        all.extend(check_batch(&batch));
        assert_eq!(reader.offset(), batch.next());
    }
    Ok(all)
}

fn backward(reader: &mut Reader) -> Result<Vec<Stored>> {
    let mut all = Vec::new();
    while let Some(batch) = reader.poll_back()? {
        assert_eq!(reader.offset(), batch.first());
        let mut records = check_batch(&batch);
        records.append(&mut all);
        all = records;
    }
    Ok(all)
}

/// Goes to every offset, also of what was dropped, and to every time.
fn check_seeks(reader: &mut Reader, model: &[Stored], end: u64) {
    for offset in 0..=end {
        reader.seek(Offset::new(offset)).expect("inside the log");
        assert_eq!(reader.offset().get(), offset);
        let at = model.partition_point(|record| record.offset < offset);
        let found = reader.poll().expect("reads").map(|batch| check_batch(&batch)[0].clone());
        assert_eq!(found.as_ref(), model.get(at), "from {offset}");
        reader.seek(Offset::new(offset)).expect("inside the log");
        let back = reader.poll_back().expect("reads").map(|batch| check_batch(&batch)).unwrap_or_default();
        assert_eq!(back.last(), model[..at].last(), "back from {offset}");
        let found = reader.poll().expect("reads").map(|batch| check_batch(&batch)[0].clone());
        assert_eq!(found.as_ref(), back.first().or(model.first()), "forward again from before {offset}");
    }
    for time in 0..=model.last().map_or(1_000, |last| last.time) - 999 {
        reader.seek_time(Timestamp::from_nanoseconds(999 + time)).expect("inside the log");
        let found = reader.poll().expect("reads").map(|batch| check_batch(&batch)[0].clone());
        assert_eq!(found.as_ref(), model.iter().find(|record| record.time >= 999 + time), "from time {time}");
    }
}

/// Every way to read the log in a directory that nobody writes.
fn check_outside(disk: &ClockedDisk, model: &[Stored], end: u64) {
    let attached = Attached::open_on(Arc::new(disk.clone())).expect("attaches");
    assert_eq!((attached.visible().get(), attached.refusal().map(|error| error.to_string())), (end, None));
    assert_eq!(forward(&mut attached.reader()).expect("reads"), model);
    let mut reader = attached.reader();
    reader.seek_latest();
    assert_eq!(backward(&mut reader).expect("reads"), model);
    check_seeks(&mut reader, model, end);
    let records = attached.segments().expect("reads").iter().map(|segment| segment.records).sum::<u64>();
    assert!(records >= u64::try_from(model.len()).expect("small"));
    let mut salvaged = Vec::new();
    for item in Salvage::open_on(Arc::new(disk.clone())).expect("opens") {
        match item.expect("reads") {
            Salvaged::Batch(batch) => salvaged.extend(check_batch(&batch)),
            Salvaged::Damage { error, .. } => panic!("{error}"),
        }
    }
    assert_eq!(salvaged, model);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_way_to_read_a_rewritten_log_finds_what_was_kept_at_its_offset(
        frames in proptest::collection::vec(planned(), 20..70),
        rounds in rounds(),
    ) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let disk = ClockedDisk::new(folder.path());
        let log = open(&disk);
        for frame in &frames {
            append(&log, &disk, frame);
        }
        let mut model = forward(&mut log.reader()).expect("reads");
        let before = log.states(b"").expect("lists");
        log.close().expect("closes");
        for round in rounds {
            let entries = sealed(&disk);
            if entries.is_empty() { break; }
            let (_, range) = rewrite_some(&disk, &entries, round);
            drop_from(&mut model, &range, round.2);
        }
        let end = u64::try_from(frames.iter().map(|frame| frame.records.len()).sum::<usize>()).expect("small");
        check_outside(&disk, &model, end);
        let log = open(&disk);
        prop_assert_eq!((log.visible().get(), log.recovery().cut.is_none()), (end, true));
        prop_assert_eq!(log.states(b"").expect("lists"), before);
        for reader in [log.reader(), log.reader().mode(ReadMode::Copy), log.reader().up_to(ReadLine::Durable)] {
            let mut reader = reader;
            prop_assert_eq!(&forward(&mut reader).expect("reads"), &model);
            prop_assert_eq!(&backward(&mut reader).expect("reads"), &model);
            check_seeks(&mut reader, &model, end);
        }
        append(&log, &disk, &Planned { records: vec![(0, 0, 3)], entries: Vec::new(), advance: 1 });
        let all = forward(&mut log.reader()).expect("reads");
        prop_assert_eq!(&all[..model.len()], &model[..]);
        prop_assert_eq!((all.len(), all[model.len()].offset), (model.len() + 1, end));
    }
}

#[test]
fn records_before_a_long_stretch_without_any_are_found_from_behind_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let disk = ClockedDisk::new(folder.path());
    let log = options().segment_bytes(512 * 1024).open_on(Arc::new(disk.clone())).expect("opens");
    for number in 0..500_u16 {
        let _ = log.commit(Commit::new().record(&[7; 600]).state(&number.to_le_bytes(), &[8; 700])).expect("commits");
    }
    let end = log.visible().get();
    log.close().expect("closes");
    let entries = sealed(&disk);
    let of_stretch = 80..200;
    // More than a block of the index, in which nothing but state is left.
    let mut decide = |part: &Part<'_>| match part {
        Part::Record(record) if of_stretch.contains(&record.offset().get()) => Fate::Drop,
        _ => Fate::Keep,
    };
    assert!(entries[0].header.first_offset.get() < 80);
    let replaced = replace(&disk, &entries[..1], &mut decide).expect("rewrites");
    assert!(replaced.header.rewritten.expect("rewritten").end_offset.get() > 250);
    let model: Vec<u64> = (0..end).filter(|offset| !of_stretch.contains(offset)).collect();
    let mut reader = Attached::open_on(Arc::new(disk)).expect("attaches").reader();
    for offset in [80, 81, 130, 199, 200, 201] {
        reader.seek(Offset::new(offset)).expect("inside the log");
        let found: Vec<u64> = backward(&mut reader).expect("reads").iter().map(|record| record.offset).collect();
        assert_eq!(found, model[..model.partition_point(|kept| *kept < offset)], "back from {offset}");
    }
}

#[test]
fn a_gap_in_which_nothing_is_lost_is_none_also_where_all_behind_it_was_dropped() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let disk = ClockedDisk::new(folder.path());
    let log = open(&disk);
    for _ in 0..120 {
        let _ = log.append(&[7; 300]).expect("appends");
    }
    let mut model = forward(&mut log.reader()).expect("reads");
    log.close().expect("closes");
    // Of the first segment one record is kept, and the gap that a repair left behind it in place of a frame without records.
    let entries = sealed(&disk);
    let view = copy_for_reading(&disk, &entries[0]).expect("opens");
    let end = entries[0].end.expect("sealed");
    let mut scan = Scan::new(view.store, view.frames, FRAMES_START, Offset::ZERO, end);
    let mut draft = Draft::create(&disk, &SegmentHeader { generation: 1, ..entries[0].header }).expect("creates");
    while let Scanned::Frame(found) = scan.next().expect("reads") {
        if found.records > 0 {
            draft.frame(draft.end(), &found.header, scan.frame(&found).body).expect("takes it");
            break;
        }
    }
    let kept = scan.offset;
    draft.gap(draft.end()..draft.end() + GAP_FRAME_BYTES, kept, kept).expect("takes it");
    let (end_offset, link) = (entries[1].header.first_offset, entries[0].header.link(end));
    draft.settle(Rewritten {
        end: draft.end(),
        last_number: link.number,
        end_offset,
        records: kept.get(),
        incarnation: link.incarnation,
        original_end: link.end,
        places: Places::Moved,
    });
    put_in_place(&disk, &draft.complete(&disk).expect("completes")).expect("takes the name");
    model.retain(|record| record.offset < kept.get() || record.offset >= end_offset.get());
    check_outside(&disk, &model, 120);
}

/// Drops the records of a closed log that are not to be kept, in all segments but the last; where that begins.
pub(crate) fn rewrite_again(folder: &Path, keeps: impl Fn(u64) -> bool) -> u64 {
    let disk = ClockedDisk::new(folder);
    let mut decide = |part: &Part<'_>| match part {
        Part::Record(record) if !keeps(record.offset().get()) => Fate::Drop,
        _ => Fate::Keep,
    };
    let mut end = Offset::ZERO;
    for entry in sealed(&disk) {
        let replaced = replace(&disk, &[entry], &mut decide).expect("rewrites");
        end = replaced.header.rewritten.expect("rewritten").end_offset;
    }
    end.get()
}

/// Makes a closed log in `folder` from which records were dropped, and entries: one segment that stands for three, one of
/// which hardly anything is left, one of which all is; returns the offsets that are left, and the end.
pub(crate) fn rewritten(folder: &Path) -> (Vec<u64>, u64) {
    let disk = ClockedDisk::new(folder);
    let log = open(&disk);
    for number in 0..130_u8 {
        let records = vec![(u32::from(number % 3 == 0), 0, 200), (0, 8, 90), (0, number, 150)];
        append(&log, &disk, &Planned { records, entries: vec![(number, Some(1)), (number, None)], advance: 1 });
    }
    let mut model = forward(&mut log.reader()).expect("reads");
    let end = log.visible().get();
    log.close().expect("closes");
    for (begin, count, percent) in [(0, 3, 40), (1, 1, 5), (2, 1, 100)] {
        let dice = Dice { salt: 3, percent };
        let (_, range) = rewrite_some(&disk, &sealed(&disk)[begin..begin + count], (0, count, dice));
        drop_from(&mut model, &range, dice);
    }
    (model.iter().map(|record| record.offset).collect(), end)
}
