//! Every single operation of a repair: the process dies before it, or the power fails, or the operation does; the next repair
//! ends what this one began.

use esker::ErrorKind;
use esker::repair::{Accept, Action, Plan, apply_on, plan_on};
use harness::MemoryDisk;
use harness::repairs::{Happens, Steps, files, judge_originals};

use super::{check_repaired, frames, look, reference, truth};
use crate::support::{forget, segment_name, segments};

/// Logs with much to repair.
fn damaged() -> Vec<(&'static str, MemoryDisk)> {
    let of = |damage: &dyn Fn(&MemoryDisk)| {
        let disk = reference();
        damage(&disk);
        disk
    };
    let two = |disk: &MemoryDisk| {
        for number in [1, 3] {
            let name = segment_name(number);
            let frame = frames(disk, &name)[2];
            disk.edit_file(&name, |bytes| bytes[frame + 41] ^= 1);
        }
    };
    let lost = |disk: &MemoryDisk| {
        disk.remove(&segment_name(2));
        disk.edit_file(&segment_name(3), |bytes| bytes[..256].fill(0));
        let newest = segments(disk).pop().expect("one");
        let frame = frames(disk, &newest)[1];
        disk.edit_file(&newest, |bytes| bytes[frame + 20] ^= 1);
        disk.edit_file("anchor", |bytes| (bytes[40], bytes[552]) = (9, 9));
    };
    let ends = |disk: &MemoryDisk| {
        disk.remove(&segment_name(1));
        let newest = segments(disk).pop().expect("one");
        disk.truncate(&newest, 5000);
        forget(disk);
    };
    vec![("two", of(&two)), ("lost", of(&lost)), ("ends", of(&ends))]
}

/// What is left by a repair that ended early; what the next one makes of it goes on as any log.
fn check_left(left: &MemoryDisk, plan: &Plan, what: &str) {
    let again = truth(|truth| truth.judge_left(left, plan)).unwrap_or_else(|error| panic!("{what}: {error}"));
    check_repaired(&again, plan, what);
}

#[test]
fn the_death_of_the_process_before_each_operation_of_a_repair_leaves_what_the_next_one_ends() {
    for (name, disk) in damaged() {
        let plan = plan_on(&disk).expect("plans");
        let watched = Steps::on(&disk, Happens::Death);
        apply_on(&watched, Accept::Loss).unwrap_or_else(|error| panic!("{name}: {error}"));
        let moments = watched.taken();
        assert!(moments.len() > 10, "{name}");
        for (operation, left) in &moments {
            let what = format!("{name}: dead before {operation}");
            check_left(left, &plan, &what);
        }
        // And the repair of what is left dies too.
        for (operation, left) in moments.iter().step_by(9) {
            let watched = Steps::on(left, Happens::Death);
            apply_on(&watched, Accept::Loss).expect("repairs");
            for (second, left) in watched.taken().iter().step_by(7) {
                check_left(left, &plan, &format!("{name}: dead before {operation}, then before {second}"));
            }
        }
    }
}

#[test]
fn the_loss_of_power_before_each_operation_of_a_repair_leaves_what_the_next_one_ends() {
    for (name, disk) in damaged() {
        let plan = plan_on(&disk).expect("plans");
        let before = files(&disk);
        for seed in 0..6 {
            let watched = Steps::on(&disk.snapshot(), Happens::PowerLoss(seed));
            apply_on(&watched, Accept::Loss).unwrap_or_else(|error| panic!("{name}: {error}"));
            for (operation, left) in watched.taken() {
                let what = format!("{name}, seed {seed}: power failed before {operation}");
                judge_originals(&before, &left).unwrap_or_else(|error| panic!("{what}: {error}"));
                check_left(&left, &plan, &what);
            }
        }
    }
}

