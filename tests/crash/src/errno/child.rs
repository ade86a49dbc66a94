//! The process whose system calls fail: one act of a life, and a line for all that it says.
//!
//! Guarantees:
//! 1. A line is one `writev`, a call that the engine never makes: the lines get through whatever else fails.
//! 2. What lies between the lines `begin` and `end` is the act, and nothing else.

use std::fs::File;
use std::io::{IoSlice, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;

use harness::life::{Act, Directory};

/// The first line, and the last.
pub(super) const BEGIN: &str = "begin";
pub(super) const END: &str = "end";

pub(super) fn live(act: &str, folder: &Path) -> ExitCode {
    let Some(act) = Act::named(act) else { return ExitCode::from(2) };
    let Ok(stdout) = std::io::stdout().as_fd().try_clone_to_owned() else { return ExitCode::from(2) };
    let mut stdout = File::from(stdout);
    let mut line = |text: String| {
        // A line is shorter than what a pipe takes at once. If nobody listens any more, nobody judges either.
        let _heard = stdout.write_vectored(&[IoSlice::new(text.as_bytes()), IoSlice::new(b"\n")]);
    };
    line(BEGIN.to_owned());
    act.live(&Directory(folder), &mut |said| line(said.to_string()));
    line(END.to_owned());
    ExitCode::SUCCESS
}
