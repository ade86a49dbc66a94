//! Cursors: named offsets that resume, move with what was made of the records, and never jump in silence.

use std::sync::Arc;
use std::time::Duration;

use esker::{Attached, Commit, Conflict, Epoch, ErrorKind, Log, Offset, ReadLine, Record, Start};
use harness::MemoryDisk;

use crate::support::{append_numbered, expected, numbered, open, options, payloads};

fn handled(cursor: &mut esker::Cursor) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(batch) = cursor.poll().expect("reads") {
        all.extend(batch.iter().map(|record| record.payload().to_vec()));
    }
    all
}

fn committed(log: &Log, name: &str) -> Option<u64> {
    let cursors = log.cursors().expect("shown");
    cursors.into_iter().find(|cursor| cursor.name == name).map(|cursor| cursor.offset.get())
}

#[test]
fn a_cursor_begins_at_the_first_record_and_resumes_where_it_was_committed() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..100);
    let mut cursor = log.cursor("billing").expect("is made");
    let batch = cursor.poll().expect("reads").expect("records");
    let first = batch.next().get();
    assert_eq!(cursor.offset(), batch.next());
    assert_eq!((cursor.committed(), cursor.lag()), (Offset::ZERO, 100));
    let _ = cursor.commit(&batch).expect("commits");
    assert_eq!((cursor.committed(), cursor.lag()), (batch.next(), 100 - first));
    // Polled, not committed: comes again.
    assert!(cursor.poll().expect("reads").is_some());
    let again = handled(&mut log.cursor("billing").expect("is there"));
    assert_eq!(again, expected(first..100));
    let left = disk.snapshot();
    log.close().expect("closes");
    for disk in [disk, left] {
        let log = open(&disk).expect("opens");
        assert_eq!(handled(&mut log.cursor("billing").expect("is there")), expected(first..100));
        assert_eq!(handled(&mut log.cursor("other").expect("is made")), expected(0..100));
    }
}

#[test]
fn a_new_cursor_begins_where_it_is_told_and_an_old_one_where_it_was() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..10);
    disk.advance(Duration::from_secs(60));
    let time = esker::platform::Disk::now(&disk);
    append_numbered(&log, 10..15);
    for (start, offset) in
        [(Start::Earliest, 0), (Start::Latest, 15), (Start::Offset(Offset::new(7)), 7), (Start::Time(time), 10)]
    {
        let name = format!("at-{offset}");
        assert_eq!(log.cursor_from(&name, start).expect("is made").offset(), Offset::new(offset), "{start:?}");
        assert_eq!(log.cursor_from(&name, Start::Offset(Offset::new(3))).expect("is there").offset().get(), offset);
        assert_eq!(committed(&log, &name), Some(offset), "made at once: a crash does not forget where it began");
    }
    assert_eq!(
        log.cursor_from("new", Start::Offset(Offset::new(16))).expect_err("not reached").kind(),
        ErrorKind::Invalid
    );
    assert_eq!(committed(&log, "new"), None);
}

#[test]
fn ten_thousand_cursors_each_keep_their_place() {
    let disk = MemoryDisk::new(1);
    let options = options().segment_bytes(1 << 20).checkpoint_bytes(1 << 20);
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    append_numbered(&log, 0..100);
    for number in 0..10_000_u64 {
        let mut cursor = log.cursor(&format!("device/{number}")).expect("is made");
        let _ = cursor.commit(Offset::new(number % 101)).expect("commits");
    }
    let left = disk.snapshot();
    log.close().expect("closes");
    for disk in [disk, left] {
        let log = options.open_on(Arc::new(disk)).expect("opens");
        let cursors = log.cursors().expect("shown");
        assert_eq!(cursors.len(), 10_000);
        for cursor in cursors {
            let number: u64 = cursor.name["device/".len()..].parse().expect("a number");
            assert_eq!((cursor.offset.get(), cursor.lag), (number % 101, 100 - number % 101));
        }
    }
}

#[test]
fn records_state_and_cursor_of_a_commit_move_together() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..50);
    let mut cursor = log.cursor("copy").expect("is made");
    let batch = cursor.poll().expect("reads").expect("records");
    let frames = log.stats().appends;
    let out = Commit::new().record(Record::new(b"made of them").key("out")).state("count", "50");
    let offset = cursor.commit_with(&batch, out).expect("commits").offset();
    assert_eq!((offset, log.stats().appends), (Offset::new(50), frames + 1), "one frame");
    let log = open(&disk.snapshot()).expect("recovers");
    assert_eq!(committed(&log, "copy"), Some(batch.next().get()));
    assert_eq!(log.state("count").expect("shown").expect("held").value(), b"50");
    assert_eq!(payloads(&log).len(), 51);
}

