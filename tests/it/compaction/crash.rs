//! A compaction dies before each of its operations, and each of them fails.

use std::io;
use std::sync::{Arc, Mutex};

use esker::{Compaction, ErrorKind};
use harness::crash::ByDice;
use harness::dice::Dice;
use harness::{Call, MemoryDisk, Watch, WatchedDisk};

use super::{check_lookups, compacted, eager, fill, filled, in_use, read, state, verified};

/// What would be left before each operation.
pub(super) struct Moments {
    pub(super) disk: MemoryDisk,
    pub(super) left: Mutex<Option<Vec<(String, MemoryDisk)>>>,
}

impl Watch for Moments {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        if let Some(left) = &mut *self.left.lock().expect("nothing panics under the lock") {
            left.push((call.to_string(), self.disk.snapshot()));
        }
        Ok(())
    }
}

/// A log that was compacted before, and has more to compact.
fn grown(seed: u64) -> MemoryDisk {
    let disk = MemoryDisk::new(seed);
    let log = filled(&disk, 300);
    let _ = log.compact(&Compaction::new()).expect("compacts");
    fill(&log, 300..600);
    log.sync().expect("syncs");
    disk.snapshot()
}

#[test]
fn a_compaction_that_dies_before_any_of_its_operations_leaves_the_log_before_or_after_each_group() {
    let disk = grown(1);
    let watched = WatchedDisk::new(disk.clone(), Moments { disk: disk.clone(), left: Mutex::new(None) });
    let log = eager().open_on(Arc::new(watched.clone())).expect("opens");
    let (all, entries) = (read(&log), state(&log));
    let kept = compacted(&all);
    *watched.left.lock().expect("free") = Some(Vec::new());
    let report = log.compact(&Compaction::new()).expect("compacts");
    let moments = watched.left.lock().expect("free").take().expect("asked for");
    assert!(report.replaced.segments_after > 1 && report.replaced.segments_before > 3, "{report:?}");
    let renames = moments.iter().filter(|(name, _)| name.starts_with("rename 0") && name.contains(".seg")).count();
    assert_eq!(u64::try_from(renames).expect("small"), report.replaced.segments_after);
    for (operation, left) in &moments {
        for seed in 0..3 {
            let what = format!("dead before {operation}, {seed}");
            let left = match seed {
                0 => left.snapshot(),
                seed => left.lose_power(&mut ByDice::new(Dice::new(seed))),
            };
            let log = eager().open_on(Arc::new(left.clone())).unwrap_or_else(|error| panic!("{what}: {error}"));
            let found = read(&log);
            assert!(found.is_sorted_by(|a, b| a.0 < b.0), "{what}");
            assert!(kept.iter().all(|seen| found.contains(seen)), "{what}: something is lost");
            assert!(found.iter().all(|seen| all.contains(seen)), "{what}: something came from nowhere");
            assert_eq!(state(&log), entries, "{what}");
            check_lookups(&log, &kept);
            assert!(log.recovery().quarantined.is_empty(), "{what}: {}", log.recovery());
            assert_eq!(in_use(&left), log.stats().segments, "{what}: {:?}", left.names());
            // What the open kept is durable, and what it removed is not needed.
            let again = left.lose_power(&mut ByDice::new(Dice::new(seed + 7)));
            let second = eager().open_on(Arc::new(again)).unwrap_or_else(|error| panic!("{what}, again: {error}"));
            assert_eq!((read(&second), state(&second)), (found, entries.clone()), "{what}, again");
            let _ = log.compact(&Compaction::new()).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!((read(&log), state(&log)), (kept.clone(), entries.clone()), "{what}");
            log.close().expect("closes");
            // The anchor may be torn.
            let _harmless = verified(&left);
        }
    }
}

/// Fails one operation.
struct Fails {
    kind: io::ErrorKind,
    /// How many go through before it; `None`: all do.
    left: Mutex<Option<usize>>,
    failed: Mutex<Option<String>>,
}

