//! Logs from which records were dropped are checked, taken apart, read over damage, and repaired.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Accept, apply, plan};
use crate::error::ErrorKind;
use crate::format::header::{Rewritten, SegmentHeader};
use crate::format::{index_name, segment_number};
use crate::inspect::{FindingClass, FrameRow, dissect, verify};
use crate::log::{Attached, Background, Log, Options, Reader, Salvage, Salvaged, rewrite_again, rewritten};
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
            let copy = copied(folder.path());
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

/// How a header is lost.
#[derive(Debug, Clone, Copy)]
enum Lost {
    Zeroed,
    /// More of it turned than one bit, which would be turned back.
    Flipped(usize, usize),
}

impl Lost {
    fn of(self, file: &Path) {
        let mut bytes = fs::read(file).expect("reads");
        match self {
            Self::Zeroed => bytes[..256].fill(0),
            Self::Flipped(one, other) => {
                bytes[one] ^= 1;
                bytes[other] ^= 64;
            }
        }
        fs::write(file, bytes).expect("writes");
    }
}

fn copied(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("temporary folder");
    for name in fs::read_dir(folder).expect("lists").map(|entry| entry.expect("an entry").path()) {
        fs::copy(&name, copy.path().join(name.file_name().expect("a name"))).expect("copies");
    }
    copy
}

fn header(file: &Path) -> SegmentHeader {
    let bytes = fs::read(file).expect("reads");
    SegmentHeader::decode(bytes.first_chunk().expect("long")).expect("decodes").expect("a header")
}

fn number(file: &Path) -> u64 {
    segment_number(&file.file_name().expect("a name").to_string_lossy()).expect("a segment")
}

/// What [`rewritten`] makes, and all of two segments dropped behind the second: that stands for three now.
fn rewritten_in_the_middle(folder: &Path) -> (Vec<u64>, u64) {
    let (mut kept, end) = rewritten(folder);
    let files = segments(folder);
    let next = header(&files[4]);
    let link = next.predecessor.expect("is not the first");
    let mut covering = header(&files[1]);
    let dropped = covering.rewritten.expect("rewritten").end_offset.get()..next.first_offset.get();
    covering.rewritten = covering.rewritten.map(|before| Rewritten {
        last_number: link.number,
        end_offset: next.first_offset,
        incarnation: link.incarnation,
        original_end: link.end,
        ..before
    });
    let bytes = fs::read(&files[1]).expect("reads");
    fs::write(&files[1], [&covering.encode()[..], &bytes[256..]].concat()).expect("writes");
    files[2..4].iter().for_each(|file| fs::remove_file(file).expect("was there"));
    kept.retain(|offset| !dropped.contains(offset));
    (kept, end)
}

/// Loses the header of each of the first segments, and expects that nothing else is lost.
fn lose_headers(folder: &Path, kept: &[u64], end: u64, covered: &[u64]) {
    let kinds = [Lost::Zeroed, Lost::Flipped(44, 170), Lost::Flipped(0, 255), Lost::Flipped(60, 161)];
    for (at, lost) in (0..covered.len()).flat_map(|at| kinds.map(|lost| (at, lost))) {
        let copy = copied(folder);
        let file = &segments(copy.path())[at];
        let was = header(file);
        assert_eq!(was.last_number() - was.number + 1, covered[at]);
        lost.of(file);
        let found = verify(copy.path(), &mut |_| ()).expect("verifies");
        let damages: Vec<_> = found.findings.iter().map(|finding| (finding.class, finding.segment)).collect();
        assert_eq!(damages, [(FindingClass::HeaderRot, Some(was.number))], "{lost:?}: {:?}", found.findings);
        assert_eq!((found.start.get(), found.end.get()), (0, end), "{lost:?}, {at}");
        assert_eq!(found.records, u64::try_from(kept.len()).expect("small"));
        let done = apply(copy.path(), Accept::NoLoss).expect("gives up nothing");
        assert_eq!(done.steps.len(), 1, "{done:?}");
        let now = header(file);
        assert_eq!((now.rewritten, now.predecessor), (was.rewritten, was.predecessor));
        assert_eq!((now.epoch, now.number, now.first_offset), (was.epoch, was.number, was.first_offset));
        let found = verify(copy.path(), &mut |_| ()).expect("verifies");
        assert!(found.findings.is_empty(), "{:?}", found.findings);
        assert!(plan(copy.path()).expect("plans").steps.is_empty());
        assert_eq!(salvage(copy.path()), (kept.to_vec(), 0));
        let mut reader = Attached::open(copy.path()).expect("attaches").reader();
        reader.seek_latest();
        assert_eq!(back(&mut reader), (kept.to_vec(), Vec::new()));
        let log = Log::open(copy.path()).expect("opens");
        assert_eq!(log.append(b"goes on").expect("appends").offset().get(), end);
    }
}

