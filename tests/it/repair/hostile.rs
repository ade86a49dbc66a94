//! Repair of what only a forger or a cut could have left, and of what goes on being damaged: an answer, never a panic.

use std::io;
use std::sync::Mutex;

use esker::repair::{Accept, Action, apply, apply_on, plan_on};
use esker::{ErrorKind, Offset};
use harness::{Call, MemoryDisk, Watch, WatchedDisk, hostile};

use super::{actions, all_frames, check_repaired, files, frames, look, read_all, reference};
use crate::support::{append_numbered, checkpoints, numbered, open, options, segment_name, segments};

/// A number near the top, as far as places are counted.
const TOP: u64 = u64::MAX - 7;

fn put(bytes: &mut [u8], place: usize, value: u64) {
    bytes[place..place + 8].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn a_forged_end_of_a_missing_segment_is_no_place() {
    for value in [TOP, 1 << 62, (1 << 31) + 8] {
        let disk = reference();
        disk.edit_file(&segment_name(2), |bytes| {
            put(bytes, 104, value);
            hostile::mend(bytes);
        });
        disk.remove(&segment_name(1));
        assert!(look(&disk).is_damaged());
        apply_on(&disk, Accept::Loss).unwrap_or_else(|error| panic!("{value}: {error}"));
        assert!(!look(&disk).is_damaged(), "{value}: {:?}", look(&disk).findings);
        let (found, _) = read_all(&mut open(&disk).expect("opens").reader());
        assert!(!found.is_empty() && found.iter().all(|(offset, payload)| *payload == numbered(*offset)));
    }
}

#[test]
fn forged_durable_lines_are_set_aside_or_refused() {
    for (segment, position, offset) in
        [(9, TOP, 0), (9, TOP, 200), (9, 8192, 1 << 63), (3, TOP, 1 << 40), (TOP, TOP, TOP)]
    {
        let what = format!("segment {segment} position {position} offset {offset}");
        let disk = reference();
        disk.edit_file("anchor", |bytes| {
            for slot in [0, 512] {
                let slot = &mut bytes[slot..slot + 128];
                for (place, value) in [(48, segment), (56, position), (64, offset)] {
                    put(slot, place, value);
                }
                hostile::mend_slot(slot);
            }
        });
        let plan = plan_on(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        apply_on(&disk, Accept::Loss).unwrap_or_else(|error| panic!("{what}: {error}"));
        if position == TOP || offset > 1 << 32 {
            assert_eq!(plan.records_lost(), 0, "{what}: {plan:#?}");
            check_repaired(&disk, &plan, &what);
        }
        let disk = reference();
        disk.edit_file(&segment_name(3), |bytes| {
            for (place, value) in [(112, segment), (120, position), (128, offset)] {
                put(bytes, place, value);
            }
            hostile::mend(bytes);
        });
        let _answer = apply_on(&disk, Accept::Loss);
        let disk = reference();
        for name in checkpoints(&disk) {
            disk.edit_file(&name, |bytes| {
                for (place, value) in [(48, segment), (56, position), (64, offset)] {
                    put(bytes, place, value);
                }
                hostile::mend(bytes);
            });
        }
        let _answer = apply_on(&disk, Accept::Loss);
    }
}

#[test]
fn a_frame_that_lies_about_its_offset_costs_itself_and_not_the_next() {
    for delta in [0, 1, u32::MAX] {
        let what = format!("offset_delta {delta}");
        let disk = reference();
        let name = segment_name(2);
        let frame = frames(&disk, &name)[3];
        disk.edit_file(&name, |bytes| {
            bytes[frame + 24..frame + 28].copy_from_slice(&delta.to_le_bytes());
            hostile::mend(bytes);
        });
        let plan = plan_on(&disk).expect("plans");
        assert_eq!(plan.records_lost(), 1, "{what}: {plan:#?}");
        apply_on(&disk, Accept::Loss).unwrap_or_else(|error| panic!("{what}: {error}"));
        check_repaired(&disk, &plan, &what);
    }
}

#[test]
fn an_empty_file_is_repaired_on_a_real_disk_too() {
    for name in [segment_name(1), segment_name(2), "anchor".to_owned()] {
        let folder = tempfile::tempdir().expect("a folder");
        let log = options().open(folder.path()).expect("opens");
        append_numbered(&log, 0..200);
        log.sync().expect("syncs");
        log.close().expect("closes");
        let file = std::fs::OpenOptions::new().write(true).open(folder.path().join(&name)).expect("opens");
        file.set_len(0).expect("cuts");
        let done = apply(folder.path(), Accept::Loss).unwrap_or_else(|error| panic!("{name}: {error}"));
        // The anchor is a hint: it is noted anew by the open.
        assert_eq!((done.steps.is_empty(), done.anchor.is_some()), (name == "anchor", name == "anchor"), "{name}");
        assert_eq!(esker::repair::plan(folder.path()).expect("plans").steps, [], "{name}");
        let log = options().open(folder.path()).expect("opens");
        assert_eq!(log.visible(), Offset::new(200), "{name}");
        log.close().expect("closes");
        assert_eq!(esker::repair::plan(folder.path()).expect("plans").anchor, None, "{name}");
    }
}

/// Damages one segment as soon as another gets its new generation, each time in another frame.
struct Again {
    disk: MemoryDisk,
    /// Segments and places that are still to be damaged; the last one comes first.
    ahead: Mutex<Vec<(String, usize)>>,
}

impl Watch for Again {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        if matches!(call, Call::Rename(_))
            && let Some((name, frame)) = self.ahead.lock().expect("nothing panics under the lock").pop()
        {
            self.disk.edit_file(&name, |bytes| bytes[frame + 41] ^= 1);
        }
        Ok(())
    }
}

#[test]
fn damage_that_goes_on_is_an_error_and_what_was_done_stays() {
    let disk = reference();
    let frame = frames(&disk, &segment_name(1))[3];
    disk.edit_file(&segment_name(1), |bytes| bytes[frame + 41] ^= 1);
    let turns = (0..9).map(|turn| segment_name(2 - turn % 2)).zip(4..);
    let mut ahead: Vec<_> = turns.map(|(name, number)| (name.clone(), frames(&disk, &name)[number])).collect();
    ahead.reverse();
    let watched = WatchedDisk::new(disk.clone(), Again { disk: disk.clone(), ahead: Mutex::new(ahead) });
    let error = apply_on(&watched, Accept::Loss).expect_err("it never ends");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("something is left to repair"), "{error}");
    apply_on(&disk, Accept::Loss).expect("the damage ended");
    assert!(!look(&disk).is_damaged());
    assert_eq!(actions(&plan_on(&disk).expect("plans")), []);
    assert!(segments(&disk).len() >= 4);
}

