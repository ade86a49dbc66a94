//! The damage matrix: a share of each row at every run, and all of it on demand.

use std::sync::Arc;
use std::time::Duration;

use esker::inspect::{FindingClass, verify_on};
use esker::platform::Disk as _;
use esker::{Commit, Ending, ErrorKind, Offset, Recovery};
use harness::damage::{End, PIECE_BYTES_MAX, Row, Share, Table, run};
use harness::{MemoryDisk, hostile};

use crate::support::{append_numbered, at, forget, open, options, segment_name, segments};

fn hold(table: &Table) {
    assert_eq!(table.violated, 0, "\n{table}");
    for tally in &table.tallies {
        let harmless: u64 = tally.harmless.iter().sum();
        assert_eq!(tally.reported + tally.limits_silent + harmless, tally.cases, "{:?}", tally.row);
        assert!(tally.largest > 0 && tally.largest <= PIECE_BYTES_MAX, "{:?}: {} bytes", tally.row, tally.largest);
    }
    assert_eq!(table.tallies.len(), 2 * Row::ALL.len(), "each row on both logs");
    let repaired: u64 = table.tallies.iter().map(|tally| tally.repaired).sum();
    assert!(repaired > table.cases() / 40, "{repaired} repaired\n{table}");
    println!("{table}");
}

#[test]
fn damage_of_each_kind_is_reported_with_its_place_or_harmless() {
    let table = run(Share::AtMost(40), &mut |_| ());
    hold(&table);
}

#[test]
fn one_case_is_run_by_itself() {
    let (row, log) = (Row::FileZeroed, End::Killed);
    let table = run(Share::One { row, log, case: 1 }, &mut |_| ());
    let [tally] = table.tallies.as_slice() else { panic!("{table}") };
    assert_eq!((tally.row, tally.log, tally.cases, tally.reported, table.violated), (row, log, 1, 1, 0), "{table}");
    let beyond = usize::try_from(tally.of).expect("small");
    assert_eq!(run(Share::One { row, log, case: beyond }, &mut |_| ()).cases(), 0);
}

/// A search looks at headers alone: where one says a wrong length or count under a right sum, the next place is none of a
/// frame, or of one with another offset.
#[test]
fn a_search_that_was_led_astray_names_the_frame_that_lied() {
    let disk = MemoryDisk::new(12);
    let log = open(&disk).expect("opens");
    let mut places = append_numbered(&log, 0..5);
    let commit = Commit::new().record(esker::Record::new(b"x")).state("k", b"v");
    places.push(log.commit(commit).expect("commits").place());
    disk.advance(Duration::from_secs(1));
    append_numbered(&log, 6..20);
    let late = disk.now();
    log.close().expect("closes");
    // Of the session frame the length, of a commit the count of records.
    for (frame, field, value) in [(4096, 0, 84), (4096, 0, 148), (at(places[4].position), 28, 0)] {
        let left = disk.snapshot();
        left.edit_file(&segment_name(1), |bytes| {
            bytes[frame + field] = value;
            let length = usize::from(bytes[frame]);
            hostile::mend(&mut bytes[..frame + length]);
        });
        let log = open(&left).expect("what is durable is not read");
        let mut reader = log.reader();
        let sought = reader.seek(Offset::new(9)).expect_err("led astray");
        let timed = reader.seek_time(late).expect_err("led astray");
        forget(&left);
        let folded = open(&left.snapshot()).expect_err("its state cannot be had");
        for error in [sought, timed, folded] {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert_eq!(error.place().map(|place| at(place.position)), Some(frame), "{error}");
        }
    }
}

/// Power may fail before the header of a new segment is on disk, and after the frames behind it are.
#[test]
fn frames_without_a_header_before_them_are_a_torn_tail_that_is_told_of() {
    let disk = MemoryDisk::new(9);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..100);
    log.sync().expect("syncs");
    log.background_step();
    let rolled = log.stats().segments;
    let mut number = 100;
    while log.stats().segments == rolled {
        append_numbered(&log, number..number + 1);
        number += 1;
    }
    append_numbered(&log, number..number + 3);
    let left = disk.snapshot();
    drop(log);
    let last = segments(&left).pop().expect("segments");
    left.edit_file(&last, |bytes| bytes[..512].fill(0));
    let verification = verify_on(&left, &mut |_| ()).expect("a log");
    let found = verification.findings.iter().find(|finding| finding.class == FindingClass::TornTail);
    assert_eq!(found.map(|found| found.file.ends_with(&last)), Some(true), "{:?}", verification.findings);
    let refused = options().recovery(Recovery::Strict).open_on(Arc::new(left.clone())).expect_err("not clean");
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    let log = open(&left).expect("recovers");
    assert_eq!(log.recovery().ending, Ending::Torn, "{}", log.recovery());
    let cut = log.recovery().cut.as_ref().expect("a cut");
    assert!(cut.cause.contains("no header"), "{}", cut.cause);
    assert_eq!(log.recovery().quarantined, [last]);
}

/// The last frame of a segment ends in the middle of a word; the file has to hold the rest of it too.
#[test]
fn a_segment_cut_in_its_last_padding_is_refused_and_found() {
    let disk = MemoryDisk::new(10);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..140);
    let left = disk.snapshot();
    drop(log);
    for name in segments(&left).iter().rev().skip(1) {
        let successor = left.read_file(&format!("{:010}.seg", name[..10].parse::<u64>().expect("a number") + 1));
        let end = u64::from_le_bytes(successor.expect("follows")[104..112].try_into().expect("8 bytes"));
        let cut = left.snapshot();
        cut.truncate(name, end - 1);
        let verification = verify_on(&cut, &mut |_| ()).expect("a log");
        let found = verification.findings.iter().find(|finding| finding.class == FindingClass::LostBytes);
        assert!(found.is_some_and(|found| found.file.ends_with(name)), "{name}: {:?}", verification.findings);
        let refused = open(&cut).expect_err("shorter than it was");
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{name}: {refused}");
        assert!(refused.to_string().contains("was cut here"), "{name}: {refused}");
    }
}

/// An anchor of a copy that went on by itself may say that the log was closed where it was not.
#[test]
fn a_note_of_a_close_where_none_is_does_not_pass_verify() {
    let disk = MemoryDisk::new(11);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..20);
    log.close().expect("closes");
    let copy = disk.snapshot();
    let log = open(&copy).expect("opens");
    append_numbered(&log, 20..23);
    log.close().expect("closes");
    let log = open(&disk).expect("opens");
    append_numbered(&log, 20..40);
    log.sync().expect("syncs");
    let left = disk.snapshot();
    drop(log);
    let strange = copy.read_file("anchor").expect("was written");
    left.edit_file("anchor", |bytes| bytes.copy_from_slice(&strange));
    let refused = open(&left).expect_err("no close is there");
    let verification = verify_on(&left, &mut |_| ()).expect("a log");
    assert!(verification.is_damaged(), "refused ({refused}), but {:?}", verification.findings);
}
