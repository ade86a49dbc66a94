//! The segments of the log in order, and how to open one for reading.
//!
//! Guarantees:
//! 1. Entries are ordered by number, first offset and time; all but the last have an end.
//! 2. A segment stays open while it is active or not yet durable; later only while somebody reads it.

use std::sync::{Arc, Weak};

use super::survey::{Member, corrupt, io_error};
use super::window::View;
use crate::error::Result;
use crate::format::header::SegmentHeader;
use crate::format::segment_name;
use crate::platform::{Access, Disk, File};
use crate::segment::Segment;
use crate::types::{Line, Offset, Place, Timestamp};

#[derive(Debug, Default)]
pub(crate) struct Catalog {
    entries: Vec<Entry>,
}

/// A segment of the log.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) header: SegmentHeader,
    /// Where its frames end, once that is settled.
    pub(crate) end: Option<u64>,
    pub(crate) handle: Handle,
}

/// What is held of a segment.
#[derive(Debug, Clone)]
pub(crate) enum Handle {
    /// Mapped and with its file, for the next sync.
    Open { segment: Arc<Segment>, file: Arc<dyn File> },
    /// Durable; mapped while a reader holds it.
    Cold(Weak<Segment>),
}

impl Entry {
    pub(crate) fn of_member(member: &Member) -> Self {
        Self { header: member.header, end: member.end, handle: Handle::Cold(Weak::new()) }
    }

    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }
}

impl Catalog {
    pub(crate) fn new(entries: Vec<Entry>) -> Self {
        Self { entries }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Makes room for one more, so that [`Catalog::roll`] need not.
    pub(crate) fn reserve(&mut self) {
        self.entries.reserve(1);
    }

    /// Ends the last segment and adds the next.
    pub(crate) fn roll(&mut self, end: u64, next: Entry) {
        if let Some(last) = self.entries.last_mut() {
            last.end = Some(end);
        }
        self.entries.push(next);
    }

    /// Takes the segments below this one off, but for the last.
    pub(crate) fn drop_below(&mut self, number: u64) -> Vec<Entry> {
        let below = self.entries.partition_point(|entry| entry.number() < number);
        self.entries.drain(..below.min(self.entries.len().saturating_sub(1))).collect()
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.binary_search_by_key(&number, Entry::number).ok().map(|at| &self.entries[at])
    }

    pub(crate) fn after(&self, number: u64) -> Option<&Entry> {
        self.entries.get(self.entries.partition_point(|entry| entry.number() <= number))
    }

    pub(crate) fn before(&self, number: u64) -> Option<&Entry> {
        self.entries[..self.entries.partition_point(|entry| entry.number() < number)].last()
    }

    /// The segment that holds `offset`, or the last before it.
    pub(crate) fn holding(&self, offset: Offset) -> Option<&Entry> {
        self.entries[..self.entries.partition_point(|entry| entry.header.first_offset <= offset)].last()
    }

    /// The last segment before which no append time reached `time`.
    pub(crate) fn at_time(&self, time: Timestamp) -> Option<&Entry> {
        let behind = self.entries.partition_point(|entry| entry.header.time_max < time);
        self.entries[..behind].last().or(self.entries.first())
    }

    /// Sealed segments that end above the durable line.
    pub(crate) fn unproven(&self, durable: Place) -> usize {
        let above = |entry: &&Entry| entry.end.is_some_and(|end| Place::new(entry.number(), end) > durable);
        self.entries.iter().rev().skip(1).take_while(above).count()
    }

    /// What a sync from `durable` up to and with segment `last` has to cover, oldest first.
    pub(crate) fn open_between(&self, durable: Place, last: u64) -> Vec<(Arc<Segment>, Arc<dyn File>)> {
        let within = self.entries.iter().filter(|entry| (durable.segment..=last).contains(&entry.number()));
        within
            .filter_map(|entry| match &entry.handle {
                Handle::Open { segment, file } => Some((Arc::clone(segment), Arc::clone(file))),
                Handle::Cold(_) => None,
            })
            .collect()
    }

    /// Lets go of sealed segments that are durable in full, and returns them.
    pub(crate) fn cool(&mut self, durable: Line) -> Vec<(Arc<Segment>, Arc<dyn File>, u64)> {
        let mut cooled = Vec::new();
        for entry in &mut self.entries {
            let (Some(end), Handle::Open { segment, file }) = (entry.end, &entry.handle) else { continue };
            if Place::new(entry.header.number, end) <= durable.place {
                cooled.push((Arc::clone(segment), Arc::clone(file), end));
                entry.handle = Handle::Cold(Arc::downgrade(segment));
            }
        }
        cooled
    }

    /// Bytes of frames and headers in all settled segments.
    pub(crate) fn settled_bytes(&self) -> u64 {
        self.entries.iter().filter_map(|entry| entry.end).fold(0, u64::saturating_add)
    }

    /// Bytes of log between two places, headers of segments included.
    pub(crate) fn bytes_between(&self, from: Place, to: Place) -> u64 {
        let begin = self.entries.partition_point(|entry| entry.number() < from.segment);
        let within = self.entries[begin..].iter().take_while(|entry| entry.number() <= to.segment);
        within.fold(0, |sum, entry| {
            let start = if entry.number() == from.segment { from.position } else { 0 };
            let end = if entry.number() == to.segment { to.position } else { entry.end.unwrap_or_default() };
            sum.saturating_add(end.saturating_sub(start))
        })
    }

    /// Notes that a segment was mapped, for the next who asks.
    pub(crate) fn remember(&mut self, segment: &Arc<Segment>) {
        let number = segment.header().number;
        if let Ok(at) = self.entries.binary_search_by_key(&number, Entry::number)
            && let Handle::Cold(cold) = &mut self.entries[at].handle
        {
            *cold = Arc::downgrade(segment);
        }
    }
}

/// Maps a segment that is not open, for reading.
pub(crate) fn map_for_reading(disk: &dyn Disk, entry: &Entry) -> Result<Arc<Segment>> {
    let name = segment_name(entry.number());
    let file = open_for_reading(disk, entry)?;
    let end = entry.end.unwrap_or(entry.header.capacity);
    let found = file.length().map_err(|error| io_error(disk, "read the length", &name, error))?;
    if found < end {
        let text = format!("the file was cut to {found} bytes, its frames end at {end}");
        return Err(corrupt(text).at_path(disk.directory().join(name)));
    }
    let region = file.map(end, Access::Read).map_err(|error| io_error(disk, "map the segment", &name, error))?;
    Ok(Segment::sealed(entry.header, region, end))
}

/// Opens a segment's file, for copying from it.
pub(crate) fn copy_for_reading(disk: &dyn Disk, entry: &Entry) -> Result<View> {
    Ok(View::of_file(entry.header, open_for_reading(disk, entry)?))
}

fn open_for_reading(disk: &dyn Disk, entry: &Entry) -> Result<Arc<dyn File>> {
    super::survey::open_segment(disk, &segment_name(entry.number()))
}
