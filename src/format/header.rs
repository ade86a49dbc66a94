//! Encoding and decoding of segment headers.
//!
//! Guarantees:
//! 1. What is decoded is whole and of this version; its capacity and ends lie within a segment's limits, and its number and
//!    offsets leave room for what may follow.
//! 2. What was encoded comes back as it was. Bytes that are all zero are a spare's, and no others are.
//! 3. A header is mended only if turning one bit of it makes all of it check.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use super::index::Subject;
use super::opening::Opening;
use super::segment_header as table;
use super::{FRAME_ALIGNMENT, FRAMES_START, Fault, SEGMENT_BYTES_MAX, SEGMENT_MAGIC};
use crate::types::{Epoch, Line, Offset, Place, StoreId, Timestamp};

pub(crate) const BYTES: usize = table::BYTES;

const OPENING: Opening = Opening {
    magic: SEGMENT_MAGIC,
    magic_at: table::MAGIC,
    version_at: table::VERSION,
    checksum_at: table::CHECKSUM,
    what: "segment header",
};

/// No segment begins above this: the offsets that one segment can hold never overflow.
pub(crate) const FIRST_OFFSET_MAX: Offset = Offset::new(1 << 63);

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store_id: StoreId,
    pub(crate) number: u64,
    pub(crate) generation: u32,
    pub(crate) incarnation: u64,
    pub(crate) epoch: Epoch,
    pub(crate) first_offset: Offset,
    pub(crate) predecessor: Option<Link>,
    pub(crate) durable: Line,
    pub(crate) created: Timestamp,
    pub(crate) time_max: Timestamp,
    pub(crate) capacity: u64,
    /// Of a segment of generation 1 or more, and of no other.
    pub(crate) rewritten: Option<Rewritten>,
}

/// What a rewritten segment says of itself and of the originals that it stands for: those numbered from its own number to
/// `last_number`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// Where its frames end.
    pub(crate) end: u64,
    pub(crate) last_number: u64,
    /// Offset after its range.
    pub(crate) end_offset: Offset,
    /// Records that it kept.
    pub(crate) records: u64,
    /// Incarnation and end of the last original: with its number, what the link of the successor says.
    pub(crate) incarnation: u64,
    pub(crate) original_end: u64,
    pub(crate) places: Places,
}

/// Where the frames of a rewritten segment stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    /// Where they stood in the original.
    Kept,
    /// Elsewhere: the versions of its state entries, which are places, can only be had from a checkpoint.
    Moved,
}

/// How a segment names the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) number: u64,
    pub(crate) incarnation: u64,
    pub(crate) end: u64,
}

impl SegmentHeader {
    /// The last number that it stands for; its own, unless it was rewritten.
    pub(crate) fn last_number(&self) -> u64 {
        self.rewritten.map_or(self.number, |rewritten| rewritten.last_number)
    }

    /// Whether it stands for the file of this number and generation, which is not part of the log any more.
    pub(crate) fn replaces(&self, number: u64, generation: u32) -> bool {
        self.generation > generation && self.covers(number)
    }

    /// Whether it holds what the segment of this number held.
    pub(crate) fn covers(&self, number: u64) -> bool {
        (self.number..=self.last_number()).contains(&number)
    }

    /// The incarnation by which links and checkpoints know it: that of the last original.
    pub(crate) fn known_incarnation(&self) -> u64 {
        self.rewritten.map_or(self.incarnation, |rewritten| rewritten.incarnation)
    }

    /// Whether the places of its frames are not what they were.
    pub(crate) fn is_moved(&self) -> bool {
        self.rewritten.is_some_and(|rewritten| rewritten.places == Places::Moved)
    }

    /// Whether a link leads to it.
    pub(crate) fn is_linked_by(&self, link: &Link) -> bool {
        let end_fits = self.rewritten.is_none_or(|rewritten| rewritten.original_end == link.end);
        self.is_called(link.number, link.incarnation) && end_fits
    }

    /// Whether it is the segment that others mean by a number and an incarnation.
    pub(crate) fn is_called(&self, number: u64, incarnation: u64) -> bool {
        number == self.last_number() && incarnation == self.known_incarnation()
    }

    /// What an index file of it is bound to; `end` is where its frames end.
    pub(crate) fn subject(&self, end: u64) -> Subject {
        let Self { store_id, number, generation, incarnation, .. } = *self;
        Subject { store_id, number, generation, incarnation, end }
    }

