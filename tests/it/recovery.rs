//! What an open makes of what it finds: DESIGN's rules for ends, tears, damage, epochs and leftovers, one claim a test.

mod headers;
mod order;

use std::sync::Arc;

use esker::{Attached, Ending, ErrorKind, Evidence, Offset, Recovery, Salvage, Salvaged};
use harness::MemoryDisk;

use crate::support::{
    append_numbered, at, expected, forget, numbered, open, options, payloads, segment_name, segments,
};

#[test]
fn a_clean_close_continues_the_segment_in_the_same_epoch() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    let epoch = log.epoch();
    append_numbered(&log, 0..3);
    log.close().expect("closes");
    let log = open(&disk).expect("opens again");
    assert_eq!(log.recovery().ending, Ending::Clean);
    assert_eq!(log.recovery().scanned_bytes, 0, "the anchor leads to the close frame");
    assert_eq!(log.epoch(), epoch);
    append_numbered(&log, 3..5);
    assert_eq!(log.stats().segments, 1);
    assert_eq!(payloads(&log), expected(0..5));
}

#[test]
fn a_clean_close_is_known_without_the_anchor_too() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..100);
    log.close().expect("closes");
    disk.remove("anchor");
    let log = open(&disk.snapshot()).expect("opens by the checkpoint");
    assert_eq!((log.recovery().ending, log.recovery().scanned_bytes), (Ending::Clean, 0));
    forget(&disk);
    let log = open(&disk).expect("opens by the frames");
    assert_eq!(log.recovery().ending, Ending::Clean);
    assert!(log.recovery().scanned_bytes > 0);
    assert_eq!(payloads(&log), expected(0..100));
}

#[test]
fn an_empty_log_closed_and_opened_many_times_stays_one_log() {
    let disk = MemoryDisk::new(1);
    for round in 0..40_u64 {
        let log = open(&disk).expect("opens");
        assert_eq!(log.visible(), Offset::new(round));
        append_numbered(&log, round..round + 1);
        log.close().expect("closes");
    }
    let log = open(&disk).expect("opens");
    assert_eq!(payloads(&log), expected(0..40));
    assert_eq!(log.epoch().counter, 1, "clean ends do not raise the epoch");
}

#[test]
fn the_death_of_the_process_loses_nothing_visible_and_raises_the_epoch() {
    let disk = MemoryDisk::new(2);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..200);
    let segments = log.stats().segments;
    assert!(segments > 2);
    let left = disk.snapshot();
    let recovered = open(&left).expect("recovers");
    let report = recovered.recovery();
    assert_eq!((report.ending, &report.cut), (Ending::Unclean, &None));
    assert_eq!(payloads(&recovered), expected(0..200));
    assert_eq!(recovered.epoch().counter, log.epoch().counter + 1);
    assert_ne!(recovered.epoch().word, log.epoch().word);
    assert_eq!(recovered.durable(), Offset::new(200), "recovery made durable what it kept");
    append_numbered(&recovered, 200..210);
    assert_eq!(payloads(&recovered), expected(0..210));
    assert_eq!(recovered.stats().segments, segments + 1, "a recovered segment is not appended to");
}

#[test]
fn recovering_twice_changes_nothing_more() {
    let disk = MemoryDisk::new(3);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..50);
    let left = disk.snapshot();
    for crash in 0..10_u64 {
        let recovered = open(&left.snapshot()).expect("recovers");
        assert_eq!(payloads(&recovered), expected(0..50), "crash {crash}");
        let again = open(&left).expect("recovers again");
        assert_eq!(payloads(&again), expected(0..50), "crash {crash}");
    }
}

#[test]
fn a_small_log_stays_small_over_many_crashes() {
    let mut disk = MemoryDisk::new(4);
    for _ in 0..50 {
        let log = open(&disk).expect("opens");
        append_numbered(&log, 0..1);
        disk = disk.snapshot();
    }
    assert!(disk.space_held() < 60 * 16 * 1024, "{} bytes held", disk.space_held());
}

