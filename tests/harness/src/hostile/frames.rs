//! Hostile frames and hostile state: one segment with a good header, whose frames the input describes.
//!
//! Guarantees:
//! 1. Tags and sums are right unless the input says otherwise, so that what lies behind them is reached.
//! 2. Any input is a list of frames. What is right is told by a reader of its own: records, state, and what the log ends
//!    with.

use esker::{ErrorKind, FORMAT_VERSION};

use super::reading::{Reading, read};
use super::repairs::{Origin, repair_copies};
use super::ways::{Checkpoints, Held, open_all_ways};
use super::{SEGMENT, put};
use crate::MemoryDisk;
use crate::format::bytes::{Input, align, store, word};
use crate::format::sums::{FRAME_HEADER_BYTES, FRAMES_START, SEGMENT_HEADER_BYTES, Seed, crc32, mend_opening};

/// The length of the segment.
const CAPACITY: usize = 16 * 1024;
const INCARNATION: u64 = 0x1122_3344_5566_7788;
const BODY_BYTES_MAX: usize = 4096;
const DATA: u8 = 1;

const WRONG_SUM: u8 = 1;
const WRONG_BODY_SUM: u8 = 2;
const WRONG_TAG: u8 = 4;
const FLAGS: u8 = 8;
const MIXED_TOPICS: u8 = 16;
const WRONG_OFFSET: u8 = 32;
const WRONG_LENGTH: u8 = 64;
const LEFT_OUT: u8 = 128;

/// A segment with a good header, and where its next frame goes.
struct Bench {
    bytes: Vec<u8>,
    at: usize,
    records: u32,
}

/// What of a frame the input may say, besides its body.
#[derive(Debug, Default, Clone, Copy)]
struct Shape {
    how: u8,
    kind: u8,
    records: u16,
    states: u16,
    wrong: u8,
}

impl Bench {
    fn new() -> Self {
        let mut bytes = vec![0; CAPACITY];
        store(&mut bytes, 0, b"eskerseg");
        store(&mut bytes, 8, &FORMAT_VERSION.to_le_bytes());
        store(&mut bytes, 24, &[0x10; 16]);
        store(&mut bytes, 40, &1_u64.to_le_bytes());
        store(&mut bytes, 56, &INCARNATION.to_le_bytes());
        store(&mut bytes, 64, &1_u64.to_le_bytes());
        store(&mut bytes, 152, &u64::try_from(CAPACITY).expect("small").to_le_bytes());
        mend_opening(&mut bytes, SEGMENT_HEADER_BYTES);
        Self { bytes, at: FRAMES_START, records: 0 }
    }

    /// Puts a frame behind the last; `false` if there is no room left.
    fn put(&mut self, shape: Shape, body: &[u8]) -> bool {
        let frame_bytes = FRAME_HEADER_BYTES + body.len();
        if self.at + align(frame_bytes) > self.bytes.len() {
            return false;
        }
        let has = |wrong: u8| if shape.how & wrong == 0 { 0 } else { shape.wrong.max(1) };
        let length = u32::try_from(frame_bytes).expect("small").wrapping_add(u32::from(has(WRONG_LENGTH)));
        let mut header = [0; FRAME_HEADER_BYTES];
        store(&mut header, 0, &length.to_le_bytes());
        store(&mut header, 4, &[shape.kind, has(FLAGS)]);
        store(&mut header, 6, &(Seed::new(INCARNATION).tag ^ u16::from(has(WRONG_TAG))).to_le_bytes());
        store(&mut header, 8, &(crc32(body) ^ u32::from(has(WRONG_BODY_SUM))).to_le_bytes());
        store(&mut header, 12, &if has(MIXED_TOPICS) > 0 { [0xff; 4] } else { [0; 4] });
        store(&mut header, 16, &(1_767_225_600_000_000_000 + u64::from(self.records)).to_le_bytes());
        store(&mut header, 24, &(self.records + u32::from(has(WRONG_OFFSET))).to_le_bytes());
        store(&mut header, 28, &shape.records.to_le_bytes());
        store(&mut header, 30, &shape.states.to_le_bytes());
        let sum = Seed::new(INCARNATION).header_sum(&header, self.at) ^ u32::from(has(WRONG_SUM));
        store(&mut header, 32, &sum.to_le_bytes());
        if shape.how & LEFT_OUT == 0 {
            store(&mut self.bytes, self.at, &header);
            store(&mut self.bytes, self.at + FRAME_HEADER_BYTES, body);
        }
        self.at += align(frame_bytes);
        self.records += if shape.kind == DATA { u32::from(shape.records) } else { 0 };
        true
    }
}

