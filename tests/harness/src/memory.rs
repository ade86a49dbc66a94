//! A disk in memory: the whole of `esker::platform`, with faults on demand.
//!
//! Guarantees:
//! 1. The guarantees of [`Disk`](esker::platform::Disk).
//! 2. A clone is the same disk. A [`snapshot`](MemoryDisk::snapshot) is another one, as the death of the process leaves it;
//!    [`lose_power`](MemoryDisk::lose_power) makes another one as the death of the machine leaves it.
//! 3. Time moves only when told; random words follow from the seed alone.
//! 4. An operation that was refused or made to fail changed nothing, and is on the list of operations as failed.
//! 5. What the medium holds of each file and of the names is kept beside what the system shows. The engine needs no
//!    hook for it: what it stored through a map is found by comparing the two.

mod disk;
mod inode;
mod medium;
mod names;
mod pool;
mod power;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use esker::Timestamp;

use inode::Inode;
use names::Names;

pub(crate) use disk::mix;
pub use medium::{AfterFailure, SECTOR_BYTES, Survival};
pub use names::NamesModel;
pub use power::{Fate, Reached, Unsettled};

/// The process that every holder of the lock says to be.
pub const PROCESS_ID: u32 = 1;
/// What the wall clock of a new disk shows: 2026-01-01 00:00:00 UTC.
pub const START: Timestamp = Timestamp::from_nanoseconds(1_767_225_600_000_000_000);
/// How many operations are listed; older ones leave.
pub const OPERATIONS_MAX: usize = 1 << 16;

const QUARANTINE: &str = "quarantine";

/// A disk in memory.
///
/// ```
/// use esker::platform::{Access, Disk as _};
/// use esker_harness::MemoryDisk;
///
/// let disk = MemoryDisk::new(7);
/// let file = disk.create("0000000001.seg", 8192)?;
/// file.map(8192, Access::Write)?.copy_in(4096, b"esker");
/// file.sync()?;
/// let left = disk.snapshot();
/// assert_eq!(left.read_file("0000000001.seg").unwrap()[4096..4101], *b"esker");
/// assert_eq!(disk.operations(), ["create 0000000001.seg", "sync 0000000001.seg"]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct MemoryDisk {
    shared: Arc<Shared>,
}

/// Whether the file system can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mount {
    /// As usual.
    Writable,
    /// Creations, opening for writing, removals, moves and the lock are refused with `ReadOnlyFilesystem`.
    ReadOnly,
}

/// Whether what a sync acknowledged is on the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Honesty {
    /// It is.
    Honest,
    /// Nothing is written: the guarantees of a disk are broken, and whoever checks them has to notice.
    Lying,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    names: Names,
    /// Also those without a name that somebody has open.
    inodes: Vec<Weak<Inode>>,
    inode_next: u64,
    lock: LockState,
    now: Timestamp,
    monotonic: Duration,
    random: u64,
    /// Snapshots and losses of power so far.
    images: u64,
    boot_id: [u8; 16],
    mount: Mount,
    space_bytes_max: u64,
    create_fault: Countdown,
    sync_fault: Countdown,
    directory_fault: Countdown,
    after_failure: AfterFailure,
    names_after_failure: AfterFailure,
    honesty: Honesty,
    creates: u64,
    syncs: u64,
    directory_syncs: u64,
    operations: VecDeque<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LockState {
    /// There is no lock file yet.
    Untouched,
    Free,
    Held,
}

/// Trips once, at the n-th step from when it was armed; 0 is not armed.
#[derive(Debug, Default)]
struct Countdown(u64);

impl Countdown {
    /// The error to fail with, if this is the step.
    fn step(&mut self) -> io::Result<()> {
        let trips = self.0 == 1;
        self.0 = self.0.saturating_sub(1);
        if trips { Err(io::Error::other("input/output error, injected")) } else { Ok(()) }
    }
}

