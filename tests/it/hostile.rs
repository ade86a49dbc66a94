//! Hostile bytes on stable: the bodies of the fuzz targets, over mutated good segments.

mod checkpoint;
mod corpus;
mod start;

use proptest::prelude::*;

use crate::support::{append_numbered, open, segment_name};

fn good_segment() -> Vec<u8> {
    let disk = harness::MemoryDisk::new(3);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..20);
    log.sync().expect("syncs");
    append_numbered(&log, 20..25);
    drop(log);
    disk.read_file(&segment_name(1)).expect("a segment")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_segment_is_opened_or_refused_without_panic(
        edits in proptest::collection::vec((0..16_384_usize, any::<u8>()), 0..8),
        words in proptest::collection::vec((0..2048_usize, prop_oneof![Just(u64::MAX), Just(0), any::<u64>()]), 0..3),
        cut in prop_oneof![3 => Just(usize::MAX), 1 => 0..17_000_usize],
    ) {
        let mut bytes = good_segment();
        for (at, byte) in edits {
            if let Some(to) = bytes.get_mut(at) { *to = byte; }
        }
        for (at, word) in words {
            if let Some(to) = bytes.get_mut(at * 8..at * 8 + 8) { to.copy_from_slice(&word.to_le_bytes()); }
        }
        bytes.truncate(cut);
        harness::hostile::open_segment(&bytes);
    }
}
