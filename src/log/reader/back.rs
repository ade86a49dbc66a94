//! Reading back: the records before the position.
//!
//! Guarantees:
//! 1. Records are handed out in batches that end where the one before began; none is left out but what was dropped.
//! 2. Damage and gaps are met where they lie: what lies between them and the position is handed out before.

use std::io;
use std::sync::Arc;

use super::matching::Passed;
use super::plan::Next;
use super::selection::Selection;
use super::{Limit, ReadLine, Reader};
use crate::error::Result;
use crate::format::frame::HEADER_BYTES;
use crate::format::{FRAMES_START, Fault, Kind};
use crate::log::batch::{Batch, FrameAt};
use crate::log::window::{FoundFrame, Scan, Scanned, View};
use crate::types::{Offset, Place, length};

impl Reader {
    /// The records before the position, and moves the position before them; `None` at the start of the log, or of its topics. Their order in
    /// the batch is that of the log: [`Batch::iter_back`] goes from the newest to the oldest.
    ///
    /// # Errors
    /// As for [`Reader::poll`].
    pub fn poll_back(&mut self) -> Result<Option<Batch>> {
        if self.line == ReadLine::Durable && self.next > self.source.end(self.line).offset {
            // It was set to read up to the durable line when it stood behind it.
            self.seek_latest();
        }
        loop {
            let start = self.start();
            self.check_trimmed(self.next)?;
            if self.next == start {
                return Ok(None);
            }
            if self.matching.is_some() && self.pass_back(start) == Passed::Yes {
                continue;
            }
            let Some((view, limit)) = self.segment_below()? else { return Ok(None) };
            if start < self.start() {
                // What was opened may lack what is below it.
                continue;
            }
            if let Some(batch) = self.take_back(&view, limit, start)? {
                return Ok(Some(batch));
            }
        }
    }

    /// The segment that holds what comes before the next offset; the one at the position, if that does. `None`: nothing comes
    /// before.
    fn segment_below(&mut self) -> Result<Option<(Arc<View>, Limit)>> {
        // There is no need to open a segment at the start of which it stands.
        let is_within = self.place.position != FRAMES_START || self.frame_offset < self.next;
        if is_within
            && let Some(view) = self.view()?.filter(|view| view.header.first_offset < self.next)
            && let Some(limit) = self.source.limit(Place::new(view.header.number, 0), &view, self.line)
        {
            return Ok(Some((view, limit)));
        }
        let next = self.next;
        let Some((view, limit)) = self.find(&|catalog| catalog.below(next).cloned())? else { return Ok(None) };
        let view = Arc::new(view);
        self.place = Place::new(view.header.number, FRAMES_START);
        self.frame_offset = view.header.first_offset;
        self.view = Some(Arc::clone(&view));
        Ok(Some((view, limit)))
    }

