//! Stretches that the disk does not give back: found with their place, and repaired as any other damage.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use esker::inspect::{FindingClass, verify_on};
use esker::platform::{Disk as _, File};
use esker::repair::{Accept, apply_on, plan_on};
use esker::{Options, Reader};
use harness::{Call, MemoryDisk, Watch, WatchedDisk};

use super::ends::{cached, torn_inside};
use super::{check_records, check_repaired, frames, look, read_all, reference};
use crate::support::{numbered, open, options, segment_name, segments};

const PAGE: u64 = 4096;
/// What Linux says of a sector that the medium lost.
const EIO: i32 = 5;

/// A part of one file that cannot be read, under whatever name.
struct BadSector {
    inode: u64,
    range: Range<u64>,
}

impl BadSector {
    fn on(disk: &MemoryDisk, name: &str, range: Range<u64>) -> WatchedDisk<Self> {
        let file = disk.open(name, esker::platform::Access::Read).expect("opens");
        let inode = file.identity().expect("has one").inode;
        WatchedDisk::new(disk.clone(), Self { inode, range })
    }
}

impl Watch for BadSector {
    fn before(&self, _: Call<'_>) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, file: &dyn File, _: &str, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let end = position + u64::try_from(buffer.len()).expect("small");
        if file.identity()?.inode == self.inode && position < self.range.end && self.range.start < end {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        file.read_at(buffer, position)
    }
}

#[test]
fn an_unreadable_sector_is_found_with_its_place_and_hides_nothing() {
    let disk = reference();
    let whole = verify_on(&disk, &mut |_| {}).expect("looks");
    let bad = BadSector::on(&disk, &segment_name(2), 2 * PAGE + 512..2 * PAGE + 1024);
    let found = verify_on(&bad, &mut |_| {}).expect("an unreadable sector is a finding");
    assert!(found.is_damaged());
    let said = |finding: &&esker::inspect::Finding| finding.cause.contains("cannot be read: ");
    let unreadable: Vec<_> = found.findings.iter().filter(said).collect();
    assert_eq!(unreadable.len(), 1, "{:?}", found.findings);
    let finding = unreadable[0];
    assert_eq!((finding.class, finding.segment, finding.position), (FindingClass::BodyRot, Some(2), Some(2 * PAGE)));
    assert_eq!(finding.file, disk.directory().join(segment_name(2)));
    assert!(finding.cause.contains("4096 bytes"), "{finding}");
    assert!(found.findings.iter().all(|finding| finding.segment == Some(2)), "{:?}", found.findings);
    assert_eq!((found.segments, found.end), (whole.segments, whole.end));
    assert!(found.records < whole.records && found.records > whole.records - 40, "{}", found.records);
    // Without an error of the medium no file is unreadable.
    assert!(!whole.is_damaged() && !whole.findings.iter().any(|finding| said(&finding)));
}

#[test]
fn an_open_that_does_not_need_an_unreadable_sector_goes_on() {
    let disk = reference();
    let bad = BadSector::on(&disk, &segment_name(1), PAGE..2 * PAGE);
    let log = Options::new().segment_bytes(16 * 1024).open_on(Arc::new(bad)).expect("the end of the log can be read");
    assert_eq!(log.append(b"more").expect("appends").offset().get(), super::RECORDS);
}

#[test]
fn any_unreadable_page_is_repaired_and_costs_its_frames_at_most() {
    let disk = reference();
    for name in segments(&disk) {
        let length = u64::try_from(disk.read_file(&name).expect("a file").len()).expect("small");
        for at in (0..length).step_by(usize::try_from(PAGE).expect("small")) {
            let what = format!("{name} at {at}");
            let left = disk.snapshot();
            let original = left.read_file(&name).expect("a file");
            let bad = BadSector::on(&left, &name, at + 100..at + 200);
            let plan = plan_on(&bad).unwrap_or_else(|error| panic!("{what}: {error}"));
            let found = verify_on(&bad, &mut |_| {}).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(found.is_damaged(), !plan.steps.is_empty(), "{what}: {:?}, {plan:?}", found.findings);
            if plan.steps.is_empty() {
                // Behind the end that the next segment names; nobody looks there.
                continue;
            }
            assert!(plan.steps.iter().any(|step| step.cause.contains("cannot be read: ")), "{what}: {plan:?}");
            assert!(plan.records_lost() < 60, "{what}: {plan:?}");
            let accept = if plan.loses() { Accept::Loss } else { Accept::NoLoss };
            let done = apply_on(&bad, accept).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(done, plan, "{what}");
            // All of it that can be read is kept.
            let copy = left.read_file(&format!("quarantine/{name}.original")).expect("kept");
            let (start, end) = (usize::try_from(at).expect("small"), usize::try_from(at + PAGE).expect("small"));
            assert!(copy[..start] == original[..start] && copy[end..] == original[end..], "{what}");
            let verified = verify_on(&bad, &mut |_| {}).expect("looks");
            assert!(!verified.is_damaged(), "{what}: {:?}", verified.findings);
            check_repaired(&left, &plan, &what);
        }
    }
}

#[test]
fn what_lies_on_both_sides_of_an_unreadable_sector_is_read_as_before() {
    let disk = reference();
    let bad = BadSector::on(&disk, &segment_name(2), PAGE + 1000..PAGE + 1001);
    let plan = apply_on(&bad, Accept::Loss).expect("repairs");
    let attached = esker::Attached::open_on(Arc::new(bad)).expect("attaches");
    let mut reader: Reader = attached.reader();
    assert_eq!(check_records(&mut reader, "repaired"), plan.records_lost());
    assert!(plan.records_lost() > 0);
}

#[test]
fn an_unreadable_page_of_a_log_that_was_killed_does_not_keep_it_from_opening() {
    let spare = reference();
    spare.create("0000000009.seg", 16 * 1024).expect("creates");
    for (what, disk) in [("cached", cached()), ("torn", torn_inside().1), ("spare", spare)] {
        for name in segments(&disk) {
            let length = u64::try_from(disk.read_file(&name).expect("a file").len()).expect("small");
            for at in (0..length).step_by(usize::try_from(PAGE).expect("small")) {
                let what = format!("{what}, {name} at {at}");
                let bad = BadSector::on(&disk.snapshot(), &name, at..at + 1);
                let refused = options().open_on(Arc::new(BadSector::on(&disk.snapshot(), &name, at..at + 1))).is_err();
                let found = verify_on(&bad, &mut |_| {}).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(found.is_damaged() || !refused, "{what}: {:?}", found.findings);
                let done = apply_on(&bad, Accept::Loss).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(found.is_damaged() <= !done.steps.is_empty(), "{what}: {:?}, {done:?}", found.findings);
                let left = verify_on(&bad, &mut |_| {}).expect("looks");
                assert!(!left.is_damaged(), "{what}: {:?}; {done:?}", left.findings);
                let log = options()
                    .open_on(Arc::new(bad.clone()))
                    .unwrap_or_else(|error| panic!("{what}: {error}; {done:?}"));
                let mut reader = log.reader();
                let mut seen = 0;
                loop {
                    match reader.poll() {
                        Ok(Some(batch)) => {
                            assert!(batch.iter().all(|it| it.payload() == numbered(it.offset().get())), "{what}");
                            seen += batch.iter().count();
                        }
                        Ok(None) => break,
                        Err(_) => assert!(reader.skip_damage().expect("a gap").is_some(), "{what}"),
                    }
                }
                let lost = usize::try_from(done.records_lost()).expect("few");
                assert!(seen + lost >= 20, "{what}: {seen} and {lost}; {done:?}");
            }
        }
    }
}

/// What was acknowledged behind a page that cannot be read may have no mark yet, and one may stand in that page.
#[test]
fn what_stands_behind_an_unreadable_page_is_not_given_up_unless_the_loss_is_accepted() {
    let (mut refused, mut kept) = (0, 0);
    let cached = cached();
    for name in segments(&cached) {
        let length = u64::try_from(cached.read_file(&name).expect("a file").len()).expect("small");
        for at in (0..length).step_by(usize::try_from(PAGE).expect("small")) {
            let what = format!("{name} at {at}");
            let left = cached.snapshot();
            let bad = BadSector::on(&left, &name, at..at + 1);
            let plan = plan_on(&bad).unwrap_or_else(|error| panic!("{what}: {error}"));
            let applied = apply_on(&bad, Accept::NoLoss);
            if plan.loses() {
                assert_eq!(applied.expect_err("it loses").kind(), esker::ErrorKind::Loss, "{what}");
                refused += 1;
                continue;
            }
            applied.unwrap_or_else(|error| panic!("{what}: {error}"));
            let (found, lost) = read_all(&mut open(&bad.disk).expect("opens").reader());
            assert!(found.len() == 150 && lost.is_empty(), "{what}: {}, {plan:#?}", found.len());
            kept += 1;
        }
    }
    assert!(refused > 5 && kept > 0, "{refused}, {kept}");
}

/// A log with a rotten frame in its first segment.
fn rotten() -> MemoryDisk {
    let disk = reference();
    let name = segment_name(1);
    let frame = frames(&disk, &name)[3];
    disk.edit_file(&name, |bytes| bytes[frame + 41] ^= 1);
    disk
}

#[test]
fn a_copy_in_quarantine_that_cannot_be_read_is_no_reason_not_to_repair() {
    let disk = rotten();
    let original = disk.read_file(&segment_name(1)).expect("a file");
    apply_on(&disk, Accept::Loss).expect("repairs");
    let copy = format!("quarantine/{}.original", segment_name(1));
    disk.remove(&segment_name(1));
    disk.put_file(&segment_name(1), &original);
    let bad = BadSector::on(&disk, &copy, 0..1);
    apply_on(&bad, Accept::Loss).expect("repairs");
    assert!(!look(&disk).is_damaged());
    assert_eq!(disk.read_file(&format!("{copy}.1")), Some(original), "another copy is kept");
}

#[test]
fn a_draft_that_cannot_be_read_is_not_in_the_way() {
    let disk = rotten();
    let draft = format!("{}.draft", segment_name(1));
    disk.put_file(&draft, &[1; 9000]);
    apply_on(&BadSector::on(&disk, &draft, 0..9000), Accept::Loss).expect("repairs");
    assert!(!look(&disk).is_damaged() && disk.read_file(&draft).is_none());
}

/// Reads that ask for the frame at the end of a checkpoint fail, and not for the medium.
struct Unwell;

impl Watch for Unwell {
    fn before(&self, _: Call<'_>) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, file: &dyn File, name: &str, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        const HEADER_AND_GAP: usize = 48;
        if name != "anchor" && buffer.len() == HEADER_AND_GAP {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        }
        file.read_at(buffer, position)
    }
}

#[test]
fn a_read_that_fails_says_nothing_of_a_checkpoint() {
    let disk = rotten();
    let error = plan_on(&WatchedDisk::new(disk.clone(), Unwell)).expect_err("a segment could not be read");
    assert_eq!(error.kind(), esker::ErrorKind::Io, "{error}");
    assert!(plan_on(&disk).expect("plans").steps.len() == 1);
}
