//! Goes over a part of the log for its state entries; the same for an open, a checkpoint, and whoever looks from outside.
//!
//! Guarantees:
//! 1. State entries come in the order of the log, each once, and only from frames that were checked in full.
//! 2. So do start lines. Of all other frames only the headers are checked: their bodies are left to readers and to `esker verify`.
//! 3. Damage in what is known to be whole is an error; elsewhere it ends the fold.

use super::reader::damage;
use super::start::of_frame;
use super::survey::io_error;
use super::window::{Scan, Scanned, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::format::control::StartLine;
use crate::format::header::SegmentHeader;
use crate::format::state::StateEntry;
use crate::format::{FRAMES_START, Fault, Kind, segment_name};
use crate::platform::Disk;
use crate::segment::walk::Frames;
use crate::types::{Line, Offset, Place};

/// A segment to go over.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) header: SegmentHeader,
    pub(crate) store: Store,
    /// Up to where.
    pub(crate) limit: u64,
    /// Below this every frame is known to be whole.
    pub(crate) whole: u64,
}

/// Where a fold ended, and what it cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Folded {
    pub(crate) end: Line,
    /// Bytes gone over.
    pub(crate) bytes: u64,
    /// The highest start line in a frame that was gone over.
    pub(crate) start: StartLine,
}

/// Gives `take` each state entry behind `from`, with the place behind its frame. The first piece is the segment of `from`;
/// a line of segment 0 means the start of the log.
pub(crate) fn fold(
    disk: &dyn Disk,
    from: Line,
    pieces: impl Iterator<Item = Result<Piece>>,
    take: &mut dyn FnMut(&StateEntry<'_>, Place) -> Result<()>,
) -> Result<Folded> {
    let mut folded = Folded { end: from, bytes: 0, start: StartLine::default() };
    let mut first = from.place.segment > 0;
    for piece in pieces {
        let piece = piece?;
        let number = piece.header.number;
        let (position, offset) = if std::mem::replace(&mut first, false) {
            (from.place.position, from.offset)
        } else {
            (FRAMES_START, follows(disk, &piece, folded.end)?)
        };
        let frames = Frames::new(&piece.header, piece.limit);
        let mut scan = Scan::new(piece.store.clone(), frames, position, offset, piece.limit);
        let fault = loop {
            let found = match scan.skim().map_err(|error| read_error(disk, number, error))? {
                Scanned::Frame(found) => found,
                Scanned::End => break None,
                stopped => break Some(scan.blame(&stopped).map_err(|error| read_error(disk, number, error))?),
            };
            if found.header.state_count == 0 && found.header.kind != Kind::StartLine {
                continue;
            }
            if let Err(fault) = scan.check(&found) {
                (scan.position, scan.offset) = (found.position, found.offset);
                break Some(fault);
            }
            let end = Place::new(number, scan.position);
            let start = of_frame(&scan.frame(&found), number);
            folded.start = folded.start.max(start.unwrap_or_default());
            for entry in scan.frame(&found).states() {
                take(&entry, end)?;
            }
        };
        folded.bytes = folded.bytes.saturating_add(scan.position.saturating_sub(position));
        folded.end = Line { place: Place::new(number, scan.position), offset: scan.offset };
        let Some(fault) = fault else { continue };
        if fault.is_unknown() {
            return Err(Error::new(ErrorKind::Incompatible, fault.to_string())
                .at_path(disk.directory().join(segment_name(number)))
                .at_place(folded.end.place)
                .next_step("open it with the version of esker that wrote it, or a newer one"));
        }
        if scan.position < piece.whole {
            return Err(damage(disk, folded.end.place, folded.end.offset, fault));
        }
        break;
    }
    Ok(folded)
}

/// The offset with which a segment begins, which must be the one that comes next.
fn follows(disk: &dyn Disk, piece: &Piece, end: Line) -> Result<Offset> {
    let (found, expected) = (piece.header.first_offset, end.offset);
    if end.place.segment == 0 || found == expected {
        return Ok(found);
    }
    let place = Place::new(piece.header.number, FRAMES_START);
    Err(damage(disk, place, expected, Fault::Offset { found: found.get(), expected: expected.get() }))
}

fn read_error(disk: &dyn Disk, number: u64, error: std::io::Error) -> Error {
    io_error(disk, "read the segment", &segment_name(number), error)
}
