//! What is known of each segment while it is judged.
//!
//! Guarantees:
//! 1. Marks and stretches of all segments take no more memory than was allowed, and room for all that could be marked is set
//!    aside while a segment is gone over for the first time: no later pass runs out of it.
//! 2. A part is counted once, however often it is marked.
//! 3. What is said to be kept of a segment is never less than what will be.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::ops::Range;

use super::judge::Judged;
use super::marks::Marks;
use super::stretches::Stretches;
use crate::error::Error;
use crate::format::frame::Layout;
use crate::format::record::DELTA_BYTES;
use crate::format::{FRAME_ALIGNMENT, GAP_FRAME_BYTES, Kind, record_head, sparse_body, state_head};
use crate::segment::walk::Frame;
use crate::types::{Offset, RecordRef, length};

/// What of a part is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    Record,
    State,
}

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) parts: u64,
    records: u64,
    bytes: u64,
    /// ... if each frame of which something can go loses something, and is sparse then.
    bytes_thinned: u64,
    gap_bytes: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, frame: &Frame<'_>, records: u16) {
        let bytes = match frame.header.kind {
            Kind::Data => frame.header.stride(),
            Kind::Gap => {
                self.gap_bytes = self.gap_bytes.saturating_add(GAP_FRAME_BYTES);
                GAP_FRAME_BYTES
            }
            // A rewritten segment has no others.
            _ => return,
        };
        let parts = u64::from(records).saturating_add(frame.header.state_count.into());
        self.parts = self.parts.saturating_add(parts);
        self.records = self.records.saturating_add(records.into());
        self.bytes = self.bytes.saturating_add(bytes);
        let grows = if parts > 1 { thinned_grows(frame, records) } else { 0 };
        self.bytes_thinned = self.bytes_thinned.saturating_add(bytes).saturating_add(grows);
    }
}

/// How much longer a frame gets at most when it becomes sparse, without what goes.
fn thinned_grows(frame: &Frame<'_>, records: u16) -> u64 {
    let said = if frame.header.layout == Layout::Dense && records > 0 {
        length(sparse_body::BYTES).saturating_add(length(DELTA_BYTES).saturating_mul(records.into()))
    } else {
        0
    };
    said.saturating_add(FRAME_ALIGNMENT.saturating_sub(1))
}

/// What goes with a part of a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights {
    /// The frame, if it has no other part.
    alone: Option<u32>,
    /// What each record has beside its own.
    each: u64,
}

impl Weights {
    pub(crate) fn of(frame: &Frame<'_>, records: u16) -> Self {
        let parts = u32::from(records).saturating_add(frame.header.state_count.into());
        let topic_bytes = if frame.header.topic.is_none() { 4 } else { 0 };
        Self {
            alone: (parts == 1).then(|| narrow(frame.header.stride())),
            each: length(record_head::BYTES).saturating_add(length(DELTA_BYTES)).saturating_add(topic_bytes),
        }
    }

    pub(crate) fn record(&self, record: &RecordRef<'_>) -> u32 {
        self.alone.unwrap_or_else(|| {
            let with_length = |bytes: usize| length(bytes).saturating_add(2);
            let headers = record.headers.encoded.len();
            let sum = self.each.saturating_add(length(record.payload.len()));
            let sum = sum.saturating_add(record.key.map_or(0, |key| with_length(key.len())));
            let sum = sum.saturating_add(if headers > 0 { with_length(headers) } else { 0 });
            narrow(sum.saturating_add(if record.event_time.is_some() { 8 } else { 0 }))
        })
    }

    pub(crate) fn state(&self, entry: &crate::format::state::StateEntry<'_>) -> u32 {
        self.alone.unwrap_or_else(|| {
            let value = entry.value.map_or(0, <[u8]>::len);
            narrow(length(state_head::BYTES).saturating_add(length(entry.key.len())).saturating_add(length(value)))
        })
    }
}

