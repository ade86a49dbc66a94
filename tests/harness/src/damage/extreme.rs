//! Every number of the format at its extremes, with checksums as they were or made right again.
//!
//! Guarantees:
//! 1. The fields are found by a walk of its own over the reference, by the tables of `src/format.md`.
//! 2. A forgery whose result the format does not allow is an accident: it has to be reported as one.

use crate::format::sums::{Seed, crc32, mend_opening};
use std::ops::Range;

use super::edit::{Damage, Edit, Nature};
use super::layout::{
    CHECKPOINT_HEADER, FRAME_HEADER, FileKind, SEGMENT_HEADER, SLOT, SLOTS, Stored, Topics, Unit, usize_at,
};
use super::reference::Reference;
use super::valid;
use crate::format::bytes::{half, short, word};
use crate::format::fields::{self, Field, Role};

/// Places and widths of the numbers in a segment header; magic, checksum and identities are not among them.
const SEGMENT_FIELDS: [(usize, usize); 27] = [
    (8, 2),
    (10, 2),
    (16, 4),
    (20, 4),
    (40, 8),
    (48, 4),
    (52, 4),
    (56, 8),
    (64, 8),
    (72, 8),
    (80, 8),
    (88, 8),
    (96, 8),
    (104, 8),
    (112, 8),
    (120, 8),
    (128, 8),
    (136, 8),
    (144, 8),
    (152, 8),
    (160, 8),
    (168, 8),
    (176, 8),
    (184, 8),
    (192, 8),
    (200, 8),
    (208, 8),
];
const FRAME_FIELDS: [(usize, usize); 9] = [(0, 4), (4, 1), (5, 1), (6, 2), (12, 4), (16, 8), (24, 4), (28, 2), (30, 2)];
/// What sums a field, and where that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Summed {
    Segment,
    Frame { at: usize },
    Checkpoint,
    Slot { at: usize },
}

/// Whether checksums are made right again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sums {
    Stale,
    Right,
}

/// A number that is set to something else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extreme {
    file: usize,
    at: usize,
    width: usize,
    value: u64,
    summed: Summed,
}

impl Extreme {
    pub(super) fn damage(&self, reference: &Reference, sums: Sums) -> Damage {
        let stored = &reference.files[self.file];
        let mut bytes = stored.bytes.clone();
        put(&mut bytes, self.at, self.width, self.value);
        if sums == Sums::Stale {
            return Damage::store(self.file, self.at, bytes[self.at..self.at + self.width].to_vec());
        }
        let (range, is_possible) = match self.summed {
            Summed::Segment => {
                mend_opening(&mut bytes, SEGMENT_HEADER);
                (0..SEGMENT_HEADER, valid::segment_header(&stored.bytes, &bytes))
            }
            Summed::Frame { at } => {
                let end = sum_frame(stored, &mut bytes, at);
                (at..end, valid::frame(stored, &bytes, at))
            }
            Summed::Checkpoint => {
                let body = &bytes[CHECKPOINT_HEADER..];
                let length = usize::try_from(word(&bytes, 120)).unwrap_or(usize::MAX).min(body.len());
                let sum = crc32(&body[..length]);
                put(&mut bytes, 108, 4, sum.into());
                mend_opening(&mut bytes, CHECKPOINT_HEADER);
                (0..bytes.len(), valid::checkpoint(&stored.bytes, &bytes))
            }
            Summed::Slot { at } => {
                mend_opening(&mut bytes[at..], SLOT);
                (at..at + SLOT, valid::slot(&bytes[at..at + SLOT]))
            }
        };
        let nature = if is_possible { Nature::Forgery } else { Nature::Accident };
        let store = Edit::Store { file: self.file, at: range.start, bytes: bytes[range].to_vec() };
        Damage { edits: vec![store], nature }
    }
}

fn put(bytes: &mut [u8], at: usize, width: usize, value: u64) {
    bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
}

/// Makes the sums of the frame at `at` right, as far as its length makes sense; where what changed ends.
fn sum_frame(stored: &Stored, bytes: &mut [u8], at: usize) -> usize {
    let end = at.saturating_add(usize_at(bytes, at)).clamp(at + FRAME_HEADER, bytes.len());
    let sum = crc32(&bytes[at + FRAME_HEADER..end]);
    put(bytes, at + 8, 4, sum.into());
    let sum = Seed::of_segment(&stored.bytes).header_sum(&bytes[at..], at);
    put(bytes, at + 32, 4, sum.into());
    let before = at + usize_at(&stored.bytes, at);
    end.max(before)
}

/// All of them.
pub(super) fn extremes(reference: &Reference) -> Vec<Extreme> {
    let mut all = Vec::new();
    for (file, stored) in reference.files.iter().enumerate() {
        let mut walk = Fields { stored, found: Vec::new() };
        match stored.kind {
            FileKind::Segment { .. } => {
                walk.take(0, &SEGMENT_FIELDS, Summed::Segment);
                stored.frames().for_each(|frame| walk.frame(frame));
            }
            FileKind::Checkpoint => {
                walk.take_numbers(0, &fields::CHECKPOINT, Summed::Checkpoint);
                walk.checkpoint();
            }
            FileKind::Anchor => {
                for at in SLOTS {
                    walk.take_numbers(at, &fields::SLOT, Summed::Slot { at });
                }
            }
        }
        for (at, width, summed) in walk.found {
            let values = values(stored, at, width);
            all.extend(values.into_iter().map(|value| Extreme { file, at, width, value, summed }));
        }
    }
    all
}

