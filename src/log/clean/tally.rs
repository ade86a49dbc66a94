//! How much of each topic lies in the segments, and in which of them all of it is old.
//!
//! Guarantees:
//! 1. It takes no more memory than it was made with: topics that do not fit are left to passes to come.
//! 2. What is said of a topic comes from all its records that a pass saw: those of a topic that was left to another pass go
//!    with it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::collections::BTreeMap;

use crate::log::retention::Retention;
use crate::types::{Offset, Timestamp, Topic};

/// What a topic takes in the map, at most: a node of a tree that is half full.
const TOPIC_BYTES: usize = 160;
/// What a segment of a topic takes in a list that doubles when it grows.
const EXPIRED_BYTES: usize = 3 * size_of::<Expired>();

/// Records of a topic that lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) bytes: u64,
    /// The latest append time among them.
    pub(crate) time: Timestamp,
    /// The last offset among them.
    pub(crate) last: Offset,
}

/// All records of a topic in a segment may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expired {
    pub(crate) segment: u32,
    pub(crate) topic: Topic,
    /// The oldest segment with records of the topic.
    pub(crate) oldest: u32,
    /// The last of them in this segment.
    pub(crate) last: Offset,
}

/// What is known of a topic while a pass goes from newer segments to older ones.
#[derive(Debug, Clone, Copy)]
struct Known {
    retention: Retention,
    newer_bytes: u64,
    /// The oldest segment so far that has records of it, and those.
    segment: u32,
    here: Sum,
}

/// See the top of this file.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Topics from here on, if there are any left, and below the end, if there is one.
    from: Option<Topic>,
    end: Option<Topic>,
    topics: BTreeMap<Topic, Known>,
    topics_max: usize,
    expired: Vec<Expired>,
    expired_max: usize,
}

impl Tally {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            from: Some(Topic::default()),
            end: None,
            topics: BTreeMap::new(),
            topics_max: (bytes / 2 / TOPIC_BYTES).max(1),
            expired: Vec::new(),
            expired_max: bytes / 2 / EXPIRED_BYTES,
        }
    }

    /// Counts records of a segment, which is the same as before or the next older one.
    pub(crate) fn add(&mut self, topic: Topic, retention: Retention, segment: u32, sum: Sum) {
        if self.from.is_none_or(|from| topic < from) || self.end.is_some_and(|end| topic >= end) {
            return;
        }
        if let Some(known) = self.topics.get_mut(&topic) {
            known.add(segment, sum);
            return;
        }
        self.topics.insert(topic, Known { retention, newer_bytes: 0, segment, here: sum });
        if self.topics.len() > self.topics_max {
            self.narrow();
        }
    }

    /// Notes of which topics all records in this segment may go: they are old, or there are enough newer ones; and no cursor
    /// holds them.
    pub(crate) fn end_segment(&mut self, segment: u32, now: Timestamp, passed: &dyn Fn(Topic) -> Offset) {
        let ended = self.topics.iter().filter(|(_, known)| known.segment == segment);
        let old = ended.filter(|(topic, known)| known.is_old(now) && known.here.last < passed(**topic));
        let expired = |(topic, known): (&Topic, &Known)| Expired {
            segment,
            topic: *topic,
            oldest: segment,
            last: known.here.last,
        };
        let expired: Vec<_> = old.map(expired).collect();
        for expired in expired {
            while self.expired.len() >= self.expired_max && self.topics.len() > 1 {
                self.narrow();
            }
            let is_in_range = self.end.is_none_or(|end| expired.topic < end);
            // What finds no room is kept.
            if is_in_range && self.expired.len() < self.expired_max {
                self.expired.push(expired);
            }
        }
    }

    /// What was noted of the topics of this pass, oldest segment first.
    pub(crate) fn take_expired(&mut self) -> Vec<Expired> {
        let mut expired = std::mem::take(&mut self.expired);
        for one in &mut expired {
            one.oldest = self.topics.get(&one.topic).map_or(0, |known| known.segment);
        }
        expired.sort_unstable_by_key(|expired| (expired.segment, expired.topic));
        expired
    }

    /// Goes on to the topics that were left. `false`: there are none.
    pub(crate) fn advance(&mut self) -> bool {
        self.topics.clear();
        self.from = self.end.take();
        self.from.is_some()
    }

    /// Leaves the upper topics to the passes to come.
    fn narrow(&mut self) {
        let kept = self.topics.len().saturating_sub((self.topics.len() / 4).max(1));
        let Some(end) = self.topics.keys().nth(kept).copied() else { return };
        self.end = Some(end);
        let _left = self.topics.split_off(&end);
        self.expired.retain(|expired| expired.topic < end);
    }
}

impl Known {
    fn add(&mut self, segment: u32, sum: Sum) {
        if self.segment == segment {
            self.here.bytes = self.here.bytes.saturating_add(sum.bytes);
            self.here.time = self.here.time.max(sum.time);
            self.here.last = self.here.last.max(sum.last);
        } else {
            self.newer_bytes = self.newer_bytes.saturating_add(self.here.bytes);
            (self.segment, self.here) = (segment, sum);
        }
    }

    fn is_old(&self, now: Timestamp) -> bool {
        let aged = self.retention.age.is_some_and(|age| self.here.time < now.before(age));
        aged || self.retention.bytes.is_some_and(|bytes| self.newer_bytes >= bytes)
    }
}
