//! One segment in place of one or more neighbours, with what is kept of them.
//!
//! Guarantees:
//! 1. Offsets and append times of what is kept, and gaps, stay as they were; so do the frame and the batch that a record is in.
//! 2. Each frame of the inputs is checked in full. One that does not check is an error, and nothing is changed: damage is never
//!    copied under a new checksum.
//! 3. The new file is synced and read back before it takes the name of the first input; the inputs are not unlinked.
//! 4. Memory is bounded by the longest frame.
//!
//! Left to others: inputs that no durable line or checkpoint names a place in (`format.md`), and that are durable.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::sync::Weak;

use super::draft::{Draft, PAGE_BYTES};
use crate::checksum;
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::{FrameHeader, HEADER_BYTES};
use crate::format::header::{Rewritten, SegmentHeader};
use crate::format::record::thin::{Fate, Part, thin};
use crate::format::{FRAMES_START, Fault, GAP_FRAME_BYTES, Kind, SEGMENT_BYTES_MAX, segment_draft_name, segment_name};
use crate::log::catalog::{Entry, Handle, copy_for_reading};
use crate::log::survey::{corrupt, io_error};
use crate::log::window::{Scan, Scanned};
use crate::platform::Disk;
use crate::segment::walk::Frame;
use crate::types::{Offset, Place, length};

/// A segment that took the place of others.
#[derive(Debug)]
pub(crate) struct Replaced {
    pub(crate) entry: Entry,
    /// Whether its name is durable. Before that nothing that it stands for may be unlinked.
    pub(crate) named: Result<()>,
}

/// Says of each part of the log whether it stays. Asked twice, in the order of the log.
pub(crate) type Decide<'a> = dyn FnMut(&Part<'_>) -> Fate + 'a;

/// Writes what is kept of neighbouring sealed segments of one epoch, oldest first, in place of the first of them.
///
/// # Errors
/// [`ErrorKind::Invalid`] for inputs that are not neighbours, of one epoch, and sealed; [`ErrorKind::Limit`] if no segment could
/// hold what is kept of them; [`ErrorKind::Corrupt`] for damage in them; what the system says. The log is then as it was.
pub(crate) fn rewrite(disk: &dyn Disk, inputs: &[Entry], decide: &mut Decide<'_>) -> Result<Replaced> {
    let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else { return Err(refused("no segment")) };
    check_neighbours(inputs)?;
    let first_offset = first.header.first_offset;
    let mut measured = Measured { end: FRAMES_START, records: 0 };
    let end_offset = each_kept(disk, inputs, decide, &mut measured)?;
    if measured.end > SEGMENT_BYTES_MAX || end_offset.since(first_offset) > u32::MAX.into() {
        let text = format!("rewrite refused: {} bytes, and offsets from {first_offset} to {end_offset}", measured.end);
        return Err(Error::new(ErrorKind::Limit, text).next_step("rewrite fewer segments as one"));
    }
    let highest = inputs.iter().map(|input| input.header.generation).max().unwrap_or_default();
    let generation = highest.checked_add(1).ok_or_else(|| Error::new(ErrorKind::Limit, "generations are exhausted"))?;
    let link = last.header.link(last.end.unwrap_or_default());
    let header = SegmentHeader {
        generation,
        durable: last.header.durable,
        capacity: measured.end.next_multiple_of(PAGE_BYTES).max(FRAMES_START.saturating_add(PAGE_BYTES)),
        rewritten: Some(Rewritten {
            end: measured.end,
            last_number: link.number,
            end_offset,
            records: measured.records,
            incarnation: link.incarnation,
            original_end: link.end,
        }),
        ..first.header
    };
    let header = write(disk, &header, inputs, decide).inspect_err(|_| {
        // What stays is removed by the next attempt, or open.
        let _removed_later = disk.unlink(&segment_draft_name(header.number));
    })?;
    let named = disk.sync_directory().map_err(|error| io_error(disk, "sync the directory", "", error));
    let entry = Entry { header, end: Some(measured.end), handle: Handle::Cold(Weak::new()) };
    Ok(Replaced { entry, named })
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("rewrite refused: {what}")).next_step("name sealed neighbours of one epoch")
}

fn check_neighbours(inputs: &[Entry]) -> Result<()> {
    if inputs.iter().any(|input| input.end.is_none()) {
        return Err(refused("a segment that is not sealed"));
    }
    let mut pairs = inputs.iter().zip(inputs.iter().skip(1));
    // Offsets of another epoch mean something else, and headers alone tell from where on.
    let fits = |(before, next): (&Entry, &Entry)| {
        let linked = next.header.predecessor.is_some_and(|link| before.header.is_linked_by(&link));
        linked && before.header.epoch == next.header.epoch
    };
    if pairs.all(fits) { Ok(()) } else { Err(refused("segments that do not follow each other in one epoch")) }
}