#[test]
fn a_lost_header_of_a_rewritten_segment_costs_no_record() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (kept, end) = rewritten(folder.path());
    lose_headers(folder.path(), &kept, end, &[3, 1, 1]);
    let folder = tempfile::tempdir().expect("temporary folder");
    let (kept, end) = rewritten_in_the_middle(folder.path());
    lose_headers(folder.path(), &kept, end, &[3, 3]);
}

#[test]
fn a_repaired_segment_from_which_records_were_dropped_may_lose_its_header_once_more() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (kept, end) = rewritten(folder.path());
    let file = &segments(folder.path())[0];
    let mut bytes = fs::read(file).expect("reads");
    let rows = rows(file);
    bytes[index(rows[4].position) + 40] ^= 1;
    fs::write(file, bytes).expect("writes");
    apply(folder.path(), Accept::Loss).expect("repairs");
    let was = header(file);
    Lost::Zeroed.of(file);
    apply(folder.path(), Accept::NoLoss).expect("gives up nothing more");
    assert_eq!(header(file).rewritten, was.rewritten);
    let first = rows[4].first_offset.expect("known").get();
    let left: Vec<u64> = kept.into_iter().filter(|offset| !(first..first + rows[4].offsets).contains(offset)).collect();
    assert_eq!(salvage(folder.path()), (left, 1));
    assert_eq!(Log::open(folder.path()).expect("opens").visible().get(), end);
}

#[test]
fn damage_behind_a_lost_header_of_a_rewritten_segment_costs_what_it_took() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (kept, end) = rewritten(folder.path());
    // Of the second one too little is left: only two whole frames, one behind the other, prove whose they are.
    for at in [0, 2] {
        let rows = rows(&segments(folder.path())[at]);
        let last = rows.len() - 1;
        for (row, byte) in [(0, 20), (0, 40), (last / 2, 20), (last / 2, 40), (last, 20), (last, 40)] {
            let copy = copied(folder.path());
            let file = &segments(copy.path())[at];
            let end_offset = header(file).rewritten.expect("rewritten").end_offset.get();
            let mut bytes = fs::read(file).expect("reads");
            bytes[index(rows[row].position) + byte] ^= 1;
            fs::write(file, bytes).expect("writes");
            Lost::Zeroed.of(file);
            assert!(verify(copy.path(), &mut |_| ()).expect("verifies").is_damaged());
            let done = apply(copy.path(), Accept::Loss).expect("repairs");
            // Behind the last frame nothing tells which offsets were dropped before.
            let first = rows[row].first_offset.expect("known").get();
            let next = if row == last { end_offset } else { first + rows[row].offsets };
            let before = row.checked_sub(1).map_or(0, |before| rows[before].first_offset.expect("known").get());
            assert!(done.records_lost() > 0 && done.records_lost() <= next - before, "{row}, {byte}: {done:?}");
            assert!(!verify(copy.path(), &mut |_| ()).expect("verifies").is_damaged());
            assert!(plan(copy.path()).expect("plans").steps.is_empty());
            let left: Vec<u64> =
                kept.iter().copied().filter(|offset| !(first..first + rows[row].offsets).contains(offset)).collect();
            assert_eq!(salvage(copy.path()).0, left, "{row}, {byte}");
            assert_eq!(Log::open(copy.path()).expect("opens").visible().get(), end);
        }
    }
}

