//! The work of a pass: how many events of which size, in which calls, by how many threads.
//!
//! Guarantees:
//! 1. The shares of the threads add up to all events, also if neither threads nor batch divide them.
//! 2. Frame lengths are those of `src/format.md`.

use crate::command::bench::frame;
use crate::failure::Failure;

/// The largest frame that the engine takes unless told otherwise.
pub(super) const FRAME_BYTES_MAX: u64 = 8 << 20;
/// The largest payload that a frame has room for.
pub(super) const SIZE_MAX: u64 = FRAME_BYTES_MAX - 41;
/// More than any disk holds.
pub(super) const EVENTS_MAX: u64 = 1_000_000_000_000;
pub(super) const THREADS_MAX: i64 = 256;
pub(super) const BATCH_MAX: i64 = 65_535;

/// Bytes of log that a run makes unless told otherwise.
const LOG_BYTES_DEFAULT: u64 = 256 << 20;

/// Events of one size, in calls of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) events: u64,
    /// Payload bytes of an event.
    pub(super) size: usize,
    /// Events of a call; the last of a thread may have fewer.
    pub(super) batch: usize,
    pub(super) threads: usize,
}

/// The calls of one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) calls: u64,
    /// Calls before the measured ones; they bring the log to its pace.
    pub(super) first_calls: u64,
    batch: usize,
    /// Events of the last call.
    last: usize,
}

impl Work {
    /// # Errors
    /// A frame would be too large.
    pub(super) fn new(events: Option<u64>, size: u64, batch: u16, threads: u16) -> Result<Self, Failure> {
        let mut work = Self { events: 1, size: index(size), batch: batch.into(), threads: threads.into() };
        let frame_bytes = length(frame::bytes(work.size, work.batch));
        if frame_bytes > FRAME_BYTES_MAX {
            return Err(Failure::Input(format!(
                "--size {size} with --batch {batch} makes frames of {frame_bytes} bytes, at most {FRAME_BYTES_MAX} fit; \
                 make one of them smaller"
            )));
        }
        let calls = (LOG_BYTES_DEFAULT / work.stride()).max(1);
        work.events = events.unwrap_or(calls.saturating_mul(batch.into()));
        Ok(work)
    }

    /// Bytes of log that a full call takes.
    pub(super) fn stride(&self) -> u64 {
        length(frame::stride(self.size, self.batch))
    }

    /// Bytes of log that all calls take, rounded up to full ones.
    pub(super) fn log_bytes(&self) -> u64 {
        self.events.div_ceil(length(self.batch)).saturating_mul(self.stride())
    }

    pub(super) fn payload_bytes(&self, events: u64) -> u64 {
        events.saturating_mul(length(self.size))
    }

    /// Less of the same work, so that it fits in so many bytes of log; at least one call.
    pub(super) fn within(self, bytes: u64) -> Self {
        let calls = (bytes / self.stride()).max(1);
        Self { events: self.events.min(calls.saturating_mul(length(self.batch))), ..self }
    }

    pub(super) fn by_one_thread(self) -> Self {
        Self { threads: 1, ..self }
    }

    pub(super) fn shares(&self) -> Vec<Share> {
        let threads = length(self.threads);
        (0..threads)
            .map(|thread| self.share(self.events / threads + u64::from(thread < self.events % threads)))
            .collect()
    }

    fn share(&self, events: u64) -> Share {
        let batch = length(self.batch);
        let calls = events.div_ceil(batch);
        let last = index(events.saturating_sub(calls.saturating_sub(1).saturating_mul(batch)));
        Share { calls, first_calls: calls / 8, batch: self.batch, last }
    }

    /// A payload whose bytes are not all equal: the same in every run.
    pub(super) fn payload(&self) -> Vec<u8> {
        let mut word = 0x9e37_79b9_7f4a_7c15_u64;
        let step = || {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word.to_le_bytes()[0]
        };
        std::iter::repeat_with(step).take(self.size).collect()
    }
}

impl Share {
    /// Events of this call, the first being 0.
    pub(super) fn events(&self, call: u64) -> usize {
        if call + 1 == self.calls { self.last } else { self.batch }
    }

    /// Events of the measured calls.
    pub(super) fn measured_events(&self) -> u64 {
        let full = self.calls.saturating_sub(self.first_calls).saturating_sub(1);
        if self.calls == 0 { 0 } else { full * length(self.batch) + length(self.last) }
    }

    /// Bytes of a file that takes all frames.
    pub(super) fn log_bytes(&self, work: &Work) -> usize {
        index(self.calls.saturating_mul(work.stride()))
    }
}

pub(super) fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

pub(super) fn index(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_all_events_whatever_divides_them() {
        for (events, batch, threads) in [(1, 1, 1), (10, 3, 4), (7, 100, 3), (2, 1, 8), (1000, 7, 3), (999, 100, 1)] {
            let work = Work::new(Some(events), 100, batch, threads).expect("fits");
            let sum: u64 =
                work.shares().iter().map(|share| (0..share.calls).map(|n| length(share.events(n))).sum::<u64>()).sum();
            assert_eq!(sum, events, "{work:?}");
            for share in work.shares() {
                let measured: u64 = (share.first_calls..share.calls).map(|call| length(share.events(call))).sum();
                assert_eq!(share.measured_events(), measured, "{share:?}");
            }
        }
    }

    #[test]
    fn the_default_stays_under_a_gibibyte_and_a_frame_over_the_limit_is_refused() {
        for (size, batch) in [(0, 1), (100, 1), (100, 65_535), (65_536, 16), (SIZE_MAX, 1)] {
            let work = Work::new(None, size, batch, 1).expect("fits");
            assert!(work.log_bytes() < 1 << 30 && work.events >= u64::from(batch), "{work:?}");
        }
        assert!(Work::new(None, SIZE_MAX, 2, 1).is_err());
        assert_eq!(Work::new(None, SIZE_MAX, 1, 1).expect("fits").stride(), FRAME_BYTES_MAX);
    }
}
