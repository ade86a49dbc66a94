//! Dropping: the plan carried out on an open log.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Aim, Plan, RetentionReport, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::format::control::StartLine;
use crate::format::segment_name;
use crate::log::catalog::Entry;
use crate::log::contract::{Holder, Part, TopicList, has_topics, holders, standings, still_lets, topics_of};
use crate::log::core::Core;
use crate::log::reader::{LogSource, ReadLine, ReadMode};
use crate::types::{Offset, Place, Topic};

/// How often to plan again because a cursor went back meanwhile, or the log was dropped by others. What the cleaner puts in the
/// place of others meanwhile does not count: there is no more of that than there is of the log.
const ROUNDS_MAX: u32 = 16;
/// How often the background tries again what was held.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Whether checkpoints are written so that more may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checkpointing {
    Always,
    /// If as much goes as is written.
    IfWorth,
}

/// Whether a plan was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Done {
    Yes(RetentionReport),
    /// No: segments took the place of others since the look at the log.
    Replaced,
    /// No: a cursor went back since, or the log begins later.
    WentBack,
}

impl Core {
    /// Drops all before `offset`, as far as nothing holds it; returns how far.
    pub(crate) fn drop_before(&self, offset: Offset) -> Result<Offset> {
        self.check_state()?;
        let end = self.end(ReadLine::Visible).offset;
        if offset > end {
            return Err(Error::new(ErrorKind::Invalid, format!("drop before offset {offset}, the log ends at {end}"))
                .at_offset(offset)
                .next_step("nothing was dropped; give an offset that the log has reached"));
        }
        if offset > self.end(ReadLine::Durable).offset {
            self.sync()?;
        }
        self.carry_out(Aim::Offset(offset), Checkpointing::Always).map(|report| report.start)
    }

    /// Drops what the policy does not keep.
    pub(crate) fn retain(&self) -> Result<RetentionReport> {
        self.check_state()?;
        self.carry_out(self.policy(), Checkpointing::Always)
    }

    /// What [`Core::retain`] would do.
    pub(crate) fn retention_plan(&self) -> Result<RetentionReport> {
        self.check_state()?;
        let shape = self.shape();
        let plan = shape.plan(self.policy(), u64::MAX, &mut |part, from, topics| self.has(part, from, topics));
        Ok(shape.report(&plan))
    }

    /// The cursors that hold something.
    pub(crate) fn who_holds(&self) -> Result<Vec<Holder>> {
        self.check_state()?;
        let shape = self.shape();
        Ok(holders(&shape.standings, &shape.parts, &mut |part, from, topics| self.has(part, from, topics)))
    }

    /// Whether the policy would let something go that was not tried just now.
    pub(crate) fn retention_due(&self) -> bool {
        if self.options.retention.is_empty() {
            return false;
        }
        let (shape, aim) = (self.bare_shape(), self.policy());
        let wanted = aim.wanted(&shape);
        let tried = self.retention.lock().tried;
        let again =
            |(offset, at): (Offset, Duration)| offset < wanted || self.disk.monotonic().saturating_sub(at) >= TRY_AGAIN;
        wanted > shape.start.offset && tried.is_none_or(again)
    }

    /// Lets go what the policy does not keep. `true`: it was attempted.
    pub(crate) fn retention_step(&self) -> bool {
        let due =
            !self.is_ended() && (self.retention_due() || (self.is_manual() && !self.options.retention.is_empty()));
        if due {
            let (aim, at) = (self.policy(), self.disk.monotonic());
            let wanted = aim.wanted(&self.bare_shape());
            let done = self.carry_out(aim, Checkpointing::IfWorth);
            let mut pace = self.retention.lock();
            pace.tried = Some((wanted, at));
            if done.is_err() {
                pace.failures = pace.failures.saturating_add(1);
            }
        }
        due
    }

    fn policy(&self) -> Aim {
        let clock = self.retention.lock().clock;
        Aim::Policy(self.options.retention, clock.now(&*self.disk))
    }

    fn carry_out(&self, aim: Aim, checkpointing: Checkpointing) -> Result<RetentionReport> {
        self.look_at_checkpoints();
        let mut rounds = 0;
        while rounds < ROUNDS_MAX {
            match self.carry_out_on(&self.shape(), aim, checkpointing)? {
                Done::Yes(report) => return Ok(report),
                Done::Replaced => {}
                Done::WentBack => rounds = rounds.saturating_add(1),
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "drop refused: as often as it was planned, a cursor went back or others dropped",
        )
        .next_step("nothing was dropped; try again"))
    }

    /// Carries it out if the log is still as this shape says.
    fn carry_out_on(&self, shape: &Shape, aim: Aim, checkpointing: Checkpointing) -> Result<Done> {
        let has = &mut |part: &Part, from, topics: &BTreeSet<Topic>| self.has(part, from, topics);
        let mut plan = shape.plan(aim, self.checkpoints.lock().lets_go(), has);
        let mut missing = None;
        if plan.wants > plan.target.segment && self.is_worth_checkpoints(shape, &plan, checkpointing) {
            // What goes with those that there are goes; the report says what holds the rest.
            missing = self.raise_checkpoints_to(plan.wants).err();
            plan = shape.plan(aim, self.checkpoints.lock().lets_go(), has);
        }
        // While one is written the start stays: it says all that lies before its own line.
        let _checkpointing = self.checkpointing.lock();
        // Where the start moved to is durable, unless whoever moved it under this lock was told that its sync failed.
        self.check_state()?;
        let lets_go = self.checkpoints.lock().lets_go();
        plan.target.segment = plan.target.segment.min(lets_go).max(shape.start.segment);
        if *self.start.lock() != shape.start {
            return Ok(Done::WentBack);
        }
        if self.catalog.read().replacements() != shape.replacements {
            // The cleaner made parts of it parts of others: what those have was not asked, or they must not go with the target.
            return Ok(Done::Replaced);
        }
        if plan.target > shape.start {
            let Some(end) = self.announce(shape, plan.target)? else { return Ok(Done::WentBack) };
            self.wait_durable(end)?;
        }
        // What an open found below the start and left was let go by checkpoints that may not be there any more.
        self.unlink_below(plan.target.segment.min(lets_go));
        match missing {
            Some(error) if plan.target <= shape.start && checkpointing == Checkpointing::Always => Err(error),
            _ => Ok(Done::Yes(shape.report(&plan))),
        }
    }

