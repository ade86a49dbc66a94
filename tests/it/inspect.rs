//! Verify and dissect: damage is found, classed and told apart from what a crash leaves.

mod checkpoints;
mod evidence;
mod hostile;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use esker::inspect::{Finding, FindingClass, FrameRow, Verification, dissect, verify};
use esker::{Background, Ending, ErrorKind, Log, Options, Record};

const HEADER: usize = 256;
const SEGMENT: usize = 16384;
const PAYLOAD: [u8; 100] = [0x5a; 100];

/// Fills two segments and begins a third; returns the count of records.
fn fill(log: &Log) -> u64 {
    let mut records = 0;
    while log.stats().segments < 3 {
        let ticket = log.append_batch([Record::new(&PAYLOAD).key(b"k"), Record::new(b"two")]).expect("appends");
        records = ticket.offsets().end.get();
    }
    records
}

fn options() -> Options {
    Options::new().segment_bytes(16384).background(Background::Manual)
}

fn closed_log(path: &Path) -> u64 {
    let log = options().open(path).expect("opens");
    let records = fill(&log);
    log.close().expect("closes");
    records
}

/// What is left of a log whose process died: its files, copied while it is open.
fn copied(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("temporary folder");
    for entry in fs::read_dir(from).expect("lists") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("type").is_file() {
            fs::copy(entry.path(), to.path().join(entry.file_name())).expect("copies");
        }
    }
    to
}

fn segment(path: &Path, number: u64) -> PathBuf {
    path.join(format!("{number:010}.seg"))
}

fn check(path: &Path) -> Verification {
    verify(path, &mut |_| {}).expect("verifies")
}

fn classes(verification: &Verification) -> Vec<FindingClass> {
    verification.findings.iter().map(|finding| finding.class).collect()
}

fn damage(verification: &Verification) -> Vec<&Finding> {
    verification.findings.iter().filter(|finding| finding.class.is_damage()).collect()
}

fn names(found: Vec<(FindingClass, Option<u64>)>) -> BTreeSet<(&'static str, Option<u64>)> {
    found.into_iter().map(|(class, segment)| (class.name(), segment)).collect()
}

fn rows(path: &Path) -> Vec<FrameRow> {
    dissect(path).expect("dissects").frames().map(|row| row.expect("reads")).collect()
}

/// Makes the checksum of a header of 256 bytes right.
fn mend_sum(bytes: &mut [u8]) {
    bytes[12..16].fill(0);
    let sum = crc32fast::hash(&bytes[..256]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
}

fn change(path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("reads");
    edit(&mut bytes);
    fs::write(path, bytes).expect("writes");
}

fn at(position: u64) -> usize {
    usize::try_from(position).expect("fits")
}

#[test]
fn a_whole_log_is_clean_whether_closed_or_not() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = options().open(folder.path()).expect("opens");
    let records = fill(&log);
    log.sync().expect("syncs");
    let left = copied(folder.path());
    let verification = check(left.path());
    assert!(!verification.is_damaged(), "{:?}", verification.findings);
    assert_eq!((verification.records, verification.segments), (records, 3));
    assert_eq!((verification.start.get(), verification.end.get()), (0, records));
    assert_eq!(verification.writer, None);
    let beside = check(folder.path());
    assert_eq!(beside.writer.and_then(|holder| holder.pid), Some(std::process::id()));
    assert!(classes(&beside).contains(&FindingClass::LiveWriter) && !beside.is_damaged(), "{:?}", beside.findings);
    log.close().expect("closes");
    let mut told = Vec::new();
    let closed = verify(folder.path(), &mut |progress| told.push(progress)).expect("verifies");
    assert_eq!(closed.findings, []);
    assert_eq!((closed.records, closed.durable.get()), (records, records));
    assert!(told.is_sorted_by_key(|progress| progress.bytes_done));
    assert!(told.last().is_some_and(|last| last.bytes_done == last.bytes_total && last.bytes_total > 0));
}

