//! The table of the matrix.
//!
//! Guarantees:
//! 1. Each case counts once: reported, silent, harmless by one class, or violated. Those that were cut are among the reported.
//! 2. All violations are counted; of each row and log the first few are told in words.

use std::fmt;
use std::time::Duration;

use super::judge::Verdict;
use super::proof::Proof;
use super::reference::End;
use super::row::Row;

/// The most violations of one row that are told in words.
const VIOLATIONS_MAX: u64 = 4;

/// What came of the cases of one row, on one log.
#[derive(Debug, Clone)]
pub struct Tally {
    /// The kind of damage.
    pub row: Row,
    /// The log.
    pub log: End,
    /// Cases that were run.
    pub cases: u64,
    /// Cases that the row has.
    pub of: u64,
    /// Reported with their place.
    pub reported: u64,
    /// Of these: a torn tail whose cut took what had been acknowledged, as `format.md` says it may.
    pub limits_cut: u64,
    /// Not reported: what had been acknowledged is gone without a trace, or replaced by its twin, as `format.md` says.
    pub limits_silent: u64,
    /// Repaired, and what was left is right.
    pub repaired: u64,
    /// That no repair here can judge.
    pub unrepaired: u64,
    /// Neither reported nor harmless, or not right once it is repaired.
    pub violated: u64,
    /// Harmless, by the classes of [`Proof::ALL`].
    pub harmless: [u64; Proof::ALL.len()],
    /// The largest piece of memory that a case asked for.
    pub largest: usize,
    /// The longest that a case took.
    pub longest: Duration,
    /// How long the row took.
    pub took: Duration,
}

/// What came of all that was run.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// The rows.
    pub tallies: Vec<Tally>,
    /// What is neither reported nor harmless, in words; the first of each row.
    pub violations: Vec<String>,
    /// How many there are.
    pub violated: u64,
}

impl Tally {
    pub(super) fn new(row: Row, log: End, of: u64) -> Self {
        Self {
            row,
            log,
            cases: 0,
            of,
            reported: 0,
            limits_cut: 0,
            limits_silent: 0,
            repaired: 0,
            unrepaired: 0,
            violated: 0,
            harmless: [0; Proof::ALL.len()],
            largest: 0,
            longest: Duration::ZERO,
            took: Duration::ZERO,
        }
    }

    pub(super) fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Reported => self.reported += 1,
            Verdict::LimitCut => {
                self.reported += 1;
                self.limits_cut += 1;
            }
            Verdict::LimitSilent => self.limits_silent += 1,
            Verdict::Harmless(proof) => self.harmless[proof.index()] += 1,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.reported += other.reported;
        self.limits_cut += other.limits_cut;
        self.limits_silent += other.limits_silent;
        self.repaired += other.repaired;
        self.unrepaired += other.unrepaired;
        self.harmless.iter_mut().zip(other.harmless).for_each(|(sum, more)| *sum += more);
        self.largest = self.largest.max(other.largest);
        self.longest = self.longest.max(other.longest);
    }
}

impl Table {
    pub(super) fn violate(&mut self, tally: &mut Tally, violation: String) {
        self.violated += 1;
        tally.violated += 1;
        if tally.violated <= VIOLATIONS_MAX {
            self.violations.push(violation);
        }
    }

    /// Cases that were run, of all rows.
    #[must_use]
    pub fn cases(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.cases).sum()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = ["damage", "log", "cases", "reported", "(cut)", "silent", "repaired", "(not)", "seconds"];
        let [damage, log, cases, reported, cut, silent, repaired, not, seconds] = titles;
        write!(f, "{damage:<20} {log:<6} {cases:>8} {reported:>8} {cut:>6} {silent:>6}")?;
        writeln!(f, " {repaired:>8} {not:>6} {seconds:>7}  harmless")?;
        for tally in &self.tallies {
            write!(f, "{:<20} {:<6} {:>8} {:>8}", tally.row.name(), tally.log.name(), tally.cases, tally.reported)?;
            write!(f, " {:>6} {:>6}", tally.limits_cut, tally.limits_silent)?;
            write!(f, " {:>8} {:>6} {:>7.1} ", tally.repaired, tally.unrepaired, tally.took.as_secs_f64())?;
            for (proof, count) in Proof::ALL.iter().zip(tally.harmless).filter(|(_, count)| *count > 0) {
                write!(f, " {count} {},", proof.name())?;
            }
            writeln!(f)?;
        }
        let largest = self.tallies.iter().map(|tally| tally.largest).max().unwrap_or_default();
        let longest = self.tallies.iter().map(|tally| tally.longest).max().unwrap_or_default();
        writeln!(f, "{} cases, {} violations", self.cases(), self.violated)?;
        writeln!(f, "largest piece of memory {largest} bytes, longest case {:.1} ms", longest.as_secs_f64() * 1e3)?;
        self.violations.iter().try_for_each(|violation| writeln!(f, "violation: esker-crash {violation}"))
    }
}
