//! Frames that stand inside of one another, each of which says that it reaches up to the same end.
//!
//! Guarantees:
//! 1. Tag and both sums of each are right; what its body holds is not what its kind asks for.

use crc32fast::Hasher;

use crate::format::bytes::store;
use crate::format::sums::{FRAME_HEADER_BYTES, Seed, crc32};

/// How far they stand apart.
pub const LIAR_BYTES: usize = 128;

/// Fills a segment with liars of a kind, which all end at `end`; the first stands at `start`.
///
/// # Panics
/// If the segment is longer than a frame can be, or ends before.
pub fn liars(segment: &mut [u8], start: usize, end: usize, kind: u8) {
    let seed = Seed::of_segment(segment);
    segment[start..end].fill(0);
    // Of all that stands behind the liar that is made, back to front.
    let mut behind = Hasher::new();
    for at in (start..end).step_by(LIAR_BYTES).collect::<Vec<_>>().into_iter().rev() {
        let slot_end = (at + LIAR_BYTES).min(end);
        let mut body = Hasher::new();
        body.update(&segment[at + FRAME_HEADER_BYTES..slot_end]);
        body.combine(&behind);
        let length = u32::try_from(end - at).expect("a segment is short");
        let slot = &mut segment[at..slot_end];
        store(slot, 0, &length.to_le_bytes());
        store(slot, 4, &[kind, 0]);
        store(slot, 6, &seed.tag.to_le_bytes());
        store(slot, 8, &body.finalize().to_le_bytes());
        store(slot, 28, &u16::from(kind == 1).to_le_bytes());
        let sum = seed.header_sum(slot, at);
        store(slot, 32, &sum.to_le_bytes());
        let mut with_it = Hasher::new_with_initial_len(crc32(slot), u64::try_from(slot.len()).expect("short"));
        with_it.combine(&behind);
        behind = with_it;
    }
}