#[test]
fn what_is_no_log_is_an_error_and_not_a_finding() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let kind = |path: &Path| verify(path, &mut |_| {}).expect_err("no log").kind();
    assert_eq!(kind(folder.path()), ErrorKind::Invalid);
    assert_eq!(kind(&folder.path().join("missing")), ErrorKind::Io);
    fs::write(folder.path().join("file"), b"x").expect("writes");
    assert_eq!(kind(&folder.path().join("file")), ErrorKind::Invalid);
    assert_eq!(dissect(folder.path()).expect_err("a directory").kind(), ErrorKind::Invalid);
    assert_eq!(dissect(folder.path().join("missing")).expect_err("missing").kind(), ErrorKind::Io);
    fs::write(segment(folder.path(), 1), b"not a segment").expect("writes");
    assert_eq!(classes(&check(folder.path()))[1..], [FindingClass::HeaderRot]);
}

#[test]
fn damage_costs_one_finding_a_frame_and_the_rest_is_still_counted() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let records = closed_log(folder.path());
    let path = segment(folder.path(), 2);
    let frames: Vec<FrameRow> = rows(&path).into_iter().filter(|row| row.kind == "data").collect();
    change(&path, |bytes| {
        bytes[at(frames[1].position) + 40] ^= 1; // body
        bytes[at(frames[3].position) + 20] ^= 1; // header
        bytes[at(frames[5].position)..at(frames[7].position)].fill(0);
    });
    let verification = check(folder.path());
    let places: Vec<_> = damage(&verification).iter().map(|f| (f.class, f.position, f.offset)).collect();
    let place = |class, frame: &FrameRow| (class, Some(frame.position), frame.first_offset);
    assert_eq!(
        places,
        [
            place(FindingClass::BodyRot, &frames[1]),
            place(FindingClass::HeaderRot, &frames[3]),
            place(FindingClass::LostBytes, &frames[5]),
        ]
    );
    assert_eq!(verification.records, records - 8);
    let shown = verification.findings[0].to_string();
    assert!(shown.starts_with("body-rot: ") && shown.contains("0000000002.seg: at position "), "{shown}");
    let faults: Vec<_> = rows(&path).into_iter().filter(|row| row.fault.is_some()).collect();
    assert_eq!(faults.iter().map(|row| row.kind).collect::<Vec<_>>(), ["data", "data", "zero"]);
    assert!(faults[0].body_checksum.is_some_and(|sums| !sums.agree()));
    assert!(faults[0].header_checksum.is_some_and(esker::inspect::Checksums::agree));
    assert!(faults[1].header_checksum.is_some_and(|sums| !sums.agree()));
    assert_eq!(faults[2].length, frames[7].position - frames[5].position);
}

#[test]
fn moved_and_stale_sectors_say_where_they_belong() {
    let folder = tempfile::tempdir().expect("temporary folder");
    closed_log(folder.path());
    let (first, second) = (segment(folder.path(), 1), segment(folder.path(), 2));
    let good = fs::read(&second).expect("reads");
    let sector = 4096 + 5 * 512;
    change(&second, |bytes| bytes.copy_within(sector + 1024..sector + 1536, sector));
    let classes_of = |verification: &Verification| damage(verification).iter().map(|f| f.class).collect::<Vec<_>>();
    let moved = check(folder.path());
    assert!(classes_of(&moved).contains(&FindingClass::MisplacedBlock), "{:?}", moved.findings);
    let cause = &damage(&moved).last().expect("one").cause;
    assert!(moved.findings.iter().any(|f| f.cause.contains("belongs to segment 2 position ")), "{cause}");
    let other = fs::read(&first).expect("reads");
    let mut stale = good.clone();
    stale[sector..sector + 512].copy_from_slice(&other[sector..sector + 512]);
    fs::write(&second, &stale).expect("writes");
    let verification = check(folder.path());
    assert!(classes_of(&verification).contains(&FindingClass::StaleBytes), "{:?}", verification.findings);
    assert!(verification.findings.iter().any(|f| f.cause.contains("belongs to segment 1 position ")));
}

