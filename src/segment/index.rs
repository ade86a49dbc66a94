//! The sparse index of a segment: for each block of 64 KiB, the first frame that begins in it.
//!
//! Guarantees:
//! 1. An entry, once there, is true and never changes.
//! 2. A lookup returns a frame at or before the one asked for: the search goes on from there, forward.
//! 3. Storing an entry takes no lock and happens at most once a block.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use crate::sync::{AtomicU64, Ordering};
use crate::types::{Timestamp, index};

/// Bytes of a block.
pub(crate) const BLOCK_BYTES: u64 = 64 * 1024;

#[derive(Debug)]
pub(crate) struct BlockIndex {
    blocks: Box<[Block]>,
}

/// Position in the upper half of the first word, offset delta in the lower; zero while nothing is known.
#[derive(Debug, Default)]
struct Block {
    frame: AtomicU64,
    time_max: AtomicU64,
}

/// What the index knows of a block: its first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) position: u64,
    pub(crate) offset_delta: u32,
    /// Latest append time of all frames before this one and of this one.
    pub(crate) time_max: Timestamp,
}

impl BlockIndex {
    pub(crate) fn new(capacity: u64) -> Self {
        let blocks = index(capacity.div_ceil(BLOCK_BYTES));
        Self { blocks: std::iter::repeat_with(Block::default).take(blocks).collect() }
    }

    /// Notes a frame; does nothing unless it is the first of its block. Called in the order of the frames.
    #[inline]
    pub(crate) fn note(&self, entry: Entry) {
        let Some(block) = self.blocks.get(index(entry.position / BLOCK_BYTES)) else { return };
        // Relaxed: there is one writer, so this reads what it stored itself.
        if block.frame.load(Ordering::Relaxed) == 0 {
            block.store(entry);
        }
    }

    /// Whether the first frame of the block at this position is known.
    pub(crate) fn knows(&self, position: u64) -> bool {
        self.blocks.get(index(position / BLOCK_BYTES)).is_some_and(|block| block.load().is_some())
    }

    /// The last known frame of which `before` is true; entries are asked in the order of the frames, and `before` must be
    /// true of a first part of them.
    pub(crate) fn last_where(&self, before: impl Fn(&Entry) -> bool) -> Option<Entry> {
        // Blocks inside a large frame have no entry, and blocks past the tail have none yet: neither breaks the order, so they
        // are skipped by looking further back.
        let mut found = None;
        let (mut low, mut high) = (0, self.blocks.len());
        while low < high {
            let middle = low.midpoint(high);
            let entry = self.blocks.get(low..=middle).and_then(|part| part.iter().rev().find_map(Block::load));
            match entry {
                Some(entry) if before(&entry) => {
                    found = Some(entry);
                    low = middle.saturating_add(1);
                }
                Some(_) => high = middle,
                // Nothing known in low..=middle: what may still be found lies behind it.
                None => low = middle.saturating_add(1),
            }
        }
        found
    }
}

impl Block {
    #[cold]
    fn store(&self, entry: Entry) {
        let position = entry.position.wrapping_shl(32);
        self.time_max.store(u64::from_le_bytes(entry.time_max.nanoseconds().to_le_bytes()), Ordering::Relaxed);
        // Release: pairs with the Acquire in `load`, so that the time is seen with the frame.
        self.frame.store(position | u64::from(entry.offset_delta), Ordering::Release);
    }

    fn load(&self) -> Option<Entry> {
        // Acquire: pairs with the Release in `store`.
        let frame = self.frame.load(Ordering::Acquire);
        if frame == 0 {
            return None;
        }
        let [a, b, c, d, ..] = frame.to_le_bytes();
        let time = self.time_max.load(Ordering::Relaxed);
        Some(Entry {
            position: frame.wrapping_shr(32),
            offset_delta: u32::from_le_bytes([a, b, c, d]),
            time_max: Timestamp::from_nanoseconds(i64::from_le_bytes(time.to_le_bytes())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_lookup_finds_the_last_first_frame_of_a_block_that_is_before(
            strides in proptest::collection::vec(1..40_000_u64, 1..60), target in 0..60_u32, backward in any::<bool>(),
        ) {
            let index = BlockIndex::new(32 << 20);
            let (mut position, mut firsts) = (4096, Vec::<Entry>::new());
            for (number, stride) in strides.iter().enumerate() {
                let delta = u32::try_from(number).expect("small");
                let entry = Entry { position, offset_delta: delta, time_max: Timestamp::from_nanoseconds(delta.into()) };
                index.note(entry);
                if firsts.last().is_none_or(|last| last.position / BLOCK_BYTES != position / BLOCK_BYTES) {
                    firsts.push(entry);
                }
                position += stride * 8;
            }
            let before = |entry: &Entry| if backward {
                entry.time_max < Timestamp::from_nanoseconds(target.into())
            } else {
                entry.offset_delta <= target
            };
            let expected = firsts.iter().rev().find(|entry| before(entry)).copied();
            prop_assert_eq!(index.last_where(before), expected);
        }
    }
}
