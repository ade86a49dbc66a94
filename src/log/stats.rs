//! Counters of a log: cheap, always on.

use std::time::Duration;

use super::core::Core;
use crate::types::Line;

/// What a log did since it was opened, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Frames of records or state appended.
    pub appends: u64,
    /// Records appended.
    pub records: u64,
    /// Bytes that they took in the log, headers and padding included.
    pub bytes: u64,
    /// Times that the log went on in the next segment.
    pub rolls: u64,
    /// Appends that had to wait for the next segment.
    pub append_stalls: u64,
    /// How long they waited, together.
    pub append_stalled: Duration,
    /// Pages that appends touched before population did; each costs an append some microseconds. Counted from positions,
    /// not by the system.
    pub page_faults: u64,
    /// Syncs of the log that were run.
    pub syncs: u64,
    /// How long they took, together.
    pub sync_time: Duration,
    /// The longest of them.
    pub sync_time_max: Duration,
    /// Marks that found no room in their segment.
    pub marks_skipped: u64,
    /// Notes in the anchor that could not be written.
    pub anchor_failures: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Checkpoints that could not be written.
    pub checkpoint_failures: u64,
    /// Index files made.
    pub indexes: u64,
    /// Index files that could not be made.
    pub index_failures: u64,
    /// Lookups by key, of [`Log::latest`](crate::Log::latest) and [`Log::history`](crate::Log::history).
    pub lookups: u64,
    /// Segments in which they read records.
    pub lookup_segments: u64,
    /// Bytes that they went over because no index file knew them.
    pub lookup_scanned_bytes: u64,
    /// Segments that retention dropped.
    pub segments_dropped: u64,
    /// Times that retention could not drop, or remove, what it was to.
    pub retention_failures: u64,
    /// Keys of state, cursors included.
    pub state_keys: u64,
    /// Bytes of state, as its limit counts them.
    pub state_bytes: u64,
    /// How far the log is visible.
    pub visible: Line,
    /// How far the log is durable.
    pub durable: Line,
    /// Segments of the log.
    pub segments: usize,
}

/// The part that is counted under the append lock.
#[derive(Debug, Default)]
pub(crate) struct AppendStats {
    appends: u64,
    records: u64,
    bytes: u64,
    pub(crate) rolls: u64,
    pub(crate) stalls: u64,
    pub(crate) stalled: Duration,
    pub(crate) page_faults: u64,
    pub(crate) marks_skipped: u64,
}

impl AppendStats {
    #[inline]
    pub(crate) fn count(&mut self, records: u16, bytes: u64) {
        self.appends = self.appends.wrapping_add(1);
        self.records = self.records.wrapping_add(records.into());
        self.bytes = self.bytes.wrapping_add(bytes);
    }

    /// Frames of records or state appended so far.
    pub(crate) fn appends(&self) -> u64 {
        self.appends
    }
}

/// The part that is counted by whoever syncs.
#[derive(Debug, Default)]
pub(crate) struct SyncStats {
    syncs: u64,
    time: Duration,
    time_max: Duration,
}

impl SyncStats {
    pub(crate) fn count(&mut self, time: Duration) {
        self.syncs = self.syncs.wrapping_add(1);
        self.time = self.time.saturating_add(time);
        self.time_max = self.time_max.max(time);
    }
}

impl Core {
    pub(crate) fn stats(&self) -> Stats {
        let anchor_failures = self.anchor.lock().failures;
        let (checkpoints, checkpoint_failures) = {
            let checkpoints = self.checkpoints.lock();
            (checkpoints.written, checkpoints.failures)
        };
        let index = self.index.counts();
        let (segments_dropped, retention_failures) = {
            let retention = self.retention.lock();
            (retention.segments, retention.failures)
        };
        let state = self.state.read().size();
        let appender = self.appender.lock();
        let durability = self.durability.lock();
        Stats {
            appends: appender.stats.appends,
            records: appender.stats.records,
            bytes: appender.stats.bytes,
            rolls: appender.stats.rolls,
            append_stalls: appender.stats.stalls,
            append_stalled: appender.stats.stalled,
            page_faults: appender.stats.page_faults,
            marks_skipped: appender.stats.marks_skipped,
            syncs: durability.stats.syncs,
            sync_time: durability.stats.time,
            sync_time_max: durability.stats.time_max,
            anchor_failures,
            checkpoints,
            checkpoint_failures,
            indexes: index.built,
            index_failures: index.failures,
            lookups: index.lookups,
            lookup_segments: index.segments,
            lookup_scanned_bytes: index.scanned_bytes,
            segments_dropped,
            retention_failures,
            state_keys: state.keys,
            state_bytes: state.bytes,
            visible: appender.tail(),
            durable: durability.durable,
            segments: self.catalog.read().entries().len(),
        }
    }
}
