//! Makes the index file of a segment.
//!
//! Guarantees:
//! 1. What it says is what the segment holds, every frame of which was checked in full: of a damaged one there is no index.
//! 2. The same segment gives the same bytes, whatever the memory: whoever compares needs no second opinion.
//! 3. Memory: what it was given for the keys, and at most 16 MiB for topics and buffers. Keys that do not fit are taken in
//!    several passes over the segment, each a range of hashes; a single hash with too many is written as it comes.

mod topics;

use std::io;
use std::ops::Range;

use crate::checksum::Pieces;
use crate::format::header::SegmentHeader;
use crate::format::index::{
    BLOCK_BYTES, BlockRow, Counts, FILTER_BLOCK_BYTES, IndexHeader, KeyEntry, KeyHash, Layout, bucket,
};
use crate::format::{FRAMES_START, Kind};
use crate::log::window::{Scan, Scanned, View};
use crate::segment::walk::Frame;
use crate::types::{Timestamp, index, length};
use topics::Topics;

/// The least memory for keys that makes sense.
const KEY_BYTES_MIN: u64 = 16 << 10;
/// How often to ask whether to go on.
const PIECE_BYTES: u64 = 1 << 20;
const BUFFER_BYTES: usize = 64 << 10;
/// Into how many parts a range of hashes is divided.
const CELLS: u64 = 4096;
const HASHES: u64 = 1 << 32;

/// Why there is no index.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The segment is damaged, or holds more than an index can.
    Unfit,
    /// It was told to stop.
    Stopped,
    /// What is there is not what would be written.
    Differs,
    Io(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    GoOn,
    Stop,
}

/// Where an index file goes.
pub(crate) trait Sink {
    /// Makes a file of so many bytes.
    fn begin(&mut self, file_bytes: u64) -> Result<(), Failed>;
    fn put(&mut self, position: u64, bytes: &[u8]) -> Result<(), Failed>;
}

/// A sealed segment to index.
pub(crate) struct Sealed<'a> {
    pub(crate) header: &'a SegmentHeader,
    pub(crate) view: &'a View,
    pub(crate) end: u64,
}

/// A record with a key.
#[derive(Debug, Clone, Copy)]
struct Keyed {
    hash: KeyHash,
    eighth: u32,
    record: u16,
}

impl Keyed {
    fn entry(&self) -> KeyEntry {
        KeyEntry { upper: self.hash.upper(), eighth: self.eighth, record: self.record }
    }
}

/// What one look at the whole segment tells.
struct Outline {
    blocks: Vec<BlockRow>,
    topics: Topics,
    entries: u32,
    /// Entries by the upper bits of their hash.
    cells: Vec<u32>,
    /// All of them, unless they are too many.
    keyed: Option<Vec<Keyed>>,
    last_gap: u64,
}

/// Makes the index of a segment, with so much memory for keys.
pub(crate) fn build(
    sealed: &Sealed<'_>,
    memory: u64,
    sink: &mut dyn Sink,
    pace: &mut dyn FnMut() -> Pace,
) -> Result<(), Failed> {
    let most = index(memory.max(KEY_BYTES_MIN) >> 1) / size_of::<Keyed>();
    let mut walk = Walk { sealed, pace };
    let outline = walk.outline(most)?;
    let header = IndexHeader {
        subject: sealed.header.subject(sealed.end),
        counts: Counts { topics: outline.topics.counts(), entries: outline.entries },
        last_gap: outline.last_gap,
        body_checksum: 0,
    };
    if IndexHeader::decode(&header.encode()).is_err() {
        return Err(Failed::Unfit);
    }
    let layout = header.layout();
    sink.begin(layout.file_bytes())?;
    let mut sum = Pieces::default();
    let mut blocks = Section::new(&layout.blocks);
    for row in &outline.blocks {
        blocks.put(sink, &row.encode())?;
    }
    sum.append(&blocks.end(sink)?);
    let mut topics = Section::new(&layout.topics);
    for row in outline.topics.rows() {
        topics.put(sink, &row.encode())?;
    }
    sum.append(&topics.end(sink)?);
    let mut topic_blocks = Section::new(&layout.topic_blocks);
    for number in outline.topics.blocks() {
        topic_blocks.put(sink, &number.to_le_bytes())?;
    }
    sum.append(&topic_blocks.end(sink)?);
    let mut keys = Keys::new(&layout);
    match outline.keyed {
        Some(keyed) => keys.sorted(sink, keyed)?,
        None => Passes { walk: &mut walk, keys: &mut keys, sink, most }.range(0, HASHES / CELLS, &outline.cells)?,
    }
    keys.end(sink, &mut sum)?;
    let header = IndexHeader { body_checksum: sum.finish(), ..header };
    sink.put(0, &header.encode())
}

