//! Numbers near their end: a typed refusal, and what is there stays readable.

use std::sync::Arc;

use esker::platform::Disk as _;
use esker::{Attached, ErrorKind, Log, Offset};
use harness::MemoryDisk;

use crate::support::{append_numbered, drain, expected, forget, numbered, open, payloads, segment_name};

const NUMBER: usize = 40;
const EPOCH: usize = 64;
const FIRST_OFFSET: usize = 80;

/// The only segment of a log of ten records, whose process died, with one field of its header as said.
fn edited(place: usize, value: u64) -> Vec<u8> {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..10);
    let mut bytes = disk.read_file(&segment_name(1)).expect("is there");
    bytes[place..place + 8].copy_from_slice(&value.to_le_bytes());
    harness::hostile::mend(&mut bytes);
    bytes
}

fn disk_with(name: &str, bytes: &[u8]) -> MemoryDisk {
    let disk = MemoryDisk::new(2);
    let file = disk.create(name, u64::try_from(bytes.len()).expect("small")).expect("creates");
    file.write_at(bytes, 0).expect("writes");
    disk
}

/// Appends until it is refused; how many records there are then.
fn fill(log: &Log, from: u64) -> (u64, esker::Error) {
    let mut number = from;
    loop {
        match log.append(&numbered(number)) {
            Ok(_) => number += 1,
            Err(error) => return (number, error),
        }
    }
}

#[test]
fn the_last_segment_number_is_used_and_then_a_limit() {
    let disk = disk_with(&segment_name(u64::MAX - 1), &edited(NUMBER, u64::MAX - 1));
    let log = open(&disk).expect("the last number is free for what comes behind a crash");
    let (records, error) = fill(&log, 10);
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert!(error.to_string().contains("segment numbers are exhausted"), "{error}");
    assert!(records > 20, "{records}");
    assert!(payloads(&log) == expected(0..records));
    log.close().expect("closes, with a checkpoint and all");
    let log = open(&disk).expect("a clean end needs no new segment");
    assert!(payloads(&log) == expected(0..records));
    let killed = disk.snapshot();
    assert_eq!(open(&killed).expect_err("no number is left").kind(), ErrorKind::Limit);
    let attached = Attached::open_on(Arc::new(killed)).expect("attaches");
    assert_eq!(drain(&mut attached.reader()).expect("reads"), expected(0..records));
}

#[test]
fn after_the_last_epoch_a_limit_and_the_log_can_be_looked_at() {
    let disk = disk_with(&segment_name(1), &edited(EPOCH, u64::MAX));
    let error = open(&disk).expect_err("no epoch is left");
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    let attached = Attached::open_on(Arc::new(disk)).expect("attaches");
    assert_eq!(drain(&mut attached.reader()).expect("reads"), expected(0..10));
}

#[test]
fn near_the_last_offset_a_limit_comes_before_a_segment_that_no_open_would_take() {
    // Of a closed log, segment and checkpoint, all offsets are moved up.
    let disk = MemoryDisk::new(3);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..10);
    let _ = log.commit(esker::Commit::new().state("k", "v")).expect("commits");
    log.close().expect("closes");
    let first = (1 << 63) - 1_000_000;
    let move_up = |disk: &MemoryDisk, name: &str, places: &[usize]| {
        disk.edit_file(name, |bytes| {
            for place in places {
                let word = &mut bytes[*place..place + 8];
                let old = u64::from_le_bytes((&*word).try_into().expect("eight"));
                word.copy_from_slice(&(old + first).to_le_bytes());
            }
            harness::hostile::mend(bytes);
        });
    };
    move_up(&disk, &segment_name(1), &[FIRST_OFFSET]);
    // The durable line's offset and the first that is kept.
    let checkpoint = disk.names().into_iter().find(|name| name.contains(".ckp")).expect("one is written");
    move_up(&disk, &checkpoint, &[64, 80]);
    disk.remove("anchor");
    let log = open(&disk).expect("opens");
    assert_eq!(log.visible(), Offset::new(first + 10));
    let (records, error) = fill(&log, 10);
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert!(error.to_string().contains("offsets are exhausted"), "{error}");
    assert!(payloads(&log) == expected(0..records));
    log.close().expect("closes");
    assert!(payloads(&open(&disk).expect("opens again")) == expected(0..records));
    forget(&disk);
    disk.remove("anchor");
    assert_eq!(open(&disk).expect_err("the beginning of it is nowhere").kind(), ErrorKind::Corrupt);
}