#[test]
fn a_segment_that_says_it_is_another_is_not_renamed_if_what_was_durable_lies_in_it() {
    let disk = MemoryDisk::new(7);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..60);
    log.sync().expect("syncs");
    append_numbered(&log, 60..65);
    log.sync().expect("syncs");
    let within = log.stats().durable.place.segment;
    let mut number = 65;
    while log.stats().visible.place.segment == within {
        append_numbered(&log, number..number + 1);
        number += 1;
    }
    let left = disk.snapshot();
    drop(log);
    left.edit_file(&segment_name(within), |bytes| {
        put(bytes, 40, 4096);
        hostile::mend(bytes);
    });
    let error = apply_on(&left, Accept::Loss).expect_err("it contradicts itself");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(left.read_file(&segment_name(within)).is_some(), "nothing was changed");
}

/// Forges both slots of the anchor: the log was durable up to here.
pub fn claim(disk: &MemoryDisk, segment: u64, position: u64) {
    disk.edit_file("anchor", |bytes| {
        for slot in [0, 512] {
            let slot = &mut bytes[slot..slot + 128];
            put(slot, 48, segment);
            put(slot, 56, position);
            hostile::mend_slot(slot);
        }
    });
}

#[test]
fn a_claim_of_more_than_its_segment_can_hold_is_set_aside() {
    for position in [20_000, 1 << 31, (1 << 31) + 8] {
        let disk = reference();
        let last = u64::try_from(segments(&disk).len()).expect("small");
        claim(&disk, last, position);
        let plan = apply_on(&disk, Accept::NoLoss).unwrap_or_else(|error| panic!("{position}: {error}"));
        if position > 1 << 31 {
            // No segment is as long: the slots say nothing at all, which alone is nothing to repair.
            assert!(plan.steps.is_empty() && plan.anchor.is_some(), "{position}: {plan:?}");
        } else {
            assert_eq!(actions(&plan), [(Action::WriteAnchor, None)], "{position}");
        }
        check_repaired(&disk, &plan, &position.to_string());
    }
}

/// Where nobody knows how long a lost segment was, whoever says so is believed; but the gap takes no space.
#[test]
fn a_lost_segment_takes_no_space_however_long_it_is_said_to_have_been() {
    let disk = reference();
    let next = u64::try_from(segments(&disk).len()).expect("small") + 1;
    claim(&disk, next, 1 << 20);
    let before = disk.space_held();
    let done = apply_on(&disk, Accept::Loss).expect("repairs");
    assert_eq!(actions(&done), [(Action::Replace, Some(next))]);
    assert_eq!(disk.read_file(&segment_name(next)).map(|bytes| bytes.len()), Some(1 << 20));
    assert!(disk.space_held() <= before + 8192, "{before} before, {} now", disk.space_held());
    assert!(!look(&disk).is_damaged());
    let (found, _) = read_all(&mut open(&disk).expect("opens").reader());
    assert!(found.iter().all(|(offset, payload)| *payload == numbered(*offset)) && found.len() == 150);
}

