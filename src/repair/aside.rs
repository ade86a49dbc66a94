//! What is set aside since its durable line is not true.
//!
//! Guarantees:
//! 1. Only an anchor or a checkpoint is set aside, never a segment; one at a time, the one that carries the line in question.
//! 2. What is set aside is out of the survey: what is planned afterwards does not know of it.

use crate::format::anchor::Anchor;
use crate::inspect::chain::Chain;
use crate::log::CheckpointFile;
use crate::types::Line;

/// Carriers of durable lines that are not true.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub(super) anchor: Option<Anchor>,
    /// Their names.
    pub(super) checkpoints: Vec<String>,
}

impl Aside {
    /// Sets aside whoever carries this line. `false`: a segment does, or nobody.
    pub(super) fn take(&mut self, chain: &mut Chain, durable: Line) -> bool {
        let survey = &mut chain.survey;
        if let Some(anchor) = survey.own_anchor().copied().filter(|anchor| anchor.durable == durable) {
            survey.anchors.retain(|slot| *slot != anchor);
            self.anchor = Some(anchor);
            return true;
        }
        let carries = |file: &CheckpointFile| file.header.is_ok_and(|header| header.line == durable);
        let found = survey.checkpoints.iter().position(carries);
        found.map(|index| self.checkpoints.push(survey.checkpoints.remove(index).name)).is_some()
    }
}
