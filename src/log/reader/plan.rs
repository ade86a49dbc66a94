//! Where in a sealed segment records may be that a filter lets through, as its index file says.
//!
//! Guarantees:
//! 1. Only a sound index file is gone by: one that is bound to the segment and has the right sum. If it cannot be read, or
//!    leads to what is no frame, or not on in the way that is read, it is dropped, and the segment is read.
//! 2. A plan says nothing of what lies before the last gap: what was lost there may have matched.
//! 3. Memory: 8 bytes a block of the segment, whatever the number of topics and keys.

use std::cell::Cell;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::{BATCH_BYTES, LogSource, Reader};
use crate::format::index::{BLOCK_BYTES, KeyEntry, Tables};
use crate::format::{FRAME_ALIGNMENT, Fault, header::SegmentHeader};
use crate::log::batch::FrameAt;
use crate::log::catalog::{Catalog, Entry};
use crate::log::filter::Filter;
use crate::log::index::file::IndexFile;
use crate::platform::Disk;
use crate::types::{Offset, index};

/// Frames of a key that are no further apart are read in one piece.
pub(super) const NEAR_BYTES: u64 = 4096;

/// What a reader knows of a segment before it reads it.
#[derive(Debug)]
pub(super) struct Told {
    incarnation: u64,
    /// `None`: nothing.
    plan: Option<Plan>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) header: SegmentHeader,
    /// Behind the last frame.
    pub(super) end: FrameAt,
    last_gap: Option<u64>,
    places: Places,
}

#[derive(Debug)]
enum Places {
    /// The first frame of each block that has some.
    Blocks(Box<[Block]>),
    /// The entries of a key's hash.
    Entries { file: Arc<IndexFile>, numbers: Range<u32> },
}

#[derive(Debug)]
struct Block {
    position: u32,
    offset_delta: u32,
}

/// Frames to look at: those that begin here.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Block {
    fn end(&self) -> u64 {
        (u64::from(self.position) / BLOCK_BYTES).saturating_add(1).saturating_mul(BLOCK_BYTES)
    }
}

impl Places {
    /// `None`: the index does not tell.
    fn find(filter: &Filter, file: &Arc<IndexFile>, disk: &dyn Disk) -> Result<Option<Self>, Fault> {
        match filter {
            Filter::Topics(_) if !file.lists_topics() => Ok(None),
            Filter::Topics(topics) => file.ask(disk, |tables| blocks(topics, &tables)).map(Self::Blocks).map(Some),
            Filter::Key { hash, .. } => {
                let entries =
                    |tables: Tables<'_>| if tables.may_hold(*hash)? { tables.entries_of(*hash) } else { Ok(0..0) };
                let numbers = file.ask(disk, entries)?;
                Ok(Some(Self::Entries { file: Arc::clone(file), numbers }))
            }
        }
    }
}

/// The blocks that hold records of one of the topics.
fn blocks(topics: &[crate::types::Topic], tables: &Tables<'_>) -> Result<Box<[Block]>, Fault> {
    let mut is_listed = vec![false; index(tables.blocks())];
    for topic in topics {
        tables.each_block_of(*topic, &mut |number| {
            if let Some(listed) = is_listed.get_mut(index(number.into())) {
                *listed = true;
            }
        })?;
    }
    let listed = (0..tables.blocks()).zip(is_listed).filter_map(|(number, listed)| listed.then_some(number));
    listed
        .map(|number| {
            let row = tables.block(number)?;
            let is_in_block = u64::from(row.position) / BLOCK_BYTES == number;
            let block = Block { position: row.position, offset_delta: row.offset_delta };
            is_in_block.then_some(block).ok_or(Fault::Content { what: "a topic in a block where no frame begins" })
        })
        .collect()
}

