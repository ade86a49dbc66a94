//! Records to hand out, as they are found frame by frame.
//!
//! Guarantees:
//! 1. What goes into a batch was found in frames that were checked in full, and is counted by record.

use std::ops::Range;
use std::sync::Arc;

use crate::log::batch::{Batch, FrameAt, Run};
use crate::log::filter::Filter;
use crate::log::window::{Chunk, View};
use crate::segment::walk::Frame;
use crate::types::Offset;

/// Where records to hand out are, and how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// The first frame that has some.
    pub(super) frame: FrameAt,
    /// Offset of the first of them.
    pub(super) first: Offset,
    count: u64,
}

impl Found {
    /// Adds those of a frame that are in `range`.
    #[inline]
    pub(super) fn add(found: &mut Option<Self>, frame: &Frame<'_>, range: &Range<Offset>) {
        if let Some((first, count)) = frame.records_in(range) {
            Self::put(found, frame, first, count);
        }
    }

    #[inline]
    fn put(found: &mut Option<Self>, frame: &Frame<'_>, first: Offset, count: u64) {
        if let Some(found) = found {
            found.count = found.count.saturating_add(count);
            return;
        }
        let frame = FrameAt { position: frame.position, offset: frame.offset };
        *found = Some(Self { frame, first, count });
    }

    pub(super) fn batch(&self, chunk: Chunk, view: &View, end: Offset) -> Batch {
        Batch {
            chunk,
            frames: view.frames,
            segment: view.header.number,
            start: self.frame,
            offsets: self.first..end,
            records: self.count,
            runs: None,
        }
    }
}

/// Records to hand out, and what chooses them.
#[derive(Debug)]
pub(super) struct Selection {
    filter: Option<Arc<Filter>>,
    pub(super) found: Option<Found>,
    runs: Vec<Run>,
}

impl Selection {
    pub(super) fn new(filter: Option<Arc<Filter>>) -> Self {
        Self { filter, found: None, runs: Vec::new() }
    }

    /// Adds those of a frame that are in `range`.
    pub(super) fn add(&mut self, frame: &Frame<'_>, range: &Range<Offset>) {
        let Some(filter) = &self.filter else { return Found::add(&mut self.found, frame, range) };
        let at = FrameAt { position: frame.position, offset: frame.offset };
        if filter.admits_all(&frame.header) {
            let Some((first, count)) = frame.records_in(range) else { return };
            Found::put(&mut self.found, frame, first, count);
            return self.runs.push(Run { frame: at, offsets: first..frame.next_offset().min(range.end) });
        }
        let mut goes_on = false;
        for record in frame.records() {
            let offset = record.offset();
            let is_wanted = range.contains(&offset) && filter.matches(&record);
            if is_wanted {
                Found::put(&mut self.found, frame, offset, 1);
                match self.runs.last_mut().filter(|_| goes_on) {
                    Some(run) => run.offsets.end = offset.after(1),
                    None => self.runs.push(Run { frame: at, offsets: offset..offset.after(1) }),
                }
            }
            goes_on = is_wanted;
        }
    }

    pub(super) fn takes_all(&self) -> bool {
        self.filter.is_none()
    }

    /// Whether a frame may have records to add, by its header.
    pub(super) fn admits(&self, frame: &Frame<'_>) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.admits(&frame.header))
    }

    pub(super) fn clear(&mut self) {
        self.found = None;
        self.runs.clear();
    }

    /// `None`: there are none.
    pub(super) fn batch(self, chunk: Chunk, view: &View, end: Offset) -> Option<Batch> {
        let found = self.found?;
        let runs = self.filter.map(|_| self.runs.into());
        Some(Batch { runs, ..found.batch(chunk, view, end) })
    }
}
