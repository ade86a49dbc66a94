//! A disk that keeps beside each file what would be left of it after a power loss.
//!
//! Guarantees:
//! 1. What a sync of a range leaves is what stood there when the sync began, and only if it succeeds.
//! 2. Its lock is never held where loom may switch threads.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use esker::platform::{File, Region};
use harness::{Call, MemoryDisk, Watch, WatchedDisk};

pub type TwinDisk = WatchedDisk<Twins>;

#[derive(Debug, Default)]
pub struct Twins {
    /// By name: the bytes that are durable, zero where none are.
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    fails: AtomicBool,
}

pub fn twin_disk() -> TwinDisk {
    WatchedDisk::new(MemoryDisk::new(1), Twins::default())
}

impl Twins {
    /// Whether these bytes would be left in some file.
    pub fn keeps(&self, bytes: &[u8]) -> bool {
        self.lock().values().any(|twin| twin.windows(bytes.len()).any(|window| window == bytes))
    }

    /// Makes the next sync of a range fail, which is one of the log itself: spares are synced as a whole.
    pub fn fail_sync(&self) {
        self.fails.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Twins {
    fn before(&self, _call: Call<'_>) -> io::Result<()> {
        Ok(())
    }

    fn sync_range(&self, file: &dyn File, name: &str, region: &Region, range: Range<u64>) -> io::Result<()> {
        let bytes = |bytes: u64| usize::try_from(bytes).expect("a small segment");
        let mut left = vec![0; bytes(range.end - range.start)];
        region.copy_out(range.start, &mut left);
        if self.fails.swap(false, Ordering::Relaxed) {
            return Err(io::Error::other("input/output error, injected"));
        }
        file.sync_range(region, range.clone())?;
        let mut twins = self.lock();
        let twin = twins.entry(name.to_owned()).or_default();
        twin.resize(twin.len().max(bytes(range.end)), 0);
        twin[bytes(range.start)..bytes(range.end)].copy_from_slice(&left);
        Ok(())
    }
}