    /// The link of a successor; `end` is where its frames end, if it was not rewritten.
    pub(crate) fn link(&self, end: u64) -> Link {
        let end = self.rewritten.map_or(end, |rewritten| rewritten.original_end);
        Link { number: self.last_number(), incarnation: self.known_incarnation(), end }
    }

    /// Where its frames end: as it says itself, or as its successor does.
    pub(crate) fn end(&self, successor: Option<&Link>) -> Option<u64> {
        self.rewritten.map(|rewritten| rewritten.end).or(successor.map(|link| link.end))
    }

    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let link = self.predecessor.unwrap_or(Link { number: 0, incarnation: 0, end: 0 });
        table::STORE_ID.put(&mut bytes, self.store_id.bytes());
        table::NUMBER.put(&mut bytes, self.number.to_le_bytes());
        table::GENERATION.put(&mut bytes, self.generation.to_le_bytes());
        table::INCARNATION.put(&mut bytes, self.incarnation.to_le_bytes());
        table::EPOCH_COUNTER.put(&mut bytes, self.epoch.counter.to_le_bytes());
        table::EPOCH_WORD.put(&mut bytes, self.epoch.word.to_le_bytes());
        table::FIRST_OFFSET.put(&mut bytes, self.first_offset.get().to_le_bytes());
        table::PREDECESSOR_NUMBER.put(&mut bytes, link.number.to_le_bytes());
        table::PREDECESSOR_INCARNATION.put(&mut bytes, link.incarnation.to_le_bytes());
        table::PREDECESSOR_END.put(&mut bytes, link.end.to_le_bytes());
        table::DURABLE_SEGMENT.put(&mut bytes, self.durable.place.segment.to_le_bytes());
        table::DURABLE_POSITION.put(&mut bytes, self.durable.place.position.to_le_bytes());
        table::DURABLE_OFFSET.put(&mut bytes, self.durable.offset.get().to_le_bytes());
        table::CREATED.put(&mut bytes, self.created.nanoseconds().to_le_bytes());
        table::TIME_MAX.put(&mut bytes, self.time_max.nanoseconds().to_le_bytes());
        table::CAPACITY.put(&mut bytes, self.capacity.to_le_bytes());
        if let Some(rewritten) = &self.rewritten {
            table::REWRITTEN_END.put(&mut bytes, rewritten.end.to_le_bytes());
            table::REWRITTEN_LAST_NUMBER.put(&mut bytes, rewritten.last_number.to_le_bytes());
            table::REWRITTEN_END_OFFSET.put(&mut bytes, rewritten.end_offset.get().to_le_bytes());
            table::REWRITTEN_RECORDS.put(&mut bytes, rewritten.records.to_le_bytes());
            table::REWRITTEN_INCARNATION.put(&mut bytes, rewritten.incarnation.to_le_bytes());
            table::REWRITTEN_ORIGINAL_END.put(&mut bytes, rewritten.original_end.to_le_bytes());
            table::REWRITTEN_MOVED.put(&mut bytes, u32::from(rewritten.places == Places::Moved).to_le_bytes());
        }
        OPENING.put(&mut bytes);
        bytes
    }

    /// Decodes and checks a header. `Ok(None)`: all zero, the file is a spare.
    pub(crate) fn decode(bytes: &[u8; BYTES]) -> Result<Option<Self>, Fault> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if table::MAGIC.u64(bytes) == 0 {
            // The magic is stored last: this header was never complete.
            return Err(Fault::Missing);
        }
        OPENING.check(bytes)?;
        let features = table::FEATURES_REQUIRED.u32(bytes);
        if features != 0 {
            return Err(Fault::Unknown { what: "required feature bits", found: features.into() });
        }
        let log_class = table::LOG_CLASS.u32(bytes);
        if log_class != 0 {
            return Err(Fault::Unknown { what: "log class", found: log_class.into() });
        }
        Self::read(bytes).map(Some)
    }

    fn read(bytes: &[u8; BYTES]) -> Result<Self, Fault> {
        let link = Link {
            number: table::PREDECESSOR_NUMBER.u64(bytes),
            incarnation: table::PREDECESSOR_INCARNATION.u64(bytes),
            end: table::PREDECESSOR_END.u64(bytes),
        };
        let header = Self {
            store_id: StoreId(table::STORE_ID.array(bytes)),
            number: table::NUMBER.u64(bytes),
            generation: table::GENERATION.u32(bytes),
            incarnation: table::INCARNATION.u64(bytes),
            epoch: Epoch { counter: table::EPOCH_COUNTER.u64(bytes), word: table::EPOCH_WORD.u64(bytes) },
            first_offset: Offset::new(table::FIRST_OFFSET.u64(bytes)),
            predecessor: (link.number != 0).then_some(link),
            durable: Line {
                place: Place::new(table::DURABLE_SEGMENT.u64(bytes), table::DURABLE_POSITION.u64(bytes)),
                offset: Offset::new(table::DURABLE_OFFSET.u64(bytes)),
            },
            created: Timestamp::from_nanoseconds(table::CREATED.i64(bytes)),
            time_max: Timestamp::from_nanoseconds(table::TIME_MAX.i64(bytes)),
            capacity: table::CAPACITY.u64(bytes),
            rewritten: (table::GENERATION.u32(bytes) != 0).then(|| Rewritten {
                end: table::REWRITTEN_END.u64(bytes),
                last_number: table::REWRITTEN_LAST_NUMBER.u64(bytes),
                end_offset: Offset::new(table::REWRITTEN_END_OFFSET.u64(bytes)),
                records: table::REWRITTEN_RECORDS.u64(bytes),
                incarnation: table::REWRITTEN_INCARNATION.u64(bytes),
                original_end: table::REWRITTEN_ORIGINAL_END.u64(bytes),
                places: if table::REWRITTEN_MOVED.u32(bytes) == 0 { Places::Kept } else { Places::Moved },
            }),
        };
        if header.incarnation == 0 {
            return Err(Fault::Content { what: "segment header: incarnation zero" });
        }
        if header.number == 0 || link.number >= header.number {
            return Err(Fault::Content { what: "segment header: its number does not follow its predecessor's" });
        }
        if !(FRAMES_START..=SEGMENT_BYTES_MAX).contains(&header.capacity)
            || !header.capacity.is_multiple_of(FRAME_ALIGNMENT)
            || !link.end.is_multiple_of(FRAME_ALIGNMENT)
            || link.end > SEGMENT_BYTES_MAX
        {
            return Err(Fault::Content { what: "segment header: capacity or end out of range" });
        }
        if header.first_offset > FIRST_OFFSET_MAX {
            return Err(Fault::Content { what: "segment header: offsets are exhausted" });
        }
        let moved = table::REWRITTEN_MOVED.u32(bytes);
        if header.rewritten.is_some_and(|rewritten| moved > 1 || !rewritten.fits(&header)) {
            return Err(Fault::Content { what: "segment header: its rewritten fields make no sense" });
        }
        Ok(header)
    }

    /// The header that these bytes were before one bit of them turned. A CRC-32 of so few bytes tells which bit it was.
    pub(crate) fn mend(bytes: &[u8; BYTES]) -> Option<Self> {
        for (at, bit) in (0..BYTES).flat_map(|at| (0..8).map(move |bit| (at, 1_u8 << bit))) {
            let mut tried = *bytes;
            if let Some(byte) = tried.get_mut(at) {
                *byte ^= bit;
            }
            if let Ok(Some(header)) = Self::decode(&tried) {
                return Some(header);
            }
        }
        None
    }
}

