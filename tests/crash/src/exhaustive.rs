//! Power loss on a simulated disk, all of it: every short workload, event and outcome.
//!
//! Guarantees:
//! 1. Without a failure every workload of at most so many operations was tried.

use std::process::ExitCode;

use harness::crash;

use crate::drive::{Range, drive};

/// Try every outcome of power loss at every event of every short workload
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Operations of the longest workload
    #[arg(long, default_value_t = 3)]
    operations: u32,
    /// Try all subsets of at most so many sectors, names and lengths that are not settled
    #[arg(long, default_value_t = 12)]
    sectors: usize,
    /// Where more are not settled, try so many subsets by dice
    #[arg(long, default_value_t = 64)]
    sample: u64,
    /// Threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    threads: u64,
    /// Run only the workload of this number
    #[arg(long)]
    only: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let all = crash::workloads(arguments.operations);
    let range = Range {
        first: arguments.only.unwrap_or(0),
        end: Some(arguments.only.map_or(all, |only| only + 1)),
        time: None,
        threads: arguments.threads,
    };
    drive(range, &|number| {
        let outcome = crash::exhaust(number, arguments.sectors, arguments.sample);
        let failure = outcome.violation.map(|violation| {
            format!("violation: {violation}\n{}\nreplay: exhaustive --only {number}", crash::workload(number))
        });
        (outcome.totals, failure)
    })
}
