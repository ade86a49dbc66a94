//! Each system call of a short life fails: on the disk in memory, and, with `--strace`, for real.
//!
//! Guarantees:
//! 1. In memory every call of the engine is failed with every error that it can meet, once and for good, unless `--step` says
//!    otherwise; see [`harness::errno`].
//! 2. What is left out is said, and why.

mod child;
mod strace;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use harness::errno::{ERRORS, Swept, sweep};
use harness::life::Act;

/// Fail each system call of a short life, once and for good
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// In memory, fail each so many calls one
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    step: u16,
    /// Fail system calls of a process on a directory too, with strace
    #[arg(long)]
    strace: bool,
    /// With strace: only these system calls
    #[arg(long, value_delimiter = ',')]
    syscalls: Vec<String>,
    /// With strace: of the calls of one kind in one act at most so many, evenly spread
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..))]
    most: u64,
    /// With strace: where the directories are made; the system's folder for temporary files, unless said
    #[arg(long)]
    folder: Option<PathBuf>,
    #[command(subcommand)]
    child: Option<Child>,
}

/// What the processes do whose calls fail.
#[derive(Debug, clap::Subcommand)]
enum Child {
    #[command(hide = true)]
    Life { act: String, folder: PathBuf },
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    if let Some(Child::Life { act, folder }) = &arguments.child {
        return child::live(act, folder);
    }
    let outcome = in_memory(arguments).and_then(|()| if arguments.strace { strace::sweep(arguments) } else { Ok(()) });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(violation) => {
            println!("violation: {violation}");
            ExitCode::FAILURE
        }
    }
}

fn in_memory(arguments: &Arguments) -> Result<(), String> {
    let started = Instant::now();
    let mut all = Swept::default();
    for act in Act::ALL {
        for (first, error) in (0..).zip(ERRORS) {
            let swept = sweep(act, error, first % u64::from(arguments.step), usize::from(arguments.step))?;
            println!("in memory, {}, {}: {swept}", act.name(), error.name);
            all.add(swept);
        }
    }
    println!("in memory: {all}; {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}
