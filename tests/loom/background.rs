//! The two threads of a log beside appends that need them. Their own waits never end by time, so whatever they do here they
//! were woken for.

use std::sync::Arc;

use esker::{Background, ErrorKind, Log, Options};
use loom::thread;

use crate::disk::{TwinDisk, twin_disk};
use crate::{check, drain, options};

fn open(disk: &TwinDisk, options: Options) -> Log {
    options.background(Background::Threads).open_on(Arc::new(disk.clone())).expect("opens")
}

/// Two of these do not fit into one segment.
const HALF: [u8; 5 * 1024] = [b'.'; 5 * 1024];

#[test]
fn an_append_that_waits_for_the_next_segment_is_woken_once_it_is_there() {
    check(1, || {
        let log = open(&twin_disk(), options());
        let _ = log.append(&HALF).expect("appends");
        let _ = log.append(&HALF).expect("appends");
        assert_eq!(log.stats().rolls, 1);
        assert_eq!(drain(&mut log.reader()).len(), 2);
        log.close().expect("closes");
    });
}

#[test]
fn an_append_that_waits_for_full_segments_to_become_durable_is_woken_once_they_are() {
    check(1, || {
        let log = open(&twin_disk(), options().unproven_segments_max(1));
        for _ in 0..3 {
            let _ = log.append(&HALF).expect("appends");
        }
        assert_eq!(log.stats().rolls, 2);
        log.close().expect("closes");
    });
}

#[test]
fn an_append_that_waits_for_full_segments_is_told_that_their_sync_failed() {
    check(1, || {
        let disk = twin_disk();
        let log = open(&disk, options().unproven_segments_max(1));
        disk.fail_sync();
        let told = (0..3).find_map(|_| log.append(&HALF).err()).expect("the third has to wait for a sync that fails");
        assert_eq!(told.kind(), ErrorKind::Poisoned);
        assert_eq!(log.close().expect_err("a sync failed").kind(), ErrorKind::Poisoned);
    });
}

#[test]
fn an_append_that_waits_for_a_segment_that_cannot_be_made_is_told() {
    check(2, || {
        let disk = twin_disk();
        let log = open(&disk, options());
        disk.disk.space_limit(disk.disk.space_held());
        let _ = log.append(&HALF).expect("appends");
        match log.append(&HALF) {
            // The next segment was made before the disk was full.
            Ok(ticket) => assert_eq!(ticket.offset().get(), 1),
            Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfSpace),
        }
        log.close().expect("closes");
    });
}

#[test]
fn an_append_that_waits_for_the_next_segment_hears_of_a_close() {
    check(2, || {
        let log = open(&twin_disk(), options());
        let _ = log.append(&HALF).expect("appends");
        let writer = thread::spawn({
            let log = log.clone();
            move || match log.append(&HALF) {
                Ok(ticket) => ticket.wait().expect("what was appended before the close is durable"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
            }
        });
        log.close().expect("closes");
        writer.join().expect("returns");
    });
}
