//! The bytes of one file in memory, whatever its name.
//!
//! Guarantees:
//! 1. All maps and reads of one file see the same bytes at once: every map is the same memory again.
//! 2. Its memory never shrinks; its length may be cut, and grows by a reservation, past what it was created with only if no map
//!    of it is about.
//! 3. What the medium holds of it is kept beside, and changes only by a sync, or as power or the system decide.
//!
//! Left to others: who may store. A map of it can always be stored into, also one that was made to be read.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use esker::platform::Region;

use super::medium::{AfterFailure, Medium};
use super::pool;
use crate::numbers::{index, length as length_of};

/// Space is counted in these.
pub(super) const BLOCK_BYTES: u64 = 4096;

#[derive(Debug)]
pub(super) struct Inode {
    /// As it was created under, for the list of operations.
    pub(super) name: String,
    pub(super) number: u64,
    memory: Mutex<Memory>,
    extent: Mutex<Extent>,
    medium: Mutex<Medium>,
    /// Handles of it. A file without a name holds its space until the last is dropped.
    handles: AtomicUsize,
}

#[derive(Debug)]
struct Memory {
    /// The part past the file's length reads as zero.
    region: Region,
    /// The longest that the file was.
    capacity: u64,
}

#[derive(Debug, Clone)]
struct Extent {
    length: u64,
    /// Numbers of the blocks whose space was given back.
    holes: BTreeSet<u64>,
}

impl Drop for Inode {
    fn drop(&mut self) {
        pool::give_back(&self.held().region);
    }
}

impl Inode {
    pub(super) fn new(name: &str, number: u64, length: u64) -> io::Result<Self> {
        Self::with_medium(name, number, length, Medium::new(index(length)))
    }

    fn with_medium(name: &str, number: u64, capacity: u64, medium: Medium) -> io::Result<Self> {
        let extent = Mutex::new(Extent { length: capacity, holes: BTreeSet::new() });
        // A map of no bytes is refused by some systems.
        let region = pool::take(capacity.max(1))?;
        Ok(Self {
            name: name.to_owned(),
            number,
            memory: Mutex::new(Memory { region, capacity }),
            extent,
            medium: Mutex::new(medium),
            handles: AtomicUsize::new(0),
        })
    }

    /// The same file with memory of its own.
    pub(super) fn copy(&self) -> io::Result<Self> {
        let copy = Self::with_medium(&self.name, self.number, self.held().capacity, self.medium().clone())?;
        *copy.extent() = self.extent().clone();
        copy.memory().copy_in(0, &self.bytes());
        Ok(copy)
    }

    /// What comes back of a file of which the medium holds this, and nothing else.
    pub(super) fn after_power_loss(of: &Self, medium: &Medium, length: u64) -> io::Result<Self> {
        let mut bytes = medium.bytes().to_vec();
        bytes[index(length)..].fill(0);
        let image = Self::with_medium(&of.name, of.number, of.held().capacity, Medium::holding(Vec::new(), length))?;
        image.memory().copy_in(0, &bytes[..index(length)]);
        *image.medium() = Medium::holding(bytes, length);
        let holes = of.extent().holes.clone();
        *image.extent() = Extent { length, holes };
        Ok(image)
    }

