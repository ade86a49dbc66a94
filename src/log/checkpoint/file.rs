//! A checkpoint file: written from front to back, read from front to back.
//!
//! Guarantees:
//! 1. What [`Draft::finish`] returned from is durable under its draft name; nothing else reads that name.
//! 2. [`Entries`] yields only what lies inside the file, in strictly ascending order of space and key, and believes no
//!    length before the bytes are there. Whether they are the right ones is known when [`Entries::next`] has yielded
//!    `None`, and not before.
//! 3. Memory: one buffer, and the entry at hand.

use std::io::ErrorKind;
use std::sync::Arc;

use crate::checksum::Pieces;
use crate::format::checkpoint::{
    CheckpointHeader, EPOCH_BYTES, EpochStart, HEADER_BYTES, VERSION_BYTES, decode_version, encode_version,
};
use crate::format::state::{self, HEAD_BYTES, Space, StateEntry};
use crate::format::{DRAFT_SUFFIX, Fault, checkpoint_name};
use crate::log::state::State;
use crate::log::survey::{holds_bytes, is_no_file};
use crate::platform::{Access, Disk, File};
use crate::types::{Place, Version, index, length};

const BUFFER_BYTES: usize = 1 << 20;
/// The most zeros behind a body: room that a merge did not need.
const ZEROS_MAX: u64 = 1 << 30;

/// Why a checkpoint cannot be used: it cannot be read, or is not what was written.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// It cannot be opened for now: too many files are open, or the caller may not. It may be good.
    Closed(std::io::Error),
    Io(std::io::Error),
    Bad(Fault),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(error) | Self::Io(error) => error.fmt(f),
            Self::Bad(fault) => fault.fmt(f),
        }
    }
}

impl From<std::io::Error> for Unusable {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Fault> for Unusable {
    fn from(fault: Fault) -> Self {
        Self::Bad(fault)
    }
}

/// An entry of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) space: Space,
    pub(crate) key: Box<[u8]>,
    pub(crate) value: Box<[u8]>,
    pub(crate) version: Version,
}

impl Stored {
    pub(crate) fn entry(&self) -> StateEntry<'_> {
        StateEntry { space: self.space, key: &self.key, value: Some(&self.value) }
    }
}

/// What an entry takes in a checkpoint.
pub(crate) fn stored_bytes(key: usize, value: usize) -> u64 {
    length(VERSION_BYTES.saturating_add(HEAD_BYTES)).saturating_add(length(key)).saturating_add(length(value))
}

/// A checkpoint that is being written.
#[derive(Debug)]
pub(crate) struct Draft {
    file: Arc<dyn File>,
    position: u64,
    buffer: Vec<u8>,
    sum: Pieces,
    epochs: u32,
    entries: u64,
}

/// The name of a checkpoint while it is written.
pub(crate) fn draft_name(sequence: u64) -> String {
    checkpoint_name(sequence) + DRAFT_SUFFIX
}

impl Draft {
    /// A draft with room for a body of `body_bytes_max`.
    pub(crate) fn create(disk: &dyn Disk, sequence: u64, body_bytes_max: u64) -> std::io::Result<Self> {
        let bytes = body_bytes_max.saturating_add(length(HEADER_BYTES));
        let file = disk.create(&draft_name(sequence), bytes)?;
        let buffer = Vec::with_capacity(index(bytes).min(BUFFER_BYTES));
        Ok(Self { file, position: length(HEADER_BYTES), buffer, sum: Pieces::default(), epochs: 0, entries: 0 })
    }

    /// Adds a row of the epoch table; all come before the first entry.
    pub(crate) fn epoch(&mut self, start: &EpochStart) -> std::io::Result<()> {
        self.epochs = self.epochs.saturating_add(1);
        self.put(&start.encode())
    }

    /// Adds an entry; they come in the order of space and key.
    pub(crate) fn entry(&mut self, entry: &StateEntry<'_>, version: Version) -> std::io::Result<()> {
        self.entries = self.entries.saturating_add(1);
        self.put(&encode_version(version.place()))?;
        self.put(&entry.head())?;
        self.put(entry.key)?;
        self.put(entry.value.unwrap_or_default())
    }

