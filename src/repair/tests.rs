//! Logs from which records were dropped are checked, taken apart, read over damage, and repaired.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Accept, apply, plan};
use crate::error::ErrorKind;
use crate::inspect::{FindingClass, FrameRow, dissect, verify};
use crate::log::{Attached, Log, Reader, Salvage, Salvaged, rewrite_again, rewritten};
use crate::types::{Offset, index};

fn segments(folder: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(folder).expect("lists").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = names.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    files.sort();
    files
}

fn rows(file: &Path) -> Vec<FrameRow> {
    let dissection = dissect(file).expect("opens");
    assert_eq!(dissection.header_fault, None);
    let end = dissection.end.map_or(u64::MAX, |end| end.position);
    let rows = dissection.frames().map(|row| row.expect("reads"));
    rows.filter(|row| row.position < end && row.kind != "zero").collect()
}

/// The offsets of all records that salvage finds, and how many damages.
fn salvage(folder: &Path) -> (Vec<u64>, usize) {
    let (mut offsets, mut damages) = (Vec::new(), 0);
    for item in Salvage::open(folder).expect("opens") {
        match item.expect("reads") {
            Salvaged::Batch(batch) => offsets.extend(batch.iter().map(|record| record.offset().get())),
            Salvaged::Damage { error, skipped } => {
                assert!(skipped.is_some(), "something whole follows: {error}");
                damages += 1;
            }
        }
    }
    (offsets, damages)
}

/// The offsets of all records before the position, and the ranges that gaps take.
fn back(reader: &mut Reader) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (mut offsets, mut gaps) = (Vec::new(), Vec::new());
    loop {
        match reader.poll_back() {
            Ok(Some(batch)) => offsets.extend(batch.iter_back().map(|record| record.offset().get())),
            Ok(None) => break,
            Err(error) => match (error.kind(), error.offset()) {
                (ErrorKind::Gap { next }, Some(first)) => {
                    gaps.push((first.get(), next.get()));
                    reader.seek(first).expect("inside the log");
                }
                _ => panic!("{error}"),
            },
        }
    }
    offsets.reverse();
    gaps.reverse();
    (offsets, gaps)
}

#[test]
fn a_gap_stays_what_it_is_when_records_around_it_are_dropped() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (kept, _) = rewritten(folder.path());
    let file = &segments(folder.path())[2];
    let mut bytes = fs::read(file).expect("reads");
    let rows = rows(file);
    let (first, second) = (&rows[4], &rows[9]);
    let of =
        |row: &FrameRow| row.first_offset.expect("known").get()..row.first_offset.expect("known").get() + row.offsets;
    for row in [first, second] {
        assert!(row.offsets > 0);
        bytes[index(row.position) + 40] ^= 1;
    }
    fs::write(file, bytes).expect("writes");
    apply(folder.path(), Accept::Loss).expect("repairs");
    // The frames right before the first gap, and right behind the second, lose all of their three records.
    let beside =
        |offset: u64| (offset < of(first).start && offset + 3 >= of(first).start) || offset / 3 * 3 == of(second).end;
    let goes = |offset: u64| offset.is_multiple_of(5) || beside(offset);
    let active = rewrite_again(folder.path(), |offset| !goes(offset));
    assert!(active > of(second).end);
    let lost = |offset: u64| of(first).contains(&offset) || of(second).contains(&offset);
    let stays = |offset: &u64| !lost(*offset) && (*offset >= active || !goes(*offset));
    let left: Vec<u64> = kept.iter().copied().filter(stays).collect();
    assert_eq!(salvage(folder.path()), (left.clone(), 2));
    let gaps = [of(first), of(second)].map(|range| (range.start, range.end));
    let mut reader = Attached::open(folder.path()).expect("attaches").reader();
    reader.seek_latest();
    assert_eq!(back(&mut reader), (left.clone(), gaps.to_vec()));
    for (start, end) in gaps {
        reader.seek(Offset::new(start)).expect("inside the log");
        let found = reader.poll_back().expect("nothing is lost there").expect("records");
        let before = left.partition_point(|offset| *offset < start);
        assert_eq!(found.iter_back().next().map(|record| record.offset().get()), left[..before].last().copied());
        for offset in left[before - 1] + 1..end {
            reader.seek(Offset::new(offset)).expect("inside the log");
            let error = reader.poll().expect_err("a gap");
            let told = error.offset().expect("known").get();
            assert_eq!((error.kind(), told), (ErrorKind::Gap { next: Offset::new(end) }, offset.max(start)));
            let skipped = reader.skip_damage().expect("steps over").expect("a gap");
            assert_eq!((skipped.records, reader.offset().get()), (end - offset.max(start), end));
        }
    }
    assert!(!verify(folder.path(), &mut |_| ()).expect("verifies").is_damaged());
}

