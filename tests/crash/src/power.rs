//! Power loss on a simulated disk, by seeds.
//!
//! Guarantees:
//! 1. Each seed is one plan, and decides everything in its run.

use std::process::ExitCode;
use std::time::Duration;

use harness::crash::{self, Conditions, Conduct, Tempo};

use crate::drive::{Range, drive};

/// Lose power, or the process, at random moments of random lives of a log
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run for so long
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// The first seed; the others count up from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run so many seeds, however long it takes
    #[arg(long)]
    seeds: Option<u64>,
    /// Threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    threads: u64,
    /// Take an image at one event in so many
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// How the disk keeps its promises
    #[arg(long, value_enum, default_value_t = Disk::Honest)]
    disk: Disk,
    /// Run only this seed, and of its plan only these operations; prints them
    #[arg(long, value_delimiter = ',', num_args = 0..)]
    only: Option<Vec<usize>>,
}

/// How a disk keeps its promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Disk {
    /// All of them
    Honest,
    /// Syncs write nothing: to see that violations are found
    Lying,
    /// A torn sector damages what stands beside it: nothing wrong may be handed out
    Careless,
}

impl Disk {
    fn name(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::Lying => "lying",
            Self::Careless => "careless",
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let conduct = match arguments.disk {
        Disk::Honest => Conduct::Honest,
        Disk::Lying => Conduct::Lying,
        Disk::Careless => Conduct::Careless,
    };
    let conditions = Conditions { tempo: Tempo::OneIn(arguments.every), conduct };
    if let Some(only) = &arguments.only {
        return replay(arguments.seed, only, conditions);
    }
    let range = Range {
        first: arguments.seed,
        end: arguments.seeds.map(|seeds| arguments.seed.saturating_add(seeds)),
        time: arguments.seeds.is_none().then(|| Duration::from_secs_f64(arguments.minutes * 60.0)),
        threads: arguments.threads,
    };
    drive(range, &|seed| {
        let (_, outcome) = crash::replay(seed, None, conditions);
        let failure = outcome.violation.map(|violation| match crash::shrink(seed, conditions) {
            Some(failure) => format!("{failure} --every {} --disk {}", arguments.every, arguments.disk.name()),
            None => format!("seed {seed} failed once, and not again: {violation}"),
        });
        (outcome.totals, failure)
    })
}

fn replay(seed: u64, only: &[usize], conditions: Conditions) -> ExitCode {
    let (plan, outcome) = crash::replay(seed, Some(only), conditions);
    println!("{plan}\n{}\ntrace {:016x}", outcome.totals, outcome.trace);
    match outcome.violation {
        Some(violation) => {
            println!("violation: {violation}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}