impl Rewritten {
    fn fits(&self, header: &SegmentHeader) -> bool {
        let range = FRAMES_START..=header.capacity;
        range.contains(&self.end)
            && self.end.is_multiple_of(FRAME_ALIGNMENT)
            && (FRAMES_START..=SEGMENT_BYTES_MAX).contains(&self.original_end)
            && self.original_end.is_multiple_of(FRAME_ALIGNMENT)
            && self.last_number >= header.number
            && self.end_offset >= header.first_offset
            && self.records <= self.end_offset.since(header.first_offset)
            && self.incarnation != 0
    }
}

#[cfg(test)]
pub(crate) fn sample() -> SegmentHeader {
    SegmentHeader {
        store_id: StoreId([7; 16]),
        number: 3,
        generation: 0,
        incarnation: 0x1122_3344_5566_7788,
        epoch: Epoch { counter: 2, word: 99 },
        first_offset: Offset::new(1000),
        predecessor: Some(Link { number: 2, incarnation: 5, end: 8192 }),
        durable: Line { place: Place::new(2, 4096), offset: Offset::new(900) },
        created: Timestamp::from_nanoseconds(-5),
        time_max: Timestamp::from_nanoseconds(77),
        capacity: 1 << 20,
        rewritten: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten() -> SegmentHeader {
        let rewritten = Rewritten {
            end: 8192,
            last_number: 5,
            end_offset: Offset::new(1010),
            records: 9,
            incarnation: 77,
            original_end: 12288,
            places: Places::Kept,
        };
        SegmentHeader { generation: 1, rewritten: Some(rewritten), ..sample() }
    }

    #[test]
    fn a_rewritten_header_is_known_by_the_last_original_that_it_stands_for() {
        let header = rewritten();
        let moved = Rewritten { places: Places::Moved, ..header.rewritten.expect("rewritten") };
        for header in [header, SegmentHeader { rewritten: Some(moved), ..header }] {
            assert_eq!(SegmentHeader::decode(&header.encode()), Ok(Some(header)));
        }
        let link = Link { number: 5, incarnation: 77, end: 12288 };
        assert_eq!((header.link(1), header.is_linked_by(&link), header.end(Some(&link))), (link, true, Some(8192)));
        assert!(
            !header.is_linked_by(&Link { end: 12296, ..link }) && !header.is_linked_by(&Link { number: 3, ..link })
        );
        let sample = sample();
        let link = Link { number: 3, incarnation: sample.incarnation, end: 4104 };
        assert_eq!((sample.link(4104), sample.is_linked_by(&link), sample.end(Some(&link))), (link, true, Some(4104)));
        assert_eq!(sample.end(None), None);
    }

    #[test]
    fn rewritten_fields_that_make_no_sense_are_refused() {
        let edits: [fn(&mut Rewritten); 6] = [
            |fields| fields.end = 1 << 21,
            |fields| fields.end += 4,
            |fields| fields.last_number = 2,
            |fields| fields.end_offset = Offset::new(999),
            |fields| fields.records = 11,
            |fields| fields.incarnation = 0,
        ];
        for edit in edits {
            let mut header = rewritten();
            header.rewritten.as_mut().map(edit).expect("rewritten");
            assert!(matches!(SegmentHeader::decode(&header.encode()), Err(Fault::Content { .. })), "{header:?}");
        }
        let mut bytes = rewritten().encode();
        table::REWRITTEN_MOVED.put(&mut bytes, 2_u32.to_le_bytes());
        OPENING.put(&mut bytes);
        assert!(matches!(SegmentHeader::decode(&bytes), Err(Fault::Content { .. })));
    }

    #[test]
    fn an_end_beyond_every_segment_is_refused() {
        for (end, valid) in [(SEGMENT_BYTES_MAX, true), (SEGMENT_BYTES_MAX + 8, false), (u64::MAX - 7, false)] {
            let header = SegmentHeader { predecessor: Some(Link { number: 2, incarnation: 5, end }), ..sample() };
            assert_eq!(SegmentHeader::decode(&header.encode()).is_ok(), valid, "{end}");
        }
    }

    #[test]
    fn one_bit_that_turned_is_found() {
        for header in [sample(), rewritten()] {
            for bit in 0..BYTES * 8 {
                let mut bad = header.encode();
                bad.get_mut(bit / 8).map(|byte| *byte ^= 1 << (bit % 8)).expect("inside");
                assert_eq!(SegmentHeader::mend(&bad), Some(header), "bit {bit}");
            }
        }
        let mut bad = sample().encode();
        bad.get_mut(60).map(|byte| *byte ^= 6).expect("inside");
        assert_eq!(SegmentHeader::mend(&bad), None);
    }

    #[test]
    fn a_header_comes_back_as_it_was_stored() {
        assert_eq!(SegmentHeader::decode(&sample().encode()), Ok(Some(sample())));
        assert_eq!(SegmentHeader::decode(&[0; BYTES]), Ok(None));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = sample().encode();
        for bit in 0..BYTES * 8 {
            let mut bad = good;
            bad.get_mut(bit / 8).map(|byte| *byte ^= 1 << (bit % 8)).expect("inside");
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage() {
        let mut newer = sample().encode();
        table::VERSION.put(&mut newer, 1_u16.to_le_bytes());
        assert!(SegmentHeader::decode(&newer).is_err_and(|fault| !fault.is_unknown()), "its sum is wrong");
        OPENING.put_sum(&mut newer);
        let fault = SegmentHeader::decode(&newer).unwrap_err();
        assert_eq!(fault, Fault::Version { found: 1 });
        assert!(fault.is_unknown());
        for field in [table::FEATURES_REQUIRED, table::LOG_CLASS] {
            let mut newer = sample().encode();
            field.put(&mut newer, 1_u32.to_le_bytes());
            assert!(SegmentHeader::decode(&newer).is_err_and(|fault| !fault.is_unknown()), "{}", field.name);
            OPENING.put_sum(&mut newer);
            assert!(SegmentHeader::decode(&newer).is_err_and(|fault| fault.is_unknown()), "{}", field.name);
        }
    }
}