/// A log that was killed, with a mark behind every second record.
fn synced_often() -> MemoryDisk {
    let disk = MemoryDisk::new(8);
    let log = open(&disk).expect("opens");
    for number in 0..4 {
        append_numbered(&log, number * 2..number * 2 + 2);
        log.sync().expect("syncs");
    }
    append_numbered(&log, 8..10);
    disk.snapshot()
}

/// What a frame says of its length counts for nothing once its body does not fit its kind: what lies in it may be whole frames,
/// and one of them the only one that says how far the log was durable.
#[test]
fn a_durable_line_inside_of_a_frame_that_lies_is_known_to_all() {
    let (left, name) = (synced_often(), segment_name(1));
    let positions = all_frames(&left, &name);
    let bytes = left.read_file(&name).expect("a file");
    let marks: Vec<usize> = positions.iter().copied().filter(|at| bytes[at + 4] == 2).collect();
    let &[.., liar, hidden] = marks.as_slice() else { panic!("{marks:?}") };
    let end = positions[positions.iter().position(|at| *at == hidden).expect("a frame") + 1];
    left.edit_file(&name, |bytes| {
        bytes[liar..liar + 4].copy_from_slice(&u32::try_from(end - liar).expect("small").to_le_bytes());
        hostile::mend(&mut bytes[..end]);
    });
    let refused = open(&left.snapshot()).expect_err("below what the last mark says");
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    assert!(look(&left).is_damaged(), "{:?}", look(&left).findings);
    let done = apply_on(&left, Accept::Loss).expect("repairs");
    assert_eq!((actions(&done), done.records_lost()), (vec![(Action::Rewrite, Some(1))], 0), "{done:#?}");
    assert!(!look(&left).is_damaged(), "{:?}", look(&left).findings);
    let (found, lost) = read_all(&mut open(&left).expect("opens").reader());
    assert!(found.iter().all(|(offset, payload)| *payload == numbered(*offset)));
    assert!(found.len() == 10 && lost.is_empty(), "{found:?}, {lost:?}");
}

/// Behind damage nobody knows which offset is the next: a frame that says another one counts as any.
#[test]
fn a_durable_line_in_a_frame_of_another_offset_is_known_to_all() {
    let (left, name) = (synced_often(), segment_name(1));
    let bytes = left.read_file(&name).expect("a file");
    let marks: Vec<usize> = all_frames(&left, &name).into_iter().filter(|at| bytes[at + 4] == 2).collect();
    let &[.., rotten, astray] = marks.as_slice() else { panic!("{marks:?}") };
    left.edit_file(&name, |bytes| {
        bytes[astray + 24] += 1;
        hostile::mend(bytes);
        bytes[rotten + 40] ^= 1;
    });
    let refused = open(&left.snapshot()).expect_err("below what the last mark says");
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    assert!(look(&left).is_damaged(), "{:?}", look(&left).findings);
    let done = apply_on(&left, Accept::Loss).expect("repairs");
    assert!(!look(&left).is_damaged(), "{:?}; {done:#?}", look(&left).findings);
    let (found, _) = read_all(&mut open(&left).expect("opens").reader());
    assert!(found.len() >= 8 && found.iter().all(|(offset, payload)| *payload == numbered(*offset)), "{found:?}");
}

/// The segment that is meant is there, and its own header says that it cannot have ended there: which of the two is wrong nobody
/// knows, and nothing is given up for it.
#[test]
fn an_end_that_a_segment_cannot_have_is_no_reason_to_give_it_up() {
    for end in [1 << 31, 1 << 20] {
        let disk = reference();
        disk.edit_file(&segment_name(2), |bytes| {
            put(bytes, 104, end);
            hostile::mend(bytes);
        });
        let before = files(&disk);
        let refused = apply_on(&disk, Accept::Loss).expect_err("two headers contradict each other");
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
        assert!(files(&disk) == before, "{end}");
    }
}

/// Under the highest number there is no log could go on.
#[test]
fn a_number_that_leads_nowhere_is_no_name_for_a_file() {
    for number in [1, 2] {
        let disk = reference();
        let log = open(&disk).expect("opens");
        append_numbered(&log, 150..300);
        let disk = disk.snapshot();
        let log = open(&disk).expect("opens in another epoch");
        append_numbered(&log, 300..310);
        let disk = disk.snapshot();
        disk.edit_file(&segment_name(number), |bytes| {
            put(bytes, 40, u64::MAX);
            hostile::mend(bytes);
        });
        let done = apply_on(&disk, Accept::Loss).unwrap_or_else(|error| panic!("{number}: {error}"));
        assert_eq!(actions(&done), [(Action::Replace, Some(number))], "{done:#?}");
        assert!(!look(&disk).is_damaged(), "{number}: {:?}", look(&disk).findings);
        let log = open(&disk).unwrap_or_else(|error| panic!("{number}: {error}"));
        append_numbered(&log, 310..400);
    }
}
