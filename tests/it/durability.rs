//! Visible and durable: what tickets promise, what a failed sync does, what is written down.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use esker::{Background, ErrorKind, Log, Offset, Options, ReadLine, Sync};
use harness::{Call, MemoryDisk, Watch, WatchedDisk};

use crate::support::{append_numbered, drain, expected, open, options, payloads, segment_name};

#[test]
fn an_append_is_visible_at_once_and_durable_after_the_wait() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    let syncs = disk.syncs();
    let ticket = log.append(b"a").expect("appends");
    assert_eq!((log.visible(), log.durable()), (Offset::new(1), Offset::ZERO));
    assert_eq!(disk.syncs(), syncs, "an append syncs nothing");
    ticket.wait().expect("syncs");
    assert_eq!(log.durable(), Offset::new(1));
    assert_eq!(disk.syncs(), syncs + 1);
    ticket.wait().expect("is durable");
    log.sync().expect("is durable");
    assert_eq!(disk.syncs(), syncs + 1, "what is durable is not synced again");
}

#[test]
fn a_durable_reader_stops_at_the_line() {
    let disk = MemoryDisk::new(2);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..3);
    log.sync().expect("syncs");
    append_numbered(&log, 3..5);
    let mut reader = log.reader().up_to(ReadLine::Durable);
    assert_eq!(drain(&mut reader).expect("reads"), expected(0..3));
    assert_eq!(payloads(&log), expected(0..5));
    log.sync().expect("syncs");
    assert_eq!(drain(&mut reader).expect("reads"), expected(3..5));
}

#[test]
fn a_durable_reader_that_waits_wakes_when_the_line_moves() {
    let log = options().open_on(Arc::new(MemoryDisk::new(2))).expect("opens");
    let mut reader = log.reader().up_to(ReadLine::Durable);
    let ticket = log.append(b"x").expect("appends");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| reader.poll_wait(Duration::from_secs(60)).expect("reads").expect("a record").len());
        ticket.wait().expect("syncs");
        assert_eq!(waiter.join().expect("ends"), 1);
    });
}

#[test]
fn every_commit_is_durable_when_the_append_returns() {
    let disk = MemoryDisk::new(3);
    let log = options().sync(Sync::EveryCommit).open_on(Arc::new(disk)).expect("opens");
    for number in 1..50 {
        let _ = log.append(b"x").expect("appends");
        assert_eq!(log.durable(), Offset::new(number));
    }
}

#[test]
fn an_interval_makes_durable_without_being_asked() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let sync = Sync::Interval(Duration::from_millis(2));
    let log = Options::new().sync(sync).open(folder.path()).expect("opens");
    let mut reader = log.reader().up_to(ReadLine::Durable);
    for number in 0..5_u64 {
        let _ = log.append(&number.to_le_bytes()).expect("appends");
        let batch = reader.poll_wait(Duration::from_secs(60)).expect("reads").expect("durable by itself");
        assert_eq!(batch.next(), Offset::new(number + 1));
    }
}

#[test]
fn the_first_failed_sync_poisons_the_log_for_good() {
    let disk = MemoryDisk::new(4);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..3);
    log.sync().expect("syncs");
    let ticket = log.append(b"lost?").expect("appends");
    let mut reader = log.reader();
    disk.fail_sync(1);
    let error = ticket.wait().expect_err("the sync failed");
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    assert!(std::error::Error::source(&error).is_some(), "the cause is kept");
    let syncs = disk.syncs();
    assert_eq!(ticket.wait().expect_err("poisoned").kind(), ErrorKind::Poisoned);
    assert_eq!(log.sync().expect_err("poisoned").kind(), ErrorKind::Poisoned);
    assert_eq!(log.append(b"x").expect_err("poisoned").kind(), ErrorKind::Poisoned);
    assert_eq!(log.durable(), Offset::new(3));
    assert_eq!(drain(&mut reader).expect("reads"), expected(0..3), "readers stop at the durable line");
    assert_eq!(reader.poll_wait(Duration::from_secs(60)).expect_err("nothing comes").kind(), ErrorKind::Poisoned);
    assert_eq!(log.close().expect_err("poisoned").kind(), ErrorKind::Poisoned);
    assert_eq!(disk.syncs(), syncs, "no sync is tried again");
    let log = open(&disk).expect("recovers");
    assert_eq!(log.visible(), Offset::new(4), "recovery settles what the failed sync left open");
    assert_eq!(log.durable(), Offset::new(4));
}

/// The files that were opened for writing or reading.
#[derive(Default)]
struct Opened(Mutex<Vec<String>>);

impl Watch for Opened {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        if let Call::Open(name) = call {
            self.0.lock().expect("nothing panics under the lock").push(name.to_owned());
        }
        Ok(())
    }
}

/// Linux tells an error of write-back once, to those who had the file open then.
#[test]
fn a_segment_is_synced_through_the_file_that_was_open_before_its_first_store() {
    let watched = WatchedDisk::new(MemoryDisk::new(4), Opened::default());
    let log = options().open_on(Arc::new(watched.clone())).expect("opens");
    watched.0.lock().expect("free").clear();
    append_numbered(&log, 0..3);
    log.sync().expect("syncs");
    let opened = watched.0.lock().expect("free").clone();
    assert_eq!(opened, [""; 0], "opened between the first store and the sync");
}

