//! One segment, sifted: which of its bytes are kept, and which become gaps.
//!
//! Guarantees:
//! 1. What is kept are frames that check in full, at their places, with the offsets that they say.
//! 2. A gap takes exactly the bytes of what it replaces. Where the line of a checkpoint lies in it, it is parted there, so
//!    that places and offsets that are written down elsewhere stay true.
//! 3. Below the durable line D every stretch that does not check becomes a gap. At or above it the first such place ends
//!    the log, and D itself ends it if it lies inside of one.
//! 4. No end and no offset is taken from a neighbour or a durable line that no segment could have.
//! 5. Where the successor is lost that said where a segment ends, and an epoch may have ended there, nothing is kept behind the
//!    first bad place above the highest durable line in that segment: an earlier recovery may have cut it there, and what is
//!    dead does not come back.
//! 6. Offsets rise: a frame whose offset is not above what is known before it is not kept.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use super::Lost;
use super::slots::{Known, Slot, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::format::checkpoint::CheckpointHeader;
use crate::format::frame::{self, HEADER_BYTES};
use crate::format::header::SegmentHeader;
use crate::format::{FRAME_ALIGNMENT, FRAMES_START, Fault, GAP_FRAME_BYTES, Kind, SEGMENT_BYTES_MAX};
use crate::inspect::chain::Source;
use crate::log::{FoundFrame, Scan, Scanned, Store, open_segment, start};
use crate::types::{Line, Offset, Place, Timestamp, length};

/// A stretch of the new segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    /// Frames to keep, from here up to there.
    Frames {
        start: u64,
        end: u64,
        offset: Offset,
    },
    Gap {
        start: u64,
        end: u64,
        offset: Offset,
        next: Offset,
    },
}

/// What became of a segment.
#[derive(Debug, Clone, Default)]
pub(super) struct Sifted {
    pub(super) runs: Vec<Run>,
    pub(super) lost: Vec<Lost>,
    /// Places behind which entries of the state may be missing.
    pub(super) stateless: Vec<Place>,
    /// Where its frames end, and the offset there.
    pub(super) end: Line,
    pub(super) records: u64,
    pub(super) time_max: Timestamp,
    /// Where the log begins, as far as the frames that are kept say.
    pub(super) start: Offset,
    /// What its last frame is; `None` behind a gap.
    last_kind: Option<Kind>,
    /// Nothing behind its end belongs to the log.
    pub(super) ends_log: bool,
    /// Something stands behind the end of the log.
    pub(super) is_torn: bool,
    /// D does not fit the frames.
    pub(super) contradicts: bool,
}

impl Sifted {
    /// Whether the offset at its end is the one with which the next segment begins, whatever that says.
    pub(super) fn is_sealed(&self) -> bool {
        self.last_kind == Some(Kind::Seal)
    }

    /// What is lost of a log that begins at `start`: the records before it were dropped on purpose.
    pub(super) fn lost_from(&self, start: Offset) -> Vec<Lost> {
        let clipped = |lost: &Lost| {
            let offsets = lost.offsets.start.max(start)..lost.offsets.end.max(start);
            Lost { offsets, ..lost.clone() }
        };
        self.lost.iter().map(clipped).collect()
    }
}

/// What is being sifted.
pub(super) struct Sift<'a> {
    known: &'a Known<'a>,
    slot: &'a Slot,
    /// The offset that the next segment begins with, if it says so.
    follows: Option<Offset>,
    last: Position,
    /// The offset that it begins with.
    first: Offset,
    /// Of a segment whose end nobody names, though a recovery may have cut it: up to where it is known to be whole.
    open_end: Option<Place>,
    done: Sifted,
    durable_met: bool,
}

/// Whether a segment comes behind this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    Last,
    Inside,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    Ends,
}

impl<'a> Sift<'a> {
    pub(super) fn new(
        known: &'a Known<'a>,
        slot: &'a Slot,
        before: &Sifted,
        follows: Option<Offset>,
        last: Position,
    ) -> Self {
        let time_max = slot.header.map_or(before.time_max, |header| header.time_max);
        let done = Sifted { time_max, ..Sifted::default() };
        // What D says of this segment can be wrong only here.
        let durable_met = known.durable.place.segment != slot.number || known.durable == Line::default();
        Self { known, slot, follows, last, first: Offset::ZERO, open_end: None, done, durable_met }
    }

