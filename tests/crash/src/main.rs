//! Long runs against the engine: power loss at any moment, inside recovery too, death by SIGKILL, damage of every
//! kind, and system calls that fail.
//!
//! Guarantees:
//! 1. A violation ends the program with exit code 1, and prints the line that runs it again, as short as it could be made.
//! 2. Two runs with the same arguments do the same, save for how far they come in the time; real processes die at moments
//!    that no seed decides.

mod bugs;
mod damage;
mod drive;
mod errno;
mod exhaustive;
mod kill;
mod power;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use harness::allocation::Noting;

#[global_allocator]
static ALLOCATOR: Noting = Noting;

/// Crash the engine in every way there is, and judge what it makes of it
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bugs(bugs::Arguments),
    Kill(kill::Arguments),
    Power(power::Arguments),
    Exhaustive(exhaustive::Arguments),
    Damage(damage::Arguments),
    Errno(errno::Arguments),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Bugs(arguments) => bugs::run(&arguments),
        Command::Kill(arguments) => kill::run(&arguments),
        Command::Power(arguments) => power::run(&arguments),
        Command::Exhaustive(arguments) => exhaustive::run(&arguments),
        Command::Damage(arguments) => damage::run(&arguments),
        Command::Errno(arguments) => errno::run(&arguments),
    }
}
