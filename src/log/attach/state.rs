//! State and checkpoints of a log, looked at from outside.
//!
//! Guarantees:
//! 1. What is shown is what an open would load: the newest checkpoint that can be used, and the log behind it.
//! 2. Beside a writer it is the state of one moment: up to the last frame that is whole.

use super::Attached;
use crate::error::Result;
use crate::format::state::Space;
use crate::log::checkpoint::{Loaded, Segments, load};
use crate::log::contract::{Standing, standings};
use crate::log::cursor::{self, CursorInfo};
use crate::log::decide::decide;
use crate::log::sight::judged;
use crate::log::state::{State, StateValue};
use crate::log::survey::{Survey, survey};
use crate::platform::Disk;
use crate::types::{Line, Offset};

/// The state of a log as of one moment.
#[derive(Debug)]
pub struct StateView {
    state: State,
    end: Offset,
}

/// A checkpoint file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointInfo {
    /// Its name in the directory.
    pub file: String,
    /// Its number; the highest counts.
    pub sequence: u64,
    /// Up to where it knows the log.
    pub line: Line,
    /// State entries in it.
    pub entries: u64,
    /// Bytes of its body.
    pub bytes: u64,
}

impl StateView {
    /// The latest entry of this key.
    #[must_use]
    pub fn get<K: AsRef<[u8]> + ?Sized>(&self, key: &K) -> Option<&StateValue> {
        self.state.get(Space::CALLER, key.as_ref())
    }

    /// All entries whose keys begin with `prefix`, in the order of their keys.
    #[must_use]
    pub fn with_prefix<K: AsRef<[u8]> + ?Sized>(&self, prefix: &K) -> Vec<(Box<[u8]>, StateValue)> {
        self.state.with_prefix(Space::CALLER, prefix.as_ref())
    }

    /// All cursors, by name.
    #[must_use]
    pub fn cursors(&self) -> Vec<CursorInfo> {
        cursor::list(&self.state, self.end)
    }

    /// All cursors, with what they hold.
    pub(super) fn standings(&self) -> Vec<Standing> {
        standings(&self.state)
    }

    /// Keys, cursors included.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.state.size().keys
    }

    /// Bytes, as the limit of the state counts them: keys and values, and 64 bytes an entry.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.state.size().bytes
    }

    /// Offset behind the last record that it knows of.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }
}

impl Attached {
    /// The state as it is now. Reads the newest checkpoint and the log behind it.
    ///
    /// # Errors
    /// What an open would say; what the system says.
    pub fn state(&self) -> Result<StateView> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let disk = &*self.shared.disk;
        let loaded = if self.shared.is_written()? {
            judged(disk, |loaded: &Loaded| !loaded.faults.is_empty(), |sight| look(sight, Beside::Writer))?
        } else {
            look(disk, Beside::Nobody)?
        };
        Ok(StateView { state: loaded.state, end: loaded.end.offset })
    }

    /// The checkpoints, oldest first; only their headers are read. One that is damaged is not among them, `esker verify`
    /// tells of it.
    ///
    /// # Errors
    /// What the system says.
    pub fn checkpoints(&self) -> Result<Vec<CheckpointInfo>> {
        let survey = judged(&*self.shared.disk, |_| false, |sight| Survey::look(sight))?;
        let own = survey.own_checkpoints().map(|checkpoint| checkpoint.sequence).collect::<Vec<_>>();
        let valid = survey.checkpoints.iter().filter_map(|file| Some((file, file.header.as_ref().ok()?)));
        let of_store = valid.filter(|(_, header)| own.contains(&header.sequence));
        Ok(of_store
            .map(|(file, header)| CheckpointInfo {
                file: file.name.clone(),
                sequence: file.sequence,
                line: header.line,
                entries: header.entries,
                bytes: header.body_bytes,
            })
            .collect())
    }
}

/// Who is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nobody,
    Writer,
}

fn look(disk: &dyn Disk, beside: Beside) -> Result<Loaded> {
    let survey = survey(disk)?;
    if beside == Beside::Nobody
        && let Some(decision) = decide(disk, &survey)?
    {
        return load(disk, &survey, decision.segments());
    }
    let chain = survey.chain(disk)?;
    load(disk, &survey, Segments { members: &chain.members, end: None, durable: survey.durable(), start: chain.start })
}
