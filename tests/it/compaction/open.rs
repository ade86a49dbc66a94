//! What an open makes of a log that was cleaned.

use std::sync::Arc;

use esker::{Attached, Compaction, ErrorKind, inspect, repair};
use harness::MemoryDisk;

use super::{eager, fill, filled, in_use, read, state, verified};
use crate::support::{checkpoints, forget, segments};

#[test]
fn a_cleaned_log_without_a_checkpoint_is_refused_by_all() {
    let disk = MemoryDisk::new(1);
    let log = filled(&disk, 120);
    let _ = log.compact(&Compaction::new()).expect("compacts");
    log.close().expect("closes");
    let whole = disk.snapshot();
    for name in checkpoints(&disk) {
        let one_left = whole.snapshot();
        one_left.remove(&name);
        assert!(eager().open_on(Arc::new(one_left)).is_ok(), "without {name}");
    }
    forget(&disk);
    let error = eager().open_on(Arc::new(disk.clone())).expect_err("its versions are gone");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("was rewritten, and no checkpoint"), "{error}");
    let found = inspect::verify_on(&disk, &mut |_| {}).expect("verifies");
    assert!(found.is_damaged(), "{:?}", found.findings);
    assert_eq!(repair::plan_on(&disk).expect_err("nothing to repair it with").kind(), ErrorKind::Corrupt);
    let attached = Attached::open_on(Arc::new(disk)).expect("attaches");
    assert!(attached.refusal().is_some() || attached.state().is_err());
}

#[test]
fn a_checkpoint_that_stayed_when_it_should_have_gone_is_in_nobodys_way() {
    let disk = MemoryDisk::new(2);
    let log = filled(&disk, 60);
    log.sync().expect("syncs");
    log.background_step();
    let old = checkpoints(&disk).into_iter().map(|name| (name.clone(), disk.read_file(&name).expect("is there")));
    let old: Vec<(String, Vec<u8>)> = old.collect();
    assert!(!old.is_empty());
    fill(&log, 60..120);
    let _ = log.compact(&Compaction::new()).expect("compacts");
    let (records, entries) = (read(&log), state(&log));
    log.close().expect("closes");
    for (name, bytes) in &old {
        disk.put_file(name, bytes);
    }
    assert_eq!(verified(&disk), vec![inspect::FindingClass::Leftover; old.len()]);
    let log = eager().open_on(Arc::new(disk.clone())).expect("opens");
    assert_eq!((read(&log), state(&log)), (records, entries));
    log.close().expect("closes");
    assert!(checkpoints(&disk).len() <= 2, "{:?}", checkpoints(&disk));
}

#[test]
fn files_that_another_stands_for_are_removed_and_not_set_aside() {
    let disk = MemoryDisk::new(3);
    let log = filled(&disk, 120);
    let old: Vec<(String, Vec<u8>)> =
        segments(&disk).into_iter().map(|name| (name.clone(), disk.read_file(&name).expect("is there"))).collect();
    let _ = log.compact(&Compaction::new()).expect("compacts");
    let records = read(&log);
    log.close().expect("closes");
    let there = segments(&disk);
    let mut put = 0;
    for (name, bytes) in old.iter().filter(|(name, _)| !there.contains(name)) {
        disk.put_file(name, bytes);
        put += 1;
    }
    assert!(put > 2);
    let found = inspect::verify_on(&disk, &mut |_| {}).expect("verifies");
    assert!(!found.is_damaged());
    let leftovers = found.findings.iter().filter(|finding| finding.class == inspect::FindingClass::Leftover).count();
    assert_eq!(leftovers, put, "{:?}", found.findings);
    let log = eager().open_on(Arc::new(disk.clone())).expect("opens");
    assert_eq!((read(&log), log.recovery().removed.len()), (records, put));
    assert_eq!((disk.quarantined().len(), in_use(&disk)), (0, log.stats().segments));
}
