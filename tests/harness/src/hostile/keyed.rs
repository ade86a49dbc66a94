//! Logs of keys and topics that were compacted, and what an input does to their segments.
//!
//! Guarantees:
//! 1. Any input is a log to begin with and a list of steps, each on one file.
//! 2. All logs are moments of one history. As long as no step makes up bytes with right sums, each record that is handed out
//!    was appended, at the offset at which it is handed out.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use esker::repair::{Accept, apply_on};
use esker::{Commit, Compaction, Log, Record, Topic};

use super::put;
use super::repairs::Origin;
use super::ways::{Checkpoints, OwnRecord, drain, options};
use crate::MemoryDisk;
use crate::format::bytes::{Input, align, extreme, half, store};
use crate::format::fields::{FRAME, Field, SEGMENT};
use crate::format::sums::{FRAME_HEADER_BYTES, FRAMES_START, SEGMENT_HEADER_BYTES, mend_frames, mend_opening};

const STEPS_MAX: usize = 16;
const FILE_BYTES_MAX: usize = 64 * 1024;
/// A checksum of 32 bits notices so many wrong bits in anything as short as what it covers here.
const FLIPS_MAX: usize = 3;
const FRAMES_MAX: usize = 4096;
/// Different keys in each topic.
pub(super) const KEYS: u64 = 7;
pub(super) const TOPICS: u32 = 3;

/// Moments of one log.
pub(super) struct Pool {
    pub(super) disks: Vec<MemoryDisk>,
    /// The segments of all of them.
    segments: Vec<(String, Vec<u8>)>,
    /// Every record that was ever appended, by offset.
    appended: BTreeMap<u64, OwnRecord>,
}

/// A log as it grew and was killed; compacted; closed; gone on and compacted again, so that one file stands for files that stood
/// for several; and repaired, so that gaps stand between what was rewritten.
pub(super) fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let disk = MemoryDisk::new(51);
        let log = open(&disk);
        fill(&log, 0..110);
        let mut appended = by_offset(&log);
        let grown = disk.snapshot();
        compact(&log);
        let compacted = disk.snapshot();
        log.close().expect("closes");
        let closed = disk.snapshot();
        let log = open(&disk);
        fill(&log, 110..190);
        appended.extend(by_offset(&log));
        compact(&log);
        fill(&log, 190..200);
        appended.extend(by_offset(&log));
        let again = disk.snapshot();
        let gapped = gapped(&grown);
        let disks = vec![grown, compacted, closed, again, gapped];
        let segments = disks.iter().flat_map(|disk| {
            let names = disk.names().into_iter().filter(|name| name.strip_suffix(".seg").is_some());
            names.map(|name| (name.clone(), disk.read_file(&name).expect("is there"))).collect::<Vec<_>>()
        });
        Pool { segments: segments.collect(), disks, appended }
    })
}

pub(super) fn open(disk: &MemoryDisk) -> Log {
    options().open_on(Arc::new(disk.clone())).expect("opens")
}

fn compact(log: &Log) {
    let report = log.compact(&Compaction::new()).expect("compacts");
    assert!(report.replaced.segments_before > 1 && report.damaged.is_empty(), "{report:?}");
}

/// The same log with a frame that rotted in its second segment, and was replaced by a gap.
fn gapped(grown: &MemoryDisk) -> MemoryDisk {
    let disk = grown.snapshot();
    let name = disk.names().into_iter().filter(|name| name.strip_suffix(".seg").is_some()).nth(1).expect("several");
    let mut bytes = disk.read_file(&name).expect("is there");
    let frame = frames(&bytes)[5];
    bytes[frame + FRAME_HEADER_BYTES] ^= 1;
    replace(&disk, &name, &bytes);
    let plan = apply_on(&disk, Accept::Loss).expect("repairs");
    assert!(plan.loses());
    disk
}

fn by_offset(log: &Log) -> BTreeMap<u64, OwnRecord> {
    drain(log.reader()).records.into_iter().map(|record| (record.offset, record)).collect()
}

pub(super) fn topic(number: u32) -> Topic {
    Topic::new(number).expect("small")
}

pub(super) fn key(number: u64) -> [u8; 2] {
    [b'k', u8::try_from(number).expect("small")]
}

/// Records of few keys, alone and in batches of several topics, tombstones, some without key, and state.
pub(super) fn fill(log: &Log, numbers: Range<u64>) {
    for number in numbers {
        let mut payload = format!("value {number} ").into_bytes();
        payload.resize(100 + usize::try_from(number * 53 % 400).expect("small"), b'.');
        let (one, other) = (key(number % KEYS), key(number * 5 % KEYS));
        let of = topic(u32::from(number % 3 == 0));
        let record = Record::new(&payload).topic(of);
        let mut commit = Commit::new().record(if number % 10 == 9 { record } else { record.key(&one) });
        if number % 4 == 1 {
            commit = commit.record(Record::new(b"beside").topic(topic(2)).key(&other));
        }
        if number % 13 == 12 {
            commit = commit.record(Record::tombstone(&other).topic(of));
        }
        let value = number.to_le_bytes();
        let _ = log.commit(commit.state(&one, &value)).expect("commits");
    }
    log.sync().expect("syncs");
    log.background_step();
}

/// Where the frames of a segment begin, as far as their lengths lead.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut frames = Vec::new();
    let mut at = FRAMES_START;
    while frames.len() < FRAMES_MAX && at + FRAME_HEADER_BYTES <= bytes.len() {
        let frame_bytes = usize::try_from(half(bytes, at)).unwrap_or(usize::MAX);
        if frame_bytes < FRAME_HEADER_BYTES || frame_bytes > bytes.len() - at {
            break;
        }
        frames.push(at);
        at += align(frame_bytes);
    }
    frames
}

