//! Index files: the header, where the sections lie, and the lookups in them.
//!
//! Guarantees:
//! 1. A header decodes only if its opening is right and its counts are those of one layout: [`IndexHeader::layout`] then
//!    says where each section lies, and they tile the file.
//! 2. A lookup asks only for bytes of the section that it looks in, whatever it is given; it never panics, takes a bounded
//!    number of steps, and allocates nothing.
//! 3. What a lookup says is a hint if the body was not summed before, and true of the segment if the file is bound to it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::ops::{ControlFlow, Range};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::opening::Opening;
use super::{
    FRAME_ALIGNMENT, FRAMES_START, Fault, INDEX_MAGIC, SEGMENT_BYTES_MAX, index_block as block_table,
    index_entry as entry_table, index_header as table, index_topic as topic_table,
};
use crate::types::{StoreId, Timestamp, Topic, length};

pub(crate) const HEADER_BYTES: usize = table::BYTES;
pub(crate) const ENTRY_BYTES: usize = entry_table::BYTES;
/// Bytes of a filter's block.
pub(crate) const FILTER_BLOCK_BYTES: usize = 32;
/// Bytes of segment that a row of the block table is for.
pub(crate) const BLOCK_BYTES: u64 = 64 * 1024;
/// With more topics or block numbers none is listed.
pub(crate) const TOPICS_MAX: usize = 1 << 14;
pub(crate) const TOPIC_BLOCKS_MAX: usize = 1 << 19;
/// More than fit into a segment.
const ENTRIES_MAX: u32 = 1 << 28;
const BUCKET_ENTRIES: u32 = 16;
const BITS_A_KEY: u64 = 10;
const NUMBER_BYTES: usize = 4;
/// How much of a section is read at once; whole rows of each length.
const PIECE_BYTES: usize = 1024 - 1024 % (ENTRY_BYTES * NUMBER_BYTES);
const OUTSIDE: Fault = Fault::Content { what: "an index file that leads outside of itself" };
/// Keys up to this length are hashed in one piece.
const SHORT_KEY_BYTES: usize = 252;

const SALTS: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

const OPENING: Opening = Opening {
    magic: INDEX_MAGIC,
    magic_at: table::MAGIC,
    version_at: table::VERSION,
    checksum_at: table::CHECKSUM,
    what: "index header",
};

/// The segment that an index file is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) store_id: StoreId,
    pub(crate) number: u64,
    pub(crate) generation: u32,
    pub(crate) incarnation: u64,
    pub(crate) end: u64,
}

/// How much of what there is in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// `None`: too many to be listed.
    pub(crate) topics: Option<TopicCounts>,
    pub(crate) entries: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TopicCounts {
    pub(crate) topics: u32,
    pub(crate) blocks: u32,
}

/// The header of an index file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexHeader {
    pub(crate) subject: Subject,
    pub(crate) counts: Counts,
    /// Position of the last gap that lost records; 0 if there is none.
    pub(crate) last_gap: u64,
    pub(crate) body_checksum: u32,
}

/// Where the sections of an index file lie, from its first byte on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) blocks: Range<u64>,
    pub(crate) topics: Range<u64>,
    pub(crate) topic_blocks: Range<u64>,
    pub(crate) entries: Range<u64>,
    pub(crate) buckets: Range<u64>,
    pub(crate) filter: Range<u64>,
    pub(crate) bucket_bits: u32,
    pub(crate) filter_blocks: u32,
}

/// The hash of a topic and a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyHash(u64);

impl KeyHash {
    pub(crate) fn of(topic: Topic, key: &[u8]) -> Self {
        let topic = topic.get().to_le_bytes();
        let mut piece = [0; NUMBER_BYTES + SHORT_KEY_BYTES];
        let (head, rest) = piece.split_at_mut(NUMBER_BYTES);
        head.copy_from_slice(&topic);
        if let Some(to) = rest.get_mut(..key.len()) {
            to.copy_from_slice(key);
            return Self(xxh3_64(piece.get(..key.len().saturating_add(NUMBER_BYTES)).unwrap_or_default()));
        }
        let mut long = Xxh3::new();
        long.update(&topic);
        long.update(key);
        Self(long.digest())
    }

