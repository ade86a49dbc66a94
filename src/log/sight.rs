//! One sight of a directory whose writer may be at work: all names as they stood at one moment.
//!
//! Guarantees:
//! 1. There was a moment at which each segment and checkpoint of the sight had its name, and no other had one, but for
//!    segments above them and checkpoints that were new: all files are opened, and then all names lead to the same files still.
//! 2. A file of the sight is that file for as long as the sight lasts, whatever has its name by then: it is held open. Of the
//!    files beyond [`FILES_HELD_MAX`] only the identity is held; one that was replaced since is not there, and
//!    [`Sight::is_stale`] says so.
//! 3. The anchor is what it was before: nothing that it names is newer than the sight.
//! 4. Nothing can be changed through it, and a look at a directory that never stands still ends with an error.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::survey::{io_error, is_missing};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{ANCHOR_BYTES, ANCHOR_NAME, checkpoint_sequence, header, index_number, segment_number};
use crate::platform::{Access, Disk, File, Holder, Identity, Lock, Region};
use crate::sync::{AtomicBool, Ordering};
use crate::types::{Timestamp, index, length};

/// How often a directory is looked at until it stands still for as long as a look takes; and how often what was found in a
/// sight is judged anew.
pub(crate) const SIGHTS_MAX: u32 = 64;

/// Files that are held open; a process has descriptors for about a thousand.
const FILES_HELD_MAX: usize = 128;

/// A directory as it stood, for reading.
#[derive(Debug)]
pub(crate) struct Sight<'a> {
    below: &'a dyn Disk,
    names: Vec<String>,
    files: BTreeMap<String, Seen>,
    anchor: Option<Arc<dyn File>>,
    stale: AtomicBool,
}

/// A file of a sight.
#[derive(Debug)]
enum Seen {
    Held(Arc<dyn File>),
    Known(Box<Mark>),
    /// It could not be opened, and who needs it is told why.
    Shut,
}

/// What tells a file from another that takes its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    identity: Identity,
    header: [u8; header::BYTES],
}

impl Mark {
    fn of(file: &dyn File) -> io::Result<Self> {
        let mut header = [0; header::BYTES];
        file.read_at(&mut header, 0)?;
        Ok(Self { identity: file.identity()?, header })
    }

    /// A spare gets its header when it is taken into use.
    fn is_of(&self, now: &Self) -> bool {
        self.identity == now.identity && (self.header == now.header || self.header == [0; header::BYTES])
    }
}

/// What came of a look.
enum Looked<'a> {
    Settled(Sight<'a>),
    Moved,
}

impl<'a> Sight<'a> {
    /// Looks until nothing was replaced or removed while it looked.
    pub(crate) fn take(below: &'a dyn Disk) -> Result<Self> {
        for _ in 0..SIGHTS_MAX {
            let looked = Self::look(below).map_err(|error| io_error(below, "look at the directory", "", error))?;
            if let Looked::Settled(sight) = looked {
                return Ok(sight);
            }
        }
        Err(unsettled(below))
    }

    fn look(below: &'a dyn Disk) -> io::Result<Looked<'a>> {
        let anchor = copied(below)?;
        let names = below.list()?;
        let mut sight = Self { below, names, files: BTreeMap::new(), anchor, stale: AtomicBool::new(false) };
        for name in sight.names.iter().filter(|name| matters(name)) {
            let seen = match below.open(name, Access::Read) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && is_part(name) => return Ok(Looked::Moved),
                Err(_) => Seen::Shut,
                Ok(file) if sight.files.len() < FILES_HELD_MAX => Seen::Held(file),
                Ok(file) => Mark::of(&*file).map_or(Seen::Shut, |mark| Seen::Known(Box::new(mark))),
            };
            sight.files.insert(name.clone(), seen);
        }
        Ok(if sight.stood_still()? { Looked::Settled(sight) } else { Looked::Moved })
    }

