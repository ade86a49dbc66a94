//! How far a check is, told to whoever asked.
//!
//! Guarantees:
//! 1. What is told only rises, ends at the total, and comes at most once a mebibyte before that.

/// How often progress is told.
const PROGRESS_BYTES: u64 = 1 << 20;

/// How far [`verify`](super::verify) is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes checked.
    pub bytes_done: u64,
    /// Bytes to check. A running writer may add some later.
    pub bytes_total: u64,
}

/// Who wants to know how far the check is.
pub(super) struct Told<'p> {
    progress: &'p mut dyn FnMut(Progress),
    total: u64,
    /// Bytes of the pieces that are done.
    done: u64,
    next: u64,
}

impl<'p> Told<'p> {
    pub(super) fn new(progress: &'p mut dyn FnMut(Progress), total: u64) -> Self {
        Self { progress, total, done: 0, next: 0 }
    }

    /// The check has come to `position` of the piece at hand.
    pub(super) fn at(&mut self, position: u64) {
        let done = self.done.saturating_add(position);
        if done >= self.next {
            self.next = done.saturating_add(PROGRESS_BYTES);
            (self.progress)(Progress { bytes_done: done.min(self.total), bytes_total: self.total });
        }
    }

    /// It is done with a piece of this many bytes.
    pub(super) fn piece(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
    }

    pub(super) fn end(&mut self) {
        (self.progress)(Progress { bytes_done: self.total, bytes_total: self.total });
    }
}