    /// What entries are ordered by.
    #[inline]
    pub(crate) fn upper(self) -> u32 {
        let [_, _, _, _, a, b, c, d] = self.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// What chooses the bits in a block of the filter.
    fn lower(self) -> u32 {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// The block of a filter that it belongs to; below `blocks`.
    pub(crate) fn filter_block(self, blocks: u32) -> u32 {
        let product = u64::from(self.upper()).wrapping_mul(blocks.into());
        KeyHash(product).upper()
    }

    /// The bucket that it belongs to.
    fn bucket(self, bits: u32) -> u32 {
        bucket(self.upper(), bits)
    }

    /// The bits that it sets in the words of its block.
    pub(crate) fn bits(self) -> [u32; 8] {
        SALTS.map(|salt| 1 << (self.lower().wrapping_mul(salt) >> 27))
    }
}

/// The bucket that an entry with this hash belongs to.
pub(crate) fn bucket(upper: u32, bits: u32) -> u32 {
    upper.checked_shr(u32::BITS.saturating_sub(bits)).unwrap_or_default()
}

/// What is known of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockRow {
    /// 0: no frame begins in it.
    pub(crate) position: u32,
    pub(crate) offset_delta: u32,
    pub(crate) time_max: Timestamp,
}

/// A topic, and where its block numbers begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicRow {
    pub(crate) topic: u32,
    pub(crate) records: u64,
    pub(crate) first: u32,
}

/// A record with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyEntry {
    pub(crate) upper: u32,
    /// Of the frame, divided by 8.
    pub(crate) eighth: u32,
    pub(crate) record: u16,
}

impl KeyEntry {
    /// Where the frame begins.
    pub(crate) fn position(&self) -> u64 {
        u64::from(self.eighth).saturating_mul(FRAME_ALIGNMENT)
    }

    pub(crate) fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        entry_table::HASH.put(&mut bytes, self.upper.to_le_bytes());
        entry_table::POSITION.put(&mut bytes, self.eighth.to_le_bytes());
        entry_table::RECORD.put(&mut bytes, self.record.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        Self {
            upper: entry_table::HASH.u32(bytes),
            eighth: entry_table::POSITION.u32(bytes),
            record: entry_table::RECORD.u16(bytes),
        }
    }
}

/// A position divided by 8; positions in a segment all fit.
pub(crate) fn eighth(position: u64) -> u32 {
    u32::try_from(position.checked_div(FRAME_ALIGNMENT).unwrap_or_default()).unwrap_or(u32::MAX)
}

impl BlockRow {
    pub(crate) fn encode(&self) -> [u8; block_table::BYTES] {
        let mut bytes = [0; block_table::BYTES];
        block_table::POSITION.put(&mut bytes, self.position.to_le_bytes());
        block_table::OFFSET_DELTA.put(&mut bytes, self.offset_delta.to_le_bytes());
        block_table::TIME_MAX.put(&mut bytes, self.time_max.nanoseconds().to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; block_table::BYTES]) -> Self {
        Self {
            position: block_table::POSITION.u32(bytes),
            offset_delta: block_table::OFFSET_DELTA.u32(bytes),
            time_max: Timestamp::from_nanoseconds(block_table::TIME_MAX.i64(bytes)),
        }
    }
}

impl TopicRow {
    pub(crate) fn encode(&self) -> [u8; topic_table::BYTES] {
        let mut bytes = [0; topic_table::BYTES];
        topic_table::RECORDS.put(&mut bytes, self.records.to_le_bytes());
        topic_table::TOPIC.put(&mut bytes, self.topic.to_le_bytes());
        topic_table::FIRST.put(&mut bytes, self.first.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; topic_table::BYTES]) -> Self {
        Self {
            records: topic_table::RECORDS.u64(bytes),
            topic: topic_table::TOPIC.u32(bytes),
            first: topic_table::FIRST.u32(bytes),
        }
    }
}

