//! Damage in the log, and gaps: an error, never an older value.

use std::sync::Arc;

use esker::repair::{Accept, apply_on};
use esker::{Attached, ErrorKind, Log, Options, Record, Topic};
use harness::MemoryDisk;

use super::{indexed, indexes, key, latest, remove_indexes, tell};
use crate::support::{at, open, options, segment_name};

/// Turns a bit of the payload of a record.
fn damage(disk: &MemoryDisk, found: &esker::Found) {
    let place = found.place();
    disk.edit_file(&segment_name(place.segment), |bytes| bytes[at(place.position) + 60] ^= 1);
}

/// Whether the log has index files when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Files {
    Kept,
    Removed,
}

fn reopened(disk: &MemoryDisk, files: Files) -> Log {
    if files == Files::Removed {
        remove_indexes(disk);
    }
    open(disk).expect("opens: what is damaged is not read by it")
}

#[test]
fn damage_in_the_latest_record_is_an_error_with_its_place() {
    for files in [Files::Kept, Files::Removed] {
        let disk = MemoryDisk::new(1);
        let log = indexed(&options(), &disk);
        // Of two segments: the newest record of a key in one in the middle is not the latest.
        let told = tell(log.history(Topic::default(), &key(5))).expect("reads");
        let _ = log.append(Record::tombstone(&key(6))).expect("appends");
        let middle = log.history(Topic::default(), &key(5)).nth(told.len() / 2).expect("several").expect("reads");
        let place = middle.place();
        log.clone().close().expect("closes");
        damage(&disk, &middle);
        drop((log, middle));
        let log = reopened(&disk, files);
        assert!(log.latest(Topic::default(), &key(5)).expect("newer").is_some(), "{files:?}");
        let mut history = log.history(Topic::default(), &key(5));
        let error = history.find_map(Result::err).expect("damage in between");
        assert_eq!((error.kind(), error.place()), (ErrorKind::Corrupt, Some(place)), "{files:?}: {error}");
        assert!(history.next().is_none(), "nothing behind it");
        let attached = Attached::open_on(Arc::new(disk.clone())).expect("attaches");
        let error = attached.history(Topic::default(), &key(5)).find_map(Result::err).expect("damage in between");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{files:?}");
    }
}

#[test]
fn damage_in_front_of_an_older_record_is_an_error() {
    for files in [Files::Kept, Files::Removed] {
        let disk = MemoryDisk::new(1);
        let log = open(&disk).expect("opens");
        let append = |key: &[u8], value: u64| {
            let payload = value.to_le_bytes().repeat(40);
            let _ = log.append(Record::new(&payload).key(key)).expect("appends");
        };
        append(b"early", 1);
        (0..50).for_each(|value| append(&key(value), value));
        append(b"early", 2);
        let found = log.latest(Topic::default(), b"early").expect("reads").expect("is there");
        (0..200).for_each(|value| append(&key(value), value));
        log.sync().expect("syncs");
        log.background_step();
        log.close().expect("closes");
        damage(&disk, &found);
        let log = reopened(&disk, files);
        for _ in 0..2 {
            let error = log.latest(Topic::default(), b"early").expect_err("the latest is damaged");
            assert_eq!((error.kind(), error.place()), (ErrorKind::Corrupt, Some(found.place())), "{files:?}");
        }
        assert!(log.latest(Topic::default(), &key(199)).expect("newer").is_some());
        if files == Files::Kept {
            let held = latest(log.latest(Topic::default(), b"never")).expect("no index lets it through");
            assert_eq!(held, None);
        }
    }
}

#[test]
fn a_gap_in_front_of_an_older_record_is_an_error_and_one_behind_is_none() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    let append = |log: &Log, key: &[u8], value: u64| {
        let payload = value.to_le_bytes().repeat(40);
        let _ = log.append(Record::new(&payload).key(key)).expect("appends");
    };
    append(&log, b"before", 1);
    append(&log, b"lost", 2);
    let found = log.latest(Topic::default(), b"lost").expect("reads").expect("is there");
    append(&log, b"behind", 3);
    (0..200).for_each(|value| append(&log, &key(value), value));
    log.sync().expect("syncs");
    log.background_step();
    log.close().expect("closes");
    damage(&disk, &found);
    let plan = apply_on(&disk, Accept::Loss).expect("repairs");
    assert_eq!(plan.records_lost(), 1);
    let log = open(&disk).expect("opens");
    for round in 0..2 {
        assert!(log.latest(Topic::default(), b"behind").expect("newer than the gap").is_some());
        for key in [&b"before"[..], b"lost", b"never"] {
            let error = log.latest(Topic::default(), key).expect_err("it may have been in the gap");
            assert_eq!(
                (error.kind(), error.place()),
                (ErrorKind::Gap { next: found.offset().after(1) }, Some(found.place())),
                "{round}"
            );
        }
        let mut history = log.history(Topic::default(), b"before");
        assert!(history.next().expect("one").is_ok());
        let error = history.next().expect("a gap").expect_err("lost");
        assert!(matches!(error.kind(), ErrorKind::Gap { .. }) && history.next().is_none());
        let told: Vec<_> = log.history(Topic::default(), b"behind").map(|found| found.is_ok()).collect();
        assert_eq!(told, [false, true], "the records behind a gap follow");
        // And once more with an index file of the repaired segment.
        log.background_step();
        assert!(indexes(&disk).contains(&"0000000001.idx".to_owned()));
    }
}

#[test]
fn a_segment_with_damage_gets_no_index() {
    let disk = MemoryDisk::new(1);
    let log = indexed(&options(), &disk);
    let found = log.history(Topic::default(), &key(5)).next().expect("several").expect("reads");
    log.close().expect("closes");
    remove_indexes(&disk);
    damage(&disk, &found);
    let log = Options::new().index_memory(64 << 10).background(esker::Background::Manual);
    let log = log.open_on(Arc::new(disk.clone())).expect("opens");
    log.background_step();
    assert!(!indexes(&disk).contains(&"0000000001.idx".to_owned()), "{:?}", disk.names());
    assert!(!indexes(&disk).is_empty(), "the others do");
    assert_eq!(log.stats().index_failures, 0);
}
