//! Frames that a segment writer stores are walked over again, within the promised overhead.

use super::walk::Step;
use super::*;
use crate::types::{Epoch, Line, StoreId};

fn header() -> SegmentHeader {
    SegmentHeader {
        store_id: StoreId([1; 16]),
        number: 1,
        generation: 0,
        incarnation: 77,
        epoch: Epoch { counter: 1, word: 2 },
        first_offset: Offset::new(10),
        predecessor: None,
        durable: Line::default(),
        created: Timestamp::default(),
        time_max: Timestamp::default(),
        capacity: 1 << 18,
        rewritten: None,
    }
}

fn writer() -> SegmentWriter {
    let region = Region::anonymous(1 << 18).expect("maps");
    Blank::new(region).activate(&header()).expect("room for the header")
}

fn append(writer: &mut SegmentWriter, records: &[Record<'_>], time: i64) -> Option<Appended> {
    let shape = record::measure(records, &[]).expect("within limits");
    writer.append(&Body::data(records, &[], &shape), Timestamp::from_nanoseconds(time))
}

#[test]
fn what_was_appended_is_walked_over_in_order() {
    let mut writer = writer();
    let large = vec![9_u8; 5000];
    append(&mut writer, &[Record::new(b"a")], 1).expect("room");
    append(&mut writer, &[Record::new(b"b"), Record::new(&large)], 2).expect("room");
    let control = Body::Control { kind: Kind::Pad, bytes: &[] };
    writer.append(&control, Timestamp::default()).expect("room");
    let segment = writer.segment();
    let bytes = segment.bytes(FRAMES_START..segment.published()).expect("published");
    let mut walk = segment.frames().walk(bytes, FRAMES_START, Offset::new(10));
    let mut payloads = Vec::new();
    while let Step::Frame(frame) = walk.step() {
        payloads.extend(frame.records().map(|record| (record.offset().get(), record.payload().len())));
    }
    assert_eq!(payloads, [(10, 1), (11, 1), (12, 5000)]);
    assert_eq!(walk.position, segment.published());
}

#[test]
fn a_single_record_costs_at_most_48_bytes_and_one_in_a_batch_at_most_12() {
    for payload in 0..200 {
        let mut writer = writer();
        let before = writer.tail();
        append(&mut writer, &[Record::new(&vec![1; payload])], 1).expect("room");
        assert!(writer.tail() - before <= length(payload) + 48, "payload of {payload}");
    }
    let mut writer = writer();
    let before = writer.tail();
    let batch = [Record::new(&[1; 100]).key(b"k"), Record::new(&[2; 100]).topic(Topic::new(1).expect("topic"))];
    let records: Vec<Record<'_>> = batch.into_iter().cycle().take(100).collect();
    append(&mut writer, &records, 1).expect("room");
    assert!(writer.tail() - before <= 100 * 100 + 50 + 100 * 12);
}

#[test]
fn an_append_that_does_not_fit_stores_nothing() {
    let mut writer = writer();
    let room = (1 << 18) - 4096;
    let payload = vec![3; room - 41];
    assert!(append(&mut writer, &[Record::new(&[&payload[..], b"xyzw"].concat())], 1).is_none());
    assert_eq!(writer.tail(), FRAMES_START);
    assert!(append(&mut writer, &[Record::new(&payload)], 1).is_some());
    assert_eq!(writer.tail(), 1 << 18);
    assert!(append(&mut writer, &[Record::new(b"")], 1).is_none());
}

#[test]
fn the_index_leads_to_a_frame_at_or_before_an_offset_and_a_time() {
    let mut writer = writer();
    for time in 0..2000 {
        append(&mut writer, &[Record::new(&[0; 60])], time).expect("room");
    }
    let segment = writer.segment();
    let by_offset = segment.index().last_where(|entry| entry.offset_delta <= 1500).expect("there");
    assert!(by_offset.offset_delta <= 1500 && by_offset.position > index::BLOCK_BYTES);
    let by_time = segment.index().last_where(|entry| entry.time_max.nanoseconds() < 1500).expect("there");
    assert_eq!(by_time, by_offset);
}