impl Plan {
    fn new(source: &dyn LogSource, filter: &Filter, entry: &Entry, end_offset: Offset) -> Option<Self> {
        let file = source.index().file(source.disk(), entry)?;
        match Places::find(filter, &file, source.disk()) {
            Ok(places) => Some(Self {
                header: entry.header,
                end: FrameAt { position: entry.end?, offset: end_offset },
                last_gap: file.last_gap(),
                places: places?,
            }),
            Err(_dropped) => {
                source.index().drop_file(source.disk(), entry);
                None
            }
        }
    }

    /// Whether nothing in the segment matches, and no gap is there.
    pub(super) fn is_empty(&self) -> bool {
        let is_empty = match &self.places {
            Places::Blocks(blocks) => blocks.is_empty(),
            Places::Entries { numbers, .. } => numbers.is_empty(),
        };
        is_empty && self.last_gap.is_none()
    }

    /// Whether it tells what comes from a position on.
    fn tells_from(&self, position: u64) -> bool {
        self.last_gap.is_none_or(|gap| gap < position)
    }

    /// The next frames to look at, from a position on. `None`: there are none.
    fn ahead(&self, disk: &dyn Disk, position: u64) -> Result<Option<Stretch>, Fault> {
        match &self.places {
            Places::Blocks(blocks) => {
                let next = blocks.partition_point(|block| block.end() <= position);
                let mut rest = blocks.get(next..).unwrap_or_default().iter();
                let Some(first) = rest.next() else { return Ok(None) };
                let start = position.max(first.position.into());
                let mut end = first.end();
                // A block in the middle of which nothing begins belongs to the frame before it.
                let near = rest.take_while(|block| block.end().saturating_sub(start) <= BATCH_BYTES);
                for block in near {
                    if block.end().saturating_sub(end) > BLOCK_BYTES {
                        break;
                    }
                    end = block.end();
                }
                Ok(Some(Stretch { start, end }))
            }
            Places::Entries { file, numbers } => file.ask(disk, |tables| {
                let is_ahead = |entry: &KeyEntry| Ok(entry.position() >= position);
                let first = tables.first_entry_where(numbers.clone(), is_ahead)?;
                let mut found: Option<Stretch> = None;
                tables.each_entry(first..numbers.end, &mut |entry| {
                    let (start, end) = (entry.position(), entry.position().saturating_add(FRAME_ALIGNMENT));
                    let stretch = found.get_or_insert(Stretch { start, end });
                    if start.saturating_sub(stretch.end) > NEAR_BYTES || end.saturating_sub(stretch.start) > BATCH_BYTES
                    {
                        return ControlFlow::Break(());
                    }
                    stretch.end = end.max(stretch.end);
                    ControlFlow::Continue(())
                })?;
                Ok(found)
            }),
        }
    }

    /// The last frames to look at among those whose offset is below `next`, and the offset of the first of them.
    fn behind(
        &self,
        disk: &dyn Disk,
        next: Offset,
        offset_at: &dyn Fn(u64) -> Option<Offset>,
    ) -> Result<Option<(Stretch, Offset)>, Fault> {
        match &self.places {
            Places::Blocks(blocks) => {
                let offset_of = |block: &Block| self.header.first_offset.after(block.offset_delta.into());
                let count = blocks.partition_point(|block| offset_of(block) < next);
                let last = count.checked_sub(1).and_then(|last| blocks.get(last));
                let stretch = |block: &Block| Stretch { start: block.position.into(), end: block.end() };
                Ok(last.map(|block| (stretch(block), offset_of(block))))
            }
            Places::Entries { file, numbers } => file.ask(disk, |tables| {
                let offset_of = |entry: &KeyEntry| offset_at(entry.position()).ok_or(Fault::Missing);
                let behind = tables.first_entry_where(numbers.clone(), |entry| Ok(offset_of(entry)? >= next))?;
                if behind == numbers.start {
                    return Ok(None);
                }
                let last = tables.entry(behind.saturating_sub(1))?;
                let stretch = Stretch { start: last.position(), end: last.position().saturating_add(FRAME_ALIGNMENT) };
                Ok(Some((stretch, offset_of(&last)?)))
            }),
        }
    }
}

