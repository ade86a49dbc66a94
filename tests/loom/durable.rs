//! The durable line: never above what a sync covered that began after the store, and whoever waits for it comes back.

use std::sync::Arc;

use esker::{Attached, ReadLine};
use loom::thread;

use crate::disk::{TwinDisk, twin_disk};
use crate::{check, drain, fill, large, open, options, poll};

/// Appends, waits, and holds the log to its word.
fn commit(log: &esker::Log, disk: &TwinDisk, name: &[u8]) {
    let ticket = log.append(name).expect("appends");
    ticket.wait().expect("syncs");
    assert!(log.durable() >= ticket.offsets().end, "the line is below a ticket that was waited for");
    assert!(disk.keeps(name), "no sync covered the record");
}

/// One more than `names` commit at once.
fn commit_at_once(names: &'static [&'static str]) {
    let disk = twin_disk();
    let log = open(&disk);
    let spawn = |name: &'static &'static str| {
        let (log, disk) = (log.clone(), disk.clone());
        thread::spawn(move || commit(&log, &disk, name.as_bytes()))
    };
    let others: Vec<_> = names.iter().map(spawn).collect();
    commit(&log, &disk, b"own");
    for other in others {
        other.join().expect("commits");
    }
    assert_eq!(log.durable(), log.visible());
}

#[test]
fn of_two_that_wait_one_leads_and_both_are_durable_when_told() {
    check(6, || commit_at_once(&["a"]));
}

#[test]
fn of_three_that_wait_those_not_reached_are_led_by_one_of_them() {
    check(3, || commit_at_once(&["a", "b"]));
}

#[test]
fn of_four_that_wait_nobody_is_left_behind_by_the_sync_after_the_next() {
    check(2, || commit_at_once(&["a", "b", "c"]));
}

#[test]
fn the_line_never_runs_ahead_of_the_syncs() {
    check(6, || {
        let disk = twin_disk();
        let log = open(&disk);
        let writer = thread::spawn({
            let log = log.clone();
            move || {
                let _ = log.append(b"second").expect("appends");
                let _ = log.append(b"third").expect("appends");
            }
        });
        log.sync().expect("syncs");
        let durable = log.durable().get();
        assert!(durable < 2 || disk.keeps(b"second"));
        assert!(durable < 3 || disk.keeps(b"third"));
        writer.join().expect("appends");
        log.sync().expect("syncs");
        assert!(disk.keeps(b"second") && disk.keeps(b"third"));
    });
}

#[test]
fn a_sync_beside_a_roll_covers_all_segments_up_to_the_line() {
    check(6, || {
        let disk = twin_disk();
        let log = open(&disk);
        fill(&log);
        let writer = thread::spawn({
            let (log, disk) = (log.clone(), disk.clone());
            move || {
                let _ = log.append(b"last").expect("appends");
                commit(&log, &disk, &large(b"rolls"));
                assert!(disk.keeps(b"last"), "durable without what stands before it");
            }
        });
        log.sync().expect("syncs");
        let durable = log.durable().get();
        assert!(durable < 3 || disk.keeps(b"last"));
        assert!(durable < 4 || disk.keeps(b"rolls"));
        writer.join().expect("commits");
        assert_eq!(drain(&mut log.reader())[2..], ["last", "rolls"]);
    });
}

#[test]
fn a_durable_reader_leaves_a_full_segment_only_once_all_of_it_is_durable() {
    check(3, || {
        let disk = twin_disk();
        let log = open(&disk);
        fill(&log);
        let mut reader = log.reader().up_to(ReadLine::Durable);
        assert_eq!(drain(&mut reader).len(), 2);
        let writer = thread::spawn({
            let (log, disk) = (log.clone(), disk.clone());
            move || {
                let _ = log.append(b"last").expect("appends");
                commit(&log, &disk, &large(b"rolls"));
            }
        });
        let mut seen = Vec::new();
        for _ in 0..2 {
            poll(&mut reader, &mut seen).expect("reads");
            assert!(seen.iter().all(|name| disk.keeps(name.as_bytes())), "read before it was durable");
        }
        writer.join().expect("commits");
        seen.extend(drain(&mut reader));
        assert_eq!(seen, ["last", "rolls"]);
    });
}

#[test]
fn a_mark_says_no_more_than_what_is_durable_when_it_is_seen() {
    check(6, || {
        let disk = twin_disk();
        let log = open(&disk);
        let other = thread::spawn({
            let log = log.clone();
            move || {
                log.append(b"second").expect("appends").wait().expect("syncs");
                log.background_step();
            }
        });
        let _ = log.append(b"third").expect("appends");
        // Behind the append lock, so that this stands before and after each mark in some order.
        let _ = log.visible();
        let marked = Attached::open_on(Arc::new(disk.disk.snapshot())).expect("attaches").durable();
        let durable = log.durable();
        assert!(marked <= durable, "{marked} is marked, {durable} is durable");
        other.join().expect("marks");
    });
}

#[test]
fn a_full_segment_is_not_let_go_of_before_it_is_durable() {
    check(3, || {
        let disk = twin_disk();
        let log = open(&disk);
        fill(&log);
        let step = thread::spawn({
            let log = log.clone();
            move || log.background_step()
        });
        let _ = log.append(b"last").expect("appends");
        commit(&log, &disk, &large(b"rolls"));
        assert!(disk.keeps(b"last"), "durable without what stands before it");
        step.join().expect("syncs");
    });
}

#[test]
fn a_reader_goes_through_a_full_segment_that_is_let_go_of() {
    check(3, || {
        let log = open(&twin_disk());
        fill(&log);
        let _ = log.append(&large(b"rolls")).expect("appends");
        let mut reader = log.reader();
        let step = thread::spawn({
            let log = log.clone();
            move || log.background_step()
        });
        let seen = drain(&mut reader);
        assert_eq!(seen, ["first", "", "rolls"]);
        step.join().expect("syncs");
        assert!(log.durable() == log.visible());
    });
}

#[test]
fn under_every_commit_an_append_that_returned_is_durable() {
    check(6, || {
        let disk = twin_disk();
        let log = options().sync(esker::Sync::EveryCommit);
        let log = log.open_on(Arc::new(disk.clone())).expect("opens");
        let append = |name: &'static [u8]| {
            let (log, disk) = (log.clone(), disk.clone());
            move || {
                let _ = log.append(name).expect("appends");
                assert!(disk.keeps(name), "no sync covered the record");
            }
        };
        let other = thread::spawn(append(b"a"));
        append(b"b")();
        other.join().expect("appends");
    });
}
