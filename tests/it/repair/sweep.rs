//! The reference log with one damage after the other: whatever it is, the repaired log is clean and every record is right.

use std::fmt::Write as _;

use esker::repair::{Accept, apply_on, plan_on};
use esker::{Commit, ErrorKind};
use harness::MemoryDisk;

use super::{check_repaired, look, read_all, reference};
use crate::support::{append_numbered, checkpoints, numbered, open, segments};

/// How often several files are damaged at random.
const ROUNDS: u64 = 200;

/// Damage to a file.
type Edit<'a> = &'a dyn Fn(&mut [u8]);

/// Repairs, if there is something to repair, and checks.
fn repaired(disk: &MemoryDisk, what: &str) -> bool {
    let plan = match plan_on(disk) {
        Ok(plan) => plan,
        Err(error) if error.kind() == ErrorKind::Incompatible => return false,
        Err(error) => panic!("{what}: {error}"),
    };
    let damaged = look(disk).is_damaged();
    if plan.steps.is_empty() {
        assert!(!damaged, "{what}: {:?}", look(disk).findings);
        return false;
    }
    let done = apply_on(disk, Accept::Loss).unwrap_or_else(|error| panic!("{what}: {error}\n{plan:#?}"));
    assert_eq!(done, plan, "{what}");
    check_repaired(disk, &plan, what);
    true
}

fn names(disk: &MemoryDisk) -> Vec<String> {
    let mut names = segments(disk);
    names.extend(checkpoints(disk));
    names.extend(disk.names().into_iter().filter(|name| name == "anchor"));
    names
}

/// Where the frames of a file end, about: what lies behind is zero.
fn used(disk: &MemoryDisk, name: &str) -> usize {
    let bytes = disk.read_file(name).expect("a file");
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[test]
fn a_bit_that_turned_anywhere_is_repaired() {
    let reference = reference();
    let mut repaired_ones = 0;
    for name in names(&reference) {
        for (number, place) in (0..used(&reference, &name)).step_by(113).enumerate() {
            let disk = reference.snapshot();
            disk.edit_file(&name, |bytes| bytes[place] ^= 1 << (number % 8));
            repaired_ones += u64::from(repaired(&disk, &format!("{name}: bit at {place}")));
        }
    }
    assert!(repaired_ones > 200, "{repaired_ones}");
}

#[test]
fn sectors_that_are_zero_swapped_or_copied_are_repaired() {
    let reference = reference();
    let mut repaired_ones = 0;
    for name in names(&reference) {
        let used = used(&reference, &name);
        for place in (0..used.saturating_sub(511)).step_by(512) {
            let other = 4096 + (place * 7 + 512) % used.saturating_sub(4608).max(512) / 512 * 512;
            let edits: [(&str, Edit<'_>); 3] = [
                ("zero", &|bytes| bytes[place..place + 512].fill(0)),
                ("copied", &|bytes| {
                    if other + 512 <= bytes.len() {
                        bytes.copy_within(other..other + 512, place);
                    }
                }),
                ("ones", &|bytes| bytes[place..place + 512].fill(0xff)),
            ];
            for (how, edit) in edits {
                let disk = reference.snapshot();
                disk.edit_file(&name, edit);
                repaired_ones += u64::from(repaired(&disk, &format!("{name}: sector at {place} {how}")));
            }
        }
    }
    assert!(repaired_ones > 100, "{repaired_ones}");
}

#[test]
fn files_that_are_cut_or_missing_are_repaired_also_two_at_once() {
    let reference = reference();
    let names = names(&reference);
    for name in &names {
        let length = reference.read_file(name).expect("a file").len();
        for cut in (0..length).step_by(509) {
            let disk = reference.snapshot();
            disk.truncate(name, u64::try_from(cut).expect("small"));
            repaired(&disk, &format!("{name} cut at {cut}"));
        }
        for other in &names {
            let disk = reference.snapshot();
            disk.remove(name);
            if other != name {
                disk.remove(other);
            }
            if !segments(&disk).is_empty() {
                repaired(&disk, &format!("without {name} and {other}"));
            }
        }
    }
}

/// A few damages, at random places of all files but one.
fn scribble(disk: &MemoryDisk, next: &mut impl FnMut(usize) -> usize) -> String {
    let mut what = String::new();
    for _ in 0..=next(5) {
        // The anchor stays: where nothing says how far the log was durable, what is lost at its end is not missed.
        let all: Vec<String> = names(disk).into_iter().filter(|name| name != "anchor").collect();
        let name = &all[next(all.len())];
        let used = used(disk, name).max(1024);
        let (kind, place, bytes) = (next(6), next(used), 1 + next(1500));
        write!(what, "{kind} in {name} at {place} of {bytes}; ").expect("a text takes all");
        let length = disk.read_file(name).expect("a file").len();
        let end = (place + bytes).min(length);
        match kind {
            0 if end > place => disk.edit_file(name, |file| file[place] ^= 1 << (bytes % 8)),
            1 if end > place => disk.edit_file(name, |file| file[place..end].fill(0)),
            2 if end > place => {
                disk.edit_file(name, |file| file[place..end].fill(u8::try_from(bytes % 251).expect("small")));
            }
            3 if end > place => disk.edit_file(name, |file| {
                let to = bytes * 7 % (length - (end - place) + 1);
                file.copy_within(place..end, to);
            }),
            4 if place < length => disk.truncate(name, u64::try_from(place).expect("small")),
            5 if segments(disk).len() > 1 => disk.remove(name),
            _ => {}
        }
    }
    what
}

#[test]
fn several_damages_at_once_are_repaired_or_what_is_left_is_no_log() {
    let (mut seed, mut repaired_ones) = (0x1234_79b9_7f4a_7c15_u64, 0);
    let mut next = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 33).expect("fits") % below
    };
    let reference = reference();
    for round in 0..ROUNDS {
        let disk = reference.snapshot();
        let what = format!("round {round}: {}", scribble(&disk, &mut next));
        repaired_ones += u64::from(repaired(&disk, &what));
    }
    assert!(repaired_ones > ROUNDS / 2, "{repaired_ones}");
}