    /// `None`: there are no records between the position, which moves, and where it was.
    fn take_back(&mut self, view: &View, limit: Limit, start: Offset) -> Result<Option<Batch>> {
        let number = view.header.number;
        let Some((from, until)) = self.stretch_below(view, limit)? else {
            let first = FrameAt { position: FRAMES_START, offset: view.header.first_offset };
            self.stand_before(number, first, start);
            return Ok(None);
        };
        let failed = |error| self.read_error(number, error);
        let mut scan = Scan::new(view.store.clone(), view.frames, from.position, from.offset, limit.position);
        let wanted = start..self.next;
        let (mut selection, mut damage) = (Selection::new(self.filter()), None);
        // What lies between it and the position is whole.
        let (mut end, mut first) = (scan.position, from);
        while scan.offset < self.next && scan.position < until {
            let at = Place::new(number, scan.position);
            let fault = match next_of(&mut scan, &selection).map_err(failed)? {
                Scanned::Frame(frame) if frame.offset >= self.next => break,
                Scanned::Frame(frame) if frame.header.kind == Kind::Gap && lost_to(&scan, &frame) > frame.offset => {
                    let error = self.gap(at, frame.offset, lost_to(&scan, &frame));
                    if scan.offset >= self.next {
                        return Err(error);
                    }
                    selection.clear();
                    (first, damage) = (stands(&scan), Some(error));
                    continue;
                }
                Scanned::Frame(frame) => {
                    selection.add(&scan.frame(&frame), &wanted);
                    end = scan.position;
                    continue;
                }
                Scanned::Zero | Scanned::End => Fault::Missing,
                Scanned::Bad { fault, .. } => fault,
            };
            // What lies between the damage and the position can be read; the next call meets the damage.
            let error = self.damage(at, scan.offset, fault);
            if !scan.resync().map_err(failed)? || scan.offset >= self.next {
                return Err(error);
            }
            selection.clear();
            (first, damage) = (stands(&scan), Some(error));
        }
        let Some(found) = selection.found else {
            if let Some(damage) = damage.filter(|_| first.offset >= self.next) {
                return Err(damage);
            }
            // Damage is met by the next look, which begins behind it.
            self.stand_before(number, first, start);
            return Ok(None);
        };
        let position = found.frame.position;
        let chunk = view.store.load(position, end.saturating_sub(position), end).map_err(failed)?;
        let batch = selection.batch(chunk, view, self.next);
        self.place = Place::new(number, position);
        (self.frame_offset, self.next) = (found.frame.offset, found.first);
        Ok(batch)
    }

    /// Goes before a frame behind which nothing is wanted up to where it stood.
    pub(super) fn stand_before(&mut self, number: u64, first: FrameAt, start: Offset) {
        self.place = Place::new(number, first.position);
        (self.frame_offset, self.next) = (first.offset, first.offset.max(start));
    }

    /// Where in a segment to look for what comes before the next offset: from which frame on, and before where frames begin
    /// that are looked at. `None`: nothing is there.
    fn stretch_below(&mut self, view: &View, limit: Limit) -> Result<Option<(FrameAt, u64)>> {
        if self.matching.is_some() {
            let offset_at = |position| {
                let chunk = view.store.load(position, length(HEADER_BYTES), limit.position).ok()?;
                view.offset_at(&chunk, position, limit.position)
            };
            match self.behind(&view.header, limit.position, &offset_at) {
                Next::Unknown => {}
                Next::Nothing(_) => return Ok(None),
                Next::Stretch((stretch, offset)) => {
                    return Ok(Some((FrameAt { position: stretch.start, offset }, stretch.end)));
                }
            }
        }
        let delta = self.next.since(view.header.first_offset);
        let known = view.locate(limit.position, |entry| u64::from(entry.offset_delta) < delta);
        let known = known.map_err(|error| self.read_error(view.header.number, error))?;
        let known = known.unwrap_or_else(View::start_entry);
        let offset = view.header.first_offset.after(known.offset_delta.into());
        Ok(Some((FrameAt { position: known.position, offset }, u64::MAX)))
    }
}

fn stands(scan: &Scan) -> FrameAt {
    FrameAt { position: scan.position, offset: scan.offset }
}

/// The offset behind a gap. What was dropped behind the last frame of a segment is no part of it.
fn lost_to(scan: &Scan, gap: &FoundFrame) -> Offset {
    scan.frame(gap).next_offset()
}

/// The next frame, the body of which is checked only if it may be wanted.
fn next_of(scan: &mut Scan, selection: &Selection) -> io::Result<Scanned> {
    let before = (scan.position, scan.offset);
    let found = if selection.takes_all() { return scan.next() } else { scan.skim()? };
    if let Scanned::Frame(frame) = &found
        && selection.admits(&scan.frame(frame))
        && let Err(fault) = scan.check(frame)
    {
        (scan.position, scan.offset) = before;
        return Ok(Scanned::Bad { fault, next: None });
    }
    Ok(found)
}
