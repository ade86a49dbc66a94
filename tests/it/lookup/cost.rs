//! What lookups cost: what is read.

use esker::{Record, Topic};
use harness::MemoryDisk;

use super::{indexed, indexes, key};
use crate::support::{open, options};

#[test]
fn a_lookup_touches_no_segment_that_does_not_hold_its_key() {
    let disk = MemoryDisk::new(1);
    let log = indexed(&options(), &disk);
    let _ = log.append(Record::new(b"new").key(b"seldom")).expect("appends");
    for number in 0..200_u64 {
        let payload = number.to_le_bytes().repeat(20);
        let _ = log.append(Record::new(&payload).key(&key(number % 41))).expect("appends");
    }
    log.sync().expect("syncs");
    log.background_step();
    let _ = log.latest(Topic::default(), b"seldom").expect("reads");
    let before = log.stats();
    for _ in 0..10 {
        assert!(log.latest(Topic::default(), b"seldom").expect("reads").is_some());
    }
    let after = log.stats();
    assert_eq!(after.lookups, before.lookups + 10);
    assert!(after.segments > 6 && after.lookup_segments <= before.lookup_segments + 20, "{before:?} {after:?}");
    assert_eq!(after.lookup_scanned_bytes, before.lookup_scanned_bytes, "the active segment is known by now");
}

#[test]
fn an_open_log_takes_over_the_index_files_that_are_there() {
    let disk = MemoryDisk::new(1);
    indexed(&options(), &disk).close().expect("closes");
    let names = indexes(&disk);
    let log = open(&disk).expect("opens");
    log.background_step();
    assert_eq!((log.stats().indexes, indexes(&disk)), (0, names));
}
