//! The complete damage matrix.
//!
//! Guarantees:
//! 1. Exit code 0 if and only if every case of every row held.

use std::process::ExitCode;

use harness::damage::{PIECE_BYTES_MAX, Share, Tally, run as run_matrix};

/// Damage two logs of 64 KiB in every way there is, and judge what is said of it
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// At most so many cases of each row and log, spread over all of it
    #[arg(long)]
    at_most: Option<usize>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let share = arguments.at_most.map_or(Share::Complete, Share::AtMost);
    let table = run_matrix(share, &mut |at| {
        if at.done == at.of {
            eprintln!("{}, {} log: {} cases, {} violations so far", at.row.name(), at.log, at.of, at.violated);
        }
    });
    println!("{table}");
    let unnoted = |tally: &Tally| tally.cases > 0 && !(1..=PIECE_BYTES_MAX).contains(&tally.largest);
    if table.violated > 0 || table.tallies.iter().any(unnoted) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
