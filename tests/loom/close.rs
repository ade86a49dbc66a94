//! A close beside everything else: what was acknowledged is durable, who waits is told, and the end is clean.

use std::sync::Arc;

use esker::{Ending, ErrorKind, Log, Result};
use loom::thread;

use crate::disk::twin_disk;
use crate::{check, drain, open, options, wait};

#[test]
fn an_append_beside_a_close_is_durable_or_refused() {
    check(6, || {
        let disk = twin_disk();
        let log = open(&disk);
        let writer = thread::spawn({
            let (log, disk) = (log.clone(), disk.clone());
            move || match log.append(b"second") {
                Ok(ticket) => {
                    ticket.wait().expect("what was appended before the close is durable");
                    assert!(disk.keeps(b"second"));
                    true
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Closed);
                    false
                }
            }
        });
        log.close().expect("closes");
        let appended = writer.join().expect("appends, or is refused");
        let log = options().open_on(Arc::new(disk)).expect("opens again");
        assert_eq!(log.recovery().ending, Ending::Clean);
        assert_eq!(drain(&mut log.reader()).len(), if appended { 2 } else { 1 });
    });
}

#[test]
fn a_close_ends_the_wait_of_a_reader_that_has_read_all() {
    check(2, || {
        let log = open(&twin_disk());
        let mut reader = log.reader();
        assert_eq!(drain(&mut reader), ["first"]);
        let writer = thread::spawn({
            let log = log.clone();
            move || log.append(b"second").is_ok()
        });
        let closer = thread::spawn(move || log.close().expect("closes"));
        let mut seen = Vec::new();
        let error = loop {
            if let Err(error) = wait(&mut reader, &mut seen) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::Closed);
        let appended = writer.join().expect("appends, or is refused");
        assert_eq!(seen.len(), usize::from(appended), "told that nothing comes before all was read");
        closer.join().expect("closes");
    });
}

/// Closes beside what `others` do, and looks at what is left.
fn close_beside(others: [fn(Log) -> Result<()>; 2]) {
    let disk = twin_disk();
    let log = open(&disk);
    let _ = log.append(b"second").expect("appends");
    let others = others.map(|other| {
        let log = log.clone();
        thread::spawn(move || other(log))
    });
    log.close().expect("closes");
    for other in others {
        other.join().expect("returns").expect("closes, or syncs");
    }
    let log = options().open_on(Arc::new(disk)).expect("opens again");
    assert_eq!(log.recovery().ending, Ending::Clean);
    assert_eq!(drain(&mut log.reader()).len(), 2);
}

#[test]
fn two_closes_and_a_sync_at_once_end_clean() {
    check(3, || close_beside([Log::close, |log| log.sync()]));
}

#[test]
fn a_close_and_two_syncs_at_once_end_clean() {
    check(3, || close_beside([|log| log.sync(), |log| log.sync()]));
}

#[test]
fn a_close_and_the_last_mark_at_once_end_clean() {
    let step = |log: Log| {
        log.background_step();
        Ok(())
    };
    check(2, move || close_beside([step, |log| log.sync()]));
}
