//! Logs of records with keys.
//!
//! Guarantees:
//! 1. Each key comes once before they come at random; the same records in every run.

use esker::{Log, Record};

use super::pass::check_count;
use super::work::{Work, length};
use crate::failure::Failure;

/// Bytes that a key takes in a frame.
const KEY_BYTES: u64 = 16;

/// Keys drawn at random, the same in every run.
pub(super) struct Draw {
    word: u64,
    keys: u64,
}

impl Draw {
    pub(super) fn new(word: u64, keys: u64) -> Self {
        Self { word, keys }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.word ^= self.word << 13;
        self.word ^= self.word >> 7;
        self.word ^= self.word << 17;
        (self.word >> 16) % self.keys
    }
}

pub(super) fn key(number: u64) -> String {
    format!("key-{number:010}")
}

/// The work of filling a log with records of so many payload bytes, and keys.
pub(super) fn work(records: u64, size: u64, batch: u16) -> Result<Work, Failure> {
    Work::new(Some(records), size.saturating_add(KEY_BYTES), batch, 1)
}

/// Fills an empty log, and makes it durable.
pub(super) fn fill(
    log: &Log,
    work: &Work,
    keys: u64,
    payload: &[u8],
    tell: &mut dyn FnMut(u64),
) -> Result<(), Failure> {
    let mut draw = Draw::new(0x9e37_79b9_7f4a_7c15, keys);
    let mut next = 0_u64;
    while next < work.events {
        let count = length(work.batch).min(work.events - next);
        let numbers = (next..next + count).map(|record| if record < keys { record } else { draw.next() });
        let keys: Vec<String> = numbers.map(key).collect();
        let records: Vec<Record<'_>> = keys.iter().map(|key| Record::new(payload).key(key.as_bytes())).collect();
        let _visible_is_enough = log.append_batch(&records)?;
        next += count;
        tell(next.saturating_mul(work.stride()) / length(work.batch));
    }
    check_count(log, work)?;
    Ok(log.sync()?)
}
