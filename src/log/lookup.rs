//! Lookups by key: the latest record, and all of them.
//!
//! Guarantees:
//! 1. Index files and tables only narrow down where to look: a record is handed out if its frame was checked and topic and
//!    key are those that were asked for, in full. Where an index leads astray, the segment is read instead.
//! 2. An answer is as of one moment, and never an older value: damage or a gap behind the record that was found, and in
//!    front of the line, is an error.
//! 3. While segments are replaced a lookup is asked again: what it did not find may have been dropped for the sake of a record
//!    that is newer than its moment. A key that always had a value is always found.
//! 4. What is handed out stays as it is: it pins its segment.

mod history;
mod segment;

use std::sync::Arc;

use super::batch::Batch;
use super::catalog::Entry;
use super::reader::{LogSource, ReadLine, ReadMode};
use super::window::View;
use crate::error::{Error, ErrorKind, Result};
use crate::format::index::KeyHash;
use crate::types::{Line, Offset, Place, RecordRef, Topic};

pub use history::History;

/// How often to begin again when segments are replaced or dropped meanwhile.
const TRIES_MAX: u32 = 16;

/// A record that a lookup found. It pins the segment that it lies in; keep it as long as needed, not longer.
#[derive(Debug, Clone)]
pub struct Found {
    batch: Batch,
}

impl Found {
    /// The record.
    ///
    /// # Panics
    /// If the file of the segment was changed meanwhile, against the contract of zero copy.
    #[must_use]
    pub fn record(&self) -> RecordRef<'_> {
        self.batch.iter().next().expect("the lookup saw it in the bytes that this pins")
    }

    /// Its number in the log.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.batch.first()
    }

    /// The place of its frame.
    #[must_use]
    pub fn place(&self) -> Place {
        self.batch.place()
    }
}

/// What is looked for, and where.
pub(super) struct Question<'a> {
    source: &'a dyn LogSource,
    topic: Topic,
    key: &'a [u8],
    hash: KeyHash,
}

/// Why there is no answer yet.
enum Miss {
    /// The index is not what it should be.
    Doubt,
    Failed(Error),
}

impl From<Error> for Miss {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<crate::format::Fault> for Miss {
    fn from(_the_index_is_dropped: crate::format::Fault) -> Self {
        Self::Doubt
    }
}

/// The latest record before a line, if it is no tombstone.
pub(crate) fn latest(source: &dyn LogSource, topic: Topic, key: &[u8], line: ReadLine) -> Result<Option<Found>> {
    source.check_lookups()?;
    source.index().count(|counts| counts.lookups = counts.lookups.saturating_add(1));
    let question = Question { source, topic, key, hash: KeyHash::of(topic, key) };
    let mut last = busy();
    for _ in 0..TRIES_MAX {
        let replacements = source.replacements();
        match question.latest(line) {
            Err(Failure { moved: Moved::Yes, error }) => last = error,
            _ if source.replacements() != replacements => {}
            Ok(found) => return Ok(found.filter(|found| !found.record().is_tombstone())),
            Err(failure) => return Err(failure.error),
        }
    }
    Err(last)
}

fn busy() -> Error {
    Error::new(ErrorKind::Io, "segments were replaced faster than this could read them").next_step("try again")
}

/// Whether the segment was replaced or dropped since it was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    Yes,
    No,
}

/// What went wrong in a segment.
struct Failure {
    error: Error,
    moved: Moved,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, moved: Moved::No }
    }
}

impl Question<'_> {
    fn latest(&self, line: ReadLine) -> std::result::Result<Option<Found>, Failure> {
        let (start, end) = (self.source.start(), self.source.end(line));
        let mut next = self
            .source
            .entry(&|catalog| catalog.get(end.place.segment).or_else(|| catalog.below(end.offset)).cloned())?;
        while let Some(entry) = next {
            let limit = limit_of(&entry, end);
            match self.newest_in(&entry, limit) {
                Ok(Some(found)) => return Ok(Some(found).filter(|found| found.offset() >= start)),
                Ok(None) => {}
                Err(error) => return Err(Failure { moved: self.moved(&entry), error }),
            }
            if entry.header.first_offset <= start {
                break;
            }
            let first = entry.header.first_offset;
            next = self.source.entry(&|catalog| catalog.below(first).cloned())?;
        }
        Ok(None)
    }

    fn moved(&self, entry: &Entry) -> Moved {
        let number = entry.number();
        // If that fails, what went wrong in the segment says more.
        let _as_known = self.source.look_again();
        let now = self.source.entry(&|catalog| catalog.get(number).cloned());
        let same = now.is_ok_and(|now| now.is_some_and(|now| now.header == entry.header));
        if same { Moved::No } else { Moved::Yes }
    }

    fn view(&self, entry: &Entry) -> Result<Arc<View>> {
        self.source.index().view(entry, || self.source.view(entry, ReadMode::Map))
    }
}

/// Up to where a segment is looked at. One that is not the last has an end; if not, what is missing is found to be. Of the last
/// only what comes before the line, unless it was rewritten since: then all of it is durable, and at places of its own.
fn limit_of(entry: &Entry, end: Line) -> u64 {
    let whole = entry.end.unwrap_or(entry.header.capacity);
    let is_cut = entry.number() == end.place.segment && !entry.header.is_moved();
    if is_cut { end.place.position.min(whole) } else { whole }
}

#[cfg(test)]
pub(crate) mod tests;
