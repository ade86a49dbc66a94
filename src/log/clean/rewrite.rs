//! One segment in place of one or more neighbours, with what is kept of them.
//!
//! Guarantees:
//! 1. Offsets and append times of what is kept, and gaps, stay as they were; so do the frame and the batch that a record is in.
//! 2. Each frame of which something is kept is checked in full; of the others the header is, or, in stretches of which nothing is
//!    kept, nothing: they were checked when that was judged. One that does not check is an error, and nothing is changed:
//!    damage is never copied under a new checksum. So is an input that has more parts, or fewer, than were judged.
//! 3. The new file is synced and read back before it takes the name of the first input; the inputs are not unlinked.
//! 4. Memory is bounded by the longest frame.
//!
//! Left to others: inputs that no durable line or checkpoint names a place in (`format.md`), that are durable, and that were
//! checked in full before.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::sync::Weak;

use super::draft::{Draft, PAGE_BYTES};
use crate::checksum;
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::{FrameHeader, HEADER_BYTES, Layout};
use crate::format::header::{Places, Rewritten, SegmentHeader};
use crate::format::record::thin::{Fate, Part, thin};
use crate::format::{FRAMES_START, Fault, GAP_FRAME_BYTES, Kind, SEGMENT_BYTES_MAX, segment_draft_name, segment_name};
use crate::log::catalog::{Entry, Handle};
use crate::log::survey::{corrupt, io_error};
use crate::log::window::{FoundFrame, Scan, Scanned, View};
use crate::platform::Disk;
use crate::types::{Offset, Place, length};

/// How much is gone over between two looks at the pace.
const PACE_BYTES: u64 = 256 << 10;

/// Says of each part of the log whether it stays: of the records of a frame, then of its state entries, in the order of the log.
pub(crate) trait Choice {
    /// The parts of this segment come next.
    fn begin(&mut self, segment: &SegmentHeader);

    /// If nothing is kept of the frames from this position on, and none is a gap: where the first frame begins that is to be
    /// looked at again, or the segment ends, and the offset there. They are not asked for then.
    fn passed(&mut self, position: u64) -> Option<(u64, Offset)>;

    /// The fate that the next `parts` share, which are then not asked for one by one; `None`: ask.
    fn shared(&mut self, parts: u32) -> Option<Fate>;

    /// The fate of the next part.
    fn fate(&mut self, part: &Part<'_>) -> Fate;

    /// Whether the segment has as many parts as are known.
    fn ended(&mut self) -> bool;
}

/// What to write anew.
pub(crate) struct Job<'a> {
    pub(crate) disk: &'a dyn Disk,
    /// Neighbouring sealed segments of one epoch, oldest first.
    pub(crate) inputs: &'a [Entry],
    pub(crate) view: &'a dyn Fn(&Entry) -> Result<View>,
    /// What is kept takes no more than this, header included; an estimate that may be high.
    pub(crate) bytes_max: u64,
    /// Told how much was gone over since; an error ends the work.
    pub(crate) pace: &'a mut dyn FnMut(u64) -> Result<()>,
}

/// Writes what is kept, as a draft that is complete: synced, and read back.
///
/// # Errors
/// [`ErrorKind::Invalid`] for inputs that are not neighbours, of one epoch, and sealed; [`ErrorKind::Limit`] if no segment could
/// hold what is kept of them; [`ErrorKind::Corrupt`] for damage in them; what the system says, and the pace. No draft is left
/// then, if it can be removed.
pub(crate) fn rewrite(job: &mut Job<'_>, choice: &mut dyn Choice) -> Result<SegmentHeader> {
    let (Some(first), Some(last)) = (job.inputs.first(), job.inputs.last()) else { return Err(refused("no segment")) };
    check_neighbours(job.inputs)?;
    let highest = job.inputs.iter().map(|input| input.header.generation).max().unwrap_or_default();
    let generation = highest.checked_add(1).ok_or_else(|| Error::new(ErrorKind::Limit, "generations are exhausted"))?;
    let capacity = FRAMES_START.saturating_add(PAGE_BYTES);
    let header = SegmentHeader { generation, durable: last.header.durable, capacity, rewritten: None, ..first.header };
    discard(job.disk, header.number);
    write(job, &header, choice).inspect_err(|_| discard(job.disk, header.number))
}

