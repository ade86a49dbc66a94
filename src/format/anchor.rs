//! The file `anchor`: two slots, written in turn, that record what is already durable.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use super::opening::Opening;
use super::{ANCHOR_BYTES, ANCHOR_MAGIC, ANCHOR_SLOTS, Fault, SEGMENT_BYTES_MAX, anchor_slot as table};
use crate::types::{Line, Offset, Place, StoreId, Timestamp, index};

pub(crate) const SLOT_BYTES: usize = table::BYTES;

const OPENING: Opening = Opening {
    magic: ANCHOR_MAGIC,
    magic_at: table::MAGIC,
    version_at: table::VERSION,
    checksum_at: table::CHECKSUM,
    what: "anchor",
};

/// One slot of the anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) store_id: StoreId,
    pub(crate) sequence: u64,
    pub(crate) segment_highest: u64,
    pub(crate) durable: Line,
    pub(crate) time_max: Timestamp,
    pub(crate) clean: bool,
}

impl Anchor {
    /// The slot to write, and where.
    pub(crate) fn encode(&self) -> (u64, [u8; SLOT_BYTES]) {
        let mut bytes = [0; SLOT_BYTES];
        table::CLEAN.put(&mut bytes, u16::from(self.clean).to_le_bytes());
        table::SEQUENCE.put(&mut bytes, self.sequence.to_le_bytes());
        table::STORE_ID.put(&mut bytes, self.store_id.bytes());
        table::SEGMENT_HIGHEST.put(&mut bytes, self.segment_highest.to_le_bytes());
        table::DURABLE_SEGMENT.put(&mut bytes, self.durable.place.segment.to_le_bytes());
        table::DURABLE_POSITION.put(&mut bytes, self.durable.place.position.to_le_bytes());
        table::DURABLE_OFFSET.put(&mut bytes, self.durable.offset.get().to_le_bytes());
        table::TIME_MAX.put(&mut bytes, self.time_max.nanoseconds().to_le_bytes());
        OPENING.put(&mut bytes);
        let [even, odd] = ANCHOR_SLOTS;
        (if self.sequence.is_multiple_of(2) { even } else { odd }, bytes)
    }

    /// Decodes both slots of the file, each on its own: `Ok(None)` where nothing was ever written.
    pub(crate) fn decode(file: &[u8; ANCHOR_BYTES]) -> [Result<Option<Self>, Fault>; 2] {
        ANCHOR_SLOTS.map(|start| {
            let slot = file.get(index(start)..).and_then(|rest| rest.first_chunk::<SLOT_BYTES>());
            slot.map_or(Err(Fault::Missing), Self::decode_slot)
        })
    }

    fn decode_slot(bytes: &[u8; SLOT_BYTES]) -> Result<Option<Self>, Fault> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        OPENING.check(bytes)?;
        let position = table::DURABLE_POSITION.u64(bytes);
        if position > SEGMENT_BYTES_MAX {
            return Err(Fault::Content { what: "anchor: durable further than any segment reaches" });
        }
        Ok(Some(Self {
            store_id: StoreId(table::STORE_ID.array(bytes)),
            sequence: table::SEQUENCE.u64(bytes),
            segment_highest: table::SEGMENT_HIGHEST.u64(bytes),
            durable: Line {
                place: Place::new(table::DURABLE_SEGMENT.u64(bytes), position),
                offset: Offset::new(table::DURABLE_OFFSET.u64(bytes)),
            },
            time_max: Timestamp::from_nanoseconds(table::TIME_MAX.i64(bytes)),
            clean: table::CLEAN.u16(bytes) == 1,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_take_turns_and_come_back_as_they_were_stored() {
        let mut file = [0; ANCHOR_BYTES];
        assert_eq!(Anchor::decode(&file), [Ok(None), Ok(None)]);
        let mut anchor = Anchor {
            store_id: StoreId([1; 16]),
            sequence: 4,
            segment_highest: 9,
            durable: Line { place: Place::new(8, 4096), offset: Offset::new(3) },
            time_max: Timestamp::from_nanoseconds(5),
            clean: true,
        };
        for sequence in [4, 5] {
            anchor.sequence = sequence;
            let (start, slot) = anchor.encode();
            file.get_mut(index(start)..).and_then(|to| to.first_chunk_mut()).map(|to| *to = slot).expect("inside");
        }
        let [even, odd] = Anchor::decode(&file);
        assert_eq!(odd, Ok(Some(anchor)));
        assert_eq!(even.map(|slot| slot.map(|slot| slot.sequence)), Ok(Some(4)));
        file.get_mut(40).map(|byte| *byte ^= 1).expect("inside");
        assert!(matches!(Anchor::decode(&file), [Err(Fault::Checksum { .. }), Ok(Some(_))]));
    }

    #[test]
    fn a_slot_of_a_later_version_is_told_apart_from_a_rotten_one() {
        let durable = Line { place: Place::new(1, 4096), offset: Offset::ZERO };
        let (store_id, time_max) = (StoreId([1; 16]), Timestamp::default());
        let anchor = Anchor { store_id, sequence: 1, segment_highest: 1, durable, time_max, clean: false };
        let mut later = anchor.encode().1;
        table::VERSION.put(&mut later, [1, 0]);
        assert!(matches!(Anchor::decode_slot(&later), Err(Fault::Checksum { .. })));
        OPENING.put_sum(&mut later);
        assert_eq!(Anchor::decode_slot(&later), Err(Fault::Version { found: 1 }));
    }

    #[test]
    fn no_slot_is_durable_further_than_a_segment_reaches() {
        let decoded = |position| {
            let durable = Line { place: Place::new(1, position), offset: Offset::ZERO };
            let (store_id, time_max) = (StoreId([1; 16]), Timestamp::default());
            let anchor = Anchor { store_id, sequence: 1, segment_highest: 1, durable, time_max, clean: false };
            Anchor::decode_slot(&anchor.encode().1)
        };
        assert!(decoded(SEGMENT_BYTES_MAX).is_ok_and(|slot| slot.is_some()));
        assert!(matches!(decoded(SEGMENT_BYTES_MAX + 8), Err(Fault::Content { .. })));
    }
}
