//! The plan: what is to be done, in which order, and what is lost by it.
//!
//! Guarantees:
//! 1. Nothing is changed, and everything that will be done is in the plan.
//! 2. Nothing is called durable that is not known to be, or synced by the repair itself: a segment that is written anew is, and
//!    what is kept before it only below D. So the last segment and the anchor say that the log is durable up to its end only
//!    if D lies in that segment; else they say D.
//! 3. Where the log ends before the last segment of its chain, and the segment in which it ends is written anew, the segments
//!    behind it are taken off: whether its end still fits their link or not, none of them goes on behind a cut.
//! 4. A durable line that does not fit the frames is given up if an anchor or a checkpoint carries it, which are then set
//!    aside; where the segments themselves contradict each other, nothing is planned.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::path::PathBuf;

use super::aside::Aside;
use super::checkpoints::{Becomes, judge, newest_epoch};
use super::sift::{Position, Sift, Sifted};
use super::slots::{Known, Rebuilt, Slot, slots};
use super::write::Work;
use super::{Action, Plan, StateLoss, Step, TailLoss, refuse_writer};
use crate::error::{Error, ErrorKind, Result};
use crate::format::anchor::Anchor;
use crate::format::checkpoint::CheckpointHeader;
use crate::format::header::{Link, Places, Rewritten, SegmentHeader};
use crate::format::{ANCHOR_NAME, FRAMES_START, Fault, segment_name};
use crate::inspect::chain::{Chain, Manner, Mended};
use crate::inspect::unreadable::Readable;
use crate::inspect::{FindingClass, durable_line};
use crate::log::{PAGE_BYTES, Scan, SegmentFile, Store, open_segment, partial, stateless};
use crate::platform::Disk;
use crate::segment::walk::Frames;
use crate::types::{Epoch, Line, Offset, Place, StoreId, Timestamp};

/// A frame begins with a word that is not zero.
const WORD: u64 = 8;

/// What a repair of the log on any [`Disk`] would do, as [`plan`](super::plan) says it of a directory.
///
/// # Errors
/// As for [`plan`](super::plan).
pub fn plan_on(disk: &dyn Disk) -> Result<Plan> {
    refuse_writer(disk)?;
    Ok(make(disk)?.plan)
}

/// A plan, and how its steps are done.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) plan: Plan,
    /// As many as the plan has steps, in their order.
    pub(super) deeds: Vec<Deed>,
}

/// How a step is done.
#[derive(Debug)]
pub(super) enum Deed {
    Rename { from: String, to: String },
    Write(Box<Work>),
    Anchor(Anchor),
    Quarantine(String),
}

/// Makes a plan; what contradicts the frames is set aside, one after the other.
pub(super) fn make(disk: &dyn Disk) -> Result<Made> {
    let readable = Readable::new(disk);
    let disk = &readable;
    let mut chain = Chain::look_once(disk, Manner::Mended)?;
    let mut aside = Aside::default();
    loop {
        match Planner::plan(disk, &chain, &aside)? {
            Outcome::Made(made) => {
                super::way::check(disk, &made.deeds, &chain.survey.drafts)?;
                return Ok(made);
            }
            Outcome::Contradiction(durable, cause) => {
                if !aside.take(&mut chain, durable) {
                    return Err(Error::new(ErrorKind::Corrupt, cause)
                        .at_path(disk.directory())
                        .next_step("no repair here can judge this: read the log with salvage, or restore a copy"));
                }
            }
        }
    }
}

enum Outcome {
    Made(Made),
    /// This durable line does not fit what is there.
    Contradiction(Line, String),
}

struct Planner<'a> {
    known: Known<'a>,
    slots: Vec<Slot>,
    sifted: Vec<Sifted>,
    store_id: StoreId,
    epoch: Option<Epoch>,
    steps: Vec<Step>,
    deeds: Vec<Deed>,
}

