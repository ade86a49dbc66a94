//! Which topics a segment holds, and in which of its blocks.
//!
//! Guarantees:
//! 1. Memory is bounded by the limits of the format: beyond them nothing is kept.

use std::collections::BTreeMap;

use crate::format::index::{TOPIC_BLOCKS_MAX, TOPICS_MAX, TopicCounts, TopicRow};
use crate::types::Topic;

/// Topics and their blocks, by number.
#[derive(Debug, Default)]
pub(super) struct Topics {
    seen: BTreeMap<Topic, Seen>,
    blocks: usize,
    /// There were too many.
    overflow: Option<Overflow>,
}

#[derive(Debug)]
struct Overflow;

#[derive(Debug, Default)]
struct Seen {
    records: u64,
    blocks: Vec<u32>,
}

impl Topics {
    /// Notes a record; blocks come in order.
    pub(super) fn note(&mut self, topic: Topic, block: u32) {
        if self.overflow.is_some() {
            return;
        }
        let seen = self.seen.entry(topic).or_default();
        seen.records = seen.records.saturating_add(1);
        if seen.blocks.last() != Some(&block) {
            seen.blocks.push(block);
            self.blocks = self.blocks.saturating_add(1);
        }
        if self.seen.len() > TOPICS_MAX || self.blocks > TOPIC_BLOCKS_MAX {
            *self = Self { overflow: Some(Overflow), ..Self::default() };
        }
    }

    /// `None`: too many to be listed.
    pub(super) fn counts(&self) -> Option<TopicCounts> {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let counts = TopicCounts { topics: count(self.seen.len()), blocks: count(self.blocks) };
        self.overflow.is_none().then_some(counts)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = TopicRow> {
        self.seen.iter().scan(0_u32, |next, (topic, seen)| {
            let first = *next;
            *next = first.saturating_add(u32::try_from(seen.blocks.len()).unwrap_or(u32::MAX));
            Some(TopicRow { topic: topic.get(), records: seen.records, first })
        })
    }

    pub(super) fn blocks(&self) -> impl Iterator<Item = u32> {
        self.seen.values().flat_map(|seen| seen.blocks.iter().copied())
    }
}
