//! A run of the cleaner over an open log: what may go is found, and segments without it take the place of those that had it.
//!
//! Guarantees:
//! 1. Only whole sealed segments below the line of the older checkpoint are replaced, and nothing at or above the line of the
//!    newer one is looked at: what could still vanish removes nothing.
//! 2. A group that fails or is left ends the run, for what is newer may rest on what would have gone from it.
//! 3. It ends at the next piece when the log is closed.
//!
//! Left to others: what goes ([`judge`](super::judge)), how it goes ([`put`](super::put)).
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use super::group::{Eagerness, Member, groups};
use super::judge::{Input, Judged, Rule, Task, Verdict, judge};
use super::policy::Policies;
use super::put::{Group, Put};
use super::report::{CleanPhase, CleanProgress, CompactionReport};
use crate::error::Result;
use crate::log::catalog::Entry;
use crate::log::core::Core;
use crate::log::reader::{LogSource, ReadMode};
use crate::log::survey::io_error;
use crate::log::window::View;
use crate::types::length;

/// How a run goes.
pub(crate) struct Plan {
    pub(crate) policies: Policies,
    pub(crate) memory: usize,
    pub(crate) eagerness: Eagerness,
    pub(crate) min_lag: Duration,
    pub(crate) bytes_per_second: Option<u64>,
}

/// A run.
pub(super) struct Run<'a> {
    pub(super) core: &'a Core,
    plan: &'a Plan,
    pub(super) report: CompactionReport,
    phase: CleanPhase,
    bytes_done: u64,
    bytes_total: u64,
    /// For the pace: gone over since it began, and when that was.
    bytes: u64,
    began: Duration,
}

impl<'a> Run<'a> {
    pub(super) fn new(core: &'a Core, plan: &'a Plan) -> Self {
        Self {
            core,
            plan,
            report: CompactionReport::default(),
            phase: CleanPhase::Reading,
            bytes_done: 0,
            bytes_total: 0,
            bytes: 0,
            began: core.disk.monotonic(),
        }
    }

    /// Runs, and says what was done; and if not all was, why.
    pub(super) fn go(mut self) -> (CompactionReport, Result<()>) {
        let done = self.rounds();
        (self.report, done)
    }

    fn rounds(&mut self) -> Result<()> {
        // The names of checkpoints that an open found may not be durable, nor that older ones are gone.
        let changing = self.core.directory_syncs.begin();
        let synced = self.core.directory_syncs.sync(&*self.core.disk, &changing);
        synced.map_err(|error| io_error(&*self.core.disk, "sync the directory", "", error))?;
        let mut again = self.plan.eagerness == Eagerness::ByHand;
        let mut newest = u64::MAX;
        loop {
            let (verdict, put) = self.round(newest)?;
            if put == Put::Left {
                return Ok(());
            }
            match verdict.next {
                Some(next) => newest = next,
                None if again && self.report.tombstones_waiting > 0 => (again, newest) = (false, u64::MAX),
                None => return Ok(()),
            }
        }
    }

    /// One look at the log, with the segments up to `newest` to be rewritten; and then those.
    fn round(&mut self, newest: u64) -> Result<(Verdict, Put)> {
        let inputs = self.inputs(newest);
        let (core, plan) = (self.core, self.plan);
        // Before the wait in `passed`: of a start that is announced later it is not known whether it becomes durable.
        let start = LogSource::start(core);
        let passed = core.passed()?;
        self.begin(CleanPhase::Reading, inputs.iter().fold(0, |sum, input| input.limit.saturating_add(sum)));
        let rule = Rule { policies: &plan.policies, now: core.clock_now(), start, passed: &|topic| passed.of(topic) };
        let verdict = judge(&mut Task {
            disk: &*core.disk,
            inputs: &inputs,
            rule,
            memory: plan.memory,
            open: &|entry| core.view_if_there(entry),
            pace: &mut |bytes| self.pace(bytes),
        })?;
        self.report.passes = self.report.passes.saturating_add(verdict.passes.into());
        self.report.keys = self.report.keys.max(verdict.keys);
        self.report.tombstones_waiting = verdict.waiting_tombstones;
        self.report.damaged.clone_from(&verdict.damaged);
        core.raise_topic_starts(&verdict.starts)?;
        let put = self.write(&inputs, &verdict.segments)?;
        Ok((verdict, put))
    }

