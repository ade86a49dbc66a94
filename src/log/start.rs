//! The start line: where the log begins. What lies below it was dropped on purpose.
//!
//! Guarantees:
//! 1. The start line is the highest that a checkpoint of the log, or a valid start-line frame behind the newest of them,
//!    carries: a checkpoint carries every start line whose frame lies before its own line.
//! 2. A file below it is nothing that could be missing; one at or above it is.
//! 3. It lies in the log: one that lies behind its own frame, or the line of its checkpoint, does not count.
//! 4. Nothing is changed by looking for it.

use std::ops::ControlFlow;

use super::survey::{Member, Survey, io_error, open_segment};
use super::window::{Scan, Scanned, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::format::checkpoint::CheckpointHeader;
use crate::format::control::StartLine;
use crate::format::{FRAMES_START, Kind};
use crate::platform::Disk;
use crate::segment::walk::{Frame, Frames};
use crate::types::{Line, Offset, Place};

/// A start line in a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) start: StartLine,
    /// Just behind the frame.
    pub(crate) end: Line,
}

impl Survey {
    /// The highest start line that a checkpoint carries.
    pub(crate) fn start(&self) -> StartLine {
        // One that lies behind its own line is no writer's.
        let is_true = |found: &&CheckpointHeader| {
            found.start <= found.line.offset && found.start_segment <= found.line.place.segment
        };
        let carried = self.own_checkpoints().filter(is_true);
        carried.map(|found| StartLine { offset: found.start, segment: found.start_segment }).max().unwrap_or_default()
    }

    /// The line of the newest checkpoint: before it no start-line frame is higher than what the checkpoints carry.
    pub(crate) fn checkpointed(&self) -> Line {
        self.own_checkpoints().max_by_key(|found| found.sequence).map(|found| found.line).unwrap_or_default()
    }
}

/// The highest start line that stands in a frame of these segments, from a line on.
pub(crate) fn highest(disk: &dyn Disk, members: &[Member], from: Line, end: Option<Line>) -> Result<StartLine> {
    let mut highest = StartLine::default();
    each(disk, members, from, end, &mut |found| {
        highest = highest.max(found.start);
        ControlFlow::Continue(())
    })?;
    Ok(highest)
}

/// The first start line in a frame of these segments, from a line on, that keeps nothing below segment `kept`. Later ones
/// may not have been durable when what lies below was removed.
pub(crate) fn first_that_keeps(disk: &dyn Disk, members: &[Member], from: Line, kept: u64) -> Result<Option<Found>> {
    let mut first = None;
    each(disk, members, from, None, &mut |found| {
        if found.start.segment < kept {
            return ControlFlow::Continue(());
        }
        first = Some(found);
        ControlFlow::Break(())
    })?;
    Ok(first)
}

/// Shows the start lines of these segments in their order, whatever lies in front of them.
fn each(
    disk: &dyn Disk,
    members: &[Member],
    from: Line,
    end: Option<Line>,
    show: &mut dyn FnMut(Found) -> ControlFlow<()>,
) -> Result<()> {
    for member in members.iter().filter(|member| member.header.number >= from.place.segment) {
        let number = member.header.number;
        let (position, offset) = if number == from.place.segment {
            (from.place.position.max(FRAMES_START), from.offset)
        } else {
            (FRAMES_START, member.header.first_offset)
        };
        let last = end.filter(|end| end.place.segment == number);
        let limit = last.map_or(member.limit(), |end| end.place.position.min(member.limit()));
        let store = Store::File(open_segment(disk, &member.name)?);
        let mut scan = Scan::new(store, Frames::new(&member.header, limit), position, offset, limit);
        let failed = |error| io_error(disk, "read the segment", &member.name, error);
        loop {
            match scan.skim().map_err(failed)? {
                Scanned::Frame(found) if found.header.kind == Kind::StartLine && scan.check(&found).is_ok() => {
                    let Some(start) = of_frame(&scan.frame(&found), number) else { continue };
                    let end = Line { place: Place::new(number, scan.position), offset: scan.offset };
                    if show(Found { start, end }).is_break() {
                        return Ok(());
                    }
                }
                Scanned::Frame(_) => {}
                Scanned::End => break,
                Scanned::Zero | Scanned::Bad { .. } => {
                    if !scan.resync().map_err(failed)? {
                        break;
                    }
                }
            }
        }
    }
    Ok(())
}

/// The start line in a frame of segment `number`. One that lies behind its own frame is no writer's.
pub(crate) fn of_frame(frame: &Frame<'_>, number: u64) -> Option<StartLine> {
    let start = StartLine::of(frame.header.kind, frame.body)?;
    (start.offset <= frame.offset && start.segment <= number).then_some(start)
}

/// Whether it says that the log begins later.
pub(crate) fn is_trimmed(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Trimmed { .. })
}

/// What a reader is told that wants a record below the start.
#[cold]
pub(crate) fn trimmed(what: &str, offset: Offset, start: Offset) -> Error {
    Error::new(ErrorKind::Trimmed { next: start }, format!("offset {offset} is gone, {what} begins at {start}"))
        .at_offset(offset)
        .next_step("seek to an offset that is still there")
}