#[test]
fn what_was_dropped_is_no_damage() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (kept, end) = rewritten(folder.path());
    let found = verify(folder.path(), &mut |_| ()).expect("verifies");
    assert!(!found.is_damaged() && found.findings.is_empty(), "{:?}", found.findings);
    let count = u64::try_from(kept.len()).expect("small");
    assert_eq!((found.records, found.start.get(), found.end.get()), (count, 0, end));
    let rows: Vec<FrameRow> = segments(folder.path()).iter().flat_map(|file| rows(file)).collect();
    assert!(rows.iter().all(|row| row.fault.is_none() && row.records <= row.offsets));
    assert_eq!(rows.iter().map(|row| row.records).sum::<u64>(), count);
    let of = |test: fn(&FrameRow) -> bool| rows.iter().filter(|row| test(row)).count();
    assert!(of(|row| row.records > 0 && row.records < row.offsets) > 20, "sparse frames");
    assert!(of(|row| row.kind == "data" && row.offsets == 0) > 0, "frames of state alone");
    assert!(plan(folder.path()).expect("plans").steps.is_empty());
    assert_eq!(salvage(folder.path()), (kept, 0));
    let attached = Attached::open(folder.path()).expect("attaches");
    assert_eq!(attached.segments().expect("reads").iter().map(|segment| segment.records).sum::<u64>(), count);
}

#[test]
fn a_damaged_frame_of_a_rewritten_segment_costs_its_own_records_and_no_others() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (kept, end) = rewritten(folder.path());
    let files = segments(folder.path());
    for file in &files[..2] {
        let whole = fs::read(file).expect("reads");
        let rows = rows(file);
        let of_header = rows.iter().step_by(11).chain(rows.last()).map(|row| (row, 20, FindingClass::HeaderRot));
        let of_body = rows.iter().step_by(7).chain(rows.last()).map(|row| (row, 40, FindingClass::BodyRot));
        for (row, byte, class) in of_body.chain(of_header) {
            let copy = tempfile::tempdir().expect("temporary folder");
            for name in fs::read_dir(folder.path()).expect("lists").map(|entry| entry.expect("an entry").path()) {
                fs::copy(&name, copy.path().join(name.file_name().expect("a name"))).expect("copies");
            }
            let mut bytes = whole.clone();
            bytes[index(row.position) + byte] ^= 1;
            fs::write(copy.path().join(file.file_name().expect("a name")), bytes).expect("writes");
            let first = row.first_offset.expect("known").get();
            let left: Vec<u64> =
                kept.iter().copied().filter(|offset| !(first..first + row.offsets).contains(offset)).collect();
            let found = verify(copy.path(), &mut |_| ()).expect("verifies");
            let classes: Vec<FindingClass> = found.findings.iter().map(|finding| finding.class).collect();
            assert_eq!(classes, [class], "{row:?}: {:?}", found.findings);
            assert_eq!(salvage(copy.path()), (left.clone(), 1), "{row:?}");
            // Behind the last frame nothing tells which offsets were dropped before.
            let is_last = Some(row) == rows.last();
            let nothing = row.offsets == 0 && class == FindingClass::BodyRot && !is_last;
            let done = apply(copy.path(), if nothing { Accept::NoLoss } else { Accept::Loss }).expect("repairs");
            assert_eq!(done.steps.len(), 1, "{done:?}");
            assert!(plan(copy.path()).expect("plans").steps.is_empty());
            assert!(!verify(copy.path(), &mut |_| ()).expect("verifies").is_damaged());
            assert_eq!(salvage(copy.path()).0, left, "{row:?}");
            let log = Log::open(copy.path()).expect("opens");
            assert_eq!(log.append(b"goes on").expect("appends").offset().get(), end);
        }
    }
}
