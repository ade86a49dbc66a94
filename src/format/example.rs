//! The worked example of `format.md`, kept equal to what this program stores and reads.

use super::frame::{self, FrameHeader, Layout, Look};
use super::header::{self, SegmentHeader};
use super::record::thin::{Fate, Part, Thinned};
use super::state::{Space, StateEntry};
use super::{FRAMES_START, Kind, align, record};
use crate::checksum::Seed;
use crate::types::{Epoch, Line, Offset, Record, StoreId, Timestamp, index, length};

/// 2026-01-01 00:00:00 UTC.
const CREATED: i64 = 1_767_225_600_000_000_000;

/// The bytes that the prose shows as rows of position, two spaces, bytes in hex, two spaces, explanation; zero between
/// them.
fn shown(heading: &str) -> Vec<u8> {
    let section = include_str!("../format.md").split(heading).nth(1).expect("format.md has the example");
    let rows = section.split("```").nth(1).and_then(|block| block.strip_prefix("text\n")).expect("a block of text");
    let mut bytes = Vec::new();
    for row in rows.lines() {
        let (position, rest) = row.trim_start().split_once("  ").expect("a position");
        let (digits, _) = rest.split_once("  ").expect("an explanation");
        let position: usize = position.parse().expect("a decimal position");
        assert!(position >= bytes.len(), "{row}: rows do not overlap and go up");
        bytes.resize(position, 0);
        bytes.extend(digits.split(' ').map(|byte| u8::from_str_radix(byte, 16).expect("a byte in hex")));
    }
    bytes
}

fn segment() -> SegmentHeader {
    SegmentHeader {
        store_id: StoreId(*b"\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f"),
        number: 1,
        generation: 0,
        incarnation: 0x1122_3344_5566_7788,
        epoch: Epoch { counter: 1, word: 0x5eed },
        first_offset: Offset::ZERO,
        predecessor: None,
        durable: Line::default(),
        created: Timestamp::from_nanoseconds(CREATED),
        time_max: Timestamp::default(),
        capacity: 1 << 20,
        rewritten: None,
    }
}

#[test]
fn the_example_is_what_the_encoder_stores() {
    let records = [Record::new("hello").key("k1")];
    let shape = record::measure(&records, &[]).expect("within limits");
    let mut body = vec![0; shape.body_length];
    record::encode(&records, &[], &shape, &mut body);
    let head = FrameHeader {
        length: u32::try_from(frame::HEADER_BYTES + body.len()).expect("small"),
        kind: Kind::Data,
        layout: Layout::Dense,
        body_checksum: record::checksum_of(&records, &[], &shape),
        topic: shape.topic,
        time: Timestamp::from_nanoseconds(CREATED + 1_000_000_000),
        offset_delta: 0,
        record_count: shape.record_count,
        state_count: shape.state_count,
        header_checksum: 0,
    };
    let mut stored = segment().encode().to_vec();
    stored.resize(index(FRAMES_START), 0);
    stored.extend(head.encode(Seed::new(segment().incarnation), FRAMES_START).to_bytes());
    stored.extend(body);
    stored.resize(index(align(length(stored.len()))), 0);
    assert_eq!(shown("## Example\n"), stored);
}

#[test]
fn the_example_of_a_sparse_frame_is_what_is_left_of_a_whole_one() {
    let records = [Record::new("lost").key("k1"), Record::new("hello"), Record::new("")];
    let entry = |key, value| StateEntry { space: Space::CALLER, key, value };
    let states = [entry(b"gone", None), entry(b"k", Some(&b"v"[..]))];
    let shape = record::measure(&records, &states).expect("within limits");
    let mut whole = vec![0; shape.body_length];
    record::encode(&records, &states, &shape, &mut whole);
    let head = |length: usize, thinned: Thinned, body_checksum| FrameHeader {
        length: u32::try_from(frame::HEADER_BYTES + length).expect("small"),
        kind: Kind::Data,
        layout: thinned.layout,
        body_checksum,
        topic: shape.topic,
        time: Timestamp::from_nanoseconds(CREATED + 1_000_000_000),
        offset_delta: 0,
        record_count: thinned.record_count,
        state_count: thinned.state_count,
        header_checksum: 0,
    };
    let dense = Thinned { layout: Layout::Dense, records: 3, record_count: 3, state_count: 2 };
    let mut body = Vec::new();
    let fate = |kept| if kept { Fate::Keep } else { Fate::Drop };
    let mut decide = |part: &Part<'_>| match part {
        Part::Record(record) => fate(record.payload() == b"hello"),
        Part::State(entry) => fate(entry.key == b"k"),
    };
    let thinned = record::thin::thin(&head(whole.len(), dense, 0), Offset::ZERO, &whole, &mut decide, &mut body);
    let thinned = thinned.expect("decodes").expect("something is left");
    let sum = crate::checksum::plain(&body);
    let encoded = head(body.len(), thinned, sum).encode(Seed::new(segment().incarnation), FRAMES_START);
    let mut stored = vec![0; index(FRAMES_START)];
    stored.extend(encoded.to_bytes());
    stored.extend(&body);
    stored.resize(index(align(length(stored.len()))), 0);
    assert_eq!(shown("## Example of a sparse frame\n"), stored);
}

#[test]
fn the_example_is_valid() {
    let bytes = shown("## Example\n");
    let stored = bytes.first_chunk::<{ header::BYTES }>().expect("a header");
    let segment = SegmentHeader::decode(stored).expect("a valid header").expect("not a spare");
    let frames = &bytes[index(FRAMES_START)..];
    let room = segment.capacity - FRAMES_START;
    let Look::Frame(head) = frame::look(frames, Seed::new(segment.incarnation), FRAMES_START, room) else {
        panic!("a valid frame header");
    };
    let body = frame::body(frames, &head);
    assert_eq!((frame::check_body(body, &head), record::check(body, &head)), (Ok(()), Ok(())));
    let read: Vec<_> = record::Records::new(body, &head, segment.first_offset).collect();
    let [record] = read[..] else { panic!("one record") };
    assert_eq!((record.offset(), record.key(), record.payload()), (Offset::ZERO, Some(&b"k1"[..]), &b"hello"[..]));
    assert_eq!(length(frames.len()), head.stride());
}