/// What a plan says.
#[derive(Debug)]
pub(super) enum Next<T> {
    /// Nothing: the segment has to be read.
    Unknown,
    /// There is nothing more in the segment, which ends here.
    Nothing(FrameAt),
    Stretch(T),
}

impl Reader {
    /// What is known of a segment of the log, if all of it may be read and another one follows.
    pub(super) fn plan(&mut self, find: &dyn Fn(&Catalog) -> Option<&Entry>) -> Option<&Plan> {
        let end = Cell::new(None);
        let found = self.source.entry(&|catalog| {
            let entry = find(catalog)?;
            end.set(catalog.after(entry.number()).map(|next| next.header.first_offset));
            Some(entry.clone())
        });
        // What is wrong with the log is said where it is read.
        let (Ok(Some(entry)), Some(end_offset)) = (found, end.get()) else { return None };
        if !self.source.is_readable(&entry, self.line) {
            return None;
        }
        let (source, matching) = (&*self.source, self.matching.as_mut()?);
        let incarnation = entry.header.incarnation;
        if matching.told.as_ref().is_none_or(|told| told.incarnation != incarnation) {
            let plan = Plan::new(source, &matching.filter, &entry, end_offset);
            matching.told = Some(Told { incarnation, plan });
        }
        matching.told.as_ref().and_then(|told| told.plan.as_ref())
    }

    /// As [`Reader::plan`], of the file of a view that may be read up to `limit`.
    fn plan_of(&mut self, header: &SegmentHeader, limit: u64) -> Option<&Plan> {
        let is_told = |told: &Told| told.incarnation == header.incarnation;
        if !self.matching.as_ref()?.told.as_ref().is_some_and(is_told) {
            self.plan(&|catalog| catalog.of(header));
        }
        let told = self.matching.as_ref()?.told.as_ref().filter(|told| is_told(told));
        told.and_then(|told| told.plan.as_ref()).filter(|plan| plan.end.position <= limit)
    }

    /// What to look at next in the segment at the position, which may be read up to `limit`.
    pub(super) fn ahead(&mut self, header: &SegmentHeader, limit: u64) -> Next<Stretch> {
        let (source, position) = (Arc::clone(&self.source), self.place.position);
        let Some(plan) = self.plan_of(header, limit).filter(|plan| plan.tells_from(position)) else {
            return Next::Unknown;
        };
        match plan.ahead(source.disk(), position) {
            Ok(None) => Next::Nothing(plan.end),
            Ok(Some(stretch)) if stretch.start >= position => Next::Stretch(stretch),
            Ok(Some(_)) | Err(_) => self.doubt(header),
        }
    }

    /// What to look at next on the way back in a segment that may be read up to `limit`.
    pub(super) fn behind(
        &mut self,
        header: &SegmentHeader,
        limit: u64,
        offset_at: &dyn Fn(u64) -> Option<Offset>,
    ) -> Next<(Stretch, Offset)> {
        let (source, next) = (Arc::clone(&self.source), self.next);
        let Some(plan) = self.plan_of(header, limit).filter(|plan| plan.last_gap.is_none()) else {
            return Next::Unknown;
        };
        let is_true = |stretch: &Stretch, offset: Offset| offset < next && offset_at(stretch.start) == Some(offset);
        match plan.behind(source.disk(), next, offset_at) {
            Ok(None) => Next::Nothing(plan.end),
            Ok(Some((stretch, offset))) if is_true(&stretch, offset) => Next::Stretch((stretch, offset)),
            Ok(Some(_)) | Err(_) => self.doubt(header),
        }
    }

    /// Reads the segment instead of believing its index.
    pub(super) fn doubt<T>(&mut self, header: &SegmentHeader) -> Next<T> {
        if let Ok(Some(entry)) = self.source.entry(&|catalog| catalog.of(header).cloned()) {
            self.source.index().drop_file(self.source.disk(), &entry);
        }
        if let Some(matching) = &mut self.matching {
            matching.told = Some(Told { incarnation: header.incarnation, plan: None });
        }
        Next::Unknown
    }
}
