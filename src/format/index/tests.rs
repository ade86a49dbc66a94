//! Headers, and lookups in bytes of all kinds.

use super::*;
use proptest::prelude::*;

impl Bytes for Vec<u8> {
    fn fill(&self, position: u64, to: &mut [u8]) -> Result<(), Fault> {
        let start = crate::types::index(position);
        let from = self.get(start..start.saturating_add(to.len())).expect("a lookup stays inside of its file");
        to.copy_from_slice(from);
        Ok(())
    }
}

fn header(end: u64, topics: Option<(u32, u32)>, entries: u32) -> IndexHeader {
    let topics = topics.map(|(topics, blocks)| TopicCounts { topics, blocks });
    IndexHeader {
        subject: Subject { store_id: StoreId([7; 16]), number: 3, generation: 1, incarnation: 99, end },
        counts: Counts { topics, entries },
        last_gap: 4096,
        body_checksum: 5,
    }
}

#[test]
fn a_header_comes_back_and_every_flipped_bit_is_noticed() {
    for header in [header(1 << 20, Some((3, 9)), 1000), header(8192, None, 0)] {
        assert_eq!(IndexHeader::decode(&header.encode()), Ok(header));
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = header.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(IndexHeader::decode(&bytes).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn a_header_out_of_range_is_refused_although_its_sum_is_right() {
    let bad = [
        header(4088, None, 0),
        header(4100, None, 0),
        header(SEGMENT_BYTES_MAX + 8, None, 0),
        header(8192, Some((u32::MAX, 1)), 0),
        header(8192, Some((1, u32::MAX)), 0),
        header(8192, None, ENTRIES_MAX + 1),
        header(8192, None, u32::MAX),
        IndexHeader { last_gap: 8192, ..header(8192, None, 0) },
    ];
    for header in bad {
        assert!(matches!(IndexHeader::decode(&header.encode()), Err(Fault::Content { .. })), "{header:?}");
    }
    let fields = [table::BLOCKS, table::BUCKET_BITS, table::FILTER_BLOCKS, table::TOPICS, table::ENTRIES];
    for field in fields {
        let mut bytes = header(1 << 20, None, 1000).encode();
        field.put(&mut bytes, [0xff_u8; 4]);
        OPENING.put(&mut bytes);
        assert!(IndexHeader::decode(&bytes).is_err(), "{}", field.name);
    }
    for edit in [
        |bytes: &mut [u8]| table::VERSION.put(bytes, [1, 0]),
        |bytes: &mut [u8]| table::FEATURES_REQUIRED.put(bytes, [1, 0, 0, 0]),
    ] {
        let mut later = header(8192, None, 0).encode();
        edit(&mut later);
        assert!(!IndexHeader::decode(&later).expect_err("refused").is_unknown(), "its sum is wrong: rot");
        OPENING.put_sum(&mut later);
        assert!(IndexHeader::decode(&later).expect_err("refused").is_unknown(), "of a later program");
    }
}

#[test]
fn the_hash_is_that_of_topic_and_key_in_one_piece() {
    for bytes in [0, 1, 251, 252, 253, 4000] {
        let (topic, key) = (Topic::new(0x0102_0304).expect("a topic"), vec![7; bytes]);
        let whole: Vec<u8> = [4, 3, 2, 1].into_iter().chain(key.iter().copied()).collect();
        assert_eq!(KeyHash::of(topic, &key), KeyHash(xxh3_64(&whole)), "{bytes}");
    }
    // The value of XXH3-64 for no bytes, from its reference implementation.
    assert_eq!(xxh3_64(b""), 0x2d06_8005_38d3_94c2);
}

#[test]
fn buckets_and_filter_grow_with_the_entries() {
    let widths = |entries| (bucket_bits(entries), Layout::of(4096, &Counts { topics: None, entries }).filter_blocks);
    assert_eq!([0, 16, 17, 32, 33, 1000].map(widths), [(0, 1), (0, 1), (1, 1), (1, 2), (2, 2), (6, 40)]);
    assert_eq!((bucket(u32::MAX, 0), bucket(u32::MAX, 3), bucket(1 << 29, 3)), (0, 7, 1));
    assert_eq!(KeyHash(u64::MAX).filter_block(40), 39);
}

proptest! {
    /// Guarantee 2: the bytes above panic if a lookup leaves the file.
    #[test]
    fn lookups_stay_inside_whatever_the_bytes_are(
        end in 512..100_000_u64, topics in proptest::option::of((0..20_u32, 0..50_u32)), entries in 0..300_u32,
        seed in any::<u64>(), hashes in proptest::collection::vec(any::<u64>(), 1..20), small in any::<bool>(),
    ) {
        let header = header(end * 8, topics, entries);
        let header = IndexHeader::decode(&header.encode()).expect("in range");
        let layout = header.layout();
        let mut bytes = vec![0_u8; crate::types::index(layout.file_bytes())];
        let mut state = seed | 1;
        for byte in &mut bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Small numbers lead to places that are there.
            *byte = if small && (state >> 40) % 3 > 0 { 0 } else { state.to_le_bytes()[7] };
        }
        let tables = Tables { layout: &layout, bytes: &bytes };
        for hash in hashes.into_iter().map(KeyHash) {
            let _either_way = tables.may_hold(hash);
            if let Ok(range) = tables.entries_of(hash) {
                prop_assert!(range.start <= range.end);
                for number in range.take(10) {
                    let _either_way = tables.entry(number);
                }
            }
        }
        for topic in 0..30 {
            let _either_way = tables.each_block_of(Topic::new(topic).expect("small"), &mut |_| {});
        }
        let mut met = 0;
        tables.each_entry(0..entries, &mut |entry| {
            assert_eq!(Ok(*entry), tables.entry(met));
            met += 1;
            ControlFlow::Continue(())
        }).expect("all entries are there");
        prop_assert_eq!(met, entries);
        prop_assert!(tables.each_entry(0..entries + 1, &mut |_| ControlFlow::Continue(())).is_err());
        for number in 0..tables.blocks() {
            tables.block(number).expect("all rows are there");
        }
        prop_assert!(tables.block(tables.blocks()).is_err());
    }

    #[test]
    fn bytes_that_are_no_header_are_refused(bytes in proptest::collection::vec(any::<u8>(), HEADER_BYTES)) {
        prop_assert!(IndexHeader::decode(bytes.first_chunk().expect("as long")).is_err());
    }
}
