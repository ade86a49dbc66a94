//! How a log is opened.
//!
//! Guarantees:
//! 1. Options that do not fit each other are refused before anything is touched.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Log;
use super::clean::{Cleaner, Cleanup, Policies};
use super::retention::Retention;
use crate::error::{Error, ErrorKind, Result};
use crate::format::SEGMENT_BYTES_MAX;
use crate::platform::{Disk, SystemDisk};
use crate::segment::SUM_BEFORE_LOCK_BYTES;
use crate::types::Topic;

/// The smallest `segment_bytes`.
pub const SEGMENT_BYTES_MIN: u64 = 16 * 1024;
/// A new log begins with a segment of this size, or of `segment_bytes` if that is less.
pub(crate) const FIRST_SEGMENT_BYTES: u64 = 1024 * 1024;
/// The smallest `index_memory`.
const INDEX_MEMORY_MIN: u64 = 64 << 10;
/// The longest sync interval.
const SYNC_INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// When records become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// When somebody waits for a ticket or calls [`Log::sync`]; sealed segments also in the background.
    OnRequest,
    /// As on request, and in the background after at most this time (1 ms to 1 h).
    Interval(Duration),
    /// Before each append returns. Appends of several threads share one sync.
    EveryCommit,
}

/// What to do with a log whose end is not clean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Cut a torn tail above the durable line; refuse anything else.
    TornTail,
    /// Refuse anything but a clean end, and change nothing.
    Strict,
}

/// On which file systems to store through a memory map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystems {
    /// Those known to be good for it: ext4, xfs, tmpfs (on Linux; elsewhere no check is made).
    Known,
    /// Any. On a file system that copies on write a full disk may then end the process with a signal.
    Any,
}

/// How many background threads serve the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Background {
    /// Three: one prepares segments, one syncs, one writes checkpoints and index files; and one that cleans, if
    /// [`Options::cleanup`] asks for it.
    Threads,
    /// None: appends prepare segments themselves, and nothing happens between calls. For tests that need every step in
    /// their own hands; intervals and idle marks then only happen in [`Log::background_step`].
    Manual,
}

/// How a log is opened. Each setting says whether it changes behaviour or speed.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use std::time::Duration;
///
/// let log = esker::Options::new()
///     .sync(esker::Sync::Interval(Duration::from_millis(100)))
///     .segment_bytes(16 << 20)
///     .open(folder.path().join("data"))?;
/// log.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Options {
    pub(crate) segment_bytes: u64,
    pub(crate) frame_bytes_max: u64,
    pub(crate) sync: Sync,
    pub(crate) recovery: Recovery,
    pub(crate) unproven_segments_max: usize,
    pub(crate) state_bytes_max: u64,
    pub(crate) state_keys_max: u64,
    pub(crate) checkpoint_bytes: u64,
    pub(crate) index_memory: u64,
    pub(crate) retention: Retention,
    pub(crate) policies: Policies,
    pub(crate) cleaner: Cleaner,
    pub(crate) file_systems: FileSystems,
    pub(crate) background: Background,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            frame_bytes_max: 8 << 20,
            sync: Sync::OnRequest,
            recovery: Recovery::TornTail,
            unproven_segments_max: 8,
            state_bytes_max: 256 << 20,
            state_keys_max: 1 << 20,
            checkpoint_bytes: 64 << 20,
            index_memory: 64 << 20,
            retention: Retention::new(),
            policies: Policies::default(),
            cleaner: Cleaner::new(),
            file_systems: FileSystems::Known,
            background: Background::Threads,
        }
    }
}

impl Options {
    /// The defaults, which are meant to be right for most.
    pub fn new() -> Self {
        Self::default()
    }

    /// Behaviour: the largest segment file, 16 KiB to 2 GiB, in steps of 4096; default 128 MiB. Files begin at 1 MiB and
    /// grow with the log up to this. Smaller: retention works in finer steps. Larger: fewer files. Costs up to twice this
    /// in disk space beyond the records, for the segment in use and the one prepared.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Behaviour: the largest frame, so the largest record or batch, 4 KiB to 1 GiB; default 8 MiB. A segment bounds it
    /// too. It bounds how long one append keeps the others waiting.
    pub fn frame_bytes_max(mut self, bytes: u64) -> Self {
        self.frame_bytes_max = bytes;
        self
    }

    /// Behaviour: when records become durable; default [`Sync::OnRequest`].
    pub fn sync(mut self, sync: Sync) -> Self {
        self.sync = sync;
        self
    }

