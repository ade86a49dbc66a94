//! The cleaner: what is superseded, deleted or too old goes from the middle of the log.
//!
//! Guarantees:
//! 1. A segment is replaced as a whole, by one rename: whoever opens its name finds the one file or the other, each complete
//!    and durable.
//! 2. What is kept stays at its offset, with its append time.
//! 3. One run at a time. A close waits for it to end, which it does at the next piece.
//! 4. It waits for the log, never the log for it: it holds no lock while it reads or writes, save that checkpoints, retention and
//!    what changes the state wait for one rename.

mod ballast;
mod book;
pub(crate) mod draft;
mod gathered;
mod group;
mod judge;
mod marks;
mod passed;
mod policy;
mod put;
mod renew;
mod report;
pub(crate) mod rewrite;
mod run;
mod seen;
mod settings;
mod starts;
mod stretches;
mod tally;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use judge::{Input, Rule, Task, judge};
pub use policy::Cleanup;
pub(crate) use policy::Policies;
pub(crate) use renew::renew;
pub use report::{CleanPhase, CleanProgress, CleanStats, CompactionReport, Replaced};
pub use settings::{Cleaner, Compaction};
pub(crate) use starts::least_start;

use self::ballast::Ballast;
use self::group::Eagerness;
use self::run::{Plan, Run};
use super::Log;
use super::background::Signal;
use super::catalog::{Catalog, Entry};
use super::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::Disk;
use crate::sync::Mutex;
use crate::types::Timestamp;

/// How often the cleaner looks whether something became old enough.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What the cleaner of an open log remembers.
#[derive(Debug, Default)]
pub(crate) struct Cleaning {
    /// Held while a run lasts.
    running: Mutex<()>,
    /// Wakes the cleaner's thread.
    pub(crate) signal: Arc<Signal>,
    /// Wakes the run that waits for its pace, whichever thread that is of.
    pub(crate) pace: Signal,
    /// Held while a file takes the name of another, until the catalog says so.
    naming: Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    stats: CleanStats,
    ballast: Ballast,
    /// Incarnations of segments that a run left, or made.
    judged: BTreeSet<u64>,
    reached: Reached,
    stopped: Option<Error>,
}

/// How far a log was at the last run.
#[derive(Debug, Clone, Copy, Default)]
struct Reached {
    /// When it began.
    now: Timestamp,
    /// Bytes of the segments that could be rewritten when it ended.
    bytes: u64,
}

impl Cleaning {
    /// Waits for the run that is under way, if there is one.
    pub(crate) fn wait(&self) {
        drop(self.running.lock());
    }

    /// Waits for a file that is taking the name of another, so that the catalog says which of them has it.
    pub(crate) fn wait_for_names(&self) {
        drop(self.naming.lock());
    }

    fn show(&self, progress: CleanProgress) {
        self.known.lock().stats.progress = Some(progress);
    }

    /// Notes segments of which all was dropped that can be now.
    fn note_judged<'a>(&self, entries: impl IntoIterator<Item = &'a Entry>) {
        self.known.lock().judged.extend(entries.into_iter().map(|entry| entry.header.incarnation));
    }

    fn forget_all_but(&self, catalog: &Catalog) {
        let there: BTreeSet<u64> = catalog.entries().iter().map(|entry| entry.header.incarnation).collect();
        self.known.lock().judged.retain(|incarnation| there.contains(incarnation));
    }

    /// Refuses all further runs.
    fn stop(&self, cause: &Error) {
        self.known.lock().stopped.get_or_insert(cause.clone());
    }

    fn hold_ballast(&self, disk: &dyn Disk, bytes: u64) {
        let mut known = self.known.lock();
        // What cannot be had is tried again by the next run.
        let _full = known.ballast.hold(disk, bytes);
        known.stats.ballast_bytes = known.ballast.bytes();
    }

    fn begin_run(&self) {
        self.known.lock().ballast.begin_run();
    }

    /// `true`: there was some, now or earlier in this run.
    fn give_up_ballast(&self, disk: &dyn Disk) -> bool {
        let mut known = self.known.lock();
        known.stats.ballast_bytes = 0;
        known.ballast.give_up(disk)
    }
}

impl Log {
    /// Drops now, from the whole log, records of which a later one has the same topic and key, state entries that were replaced
    /// or removed, and what lies below the start; tombstones once [their time](Cleanup::grace) has come; and what the options
    /// say of topics besides. Records without a key stay, and all that is kept stays at its offset.
    ///
    /// What lies above the checkpoints that are kept stays as it is, so the log goes on in another segment first, and two
    /// checkpoints are written. Appends and readers go on meanwhile; a reader that is in a segment that is replaced reads it to
    /// its end. Waits for a run that is under way.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfSpace`] if the next segment has no room, or what is kept; [`ErrorKind::Corrupt`] if a segment reads
    /// otherwise than a moment ago; [`ErrorKind::Invalid`] for a compaction that makes no sense; [`ErrorKind::Closed`] if the log
    /// is closed meanwhile; what the system says; and as for [`Log::state`]. Segments that were replaced before that stay so.
    /// Damage that was found before is no error, see [`CompactionReport::damaged`].
    ///
    /// # Durability
    /// What was visible before is durable when this returns, and what went is gone.
    pub fn compact(&self, compaction: &Compaction) -> Result<CompactionReport> {
        self.core().compact(compaction)
    }

    /// Does now what the cleaner would do once it is due: what the options say of topics, with as much lag as they say.
    ///
    /// # Errors
    /// As for [`Log::compact`].
    ///
    /// # Durability
    /// What went is gone when this returns.
    pub fn clean(&self) -> Result<CompactionReport> {
        self.core().clean_now()
    }