impl MemoryDisk {
    /// An empty disk whose random words follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(State {
            names: Names::default(),
            inodes: Vec::new(),
            inode_next: 1,
            lock: LockState::Untouched,
            now: START,
            monotonic: Duration::ZERO,
            random: seed,
            images: 0,
            boot_id: [0xb0; 16],
            mount: Mount::Writable,
            space_bytes_max: u64::MAX,
            create_fault: Countdown::default(),
            sync_fault: Countdown::default(),
            directory_fault: Countdown::default(),
            after_failure: AfterFailure::Kept,
            names_after_failure: AfterFailure::Kept,
            honesty: Honesty::Honest,
            creates: 0,
            syncs: 0,
            directory_syncs: 0,
            operations: VecDeque::new(),
        })
    }

    fn with(state: State) -> Self {
        Self { shared: Arc::new(Shared { directory: PathBuf::from("memory"), state: Mutex::new(state) }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere under the lock must not hide its own message behind a second panic.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the death of the process leaves: a copy of all files as they are now, no lock held, nothing counted or armed.
    /// Wall clock, identities, mount and space go on; monotonic clock and random words begin anew, as in a new process.
    /// Files are copied one after the other: it is one moment only if no other thread stores meanwhile.
    ///
    /// # Panics
    /// If the system has no memory left.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        let mut state = self.state();
        state.images += 1;
        let mut copies: BTreeMap<u64, Arc<Inode>> = BTreeMap::new();
        let names = state.names.map(|inode| {
            let copy = || Arc::new(inode.copy().expect("memory for a copy of a file"));
            Arc::clone(copies.entry(inode.number).or_insert_with(copy))
        });
        let snapshot = Self::new(mix(state.random ^ mix(state.images)));
        let mut new = snapshot.state();
        new.inodes = copies.values().map(Arc::downgrade).collect();
        new.names = names;
        new.inode_next = state.inode_next;
        new.lock = if state.lock == LockState::Untouched { LockState::Untouched } else { LockState::Free };
        (new.now, new.boot_id) = (state.now, state.boot_id);
        (new.mount, new.space_bytes_max) = (state.mount, state.space_bytes_max);
        drop(new);
        snapshot
    }

    /// What the death of the process leaves inside of a move to quarantine: the file is there, and the folder is not synced.
    ///
    /// # Panics
    /// If there is no file of that name.
    #[must_use]
    pub fn snapshot_inside_quarantine(&self, name: &str) -> Self {
        let left = self.snapshot();
        left.state().move_out(name).expect("it can be moved");
        left
    }

    /// Moves both clocks on.
    pub fn advance(&self, time: Duration) {
        let mut state = self.state();
        let nanoseconds = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        state.now = Timestamp::from_nanoseconds(state.now.nanoseconds().saturating_add(nanoseconds));
        state.monotonic = state.monotonic.saturating_add(time);
    }

    /// Sets the wall clock alone, as an operator or a time server does.
    pub fn set_now(&self, now: Timestamp) {
        self.state().now = now;
    }

    /// Says which run of the operating system this is.
    pub fn set_boot_id(&self, boot_id: [u8; 16]) {
        self.state().boot_id = boot_id;
    }

    /// Mounts the file system anew; files that are open stay as they are.
    pub fn mount(&self, mount: Mount) {
        self.state().mount = mount;
    }

    /// Space for all files together, counted in blocks of 4096 bytes; `u64::MAX` is no limit. A creation or reservation
    /// past it fails with `StorageFull`. A file without a name counts until its last handle is dropped.
    pub fn space_limit(&self, bytes: u64) {
        self.state().space_bytes_max = bytes;
    }

    /// Space that the files hold now.
    #[must_use]
    pub fn space_held(&self) -> u64 {
        self.state().space_held()
    }

    /// Makes the `n`-th sync of a file from now fail, once; 0 takes it back. Of what it should have written a part, chosen
    /// by the random words, reaches the medium; the rest counts as written from then on, unless it is stored again.
    pub fn fail_sync(&self, n: u64) {
        self.fail_sync_leaving(n, AfterFailure::Kept);
    }

    /// As [`MemoryDisk::fail_sync`], and says what the system shows of what was not written.
    pub fn fail_sync_leaving(&self, n: u64, after: AfterFailure) {
        let mut state = self.state();
        (state.sync_fault, state.after_failure) = (Countdown(n), after);
    }

    /// Says whether syncs do from here on what they say.
    pub fn set_honesty(&self, honesty: Honesty) {
        self.state().honesty = honesty;
    }

    /// Makes the `n`-th sync of the directory from now fail, once; 0 takes it back. Of the changes that it should have
    /// written a part, chosen by the random words, reaches the medium; the rest counts as written from then on, unless the
    /// same name is changed again.
    pub fn fail_directory_sync(&self, n: u64) {
        self.fail_directory_sync_leaving(n, AfterFailure::Kept);
    }

    /// As [`MemoryDisk::fail_directory_sync`], and says what the system shows of what was not written.
    pub fn fail_directory_sync_leaving(&self, n: u64, after: AfterFailure) {
        let mut state = self.state();
        (state.directory_fault, state.names_after_failure) = (Countdown(n), after);
    }

    /// Makes the `n`-th creation from now fail, once; 0 takes it back.
    pub fn fail_create(&self, n: u64) {
        self.state().create_fault = Countdown(n);
    }

    /// Syncs of files so far, whole or in part, those that failed included.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Creations so far, those that failed included.
    #[must_use]
    pub fn creates(&self) -> u64 {
        self.state().creates
    }

    /// What was done so far, oldest first: `create`, `write`, `reserve`, `punch`, `sync`, `unlink` or `quarantine` with
    /// the name that the file was created under, `sync directory`, `lock`; with ` failed` behind if it did.
    #[must_use]
    pub fn operations(&self) -> Vec<String> {
        self.state().operations.iter().cloned().collect()
    }

    /// As [`MemoryDisk::operations`], and begins a new list.
    #[must_use]
    pub fn take_operations(&self) -> Vec<String> {
        self.state().operations.drain(..).collect()
    }

    /// Names in the directory, sorted; `lock` and `quarantine` too, once they are there.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.state().names()
    }

    /// Names in quarantine, sorted; [`MemoryDisk::read_file`] takes them with `quarantine/` in front.
    #[must_use]
    pub fn quarantined(&self) -> Vec<String> {
        let state = self.state();
        let inside = state.names.shown.keys().filter_map(|name| name.strip_prefix("quarantine/"));
        inside.map(str::to_owned).collect()
    }

    /// All bytes of a file; `None` if there is none of that name.
    #[must_use]
    pub fn read_file(&self, name: &str) -> Option<Vec<u8>> {
        self.state().names.shown.get(name).map(|inode| inode.bytes())
    }

    /// Puts a file there, its bytes on the medium; it may be empty, as a file becomes only when it is cut.
    ///
    /// # Panics
    /// If there is a file of that name, or no room.
    pub fn put_file(&self, name: &str, bytes: &[u8]) {
        use esker::platform::Disk as _;
        let length = u64::try_from(bytes.len()).expect("small");
        drop(self.create(name, length.max(1)).expect("has room"));
        self.truncate(name, length);
        self.edit_file(name, |file| file.copy_from_slice(bytes));
    }

    /// Damages a file, also under the maps that are made of it, and on the medium. Not an operation, and never refused.
    ///
    /// # Panics
    /// If there is no file of that name.
    pub fn edit_file(&self, name: &str, edit: impl FnOnce(&mut [u8])) {
        self.inode(name).edit(edit);
    }

    /// Stores into a file as its writer would through a map: nothing of it is on the medium yet.
    ///
    /// # Panics
    /// If there is no file of that name.
    pub fn store(&self, name: &str, edit: impl FnOnce(&mut [u8])) {
        self.inode(name).store(edit);
    }

    /// Cuts a file to `length` bytes. Maps that reach further read zeros there, where a real one would fault.
    ///
    /// # Panics
    /// If there is no file of that name, or it is shorter.
    pub fn truncate(&self, name: &str, length: u64) {
        self.inode(name).truncate(length);
    }

    /// Loses a file, durably.
    ///
    /// # Panics
    /// If there is no file of that name.
    pub fn remove(&self, name: &str) {
        assert!(self.state().names.lose(name), "no file {name} on the memory disk");
    }

    fn inode(&self, name: &str) -> Arc<Inode> {
        let found = self.state().names.shown.get(name).cloned();
        found.unwrap_or_else(|| panic!("no file {name} on the memory disk"))
    }
}

#[cfg(test)]
mod tests;