/// What a death of the process leaves: durable up to somewhere, visible behind it.
fn killed() -> (MemoryDisk, u64) {
    let disk = MemoryDisk::new(78);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..70);
    let _ = log.commit(Commit::new().state("total", "1")).expect("commits");
    log.sync().expect("syncs");
    append_numbered(&log, 70..75);
    log.sync().expect("syncs");
    let durable = 75;
    append_numbered(&log, durable..120);
    (disk.snapshot(), durable)
}

#[test]
fn a_log_that_was_not_closed_keeps_what_was_durable_and_ends_where_an_open_would_end_it() {
    let (reference, durable) = killed();
    let check = |disk: &MemoryDisk, what: &str| {
        let plan = plan_on(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        if plan.steps.is_empty() {
            assert!(!look(disk).is_damaged(), "{what}: {:?}", look(disk).findings);
        } else {
            assert_eq!(apply_on(disk, Accept::Loss).unwrap_or_else(|error| panic!("{what}: {error}")), plan, "{what}");
        }
        assert!(!look(disk).is_damaged(), "{what}: {:?}", look(disk).findings);
        assert_eq!(plan_on(disk).expect("plans").steps, [], "{what}");
        let log = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (found, lost) = read_all(&mut log.reader());
        assert!(found.iter().all(|(offset, payload)| *payload == numbered(*offset)), "{what}");
        let known = |offset: u64| found.contains_key(&offset) || lost.iter().any(|range| range.contains(&offset));
        // The mark of the last sync tells of what the sync before it made durable.
        assert!((0..70).all(known), "{what}: up to {durable}, {:?}, {lost:?}", found.keys());
        append_numbered(&log, log.visible().get()..log.visible().get() + 5);
        log.close().expect("closes");
        assert!(!look(disk).is_damaged(), "{what}: {:?}", look(disk).findings);
        drop(open(disk).unwrap_or_else(|error| panic!("{what}: {error}")));
    };
    for name in segments(&reference) {
        let used = used(&reference, &name);
        for place in (0..used).step_by(97) {
            let disk = reference.snapshot();
            disk.edit_file(&name, |bytes| bytes[place] ^= 0x10);
            check(&disk, &format!("{name}: bit at {place}"));
            let disk = reference.snapshot();
            disk.edit_file(&name, |bytes| bytes[place..(place + 700).min(used)].fill(0));
            check(&disk, &format!("{name}: zeros at {place}"));
        }
        let disk = reference.snapshot();
        disk.remove(&name);
        check(&disk, &format!("without {name}"));
    }
}
