//! The operating system, as the engine sees it: a directory of files, mapped memory, a clock.
//!
//! The engine runs on [`SystemDisk`]. A test may hand it another [`Disk`] through
//! [`Options::open_on`](crate::Options::open_on): a simulated one that loses power, runs full, or fails a sync. This is
//! the only seam; the engine's own code is the same on every disk.
//!
//! Guarantees of an implementation; the engine forms slices over its regions, so memory safety rests on 2 and 4:
//! 1. [`Disk::create`] hands out a file whose every byte is zero and has space reserved: a store into its region can not
//!    fail for lack of space. If that can not be had, the file is not there afterwards.
//! 2. All regions and reads of one file see the same bytes at once; they survive the death of the process.
//! 3. What [`File::sync`] and [`File::sync_range`] covered when they returned `Ok` survives power loss; so do names that
//!    [`Disk::sync_directory`] covered.
//! 4. A file is never shorter than the regions mapped from it.
//!
//! Linux is the first-class system. Elsewhere the engine is as correct, but weaker in three ways: a new segment is
//! written full of zeros instead of reserved by `fallocate`, pages are not populated ahead of the writer, and a fork is
//! noticed only where a process id is asked for (sync, roll, close), not at every append.

mod map;
mod system;

#[cfg(all(target_os = "linux", not(esker_portable)))]
#[path = "platform/linux.rs"]
mod native;
#[cfg(not(all(target_os = "linux", not(esker_portable))))]
#[path = "platform/portable.rs"]
mod native;

use std::fmt::{self, Debug};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use map::ForkGuard;
pub use map::Region;
pub use system::SystemDisk;

use crate::types::Timestamp;

pub(crate) const QUARANTINE: &str = "quarantine";

/// Whether a file or region is only read or also written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Read and write.
    Write,
}

/// What a file is, beyond its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identity {
    /// The device that holds it.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// A file of the log's directory.
pub trait File: Send + Sync + Debug {
    /// Reads up to `buffer.len()` bytes at `position`; fewer only at the end of the file.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Stores all of `bytes` at `position`.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Its length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> io::Result<u64>;

    /// Its identity.
    ///
    /// # Errors
    /// What the system says.
    fn identity(&self) -> io::Result<Identity>;

    /// Reserves space for all of its bytes up to a length, as at creation; the file is then at least so long.
    ///
    /// # Errors
    /// What the system says; `StorageFull` if there is no room.
    fn reserve(&self, length: u64) -> io::Result<()>;

    /// Gives the space of a range back; it then reads as zero, or as before where the system can not do it.
    ///
    /// # Errors
    /// What the system says.
    fn punch(&self, range: Range<u64>) -> io::Result<()>;

    /// Makes all of the file durable, its length included.
    ///
    /// # Errors
    /// What the system says. The outcome is then unknown, and a second try proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// Makes a range that was stored through `region` durable.
    ///
    /// # Errors
    /// As for [`File::sync`].
    fn sync_range(&self, region: &Region, range: Range<u64>) -> io::Result<()>;

    /// Maps the first `length` bytes, which the file has.
    ///
    /// # Errors
    /// What the system says.
    fn map(&self, length: u64, access: Access) -> io::Result<Region>;
}

/// What came of an attempt to take the writer's lock.
#[derive(Debug)]
pub enum Lock {
    /// It is held until this is dropped.
    Held(Box<dyn LockGuard>),
    /// Somebody else holds it.
    Busy(Holder),
}

/// Who holds the writer's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its process id, if it left one.
    pub pid: Option<u32>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process"),
        }
    }
}

/// The writer's lock, while it is held.
pub trait LockGuard: Send + Sync + Debug {}

/// A directory, and the clock and dice that go with it.
pub trait Disk: Send + Sync + Debug {
    /// The directory, for messages.
    fn directory(&self) -> &Path;

    /// Names of everything in the directory.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a file of `length` zero bytes with space reserved. The name must be free.
    ///
    /// # Errors
    /// What the system says; then the file is not there.
    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn File>>;

    /// Opens a regular file; of one in the folder `quarantine`, the name begins with the folder's and a slash.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>>;

    /// Removes a file; maps and open files of it stay.
    ///
    /// # Errors
    /// What the system says.
    fn unlink(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name; a file that had it before is removed by the same step.
    ///
    /// # Errors
    /// What the system says; then both names are as they were.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Moves a file into the folder `quarantine`, under a name that is free there.
    ///
    /// # Errors
    /// What the system says.
    fn quarantine(&self, name: &str) -> io::Result<()>;

    /// Makes sure that files can be moved into the folder `quarantine`, and that those which are in it stay there.
    ///
    /// # Errors
    /// `NotADirectory` if something else has that name; else what the system says.
    fn settle_quarantine(&self) -> io::Result<()>;

    /// Makes creations, removals and moves durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_directory(&self) -> io::Result<()>;

    /// Tries to take the writer's lock.
    ///
    /// # Errors
    /// What the system says; that somebody else holds it is not an error.
    fn lock(&self) -> io::Result<Lock>;

    /// Who holds the writer's lock, if somebody does.
    ///
    /// # Errors
    /// What the system says.
    fn lock_holder(&self) -> io::Result<Option<Holder>>;

    /// Whether stores through a map are safe on this file system.
    ///
    /// # Errors
    /// `Unsupported`, with the reason.
    fn check_file_system(&self) -> io::Result<()>;

    /// The wall clock, coarse and cheap: read at every append.
    fn now(&self) -> Timestamp;

    /// A clock that only goes forward.
    fn monotonic(&self) -> Duration;

    /// A random word.
    ///
    /// # Errors
    /// What the system says.
    fn random(&self) -> io::Result<u64>;

    /// Identifies the run of the operating system.
    fn boot_id(&self) -> [u8; 16];
}