    /// Behaviour: what to do with a log whose end is not clean; default [`Recovery::TornTail`].
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = recovery;
        self
    }

    /// Speed: how many full segments may wait for their sync before appends wait, 1 to 1000; default 8. It bounds what an
    /// open after a crash must scan.
    pub fn unproven_segments_max(mut self, segments: usize) -> Self {
        self.unproven_segments_max = segments;
        self
    }

    /// Behaviour: how many bytes of state the log may hold, keys and values and 64 bytes an entry; default 256 MiB. All of
    /// it is kept in memory. A commit that would add more is refused; entries can still be replaced and removed.
    pub fn state_bytes_max(mut self, bytes: u64) -> Self {
        self.state_bytes_max = bytes;
        self
    }

    /// Behaviour: how many keys of state the log may hold, cursors included; default 1,048,576.
    pub fn state_keys_max(mut self, keys: u64) -> Self {
        self.state_keys_max = keys;
        self
    }

    /// Speed: how much the log grows between two checkpoints, at least 4096 bytes; default 64 MiB. While the state is large
    /// it grows more, at least four times as much as the state holds. It bounds what an open reads again to know the state.
    /// Smaller: faster opens after a crash. Costs a file of the size of the state each time.
    pub fn checkpoint_bytes(mut self, bytes: u64) -> Self {
        self.checkpoint_bytes = bytes;
        self
    }

    /// Speed: how many bytes of memory to use for finding keys, at least 64 KiB; default 64 MiB. Half of it is for the keys of
    /// segments that have no index file yet: 12 bytes a record with a key, and 10 to 20 for each key. What does not fit is
    /// read by each lookup. The other half is for making index files; with less than 32 bytes for each record with a key in
    /// a segment, the segment is read several times.
    pub fn index_memory(mut self, bytes: u64) -> Self {
        self.index_memory = bytes;
        self
    }

    /// Behaviour: what of the log is kept; default everything. What exceeds it goes in the background, oldest first and in whole
    /// segments, as far as no cursor holds it: see [`Contract`](crate::Contract). Costs a checkpoint now and then, of the
    /// size of the state.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Behaviour: what may go from a topic, wherever in the log it lies; default nothing. What may go does in the background,
    /// as [`Options::cleaner`] says. Costs space for one more segment, held ready for the case that the disk is full.
    pub fn cleanup(mut self, topic: Topic, cleanup: Cleanup) -> Self {
        self.policies.set(topic, cleanup);
        self
    }

    /// Behaviour and speed: how the cleaner works; see [`Cleaner`].
    pub fn cleaner(mut self, cleaner: Cleaner) -> Self {
        self.cleaner = cleaner;
        self
    }

    /// Behaviour: on which file systems to write; default [`FileSystems::Known`].
    pub fn file_systems(mut self, file_systems: FileSystems) -> Self {
        self.file_systems = file_systems;
        self
    }

    /// Behaviour: whether threads work in the background; default [`Background::Threads`].
    pub fn background(mut self, background: Background) -> Self {
        self.background = background;
        self
    }

    /// Opens the log in the directory `path` for writing; makes both if they are not there.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] if another handle holds it; [`ErrorKind::Corrupt`] if what was durable is damaged or
    /// missing; [`ErrorKind::Incompatible`] for another format or file system; [`ErrorKind::Invalid`] for a directory that
    /// holds something else; and what the system says. No byte of the log is changed then; a directory that was made
    /// and its lock file may stay.
    ///
    /// # Durability
    /// What the log held is durable when this returns.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Log> {
        self.check()?;
        let path = path.as_ref();
        let disk = SystemDisk::open_or_create(path).map_err(|error| open_error(path, error))?;
        self.open_on(Arc::new(disk))
    }

    /// Opens the log on any [`Disk`], as [`Options::open`] does on a directory.
    ///
    /// # Errors
    /// As for [`Options::open`].
    pub fn open_on(&self, disk: Arc<dyn Disk>) -> Result<Log> {
        self.check()?;
        Log::open_with(disk, self)
    }

    fn check(&self) -> Result<()> {
        in_range("segment_bytes", self.segment_bytes, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)?;
        if !self.segment_bytes.is_multiple_of(4096) {
            return Err(invalid(format!("option segment_bytes: {} is not a multiple of 4096", self.segment_bytes)));
        }
        in_range("frame_bytes_max", self.frame_bytes_max, crate::types::length(SUM_BEFORE_LOCK_BYTES), 1 << 30)?;
        in_range("checkpoint_bytes", self.checkpoint_bytes, 4096, u64::MAX)?;
        in_range("index_memory", self.index_memory, INDEX_MEMORY_MIN, u64::MAX)?;
        in_range("unproven_segments_max", crate::types::length(self.unproven_segments_max), 1, 1000)?;
        self.cleaner.check()?;
        if let Sync::Interval(interval) = self.sync
            && !(Duration::from_millis(1)..=SYNC_INTERVAL_MAX).contains(&interval)
        {
            return Err(invalid(format!("option sync: interval {interval:?} is not within 1 ms to 1 h")));
        }
        Ok(())
    }
}

pub(super) fn open_error(path: &Path, error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::NotADirectory || path.is_file() {
        return Error::new(ErrorKind::Invalid, "not a directory").at_path(path).next_step("a log is a directory");
    }
    Error::io("open the directory", error).at_path(path)
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::Invalid, text)
}

fn in_range(name: &str, value: u64, least: u64, most: u64) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(invalid(format!("option {name}: {value} is not within {least} to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_is_checked_at_its_limits() {
        let good = [
            Options::new().segment_bytes(SEGMENT_BYTES_MIN),
            Options::new().segment_bytes(SEGMENT_BYTES_MAX),
            Options::new().frame_bytes_max(4096),
            Options::new().frame_bytes_max(1 << 30),
            Options::new().unproven_segments_max(1),
            Options::new().checkpoint_bytes(4096),
            Options::new().index_memory(64 << 10),
            Options::new().sync(Sync::Interval(Duration::from_millis(1))),
        ];
        assert!(good.iter().all(|options| options.check().is_ok()));
        let bad = [
            Options::new().segment_bytes(SEGMENT_BYTES_MIN - 1),
            Options::new().segment_bytes(SEGMENT_BYTES_MAX + 1),
            Options::new().segment_bytes(SEGMENT_BYTES_MIN + 8),
            Options::new().frame_bytes_max(4095),
            Options::new().frame_bytes_max((1 << 30) + 1),
            Options::new().unproven_segments_max(0),
            Options::new().checkpoint_bytes(4095),
            Options::new().index_memory((64 << 10) - 1),
            Options::new().unproven_segments_max(1001),
            Options::new().sync(Sync::Interval(Duration::ZERO)),
            Options::new().sync(Sync::Interval(SYNC_INTERVAL_MAX + Duration::from_nanos(1))),
        ];
        assert!(bad.iter().all(|options| options.check().is_err_and(|e| e.kind() == ErrorKind::Invalid)));
    }
}
