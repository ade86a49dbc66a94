//! What the engine sees of a [`MemoryDisk`]: `Disk`, `File` and the lock.
//!
//! Guarantees:
//! 1. Each call that changes something is on the list of operations, with its outcome; one that failed changed nothing but,
//!    if it was a sync, what waits for the next one.
//! 2. A call sees the disk at one moment: names, space and faults change under one lock.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use esker::Timestamp;
use esker::platform::{Access, Disk, File, Holder, Identity, Lock, LockGuard, Region};

use super::inode::{BLOCK_BYTES, Inode};
use super::names::Change;
use super::{Honesty, LockState, MemoryDisk, Mount, OPERATIONS_MAX, PROCESS_ID, QUARANTINE, State};

/// The device of every file.
const DEVICE: u64 = 1;
/// The step of splitmix64.
const RANDOM_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl State {
    /// Puts an operation on the list and hands its outcome on.
    fn note<T>(&mut self, operation: &str, name: &str, outcome: io::Result<T>) -> io::Result<T> {
        if self.operations.len() >= OPERATIONS_MAX {
            self.operations.pop_front();
        }
        let failed = if outcome.is_err() { " failed" } else { "" };
        let space = if name.is_empty() { "" } else { " " };
        self.operations.push_back(format!("{operation}{space}{name}{failed}"));
        outcome
    }

    fn check_writable(&self) -> io::Result<()> {
        match self.mount {
            Mount::Writable => Ok(()),
            Mount::ReadOnly => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        }
    }

    /// Refuses to hold `more` bytes of space than now.
    fn check_space(&self, more: u64) -> io::Result<()> {
        let wanted = self.space_held().saturating_add(more);
        if wanted > self.space_bytes_max { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    pub(super) fn space_held(&self) -> u64 {
        let named = |inode: &Inode| self.names.shown.values().any(|other| other.number == inode.number);
        let inodes = self.inodes.iter().filter_map(Weak::upgrade);
        inodes.filter(|inode| inode.is_open() || named(inode)).map(|inode| inode.space_held()).sum()
    }

    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.names.shown.keys().filter(|name| !name.contains('/')).cloned().collect();
        if names.len() < self.names.shown.len() {
            names.push(QUARANTINE.to_owned());
        }
        if self.lock != LockState::Untouched {
            names.push("lock".to_owned());
        }
        names.sort();
        names
    }

    fn create(&mut self, name: &str, length: u64) -> io::Result<Arc<Inode>> {
        self.create_fault.step()?;
        self.check_writable()?;
        if name.is_empty() || name.contains('/') || [QUARANTINE, "lock"].contains(&name) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if length == 0 {
            // As `fallocate` does.
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if self.names.shown.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.inodes.retain(|inode| inode.strong_count() > 0);
        self.check_space(length.div_ceil(BLOCK_BYTES) * BLOCK_BYTES)?;
        let inode = Arc::new(Inode::new(name, self.inode_next, length)?);
        self.inode_next += 1;
        self.inodes.push(Arc::downgrade(&inode));
        self.names.change(Change::Link { name: name.to_owned(), inode: Arc::clone(&inode) });
        Ok(inode)
    }

    /// The file of a name that may be taken from it.
    fn removable(&self, name: &str) -> io::Result<Arc<Inode>> {
        self.check_writable()?;
        if name.contains('/') {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.names.shown.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn unlink(&mut self, name: &str) -> io::Result<()> {
        self.removable(name)?;
        self.names.change(Change::Unlink { name: name.to_owned() });
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        if to.is_empty() || to.contains('/') {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let inode = self.removable(from)?;
        self.names.change(Change::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        Ok(())
    }

    /// Moves a file to quarantine, where it is not settled yet.
    pub(super) fn move_out(&mut self, name: &str) -> io::Result<()> {
        let inode = self.removable(name)?;
        let mut target = format!("{QUARANTINE}/{name}");
        let mut copy = 1_u32;
        while self.names.shown.contains_key(&target) {
            target = format!("{QUARANTINE}/{name}.{copy}");
            copy += 1;
        }
        self.names.change(Change::Rename { from: name.to_owned(), to: target, inode });
        Ok(())
    }

    fn reserve(&mut self, inode: &Inode, length: u64) -> io::Result<()> {
        self.check_space(inode.space_with(length).saturating_sub(inode.space_held()))?;
        inode.reserve(length)
    }
}

impl MemoryDisk {
    fn sync_file(&self, inode: &Inode, range: Range<u64>) -> io::Result<()> {
        let mut state = self.state();
        state.syncs += 1;
        let outcome = state.sync_fault.step();
        if outcome.is_ok() {
            if state.honesty == Honesty::Honest {
                inode.sync(range);
                state.names.file_synced(inode);
            }
        } else {
            inode.fail_sync(range, state.after_failure, part(state.syncs ^ state.random));
        }
        state.note("sync", &inode.name, outcome)
    }
}

impl Disk for MemoryDisk {
    fn directory(&self) -> &Path {
        &self.shared.directory
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.creates += 1;
        let created = state.create(name, length);
        let inode = state.note("create", name, created)?;
        Ok(Arc::new(MemoryFile::new(self, inode, Access::Write)))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let state = self.state();
        let inode = state.names.shown.get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        if access == Access::Write {
            state.check_writable()?;
        }
        Ok(Arc::new(MemoryFile::new(self, inode, access)))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let outcome = state.unlink(name);
        state.note("unlink", name, outcome)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let outcome = state.rename(from, to);
        state.note("rename", to, outcome)
    }

    fn quarantine(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let outcome = state.move_out(name);
        state.names.settle_quarantine();
        state.note("quarantine", name, outcome)
    }

    fn settle_quarantine(&self) -> io::Result<()> {
        // Nothing else can have its name.
        self.state().names.settle_quarantine();
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state();
        state.directory_syncs += 1;
        let outcome = state.directory_fault.step();
        if outcome.is_err() {
            let (after, written) = (state.names_after_failure, part(state.directory_syncs ^ state.random));
            state.names.fail_sync(after, written);
        } else if state.honesty == Honesty::Honest {
            state.names.sync();
        }
        state.note("sync directory", "", outcome)
    }

    fn lock(&self) -> io::Result<Lock> {
        let mut state = self.state();
        if state.lock == LockState::Held {
            return Ok(Lock::Busy(Holder { pid: Some(PROCESS_ID) }));
        }
        let outcome = state.check_writable();
        state.note("lock", "", outcome)?;
        state.lock = LockState::Held;
        Ok(Lock::Held(Box::new(HeldLock(self.clone()))))
    }

    fn lock_holder(&self) -> io::Result<Option<Holder>> {
        Ok((self.state().lock == LockState::Held).then_some(Holder { pid: Some(PROCESS_ID) }))
    }

    fn check_file_system(&self) -> io::Result<()> {
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.state().now
    }

    fn monotonic(&self) -> Duration {
        self.state().monotonic
    }

    fn random(&self) -> io::Result<u64> {
        let mut state = self.state();
        state.random = state.random.wrapping_add(RANDOM_STEP);
        Ok(mix(state.random))
    }

    fn boot_id(&self) -> [u8; 16] {
        self.state().boot_id
    }
}

/// Which part of what a failed sync should have written got there.
fn part(seed: u64) -> impl FnMut() -> bool {
    let mut word = mix(seed);
    move || {
        word = mix(word.wrapping_add(RANDOM_STEP));
        word & 1 == 1
    }
}

/// The finalizer of splitmix64 (Steele, Lea and Flood 2014).
pub(crate) fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[derive(Debug)]
struct HeldLock(MemoryDisk);

impl LockGuard for HeldLock {}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.0.state().lock = LockState::Free;
    }
}

/// An open file.
#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    inode: Arc<Inode>,
    access: Access,
}

impl MemoryFile {
    fn new(disk: &MemoryDisk, inode: Arc<Inode>, access: Access) -> Self {
        inode.opened();
        Self { disk: disk.clone(), inode, access }
    }

    fn check_access(&self) -> io::Result<()> {
        match self.access {
            Access::Write => Ok(()),
            Access::Read => Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file was opened to be read")),
        }
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        self.inode.closed();
    }
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        Ok(self.inode.read_at(buffer, position))
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let outcome = self.check_access().and_then(|()| self.inode.write_at(bytes, position));
        self.disk.state().note("write", &self.inode.name, outcome)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.inode.length())
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(Identity { device: DEVICE, inode: self.inode.number })
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let outcome = self.check_access().and_then(|()| state.reserve(&self.inode, length));
        state.note("reserve", &self.inode.name, outcome)
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        let outcome = self.check_access().map(|()| self.inode.punch(range));
        self.disk.state().note("punch", &self.inode.name, outcome)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync_file(&self.inode, 0..u64::MAX)
    }

    fn sync_range(&self, _region: &Region, range: Range<u64>) -> io::Result<()> {
        self.disk.sync_file(&self.inode, range)
    }

    fn map(&self, length: u64, access: Access) -> io::Result<Region> {
        if access == Access::Write {
            self.check_access()?;
        }
        self.inode.map(length)
    }
}