/// Values at which arithmetic and limits break, for a field that holds something else now.
fn values(stored: &Stored, at: usize, width: usize) -> Vec<u64> {
    let mut raw = [0; 8];
    raw[..width].copy_from_slice(&stored.bytes[at..at + width]);
    let now = u64::from_le_bytes(raw);
    let most = u64::MAX >> (64 - 8 * u32::try_from(width).expect("small"));
    let length = u64::try_from(stored.bytes.len()).expect("small");
    let left = length - u64::try_from(at).expect("small");
    let near = [now.wrapping_sub(1), now.wrapping_add(1), now.wrapping_mul(2), now.wrapping_add(8)];
    let limits = [0, 1, 15, 16, 35, 36, 4096, 65_535, 65_536, 1 << 31, (1 << 24) + 1, length, left, left + 1];
    let ends = [most, most - 1, most / 2, most / 2 + 1];
    let mut values: Vec<u64> =
        near.into_iter().chain(limits).chain(ends).filter(|value| *value <= most && *value != now).collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// The numbers of a file, as they are come by.
struct Fields<'a> {
    stored: &'a Stored,
    found: Vec<(usize, usize, Summed)>,
}

impl Fields<'_> {
    fn take(&mut self, start: usize, fields: &[(usize, usize)], summed: Summed) {
        self.found.extend(fields.iter().map(|(at, width)| (start + at, *width, summed)));
    }

    fn take_numbers(&mut self, start: usize, fields: &[Field], summed: Summed) {
        let numbers = fields.iter().filter(|field| field.role == Role::Number);
        self.found.extend(numbers.map(|field| (start + field.at, field.width, summed)));
    }

    fn frame(&mut self, frame: &Unit) {
        let (bytes, at) = (&self.stored.bytes, frame.range.start);
        let summed = Summed::Frame { at };
        self.take(at, &FRAME_FIELDS, summed);
        let mut body = at + FRAME_HEADER;
        if bytes[at + 4] != 1 {
            // Lines, and of a session its numbers.
            let words = (body..frame.range.end).step_by(8).filter(|word| word + 8 <= frame.range.end);
            self.found.extend(words.map(|word| (word, 8, summed)));
            return;
        }
        let topics = Topics::of(bytes, at);
        for _ in 0..short(bytes, at + 28) {
            body = self.record(body, topics, summed);
        }
        for _ in 0..short(bytes, at + 30) {
            body = self.entry(body, summed);
        }
        assert_eq!(body, frame.range.end, "records and entries fill the body");
    }

    fn record(&mut self, at: usize, topics: Topics, summed: Summed) -> usize {
        let bytes = &self.stored.bytes;
        let (payload, flags) = (usize_at(bytes, at), bytes[at + 4]);
        self.found.extend([(at, 4, summed), (at + 4, 1, summed)]);
        let mut next = at + 5;
        let mut field = |width: usize| {
            let at = next;
            next += width;
            self.found.push((at, width, summed));
            at
        };
        if topics == Topics::Own {
            field(4);
        }
        let key = if flags & 1 == 0 { 0 } else { usize::from(short(bytes, field(2))) };
        if flags & 2 != 0 {
            field(8);
        }
        let headers = if flags & 4 == 0 { 0 } else { usize::from(short(bytes, field(2))) };
        let mut header = next + key;
        let end = header + headers;
        while header < end {
            self.found.extend([(header, 1, summed), (header + 1, 2, summed)]);
            header += 3 + usize::from(bytes[header]) + usize::from(short(bytes, header + 1));
        }
        end + payload
    }

    fn entry(&mut self, at: usize, summed: Summed) -> usize {
        let bytes = &self.stored.bytes;
        self.found.extend([(at, 1, summed), (at + 1, 1, summed), (at + 2, 2, summed), (at + 4, 4, summed)]);
        let value = at + 8 + usize::from(short(bytes, at + 2));
        let end = value + usize_at(bytes, at + 4);
        if bytes[at] == 1 && value < end {
            let fields: Range<usize> = value..end;
            self.found.extend(fields.step_by(8).map(|word| (word, 8, summed)));
        }
        end
    }

    fn checkpoint(&mut self) {
        let bytes = &self.stored.bytes;
        let summed = Summed::Checkpoint;
        let mut at = CHECKPOINT_HEADER;
        for _ in 0..half(bytes, 104) {
            self.found.extend([(at, 8, summed), (at + 8, 8, summed), (at + 16, 8, summed)]);
            at += 24;
        }
        for _ in 0..word(bytes, 112) {
            self.found.extend([(at, 8, summed), (at + 8, 8, summed)]);
            at = self.entry(at + 16, summed);
        }
    }
}
