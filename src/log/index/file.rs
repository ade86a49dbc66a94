//! An index file that is there: opened, judged, looked into.
//!
//! Guarantees:
//! 1. What [`IndexFile::open`] returns is bound to the segment that was asked for, and its body had the right sum.
//! 2. A writer looks into its file by a map, which holds no descriptor. Who only looks on reads, opens the file for each
//!    lookup, and notices if it is another one than was summed.

use std::io;
use std::sync::Arc;

use crate::checksum::Pieces;
use crate::format::index::{Bytes, HEADER_BYTES, IndexHeader, Layout, Subject, Tables};
use crate::format::{Fault, index_name};
use crate::log::catalog::Entry;
use crate::log::survey::is_no_file;
use crate::platform::{Access, Disk, File, Identity, Region};
use crate::types::{index, length};

const PIECE_BYTES: u64 = 256 << 10;

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Writer,
    Onlooker,
}

/// Why there is no index file to use.
#[derive(Debug)]
pub(crate) enum NoIndex {
    /// None is there, or it cannot be opened for now.
    Absent,
    /// What is there is not an index file of this segment.
    Bad(Fault),
}

impl From<Fault> for NoIndex {
    fn from(fault: Fault) -> Self {
        Self::Bad(fault)
    }
}

/// An index file that was summed.
#[derive(Debug)]
pub(crate) struct IndexFile {
    header: IndexHeader,
    layout: Layout,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Mapped(Region),
    Named(Identity),
}

/// The segment of an entry as an index file names it; `None` while it has no end.
pub(crate) fn subject(entry: &Entry) -> Option<Subject> {
    entry.end.map(|end| entry.header.subject(end))
}

/// Looks at no more than the header: whether there seems to be an index file of this segment, and how long it is.
pub(crate) fn peek(disk: &dyn Disk, subject: &Subject) -> Result<u64, NoIndex> {
    bound(disk, subject).map(|(_, header)| header.layout().file_bytes())
}

fn bound(disk: &dyn Disk, subject: &Subject) -> Result<(Arc<dyn File>, IndexHeader), NoIndex> {
    let name = index_name(subject.number);
    let file = disk.open(&name, Access::Read).map_err(|error| {
        if is_no_file(&error) { Fault::Unreadable { kind: error.kind() }.into() } else { NoIndex::Absent }
    })?;
    let mut bytes = [0; HEADER_BYTES];
    read(&*file, 0, &mut bytes)?;
    let header = IndexHeader::decode(&bytes)?;
    if header.subject != *subject {
        return Err(Fault::Content { what: "an index file of another segment" }.into());
    }
    let (found, expected) = (file.length().map_err(|error| unreadable(&error))?, header.layout().file_bytes());
    if found != expected {
        return Err(Fault::Short { found, expected }.into());
    }
    Ok((file, header))
}

impl IndexFile {
    pub(crate) fn open(disk: &dyn Disk, subject: &Subject, role: Role) -> Result<Self, NoIndex> {
        let (file, header) = bound(disk, subject)?;
        let layout = header.layout();
        let computed = sum(&*file, layout.file_bytes())?;
        if computed != header.body_checksum {
            return Err(Fault::Checksum { what: "index body", stored: header.body_checksum, computed }.into());
        }
        let held = match role {
            Role::Onlooker => Held::Named(file.identity().map_err(|error| unreadable(&error))?),
            Role::Writer => {
                let region = file.map(layout.file_bytes(), Access::Read).map_err(|error| unreadable(&error))?;
                region.load(0..layout.file_bytes()).map_err(|error| unreadable(&error))?;
                Held::Mapped(region)
            }
        };
        Ok(Self { header, layout, held })
    }

    /// Position of the last gap that lost records, if there is one.
    pub(crate) fn last_gap(&self) -> Option<u64> {
        (self.header.last_gap > 0).then_some(self.header.last_gap)
    }

    /// Whether it lists the topics of the segment; else there are too many.
    pub(crate) fn lists_topics(&self) -> bool {
        self.header.counts.topics.is_some()
    }

    /// Looks something up.
    pub(crate) fn ask<T>(&self, disk: &dyn Disk, ask: impl FnOnce(Tables<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let opened;
        let bytes: &dyn Bytes = match &self.held {
            Held::Mapped(region) => region,
            Held::Named(identity) => {
                let file = disk.open(&index_name(self.header.subject.number), Access::Read);
                let file = file.map_err(|error| unreadable(&error))?;
                if file.identity().map_err(|error| unreadable(&error))? != *identity {
                    return Err(Fault::Content { what: "an index file that was replaced" });
                }
                opened = Opened(file);
                &opened
            }
        };
        ask(Tables { layout: &self.layout, bytes })
    }
}

/// A file that is open for one lookup.
struct Opened(Arc<dyn File>);

impl Bytes for Opened {
    fn fill(&self, position: u64, to: &mut [u8]) -> Result<(), Fault> {
        read(&*self.0, position, to)
    }
}

impl Bytes for Region {
    fn fill(&self, position: u64, to: &mut [u8]) -> Result<(), Fault> {
        let (found, expected) = (self.length().saturating_sub(position), length(to.len()));
        if found < expected {
            return Err(Fault::Short { found, expected });
        }
        self.read(position, to);
        Ok(())
    }
}

/// The checksum of all behind the header.
fn sum(file: &dyn File, file_bytes: u64) -> Result<u32, Fault> {
    let mut sum = Pieces::default();
    let mut at = length(HEADER_BYTES);
    let mut piece = vec![0; index(PIECE_BYTES.min(file_bytes))];
    while at < file_bytes {
        let wanted = index(PIECE_BYTES.min(file_bytes.saturating_sub(at)));
        let part = piece.get_mut(..wanted).unwrap_or_default();
        read(file, at, part)?;
        sum.update(part);
        at = at.saturating_add(length(wanted));
    }
    Ok(sum.finish())
}

pub(crate) fn read(file: &dyn File, position: u64, to: &mut [u8]) -> Result<(), Fault> {
    let found = file.read_at(to, position).map_err(|error| unreadable(&error))?;
    if found == to.len() { Ok(()) } else { Err(Fault::Short { found: length(found), expected: length(to.len()) }) }
}

fn unreadable(error: &io::Error) -> Fault {
    Fault::Unreadable { kind: error.kind() }
}