#[test]
fn a_torn_tail_above_the_durable_line_is_cut_and_reported() {
    let disk = MemoryDisk::new(5);
    let log = open(&disk).expect("opens");
    let places = append_numbered(&log, 0..10);
    log.wait_durable(places[4]).expect("syncs");
    let more = append_numbered(&log, 10..16);
    let left = disk.snapshot();
    left.set_boot_id([9; 16]);
    left.edit_file(&segment_name(more[2].segment), |bytes| bytes[at(more[2].position) + 50] ^= 1);
    let log = open(&left).expect("recovers");
    let report = log.recovery();
    assert_eq!(report.ending, Ending::Torn);
    let cut = report.cut.as_ref().expect("a cut");
    assert_eq!((cut.place, cut.frames, cut.records), (more[2], 2, 2));
    assert_eq!(cut.evidence, Evidence::OtherBoot);
    assert!(cut.cause.contains("checksum"), "{}", cut.cause);
    assert_eq!(report.end.offset, Offset::new(13));
    assert_eq!(payloads(&log), expected(0..13));
    append_numbered(&log, 13..20);
    assert_eq!(payloads(&log), expected(0..20), "offsets go on where the log was cut");
}

#[test]
fn torn_under_the_same_boot_is_reported_as_likely_damage() {
    let disk = MemoryDisk::new(5);
    let log = open(&disk).expect("opens");
    let places = append_numbered(&log, 0..10);
    let left = disk.snapshot();
    left.edit_file(&segment_name(1), |bytes| bytes[at(places[7].position) + 40] ^= 1);
    let log = open(&left).expect("recovers");
    assert_eq!(log.recovery().cut.as_ref().expect("a cut").evidence, Evidence::SameBoot);
}

#[test]
fn damage_below_the_durable_line_is_refused_and_nothing_is_changed() {
    let disk = MemoryDisk::new(6);
    let log = open(&disk).expect("opens");
    let places = append_numbered(&log, 0..10);
    log.sync().expect("syncs");
    append_numbered(&log, 10..11);
    log.sync().expect("syncs, and marks the line of the sync before");
    let left = disk.snapshot();
    left.edit_file(&segment_name(1), |bytes| bytes[at(places[3].position) + 40] ^= 1);
    let before: Vec<_> = left.names().iter().map(|name| left.read_file(name)).collect();
    let error = open(&left).expect_err("damage");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.place(), Some(places[3]));
    assert_eq!(error.offset(), Some(Offset::new(4)));
    let text = error.to_string();
    assert!(
        text.contains("0000000001.seg") && text.contains("checksum") && text.contains("run esker verify"),
        "{text}"
    );
    let after: Vec<_> = left.names().iter().map(|name| left.read_file(name)).collect();
    assert_eq!(before, after);
}

#[test]
fn a_mark_behind_the_damage_still_tells_what_was_durable() {
    let disk = MemoryDisk::new(7);
    let log = open(&disk).expect("opens");
    let first = append_numbered(&log, 0..5);
    log.sync().expect("syncs");
    append_numbered(&log, 5..6);
    log.sync().expect("syncs and marks");
    let left = disk.snapshot();
    left.remove("anchor");
    left.edit_file(&segment_name(1), |bytes| bytes[at(first[0].position)..at(first[1].position)].fill(0));
    let error = open(&left).expect_err("the mark that follows covers it");
    assert_eq!((error.kind(), error.place()), (ErrorKind::Corrupt, Some(first[0])));
}

#[test]
fn a_tear_may_span_segments_and_the_later_ones_leave_the_chain() {
    let disk = MemoryDisk::new(8);
    let log = options().unproven_segments_max(100).open_on(Arc::new(disk.clone())).expect("opens");
    let places = append_numbered(&log, 0..300);
    let last = places.last().expect("places").segment;
    assert!(last > 3);
    let left = disk.snapshot();
    let torn = places.iter().position(|place| place.segment == 2).expect("in segment 2");
    left.edit_file(&segment_name(2), |bytes| bytes[at(places[torn].position)] ^= 0x10);
    let log = open(&left).expect("recovers");
    let kept = u64::try_from(torn).expect("small") + 1;
    assert_eq!(payloads(&log), expected(0..kept));
    let cut = log.recovery().cut.clone().expect("a cut");
    assert!(cut.records > 100, "{cut:?}");
    let quarantined: Vec<String> = (3..=last).map(segment_name).collect();
    assert_eq!(left.quarantined(), quarantined);
    assert_eq!(log.recovery().quarantined, quarantined);
    append_numbered(&log, kept..kept + 100);
    let again = open(&left.snapshot()).expect("recovers again");
    assert_eq!(payloads(&again), expected(0..kept + 100));
}

