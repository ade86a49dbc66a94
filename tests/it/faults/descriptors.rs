//! No descriptor is left for the n-th file that is opened or made, for each n.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use esker::{Commit, ErrorKind, Log};
use harness::{Call, MemoryDisk, Watch, WatchedDisk};

use crate::support::{append_numbered, expected, options, payloads, segments};

/// Too many files are open in this process.
const EMFILE: i32 = 24;

/// Fails the n-th call that needs a descriptor, once.
struct Scarce(AtomicU64);

impl Watch for Scarce {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        let needs_one = matches!(call, Call::List | Call::Create(_) | Call::Open(_) | Call::SyncDirectory | Call::Lock);
        let left = self.0.load(Ordering::Relaxed);
        if needs_one && left > 0 {
            self.0.store(left - 1, Ordering::Relaxed);
            if left == 1 {
                return Err(io::Error::from_raw_os_error(EMFILE));
            }
        }
        Ok(())
    }
}

fn scarce(disk: MemoryDisk, n: u64) -> WatchedDisk<Scarce> {
    WatchedDisk::new(disk, Scarce(AtomicU64::new(n)))
}

/// A log with several segments, state and checkpoints, whose process died.
fn killed() -> MemoryDisk {
    let disk = MemoryDisk::new(1);
    let log = options().checkpoint_bytes(4096).open_on(Arc::new(disk.clone())).expect("opens");
    append_numbered(&log, 0..100);
    let _ = log.commit(Commit::new().state("k", "v")).expect("commits");
    log.sync().expect("syncs");
    log.background_step();
    append_numbered(&log, 100..110);
    assert!(segments(&disk).len() > 2);
    disk.snapshot()
}

fn whole(log: &Log) {
    assert!(payloads(log) == expected(0..110));
    assert_eq!(log.state("k").expect("shown").expect("held").value(), b"v");
}

#[test]
fn an_open_without_a_descriptor_fails_or_does_without_and_a_later_one_works() {
    let killed = killed();
    let (mut refused, mut n) = (0, 0);
    loop {
        n += 1;
        let disk = scarce(killed.snapshot(), n);
        let opened = options().open_on(Arc::new(disk.clone()));
        let unmet = disk.0.swap(0, Ordering::Relaxed);
        match opened {
            Ok(log) => whole(&log),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Io, "{n}: {error}");
                refused += 1;
            }
        }
        if unmet > 0 {
            break;
        }
        let log = options().open_on(Arc::new(disk.disk.snapshot())).unwrap_or_else(|error| panic!("{n}: {error}"));
        whole(&log);
    }
    assert!(refused > 5 && n > 10, "{refused} of {n}");
}

#[test]
fn a_running_log_without_a_descriptor_loses_nothing_and_goes_on() {
    let mut n = 0;
    loop {
        n += 1;
        let disk = scarce(MemoryDisk::new(2), 0);
        let log = options().checkpoint_bytes(4096).open_on(Arc::new(disk.clone())).expect("opens");
        disk.0.store(n, Ordering::Relaxed);
        let mut kept = 0;
        for number in 0..120 {
            match log.append(&crate::support::numbered(kept)) {
                Ok(_) => kept += 1,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{n}: {error}"),
            }
            if number % 10 == 9 {
                log.sync().unwrap_or_else(|error| panic!("{n}: a sync needs no descriptor: {error}"));
                log.background_step();
            }
        }
        assert!(kept >= 119, "{n}: at most one append met it, {kept} are kept");
        let unmet = disk.0.swap(0, Ordering::Relaxed);
        assert!(payloads(&log) == expected(0..kept), "{n}");
        log.close().unwrap_or_else(|error| panic!("{n}: {error}"));
        let again = options().open_on(Arc::new(disk.disk.snapshot())).expect("opens again");
        assert!(payloads(&again) == expected(0..kept), "{n}");
        if unmet > 0 {
            break;
        }
    }
    assert!(n > 10, "{n}");
}