#[test]
fn of_two_handles_of_one_cursor_the_second_to_commit_gets_a_conflict() {
    let log = open(&MemoryDisk::new(1)).expect("opens");
    append_numbered(&log, 0..20);
    let (mut one, mut other) = (log.cursor("c").expect("is made"), log.cursor("c").expect("is there"));
    let batch = one.poll().expect("reads").expect("records");
    let _ = one.commit(&batch).expect("commits");
    let error = other.commit_with(&batch, Commit::new().record(b"twice")).expect_err("moved since");
    let conflict = Conflict::Cursor { name: "c".to_owned(), expected: Offset::ZERO, found: Some(batch.next()) };
    assert_eq!((error.kind(), error.conflict()), (ErrorKind::Conflict, Some(&conflict)));
    assert_eq!(log.visible(), Offset::new(20), "nothing happened twice");
    assert_eq!(other.seek(Offset::ZERO).expect_err("moved since").kind(), ErrorKind::Conflict);
    let _ = log.commit(Commit::new().remove_cursor("c")).expect("removes");
    let error = one.commit(&batch).expect_err("removed since");
    assert!(matches!(error.conflict(), Some(Conflict::Cursor { found: None, .. })), "{error}");
}

#[test]
fn a_cursor_goes_back_only_by_a_seek() {
    let log = open(&MemoryDisk::new(1)).expect("opens");
    append_numbered(&log, 0..20);
    let mut cursor = log.cursor("c").expect("is made");
    let _ = cursor.commit(Offset::new(10)).expect("forward");
    let _ = cursor.commit(Offset::new(10)).expect("where it is");
    for error in [
        cursor.commit(Offset::new(9)).expect_err("back"),
        log.commit(Commit::new().cursor("c", Offset::new(9))).expect_err("back"),
        cursor.commit(Offset::new(21)).expect_err("past the end"),
        log.commit(Commit::new().seek_cursor("c", Offset::new(21))).expect_err("past the end"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    let _ = cursor.seek(Offset::new(4)).expect("back by a seek");
    assert_eq!((cursor.offset(), cursor.committed()), (Offset::new(4), Offset::new(4)));
    assert_eq!(cursor.poll().expect("reads").expect("records").first(), Offset::new(4));
    let _ = log.commit(Commit::new().seek_cursor("c", Offset::ZERO)).expect("back by a seek");
    assert_eq!(log.cursor("c").expect("is there").offset(), Offset::ZERO);
}

#[test]
fn names_are_checked_and_removed_cursors_begin_anew() {
    let log = open(&MemoryDisk::new(1)).expect("opens");
    append_numbered(&log, 0..3);
    let longest = "x".repeat(esker::CURSOR_NAME_BYTES_MAX);
    for name in ["a", "A.b_c-d/e:9", &longest] {
        let _ = log.cursor(name).expect("a good name").commit(Offset::new(2)).expect("commits");
    }
    for name in ["", "a b", "ä", "a\n", &format!("{longest}x")] {
        assert_eq!(log.cursor(name).expect_err("a bad name").kind(), ErrorKind::Invalid, "{name:?}");
        assert!(log.commit(Commit::new().cursor(name, Offset::ZERO)).is_err());
    }
    let _ = log.commit(Commit::new().remove_cursor("a")).expect("removes");
    assert_eq!(log.cursor("a").expect("is made").offset(), Offset::ZERO);
    assert_eq!(log.stats().state_keys, 3);
}

#[test]
fn an_offset_of_an_epoch_that_ended_before_it_is_diverged() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..10);
    log.sync().expect("syncs");
    let durable = disk.snapshot();
    append_numbered(&log, 10..20);
    // Whoever saw these saw what vanishes now: the disk of before is all that is left.
    let (epoch, seen) = (log.epoch(), log.visible());
    let log = open(&durable).expect("recovers");
    append_numbered(&log, 50..80);
    let mut reader = log.reader();
    let error = reader.seek_in(epoch, seen).expect_err("of another history");
    assert_eq!(error.kind(), ErrorKind::Diverged { at: Offset::new(10) }, "{error}");
    reader.seek_in(epoch, Offset::new(10)).expect("both histories are the same up to there");
    reader.seek_in(log.epoch(), Offset::new(15)).expect("of this epoch");
    let strange = Epoch { counter: epoch.counter, word: !epoch.word };
    assert!(matches!(reader.seek_in(strange, Offset::new(5)).expect_err("unknown").kind(), ErrorKind::Diverged { .. }));
    // The same from outside, and after the log was closed: checkpoints and headers name the epochs.
    log.close().expect("closes");
    let mut outside = Attached::open_on(Arc::new(durable.clone())).expect("attaches").reader();
    let kind = outside.seek_in(epoch, seen).expect_err("of another history").kind();
    assert_eq!(kind, ErrorKind::Diverged { at: Offset::new(10) });
}

