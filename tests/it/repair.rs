//! Repair: whatever is damaged, the log opens again, all that was whole is there at its offset, and the rest is a gap.

mod ends;
mod hostile;
mod names;
mod steps;
mod sweep;
mod unreadable;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use esker::inspect::{FindingClass, Verification, verify_on};
use esker::repair::{Accept, Action, Plan, StateLoss, apply_on, plan_on};
use esker::{Commit, ErrorKind, Log, Offset, Reader, RecordRef};
use harness::MemoryDisk;
use harness::repairs::{Truth, files};

use crate::support::{
    FRAMES_START, append_numbered, at, checkpoints, expected, forget, numbered, open, options, segment_name, segments,
};

const RECORDS: u64 = 150;

/// A closed log of several segments, with state and a cursor, and checkpoints.
fn reference() -> MemoryDisk {
    let disk = MemoryDisk::new(77);
    let log = open(&disk).expect("opens");
    for part in 0..5 {
        append_numbered(&log, part * 30..part * 30 + 30);
        let _ = log.commit(Commit::new().state("total", &[u8::try_from(part).expect("small")])).expect("commits");
        log.sync().expect("syncs");
    }
    let _ = log.cursor("reader").expect("is made").commit(Offset::new(20)).expect("commits");
    log.close().expect("closes");
    assert!(segments(&disk).len() >= 4, "{:?}", segments(&disk));
    disk
}

fn look(disk: &MemoryDisk) -> Verification {
    verify_on(disk, &mut |_| {}).expect("looks")
}

/// Reads over gaps: the payloads by their offsets, and the offsets that are lost.
fn read_all(reader: &mut Reader) -> (BTreeMap<u64, Vec<u8>>, Vec<std::ops::Range<u64>>) {
    let (mut found, mut lost) = (BTreeMap::new(), Vec::new());
    loop {
        match reader.poll() {
            Ok(Some(batch)) => {
                found.extend(batch.iter().map(|record| (record.offset().get(), record.payload().to_vec())));
            }
            Ok(None) => return (found, lost),
            Err(error) => {
                let ErrorKind::Gap { next } = error.kind() else { panic!("{error}") };
                let from = reader.offset();
                assert_eq!(reader.poll().expect_err("it stands").kind(), error.kind());
                assert!(error.place().is_some() && error.offset() == Some(from), "{error}");
                let skipped = reader.skip_damage().expect("steps over").expect("a gap");
                assert_eq!((skipped.records, reader.offset()), (next.since(from), next));
                lost.push(from.get()..next.get());
            }
        }
    }
}

