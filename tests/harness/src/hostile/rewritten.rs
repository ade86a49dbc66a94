//! Hostile rewritten segments: those of logs that were compacted and repaired, damaged, swapped for those of other moments, or
//! made to lie under right sums.
//!
//! Guarantees:
//! 1. Whatever opens reads the same forward, backward, by topic and by key, where nothing is damaged; where something is, no way
//!    to read says another thing of a record than reading forward does.

use std::collections::BTreeMap;

use esker::{ErrorKind, Log, Offset, Reader};

use super::keyed::{KEYS, Scene, TOPICS, key, open, topic};
use super::repairs::repair_copies;
use super::ways::{Drained, OwnRecord, drain, open_all_ways};
use crate::format::bytes::Input;

/// Opens a log that was compacted, and that the input edited.
///
/// # Panics
/// If the engine breaks a promise.
pub fn open_rewritten(input: &[u8]) {
    let scene = Scene::of(&mut Input(input));
    repair_copies(&scene.disk, scene.origin());
    let read = scene.disk.snapshot();
    if let Ok(held) = open_all_ways(&scene.disk, scene.checkpoints()) {
        scene.check_appended(&held.drained.records);
        check_ways_to_read(&open(&read));
    }
}

/// Compares every way to read a log with reading it forward.
///
/// # Panics
/// If two ways disagree.
pub(super) fn check_ways_to_read(log: &Log) {
    let forward = drain(log.reader());
    let of_all = |_: &OwnRecord| true;
    let mut reader = log.reader();
    reader.seek_latest();
    check_back(&forward, reader, of_all);
    for number in 0..TOPICS {
        let of = topic(number);
        // Where the topic begins: what comes before may be there still, in files that could not be rewritten.
        let start = log.topic_start(of).get();
        let is_of = |record: &OwnRecord| record.topic == number && record.offset >= start;
        check_filtered(&forward, log.reader().topics([of]), is_of);
        let mut reader = log.reader().topics([of]);
        reader.seek_latest();
        check_back(&forward, reader, is_of);
        for key in (0..KEYS).map(key) {
            let is_of_key = |record: &OwnRecord| is_of(record) && record.key.as_deref() == Some(&key);
            check_filtered(&forward, log.reader().key(of, &key), is_of_key);
            check_lookups(&forward, log, number, &key);
        }
    }
    check_seeks(&forward, log);
}

/// Whether reading forward met neither damage nor gaps.
fn is_whole(forward: &Drained) -> bool {
    forward.ended.is_none() && forward.gaps.is_empty()
}

/// What a filter lets through is what matches; damage in what does not match it need not meet.
fn check_filtered(forward: &Drained, reader: Reader, matches: impl Fn(&OwnRecord) -> bool) {
    let found = drain(reader);
    let expected: Vec<&OwnRecord> = forward.records.iter().filter(|record| matches(record)).collect();
    assert!(found.records.iter().all(&matches), "what does not match");
    if forward.ended.is_none() {
        assert_eq!(found.ended, None, "fine without a filter");
        assert!(found.records.iter().eq(expected), "with a filter and without");
    } else {
        assert!(found.records.iter().zip(&expected).all(|(found, expected)| found == *expected), "up to the damage");
        assert!(found.records.len() >= expected.len(), "a filter hides what comes before the damage");
    }
}

/// Backward as forward, from the end down to where something is damaged or lost.
fn check_back(forward: &Drained, mut reader: Reader, matches: impl Fn(&OwnRecord) -> bool) {
    let mut found = Vec::new();
    let ended = loop {
        match reader.poll_back() {
            Ok(Some(batch)) => found.extend(batch.iter_back().map(|record| OwnRecord::of(&record))),
            Ok(None) => break None,
            Err(error) => break Some(error.kind()),
        }
    };
    found.reverse();
    assert!(found.is_sorted_by(|one, next| one.offset < next.offset), "offsets go down as one reads back");
    assert!(found.iter().all(&matches), "what does not match");
    let known: BTreeMap<u64, &OwnRecord> = forward.records.iter().map(|record| (record.offset, record)).collect();
    for record in &found {
        assert!(known.get(&record.offset).is_none_or(|known| *known == record), "another record at {}", record.offset);
    }
    if is_whole(forward) {
        assert_eq!(ended, None, "fine as one reads forward");
        assert!(found.iter().eq(forward.records.iter().filter(|record| matches(record))), "backward and forward");
    } else if let Some(kind) = ended {
        assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::Gap { .. } | ErrorKind::Incompatible), "{kind:?}");
    }
}

/// The latest of a key, and all of them.
fn check_lookups(forward: &Drained, log: &Log, number: u32, key: &[u8]) {
    let of = topic(number);
    let is_of = |record: &&OwnRecord| record.topic == number && record.key.as_deref() == Some(key);
    let expected: Vec<&OwnRecord> = forward.records.iter().filter(is_of).collect();
    let latest = log.latest(of, key).map(|found| found.map(|found| OwnRecord::of(&found.record())));
    let history: Result<Vec<OwnRecord>, _> =
        log.history(of, key).map(|found| found.map(|found| OwnRecord::of(&found.record()))).collect();
    if is_whole(forward) {
        let history = history.unwrap_or_else(|error| panic!("nothing is damaged: {error}"));
        assert!(history.iter().eq(expected.iter().copied()), "the history is what is read");
        let latest = latest.unwrap_or_else(|error| panic!("nothing is damaged: {error}"));
        assert_eq!(latest.as_ref(), expected.last().copied().filter(|record| !record.tombstone), "the latest");
    } else if let Ok(Some(latest)) = latest {
        assert!(expected.last().is_none_or(|known| latest.offset >= known.offset), "older than what is read");
    }
}

/// From each offset on as from the beginning.
fn check_seeks(forward: &Drained, log: &Log) {
    let (Some(first), Some(last)) = (forward.records.first(), forward.records.last()) else { return };
    // A lie may spread few records over all offsets.
    let offsets = forward.records.iter().flat_map(|record| [record.offset, record.offset + 1]);
    for offset in offsets.filter(|offset| (first.offset..=last.offset).contains(offset)) {
        let mut reader = log.reader();
        let sought = reader.seek(Offset::new(offset)).and_then(|()| reader.poll());
        let next = forward.records.iter().find(|record| record.offset >= offset);
        match sought {
            Ok(Some(batch)) => {
                let found = batch.iter().next().map(|record| OwnRecord::of(&record));
                assert_eq!(found.as_ref(), next, "from {offset} on");
            }
            Ok(None) => assert_eq!(next, None, "from {offset} on"),
            Err(error) => assert!(!is_whole(forward), "nothing is damaged: from {offset} on: {error}"),
        }
    }
}
