//! Makes index files in the background.
//!
//! Guarantees:
//! 1. One file is made at a time, under its draft name; it gets its own name when it is complete. It is not synced: what a
//!    crash leaves of it does not have the right sum.
//! 2. Between two pieces of a segment a checkpoint that is due is written, and appends go first: while there are some, it
//!    rests several times as long as it works.
//! 3. It stops when the log is closed, and holds no lock while it reads or writes.

use std::sync::Arc;
use std::time::Duration;

use super::build::{Failed, Pace, Sealed, Sink, build};
use super::file::{peek, subject};
use super::{Known, What};
use crate::format::{index_draft_name, index_name};
use crate::log::catalog::Entry;
use crate::log::core::Core;
use crate::log::reader::{LogSource, ReadMode};
use crate::platform::{Disk, File};
use crate::types::Place;

/// While there are appends: how many times as long as it worked it rests.
const REST_TIMES: u32 = 4;
const REST_MIN: Duration = Duration::from_millis(1);
/// A close waits for a rest to end.
const REST_MAX: Duration = Duration::from_millis(10);

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Done,
    Nothing,
}

/// Segments that wait for an index file.
#[derive(Default)]
struct Waiting {
    /// The newest that is sealed and durable, whether it waits or not.
    newest: u64,
    entries: Vec<Entry>,
}

impl Core {
    /// Sealed and durable segments of which it is not known whether they have an index file, or that have none; the newest
    /// comes last. None while one that failed waits for the log to go on.
    fn without_index(&self) -> Waiting {
        let durable = self.durability.lock().durable.place;
        let catalog = self.catalog.read();
        let is_settled = |entry: &&Entry| entry.end.is_some_and(|end| Place::new(entry.number(), end) <= durable);
        let settled: Vec<Entry> = catalog.entries().iter().filter(is_settled).cloned().collect();
        drop(catalog);
        let Some(newest) = settled.last().map(Entry::number) else { return Waiting::default() };
        let files = self.index.files.lock();
        if files.paused_at == Some(newest) {
            return Waiting::default();
        }
        let is_open = |entry: &Entry| match files.known.get(&entry.number()) {
            Some(Known { incarnation, what }) if *incarnation == entry.header.incarnation => {
                matches!(what, What::None)
            }
            _ => true,
        };
        Waiting { newest, entries: settled.into_iter().filter(is_open).collect() }
    }

    /// Whether there is something to do for [`Core::index_step`].
    pub(crate) fn index_due(&self) -> bool {
        !self.without_index().entries.is_empty()
    }

    /// Makes one index file, if one is missing.
    pub(crate) fn index_step(&self) -> Step {
        if self.is_ended() {
            // The directory may be another's by now.
            return Step::Nothing;
        }
        let Waiting { newest, mut entries } = self.without_index();
        while let Some(entry) = entries.pop() {
            let Some(subject) = subject(&entry) else { continue };
            if let Ok(_bytes) = peek(&*self.disk, &subject) {
                self.index.know(&entry, What::Unsummed);
                continue;
            }
            match self.build_index(&entry) {
                Ok(()) => {
                    self.index.know(&entry, What::Unsummed);
                    self.index.count(|counts| counts.built = counts.built.saturating_add(1));
                }
                Err(Failed::Unfit) => self.index.know(&entry, What::Unfit),
                Err(Failed::Stopped) => return Step::Nothing,
                Err(Failed::Differs | Failed::Io(_)) => {
                    self.index.files.lock().paused_at = Some(newest);
                    self.index.count(|counts| counts.failures = counts.failures.saturating_add(1));
                }
            }
            return Step::Done;
        }
        if newest > 0 {
            self.forget_indexes();
        }
        Step::Nothing
    }

    /// Lets go of what is known of segments that are gone.
    fn forget_indexes(&self) {
        let known: Vec<u64> = self.index.files.lock().known.keys().copied().collect();
        let catalog = self.catalog.read();
        let gone: Vec<u64> = known.into_iter().filter(|number| catalog.get(*number).is_none()).collect();
        drop(catalog);
        for number in gone {
            self.index.forget(&*self.disk, number);
        }
    }

    fn build_index(&self, entry: &Entry) -> Result<(), Failed> {
        // Copied from the file: a sector that cannot be read is an error then, and no pages are mapped for it.
        let view = self.view(entry, ReadMode::Copy).map_err(|_counted| Failed::Io(std::io::ErrorKind::Other.into()))?;
        let end = entry.end.unwrap_or_default();
        let number = entry.number();
        let mut draft = Draft { disk: &*self.disk, number, file: None };
        let mut appends = self.appender.lock().stats.appends();
        let mut since = self.disk.monotonic();
        let mut pace = || {
            self.checkpoint_step();
            let now = self.appender.lock().stats.appends();
            if now != std::mem::replace(&mut appends, now) && !self.is_manual() {
                let worked = self.disk.monotonic().saturating_sub(since);
                self.checkpointer.rest(worked.saturating_mul(REST_TIMES).clamp(REST_MIN, REST_MAX));
            }
            since = self.disk.monotonic();
            if self.is_ended() { Pace::Stop } else { Pace::GoOn }
        };
        let sealed = Sealed { header: &entry.header, view: &view, end };
        let built = build(&sealed, self.index.memory, &mut draft, &mut pace);
        let named = built.and_then(|()| Ok(self.disk.rename(&index_draft_name(number), &index_name(number))?));
        if named.is_err() {
            // A draft that stays is removed by the next attempt, or open.
            let _removed_later = self.disk.unlink(&index_draft_name(number));
        }
        named
    }
}

/// An index file that is being written.
struct Draft<'a> {
    disk: &'a dyn Disk,
    number: u64,
    file: Option<Arc<dyn File>>,
}

impl Sink for Draft<'_> {
    fn begin(&mut self, file_bytes: u64) -> Result<(), Failed> {
        let name = index_draft_name(self.number);
        // One of this name can only be left of an attempt that failed.
        let _seldom_there = self.disk.unlink(&name);
        self.file = Some(self.disk.create(&name, file_bytes)?);
        Ok(())
    }

    fn put(&mut self, position: u64, bytes: &[u8]) -> Result<(), Failed> {
        match &self.file {
            Some(file) => Ok(file.write_at(bytes, position)?),
            None => Err(Failed::Differs),
        }
    }
}