/// What the reference log holds, as a judge asks.
fn truth<T>(judge: impl FnOnce(Truth<'_>) -> T) -> T {
    let is_right = |record: &RecordRef<'_>| record.payload() == numbered(record.offset().get());
    judge(Truth { options: &options(), is_right: &is_right, records: RECORDS, gone: &BTreeSet::new() })
}

/// Every record that is there is the right one, and every other is in a gap; how many those are.
fn check_records(reader: &mut Reader, what: &str) -> u64 {
    let lost = truth(|truth| truth.read_all(reader)).unwrap_or_else(|error| panic!("{what}: {error}"));
    lost.iter().map(|range| range.end - range.start).sum()
}

/// The log is as a repair leaves it: clean, readable from outside, and it goes on.
fn check_repaired(disk: &MemoryDisk, plan: &Plan, what: &str) {
    let outside = truth(|truth| truth.judge_repaired(disk, plan));
    outside.unwrap_or_else(|error| panic!("{what}: {error}"));
    let log = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(log.recovery().cut.is_none() || plan.torn_tail.is_some(), "{what}: {}", log.recovery());
    assert_eq!(check_records(&mut log.reader(), what), plan.records_lost(), "{what}");
    go_on(disk, log, what);
}

/// Appends, dies, opens, appends, closes: as any log.
fn go_on(disk: &MemoryDisk, log: Log, what: &str) {
    let end = log.visible().get();
    assert_eq!(end, RECORDS, "{what}");
    append_numbered(&log, end..end + 40);
    let _ = log.commit(Commit::new().state("more", "x")).expect("commits");
    log.sync().expect("syncs");
    let left = disk.snapshot();
    log.close().expect("closes");
    for disk in [disk.clone(), left] {
        let verification = look(&disk);
        assert!(!verification.is_damaged(), "{what}: {:?}", verification.findings);
        let log = open(&disk).unwrap_or_else(|error| panic!("{what}, again: {error}"));
        let (found, _) = read_all(&mut log.reader());
        assert!((end..end + 40).all(|offset| found.get(&offset) == Some(&numbered(offset))), "{what}");
        assert!(log.state("more").expect("state").is_some(), "{what}");
        log.close().expect("closes");
        assert_eq!(plan_on(&disk).expect("plans").steps, [], "{what}");
    }
}

/// Damages the reference log, repairs it, and checks everything; returns the plan that was carried out.
fn repair(what: &str, damage: impl FnOnce(&MemoryDisk)) -> (MemoryDisk, Plan) {
    let disk = reference();
    damage(&disk);
    repair_disk(what, &disk)
}

fn repair_disk(what: &str, disk: &MemoryDisk) -> (MemoryDisk, Plan) {
    let before = files(disk);
    let plan = plan_on(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(files(disk) == before, "{what}: a plan changes nothing");
    assert!(!plan.steps.is_empty(), "{what}: {:?}", look(disk).findings);
    for step in &plan.steps {
        assert!(step.lost.iter().all(|lost| lost.cause != step.cause), "{what}, said twice: {step}");
    }
    if plan.loses() {
        let refused = apply_on(disk, Accept::NoLoss).expect_err("loses something");
        assert_eq!(refused.kind(), ErrorKind::Loss, "{what}: {refused}");
        assert!(files(disk) == before, "{what}: refused, it changes nothing");
    }
    let accept = if plan.loses() { Accept::Loss } else { Accept::NoLoss };
    let done = apply_on(disk, accept).unwrap_or_else(|error| panic!("{what}: {error}\n{plan:#?}"));
    assert_eq!(done, plan, "{what}: what was done is what was planned");
    let kept: Vec<Vec<u8>> =
        disk.quarantined().iter().map(|name| disk.read_file(&format!("quarantine/{name}")).expect("kept")).collect();
    for (name, bytes) in &before {
        let same = disk.read_file(name).is_some_and(|now| now == *bytes);
        assert!(same || kept.contains(bytes) || *name == "anchor" || renamed(&plan, name), "{what}: {name} is kept");
    }
    let repaired = disk.snapshot();
    check_repaired(disk, &plan, what);
    (repaired, plan)
}

fn renamed(plan: &Plan, name: &str) -> bool {
    plan.steps.iter().any(|step| step.action == Action::Rename && step.file.ends_with(name))
}

fn actions(plan: &Plan) -> Vec<(Action, Option<u64>)> {
    plan.steps.iter().map(|step| (step.action, step.segment)).collect()
}

/// Positions of the data frames of a segment.
fn frames(disk: &MemoryDisk, name: &str) -> Vec<usize> {
    let bytes = disk.read_file(name).expect("a segment");
    all_frames(disk, name).into_iter().filter(|position| bytes[position + 4] == 1).collect()
}

/// Positions of all frames of a segment.
fn all_frames(disk: &MemoryDisk, name: &str) -> Vec<usize> {
    let bytes = disk.read_file(name).expect("a segment");
    let (mut position, mut found) = (FRAMES_START, Vec::new());
    while position + 8 <= bytes.len() {
        let length = u32::from_le_bytes(bytes[position..position + 4].try_into().expect("four bytes"));
        if length == 0 {
            break;
        }
        found.push(position);
        position += at(u64::from(length).next_multiple_of(8));
    }
    found
}

#[test]
fn a_whole_log_and_a_torn_tail_need_no_repair() {
    let disk = reference();
    assert_eq!(plan_on(&disk).expect("plans").steps, []);
    let log = open(&disk).expect("opens");
    append_numbered(&log, RECORDS..RECORDS + 3);
    let left = disk.snapshot();
    let last = segments(&left).pop().expect("one");
    let torn = *frames(&left, &last).last().expect("a frame");
    left.edit_file(&last, |bytes| bytes[torn + 40] ^= 1);
    let plan = plan_on(&left).expect("plans");
    assert_eq!((plan.steps.len(), plan.torn_tail.map(|line| at(line.place.position))), (0, Some(torn)));
    let before = files(&left);
    assert_eq!(apply_on(&left, Accept::Loss).expect("nothing to do"), plan);
    assert!(files(&left) == before);
    assert_eq!(plan_on(&disk).expect_err("a writer").kind(), ErrorKind::Locked);
    assert_eq!(apply_on(&disk, Accept::Loss).expect_err("a writer").kind(), ErrorKind::Locked);
    drop(log);
}

#[test]
fn a_rotten_body_costs_its_frame_and_nothing_else() {
    for number in 1..=segments(&reference()).len() {
        let name = segment_name(u64::try_from(number).expect("small"));
        let (disk, plan) = repair(&format!("body in {name}"), |disk| {
            let frame = frames(disk, &name)[2];
            disk.edit_file(&name, |bytes| bytes[frame + 41] ^= 4);
        });
        assert_eq!(actions(&plan), [(Action::Rewrite, u64::try_from(number).ok())]);
        assert!(plan.loses() && plan.records_lost() <= 1, "{plan:?}");
        let gaps: Vec<_> = look(&disk).findings.into_iter().map(|finding| finding.class).collect();
        assert_eq!(gaps, [FindingClass::Gap]);
    }
}

#[test]
fn a_rotten_frame_header_costs_its_frame_and_the_state_is_said_to_be_as_left() {
    let (_, plan) = repair("frame header", |disk| {
        let frame = frames(disk, &segment_name(2))[3];
        disk.edit_file(&segment_name(2), |bytes| bytes[frame + 20] ^= 4);
    });
    assert_eq!((plan.records_lost(), plan.steps[0].state), (1, StateLoss::None), "the checkpoint knows the state");
    let (disk, plan) = repair("frame header, no checkpoint", |disk| {
        forget(disk);
        let frame = frames(disk, &segment_name(2))[3];
        disk.edit_file(&segment_name(2), |bytes| bytes[frame + 20] ^= 4);
    });
    assert_eq!((plan.records_lost(), plan.steps[0].state), (1, StateLoss::AsLeft));
    let log = open(&disk).expect("opens");
    assert_eq!(log.state("total").expect("state").expect("later than the gap").value(), [4]);
}

/// Turns a bit in the first mark of a segment.
fn spoil_mark(disk: &MemoryDisk, name: &str) {
    let bytes = disk.read_file(name).expect("a segment");
    let mut mark = FRAMES_START;
    while bytes[mark + 4] != 2 {
        let length = u32::from_le_bytes(bytes[mark..mark + 4].try_into().expect("four bytes"));
        mark += at(u64::from(length).next_multiple_of(8));
    }
    disk.edit_file(name, |bytes| bytes[mark + 40] ^= 1);
}

#[test]
fn a_rotten_mark_loses_nothing() {
    let (_, plan) = repair("a mark", |disk| spoil_mark(disk, &segment_name(2)));
    assert!(!plan.loses() && plan.steps.len() == 1, "{plan:?}");
    assert!(plan.steps[0].to_string().contains("no record is lost"), "{}", plan.steps[0]);
}

#[test]
fn zeroed_stretches_stale_and_misplaced_sectors_become_gaps() {
    for number in [1, 2, 3] {
        let name = segment_name(number);
        repair(&format!("zeros in {name}"), |disk| disk.edit_file(&name, |bytes| bytes[5000..7100].fill(0)));
        repair(&format!("the first sectors of {name}"), |disk| {
            disk.edit_file(&name, |bytes| bytes[4096..5120].fill(0));
        });
        repair(&format!("misplaced in {name}"), |disk| {
            disk.edit_file(&name, |bytes| bytes.copy_within(6144..6656, 5120));
        });
        repair(&format!("stale in {name}"), |disk| {
            let other = disk.read_file(&segment_name(number % 3 + 1)).expect("a segment");
            disk.edit_file(&name, |bytes| bytes[5632..6144].copy_from_slice(&other[5632..6144]));
        });
        repair(&format!("cut {name}"), |disk| disk.truncate(&name, 6000));
    }
}

#[test]
fn a_missing_segment_becomes_a_gap_of_all_its_records() {
    let names = segments(&reference());
    for name in &names {
        let (disk, plan) = repair(&format!("without {name}"), |disk| disk.remove(name));
        assert_eq!(plan.steps[0].action, Action::Replace);
        assert!(plan.records_lost() > 0 && plan.steps[0].lost.len() == 1, "{plan:?}");
        assert!(disk.names().contains(name));
    }
    repair("without two in the middle", |disk| {
        disk.remove(&segment_name(2));
        disk.remove(&segment_name(3));
    });
    repair("without the last two", |disk| names.iter().rev().take(2).for_each(|name| disk.remove(name)));
    repair("without the first two", |disk| names.iter().take(2).for_each(|name| disk.remove(name)));
    repair("without all but one in the middle", |disk| {
        names.iter().filter(|name| **name != segment_name(2)).for_each(|name| disk.remove(name));
    });
}

#[test]
fn a_lost_header_is_put_together_and_loses_nothing() {
    let names = segments(&reference());
    for name in &names {
        for (how, lost) in [("one bit", 63..64), ("some bytes", 56..96), ("all", 0..256)] {
            let what = format!("header of {name}: {how}");
            let (_, plan) = repair(&what, |disk| {
                disk.edit_file(
                    name,
                    |bytes| {
                        if how == "one bit" { bytes[63] ^= 8 } else { bytes[lost.clone()].fill(0) }
                    },
                );
            });
            assert!(!plan.loses(), "{what}: {plan:#?}");
            let (disk, _) = repair(&format!("{what}, and no checkpoint"), |disk| {
                forget(disk);
                disk.edit_file(name, |bytes| bytes[lost.clone()].fill(0x55));
            });
            let log = open(&disk).expect("opens");
            assert_eq!(log.state("total").expect("state").expect("there").value(), [4], "{what}");
            assert_eq!(log.cursor("reader").expect("resumes").offset(), Offset::new(20), "{what}");
        }
    }
}

#[test]
fn the_header_of_a_segment_that_was_repaired_before_is_put_together_and_loses_nothing() {
    let (disk, _) = repair("a mark", |disk| spoil_mark(disk, &segment_name(2)));
    disk.edit_file(&segment_name(2), |bytes| bytes[..256].fill(0));
    let (_, plan) = repair_disk("its header", &disk);
    assert_eq!(actions(&plan), [(Action::Rewrite, Some(2))]);
    assert!(!plan.loses(), "{plan:#?}");
}

#[test]
fn a_segment_under_another_name_gets_its_own_and_a_strangers_goes() {
    let (_, plan) = repair("renamed", |disk| {
        use esker::platform::Disk as _;
        disk.rename(&segment_name(2), &segment_name(9)).expect("renames");
    });
    assert_eq!(actions(&plan), [(Action::Rename, Some(2))]);
    assert!(!plan.loses());
    let stranger = MemoryDisk::new(5);
    append_numbered(&open(&stranger).expect("opens"), 0..20);
    let bytes = stranger.read_file(&segment_name(1)).expect("a segment");
    let put = |disk: &MemoryDisk, name: &str| {
        use esker::platform::Disk as _;
        let file = disk.create(name, u64::try_from(bytes.len()).expect("small")).expect("creates");
        file.write_at(&bytes, 0).expect("writes");
    };
    let (_, plan) = repair("a stranger", |disk| put(disk, &segment_name(9)));
    assert_eq!(actions(&plan), [(Action::Quarantine, Some(9))]);
    let (_, plan) = repair("a stranger in the place of one", |disk| {
        disk.remove(&segment_name(2));
        put(disk, &segment_name(2));
    });
    assert_eq!(plan.steps[0].action, Action::Replace);
}

#[test]
fn a_segment_of_another_history_is_replaced_by_a_gap() {
    let forge = |disk: &MemoryDisk, place: usize| {
        disk.edit_file(&segment_name(3), |bytes| {
            bytes[place] ^= 1;
            bytes[12..16].fill(0);
            let sum = crc32fast::hash(&bytes[..256]);
            bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        });
    };
    for (what, place) in [("incarnation", 96), ("end", 105)] {
        let (_, plan) = repair(&format!("a link of another {what}"), |disk| forge(disk, place));
        assert!(plan.steps.iter().any(|step| step.segment == Some(2)), "{what}: {plan:?}");
    }
    // Two headers that check and contradict each other: which of them is right nobody can say.
    let disk = reference();
    forge(&disk, 80);
    let before = files(&disk);
    let refused = apply_on(&disk, Accept::Loss).expect_err("a contradiction");
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    assert!(files(&disk) == before);
}

#[test]
fn bad_checkpoints_are_set_aside_without_a_loss() {
    let disk = reference();
    let names = checkpoints(&disk);
    for name in &names {
        for place in [20, 300] {
            let (_, plan) =
                repair(&format!("{name} at {place}"), |disk| disk.edit_file(name, |bytes| bytes[place] ^= 1));
            assert!(plan.steps.iter().any(|step| step.action == Action::Quarantine && step.file.ends_with(name)));
            assert!(!plan.loses(), "{plan:?}");
        }
    }
}

#[test]
fn an_anchor_that_says_nothing_is_no_damage_for_anybody() {
    let rotten = |disk: &MemoryDisk| disk.edit_file("anchor", |bytes| (bytes[40], bytes[552]) = (9, 9));
    let gone = |disk: &MemoryDisk| disk.remove("anchor");
    let damages: [&dyn Fn(&MemoryDisk); 2] = [&rotten, &gone];
    for damage in damages {
        let disk = reference();
        damage(&disk);
        let before = files(&disk);
        let plan = apply_on(&disk, Accept::NoLoss).expect("nothing is lost");
        assert_eq!(plan.steps, []);
        assert!(plan.anchor.as_ref().is_some_and(|note| note.ends_with("the next open writes it anew")), "{plan:?}");
        assert!(files(&disk) == before);
        let found = look(&disk);
        assert!(!found.is_damaged() && found.findings.iter().all(|finding| finding.class == FindingClass::BadAnchor));
        open(&disk).expect("opens").close().expect("closes");
        assert_eq!((look(&disk).findings, plan_on(&disk).expect("plans").anchor), (vec![], None));
    }
}

#[test]
fn damage_everywhere_is_repaired_in_one_go_and_again() {
    let (disk, _) = repair("everywhere", |disk| {
        for name in segments(disk) {
            let found = frames(disk, &name);
            let (one, two) = (found[1], found[found.len() - 2]);
            disk.edit_file(&name, |bytes| (bytes[one + 41], bytes[two + 12]) = (!bytes[one + 41], !bytes[two + 12]));
        }
        disk.remove(&segment_name(2));
        disk.edit_file("anchor", |bytes| bytes[44] ^= 1);
    });
    // A repaired segment can be damaged too.
    let name = segment_name(3);
    let found = frames(&disk, &name);
    let middle = found[found.len() / 2];
    disk.edit_file(&name, |bytes| bytes[middle + 42] ^= 1);
    let verification = look(&disk);
    assert!(verification.is_damaged());
    let before = plan_on(&disk).expect("plans");
    assert_eq!(before.records_lost(), 1, "{before:?}");
    apply_on(&disk, Accept::Loss).expect("repairs");
    assert!(!look(&disk).is_damaged(), "{:?}", look(&disk).findings);
    assert_eq!(plan_on(&disk).expect("plans").steps, []);
    let log = open(&disk).expect("opens");
    truth(|truth| truth.read_all(&mut log.reader())).expect("repaired twice");
}

#[test]
fn readers_cursors_and_salvage_meet_a_typed_gap() {
    let (disk, plan) = repair("a gap", |disk| {
        let found = frames(disk, &segment_name(2));
        let (from, to) = (found[3], found[6]);
        disk.edit_file(&segment_name(2), |bytes| bytes[from..to].fill(0));
    });
    let gap = plan.steps[0].lost[0].offsets.clone();
    let (first, next) = (gap.start, gap.end);
    assert_eq!(next.since(first), 3);
    let log = open(&disk).expect("opens");
    let mut reader = log.reader();
    for offset in first.get()..next.get() {
        reader.seek(Offset::new(offset)).expect("stands in the gap");
        assert_eq!(reader.poll().expect_err("lost").kind(), ErrorKind::Gap { next });
        assert_eq!(reader.skip_damage().expect("steps").expect("over").records, next.get() - offset);
        assert_eq!(reader.poll().expect("reads").expect("records").first(), next);
    }
    reader.seek(next).expect("behind the gap");
    // Backward: what lies behind the gap, then the gap, then what lies before.
    let mut seen = RECORDS;
    reader.seek_latest();
    let error = loop {
        match reader.poll_back() {
            Ok(batch) => seen = batch.expect("not the start yet").first().get(),
            Err(error) => break error,
        }
    };
    assert_eq!((seen, error.kind(), error.offset()), (next.get(), ErrorKind::Gap { next }, Some(first)));
    reader.seek(first).expect("stands before the gap");
    assert_eq!(reader.poll_back().expect("reads").expect("records").next(), first);
    // A cursor stands until it is sought behind the gap.
    let mut cursor = log.cursor("reader").expect("resumes");
    let error = loop {
        match cursor.poll() {
            Ok(batch) => drop(cursor.commit(&batch.expect("not the end yet")).expect("commits")),
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), cursor.committed()), (ErrorKind::Gap { next }, first));
    drop(cursor);
    let mut cursor = log.cursor("reader").expect("resumes");
    assert_eq!(cursor.poll().expect_err("still lost").kind(), ErrorKind::Gap { next });
    let _ = cursor.seek(next).expect("gives them up");
    assert_eq!(cursor.poll().expect("reads").expect("records").first(), next);
    // What asks for records that are lost is not decided.
    let asks = Commit::new().if_no_record(esker::Topic::default(), "k", Offset::ZERO).record("r");
    assert_eq!(log.commit(asks).expect_err("nobody knows").kind(), ErrorKind::Gap { next });
    log.close().expect("closes");
}

#[test]
fn the_rest_of_a_rewritten_segment_is_as_it_was() {
    let disk = reference();
    let name = segment_name(1);
    let frame = frames(&disk, &name)[4];
    disk.edit_file(&name, |bytes| bytes[frame + 41] ^= 1);
    let before = disk.read_file(&name).expect("a segment");
    apply_on(&disk, Accept::Loss).expect("repairs");
    let after = disk.read_file(&name).expect("a segment");
    assert_eq!((after[48], before[48]), (1, 0), "its generation");
    let seen: Vec<_> = expected(0..4).into_iter().flatten().collect();
    assert!(!seen.is_empty());
    for place in frames(&disk, &name).into_iter().filter(|place| *place != frame) {
        let length = at(u64::from(u32::from_le_bytes(before[place..place + 4].try_into().expect("four bytes"))));
        assert_eq!(after[place + 8..place + 32], before[place + 8..place + 32], "header at {place}");
        assert_eq!(after[place + 36..place + length], before[place + 36..place + length], "body at {place}");
    }
    assert!(after[frame + 48..frame + 56].iter().all(|byte| *byte == 0), "damage is not copied");
}

/// A last file that became shorter may have lost what nothing else knows of: that is a loss, of unknown size.
#[test]
fn a_cut_last_file_is_a_loss_of_unknown_size_unless_the_log_ended_before() {
    let disk = MemoryDisk::new(3);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..20);
    log.sync().expect("syncs");
    let end = append_numbered(&log, 20..30).last().expect("some").position;
    log.sync().expect("syncs");
    let left = disk.snapshot();
    let name = segments(&left).pop().expect("one");
    left.truncate(&name, end.next_multiple_of(8) - 40);
    let before = files(&left);
    let plan = plan_on(&left).expect("plans");
    assert!(plan.loses() && plan.loses_tail(), "{plan:#?}");
    let refused = apply_on(&left, Accept::NoLoss).expect_err("durable records are gone");
    assert!(refused.kind() == ErrorKind::Loss && refused.to_string().contains("at least"), "{refused}");
    assert!(files(&left) == before, "refused, it changes nothing");
    apply_on(&left, Accept::Loss).expect("repairs");
    assert!(!look(&left).is_damaged());

    // Zeros behind the last frame say that nothing stood there.
    let left = disk.snapshot();
    left.truncate(&name, end.next_multiple_of(8) + 512);
    let plan = plan_on(&left).expect("plans");
    assert!(!plan.loses() && !plan.steps.is_empty(), "{plan:#?}");
    apply_on(&left, Accept::NoLoss).expect("repairs");
    let log = open(&left).expect("opens");
    assert_eq!(log.visible().get(), 30);
}