    /// What the cleaner did since the log was opened, and what it does.
    #[must_use]
    pub fn clean_stats(&self) -> CleanStats {
        self.core().clean_stats()
    }
}

impl Core {
    /// Compacts now.
    pub(crate) fn compact(&self, compaction: &Compaction) -> Result<CompactionReport> {
        self.check_fork()?;
        let plan = Plan {
            policies: compaction.policies(&self.options.policies),
            memory: compaction.memory_bytes(&self.options.cleaner)?,
            eagerness: Eagerness::ByHand,
            min_lag: Duration::ZERO,
            bytes_per_second: None,
        };
        let _running = self.clean.running.lock();
        self.check_cleanable()?;
        self.clean.begin_run();
        self.hold_ballast();
        self.roll_if_used()?;
        self.sync()?;
        let active = self.durability.lock().durable.place.segment;
        if let Err(error) = self.raise_checkpoints_to(active) {
            if error.kind() != ErrorKind::OutOfSpace || !self.clean.give_up_ballast(&*self.disk) {
                return Err(error);
            }
            self.raise_checkpoints_to(active)?;
        }
        self.run(&plan)
    }

    /// Cleans as the options say, whether it is due or not.
    pub(crate) fn clean_now(&self) -> Result<CompactionReport> {
        self.check_fork()?;
        let cleaner = &self.options.cleaner;
        let plan = Plan {
            policies: self.options.policies.clone(),
            memory: cleaner.memory_bytes(),
            eagerness: Eagerness::Background,
            min_lag: cleaner.min_lag,
            bytes_per_second: cleaner.bytes_per_second,
        };
        let _running = self.clean.running.lock();
        self.check_cleanable()?;
        self.clean.begin_run();
        self.hold_ballast();
        self.run(&plan)
    }

    /// Cleans if that is due. `true`: it was attempted.
    pub(crate) fn clean_step(&self) -> bool {
        let due = !self.is_ended() && self.clean_due();
        if due {
            // It is counted.
            let _failed = self.clean_now();
        }
        due
    }

    pub(crate) fn clean_stats(&self) -> CleanStats {
        self.clean.known.lock().stats
    }

    fn check_cleanable(&self) -> Result<()> {
        self.check_open()?;
        let stopped = self.clean.known.lock().stopped.clone();
        let refused = |cause: Error| {
            Error::new(ErrorKind::Io, "not cleaned: whether what was cleaned before is durable is not known")
                .at_path(self.disk.directory())
                .caused_by(cause)
                .next_step("close the log and open it again")
        };
        stopped.map_or(Ok(()), |cause| Err(refused(cause)))
    }

    fn run(&self, plan: &Plan) -> Result<CompactionReport> {
        self.look_at_checkpoints();
        let now = self.clock_now();
        let (report, done) = Run::new(self, plan).go();
        self.hold_ballast();
        self.clean.forget_all_but(&self.catalog.read());
        let bytes = self.ripe_entries().iter().filter_map(|(entry, _)| entry.end).fold(0, u64::saturating_add);
        let mut known = self.clean.known.lock();
        known.reached = Reached { now, bytes };
        let stats = &mut known.stats;
        stats.progress = None;
        stats.runs = stats.runs.saturating_add(1);
        stats.failures = stats.failures.saturating_add(u64::from(done.is_err()));
        stats.passes = stats.passes.saturating_add(report.passes);
        stats.damaged = stats.damaged.saturating_add(crate::types::length(report.damaged.len()));
        stats.replaced.add(&report.replaced);
        drop(known);
        done.map(|()| report)
    }

    fn ripe_entries(&self) -> Vec<(Entry, Timestamp)> {
        let entries = self.catalog.read().entries().to_vec();
        let ripe = self.ripe(&entries, self.options.cleaner.min_lag);
        let ends: Vec<Timestamp> = entries.iter().skip(1).map(|next| next.header.time_max).collect();
        entries.into_iter().zip(ends).filter(|(entry, _)| ripe.contains(&entry.number())).collect()
    }

    /// A clock that never runs ahead.
    fn clock_now(&self) -> Timestamp {
        let clock = self.retention.lock().clock;
        clock.now(&*self.disk)
    }

    /// Whether enough came since the last run, or something that is to go became old enough.
    pub(crate) fn clean_due(&self) -> bool {
        if self.options.policies.is_empty() {
            return false;
        }
        let ripe = self.ripe_entries();
        let known = self.clean.known.lock();
        if known.stopped.is_some() {
            return false;
        }
        let is_new = |entry: &Entry| !entry.header.is_moved() && !known.judged.contains(&entry.header.incarnation);
        let bytes = |entry: &Entry| entry.end.unwrap_or_default();
        let all = ripe.iter().fold(0_u64, |sum, (entry, _)| sum.saturating_add(bytes(entry)));
        let new = ripe.iter().filter(|(entry, _)| is_new(entry));
        let dirty = new.fold(0_u64, |sum, (entry, _)| sum.saturating_add(bytes(entry)));
        let reached = known.reached;
        drop(known);
        let now = self.clock_now();
        let aged = |age: Duration| {
            let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
            let (now, then) = (now.nanoseconds().saturating_sub(age), reached.now.nanoseconds().saturating_sub(age));
            ripe.iter().any(|(_, end)| (then..now).contains(&end.nanoseconds()))
        };
        let grown = all.saturating_sub(reached.bytes);
        self.options.cleaner.is_due(dirty, all)
            || self
                .options
                .policies
                .retentions()
                .any(|retention| retention.age.is_some_and(aged) || retention.bytes.is_some_and(|bytes| grown > bytes))
    }
}
