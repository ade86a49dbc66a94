//! Walking over frames in a piece of a segment, whether it lies in a map or was read into memory.
//!
//! Guarantees:
//! 1. [`step`] yields a frame only if it is valid: header, body checksum, structure and offset. The rule stands in
//!    `format.md`; recovery, readers and the tools all use this one function.
//! 2. In a segment that was never rewritten offsets have no holes; in one that was they rise, and none is of another segment.
//! 3. It touches only the bytes it is given and says how many it needs if they do not suffice.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::ops::Range;

use crate::checksum::Seed;
use crate::format::control::GapBody;
use crate::format::frame::{self, FrameHeader, Layout, Look};
use crate::format::header::{Rewritten, SegmentHeader};
use crate::format::state::States;
use crate::format::{FRAME_ALIGNMENT, FRAMES_START, Fault, Kind, control, record};
use crate::types::{Offset, Place, index};

/// What of a segment a walk needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frames {
    pub(crate) seed: Seed,
    pub(crate) first_offset: Offset,
    /// Up to where frames may lie.
    pub(crate) end: u64,
    /// Of a segment that was rewritten.
    pub(crate) rewritten: Option<Covered>,
}

/// What a rewritten segment stands for: records that are not there were dropped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Covered {
    /// Where its frames end.
    pub(crate) end: u64,
    /// The offset behind its range.
    pub(crate) end_offset: Offset,
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
        let bytes = self.gap().map_or(self.header.stride(), |gap| gap.bytes.into());
        self.position.saturating_add(bytes)
    }

    /// Offset of the first record that can stand behind it.
    #[inline]
    pub(crate) fn next_offset(&self) -> Offset {
        self.gap().map_or(self.offset.after(self.header.record_count.into()), |gap| gap.next_offset)
    }

    /// What a gap stands for, if it is one.
    #[inline]
    pub(crate) fn gap(&self) -> Option<GapBody> {
        if self.header.kind == Kind::Gap { GapBody::decode(self.body).ok() } else { None }
    }

    /// Its records; none unless it is a data frame.
    #[inline]
    pub(crate) fn records(&self) -> record::Records<'a> {
        record::Records::new(self.body, &self.header, self.offset)
    }

    /// How many records are in it.
    #[inline]
    pub(crate) fn record_count(&self) -> u16 {
        match self.header.layout {
            Layout::Dense => self.header.record_count,
            Layout::Sparse => record::count(self.body, &self.header),
        }
    }

    /// The offset of its first record in `range`, and how many of them lie there; `None`: none does.
    #[inline]
    pub(crate) fn records_in(&self, range: &Range<Offset>) -> Option<(Offset, u64)> {
        if self.header.layout == Layout::Sparse {
            return self.sparse_in(range);
        }
        let first = self.offset.max(range.start);
        let end = self.offset.after(self.header.record_count.into()).min(range.end);
        (first < end).then(|| (first, end.since(first)))
    }

    #[cold]
    fn sparse_in(&self, range: &Range<Offset>) -> Option<(Offset, u64)> {
        let mut within = self.records().filter(|record| range.contains(&record.offset()));
        let first = within.next()?.offset();
        Some((first, within.fold(1, |count, _| u64::saturating_add(count, 1))))
    }

    /// Checks the body, for one that was skimmed.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        judge(&self.header, self.body)
    }

    /// Its state entries.
    pub(crate) fn states(&self) -> States<'a> {
        record::states(self.body, &self.header)
    }

    /// The durable line that it carries in segment `number`, if it is of a kind that does. One that lies behind its own frame is
    /// no writer's.
    pub(crate) fn line(&self, number: u64) -> Option<control::LineBody> {
        if !matches!(self.header.kind, Kind::Mark | Kind::Seal | Kind::Close) {
            return None;
        }
        let line = control::LineBody::decode(self.body).ok()?;
        (line.durable.place <= Place::new(number, self.position)).then_some(line)
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
    /// Not a valid frame; if its header is, where the next one begins by its length, and which offset that has.
    Bad {
        fault: Fault,
        next: Option<(u64, Offset)>,
    },
}

