//! `esker bench`: how fast the engine is on this machine, and beside it what the machine can do without it.
//!
//! Guarantees:
//! 1. Nothing but a directory that was given and was empty, or a temporary folder, is written to.
//! 2. No figure is made up: what cannot be measured is said to be so, and is `null` in JSON.

mod append;
mod bare;
mod compact;
mod engine;
mod filling;
mod frame;
mod keyed;
mod latency;
mod limit;
mod lookup;
mod open;
mod pass;
mod pipeline;
mod rate;
mod report;
mod scan;
mod scratch;
mod wake;
mod work;

use clap::Subcommand;

use crate::failure::Failure;
use crate::output::Output;

/// Measure appends, scans, wakes, opens, lookups and compactions on this machine
///
/// Where there is one, a limit row stands beside the engine: the same work by a bare loop, in turns with it in the same
/// run. Ratios carry over to other machines better than rates do.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    Append(append::Arguments),
    Scan(scan::Arguments),
    Wake(wake::Arguments),
    Open(open::Arguments),
    Lookup(lookup::Arguments),
    Compact(compact::Arguments),
    #[command(hide = true)]
    Fill(open::Filling),
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    match &arguments.bench {
        Bench::Append(arguments) => append::run(arguments, output),
        Bench::Scan(arguments) => scan::run(arguments, output),
        Bench::Wake(arguments) => wake::run(arguments, output),
        Bench::Open(arguments) => open::run(arguments, output),
        Bench::Lookup(arguments) => lookup::run(arguments, output),
        Bench::Compact(arguments) => compact::run(arguments, output),
        Bench::Fill(filling) => open::run_filling(filling, output),
    }
}
