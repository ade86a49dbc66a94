//! Following a log that another process writes: its tail, its next segments, and what it drops.
//!
//! Guarantees:
//! 1. What was seen is never unseen: durable line, start line and tail only move up.
//! 2. A segment that was rewritten since is counted, so that a lookup which began before is asked again.
//! 3. A directory that does not fit together is looked at again before anything is said: its writer may be at work.

use super::{Shared, State, begin, entries};
use crate::error::{Error, ErrorKind, Result};
use crate::format::control::StartLine;
use crate::format::{FRAMES_START, segment_name, segment_number};
use crate::log::catalog::{Catalog, Entry, copy_for_reading};
use crate::log::start;
use crate::log::survey::{io_error, is_missing, survey};
use crate::log::window::{Scan, Scanned};
use crate::platform::Disk;
use crate::types::{Line, Place, Timestamp};

/// How often to look at a directory whose writer removes files meanwhile.
const LOOKS_MAX: u32 = 8;

impl State {
    /// As it is now; start lines in frames before `known` are known.
    pub(super) fn beside_writer(disk: &dyn Disk, known: Line) -> Result<Self> {
        let mut state = Self::look_beside(disk, known);
        for _ in 1..LOOKS_MAX {
            match &state {
                Err(error) if error.kind() == ErrorKind::Corrupt || is_missing(error) => {
                    state = Self::look_beside(disk, known);
                }
                _ => break,
            }
        }
        state
    }

    fn look_beside(disk: &dyn Disk, known: Line) -> Result<Self> {
        let survey = survey(disk)?;
        let chain = survey.chain(disk)?;
        let Some(last) = chain.members.last() else {
            return Err(Error::new(ErrorKind::Invalid, "not a log yet: its writer has not begun")
                .at_path(disk.directory())
                .next_step("try again"));
        };
        let found = start::highest(disk, &chain.members, survey.checkpointed().max(known), None)?;
        let start = begin(&chain.members, chain.start.max(found));
        let place = Place::new(last.header.number, FRAMES_START);
        Ok(Self {
            seen: Line { place, offset: last.header.first_offset },
            time_max: last.header.time_max,
            catalog: Catalog::new(entries(&chain.members, start)),
            durable: survey.durable(),
            start,
            clean: false,
            refusal: None,
        })
    }

    /// Takes over what was looked at anew.
    fn follow(&mut self, fresh: Self) {
        if self.catalog.entries().last().map(Entry::number) > fresh.catalog.entries().last().map(Entry::number) {
            // Another thread looked later, and was faster.
            return;
        }
        self.seen = self.seen.max(fresh.seen);
        self.time_max = self.time_max.max(fresh.time_max);
        self.durable = self.durable.max(fresh.durable);
        self.start = self.start.max(fresh.start);
        self.catalog.follow(fresh.catalog);
        (self.clean, self.refusal) = (fresh.clean, fresh.refusal);
    }
}

impl Shared {
    /// Follows the tail of the last segment, as far as it is whole.
    pub(super) fn follow_tail(&self) -> Result<()> {
        let (entry, seen) = {
            let state = self.state.lock();
            (state.catalog.entries().last().cloned(), state.seen)
        };
        let Some(entry) = entry.filter(|entry| entry.end.is_none()) else { return Ok(()) };
        let view = match copy_for_reading(&*self.disk, &entry) {
            Err(error) if is_missing(&error) => return self.look_again(),
            view => view?,
        };
        let limit = entry.header.capacity;
        let mut scan = Scan::new(view.store, view.frames, seen.place.position, seen.offset, limit);
        let mut start = StartLine::default();
        let (mut durable, mut time_max) = (Line::default(), Timestamp::from_nanoseconds(i64::MIN));
        let failed = |error| io_error(&*self.disk, "read the segment", &segment_name(entry.number()), error);
        while let Scanned::Frame(found) = scan.next().map_err(failed)? {
            time_max = time_max.max(found.time_of_records());
            let frame = scan.frame(&found);
            durable = durable.max(frame.line(entry.number()).map(|line| line.durable).unwrap_or_default());
            start = start.max(start::of_frame(&frame, entry.number()).unwrap_or_default());
        }
        let mut state = self.state.lock();
        state.start = state.start.max(start);
        state.durable = state.durable.max(durable);
        state.time_max = state.time_max.max(time_max);
        if state.seen.place.segment == entry.number() {
            let place = Place::new(entry.number(), scan.position);
            state.seen = state.seen.max(Line { place, offset: scan.offset });
        }
        Ok(())
    }

    /// Looks whether the log went on in another segment, and takes it into the catalog. `true`: it did.
    pub(super) fn look_for_successor(&self) -> Result<bool> {
        let last = self.last();
        let names = self.disk.list().map_err(|error| io_error(&*self.disk, "list the directory", "", error))?;
        if !names.iter().filter_map(|name| segment_number(name)).any(|number| number > last) {
            return Ok(false);
        }
        self.look_again()?;
        Ok(self.last() > last)
    }

    /// What a look at several files finds; another look, if they were replaced or dropped meanwhile.
    pub(super) fn settled<T>(&self, look: &dyn Fn() -> Result<T>) -> Result<T> {
        for _ in 1..LOOKS_MAX {
            let before = self.incarnations();
            let error = match look() {
                Err(error) if error.kind() == ErrorKind::Corrupt || is_missing(&error) => error,
                done => return done,
            };
            self.look_again()?;
            if self.incarnations() == before {
                return Err(error);
            }
        }
        look()
    }

    fn incarnations(&self) -> Vec<u64> {
        self.state.lock().catalog.entries().iter().map(|entry| entry.header.incarnation).collect()
    }

    /// Looks at the directory anew: segments came, vanished, or are others.
    pub(super) fn look_again(&self) -> Result<()> {
        let failed = |error| io_error(&*self.disk, "ask for the writer's lock", "", error);
        // A writer may have begun since.
        let is_written = self.is_live() || self.disk.lock_holder().map_err(failed)?.is_some();
        let seen = self.state.lock().seen;
        let fresh = if is_written { State::beside_writer(&*self.disk, seen)? } else { State::as_left(&*self.disk)? };
        self.state.lock().follow(fresh);
        Ok(())
    }

    fn last(&self) -> u64 {
        self.state.lock().catalog.entries().last().map_or(0, Entry::number)
    }
}