#[test]
fn a_torn_tail_is_no_damage_and_what_an_open_cut_is_dead() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = options().open(folder.path()).expect("opens");
    fill(&log);
    log.sync().expect("syncs");
    for _ in 0..4 {
        let _ = log.append(&PAYLOAD).expect("appends");
    }
    let left = copied(folder.path());
    let path = segment(left.path(), 3);
    let torn = rows(&path).into_iter().filter(|row| row.kind == "data").nth_back(2).expect("a frame");
    change(&path, |bytes| bytes[at(torn.position) + 50] ^= 1);
    let verification = check(left.path());
    assert_eq!(classes(&verification).last(), Some(&FindingClass::TornTail));
    assert!(!verification.is_damaged(), "{:?}", verification.findings);
    let finding = verification.findings.last().expect("one");
    assert_eq!((finding.position, finding.offset), (Some(torn.position), torn.first_offset));
    assert!(finding.cause.contains("2 valid frames, 2 records"), "{}", finding.cause);
    assert_eq!(Some(verification.end), torn.first_offset);

    let again = options().open(left.path()).expect("opens");
    assert_eq!(again.recovery().ending, Ending::Torn);
    assert_eq!(again.recovery().end.offset, verification.end);
    again.close().expect("closes");
    assert_eq!(check(left.path()).findings, []);
    let dissection = dissect(&path).expect("dissects");
    assert_eq!(dissection.end.map(|end| (end.position, end.named_by > 3)), Some((torn.position, true)));
    let (live, dead): (Vec<_>, Vec<_>) = rows(&path).into_iter().partition(|row| row.live);
    assert!(live.iter().all(|row| row.fault.is_none() && row.position < torn.position));
    assert_eq!(dead.iter().filter(|row| row.kind == "data").count(), 3);
}

#[test]
fn missing_replaced_and_foreign_segments_are_told_apart() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let records = closed_log(folder.path());
    let path = |number| segment(folder.path(), number);
    let good: Vec<Vec<u8>> = (1..=3).map(|number| fs::read(path(number)).expect("reads")).collect();
    let restore = || {
        for (number, bytes) in (1..).zip(&good) {
            fs::write(path(number), bytes).expect("writes");
        }
    };
    let found = || {
        let verification = check(folder.path());
        let found: Vec<_> = damage(&verification).iter().map(|f| (f.class, f.segment)).collect();
        (found, verification.segments, verification.records)
    };
    for missing in 1..=3 {
        fs::remove_file(path(missing)).expect("removes");
        let (classes, segments, left) = found();
        assert_eq!((classes, segments), (vec![(FindingClass::MissingSegment, Some(missing))], 2));
        assert!(left > 0 && left < records);
        restore();
    }
    // A rotten header of an older segment hides nothing: its successor names incarnation and end.
    change(&path(2), |bytes| bytes[..HEADER].fill(0));
    assert_eq!(found(), (vec![(FindingClass::HeaderRot, Some(2))], 3, records));
    restore();
    fs::rename(path(2), path(9)).expect("renames");
    let classes = names(found().0);
    assert_eq!(classes, BTreeSet::from([("foreign-segment", Some(9)), ("missing-segment", Some(2))]));
    fs::remove_file(path(9)).expect("removes");
    restore();
    let other = tempfile::tempdir().expect("temporary folder");
    closed_log(other.path());
    fs::copy(segment(other.path(), 2), path(2)).expect("copies");
    let classes = names(found().0);
    assert_eq!(classes, BTreeSet::from([("foreign-segment", Some(2)), ("missing-segment", Some(2))]));
    restore();
    change(&path(1), |bytes| bytes.truncate(8192));
    let (classes, _, left) = found();
    assert_eq!(classes, [(FindingClass::LostBytes, Some(1))]);
    assert!(left < records);
    restore();
    assert_eq!(found(), (vec![], 3, records));
}

