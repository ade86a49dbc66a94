//! What a compaction may have taken from the middle of a log.
//!
//! Guarantees:
//! 1. A record is missing only if it had a key, a compaction was asked for while it was there, and a later record of the key is
//!    there: nothing else is, and of each key the latest always is.

use std::collections::BTreeMap;

use super::{Frame, History, Visible};
use crate::numbers::{index as index_of, length};

/// Stands for a record that is not there, among the fingerprints of those that are. No record has it.
pub const GONE: u64 = 0;

/// How far the log was compacted, and what it takes to say what may be gone.
#[derive(Debug, Clone, Default)]
pub(super) struct Compacted {
    /// Behind the last offset that was.
    end: u64,
    /// Keys of records, by their fingerprints.
    keys: BTreeMap<u64, Vec<u8>>,
}

impl History {
    /// The record of this fingerprint, which is about to be submitted, has a key.
    pub fn keyed(&mut self, record: u64, key: &[u8]) {
        self.compacted.keys.insert(record, key.to_vec());
    }

    /// A compaction begins, or one that began takes what comes next, too.
    pub fn compacts(&mut self) {
        self.compacted.end = u64::MAX;
    }

    /// It ended, when the log did here.
    pub fn compacted(&mut self, end: u64) {
        self.compacted.end = end;
    }

    /// Whether frames of a segment may stand elsewhere by now.
    #[must_use]
    pub fn may_be_rewritten(&self, segment: u64) -> bool {
        let last = self.visible.iter().rev().find(|frame| frame.place.segment == segment);
        let end = |frame: &Visible| frame.first + records_of(&frame.frame);
        last.map_or(length(self.settled.records.len()), end) <= self.compacted.end
    }

    /// Puts what a compaction may have taken back into a row of fingerprints from offset 0 on, as it is `known`.
    pub(super) fn put_back(&self, known: &[u64], records: &mut [u64]) -> Result<(), String> {
        let mut later = BTreeMap::new();
        for (offset, record) in records.iter_mut().enumerate().rev() {
            let Some(was) = known.get(offset).filter(|_| *record == GONE) else {
                if *record == GONE {
                    return Err(format!("offset {offset} is missing, and nobody knows of it"));
                }
                if let Some(key) = self.compacted.keys.get(record) {
                    later.entry(key).or_insert(offset);
                }
                continue;
            };
            let superseded = self.compacted.keys.get(was).and_then(|key| later.get(key));
            match superseded {
                Some(by) if length(*by) < self.compacted.end => *record = *was,
                Some(by) => {
                    return Err(format!(
                        "offset {offset} is missing, and offset {by}, which is later, was not compacted"
                    ));
                }
                None => {
                    return Err(format!("offset {offset} is missing, and nothing later has its key, if it has one"));
                }
            }
        }
        Ok(())
    }

    /// Whether no record is there that a compaction up to `end` should have taken.
    ///
    /// # Errors
    /// Which one is.
    pub fn judge_compacted(&self, start: u64, records: &[u64], end: u64) -> Result<(), String> {
        let mut later = BTreeMap::new();
        let within = records.get(..index_of(end.saturating_sub(start))).unwrap_or(records);
        for (at, record) in within.iter().enumerate().rev() {
            let Some(key) = self.compacted.keys.get(record) else { continue };
            if let Some(by) = later.insert(key, at) {
                let (at, by) = (start + length(at), start + length(by));
                return Err(format!("offset {at} is there behind a compaction, and so is {by} of the same key"));
            }
        }
        Ok(())
    }
}

fn records_of(frame: &Frame) -> u64 {
    length(frame.records.len())
}