    // Relaxed: a count, which nothing else hangs on.
    pub(super) fn opened(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.handles.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn is_open(&self) -> bool {
        self.handles.load(Ordering::Relaxed) > 0
    }

    pub(super) fn medium(&self) -> MutexGuard<'_, Medium> {
        self.medium.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers of the sectors that are not on the medium as they are shown.
    pub(super) fn dirty(&self) -> Vec<usize> {
        let shown = self.bytes();
        self.medium().dirty(&shown)
    }

    /// Makes a range durable.
    pub(super) fn sync(&self, range: Range<u64>) {
        let shown = self.bytes();
        self.medium().sync(&shown, index(range.start)..index(range.end.min(self.length())));
    }

    /// Fails to; what `written` names was written all the same.
    pub(super) fn fail_sync(&self, range: Range<u64>, after: AfterFailure, written: impl FnMut() -> bool) {
        let shown = self.bytes();
        let range = index(range.start)..index(range.end.min(self.length()));
        for (start, bytes) in self.medium().fail(&shown, range, after, written) {
            self.memory().copy_in(length_of(start), &bytes);
        }
    }

    fn extent(&self) -> MutexGuard<'_, Extent> {
        self.extent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn length(&self) -> u64 {
        self.extent().length
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.bytes_of(&self.held().region)
    }

    fn bytes_of(&self, region: &Region) -> Vec<u8> {
        let mut bytes = vec![0; index(self.length())];
        region.copy_out(0, &mut bytes);
        bytes
    }

    fn held(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> Region {
        self.held().region.share()
    }

    /// Stores only the bytes that `edit` changed, so that what a writer stores beside it meanwhile is not undone. Returns
    /// where they are.
    pub(super) fn store(&self, edit: impl FnOnce(&mut [u8])) -> Vec<(usize, u8)> {
        let before = self.bytes();
        let mut after = before.clone();
        edit(&mut after);
        let changed = before.iter().zip(after).enumerate().filter(|(_, (old, new))| **old != *new);
        let changed: Vec<(usize, u8)> = changed.map(|(position, (_, new))| (position, new)).collect();
        for (position, new) in &changed {
            self.memory().copy_in(length_of(*position), &[*new]);
        }
        changed
    }

    /// As [`Inode::store`], and on the medium too.
    pub(super) fn edit(&self, edit: impl FnOnce(&mut [u8])) {
        for (position, new) in self.store(edit) {
            self.medium().damage(position, new);
        }
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], position: u64) -> usize {
        let left = index(self.length().saturating_sub(position));
        let bytes = buffer.len().min(left);
        self.memory().copy_out(position, &mut buffer[..bytes]);
        bytes
    }

    pub(super) fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let end = u64::try_from(bytes.len()).ok().and_then(|length| position.checked_add(length));
        if end.is_none_or(|end| end > self.length()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "stored past the end of a file of fixed length"));
        }
        self.memory().copy_in(position, bytes);
        let start = index(position);
        self.medium().stored(start..start + bytes.len());
        Ok(())
    }

    pub(super) fn map(&self, length: u64) -> io::Result<Region> {
        if length == 0 || length > self.length() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "mapped past the end of the file"));
        }
        Ok(self.memory().share())
    }

    pub(super) fn truncate(&self, length: u64) {
        let end = self.length();
        assert!(length <= end, "{}: cut to {length} bytes, has {end}", self.name);
        self.zero(length..end);
        self.extent().length = length;
        self.medium().truncate(length);
    }

    /// Bytes of space that it holds.
    pub(super) fn space_held(&self) -> u64 {
        self.extent().space_held()
    }

    /// Bytes of space that it would hold after [`Inode::reserve`] of `length`.
    pub(super) fn space_with(&self, length: u64) -> u64 {
        self.extent().reserved(length).space_held()
    }

    pub(super) fn reserve(&self, length: u64) -> io::Result<()> {
        if length > self.held().capacity {
            self.grow(length)?;
        }
        let mut extent = self.extent();
        *extent = extent.reserved(length);
        Ok(())
    }

    fn grow(&self, capacity: u64) -> io::Result<()> {
        self.medium().grow(index(capacity));
        let mut held = self.held();
        if held.region.is_shared() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file that is mapped does not grow"));
        }
        let region = pool::take(capacity)?;
        region.copy_in(0, &self.bytes_of(&held.region));
        pool::give_back(&held.region);
        *held = Memory { region, capacity };
        Ok(())
    }

    pub(super) fn punch(&self, range: Range<u64>) {
        let range = range.start..range.end.min(self.length());
        self.zero(range.clone());
        let whole = range.start.div_ceil(BLOCK_BYTES)..range.end / BLOCK_BYTES;
        self.extent().holes.extend(whole);
    }

    fn zero(&self, range: Range<u64>) {
        let bytes = index(range.end.saturating_sub(range.start));
        self.memory().copy_in(range.start, &vec![0; bytes]);
    }
}

impl Extent {
    fn space_held(&self) -> u64 {
        let blocks = self.length.div_ceil(BLOCK_BYTES);
        let holes = self.holes.range(..blocks).count();
        (blocks - u64::try_from(holes).unwrap_or(blocks)) * BLOCK_BYTES
    }

    fn reserved(&self, length: u64) -> Self {
        let holes = self.holes.range(length.div_ceil(BLOCK_BYTES)..).copied().collect();
        Self { length: self.length.max(length), holes }
    }
}