impl Frames {
    pub(crate) fn new(header: &SegmentHeader, end: u64) -> Self {
        let covered = |rewritten: Rewritten| Covered { end: rewritten.end, end_offset: rewritten.end_offset };
        Self {
            seed: Seed::new(header.incarnation),
            first_offset: header.first_offset,
            end: end.min(header.capacity),
            rewritten: header.rewritten.map(covered),
        }
    }

    /// The offset that comes next at a position, if it is `offset` after the frame before. What a rewritten segment dropped
    /// behind its last frame is passed with that.
    #[inline]
    pub(crate) fn offset_at(&self, position: u64, offset: Offset) -> Offset {
        match &self.rewritten {
            Some(covered) if position >= covered.end => offset.max(covered.end_offset),
            _ => offset,
        }
    }

    /// Whether a frame may stand where `expected` is the next offset.
    #[inline]
    fn fits(&self, frame: &Frame<'_>, expected: Offset) -> Result<(), Fault> {
        match &self.rewritten {
            None if frame.offset == expected && frame.header.layout == Layout::Dense => Ok(()),
            rewritten => misplaced(rewritten.as_ref(), frame, expected),
        }
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
        let frame = Frame { header, body: frame::body(bytes, &header), position, offset };
        match self.fits(&frame, expected).and_then(|()| self.judge(&frame)) {
            Ok(()) => Step::Frame(frame),
            // Without a body that checks nobody knows how far a gap reaches.
            Err(fault) if header.kind == Kind::Gap && self.judge(&frame).is_err() => bad(fault),
            Err(fault) => {
                let next = self.offset_at(frame.end(), frame.next_offset());
                Step::Bad { fault, next: Some((frame.end(), next)) }
            }
        }
    }

    #[inline]
    fn judge_gap(&self, frame: &Frame<'_>) -> Result<(), Fault> {
        if frame.header.kind == Kind::Gap { self.judge(frame) } else { Ok(()) }
    }

