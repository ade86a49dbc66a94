//! The wall clock jumps.

use std::time::Duration;

use esker::{Offset, Timestamp};
use harness::MemoryDisk;

use crate::support::{open, payloads};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_nanoseconds((1_767_225_600 + seconds) * 1_000_000_000)
}

#[test]
fn a_clock_that_goes_back_changes_no_order_and_no_search() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    let times = [0, 100, 50, -1_000_000, 60, 200, 150];
    for seconds in times {
        disk.set_now(at(seconds));
        let _ = log.append(&seconds.to_le_bytes()).expect("appends");
    }
    let check = |log: &esker::Log| {
        let mut reader = log.reader();
        let batch: Vec<_> = std::iter::from_fn(|| reader.poll().expect("reads")).collect();
        let read: Vec<_> = batch.iter().flat_map(|batch| batch.iter().map(|record| record.time())).collect();
        assert_eq!(read, times.map(at), "as the clock read it");
        assert_eq!(payloads(log), times.map(|seconds| seconds.to_le_bytes().to_vec()), "in the order of the appends");
        for (seconds, first) in [(0, 0), (1, 1), (100, 1), (101, 5), (200, 5)] {
            reader.seek_time(at(seconds)).expect("seeks");
            assert_eq!(reader.offset(), Offset::new(first), "nothing from {seconds} s on lies before");
        }
    };
    check(&log);
    let killed = disk.snapshot();
    killed.set_now(at(-2_000_000));
    check(&open(&killed).expect("opens at an earlier time than it was written"));
    log.close().expect("closes");
    check(&open(&disk).expect("opens"));
}

#[test]
fn a_clock_at_either_end_of_time_stops_nothing() {
    let disk = MemoryDisk::new(2);
    let log = open(&disk).expect("opens");
    for now in [i64::MIN, 0, i64::MAX] {
        disk.set_now(Timestamp::from_nanoseconds(now));
        disk.advance(Duration::from_secs(1));
        let _ = log.append(b"r").expect("appends");
        log.sync().expect("syncs");
        log.background_step();
    }
    assert_eq!(payloads(&log).len(), 3);
    log.close().expect("closes");
    assert_eq!(payloads(&open(&disk).expect("opens")).len(), 3);
}
