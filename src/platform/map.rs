//! Mapped memory, and the word that tells a forked child from its parent. One of the two files with `unsafe`.
//!
//! Guarantees:
//! 1. A [`Region`] is at least as long as asked, begins at a multiple of 4096, and stays mapped until it is dropped.
//! 2. Nothing here hands out a reference into a region: who forms slices must know who else stores there (the segment
//!    buffer does).
//! 3. [`ForkGuard::is_child`] is true in every process but the one that made the guard.
#![expect(unsafe_code, reason = "one of the two files that may: raw copies, mprotect and madvise on own maps")]

use std::fs;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use memmap2::{MmapMut, MmapOptions, MmapRaw};

use super::{Access, native};
use crate::types::{index, length};

const PAGE_BYTES: usize = 4096;
const WORD_BYTES: usize = size_of::<u64>();
/// A sync of at least this much unmaps what it covers first.
const UNMAP_BEFORE_SYNC_BYTES: usize = 256 << 10;

/// Memory that a segment is stored into: a shared map of a file, or anonymous memory for tests.
#[derive(Debug)]
pub struct Region {
    map: Arc<MmapRaw>,
    of_file: bool,
}

impl Region {
    /// Zeroed memory that belongs to no file, for a simulated [`Disk`](super::Disk).
    ///
    /// # Errors
    /// What the system says.
    pub fn anonymous(bytes: u64) -> io::Result<Self> {
        Ok(Self { map: Arc::new(MmapRaw::from(MmapMut::map_anon(index(bytes))?)), of_file: false })
    }

    /// The same memory again, as two maps of one file would be; for a simulated [`Disk`](super::Disk).
    #[must_use]
    pub fn share(&self) -> Self {
        Self { map: Arc::clone(&self.map), of_file: self.of_file }
    }

