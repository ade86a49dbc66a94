//! Hostile checkpoints on stable: the body of the fuzz target, over random edits and over all that are worth a name.

use harness::allocation::largest_during;
use harness::hostile::{good_checkpoint_bytes, open_checkpoint};
use proptest::collection::vec;
use proptest::prelude::*;

/// No piece of memory is larger, whatever a checkpoint of some kilobytes says: the engine's buffers are of this size.
const PIECE_BYTES_MAX: usize = 1 << 20;
/// Both checksums right again.
const SUMS_FIXED: u8 = 3;
/// ... and the length of the body.
const ALL_FIXED: u8 = 7;
const ALONE: u8 = 8;

fn open(input: &[u8]) {
    let largest = largest_during(|| open_checkpoint(input));
    assert!(largest <= PIECE_BYTES_MAX, "{largest} bytes in one piece for {input:?}");
}

fn edit(what: u8, at: usize, with: u8) -> [u8; 4] {
    let [low, high] = u16::try_from(at).expect("small").to_le_bytes();
    [what, low, high, with]
}

#[test]
fn a_checkpoint_without_edits_is_good_alone_too() {
    (0..16).for_each(|flags| open(&[flags]));
}

#[test]
fn each_field_of_the_header_at_each_extreme_is_survived() {
    for (field, extreme) in (0..20_u8).flat_map(|field| (0..20).map(move |extreme| (field, extreme))) {
        let flags = if (usize::from(field) + extreme) % 2 == 0 { SUMS_FIXED } else { SUMS_FIXED | ALONE };
        open(&[&[flags][..], &edit(5, extreme, field)].concat());
    }
}

#[test]
fn each_byte_flipped_cut_and_set_with_right_checksums_is_survived() {
    // All of the header, of the first rows and entries; of the rest, some.
    for at in (0..good_checkpoint_bytes()).filter(|at| *at < 230 || at % 11 == 0) {
        let which = u8::try_from(at % 20).expect("small");
        if at < 256 {
            open(&[&[0][..], &edit(1, at, which)].concat());
        }
        open(&[&[SUMS_FIXED][..], &edit(1, at, which)].concat());
        open(&[&[ALL_FIXED][..], &edit(2 + which % 3, at, which)].concat());
        if at % 8 == 0 {
            open(&[&[ALL_FIXED | ALONE][..], &edit(6, at, 0)].concat());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_checkpoint_gives_the_right_state_or_a_typed_error(
        flags in 0..16_u8,
        edits in vec((0..10_u8, 0..1200_usize, any::<u8>()), 1..8),
    ) {
        let edits = edits.into_iter().flat_map(|(what, at, with)| edit(what, at, with));
        open(&std::iter::once(flags).chain(edits).collect::<Vec<_>>());
    }
}
