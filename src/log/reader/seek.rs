//! Where a reader goes: to an offset, to a time, to either end.
//!
//! Guarantees:
//! 1. A reader that could not go stands where it stood.
//! 2. An offset that was dropped is a place to stand too: before the next record that is there.
//! 3. A place is used only in the file that it is of; one in a file that was rewritten since is found again by its offset.

use std::sync::Arc;

use super::{LOOKS_MAX, Limit, Reader};
use crate::error::{Error, ErrorKind, Result};
use crate::format::FRAMES_START;
use crate::log::catalog::{Catalog, Entry};
use crate::log::start::is_trimmed;
use crate::log::window::{Scan, Scanned, View};
use crate::types::{Epoch, Line, Offset, Place, Timestamp};

impl Reader {
    /// Goes to the first record of the log, or of the [topics](Reader::topics) that it reads.
    pub fn seek_earliest(&mut self) {
        let start = self.start();
        match self.seek(start) {
            Ok(()) => {}
            // It moved meanwhile.
            Err(error) if is_trimmed(&error) => self.seek_earliest(),
            // A failure is found again, and reported, by the poll that follows: the place is then unknown.
            Err(_) => {
                self.view = None;
                (self.place, self.frame_offset, self.next) = (Place::default(), start, start);
            }
        }
        self.begin = Some(self.next);
    }

    /// Goes behind the last record that may be read now.
    pub fn seek_latest(&mut self) {
        self.go_to(self.source.end(self.line));
    }

    fn go_to(&mut self, line: Line) {
        (self.view, self.begin) = (None, None);
        (self.place, self.frame_offset, self.next) = (line.place, line.offset, line.offset);
    }

    /// Goes to an offset as it was meant in an epoch: for whoever keeps offsets outside of the log, beside
    /// [`Log::epoch`](crate::Log::epoch).
    ///
    /// # Errors
    /// [`ErrorKind::Diverged`] if the log went on from an earlier offset since: a crash took records that had been visible. As
    /// for [`Reader::seek`] otherwise. The reader stands where it stood.
    pub fn seek_in(&mut self, epoch: Epoch, offset: Offset) -> Result<()> {
        self.source.epochs().check(epoch, offset)?;
        self.seek(offset)
    }

    /// Goes to the record with this offset, or behind the last record. If the record was dropped, it is the next one that is
    /// there. An offset that lies in a gap is a place to stand too: the poll that follows says that its record is lost.
    ///
    /// # Errors
    /// [`ErrorKind::Trimmed`] if the log, or the [topics](Reader::topics) that are read, begin behind it; [`ErrorKind::Invalid`] if it does not reach to it;
    /// [`ErrorKind::Corrupt`] if damage stands in the way. The reader stands where it stood.
    pub fn seek(&mut self, offset: Offset) -> Result<()> {
        self.check_trimmed(offset)?;
        let (start, end) = (self.start(), self.source.end(self.line));
        if offset > end.offset {
            // Who looks at a log that an open refuses is told why: the start may lie behind all that can be reached.
            self.source.entry(&|_| None)?;
            let text = format!("seek to offset {offset}, the log holds {start} to {}", end.offset);
            let error = Error::new(ErrorKind::Invalid, text).at_offset(offset);
            return Err(error.next_step("seek to an offset that the log has reached"));
        }
        if offset == end.offset {
            // Not to the end as it is now: records may have come since.
            self.go_to(end);
            return Ok(());
        }
        let found = self.find(&|catalog| catalog.holding(offset).cloned())?;
        // If it was dropped meanwhile, that says more than that it is not there.
        self.check_trimmed(offset)?;
        let (view, limit) = found.ok_or_else(|| self.gone(offset))?;
        self.begin = None;
        let number = view.header.number;
        let delta = offset.since(view.header.first_offset);
        if delta == 0 {
            // Whatever stands there, whoever reads meets it, and can step over.
            self.view = Some(Arc::new(view));
            (self.place, self.frame_offset, self.next) = (Place::new(number, FRAMES_START), offset, offset);
            return Ok(());
        }
        let found = view
            .locate(limit.position, |entry| u64::from(entry.offset_delta) <= delta)
            .map_err(|error| self.read_error(number, error))?;
        let known = found.unwrap_or_else(View::start_entry);
        let first = view.header.first_offset.after(known.offset_delta.into());
        let mut scan = Scan::new(view.store.clone(), view.frames, known.position, first, limit.position);
        loop {
            let at = Place::new(number, scan.position);
            let frame_offset = match scan.skim().map_err(|error| self.read_error(number, error))? {
                Scanned::Frame(frame) if scan.offset > offset => frame.offset,
                // It was dropped, with all that followed in this segment.
                Scanned::End if scan.offset > offset => scan.offset,
                Scanned::Frame(_) => continue,
                stopped => return Err(self.astray(number, &mut scan, &stopped, offset)),
            };
            self.view = Some(Arc::new(view));
            (self.place, self.frame_offset, self.next) = (at, frame_offset, offset);
            return Ok(());
        }
    }

