//! Bytes of a segment, wherever they come from: a map, or a file read into memory.
//!
//! Guarantees:
//! 1. A [`Chunk`] keeps its bytes alive and unchanged: it pins the map, or owns a copy.
//! 2. A chunk never reaches past the limit that was asked for, nor past what is published or stored in the file.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::format::Fault;
use crate::format::header::SegmentHeader;
use crate::platform::File;
use crate::segment::Segment;
use crate::segment::index::{BlockIndex, Entry};
use crate::segment::walk::{Frame, Frames, Step};
use crate::types::{Line, Offset, Timestamp, index, length};

/// How much of a segment is taken at once while scanning.
pub(crate) const SCAN_BYTES: u64 = 256 * 1024;

/// Of frames that stand inside of one another, and lie: how many are not believed how long they are (`format.md`). Each byte
/// is summed as often at most, and once more.
const LIARS_MAX: usize = 8;

/// How much of what is no frame is read once more.
const AGAIN_BYTES: u64 = 4096;

/// Where the bytes of a segment come from.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    /// Published bytes of a map.
    Mapped(Arc<Segment>),
    /// A file, copied piece by piece.
    File(Arc<dyn File>),
}

/// A piece of a segment.
#[derive(Debug, Clone)]
pub(crate) enum Chunk {
    Mapped { segment: Arc<Segment>, range: Range<u64> },
    Owned { bytes: Vec<u8>, start: u64 },
}

impl Store {
    /// The bytes from `position` on, `bytes` long if `limit` allows.
    pub(crate) fn load(&self, position: u64, bytes: u64, limit: u64) -> io::Result<Chunk> {
        let end = position.saturating_add(bytes).min(limit);
        match self {
            Self::Mapped(segment) => {
                let end = end.min(segment.published()).max(position);
                segment.load(position..end)?;
                Ok(Chunk::Mapped { segment: Arc::clone(segment), range: position..end })
            }
            Self::File(file) => {
                // A limit may be what a header claims; the file has what it has.
                let end = end.min(file.length()?);
                let mut copy = vec![0; index(end.saturating_sub(position))];
                let read = file.read_at(&mut copy, position)?;
                copy.truncate(read);
                Ok(Chunk::Owned { bytes: copy, start: position })
            }
        }
    }
}

impl Chunk {
    pub(crate) const EMPTY: Self = Self::Owned { bytes: Vec::new(), start: 0 };

    /// Position of its first byte.
    #[inline]
    pub(crate) fn start(&self) -> u64 {
        match self {
            Self::Mapped { range, .. } => range.start,
            Self::Owned { start, .. } => *start,
        }
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped { segment, range } => segment.bytes(range.clone()).unwrap_or_default(),
            Self::Owned { bytes, .. } => bytes,
        }
    }

    /// The bytes from `position` to its end; empty if it lies outside.
    #[inline]
    pub(crate) fn from(&self, position: u64) -> &[u8] {
        let skip = position.checked_sub(self.start()).map_or(usize::MAX, index);
        self.bytes().get(skip..).unwrap_or_default()
    }
}

/// A segment to read from: its header, where its bytes come from, and an index of it that grows with use.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) header: SegmentHeader,
    pub(crate) store: Store,
    pub(crate) frames: Frames,
    index: Arc<BlockIndex>,
}

impl View {
    pub(crate) fn mapped(segment: Arc<Segment>) -> Self {
        let (header, frames) = (*segment.header(), segment.frames());
        Self { header, frames, index: Arc::clone(segment.index()), store: Store::Mapped(segment) }
    }

    pub(crate) fn of_file(header: SegmentHeader, file: Arc<dyn File>) -> Self {
        let index = Arc::new(BlockIndex::new(header.capacity));
        Self { header, frames: Frames::new(&header, header.capacity), store: Store::File(file), index }
    }

