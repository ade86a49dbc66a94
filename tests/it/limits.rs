//! Bad input, full disks, wrong places: a clear error, nothing lost, nothing left behind.

use std::path::Path;
use std::sync::Arc;

use esker::{Attached, ErrorKind, FileSystems, Log, Offset, Options, Record};
use harness::MemoryDisk;

use crate::support::{append_numbered, expected, numbered, open, options, payloads, segments};

#[test]
fn the_largest_frame_fits_and_one_byte_more_is_refused_before_the_lock() {
    let disk = MemoryDisk::new(1);
    let log = options().segment_bytes(1 << 20).frame_bytes_max(10_000).open_on(Arc::new(disk)).expect("opens");
    // 36 bytes of frame header and 5 of record head.
    let largest = vec![1; 10_000 - 41];
    let _ = log.append(&largest).expect("at the limit");
    let mut larger = largest.clone();
    larger.push(1);
    let error = log.append(&larger).expect_err("past the limit");
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("10001 bytes, at most 10000"), "{error}");
    assert_eq!(log.visible(), Offset::new(1));
    assert_eq!(payloads(&log), [largest]);
}

#[test]
fn a_segment_bounds_the_frame_too() {
    let log = open(&MemoryDisk::new(2)).expect("opens");
    let mut least_refused = None;
    for bytes in (1000..17_000).step_by(8) {
        match log.append(&vec![5; bytes]) {
            Ok(_) => assert_eq!(least_refused, None, "{bytes} fits, a shorter one did not"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Limit);
                least_refused.get_or_insert(bytes);
            }
        }
    }
    assert!(least_refused.is_some_and(|bytes| bytes > 7000), "{least_refused:?}");
}

#[test]
fn an_empty_batch_stores_nothing_and_an_empty_record_is_a_record() {
    let log = open(&MemoryDisk::new(3)).expect("opens");
    let none: [Record<'_>; 0] = [];
    assert!(log.append_batch(none).expect("nothing to do").offsets().is_empty());
    assert_eq!(log.stats().appends, 0);
    assert_eq!(log.append(b"").expect("appends").offset(), Offset::ZERO);
    assert_eq!(payloads(&log), [b""]);
}

#[test]
fn a_full_disk_stops_appends_and_nothing_else() {
    let disk = MemoryDisk::new(4);
    let log = open(&disk).expect("opens");
    disk.space_limit(disk.space_held());
    let mut number = 0;
    let error = loop {
        match log.append(&numbered(number)) {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::OutOfSpace);
    assert!(error.to_string().contains("free some space"), "{error}");
    assert_eq!(log.visible(), Offset::new(number));
    assert_eq!(segments(&disk).len(), 1, "nothing is left behind");
    let _ = log.append(b"small ones may still fit").expect("a smaller record goes into the room that is left");
    log.sync().expect("what is there can be made durable");
    assert_eq!(payloads(&log).len(), usize::try_from(number).expect("small") + 1);
    disk.space_limit(u64::MAX);
    append_numbered(&log, 0..100);
    assert_eq!(log.visible(), Offset::new(number + 101), "once there is room, appends go on");
    log.close().expect("closes");
}

#[test]
fn a_disk_that_is_full_from_the_start_leaves_no_half_log() {
    let disk = MemoryDisk::new(5);
    disk.space_limit(1000);
    assert_eq!(open(&disk).expect_err("no room").kind(), ErrorKind::OutOfSpace);
    assert!(segments(&disk).is_empty(), "{:?}", disk.names());
    disk.space_limit(u64::MAX);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..3);
    assert_eq!(payloads(&log), expected(0..3));
}

#[test]
fn a_full_disk_during_recovery_loses_nothing() {
    let disk = MemoryDisk::new(6);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..30);
    let left = disk.snapshot();
    left.space_limit(left.space_held());
    assert_eq!(open(&left).expect_err("no room for the next segment").kind(), ErrorKind::OutOfSpace);
    let attached = Attached::open_on(Arc::new(left.clone())).expect("attaches");
    assert_eq!(crate::support::drain(&mut attached.reader()).expect("readable all the while"), expected(0..30));
    left.space_limit(u64::MAX);
    assert_eq!(payloads(&open(&left).expect("recovers")), expected(0..30));
}

#[test]
fn a_read_only_file_system_can_be_looked_at() {
    let disk = MemoryDisk::new(7);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..10);
    log.close().expect("closes");
    disk.mount(harness::Mount::ReadOnly);
    let error = open(&disk).expect_err("read-only");
    assert_eq!(error.kind(), ErrorKind::Io);
    let attached = Attached::open_on(Arc::new(disk)).expect("attaches");
    assert_eq!(crate::support::drain(&mut attached.reader()).expect("reads"), expected(0..10));
}

#[test]
fn a_second_writer_is_refused_with_the_holders_process() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = Log::open(folder.path()).expect("opens");
    let error = Log::open(folder.path()).expect_err("held");
    assert_eq!((error.kind(), error.holder_pid()), (ErrorKind::Locked, Some(std::process::id())));
    log.close().expect("closes");
    Log::open(folder.path()).expect("free again");
}

#[test]
fn a_directory_that_holds_something_else_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::write(folder.path().join("letter.txt"), "dear all").expect("writes");
    let error = Log::open(folder.path()).expect_err("not a log");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("letter.txt"), "{error}");
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).expect("lists").map(|e| e.expect("entry").file_name()).collect();
    assert_eq!(names, ["letter.txt"]);
    assert_eq!(Attached::open(folder.path()).expect_err("not a log").kind(), ErrorKind::Invalid);
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    for error in [Log::open(file.path()).expect_err("a file"), Attached::open(file.path()).expect_err("a file")] {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("not a directory"), "{error}");
    }
    let missing = Path::new("/nonexistent-parent-of-esker-tests/x");
    assert_eq!(Attached::open(missing).expect_err("missing").kind(), ErrorKind::Io);
}

#[cfg(target_os = "linux")]
#[test]
fn an_unknown_file_system_is_refused_unless_allowed() {
    // The process file system holds no logs, and is none of those known to be good.
    let error = Log::open("/proc/self/fd").expect_err("proc");
    assert!(matches!(error.kind(), ErrorKind::Incompatible | ErrorKind::Io | ErrorKind::Invalid), "{error}");
    let error = Options::new().file_systems(FileSystems::Any).open("/proc/self/fd").expect_err("proc");
    assert_ne!(error.kind(), ErrorKind::Incompatible);
}

#[test]
fn seeking_outside_the_log_is_refused() {
    let log = open(&MemoryDisk::new(8)).expect("opens");
    append_numbered(&log, 0..5);
    let mut reader = log.reader();
    reader.seek(Offset::new(5)).expect("the end is a place");
    let error = reader.seek(Offset::new(6)).expect_err("past the end");
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Invalid, Some(Offset::new(6))));
    assert_eq!(reader.offset(), Offset::new(5), "the reader stands where it stood");
}
