//! Long runs against the engine: power loss at any moment, inside recovery too, and death by SIGKILL.
//!
//! Guarantees:
//! 1. A violation ends the program with exit code 1, and prints the line that runs it again, as short as it could be made.
//! 2. Two runs with the same arguments do the same, save for how far they come in the time; real processes die at moments
//!    that no seed decides.

mod kill;
mod power;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Crash the engine in every way there is, and judge what it makes of it
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Kill(kill::Arguments),
    Power(power::Arguments),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Kill(arguments) => kill::run(&arguments),
        Command::Power(arguments) => power::run(&arguments),
    }
}
