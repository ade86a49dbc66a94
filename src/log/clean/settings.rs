//! How the cleaner works, and what it is asked to do by hand.
//!
//! Guarantees:
//! 1. Settings that make no sense are refused before anything is touched.

use std::collections::BTreeSet;
use std::time::Duration;

use super::judge::MEMORY_MIN;
use super::policy::Policies;
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Topic, index, length};

/// The most that the cleaner may use: it would have keys of terabytes of log at hand.
const MEMORY_MAX: u64 = 1 << 40;
const MEMORY_DEFAULT: u64 = 64 << 20;

/// How the cleaner works in the background.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use esker::{Cleaner, Cleanup, Options, Topic};
///
/// let prices = Topic::new(7).expect("a number below the largest");
/// let log = Options::new()
///     .cleanup(prices, Cleanup::compact())
///     .cleaner(Cleaner::new().bytes_per_second(50 << 20))
///     .open(folder.path())?;
/// # log.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use]
pub struct Cleaner {
    memory: u64,
    dirty_ratio: f64,
    pub(crate) min_lag: Duration,
    pub(crate) bytes_per_second: Option<u64>,
}

impl Default for Cleaner {
    fn default() -> Self {
        Self { memory: MEMORY_DEFAULT, dirty_ratio: 0.5, min_lag: Duration::ZERO, bytes_per_second: None }
    }
}

impl Cleaner {
    /// The defaults, which are meant to be right for most.
    pub fn new() -> Self {
        Self::default()
    }

    /// Speed: memory for the keys that were seen and for what is to go, at least 1 MiB; default 64 MiB. If the keys do not fit,
    /// the log is read more than once.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Speed: how much of what may be rewritten must have come since the last run, as a part of the whole, 0 to 1; default 0.5.
    /// Smaller: less of the log is superseded. Costs that the same records are written anew more often.
    pub fn dirty_ratio(mut self, ratio: f64) -> Self {
        self.dirty_ratio = ratio;
        self
    }

    /// Behaviour: how old the latest record of a segment must be before the segment is rewritten; default 0. Until then readers
    /// find every version of a key.
    pub fn min_lag(mut self, age: Duration) -> Self {
        self.min_lag = age;
        self
    }

    /// Speed: how much is read and written a second at most; default unlimited.
    pub fn bytes_per_second(mut self, bytes: u64) -> Self {
        self.bytes_per_second = Some(bytes);
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_memory("cleaner: memory", self.memory)?;
        if !(0.0..=1.0).contains(&self.dirty_ratio) {
            return Err(refused(format!("option cleaner: dirty_ratio {} is not within 0 to 1", self.dirty_ratio)));
        }
        if self.bytes_per_second == Some(0) {
            return Err(refused("option cleaner: bytes_per_second 0 would never end".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        index(self.memory)
    }

    /// Whether so many bytes of so many are enough to begin.
    pub(crate) fn is_due(&self, dirty: u64, all: u64) -> bool {
        // As many bits as a ratio needs.
        let shift = 32_u32.saturating_sub(all.leading_zeros());
        let part = |bytes: u64| f64::from(u32::try_from(bytes >> shift).unwrap_or(u32::MAX));
        dirty > 0 && part(dirty) >= part(all) * self.dirty_ratio
    }
}

/// What to compact by hand.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let log = esker::Log::open(folder.path())?;
/// # let record = |value| esker::Record::new(value).key(b"k");
/// log.append(record(b"old"))?;
/// log.append(record(b"new"))?;
/// let report = log.compact(&esker::Compaction::new())?;
/// assert_eq!((report.replaced.records_before, report.replaced.records_after), (2, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Compaction {
    topics: BTreeSet<Topic>,
    memory: Option<u64>,
}

impl Compaction {
    /// Of all topics, with as much memory as the options say.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only of this topic, and of others that are named so.
    pub fn topic(mut self, topic: Topic) -> Self {
        self.topics.insert(topic);
        self
    }

    /// With so much memory, at least 1 MiB.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    pub(crate) fn memory_bytes(&self, cleaner: &Cleaner) -> Result<usize> {
        let bytes = self.memory.unwrap_or(cleaner.memory);
        check_memory("compaction: memory", bytes)?;
        Ok(index(bytes))
    }

    /// What goes, given what the options say of topics.
    pub(crate) fn policies(&self, said: &Policies) -> Policies {
        said.compacted(&self.topics)
    }
}

fn check_memory(name: &str, bytes: u64) -> Result<()> {
    if (length(MEMORY_MIN)..=MEMORY_MAX).contains(&bytes) {
        return Ok(());
    }
    let text = format!("option {name}: {bytes} is not within {MEMORY_MIN} to {MEMORY_MAX}");
    Err(refused(text).next_step("give bytes of memory within these bounds"))
}

fn refused(text: String) -> Error {
    Error::new(ErrorKind::Invalid, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let good =
            [Cleaner::new(), Cleaner::new().memory(1 << 20), Cleaner::new().dirty_ratio(0.0).bytes_per_second(1)];
        assert!(good.iter().all(|cleaner| cleaner.check().is_ok()));
        let bad = [
            Cleaner::new().memory((1 << 20) - 1),
            Cleaner::new().memory(u64::MAX),
            Cleaner::new().dirty_ratio(-0.1),
            Cleaner::new().dirty_ratio(1.1),
            Cleaner::new().dirty_ratio(f64::NAN),
            Cleaner::new().bytes_per_second(0),
        ];
        assert!(bad.iter().all(|cleaner| cleaner.check().is_err_and(|error| error.kind() == ErrorKind::Invalid)));
        let little = Compaction::new().memory(5).memory_bytes(&Cleaner::new());
        assert_eq!(little.expect_err("too little").kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_run_is_due_when_enough_came_since_the_last() {
        let cleaner = Cleaner::new();
        assert!(cleaner.is_due(50, 100) && cleaner.is_due(1, 1));
        assert!(!cleaner.is_due(49, 100) && !cleaner.is_due(0, 0));
        assert!(cleaner.is_due(1 << 50, 1 << 51) && !cleaner.is_due(1 << 50, (1 << 51) + (1 << 21)));
        assert!(cleaner.dirty_ratio(0.0).is_due(1, 100) && !cleaner.dirty_ratio(0.0).is_due(0, 100));
    }
}
