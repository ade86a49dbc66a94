//! Walking over frames in a piece of a segment, whether it lies in a map or was read into memory.
//!
//! Guarantees:
//! 1. [`step`] yields a frame only if it is valid: header, body checksum, structure and offset. The rule stands in
//!    `format.md`; recovery, readers and the tools all use this one function.
//! 2. It touches only the bytes it is given and says how many it needs if they do not suffice.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use crate::checksum::Seed;
use crate::format::frame::{self, FrameHeader, Look};
use crate::format::header::SegmentHeader;
use crate::format::state::States;
use crate::format::{FRAMES_START, Fault, Kind, control, record};
use crate::types::{Offset, index};

/// What of a segment a walk needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frames {
    pub(crate) seed: Seed,
    pub(crate) first_offset: Offset,
    /// Up to where frames may lie.
    pub(crate) end: u64,
}

/// A valid frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) header: FrameHeader,
    pub(crate) body: &'a [u8],
    pub(crate) position: u64,
    pub(crate) offset: Offset,
}

impl<'a> Frame<'a> {
    /// Where the next frame begins.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.position.saturating_add(self.header.stride())
    }

    /// Offset of the first record behind it.
    #[inline]
    pub(crate) fn next_offset(&self) -> Offset {
        self.offset.after(self.header.record_count.into())
    }

    /// Its records; none unless it is a data frame.
    #[inline]
    pub(crate) fn records(&self) -> record::Records<'a> {
        record::Records::new(self.body, &self.header, self.offset)
    }

    /// Checks the body, for one that was skimmed.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        judge(&self.header, self.body, self.offset, self.offset)
    }

    /// Its state entries.
    pub(crate) fn states(&self) -> States<'a> {
        record::states(self.body, &self.header)
    }

    /// The durable line that it carries, if it is of a kind that does.
    pub(crate) fn line(&self) -> Option<control::LineBody> {
        match self.header.kind {
            Kind::Mark | Kind::Seal | Kind::Close => control::LineBody::decode(self.body).ok(),
            _ => None,
        }
    }
}

/// What a step found.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    Frame(Frame<'a>),
    /// Nothing is stored here yet.
    Zero,
    /// More bytes are needed, counted from the position.
    Short {
        needed: u64,
    },
    /// Not a valid frame; if its header is, where the next one begins and which offset it has.
    Bad {
        fault: Fault,
        next: Option<(u64, Offset)>,
    },
}

impl Frames {
    pub(crate) fn new(header: &SegmentHeader, end: u64) -> Self {
        Self { seed: Seed::new(header.incarnation), first_offset: header.first_offset, end: end.min(header.capacity) }
    }

    /// Looks at the frame that begins at `bytes[0]`, which stands at `position`.
    #[inline]
    pub(crate) fn step<'a>(&self, bytes: &'a [u8], position: u64, expected: Offset) -> Step<'a> {
        if position < FRAMES_START || position > self.end {
            return bad(Fault::Content { what: "a position outside the frames of its segment" });
        }
        let room = self.end.saturating_sub(position);
        let header = match frame::look(bytes, self.seed, position, room) {
            Look::Zero => return Step::Zero,
            Look::Short { needed } => return Step::Short { needed },
            Look::Bad(fault) => return bad(fault),
            Look::Frame(header) => header,
        };
        let offset = self.first_offset.after(header.offset_delta.into());
        let next = Some((position.saturating_add(header.stride()), offset.after(header.record_count.into())));
        let body = frame::body(bytes, &header);
        match judge(&header, body, offset, expected) {
            Err(fault) => Step::Bad { fault, next },
            Ok(()) => Step::Frame(Frame { header, body, position, offset }),
        }
    }

    /// As [`Frames::step`], without looking at the body.
    pub(crate) fn skim<'a>(&self, bytes: &'a [u8], position: u64, expected: Offset) -> Step<'a> {
        if position < FRAMES_START || position > self.end {
            return bad(Fault::Content { what: "a position outside the frames of its segment" });
        }
        match frame::look(bytes, self.seed, position, self.end.saturating_sub(position)) {
            Look::Zero => Step::Zero,
            Look::Short { needed } => Step::Short { needed },
            Look::Bad(fault) => bad(fault),
            Look::Frame(header) => {
                let offset = self.first_offset.after(header.offset_delta.into());
                if offset == expected {
                    return Step::Frame(Frame { header, body: frame::body(bytes, &header), position, offset });
                }
                bad(Fault::Offset { found: offset.get(), expected: expected.get() })
            }
        }
    }

    /// Finds the next place at or after `position` in `bytes` (which begins there) where a valid header stands, whatever its
    /// offset; for looking behind damage. `None`: none begins in these bytes.
    pub(crate) fn resync(&self, bytes: &[u8], position: u64) -> Option<(u64, Offset)> {
        let mut at = position;
        let mut rest = bytes;
        while let Some(word) = rest.first_chunk::<8>() {
            if *word != [0; 8] {
                let room = self.end.saturating_sub(at);
                if let Some(header) = frame::header(rest, self.seed, at, room) {
                    return Some((at, self.first_offset.after(header.offset_delta.into())));
                }
            }
            at = at.saturating_add(8);
            rest = rest.get(8..).unwrap_or_default();
        }
        None
    }

    /// The frames that begin in published bytes, all of which are valid up to the first that is not.
    pub(crate) fn walk<'a>(&self, bytes: &'a [u8], position: u64, offset: Offset) -> Walk<'a> {
        Walk { frames: *self, bytes, start: position, position, offset }
    }
}

#[inline]
fn judge(header: &FrameHeader, body: &[u8], offset: Offset, expected: Offset) -> Result<(), Fault> {
    if offset != expected {
        return Err(Fault::Offset { found: offset.get(), expected: expected.get() });
    }
    frame::check_body(body, header)?;
    if header.kind == Kind::Data { record::check(body, header) } else { control::check(header.kind, body) }
}

fn bad(fault: Fault) -> Step<'static> {
    Step::Bad { fault, next: None }
}

/// See [`Frames::walk`].
#[derive(Debug, Clone)]
pub(crate) struct Walk<'a> {
    frames: Frames,
    bytes: &'a [u8],
    start: u64,
    pub(crate) position: u64,
    pub(crate) offset: Offset,
}

impl<'a> Walk<'a> {
    /// The next step; stays where it is unless it yields a frame.
    #[inline]
    pub(crate) fn step(&mut self) -> Step<'a> {
        self.go(Frames::step)
    }

    /// As [`Walk::step`], without looking at the body; for what was checked before.
    #[inline]
    pub(crate) fn skim(&mut self) -> Step<'a> {
        self.go(Frames::skim)
    }

    #[inline]
    fn go(&mut self, step: impl Fn(&Frames, &'a [u8], u64, Offset) -> Step<'a>) -> Step<'a> {
        let at = index(self.position.saturating_sub(self.start));
        let step = step(&self.frames, self.bytes.get(at..).unwrap_or_default(), self.position, self.offset);
        if let Step::Frame(frame) = &step {
            self.position = frame.end();
            self.offset = frame.next_offset();
        }
        step
    }
}
