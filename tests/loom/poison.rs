//! A sync that fails: whoever waits is told, and nothing is acknowledged.

use esker::{ErrorKind, ReadLine};
use loom::thread;

use crate::disk::twin_disk;
use crate::{check, drain, open, wait};

/// One more than `names` commit at once, and the first sync of them fails.
fn commit_in_vain(names: &'static [&'static str]) {
    let disk = twin_disk();
    let log = open(&disk);
    disk.fail_sync();
    let before = disk.disk.syncs();
    let commit = |name: &'static str| {
        let log = log.clone();
        move || {
            let error = match log.append(name) {
                Ok(ticket) => ticket.wait().expect_err("acknowledged after a failed sync"),
                Err(error) => error,
            };
            assert_eq!(error.kind(), ErrorKind::Poisoned);
        }
    };
    let others: Vec<_> = names.iter().map(|name| thread::spawn(commit(name))).collect();
    commit("own")();
    for other in others {
        other.join().expect("is told");
    }
    assert_eq!(log.durable().get(), 1);
    assert_eq!(drain(&mut log.reader()), ["first"], "a poisoned log shows what is durable");
    assert_eq!(disk.disk.syncs(), before, "a sync was tried again");
}

#[test]
fn after_a_failed_sync_all_who_wait_for_it_are_told_and_nothing_is_durable() {
    check(6, || commit_in_vain(&["a"]));
}

#[test]
fn after_a_failed_sync_all_who_wait_for_the_next_are_told_that_there_is_none() {
    check(2, || commit_in_vain(&["a", "b"]));
}

#[test]
fn a_failed_sync_ends_the_wait_of_every_reader() {
    check(2, || {
        let disk = twin_disk();
        let log = open(&disk);
        let follow = |line| {
            let mut reader = log.reader().up_to(line);
            assert_eq!(drain(&mut reader), ["first"]);
            move || {
                let mut seen = Vec::new();
                let error = loop {
                    if let Err(error) = wait(&mut reader, &mut seen) {
                        break error;
                    }
                };
                assert_eq!(error.kind(), ErrorKind::Poisoned);
                seen
            }
        };
        disk.fail_sync();
        let (visible, durable) = (follow(ReadLine::Visible), follow(ReadLine::Durable));
        let (visible, durable) = (thread::spawn(visible), thread::spawn(durable));
        let ticket = log.append(b"second").expect("appends");
        assert_eq!(ticket.wait().expect_err("the sync fails").kind(), ErrorKind::Poisoned);
        let visible = visible.join().expect("is told");
        assert!(visible.is_empty() || visible == ["second"], "{visible:?}");
        assert_eq!(durable.join().expect("is told"), [""; 0]);
    });
}

#[test]
fn an_append_beside_a_failed_sync_is_visible_or_refused_and_never_durable() {
    check(2, || {
        let disk = twin_disk();
        let log = open(&disk);
        let mut reader = log.reader();
        assert_eq!(drain(&mut reader), ["first"]);
        let _ = log.append(b"second").expect("appends");
        disk.fail_sync();
        let syncer = thread::spawn({
            let log = log.clone();
            move || assert_eq!(log.sync().expect_err("the sync fails").kind(), ErrorKind::Poisoned)
        });
        let writer = thread::spawn({
            let log = log.clone();
            move || match log.append(b"third") {
                Ok(ticket) => assert_eq!(ticket.offset().get(), 2),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Poisoned),
            }
        });
        let mut seen = Vec::new();
        while let Ok(()) = wait(&mut reader, &mut seen) {}
        assert!(["second", "third"].map(str::to_owned).starts_with(&seen), "{seen:?}");
        syncer.join().expect("is told");
        writer.join().expect("is told");
        assert_eq!(log.durable().get(), 1);
        assert_eq!(log.append(b"late").expect_err("poisoned").kind(), ErrorKind::Poisoned);
    });
}
