//! The bytes of one file in memory, whatever its name.
//!
//! Guarantees:
//! 1. All maps and reads of one file see the same bytes at once. A map may be made read-only without taking the right to
//!    store from others.
//! 2. Its memory never shrinks and never grows; its length may be cut, and grow back by a reservation.
//!
//! [`Region::anonymous`](esker::platform::Region::anonymous) memory has one owner and can be mapped once only. So the
//! bytes lie in a file without a name on the system's memory file system, mapped and read by the real disk's code. It
//! takes memory only where something was stored; stores that it has no room for end the process, as on any sparse file.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use esker::platform::{Access, Disk as _, File, Region, SystemDisk};

/// Space is counted in these.
pub(super) const BLOCK_BYTES: u64 = 4096;
/// Copies go in pieces of this, and skip those that are zero.
const PIECE_BYTES: u64 = 1 << 16;

#[derive(Debug)]
pub(super) struct Inode {
    /// As it was created under, for the list of operations.
    pub(super) name: String,
    pub(super) number: u64,
    memory: Arc<dyn File>,
    capacity: u64,
    extent: Mutex<Extent>,
}

#[derive(Debug, Clone)]
struct Extent {
    length: u64,
    /// Numbers of the blocks whose space was given back.
    holes: BTreeSet<u64>,
}

impl Inode {
    pub(super) fn new(name: &str, number: u64, length: u64) -> io::Result<Self> {
        let extent = Mutex::new(Extent { length, holes: BTreeSet::new() });
        Ok(Self { name: name.to_owned(), number, memory: memory(length)?, capacity: length, extent })
    }

    /// The same file with memory of its own.
    pub(super) fn copy(&self) -> io::Result<Self> {
        let copy = Self::new(&self.name, self.number, self.capacity)?;
        *copy.extent() = self.extent().clone();
        copy.replace(&vec![0; usize_of(self.capacity)], &self.bytes());
        Ok(copy)
    }

    fn extent(&self) -> MutexGuard<'_, Extent> {
        self.extent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn length(&self) -> u64 {
        self.extent().length
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize_of(self.length())];
        let read = self.memory.read_at(&mut bytes, 0).expect("memory is readable");
        assert_eq!(read, bytes.len(), "memory is as long as its file");
        bytes
    }

    pub(super) fn edit(&self, edit: impl FnOnce(&mut [u8])) {
        let before = self.bytes();
        let mut after = before.clone();
        edit(&mut after);
        self.replace(&before, &after);
    }

    /// Stores the pieces that differ.
    fn replace(&self, before: &[u8], after: &[u8]) {
        let pieces = before.chunks(usize_of(PIECE_BYTES)).zip(after.chunks(usize_of(PIECE_BYTES)));
        let mut position = 0;
        for (old, new) in pieces {
            if old != new {
                self.memory.write_at(new, position).expect("memory is writable");
            }
            position += PIECE_BYTES;
        }
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let left = usize_of(self.length().saturating_sub(position));
        let bytes = buffer.len().min(left);
        self.memory.read_at(&mut buffer[..bytes], position)
    }

    pub(super) fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let end = u64::try_from(bytes.len()).ok().and_then(|length| position.checked_add(length));
        if end.is_none_or(|end| end > self.length()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "stored past the end of a file of fixed length"));
        }
        self.memory.write_at(bytes, position)
    }

    pub(super) fn map(&self, length: u64, access: Access) -> io::Result<Region> {
        if length == 0 || length > self.length() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "mapped past the end of the file"));
        }
        self.memory.map(length, access)
    }

    pub(super) fn truncate(&self, length: u64) {
        let end = self.length();
        assert!(length <= end, "{}: cut to {length} bytes, has {end}", self.name);
        self.zero(length..end).expect("memory is writable");
        self.extent().length = length;
    }

    /// Bytes of space that it holds.
    pub(super) fn space_held(&self) -> u64 {
        self.extent().space_held()
    }

    /// Bytes of space that it would hold after [`Inode::reserve`] of `length`.
    pub(super) fn space_with(&self, length: u64) -> io::Result<u64> {
        if length > self.capacity {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "files on a memory disk do not grow"));
        }
        Ok(self.extent().reserved(length).space_held())
    }

    pub(super) fn reserve(&self, length: u64) {
        let mut extent = self.extent();
        *extent = extent.reserved(length);
    }

    pub(super) fn punch(&self, range: Range<u64>) -> io::Result<()> {
        let range = range.start..range.end.min(self.length());
        self.zero(range.clone())?;
        let whole = range.start.div_ceil(BLOCK_BYTES)..range.end / BLOCK_BYTES;
        self.extent().holes.extend(whole);
        Ok(())
    }

    fn zero(&self, range: Range<u64>) -> io::Result<()> {
        let zeros = vec![0; usize_of(PIECE_BYTES)];
        let mut position = range.start;
        while position < range.end {
            let bytes = PIECE_BYTES.min(range.end - position);
            self.memory.write_at(&zeros[..usize_of(bytes)], position)?;
            position += bytes;
        }
        Ok(())
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

/// Zeroed memory as a file without a name.
fn memory(length: u64) -> io::Result<Arc<dyn File>> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: only that no two are equal matters.
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("esker-harness-{}-{count}", std::process::id());
    let folder = memory_folder();
    let path = folder.join(&name);
    let sized = std::fs::File::create_new(&path)?.set_len(length.max(1));
    let opened = sized.and_then(|()| SystemDisk::open(&folder)?.open(&name, Access::Write));
    std::fs::remove_file(&path)?;
    opened
}

fn memory_folder() -> PathBuf {
    let shared_memory = Path::new("/dev/shm");
    if shared_memory.is_dir() { shared_memory.to_owned() } else { std::env::temp_dir() }
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("tests run where memory can hold a segment")
}
