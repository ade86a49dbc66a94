//! Age, by clocks that jump.

use std::sync::Arc;
use std::time::Duration;

use esker::platform::Disk as _;
use esker::{Retention, Timestamp};
use harness::MemoryDisk;

use super::{at, eager, fill};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn later(time: Timestamp, days: i64) -> Timestamp {
    Timestamp::from_nanoseconds(time.nanoseconds() + days * 24 * 3600 * 1_000_000_000)
}

#[test]
fn a_clock_that_jumps_ahead_makes_nothing_old_and_one_that_goes_back_keeps_longer() {
    let disk = MemoryDisk::new(1);
    let log = eager().retention(Retention::new().age(DAY)).open_on(Arc::new(disk.clone())).expect("opens");
    fill(&log, 0..200);
    let now = disk.now();
    disk.set_now(later(now, 1000));
    log.background_step();
    assert_eq!((log.retain().expect("retains").segments, log.start()), (0, at(0)), "no time has gone by");
    disk.set_now(later(now, -1000));
    disk.advance(2 * DAY);
    log.background_step();
    assert_eq!(log.start(), at(0), "by the wall clock it is long before");
    // What came with the clock far ahead keeps what came before it from being called old.
    disk.set_now(later(now, 3));
    log.background_step();
    assert!(log.start() > at(100), "a day has gone by on both clocks");
    let start = log.start();
    disk.set_now(later(now, 100));
    fill(&log, 200..400);
    disk.advance(DAY * 5);
    disk.set_now(later(now, 8));
    log.background_step();
    assert!(log.start() < at(260) && log.start() >= start, "these are of a day that has not come: {}", log.start());
}

#[test]
fn both_ends_of_time_are_no_trouble() {
    for time in [i64::MIN, 0, i64::MAX] {
        let disk = MemoryDisk::new(2);
        disk.set_now(Timestamp::from_nanoseconds(time));
        let log =
            eager().retention(Retention::new().age(Duration::MAX)).open_on(Arc::new(disk.clone())).expect("opens");
        fill(&log, 0..100);
        disk.advance(DAY);
        log.background_step();
        assert_eq!((log.retain().expect("retains").segments, log.start()), (0, at(0)));
    }
}
