//! What a newcomer tries first, on a real directory.

use std::time::Duration;

use esker::{Header, Log, Offset, Options, Record, Timestamp, Topic};

fn payloads(log: &Log) -> Vec<Vec<u8>> {
    let mut reader = log.reader();
    let mut all = Vec::new();
    while let Some(batch) = reader.poll().expect("polls") {
        all.extend(batch.iter().map(|record| record.payload().to_vec()));
    }
    all
}

#[test]
fn what_was_appended_is_read_back_and_still_there_after_a_reopen() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let headers = [Header { name: "trace", value: b"7" }];
    let log = Log::open(folder.path()).expect("opens");
    let record = Record::new(b"one").key(b"k").headers(&headers).topic(Topic::new(3).expect("topic"));
    let ticket = log.append(record.event_time(Timestamp::from_nanoseconds(5))).expect("appends");
    assert_eq!(ticket.offset(), Offset::new(0));
    ticket.wait().expect("syncs");
    assert_eq!(log.durable(), Offset::new(1));
    let ticket = log.append_batch([Record::new(b"two"), Record::tombstone(b"k")]).expect("appends");
    assert_eq!(ticket.offsets(), Offset::new(1)..Offset::new(3));
    assert_eq!(payloads(&log), [&b"one"[..], b"two", b""]);
    let batch = log.reader().poll().expect("polls").expect("records");
    let first = batch.iter().next().expect("one");
    assert_eq!((first.key(), first.topic().get()), (Some(&b"k"[..]), 3));
    assert_eq!(first.event_time(), Some(Timestamp::from_nanoseconds(5)));
    assert_eq!(first.headers().collect::<Vec<_>>(), headers);
    log.close().expect("closes");

    let log = Log::open(folder.path()).expect("opens again");
    assert_eq!(log.recovery().ending, esker::Ending::Clean);
    assert_eq!(payloads(&log), [&b"one"[..], b"two", b""]);
    assert_eq!(log.append(b"three").expect("appends").offset(), Offset::new(3));
}

#[test]
fn a_log_over_many_segments_reads_forward_backward_and_from_any_offset() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = Options::new().segment_bytes(16384).open(folder.path()).expect("opens");
    for number in 0..2000_u64 {
        let _ = log.append(&number.to_le_bytes()).expect("appends");
    }
    assert!(log.stats().segments > 5, "{:?}", log.stats());
    let number = |payload: &[u8]| u64::from_le_bytes(payload.try_into().expect("eight bytes"));
    let mut reader = log.reader();
    for start in [0, 1, 777, 1999, 2000] {
        reader.seek(Offset::new(start)).expect("seeks");
        let mut expected = start;
        while let Some(batch) = reader.poll().expect("polls") {
            for record in &batch {
                assert_eq!((record.offset().get(), number(record.payload())), (expected, expected));
                expected += 1;
            }
        }
        assert_eq!(expected, 2000);
    }
    let mut expected = 2000;
    while let Some(batch) = reader.poll_back().expect("polls") {
        for record in batch.iter_back() {
            expected -= 1;
            assert_eq!((record.offset().get(), number(record.payload())), (expected, expected));
        }
    }
    assert_eq!(expected, 0);
    assert!(reader.seek(Offset::new(2001)).is_err());
}

#[test]
fn a_waiting_reader_wakes_on_an_append() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = Log::open(folder.path()).expect("opens");
    let mut reader = log.reader();
    let waiter = std::thread::spawn(move || {
        let batch = reader.poll_wait(Duration::from_secs(60)).expect("polls").expect("a record");
        batch.iter().next().expect("one").payload().to_vec()
    });
    let _ = log.append(b"hello").expect("appends");
    assert_eq!(waiter.join().expect("reads"), b"hello");
}
