//! How much of each segment a compaction would keep, looked at from outside.
//!
//! Guarantees:
//! 1. What is said to be live is what a compaction of all topics keeps that comes now and drops no tombstone.
//! 2. Nothing is changed, and memory is bounded; keys that do not fit cost another look at the log.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use super::Attached;
use crate::error::Result;
use crate::log::catalog::{Entry, copy_for_reading};
use crate::log::clean::{Compaction, Input, Policies, Rule, Task, judge};
use crate::log::reader::{LogSource, ReadLine};
use crate::types::{Offset, index};

/// For the keys that were seen, and what is superseded.
const MEMORY_BYTES: u64 = 64 << 20;

/// How much of a segment is live: the last of its key, or without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveRecords {
    /// Number of the segment.
    pub number: u64,
    /// Records in it.
    pub records: u64,
    /// Those that are live.
    pub live: u64,
}

impl LiveRecords {
    /// The live records as a part of all; 1 for a segment without records.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        // No segment has as many records as this could not count.
        let [live, records] =
            [self.live, self.records].map(|count| f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        if self.records == 0 { 1.0 } else { live / records }
    }
}

impl Attached {
    /// How many records of each segment are live, oldest segment first: what a compaction of all topics would keep. Of a
    /// segment in which a frame does not check it keeps all.
    ///
    /// Reads the whole log, at about the speed of a scan.
    ///
    /// # Errors
    /// What the system says; [`ErrorKind::Io`](crate::ErrorKind::Io) if segments are replaced, or dropped, faster than
    /// the log can be read.
    pub fn live_records(&self) -> Result<Vec<LiveRecords>> {
        self.shared.settled(&|| self.live_now())
    }

    fn live_now(&self) -> Result<Vec<LiveRecords>> {
        let end = self.shared.end(ReadLine::Visible);
        let entries = self.shared.state.lock().catalog.entries().to_vec();
        let policies = Compaction::new().policies(&Policies::default());
        let rule = Rule {
            policies: &policies,
            now: self.shared.disk.now(),
            start: self.shared.start(),
            // As if all were held: no tombstone goes.
            passed: &|_| Offset::default(),
        };
        let limit = |entry: &Entry| {
            if entry.number() == end.place.segment { end.place.position } else { entry.end.unwrap_or_default() }
        };
        let (mut live, mut newest) = (Vec::new(), Some(u64::MAX));
        while let Some(last) = newest {
            let input =
                |entry: &Entry| Input { limit: limit(entry), rewritable: entry.number() <= last, entry: entry.clone() };
            let inputs: Vec<Input> = entries.iter().map(input).collect();
            let verdict = judge(&mut Task {
                disk: &*self.shared.disk,
                inputs: &inputs,
                rule,
                memory: index(MEMORY_BYTES),
                open: &|entry| copy_for_reading(&*self.shared.disk, entry).map(Some),
                pace: &mut |_| Ok(()),
            })?;
            let judged = verdict.segments.iter().map(|judged| LiveRecords {
                number: judged.number,
                records: judged.records,
                live: judged.records_kept,
            });
            live.extend(judged);
            newest = verdict.next;
        }
        live.sort_by_key(|live| live.number);
        Ok(live)
    }
}
