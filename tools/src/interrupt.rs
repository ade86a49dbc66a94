//! What happens on an interrupt (Ctrl-C): an open log is closed, which makes its records durable, then exit code 130.

use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use esker::Log;

use crate::failure::{Failure, say};

const EXIT_INTERRUPTED: i32 = 130;

/// The log to close first.
static OPEN_LOG: Mutex<Option<Log>> = Mutex::new(None);
/// Release in the handler; pairs with the Acquire in [`let_it_end`].
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

pub(crate) fn install() -> Result<(), Failure> {
    ctrlc::set_handler(handle)
        .map_err(|error| Failure::Input(format!("listen for interrupts: {error}; run it from a terminal or a shell")))
}

fn handle() {
    INTERRUPTED.store(true, Ordering::Release);
    let log = OPEN_LOG.lock().map_or(None, |mut open| open.take());
    if let Some(log) = log {
        match log.close() {
            Ok(()) => say("esker: interrupted; what was appended so far is durable"),
            Err(error) => say(&format!("esker: interrupted; {error}")),
        }
    }
    process::exit(EXIT_INTERRUPTED);
}

/// From now on an interrupt closes this log.
pub(crate) fn close_first(log: &Log) {
    if let Ok(mut open) = OPEN_LOG.lock() {
        *open = Some(log.clone());
    }
}

/// The log is about to be closed in the ordinary way.
pub(crate) fn nothing_to_close() {
    if let Ok(mut open) = OPEN_LOG.lock() {
        *open = None;
    }
}

/// After an interrupt: waits for the handler to end the process. The command may have failed only because its log was
/// closed under it.
pub(crate) fn let_it_end() {
    while INTERRUPTED.load(Ordering::Acquire) {
        thread::park();
    }
}