/// Goes over the segment.
struct Walk<'a, 'p> {
    sealed: &'a Sealed<'a>,
    pace: &'p mut dyn FnMut() -> Pace,
}

impl Walk<'_, '_> {
    fn each_frame(&mut self, take: &mut dyn FnMut(&Frame<'_>) -> Result<(), Failed>) -> Result<(), Failed> {
        let Sealed { header, view, end } = *self.sealed;
        let mut scan = Scan::new(view.store.clone(), view.frames, FRAMES_START, header.first_offset, end);
        let mut ask_at = PIECE_BYTES;
        loop {
            match scan.next()? {
                Scanned::Frame(found) => take(&scan.frame(&found))?,
                Scanned::End if scan.position == end => return Ok(()),
                Scanned::End | Scanned::Zero | Scanned::Bad { .. } => return Err(Failed::Unfit),
            }
            if scan.position >= ask_at {
                ask_at = scan.position.saturating_add(PIECE_BYTES);
                if (self.pace)() == Pace::Stop {
                    return Err(Failed::Stopped);
                }
            }
        }
    }

    fn each_key(&mut self, take: &mut dyn FnMut(Keyed) -> Result<(), Failed>) -> Result<(), Failed> {
        self.each_frame(&mut |frame| keys_of(frame, take))
    }

    fn outline(&mut self, most: usize) -> Result<Outline, Failed> {
        let blocks = index(self.sealed.end.div_ceil(BLOCK_BYTES));
        let empty = BlockRow { position: 0, offset_delta: 0, time_max: Timestamp::default() };
        let mut outline = Outline {
            blocks: vec![empty; blocks],
            topics: Topics::default(),
            entries: 0,
            cells: vec![0; index(CELLS)],
            keyed: Some(Vec::new()),
            last_gap: 0,
        };
        let mut time_max = self.sealed.header.time_max;
        self.each_frame(&mut |frame| outline.add(frame, &mut time_max, most))?;
        Ok(outline)
    }
}

fn keys_of(frame: &Frame<'_>, take: &mut dyn FnMut(Keyed) -> Result<(), Failed>) -> Result<(), Failed> {
    if frame.header.kind != Kind::Data {
        return Ok(());
    }
    let eighth = crate::format::index::eighth(frame.position);
    for (record, number) in frame.records().zip(0_u16..=u16::MAX) {
        if let Some(key) = record.key() {
            take(Keyed { hash: KeyHash::of(record.topic(), key), eighth, record: number })?;
        }
    }
    Ok(())
}

impl Outline {
    fn add(&mut self, frame: &Frame<'_>, time_max: &mut Timestamp, most: usize) -> Result<(), Failed> {
        if frame.header.record_count > 0 {
            *time_max = (*time_max).max(frame.header.time);
        }
        let block = frame.position / BLOCK_BYTES;
        if let Some(row) = self.blocks.get_mut(index(block)).filter(|row| row.position == 0) {
            let position = u32::try_from(frame.position).map_err(|_| Failed::Unfit)?;
            *row = BlockRow { position, offset_delta: frame.header.offset_delta, time_max: *time_max };
        }
        if frame.gap().is_some() && frame.next_offset() > frame.offset {
            self.last_gap = frame.position;
        }
        if frame.header.kind == Kind::Data {
            let block = u32::try_from(block).map_err(|_| Failed::Unfit)?;
            frame.records().for_each(|record| self.topics.note(record.topic(), block));
        }
        keys_of(frame, &mut |keyed| self.key(keyed, most))
    }

