//! A disk in memory with somebody who watches: told of each call before it goes through, and able to make it fail.
//!
//! Guarantees:
//! 1. Every call of the engine that can fail is told of: those that read a name, or change anything, to [`Watch::before`],
//!    all others to [`Watch::before_a_look`]; clocks are not. Reads go through the watch, which may count them.
//! 2. A call that the watch refuses does not reach the disk.
//! 3. Nothing is locked here while the watch is asked: it may call the engine.

use std::fmt::{self, Debug};
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use esker::Timestamp;
use esker::platform::{Access, Disk, File, Holder, Identity, Lock, Region};

use crate::MemoryDisk;

/// A call that is about to go through; files go by the names that they were opened under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call<'a> {
    /// Of the directory.
    List,
    /// Of a file.
    Create(&'a str),
    /// Of a file.
    Open(&'a str),
    /// To this name.
    Rename(&'a str),
    /// Of a file.
    Unlink(&'a str),
    /// Of a file.
    Quarantine(&'a str),
    /// Of the directory.
    SyncDirectory,
    /// Of the directory.
    Lock,
    /// To a file, not through a map.
    Write(&'a str),
    /// Of a file's space.
    Reserve(&'a str),
    /// Of a part of a file.
    Punch(&'a str),
    /// Of a whole file.
    Sync(&'a str),
    /// Of a part of a file, stored through a map.
    SyncRange(&'a str),
    /// A look: at bytes of a file.
    Read(&'a str),
    /// A look: at the length of a file.
    Length(&'a str),
    /// A look: at what a file is.
    Identity(&'a str),
    /// A look: at a file, through memory.
    Map(&'a str),
    /// A look: at the folder for what is set aside.
    SettleQuarantine,
    /// A look: at the lock.
    LockHolder,
    /// A look: at the file system.
    FileSystem,
    /// A look: at the dice.
    Random,
}

impl<'a> Call<'a> {
    /// What is done, and to which file, if it is to one.
    fn parts(self) -> (&'static str, Option<&'a str>) {
        match self {
            Self::List => ("list", None),
            Self::SyncDirectory => ("sync directory", None),
            Self::Lock => ("lock", None),
            Self::SettleQuarantine => ("settle quarantine", None),
            Self::LockHolder => ("ask who holds the lock", None),
            Self::FileSystem => ("ask for the file system", None),
            Self::Random => ("draw a random word", None),
            Self::Create(name) => ("create", Some(name)),
            Self::Open(name) => ("open", Some(name)),
            Self::Rename(name) => ("rename", Some(name)),
            Self::Unlink(name) => ("unlink", Some(name)),
            Self::Quarantine(name) => ("quarantine", Some(name)),
            Self::Write(name) => ("write", Some(name)),
            Self::Reserve(name) => ("reserve", Some(name)),
            Self::Punch(name) => ("punch", Some(name)),
            Self::Sync(name) | Self::SyncRange(name) => ("sync", Some(name)),
            Self::Read(name) => ("read", Some(name)),
            Self::Length(name) => ("ask for the length of", Some(name)),
            Self::Identity(name) => ("ask what is", Some(name)),
            Self::Map(name) => ("map", Some(name)),
        }
    }

    /// What is done, whatever it is done to.
    #[must_use]
    pub fn kind(self) -> &'static str {
        self.parts().0
    }
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (verb, Some(name)) => write!(f, "{verb} {name}"),
            (verb, None) => f.write_str(verb),
        }
    }
}

/// Who watches a disk.
pub trait Watch: Send + Sync {
    /// Before a call goes through.
    ///
    /// # Errors
    /// What the call shall fail with.
    fn before(&self, call: Call<'_>) -> io::Result<()>;

    /// Before a look, that is a call which neither reads a name nor changes anything, goes through.
    ///
    /// # Errors
    /// What the call shall fail with.
    fn before_a_look(&self, _call: Call<'_>) -> io::Result<()> {
        Ok(())
    }

    /// Reads bytes.
    ///
    /// # Errors
    /// What the file says.
    fn read(&self, file: &dyn File, _name: &str, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        file.read_at(buffer, position)
    }

    /// Stores bytes, once the call was let pass.
    ///
    /// # Errors
    /// What the file says.
    fn write(&self, file: &dyn File, _name: &str, bytes: &[u8], position: u64) -> io::Result<()> {
        file.write_at(bytes, position)
    }

    /// Syncs a range, once the call was let pass.
    ///
    /// # Errors
    /// What the file says.
    fn sync_range(&self, file: &dyn File, _name: &str, region: &Region, range: Range<u64>) -> io::Result<()> {
        file.sync_range(region, range)
    }
}

/// A [`MemoryDisk`] that is watched. A clone is the same disk under the same watch, whose methods are at hand.
pub struct WatchedDisk<W> {
    /// What lies below; calls on it are not watched.
    pub disk: MemoryDisk,
    watch: Arc<W>,
}

impl<W> WatchedDisk<W> {
    /// Puts a disk under a watch.
    pub fn new(disk: MemoryDisk, watch: W) -> Self {
        Self { disk, watch: Arc::new(watch) }
    }
}

impl<W> Deref for WatchedDisk<W> {
    type Target = W;

    fn deref(&self) -> &W {
        &self.watch
    }
}

impl<W> Clone for WatchedDisk<W> {
    fn clone(&self) -> Self {
        Self { disk: self.disk.clone(), watch: Arc::clone(&self.watch) }
    }
}

impl<W> Debug for WatchedDisk<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchedDisk").field(&self.disk).finish()
    }
}

impl<W: Watch + 'static> WatchedDisk<W> {
    fn file(&self, name: &str, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(WatchedFile { file, name: name.to_owned(), watch: Arc::clone(&self.watch) })
    }
}

impl<W: Watch + 'static> Disk for WatchedDisk<W> {
    fn directory(&self) -> &Path {
        self.disk.directory()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.watch.before(Call::List)?;
        self.disk.list()
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn File>> {
        self.watch.before(Call::Create(name))?;
        self.disk.create(name, length).map(|file| self.file(name, file))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        self.watch.before(Call::Open(name))?;
        self.disk.open(name, access).map(|file| self.file(name, file))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.watch.before(Call::Unlink(name))?;
        self.disk.unlink(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.watch.before(Call::Rename(to))?;
        self.disk.rename(from, to)
    }

    fn quarantine(&self, name: &str) -> io::Result<()> {
        self.watch.before(Call::Quarantine(name))?;
        self.disk.quarantine(name)
    }

    fn settle_quarantine(&self) -> io::Result<()> {
        self.watch.before_a_look(Call::SettleQuarantine)?;
        self.disk.settle_quarantine()
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.watch.before(Call::SyncDirectory)?;
        self.disk.sync_directory()
    }

    fn lock(&self) -> io::Result<Lock> {
        self.watch.before(Call::Lock)?;
        self.disk.lock()
    }

    fn lock_holder(&self) -> io::Result<Option<Holder>> {
        self.watch.before_a_look(Call::LockHolder)?;
        self.disk.lock_holder()
    }

    fn check_file_system(&self) -> io::Result<()> {
        self.watch.before_a_look(Call::FileSystem)?;
        self.disk.check_file_system()
    }

    fn now(&self) -> Timestamp {
        self.disk.now()
    }

    fn monotonic(&self) -> Duration {
        self.disk.monotonic()
    }

    fn random(&self) -> io::Result<u64> {
        self.watch.before_a_look(Call::Random)?;
        self.disk.random()
    }

    fn boot_id(&self) -> [u8; 16] {
        self.disk.boot_id()
    }
}

struct WatchedFile<W> {
    file: Arc<dyn File>,
    /// As it was opened under.
    name: String,
    watch: Arc<W>,
}

impl<W> Debug for WatchedFile<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchedFile").field(&self.file).finish()
    }
}

impl<W: Watch> File for WatchedFile<W> {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.watch.before_a_look(Call::Read(&self.name))?;
        self.watch.read(&*self.file, &self.name, buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.watch.before(Call::Write(&self.name))?;
        self.watch.write(&*self.file, &self.name, bytes, position)
    }

    fn length(&self) -> io::Result<u64> {
        self.watch.before_a_look(Call::Length(&self.name))?;
        self.file.length()
    }

    fn identity(&self) -> io::Result<Identity> {
        self.watch.before_a_look(Call::Identity(&self.name))?;
        self.file.identity()
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        self.watch.before(Call::Reserve(&self.name))?;
        self.file.reserve(length)
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.watch.before(Call::Punch(&self.name))?;
        self.file.punch(range)
    }

    fn sync(&self) -> io::Result<()> {
        self.watch.before(Call::Sync(&self.name))?;
        self.file.sync()
    }

    fn sync_range(&self, region: &Region, range: Range<u64>) -> io::Result<()> {
        self.watch.before(Call::SyncRange(&self.name))?;
        self.watch.sync_range(&*self.file, &self.name, region, range)
    }

    fn map(&self, length: u64, access: Access) -> io::Result<Region> {
        self.watch.before_a_look(Call::Map(&self.name))?;
        self.file.map(length, access)
    }
}
