//! What a cursor keeps retention from dropping.

use std::collections::BTreeSet;
use std::fmt;

use super::Topic;

/// What a cursor keeps retention from dropping. It says nothing about what the cursor reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Contract {
    /// Nothing that it has not passed is dropped.
    #[default]
    Hold,
    /// No segment is dropped that holds a record of one of these topics that it has not passed; at most
    /// [`CONTRACT_TOPICS_MAX`](crate::CONTRACT_TOPICS_MAX). Such a cursor may stand below the start of the log: it resumes
    /// there, for nothing of its topics was dropped.
    HoldTopics(BTreeSet<Topic>),
    /// As [`Contract::Hold`], but of the log at most the newest so many bytes.
    HoldUpTo(u64),
    /// It holds nothing: it is told ([`ErrorKind::Trimmed`](crate::ErrorKind::Trimmed)) if it fell behind.
    BestEffort,
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold => f.write_str("hold"),
            Self::HoldTopics(topics) => {
                f.write_str("hold topics")?;
                topics.iter().try_for_each(|topic| write!(f, " {}", topic.get()))
            }
            Self::HoldUpTo(bytes) => write!(f, "hold up to {bytes} bytes"),
            Self::BestEffort => f.write_str("best effort"),
        }
    }
}
