//! Inputs that reach far: good logs, and what is next to them.
//!
//! Guarantees:
//! 1. The same inputs each time, each under a name that says what it is.

use std::sync::Arc;

use esker::{Commit, Header, Record, Timestamp, Topic};

use super::SEGMENT;
use super::ways::options;
use crate::MemoryDisk;
use crate::format::bytes::{align, half, short};
use crate::format::sums::{FRAME_HEADER_BYTES, FRAMES_START, SEGMENT_HEADER_BYTES};

/// An input of a target, and what it is.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Of the target.
    pub target: &'static str,
    /// What it is.
    pub name: String,
    /// The input.
    pub input: Vec<u8>,
}

/// Inputs to begin with, for all targets but the one that recovers after a crash.
///
/// # Panics
/// If the engine does not make the logs that they are taken from.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |target, name: String, input| seeds.push(Seed { target, name, input });
    let segment = segment();
    add("hostile_segment", "whole".to_owned(), packed(4, &segment));
    add("hostile_segment", "sums_made_right".to_owned(), packed(7, &segment));
    add("hostile_segment", "without_its_zeros".to_owned(), packed(3, &segment));
    add("hostile_segment", "named_by_its_number".to_owned(), packed(15, &segment));
    let frames = frames_of(&segment);
    for (number, frame) in frames.iter().enumerate() {
        add("decode_frame", format!("frame_{number}"), frame.clone());
    }
    add("decode_frame", "all".to_owned(), frames.concat());
    for bit in 0..8 {
        // The second one is wrong in one way, the others stand around it.
        let mut wrong = frames.clone();
        wrong[1][0] |= 1 << bit;
        wrong[1][4] = 8;
        add("decode_frame", format!("wrong_{bit}"), wrong.concat());
    }
    for (span, body_bytes) in [(48_u32, 12), (56, 12), (48, 8)] {
        let body = [&0_u64.to_le_bytes()[..], &span.to_le_bytes()[..]].concat();
        let next = [0, 1, 1, 0, 0, 7, 0, 2, 0, 0, 0, 0, b'r', b'c'];
        let input = [&[0, 7, 0, 0, 0, body_bytes, 0][..], &body[..body_bytes.into()], &next[..]].concat();
        add("decode_frame", format!("gap_{span}_{body_bytes}"), input);
    }
    for (name, input) in lines() {
        add("decode_frame", name, input);
    }
    for (name, input) in sparse() {
        add("decode_frame", format!("sparse_{name}"), input);
    }
    for (name, input) in states() {
        add("decode_state", name.to_owned(), input);
    }
    for seed in 0..24 {
        let mut dice = crate::Dice::new(seed);
        let input = (0..16 + 6 * seed).map(|_| dice.word().to_le_bytes()[0]).collect();
        add("recover_after_crash", format!("life_{seed}"), input);
    }
    for base in 0..6_u8 {
        add("hostile_directory", format!("base_{base}"), vec![base]);
    }
    for step in 0..14_u8 {
        for file in 0..8_u8 {
            let input = vec![file % 6, step, file, step.wrapping_mul(5) ^ file, step, 3, 1, 2, 3, 4, 5, 6, 7];
            add("hostile_directory", format!("step_{step}_{file}"), input);
        }
    }
    for base in 0..3_u8 {
        add("hostile_anchor", format!("base_{base}"), vec![base, 0]);
        add("hostile_anchor", format!("log_alone_{base}"), vec![base, 2]);
        for field in 0..22_u8 {
            let edit = [base, 0, 5, base.wrapping_add(field) % 20, 0, field];
            add("hostile_anchor", format!("field_{base}_{field}"), edit.to_vec());
        }
    }
    for flags in 0..16_u8 {
        add("hostile_checkpoint", format!("flags_{flags}"), vec![flags]);
        add("hostile_checkpoint", format!("field_{flags}"), vec![flags, 5, flags, 0, flags.wrapping_mul(7)]);
    }
    edits_of_compacted(&mut add);
    seeds
}

