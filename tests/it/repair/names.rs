//! Files under names that are not theirs, and files of another store: nothing that is whole is given up for them.

use esker::ErrorKind;
use esker::platform::Disk as _;
use esker::repair::{Accept, Action, apply_on, plan_on};
use harness::MemoryDisk;
use harness::repairs::files;

use super::{actions, read_all, reference};
use crate::support::{append_numbered, numbered, open, segment_name, segments};

/// A log of its own, in few segments.
fn small(seed: u64, records: u64) -> MemoryDisk {
    let disk = MemoryDisk::new(seed);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..records);
    log.close().expect("closes");
    disk
}

#[test]
fn one_file_of_another_store_does_not_make_the_log_the_others() {
    // Whose identity is the greater must not decide.
    for seed in 8..14 {
        for forgotten in [None, Some("anchor"), Some(".ckp")] {
            let what = format!("store {seed}, {forgotten:?} is gone");
            let disk = small(7, 80);
            assert_eq!(segments(&disk).len(), 2, "one is replaced, one is left");
            let own = open(&disk.snapshot()).expect("opens").store_id();
            disk.remove(&segment_name(1));
            disk.put_file(&segment_name(1), &small(seed, 20).read_file(&segment_name(1)).expect("a segment"));
            for name in disk.names().iter().filter(|name| forgotten.is_some_and(|part| name.contains(part))) {
                disk.remove(name);
            }
            let refused = apply_on(&disk, Accept::NoLoss).expect_err("a segment is lost");
            assert_eq!(refused.kind(), ErrorKind::Loss, "{what}: {refused}");
            apply_on(&disk, Accept::Loss).unwrap_or_else(|error| panic!("{what}: {error}"));
            let log = open(&disk).expect("opens");
            assert_eq!(log.store_id(), own, "{what}");
            let (found, lost) = read_all(&mut log.reader());
            assert!(!found.is_empty() && found.iter().all(|(offset, payload)| *payload == numbered(*offset)), "{what}");
            assert_eq!(lost.len(), 1, "{what}");
        }
    }
}

#[test]
fn where_as_much_speaks_for_one_store_as_for_another_nothing_is_set_aside() {
    let (disk, other) = (small(7, 20), small(8, 20));
    for name in disk.names().iter().filter(|name| name.contains("anchor") || name.contains(".ckp")) {
        disk.remove(name);
    }
    disk.put_file(&segment_name(2), &other.read_file(&segment_name(1)).expect("a segment"));
    let before = files(&disk);
    for accept in [Accept::NoLoss, Accept::Loss] {
        let refused = apply_on(&disk, accept).expect_err("nobody can tell");
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
        assert!(refused.to_string().contains("whose log it is cannot be told"), "{refused}");
    }
    assert!(files(&disk) == before, "nothing is changed");
}

#[test]
fn a_segment_under_the_name_of_a_spare_gets_its_own_and_nothing_is_lost() {
    let disk = MemoryDisk::new(7);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..80);
    log.sync().expect("syncs");
    log.background_step();
    let left = disk.snapshot();
    let [.., newest, spare] = &*segments(&left) else { panic!("a segment and a spare") };
    assert!(left.read_file(spare).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0)), "{spare} is a spare");
    left.remove("anchor");
    left.rename(newest, "aside").expect("renames");
    left.rename(spare, newest).expect("renames");
    left.rename("aside", spare).expect("renames");
    let plan = apply_on(&left, Accept::NoLoss).expect("loses nothing");
    assert_eq!(plan.steps.iter().map(|step| step.action).collect::<Vec<_>>(), [Action::Rename], "{plan:?}");
    let (found, lost) = read_all(&mut open(&left).expect("opens").reader());
    assert_eq!((found.len(), lost), (80, vec![]));
}

#[test]
fn two_segments_under_each_others_names_are_not_given_up_for_one_another() {
    let disk = reference();
    let (one, other) = (segment_name(2), segment_name(3));
    disk.rename(&one, "aside").expect("renames");
    disk.rename(&other, &one).expect("renames");
    disk.rename("aside", &other).expect("renames");
    let before = files(&disk);
    let refused = apply_on(&disk, Accept::Loss).expect_err("both are whole");
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    let text = refused.to_string();
    assert!(text.contains(&one) && text.contains(&other) && text.contains("give the files the names"), "{text}");
    assert!(files(&disk) == before, "nothing is changed");
    disk.rename(&one, "aside").expect("renames");
    disk.rename(&other, &one).expect("renames");
    disk.rename("aside", &other).expect("renames");
    assert_eq!(actions(&plan_on(&disk).expect("plans")), [], "whole again");
}

#[test]
fn files_whose_names_are_all_one_too_high_or_too_low_get_their_own() {
    for too_high in [true, false] {
        let disk = reference();
        let newest = u64::try_from(segments(&disk).len()).expect("few");
        let mv = |from, to| disk.rename(&segment_name(from), &segment_name(to)).expect("renames");
        if too_high {
            (1..=newest).rev().for_each(|number| mv(number, number + 1));
        } else {
            mv(1, 50);
            (2..=newest).for_each(|number| mv(number, number - 1));
        }
        let plan = apply_on(&disk, Accept::NoLoss).unwrap_or_else(|error| panic!("too high {too_high}: {error}"));
        assert!(plan.steps.iter().all(|step| step.action == Action::Rename), "too high {too_high}: {plan:?}");
        let (found, lost) = read_all(&mut open(&disk).expect("opens").reader());
        assert_eq!((found.len(), lost), (150, vec![]), "too high {too_high}");
    }
}

#[test]
fn of_two_files_that_are_the_same_missing_segment_one_gets_its_name() {
    let disk = reference();
    disk.rename(&segment_name(2), &segment_name(20)).expect("renames");
    disk.put_file(&segment_name(21), &disk.read_file(&segment_name(20)).expect("a segment"));
    let plan = apply_on(&disk, Accept::NoLoss).expect("loses nothing");
    assert_eq!(actions(&plan), [(Action::Rename, Some(2)), (Action::Quarantine, Some(21))]);
    let (found, lost) = read_all(&mut open(&disk).expect("opens").reader());
    assert_eq!((found.len(), lost), (150, vec![]));
}
