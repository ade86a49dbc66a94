//! Whether a commit's conditions hold, at the place in the log where its frame would go.
//!
//! Guarantees:
//! 1. What is decided under the append lock rests on everything stored before, and nothing is stored in between.
//! 2. What a condition has to read is read before the lock; under it only what came since then in the active segment: at
//!    most [`REST_BYTES_MAX`], unless appends were faster than reading [`ROUNDS_MAX`] times. Where the log has rolled
//!    meanwhile, it is read before the lock again.
//! 3. Nothing is allocated under the lock: a refusal is put into words behind it.

use super::{Condition, outside};
use crate::error::{Conflict, Error, ErrorKind, Result};
use crate::format::state::{CursorValue, Space, StateEntry};
use crate::log::appender::{Appender, Room, Terms};
use crate::log::core::Core;
use crate::log::reader::{LogSource, Reader};
use crate::log::start::trimmed;
use crate::log::state::{Change, Promise, State, StateValue};
use crate::segment::walk::Step;
use crate::segment::{Appended, Body};
use crate::sync::RwLockWriteGuard;
use crate::types::{Line, Offset, Place, RecordRef, Timestamp, Version};

/// How much may be read under the lock.
const REST_BYTES_MAX: u64 = 64 << 10;
/// How often to read up to the end again, before the rest is read under the lock whatever it is.
const ROUNDS_MAX: u32 = 16;
/// State commits up to this size may use what is reserved in each segment: cursors have to move when the disk is full.
const SMALL_BYTES_MAX: u64 = 1024;

/// Why a commit is not stored now.
#[derive(Debug)]
pub(super) enum Stop {
    /// The append itself failed.
    Failed(Error),
    /// The log has grown: read on, then try again.
    CatchUp,
    /// The condition with this index does not hold.
    Refused { condition: usize, found: Found },
    /// What has to be read is not whole.
    Unreadable,
    /// The log begins behind where a cursor would go.
    Trimmed { start: Offset },
}

/// What was found instead of what a condition asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found {
    Version(Option<Version>),
    Record(Offset),
    Cursor(Option<Offset>),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The conditions of one commit, and the changes that it makes if they hold.
#[derive(Debug)]
pub(super) struct Decider<'c> {
    core: &'c Core,
    conditions: &'c [Condition<'c>],
    /// The cursor that would go to the lowest offset.
    lowest: Option<(&'c str, Offset)>,
    changes: Vec<Change>,
    /// Room for the changes, until they are applied.
    promise: Option<Promise>,
    /// Up to where records were looked at; `None`: no condition asks for it.
    searched: Option<Line>,
    /// The first record that was found to break a condition.
    broken: Option<(usize, Offset)>,
    rounds: u32,
    /// Where the search goes on, once it has begun.
    reader: Option<Reader>,
}

impl<'c> Decider<'c> {
    pub(super) fn new(
        core: &'c Core,
        conditions: &'c [Condition<'c>],
        lowest: Option<(&'c str, Offset)>,
        changes: Vec<Change>,
        reader: Option<Reader>,
    ) -> Self {
        Self { core, conditions, lowest, changes, promise: None, searched: None, broken: None, rounds: 0, reader }
    }

    /// Has the state promise room for the changes.
    pub(super) fn promise(&mut self, core: &Core, entries: &[StateEntry<'_>]) -> Result<()> {
        self.promise = Some(core.state.write().promise(entries, core.state_limits())?);
        Ok(())
    }

    /// Gives the room back, if the changes were not applied.
    pub(super) fn give_back(&mut self, core: &Core) {
        if let Some(promise) = self.promise.take() {
            core.state.write().settle(&promise);
        }
    }

    /// Reads what conditions on records ask for, up to what is visible now.
    pub(super) fn catch_up(&mut self) -> Result<()> {
        let Some(mut reader) = self.reader.take() else { return Ok(()) };
        if self.searched.is_none() {
            let since = self.conditions.iter().filter_map(|condition| match condition {
                Condition::NoRecord { since, .. } => Some(*since),
                _ => None,
            });
            reader.seek(since.min().unwrap_or_default())?;
        }
        self.rounds = self.rounds.saturating_add(1);
        while self.broken.is_none() {
            let Some(batch) = reader.poll()? else { break };
            self.broken = batch.iter().find_map(|record| self.breaks(&record));
        }
        self.searched = Some(reader.line());
        self.reader = Some(reader);
        // Behind the look: a record that was gone by then, went by a start that is known now.
        self.check_topics()
    }

    /// Refuses to say what was in a topic below where it begins.
    fn check_topics(&self) -> Result<()> {
        for condition in self.conditions {
            let Condition::NoRecord { topic, since, .. } = condition else { continue };
            let start = self.core.topics_start(&[*topic]);
            if *since < start {
                return Err(trimmed("what is left of its topic", *since, start));
            }
        }
        Ok(())
    }

    /// The condition that forbids this record.
    fn breaks(&self, record: &RecordRef<'_>) -> Option<(usize, Offset)> {
        let forbids = |condition: &Condition<'_>| match condition {
            Condition::NoRecord { topic, key, since } => {
                record.offset() >= *since && record.topic() == *topic && record.key() == Some(*key)
            }
            _ => false,
        };
        self.conditions.iter().position(forbids).map(|condition| (condition, record.offset()))
    }