impl Layout {
    /// Where the sections of an index file of so much lie.
    pub(crate) fn of(end: u64, counts: &Counts) -> Self {
        let bucket_bits = bucket_bits(counts.entries);
        let filter_blocks = u64::from(counts.entries).saturating_mul(BITS_A_KEY) >> 8;
        let filter_blocks = u32::try_from(filter_blocks).unwrap_or(u32::MAX).saturating_add(1);
        let listed = counts.topics.unwrap_or_default();
        let mut next = length(HEADER_BYTES);
        let mut section = |rows: u64, bytes: usize| {
            let start = next;
            next = start.saturating_add(rows.saturating_mul(length(bytes)));
            start..next
        };
        Self {
            blocks: section(end.div_ceil(BLOCK_BYTES), block_table::BYTES),
            topics: section(listed.topics.into(), topic_table::BYTES),
            topic_blocks: section(listed.blocks.into(), NUMBER_BYTES),
            entries: section(counts.entries.into(), ENTRY_BYTES),
            buckets: section((1_u64 << bucket_bits).saturating_add(1), NUMBER_BYTES),
            filter: section(filter_blocks.into(), FILTER_BLOCK_BYTES),
            bucket_bits,
            filter_blocks,
        }
    }

    /// Bytes of the whole file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.filter.end
    }
}

/// The fewest bits that leave at most 16 entries a bucket, if all buckets hold the same.
fn bucket_bits(entries: u32) -> u32 {
    let buckets = entries.min(ENTRIES_MAX).div_ceil(BUCKET_ENTRIES).max(1);
    buckets.next_power_of_two().trailing_zeros()
}

impl IndexHeader {
    pub(crate) fn layout(&self) -> Layout {
        Layout::of(self.subject.end, &self.counts)
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let layout = self.layout();
        let listed = self.counts.topics.unwrap_or_default();
        let blocks = self.subject.end.div_ceil(BLOCK_BYTES);
        let mut bytes = [0; HEADER_BYTES];
        table::TOPICS_LISTED.put(&mut bytes, u16::from(self.counts.topics.is_some()).to_le_bytes());
        table::STORE_ID.put(&mut bytes, self.subject.store_id.bytes());
        table::NUMBER.put(&mut bytes, self.subject.number.to_le_bytes());
        table::INCARNATION.put(&mut bytes, self.subject.incarnation.to_le_bytes());
        table::END.put(&mut bytes, self.subject.end.to_le_bytes());
        table::GENERATION.put(&mut bytes, self.subject.generation.to_le_bytes());
        table::BODY_CHECKSUM.put(&mut bytes, self.body_checksum.to_le_bytes());
        let body_bytes = layout.file_bytes().saturating_sub(length(HEADER_BYTES));
        table::BODY_BYTES.put(&mut bytes, body_bytes.to_le_bytes());
        table::LAST_GAP.put(&mut bytes, self.last_gap.to_le_bytes());
        table::BLOCKS.put(&mut bytes, u32::try_from(blocks).unwrap_or(u32::MAX).to_le_bytes());
        table::TOPICS.put(&mut bytes, listed.topics.to_le_bytes());
        table::TOPIC_BLOCKS.put(&mut bytes, listed.blocks.to_le_bytes());
        table::ENTRIES.put(&mut bytes, self.counts.entries.to_le_bytes());
        table::BUCKET_BITS.put(&mut bytes, layout.bucket_bits.to_le_bytes());
        table::FILTER_BLOCKS.put(&mut bytes, layout.filter_blocks.to_le_bytes());
        OPENING.put(&mut bytes);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Fault> {
        OPENING.check(bytes)?;
        let found = table::FEATURES_REQUIRED.u32(bytes);
        if found != 0 {
            return Err(Fault::Unknown { what: "feature of an index file", found: found.into() });
        }
        let listed = TopicCounts { topics: table::TOPICS.u32(bytes), blocks: table::TOPIC_BLOCKS.u32(bytes) };
        let topics = match table::TOPICS_LISTED.u16(bytes) {
            0 => (listed == TopicCounts::default()).then_some(None),
            1 => Some(Some(listed)),
            _ => None,
        };
        let header = Self {
            subject: Subject {
                store_id: StoreId(table::STORE_ID.array(bytes)),
                number: table::NUMBER.u64(bytes),
                generation: table::GENERATION.u32(bytes),
                incarnation: table::INCARNATION.u64(bytes),
                end: table::END.u64(bytes),
            },
            counts: Counts { topics: topics.flatten(), entries: table::ENTRIES.u32(bytes) },
            last_gap: table::LAST_GAP.u64(bytes),
            body_checksum: table::BODY_CHECKSUM.u32(bytes),
        };
        // Only then do the counts say how long a file is.
        let fits = topics.is_some() && header.is_in_range();
        // What follows from other fields is as it was stored.
        let derived = table::BODY_BYTES.place..table::RESERVED.place;
        if fits && header.encode().get(derived.clone()) == bytes.get(derived) {
            return Ok(header);
        }
        Err(Fault::Content { what: "an index header whose counts make no sense" })
    }

    fn is_in_range(&self) -> bool {
        let end = self.subject.end;
        let listed = self.counts.topics.unwrap_or_default();
        (FRAMES_START..=SEGMENT_BYTES_MAX).contains(&end)
            && end.is_multiple_of(FRAME_ALIGNMENT)
            && self.counts.entries <= ENTRIES_MAX
            && length_of(listed.topics) <= TOPICS_MAX
            && length_of(listed.blocks) <= TOPIC_BLOCKS_MAX
            && self.last_gap < end
    }
}

fn length_of(count: u32) -> usize {
    crate::types::index(count.into())
}

/// The bytes of an index file, wherever they are.
pub(crate) trait Bytes {
    /// Fills `to` from `position` on; fails if not all of it is there.
    fn fill(&self, position: u64, to: &mut [u8]) -> Result<(), Fault>;
}

/// An index file to look things up in.
#[derive(Clone, Copy)]
pub(crate) struct Tables<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) bytes: &'a dyn Bytes,
}

