//! What speaks for a finding: who wrote there, what was said to be durable and by whom, and the frames on both sides.
//!
//! Guarantees:
//! 1. A session is the one whose frame stands last before the place; a frame beside it checks in full.
//! 2. Evidence decides nothing: a finding would be the same without it.

use std::sync::Arc;

use super::chain::{Chain, Piece};
use crate::error::Result;
use crate::format::control::SessionBody;
use crate::format::{ANCHOR_NAME, segment_name};
use crate::log::{Evidence, Scan, open_segment};
use crate::platform::Disk;
use crate::types::{Line, Offset, Place};

/// What speaks for a [`Finding`](super::Finding), as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FindingEvidence {
    /// The writer whose session frame stands last before the place.
    pub session: Option<Session>,
    /// The durable lines that are written down, the highest first.
    pub lines: Arc<[CarriedLine]>,
    /// The last valid frame before the place.
    pub before: Option<Neighbour>,
    /// The first valid frame behind it.
    pub behind: Option<Neighbour>,
}

/// A writer, as its session frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// The run of the operating system.
    pub boot_id: [u8; 16],
    /// Its process.
    pub pid: u32,
    /// Device and inode of the file that it wrote.
    pub file: (u64, u64),
    /// What that says, compared with this run of the system and this file.
    pub evidence: Evidence,
}

/// A durable line, and what carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CarriedLine {
    /// The line.
    pub line: Line,
    /// The file that carries it, or the frame.
    pub carrier: String,
}

/// A valid frame beside a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Neighbour {
    /// Where it begins.
    pub place: Place,
    /// Its offset.
    pub offset: Offset,
}

impl Neighbour {
    pub(super) fn new(place: Place, offset: Offset) -> Self {
        Self { place, offset }
    }
}

impl Session {
    /// Of a session frame in the file of a piece.
    pub(super) fn of(disk: &dyn Disk, piece: &Piece, body: &[u8]) -> Option<Self> {
        let body = SessionBody::decode(body).ok()?;
        let now = open_segment(disk, &piece.name).ok()?.identity().ok()?;
        let evidence = Evidence::of(&body, now, disk.boot_id());
        Some(Self { boot_id: body.boot_id, pid: body.pid, file: (body.device, body.inode), evidence })
    }
}

/// Who carries durable lines: the anchor, checkpoints, the segment header with the highest, and the frame that carries D
/// if none of them does.
pub(super) fn lines(
    chain: &Chain,
    durable: Line,
    scan_of: impl Fn(&Piece) -> Result<Scan>,
) -> Result<Arc<[CarriedLine]>> {
    let survey = &chain.survey;
    let mut lines = Vec::new();
    if let Some(anchor) = survey.own_anchor() {
        lines.push(CarriedLine { line: anchor.durable, carrier: ANCHOR_NAME.to_owned() });
    }
    for file in &survey.checkpoints {
        if let Ok(header) = &file.header {
            lines.push(CarriedLine { line: header.line, carrier: file.name.clone() });
        }
    }
    if let Some((file, header)) = survey.valid().max_by_key(|(_, header)| header.durable) {
        lines.push(CarriedLine { line: header.durable, carrier: file.name.clone() });
    }
    if lines.iter().all(|carried| carried.line < durable) {
        for piece in chain.pieces.iter().rev() {
            if let Some(position) = frame_with(&mut scan_of(piece)?, piece.number(), durable) {
                let carrier = format!("{} at position {position}", segment_name(piece.number()));
                lines.push(CarriedLine { line: durable, carrier });
                break;
            }
        }
    }
    lines.retain(|carried| carried.line > Line::default());
    lines.sort_by_key(|carried| std::cmp::Reverse(carried.line));
    Ok(lines.into())
}

/// Where the frame of segment `number` begins that carries this line.
fn frame_with(scan: &mut Scan, number: u64, line: Line) -> Option<u64> {
    while let Some(found) = scan.next_whole().ok()? {
        if scan.frame(&found).line(number).is_some_and(|carried| carried.durable == line) {
            return Some(found.position);
        }
    }
    None
}
