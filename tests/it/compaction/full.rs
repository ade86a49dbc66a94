//! A full disk: the cleaner takes nothing that appends need, and gets by with what it has put by.

use std::sync::Arc;

use esker::{Cleanup, Compaction, ErrorKind, Log, Options};
use harness::MemoryDisk;

use super::{compacted, eager, fill, read, topic, verified};
use crate::support::segments;

const BALLAST: &str = "ballast";

fn options() -> Options {
    eager().cleanup(topic(0), Cleanup::compact()).cleaner(esker::Cleaner::new().dirty_ratio(1.0))
}

/// A log with much to compact, and nothing left on its disk.
fn full(disk: &MemoryDisk, options: &Options) -> Log {
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    fill(&log, 0..200);
    log.sync().expect("syncs");
    log.background_step();
    disk.space_limit(disk.space_held());
    log
}

#[test]
fn a_log_that_is_cleaned_holds_space_for_it_and_gives_it_up_when_it_is_not_cleaned_any_more() {
    let disk = MemoryDisk::new(1);
    let log = full(&disk, &options());
    let held = disk.read_file(BALLAST).expect("is held").len();
    assert_eq!((log.clean_stats().ballast_bytes, held), (u64::try_from(held).expect("small"), 16 * 1024));
    log.close().expect("closes");
    assert_eq!(verified(&disk), []);
    let log = options().open_on(Arc::new(disk.clone())).expect("opens");
    log.background_step();
    assert!(disk.read_file(BALLAST).is_some());
    log.close().expect("closes");
    let log = eager().open_on(Arc::new(disk.clone())).expect("opens");
    assert!(disk.read_file(BALLAST).is_none(), "{:?}", disk.names());
    log.close().expect("closes");
}

#[test]
fn a_full_disk_is_cleaned_with_the_space_that_was_held() {
    let disk = MemoryDisk::new(2);
    let log = full(&disk, &options());
    let all = read(&log);
    let report = log.compact(&Compaction::new()).expect("there is a spare, and the ballast");
    assert!(report.replaced.segments_before > 3, "{report:?}");
    let kept = compacted(&all);
    assert_eq!(read(&log), kept);
    assert!(disk.read_file(BALLAST).is_some() && log.clean_stats().ballast_bytes > 0, "it is held again");
    let stalls = log.stats().append_stalls;
    fill(&log, 200..260);
    assert_eq!(read(&log).len(), kept.len() + 60);
    assert!(log.stats().append_stalls <= stalls + 20);
}

#[test]
fn without_such_space_the_log_stays_as_it_is_and_appends_go_on() {
    let disk = MemoryDisk::new(3);
    let log = full(&disk, &eager());
    let (all, files) = (read(&log), segments(&disk));
    let error = log.compact(&Compaction::new()).expect_err("there is no room");
    assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
    assert_eq!(read(&log), all);
    assert!(segments(&disk).iter().all(|name| !name.contains("draft")) && segments(&disk).len() >= files.len());
    // What is left of the segment in use, and of the one that was prepared.
    let mut appended = 0;
    while log.append(&[7; 100]).is_ok() {
        appended += 1;
    }
    assert!(appended > 20, "{appended}");
    assert_eq!(read(&log).len(), all.len() + appended);
    disk.space_limit(u64::MAX);
    let _ = log.append(&[7; 100]).expect("there is room again");
    let _ = log.compact(&Compaction::new()).expect("and for this");
    let (all, left) = (read(&log).len(), compacted(&all).len() + appended + 1);
    assert_eq!(all, left);
    log.close().expect("closes");
    assert_eq!(verified(&disk), []);
}

#[test]
fn once_there_is_room_again_the_cleaner_finds_it() {
    let disk = MemoryDisk::new(4);
    let log = options().open_on(Arc::new(disk.clone())).expect("opens");
    for part in 0..3 {
        fill(&log, part * 150..part * 150 + 150);
        log.sync().expect("syncs");
        log.background_step();
    }
    disk.space_limit(disk.space_held());
    while log.append(&[7; 1000]).is_ok() {}
    disk.space_limit(u64::MAX);
    let report = log.clean().expect("cleans").replaced;
    assert!(report.segments_after < report.segments_before, "neighbours are merged as ever: {report:?}");
}