impl Tables<'_> {
    fn read<const N: usize>(&self, section: &Range<u64>, row: u64) -> Result<[u8; N], Fault> {
        let position = section.start.saturating_add(row.saturating_mul(length(N)));
        if position.saturating_add(length(N)) > section.end {
            return Err(OUTSIDE);
        }
        let mut bytes = [0; N];
        self.bytes.fill(position, &mut bytes)?;
        Ok(bytes)
    }

    fn number(&self, section: &Range<u64>, row: u64) -> Result<u32, Fault> {
        self.read(section, row).map(u32::from_le_bytes)
    }

    /// Goes over rows of a section, in pieces.
    fn each<const N: usize>(
        &self,
        section: &Range<u64>,
        rows: Range<u64>,
        take: &mut dyn FnMut(&[u8; N]) -> ControlFlow<()>,
    ) -> Result<(), Fault> {
        let mut piece = [0; PIECE_BYTES];
        let mut next = rows.start;
        while next < rows.end {
            let left = rows.end.saturating_sub(next).saturating_mul(length(N));
            let wanted = crate::types::index(left.min(length(PIECE_BYTES)));
            let part = piece.get_mut(..wanted).unwrap_or_default();
            let position = section.start.saturating_add(next.saturating_mul(length(N)));
            if position.saturating_add(length(part.len())) > section.end {
                return Err(OUTSIDE);
            }
            self.bytes.fill(position, part)?;
            let (whole, _no_rest) = part.as_chunks::<N>();
            for row in whole {
                if take(row).is_break() {
                    return Ok(());
                }
            }
            next = next.saturating_add(length(whole.len()));
        }
        Ok(())
    }

    /// How many rows the block table has.
    pub(crate) fn blocks(&self) -> u64 {
        rows::<{ block_table::BYTES }>(&self.layout.blocks)
    }

    /// Goes over the numbers of the blocks in which frames begin that hold records of a topic, if topics are listed.
    pub(crate) fn each_block_of(&self, topic: Topic, take: &mut dyn FnMut(u32)) -> Result<(), Fault> {
        let count = rows::<{ topic_table::BYTES }>(&self.layout.topics);
        let row = |number| self.read(&self.layout.topics, number).map(|row| TopicRow::decode(&row));
        let at = first_where(0..count, |number| Ok(row(number)?.topic >= topic.get()))?;
        if at == count || row(at)?.topic != topic.get() {
            return Ok(());
        }
        let next = at.saturating_add(1);
        let end = if next < count { row(next)?.first.into() } else { rows::<NUMBER_BYTES>(&self.layout.topic_blocks) };
        let listed = row(at)?.first.into()..end;
        self.each::<NUMBER_BYTES>(&self.layout.topic_blocks, listed, &mut |number| {
            take(u32::from_le_bytes(*number));
            ControlFlow::Continue(())
        })
    }

    /// Goes over entries, by their numbers.
    pub(crate) fn each_entry(
        &self,
        numbers: Range<u32>,
        take: &mut dyn FnMut(&KeyEntry) -> ControlFlow<()>,
    ) -> Result<(), Fault> {
        let numbers = numbers.start.into()..numbers.end.into();
        self.each(&self.layout.entries, numbers, &mut |row| take(&KeyEntry::decode(row)))
    }

    pub(crate) fn block(&self, number: u64) -> Result<BlockRow, Fault> {
        self.read(&self.layout.blocks, number).map(|row| BlockRow::decode(&row))
    }

    /// Whether the filter lets a hash through: if not, no record has it.
    pub(crate) fn may_hold(&self, hash: KeyHash) -> Result<bool, Fault> {
        let block: [u8; FILTER_BLOCK_BYTES] =
            self.read(&self.layout.filter, hash.filter_block(self.layout.filter_blocks).into())?;
        let (words, _no_rest) = block.as_chunks::<4>();
        Ok(words.iter().zip(hash.bits()).all(|(word, bit)| u32::from_le_bytes(*word) & bit != 0))
    }

    pub(crate) fn entry(&self, number: u32) -> Result<KeyEntry, Fault> {
        self.read(&self.layout.entries, number.into()).map(|row| KeyEntry::decode(&row))
    }

    /// The entries of a hash, by their numbers.
    pub(crate) fn entries_of(&self, hash: KeyHash) -> Result<Range<u32>, Fault> {
        let bucket = u64::from(hash.bucket(self.layout.bucket_bits));
        let start = self.number(&self.layout.buckets, bucket)?;
        let end = self.number(&self.layout.buckets, bucket.saturating_add(1))?;
        if start > end {
            return Err(Fault::Content { what: "buckets of an index file out of order" });
        }
        let first = self.first_entry_where(start..end, |entry| Ok(entry.upper >= hash.upper()))?;
        Ok(first..self.first_entry_where(first..end, |entry| Ok(entry.upper > hash.upper()))?)
    }

    /// The first entry of a range of which `is` is true; it is true of a last part of them.
    pub(crate) fn first_entry_where(
        &self,
        range: Range<u32>,
        mut is: impl FnMut(&KeyEntry) -> Result<bool, Fault>,
    ) -> Result<u32, Fault> {
        let found = first_where(range.start.into()..range.end.into(), |number| {
            is(&self.read(&self.layout.entries, number).map(|row| KeyEntry::decode(&row))?)
        });
        found.map(|number| u32::try_from(number).unwrap_or(range.end))
    }
}

/// The first number of a range of which `is` is true; it is true of a last part of them.
fn first_where(range: Range<u64>, mut is: impl FnMut(u64) -> Result<bool, Fault>) -> Result<u64, Fault> {
    let (mut low, mut high) = (range.start, range.end);
    while low < high {
        let middle = low.midpoint(high);
        if is(middle)? {
            high = middle;
        } else {
            low = middle.saturating_add(1);
        }
    }
    Ok(low)
}

/// How many rows of this length a section has.
fn rows<const N: usize>(section: &Range<u64>) -> u64 {
    section.end.saturating_sub(section.start).checked_div(length(N)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
