//! Segments on a medium that does not give all of their bytes back.
//!
//! Guarantees:
//! 1. Through [`Readable`] a read of a segment does not fail for what the medium lost: all else comes as it is stored, and what
//!    cannot be read as [`LOST`], page by page, which is no header, no frame, and no end. Every other error, and every other
//!    file, is as below.
//! 2. What could not be read is known by [`Readable::unreadable`]. It is tried once: a dying disk takes long to refuse.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::is_medium_failure;
use crate::format::segment_number;
use crate::platform::{Access, Disk, File, Holder, Identity, Lock, Region};
use crate::sync::Mutex;
use crate::types::{Timestamp, index, length};

/// Stands for a byte that cannot be read.
const LOST: u8 = 0xff;
/// What a system reads at once, at least: one sector that is lost takes so much with it.
const PAGE_BYTES: u64 = 4096;

/// A stretch of a file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) range: Range<u64>,
    cause: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.range;
        write!(f, "{} bytes cannot be read: {}", end.saturating_sub(start), self.cause)
    }
}

/// Lost pages of one file, by their positions: where they end, and why.
type Pages = BTreeMap<u64, (u64, String)>;

/// A disk whose segments can be read as far as the medium has them.
#[derive(Debug)]
pub(crate) struct Readable<'a> {
    below: &'a dyn Disk,
    lost: Mutex<BTreeMap<String, Arc<Mutex<Pages>>>>,
}

impl<'a> Readable<'a> {
    pub(crate) fn new(below: &'a dyn Disk) -> Self {
        Self { below, lost: Mutex::default() }
    }

    /// The first stretch of a file that could not be read so far, as a cause.
    pub(crate) fn first_lost(&self, name: &str) -> Option<String> {
        self.unreadable(name).first().map(|lost| format!("at position {} {lost}", lost.range.start))
    }

    /// What could not be read of a file so far.
    pub(crate) fn unreadable(&self, name: &str) -> Vec<Unreadable> {
        let lost = self.lost.lock();
        let mut stretches: Vec<Unreadable> = Vec::new();
        for (start, (end, cause)) in lost.get(name).map(|pages| pages.lock().clone()).unwrap_or_default() {
            match stretches.last_mut() {
                Some(before) if before.range.end == start && before.cause == cause => before.range.end = end,
                _ => stretches.push(Unreadable { range: start..end, cause }),
            }
        }
        stretches
    }
}

#[derive(Debug)]
struct ReadableFile {
    below: Arc<dyn File>,
    lost: Arc<Mutex<Pages>>,
}

impl ReadableFile {
    /// Reads page by page, over what is lost.
    fn read_over(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let file_bytes = self.below.length()?;
        let (mut rest, mut at) = (buffer, position);
        while at < file_bytes && !rest.is_empty() {
            let page = at.saturating_sub(at.checked_rem(PAGE_BYTES).unwrap_or_default());
            let end = page.saturating_add(PAGE_BYTES).min(file_bytes);
            let wanted = index(end.saturating_sub(at)).min(rest.len());
            let Some((part, behind)) = rest.split_at_mut_checked(wanted) else { break };
            if self.lost.lock().contains_key(&page) {
                part.fill(LOST);
            } else {
                match self.below.read_at(part, at) {
                    Err(error) if is_medium_failure(&error) => {
                        part.fill(LOST);
                        self.lost.lock().insert(page, (end, error.to_string()));
                    }
                    read => {
                        let read = read?;
                        if read < wanted {
                            at = at.saturating_add(length(read));
                            break;
                        }
                    }
                }
            }
            (rest, at) = (behind, at.saturating_add(length(wanted)));
        }
        Ok(index(at.saturating_sub(position)))
    }
}

impl File for ReadableFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        if self.lost.lock().is_empty() {
            match self.below.read_at(buffer, position) {
                Err(error) if is_medium_failure(&error) => {}
                read => return read,
            }
        }
        self.read_over(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.below.write_at(bytes, position)
    }

    fn length(&self) -> io::Result<u64> {
        self.below.length()
    }

    fn identity(&self) -> io::Result<Identity> {
        self.below.identity()
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        self.below.reserve(length)
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.below.punch(range)
    }

    fn sync(&self) -> io::Result<()> {
        self.below.sync()
    }

    fn sync_range(&self, region: &Region, range: Range<u64>) -> io::Result<()> {
        self.below.sync_range(region, range)
    }

    fn map(&self, length: u64, access: Access) -> io::Result<Region> {
        self.below.map(length, access)
    }
}

impl Disk for Readable<'_> {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let below = self.below.open(name, access)?;
        if segment_number(name).is_none() {
            return Ok(below);
        }
        let lost = Arc::clone(self.lost.lock().entry(name.to_owned()).or_default());
        Ok(Arc::new(ReadableFile { below, lost }))
    }

    fn directory(&self) -> &Path {
        self.below.directory()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.below.list()
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn File>> {
        self.below.create(name, length)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.below.unlink(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.below.rename(from, to)
    }

    fn quarantine(&self, name: &str) -> io::Result<()> {
        self.below.quarantine(name)
    }

    fn settle_quarantine(&self) -> io::Result<()> {
        self.below.settle_quarantine()
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.below.sync_directory()
    }

    fn lock(&self) -> io::Result<Lock> {
        self.below.lock()
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
