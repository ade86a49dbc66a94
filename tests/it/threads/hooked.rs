//! A disk that does something else first: for tests that need two things to happen in one order.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use esker::Timestamp;
use esker::platform::{Access, Disk, File, Identity, Lock, Region};
use harness::MemoryDisk;

type Action = Box<dyn FnOnce() + Send>;

/// What to do something before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    List,
    OpenAnchor,
    OpenSegment,
    /// A sync of a range of a segment.
    Sync,
}

#[derive(Clone)]
pub(super) struct HookedDisk {
    disk: MemoryDisk,
    hook: Arc<Hook>,
}

#[derive(Default)]
struct Hook(Mutex<Option<(Call, Action)>>);

impl Hook {
    fn reach(&self, call: Call) {
        let action = {
            let mut armed = self.0.lock().expect("no action panics under the lock");
            if armed.as_ref().is_some_and(|(wanted, _)| *wanted == call) { armed.take() } else { None }
        };
        if let Some((_, action)) = action {
            action();
        }
    }
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

impl std::fmt::Debug for HookedDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HookedDisk").field(&self.disk).finish()
    }
}

impl HookedDisk {
    pub(super) fn new(disk: MemoryDisk) -> Self {
        Self { disk, hook: Arc::default() }
    }

    /// Does `action` once, before the next call of this kind goes through.
    pub(super) fn before_next(&self, call: Call, action: impl FnOnce() + Send + 'static) {
        *self.hook.0.lock().expect("no action panics under the lock") = Some((call, Box::new(action)));
    }

    fn hooked(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(HookedFile { file, hook: Arc::clone(&self.hook) })
    }
}

impl Disk for HookedDisk {
    fn directory(&self) -> &Path {
        self.disk.directory()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.hook.reach(Call::List);
        self.disk.list()
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn File>> {
        self.disk.create(name, length).map(|file| self.hooked(file))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        self.hook.reach(if name == "anchor" { Call::OpenAnchor } else { Call::OpenSegment });
        self.disk.open(name, access).map(|file| self.hooked(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.disk.unlink(name)
    }

    fn quarantine(&self, name: &str) -> io::Result<()> {
        self.disk.quarantine(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn lock(&self) -> io::Result<Lock> {
        self.disk.lock()
    }

    fn lock_holder(&self) -> io::Result<Option<esker::platform::Holder>> {
        self.disk.lock_holder()
    }

    fn check_file_system(&self) -> io::Result<()> {
        self.disk.check_file_system()
    }

    fn now(&self) -> Timestamp {
        self.disk.now()
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

#[derive(Debug)]
struct HookedFile {
    file: Arc<dyn File>,
    hook: Arc<Hook>,
}

impl File for HookedFile {
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
        self.hook.reach(Call::Sync);
        self.file.sync_range(region, range)
    }

    fn map(&self, length: u64, access: Access) -> io::Result<Region> {
        self.file.map(length, access)
    }
}
