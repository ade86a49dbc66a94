//! The damage matrix: two reference logs of 64 KiB in four segments, and every damage of every kind done to copies of them.
//!
//! Guarantees:
//! 1. Each case is exercised in every way a user can, and is either reported with its place, or harmless by a class that is
//!    proved case by case ([`Proof`]); anything else is a violation. See `exercise` for the ways and `judge` for the rules.
//!    Of a share of the cases the copy is also repaired, and what is left is judged: see `repaired`.
//! 2. What is right is told by what was appended, and by readers of its own written after `src/format.md`.
//! 3. The same share gives the same cases. Only the columns of time and memory differ from run to run. A violation is told with
//!    the arguments of `esker-crash` that run its case again, by itself.
//! 4. A panic is a violation like any other; a case that does not end within [`HANG`] is named, and ends the process, since
//!    nothing else can.

mod edit;
mod exercise;
mod extreme;
mod history;
mod judge;
mod layout;
mod proof;
mod reference;
mod repaired;
mod row;
mod table;
mod valid;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use proof::Proof;
pub use reference::End;
pub use row::Row;
pub use table::{Table, Tally};

use crate::MemoryDisk;
use crate::allocation::largest_during;
use judge::{Case, Verdict};
use reference::Reference;
use repaired::Repaired;
use row::Cases;

/// No case takes longer.
pub const HANG: Duration = Duration::from_secs(60);
/// No piece of memory that a case asks for is larger: the engine's buffers are of this size.
pub const PIECE_BYTES_MAX: usize = 1 << 20;
const THREADS: usize = 2;
/// How many cases are taken at once.
const CASES_TAKEN: usize = 64;
/// Of a row with many cases one of so many is repaired too. Odd, so that all bits of a byte have their turn.
const REPAIR_STEP: usize = 17;
/// A row with so many cases, or more, has many.
const CASES_MANY: usize = 50_000;

/// How much of the matrix is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Every case of every row.
    Complete,
    /// At most this many cases of each row and log, spread over all of it.
    AtMost(usize),
    /// This one alone, and repaired too.
    One {
        /// Its row.
        row: Row,
        /// The log that is damaged.
        log: End,
        /// Its number in the row, counted from 0.
        case: usize,
    },
}

impl Share {
    fn rows(self) -> Vec<(End, Row)> {
        match self {
            Self::One { row, log, .. } => vec![(log, row)],
            Self::Complete | Self::AtMost(_) => {
                End::ALL.into_iter().flat_map(|log| Row::ALL.map(|row| (log, row))).collect()
            }
        }
    }
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// The row.
    pub row: Row,
    /// The log.
    pub log: End,
    /// Cases of it that are done.
    pub done: usize,
    /// Cases of it that are run.
    pub of: usize,
    /// Violations so far, of all rows.
    pub violated: u64,
}

/// Runs a share of the matrix. Memory is bounded only if the program notes it: see [`crate::allocation`].
pub fn run(share: Share, progress: &mut dyn FnMut(Progress)) -> Table {
    let mut table = Table::default();
    for rows in share.rows().chunk_by(|(log, _), (next, _)| log == next) {
        let [(log, _), ..] = *rows else { continue };
        let reference = Reference::new(log);
        let cases = Cases::new(&reference);
        for (_, row) in rows {
            run_row(&Run { cases: &cases, row: *row, log, share }, &mut table, progress);
        }
    }
    table
}

struct Run<'a> {
    cases: &'a Cases<'a>,
    row: Row,
    log: End,
    share: Share,
}

impl Run<'_> {
    fn total(&self) -> usize {
        self.cases.count(self.row)
    }

    fn count(&self) -> usize {
        match self.share {
            Share::Complete => self.total(),
            Share::AtMost(most) => most.min(self.total()),
            Share::One { case, .. } => usize::from(case < self.total()),
        }
    }

    fn is_repaired(&self, case: usize) -> bool {
        self.count() < CASES_MANY || case.is_multiple_of(REPAIR_STEP)
    }

    /// The n-th case that is run; of a share one of each stretch of the row, not always the first of it.
    fn pick(&self, number: usize) -> usize {
        if let Share::One { case, .. } = self.share {
            return case;
        }
        let (total, count) = (self.total(), self.count());
        let (start, end) = (number * total / count, (number + 1) * total / count);
        start + number * 7919 % (end - start)
    }

    /// What is done in a case, and how it is run again.
    fn tell(&self, case: usize) -> String {
        let what = self.cases.damage(self.row, case).tell(self.cases.reference);
        format!("damage --log {} --row {} --case {case}: {what}", self.log.name(), self.row.key())
    }
}

