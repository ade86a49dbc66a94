//! A disk that keeps what the death of the process would leave before each of its operations, or makes some of them fail.
//!
//! Guarantees:
//! 1. Nothing is noted and nothing fails until it is asked for.
//! 2. A write is two operations: before it, and when half of its bytes are stored.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use esker::Timestamp;
use esker::platform::{Access, Disk, File, Holder, Identity, Lock, Region};
use harness::MemoryDisk;

/// An operation that was about to be done, and what a death of the process at that moment leaves.
pub(super) struct Moment {
    pub(super) operation: String,
    pub(super) left: MemoryDisk,
}

/// Which operations on checkpoints fail, counted from 0 since it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fail {
    Never,
    Once(usize),
    From(usize),
}

#[derive(Clone)]
pub(super) struct SteppedDisk {
    disk: MemoryDisk,
    plan: Arc<Mutex<Plan>>,
}

struct Plan {
    /// What was noted, while it is asked for.
    moments: Option<Vec<Moment>>,
    fail: Fail,
    /// Operations on checkpoints since failures were asked for.
    counted: usize,
    /// Those that were made to fail, and what came after them.
    failed: Vec<String>,
    after: Vec<String>,
    /// A checkpoint got its name, and its directory was not synced yet.
    renamed: bool,
    /// The next open of a checkpoint finds no descriptor left.
    descriptors_out: bool,
}

impl SteppedDisk {
    pub(super) fn new(disk: MemoryDisk) -> Self {
        let (failed, after) = (Vec::new(), Vec::new());
        let plan = Plan {
            moments: None,
            fail: Fail::Never,
            counted: 0,
            failed,
            after,
            renamed: false,
            descriptors_out: false,
        };
        Self { disk, plan: Arc::new(Mutex::new(plan)) }
    }

    pub(super) fn memory(&self) -> &MemoryDisk {
        &self.disk
    }

    /// What would be left before each operation that `act` does, and at its end.
    pub(super) fn moments_of(&self, act: impl FnOnce()) -> Vec<Moment> {
        self.plan().moments = Some(Vec::new());
        act();
        self.note("the end");
        self.plan().moments.take().expect("asked for")
    }

    /// Makes operations on checkpoints fail from now on, as `fail` says.
    pub(super) fn fail(&self, fail: Fail) {
        let mut plan = self.plan();
        (plan.fail, plan.counted) = (fail, 0);
        plan.failed.clear();
        plan.after.clear();
    }

    /// Makes the next open of a checkpoint fail for now.
    pub(super) fn run_out_of_descriptors(&self) {
        self.plan().descriptors_out = true;
    }

    /// The operations that were made to fail, and those on checkpoints that came after the first of them.
    pub(super) fn failed(&self) -> (Vec<String>, Vec<String>) {
        let plan = self.plan();
        (plan.failed.clone(), plan.after.clone())
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("nothing panics under the lock")
    }

    fn note(&self, operation: &str) {
        if self.plan().moments.is_none() {
            return;
        }
        let left = self.disk.snapshot();
        let moment = Moment { operation: operation.to_owned(), left };
        self.plan().moments.as_mut().expect("asked for").push(moment);
    }

    /// Notes an operation, and decides whether it goes on.
    fn reach(&self, operation: &str) -> io::Result<()> {
        self.note(operation);
        let mut plan = self.plan();
        let syncs_name = operation == "sync directory" && std::mem::take(&mut plan.renamed);
        if !operation.contains(".ckp") && !syncs_name {
            return Ok(());
        }
        if !plan.failed.is_empty() {
            plan.after.push(operation.to_owned());
        }
        let number = plan.counted;
        plan.counted += 1;
        let fails = match plan.fail {
            Fail::Never => false,
            Fail::Once(wanted) => number == wanted,
            Fail::From(first) => number >= first,
        };
        if fails {
            plan.failed.push(operation.to_owned());
            return Err(io::Error::other("made to fail"));
        }
        plan.renamed = plan.renamed || operation.starts_with("rename");
        Ok(())
    }

    fn file(&self, name: &str, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(SteppedFile { disk: self.clone(), name: name.to_owned(), file })
    }
}

impl fmt::Debug for SteppedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SteppedDisk").field(&self.disk).finish()
    }
}

impl Disk for SteppedDisk {
    fn directory(&self) -> &Path {
        self.disk.directory()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn File>> {
        self.reach(&format!("create {name}"))?;
        self.disk.create(name, length).map(|file| self.file(name, file))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let out = name.contains(".ckp") && std::mem::take(&mut self.plan().descriptors_out);
        if out {
            return Err(io::Error::other("too many open files"));
        }
        self.disk.open(name, access).map(|file| self.file(name, file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.reach(&format!("rename {to}"))?;
        self.disk.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.reach(&format!("unlink {name}"))?;
        self.disk.unlink(name)
    }

    fn quarantine(&self, name: &str) -> io::Result<()> {
        self.reach(&format!("quarantine {name}"))?;
        self.disk.quarantine(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.reach("sync directory")?;
        self.disk.sync_directory()
    }

    fn lock(&self) -> io::Result<Lock> {
        self.reach("lock")?;
        self.disk.lock()
    }

    fn lock_holder(&self) -> io::Result<Option<Holder>> {
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
struct SteppedFile {
    disk: SteppedDisk,
    /// As it was opened under.
    name: String,
    file: Arc<dyn File>,
}

impl File for SteppedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.disk.reach(&format!("write {}", self.name))?;
        let (half, rest) = bytes.split_at(bytes.len() / 2);
        self.file.write_at(half, position)?;
        self.disk.note(&format!("write the other half of {}", self.name));
        self.file.write_at(rest, position + u64::try_from(half.len()).expect("small"))
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn identity(&self) -> io::Result<Identity> {
        self.file.identity()
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        self.disk.reach(&format!("reserve {}", self.name))?;
        self.file.reserve(length)
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.disk.reach(&format!("punch {}", self.name))?;
        self.file.punch(range)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.reach(&format!("sync {}", self.name))?;
        self.file.sync()
    }

    fn sync_range(&self, region: &Region, range: Range<u64>) -> io::Result<()> {
        self.disk.reach(&format!("sync {}", self.name))?;
        self.file.sync_range(region, range)
    }

    fn map(&self, length: u64, access: Access) -> io::Result<Region> {
        self.file.map(length, access)
    }
}