#[test]
fn a_missing_segment_below_the_durable_line_is_refused() {
    let disk = MemoryDisk::new(9);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..300);
    log.close().expect("closes");
    let names = segments(&disk);
    assert!(names.len() > 3);
    for name in &names {
        let left = disk.snapshot();
        left.remove(name);
        let error = open(&left).expect_err("a segment is missing");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error}");
    }
}

#[test]
fn a_header_that_was_never_stored_is_a_spare_and_is_removed() {
    let disk = MemoryDisk::new(10);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..5);
    log.background_step();
    assert!(disk.names().contains(&segment_name(2)), "a spare was prepared");
    let left = disk.snapshot();
    let recovered = open(&left).expect("recovers");
    assert_eq!(recovered.recovery().removed, [segment_name(2)]);
    assert!(left.quarantined().is_empty());
    assert_eq!(payloads(&recovered), expected(0..5));
}

#[test]
fn a_spare_that_holds_something_is_set_aside() {
    let disk = MemoryDisk::new(10);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..5);
    log.background_step();
    let left = disk.snapshot();
    left.edit_file(&segment_name(2), |bytes| bytes[9000] = 1);
    let recovered = open(&left).expect("recovers");
    assert_eq!(recovered.recovery().quarantined, [segment_name(2)]);
    assert_eq!(left.quarantined(), [segment_name(2)]);
}

#[test]
fn strict_refuses_an_unclean_end_and_changes_nothing() {
    let disk = MemoryDisk::new(11);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..5);
    let left = disk.snapshot();
    let strict = options().recovery(Recovery::Strict);
    let error = strict.open_on(Arc::new(left.clone())).expect_err("not clean");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(left.operations().iter().filter(|operation| operation.contains("seg")).count(), 0);
    open(&left).expect("recovers").close().expect("closes");
    let log = strict.open_on(Arc::new(left)).expect("clean now");
    assert_eq!(payloads(&log), expected(0..5));
}

#[test]
fn recovery_stores_and_syncs_what_it_keeps_before_the_new_segment_is_durable() {
    let disk = MemoryDisk::new(12);
    let log = options().unproven_segments_max(100).open_on(Arc::new(disk.clone())).expect("opens");
    let places = append_numbered(&log, 0..150);
    let last = places.last().expect("places").segment;
    let left = disk.snapshot();
    let _the_setting = left.take_operations();
    open(&left).expect("recovers");
    let operations = left.take_operations();
    let find = |text: &str| operations.iter().position(|operation| operation == text);
    let created = operations.iter().position(|operation| operation.starts_with("create 0")).expect("a successor");
    for number in 1..=last {
        let synced = find(&format!("sync {}", segment_name(number))).unwrap_or_else(|| panic!("segment {number}"));
        assert!(synced < created, "{operations:?}");
        if number > 1 {
            assert!(find(&format!("sync {}", segment_name(number - 1))) < Some(synced), "oldest first");
        }
    }
    let directory = operations.iter().skip(created).position(|operation| operation == "sync directory");
    let unlinked = operations.iter().skip(created).position(|operation| operation.starts_with("unlink"));
    assert!(directory.is_some() && (unlinked.is_none() || unlinked > directory), "{operations:?}");
}

#[test]
fn two_segments_of_one_number_or_of_another_store_are_refused() {
    let disk = MemoryDisk::new(13);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..200);
    log.close().expect("closes");
    let other = MemoryDisk::new(14);
    let log = open(&other).expect("opens");
    append_numbered(&log, 0..200);
    log.close().expect("closes");
    let foreign = other.read_file(&segment_name(2)).expect("a second segment");
    let left = disk.snapshot();
    left.edit_file(&segment_name(2), |bytes| bytes.copy_from_slice(&foreign[..bytes.len()]));
    assert_eq!(open(&left).expect_err("another store").kind(), ErrorKind::Corrupt);
    let left = disk.snapshot();
    let first = left.read_file(&segment_name(1)).expect("a segment");
    left.edit_file(&segment_name(2), |bytes| {
        let common = bytes.len().min(first.len());
        bytes[..common].copy_from_slice(&first[..common]);
    });
    let error = open(&left).expect_err("the name says otherwise");
    assert!(error.to_string().contains("the name says segment 2"), "{error}");
}

