//! Retention in the background, while threads append and read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use esker::{Background, Contract, ErrorKind, Options, Retention};
use harness::MemoryDisk;

use super::at;

const RECORDS: u64 = 30_000;

#[test]
fn a_cursor_that_holds_sees_every_record_and_others_are_told_while_the_log_is_dropped_under_them() {
    let options = Options::new()
        .segment_bytes(16 * 1024)
        .checkpoint_bytes(4096)
        .retention(Retention::new().bytes(64 * 1024))
        .background(Background::Threads);
    let log = options.open_on(Arc::new(MemoryDisk::new(1))).expect("opens");
    let over = AtomicBool::new(false);
    let mut holds = log.cursor("holds").expect("is made");
    let lazy = log.cursor("lazy").expect("is made");
    let _ = lazy.set_contract(&Contract::BestEffort).expect("commits");
    drop(lazy);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..RECORDS {
                let _ = log.append(&number.to_le_bytes().repeat(4)).expect("appends");
            }
        });
        let told = scope.spawn(|| {
            // Slow: what it wants next is often gone.
            let (mut told, mut reader) = (0, log.reader());
            while !over.load(Ordering::Acquire) {
                match reader.poll() {
                    Ok(Some(batch)) => {
                        for record in &batch {
                            assert_eq!(record.payload()[..8], record.offset().get().to_le_bytes());
                        }
                        thread::yield_now();
                    }
                    Ok(None) => thread::yield_now(),
                    Err(error) => {
                        let ErrorKind::Trimmed { next } = error.kind() else { panic!("{error}") };
                        told += 1;
                        // It may have moved on by now.
                        let _again = reader.seek(next);
                    }
                }
            }
            told
        });
        let mut next = 0;
        while next < RECORDS {
            let batch = holds.poll_wait(Duration::from_secs(20)).expect("nothing that it holds is dropped");
            for record in &batch.expect("there is more") {
                assert_eq!(record.offset(), at(next));
                next += 1;
            }
            let _ = holds.commit(at(next)).expect("commits");
            assert!(log.start() <= at(next));
        }
        over.store(true, Ordering::Release);
        println!("told {} times", told.join().expect("ends"));
    });
    let done = log.retain().expect("retains");
    assert!(log.start() > at(RECORDS / 2) && log.stats().retention_failures == 0, "{done:?}, {:?}", log.stats());
    log.close().expect("closes");
}
