//! What may go from a topic, as its owner said.
//!
//! Guarantees:
//! 1. A topic of which nobody said anything keeps all that it has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::log::retention::Retention;
use crate::types::Topic;

/// How long a tombstone stays unless the topic says otherwise.
const GRACE: Duration = Duration::from_secs(24 * 3600);

/// What the cleaner takes from a topic: superseded records, old ones, or both.
///
/// ```
/// use std::time::Duration;
/// use esker::{Cleanup, Retention};
///
/// let latest_of_each_key = Cleanup::compact().grace(Duration::from_secs(3600));
/// let last_gigabyte = Cleanup::delete(Retention::new().bytes(1 << 30));
/// # assert_ne!(latest_of_each_key, last_gigabyte);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Cleanup {
    /// How long tombstones stay; `None`: the topic is not compacted.
    pub(crate) grace: Option<Duration>,
    pub(crate) retention: Retention,
}

impl Cleanup {
    /// Keeps the latest record of each key, and all records without one.
    pub fn compact() -> Self {
        Self { grace: Some(GRACE), retention: Retention::new() }
    }

    /// Keeps the newest records of the topic: those of whole segments go. [`Retention::bytes`] of 0 gives the topic up.
    pub fn delete(retention: Retention) -> Self {
        Self { grace: None, retention }
    }

    /// How long the tombstone of a key stays after it was appended, so that readers see it; 24 hours unless said otherwise. A
    /// topic that is not compacted keeps its tombstones as any record.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = self.grace.map(|_| grace);
        self
    }

    /// Old records go too, also if they are the latest of their key.
    pub fn and_delete(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }
}

/// What may go from each topic.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policies {
    named: BTreeMap<Topic, Cleanup>,
    others: Option<Cleanup>,
}

impl Policies {
    pub(crate) fn set(&mut self, topic: Topic, cleanup: Cleanup) {
        self.named.insert(topic, cleanup);
    }

    /// For topics that are not named.
    #[cfg(test)]
    pub(crate) fn set_others(&mut self, cleanup: Cleanup) {
        self.others = Some(cleanup);
    }

    pub(crate) fn of(&self, topic: Topic) -> Option<&Cleanup> {
        self.named.get(&topic).or(self.others.as_ref())
    }

    /// Each of these topics compacted, besides what is said of it; of none, all topics.
    pub(crate) fn compacted(&self, topics: &BTreeSet<Topic>) -> Self {
        let compacted = |cleanup: Option<&Cleanup>| match cleanup {
            Some(said) if said.grace.is_some() => *said,
            Some(said) => Cleanup::compact().and_delete(said.retention),
            None => Cleanup::compact(),
        };
        if !topics.is_empty() {
            let named = topics.iter().map(|topic| (*topic, compacted(self.of(*topic))));
            return Self { named: named.collect(), others: None };
        }
        let named = self.named.iter().map(|(topic, said)| (*topic, compacted(Some(said))));
        Self { named: named.collect(), others: Some(compacted(self.others.as_ref())) }
    }

    /// What is kept of topics.
    pub(crate) fn retentions(&self) -> impl Iterator<Item = &Retention> {
        self.named.values().chain(&self.others).map(|cleanup| &cleanup.retention)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty() && self.others.is_none()
    }

    /// Whether a retention is said of any topic.
    pub(crate) fn has_retention(&self) -> bool {
        self.named.values().chain(&self.others).any(|cleanup| !cleanup.retention.is_empty())
    }
}
