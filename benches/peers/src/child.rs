//! A pass in a process of its own: its memory, threads and files end with it, and touch no other pass.
//!
//! Guarantees:
//! 1. The folder of a pass is a temporary one, and is removed.
//! 2. What is dirty in the file system is on disk before a pass begins.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

use crate::pass::{Order, Outcome, settle};

/// The command that a child is started with; not for people.
pub const PASS: &str = "pass";

/// Begins the line that a child answers with: engines may talk on standard output too.
const ANSWER: &str = "outcome: ";

/// Runs a pass in a new folder below `data`.
pub fn run(mut order: Order, data: &Path) -> Result<Outcome> {
    let folder = tempfile::Builder::new().prefix("peers-").tempdir_in(data)?;
    folder.path().clone_into(&mut order.folder);
    settle(data)?;
    let outcome = answer(&command(Command::new(std::env::current_exe()?), &order)?.output()?);
    folder.close()?;
    outcome.with_context(|| format!("{}, {}", order.engine, order.workload.name()))
}

/// Adds what makes a command run this pass.
pub fn command(mut command: Command, order: &Order) -> Result<Command> {
    // The one way to tell walrus where its files lie, and to be silent.
    command.env("WALRUS_DATA_DIR", &order.folder).env("WALRUS_QUIET", "1").current_dir(&order.folder);
    command.arg(PASS).arg(serde_json::to_string(order)?);
    Ok(command)
}

/// What a child printed for its parent.
pub fn print(outcome: &Outcome) -> Result<()> {
    println!("\n{ANSWER}{}", serde_json::to_string(outcome)?);
    Ok(())
}

pub fn answer(output: &Output) -> Result<Outcome> {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().rev().find_map(|line| line.strip_prefix(ANSWER));
    match line {
        Some(line) if output.status.success() => Ok(serde_json::from_str(line)?),
        _ => bail!("the pass failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim()),
    }
}
