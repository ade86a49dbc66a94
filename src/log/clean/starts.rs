//! Where topics begin: below that their retention dropped records.
//!
//! Guarantees:
//! 1. What is said of a topic is durable before any record goes by the retention of the topic, and never falls.
//! 2. It lies just behind a record that may go: whoever holds that record is not below it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::collections::BTreeMap;

use crate::error::Result;
use crate::format::state::{Space, TopicStart};
use crate::log::commit::Commit;
use crate::log::core::Core;
use crate::log::state::{State, StateValue};
use crate::types::{Offset, Topic};

/// So many in a commit that it may use the room that is left when the disk is full.
const STARTS_MAX: usize = 32;

/// The least offset at which one of these topics begins.
pub(crate) fn least_start(state: &State, topics: &[Topic]) -> Offset {
    topics.iter().map(|topic| start_of(state, *topic)).min().unwrap_or_default()
}

fn start_of(state: &State, topic: Topic) -> Offset {
    let value = state.get(Space::TOPIC_STARTS, &TopicStart::key(topic)).map(StateValue::value);
    value.and_then(|value| TopicStart::decode(value).ok()).unwrap_or_default()
}

impl Core {
    /// Says where topics begin that begin later than before, durably.
    pub(super) fn raise_topic_starts(&self, starts: &BTreeMap<Topic, Offset>) -> Result<()> {
        let higher: Vec<TopicStart> = {
            let state = self.state.read();
            let rises = starts.iter().filter(|(topic, start)| start_of(&state, **topic) < **start);
            rises.map(|(topic, start)| TopicStart::new(*topic, *start)).collect()
        };
        let mut last = None;
        for some in higher.chunks(STARTS_MAX) {
            let commit = some.iter().fold(Commit::new(), Commit::topic_start);
            last = Some(self.commit_by(&commit, None)?);
        }
        last.map_or(Ok(()), |ticket| ticket.wait())
    }
}
