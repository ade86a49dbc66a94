//! Encoding and decoding of segment headers.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

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
}

/// How a segment names the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) number: u64,
    pub(crate) incarnation: u64,
    pub(crate) end: u64,
}

impl SegmentHeader {
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
        let generation = table::GENERATION.u32(bytes);
        if generation != 0 {
            return Err(Fault::Unknown { what: "segment generation", found: generation.into() });
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
        {
            return Err(Fault::Content { what: "segment header: capacity or end out of range" });
        }
        if header.first_offset > FIRST_OFFSET_MAX {
            return Err(Fault::Content { what: "segment header: offsets are exhausted" });
        }
        Ok(header)
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let fault = SegmentHeader::decode(&newer).unwrap_err();
        assert_eq!(fault, Fault::Version { found: 1 });
        assert!(fault.is_unknown());
    }
}