fn narrow(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Of the room one part in so many is for stretches.
const STRETCHES_PART: usize = 4;

#[derive(Debug, Default)]
struct Page {
    /// Whether it may be rewritten, as far as is known.
    open: bool,
    /// As the first pass found it.
    counts: Option<Counts>,
    marks: Marks,
    stretches: Option<Stretches>,
    /// Room set aside for its marks.
    room: usize,
    records_dropped: u64,
    bytes_dropped: u64,
    damage: Option<Error>,
}

/// See the top of this file.
#[derive(Debug)]
pub(crate) struct Book {
    pages: Vec<Page>,
    /// For marks.
    room: usize,
    /// For stretches.
    stretches_room: usize,
    stretch_parts: u64,
    /// The newest segment that found no room; it and all older ones are closed.
    pub(crate) crowded_out: Option<usize>,
}

impl Book {
    /// A page for each segment, oldest first; `open` if it may be rewritten.
    pub(crate) fn new(open: impl Iterator<Item = bool>, room: usize, stretch_parts: u64) -> Self {
        let pages = open.map(|open| Page { open, ..Page::default() }).collect();
        let stretches_room = room / STRETCHES_PART;
        let room = room.saturating_sub(stretches_room);
        Self { pages, room, stretches_room, stretch_parts, crowded_out: None }
    }

    pub(crate) fn is_open(&self, at: usize) -> bool {
        self.pages.get(at).is_some_and(|page| page.open)
    }

    pub(crate) fn is_damaged(&self, at: usize) -> bool {
        self.pages.get(at).is_some_and(|page| page.damage.is_some())
    }

    pub(crate) fn has_damage(&self) -> bool {
        self.pages.iter().any(|page| page.damage.is_some())
    }

    pub(crate) fn has_open(&self) -> bool {
        self.pages.iter().any(|page| page.open)
    }

    /// Room that nothing can need any more, after the first pass.
    pub(crate) fn room(&self) -> usize {
        self.room.saturating_add(self.stretches_room)
    }

    /// Meets a frame of the segment that has these parts. Sets room aside for their marks, or closes the segment and all older
    /// ones.
    pub(crate) fn meet(&mut self, at: usize, frame: &Frame<'_>, parts: Range<u64>) {
        let Some(page) = self.pages.get_mut(at).filter(|page| page.open && page.counts.is_none()) else { return };
        let more = Marks::bytes_for(parts.end).saturating_sub(page.room);
        if let Some(left) = self.room.checked_sub(more) {
            self.room = left;
            page.room = page.room.saturating_add(more);
            let stretches = page.stretches.get_or_insert_with(|| Stretches::new(self.stretch_parts));
            stretches.note(frame, parts.start, &mut self.stretches_room);
        } else {
            self.crowded_out = Some(at);
            (0..=at).for_each(|at| self.close(at));
        }
    }

    /// The segment is not to be rewritten.
    pub(crate) fn close(&mut self, at: usize) {
        let Some(page) = self.pages.get_mut(at).filter(|page| page.open) else { return };
        self.room = self.room.saturating_add(page.room);
        let stretches_bytes = page.stretches.as_ref().map_or(0, Stretches::bytes);
        self.stretches_room = self.stretches_room.saturating_add(stretches_bytes);
        *page = Page { counts: page.counts, damage: page.damage.take(), ..Page::default() };
    }

    /// A frame of the segment does not check.
    pub(crate) fn damage(&mut self, at: usize, error: Error) {
        self.close(at);
        if let Some(page) = self.pages.get_mut(at) {
            page.damage = Some(error);
        }
    }

    /// A pass went over the segment, up to here. `false`: it found something else than the first.
    pub(crate) fn end(&mut self, at: usize, counts: Counts, position: u64, offset: Offset) -> bool {
        let Some(page) = self.pages.get_mut(at) else { return true };
        if page.counts.is_none()
            && let Some(stretches) = &mut page.stretches
        {
            stretches.end(position, offset, counts.parts, &mut self.stretches_room);
        }
        *page.counts.get_or_insert(counts) == counts
    }

    /// Says of a part that it goes, if its segment can be rewritten.
    pub(crate) fn mark(&mut self, at: usize, ordinal: u64, sort: Sort, bytes: u32) {
        let Some(page) = self.pages.get_mut(at).filter(|page| page.open) else { return };
        if page.marks.set(ordinal) {
            page.bytes_dropped = page.bytes_dropped.saturating_add(bytes.into());
            page.records_dropped = page.records_dropped.saturating_add(u64::from(sort == Sort::Record));
        }
    }

    /// The numbers are those of the segments.
    pub(crate) fn finish(self, numbers: impl Iterator<Item = u64>) -> (Vec<Judged>, Vec<Error>) {
        let (mut judged, mut damaged) = (Vec::new(), Vec::new());
        for (at, (page, number)) in self.pages.into_iter().zip(numbers).enumerate() {
            let counts = page.counts.unwrap_or_default();
            damaged.extend(page.damage);
            if page.open {
                let thinned = counts.bytes_thinned.saturating_sub(page.bytes_dropped);
                let bytes_kept = match page.marks.count() {
                    0 => counts.bytes,
                    all if all == counts.parts => counts.gap_bytes,
                    _ => thinned,
                };
                judged.push(Judged {
                    at,
                    number,
                    parts: counts.parts,
                    dropped: page.marks,
                    stretches: page.stretches.unwrap_or_else(|| Stretches::new(self.stretch_parts)),
                    records: counts.records,
                    records_kept: counts.records.saturating_sub(page.records_dropped),
                    bytes_kept,
                });
            }
        }
        (judged, damaged)
    }
}