fn write(disk: &dyn Disk, header: &SegmentHeader, inputs: &[Entry], decide: &mut Decide<'_>) -> Result<SegmentHeader> {
    // Only an attempt that failed leaves one.
    let _seldom_there = disk.unlink(&segment_draft_name(header.number));
    let mut draft = Draft::create(disk, header)?;
    each_kept(disk, inputs, decide, &mut draft)?;
    let header = draft.complete(disk)?;
    let name = segment_name(header.number);
    disk.rename(&segment_draft_name(header.number), &name)
        .map_err(|error| io_error(disk, "put the new segment in place", &name, error))?;
    Ok(header)
}

/// Where what is kept goes.
trait Sink {
    fn frame(&mut self, header: &FrameHeader, offset: Offset, body: &[u8], records: u16) -> Result<()>;
    fn gap(&mut self, offset: Offset, next: Offset) -> Result<()>;
}

/// How much it will be.
struct Measured {
    end: u64,
    records: u64,
}

impl Sink for Measured {
    fn frame(&mut self, header: &FrameHeader, _: Offset, _: &[u8], records: u16) -> Result<()> {
        self.end = self.end.saturating_add(header.stride());
        self.records = self.records.saturating_add(records.into());
        Ok(())
    }

    fn gap(&mut self, _: Offset, _: Offset) -> Result<()> {
        self.end = self.end.saturating_add(GAP_FRAME_BYTES);
        Ok(())
    }
}

impl Sink for Draft {
    fn frame(&mut self, header: &FrameHeader, offset: Offset, body: &[u8], _: u16) -> Result<()> {
        let Ok(offset_delta) = u32::try_from(offset.since(self.header().first_offset)) else {
            return Err(self.unlike("an offset"));
        };
        self.check_room(self.end().saturating_add(header.stride()))?;
        Self::frame(self, self.end(), &FrameHeader { offset_delta, ..*header }, body)
    }

    fn gap(&mut self, offset: Offset, next: Offset) -> Result<()> {
        let (start, end) = (self.end(), self.end().saturating_add(GAP_FRAME_BYTES));
        self.check_room(end)?;
        Self::gap(self, start..end, offset, next)
    }
}

impl Draft {
    /// The file is as long as was measured.
    fn check_room(&self, end: u64) -> Result<()> {
        let fits = self.header().rewritten.is_some_and(|rewritten| end <= rewritten.end);
        if fits { Ok(()) } else { Err(self.unlike("what is kept")) }
    }
}

/// Gives the sink what is kept of the inputs, and returns the offset behind them.
fn each_kept(disk: &dyn Disk, inputs: &[Entry], decide: &mut Decide<'_>, sink: &mut dyn Sink) -> Result<Offset> {
    let mut next: Option<Offset> = None;
    let mut body = Vec::new();
    for input in inputs {
        let first = input.header.first_offset;
        if let Some(expected) = next.filter(|next| *next != first) {
            return Err(damage(
                disk,
                input,
                FRAMES_START,
                Fault::Offset { found: first.get(), expected: expected.get() },
            ));
        }
        let end = input.end.unwrap_or_default();
        let view = copy_for_reading(disk, input)?;
        let mut scan = Scan::new(view.store, view.frames, FRAMES_START, first, end);
        loop {
            let position = scan.position;
            let name = || segment_name(input.number());
            let fault = match scan.next().map_err(|error| io_error(disk, "read the segment", &name(), error))? {
                Scanned::Frame(found) => {
                    let kept = keep(&scan.frame(&found), decide, &mut body, sink);
                    kept?.map_err(|fault| damage(disk, input, position, fault))?;
                    continue;
                }
                Scanned::End if position == end => break,
                Scanned::Zero | Scanned::End => Fault::Missing,
                Scanned::Bad { fault, .. } => fault,
            };
            return Err(damage(disk, input, position, fault));
        }
        next = Some(scan.offset);
    }
    Ok(next.unwrap_or_default())
}

fn damage(disk: &dyn Disk, input: &Entry, position: u64, fault: Fault) -> Error {
    corrupt(format!("not rewritten: {fault}"))
        .at_path(disk.directory().join(segment_name(input.number())))
        .at_place(Place::new(input.number(), position))
}

/// Gives the sink what is kept of a frame.
fn keep(
    frame: &Frame<'_>,
    decide: &mut Decide<'_>,
    body: &mut Vec<u8>,
    sink: &mut dyn Sink,
) -> Result<std::result::Result<(), Fault>> {
    if let Some(gap) = frame.gap() {
        return sink.gap(frame.offset, gap.next_offset).map(Ok);
    }
    if frame.header.kind != Kind::Data {
        return Ok(Ok(()));
    }
    body.clear();
    let thinned = match thin(&frame.header, frame.offset, frame.body, decide, body) {
        Ok(Some(thinned)) => thinned,
        Ok(None) => return Ok(Ok(())),
        Err(fault) => return Ok(Err(fault)),
    };
    let Ok(length) = u32::try_from(length(HEADER_BYTES).saturating_add(length(body.len()))) else {
        return Err(Error::new(ErrorKind::Limit, "rewrite refused: a frame that is longer than one can be"));
    };
    let header = FrameHeader {
        length,
        layout: thinned.layout,
        body_checksum: checksum::plain(body),
        record_count: thinned.record_count,
        state_count: thinned.state_count,
        ..frame.header
    };
    sink.frame(&header, frame.offset, body, thinned.records).map(Ok)
}