#[test]
fn a_cursor_that_reads_what_is_durable_sees_no_more() {
    let log = open(&MemoryDisk::new(1)).expect("opens");
    append_numbered(&log, 0..3);
    log.sync().expect("syncs");
    append_numbered(&log, 3..5);
    let mut cursor = log.cursor("relay").expect("is made").up_to(ReadLine::Durable);
    assert_eq!(handled(&mut cursor), expected(0..3));
    log.sync().expect("syncs");
    let batch = cursor.poll_wait(Duration::from_secs(60)).expect("reads").expect("durable now");
    assert_eq!(batch.iter().next().expect("one").payload(), numbered(3));
}

#[test]
fn cursors_move_when_the_disk_is_full() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    let mut cursor = log.cursor("c").expect("is made");
    disk.space_limit(disk.space_held());
    let mut appended = 0_u64;
    let error = loop {
        match log.append(&numbered(appended)) {
            Ok(_ticket) => appended += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::OutOfSpace);
    let small = (0..50).take_while(|_| log.append(b"").is_ok()).count();
    for offset in 0..10 {
        let _ = cursor.commit(Offset::new(offset)).unwrap_or_else(|error| panic!("{error}, after {small} small ones"));
    }
    log.sync().expect("what is there becomes durable");
    assert_eq!(committed(&open(&disk.snapshot()).map_or(log, |recovered| recovered), "c"), Some(9));
}

#[test]
fn a_full_disk_on_which_cursors_moved_is_closed_and_opened_again() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    let mut cursor = log.cursor("c").expect("is made");
    disk.space_limit(disk.space_held());
    let mut appended = 0_u64;
    while log.append(&numbered(appended)).is_ok() {
        appended += 1;
    }
    while log.append(b"").is_ok() {}
    let mut moved = 0;
    while cursor.commit(Offset::new(moved)).is_ok() {
        moved += 1;
    }
    assert!(moved >= 10, "{moved}");
    log.close().expect("closes");
    let left = disk.snapshot();
    left.space_limit(left.space_held());
    for _ in 0..3 {
        let log = open(&left).expect("opens on the full disk");
        assert_eq!(committed(&log, "c"), Some(moved - 1));
        log.close().expect("closes");
    }
}

#[test]
fn a_cursor_of_a_poisoned_log_is_told_so() {
    let disk = MemoryDisk::new(6);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..10);
    log.sync().expect("syncs");
    let mut cursor = log.cursor("c").expect("is made");
    append_numbered(&log, 10..20);
    disk.fail_sync(1);
    assert_eq!(log.sync().expect_err("fails").kind(), ErrorKind::Poisoned);
    assert_eq!(cursor.commit(Offset::new(20)).expect_err("poisoned").kind(), ErrorKind::Poisoned);
    assert_eq!(cursor.seek(Offset::new(5)).expect_err("poisoned").kind(), ErrorKind::Poisoned);
    assert_eq!(log.state("k").expect_err("what survives is unknown").kind(), ErrorKind::Poisoned);
}

#[test]
fn who_looks_from_outside_sees_cursors_and_state() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..30);
    let _ = log.cursor("b").expect("is made").commit(Offset::new(7)).expect("commits");
    let _ = log.cursor_from("a", Start::Latest).expect("is made");
    let _ = log.commit(Commit::new().state("k", "v")).expect("commits");
    let inside = log.cursors().expect("shown");
    assert_eq!(inside.iter().map(|c| (&*c.name, c.lag)).collect::<Vec<_>>(), [("a", 0), ("b", 23)]);
    assert_eq!(log.cursor_info("b").expect("shown").as_ref(), inside.get(1));
    assert_eq!(log.cursor_info("c").expect("shown"), None, "asking makes none");
    let look = |disk: &MemoryDisk| {
        let state = Attached::open_on(Arc::new(disk.clone())).expect("attaches").state().expect("reads");
        assert_eq!(state.cursors(), inside);
        assert_eq!(state.get("k").expect("held").value(), b"v");
        assert_eq!((state.keys(), state.end()), (3, Offset::new(30)));
    };
    look(&disk);
    look(&disk.snapshot());
    log.close().expect("closes");
    look(&disk);
}