impl Planner<'_> {
    fn plan(disk: &Readable<'_>, chain: &Chain, aside: &Aside) -> Result<Outcome> {
        if chain.pieces.is_empty() && chain.highest_known() == 0 && chain.survey.files.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "not a log, or one of which nothing is known to be durable")
                .at_path(disk.directory())
                .next_step("check the path"));
        }
        let mut checkpoints: Vec<CheckpointHeader> = chain.survey.own_checkpoints().copied().collect();
        checkpoints.sort_by_key(|checkpoint| checkpoint.sequence);
        let epoch = newest_epoch(disk, &checkpoints);
        let durable = durable_line(disk, chain)?;
        let mut known = Known { disk, readable: disk, chain, durable, checkpoints: &checkpoints, epoch };
        let mut found = slots(&known)?;
        let carried = carried_by_unheaded(&known, &found)?;
        if carried > known.durable {
            known.durable = carried;
            found = slots(&known)?;
        }
        let (slots, durable) = (found, known.durable);
        let anchored = chain.survey.own_anchor().map(|anchor| anchor.store_id);
        let named = chain.survey.valid().map(|(_, header)| header.store_id).next();
        let named = named.or(anchored).or(checkpoints.first().map(|checkpoint| checkpoint.store_id));
        let mut planner = Planner {
            known,
            slots,
            sifted: Vec::new(),
            store_id: named.unwrap_or_default(),
            epoch: epoch.map(|(epoch, _)| epoch),
            steps: Vec::new(),
            deeds: Vec::new(),
        };
        if let Some(cause) = planner.sift()? {
            return Ok(Outcome::Contradiction(durable, cause));
        }
        planner.finish(aside).map(Outcome::Made)
    }

    /// Sifts the slots up to the end of the log, which may lie before the last of them. Some: why that is not possible.
    fn sift(&mut self) -> Result<Option<String>> {
        let durable = self.known.durable;
        let mut expected = self.begin();
        for index in 0..self.slots.len() {
            let next = self.slots.get(index.saturating_add(1));
            let position = if next.is_some() { Position::Inside } else { Position::Last };
            let follows = next.and_then(|next| next.first_offset);
            let Some(slot) = self.slots.get_mut(index) else { break };
            let goes_on =
                |before: &Sifted| before.is_sealed() && before.end.place.segment.saturating_add(1) == slot.number;
            if slot.first_offset.is_none() && !self.sifted.last().is_some_and(goes_on) {
                // Frames whose offsets nobody knows are not kept: a guess would make other records of them.
                slot.frames = None;
            }
            let Some(slot) = self.slots.get(index) else { break };
            let nothing = Sifted::default();
            let sift = Sift::new(&self.known, slot, self.sifted.last().unwrap_or(&nothing), follows, position);
            let sifted = match &slot.frames {
                Some(stored) => sift.frames(stored, expected)?,
                None => sift.lost(expected),
            };
            if sifted.contradicts {
                return Ok(Some(format!(
                    "segment {}: what is durable up to {} does not fit its frames, or they do not fit its neighbours",
                    slot.number, durable.place
                )));
            }
            expected = sifted.end.offset;
            let ends = sifted.ends_log;
            self.sifted.push(sifted);
            if ends {
                break;
            }
        }
        self.blame_unreadable();
        let end = self.sifted.last().map(|sifted| sifted.end).unwrap_or_default();
        let stands_for = |slot: &Slot| (slot.number..=slot.last_number()).contains(&durable.place.segment);
        let held = durable == Line::default() || self.slots.iter().any(stands_for);
        let short = end.place < durable.place || self.sifted.is_empty() || !held;
        Ok(short.then(|| {
            if durable == Line::default() {
                "nothing that is left says what the log held: no header, checkpoint or anchor".to_owned()
            } else {
                format!("the log was durable up to {}, and nothing leads there", durable.place)
            }
        }))
    }

    /// A file of which a part cannot be read is not left to the next open, whatever lies there: it may need it.
    fn blame_unreadable(&mut self) {
        let readable = self.known.readable;
        let kept = self.sifted.len();
        for slot in self.slots.iter_mut().take(kept) {
            let cause = slot.frames.as_ref().and_then(|stored| readable.first_lost(&stored.name));
            slot.cause = cause.or(slot.cause.take());
        }
        let Some(newest) = self.slots.get_mut(kept.saturating_sub(1)) else { return };
        let mut behind = self.known.chain.survey.valid().filter(|(file, _)| file.number > newest.number);
        if let Some(cause) = behind.find_map(|(file, _)| readable.first_lost(&file.name)) {
            newest.cause.get_or_insert(format!("of a segment behind it {cause}"));
        }
    }

    fn finish(mut self, aside: &Aside) -> Result<Made> {
        let works = self.works()?;
        self.step_names();
        let becomes = self.becomes(&works);
        let gaps: Vec<Place> = self.sifted.iter().flat_map(|sifted| sifted.stateless.iter().copied()).collect();
        let judged = judge(&self.known, &becomes, &gaps)?;
        let moved = becomes.iter().any(|segment| segment.header.is_moved());
        if judged.newest == Line::default()
            && (moved || self.known.chain.start.segment > 1)
            && let Some(cause) = partial(becomes.iter().map(|segment| &segment.header))
        {
            return Err(stateless(self.known.disk, cause, None));
        }
        drop(becomes);
        let end = self.sifted.last().map(|sifted| sifted.end).unwrap_or_default();
        let last_written = works.last().is_some_and(Option::is_some);
        let goes = if last_written { self.behind() } else { Vec::new() };
        if !goes.is_empty() {
            // First of all: no line that they carry is forgotten, and nobody misses them when they are gone.
            self.push_anchor(aside, self.known.durable, "it may speak of segments that go");
        }
        self.step_behind(&goes, end)?;
        for (index, work) in works.into_iter().enumerate() {
            if let Some(work) = work {
                self.step_write(index, work, judged.newest);
            }
        }
        let durable = if last_written { self.durable_at(end) } else { self.known.durable };
        if goes.is_empty() {
            self.step_anchor(aside, durable, judged.gone);
        }
        let mut bad = judged.bad;
        bad.extend(aside.checkpoints.iter().map(|name| (name.clone(), "its durable line is not true".to_owned())));
        for (name, cause) in bad {
            // State that only it knew: entries in a gap that lies behind all that stay.
            let lost = gaps.iter().any(|gap| *gap > judged.newest.place && self.is_old_gap(*gap));
            let state = if lost { StateLoss::AsLeft } else { StateLoss::None };
            self.push(Action::Quarantine, &name, None, cause, Deed::Quarantine(name.clone()));
            if let Some(step) = self.steps.last_mut() {
                step.state = state;
            }
        }
        self.step_strangers(&goes);
        let torn = self.sifted.last().is_some_and(|sifted| sifted.is_torn);
        let torn_tail = (torn && !last_written).then_some(end);
        let anchor = self.anchor_note();
        let plan = Plan { steps: self.steps, durable: self.known.durable, torn_tail, anchor };
        Ok(Made { plan, deeds: self.deeds })
    }

    /// A gap that was there before.
    fn is_old_gap(&self, gap: Place) -> bool {
        let of = |sifted: &Sifted| {
            let lost = |lost: &super::Lost| lost.position.saturating_add(lost.bytes) == gap.position;
            sifted.end.place.segment == gap.segment && sifted.lost.iter().any(lost)
        };
        !self.sifted.iter().any(of)
    }

    /// The segments that are written anew, each at its slot.
    fn works(&self) -> Result<Vec<Option<Work>>> {
        let mut works: Vec<Option<Work>> = Vec::new();
        let mut before: Option<(SegmentHeader, Link)> = None;
        let last = self.sifted.len().saturating_sub(1);
        for (index, (slot, sifted)) in self.slots.iter().zip(&self.sifted).enumerate() {
            let position = if index == last { Position::Last } else { Position::Inside };
            let needed = !sifted.lost.is_empty() || slot.cause.is_some() || slot.frames.is_none();
            let end = sifted.end.place.position;
            let (header, work) = if let (false, Some(header)) = (needed, slot.header) {
                (header, None)
            } else {
                let header = self.header(slot, sifted, before.as_ref(), position)?;
                let (stored, runs) = (slot.frames.clone(), sifted.runs.clone());
                (header, Some(Work { header, stored, runs }))
            };
            works.push(work);
            // What the next one, if it is put together, calls this one.
            before = Some((header, header.link(end)));
        }
        Ok(works)
    }

    fn header(
        &self,
        slot: &Slot,
        sifted: &Sifted,
        before: Option<&(SegmentHeader, Link)>,
        position: Position,
    ) -> Result<SegmentHeader> {
        let end = sifted.end.place.position;
        let disk = self.known.disk;
        let random =
            || disk.random().map_err(|error| Error::io("draw an incarnation", error).at_path(disk.directory()));
        let durable = if position == Position::Last { self.durable_at(sifted.end) } else { self.known.durable };
        let stored = slot.header;
        let epoch = match (stored, before) {
            (Some(header), _) => header.epoch,
            (None, _) if position == Position::Last && self.epoch.is_some() => {
                self.epoch.max(before.map(|(before, _)| before.epoch)).unwrap_or_default()
            }
            (None, Some((before, _))) => before.epoch,
            (None, None) => self.next_epoch(slot).or(self.epoch).unwrap_or(Epoch { counter: 1, word: random()? }),
        };
        let incarnation = if slot.incarnation == 0 { random()?.max(1) } else { slot.incarnation };
        let cut = position == Position::Last && self.slots.len() > self.sifted.len();
        let original_end = slot.rewritten.map(|rewritten| rewritten.original_end);
        let first_offset = slot.first_offset.unwrap_or_else(|| self.first_expected(slot));
        Ok(SegmentHeader {
            store_id: self.store_id,
            number: slot.number,
            generation: stored.map_or(slot.rewritten.is_some().into(), |header| header.generation).saturating_add(1),
            incarnation,
            epoch,
            first_offset,
            predecessor: if slot.rebuilt == Rebuilt::Yes {
                slot.link_back(before.map(|(_, link)| *link), self.known.chain.start)
            } else {
                stored.and_then(|header| header.predecessor)
            },
            durable,
            created: stored.map_or_else(|| disk.now(), |header| header.created),
            time_max: stored.map_or_else(|| self.time_before(slot), |header| header.time_max),
            capacity: end.max(FRAMES_START.saturating_add(PAGE_BYTES)).next_multiple_of(PAGE_BYTES),
            rewritten: Some(Rewritten {
                end,
                last_number: slot.last_number(),
                end_offset: sifted.end.offset,
                records: sifted.records,
                incarnation,
                // Nothing goes on behind a segment that ends early.
                original_end: if cut { end } else { original_end.or(slot.end).unwrap_or(end) },
                places: slot.rewritten.map_or(Places::Kept, |rewritten| rewritten.places),
            }),
        })
    }

    /// How far the log is durable once the last segment is written anew, and ends there. What is kept between D and that
    /// segment may be in the page cache only, and is not synced by a repair.
    fn durable_at(&self, end: Line) -> Line {
        let reaches = self.known.durable.place.segment >= end.place.segment;
        if reaches { end } else { self.known.durable }
    }

    fn index_of(&self, slot: &Slot) -> usize {
        self.slots.iter().position(|other| other.number == slot.number).unwrap_or_default()
    }

    /// The offset with which the first slot begins: where the log does, if nothing else says so.
    fn begin(&self) -> Offset {
        let start = self.known.chain.start;
        let own = self.slots.first().and_then(|slot| slot.header);
        if let Some(first) = own.filter(|first| first.predecessor.is_none() || first.number == start.segment) {
            return first.first_offset;
        }
        let known = self.slots.iter().find_map(|slot| slot.first_offset);
        known.map_or(start.offset, |known| known.min(start.offset))
    }

    /// The offset behind the slot before.
    fn first_expected(&self, slot: &Slot) -> Offset {
        let before = self.index_of(slot).checked_sub(1).and_then(|index| self.sifted.get(index));
        before.map_or_else(|| self.begin(), |before| before.end.offset)
    }

    /// The latest append time of all before.
    fn time_before(&self, slot: &Slot) -> Timestamp {
        let before = self.index_of(slot).checked_sub(1).and_then(|index| self.sifted.get(index));
        before.map(|before| before.time_max).unwrap_or_default()
    }

    fn next_epoch(&self, slot: &Slot) -> Option<Epoch> {
        let behind = self.slots.iter().skip(self.index_of(slot).saturating_add(1));
        behind.filter_map(|slot| slot.header).map(|header| header.epoch).next()
    }

    fn becomes<'w>(&'w self, works: &'w [Option<Work>]) -> Vec<Becomes<'w>> {
        let slots = self.slots.iter().zip(&self.sifted).zip(works);
        let becomes = slots.filter_map(|((slot, sifted), work)| {
            let header = work.as_ref().map(|work| work.header).or(slot.header)?;
            let end = sifted.end.place.position;
            Some(Becomes { number: slot.number, stored: slot.frames.as_ref(), header, end, work: work.as_ref() })
        });
        becomes.collect()
    }

    fn step_names(&mut self) {
        for mended in &self.known.chain.mended {
            let Mended::Name { file, number } = mended else { continue };
            let to = segment_name(*number);
            let cause = format!("its header says that it is {to}");
            let (from, number) = (file.clone(), *number);
            let step = step(self.known.disk, Action::Rename, file, Some(number), cause);
            self.steps.push(step);
            self.deeds.push(Deed::Rename { from, to });
        }
    }

    fn is_renamed(&self, segment: u64) -> bool {
        let mut mended = self.known.chain.mended.iter();
        mended.any(|mended| matches!(mended, Mended::Name { number, .. } if *number == segment))
    }

    fn step_write(&mut self, index: usize, mut work: Work, checkpoint: Line) {
        let (Some(slot), Some(sifted)) = (self.slots.get(index), self.sifted.get(index)) else { return };
        let renamed = self.is_renamed(slot.number);
        if let Some(stored) = work.stored.as_mut().filter(|_| renamed) {
            // It has its own name by then.
            stored.name = segment_name(slot.number);
        }
        let action = if slot.frames.is_some() { Action::Rewrite } else { Action::Replace };
        let cause = slot.cause.clone().unwrap_or_else(|| "frames below the durable line do not check".to_owned());
        let end = sifted.end.place.position;
        let tail = self.tail_of(slot, sifted);
        let cause = match (sifted.is_torn, tail) {
            (false, _) => cause,
            (true, TailLoss::None) => {
                format!("{cause}; what lies behind {end}, not known to be durable, is cut, as the next open would")
            }
            (true, TailLoss::Unknown) => {
                format!("{cause}; what lies behind {end} is cut, and how much of it was durable cannot be read")
            }
        };
        let of_gap = |lost: &super::Lost| Place::new(slot.number, lost.position.saturating_add(lost.bytes));
        let stateless = |lost: &super::Lost| {
            let place = of_gap(lost);
            place > checkpoint.place && sifted.stateless.contains(&place)
        };
        let state = if sifted.lost.iter().any(stateless) { StateLoss::AsLeft } else { StateLoss::None };
        let mut step = step(self.known.disk, action, &segment_name(slot.number), Some(slot.number), cause);
        let start = self.sifted.iter().map(|sifted| sifted.start).fold(self.known.chain.start.offset, Offset::max);
        (step.records_kept, step.lost, step.state) = (sifted.records, sifted.lost_from(start), state);
        step.tail = tail;
        self.steps.push(step);
        self.deeds.push(Deed::Write(Box::new(work)));
    }

    /// What a segment that is written anew means for the end of the log. No open cuts the log for what it cannot read: a mark
    /// may stand there, or behind it.
    fn tail_of(&self, slot: &Slot, sifted: &Sifted) -> TailLoss {
        let end = sifted.end.place.position;
        // Where nothing is stored behind the last frame the log had ended before the file did.
        let ends_before = |length: u64| end.saturating_add(WORD) <= length && !sifted.is_torn;
        let is_cut = slot.cut.is_some_and(|length| !ends_before(length));
        let Known { readable, chain, .. } = self.known;
        let within = slot.frames.as_ref().is_some_and(|stored| readable.is_lost_behind(&stored.name, end));
        let mut behind = chain.survey.valid().filter(|(file, _)| file.number > slot.number);
        let mut hides = || within || behind.any(|(file, _)| readable.is_lost_behind(&file.name, 0));
        if is_cut || (sifted.is_torn && hides()) { TailLoss::Unknown } else { TailLoss::None }
    }

    fn step_anchor(&mut self, aside: &Aside, durable: Line, gone: Line) {
        let own = self.known.chain.survey.own_anchor();
        if aside.anchor.is_some() {
            self.push_anchor(aside, durable, "its durable line is not true");
        } else if gone > own.map(|anchor| anchor.durable).unwrap_or_default() {
            self.push_anchor(aside, durable, "a checkpoint that goes knows of more");
        }
    }

    /// What is to be said of an anchor that no step writes anew: it is a hint, and what it lacks is no damage.
    fn anchor_note(&self) -> Option<String> {
        if self.steps.iter().any(|step| step.action == Action::WriteAnchor) {
            return None;
        }
        let chain = self.known.chain;
        let cause = chain.judge_anchor(self.known.disk).first()?.cause.clone();
        let unreadable = |fault: &Fault| matches!(fault, Fault::Unreadable { .. });
        let then = if chain.survey.anchor_faults.iter().any(unreadable) {
            "move away what stands there, and the next open writes it anew"
        } else {
            "the next open writes it anew"
        };
        Some(format!("{cause}; {then}"))
    }

    fn push_anchor(&mut self, aside: &Aside, durable: Line, cause: &str) {
        let survey = &self.known.chain.survey;
        let own = survey.own_anchor().copied();
        let before = own.or(aside.anchor).filter(|anchor| anchor.store_id == self.store_id);
        // What it said of headers stays true, as far as they stay.
        let last = self.sifted.last().map_or(0, |sifted| sifted.end.place.segment);
        let known = own.map_or(0, |anchor| anchor.segment_highest.min(last));
        let anchor = Anchor {
            store_id: self.store_id,
            sequence: before.map_or(0, |anchor| anchor.sequence).wrapping_add(1),
            segment_highest: durable.place.segment.max(known),
            durable,
            time_max: self.sifted.last().map(|sifted| sifted.time_max).unwrap_or_default(),
            clean: own.is_some_and(|anchor| anchor.clean && anchor.durable == durable),
        };
        self.push(Action::WriteAnchor, ANCHOR_NAME, None, cause.to_owned(), Deed::Anchor(anchor));
    }

    /// The segments behind the last one that stays: what is not known to be durable ends before it comes to them. Newest first.
    fn behind(&self) -> Vec<SegmentFile> {
        let Some(last) = self.sifted.last().filter(|_| self.slots.len() > self.sifted.len()) else { return Vec::new() };
        let valid = self.known.chain.survey.valid().filter(|(file, _)| file.number > last.end.place.segment);
        let mut files: Vec<SegmentFile> = valid.map(|(file, _)| file.clone()).collect();
        files.reverse();
        files
    }

    /// Takes off what the next open would cut, for it would go on behind the segment that is written anew.
    fn step_behind(&mut self, goes: &[SegmentFile], end: Line) -> Result<()> {
        for file in goes {
            let name = if self.is_renamed(file.number) { segment_name(file.number) } else { file.name.clone() };
            let (frames, records) = self.count(file)?;
            let cause = format!(
                "{frames} frames with {records} records, not known to be durable: the log ends at {}",
                end.place
            );
            self.push(Action::Quarantine, &name, Some(file.number), cause, Deed::Quarantine(name.clone()));
        }
        Ok(())
    }

    /// Valid frames of a segment, and their records.
    fn count(&self, file: &SegmentFile) -> Result<(u64, u64)> {
        let Ok(Some(header)) = &file.header else { return Ok((0, 0)) };
        let store = Store::File(open_segment(self.known.disk, &file.name)?);
        let limit = header.capacity.min(file.length);
        let mut scan = Scan::new(store, Frames::new(header, limit), FRAMES_START, header.first_offset, limit);
        let path = self.known.disk.directory().join(&file.name);
        scan.count_on(file.number, &mut Line::default())
            .map_err(|error| Error::io("read the segment", error).at_path(path))
    }

    /// Segments of other stores, and those that were in use and that no link leads to.
    fn step_strangers(&mut self, goes: &[SegmentFile]) {
        let chain = self.known.chain;
        let taken: Vec<String> = self.slots.iter().map(|slot| segment_name(slot.number)).collect();
        let leftovers = chain.judge_leftovers(self.known.disk, self.known.durable);
        let strange = leftovers.into_iter().filter(|finding| finding.class == FindingClass::BrokenChain);
        for finding in chain.foreign.iter().cloned().chain(strange) {
            let name = finding.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            // One that stands in the place of a segment went there when that was written.
            if !taken.contains(&name) && !goes.iter().any(|file| file.name == name) {
                let deed = Deed::Quarantine(name.clone());
                self.push(Action::Quarantine, &name, finding.segment, finding.cause, deed);
            }
        }
        let last = self.sifted.last().map_or(0, |sifted| sifted.end.place.segment);
        let noted: Vec<&SegmentFile> = chain.survey.files.iter().filter(|file| !taken.contains(&file.name)).collect();
        for file in noted.into_iter().filter(|file| !goes.iter().any(|goes| goes.name == file.name)) {
            let deed = Deed::Quarantine(file.name.clone());
            let planned = self.steps.iter().any(|step| step.file.ends_with(&file.name));
            if let Some(lost) = self.known.readable.first_lost(&file.name).filter(|_| !planned) {
                self.push(Action::Quarantine, &file.name, Some(file.number), lost, deed);
                let is_spare = matches!(file.header, Ok(None));
                if let Some(step) = self.steps.last_mut().filter(|_| !is_spare && file.number > last) {
                    // Whatever stood there may have been durable.
                    step.tail = TailLoss::Unknown;
                }
            }
        }
    }

    fn push(&mut self, action: Action, name: &str, segment: Option<u64>, cause: String, deed: Deed) {
        self.steps.push(step(self.known.disk, action, name, segment, cause));
        self.deeds.push(deed);
    }
}

/// The highest durable line in segments whose headers are lost: whoever goes by headers did not look there.
fn carried_by_unheaded(known: &Known<'_>, slots: &[Slot]) -> Result<Line> {
    let mut durable = known.durable;
    for slot in slots.iter().filter(|slot| slot.header.is_none()) {
        let Some(stored) = &slot.frames else { continue };
        let store = Store::File(open_segment(known.disk, &stored.name)?);
        let mut scan = Scan::new(store, stored.frames, FRAMES_START, stored.frames.first_offset, stored.limit);
        let counted = scan.count_on(slot.number, &mut durable);
        let path = known.disk.directory().join(&stored.name);
        counted.map_err(|error| Error::io("read the segment", error).at_path(path))?;
    }
    Ok(durable)
}

fn step(disk: &dyn Disk, action: Action, name: &str, segment: Option<u64>, cause: String) -> Step {
    let file: PathBuf = disk.directory().join(name);
    Step {
        action,
        file,
        segment,
        cause,
        records_kept: 0,
        lost: Vec::new(),
        state: StateLoss::None,
        tail: TailLoss::None,
    }
}
