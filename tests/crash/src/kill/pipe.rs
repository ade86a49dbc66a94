//! How a child process tells its parent what it did.
//!
//! Guarantees:
//! 1. A line is one system call: a line that arrived is whole, and what it says came before it was said.
//! 2. A child whose parent is gone ends.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

/// The child's end.
#[derive(Debug)]
pub(super) struct Pipe(File);

impl Pipe {
    /// Stdout, without a buffer.
    pub(super) fn of_child() -> Self {
        Self(std::io::stdout().as_fd().try_clone_to_owned().expect("a second handle of stdout").into())
    }

    pub(super) fn say(&self, words: &str) {
        if (&self.0).write_all(format!("{words}\n").as_bytes()).is_err() {
            // Nobody listens any more.
            std::process::exit(0);
        }
    }
}

/// Ends this process when the parent's end of stdin is gone.
pub(super) fn wait_for_parent() -> ! {
    let mut nothing = [0];
    while matches!(std::io::stdin().read(&mut nothing), Ok(1..)) {}
    std::process::exit(0);
}

/// Starts this program as a child, and a thread that hears it.
pub(super) fn start(arguments: &[&std::ffi::OsStr]) -> (Child, Receiver<String>) {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.arg("kill").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    let pipe = child.stdout.take().expect("a pipe");
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    (child, lines)
}

/// The numbers of a line, behind its first word.
pub(super) fn parse(line: &str) -> (&str, Vec<u64>) {
    let mut words = line.split(' ');
    let what = words.next().unwrap_or_default();
    let numbers: Option<Vec<u64>> = words.map(|word| word.parse().ok()).collect();
    (what, numbers.unwrap_or_default())
}
