//! Records to hand out, as they are found frame by frame.
//!
//! Guarantees:
//! 1. What goes into a batch was found in frames that were checked in full, and is counted by record.

use std::ops::Range;
use std::sync::Arc;

use crate::log::batch::{Batch, FrameAt, Picked};
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
            picked: None,
        }
    }
}

/// Records to hand out, and what chooses them.
#[derive(Debug)]
pub(super) struct Selection {
    filter: Option<Arc<Filter>>,
    pub(super) found: Option<Found>,
    frames: Vec<FrameAt>,
}

impl Selection {
    pub(super) fn new(filter: Option<Arc<Filter>>) -> Self {
        Self { filter, found: None, frames: Vec::new() }
    }

    /// Adds those of a frame that are in `range`.
    pub(super) fn add(&mut self, frame: &Frame<'_>, range: &Range<Offset>) {
        let Some(filter) = &self.filter else { return Found::add(&mut self.found, frame, range) };
        if let Some((first, count)) = filter.records_in(frame, range) {
            Found::put(&mut self.found, frame, first, count);
            self.frames.push(FrameAt { position: frame.position, offset: frame.offset });
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
        self.frames.clear();
    }

    /// `None`: there are none.
    pub(super) fn batch(self, chunk: Chunk, view: &View, end: Offset) -> Option<Batch> {
        let found = self.found?;
        let frames = self.frames;
        let picked = self.filter.map(|filter| Arc::new(Picked { filter, frames }));
        Some(Batch { picked, ..found.batch(chunk, view, end) })
    }
}
