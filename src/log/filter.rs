//! Which records a reader hands out.
//!
//! Guarantees:
//! 1. A frame that is not admitted by its header holds no record that matches, whatever its body is.
//! 2. Keys are compared in full.

use crate::format::Kind;
use crate::format::frame::FrameHeader;
use crate::format::index::KeyHash;
use crate::types::{RecordRef, Topic};

/// What a record has to be.
#[derive(Debug)]
pub(crate) enum Filter {
    /// In one of these topics, which ascend.
    Topics(Box<[Topic]>),
    /// With this key, in this topic.
    Key { topic: Topic, key: Box<[u8]>, hash: KeyHash },
}

impl Filter {
    pub(crate) fn topics(topics: impl IntoIterator<Item = Topic>) -> Self {
        let mut topics: Vec<Topic> = topics.into_iter().collect();
        topics.sort_unstable();
        topics.dedup();
        Self::Topics(topics.into())
    }

    pub(crate) fn key(topic: Topic, key: &[u8]) -> Self {
        Self::Key { topic, key: key.into(), hash: KeyHash::of(topic, key) }
    }

    /// Whether records in a frame with this header may match.
    pub(crate) fn admits(&self, header: &FrameHeader) -> bool {
        let is_mixed_or_one_of_them = || header.topic.is_none_or(|topic| self.holds(topic));
        header.kind == Kind::Data && header.record_count > 0 && is_mixed_or_one_of_them()
    }

    /// Whether all records in a frame with this header match.
    pub(crate) fn admits_all(&self, header: &FrameHeader) -> bool {
        matches!(self, Self::Topics(_)) && header.topic.is_some_and(|topic| self.holds(topic))
    }

    pub(crate) fn matches(&self, record: &RecordRef<'_>) -> bool {
        let is_of_key = match self {
            Self::Topics(_) => true,
            Self::Key { key, .. } => record.key() == Some(key),
        };
        is_of_key && self.holds(record.topic())
    }

    /// The topics of which records may match; they ascend.
    pub(crate) fn asked(&self) -> &[Topic] {
        match self {
            Self::Topics(topics) => topics,
            Self::Key { topic, .. } => std::slice::from_ref(topic),
        }
    }

    fn holds(&self, topic: Topic) -> bool {
        self.asked().binary_search(&topic).is_ok()
    }
}
