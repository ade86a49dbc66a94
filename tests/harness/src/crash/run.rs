//! What one run comes to: counts, the trace, and the first thing that is wrong.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::plan::Settings;
use crate::dice::Dice;
use crate::memory::mix;

/// The most that recoveries are crashed inside each other.
pub const DEPTH_MAX: u32 = 3;

/// How many images are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tempo {
    /// One at an event in so many.
    OneIn(u64),
    /// Every outcome, where at most so many things are not settled, else a sample of so many.
    Exhaustive {
        /// Sectors, lengths and names together.
        sectors_max: usize,
        /// Outcomes by dice.
        sample: u64,
    },
}

/// Under which a run takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// How many images are taken.
    pub tempo: Tempo,
    /// What the disk does of what it promises.
    pub conduct: Conduct,
}

/// How a disk keeps its promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// All of them.
    Honest,
    /// Syncs write nothing: a run must find a violation.
    Lying,
    /// A torn sector takes what stands beside it along: then durable records may be lost, and nothing else. Whatever is
    /// handed out must still be what was appended there.
    Careless,
}

impl Tempo {
    pub(super) fn images(self, dice: &mut Dice) -> u64 {
        match self {
            Self::OneIn(cases) => u64::from(dice.one_in(cases)),
            Self::Exhaustive { .. } => 0,
        }
    }
}

/// Counts of what was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Plans carried out.
    pub plans: u64,
    /// Crash images recovered and judged.
    pub images: u64,
    /// ... of which the crash came inside a recovery.
    pub inside: u64,
    /// ... at each depth.
    pub depths: [u64; 4],
    /// ... of which only the process died.
    pub process_deaths: u64,
    /// ... taken right behind a recovery.
    pub behind: u64,
    /// Recoveries that cut a torn tail.
    pub torn: u64,
    /// Recoveries of a log that begins behind its first record, and of one whose first segments are gone.
    pub trimmed: [u64; 2],
    /// Recoveries during which a call failed.
    pub faults: u64,
    /// Repairs of damaged logs in which the process died.
    pub repairs_died: u64,
    /// ... in which the power failed.
    pub repairs_lost_power: u64,
    /// ... in which a sync of the directory failed.
    pub repairs_names_failed: u64,
    /// Segments that compactions by hand replaced.
    pub compacted: u64,
    /// Opens or reads that were refused, on a careless disk.
    pub refused: u64,
    /// Records compared.
    pub records: u64,
    /// Moments at which every outcome was tried, and those at which only a sample was.
    pub events_all: u64,
    /// See `events_all`.
    pub events_sampled: u64,
}

impl Totals {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.plans += other.plans;
        self.images += other.images;
        self.inside += other.inside;
        self.depths.iter_mut().zip(other.depths).for_each(|(own, other)| *own += other);
        self.process_deaths += other.process_deaths;
        self.behind += other.behind;
        self.torn += other.torn;
        self.trimmed.iter_mut().zip(other.trimmed).for_each(|(own, other)| *own += other);
        self.faults += other.faults;
        self.repairs_died += other.repairs_died;
        self.repairs_lost_power += other.repairs_lost_power;
        self.repairs_names_failed += other.repairs_names_failed;
        self.compacted += other.compacted;
        self.refused += other.refused;
        self.records += other.records;
        self.events_all += other.events_all;
        self.events_sampled += other.events_sampled;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} plans, {} images recovered ({} inside a recovery, by depth {:?}; {} right behind one; {} process deaths), \
             {} torn tails, {} trimmed ({} with segments gone), {} recoveries with a fault, {} repairs that died, \
             {} that lost power, {} with names that failed, {} segments compacted, {} records compared",
            self.plans,
            self.images,
            self.inside,
            &self.depths[1..],
            self.behind,
            self.process_deaths,
            self.torn,
            self.trimmed[0],
            self.trimmed[1],
            self.faults,
            self.repairs_died,
            self.repairs_lost_power,
            self.repairs_names_failed,
            self.compacted,
            self.records
        )?;
        if self.refused > 0 {
            write!(f, "; {} refused, what was durable is damaged", self.refused)?;
        }
        if self.events_all + self.events_sampled > 0 {
            write!(f, "; {} moments in full, {} by sample", self.events_all, self.events_sampled)?;
        }
        Ok(())
    }
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What is wrong.
    pub what: String,
    /// Where the run was.
    pub place: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.place)
    }
}

/// One run: what all its watches and judges share.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) settings: Settings,
    pub(super) conditions: Conditions,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    totals: Totals,
    trace: u64,
    violation: Option<Violation>,
}

impl Run {
    pub(super) fn new(settings: Settings, conditions: Conditions) -> Self {
        let totals = Totals { plans: 1, ..Totals::default() };
        Self { settings, conditions, inner: Mutex::new(Inner { totals, ..Inner::default() }) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn trace(&self, word: u64) {
        let mut inner = self.inner();
        inner.trace = mix(inner.trace ^ word);
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Totals)) {
        count(&mut self.inner().totals);
    }

    /// Notes the first.
    pub(super) fn violated(&self, what: String, place: &str) {
        self.inner().violation.get_or_insert_with(|| Violation { what, place: place.to_owned() });
    }

    pub(super) fn is_violated(&self) -> bool {
        self.inner().violation.is_some()
    }

    pub(super) fn outcome(&self) -> Outcome {
        let inner = self.inner();
        Outcome { totals: inner.totals, trace: inner.trace, violation: inner.violation.clone() }
    }
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was done.
    pub totals: Totals,
    /// Two runs of one plan and seed have the same.
    pub trace: u64,
    /// What was wrong first, if anything.
    pub violation: Option<Violation>,
}