    /// Goes to the first record appended at or after `time`, or behind the last record. Append times may step back; what
    /// counts is the latest time up to each record. Of records that are lost in a gap, or were dropped, no time is known: they
    /// are passed over.
    ///
    /// # Errors
    /// As for [`Reader::seek`].
    pub fn seek_time(&mut self, time: impl Into<Timestamp>) -> Result<()> {
        let time = time.into();
        let start = self.start();
        let find = |catalog: &Catalog| {
            let found = [catalog.at_time(time), catalog.holding(start)];
            found.into_iter().flatten().max_by_key(|entry| entry.number()).cloned()
        };
        let Some((view, limit)) = self.find(&find)? else {
            self.seek_latest();
            return Ok(());
        };
        if start < self.start() {
            // It moved meanwhile, so that what was opened may lack what is below it.
            return self.seek_time(time);
        }
        let number = view.header.number;
        let failed = |error| self.read_error(number, error);
        let found = view.locate(limit.position, |entry| entry.time_max < time).map_err(failed)?;
        let known = found.unwrap_or_else(View::start_entry);
        let first = view.header.first_offset.after(known.offset_delta.into());
        let mut time_max = view.header.time_max.max(known.time_max);
        let mut scan = Scan::new(view.store.clone(), view.frames, known.position, first, limit.position);
        loop {
            let at = Place::new(number, scan.position);
            let offset = match scan.skim().map_err(failed)? {
                Scanned::Frame(frame) => {
                    time_max = time_max.max(frame.time_of_records());
                    if frame.header.record_count == 0 || time_max < time || scan.offset <= start {
                        continue;
                    }
                    frame.offset
                }
                stopped @ Scanned::Bad { .. } if limit.sure => {
                    let offset = scan.offset;
                    return Err(self.astray(number, &mut scan, &stopped, offset));
                }
                Scanned::Bad { .. } | Scanned::Zero | Scanned::End => scan.offset,
            };
            self.view = Some(Arc::new(view));
            (self.place, self.frame_offset, self.next, self.begin) = (at, offset, offset.max(start), None);
            return Ok(());
        }
    }

    /// What stands in the way of a search that stopped.
    fn astray(&self, number: u64, scan: &mut Scan, stopped: &Scanned, offset: Offset) -> Error {
        match scan.blame(stopped) {
            Ok(fault) => self.damage(Place::new(number, scan.position), offset, fault),
            Err(error) => self.read_error(number, error),
        }
    }

    /// The segment that the catalog names, and up to where it may be read. Its file may be replaced at any time: then the
    /// catalog is asked again.
    pub(super) fn find(&self, find: &dyn Fn(&Catalog) -> Option<Entry>) -> Result<Option<(View, Limit)>> {
        for _ in 0..LOOKS_MAX {
            let Some((entry, view)) = self.open(find)? else { return Ok(None) };
            self.source.index().prime(self.source.disk(), &entry, &view);
            if let Some(limit) = self.source.limit(Place::new(view.header.number, 0), &view, self.line) {
                return Ok(Some((view, limit)));
            }
        }
        Err(self.gone(self.next))
    }

    fn open(&self, find: &dyn Fn(&Catalog) -> Option<Entry>) -> Result<Option<(Entry, View)>> {
        let Some(mut entry) = self.source.entry(find)? else { return Ok(None) };
        for _ in 0..LOOKS_MAX {
            let error = match self.source.view(&entry, self.mode) {
                Ok(view) => return Ok(Some((entry, view))),
                Err(error) => error,
            };
            if self.source.look_again().is_err() {
                return Err(error);
            }
            match self.source.entry(find)? {
                Some(now) if now.header.incarnation == entry.header.incarnation => return Err(error),
                Some(now) => entry = now,
                None => return Ok(None),
            }
        }
        Err(self.gone(self.next))
    }

    /// The segment at the position; opened if need be. `None`: there is no segment yet.
    pub(super) fn view(&mut self) -> Result<Option<Arc<View>>> {
        if self.place.segment == 0 {
            self.seek(self.next)?;
        }
        if self.view.is_none() {
            let mut view = self.open_at_place()?;
            let is_start = self.place.position <= FRAMES_START;
            if view.as_ref().is_none_or(|view| view.header.rewritten.is_some() && !is_start) {
                // The place may be of a file that was rewritten since.
                self.seek(self.next)?;
                if self.view.is_some() {
                    return Ok(self.view.clone());
                }
                view = self.open_at_place()?;
            }
            // What was opened may lack what was dropped meanwhile.
            self.check_trimmed(self.next)?;
            self.view = view.map(Arc::new);
        }
        Ok(self.view.clone())
    }

    fn open_at_place(&self) -> Result<Option<View>> {
        let number = self.place.segment;
        Ok(self.open(&|catalog| catalog.get(number).cloned())?.map(|(_, view)| view))
    }
}