#[test]
fn a_newer_format_is_refused_as_such() {
    let disk = MemoryDisk::new(15);
    open(&disk).expect("opens").close().expect("closes");
    disk.edit_file(&segment_name(1), |bytes| bytes[8] = 7);
    assert_eq!(open(&disk.snapshot()).expect_err("rot").kind(), ErrorKind::Corrupt, "its sum is that of version 0");
    disk.edit_file(&segment_name(1), |bytes| {
        bytes[12..16].fill(0);
        let sum = crc32fast::hash(&bytes[..256]);
        bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    });
    let error = open(&disk).expect_err("a newer format");
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("format version 7 found, this build knows version 0"), "{error}");
    assert_eq!(Attached::open_on(Arc::new(disk)).expect_err("same").kind(), ErrorKind::Incompatible);
}

#[test]
fn a_damaged_anchor_is_ignored_and_a_lost_last_segment_is_noticed_by_a_good_one() {
    let disk = MemoryDisk::new(16);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..200);
    log.close().expect("closes");
    let left = disk.snapshot();
    left.edit_file("anchor", |bytes| bytes.fill(0x55));
    assert_eq!(payloads(&open(&left).expect("opens")), expected(0..200));
    let left = disk.snapshot();
    let last = segments(&left).pop().expect("a segment");
    left.remove(&last);
    let error = open(&left).expect_err("the last segment is gone");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn attach_without_a_writer_shows_what_an_open_would_keep_and_changes_nothing() {
    let disk = MemoryDisk::new(17);
    let log = open(&disk).expect("opens");
    let places = append_numbered(&log, 0..30);
    let left = disk.snapshot();
    left.edit_file(&segment_name(places[20].segment), |bytes| bytes[at(places[20].position) + 12] ^= 4);
    let _the_setting = left.take_operations();
    let attached = Attached::open_on(Arc::new(left.clone())).expect("attaches");
    let seen = crate::support::drain(&mut attached.reader()).expect("reads");
    assert_eq!(seen, expected(0..21));
    assert_eq!((attached.visible(), attached.is_clean()), (Offset::new(21), false));
    assert!(left.operations().is_empty(), "{:?}", left.operations());
    assert_eq!(payloads(&open(&left).expect("recovers")), seen);
}

#[test]
fn attach_and_salvage_go_up_to_damage_and_beyond_on_request() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = options().open(folder.path()).expect("opens");
    let places = append_numbered(&log, 0..30);
    log.close().expect("closes");
    let path = folder.path().join(segment_name(places[9].segment));
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes[at(places[9].position) + 45] ^= 1;
    std::fs::write(&path, bytes).expect("writes");
    let attached = Attached::open(folder.path()).expect("attaches");
    let mut reader = attached.reader();
    let first = reader.poll().expect("reads").expect("records");
    assert_eq!(first.len(), 10);
    let error = reader.poll().expect_err("damage");
    assert_eq!((error.kind(), error.place()), (ErrorKind::Corrupt, Some(places[9])));
    let skipped = reader.skip_damage().expect("goes on").expect("over the damage");
    assert_eq!((skipped.from, skipped.to, skipped.records), (places[9], places[10], 1));
    assert_eq!(crate::support::drain(&mut reader).expect("reads"), expected(11..30));
    let mut records = 0;
    let mut damages = 0;
    for item in Salvage::open(folder.path()).expect("opens") {
        match item.expect("readable") {
            Salvaged::Batch(batch) => records += batch.len(),
            Salvaged::Damage { skipped, .. } => damages += skipped.expect("something follows").records,
            _ => {}
        }
    }
    assert_eq!((records, damages), (29, 1));
}

