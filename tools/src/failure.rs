//! Why a command did not come to a good end, and the exit code that says so.
//!
//! Guarantees:
//! 1. 1: the answer is no (damage found, no such key); 2: usage or input/output; 3: locked by a writer; 4: a repair was refused, as it
//!    would give up what was durable; 0: done, or the reader of the output has gone. (130, interrupted, is [`interrupt`](crate::interrupt)'s.)
//! 2. A message says what to do next. A reader of the output that has gone is no news: there is no message.

use std::error::Error as _;
use std::fmt;
use std::io::{self, Write as _};

use esker::ErrorKind;

use crate::output::{ColorChoice, Ink, Inks};

/// Why a command ended.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine said so.
    Engine(esker::Error),
    /// The engine said so about one line of the input.
    Line { number: u64, error: esker::Error },
    /// What was given to the command makes no sense, or cannot be read.
    Input(String),
    /// stdout took no more.
    Output(io::Error),
    /// What was looked at is damaged; the findings were printed.
    Damage(String),
    /// What was asked for is not there.
    NotThere(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Damage(_) | Self::NotThere(_) => 1,
            Self::Engine(error) | Self::Line { error, .. } => match error.kind() {
                ErrorKind::Corrupt | ErrorKind::Gap { .. } => 1,
                ErrorKind::Locked => 3,
                ErrorKind::Loss => 4,
                _ => 2,
            },
            // Whoever reads has seen enough: no failure of ours, and none of the pipeline.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Input(_) | Self::Output(_) => 2,
        }
    }

    /// Says on stderr what is wrong.
    pub(crate) fn report(&self, color: ColorChoice) {
        let silent = matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe);
        if !silent {
            let inks = Inks::on_stderr(color);
            say(&format!("{} {self}", inks.paint(Ink::Alarm, "esker:")));
        }
    }
}

/// What a command ends with. A verdict that nobody can read, since stdout took it not, is none.
pub(crate) fn first(done: Result<(), Failure>, written: Result<(), Failure>) -> Result<(), Failure> {
    match (&done, &written) {
        (Err(verdict), Err(unheard)) if verdict.exit_code() != 2 && unheard.exit_code() == 2 => written,
        _ => done.and(written),
    }
}

/// A line on stderr; there is nobody to tell if that fails.
pub(crate) fn say(text: &str) {
    let _unheard = writeln!(io::stderr(), "{text}");
}

/// The next step for what the operating system refused, where the engine names none.
fn next_step(error: &esker::Error) -> Option<&'static str> {
    if error.advice().is_some() {
        return None;
    }
    let source = error.source()?.downcast_ref::<io::Error>()?;
    match source.kind() {
        io::ErrorKind::NotFound => Some("check the path; 'esker import' makes a log"),
        io::ErrorKind::PermissionDenied => Some("check who owns the directory and who may read and write it"),
        io::ErrorKind::ReadOnlyFilesystem => Some("remount it writable, or copy the log elsewhere"),
        _ => Some("check what stands there, and whether it is a log's"),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => write!(f, "{error}")?,
            Self::Line { number, error } => {
                let own = matches!(error.kind(), ErrorKind::Limit | ErrorKind::Invalid);
                let then = if own { "mend the line, import the rest" } else { "then import the rest" };
                write!(f, "line {number}: {error}; everything before it is in the log: {then}")?;
            }
            Self::Input(text) | Self::Damage(text) | Self::NotThere(text) => f.write_str(text)?,
            Self::Output(error) => {
                write!(f, "write to standard output: {error}; free some space, or send it elsewhere")?;
            }
        }
        match self {
            Self::Engine(error) => next_step(error).map_or(Ok(()), |step| write!(f, "; {step}")),
            _ => Ok(()),
        }
    }
}

impl From<esker::Error> for Failure {
    fn from(error: esker::Error) -> Self {
        Self::Engine(error)
    }
}
