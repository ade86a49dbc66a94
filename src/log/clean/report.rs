//! What the cleaner did.
//!
//! Guarantees:
//! 1. What is counted took its place in the log: a file that was begun and given up is in no count.

use crate::error::Error;

/// What a run of the cleaner did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CompactionReport {
    /// How often the log was read for its keys: more than once if they did not fit the memory.
    pub passes: u64,
    /// Different keys that were met: of records by topic, and of the state.
    pub keys: u64,
    /// Segments that were replaced, and by what.
    pub replaced: Replaced,
    /// Sealed segments that could not be rewritten yet: they are too young, or lie above the older checkpoint.
    pub segments_young: u64,
    /// Tombstones that the next run can drop: older records of their keys went with this one.
    pub tombstones_waiting: u64,
    /// Damage that was found. The segments that have it were left as they are, and no tombstone was dropped.
    pub damaged: Vec<Error>,
}

/// Segments that were replaced, before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Replaced {
    /// Segments that went.
    pub segments_before: u64,
    /// Segments that took their place.
    pub segments_after: u64,
    /// Records in those that went.
    pub records_before: u64,
    /// Records in those that took their place.
    pub records_after: u64,
    /// Bytes of those that went.
    pub bytes_before: u64,
    /// Bytes of those that took their place.
    pub bytes_after: u64,
}

/// What the cleaner did since the log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CleanStats {
    /// Runs that ended, well or not.
    pub runs: u64,
    /// Runs that failed, or were stopped by a close.
    pub failures: u64,
    /// How often the log was read for its keys.
    pub passes: u64,
    /// Segments that were replaced, and by what.
    pub replaced: Replaced,
    /// Damage that was found; the same counts in each run.
    pub damaged: u64,
    /// Space that is held ready for the case that the disk is full.
    pub ballast_bytes: u64,
    /// The run that is under way.
    pub progress: Option<CleanProgress>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CleanProgress {
    /// What it does.
    pub phase: CleanPhase,
    /// Bytes gone over in this phase.
    pub bytes_done: u64,
    /// Bytes that there are to go over; while it reads, in each pass.
    pub bytes_total: u64,
}

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CleanPhase {
    /// It reads the log, to find out what may go.
    Reading,
    /// It writes segments without it.
    Writing,
}

impl Replaced {
    pub(crate) fn add(&mut self, more: &Self) {
        let Self { segments_before, segments_after, records_before, records_after, bytes_before, bytes_after } = more;
        self.segments_before = self.segments_before.saturating_add(*segments_before);
        self.segments_after = self.segments_after.saturating_add(*segments_after);
        self.records_before = self.records_before.saturating_add(*records_before);
        self.records_after = self.records_after.saturating_add(*records_after);
        self.bytes_before = self.bytes_before.saturating_add(*bytes_before);
        self.bytes_after = self.bytes_after.saturating_add(*bytes_after);
    }
}
