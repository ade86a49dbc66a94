//! Checkpoint files: the header, the epoch table and the entries behind it.
//!
//! Guarantees:
//! 1. A header decodes only if magic, version, checksum and features are right, and it claims no more than there can be.
//! 2. The body is another matter: whoever reads it compares its checksum, and believes nothing of it before.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use super::frame::FrameMark;
use super::opening::Opening;
use super::{
    CHECKPOINT_MAGIC, EPOCHS_MAX, Fault, SEGMENT_BYTES_MAX, checkpoint_epoch as epoch_table,
    checkpoint_header as table, checkpoint_version as version_table,
};
use crate::types::{Epoch, Line, Offset, Place, StoreId, Timestamp, index};

pub(crate) const HEADER_BYTES: usize = table::BYTES;
pub(crate) const EPOCH_BYTES: usize = epoch_table::BYTES;
pub(crate) const VERSION_BYTES: usize = version_table::BYTES;

const OPENING: Opening = Opening {
    magic: CHECKPOINT_MAGIC,
    magic_at: table::MAGIC,
    version_at: table::VERSION,
    checksum_at: table::CHECKSUM,
    what: "checkpoint header",
};

/// The header of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckpointHeader {
    pub(crate) store_id: StoreId,
    pub(crate) sequence: u64,
    /// Up to where it is the fold of the log.
    pub(crate) line: Line,
    /// Of the segment in which the line lies.
    pub(crate) incarnation: u64,
    pub(crate) start: Offset,
    pub(crate) start_segment: u64,
    pub(crate) time_max: Timestamp,
    pub(crate) epochs: u32,
    pub(crate) entries: u64,
    pub(crate) body_bytes: u64,
    pub(crate) body_checksum: u32,
    /// The frame that ends at the line.
    pub(crate) last: FrameMark,
    /// The log was closed, and the line lies just behind the close frame.
    pub(crate) clean: bool,
}

/// An epoch and the offset with which it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EpochStart {
    pub(crate) epoch: Epoch,
    pub(crate) first_offset: Offset,
}

impl CheckpointHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        table::CLEAN.put(&mut bytes, u16::from(self.clean).to_le_bytes());
        table::STORE_ID.put(&mut bytes, self.store_id.bytes());
        table::SEQUENCE.put(&mut bytes, self.sequence.to_le_bytes());
        table::DURABLE_SEGMENT.put(&mut bytes, self.line.place.segment.to_le_bytes());
        table::DURABLE_POSITION.put(&mut bytes, self.line.place.position.to_le_bytes());
        table::DURABLE_OFFSET.put(&mut bytes, self.line.offset.get().to_le_bytes());
        table::INCARNATION.put(&mut bytes, self.incarnation.to_le_bytes());
        table::START_OFFSET.put(&mut bytes, self.start.get().to_le_bytes());
        table::START_SEGMENT.put(&mut bytes, self.start_segment.to_le_bytes());
        table::TIME_MAX.put(&mut bytes, self.time_max.nanoseconds().to_le_bytes());
        table::EPOCHS.put(&mut bytes, self.epochs.to_le_bytes());
        table::ENTRIES.put(&mut bytes, self.entries.to_le_bytes());
        table::BODY_BYTES.put(&mut bytes, self.body_bytes.to_le_bytes());
        table::BODY_CHECKSUM.put(&mut bytes, self.body_checksum.to_le_bytes());
        table::LAST_POSITION.put(&mut bytes, self.last.position.to_le_bytes());
        table::LAST_CHECKSUM.put(&mut bytes, self.last.checksum.to_le_bytes());
        OPENING.put(&mut bytes);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Fault> {
        OPENING.check(bytes)?;
        let found = table::FEATURES_REQUIRED.u32(bytes);
        if found != 0 {
            return Err(Fault::Unknown { what: "feature of a checkpoint", found: found.into() });
        }
        let epochs = table::EPOCHS.u32(bytes);
        if index(epochs.into()) > EPOCHS_MAX {
            return Err(Fault::Content { what: "a checkpoint that names more epochs than there can be" });
        }
        let position = table::DURABLE_POSITION.u64(bytes);
        if position > SEGMENT_BYTES_MAX {
            return Err(Fault::Content { what: "a checkpoint: durable further than any segment reaches" });
        }
        Ok(Self {
            store_id: StoreId(table::STORE_ID.array(bytes)),
            sequence: table::SEQUENCE.u64(bytes),
            line: Line {
                place: Place::new(table::DURABLE_SEGMENT.u64(bytes), position),
                offset: Offset::new(table::DURABLE_OFFSET.u64(bytes)),
            },
            incarnation: table::INCARNATION.u64(bytes),
            start: Offset::new(table::START_OFFSET.u64(bytes)),
            start_segment: table::START_SEGMENT.u64(bytes),
            time_max: Timestamp::from_nanoseconds(table::TIME_MAX.i64(bytes)),
            epochs,
            entries: table::ENTRIES.u64(bytes),
            body_bytes: table::BODY_BYTES.u64(bytes),
            body_checksum: table::BODY_CHECKSUM.u32(bytes),
            last: FrameMark { position: table::LAST_POSITION.u64(bytes), checksum: table::LAST_CHECKSUM.u32(bytes) },
            clean: table::CLEAN.u16(bytes) == 1,
        })
    }
}