/// Removes a draft. One that stays is removed by the next attempt, or open.
pub(crate) fn discard(disk: &dyn Disk, number: u64) {
    let _removed_later = disk.unlink(&segment_draft_name(number));
}

/// Gives a complete draft the name of the first input. Before that is durable nothing that it stands for may be unlinked.
///
/// # Errors
/// What the system says. The draft is removed then, and the log is as it was.
pub(crate) fn put_in_place(disk: &dyn Disk, header: &SegmentHeader) -> Result<Entry> {
    let name = segment_name(header.number);
    disk.rename(&segment_draft_name(header.number), &name).map_err(|error| {
        discard(disk, header.number);
        io_error(disk, "put the new segment in place", &name, error)
    })?;
    Ok(Entry { header: *header, end: header.end(None), handle: Handle::Cold(Weak::new()) })
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

fn write(job: &mut Job<'_>, header: &SegmentHeader, choice: &mut dyn Choice) -> Result<SegmentHeader> {
    let mut output =
        Output { draft: Draft::create(job.disk, header)?, bytes_max: job.bytes_max, records: 0, body: Vec::new() };
    let mut next = header.first_offset;
    for input in job.inputs {
        next = copy(job, input, next, choice, &mut output)?;
    }
    if next.since(header.first_offset) > u32::MAX.into() {
        let text = format!("rewrite refused: offsets from {} to {next} in one segment", header.first_offset);
        return Err(Error::new(ErrorKind::Limit, text).next_step("rewrite fewer segments as one"));
    }
    let link = job.inputs.last().map(|last| last.header.link(last.end.unwrap_or_default()));
    let Some(link) = link else { return Err(refused("no segment")) };
    let rewritten = Rewritten {
        end: output.draft.end(),
        last_number: link.number,
        end_offset: next,
        records: output.records,
        incarnation: link.incarnation,
        original_end: link.end,
        places: Places::Moved,
    };
    output.draft.settle(rewritten);
    output.draft.complete(job.disk)
}

/// Where what is kept goes.
struct Output {
    draft: Draft,
    bytes_max: u64,
    records: u64,
    /// Of the frame at hand, while it is thinned.
    body: Vec<u8>,
}

impl Output {
    fn frame(&mut self, header: &FrameHeader, offset: Offset, body: &[u8], records: u16) -> Result<()> {
        let Ok(offset_delta) = u32::try_from(offset.since(self.draft.header().first_offset)) else {
            return Err(self.draft.unlike("an offset"));
        };
        self.check_room(header.stride())?;
        self.records = self.records.saturating_add(records.into());
        self.draft.frame(self.draft.end(), &FrameHeader { offset_delta, ..*header }, body)
    }

    fn gap(&mut self, offset: Offset, next: Offset) -> Result<()> {
        self.check_room(GAP_FRAME_BYTES)?;
        let start = self.draft.end();
        self.draft.gap(start..start.saturating_add(GAP_FRAME_BYTES), offset, next)
    }

    /// No more is kept than was found before, nor than a segment can hold.
    fn check_room(&self, bytes: u64) -> Result<()> {
        let end = self.draft.end().saturating_add(bytes);
        if end > self.bytes_max {
            return Err(self.draft.unlike("what is kept"));
        }
        if end > SEGMENT_BYTES_MAX {
            let text = format!("rewrite refused: more than {SEGMENT_BYTES_MAX} bytes as one segment");
            return Err(Error::new(ErrorKind::Limit, text).next_step("rewrite fewer segments as one"));
        }
        Ok(())
    }
}

/// Copies what is kept of a segment that begins with offset `next`, and returns the offset behind it.
fn copy(
    job: &mut Job<'_>,
    input: &Entry,
    next: Offset,
    choice: &mut dyn Choice,
    output: &mut Output,
) -> Result<Offset> {
    let (first, end) = (input.header.first_offset, input.end.unwrap_or_default());
    if first != next {
        let fault = Fault::Offset { found: first.get(), expected: next.get() };
        return Err(damage(job.disk, input, FRAMES_START, fault));
    }
    choice.begin(&input.header);
    let passed = choice.passed(FRAMES_START);
    if let Some((position, offset)) = passed
        && position == end
    {
        return all_of_it(job, choice, output, offset, end);
    }
    let view = (job.view)(input)?;
    let (position, offset) = passed.unwrap_or((FRAMES_START, first));
    let mut scan = Scan::new(view.store, view.frames, position, offset, end);
    let mut told = 0;
    loop {
        let position = scan.position;
        if position.saturating_sub(told) >= PACE_BYTES {
            (job.pace)(position.saturating_sub(told))?;
            told = position;
        }
        if let Some(behind) = choice.passed(position) {
            (scan.position, scan.offset) = behind;
            continue;
        }
        let skimmed = scan.skim();
        let fault = match skimmed
            .map_err(|error| io_error(job.disk, "read the segment", &segment_name(input.number()), error))?
        {
            Scanned::Frame(found) => match keep(&scan, &found, choice, output)? {
                Ok(()) => continue,
                Err(fault) => fault,
            },
            Scanned::End if position == end => break,
            Scanned::Zero | Scanned::End => Fault::Missing,
            Scanned::Bad { fault, .. } => fault,
        };
        return Err(damage(job.disk, input, position, fault));
    }
    all_of_it(job, choice, output, scan.offset, end.saturating_sub(told))
}

/// A segment was gone over up to its end, behind which this offset comes.
fn all_of_it(
    job: &mut Job<'_>,
    choice: &mut dyn Choice,
    output: &Output,
    offset: Offset,
    bytes: u64,
) -> Result<Offset> {
    (job.pace)(bytes)?;
    if choice.ended() { Ok(offset) } else { Err(output.draft.unlike("one of the segments that it stands for")) }
}

fn damage(disk: &dyn Disk, input: &Entry, position: u64, fault: Fault) -> Error {
    corrupt(format!("not rewritten: {fault}"))
        .at_path(disk.directory().join(segment_name(input.number())))
        .at_place(Place::new(input.number(), position))
}

/// Puts what is kept of a frame that was skimmed into the output, or says why it cannot be.
fn keep(
    scan: &Scan,
    found: &FoundFrame,
    choice: &mut dyn Choice,
    output: &mut Output,
) -> Result<std::result::Result<(), Fault>> {
    let frame = scan.frame(found);
    if let Some(gap) = frame.gap() {
        return output.gap(frame.offset, gap.next_offset).map(Ok);
    }
    if found.header.kind != Kind::Data {
        return Ok(Ok(()));
    }
    // How many records a sparse frame has stands in its body.
    let unknown = found.header.layout == Layout::Sparse;
    if unknown && let Err(fault) = frame.check() {
        return Ok(Err(fault));
    }
    let parts = u32::from(found.records).saturating_add(found.header.state_count.into());
    let shared = choice.shared(parts);
    if shared == Some(Fate::Drop) {
        return Ok(Ok(()));
    }
    if !unknown && let Err(fault) = frame.check() {
        return Ok(Err(fault));
    }
    if shared == Some(Fate::Keep) {
        return output.frame(&found.header, found.offset, frame.body, found.records).map(Ok);
    }
    let mut body = std::mem::take(&mut output.body);
    body.clear();
    let thinned = match thin(&found.header, found.offset, frame.body, &mut |part| choice.fate(part), &mut body) {
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
        body_checksum: checksum::plain(&body),
        record_count: thinned.record_count,
        state_count: thinned.state_count,
        ..found.header
    };
    output.frame(&header, found.offset, &body, thinned.records)?;
    output.body = body;
    Ok(Ok(()))
}
