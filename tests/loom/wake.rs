//! Who waits is woken: a wake that is lost is a deadlock, which fails the model.

use esker::ReadLine;
use loom::thread;

use crate::disk::twin_disk;
use crate::{check, drain, fill, large, open, wait};

#[test]
fn an_append_wakes_a_reader_that_waits_or_is_about_to() {
    check(6, || {
        let log = open(&twin_disk());
        let mut reader = log.reader();
        assert_eq!(drain(&mut reader), ["first"]);
        let writer = thread::spawn({
            let log = log.clone();
            move || {
                let _ = log.append(b"second").expect("appends");
                let _ = log.append(b"third").expect("appends");
            }
        });
        let mut seen = Vec::new();
        while seen.len() < 2 {
            wait(&mut reader, &mut seen).expect("reads");
        }
        assert_eq!(seen, ["second", "third"]);
        writer.join().expect("appends");
    });
}

#[test]
fn an_append_wakes_every_reader_that_waits() {
    check(3, || {
        let log = open(&twin_disk());
        let follow = || {
            let mut reader = log.reader();
            assert_eq!(drain(&mut reader), ["first"]);
            move || {
                let mut seen = Vec::new();
                wait(&mut reader, &mut seen).expect("reads");
                assert_eq!(seen, ["second"]);
            }
        };
        let followers = [thread::spawn(follow()), thread::spawn(follow())];
        let _ = log.append(b"second").expect("appends");
        for follower in followers {
            follower.join().expect("reads");
        }
    });
}

#[test]
fn an_append_that_rolls_wakes_a_reader_at_the_end_of_the_segment() {
    check(6, || {
        let log = open(&twin_disk());
        fill(&log);
        let mut reader = log.reader();
        assert_eq!(drain(&mut reader).len(), 2);
        let writer = thread::spawn({
            let log = log.clone();
            move || {
                let _ = log.append(&large(b"rolls")).expect("appends");
            }
        });
        let mut seen = Vec::new();
        wait(&mut reader, &mut seen).expect("reads");
        assert_eq!(seen, ["rolls"]);
        writer.join().expect("appends");
    });
}

#[test]
fn a_durable_reader_is_woken_when_the_line_moves_and_sees_nothing_before() {
    check(6, || {
        let disk = twin_disk();
        let log = open(&disk);
        let mut reader = log.reader().up_to(ReadLine::Durable);
        assert_eq!(drain(&mut reader), ["first"]);
        let writer = thread::spawn({
            let log = log.clone();
            move || log.append(b"second").expect("appends").wait().expect("syncs")
        });
        let mut seen = Vec::new();
        wait(&mut reader, &mut seen).expect("reads");
        assert_eq!(seen, ["second"]);
        assert!(disk.keeps(b"second"), "read before it was durable");
        writer.join().expect("appends");
    });
}
