//! Reading back: the records before the position.
//!
//! Guarantees:
//! 1. Records are handed out in batches that end where the one before began; none is left out but what was dropped.
//! 2. Damage and gaps are met where they lie: what lies between them and the position is handed out before.

use std::sync::Arc;

use super::{Found, Limit, ReadLine, Reader};
use crate::error::Result;
use crate::format::{FRAMES_START, Fault, Kind};
use crate::log::batch::Batch;
use crate::log::window::{Scan, Scanned, View};
use crate::types::{Offset, Place};

impl Reader {
    /// The records before the position, and moves the position before them; `None` at the start of the log. Their order in
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
            let start = self.source.start();
            self.check_trimmed(self.next)?;
            if self.next == start {
                return Ok(None);
            }
            let Some((view, limit)) = self.segment_below()? else { return Ok(None) };
            if let Some(batch) = self.take_back(&view, limit, start)? {
                return Ok(Some(batch));
            }
        }
    }

    /// The segment that holds what comes before the next offset; the one at the position, if that does. `None`: nothing comes
    /// before.
    fn segment_below(&mut self) -> Result<Option<(Arc<View>, Limit)>> {
        if let Some(view) = self.view()?.filter(|view| view.header.first_offset < self.next)
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
        let failed = |error| self.read_error(number, error);
        let delta = self.next.since(view.header.first_offset);
        let known = view.locate(limit.position, |entry| u64::from(entry.offset_delta) < delta).map_err(failed)?;
        let known = known.unwrap_or_else(View::start_entry);
        let first = view.header.first_offset.after(known.offset_delta.into());
        let mut scan = Scan::new(view.store.clone(), view.frames, known.position, first, limit.position);
        let wanted = start..self.next;
        let (mut found, mut damage): (Option<Found>, _) = (None, None);
        let mut end = scan.position;
        while scan.offset < self.next {
            let at = Place::new(number, scan.position);
            let fault = match scan.next().map_err(failed)? {
                Scanned::Frame(frame) if frame.offset >= self.next => break,
                Scanned::Frame(frame) if frame.header.kind == Kind::Gap && scan.offset > frame.offset => {
                    let error = self.gap(at, frame.offset, scan.offset);
                    if scan.offset >= self.next {
                        return Err(error);
                    }
                    (found, damage) = (None, Some(error));
                    continue;
                }
                Scanned::Frame(frame) => {
                    Found::add(&mut found, &scan.frame(&frame), &wanted);
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
            (found, damage) = (None, Some(error));
        }
        let Some(found) = found else {
            if let Some(damage) = damage {
                return Err(damage);
            }
            self.next = first.max(start);
            return Ok(None);
        };
        let chunk = view.store.load(found.position, end.saturating_sub(found.position), end).map_err(failed)?;
        let batch = found.batch(chunk, view, self.next);
        self.place = Place::new(number, found.position);
        (self.frame_offset, self.next) = (found.offset, found.first);
        Ok(Some(batch))
    }
}