    fn key(&mut self, keyed: Keyed, most: usize) -> Result<(), Failed> {
        self.entries = self.entries.checked_add(1).ok_or(Failed::Unfit)?;
        let cell = u64::from(keyed.hash.upper()) / (HASHES / CELLS);
        if let Some(count) = self.cells.get_mut(index(cell)) {
            *count = count.saturating_add(1);
        }
        if let Some(held) = &mut self.keyed {
            if held.len() >= most {
                self.keyed = None;
            } else {
                if held.len() == held.capacity() {
                    held.reserve_exact(held.len().max(1024).min(most.saturating_sub(held.len())));
                }
                held.push(keyed);
            }
        }
        Ok(())
    }
}

/// Takes the keys range by range.
struct Passes<'a, 'w, 'p> {
    walk: &'a mut Walk<'w, 'p>,
    keys: &'a mut Keys,
    sink: &'a mut dyn Sink,
    most: usize,
}

impl Passes<'_, '_, '_> {
    /// A range of hashes from `low` on, of which is known how many entries each part of `width` hashes has.
    fn range(&mut self, low: u64, width: u64, cells: &[u32]) -> Result<(), Failed> {
        let (mut group, mut held) = (low..low, 0_usize);
        for count in cells {
            let count = index((*count).into());
            let cell = group.end..group.end.saturating_add(width);
            if held.saturating_add(count) > self.most {
                self.collect(&group, held)?;
                (group, held) = (cell.start..cell.start, 0);
            }
            if count > self.most {
                self.split(&cell, width)?;
                group = cell.end..cell.end;
            } else {
                group.end = cell.end;
                held = held.saturating_add(count);
            }
        }
        self.collect(&group, held)
    }

    /// A range that is known to have `count` entries.
    fn collect(&mut self, hashes: &Range<u64>, count: usize) -> Result<(), Failed> {
        if count == 0 {
            return Ok(());
        }
        let mut held = Vec::with_capacity(count);
        self.walk.each_key(&mut |keyed| {
            // The file may not be read as it was before: then the sum of what is written is not that of the segment.
            if held.len() < count && hashes.contains(&keyed.hash.upper().into()) {
                held.push(keyed);
            }
            Ok(())
        })?;
        self.keys.sorted(self.sink, held)
    }

    /// A part with more entries than there is memory for.
    fn split(&mut self, hashes: &Range<u64>, width: u64) -> Result<(), Failed> {
        let (keys, sink) = (&mut *self.keys, &mut *self.sink);
        if width == 1 {
            // They come in the order of their positions.
            return self.walk.each_key(&mut |keyed| {
                if hashes.contains(&keyed.hash.upper().into()) { keys.put(sink, &keyed) } else { Ok(()) }
            });
        }
        let width = (width / CELLS).max(1);
        let mut cells = vec![0_u32; index((hashes.end.saturating_sub(hashes.start)) / width)];
        self.walk.each_key(&mut |keyed| {
            let above = u64::from(keyed.hash.upper()).checked_sub(hashes.start);
            if let Some(count) = above.and_then(|above| cells.get_mut(index(above / width))) {
                *count = count.saturating_add(1);
            }
            Ok(())
        })?;
        self.range(hashes.start, width, &cells)
    }
}

/// The last three sections, which are written side by side in the order of the hashes.
struct Keys {
    entries: Section,
    buckets: Section,
    filter: Section,
    bucket_bits: u32,
    filter_blocks: u32,
    written: u32,
    buckets_begun: u64,
    /// The filter's block at hand.
    block: u32,
    words: [u32; 8],
}