    /// Of a segment of which nothing is left.
    pub(super) fn lost(mut self, expected: Offset) -> Sifted {
        self.first = expected;
        let durable = self.known.durable;
        let in_it = durable.place.segment == self.slot.number;
        let settled = if in_it { Some(durable.place.position) } else { self.slot.end };
        let next = if in_it { Some(durable.offset) } else { self.follows };
        let next = next.unwrap_or(expected);
        self.done.contradicts |= next < expected;
        let room = if next > expected { GAP_FRAME_BYTES } else { 0 };
        let end = settled.unwrap_or(FRAMES_START).max(FRAMES_START.saturating_add(room));
        self.done.end = Line { place: Place::new(self.slot.number, FRAMES_START), offset: expected };
        // Why it is not there is the cause of the whole step.
        self.gap(end, next, "nothing of the segment is left", States::Unknown);
        self.done.ends_log = self.last == Position::Last || (in_it && self.slot.end != settled);
        self.done
    }

    /// Of a segment with frames.
    pub(super) fn frames(mut self, stored: &Stored, expected: Offset) -> Result<Sifted> {
        let first = self.slot.first_offset.unwrap_or(expected);
        self.first = first;
        let frames = crate::segment::walk::Frames { first_offset: first, ..stored.frames };
        self.done.contradicts |= first != expected;
        let store = Store::File(open_segment(self.known.disk, &stored.name)?);
        self.open_end = self.find_open_end(stored)?;
        let mut scan = Scan::new(store.clone(), frames, FRAMES_START, first, stored.limit);
        let failed =
            |error| Error::io("read the segment", error).at_path(self.known.disk.directory().join(&stored.name));
        self.done.end = Line { place: Place::new(self.slot.number, FRAMES_START), offset: scan.offset };
        loop {
            self.meet_durable(&scan);
            let stopped = match scan.next().map_err(failed)? {
                Scanned::Frame(found) => {
                    self.keep(&scan, &found);
                    continue;
                }
                Scanned::End if scan.position >= self.slot.end.unwrap_or(stored.capacity) => break,
                stopped => stopped,
            };
            if self.done.end.place >= self.known.durable.place {
                self.done.ends_log = true;
                self.done.is_torn = scan.resync().map_err(failed)? || stopped.fault() != Fault::Missing;
                return Ok(self.done);
            }
            if self.open_end.is_some_and(|settled| self.done.end.place >= settled) {
                // What stands behind may be dead: whoever said where this segment ended is lost.
                break;
            }
            if self.over(&mut scan, &store, stopped, stored)? == Then::Ends {
                break;
            }
        }
        self.done.ends_log |= self.last == Position::Last;
        if let Some(follows) = self.follows
            && self.last == Position::Inside
            && !self.done.ends_log
            && follows > self.done.end.offset
            && self.slot.end.is_none()
        {
            // Whatever came between is lost, and nobody says how long it was.
            let end = self.done.end.place.position.saturating_add(GAP_FRAME_BYTES);
            self.gap(end, follows, "what came before the next segment is lost", States::Unknown);
        }
        if !self.done.ends_log && self.follows.is_some_and(|next| next != self.done.end.offset) {
            // The next segment does not follow: not known to be durable, it is no part of the log.
            let settled = self.done.end.place >= self.known.durable.place;
            (self.done.ends_log, self.done.is_torn) = (settled, settled);
            self.done.contradicts |= !settled;
        }
        Ok(self.done)
    }

    /// If the successor, which would say where this segment ends, is lost, and an epoch may have ended here: the highest
    /// durable line in it. A recovery cut it at the first bad place above that, if it cut it.
    fn find_open_end(&self, stored: &Stored) -> Result<Option<Place>> {
        let (number, known) = (self.slot.number, self.known);
        if self.slot.end.is_some() || self.last == Position::Last {
            return Ok(None);
        }
        let mut pieces = known.chain.pieces.iter();
        let later = pieces.find(|piece| piece.number() > number && piece.source == Source::Stored);
        let later = later.map(|piece| piece.header.epoch);
        let later = later.or(known.epoch.filter(|(_, segment)| *segment > number).map(|(epoch, _)| epoch));
        if later.is_some() && later == self.slot.header.map(|header| header.epoch) {
            return Ok(None);
        }
        let survey = &known.chain.survey;
        let headers = survey.valid().map(|(_, header)| header.durable);
        let notes = known.checkpoints.iter().map(|checkpoint| checkpoint.line);
        let lines = headers.chain(notes).chain(survey.own_anchor().map(|anchor| anchor.durable)).chain([known.durable]);
        let within = lines.filter(|line| line.place.segment == number).max();
        let mut settled = within.unwrap_or_default();
        let store = Store::File(open_segment(known.disk, &stored.name)?);
        let mut scan = Scan::new(store, stored.frames, FRAMES_START, stored.frames.first_offset, stored.limit);
        let counted = scan.count_on(number, &mut settled);
        let path = known.disk.directory().join(&stored.name);
        counted.map_err(|error| Error::io("read the segment", error).at_path(path))?;
        Ok(Some(settled.place))
    }