#[test]
fn a_frame_longer_than_a_batch_is_read_whole() {
    let disk = MemoryDisk::new(18);
    let log = options().segment_bytes(1 << 20).open_on(Arc::new(disk)).expect("opens");
    let large = vec![7; 700_000];
    let _ = log.append(&numbered(0)).expect("appends");
    let _ = log.append(&large).expect("appends");
    let _ = log.append(&numbered(2)).expect("appends");
    assert_eq!(payloads(&log), [numbered(0), large, numbered(2)]);
}

#[test]
fn seeking_by_time_still_finds_what_lay_below_the_durable_line_of_a_crash() {
    let disk = MemoryDisk::new(19);
    let log = open(&disk).expect("opens");
    disk.advance(std::time::Duration::from_millis(1));
    append_numbered(&log, 0..1);
    log.sync().expect("syncs");
    log.background_step();
    let time = esker::platform::Disk::now(&disk);
    let log = open(&disk.snapshot()).expect("recovers");
    let mut reader = log.reader();
    reader.seek_time(time).expect("seeks");
    assert_eq!(reader.offset(), Offset::ZERO);
}

#[test]
fn a_creation_that_was_torn_is_made_again() {
    let disk = MemoryDisk::new(20);
    let _log = open(&disk).expect("opens");
    let left = disk.snapshot();
    left.remove("anchor");
    left.edit_file(&segment_name(1), |bytes| bytes[128..256].fill(0));
    let log = open(&left).expect("nothing was ever in it");
    assert_eq!((log.recovery().ending, left.quarantined()), (Ending::Created, vec![segment_name(1)]));
    append_numbered(&log, 0..3);
    assert_eq!(payloads(&log), expected(0..3));
}

#[test]
fn a_first_segment_with_a_rotten_header_is_not_taken_for_a_torn_creation() {
    let disk = MemoryDisk::new(21);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..1);
    let left = disk.snapshot();
    left.remove("anchor");
    left.edit_file(&segment_name(1), |bytes| bytes[128] ^= 1);
    assert_eq!(open(&left).expect_err("it holds a record").kind(), ErrorKind::Corrupt);
    assert!(left.quarantined().is_empty());
}

#[test]
fn reading_back_over_damage_first_gives_all_that_lies_behind_it() {
    let disk = MemoryDisk::new(22);
    let log = options().segment_bytes(1 << 20).open_on(Arc::new(disk.clone())).expect("opens");
    let places = append_numbered(&log, 0..200);
    log.close().expect("closes");
    disk.edit_file(&segment_name(1), |bytes| bytes[at(places[79].position) + 40] ^= 1);
    let attached = Attached::open_on(Arc::new(disk)).expect("attaches");
    let mut reader = attached.reader();
    reader.seek_latest();
    let mut seen = Vec::new();
    let error = loop {
        match reader.poll_back() {
            Ok(Some(batch)) => seen.extend(batch.iter_back().map(|record| record.offset().get())),
            Ok(None) => panic!("it went over the damage in silence"),
            Err(error) => break error,
        }
    };
    assert_eq!(seen, (81..200).rev().collect::<Vec<u64>>());
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Corrupt, Some(Offset::new(80))));
}

#[test]
fn without_its_first_segment_nothing_of_a_log_is_shown_as_its_beginning() {
    let disk = MemoryDisk::new(23);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..200);
    log.close().expect("closes");
    disk.remove(&segment_name(1));
    let refusal = open(&disk).expect_err("a segment is missing");
    let attached = Attached::open_on(Arc::new(disk)).expect("attaches");
    let error = attached.reader().poll().expect_err("nothing can be reached");
    assert_eq!(error.to_string(), refusal.to_string());
}

#[test]
fn what_is_reached_before_a_missing_segment_is_shown_and_then_the_refusal() {
    let disk = MemoryDisk::new(24);
    let log = open(&disk).expect("opens");
    let places = append_numbered(&log, 0..300);
    log.close().expect("closes");
    disk.remove(&segment_name(3));
    let refusal = open(&disk).expect_err("a segment is missing");
    let attached = Attached::open_on(Arc::new(disk)).expect("attaches");
    let mut reader = attached.reader();
    let before = u64::try_from(places.iter().filter(|place| place.segment < 3).count()).expect("small");
    let mut seen = Vec::new();
    let error = loop {
        match reader.poll() {
            Ok(Some(batch)) => seen.extend(batch.iter().map(|record| record.payload().to_vec())),
            Ok(None) => panic!("the end of the log was not told from the damage"),
            Err(error) => break error,
        }
    };
    assert_eq!(seen, expected(0..before));
    assert_eq!(error.to_string(), refusal.to_string());
}