/// All frames are there, and not all of the zeros behind the last: an open refuses that, so a repair has to know what to do.
#[test]
fn a_segment_that_lost_only_the_padding_behind_its_last_frame_is_repaired_without_a_loss() {
    let died = MemoryDisk::new(8);
    let log = open(&died).expect("opens");
    append_numbered(&log, 0..20);
    // A frame that ends in padding, and no seal behind it: the writer dies.
    let end = log.append(&[7; 2]).expect("appends").place().position;
    let disk = died.snapshot();
    let log = open(&disk).expect("goes on");
    append_numbered(&log, 21..30);
    log.close().expect("closes");
    for missing in 1..8 {
        let left = disk.snapshot();
        left.truncate(&segment_name(1), end - missing);
        if !look(&left).is_damaged() {
            continue;
        }
        let plan = plan_on(&left).expect("plans");
        assert!(!plan.steps.is_empty(), "{missing} bytes are missing, and verify calls it damaged");
        apply_on(&left, Accept::Loss).expect("repairs");
        assert!(!look(&left).is_damaged(), "{missing} bytes were missing");
        open(&left).expect("opens");
    }
    let left = disk.snapshot();
    left.truncate(&segment_name(1), end - 1);
    assert!(look(&left).is_damaged() && !plan_on(&left).expect("plans").loses(), "only zeros are gone");
}
