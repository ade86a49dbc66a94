//! Commits: state and records at once, conditions decided in one order, and nothing left out of a checkpoint.

use std::sync::Arc;

use esker::{Commit, ErrorKind, Log, Record, Topic};
use loom::thread;

use crate::disk::twin_disk;
use crate::{check, open, options, poll};

/// The number that the state has.
fn count(log: &Log) -> u8 {
    let held = log.state("count").expect("shown");
    held.map_or(0, |held| held.value()[0])
}

#[test]
fn whoever_has_seen_a_record_sees_the_state_of_its_commit() {
    check(3, || {
        let log = open(&twin_disk());
        let writer = thread::spawn({
            let log = log.clone();
            move || {
                for number in 1..=2_u8 {
                    let _ = log.commit(Commit::new().record(b"next").state("count", &[number])).expect("commits");
                }
            }
        });
        let mut reader = log.reader();
        let mut seen = Vec::new();
        for _ in 0..3 {
            poll(&mut reader, &mut seen).expect("reads");
            let records = seen.iter().filter(|name| *name == "next").count();
            assert!(usize::from(count(&log)) >= records, "{records} records, state {}", count(&log));
        }
        writer.join().expect("commits");
    });
}

#[test]
fn of_two_commits_on_the_same_condition_exactly_one_is_stored() {
    let conditions: [fn(Commit<'static>) -> Commit<'static>; 2] = [
        |commit| commit.if_no_state("made"),
        |commit| commit.if_no_record(Topic::default(), "made", esker::Offset::new(1)),
    ];
    for condition in conditions {
        check(4, move || {
            let log = open(&twin_disk());
            let make = |log: Log| {
                move || {
                    let made = Commit::new().record(Record::new(b"made").key("made")).state("made", "");
                    match log.commit(condition(made)) {
                        Ok(_ticket) => 1_u64,
                        Err(error) if error.kind() == ErrorKind::Conflict => 0,
                        Err(error) => panic!("{error}"),
                    }
                }
            };
            let other = thread::spawn(make(log.clone()));
            let stored = make(log.clone())() + other.join().expect("decides");
            assert_eq!((stored, log.visible().get()), (1, 2));
        });
    }
}

#[test]
fn of_two_handles_that_move_one_cursor_one_does() {
    check(4, || {
        let log = open(&twin_disk());
        let handles = [log.cursor("c").expect("is made"), log.cursor("c").expect("is there")];
        let moves = handles.map(|mut cursor| {
            move || match cursor.commit_with(esker::Offset::new(1), Commit::new().record(b"made of it")) {
                Ok(_ticket) => 1_u64,
                Err(error) if error.kind() == ErrorKind::Conflict => 0,
                Err(error) => panic!("{error}"),
            }
        });
        let [one, other] = moves.map(|act| thread::spawn(act));
        let count = one.join().expect("decides") + other.join().expect("decides");
        assert_eq!((count, log.visible().get()), (1, 2));
    });
}

#[test]
fn a_checkpoint_beside_commits_and_the_next_one_leave_no_entry_out() {
    check(2, || {
        let disk = twin_disk();
        let log = options().checkpoint_bytes(4096).open_on(Arc::new(disk.clone())).expect("opens");
        log.commit(Commit::new().state("a", "1")).expect("commits").wait().expect("syncs");
        let writer = thread::spawn({
            let log = log.clone();
            move || {
                log.commit(Commit::new().state("b", "1")).expect("commits").wait().expect("syncs");
                let _ = log.commit(Commit::new().state("c", "1")).expect("commits");
            }
        });
        log.background_step();
        writer.join().expect("commits");
        assert_eq!(log.stats().checkpoints, 1);
        log.close().expect("closes");
        let log = options().open_on(Arc::new(disk)).expect("opens");
        assert_eq!(log.recovery().replayed_bytes, 0, "all of it comes from the checkpoint at close");
        assert_eq!(log.states("").expect("shown").len(), 3);
    });
}