impl Keys {
    fn new(layout: &Layout) -> Self {
        Self {
            entries: Section::new(&layout.entries),
            buckets: Section::new(&layout.buckets),
            filter: Section::new(&layout.filter),
            bucket_bits: layout.bucket_bits,
            filter_blocks: layout.filter_blocks,
            written: 0,
            buckets_begun: 0,
            block: 0,
            words: [0; 8],
        }
    }

    fn sorted(&mut self, sink: &mut dyn Sink, mut keyed: Vec<Keyed>) -> Result<(), Failed> {
        keyed.sort_unstable_by_key(Keyed::entry);
        keyed.iter().try_for_each(|keyed| self.put(sink, keyed))
    }

    fn put(&mut self, sink: &mut dyn Sink, keyed: &Keyed) -> Result<(), Failed> {
        let entry = keyed.entry();
        self.begin_buckets(sink, u64::from(bucket(entry.upper, self.bucket_bits)).saturating_add(1))?;
        self.end_blocks(sink, keyed.hash.filter_block(self.filter_blocks))?;
        self.words.iter_mut().zip(keyed.hash.bits()).for_each(|(word, bit)| *word |= bit);
        self.entries.put(sink, &entry.encode())?;
        self.written = self.written.saturating_add(1);
        Ok(())
    }

    /// Notes that the buckets up to this one begin here.
    fn begin_buckets(&mut self, sink: &mut dyn Sink, up_to: u64) -> Result<(), Failed> {
        while self.buckets_begun < up_to {
            self.buckets.put(sink, &self.written.to_le_bytes())?;
            self.buckets_begun = self.buckets_begun.saturating_add(1);
        }
        Ok(())
    }

    /// Writes the filter's blocks before this one.
    fn end_blocks(&mut self, sink: &mut dyn Sink, before: u32) -> Result<(), Failed> {
        while self.block < before {
            let mut bytes = [0; FILTER_BLOCK_BYTES];
            let (to, _no_rest) = bytes.as_chunks_mut::<4>();
            to.iter_mut().zip(self.words).for_each(|(to, word)| *to = word.to_le_bytes());
            self.filter.put(sink, &bytes)?;
            self.words = [0; 8];
            self.block = self.block.saturating_add(1);
        }
        Ok(())
    }

    fn end(mut self, sink: &mut dyn Sink, sum: &mut Pieces) -> Result<(), Failed> {
        self.begin_buckets(sink, (1_u64 << self.bucket_bits).saturating_add(1))?;
        self.end_blocks(sink, self.filter_blocks)?;
        for section in [self.entries, self.buckets, self.filter] {
            sum.append(&section.end(sink)?);
        }
        Ok(())
    }
}

/// A section, written from front to back.
struct Section {
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    sum: Pieces,
}

impl Section {
    fn new(range: &Range<u64>) -> Self {
        Self { position: range.start, end: range.end, buffer: Vec::new(), sum: Pieces::default() }
    }

    fn put(&mut self, sink: &mut dyn Sink, bytes: &[u8]) -> Result<(), Failed> {
        if self.buffer.len().saturating_add(bytes.len()) > BUFFER_BYTES {
            self.write(sink)?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn write(&mut self, sink: &mut dyn Sink) -> Result<(), Failed> {
        let end = self.position.saturating_add(length(self.buffer.len()));
        if end > self.end {
            // The segment was not read the same way twice.
            return Err(Failed::Unfit);
        }
        self.sum.update(&self.buffer);
        sink.put(self.position, &self.buffer)?;
        self.position = end;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the rest, and returns the sum of the section.
    fn end(mut self, sink: &mut dyn Sink) -> Result<Pieces, Failed> {
        self.write(sink)?;
        if self.position == self.end { Ok(self.sum) } else { Err(Failed::Unfit) }
    }
}