    /// Offset of the frame that begins with these bytes of a chunk, if one does that ends before `limit`.
    pub(crate) fn offset_at(&self, chunk: &Chunk, position: u64, limit: u64) -> Option<Offset> {
        let room = limit.saturating_sub(position);
        let header = crate::format::frame::header(chunk.from(position), self.frames.seed, position, room)?;
        Some(self.frames.first_offset.after(header.offset_delta.into()))
    }

    /// Takes in what is known of a block from elsewhere. `false`: it was known before.
    pub(crate) fn note(&self, entry: Entry) -> bool {
        let known = self.index.knows(entry.position);
        self.index.note(entry);
        !known
    }

    /// The last indexed frame of which `before` is true, among all frames up to `limit`; the index is completed on the way.
    /// `before` must be true of a first part of the frames. `None`: it is true of none.
    pub(crate) fn locate(&self, limit: u64, before: impl Fn(&Entry) -> bool) -> io::Result<Option<Entry>> {
        let known = self.index.last_where(&before);
        let start = known.unwrap_or(Entry {
            position: crate::format::FRAMES_START,
            offset_delta: 0,
            time_max: self.header.time_max,
        });
        let offset = self.header.first_offset.after(start.offset_delta.into());
        let mut scan = Scan::new(self.store.clone(), self.frames, start.position, offset, limit);
        let mut time_max = start.time_max;
        while let Scanned::Frame(found) = scan.skim()? {
            time_max = time_max.max(found.time_of_records());
            let entry = Entry { position: found.position, offset_delta: found.header.offset_delta, time_max };
            self.index.note(entry);
            if !before(&entry) {
                break;
            }
        }
        Ok(self.index.last_where(before))
    }

    /// Where a search begins if the index knows of nothing before: the first frame, with no append time yet.
    pub(crate) fn start_entry() -> Entry {
        Entry {
            position: crate::format::FRAMES_START,
            offset_delta: 0,
            time_max: Timestamp::from_nanoseconds(i64::MIN),
        }
    }
}

/// A frame that a scan found; its body is in the scan's chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoundFrame {
    pub(crate) header: crate::format::frame::FrameHeader,
    pub(crate) position: u64,
    pub(crate) offset: Offset,
    /// Records in it.
    pub(crate) records: u16,
}

impl FoundFrame {
    /// When its records were appended; the earliest time there is, for a frame without records.
    pub(crate) fn time_of_records(&self) -> Timestamp {
        if self.header.record_count > 0 { self.header.time } else { Timestamp::from_nanoseconds(i64::MIN) }
    }
}

/// What a scan found at its position.
#[derive(Debug)]
pub(crate) enum Scanned {
    Frame(FoundFrame),
    Zero,
    Bad {
        fault: Fault,
        next: Option<(u64, Offset)>,
    },
    /// The limit is reached.
    End,
}

/// Goes over the frames of a segment, loading it piece by piece. Behind the last frame of a rewritten one `offset` is the one
/// behind its range.
#[derive(Debug)]
pub(crate) struct Scan {
    store: Store,
    frames: Frames,
    chunk: Chunk,
    pub(crate) position: u64,
    pub(crate) offset: Offset,
    limit: u64,
    /// Where the frame begins that was skimmed last, and its offset.
    skimmed: Option<(u64, Offset)>,
    liars: Liars,
}

/// Frames whose sums are right, and whose length, counts and content contradict each other: the length may be what is wrong.
#[derive(Debug, Default)]
struct Liars {
    /// Those that are not believed, of which each but the first begins before the end of one before it.
    positions: Vec<u64>,
    end: u64,
}

impl Liars {
    /// Whether the length of one more is believed. Of the same one the answer stays the same.
    fn believe(&mut self, position: u64, end: u64) -> bool {
        let first = self.positions.first().copied().unwrap_or_default();
        if !(first..self.end).contains(&position) {
            self.positions.clear();
            self.end = 0;
        }
        if self.positions.contains(&position) {
            return false;
        }
        if self.positions.len() >= LIARS_MAX {
            return true;
        }
        self.positions.push(position);
        self.end = self.end.max(end);
        false
    }
}

impl Scanned {
    /// Why it is no frame.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Bad { fault, .. } => *fault,
            Self::Frame(_) | Self::Zero | Self::End => Fault::Missing,
        }
    }
}

