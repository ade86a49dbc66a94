//! Following a log that another process writes: its tail, its next segments, and what it drops.
//!
//! Guarantees:
//! 1. What was seen is never unseen: durable line, start line and tail only move up.
//! 2. A segment that was rewritten since is counted, so that a lookup which began before is asked again.
//! 3. A directory that does not fit together is looked at again before anything is said: its writer may be at work.

use std::io;

use super::{Shared, State, begin, entries};
use crate::error::{Error, ErrorKind, Result};
use crate::format::control::StartLine;
use crate::format::{FRAMES_START, header, segment_name, segment_number};
use crate::log::catalog::{Catalog, Entry, copy_for_reading};
use crate::log::sight::{SIGHTS_MAX, judged, unsettled};
use crate::log::start;
use crate::log::survey::{io_error, is_missing, survey};
use crate::log::window::{Scan, Scanned};
use crate::platform::{Access, Disk};
use crate::types::{Line, Place, Timestamp};

impl State {
    /// As it is now; start lines in frames before `known` are known.
    pub(super) fn beside_writer(disk: &dyn Disk, known: Line) -> Result<Self> {
        judged(disk, |_| false, |sight| Self::look_beside(sight, known))
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

/// Whether it is an error of a file that is not there, or is another by now, or of damage.
pub(super) fn is_replaced(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt || is_missing(error)
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
            Err(error) if is_replaced(&error) => return self.look_again(),
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
        if !self.may_go_on(last)? {
            return Ok(false);
        }
        self.look_again()?;
        Ok(self.last() > last)
    }

    /// Whether something is in use behind a segment, or that segment itself is not there any more.
    fn may_go_on(&self, last: u64) -> Result<bool> {
        let next = segment_name(last.saturating_add(1));
        let failed = |error| io_error(&*self.disk, "read the segment header", &next, error);
        match self.disk.open(&next, Access::Read) {
            Ok(file) => {
                let mut bytes = [0; header::BYTES];
                let _or_it_is_being_made = file.read_at(&mut bytes, 0).map_err(failed)?;
                // What is prepared has no header yet.
                Ok(bytes != [0; header::BYTES])
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let names = self.disk.list().map_err(|error| io_error(&*self.disk, "list the directory", "", error))?;
                Ok(names.iter().filter_map(|name| segment_number(name)).any(|number| number > last))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Takes in what the writer did since: for who asks once, and does not go on reading.
    pub(super) fn catch_up(&self) -> Result<()> {
        for _ in 0..SIGHTS_MAX {
            if !self.look_for_successor()? {
                return Ok(());
            }
        }
        Err(unsettled(&*self.disk))
    }

    /// What a look at several files finds; another look, if they were replaced or dropped meanwhile.
    pub(super) fn settled<T>(&self, look: &dyn Fn() -> Result<T>) -> Result<T> {
        for _ in 0..SIGHTS_MAX {
            let before = self.incarnations();
            let error = match look() {
                Err(error) if is_replaced(&error) => error,
                done => return done,
            };
            self.look_again()?;
            if self.incarnations() == before {
                return Err(error);
            }
        }
        Err(unsettled(&*self.disk))
    }

    fn incarnations(&self) -> Vec<u64> {
        self.state.lock().catalog.entries().iter().map(|entry| entry.header.incarnation).collect()
    }

    /// Whether somebody may be writing: one may have begun since this was opened.
    pub(super) fn is_written(&self) -> Result<bool> {
        let failed = |error| io_error(&*self.disk, "ask for the writer's lock", "", error);
        Ok(self.is_live() || self.disk.lock_holder().map_err(failed)?.is_some())
    }

    /// Looks at the directory anew: segments came, vanished, or are others.
    pub(super) fn look_again(&self) -> Result<()> {
        let seen = self.state.lock().seen;
        let fresh =
            if self.is_written()? { State::beside_writer(&*self.disk, seen)? } else { State::as_left(&*self.disk)? };
        self.state.lock().follow(fresh);
        Ok(())
    }

    /// How often a segment was found to be another, as of now.
    pub(super) fn replaced(&self) -> Result<u64> {
        self.look_again()?;
        Ok(self.state.lock().catalog.replacements())
    }

    fn last(&self) -> u64 {
        self.state.lock().catalog.entries().last().map_or(0, Entry::number)
    }
}