    /// Goes over a stretch that does not check, from where the scan is.
    fn over(&mut self, scan: &mut Scan, store: &Store, stopped: Scanned, stored: &Stored) -> Result<Then> {
        let path = self.known.disk.directory().join(&stored.name);
        let failed = |error| Error::io("read the segment", error).at_path(&path);
        let from = self.done.end;
        let fault = stopped.fault();
        if fault.is_unknown() {
            return Err(Error::new(ErrorKind::Incompatible, fault.to_string())
                .at_path(&path)
                .at_place(from.place)
                .next_step("repair it with the version of esker that wrote it, or a newer one"));
        }
        let cause = fault.to_string();
        let (mut states, mut stopped) = (States::None, stopped);
        if matches!(fault, Fault::Offset { .. }) {
            // Its body was not looked at yet.
            stopped = match scan.next_anywhere().map_err(failed)? {
                Scanned::Frame(frame) => pass(scan, &frame, fault),
                stopped => stopped,
            };
        }
        loop {
            let found = if let Scanned::Bad { fault, next: Some((position, offset)) } = stopped {
                let chunk = store.load(scan.position, length(HEADER_BYTES), stored.limit).map_err(failed)?;
                let room = stored.limit.saturating_sub(scan.position);
                let head = frame::header(chunk.bytes(), stored.frames.seed, scan.position, room);
                if head.is_none_or(|head| head.state_count > 0 || head.kind == Kind::Gap) {
                    states = States::Unknown;
                }
                if matches!(fault, Fault::Offset { .. }) {
                    // Its length is believed. Which offset comes next, the header behind it says better.
                    scan.position = position.saturating_sub(FRAME_ALIGNMENT);
                    scan.resync().map_err(failed)?
                } else {
                    (scan.position, scan.offset) = (position, offset);
                    true
                }
            } else {
                states = States::Unknown;
                scan.resync().map_err(failed)?
            };
            let durable = self.known.durable;
            let passes = Place::new(self.slot.number, scan.position) > durable.place || !found;
            let ahead = durable.place.segment == self.slot.number && durable.place > from.place;
            if ahead && passes {
                self.gap_to_durable(&cause, states);
                return Ok(Then::Ends);
            }
            if found {
                stopped = match scan.next_anywhere().map_err(failed)? {
                    Scanned::Frame(frame) if frame.offset >= from.offset => {
                        self.gap(frame.position, frame.offset, &cause, states);
                        self.meet_durable_at(frame.position, frame.offset);
                        self.keep(scan, &frame);
                        return Ok(Then::GoOn);
                    }
                    Scanned::Frame(frame) => pass(scan, &frame, fault),
                    Scanned::End => Scanned::End,
                    stopped => stopped,
                };
                if !matches!(stopped, Scanned::End) {
                    continue;
                }
            }
            if ahead {
                self.gap_to_durable(&cause, states);
            } else if let Some(end) = self.slot.end {
                let next = self.follows.unwrap_or(scan.offset.max(from.offset));
                self.gap(end, next, &cause, states);
            }
            return Ok(Then::Ends);
        }
    }

    /// D lies inside of what is lost, or at its end: the log ends there, unless the segment does.
    fn gap_to_durable(&mut self, cause: &str, states: States) {
        let durable = self.known.durable;
        self.gap(durable.place.position, durable.offset, cause, states);
        self.durable_met = true;
        self.done.ends_log = self.slot.end != Some(durable.place.position);
        self.done.is_torn = self.done.ends_log;
    }

    fn keep(&mut self, scan: &Scan, found: &FoundFrame) {
        let end = scan.position;
        if found.header.kind == Kind::Gap {
            // Left by an earlier repair: what it took is not known any more.
            self.done.stateless.push(Place::new(self.slot.number, end));
        }
        if let Some(line) = start::of_frame(&scan.frame(found), self.slot.number) {
            self.done.start = self.done.start.max(line.offset);
        }
        match self.done.runs.last_mut() {
            Some(Run::Frames { end: last, .. }) if *last == found.position => *last = end,
            _ => self.done.runs.push(Run::Frames { start: found.position, end, offset: found.offset }),
        }
        self.done.last_kind = Some(found.header.kind);
        self.done.records = self.done.records.saturating_add(found.records.into());
        self.done.time_max = self.done.time_max.max(found.time_of_records());
        self.done.end = Line { place: Place::new(self.slot.number, end), offset: scan.offset };
    }