#[test]
fn an_original_that_a_death_left_unsettled_in_quarantine_is_settled_before_it_is_counted_as_kept() {
    for (name, disk) in damaged() {
        let before = files(&disk);
        let watched = Steps::on(&disk, Happens::Death);
        apply_on(&watched, Accept::Loss).unwrap_or_else(|error| panic!("{name}: {error}"));
        let unsettled = watched.taken().into_iter().filter(|(operation, _)| operation.starts_with("settle"));
        let mut images = 0;
        for ((operation, left), seed) in unsettled.flat_map(|one| (0..8).map(move |seed| (one.clone(), seed))) {
            let watched = Steps::on(&left.snapshot(), Happens::PowerLoss(seed));
            apply_on(&watched, Accept::Loss).unwrap_or_else(|error| panic!("{name}: {error}"));
            for (second, left) in watched.taken() {
                let what = format!("{name}, seed {seed}: dead before {operation}, power failed before {second}");
                judge_originals(&before, &left).unwrap_or_else(|error| panic!("{what}: {error}"));
                images += 1;
            }
        }
        assert!(images > 50, "{name}: {images}");
    }
}

#[test]
fn each_operation_of_a_repair_may_fail_and_the_next_one_ends_it() {
    for (name, disk) in damaged() {
        let plan = plan_on(&disk).expect("plans");
        let mut number = 0;
        loop {
            let left = disk.snapshot();
            let watched = Steps::on(&left, Happens::Failure(number));
            let failed = apply_on(&watched, Accept::Loss);
            let operations: Vec<String> = watched.taken().into_iter().map(|(operation, _)| operation).collect();
            let Some(operation) = operations.get(number) else {
                assert!(failed.is_ok(), "{name}");
                break;
            };
            assert_eq!(failed.expect_err(operation).kind(), ErrorKind::Io, "{name}: {operation}");
            check_left(&left, &plan, &format!("{name}: {operation} failed"));
            number += 1;
        }
        assert!(number > 10, "{name}");
    }
}

#[test]
fn originals_are_durable_in_quarantine_before_their_names_mean_something_else() {
    let (_, disk) = damaged().swap_remove(0);
    let before = files(&disk);
    let watched = Steps::on(&disk, Happens::Death);
    apply_on(&watched, Accept::Loss).expect("repairs");
    let name = segment_name(1);
    let steps: Vec<String> = watched.taken().into_iter().map(|(operation, _)| operation).collect();
    let first = steps.iter().position(|step| step.contains(&name)).expect("it is written");
    let of_it: Vec<&String> = steps[first..].iter().filter(|step| !step.starts_with("write")).take(9).collect();
    let expected = [
        format!("create {name}.original"),
        format!("sync {name}.original"),
        format!("quarantine {name}.original"),
        format!("settle {name}.original"),
        "sync directory".to_owned(),
        format!("create {name}.draft"),
        format!("sync {name}.draft"),
        format!("rename {name}"),
        "sync directory".to_owned(),
    ];
    assert!(of_it.into_iter().eq(expected.iter()), "{steps:?}");
    assert_eq!(disk.read_file(&format!("quarantine/{name}.original")).as_ref(), before.get(&name));
    assert!(!look(&disk).is_damaged());
}

#[test]
fn however_often_a_repair_is_tried_one_original_of_each_file_is_kept() {
    for (name, disk) in damaged() {
        let before = files(&disk);
        let whole = Steps::on(&disk.snapshot(), Happens::Failure(usize::MAX));
        let plan = apply_on(&whole, Accept::Loss).expect("repairs");
        let operations = whole.taken().len();
        let left = disk.snapshot();
        let mut failed = 0;
        // Each try comes a bit further than the one before it, and the last to the end.
        for number in (0..operations).chain([usize::MAX]) {
            failed += usize::from(apply_on(&Steps::on(&left, Happens::Failure(number)), Accept::Loss).is_err());
            let kept = left.quarantined();
            let originals: Vec<&String> = kept.iter().filter(|kept| kept.contains(".original")).collect();
            for original in &originals {
                let what = format!("{name}, failed at operation {number}: {original} of {kept:?}");
                let of = original.strip_suffix(".original").unwrap_or_else(|| panic!("{what}: kept twice"));
                assert_eq!(left.read_file(&format!("quarantine/{original}")).as_ref(), before.get(of), "{what}");
            }
        }
        assert!(failed > 10, "{name}: {failed} of {operations}");
        let there = |step: &&esker::repair::Step| {
            before.contains_key(&*step.file.file_name().expect("a file").to_string_lossy())
        };
        let written = plan.steps.iter().filter(|step| step.action == Action::Rewrite).filter(there).count();
        assert!(left.quarantined().iter().filter(|kept| kept.contains(".original")).count() >= written, "{name}");
        check_repaired(&left, &plan, name);
    }
}
