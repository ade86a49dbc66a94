//! Lookups in one segment: by its index file, by its table, or frame by frame.

use super::{Found, Miss, Question};
use crate::error::Result;
use crate::format::{FRAMES_START, Fault, Kind, frame, segment_name};
use crate::log::batch::{Batch, FrameAt};
use crate::log::catalog::Entry;
use crate::log::index::file::IndexFile;
use crate::log::index::keys::{Candidate, Reached, Stopped, Table};
use crate::log::reader::{damage, gap};
use crate::log::survey::io_error;
use crate::log::window::{Chunk, Scan, Scanned, View};
use crate::segment::walk::{Frame, Frames, Step};
use crate::sync::Mutex;
use crate::types::{Offset, Place, length};

/// Most frames are no longer.
const FRAME_BYTES: u64 = 4096;

impl Question<'_> {
    /// The newest record in a segment, among the frames up to `limit`.
    pub(super) fn newest_in(&self, entry: &Entry, limit: u64) -> Result<Option<Found>> {
        let (index, disk) = (self.source.index(), self.source.disk());
        let Some(file) = index.file(disk, entry) else {
            return self.newest_by_table(&*self.view(entry)?, limit);
        };
        match self.newest_by_file(&file, entry, limit) {
            Ok(found) => return Ok(found),
            Err(Miss::Failed(error)) => return Err(error),
            Err(Miss::Doubt) => {}
        }
        // The segment decides: what is damage there is damage, else it is the index that is wrong.
        let found = self.newest_by_scan(&*self.view(entry)?, start_of(entry), limit)?;
        index.drop_file(disk, entry);
        Ok(found)
    }

    fn newest_by_file(&self, file: &IndexFile, entry: &Entry, limit: u64) -> std::result::Result<Option<Found>, Miss> {
        let disk = self.source.disk();
        let last_gap = file.last_gap().filter(|position| *position < limit);
        let range =
            file.ask(disk, |tables| if tables.may_hold(self.hash)? { tables.entries_of(self.hash) } else { Ok(0..0) })?;
        if range.is_empty() && last_gap.is_none() {
            return Ok(None);
        }
        let view = self.view(entry)?;
        self.touch();
        for number in range.rev() {
            let key = file.ask(disk, |tables| tables.entry(number))?;
            if last_gap.is_some_and(|gap| gap > key.position()) {
                break;
            }
            let candidate = Candidate { position: key.position(), record: key.record };
            if candidate.position < limit
                && let Some(found) = self.at(&view, candidate, limit)?
            {
                return Ok(Some(found));
            }
        }
        match last_gap {
            Some(position) => Err(self.lost_at(&view, position, limit)?),
            None => Ok(None),
        }
    }

    fn newest_by_table(&self, view: &View, limit: u64) -> Result<Option<Found>> {
        let table = self.source.index().table(view);
        let known = table.lock().reached();
        let reached = self.extend(&table, view, limit)?;
        if known.position < limit || table.lock().newest_first(self.hash).next().is_some() {
            self.touch();
        }
        // What the table has no room for is newer than what it has.
        if reached.position < limit
            && let Some(found) = self.newest_by_scan(view, reached, limit)?
        {
            return Ok(Some(found));
        }
        let table = table.lock();
        let last_gap = table.last_gap().filter(|position| *position < limit);
        for candidate in table.newest_first(self.hash).filter(|candidate| candidate.position < limit) {
            if last_gap.is_some_and(|gap| gap > candidate.position) {
                break;
            }
            if let Some(found) = self.at(view, candidate, limit).map_err(|miss| self.no_doubt(miss, view, candidate))? {
                return Ok(Some(found));
            }
        }
        match last_gap {
            Some(position) => {
                let candidate = Candidate { position, record: 0 };
                let lost = self.lost_at(view, position, limit).map_err(|miss| self.no_doubt(miss, view, candidate))?;
                Err(self.no_doubt(lost, view, candidate))
            }
            None => Ok(None),
        }
    }

    /// Takes into a table what comes up to `limit`, and says how far it goes.
    pub(super) fn extend(&self, table: &Mutex<Table>, view: &View, limit: u64) -> Result<Reached> {
        let mut table = table.lock();
        let bytes = table.extend(view, limit).map_err(|stopped| match stopped {
            Stopped::Damage { at, fault } => self.damage(view, at.position, at.offset, fault),
            Stopped::Io(error) => self.read_error(view, error),
        })?;
        self.scanned(bytes);
        Ok(table.reached())
    }

    /// Goes over all frames from a place on.
    fn newest_by_scan(&self, view: &View, from: Reached, limit: u64) -> Result<Option<Found>> {
        let mut scan = Scan::new(view.store.clone(), view.frames, from.position, from.offset, limit);
        let (mut newest, mut lost) = (None, None);
        while let Some(frame) = self.next_frame(view, &mut scan)? {
            if let Some(error) = self.lost(view, &frame) {
                (newest, lost) = (None, Some(error));
            }
            let matches = frame.records().zip(0_u16..=u16::MAX).filter(|(record, _)| self.is_asked_for(record));
            if let Some((_, record)) = matches.last() {
                newest = Some(Candidate { position: frame.position, record });
            }
        }
        self.scanned(limit.saturating_sub(from.position));
        match (newest, lost) {
            (Some(candidate), _) => {
                self.at(view, candidate, limit).map_err(|miss| self.no_doubt(miss, view, candidate))
            }
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// The next frame, all of which are known to be whole; `None` at the end.
    pub(super) fn next_frame<'s>(&self, view: &View, scan: &'s mut Scan) -> Result<Option<Frame<'s>>> {
        let (position, offset) = (scan.position, scan.offset);
        match scan.next().map_err(|error| self.read_error(view, error))? {
            Scanned::Frame(found) => Ok(Some(scan.frame(&found))),
            Scanned::End => Ok(None),
            Scanned::Zero => Err(self.damage(view, position, offset, Fault::Missing)),
            Scanned::Bad { fault, .. } => Err(self.damage(view, position, offset, fault)),
        }
    }

    /// What there is to say of a frame in place of which records were lost.
    pub(super) fn lost(&self, view: &View, frame: &Frame<'_>) -> Option<crate::error::Error> {
        let lost = frame.header.kind == Kind::Gap && frame.next_offset() > frame.offset;
        let place = Place::new(view.header.number, frame.position);
        lost.then(|| gap(self.source.disk(), place, frame.offset, frame.next_offset()))
    }

    fn lost_at(&self, view: &View, position: u64, limit: u64) -> std::result::Result<Miss, Miss> {
        let (chunk, frames, offset) = self.load(view, position, limit)?;
        match frames.step(chunk.bytes(), position, offset) {
            Step::Frame(frame) => Ok(self.lost(view, &frame).map_or(Miss::Doubt, Miss::Failed)),
            _ => Err(Miss::Doubt),
        }
    }

    /// The record of a candidate, if it is one that is asked for.
    pub(super) fn at(&self, view: &View, candidate: Candidate, limit: u64) -> std::result::Result<Option<Found>, Miss> {
        let position = candidate.position;
        let (chunk, frames, offset) = self.load(view, position, limit)?;
        let Step::Frame(frame) = frames.step(chunk.bytes(), position, offset) else { return Err(Miss::Doubt) };
        let Some(record) = frame.records().nth(candidate.record.into()) else { return Err(Miss::Doubt) };
        if !self.is_asked_for(&record) {
            return Ok(None);
        }
        let offsets = record.offset()..record.offset().after(1);
        let (segment, start) = (view.header.number, FrameAt { position, offset });
        let batch = Batch { chunk, frames, segment, start, offsets, records: 1, runs: None };
        Ok(Some(Found { batch }))
    }

    /// The bytes of the frame at a position, and its offset.
    fn load(&self, view: &View, position: u64, limit: u64) -> std::result::Result<(Chunk, Frames, Offset), Miss> {
        let frames = view.frames;
        let failed = |error| Miss::Failed(self.read_error(view, error));
        let mut chunk = view.store.load(position, FRAME_BYTES, limit).map_err(failed)?;
        let header = frame::header(chunk.bytes(), frames.seed, position, limit.saturating_sub(position));
        let header = header.ok_or(Miss::Doubt)?;
        if u64::from(header.length) > length(chunk.bytes().len()) {
            chunk = view.store.load(position, header.length.into(), limit).map_err(failed)?;
        }
        Ok((chunk, frames, frames.first_offset.after(header.offset_delta.into())))
    }

    pub(super) fn is_asked_for(&self, record: &crate::types::RecordRef<'_>) -> bool {
        record.topic() == self.topic && record.key() == Some(self.key)
    }

    /// What a table or a look at the segment led to was whole a moment ago.
    pub(super) fn no_doubt(&self, miss: Miss, view: &View, candidate: Candidate) -> crate::error::Error {
        match miss {
            Miss::Failed(error) => error,
            Miss::Doubt => self.damage(view, candidate.position, view.header.first_offset, Fault::Missing),
        }
    }

    fn damage(&self, view: &View, position: u64, offset: Offset, fault: Fault) -> crate::error::Error {
        damage(self.source.disk(), Place::new(view.header.number, position), offset, fault)
    }

    fn read_error(&self, view: &View, error: std::io::Error) -> crate::error::Error {
        io_error(self.source.disk(), "read the segment", &segment_name(view.header.number), error)
    }

    /// Counts a segment in which records are read.
    pub(super) fn touch(&self) {
        self.source.index().count(|counts| counts.segments = counts.segments.saturating_add(1));
    }

    pub(super) fn scanned(&self, bytes: u64) {
        self.source.index().count(|counts| counts.scanned_bytes = counts.scanned_bytes.saturating_add(bytes));
    }
}

/// Where the frames of a segment begin.
pub(super) fn start_of(entry: &Entry) -> Reached {
    Reached { position: FRAMES_START, offset: entry.header.first_offset }
}