impl Watch for Fails {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        let mut left = self.left.lock().expect("nothing panics under the lock");
        match &mut *left {
            Some(0) => {
                *left = None;
                *self.failed.lock().expect("free") = Some(call.to_string());
                Err(self.kind.into())
            }
            Some(more) => {
                *more -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[test]
fn a_compaction_of_which_any_operation_fails_harms_nothing_and_can_be_done_again() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        let mut operations = 0;
        for number in 0.. {
            let disk = grown(2);
            let fails = Fails { kind, left: Mutex::new(None), failed: Mutex::new(None) };
            let watched = WatchedDisk::new(disk.clone(), fails);
            let log = eager().open_on(Arc::new(watched.clone())).expect("opens");
            let (all, entries) = (read(&log), state(&log));
            let kept = compacted(&all);
            *watched.left.lock().expect("free") = Some(number);
            let done = log.compact(&Compaction::new());
            let Some(failed) = watched.failed.lock().expect("free").take() else { break };
            operations += 1;
            let what = format!("{failed} fails: {kind}, {:?}", done.as_ref().err().map(ToString::to_string));
            if done.as_ref().is_err_and(|error| error.kind() == ErrorKind::Poisoned) {
                // A sync of the log itself.
                assert!(failed.starts_with("sync 0") && !failed.contains("draft"), "{what}");
                continue;
            }
            let found = read(&log);
            assert!(
                kept.iter().all(|seen| found.contains(seen)) && found.iter().all(|seen| all.contains(seen)),
                "{what}"
            );
            assert_eq!(state(&log), entries, "{what}");
            if done.is_err() {
                assert!(disk.names().iter().all(|name| !name.contains("draft")), "{what}: {:?}", disk.names());
            }
            fill(&log, 600..630);
            log.close().unwrap_or_else(|error| panic!("{what}: {error}"));
            let log = eager().open_on(Arc::new(disk.lose_power(&mut ByDice::new(Dice::new(3))))).expect("opens");
            let all = read(&log);
            assert_eq!(all.last().expect("records").0, 629, "{what}");
            let _ = log.compact(&Compaction::new()).unwrap_or_else(|error| panic!("{what}, then: {error}"));
            assert_eq!(read(&log), compacted(&all), "{what}");
        }
        assert!(operations > 40, "{operations}");
    }
}

#[test]
fn when_the_name_of_an_output_may_not_be_durable_nothing_is_unlinked_and_the_cleaner_stops() {
    let disk = grown(4);
    let fails = Fails { kind: io::ErrorKind::Other, left: Mutex::new(None), failed: Mutex::new(None) };
    let log = eager().open_on(Arc::new(WatchedDisk::new(disk.clone(), fails))).expect("opens");
    let (all, before) = (read(&log), in_use(&disk));
    // Of the log's own work each has had its syncs, and the run its first.
    let first = log.compact(&Compaction::new().topic(super::topic(9))).expect("merges");
    assert!(first.replaced.segments_before > 1 && in_use(&disk) < before);
    fill(&log, 600..690);
    let syncs = disk.operations().iter().filter(|name| *name == "sync directory").count();
    drop(log);
    assert!(syncs > 3);
    for number in 1..12 {
        let disk = disk.snapshot();
        let log = eager().open_on(Arc::new(disk.clone())).expect("opens");
        let all = read(&log);
        disk.fail_directory_sync(number);
        let done = log.compact(&Compaction::new());
        disk.fail_directory_sync(0);
        let Err(error) = done else { continue };
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        let kept = compacted(&all);
        let found = read(&log);
        assert!(kept.iter().all(|seen| found.contains(seen)), "{number}");
        let again = log.compact(&Compaction::new());
        if error.to_string().contains("rewritten segment") {
            assert!(again.expect_err("stopped").to_string().contains("open it again"));
            let left = disk.lose_power(&mut ByDice::new(Dice::new(number)));
            let log = eager().open_on(Arc::new(left)).unwrap_or_else(|error| panic!("{number}: {error}"));
            let found = read(&log);
            assert!(kept.iter().all(|seen| found.contains(seen)), "{number}: power was lost");
            return;
        }
    }
    panic!("none of {} was the one behind a rename; {} records", syncs, all.len());
}

#[test]
fn a_compaction_for_which_a_checkpoint_is_missing_says_so() {
    for number in 1..30 {
        let disk = grown(5);
        let log = eager().open_on(Arc::new(disk.clone())).expect("opens");
        let kept = compacted(&read(&log));
        disk.fail_sync(number);
        let done = log.compact(&Compaction::new());
        disk.fail_sync(0);
        assert_eq!(done.is_ok(), read(&log) == kept, "sync {number}: {done:?}");
    }
}

/// The group whose name could not be made durable, in a log that was closed then and is opened again by the same system.
#[test]
fn an_open_behind_a_name_that_could_not_be_made_durable_removes_nothing_before_it_is() {
    let mut seen = 0;
    for number in 1..30 {
        let disk = grown(6);
        let log = eager().open_on(Arc::new(disk.clone())).expect("opens");
        let kept = compacted(&read(&log));
        disk.fail_directory_sync(number);
        let done = log.compact(&Compaction::new());
        disk.fail_directory_sync(0);
        if !done.is_err_and(|error| error.to_string().contains("rewritten segment")) {
            continue;
        }
        seen += 1;
        let (found, entries) = (read(&log), state(&log));
        log.close().expect("closes");
        let watched =
            WatchedDisk::new(disk.clone(), Moments { disk: disk.clone(), left: Mutex::new(Some(Vec::new())) });
        let log = eager().open_on(Arc::new(watched.clone())).expect("opens");
        assert_eq!((read(&log), state(&log), in_use(&disk)), (found, entries, log.stats().segments));
        let mut moments = watched.left.lock().expect("free").take().expect("asked for");
        moments.push(("the end".to_owned(), disk.snapshot()));
        for (operation, left) in &moments {
            for seed in 0..4 {
                let what = format!("{number}, dead before {operation}, {seed}");
                let left = left.lose_power(&mut ByDice::new(Dice::new(seed)));
                let log = eager().open_on(Arc::new(left)).unwrap_or_else(|error| panic!("{what}: {error}"));
                let found = read(&log);
                assert!(kept.iter().all(|seen| found.contains(seen)), "{what}");
            }
        }
    }
    assert!(seen > 1, "{seen}");
}
