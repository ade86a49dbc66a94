//! The disk of the system under a clock that the test moves.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::platform::{Access, Disk, File, Holder, Lock, SystemDisk};
use crate::types::Timestamp;

#[derive(Debug, Clone)]
pub(super) struct ClockedDisk {
    disk: Arc<SystemDisk>,
    now: Arc<AtomicI64>,
}

impl ClockedDisk {
    pub(super) fn new(directory: &Path) -> Self {
        let disk = SystemDisk::open(directory).expect("opens");
        Self { disk: Arc::new(disk), now: Arc::new(AtomicI64::new(1_000)) }
    }

    pub(super) fn advance(&self, nanoseconds: i64) {
        // Relaxed: one thread moves it and asks for it.
        self.now.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl Disk for ClockedDisk {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanoseconds(self.now.load(Ordering::Relaxed))
    }

    fn directory(&self) -> &Path {
        self.disk.directory()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn File>> {
        self.disk.create(name, length)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        self.disk.open(name, access)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.disk.unlink(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn quarantine(&self, name: &str) -> io::Result<()> {
        self.disk.quarantine(name)
    }

    fn settle_quarantine(&self) -> io::Result<()> {
        self.disk.settle_quarantine()
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn lock(&self) -> io::Result<Lock> {
        self.disk.lock()
    }

    fn lock_holder(&self) -> io::Result<Option<Holder>> {
        self.disk.lock_holder()
    }

    fn check_file_system(&self) -> io::Result<()> {
        Ok(())
    }

    fn monotonic(&self) -> Duration {
        self.disk.monotonic()
    }

    fn random(&self) -> io::Result<u64> {
        self.disk.random()
    }

    fn boot_id(&self) -> [u8; 16] {
        self.disk.boot_id()
    }
}