#[test]
fn a_damaged_close_frame_is_not_taken_for_a_crash() {
    let disk = MemoryDisk::new(25);
    let log = open(&disk).expect("opens");
    let places = append_numbered(&log, 0..20);
    log.close().expect("closes");
    let (first, last) = (places[5], places[19]);
    disk.edit_file(&segment_name(1), |bytes| bytes[at(first.position)..at(last.position) + 200].fill(0));
    let error = open(&disk).expect_err("what was durable is gone");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("close frame"), "{error}");
}

#[test]
fn segments_that_a_broken_link_drops_are_in_the_report() {
    let disk = MemoryDisk::new(26);
    let log = options().unproven_segments_max(100).open_on(Arc::new(disk.clone())).expect("opens");
    let places = append_numbered(&log, 0..300);
    let left = disk.snapshot();
    left.edit_file(&segment_name(3), |bytes| bytes[100] ^= 1);
    let log = open(&left).expect("recovers");
    let kept = places.iter().filter(|place| place.segment < 3).count();
    let cut = log.recovery().cut.clone().expect("a cut");
    assert_eq!(log.recovery().ending, Ending::Torn);
    assert!(cut.cause.contains("segment 3"), "{}", cut.cause);
    let lost_with_header = places.iter().filter(|place| place.segment == 3).count();
    assert_eq!(usize::try_from(cut.records).expect("small"), 300 - kept - lost_with_header);
    let newest = places.last().expect("places").segment;
    let left = disk.snapshot();
    left.edit_file(&segment_name(newest), |bytes| bytes[100] ^= 1);
    let log = open(&left).expect("recovers");
    assert_eq!(log.recovery().ending, Ending::Torn);
    assert!(log.recovery().cut.is_some(), "{:?}", log.recovery());
}

#[test]
fn a_file_that_was_cut_below_the_durable_line_is_refused_without_reading() {
    let disk = MemoryDisk::new(27);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..300);
    log.close().expect("closes");
    disk.truncate(&segment_name(2), 8192);
    let error = open(&disk).expect_err("frames are gone");
    assert_eq!((error.kind(), error.place().expect("a place").position), (ErrorKind::Corrupt, 8192));
    let attached = Attached::open_on(Arc::new(disk)).expect("attaches");
    let mut reader = attached.reader();
    while let Ok(Some(_)) = reader.poll() {}
    let from = reader.offset();
    let skipped = reader.skip_damage().expect("goes on").expect("damage");
    assert_eq!(skipped.to.segment, 3);
    assert_eq!(skipped.records, reader.offset().get() - from.get());
    assert!(skipped.records > 0);
}

#[test]
fn a_last_file_that_was_cut_is_refused_even_without_the_anchor() {
    let disk = MemoryDisk::new(28);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..20);
    log.close().expect("closes");
    disk.remove("anchor");
    disk.truncate(&segment_name(1), 6000);
    let error = open(&disk).expect_err("a file is never shortened by a crash");
    assert_eq!((error.kind(), error.place().expect("a place").position), (ErrorKind::Corrupt, 6000));
    let verification = esker::inspect::verify_on(&disk, &mut |_| ()).expect("verifies");
    assert!(verification.is_damaged(), "{:?}", verification.findings);
}

#[test]
fn a_lone_segment_whose_header_is_gone_is_not_taken_for_an_empty_directory() {
    let disk = MemoryDisk::new(29);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..3);
    log.close().expect("closes");
    disk.remove("anchor");
    disk.edit_file(&segment_name(1), |bytes| bytes[..4096].fill(0));
    assert_eq!(open(&disk).expect_err("records lie behind").kind(), ErrorKind::Corrupt);
    assert!(disk.quarantined().is_empty());
}
