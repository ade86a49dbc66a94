//! The parts of a segment that go: a bit for each, in pieces that are there only where one is set.
//!
//! Guarantees:
//! 1. Marks of so many parts take no more memory than [`Marks::bytes_for`] says.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::ops::Range;

use crate::format::record::thin::Fate;
use crate::types::index;

const WORD_PARTS: u64 = 64;
const PIECE_WORDS: usize = 64;
const PIECE_PARTS: u64 = 64 * WORD_PARTS;
/// A piece, and what the allocator keeps of it.
const PIECE_BYTES: usize = PIECE_WORDS * size_of::<u64>() + 16;
/// A place for a piece, in a list that doubles when it grows.
const PLACE_BYTES: usize = 3 * size_of::<usize>();

type Piece = [u64; PIECE_WORDS];

/// Which parts of a segment go, by their ordinals.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    pieces: Vec<Option<Box<Piece>>>,
    count: u64,
}

impl Marks {
    /// The most that marks of a segment of so many parts take.
    pub(crate) fn bytes_for(parts: u64) -> usize {
        index(parts.div_ceil(PIECE_PARTS)).saturating_mul(PIECE_BYTES.saturating_add(PLACE_BYTES))
    }

    /// Marks a part. `false`: it was marked before.
    pub(crate) fn set(&mut self, ordinal: u64) -> bool {
        let at = index(ordinal / PIECE_PARTS);
        if self.pieces.len() <= at {
            self.pieces.resize(at.saturating_add(1), None);
        }
        let (word, bit) = place(ordinal);
        let piece = self.pieces.get_mut(at).map(|piece| piece.get_or_insert_with(|| Box::new([0; PIECE_WORDS])));
        let Some(word) = piece.and_then(|piece| piece.get_mut(word)) else { return false };
        let is_new = *word & bit == 0;
        *word |= bit;
        self.count = self.count.saturating_add(u64::from(is_new));
        is_new
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn contains(&self, ordinal: u64) -> bool {
        let (word, bit) = place(ordinal);
        self.piece(ordinal).and_then(|piece| piece.get(word)).is_some_and(|word| word & bit != 0)
    }

    /// What all these parts have in common; `None`: some stay and some go.
    pub(crate) fn shared(&self, parts: Range<u64>) -> Option<Fate> {
        let (mut set, mut clear) = (false, false);
        let mut at = parts.start;
        while at < parts.end && !(set && clear) {
            let end = (at | (WORD_PARTS - 1)).saturating_add(1).min(parts.end);
            let width = end.saturating_sub(at);
            let mask = (u64::MAX >> (WORD_PARTS.saturating_sub(width))) << (at % WORD_PARTS);
            let word = self.piece(at).and_then(|piece| piece.get(place(at).0)).copied().unwrap_or_default();
            set |= word & mask != 0;
            clear |= word & mask != mask;
            at = end;
        }
        match (set, clear) {
            (true, true) => None,
            (true, false) => Some(Fate::Drop),
            (false, _) => Some(Fate::Keep),
        }
    }

    fn piece(&self, ordinal: u64) -> Option<&Piece> {
        self.pieces.get(index(ordinal / PIECE_PARTS))?.as_deref()
    }
}

/// The word inside of its piece, and the bit in that.
fn place(ordinal: u64) -> (usize, u64) {
    (index(ordinal % PIECE_PARTS / WORD_PARTS), 1 << (ordinal % WORD_PARTS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::length;
    use harness::allocation::peak_during;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn marks_are_a_set(
            ordinals in proptest::collection::vec(prop_oneof![0..300_u64, 4000..4200_u64, 0..40_000_u64], 0..600),
            ranges in proptest::collection::vec((0..5000_u64, 0..200_u64), 50),
        ) {
            let (mut marks, mut model) = (Marks::default(), BTreeSet::new());
            for ordinal in ordinals {
                prop_assert_eq!(marks.set(ordinal), model.insert(ordinal));
            }
            prop_assert_eq!(marks.count(), length(model.len()));
            for (start, parts) in ranges {
                prop_assert_eq!(marks.contains(start), model.contains(&start));
                let found = length(model.range(start..start + parts).count());
                let expected = match found {
                    0 => Some(Fate::Keep),
                    all if all == parts => Some(Fate::Drop),
                    _ => None,
                };
                prop_assert_eq!(marks.shared(start..start + parts), expected, "{} from {}", parts, start);
            }
        }
    }

    #[test]
    fn marks_take_no_more_than_was_said() {
        for parts in [1, PIECE_PARTS, PIECE_PARTS + 1, 1_000_000] {
            let mut marks = Marks::default();
            let taken = peak_during(|| (0..parts).for_each(|ordinal| assert!(marks.set(ordinal))));
            // The list is there twice while it grows.
            assert!(taken > 0 && taken <= Marks::bytes_for(parts) + 64, "{parts}: {taken}");
        }
    }
}
