//! What each byte of a log is, by the tables of `src/format.md` alone.
//!
//! Guarantees:
//! 1. The units of a file tile it: every byte is in exactly one.
//! 2. A byte that is not judged is one that `format.md` says is not: padding, what lies between header and frames, what is
//!    dead behind a named end, what follows the first word behind the end of the log, and what is in neither slot.

use std::ops::Range;

use esker::{Line, Offset, Place};

use super::proof::Proof;
use super::reference::Files;
use crate::format::bytes::{half, word};
pub(super) use crate::format::sums::{FRAMES_START, SEGMENT_HEADER_BYTES as SEGMENT_HEADER};

pub(super) const FRAME_HEADER: usize = 36;
pub(super) const CHECKPOINT_HEADER: usize = 256;
pub(super) const SLOT: usize = 128;
pub(super) const SLOTS: [usize; 2] = [0, 512];

/// A file of the log.
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) units: Vec<Unit>,
    pub(super) kind: FileKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Segment { number: u64, first_offset: u64 },
    Checkpoint,
    Anchor,
}

/// Bytes that are judged together.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) range: Range<usize>,
    pub(super) what: What,
    /// The durable line that it carries.
    pub(super) line: Option<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    SegmentHeader,
    /// Header and body.
    Frame,
    /// Where the next frame would begin: a word of zero says that the log ends here.
    NextWord,
    CheckpointHeader,
    CheckpointBody,
    /// Behind the body: any other byte is damage, and fewer zeros are as good.
    CheckpointZeros,
    Slot,
    /// Not judged, and why.
    Free(Proof),
}

impl What {
    pub(super) fn is_judged(self) -> bool {
        !matches!(self, Self::Free(_))
    }
}

impl Stored {
    pub(super) fn unit_at(&self, at: usize) -> usize {
        self.units.partition_point(|unit| unit.range.end <= at)
    }

    pub(super) fn number(&self) -> Option<u64> {
        match self.kind {
            FileKind::Segment { number, .. } => Some(number),
            _ => None,
        }
    }

    /// The whole frames.
    pub(super) fn frames(&self) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(|unit| unit.what == What::Frame)
    }
}

/// Where the topic of a frame's records stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topics {
    /// In the frame's header: all share it.
    Shared,
    /// In each record.
    Own,
}

impl Topics {
    /// Of the frame at `at`.
    pub(super) fn of(bytes: &[u8], at: usize) -> Self {
        if half(bytes, at + 12) == u32::MAX { Self::Own } else { Self::Shared }
    }
}

pub(super) fn usize_at(bytes: &[u8], at: usize) -> usize {
    usize::try_from(half(bytes, at)).expect("32 bits")
}

fn line_at(bytes: &[u8], at: usize) -> Line {
    let place = Place { segment: word(bytes, at), position: word(bytes, at + 8) };
    Line { place, offset: Offset::new(word(bytes, at + 16)) }
}

/// What the files are; all of them have to be whole.
pub(super) fn layout(files: Files) -> Vec<Stored> {
    let ends: Vec<(u64, usize)> = files
        .iter()
        .filter(|(name, _)| name.contains(".seg"))
        .map(|(_, bytes)| (word(bytes, 88), usize::try_from(word(bytes, 104)).expect("small")))
        .collect();
    files.into_iter().map(|(name, bytes)| stored(name, bytes, &ends)).collect()
}

fn stored(name: String, bytes: Vec<u8>, ends: &[(u64, usize)]) -> Stored {
    let (kind, units) = if name == "anchor" {
        (FileKind::Anchor, anchor(&bytes))
    } else if name.contains(".ckp") {
        (FileKind::Checkpoint, checkpoint(&bytes))
    } else {
        let number = word(&bytes, 40);
        assert_eq!(name, format!("{number:010}.seg"), "only segments in use are expected");
        let end = ends.iter().find(|(before, _)| *before == number).map(|(_, end)| *end);
        (FileKind::Segment { number, first_offset: word(&bytes, 80) }, segment(&bytes, end))
    };
    let tiles = units.windows(2).all(|pair| pair[0].range.end == pair[1].range.start);
    assert!(tiles && units[0].range.start == 0 && units.last().is_some_and(|unit| unit.range.end == bytes.len()));
    Stored { name, bytes, units, kind }
}

/// Puts units one behind the other, and leaves out what is empty.
#[derive(Default)]
struct Tiles(Vec<Unit>);

impl Tiles {
    fn up_to(&mut self, end: usize, what: What, line: Option<Line>) {
        let start = self.0.last().map_or(0, |unit| unit.range.end);
        if start < end {
            self.0.push(Unit { range: start..end, what, line });
        }
    }
}

fn segment(bytes: &[u8], end: Option<usize>) -> Vec<Unit> {
    let mut tiles = Tiles::default();
    tiles.up_to(SEGMENT_HEADER, What::SegmentHeader, Some(line_at(bytes, 112)));
    tiles.up_to(FRAMES_START, What::Free(Proof::HeaderPage), None);
    let mut at = FRAMES_START;
    while at + FRAME_HEADER <= end.unwrap_or(bytes.len()) && word(bytes, at) != 0 {
        let length = usize_at(bytes, at);
        // Marks, seals and closes carry a line.
        let line = matches!(bytes[at + 4], 2 | 3 | 6).then(|| line_at(bytes, at + FRAME_HEADER));
        tiles.up_to(at + length, What::Frame, line);
        at = (at + length).next_multiple_of(8);
        tiles.up_to(at, What::Free(Proof::Padding), None);
    }
    if let Some(end) = end {
        assert_eq!(at, end, "frames end where the successor says");
        tiles.up_to(bytes.len(), What::Free(Proof::Dead), None);
    } else {
        tiles.up_to(at + 8, What::NextWord, None);
        tiles.up_to(bytes.len(), What::Free(Proof::ZeroTail), None);
    }
    tiles.0
}

fn checkpoint(bytes: &[u8]) -> Vec<Unit> {
    let mut tiles = Tiles::default();
    tiles.up_to(CHECKPOINT_HEADER, What::CheckpointHeader, Some(line_at(bytes, 48)));
    let body = usize::try_from(word(bytes, 120)).expect("small");
    tiles.up_to(CHECKPOINT_HEADER + body, What::CheckpointBody, None);
    tiles.up_to(bytes.len(), What::CheckpointZeros, None);
    tiles.0
}

fn anchor(bytes: &[u8]) -> Vec<Unit> {
    let mut tiles = Tiles::default();
    for start in SLOTS {
        tiles.up_to(start, What::Free(Proof::BetweenSlots), None);
        let written = bytes[start..start + SLOT].iter().any(|byte| *byte != 0);
        tiles.up_to(start + SLOT, What::Slot, written.then(|| line_at(bytes, start + 48)));
    }
    tiles.up_to(bytes.len(), What::Free(Proof::BetweenSlots), None);
    tiles.0
}
