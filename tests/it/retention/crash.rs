//! A drop dies before each of its operations.

use std::sync::{Arc, Mutex};

use esker::{Attached, ErrorKind, Start, inspect};
use harness::crash::ByDice;
use harness::dice::Dice;
use harness::memory::AfterFailure;
use harness::{Call, MemoryDisk, Watch, WatchedDisk};

use super::{at, eager, fill, filled};
use crate::support::{append_numbered, checkpoints, expected, options, payloads, segment_name, segments};

/// What would be left before each operation.
struct Moments {
    disk: MemoryDisk,
    left: Mutex<Option<Vec<(String, MemoryDisk)>>>,
}

impl Watch for Moments {
    fn before(&self, call: Call<'_>) -> std::io::Result<()> {
        if let Some(left) = &mut *self.left.lock().expect("nothing panics under the lock") {
            left.push((call.to_string(), self.disk.snapshot()));
        }
        Ok(())
    }
}

#[test]
fn a_drop_that_dies_before_any_of_its_operations_loses_nothing_that_is_held() {
    let first = MemoryDisk::new(1);
    let log = filled(&first);
    let _ = log.cursor_from("holds", Start::Offset(at(180))).expect("is made");
    assert_eq!(log.drop_before(at(100)).expect("drops"), at(100));
    // No checkpoint comes between the two: frames alone say where the log begins, and no mark follows the second.
    let disk = first.snapshot();
    let watched = WatchedDisk::new(disk.clone(), Moments { disk: disk.clone(), left: Mutex::new(None) });
    let log = eager().open_on(Arc::new(watched.clone())).expect("opens");
    *watched.left.lock().expect("free") = Some(Vec::new());
    assert_eq!(log.drop_before(at(250)).expect("drops"), at(180), "as far as nothing holds it");
    let moments = watched.left.lock().expect("free").take().expect("asked for");
    let names: Vec<&str> = moments.iter().map(|(name, _)| name.as_str()).collect();
    let unlinks = names.iter().filter(|name| name.starts_with("unlink") && name.contains(".seg")).count();
    let first = names.iter().position(|name| name.starts_with("unlink") && name.contains(".seg")).expect("some go");
    assert!(unlinks > 1 && names[first - 1].starts_with("sync 00"), "{names:?}");
    for (operation, left) in &moments {
        for seed in 0..6 {
            let what = format!("dead before {operation}, {seed}");
            let left = match seed {
                0 => left.snapshot(),
                seed => left.lose_power(&mut ByDice::new(Dice::new(seed))),
            };
            let attached = Attached::open_on(Arc::new(left.clone())).expect("attaches").start();
            let log = eager().open_on(Arc::new(left.clone())).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!([at(100), at(180)].contains(&log.start()) && attached == log.start(), "{what}");
            assert_eq!(payloads(&log), expected(log.start().get()..300), "{what}");
            assert_eq!(log.cursor("holds").expect("resumes").offset(), at(180), "{what}");
            for second in 0..4 {
                // What a recovery kept is durable, also where the start line was not when the process died.
                let again = left.lose_power(&mut ByDice::new(Dice::new(second)));
                let log =
                    eager().open_on(Arc::new(again)).unwrap_or_else(|error| panic!("{what}, then {second}: {error}"));
                assert_eq!(payloads(&log), expected(log.start().get()..300), "{what}, then {second}");
            }
            if log.start() > at(100) {
                assert!(segments(&left).len() < segments(&disk).len() + 4, "{what}: {:?}", segments(&left));
            }
            assert_eq!(log.drop_before(at(180)).expect("drops"), at(180), "{what}");
            log.close().expect("closes");
            let found = inspect::verify_on(&left, &mut |_| {}).expect("verifies");
            assert!(!found.is_damaged(), "{what}: {:?}", found.findings);
        }
    }
}

#[test]
fn checkpoints_whose_names_were_given_up_before_the_open_let_nothing_go() {
    for seed in 0..16 {
        let disk = MemoryDisk::new(seed);
        for (numbers, failing) in [(0..150, 1), (150..250, 1)] {
            let log = options().open_on(Arc::new(disk.clone())).expect("opens");
            append_numbered(&log, numbers);
            log.sync().expect("syncs");
            disk.fail_directory_sync(failing);
            log.close().expect("closes");
        }
        let log = options().open_on(Arc::new(disk.clone())).expect("opens");
        assert_eq!(log.drop_before(at(100)).expect("drops"), at(100));
        assert!(!segments(&disk).contains(&segment_name(1)), "{:?}", segments(&disk));
        for second in 0..8 {
            let left = disk.lose_power(&mut ByDice::new(Dice::new(second)));
            let log = options().open_on(Arc::new(left)).unwrap_or_else(|error| panic!("{seed}, {second}: {error}"));
            assert_eq!((log.start(), payloads(&log)), (at(100), expected(100..250)), "{seed}, {second}");
        }
    }
}

#[test]
fn a_start_that_could_not_be_made_durable_gets_into_no_checkpoint() {
    let disk = MemoryDisk::new(1);
    let log = eager().open_on(Arc::new(disk.clone())).expect("opens");
    let mut holds = log.cursor("holds").expect("is made");
    append_numbered(&log, 0..50);
    log.sync().expect("syncs");
    let _ = holds.commit(at(5)).expect("commits");
    disk.fail_sync_leaving(1, AfterFailure::Reverted);
    let error = log.drop_before(at(5)).expect_err("its sync fails, and takes the commit with it");
    assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
    // A checkpoint is due.
    log.background_step();
    drop((holds, log));
    let log = eager().open_on(Arc::new(disk.lose_power(&mut ByDice::new(Dice::new(1))))).expect("opens");
    assert_eq!(log.start(), at(0));
    assert_eq!(log.cursor("holds").expect("holds").offset(), at(0));
    assert_eq!(payloads(&log), expected(0..50));
}

#[test]
fn what_a_death_left_below_the_start_stays_until_two_checkpoints_of_this_process_let_it_go() {
    let disk = MemoryDisk::new(1);
    let log = filled(&disk);
    let watched = WatchedDisk::new(disk.clone(), Moments { disk: disk.clone(), left: Mutex::new(None) });
    log.close().expect("closes");
    let log = eager().open_on(Arc::new(watched.clone())).expect("opens");
    *watched.left.lock().expect("free") = Some(Vec::new());
    assert_eq!(log.drop_before(at(200)).expect("drops"), at(200));
    let moments = watched.left.lock().expect("free").take().expect("asked for");
    let dies = |(operation, _): &&(String, MemoryDisk)| operation.starts_with("unlink") && operation.contains(".seg");
    let (_, left) = moments.iter().find(dies).expect("some go");
    left.remove(&checkpoints(left)[0]);
    let log = eager().open_on(Arc::new(left.clone())).expect("opens");
    assert_eq!(log.start(), at(200));
    assert!(segments(left).contains(&segment_name(1)), "one checkpoint is left, and may rot");
    assert_eq!(log.drop_before(at(200)).expect("is dropped"), at(200));
    assert!(segments(left).contains(&segment_name(1)), "nor does a drop that has nothing to drop let them go");
    fill(&log, 300..400);
    assert_eq!(log.drop_before(at(200)).expect("is dropped"), at(200));
    assert!(!segments(left).contains(&segment_name(1)), "{:?}", segments(left));
}