impl EpochStart {
    pub(crate) fn encode(&self) -> [u8; EPOCH_BYTES] {
        let mut bytes = [0; EPOCH_BYTES];
        epoch_table::COUNTER.put(&mut bytes, self.epoch.counter.to_le_bytes());
        epoch_table::WORD.put(&mut bytes, self.epoch.word.to_le_bytes());
        epoch_table::FIRST_OFFSET.put(&mut bytes, self.first_offset.get().to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; EPOCH_BYTES]) -> Self {
        let epoch = Epoch { counter: epoch_table::COUNTER.u64(bytes), word: epoch_table::WORD.u64(bytes) };
        Self { epoch, first_offset: Offset::new(epoch_table::FIRST_OFFSET.u64(bytes)) }
    }
}

/// A version in a checkpoint: the place behind the frame that stored the entry.
pub(crate) fn encode_version(place: Place) -> [u8; VERSION_BYTES] {
    let mut bytes = [0; VERSION_BYTES];
    version_table::SEGMENT.put(&mut bytes, place.segment.to_le_bytes());
    version_table::POSITION.put(&mut bytes, place.position.to_le_bytes());
    bytes
}

pub(crate) fn decode_version(bytes: &[u8; VERSION_BYTES]) -> Place {
    Place::new(version_table::SEGMENT.u64(bytes), version_table::POSITION.u64(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_epochs_and_versions_come_back_as_they_were_stored() {
        let header = CheckpointHeader {
            store_id: StoreId([7; 16]),
            sequence: 1,
            line: Line { place: Place::new(2, 3), offset: Offset::new(4) },
            incarnation: 5,
            start: Offset::new(6),
            start_segment: 7,
            time_max: Timestamp::from_nanoseconds(8),
            epochs: 9,
            entries: 10,
            body_bytes: 11,
            body_checksum: 12,
            last: FrameMark { position: 13, checksum: 14 },
            clean: true,
        };
        assert_eq!(CheckpointHeader::decode(&header.encode()), Ok(header));
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = header.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(CheckpointHeader::decode(&bytes).is_err(), "bit {bit}");
        }
        let far = Line { place: Place::new(2, SEGMENT_BYTES_MAX + 8), ..header.line };
        let far = CheckpointHeader { line: far, ..header };
        assert!(matches!(CheckpointHeader::decode(&far.encode()), Err(Fault::Content { .. })));
        for edit in [
            |bytes: &mut [u8]| table::VERSION.put(bytes, [1, 0]),
            |bytes: &mut [u8]| table::FEATURES_REQUIRED.put(bytes, [1, 0, 0, 0]),
        ] {
            let mut later = header.encode();
            edit(&mut later);
            assert!(CheckpointHeader::decode(&later).is_err_and(|fault| !fault.is_unknown()), "its sum is wrong: rot");
            OPENING.put_sum(&mut later);
            assert!(CheckpointHeader::decode(&later).is_err_and(|fault| fault.is_unknown()), "of a later program");
        }
        let start = EpochStart { epoch: Epoch { counter: 1, word: 2 }, first_offset: Offset::new(3) };
        assert_eq!(EpochStart::decode(&start.encode()), start);
        assert_eq!(decode_version(&encode_version(Place::new(4, 5))), Place::new(4, 5));
    }
}