    /// Whether all names lead to the same files still, and only new ones came.
    fn stood_still(&self) -> io::Result<bool> {
        let last = self.names.iter().filter_map(|name| segment_number(name)).max().unwrap_or_default();
        let is_known = |name: &&String| self.files.contains_key(*name);
        let is_new = |name: &str| segment_number(name).is_none_or(|number| number > last);
        let now = self.below.list()?;
        let came = now.iter().filter(|name| is_part(name) && !is_known(name));
        if came.into_iter().any(|name| !is_new(name)) {
            return Ok(false);
        }
        for (name, seen) in self.files.iter().filter(|(name, _)| is_part(name)) {
            if !self.is_same(name, seen)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_same(&self, name: &str, seen: &Seen) -> io::Result<bool> {
        let now = match self.below.open(name, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            // As before, it is left to who needs it.
            Err(_) => return Ok(true),
            Ok(now) => now,
        };
        Ok(match seen {
            Seen::Held(file) => file.identity()? == now.identity()?,
            Seen::Known(mark) => mark.identity == now.identity()?,
            Seen::Shut => true,
        })
    }

    /// Whether a file that was asked for is not there any more: what was judged of the rest is to be judged again.
    fn is_stale(&self) -> bool {
        // Relaxed: who asked for the file is who reads this.
        self.stale.load(Ordering::Relaxed)
    }

    fn gone(&self) -> io::Error {
        // Relaxed: as in `is_stale`.
        self.stale.store(true, Ordering::Relaxed);
        io::Error::new(io::ErrorKind::NotFound, "another file took its place since the directory was looked at")
    }
}

/// What is found by looking at a directory beside its writer: judged in one sight, and if it is an error, or in doubt, only what
/// another sight shows too.
pub(crate) fn judged<T>(
    disk: &dyn Disk,
    is_doubtful: impl Fn(&T) -> bool,
    mut judge: impl FnMut(&dyn Disk) -> Result<T>,
) -> Result<T> {
    let mut is_doubted = false;
    for _ in 0..SIGHTS_MAX {
        let sight = Sight::take(disk)?;
        let found = judge(&sight);
        let in_doubt = match &found {
            Ok(found) => is_doubtful(found),
            Err(error) => error.kind() == ErrorKind::Corrupt || is_missing(error),
        };
        if !sight.is_stale() && (!in_doubt || is_doubted) {
            return found;
        }
        is_doubted |= in_doubt && !sight.is_stale();
    }
    Err(unsettled(disk))
}

/// What there is to say of a directory that never stands still.
pub(crate) fn unsettled(disk: &dyn Disk) -> Error {
    Error::new(ErrorKind::Io, "segments were replaced or dropped faster than they could be looked at")
        .at_path(disk.directory())
        .next_step("try again, or when the writer compacts less")
}

/// Whether a name is of what the log consists of: without it, the log is another.
fn is_part(name: &str) -> bool {
    segment_number(name).is_some() || checkpoint_sequence(name).is_some()
}

fn matters(name: &str) -> bool {
    is_part(name) || index_number(name).is_some()
}

/// The anchor as it is now. `None`: it is not there, or cannot be read, which is said by who opens it.
fn copied(disk: &dyn Disk) -> io::Result<Option<Arc<dyn File>>> {
    let Ok(file) = disk.open(ANCHOR_NAME, Access::Read) else { return Ok(None) };
    let mut bytes = vec![0; ANCHOR_BYTES];
    let Ok(read) = file.read_at(&mut bytes, 0) else { return Ok(None) };
    bytes.truncate(read);
    Ok(Some(Arc::new(Copied { bytes, identity: file.identity()? })))
}

impl Disk for Sight<'_> {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        if access == Access::Write {
            return Err(read_only());
        }
        if let (ANCHOR_NAME, Some(anchor)) = (name, &self.anchor) {
            return Ok(Arc::clone(anchor));
        }
        match self.files.get(name) {
            Some(Seen::Held(file)) => Ok(Arc::clone(file)),
            Some(Seen::Known(mark)) => match self.below.open(name, access) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.gone()),
                opened => {
                    let file = opened?;
                    if mark.is_of(&Mark::of(&*file)?) { Ok(file) } else { Err(self.gone()) }
                }
            },
            // What can be opened now may be another.
            Some(Seen::Shut) => self.below.open(name, access).and_then(|_another| Err(self.gone())),
            // It came later.
            None if matters(name) => Err(io::ErrorKind::NotFound.into()),
            None => self.below.open(name, access),
        }
    }

    fn directory(&self) -> &Path {
        self.below.directory()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names.clone())
    }

    fn create(&self, _name: &str, _length: u64) -> io::Result<Arc<dyn File>> {
        Err(read_only())
    }

    fn unlink(&self, _name: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn quarantine(&self, _name: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn settle_quarantine(&self) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Err(read_only())
    }

    fn lock(&self) -> io::Result<Lock> {
        Err(read_only())
    }

    fn lock_holder(&self) -> io::Result<Option<Holder>> {
        self.below.lock_holder()
    }

    fn check_file_system(&self) -> io::Result<()> {
        self.below.check_file_system()
    }

    fn now(&self) -> Timestamp {
        self.below.now()
    }

    fn monotonic(&self) -> Duration {
        self.below.monotonic()
    }

    fn random(&self) -> io::Result<u64> {
        self.below.random()
    }

    fn boot_id(&self) -> [u8; 16] {
        self.below.boot_id()
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the log is only looked at")
}

/// Bytes of a file, as they were.
#[derive(Debug)]
struct Copied {
    bytes: Vec<u8>,
    identity: Identity,
}

impl File for Copied {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let rest = self.bytes.get(index(position.min(length(self.bytes.len())))..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        Ok(read)
    }

    fn write_at(&self, _bytes: &[u8], _position: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(length(self.bytes.len()))
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(self.identity)
    }

    fn reserve(&self, _length: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn punch(&self, _range: Range<u64>) -> io::Result<()> {
        Err(read_only())
    }

    fn sync(&self) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_range(&self, _region: &Region, _range: Range<u64>) -> io::Result<()> {
        Err(read_only())
    }

    fn map(&self, _length: u64, _access: Access) -> io::Result<Region> {
        Err(read_only())
    }
}