/// A case that was run.
struct Judged {
    verdict: Verdict,
    /// `None`: no repair was tried.
    repaired: Option<Repaired>,
}

/// What a worker is at, and since when.
type AtWork = Mutex<Option<(Instant, usize)>>;

fn run_row(run: &Run<'_>, table: &mut Table, progress: &mut dyn FnMut(Progress)) {
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let at_work: [AtWork; THREADS] = [const { Mutex::new(None) }; THREADS];
    let mut tally = Tally::new(run.row, run.log, u64::try_from(run.total()).unwrap_or(u64::MAX));
    let mut done = 0;
    thread::scope(|scope| {
        let (sender, results) = channel();
        for at_work in &at_work {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || work(run, next, at_work, &sender));
        }
        drop(sender);
        loop {
            match results.recv_timeout(Duration::from_secs(1)) {
                Ok(Part { tally: part, violations }) => {
                    tally.add(&part);
                    for violation in violations {
                        table.violate(&mut tally, violation);
                    }
                    done += usize::try_from(part.cases).unwrap_or_default();
                    progress(Progress { row: run.row, log: run.log, done, of: run.count(), violated: table.violated });
                }
                Err(RecvTimeoutError::Timeout) => at_work.iter().for_each(|at_work| end_if_hung(run, at_work)),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    tally.took = started.elapsed();
    table.tallies.push(tally);
}

fn end_if_hung(run: &Run<'_>, at_work: &AtWork) {
    let at = *at_work.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((since, case)) = at
        && since.elapsed() > HANG
    {
        eprintln!("hangs: {}", run.tell(case));
        std::process::abort();
    }
}

/// What came of some cases.
struct Part {
    tally: Tally,
    violations: Vec<String>,
}

fn work(run: &Run<'_>, next: &AtomicUsize, at_work: &AtWork, results: &Sender<Part>) {
    let mut copy = run.cases.reference.disk.snapshot();
    loop {
        // Relaxed: only the numbers have to differ.
        let first = next.fetch_add(CASES_TAKEN, Ordering::Relaxed);
        let taken = first..(first + CASES_TAKEN).min(run.count());
        if taken.is_empty() {
            return;
        }
        let mut part = Part { tally: Tally::new(run.row, run.log, 0), violations: Vec::new() };
        for number in taken {
            let case = run.pick(number);
            let started = Instant::now();
            *at_work.lock().unwrap_or_else(PoisonError::into_inner) = Some((started, case));
            let mut outcome = Err(String::new());
            let largest = largest_during(|| outcome = judge(run, case, &mut copy));
            part.tally.cases += 1;
            part.tally.largest = part.tally.largest.max(largest);
            part.tally.longest = part.tally.longest.max(started.elapsed());
            let outcome = outcome.and_then(|verdict| {
                let bounded = largest <= PIECE_BYTES_MAX;
                if bounded { Ok(verdict) } else { Err(format!("{largest} bytes of memory in one piece")) }
            });
            match outcome {
                Ok(judged) => {
                    part.tally.count(judged.verdict);
                    part.tally.repaired += u64::from(judged.repaired == Some(Repaired::Done));
                    part.tally.unrepaired += u64::from(judged.repaired == Some(Repaired::Refused));
                }
                Err(violation) => part.violations.push(format!("{}: {violation}", run.tell(case))),
            }
        }
        *at_work.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // Whoever listens no more has nothing to be told.
        let _unheard = results.send(part);
    }
}

/// One case, on the copy if it can be taken back there.
fn judge(run: &Run<'_>, case: usize, copy: &mut MemoryDisk) -> Result<Judged, String> {
    let reference = run.cases.reference;
    let damage = run.cases.damage(run.row, case);
    if damage.only_stores() && damage.hits(reference).is_empty() {
        // The copy would be the reference itself.
        return Ok(Judged { verdict: Verdict::Harmless(Proof::SameBytes), repaired: None });
    }
    let disk = if damage.only_stores() { copy.clone() } else { reference.disk.snapshot() };
    damage.apply(reference, &disk);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let judge = Case::new(reference, &damage);
        let verdict = judge.run(&disk)?;
        let repaired = run.is_repaired(case).then(|| judge.repaired(&disk)).transpose()?;
        Ok(Judged { verdict, repaired })
    }));
    damage.take_back(reference, &disk);
    outcome.unwrap_or_else(|panic| {
        *copy = reference.disk.snapshot();
        Err(format!("panicked: {}", text_of(&*panic)))
    })
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("with no text")
}