/// Opens a segment whose frames are the input's: for each how, kind, records, state entries, what is wrong, the length of
/// its body (two bytes), and the body.
///
/// # Panics
/// If the engine breaks a promise.
pub fn decode_frame(input: &[u8]) {
    let mut bench = Bench::new();
    let mut input = Input(input);
    while !input.is_empty() {
        let (how, kind) = (input.byte(), input.byte() % 10);
        let (records, states, wrong) = (input.byte().into(), input.byte().into(), input.byte());
        let body_bytes = usize::from(input.short()) % BODY_BYTES_MAX;
        if !bench.put(Shape { how, kind, records, states, wrong }, input.take(body_bytes)) {
            break;
        }
    }
    judge(&bench.bytes);
}

/// Opens a segment whose frames hold state entries as the input says: for each frame how many, whether a record is there,
/// and for each entry space, flags, a byte added to the length of the value, key and value with their lengths before them.
///
/// # Panics
/// If the engine breaks a promise.
pub fn decode_state(input: &[u8]) {
    let mut bench = Bench::new();
    let mut input = Input(input);
    while !input.is_empty() {
        let (states, records) = (u16::from(input.byte() % 16), u16::from(input.byte() % 2));
        let mut body = Vec::new();
        (0..records).for_each(|_| body.extend([2, 0, 0, 0, 0, b'r', b'c']));
        for _ in 0..states {
            let (space, flags, wrong) = (input.byte() % 18, input.byte() % 3, input.byte());
            let key_bytes = usize::from(input.byte());
            let key = input.take(key_bytes);
            let value_bytes = if space == 1 { 32 + usize::from(wrong) } else { usize::from(input.short()) % 2048 };
            let value = if flags == 1 && wrong == 0 { &[] } else { input.take(value_bytes) };
            let said = value.len() + if space == 1 { 0 } else { usize::from(wrong) };
            body.extend([space, flags]);
            body.extend(u16::try_from(key.len()).expect("small").to_le_bytes());
            body.extend(u32::try_from(said).expect("small").to_le_bytes());
            body.extend(key.iter().chain(value));
        }
        if !bench.put(Shape { kind: DATA, records, states, ..Shape::default() }, &body) {
            break;
        }
    }
    judge(&bench.bytes);
}

/// Compares what the engine makes of a segment with what the format says.
fn judge(bytes: &[u8]) {
    let disk = MemoryDisk::new(1);
    put(&disk, SEGMENT, bytes);
    let reading = read(bytes, 1);
    repair_copies(&disk, Origin::Several);
    match open_all_ways(&disk, Checkpoints::True) {
        Ok(held) => {
            assert!(!reading.later, "of a later program");
            assert!(reading.durable <= reading.end, "cut below the durable line: {reading:?}");
            holds(&held, &reading);
        }
        Err(error) => match error.kind() {
            ErrorKind::Incompatible => assert!(reading.later, "{error}"),
            ErrorKind::Corrupt => assert!(reading.durable_anywhere > reading.end, "{error}: {reading:?}"),
            _ => panic!("{error}"),
        },
    }
}

fn holds(held: &Held, reading: &Reading) {
    assert_eq!(held.drained.records, reading.records);
    assert_eq!(lost(&held.drained.gaps), lost(&reading.gaps));
    assert_eq!(held.drained.ended, None);
    let of_space = |space: u8| reading.state.iter().filter(move |((found, _), _)| *found == space);
    let entries: Vec<_> = held.entries.iter().map(|(key, value)| (&**key, value.value())).collect();
    let expected: Vec<_> = of_space(0).map(|((_, key), value)| (&**key, &**value)).collect();
    assert_eq!(entries, expected);
    let cursors: Vec<_> = held.cursors.iter().map(|cursor| cursor.offset.get()).collect();
    let expected: Vec<_> = of_space(1).map(|(_, value)| word(value, 16)).collect();
    assert_eq!(cursors, expected, "{:?}", held.cursors);
}

/// The offsets that gaps take, however many frames say so.
fn lost(gaps: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut lost: Vec<(u64, u64)> = Vec::new();
    for (from, next) in gaps.iter().filter(|(from, next)| from < next) {
        match lost.last_mut() {
            Some((_, end)) if *end == *from => *end = *next,
            _ => lost.push((*from, *next)),
        }
    }
    lost
}