impl Scan {
    pub(crate) fn new(store: Store, frames: Frames, position: u64, offset: Offset, limit: u64) -> Self {
        Self {
            store,
            frames: Frames { end: limit.min(frames.end), ..frames },
            chunk: Chunk::EMPTY,
            position,
            offset: frames.offset_at(position, offset),
            limit,
            skimmed: None,
            liars: Liars::default(),
        }
    }

    /// Checks the frame at the position in full, and goes on behind it if it is valid.
    pub(crate) fn next(&mut self) -> io::Result<Scanned> {
        self.go(Frames::step)
    }

    /// As [`Scan::next`], without looking at the body.
    pub(crate) fn skim(&mut self) -> io::Result<Scanned> {
        let from = (self.position, self.offset);
        let found = self.go(Frames::skim)?;
        if matches!(found, Scanned::Frame(_)) {
            self.skimmed = Some(from);
        }
        Ok(found)
    }

    /// Why a skim came no further, with the scan at the place that is to blame. That may be the frame before: where its header
    /// says a wrong length or count, only its body shows it.
    pub(crate) fn blame(&mut self, stopped: &Scanned) -> io::Result<Fault> {
        let reached = (self.position, self.offset);
        if let Some(skimmed) = self.skimmed.take() {
            (self.position, self.offset) = skimmed;
            if let Scanned::Bad { fault, .. } = self.next()? {
                return Ok(fault);
            }
            (self.position, self.offset) = reached;
        }
        Ok(stopped.fault())
    }