    /// Adds a gap from the end so far up to `end`, parted where checkpoints end.
    fn gap(&mut self, end: u64, next: Offset, cause: &str, states: States) {
        let from = self.done.end;
        let (start, offset) = (from.place.position, from.offset);
        if end <= start {
            return;
        }
        self.done.contradicts |= next < offset || !end.is_multiple_of(FRAME_ALIGNMENT);
        // Whoever says so was not written by an engine: this segment, or any, is not as long, or does not hold as many records.
        self.done.contradicts |= end > self.capacity() || next.since(self.first) > u32::MAX.into();
        let mut at = from;
        for cut in self.cuts(start, end, offset, next) {
            self.push_gap(&mut at, cut);
        }
        self.push_gap(&mut at, Line { place: Place::new(self.slot.number, end), offset: next });
        let meets = |last: &&mut Lost| last.position.saturating_add(last.bytes) == start && last.cause == cause;
        if let Some(last) = self.done.lost.last_mut().filter(meets) {
            (last.bytes, last.offsets.end) = (end.saturating_sub(last.position), next);
        } else {
            let bytes = end.saturating_sub(start);
            self.done.lost.push(Lost { position: start, bytes, offsets: offset..next, cause: cause.to_owned() });
        }
        if states == States::Unknown {
            self.done.stateless.push(Place::new(self.slot.number, end));
        }
        (self.done.end, self.done.last_kind) = (at, None);
    }

    /// How long the segment can be: as it says itself, also where its successor speaks of another end.
    fn capacity(&self) -> u64 {
        let (slot, survey) = (self.slot, &self.known.chain.survey);
        let is_meant = |header: &SegmentHeader| header.is_called(slot.number, slot.incarnation);
        let stored = slot.header.or_else(|| survey.valid().map(|(_, header)| *header).find(is_meant));
        stored.map_or(SEGMENT_BYTES_MAX, |header| header.capacity)
    }

    fn push_gap(&mut self, at: &mut Line, to: Line) {
        let (start, end) = (at.place.position, to.place.position);
        if end > start {
            self.done.contradicts |= end.saturating_sub(start) < GAP_FRAME_BYTES;
            self.done.runs.push(Run::Gap { start, end, offset: at.offset, next: to.offset });
            *at = to;
        }
    }

    /// Where a gap has to be parted: around the last frame of each checkpoint whose line lies in it.
    fn cuts(&self, start: u64, end: u64, offset: Offset, next: Offset) -> Vec<Line> {
        let of_slot = |checkpoint: &&CheckpointHeader| {
            let place = checkpoint.line.place;
            place.segment == self.slot.number
                && checkpoint.incarnation == self.slot.incarnation
                && place.position > start
                && place.position <= end
                && checkpoint.last.position >= start
                && place.position.saturating_sub(checkpoint.last.position) >= GAP_FRAME_BYTES
                && (offset..=next).contains(&checkpoint.line.offset)
        };
        let mut cuts = Vec::new();
        for checkpoint in self.known.checkpoints.iter().filter(of_slot) {
            for position in [checkpoint.last.position, checkpoint.line.place.position] {
                cuts.push(Line { place: Place::new(self.slot.number, position), offset: checkpoint.line.offset });
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        // What would leave a stretch too short for a gap is left out; the checkpoint is then not met, and set aside.
        let mut before = start;
        cuts.retain(|cut| {
            let position = cut.place.position;
            let far = |from: u64, to: u64| from == to || to.saturating_sub(from) >= GAP_FRAME_BYTES;
            let fits = position.is_multiple_of(FRAME_ALIGNMENT) && far(before, position) && far(position, end);
            if fits {
                before = position;
            }
            fits && position < end
        });
        cuts
    }

    fn meet_durable(&mut self, scan: &Scan) {
        self.meet_durable_at(scan.position, scan.offset);
    }

    /// D has to lie between two frames, with the offset that is expected there.
    fn meet_durable_at(&mut self, position: u64, offset: Offset) {
        let durable = self.known.durable;
        if !self.durable_met && position >= durable.place.position {
            self.durable_met = true;
            self.done.contradicts |= position > durable.place.position || offset != durable.offset;
        }
    }
}

/// A whole frame that is not kept: the next one begins behind it.
fn pass(scan: &mut Scan, frame: &FoundFrame, fault: Fault) -> Scanned {
    let next = Some((scan.position, scan.offset));
    scan.position = frame.position;
    Scanned::Bad { fault, next }
}

/// Whether entries of the state are lost with a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum States {
    None,
    Unknown,
}
