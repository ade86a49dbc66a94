//! The complete damage matrix.
//!
//! Guarantees:
//! 1. Exit code 0 if and only if every case that was asked for held.
//! 2. One case is run by itself if its row, log and number are given, as a violation prints them.

use std::process::ExitCode;

use harness::damage::{End, PIECE_BYTES_MAX, Row, Share, Tally, run as run_matrix};

/// Damage two logs of 64 KiB in every way there is, and judge what is said of it
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// At most so many cases of each row and log, spread over all of it
    #[arg(long, conflicts_with = "case")]
    at_most: Option<usize>,
    /// Run only the case of this number
    #[arg(long, requires = "row", requires = "log")]
    case: Option<usize>,
    /// ... of this row
    #[arg(long, requires = "case", value_parser = row)]
    row: Option<Row>,
    /// ... on this log
    #[arg(long, requires = "case", value_parser = log)]
    log: Option<End>,
}

impl Arguments {
    fn share(&self) -> Share {
        match (self.row, self.log, self.case) {
            (Some(row), Some(log), Some(case)) => Share::One { row, log, case },
            _ => self.at_most.map_or(Share::Complete, Share::AtMost),
        }
    }
}

fn row(key: &str) -> Result<Row, String> {
    let rows = Row::ALL.map(Row::key);
    Row::ALL.into_iter().find(|row| row.key() == key).ok_or_else(|| format!("the rows are {}", rows.join(", ")))
}

fn log(name: &str) -> Result<End, String> {
    let logs = End::ALL.map(End::name);
    End::ALL.into_iter().find(|log| log.name() == name).ok_or_else(|| format!("the logs are {}", logs.join(", ")))
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let table = run_matrix(arguments.share(), &mut |at| {
        if at.done == at.of {
            eprintln!("{}, {} log: {} cases, {} violations so far", at.row.name(), at.log.name(), at.of, at.violated);
        }
    });
    println!("{table}");
    if let (Some(case), 0) = (arguments.case, table.cases()) {
        eprintln!("case {case}: the row has {}", table.tallies.iter().map(|tally| tally.of).sum::<u64>());
        return ExitCode::from(2);
    }
    let unnoted = |tally: &Tally| tally.cases > 0 && !(1..=PIECE_BYTES_MAX).contains(&tally.largest);
    if table.violated > 0 || table.tallies.iter().any(unnoted) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