fn replace(disk: &MemoryDisk, name: &str, bytes: &[u8]) {
    if disk.read_file(name).is_some() {
        disk.remove(name);
    }
    put(disk, name, bytes);
}

/// A log while steps are done on it.
pub(super) struct Scene {
    pub(super) disk: MemoryDisk,
    flips: usize,
    lies: bool,
    mixed: bool,
}

impl Scene {
    /// What the input says: a byte for the log to begin with, then steps of five bytes.
    pub(super) fn of(input: &mut Input<'_>) -> Self {
        let pool = pool();
        let disk = pool.disks[usize::from(input.byte()) % pool.disks.len()].snapshot();
        // What an index file says of a segment that lies is for another target.
        for name in disk.names().into_iter().filter(|name| name.contains(".idx")) {
            disk.remove(&name);
        }
        let mut scene = Self { disk, flips: 0, lies: false, mixed: false };
        for _ in 0..STEPS_MAX {
            if input.is_empty() {
                break;
            }
            scene.step(input, pool);
        }
        scene
    }

    /// Whether all bytes were stored by an engine, save for few flips.
    pub(super) fn is_true(&self) -> bool {
        !self.lies && self.flips <= FLIPS_MAX
    }

    pub(super) fn checkpoints(&self) -> Checkpoints {
        if self.is_true() && !self.mixed { Checkpoints::True } else { Checkpoints::Forged }
    }

    pub(super) fn origin(&self) -> Origin {
        if self.is_true() && !self.mixed { Origin::OneLog } else { Origin::Several }
    }

    fn step(&mut self, input: &mut Input<'_>, pool: &Pool) {
        let (what, which, at, with) = (input.byte(), input.byte(), usize::from(input.short()), input.byte());
        let Some(name) = self.chosen(which, |name| name.strip_suffix(".seg").is_some()) else { return };
        let mut bytes = self.disk.read_file(&name).unwrap_or_default();
        match what % 12 {
            0 => {
                let end = frames(&bytes).last().map_or(bytes.len(), |last| last + FRAME_HEADER_BYTES);
                if let Some(byte) = bytes.get_mut(at % end.max(1)) {
                    *byte ^= 1 << (with % 8);
                    self.flips += 1;
                }
            }
            1 => self.lie(&mut bytes, 0, SEGMENT[at % SEGMENT.len()], extreme(usize::from(with), FILE_BYTES_MAX, 4096)),
            2 => self.shift(&mut bytes, 0, SEGMENT[at % SEGMENT.len()], with),
            3 | 4 => {
                let frames = frames(&bytes);
                let field = FRAME[usize::from(what / 12) % FRAME.len()];
                if let Some(frame) = frames.get(at % frames.len().max(1)) {
                    self.shift(&mut bytes, *frame, field, with);
                }
            }
            5 => {
                let frames = frames(&bytes);
                if let Some(frame) = frames.get(at % frames.len().max(1)) {
                    store(&mut bytes, frame + FRAME_HEADER_BYTES + usize::from(what / 12), &[with]);
                    self.mend(&mut bytes);
                }
            }
            6 => return self.disk.remove(&name),
            7 => bytes.truncate(at.max(1)),
            8 => {
                let (name, bytes) = &pool.segments[at % pool.segments.len()];
                self.mixed = true;
                return replace(&self.disk, name, bytes);
            }
            9 => {
                self.lies = true;
                let number = u64::from(with);
                store(&mut bytes, 40, &number.to_le_bytes());
                self.mend(&mut bytes);
                return replace(&self.disk, &format!("{number:010}.seg"), &bytes);
            }
            10 => {
                let other = self.chosen(with, |name| name == "anchor" || name.contains(".ckp"));
                return other.into_iter().for_each(|other| self.disk.remove(&other));
            }
            _ => {
                let frames = frames(&bytes);
                if let Some(frame) = frames.get(at % frames.len().max(1)) {
                    bytes[*frame..].fill(0);
                }
            }
        }
        replace(&self.disk, &name, &bytes);
    }

    /// Says something else in a field, under the right sums.
    fn lie(&mut self, bytes: &mut [u8], at: usize, field: Field, value: u64) {
        store(bytes, at + field.at, &value.to_le_bytes()[..field.width]);
        self.mend(bytes);
    }

    /// As [`Scene::lie`], a little more or less than it was.
    fn shift(&mut self, bytes: &mut [u8], at: usize, field: Field, by: u8) {
        let mut value = [0; 8];
        store(&mut value, 0, bytes.get(at + field.at..at + field.at + field.width).unwrap_or_default());
        let by = i64::from(by.cast_signed());
        self.lie(bytes, at, field, u64::from_le_bytes(value).wrapping_add_signed(by));
    }

    fn mend(&mut self, bytes: &mut [u8]) {
        self.lies = true;
        mend_opening(bytes, SEGMENT_HEADER_BYTES);
        mend_frames(bytes);
    }

    fn chosen(&self, which: u8, is_one: impl Fn(&str) -> bool) -> Option<String> {
        let names: Vec<String> = self.disk.names().into_iter().filter(|name| is_one(name)).collect();
        let at = usize::from(which) % names.len().max(1);
        names.into_iter().nth(at)
    }

    /// What was handed out was appended.
    pub(super) fn check_appended(&self, records: &[OwnRecord]) {
        if !self.is_true() {
            return;
        }
        let appended = &pool().appended;
        for record in records {
            assert_eq!(Some(record), appended.get(&record.offset), "never appended");
        }
    }
}