    /// All segments up to the newer checkpoint, and which of them may be rewritten.
    fn inputs(&mut self, newest: u64) -> Vec<Input> {
        let horizon = self.core.checkpoints.lock().line().place;
        let entries = self.core.catalog.read().entries().to_vec();
        let ripe = self.core.ripe(&entries, self.plan.min_lag);
        let sealed = entries.iter().filter(|entry| entry.end.is_some()).count();
        self.report.segments_young = length(sealed.saturating_sub(ripe.len()));
        let below = entries.into_iter().take_while(|entry| entry.number() <= horizon.segment);
        let input = |entry: Entry| Input {
            limit: if entry.number() == horizon.segment { horizon.position } else { entry.end.unwrap_or_default() },
            rewritable: entry.number() <= newest && ripe.contains(&entry.number()),
            entry,
        };
        below.map(input).collect()
    }

    /// Writes the groups, oldest first.
    fn write(&mut self, inputs: &[Input], judged: &[Judged]) -> Result<Put> {
        let members: Option<Vec<Member>> = judged.iter().map(|judged| member(inputs, judged)).collect();
        let Some(members) = members else { return Ok(Put::Left) };
        let chosen = groups(&members, self.core.options.segment_bytes, self.plan.eagerness);
        let parts = |range: &Range<usize>| {
            let members = members.get(range.clone()).unwrap_or_default();
            let judged = judged.get(range.clone()).unwrap_or_default();
            let inputs = judged.iter().filter_map(|judged| inputs.get(judged.at));
            Group { entries: inputs.map(|input| input.entry.clone()).collect(), members, judged }
        };
        let bytes = chosen.iter().map(|range| parts(range).bytes()).fold(0, u64::saturating_add);
        self.begin(CleanPhase::Writing, bytes);
        for range in &chosen {
            if self.write_group(&parts(range))? == Put::Left {
                return Ok(Put::Left);
            }
        }
        self.core.clean.note_judged(inputs.iter().filter(|input| input.rewritable).map(|input| &input.entry));
        Ok(Put::Done)
    }

    fn begin(&mut self, phase: CleanPhase, bytes_total: u64) {
        (self.phase, self.bytes_done, self.bytes_total) = (phase, 0, bytes_total);
        self.show();
    }

    fn show(&self) {
        let (phase, bytes_done, bytes_total) = (self.phase, self.bytes_done, self.bytes_total);
        self.core.clean.show(CleanProgress { phase, bytes_done, bytes_total });
    }

    /// Notes how much was gone over; ends the run when the log is closed, and slows it down if it is too fast.
    pub(super) fn pace(&mut self, bytes: u64) -> Result<()> {
        self.bytes_done = self.bytes_done.saturating_add(bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        self.show();
        self.core.check_open()?;
        let Some(rate) = self.plan.bytes_per_second.filter(|_| !self.core.is_manual()) else { return Ok(()) };
        let nanoseconds = u128::from(self.bytes).saturating_mul(1_000_000_000).checked_div(rate.into());
        let needed = Duration::from_nanos(nanoseconds.and_then(|it| u64::try_from(it).ok()).unwrap_or(u64::MAX));
        let due = self.began.saturating_add(needed);
        loop {
            let left = due.saturating_sub(self.core.disk.monotonic());
            if left.is_zero() {
                return Ok(());
            }
            self.core.clean.pace.sleep(Some(left));
            self.core.check_open()?;
        }
    }
}

fn member(inputs: &[Input], judged: &Judged) -> Option<Member> {
    let header = &inputs.get(judged.at)?.entry.header;
    let next = inputs.get(judged.at.saturating_add(1))?.entry.header.first_offset;
    Some(Member {
        at: judged.at,
        epoch: header.epoch,
        offsets: (header.first_offset, next),
        bytes_kept: judged.bytes_kept,
        parts_dropped: judged.dropped.count(),
    })
}

impl Core {
    /// Refuses what would change the directory of a log that is closed, or poisoned.
    pub(super) fn check_open(&self) -> Result<()> {
        self.check_state()?;
        self.appender.lock().refusal.clone().map_or(Ok(()), Err)
    }

    /// The segments that may be rewritten.
    pub(super) fn ripe(&self, entries: &[Entry], min_lag: Duration) -> BTreeSet<u64> {
        let lets_go = self.checkpoints.lock().lets_go();
        let lag = i64::try_from(min_lag.as_nanos()).unwrap_or(i64::MAX);
        let oldest = self.clock_now().nanoseconds().saturating_sub(lag);
        let next = entries.iter().skip(1);
        let old = |next: &Entry| min_lag.is_zero() || next.header.time_max.nanoseconds() < oldest;
        let ripe = entries.iter().zip(next).filter(|(entry, next)| entry.header.last_number() < lets_go && old(next));
        ripe.map(|(entry, _)| entry.number()).collect()
    }

    /// A segment to read; `None`: it is not part of the log any more.
    fn view_if_there(&self, entry: &Entry) -> Result<Option<View>> {
        match self.view(entry, ReadMode::Map) {
            Ok(view) => Ok(Some(view)),
            Err(_) if self.catalog.read().of(&entry.header).is_none() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
