//! One segment: a file with a header and frames behind it.
//!
//! Guarantees:
//! 1. A [`Segment`] reads only what is published; see [`buffer`].
//! 2. A frame that [`SegmentWriter::append`] returned from is visible, whole, and in the block index if it is the first of
//!    its block.
//! 3. What [`SegmentWriter::append`] stores is a valid frame (`format.md`) at the position it returns.
//!
//! Left to others: which segments form the log, when to roll, what is durable.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

mod buffer;
pub(crate) mod index;
pub(crate) mod walk;

use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::checksum::{self, Seed};
use crate::format::frame::{FrameHeader, FrameMark, HEADER_BYTES, Layout, WORD_BYTES};
use crate::format::header::SegmentHeader;
use crate::format::record::{self, Shape};
use crate::format::state::StateEntry;
use crate::format::{self, FRAMES_START, Kind};
use crate::platform::Region;
use crate::types::{Offset, Record, Timestamp, Topic, length};
use buffer::{Buffer, Writer};
use index::{BLOCK_BYTES, BlockIndex, Entry};
use walk::Frames;

/// Bodies whose records are longer than this are summed before the lock, others under it: there they are in the cache and
/// in one piece, and a sum over many small pieces costs several times one over the whole.
pub(crate) const SUM_BEFORE_LOCK_BYTES: usize = 4096;

/// The most offsets of a segment before the last batch.
const OFFSETS_MAX: u64 = 0xffff_0000;

/// A mapped segment, for reading.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Set when the segment is activated; a spare has none yet.
    header: OnceLock<SegmentHeader>,
    buffer: Arc<Buffer>,
    index: Arc<BlockIndex>,
    /// Bytes below this were on disk when the segment was opened, and may turn out to be unreadable.
    opened: u64,
}

/// A segment without header, all prepared so that activating it costs next to nothing.
#[derive(Debug)]
pub(crate) struct Blank {
    segment: Arc<Segment>,
    writer: Writer,
}

/// The right to append to a segment.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    segment: Arc<Segment>,
    writer: Writer,
    seed: Seed,
    first_offset: Offset,
    time_max: Timestamp,
    next_offset: Offset,
    /// The frame that was stored last.
    last: FrameMark,
    /// Before this the index is left to readers: the first frame of a block that was resumed inside is not this writer's.
    note_from: u64,
}

/// The body of a frame to append.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body<'a> {
    Data { records: &'a [Record<'a>], states: &'a [StateEntry<'a>], shape: &'a Shape, checksum: Option<u32> },
    Control { kind: Kind, bytes: &'a [u8] },
}

/// What an append stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    pub(crate) end: u64,
    pub(crate) first: Offset,
}

impl Blank {
    /// A blank segment on zeroed memory of `region`.
    pub(crate) fn new(region: Region) -> Self {
        let index = Arc::new(BlockIndex::new(region.length()));
        let (buffer, writer) = Buffer::new(region, 0);
        Self { segment: Arc::new(Segment { header: OnceLock::new(), buffer, index, opened: 0 }), writer }
    }

    pub(crate) fn region(&self) -> &Region {
        self.segment.buffer.region()
    }

    /// What it will be; nobody reads there yet.
    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Stores the header, its magic last, and makes the segment ready for frames.
    pub(crate) fn activate(mut self, header: &SegmentHeader) -> Option<SegmentWriter> {
        let encoded = header.encode();
        let (word, rest) = encoded.split_first_chunk::<WORD_BYTES>()?;
        self.writer.frame(FRAMES_START)?.get_mut(..rest.len())?.copy_from_slice(rest);
        self.segment.header.set(*header).ok()?;
        self.writer.publish(u64::from_le_bytes(*word), FRAMES_START);
        Some(SegmentWriter {
            segment: self.segment,
            writer: self.writer,
            seed: Seed::new(header.incarnation),
            first_offset: header.first_offset,
            time_max: header.time_max,
            next_offset: header.first_offset,
            last: FrameMark::default(),
            note_from: 0,
        })
    }
}

impl Segment {
    /// A segment whose frames fill `region` up to `published`.
    fn new(header: SegmentHeader, region: Region, published: u64) -> (Arc<Self>, Writer) {
        let index = Arc::new(BlockIndex::new(header.capacity));
        let (buffer, writer) = Buffer::new(region, published);
        (Arc::new(Self { header: OnceLock::from(header), buffer, index, opened: published }), writer)
    }

    /// A segment that nobody writes any more.
    pub(crate) fn sealed(header: SegmentHeader, region: Region, end: u64) -> Arc<Self> {
        Self::new(header, region, end).0
    }

    pub(crate) fn header(&self) -> &SegmentHeader {
        self.header.get().expect("only blank segments have no header, and nobody is given one")
    }

    pub(crate) fn region(&self) -> &Region {
        self.buffer.region()
    }

    /// Sees to it that published bytes can be read; a touch of an unreadable page would end the process.
    pub(crate) fn load(&self, range: Range<u64>) -> io::Result<()> {
        let end = range.end.min(self.opened);
        if range.start < end { self.buffer.region().load(range.start..end) } else { Ok(()) }
    }

    /// Up to where frames are published.
    #[inline]
    pub(crate) fn published(&self) -> u64 {
        self.buffer.published()
    }

    /// Published bytes; `None` if the range is not all published.
    #[inline]
    pub(crate) fn bytes(&self, range: Range<u64>) -> Option<&[u8]> {
        self.buffer.bytes(range)
    }

