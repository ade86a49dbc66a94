//! Where a repaired log ends, if it had not been closed: what was not durable is never called so, and what an open would cut
//! never stays.

use std::sync::Arc;

use esker::repair::{Accept, Action, Plan, apply_on, plan_on};
use esker::{Attached, Commit, ErrorKind, Log};
use harness::MemoryDisk;
use harness::crash::ByDice;
use harness::memory::{Fate, NamesModel, Reached, Survival};
use harness::repairs::{Happens, Steps};

use super::{actions, all_frames, frames, look, read_all};
use crate::support::{append_numbered, at, numbered, open, segment_name, segments};

/// What is done to a log.
type Damage<'a> = &'a dyn Fn(&MemoryDisk);

/// Nothing survives but what was synced.
struct Nothing;

impl Fate for Nothing {
    fn names(&mut self) -> NamesModel {
        NamesModel::Journaled
    }

    fn change(&mut self, _: usize, _: usize) -> bool {
        false
    }

    fn length(&mut self) -> Reached {
        Reached::None
    }

    fn sector(&mut self, _: usize, _: usize) -> Survival {
        Survival::Old
    }
}

/// Of a log that was killed: 25 records durable in its first segment, and more than a hundred behind them in the page cache.
pub fn cached() -> MemoryDisk {
    let disk = MemoryDisk::new(5);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..20);
    log.sync().expect("syncs");
    append_numbered(&log, 20..25);
    log.sync().expect("syncs");
    append_numbered(&log, 25..150);
    let left = disk.snapshot();
    assert!(log.stats().durable.place.segment < log.stats().visible.place.segment);
    drop(log);
    left
}