#[test]
fn what_was_durable_before_stays_so_after_a_failed_sync() {
    let disk = MemoryDisk::new(5);
    let log = open(&disk).expect("opens");
    let ticket = log.append(b"safe").expect("appends");
    ticket.wait().expect("syncs");
    let _ = log.append(b"x").expect("appends");
    disk.fail_sync(1);
    log.sync().expect_err("the sync failed");
    ticket.wait().expect("was durable before");
}

#[test]
fn a_failed_sync_of_a_spare_discards_only_the_spare() {
    let disk = MemoryDisk::new(6);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..3);
    disk.fail_sync(1);
    log.background_step();
    assert!(!disk.names().contains(&segment_name(2)), "the spare is gone");
    append_numbered(&log, 3..200);
    assert_eq!(payloads(&log), expected(0..200));
    log.close().expect("closes");
}

#[test]
fn a_sync_marks_how_far_the_log_was_durable_before_and_rest_adds_a_last_mark() {
    let disk = MemoryDisk::new(7);
    let log = open(&disk).expect("opens");
    let place = log.append(b"a").expect("appends").place();
    log.sync().expect("syncs");
    let durable_on_disk = |disk: &MemoryDisk| {
        let left = disk.snapshot();
        left.remove("anchor");
        open(&left).expect("recovers").recovery().durable.place
    };
    assert!(durable_on_disk(&disk) < place, "nobody wrote it down yet");
    log.background_step();
    assert!(durable_on_disk(&disk) >= place, "appends rest, so a mark was written");
    let syncs = disk.syncs();
    log.background_step();
    log.background_step();
    assert_eq!(disk.syncs(), syncs, "one mark is enough");
    let place = log.append(b"b").expect("appends").place();
    log.sync().expect("syncs");
    let _ = log.append(b"c").expect("appends");
    log.sync().expect("syncs, and marks the one before");
    assert!(durable_on_disk(&disk) >= place);
}

#[test]
fn sealed_segments_are_synced_in_the_background_in_every_mode() {
    let disk = MemoryDisk::new(8);
    let log = open(&disk).expect("opens");
    let places = append_numbered(&log, 0..100);
    assert_eq!(log.durable(), Offset::ZERO);
    log.background_step();
    let last = places.last().expect("places").segment;
    let sealed = places.iter().filter(|place| place.segment < last).count();
    assert!(log.durable().get() >= u64::try_from(sealed).expect("small"));
}

#[test]
fn appends_wait_while_too_many_segments_are_not_durable() {
    let disk = MemoryDisk::new(9);
    let log = options().unproven_segments_max(2).open_on(Arc::new(disk)).expect("opens");
    for places in append_numbered(&log, 0..400).windows(2) {
        assert!(places[0] < places[1]);
    }
    let durable = log.stats().durable.place.segment;
    let visible = log.stats().visible.place.segment;
    assert!(visible > 5 && visible - durable <= 3, "durable in segment {durable}, visible in segment {visible}");
    assert!(log.stats().append_stalls > 0);
}

#[test]
fn waiting_for_a_place_that_is_not_there_is_refused() {
    let log = open(&MemoryDisk::new(10)).expect("opens");
    let mut place = log.append(b"a").expect("appends").place();
    place.position += 8;
    assert_eq!(log.wait_durable(place).expect_err("beyond the end").kind(), ErrorKind::Invalid);
}

#[test]
fn after_a_close_other_handles_and_readers_are_told() {
    let log = open(&MemoryDisk::new(11)).expect("opens");
    let other = log.clone();
    append_numbered(&log, 0..3);
    let mut reader = log.reader();
    log.close().expect("closes");
    assert_eq!(other.append(b"x").expect_err("closed").kind(), ErrorKind::Closed);
    assert_eq!(drain(&mut reader).expect("reads"), expected(0..3), "what is there can still be read");
    assert_eq!(reader.poll_wait(Duration::from_secs(60)).expect_err("nothing comes").kind(), ErrorKind::Closed);
    other.close().expect("a second close does nothing");
}

#[test]
fn dropping_the_last_handle_closes_the_log() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = Log::open(folder.path()).expect("opens");
    let _ = log.append(b"a").expect("appends");
    drop(log);
    let log = Options::new().background(Background::Manual).open(folder.path()).expect("opens again");
    assert_eq!(log.recovery().ending, esker::Ending::Clean);
}

#[test]
fn waiting_after_a_close_for_what_never_came_is_an_error() {
    let log = open(&MemoryDisk::new(12)).expect("opens");
    let other = log.clone();
    let place = log.append(b"a").expect("appends").place();
    log.close().expect("closes");
    other.wait_durable(place).expect("is durable");
    let beyond = esker::Place { segment: 99, ..place };
    assert_eq!(other.wait_durable(beyond).expect_err("never stored").kind(), ErrorKind::Invalid);
}

#[test]
fn a_reader_set_to_the_durable_line_behind_it_goes_back_from_there() {
    let log = open(&MemoryDisk::new(13)).expect("opens");
    append_numbered(&log, 0..3);
    log.sync().expect("syncs");
    append_numbered(&log, 3..5);
    let mut reader = log.reader();
    reader.seek_latest();
    let mut reader = reader.up_to(ReadLine::Durable);
    assert!(reader.poll().expect("reads").is_none());
    let batch = reader.poll_back().expect("reads").expect("what is durable");
    assert_eq!((batch.first(), batch.next()), (Offset::ZERO, Offset::new(3)));
}
