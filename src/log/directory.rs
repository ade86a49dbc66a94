//! Syncs of the directory, which several threads ask for.
//!
//! Guarantees:
//! 1. A name counts as durable only if no sync of the directory failed since it was changed, whoever asked for that sync: what
//!    it did not write, the system gives up, tells of it once, and calls the next sync a success.

use std::io;

use crate::platform::Disk;
use crate::sync::{AtomicU64, Mutex, Ordering};

/// Syncs the directory, and remembers how often that failed.
#[derive(Debug, Default)]
pub(crate) struct DirectorySyncs {
    /// Counted before `syncing` is let go, so that who syncs next finds it.
    failures: AtomicU64,
    syncing: Mutex<()>,
}

/// A name is being changed since so many failures.
#[derive(Debug)]
pub(crate) struct Changing(u64);

impl DirectorySyncs {
    /// To be called before a name is changed.
    pub(crate) fn begin(&self) -> Changing {
        // Relaxed: a count that is too low refuses a name that was safe, and it cannot be too high: what fails before the name
        // is changed does not concern it.
        Changing(self.failures.load(Ordering::Relaxed))
    }

    /// Makes the names durable that were changed since.
    pub(crate) fn sync(&self, disk: &dyn Disk, since: &Changing) -> io::Result<()> {
        let _syncing = self.syncing.lock();
        // Relaxed: it is changed under the lock alone.
        if self.failures.load(Ordering::Relaxed) != since.0 {
            let text = "another sync of the directory failed meanwhile, and may have given the name up";
            return Err(io::Error::other(text));
        }
        disk.sync_directory().inspect_err(|_| {
            self.failures.fetch_add(1, Ordering::Relaxed);
        })
    }
}
