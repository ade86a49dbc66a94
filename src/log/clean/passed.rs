//! What all cursors passed that hold a topic.
//!
//! Guarantees:
//! 1. What is called passed at the begin of a run was passed by a commit that is durable.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::Result;
use crate::log::contract::{Standing, held_from, standings};
use crate::log::core::Core;
use crate::types::{Contract, Offset, Topic};

/// Up to where nothing is held.
#[derive(Debug)]
pub(crate) struct Passed {
    /// Of any topic.
    all: Offset,
    /// Of those that somebody holds alone.
    topics: BTreeMap<Topic, Offset>,
}

impl Passed {
    pub(crate) fn of(&self, topic: Topic) -> Offset {
        self.topics.get(&topic).map_or(self.all, |held| self.all.min(*held))
    }

    /// Whether something within these offsets that was passed `before` is held now.
    pub(super) fn went_back(&self, before: &Self, within: &Range<Offset>) -> bool {
        let lower = |now: Offset, before: Offset| now.max(within.start) < before.min(within.end);
        lower(self.all, before.all) || self.topics.keys().any(|topic| lower(self.of(*topic), before.of(*topic)))
    }
}

impl Core {
    /// What all cursors passed, durably.
    pub(crate) fn passed(&self) -> Result<Passed> {
        let (standings, line) = {
            let state = self.state.read();
            (standings(&state), self.appender.lock().tail())
        };
        self.wait_durable(line.place)?;
        Ok(self.passed_by(&standings))
    }

    /// What these cursors passed.
    pub(super) fn passed_by(&self, standings: &[Standing]) -> Passed {
        let parts = self.bare_shape().parts;
        let mut passed = Passed { all: Offset::new(u64::MAX), topics: BTreeMap::new() };
        for standing in standings {
            if let Contract::HoldTopics(topics) = &standing.contract {
                for topic in topics {
                    let held = passed.topics.entry(*topic).or_insert(standing.offset);
                    *held = (*held).min(standing.offset);
                }
            } else if let Some(held) = held_from(standing, &parts, &mut |_, _, _| false) {
                passed.all = passed.all.min(held);
            }
        }
        passed
    }
}
