//! Why a commit was refused whose conditions did not hold.

use std::fmt;

use crate::types::{Offset, Topic, Version};

/// The condition of a commit that did not hold; see [`Error::conflict`](super::Error::conflict).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conflict {
    /// A state entry is not at the version that was asked for.
    State {
        /// Its key.
        key: Vec<u8>,
        /// The version asked for; `None`: no entry.
        expected: Option<Version>,
        /// The version found; `None`: no entry.
        found: Option<Version>,
    },
    /// There is a record of the key since the offset that was asked for.
    Record {
        /// Its topic.
        topic: Topic,
        /// Its key.
        key: Vec<u8>,
        /// Its offset.
        offset: Offset,
    },
    /// Somebody else moved the cursor.
    Cursor {
        /// Its name.
        name: String,
        /// Where this handle left it.
        expected: Offset,
        /// Where it is; `None`: it was removed.
        found: Option<Offset>,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = |version: &Option<Version>| version.map_or("no entry".to_owned(), |version| version.to_string());
        match self {
            Self::State { key, expected, found } => {
                write!(f, "state {}: {} found, {} expected", shown(key), version(found), version(expected))
            }
            Self::Record { topic, key, offset } => {
                write!(f, "topic {} has a record of key {} at offset {offset}", topic.get(), shown(key))
            }
            Self::Cursor { name, expected, found: Some(found) } => {
                write!(f, "cursor {name}: offset {found} found, {expected} expected")
            }
            Self::Cursor { name, expected, found: None } => {
                write!(f, "cursor {name}: it was removed, offset {expected} expected")
            }
        }
    }
}

/// The beginning of a key, for people.
fn shown(key: &[u8]) -> String {
    const SHOWN_BYTES: usize = 64;
    let more = if key.len() > SHOWN_BYTES { "..." } else { "" };
    format!("{}{more}", key.get(..SHOWN_BYTES).unwrap_or(key).escape_ascii())
}
