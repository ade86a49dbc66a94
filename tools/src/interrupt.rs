//! What happens on an interrupt (Ctrl-C): an open log is closed, which makes its records durable; a child is ended and a
//! folder that was only there for the run is removed; then exit code 130.
//!
//! Guarantees:
//! 1. The handler holds [`LEFT_BEHIND`] to the end of the process: whoever opens, closes, starts or removes through this
//!    module meanwhile waits for that end, so nothing comes back after it was removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Child};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use esker::{Log, Options};

use crate::failure::{Failure, say};

const EXIT_INTERRUPTED: i32 = 130;

/// What an interrupt would leave behind, if nobody saw to it.
struct LeftBehind {
    /// To be closed first.
    log: Option<Log>,
    /// To be killed next.
    child: Option<Child>,
    /// To be removed last.
    folder: Option<PathBuf>,
}

static LEFT_BEHIND: Mutex<LeftBehind> = Mutex::new(LeftBehind { log: None, child: None, folder: None });
/// Release in the handler; pairs with the Acquire in [`let_it_end`].
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

pub(crate) fn install() -> Result<(), Failure> {
    ctrlc::set_handler(handle)
        .map_err(|error| Failure::Input(format!("listen for interrupts: {error}; run it from a terminal or a shell")))
}

fn handle() {
    INTERRUPTED.store(true, Ordering::Release);
    let mut left = left_behind();
    let closed = left.log.take().map(Log::close);
    if let Some(mut child) = left.child.take() {
        let _ended_by_itself = child.kill();
        let _nobody_asks = child.wait();
    }
    match (closed, left.folder.take()) {
        (_, Some(folder)) => match remove(&folder) {
            Ok(()) => say("esker: interrupted; what was only there for the run is removed"),
            Err(error) => say(&format!("esker: interrupted; remove {} by hand: {error}", folder.display())),
        },
        (Some(Ok(())), None) => say("esker: interrupted; the log is closed, and what it holds is durable"),
        (Some(Err(error)), None) => say(&format!("esker: interrupted; {error}")),
        (None, None) => {}
    }
    process::exit(EXIT_INTERRUPTED);
}

fn left_behind() -> MutexGuard<'static, LeftBehind> {
    LEFT_BEHIND.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// From now on an interrupt closes this log.
pub(crate) fn close_first(log: &Log) {
    left_behind().log = Some(log.clone());
}

/// The log is about to be closed in the ordinary way.
pub(crate) fn nothing_to_close() {
    left_behind().log = None;
}

/// Opens a log that an interrupt closes.
pub(crate) fn open(options: &Options, folder: &Path) -> Result<Log, esker::Error> {
    let mut left = left_behind();
    let log = options.open(folder)?;
    left.log = Some(log.clone());
    Ok(log)
}

/// Makes a folder, or names one to come, that an interrupt removes.
pub(crate) fn remove_at_last(make: impl FnOnce() -> io::Result<PathBuf>) -> io::Result<PathBuf> {
    let mut left = left_behind();
    let folder = make()?;
    left.folder = Some(folder.clone());
    Ok(folder)
}

/// Removes the folder now; it may come and go again.
pub(crate) fn remove_now(folder: &Path) -> io::Result<()> {
    let _held = left_behind();
    remove(folder)
}

/// The folder stays from now on.
pub(crate) fn nothing_to_remove() {
    left_behind().folder = None;
}

/// Starts a child that an interrupt kills.
pub(crate) fn start<T>(command: &mut process::Command, take: impl FnOnce(&mut Child) -> T) -> io::Result<T> {
    let mut left = left_behind();
    let mut child = command.spawn()?;
    let taken = take(&mut child);
    left.child = Some(child);
    Ok(taken)
}

/// Kills the child that was started, without giving it time for anything.
pub(crate) fn kill() -> io::Result<()> {
    let Some(mut child) = left_behind().child.take() else { return Ok(()) };
    child.kill()?;
    child.wait().map(drop)
}

/// After an interrupt: waits for the handler to end the process. The command may have failed only because its log was
/// closed under it.
pub(crate) fn let_it_end() {
    while INTERRUPTED.load(Ordering::Acquire) {
        thread::park();
    }
}
