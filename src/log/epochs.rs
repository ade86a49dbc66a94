//! The epochs of the log: which offsets still mean what they meant.
//!
//! Guarantees:
//! 1. An epoch and an offset name one position of one history. If the log went on from an earlier offset since, or never
//!    had that epoch, the answer is `Diverged`, never another record.
//! 2. Memory is bounded: one more epoch comes with each unclean end; of more than [`EPOCHS_MAX`] the oldest are forgotten,
//!    and then count as unknown.

use crate::error::{Error, ErrorKind, Result};
use crate::format::EPOCHS_MAX;
use crate::format::checkpoint::EpochStart;
use crate::format::header::SegmentHeader;
use crate::types::{Epoch, Offset};

/// The epochs in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Epochs(Vec<EpochStart>);

impl Epochs {
    /// Those that were known, as a checkpoint names them.
    pub(crate) fn new(known: Vec<EpochStart>) -> Self {
        Self(known)
    }

    pub(crate) fn starts(&self) -> &[EpochStart] {
        &self.0
    }

    /// Adds what a segment says; segments come in their order.
    pub(crate) fn note(&mut self, header: &SegmentHeader) {
        self.begin(header.epoch, header.first_offset);
    }

    /// Adds an epoch, unless it is not above the last one.
    pub(crate) fn begin(&mut self, epoch: Epoch, first_offset: Offset) {
        if self.0.last().is_none_or(|last| last.epoch.counter < epoch.counter) {
            self.0.push(EpochStart { epoch, first_offset });
            self.0.drain(..self.0.len().saturating_sub(EPOCHS_MAX));
        }
    }

    /// Whether `offset` of `epoch` still means the same.
    ///
    /// # Errors
    /// [`ErrorKind::Diverged`].
    pub(crate) fn check(&self, epoch: Epoch, offset: Offset) -> Result<()> {
        let at = self.0.partition_point(|start| start.epoch.counter < epoch.counter);
        let parted = match self.0.get(at) {
            Some(found) if found.epoch == epoch => self.0.get(at.saturating_add(1)).map(|next| next.first_offset),
            Some(found) => Some(found.first_offset.min(offset)),
            // It comes after all that this log knows: a copy went on elsewhere.
            None => Some(self.0.last().map_or(Offset::ZERO, |last| last.first_offset).min(offset)),
        };
        let known = self.0.get(at).is_some_and(|found| found.epoch == epoch);
        match parted {
            Some(parted) if offset > parted || !known => Err(diverged(epoch, offset, parted)),
            _ => Ok(()),
        }
    }
}

fn diverged(epoch: Epoch, offset: Offset, at: Offset) -> Error {
    let text =
        format!("offset {offset} of epoch {epoch} is of a history that ended; this log parts from it at offset {at}");
    Error::new(ErrorKind::Diverged { at }, text).at_offset(offset).next_step("seek to an offset that is still there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_means_the_same_up_to_the_end_of_its_epoch() {
        let epoch = |counter| Epoch { counter, word: counter * 100 };
        let mut epochs = Epochs::default();
        for (counter, first) in [(1, 0), (2, 50), (3, 50), (5, 70)] {
            epochs.begin(epoch(counter), Offset::new(first));
        }
        epochs.begin(epoch(5), Offset::new(90));
        let at = |counter, word, offset| match epochs.check(Epoch { counter, word }, Offset::new(offset)) {
            Ok(()) => None,
            Err(error) => match error.kind() {
                ErrorKind::Diverged { at } => Some(at.get()),
                kind => panic!("{kind}"),
            },
        };
        for (counter, offset) in [(1, 0), (1, 50), (2, 50), (3, 70), (5, 70), (5, 1000)] {
            assert_eq!(at(counter, counter * 100, offset), None, "epoch {counter}, offset {offset}");
        }
        assert_eq!(at(1, 100, 51), Some(50));
        assert_eq!(at(2, 200, 51), Some(50));
        assert_eq!(at(3, 300, 71), Some(70));
        assert_eq!(at(3, 7, 60), Some(50), "another epoch of the same count");
        assert_eq!(at(4, 400, 80), Some(70), "one that this log never had");
        assert_eq!(at(9, 900, 80), Some(70), "one that comes after all of this log");
    }
}