#[test]
fn a_segment_without_header_does_not_stand_for_one_of_which_something_is_left() {
    let folder = tempfile::tempdir().expect("temporary folder");
    rewritten(folder.path());
    let files = segments(folder.path());
    let missing = number(&files[2]);
    Lost::Zeroed.of(&files[1]);
    fs::remove_file(&files[2]).expect("was there");
    fs::write(folder.path().join(index_name(missing)), b"").expect("writes");
    expect_missing(folder.path(), missing);
}

fn expect_missing(folder: &Path, missing: u64) {
    let found = verify(folder, &mut |_| ()).expect("verifies");
    let is_missing = |(class, segment)| class == FindingClass::MissingSegment && segment == Some(missing);
    let mut damages = found.findings.iter().map(|finding| (finding.class, finding.segment));
    assert!(damages.any(is_missing), "{:?}", found.findings);
    let error = apply(folder, Accept::NoLoss).expect_err("records are lost");
    assert_eq!(error.kind(), ErrorKind::Loss);
}

fn append_150(folder: &Path) {
    let options = Options::new().segment_bytes(16 * 1024).background(Background::Manual);
    let log = options.open(folder).expect("opens");
    for _ in 0..150 {
        let _ = log.append(&[7; 300]).expect("appends");
    }
    log.close().expect("closes");
}

/// Makes a log that was closed twice, with a checkpoint each time, and drops every third record but in its last segment;
/// returns the segment in which the older checkpoint ends.
fn closed_twice(folder: &Path) -> u64 {
    append_150(folder);
    let ended = segments(folder).len();
    append_150(folder);
    rewrite_again(folder, |offset| !offset.is_multiple_of(3));
    number(&segments(folder)[ended - 1])
}

#[test]
fn a_segment_without_header_does_not_stand_for_one_that_a_checkpoint_kept_from_being_rewritten() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let ended = closed_twice(folder.path());
    let files = segments(folder.path());
    let at = files.iter().position(|file| number(file) == ended).expect("is there");
    Lost::Zeroed.of(&files[at - 1]);
    fs::remove_file(&files[at]).expect("was there");
    assert!(files.iter().all(|file| !file.with_extension("idx").exists()));
    expect_missing(folder.path(), ended);
}

#[test]
fn a_lost_header_behind_a_segment_that_was_not_rewritten_costs_no_record() {
    let folder = tempfile::tempdir().expect("temporary folder");
    append_150(folder.path());
    let first = &segments(folder.path())[0];
    let original = fs::read(first).expect("reads");
    let active = rewrite_again(folder.path(), |offset| !offset.is_multiple_of(3));
    fs::write(first, original).expect("writes");
    let second = &segments(folder.path())[1];
    let (was, rewritten_from) = (header(second), header(second).first_offset.get());
    Lost::Zeroed.of(second);
    apply(folder.path(), Accept::NoLoss).expect("gives up nothing");
    assert_eq!((header(second).first_offset, header(second).rewritten), (was.first_offset, was.rewritten));
    let stays = |offset: &u64| !(rewritten_from..active).contains(offset) || !offset.is_multiple_of(3);
    assert_eq!(salvage(folder.path()), ((0..150).filter(stays).collect(), 0));
    assert!(verify(folder.path(), &mut |_| ()).expect("verifies").findings.is_empty());
}

#[test]
fn of_two_neighbours_without_headers_what_is_lost_is_said() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (kept, end) = rewritten(folder.path());
    for at in 1..segments(folder.path()).len() {
        let copy = copied(folder.path());
        let files = segments(copy.path());
        files[at - 1..=at].iter().for_each(|file| Lost::Zeroed.of(file));
        let done = apply(copy.path(), Accept::Loss).expect("repairs");
        let (left, _) = salvage(copy.path());
        assert!(left.len() < kept.len() && left.iter().all(|offset| kept.binary_search(offset).is_ok()));
        let said = |offset: u64| {
            let mut lost = done.steps.iter().flat_map(|step| &step.lost);
            lost.any(|lost| lost.offsets.contains(&Offset::new(offset)))
        };
        assert!(kept.iter().all(|offset| left.binary_search(offset).is_ok() != said(*offset)), "{done:?}");
        assert!(!verify(copy.path(), &mut |_| ()).expect("verifies").is_damaged());
        assert_eq!(Log::open(copy.path()).expect("opens").visible().get(), end);
    }
}