    /// Whether checkpoints should be written so that what a plan wants may go.
    fn is_worth_checkpoints(&self, shape: &Shape, plan: &Plan, checkpointing: Checkpointing) -> bool {
        let going = shape.parts.iter().filter(|part| part.number < plan.wants);
        let bytes = going.fold(0_u64, |sum, part| sum.saturating_add(part.bytes));
        checkpointing == Checkpointing::Always || bytes >= self.checkpoints.lock().body_bytes()
    }

    /// Stores the start-line frame and moves the start. `None`: a cursor was moved, so that this start would not be right.
    fn announce(&self, shape: &Shape, target: StartLine) -> Result<Option<Place>> {
        // Commits that move cursors wait from here on; those that come later find the new start.
        let state = self.state.read();
        if !still_lets(&state, &shape.standings, target.offset) {
            return Ok(None);
        }
        let mut appender = self.appender.lock();
        if let Some(refusal) = &appender.refusal {
            return Err(refusal.clone());
        }
        let Some(end) = appender.append_start(target, self.disk.now()) else {
            return Err(Error::new(
                ErrorKind::OutOfSpace,
                "drop refused: the segment in use has no room for a start line",
            )
            .next_step("nothing was dropped; append something, so that the log goes on in the next segment"));
        };
        *self.start.lock() = target;
        Ok(Some(end))
    }

    /// Takes segments below the start line off the log. One that cannot be removed is removed by the next open.
    fn unlink_below(&self, segment: u64) {
        let gone = self.catalog.write().drop_below(segment);
        if gone.is_empty() {
            return;
        }
        let mut failures = 0_u64;
        for entry in &gone {
            if self.disk.unlink(&segment_name(entry.number())).is_err() {
                failures = failures.saturating_add(1);
            }
            self.index.forget(&*self.disk, entry.number());
        }
        let bytes = gone.iter().filter_map(|entry| entry.end).fold(0, u64::saturating_add);
        let mut appender = self.appender.lock();
        appender.settled_bytes = appender.settled_bytes.saturating_sub(bytes);
        drop(appender);
        let mut pace = self.retention.lock();
        pace.segments = pace.segments.saturating_add(crate::types::length(gone.len()));
        pace.failures = pace.failures.saturating_add(failures);
        pace.topics.retain(|number, _| *number >= segment);
    }

    /// Segments and lines as of one moment, without cursors.
    pub(crate) fn bare_shape(&self) -> Shape {
        loop {
            let (entries, replacements) = {
                let catalog = self.catalog.read();
                (catalog.entries().to_vec(), catalog.replacements())
            };
            let (tail, time_max) = {
                let appender = self.appender.lock();
                (appender.tail(), appender.writer.time_max())
            };
            if entries.last().is_some_and(|last| last.number() != tail.place.segment) {
                // The log went on in the next segment meanwhile.
                continue;
            }
            let start = *self.start.lock();
            let ends = entries.iter().skip(1).map(|next| (next.header.first_offset, next.header.time_max));
            let ends = ends.chain([(tail.offset, time_max)]);
            let parts = entries.iter().zip(ends).map(|(entry, (end, time_max))| Part {
                number: entry.number(),
                first: entry.header.first_offset,
                end,
                bytes: entry.end.unwrap_or(tail.place.position),
                time_max,
            });
            let durable = self.durability.lock().durable;
            return Shape { parts: parts.collect(), start, durable, replacements, standings: Vec::new() };
        }
    }

    fn shape(&self) -> Shape {
        // The cursors first: what they hold is in the log then.
        let standings = standings(&self.state.read());
        Shape { standings, ..self.bare_shape() }
    }

    fn has(&self, part: &Part, from: Offset, topics: &BTreeSet<Topic>) -> bool {
        let entry: Option<Entry> = self.catalog.read().get(part.number).cloned();
        // It is a part of another, or gone: what it had cannot be said.
        let Some(entry) = entry else { return true };
        let whole = entry.end.is_some() && from <= part.first;
        // The cleaner may have made it of several.
        let incarnation = entry.header.incarnation;
        let is_of = |known: &&(u64, TopicList)| known.0 == incarnation;
        let known = self.retention.lock().topics.get(&part.number).filter(is_of).map(|(_, known)| known.clone());
        if whole && let Some(Some(known)) = &known {
            return known.iter().any(|topic| topics.contains(topic));
        }
        let Ok(view) = self.view(&entry, ReadMode::Map) else { return true };
        // Another file may have the number since the look at the log.
        let limit = entry.end.unwrap_or(part.bytes);
        if !whole || known.is_some() {
            return has_topics(&view, from, limit, topics);
        }
        let found = topics_of(&view, limit);
        let has = match &found {
            Some(found) => found.iter().any(|topic| topics.contains(topic)),
            None => has_topics(&view, from, limit, topics),
        };
        self.retention.lock().topics.insert(part.number, (incarnation, found));
        has
    }
}

#[cfg(test)]
mod tests;
