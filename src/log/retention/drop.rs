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

/// How often to plan again because a cursor went back meanwhile.
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
        for _ in 0..ROUNDS_MAX {
            let shape = self.shape();
            let has = &mut |part: &Part, from, topics: &BTreeSet<Topic>| self.has(part, from, topics);
            let mut plan = shape.plan(aim, self.checkpoints.lock().lets_go(), has);
            if plan.wants > plan.target.segment && self.raise_checkpoints(&shape, &plan, checkpointing) {
                plan = shape.plan(aim, self.checkpoints.lock().lets_go(), has);
            }
            // While one is written the start stays: it says all that lies before its own line.
            let _checkpointing = self.checkpointing.lock();
            // Where the start moved to is durable, unless whoever moved it under this lock was told that its sync failed.
            self.check_state()?;
            plan.target.segment = plan.target.segment.min(self.checkpoints.lock().lets_go()).max(shape.start.segment);
            if *self.start.lock() != shape.start {
                continue;
            }
            if self.catalog.read().get(plan.target.segment).is_none() {
                // The cleaner made it a part of another, which must not go with it.
                continue;
            }
            if plan.target > shape.start {
                let Some(end) = self.announce(&shape, plan.target)? else { continue };
                self.wait_durable(end)?;
            }
            self.unlink_below(plan.target.segment);
            return Ok(shape.report(&plan));
        }
        Err(Error::new(ErrorKind::Conflict, "drop refused: cursors went back as often as it was planned")
            .next_step("nothing was dropped; try again"))
    }

    /// Writes checkpoints so that what a plan wants may go. `true`: they were written, or tried.
    fn raise_checkpoints(&self, shape: &Shape, plan: &Plan, checkpointing: Checkpointing) -> bool {
        let going = shape.parts.iter().filter(|part| part.number < plan.wants);
        let bytes = going.fold(0_u64, |sum, part| sum.saturating_add(part.bytes));
        let worth = bytes >= self.checkpoints.lock().body_bytes();
        if checkpointing == Checkpointing::IfWorth && !worth {
            return false;
        }
        // The report says what holds the rest.
        let _as_far_as_it_goes = self.raise_checkpoints_to(plan.wants);
        true
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
            let entries = self.catalog.read().entries().to_vec();
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
            return Shape { parts: parts.collect(), start, durable, standings: Vec::new() };
        }
    }

    fn shape(&self) -> Shape {
        // The cursors first: what they hold is in the log then.
        let standings = standings(&self.state.read());
        Shape { standings, ..self.bare_shape() }
    }

    fn has(&self, part: &Part, from: Offset, topics: &BTreeSet<Topic>) -> bool {
        let entry: Option<Entry> = self.catalog.read().get(part.number).cloned();
        let Some(entry) = entry else { return false };
        let whole = entry.end.is_some() && from <= part.first;
        // The cleaner may have made it of several.
        let incarnation = entry.header.incarnation;
        let is_of = |known: &&(u64, TopicList)| known.0 == incarnation;
        let known = self.retention.lock().topics.get(&part.number).filter(is_of).map(|(_, known)| known.clone());
        if whole && let Some(Some(known)) = &known {
            return known.iter().any(|topic| topics.contains(topic));
        }
        let Ok(view) = self.view(&entry, ReadMode::Map) else { return true };
        if !whole || known.is_some() {
            return has_topics(&view, from, part.bytes, topics);
        }
        let found = topics_of(&view, part.bytes);
        let has = match &found {
            Some(found) => found.iter().any(|topic| topics.contains(topic)),
            None => has_topics(&view, from, part.bytes, topics),
        };
        self.retention.lock().topics.insert(part.number, (incarnation, found));
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Background, Options};

    #[test]
    fn a_start_that_is_not_durable_lets_nothing_go() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let options = Options::new().segment_bytes(1 << 14).background(Background::Manual);
        let log = options.open(folder.path()).expect("opens");
        for _ in 0..6 {
            let _ = log.append(&[7; 6000]).expect("appends");
            log.background_step();
        }
        let core = log.core();
        let _ = core.poison_by_panic();
        // As another thread leaves it whose start line could not be made durable, when this one waited behind it.
        *core.start.lock() = StartLine { offset: Offset::new(1), segment: 2 };
        let error = core.carry_out(Aim::Offset(Offset::new(1)), Checkpointing::Always).expect_err("nothing is durable");
        assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
        assert!(folder.path().join(segment_name(1)).exists());
    }
}