#[test]
fn what_a_repair_did_not_sync_is_not_called_durable() {
    let newest_of = |disk: &MemoryDisk| {
        let used = |name: &String| disk.read_file(name).expect("a segment")[..8] != [0; 8];
        segments(disk).into_iter().rfind(used).expect("one")
    };
    let cut = |disk: &MemoryDisk| {
        let newest = newest_of(disk);
        let end = *all_frames(disk, &newest).last().expect("a frame");
        disk.truncate(&newest, u64::try_from(end / 512 * 512 + 1536).expect("small"));
    };
    let header = |disk: &MemoryDisk| disk.edit_file(&newest_of(disk), |bytes| bytes[140] ^= 1);
    let no_anchor = |disk: &MemoryDisk| {
        header(disk);
        disk.edit_file("anchor", |bytes| bytes.fill(7));
    };
    let damages: [(&str, Damage<'_>); 3] = [("cut", &cut), ("header", &header), ("no anchor", &no_anchor)];
    for (what, damage) in damages {
        let disk = cached();
        damage(&disk);
        let plan = plan_on(&disk).expect("plans");
        assert!(!plan.loses() && !plan.steps.is_empty(), "{what}: {plan:#?}");
        apply_on(&disk, Accept::NoLoss).expect("repairs");
        for seed in 0..20 {
            let left = match seed {
                0 => disk.lose_power(&mut Nothing),
                seed => disk.lose_power(&mut ByDice::new(harness::Dice::new(seed))),
            };
            let log = open(&left).unwrap_or_else(|error| panic!("{what}, {seed}: {error}"));
            let (found, lost) = read_all(&mut log.reader());
            assert!(found.len() >= 20 && lost.is_empty(), "{what}, {seed}: {}", found.len());
            assert!(found.iter().all(|(offset, payload)| *payload == numbered(*offset)), "{what}, {seed}");
        }
    }
}

/// Of a log that was killed, its second segment damaged below D, and torn above it where only state is stored; the third goes
/// on behind that. And the same log with nothing but the tear.
pub fn torn_inside() -> (MemoryDisk, MemoryDisk) {
    let disk = MemoryDisk::new(5);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..20);
    log.sync().expect("syncs");
    append_numbered(&log, 20..42);
    log.sync().expect("syncs");
    let first = log.stats().visible.place.segment;
    let mut number = 0;
    while log.stats().visible.place.segment < first + 2 {
        let _ = log.commit(Commit::new().state(&format!("k{number}"), &[1; 700])).expect("commits");
        number += 1;
    }
    let _ = log.append(&numbered(42)).expect("appends");
    let whole = disk.snapshot();
    drop(log);
    let name = segment_name(first);
    let found = all_frames(&whole, &name);
    let torn = found[found.len() - 5];
    whole.edit_file(&name, |bytes| bytes[torn + 60] ^= 1);
    let left = whole.snapshot();
    let below = frames(&left, &name)[2];
    left.edit_file(&name, |bytes| bytes[below + 60] ^= 1);
    (left, whole)
}

/// Keys of the state, and the offset behind the last record.
fn held(log: &Log) -> (Vec<Vec<u8>>, u64) {
    let keys = log.states(b"").expect("state").iter().map(|(key, _)| key.to_vec()).collect();
    (keys, log.visible().get())
}

#[test]
fn what_an_open_would_cut_does_not_stay_behind_a_segment_that_is_written_anew() {
    let (disk, torn) = torn_inside();
    let plan = plan_on(&disk).expect("plans");
    assert_eq!(
        actions(&plan),
        [
            (Action::WriteAnchor, None),
            (Action::Quarantine, Some(4)),
            (Action::Quarantine, Some(3)),
            (Action::Rewrite, Some(2))
        ]
    );
    assert!(plan.steps[1].to_string().contains("not known to be durable"), "{}", plan.steps[1]);
    assert!(plan.steps[3].cause.contains("is cut, as the next open would"), "{}", plan.steps[3]);
    assert_eq!(plan.records_lost(), 1, "{plan:#?}");
    assert_eq!(apply_on(&disk, Accept::Loss).expect("repairs"), plan);
    assert!(!look(&disk).is_damaged(), "{:?}", look(&disk).findings);
    assert_eq!(plan_on(&disk).expect("plans").steps, []);
    let expected = held(&open(&torn).expect("cuts"));
    assert!(!expected.0.is_empty() && expected.1 == 42, "{expected:?}");
    assert_eq!(held(&open(&disk).expect("opens")), expected);
}

/// Every record that anybody hands out is right, and the repair of what is left ends as the first would have.
fn check_left(left: &MemoryDisk, plan: &Plan, expected: &(Vec<Vec<u8>>, u64), what: &str) {
    drop(Attached::open_on(Arc::new(left.snapshot())).map(|attached| read_damaged(&mut attached.reader(), what)));
    match open(&left.snapshot()) {
        Ok(log) => assert_eq!(held(&log), *expected, "{what}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}"),
    }
    let rest = apply_on(left, Accept::Loss).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(rest.steps.len() <= plan.steps.len(), "{what}: {rest:#?}");
    assert!(!look(left).is_damaged(), "{what}: {:?}", look(left).findings);
    let log = open(left).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (found, lost) = read_all(&mut log.reader());
    assert!(found.len() >= 41 && found.iter().all(|(offset, payload)| *payload == numbered(*offset)), "{what}");
    assert_eq!(lost.iter().map(|range| range.end - range.start).sum::<u64>(), plan.records_lost(), "{what}");
}

fn read_damaged(reader: &mut esker::Reader, what: &str) {
    while let Ok(Some(batch)) = reader.poll() {
        for record in &batch {
            assert!(record.payload() == numbered(record.offset().get()), "{what}: {}", record.offset());
        }
    }
}

#[test]
fn the_end_of_a_repair_that_cuts_between_any_two_steps_leaves_what_the_next_one_ends() {
    let (disk, torn) = torn_inside();
    let expected = held(&open(&torn).expect("cuts"));
    // D in the segments that go, and nowhere else.
    let unanchored = disk.snapshot();
    unanchored.remove("anchor");
    for (disk, happens) in [(&disk, Happens::Death), (&unanchored, Happens::Death)]
        .into_iter()
        .chain((0..12).map(|seed| (&disk, Happens::PowerLoss(seed))))
    {
        let plan = plan_on(disk).expect("plans");
        let watched = Steps::on(&disk.snapshot(), happens);
        apply_on(&watched, Accept::Loss).expect("repairs");
        for (operation, left) in watched.taken() {
            let what = format!("{happens:?} before {operation}");
            if happens == Happens::Death {
                check_left(&left, &plan, &expected, &what);
                continue;
            }
            // What was not durable need not be there any more; what was is there, or told of.
            let before = plan_on(&left).unwrap_or_else(|error| panic!("{what}: {error}"));
            apply_on(&left, Accept::Loss).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(before.records_lost() <= 1, "{what}: {before:#?}");
            let (found, lost) = read_all(&mut open(&left).expect("opens").reader());
            assert!(found.iter().all(|(offset, payload)| *payload == numbered(*offset)), "{what}");
            let lost: Vec<u64> = lost.into_iter().flatten().collect();
            assert!((0..20).all(|offset| found.contains_key(&offset) || lost.contains(&offset)), "{what}: {lost:?}");
        }
    }
}

/// A log with records that a recovery cut, dead behind the tear in its segment 1; and how many records it holds.
fn with_dead_frames() -> (MemoryDisk, u64) {
    let disk = MemoryDisk::new(6);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..10);
    log.sync().expect("syncs");
    for number in 1000..1020 {
        let _ = log.append(&numbered(number)).expect("appends");
    }
    let left = disk.snapshot();
    drop(log);
    let name = segment_name(1);
    let torn = frames(&left, &name)[12];
    left.edit_file(&name, |bytes| bytes[torn + 41] ^= 1);
    let log = open(&left).expect("recovers");
    let kept = log.visible().get();
    assert_eq!((kept, log.stats().visible.place.segment), (12, 2), "{}", log.recovery());
    append_numbered(&log, kept..150);
    log.close().expect("closes");
    (left, 150)
}