/// Each step once on each log of those that were compacted, and on index files of them.
fn edits_of_compacted(add: &mut dyn FnMut(&'static str, String, Vec<u8>)) {
    for base in 0..5_u8 {
        add("hostile_rewritten", format!("base_{base}"), vec![base]);
        add("hostile_compaction", format!("base_{base}"), vec![9 + 5 * base, base]);
        add("hostile_index", format!("base_{base}"), vec![base]);
        for what in 0..12_u8 {
            // Header fields from that of the number on; frames of the first segment; near to what was there.
            let step = [what + 12 * base, base, 17 + base + what, 0, 8];
            add("hostile_rewritten", format!("step_{what}_{base}"), [&[base][..], &step].concat());
            add("hostile_compaction", format!("step_{what}_{base}"), [&[what + 7 * base, base][..], &step].concat());
            let edit = [5, what, 0, 13 + what % 7, 0, 20 * what, 1 + base / 2, 0xff];
            add("hostile_index", format!("lie_{what}_{base}"), [&[base, 0xc2, base + what, 0][..], &edit].concat());
            add("hostile_index", format!("other_{what}_{base}"), [&[base, 0xe0, base, what][..], &edit].concat());
        }
    }
}

/// A segment with a frame of every kind that a writer stores into one, records of every form, and state.
fn segment() -> Vec<u8> {
    let disk = MemoryDisk::new(41);
    let log = options().open_on(Arc::new(disk.clone())).expect("opens");
    let headers = [Header { name: "trace", value: b"1" }, Header { name: "é", value: b"" }];
    let _ = log.append(b"plain").expect("appends");
    let all = Record::new(b"all").key("k").headers(&headers).event_time(Timestamp::from_nanoseconds(-5));
    let _ = log.append_batch([all, Record::tombstone("k"), Record::new(b"")]).expect("appends");
    let topics = [Record::new(b"a").topic(Topic::new(3).expect("a topic")), Record::new(b"b")];
    let _ = log.append_batch(topics).expect("appends");
    log.sync().expect("syncs");
    let _ = log.commit(Commit::new().record(b"r").state("a", "1").state("b", "2")).expect("commits");
    let _ = log.commit(Commit::new().remove_state("a")).expect("commits");
    let mut cursor = log.cursor("billing").expect("made");
    let _ = cursor.commit(esker::Offset::new(2)).expect("commits");
    log.close().expect("closes");
    disk.read_file(SEGMENT).expect("is there")
}

/// A segment as the target takes it: up to the end of its frames, without the zeros behind its header.
fn packed(fix: u8, segment: &[u8]) -> Vec<u8> {
    let end = segment.iter().rposition(|byte| *byte != 0).map_or(0, |last| align(last + 1));
    [&[fix][..], &segment[..SEGMENT_HEADER_BYTES], &segment[FRAMES_START..end]].concat()
}

/// The frames of a segment as the target takes them.
fn frames_of(segment: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut at = FRAMES_START;
    loop {
        let header = &segment[at..at + FRAME_HEADER_BYTES];
        let bytes = usize::try_from(half(header, 0)).expect("small");
        if bytes == 0 {
            return frames;
        }
        let count = |place| u8::try_from(short(header, place)).expect("few");
        let how = if half(header, 12) == u32::MAX { 16 } else { 0 };
        let [low, high] = u16::try_from(bytes - FRAME_HEADER_BYTES).expect("small").to_le_bytes();
        let said = [how, header[4], count(28), count(30), 0, low, high];
        frames.push([&said, &segment[at + FRAME_HEADER_BYTES..at + bytes]].concat());
        at += align(bytes);
    }
}

/// Frames of a rewritten segment, around a frame that says of itself how many of three records are left, and which.
fn sparse() -> Vec<(String, Vec<u8>)> {
    let dropped = |count: u8| vec![0, 255, count, 0, 0, 0, 0];
    let frame = |how: u8, records: u8, states: u8, flags: u8, body: &[u8]| {
        let bytes = u8::try_from(body.len()).expect("small");
        [&[how, 1, records, states, flags, bytes, 0], body].concat()
    };
    let record = |delta: u8| [1, 0, 0, 0, 0, delta, 0, b'a' + delta];
    let body = |kept: u8, deltas: &[u8], behind: &[u8]| {
        [&[kept, 0][..], &deltas.iter().flat_map(|delta| record(*delta)).collect::<Vec<u8>>(), behind].concat()
    };
    let entry = [0, 0, 1, 0, 1, 0, 0, 0, b'k', b'v'];
    let dense = frame(0, 1, 0, 0, &[1, 0, 0, 0, 0, b'r']);
    let mixed = [&[1, 0][..], &[1, 0, 0, 0, 1, 2, 0, 5, 0, 0, 0, 1, 0, b'k', b'p'], &entry].concat();
    let around = |middle: Vec<u8>| [dense.clone(), dropped(2), middle, dense.clone(), dropped(1)].concat();
    let mut seeds = vec![
        ("all_dropped".to_owned(), dropped(9)),
        ("dense_around_holes".to_owned(), around(Vec::new())),
        ("mixed".to_owned(), around(frame(8 | 16, 3, 1, 1, &mixed))),
        ("states_alone".to_owned(), around(frame(0, 0, 1, 0, &entry))),
        ("in_a_segment_never_rewritten".to_owned(), [dense.clone(), frame(8, 3, 0, 1, &body(1, &[1], b""))].concat()),
        ("flag_unknown".to_owned(), around(frame(8, 3, 0, 2, &body(1, &[1], b"")))),
        ("without_offsets".to_owned(), around(frame(8, 0, 1, 1, &entry))),
        ("offset_that_goes_back".to_owned(), around(frame(8 | 32, 3, 0, 255, &body(1, &[1], b"")))),
    ];
    let kept: [(u8, &[u8]); 8] =
        [(1, &[0]), (1, &[2]), (2, &[0, 2]), (3, &[0, 1, 2]), (2, &[1, 1]), (2, &[2, 0]), (1, &[3]), (0, &[])];
    for (count, deltas) in kept {
        let name = deltas.iter().fold(format!("kept_{count}"), |name, delta| format!("{name}_{delta}"));
        seeds.push((name, around(frame(8, 3, 1, 1, &body(count, deltas, &entry)))));
    }
    seeds
}

/// Marks, seals and closes that carry a line of the segment itself, up to where they stand or behind it, or of the one behind
/// it; in a segment as it was written, and in one that was rewritten, of whose end the header says that it is durable.
fn lines() -> Vec<(String, Vec<u8>)> {
    let here = u64::try_from(FRAMES_START).expect("small");
    let mut seeds = Vec::new();
    for (kind, segment, position) in
        [(2_u8, 1_u64, here), (2, 1, here + 8), (3, 1, 0x20_0000_1278), (6, 1, 0x20_0000_1278), (6, 2, here)]
    {
        let body = [segment, position, 0, 0].map(u64::to_le_bytes).concat();
        let frame = [&[0, kind, 0, 0, 0, 32, 0][..], &body].concat();
        let name = format!("line_{kind}_{segment}_{position}");
        seeds.push((format!("{name}_rewritten"), [&frame[..], &[0, 255, 9, 0, 0, 0, 0]].concat()));
        seeds.push((name, frame));
    }
    seeds
}

/// Frames of state: each entry as space, flags, what is wrong with its length, key, and value.
fn states() -> [(&'static str, Vec<u8>); 8] {
    let entry = |space: u8, flags: u8, wrong: u8, key: &[u8], value: &[u8]| {
        let [low, high] = u16::try_from(value.len()).expect("small").to_le_bytes();
        let said: &[u8] = if space == 1 { &[] } else { &[low, high] };
        let key_bytes = u8::try_from(key.len()).expect("small");
        [&[space, flags, wrong, key_bytes], key, said, value].concat()
    };
    let frame = |records: u8, entries: &[Vec<u8>]| {
        [vec![u8::try_from(entries.len()).expect("few"), records], entries.concat()].concat()
    };
    let mut place = [0; 32];
    (place[0], place[16]) = (1, 2);
    let set = |value: &[u8]| frame(1, &[entry(0, 0, 0, b"a", value), entry(0, 0, 0, b"b", b"2")]);
    let removed = frame(0, &[entry(0, 1, 0, b"a", b"")]);
    let cursors = frame(1, &[entry(1, 0, 0, b"billing", &place), entry(1, 0, 0, b"audit", &place)]);
    let start = |key: &[u8], bytes: usize| entry(3, 0, 0, key, &place[..bytes]);
    [
        ("set_twice_and_removed", [set(b"1"), set(&[7; 700]), removed.clone()].concat()),
        ("cursors", [cursors.clone(), frame(0, &[entry(1, 1, 0, b"audit", b"")])].concat()),
        (
            "topic_starts",
            [frame(1, &[start(&[7, 0, 0, 0], 8)]), frame(0, &[entry(3, 1, 0, &[7, 0, 0, 0], b"")])].concat(),
        ),
        ("bad_topic_starts", [set(b"1"), frame(1, &[start(b"abc", 8)]), frame(1, &[start(&[7, 0, 0, 0], 9)])].concat()),
        ("later_space", [set(b"1"), frame(1, &[entry(16, 0, 0, b"a", b"1")]), removed].concat()),
        ("later_cursor", [cursors, frame(1, &[entry(1, 0, 8, b"audit", &[0; 40])])].concat()),
        ("of_all_spaces", frame(1, &(0..15).map(|space| entry(space, 0, 0, b"k", &place)).collect::<Vec<_>>())),
        ("too_short", [set(b"1"), frame(1, &[entry(0, 0, 9, b"a", b"123")])].concat()),
    ]
}
