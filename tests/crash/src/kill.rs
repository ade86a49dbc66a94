//! Kill -9: a writer process is killed in the middle of appends, rolls, commits of a consumer, checkpoints, recoveries and
//! closes, over and over on the same directory, beside reader processes that attach, follow, and are killed in turn.
//!
//! Guarantees:
//! 1. Writers, readers and what was recovered are judged by the [oracle](harness::oracle), the same as in simulated runs.
//! 2. A run that did not die where deaths are of interest fails: what it says it tested, it tested.
//! 3. One seed decides what is written and when it is to be killed; the timing of a second run differs.

mod chronicle;
mod ledger;
mod life;
mod pipe;
mod plan;
mod reader;
mod readers;
mod stretch;
mod verdict;
mod writer;

use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::Dice;

use readers::Tally;
use stretch::Stretch;

/// After so many cycles a new directory is begun, so that reading all of it stays cheap.
const STRETCH_CYCLES: u64 = 7;
/// Unless said, and without a time.
const CYCLES: u64 = 200;
/// A run of so many says of itself whether it tested anything.
const CYCLES_TELLING: u64 = 100;
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Kill a writer process at random moments, beside reader processes
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Deaths of writers; 200, unless a time is given
    #[arg(long)]
    cycles: Option<u64>,
    /// End after so long
    #[arg(long)]
    minutes: Option<f64>,
    /// The seed; from the clock if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Reader processes beside the writer
    #[arg(long, default_value_t = 2)]
    readers: u64,
    #[command(subcommand)]
    child: Option<Child>,
}

/// What the children of a run do.
#[derive(Debug, clap::Subcommand)]
enum Child {
    #[command(hide = true)]
    Writer { folder: PathBuf, seed: u64 },
    #[command(hide = true)]
    Reader { folder: PathBuf, seed: u64, habit: reader::Habit },
}

/// What all cycles together came to.
#[derive(Debug, Default)]
struct Totals {
    cycles: u64,
    /// Records compared, each time that they were read.
    records_checked: u64,
    frames_reported: u64,
    /// Frames that were there without a report, of which the oracle had to find out whose they are.
    frames_unreported: u64,
    durable_reports: u64,
    /// Opens that followed an unclean end, by writers or by this process.
    recoveries: u64,
    clean_opens: u64,
    /// Writers that died before their open was through.
    died_opening: u64,
    /// ... with a frame visible that they had no time to report.
    died_unreported: u64,
    /// ... after they rolled and before the next segment was prepared.
    died_rolling: u64,
    /// ... when all was appended: idle, or in the middle of a close.
    died_done: u64,
    closed: u64,
    /// Commits of the consumer that were reported.
    moves_reported: u64,
    /// Inputs whose output was found, and its place in the order.
    outputs_checked: u64,
    /// Deaths with an unfinished checkpoint, and with one that was there while the oldest was not removed yet.
    died_drafting: u64,
    died_tidying: u64,
    /// Opens that loaded a checkpoint, and looks at the same log without any.
    checkpoints_loaded: u64,
    looks_without: u64,
    /// The most recoveries of one directory without a clean end between.
    stacked_most: u64,
    readers: Tally,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.child {
        Some(Child::Writer { folder, seed }) => writer::live(folder, *seed),
        Some(Child::Reader { folder, seed, habit }) => reader::live(folder, *seed, *habit),
        None => return judge(arguments),
    }
    ExitCode::SUCCESS
}

fn judge(arguments: &Arguments) -> ExitCode {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
    let seed = arguments.seed.unwrap_or(u64::from(time));
    let started = Instant::now();
    let mut totals = Totals::default();
    // What was found wrong is a panic, and says so on stderr.
    let lived = panic::catch_unwind(AssertUnwindSafe(|| {
        cycle(arguments, seed, started, &mut totals);
        totals.check_coverage();
    }));
    println!("{totals:#?}");
    println!("{:.1} s, seed {seed}", started.elapsed().as_secs_f64());
    if lived.is_ok() {
        return ExitCode::SUCCESS;
    }
    let (cycles, readers) = (totals.cycles + 1, arguments.readers);
    println!("violation; again, in other timing: esker-crash kill --seed {seed} --cycles {cycles} --readers {readers}");
    ExitCode::FAILURE
}

fn cycle(arguments: &Arguments, seed: u64, started: Instant, totals: &mut Totals) {
    let deadline = arguments.minutes.map(|minutes| started + Duration::from_secs_f64(minutes * 60.0));
    let cycles = arguments.cycles.unwrap_or(if deadline.is_some() { u64::MAX } else { CYCLES });
    let is_over =
        |totals: &Totals| totals.cycles >= cycles || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let mut dice = Dice::new(seed);
    let mut next_line = started + LINE_EVERY;
    while !is_over(totals) {
        let mut stretch = Stretch::begin(arguments.readers);
        for _ in 0..STRETCH_CYCLES {
            if is_over(totals) {
                break;
            }
            stretch.cycle(&mut dice, totals);
        }
        stretch.end();
        if Instant::now() >= next_line {
            eprintln!("{:.0} s: {} cycles", started.elapsed().as_secs_f64(), totals.cycles);
            next_line += LINE_EVERY;
        }
    }
}

impl Totals {
    /// That the run died where it says it did. The bounds are far below what is usual, so that no honest run misses them.
    fn check_coverage(&self) {
        if self.cycles < CYCLES_TELLING {
            return;
        }
        let (cycles, tally) = (self.cycles, &self.readers);
        assert!(self.records_checked > 100 * cycles && self.frames_reported > 10 * cycles, "{self:?}");
        assert!(self.durable_reports > cycles && self.recoveries > cycles, "{self:?}");
        assert!(self.died_rolling > cycles / 50 && self.died_done > cycles / 50, "{self:?}");
        assert!(self.died_opening > 0 && self.died_unreported > 0, "{self:?}");
        assert!(self.moves_reported > cycles && self.outputs_checked > 100 * cycles, "{self:?}");
        assert!(self.died_drafting > cycles / 50 && self.checkpoints_loaded > cycles / 2, "{self:?}");
        assert!(self.looks_without > cycles / 4, "{self:?}");
        assert!(self.closed > 0 && self.clean_opens > 0 && self.stacked_most > 2, "{self:?}");
        if tally.started == 0 {
            return;
        }
        assert!(tally.sights > 10 * cycles && tally.durable_sights > cycles, "{self:?}");
        assert!(tally.states > cycles && tally.attached > cycles, "{self:?}");
        assert!(tally.followed > cycles / 50 && tally.killed > cycles / 50, "{self:?}");
    }
}
