//! What readers and other appends see of an append.

use loom::thread;

use crate::disk::twin_disk;
use crate::{check, drain, fill, large, open, poll};

#[test]
fn a_reader_sees_whole_records_in_order_each_once() {
    check(6, || {
        let log = open(&twin_disk());
        let mut reader = log.reader();
        let writer = thread::spawn({
            let log = log.clone();
            move || {
                let _ = log.append(b"second").expect("appends");
                let _ = log.append(b"third").expect("appends");
            }
        });
        let mut seen = Vec::new();
        for _ in 0..2 {
            poll(&mut reader, &mut seen).expect("reads");
        }
        writer.join().expect("appends");
        seen.extend(drain(&mut reader));
        assert_eq!(seen, ["first", "second", "third"]);
    });
}

#[test]
fn a_batch_is_seen_in_full_or_not_at_all() {
    check(6, || {
        let log = open(&twin_disk());
        let mut reader = log.reader();
        assert_eq!(drain(&mut reader), ["first"]);
        let writer = thread::spawn({
            let log = log.clone();
            move || {
                let _ = log.append_batch([b"second".into(), b"third".into()]).expect("appends");
            }
        });
        let mut seen = Vec::new();
        poll(&mut reader, &mut seen).expect("reads");
        assert!(seen.is_empty() || seen.len() == 2, "{seen:?}");
        writer.join().expect("appends");
        seen.extend(drain(&mut reader));
        assert_eq!(seen, ["second", "third"]);
    });
}

#[test]
fn appends_at_once_get_offsets_one_after_the_other() {
    check(6, || {
        let log = open(&twin_disk());
        let append = |name: &'static str| {
            let log = log.clone();
            move || log.append(name).expect("appends").offset().get()
        };
        let other = thread::spawn(append("a"));
        let offsets = [append("b")(), other.join().expect("appends")];
        let seen = drain(&mut log.reader());
        match offsets {
            [1, 2] => assert_eq!(seen, ["first", "b", "a"]),
            [2, 1] => assert_eq!(seen, ["first", "a", "b"]),
            _ => panic!("{offsets:?}"),
        }
    });
}

#[test]
fn a_reader_at_the_end_of_a_segment_goes_on_in_the_next_and_loses_nothing() {
    check(6, || {
        let log = open(&twin_disk());
        fill(&log);
        let mut reader = log.reader();
        assert_eq!(drain(&mut reader).len(), 2);
        let writer = thread::spawn({
            let log = log.clone();
            move || {
                let _ = log.append(&large(b"rolls")).expect("appends");
                let _ = log.append(b"after").expect("appends");
            }
        });
        let mut seen = Vec::new();
        for _ in 0..2 {
            poll(&mut reader, &mut seen).expect("reads");
        }
        writer.join().expect("appends");
        seen.extend(drain(&mut reader));
        assert_eq!(seen, ["rolls", "after"]);
        assert_eq!(log.stats().rolls, 1);
    });
}

#[test]
fn a_reader_amid_a_segment_meets_its_last_record_before_the_next_segment() {
    check(6, || {
        let log = open(&twin_disk());
        fill(&log);
        let mut reader = log.reader();
        assert_eq!(drain(&mut reader).len(), 2);
        let writer = thread::spawn({
            let log = log.clone();
            move || {
                let _ = log.append(b"last").expect("appends");
                let _ = log.append(&large(b"rolls")).expect("appends");
            }
        });
        let mut seen = Vec::new();
        for _ in 0..2 {
            poll(&mut reader, &mut seen).expect("reads");
        }
        writer.join().expect("appends");
        seen.extend(drain(&mut reader));
        assert_eq!(seen, ["last", "rolls"]);
    });
}

#[test]
fn appends_that_roll_at_once_roll_once_and_both_are_there() {
    check(6, || {
        let log = open(&twin_disk());
        fill(&log);
        let append = |name: &'static [u8]| {
            let log = log.clone();
            move || log.append(&large(name)).expect("appends").offset().get()
        };
        let other = thread::spawn(append(b"a"));
        let offsets = [append(b"b")(), other.join().expect("appends")];
        assert!(offsets == [2, 3] || offsets == [3, 2], "{offsets:?}");
        let seen = drain(&mut log.reader());
        assert!(seen.len() == 4 && seen[2..].contains(&"a".to_owned()) && seen[2..].contains(&"b".to_owned()));
        assert_eq!(log.stats().rolls, 1);
    });
}

#[test]
fn a_seek_to_the_end_skips_no_record_that_comes_meanwhile() {
    check(6, || {
        let log = open(&twin_disk());
        let writer = thread::spawn({
            let log = log.clone();
            move || {
                let _ = log.append(b"second").expect("appends");
            }
        });
        let end = log.visible();
        let mut reader = log.reader();
        reader.seek(end).expect("was the end a moment ago");
        writer.join().expect("appends");
        let expected = if end.get() == 1 { vec!["second"] } else { vec![] };
        assert_eq!(drain(&mut reader), expected);
    });
}