    /// The frame that was found last, whole.
    pub(crate) fn frame(&self, found: &FoundFrame) -> Frame<'_> {
        let body = crate::format::frame::body(self.chunk.from(found.position), &found.header);
        Frame { header: found.header, body, position: found.position, offset: found.offset }
    }

    /// Checks the body of the frame that was skimmed last.
    pub(crate) fn check(&self, found: &FoundFrame) -> Result<(), Fault> {
        self.frame(found).check()
    }

    fn go(&mut self, step: for<'a> fn(&Frames, &'a [u8], u64, Offset) -> Step<'a>) -> io::Result<Scanned> {
        if self.position >= self.limit {
            return Ok(Scanned::End);
        }
        let mut needed = crate::types::length(crate::format::frame::HEADER_BYTES);
        loop {
            if length(self.chunk.from(self.position).len()) < needed {
                self.chunk = self.store.load(self.position, needed.max(SCAN_BYTES), self.limit)?;
            }
            match step(&self.frames, self.chunk.from(self.position), self.position, self.offset) {
                Step::Frame(frame) => {
                    let records = frame.record_count();
                    let Frame { header, position, offset, .. } = frame;
                    let found = FoundFrame { header, position, offset, records };
                    self.position = frame.end();
                    self.offset = self.frames.offset_at(self.position, frame.next_offset());
                    return Ok(Scanned::Frame(found));
                }
                Step::Zero => return Ok(Scanned::Zero),
                Step::Bad { fault: fault @ (Fault::Content { .. } | Fault::State { .. }), next: Some(next) } => {
                    let next = self.liars.believe(self.position, next.0).then_some(next);
                    return Ok(Scanned::Bad { fault, next });
                }
                Step::Bad { fault, next } => return Ok(Scanned::Bad { fault, next }),
                Step::Short { needed: more }
                    if more > length(self.chunk.from(self.position).len()) && more > needed =>
                {
                    needed = more;
                }
                Step::Short { needed: more } => {
                    let found = length(self.chunk.from(self.position).len());
                    return Ok(Scanned::Bad { fault: Fault::Short { found, expected: more }, next: None });
                }
            }
        }
    }

    /// As [`Scan::next`], whatever the frame's offset is: behind damage nobody knows which one is the next.
    pub(crate) fn next_anywhere(&mut self) -> io::Result<Scanned> {
        match self.next()? {
            Scanned::Bad { fault: Fault::Offset { found, .. }, .. } => {
                self.offset = Offset::new(found);
                self.next()
            }
            found => Ok(found),
        }
    }

    /// As [`Scan::next`], and what is no frame is read once more: it may be being stored just now. Only what has changed
    /// since costs more than the frame itself.
    pub(crate) fn next_settled(&mut self) -> io::Result<Scanned> {
        let found = self.next()?;
        let bytes = match &found {
            Scanned::Frame(_) | Scanned::End => return Ok(found),
            Scanned::Bad { next: Some((next, _)), .. } => next.saturating_sub(self.position),
            Scanned::Zero | Scanned::Bad { next: None, .. } => AGAIN_BYTES,
        };
        let again = self.store.load(self.position, bytes, self.limit)?;
        let at_hand = self.chunk.from(self.position);
        if at_hand.get(..at_hand.len().min(index(bytes))) == Some(again.bytes()) {
            return Ok(found);
        }
        self.chunk = Chunk::EMPTY;
        self.next()
    }

    /// Bytes of the segment, whatever they are.
    pub(crate) fn load(&self, range: Range<u64>) -> io::Result<Chunk> {
        self.store.load(range.start, range.end.saturating_sub(range.start), self.limit)
    }

    /// The next valid frame before the limit, whatever lies in front of it. `None`: there is none.
    pub(crate) fn next_whole(&mut self) -> io::Result<Option<FoundFrame>> {
        loop {
            match self.next_anywhere()? {
                Scanned::Frame(found) => return Ok(Some(found)),
                Scanned::Bad { next: Some((position, offset)), .. } => {
                    (self.position, self.offset) = (position, offset);
                }
                Scanned::Bad { next: None, .. } | Scanned::Zero | Scanned::End => {
                    if !self.resync()? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Counts valid frames and their records from here to the limit, whatever lies between them, and raises `durable` to the
    /// highest line that they carry in segment `number`.
    pub(crate) fn count_on(&mut self, number: u64, durable: &mut Line) -> io::Result<(u64, u64)> {
        let (mut frames, mut records) = (0_u64, 0_u64);
        while let Some(found) = self.next_whole()? {
            frames = frames.saturating_add(1);
            records = records.saturating_add(found.records.into());
            if let Some(line) = self.frame(&found).line(number) {
                *durable = (*durable).max(line.durable);
            }
        }
        Ok((frames, records))
    }

    /// Moves to the next valid frame header behind the position, whatever its offset. `false`: there is none.
    pub(crate) fn resync(&mut self) -> io::Result<bool> {
        let mut at = self.position.saturating_add(crate::format::FRAME_ALIGNMENT);
        let header_bytes = length(crate::format::frame::HEADER_BYTES);
        while at < self.limit {
            if length(self.chunk.from(at).len()) < header_bytes {
                self.chunk = self.store.load(at, SCAN_BYTES, self.limit)?;
            }
            let bytes = self.chunk.from(at);
            if let Some((position, offset)) = self.frames.resync(bytes, at) {
                (self.position, self.offset) = (position, offset);
                return Ok(true);
            }
            // A header that begins in the last bytes of this piece is found in the next, which overlaps it.
            let step = length(bytes.len()).saturating_sub(header_bytes);
            at = at.saturating_add(step.max(crate::format::FRAME_ALIGNMENT) & !(crate::format::FRAME_ALIGNMENT - 1));
            if bytes.is_empty() {
                break;
            }
        }
        self.position = self.limit;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_liars_inside_of_one_another_are_not_believed_and_a_ninth_is() {
        let mut liars = Liars::default();
        // Looked at twice, and gone over once more from the start: the same answers.
        for _ in 0..2 {
            for at in 0..20_u64 {
                let believed = at >= 8;
                assert_eq!(liars.believe(at * 40, 4000 + at), believed, "{at}");
                assert_eq!(liars.believe(at * 40, 4000 + at), believed, "{at}, again");
            }
        }
        assert!(!liars.believe(4007, 5000), "it stands behind all that were not believed");
        assert!(!liars.believe(4047, 4100));
    }
}
