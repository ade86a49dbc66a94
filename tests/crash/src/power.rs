//! Power loss on a simulated disk, by seeds.
//!
//! Guarantees:
//! 1. Each seed is one plan, and decides everything in its run.

use std::process::ExitCode;
use std::time::Duration;

use harness::crash::{self, Conditions, Tempo};
use harness::memory::Honesty;

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
    #[arg(long, default_value_t = 1)]
    threads: u64,
    /// Take an image at one event in so many
    #[arg(long, default_value_t = 2)]
    every: u64,
    /// On a disk that acknowledges syncs and writes nothing: to see that violations are found
    #[arg(long)]
    lying: bool,
    /// Run only this seed, and of its plan only these operations; prints them
    #[arg(long, value_delimiter = ',')]
    only: Option<Vec<usize>>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let honesty = if arguments.lying { Honesty::Lying } else { Honesty::Honest };
    let conditions = Conditions { tempo: Tempo::OneIn(arguments.every), honesty };
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
            Some(failure) => format!("{failure} --every {}", arguments.every),
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