    /// Whether somebody else has a [`share`](Region::share) of the memory: a simulated [`Disk`](super::Disk) may use it for
    /// another file if nobody has.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.map) > 1
    }

    pub(super) fn of_file(file: &fs::File, bytes: u64, access: Access) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        options.len(index(bytes));
        let map = match access {
            Access::Read => options.map_raw_read_only(file)?,
            Access::Write => options.map_raw(file)?,
        };
        Ok(Self { map: Arc::new(map), of_file: true })
    }

    /// Its length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        length(self.map.len())
    }

    /// Its first byte.
    #[inline]
    pub(crate) fn start(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// Copies bytes out of anonymous memory, for a simulated disk's `read_at`; a store at the same time may be seen in part.
    /// Bytes past the end are left as they are, and so are all for a map of a file.
    pub fn copy_out(&self, position: u64, buffer: &mut [u8]) {
        if !self.of_file {
            self.read(position, buffer);
        }
    }

    /// Copies bytes out, whatever they are of; a store at the same time may be seen in part. Bytes past the end are left as
    /// they are.
    pub(crate) fn read(&self, position: u64, buffer: &mut [u8]) {
        let within = self.within(position, buffer.len());
        let Some(buffer) = buffer.get_mut(..within.len()) else { return };
        let (head, words) = buffer.split_at_mut(unaligned(within.start, within.len()));
        for (byte, at) in head.iter_mut().zip(within.start..) {
            // SAFETY: `within` lies inside the map (guarantee 1), so the byte is mapped and readable; a volatile read takes
            // whatever is there, also beside a concurrent store.
            *byte = unsafe { self.start().add(at).read_volatile() };
        }
        let mut at = within.start + head.len();
        let (chunks, rest) = words.as_chunks_mut::<WORD_BYTES>();
        for chunk in chunks {
            // SAFETY: as above, for eight bytes; regions begin at a multiple of 4096 and `at` is a multiple of 8.
            #[expect(clippy::cast_ptr_alignment, reason = "aligned, as just argued")]
            let word = unsafe { self.start().add(at).cast::<u64>().read_volatile() };
            *chunk = word.to_ne_bytes();
            at += WORD_BYTES;
        }
        for (byte, at) in rest.iter_mut().zip(at..) {
            // SAFETY: as for the bytes before the words.
            *byte = unsafe { self.start().add(at).read_volatile() };
        }
    }

    /// Stores bytes into anonymous memory, for a simulated disk's `write_at`. Bytes past the end are dropped, and so are
    /// all for a map of a file. It must not store where the engine reads at the same time; recovery and tests do not.
    pub fn copy_in(&self, position: u64, bytes: &[u8]) {
        if self.of_file {
            return;
        }
        let within = self.within(position, bytes.len());
        let Some(bytes) = bytes.get(..within.len()) else { return };
        let (head, words) = bytes.split_at(unaligned(within.start, within.len()));
        for (byte, at) in head.iter().zip(within.start..) {
            // SAFETY: `within` lies inside the map (guarantee 1), and anonymous maps are writable.
            unsafe { self.start().add(at).write_volatile(*byte) };
        }
        let mut at = within.start + head.len();
        let (chunks, rest) = words.as_chunks::<WORD_BYTES>();
        for chunk in chunks {
            // SAFETY: as above, for eight bytes; regions begin at a multiple of 4096 and `at` is a multiple of 8.
            #[expect(clippy::cast_ptr_alignment, reason = "aligned, as just argued")]
            unsafe {
                self.start().add(at).cast::<u64>().write_volatile(u64::from_ne_bytes(*chunk));
            }
            at += WORD_BYTES;
        }
        for (byte, at) in rest.iter().zip(at..) {
            // SAFETY: as for the bytes before the words.
            unsafe { self.start().add(at).write_volatile(*byte) };
        }
    }

    fn within(&self, position: u64, bytes: usize) -> Range<usize> {
        let start = index(position).min(self.map.len());
        start..start.saturating_add(bytes).min(self.map.len())
    }

    /// Writes a range back and waits for the disk.
    pub(super) fn sync(&self, range: Range<u64>) -> io::Result<()> {
        let within = self.within(range.start, index(range.end.saturating_sub(range.start)));
        if within.len() >= UNMAP_BEFORE_SYNC_BYTES {
            self.unmap_pages(&within);
        }
        self.map.flush_range(within.start, within.len())
    }

    /// Takes the whole pages of a range out of the page table; the system keeps what they hold, and the next touch finds
    /// them there. Writing back a page that is mapped makes it read-only first, and tells every core so, page by page:
    /// that slowed a thread that appended meanwhile to a fifth.
    fn unmap_pages(&self, within: &Range<usize>) {
        let start = within.start.next_multiple_of(PAGE_BYTES);
        let end = within.end / PAGE_BYTES * PAGE_BYTES;
        if !self.of_file || start >= end {
            return;
        }
        // SAFETY: the range lies inside the map. It is a shared map of a file: what was stored is in the page cache, and is
        // found there again by the next access, of whichever thread. A refusal leaves the pages mapped.
        #[cfg(all(target_os = "linux", not(esker_portable)))]
        let _still_mapped =
            unsafe { self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
    }

    /// Asks for a range to be there before it is stored into; where that is not possible, the first store pays.
    pub(crate) fn populate(&self, range: Range<u64>) {
        let within = self.within(range.start, index(range.end.saturating_sub(range.start)));
        native::populate_for_write(&self.map, within.start, within.len());
    }

    /// Asks for a range to be there before it is read.
    ///
    /// # Errors
    /// The disk could not read it; a touch would have ended the process.
    pub(crate) fn load(&self, range: Range<u64>) -> io::Result<()> {
        let within = self.within(range.start, index(range.end.saturating_sub(range.start)));
        native::populate_for_read(&self.map, within.start, within.len())
    }

    /// Makes the whole region read-only, for good. Nothing may be stored there afterwards.
    ///
    /// Memory of no file stays as it is: a simulated disk stores there when the file is written.
    pub(crate) fn protect(&self) {
        if !self.of_file {
            return;
        }
        // SAFETY: the range is exactly the map of this region (guarantee 1); taking the right to store away makes no read
        // invalid, and the segment buffer has no writer any more when it calls this. A refusal leaves the map as it was.
        #[cfg(all(target_os = "linux", not(esker_portable)))]
        let _still_writable =
            unsafe { rustix::mm::mprotect(self.start().cast(), self.map.len(), rustix::mm::MprotectFlags::READ) };
    }
}

/// How many of `bytes` bytes from `start` on stand before the first whole, aligned word.
fn unaligned(start: usize, bytes: usize) -> usize {
    (start.next_multiple_of(WORD_BYTES) - start).min(bytes)
}

/// A word that the kernel clears in a forked child.
#[derive(Debug)]
pub(crate) struct ForkGuard {
    page: MmapMut,
    owner: u32,
}

impl ForkGuard {
    pub(crate) fn new() -> io::Result<Self> {
        let mut page = MmapMut::map_anon(4096)?;
        // SAFETY: the page was just mapped for this guard alone, private and anonymous, and is not referenced elsewhere. A
        // refusal (kernels before 4.14) leaves the check by process id.
        #[cfg(all(target_os = "linux", not(esker_portable)))]
        let _check_by_id =
            unsafe { rustix::mm::madvise(page.as_mut_ptr().cast(), page.len(), rustix::mm::Advice::LinuxWipeOnFork) };
        if let Some(word) = page.first_mut() {
            *word = 1;
        }
        Ok(Self { page, owner: std::process::id() })
    }

    /// Whether this is another process than the one that made the guard: one load on Linux.
    #[inline]
    pub(crate) fn is_child(&self) -> bool {
        // SAFETY: guarantee 1 of memmap2: the page is mapped and readable while `self` lives. The read is volatile since the
        // kernel changes the byte, in the child, behind the compiler's back.
        let word = unsafe { self.page.as_ptr().read_volatile() };
        word != 1
    }

    /// As [`ForkGuard::is_child`], also where the system has no page that is wiped; costs a system call.
    pub(crate) fn is_child_for_sure(&self) -> bool {
        self.is_child() || std::process::id() != self.owner
    }
}
