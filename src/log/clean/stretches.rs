//! A segment in stretches of many parts each, so that those of which nothing stays are passed without being read again.
//!
//! Guarantees:
//! 1. Stretches follow one another without a hole, from the first frame on, and begin with a frame.
//! 2. One that holds a gap says so: a gap is always kept.
//! 3. They take no more memory than there is room for. Where it ends, they end, or become longer.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::ops::Range;

use crate::format::Kind;
use crate::segment::walk::Frame;
use crate::types::Offset;

/// A stretch has at least so many parts, save the last one.
pub(crate) const STRETCH_PARTS: u64 = 1024;

/// A begin, in a list that doubles when it grows.
const BEGIN_BYTES: usize = 3 * size_of::<Begin>();

/// Where a stretch begins, and the one before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) position: u64,
    pub(crate) offset: Offset,
    /// Of its first part.
    pub(crate) ordinal: u32,
    has_gap: bool,
}

/// See the top of this file.
#[derive(Debug)]
pub(crate) struct Stretches {
    parts_min: u64,
    begins: Vec<Begin>,
}

impl Stretches {
    /// None yet, of at least so many parts each.
    pub(crate) fn new(parts_min: u64) -> Self {
        Self { parts_min, begins: Vec::new() }
    }

    /// The next frame of the segment, whose first part has this ordinal. What is kept of it is taken from the room.
    pub(crate) fn note(&mut self, frame: &Frame<'_>, ordinal: u64, room: &mut usize) {
        let is_due = |last: &Begin| ordinal.saturating_sub(last.ordinal.into()) >= self.parts_min;
        if self.begins.last().is_none_or(is_due) {
            self.begin(frame.position, frame.offset, ordinal, room);
        }
        if let Some(last) = self.begins.last_mut() {
            last.has_gap |= frame.header.kind == Kind::Gap;
        }
    }

    /// The segment ends here, behind so many parts.
    pub(crate) fn end(&mut self, position: u64, offset: Offset, parts: u64, room: &mut usize) {
        self.begin(position, offset, parts, room);
    }

    fn begin(&mut self, position: u64, offset: Offset, ordinal: u64, room: &mut usize) {
        let (Some(left), Ok(ordinal)) = (room.checked_sub(BEGIN_BYTES), u32::try_from(ordinal)) else { return };
        *room = left;
        self.begins.push(Begin { position, offset, ordinal, has_gap: false });
    }

    /// What it took from the room.
    pub(crate) fn bytes(&self) -> usize {
        self.begins.len().saturating_mul(BEGIN_BYTES)
    }

    /// All of them, to go over them once.
    pub(crate) fn ahead(&self) -> Ahead<'_> {
        Ahead(&self.begins)
    }
}

/// The stretches that are still to come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ahead<'a>(&'a [Begin]);

impl Ahead<'_> {
    /// The parts of the stretch that begins right here, if one without a gap does, and where the next one begins. What lies
    /// before is left behind.
    #[inline]
    pub(crate) fn at(&mut self, position: u64) -> Option<(Range<u64>, Begin)> {
        while let [_, next, ..] = self.0
            && next.position <= position
        {
            self.0 = self.0.get(1..)?;
        }
        match self.0 {
            [here, next, ..] if here.position == position && !here.has_gap => {
                Some((here.ordinal.into()..next.ordinal.into(), *next))
            }
            _ => None,
        }
    }
}