    /// Decides about records, for a frame that would go to the tail.
    fn admit_records(&self, appender: &Appender) -> std::result::Result<(), Stop> {
        if let Some((condition, offset)) = self.broken {
            return Err(Stop::Refused { condition, found: Found::Record(offset) });
        }
        let Some(searched) = self.searched else { return Ok(()) };
        let tail = appender.tail();
        if searched.offset == tail.offset {
            // Only records count, and there are none since.
            return Ok(());
        }
        let rest = tail.place.position.saturating_sub(searched.place.position);
        if searched.place.segment != tail.place.segment || (rest > REST_BYTES_MAX && self.rounds < ROUNDS_MAX) {
            return Err(Stop::CatchUp);
        }
        let segment = appender.writer.segment();
        let bytes = segment.bytes(searched.place.position..tail.place.position).ok_or(Stop::Unreadable)?;
        let mut walk = segment.frames().walk(bytes, searched.place.position, searched.offset);
        while walk.position < tail.place.position {
            let Step::Frame(frame) = walk.step() else { return Err(Stop::Unreadable) };
            if let Some((condition, offset)) = frame.records().find_map(|record| self.breaks(&record)) {
                return Err(Stop::Refused { condition, found: Found::Record(offset) });
            }
        }
        Ok(())
    }

    fn admit_state(&self, state: &State) -> std::result::Result<(), Stop> {
        for (at, condition) in self.conditions.iter().enumerate() {
            let found = match *condition {
                Condition::NoRecord { .. } => None,
                Condition::State { key, expected } => {
                    let found = state.get(Space::CALLER, key).map(StateValue::version);
                    (found != expected).then_some(Found::Version(found))
                }
                Condition::CursorNotBehind { name, offset } => {
                    let found = cursor(state, name).map(|(_, found)| found);
                    found.filter(|found| *found > offset).map(|found| Found::Cursor(Some(found)))
                }
                Condition::CursorUnmoved { name, expected } => {
                    let found = cursor(state, name);
                    (found != expected).then(|| Found::Cursor(found.map(|(_, offset)| offset)))
                }
            };
            if let Some(found) = found {
                return Err(Stop::Refused { condition: at, found });
            }
        }
        Ok(())
    }

    /// Puts a refusal into words.
    #[cold]
    pub(super) fn error(&self, stop: Stop) -> Error {
        let (condition, found) = match stop {
            Stop::Failed(error) => return error,
            Stop::Refused { condition, found } => (self.conditions.get(condition), found),
            Stop::Trimmed { start } => {
                let (name, offset) = self.lowest.unwrap_or_default();
                return outside(name, offset, start, start);
            }
            Stop::CatchUp | Stop::Unreadable => (None, Found::Version(None)),
        };
        match (condition, found) {
            (Some(Condition::State { key, expected }), Found::Version(found)) => {
                Error::of_conflict(Conflict::State { key: key.to_vec(), expected: *expected, found })
            }
            (Some(Condition::NoRecord { topic, key, .. }), Found::Record(offset)) => {
                Error::of_conflict(Conflict::Record { topic: *topic, key: key.to_vec(), offset })
            }
            (Some(Condition::CursorUnmoved { name, expected }), Found::Cursor(found)) => {
                let expected = expected.map(|(_, offset)| offset).unwrap_or_default();
                Error::of_conflict(Conflict::Cursor { name: (*name).to_owned(), expected, found })
            }
            (Some(Condition::CursorNotBehind { name, offset }), Found::Cursor(Some(found))) => {
                let text =
                    format!("commit refused: cursor {name} stands at offset {found}, and would go back to {offset}");
                Error::new(ErrorKind::Invalid, text).next_step("nothing was stored; seek to go back")
            }
            _ => {
                Error::new(ErrorKind::Corrupt, "commit refused: the records that its condition asks for cannot be read")
                    .next_step("nothing was stored; run esker verify")
            }
        }
    }
}

/// Version and offset of a cursor's entry.
fn cursor(state: &State, name: &str) -> Option<(Version, Offset)> {
    let entry = state.get(Space::CURSORS, name.as_bytes())?;
    Some((entry.version(), CursorValue::decode(entry.value()).ok()?.offset))
}

impl Terms for Decider<'_> {
    type Stop = Stop;
    type Held<'a> = RwLockWriteGuard<'a, State>;

    fn hold(core: &Core) -> Self::Held<'_> {
        core.state.write()
    }

    fn try_hold(core: &Core) -> Option<Self::Held<'_>> {
        core.state.try_write()
    }

    fn room(&self, body: &Body<'_>) -> Room {
        if body.record_count() == 0 && body.stride() <= SMALL_BYTES_MAX { Room::Reserve } else { Room::Data }
    }

    fn admit(&mut self, state: &Self::Held<'_>, appender: &Appender) -> std::result::Result<(), Stop> {
        if let Some((_, offset)) = self.lowest {
            // The start may have moved since it was looked at.
            let start = self.core.start();
            if offset < start {
                return Err(Stop::Trimmed { start });
            }
        }
        if self.conditions.is_empty() {
            return Ok(());
        }
        self.admit_records(appender)?;
        self.admit_state(state)
    }

    fn store(
        &mut self,
        state: &mut Self::Held<'_>,
        appender: &mut Appender,
        body: &Body<'_>,
        time: Timestamp,
    ) -> Option<Appended> {
        // The state is held until it is applied: whoever has seen the frame and asks for it waits.
        appender.store(body, time, |end: Place| {
            state.apply(&mut self.changes, end);
            // At once: else the commit would count twice for others until it is settled.
            if let Some(promise) = self.promise.take() {
                state.settle(&promise);
            }
        })
    }
}
