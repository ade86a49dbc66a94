//! `esker`, the command-line tool: puts events into a log, shows them, says what state a log is in, repairs it, and says
//! how fast it is.
//!
//! Guarantees:
//! 1. stdout is data, stderr is talk; what was printed reaches stdout before an error reaches stderr.
//! 2. A command that only looks goes through `esker::Attached` or `esker::inspect`: it changes nothing.
//! 3. Exit codes mean what [`failure`] says, and every message says what to do next.
//!
//! One command is one file under `command`.

mod command;
mod failure;
mod interrupt;
mod output;
mod progress;
mod text;
mod time;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use command::{bench, compact, cursors, dump, get, import, info, ls, repair, retain, segment, verify};
use failure::Failure;
use output::{ColorChoice, Output};

const EXIT_CODES: &str = "\
Exit codes: 0 done, clean or found; 1 the answer is no (damage found, no such key); 2 usage or input/output; 3 locked by a writer;
4 a repair was refused, as it would give up what was durable; 130 interrupted. A torn tail alone is 0: it is what a crash looks like.";

/// Event logs on disk: import, dump, look at, verify, repair and measure them.
#[derive(Debug, Parser)]
#[command(name = "esker", version, about, after_help = EXIT_CODES)]
struct Arguments {
    /// When to use colour; `auto` means on a terminal, unless `NO_COLOR` is set
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    color: ColorChoice,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(import::Arguments),
    Cursors(cursors::Arguments),
    Dump(dump::Arguments),
    Get(get::Arguments),
    Info(info::Arguments),
    Ls(ls::Arguments),
    Verify(verify::Arguments),
    Repair(repair::Arguments),
    Retain(retain::Arguments),
    Compact(compact::Arguments),
    Segment(segment::Arguments),
    Bench(bench::Arguments),
}

impl Command {
    fn run(&self, output: &mut Output) -> Result<(), Failure> {
        match self {
            Self::Import(arguments) => import::run(arguments, output),
            Self::Cursors(arguments) => cursors::run(arguments, output),
            Self::Dump(arguments) => dump::run(arguments, output),
            Self::Get(arguments) => get::run(arguments, output),
            Self::Info(arguments) => info::run(arguments, output),
            Self::Ls(arguments) => ls::run(arguments, output),
            Self::Verify(arguments) => verify::run(arguments, output),
            Self::Repair(arguments) => repair::run(arguments, output),
            Self::Retain(arguments) => retain::run(arguments, output),
            Self::Compact(arguments) => compact::run(arguments, output),
            Self::Segment(arguments) => segment::run(arguments, output),
            Self::Bench(arguments) => bench::run(arguments, output),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut output = Output::new(arguments.color);
    let done = interrupt::install().and_then(|()| arguments.command.run(&mut output));
    let written = output.finish();
    interrupt::let_it_end();
    match failure::first(done, written) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(arguments.color);
            ExitCode::from(failure.exit_code())
        }
    }
}