    fn judge(&self, frame: &Frame<'_>) -> Result<(), Fault> {
        judge(&frame.header, frame.body)?;
        let Some(gap) = frame.gap() else { return Ok(()) };
        let bytes = u64::from(gap.bytes);
        let fits = bytes >= frame.header.stride() && bytes.is_multiple_of(FRAME_ALIGNMENT) && frame.end() <= self.end;
        // Frames behind the gap say their offsets in 32 bits, from the segment's first.
        let known = gap.next_offset >= frame.offset && gap.next_offset.since(self.first_offset) <= u32::MAX.into();
        if fits && known { Ok(()) } else { Err(Fault::Content { what: "a gap that does not fit where it stands" }) }
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
                let frame = Frame { header, body: frame::body(bytes, &header), position, offset };
                if let Err(fault) = self.fits(&frame, expected) {
                    return bad(fault);
                }
                // Where the next frame begins stands in the body of a gap.
                match self.judge_gap(&frame) {
                    Ok(()) => Step::Frame(frame),
                    Err(fault) => bad(fault),
                }
            }
        }
    }

    /// As [`Frames::skim`], also where only the header is at hand: the body is then empty.
    pub(crate) fn glance<'a>(&self, bytes: &'a [u8], position: u64, expected: Offset) -> Step<'a> {
        let skimmed = self.skim(bytes, position, expected);
        let Step::Short { .. } = skimmed else { return skimmed };
        // How far a gap goes stands in its body.
        match frame::header(bytes, self.seed, position, self.end.saturating_sub(position)) {
            Some(header) if header.kind != Kind::Gap => {
                let offset = self.first_offset.after(header.offset_delta.into());
                let frame = Frame { header, body: &[], position, offset };
                self.fits(&frame, expected).map_or_else(bad, |()| Step::Frame(frame))
            }
            _ => skimmed,
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

/// Why a frame may not stand where it does, if so; it may, in a rewritten segment.
#[cold]
fn misplaced(rewritten: Option<&Covered>, frame: &Frame<'_>, expected: Offset) -> Result<(), Fault> {
    match rewritten {
        Some(covered) if frame.offset >= expected && frame.next_offset() <= covered.end_offset => Ok(()),
        Some(_) if frame.offset >= expected => {
            Err(Fault::Content { what: "a frame that reaches past the offsets of its segment" })
        }
        None if frame.offset == expected => {
            Err(Fault::Content { what: "a sparse frame in a segment that was not rewritten" })
        }
        _ => Err(wrong_offset(frame.offset, expected)),
    }
}

#[cold]
fn wrong_offset(found: Offset, expected: Offset) -> Fault {
    Fault::Offset { found: found.get(), expected: expected.get() }
}

#[inline]
fn judge(header: &FrameHeader, body: &[u8]) -> Result<(), Fault> {
    frame::check_body(body, header)?;
    // Any other kind has one length, and the header was asked for it.
    if header.kind == Kind::Data { record::check(body, header) } else { Ok(()) }
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

    /// As [`Walk::skim`], also where only the header is at hand.
    pub(crate) fn glance(&mut self) -> Step<'a> {
        self.go(Frames::glance)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::HEADER_BYTES;
    use crate::format::header::sample;
    use crate::types::{Timestamp, Topic};

    fn frame(seed: Seed, offset_delta: u32, record_count: u16, layout: Layout) -> Vec<u8> {
        let record = [1, 0, 0, 0, 0, b'x'];
        let body = match layout {
            Layout::Dense => record.repeat(record_count.into()),
            Layout::Sparse => [&[1, 0, 1, 0, 0, 0, 0][..], &(record_count - 1).to_le_bytes(), b"x"].concat(),
        };
        let header = FrameHeader {
            length: u32::try_from(HEADER_BYTES + body.len()).expect("small"),
            kind: Kind::Data,
            layout,
            body_checksum: crate::checksum::plain(&body),
            topic: Some(Topic::default()),
            time: Timestamp::default(),
            offset_delta,
            record_count,
            state_count: 0,
            header_checksum: 0,
        };
        [&header.encode(seed, FRAMES_START).to_bytes()[..], &body].concat()
    }

    #[test]
    fn offsets_have_holes_in_a_rewritten_segment_alone_and_stay_in_its_range() {
        use Layout::{Dense, Sparse};
        let rewritten = Rewritten {
            end: 8192,
            last_number: 3,
            end_offset: Offset::new(1010),
            records: 9,
            incarnation: 77,
            original_end: 12288,
            places: crate::format::header::Places::Kept,
        };
        let old = sample();
        let new = SegmentHeader { generation: 1, rewritten: Some(rewritten), ..old };
        for (header, delta, count, layout, expected, valid) in [
            (old, 3, 2, Dense, 1003, true),
            (old, 4, 2, Dense, 1003, false),
            (old, 3, 2, Sparse, 1003, false),
            (new, 3, 2, Dense, 1003, true),
            (new, 4, 2, Dense, 1003, true),
            (new, 2, 2, Dense, 1003, false),
            (new, 8, 2, Sparse, 1000, true),
            (new, 9, 2, Sparse, 1000, false),
            (new, 9, 2, Dense, 1000, false),
        ] {
            let frames = Frames::new(&header, 8192);
            let bytes = frame(frames.seed, delta, count, layout);
            let what = (delta, count, layout, header.generation);
            for step in [Frames::step, Frames::skim, Frames::glance] {
                let found = step(&frames, &bytes, FRAMES_START, Offset::new(expected));
                assert_eq!(matches!(found, Step::Frame(_)), valid, "{what:?}");
            }
            let head = &bytes[..HEADER_BYTES];
            let glanced = frames.glance(head, FRAMES_START, Offset::new(expected));
            assert_eq!(matches!(glanced, Step::Frame(frame) if frame.body.is_empty()), valid, "{what:?}");
            assert!(matches!(frames.skim(head, FRAMES_START, Offset::new(expected)), Step::Short { .. }));
            assert!(matches!(frames.glance(&head[1..], FRAMES_START, Offset::ZERO), Step::Short { .. }));
        }
        let frames = Frames::new(&new, 8192);
        let at = |position, offset| frames.offset_at(position, Offset::new(offset)).get();
        assert_eq!((at(8184, 1003), at(8192, 1003), at(8192, 1010)), (1003, 1010, 1010));
        assert_eq!(Frames::new(&old, 8192).offset_at(8192, Offset::new(1003)).get(), 1003);
    }
}