#[test]
fn frames_that_a_recovery_cut_do_not_come_back_when_the_segment_that_named_the_cut_is_lost() {
    for without in [vec![2], vec![2, 3]] {
        let (disk, records) = with_dead_frames();
        for number in &without {
            disk.remove(&segment_name(*number));
        }
        let plan = apply_on(&disk, Accept::Loss).expect("repairs");
        assert!(!look(&disk).is_damaged(), "{:?}", look(&disk).findings);
        let (found, lost) = read_all(&mut open(&disk).expect("opens").reader());
        assert!(found.keys().all(|offset| *offset < 12 || *offset > 20), "{plan:#?}");
        for (offset, payload) in &found {
            let told = if (10..12).contains(offset) { offset + 990 } else { *offset };
            assert_eq!(*payload, numbered(told), "{offset}");
        }
        let lost = lost.into_iter().flatten().count();
        assert_eq!(found.len() + lost, at(records), "without {without:?}");
    }
}

#[test]
fn rot_before_a_lost_segment_of_the_same_epoch_costs_its_frame_alone() {
    let disk = super::reference();
    let name = segment_name(1);
    let all = frames(&disk, &name);
    disk.edit_file(&name, |bytes| bytes[all[3] + 41] ^= 1);
    disk.remove(&segment_name(2));
    let plan = apply_on(&disk, Accept::Loss).expect("repairs");
    let of_first: Vec<_> = plan.steps.iter().filter(|step| step.segment == Some(1)).collect();
    assert_eq!(of_first.len(), 1, "{plan:#?}");
    assert_eq!(of_first[0].lost.iter().map(|lost| lost.offsets.end.since(lost.offsets.start)).sum::<u64>(), 1);
}