    pub(crate) fn index(&self) -> &Arc<BlockIndex> {
        &self.index
    }

    /// How to walk over its frames.
    pub(crate) fn frames(&self) -> Frames {
        Frames::new(self.header(), self.header().capacity)
    }
}

impl SegmentWriter {
    /// Goes on behind the `published` bytes of a segment.
    pub(crate) fn resume(
        header: SegmentHeader,
        region: Region,
        published: u64,
        next_offset: Offset,
        time_max: Timestamp,
    ) -> Self {
        let (segment, writer) = Segment::new(header, region, published);
        let seed = Seed::new(header.incarnation);
        Self {
            segment,
            writer,
            seed,
            first_offset: header.first_offset,
            time_max,
            next_offset,
            last: FrameMark::default(),
            note_from: published.next_multiple_of(BLOCK_BYTES),
        }
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Where the next frame goes.
    #[inline]
    pub(crate) fn tail(&self) -> u64 {
        self.writer.tail()
    }

    /// Offset of the next record.
    #[inline]
    pub(crate) fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Whether the largest batch would still have offsets: they are counted from the segment's first in 32 bits.
    #[inline]
    pub(crate) fn has_offsets(&self) -> bool {
        self.next_offset.since(self.first_offset) <= OFFSETS_MAX
    }

    /// The frame that was stored last; none that there is, before the first.
    pub(crate) fn last(&self) -> FrameMark {
        self.last
    }

    /// Latest append time so far.
    pub(crate) fn time_max(&self) -> Timestamp {
        self.time_max
    }

    /// Appends one frame and publishes it. `None`, and nothing stored, if it does not fit behind the tail.
    #[inline]
    pub(crate) fn append(&mut self, body: &Body<'_>, time: Timestamp) -> Option<Appended> {
        let position = self.writer.tail();
        let first = self.next_offset;
        let offset_delta = u32::try_from(first.since(self.first_offset)).ok()?;
        let frame_length = u32::try_from(body.frame_length()).ok()?;
        let to = self.writer.frame(frame_length.into())?;
        let (head, to_body) = to.split_first_chunk_mut::<{ HEADER_BYTES - WORD_BYTES }>()?;
        let header = FrameHeader {
            length: frame_length,
            kind: body.kind(),
            layout: Layout::Dense,
            body_checksum: body.store(to_body),
            topic: body.topic(),
            time,
            offset_delta,
            record_count: body.record_count(),
            state_count: body.state_count(),
            header_checksum: 0,
        };
        let encoded = header.encode(self.seed, position);
        encoded.store(head);
        if header.record_count > 0 {
            self.time_max = self.time_max.max(time);
        }
        if position >= self.note_from {
            self.segment.index.note(Entry { position, offset_delta, time_max: self.time_max });
        }
        self.last = FrameMark { position, checksum: encoded.checksum() };
        self.writer.publish(encoded.commit_word(), header.stride());
        self.next_offset = first.after(header.record_count.into());
        Some(Appended { end: self.writer.tail(), first })
    }
}

impl<'a> Body<'a> {
    /// Records and state entries, measured, and summed if they are large.
    #[inline]
    pub(crate) fn data(records: &'a [Record<'a>], states: &'a [StateEntry<'a>], shape: &'a Shape) -> Self {
        let pieces = usize::from(shape.record_count).saturating_add(shape.state_count.into());
        let large = shape.body_length > SUM_BEFORE_LOCK_BYTES.saturating_mul(pieces);
        let checksum = large.then(|| record::checksum_of(records, states, shape));
        Self::Data { records, states, shape, checksum }
    }

    /// Header and body, without padding.
    #[inline]
    pub(crate) fn frame_length(&self) -> u64 {
        let body = match self {
            Self::Data { shape, .. } => shape.body_length,
            Self::Control { bytes, .. } => bytes.len(),
        };
        length(body).saturating_add(length(HEADER_BYTES))
    }

    /// What it takes from the segment.
    #[inline]
    pub(crate) fn stride(&self) -> u64 {
        format::align(self.frame_length())
    }

    #[inline]
    fn kind(&self) -> Kind {
        match self {
            Self::Data { .. } => Kind::Data,
            Self::Control { kind, .. } => *kind,
        }
    }

    #[inline]
    fn topic(&self) -> Option<Topic> {
        match self {
            Self::Data { shape, .. } => shape.topic,
            Self::Control { .. } => Some(Topic::default()),
        }
    }

    #[inline]
    pub(crate) fn record_count(&self) -> u16 {
        match self {
            Self::Data { shape, .. } => shape.record_count,
            Self::Control { .. } => 0,
        }
    }

    #[inline]
    pub(crate) fn state_count(&self) -> u16 {
        match self {
            Self::Data { shape, .. } => shape.state_count,
            Self::Control { .. } => 0,
        }
    }

    /// Copies the body into the segment and returns its checksum.
    #[inline]
    fn store(&self, to: &mut [u8]) -> u32 {
        match self {
            Self::Data { records, states, shape, checksum } => {
                record::encode(records, states, shape, to);
                checksum.unwrap_or_else(|| checksum::plain(to))
            }
            Self::Control { bytes, .. } => {
                debug_assert_eq!(to.len(), bytes.len(), "frame_length counts the body");
                if to.len() == bytes.len() {
                    to.copy_from_slice(bytes);
                }
                checksum::plain(to)
            }
        }
    }
}

#[cfg(test)]
mod tests;
