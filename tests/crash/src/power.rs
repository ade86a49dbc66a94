//! Power loss on a simulated disk, by seeds.
//!
//! Guarantees:
//! 1. Each seed is one plan, and decides everything in its run.

use std::process::ExitCode;
use std::time::Duration;

use harness::crash::{self, Tempo};

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
    /// Run only this seed, and of its plan only these operations; prints them
    #[arg(long, value_delimiter = ',')]
    only: Option<Vec<usize>>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let tempo = Tempo::OneIn(arguments.every);
    if let Some(only) = &arguments.only {
        return replay(arguments.seed, only, tempo);
    }
    let range = Range {
        first: arguments.seed,
        end: arguments.seeds.map(|seeds| arguments.seed.saturating_add(seeds)),
        time: arguments.seeds.is_none().then(|| Duration::from_secs_f64(arguments.minutes * 60.0)),
        threads: arguments.threads,
    };
    drive(range, &|seed| {
        let (_, outcome) = crash::replay(seed, None, tempo);
        let failure = outcome.violation.map(|violation| match crash::shrink(seed, tempo) {
            Some(failure) => format!("{failure} --every {}", arguments.every),
            None => format!("seed {seed} failed once, and not again: {violation}"),
        });
        (outcome.totals, failure)
    })
}

fn replay(seed: u64, only: &[usize], tempo: Tempo) -> ExitCode {
    let (plan, outcome) = crash::replay(seed, Some(only), tempo);
    println!("{plan}\n{}\ntrace {:016x}", outcome.totals, outcome.trace);
    match outcome.violation {
        Some(violation) => {
            println!("violation: {violation}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}