    /// Completes `header` by what was added, stores it, and makes the file durable.
    pub(crate) fn finish(mut self, header: CheckpointHeader) -> std::io::Result<CheckpointHeader> {
        self.write_buffer()?;
        let header = CheckpointHeader {
            epochs: self.epochs,
            entries: self.entries,
            body_bytes: self.position.saturating_sub(length(HEADER_BYTES)),
            body_checksum: self.sum.finish(),
            ..header
        };
        self.file.write_at(&header.encode(), 0)?;
        self.file.sync()?;
        Ok(header)
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.sum.update(bytes);
        if self.buffer.len().saturating_add(bytes.len()) > self.buffer.capacity() {
            self.write_buffer()?;
        }
        if bytes.len() > self.buffer.capacity() {
            self.file.write_at(bytes, self.position)?;
            self.position = self.position.saturating_add(length(bytes.len()));
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn write_buffer(&mut self) -> std::io::Result<()> {
        self.file.write_at(&self.buffer, self.position)?;
        self.position = self.position.saturating_add(length(self.buffer.len()));
        self.buffer.clear();
        Ok(())
    }
}

/// Opens a checkpoint. What is there and no regular file can be done without, as one that is rotten.
fn open(disk: &dyn Disk, name: &str) -> std::result::Result<Arc<dyn File>, Unusable> {
    disk.open(name, Access::Read).map_err(|error| {
        let for_good = error.kind() == ErrorKind::NotFound || is_no_file(&error);
        if for_good { Unusable::Io(error) } else { Unusable::Closed(error) }
    })
}

/// Reads only the header of a checkpoint.
pub(crate) fn read_header(disk: &dyn Disk, name: &str) -> std::result::Result<CheckpointHeader, Unusable> {
    header_of(&*open(disk, name)?)
}

fn header_of(file: &dyn File) -> std::result::Result<CheckpointHeader, Unusable> {
    let mut bytes = [0; HEADER_BYTES];
    let read = file.read_at(&mut bytes, 0)?;
    if read < HEADER_BYTES {
        return Err(Fault::Short { found: length(read), expected: length(HEADER_BYTES) }.into());
    }
    Ok(CheckpointHeader::decode(&bytes)?)
}

/// The entries of a checkpoint, in the order of space and key.
#[derive(Debug)]
pub(crate) struct Entries {
    file: Arc<dyn File>,
    header: CheckpointHeader,
    /// Behind the last byte that was read from the file, and of the body.
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    /// What of the buffer was taken.
    taken: usize,
    left: u64,
    sum: Pieces,
    last: Option<(Space, Box<[u8]>)>,
}

impl Entries {
    /// Opens a checkpoint and reads its epoch table.
    pub(crate) fn open(disk: &dyn Disk, name: &str) -> std::result::Result<(Self, Vec<EpochStart>), Unusable> {
        let file = open(disk, name)?;
        let header = header_of(&*file)?;
        let end = length(HEADER_BYTES).saturating_add(header.body_bytes);
        let found = file.length()?;
        let table = u64::from(header.epochs).saturating_mul(length(EPOCH_BYTES));
        if end > found || table > header.body_bytes {
            return Err(Fault::Short { found, expected: end.max(table) }.into());
        }
        let mut entries = Self {
            file,
            header,
            position: length(HEADER_BYTES),
            end,
            buffer: Vec::new(),
            taken: 0,
            left: header.entries,
            sum: Pieces::default(),
            last: None,
        };
        let mut epochs = Vec::with_capacity(index(header.epochs.into()));
        for _ in 0..header.epochs {
            let row = entries.bytes(length(EPOCH_BYTES))?;
            epochs.push(EpochStart::decode(row.first_chunk().ok_or(Fault::Missing)?));
        }
        if !epochs.is_sorted_by(|one: &EpochStart, next| one.epoch.counter < next.epoch.counter) {
            return Err(Fault::Content { what: "epochs of a checkpoint out of order" }.into());
        }
        Ok((entries, epochs))
    }

    /// Reads a checkpoint whole.
    pub(crate) fn read_whole(
        disk: &dyn Disk,
        name: &str,
    ) -> std::result::Result<(CheckpointHeader, Vec<EpochStart>, State), Unusable> {
        let (mut entries, epochs) = Self::open(disk, name)?;
        let mut state = State::default();
        while let Some(stored) = entries.next()? {
            state.load(&stored.entry(), stored.version.place());
        }
        Ok((entries.header, epochs, state))
    }

    /// The next entry; `None` when all were there and the checksum is right. What only a later program could have written is
    /// called so only if the checksum is right too: else it rotted.
    pub(crate) fn next(&mut self) -> std::result::Result<Option<Stored>, Unusable> {
        self.parse().or_else(|unusable| match unusable {
            Unusable::Bad(fault) if fault.is_unknown() => {
                self.check_sum()?;
                Err(fault.into())
            }
            unusable => Err(unusable),
        })
    }

    fn parse(&mut self) -> std::result::Result<Option<Stored>, Unusable> {
        let Some(left) = self.left.checked_sub(1) else {
            self.check_end()?;
            return Ok(None);
        };
        self.left = left;
        let place: Place = decode_version(self.bytes(length(VERSION_BYTES))?.first_chunk().ok_or(Fault::Missing)?);
        let head: [u8; HEAD_BYTES] = *self.bytes(length(HEAD_BYTES))?.first_chunk().ok_or(Fault::Missing)?;
        let mut whole = head.to_vec();
        whole.extend_from_slice(self.bytes(state::lengths(head)?)?);
        let (entry, _no_rest) = state::split(&whole)?;
        let Some(value) = entry.value else {
            return Err(Fault::Content { what: "a removed entry in a checkpoint" }.into());
        };
        if self.last.as_ref().is_some_and(|(space, key)| (*space, &**key) >= (entry.space, entry.key)) {
            return Err(Fault::Content { what: "entries of a checkpoint out of order" }.into());
        }
        self.last = Some((entry.space, entry.key.into()));
        let version = Version::new(place);
        Ok(Some(Stored { space: entry.space, key: entry.key.into(), value: value.into(), version }))
    }

    /// Whether the sum of the body is right, whatever is left of it.
    fn check_sum(&mut self) -> std::result::Result<(), Unusable> {
        loop {
            let held = length(self.buffer.len().saturating_sub(self.taken));
            let left = self.end.saturating_sub(self.position).saturating_add(held);
            if left == 0 {
                break;
            }
            self.bytes(left.min(length(BUFFER_BYTES)))?;
        }
        let (stored, computed) = (self.header.body_checksum, std::mem::take(&mut self.sum).finish());
        if stored != computed {
            return Err(Fault::Checksum { what: "checkpoint body", stored, computed }.into());
        }
        Ok(())
    }

    fn check_end(&mut self) -> std::result::Result<(), Unusable> {
        if self.position < self.end || self.taken < self.buffer.len() {
            return Err(Fault::Content { what: "bytes behind the last entry of a checkpoint" }.into());
        }
        self.check_sum()?;
        let found = self.file.length()?;
        if found.saturating_sub(self.end) > ZEROS_MAX || holds_bytes(&*self.file, self.end, found)? {
            return Err(Fault::Content { what: "bytes behind the body of a checkpoint" }.into());
        }
        Ok(())
    }

    /// The next bytes of the body.
    fn bytes(&mut self, bytes: u64) -> std::result::Result<&[u8], Unusable> {
        let held = length(self.buffer.len().saturating_sub(self.taken));
        let unread = self.end.saturating_sub(self.position);
        if bytes > held.saturating_add(unread) {
            return Err(Fault::Short { found: held.saturating_add(unread), expected: bytes }.into());
        }
        if bytes > held {
            self.buffer.drain(..self.taken);
            self.taken = 0;
            let wanted = bytes.saturating_sub(held).max(length(BUFFER_BYTES)).min(unread);
            let start = self.buffer.len();
            self.buffer.resize(start.saturating_add(index(wanted)), 0);
            let to = self.buffer.get_mut(start..).unwrap_or_default();
            let read = self.file.read_at(to, self.position)?;
            if length(read) < wanted {
                return Err(Fault::Short { found: length(read), expected: wanted }.into());
            }
            self.position = self.position.saturating_add(wanted);
        }
        let end = self.taken.saturating_add(index(bytes));
        let found = self.buffer.get(self.taken..end).unwrap_or_default();
        self.taken = end;
        self.sum.update(found);
        Ok(found)
    }
}