#[test]
fn a_segment_lost_below_a_mark_is_damage_and_no_end_of_the_log() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = options().open(folder.path()).expect("opens");
    fill(&log);
    log.sync().expect("syncs");
    let records = log.append(b"x").expect("appends").offset().get() + 1;
    // The mark of this sync carries a line in segment 3; its header and the anchor know of nothing behind segment 1.
    log.sync().expect("syncs");
    let missing = copied(folder.path());
    fs::remove_file(segment(missing.path(), 2)).expect("removes");
    let rotten = copied(folder.path());
    change(&segment(rotten.path(), 2), |bytes| bytes[90] ^= 1);
    for (left, class) in [(missing, FindingClass::MissingSegment), (rotten, FindingClass::HeaderRot)] {
        let verification = check(left.path());
        let found: Vec<_> = damage(&verification).iter().map(|f| (f.class, f.segment)).collect();
        assert_eq!(found, [(class, Some(2))]);
        assert_eq!(verification.end.get(), records);
        let refused = options().open(left.path()).expect_err("what was durable is missing");
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    }
}

#[test]
fn a_later_format_is_refused_and_a_rotten_version_is_rot() {
    let folder = tempfile::tempdir().expect("temporary folder");
    closed_log(folder.path());
    change(&segment(folder.path(), 1), |bytes| bytes[8] = 1);
    assert_eq!(damage(&check(folder.path())).len(), 1, "the checksum still fits version 0");
    change(&segment(folder.path(), 1), |bytes| bytes[12] ^= 1);
    assert_eq!(damage(&check(folder.path())).len(), 1, "the checksum fits no version");
    change(&segment(folder.path(), 1), |bytes| mend_sum(bytes));
    assert_eq!(verify(folder.path(), &mut |_| {}).expect_err("refused").kind(), ErrorKind::Incompatible);
}

#[test]
fn a_log_that_is_written_meanwhile_is_never_called_damaged() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = Options::new().segment_bytes(16384).open(folder.path()).expect("opens");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0_u64.. {
                let _ = log.append_batch([Record::new(&PAYLOAD), Record::new(b"x")]).expect("appends");
                if round.is_multiple_of(100) {
                    log.sync().expect("syncs");
                }
                if stop.load(Ordering::Relaxed) || round > 20_000 {
                    break;
                }
            }
        });
        for _ in 0..60 {
            let verification = check(folder.path());
            assert!(!verification.is_damaged(), "{:?}", verification.findings);
            assert!(!classes(&verification).contains(&FindingClass::TornTail), "{:?}", verification.findings);
        }
        stop.store(true, Ordering::Relaxed);
    });
    log.close().expect("closes");
    assert_eq!(check(folder.path()).findings, []);
}

#[test]
fn a_segment_is_taken_apart_by_the_names_of_the_format() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let records = closed_log(folder.path());
    let mut seen = 0;
    for number in 1..=3 {
        let dissection = dissect(segment(folder.path(), number)).expect("dissects");
        assert_eq!(dissection.header_fault, None);
        let field = |name: &str| {
            let field = dissection.header.iter().find(|field| field.name == name);
            field.map(|field| field.value.clone()).unwrap_or_default()
        };
        assert_eq!((field("magic"), field("number")), ("eskerseg".to_owned(), number.to_string()));
        assert_eq!((field("capacity"), field("store_id").len()), ("16384".to_owned(), 32));
        assert_eq!(field("first_offset"), seen.to_string());
        assert!(field("created").parse::<i64>().is_ok_and(|time| time > 1_700_000_000_000_000_000));
        assert_eq!(dissection.header.iter().map(|field| field.width).sum::<usize>(), HEADER);
        let rows = rows(&dissection.path);
        assert_eq!(rows.first().map(|row| (row.kind, row.position)), Some(("session", 4096)));
        assert_eq!(rows.last().map(|row| (row.kind, row.live)), Some(("zero", false)));
        let end = if number == 3 { "close" } else { "seal" };
        assert_eq!(rows.iter().rev().nth(1).map(|row| row.kind), Some(end));
        assert!(rows.iter().all(|row| row.fault.is_none()));
        seen += rows.iter().map(|row| row.records).sum::<u64>();
    }
    assert_eq!(seen, records);
    let spare = folder.path().join("0000000004.seg");
    fs::write(&spare, [0; 8192]).expect("writes");
    assert_eq!(classes(&check(folder.path())), [FindingClass::SpareSegment]);
    assert_eq!(rows(&spare).iter().map(|row| row.kind).collect::<Vec<_>>(), ["zero"]);
}
