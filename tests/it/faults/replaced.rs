//! Somebody else removes, replaces or cuts files of a log that is open.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use esker::platform::Disk as _;
use esker::{Attached, Error, ErrorKind, Log, Offset, ReadMode};
use harness::{Call, MemoryDisk, Watch, WatchedDisk};

use crate::support::{append_numbered, drain, expected, open, options, payloads, segment_name, segments};

/// Takes the file of a segment away; puts another one with the same bytes in its place, if asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theft {
    Removed,
    Replaced,
}

fn steal(disk: &MemoryDisk, segment: u64, theft: Theft) {
    let name = segment_name(segment);
    let bytes = disk.read_file(&name).expect("is there");
    disk.remove(&name);
    if theft == Theft::Replaced {
        let file = disk.create(&name, u64::try_from(bytes.len()).expect("small")).expect("creates");
        file.write_at(&bytes, 0).expect("writes");
    }
}

fn says(error: &Error, kind: ErrorKind, text: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

#[test]
fn a_full_segment_that_lost_its_name_is_never_called_durable() {
    for (theft, text) in [(Theft::Removed, "the file was removed"), (Theft::Replaced, "another file took its place")] {
        let disk = MemoryDisk::new(1);
        let log = open(&disk).expect("opens");
        append_numbered(&log, 0..3);
        log.sync().expect("syncs");
        append_numbered(&log, 3..120);
        assert!(segments(&disk).len() > 2);
        let durable = log.durable();
        steal(&disk, log_segment(durable), theft);
        says(&log.sync().expect_err("stored into a file without a name"), ErrorKind::Poisoned, text);
        assert_eq!(log.durable(), durable, "{theft:?}");
        assert_eq!(log.append(b"more").expect_err("poisoned").kind(), ErrorKind::Poisoned);
    }
}

/// All that is durable there lies in the first segment.
fn log_segment(durable: Offset) -> u64 {
    assert_eq!(durable, Offset::new(3));
    1
}

#[test]
fn a_log_whose_last_segment_lost_its_name_is_not_closed_in_silence() {
    for (theft, text) in [(Theft::Removed, "the file was removed"), (Theft::Replaced, "another file took its place")] {
        let disk = MemoryDisk::new(2);
        let log = open(&disk).expect("opens");
        append_numbered(&log, 0..5);
        steal(&disk, 1, theft);
        says(&log.close().expect_err("nothing of it is found by the next open"), ErrorKind::Corrupt, text);
    }
}

#[test]
fn a_file_that_is_cut_under_readers_that_copy_is_a_typed_error() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = options().open(folder.path()).expect("opens");
    append_numbered(&log, 0..120);
    log.close().expect("closes");
    let log = options().open(folder.path()).expect("opens again");
    let attached = Attached::open(folder.path()).expect("attaches");
    let mut readers = [log.reader().mode(ReadMode::Copy), attached.reader()];
    for reader in &mut readers {
        assert_eq!(reader.poll().expect("reads").expect("records").first(), Offset::ZERO);
    }
    let file = fs::OpenOptions::new().write(true).open(folder.path().join(segment_name(2))).expect("opens");
    file.set_len(4200).expect("cuts");
    for reader in &mut readers {
        let error = drain(reader).expect_err("records are gone");
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io), "{error}");
        assert!(error.path().is_some_and(|path| path.ends_with(segment_name(2))), "{error}");
    }
    let refused = Log::open(folder.path()).expect_err("held");
    assert_eq!(refused.kind(), ErrorKind::Locked);
}

#[test]
fn an_open_without_any_one_segment_of_a_marked_log_is_refused() {
    let disk = MemoryDisk::new(3);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..120);
    log.sync().expect("syncs");
    // The last mark, and the anchor.
    log.background_step();
    let killed = disk.snapshot();
    for name in segments(&killed) {
        let left = killed.snapshot();
        left.remove(&name);
        match options().open_on(Arc::new(left)) {
            // A spare holds nothing.
            Ok(log) => assert!(payloads(&log) == expected(0..120), "without {name}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "without {name}: {error}"),
        }
    }
    assert!(segments(&killed).len() > 2);
}

/// Takes a file away once it was opened so often.
struct Vanishing {
    disk: MemoryDisk,
    name: String,
    opens: AtomicU64,
}

impl Watch for Vanishing {
    fn before(&self, call: Call<'_>) -> std::io::Result<()> {
        // Relaxed: one thread.
        if call == Call::Open(&self.name) && self.opens.fetch_add(1, Ordering::Relaxed) == 1 {
            self.disk.remove(&self.name);
        }
        Ok(())
    }
}

/// A running writer takes a spare back that is too small: who looks just then sees the log all the same.
#[test]
fn a_spare_that_vanishes_while_somebody_looks_is_nothing_to_them() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..5);
    log.background_step();
    let name = segments(&disk).pop().expect("a spare");
    let left = disk.snapshot();
    let watch = Vanishing { disk: left.clone(), name: name.clone(), opens: AtomicU64::new(0) };
    let watched = WatchedDisk::new(left.clone(), watch);
    let attached = Attached::open_on(Arc::new(watched)).expect("attaches");
    assert_eq!(attached.visible().get(), 5);
    assert!(!segments(&left).contains(&name), "it vanished meanwhile");
}
