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
    /// What the system calls it.
    code: i32,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.range;
        let cause = io::Error::from_raw_os_error(self.code);
        write!(f, "{} bytes cannot be read: {cause}", end.saturating_sub(start))
    }
}

/// Lost pages of one file: where a stretch of them begins, where it ends, and what the system calls it.
#[derive(Debug, Default)]
struct Pages(BTreeMap<u64, (u64, i32)>);

impl Pages {
    fn holds(&self, page: u64) -> bool {
        self.0.range(..=page).next_back().is_some_and(|(_, (end, _))| page < *end)
    }

    /// Notes a page, as a part of a stretch if one ends or begins beside it.
    fn note(&mut self, page: Range<u64>, code: i32) {
        let Range { mut start, mut end } = page;
        let before = self.0.range(..start).next_back().map(|(from, (to, of))| (*from, *to, *of));
        if let Some((from, ..)) = before.filter(|(_, to, of)| (*to, *of) == (start, code)) {
            start = from;
        }
        if let Some((to, _)) = self.0.get(&end).copied().filter(|(_, of)| *of == code) {
            self.0.remove(&end);
            end = to;
        }
        self.0.insert(start, (end, code));
    }

    fn stretches(&self) -> impl Iterator<Item = Unreadable> {
        self.0.iter().map(|(start, (end, code))| Unreadable { range: *start..*end, code: *code })
    }
}

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
        let lost = self.lost.lock().get(name)?.lock().stretches().next()?;
        Some(format!("at position {} {lost}", lost.range.start))
    }

    /// Whether anything of a file at or behind a position could not be read so far.
    pub(crate) fn is_lost_behind(&self, name: &str, position: u64) -> bool {
        let lost = self.lost.lock();
        lost.get(name).is_some_and(|pages| pages.lock().stretches().any(|lost| lost.range.end > position))
    }

    /// What could not be read of a file so far.
    pub(crate) fn unreadable(&self, name: &str) -> Vec<Unreadable> {
        self.lost.lock().get(name).map(|pages| pages.lock().stretches().collect()).unwrap_or_default()
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
            if self.lost.lock().holds(page) {
                part.fill(LOST);
            } else {
                match self.below.read_at(part, at) {
                    Err(error) if is_medium_failure(&error) => {
                        part.fill(LOST);
                        self.lost.lock().note(page..end, error.raw_os_error().unwrap_or_default());
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
        if self.lost.lock().0.is_empty() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_side_by_side_are_one_stretch_in_whatever_order_they_are_met() {
        for turn in [1, 7, 31] {
            let mut pages = Pages::default();
            for page in (0..32).map(|page| page * turn % 32).filter(|page| *page != 20) {
                pages.note(page * PAGE_BYTES..(page + 1) * PAGE_BYTES, 5);
            }
            let found: Vec<_> = pages.stretches().map(|lost| lost.range).collect();
            assert_eq!(found, [0..20 * PAGE_BYTES, 21 * PAGE_BYTES..32 * PAGE_BYTES], "{turn}");
            assert!(pages.holds(19 * PAGE_BYTES) && !pages.holds(20 * PAGE_BYTES) && pages.holds(31 * PAGE_BYTES));
            assert!(!pages.holds(32 * PAGE_BYTES));
            assert!(pages.stretches().all(|lost| lost.to_string().contains("cannot be read: ")));
        }
    }
}
