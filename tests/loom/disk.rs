//! A disk that keeps beside each file what would be left of it after a power loss.
//!
//! Guarantees:
//! 1. What a sync of a range leaves is what stood there when the sync began, and only if it succeeds.
//! 2. Its lock is never held where loom may switch threads.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use esker::Timestamp;
use esker::platform::{Access, Disk, File, Holder, Identity, Lock, Region};
use harness::MemoryDisk;

#[derive(Debug, Clone)]
pub struct TwinDisk {
    pub volatile: MemoryDisk,
    twins: Arc<Twins>,
}

#[derive(Debug, Default)]
struct Twins {
    /// By name: the bytes that are durable, zero where none are.
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    fails: AtomicBool,
}

impl TwinDisk {
    pub fn new() -> Self {
        Self { volatile: MemoryDisk::new(1), twins: Arc::default() }
    }

    /// Whether these bytes would be left in some file.
    pub fn keeps(&self, bytes: &[u8]) -> bool {
        let twins = self.twins.lock();
        twins.values().any(|twin| twin.windows(bytes.len()).any(|window| window == bytes))
    }

    /// Makes the next sync of a range fail, which is one of the log itself: spares are synced as a whole.
    pub fn fail_sync(&self) {
        self.twins.fails.store(true, Ordering::Relaxed);
    }

    fn twin(&self, file: Arc<dyn File>, name: &str) -> Arc<dyn File> {
        Arc::new(TwinFile { file, name: name.to_owned(), twins: Arc::clone(&self.twins) })
    }
}

impl Twins {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for TwinDisk {
    fn directory(&self) -> &Path {
        self.volatile.directory()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.volatile.list()
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn File>> {
        self.volatile.create(name, length).map(|file| self.twin(file, name))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        self.volatile.open(name, access).map(|file| self.twin(file, name))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.volatile.unlink(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.volatile.rename(from, to)
    }

    fn quarantine(&self, name: &str) -> io::Result<()> {
        self.volatile.quarantine(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.volatile.sync_directory()
    }

    fn lock(&self) -> io::Result<Lock> {
        self.volatile.lock()
    }

    fn lock_holder(&self) -> io::Result<Option<Holder>> {
        self.volatile.lock_holder()
    }

    fn check_file_system(&self) -> io::Result<()> {
        self.volatile.check_file_system()
    }

    fn now(&self) -> Timestamp {
        self.volatile.now()
    }

    fn monotonic(&self) -> Duration {
        self.volatile.monotonic()
    }

    fn random(&self) -> io::Result<u64> {
        self.volatile.random()
    }

    fn boot_id(&self) -> [u8; 16] {
        self.volatile.boot_id()
    }
}

#[derive(Debug)]
struct TwinFile {
    file: Arc<dyn File>,
    name: String,
    twins: Arc<Twins>,
}

impl File for TwinFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_at(bytes, position)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn identity(&self) -> io::Result<Identity> {
        self.file.identity()
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        self.file.reserve(length)
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.file.punch(range)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn sync_range(&self, region: &Region, range: Range<u64>) -> io::Result<()> {
        let bytes = |bytes: u64| usize::try_from(bytes).expect("a small segment");
        let mut left = vec![0; bytes(range.end - range.start)];
        region.copy_out(range.start, &mut left);
        if self.twins.fails.swap(false, Ordering::Relaxed) {
            return Err(io::Error::other("input/output error, injected"));
        }
        self.file.sync_range(region, range.clone())?;
        let mut twins = self.twins.lock();
        let twin = twins.entry(self.name.clone()).or_default();
        twin.resize(twin.len().max(bytes(range.end)), 0);
        twin[bytes(range.start)..bytes(range.end)].copy_from_slice(&left);
        Ok(())
    }

    fn map(&self, length: u64, access: Access) -> io::Result<Region> {
        self.file.map(length, access)
    }
}
