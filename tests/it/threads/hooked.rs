//! A disk that does something else first: for tests that need two things to happen in one order.

use std::io;
use std::sync::Mutex;

use harness::{MemoryDisk, Watch, WatchedDisk};

type Action = Box<dyn FnOnce() + Send>;

pub(super) type HookedDisk = WatchedDisk<Hook>;

/// What to do something before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    List,
    OpenAnchor,
    OpenSegment,
    /// A sync of a range of a segment.
    Sync,
    /// Of a whole file.
    SyncFile,
    SyncDirectory,
}

#[derive(Default)]
pub(super) struct Hook(Mutex<Option<(Call, Action)>>);

pub(super) fn hooked(disk: MemoryDisk) -> HookedDisk {
    WatchedDisk::new(disk, Hook::default())
}

impl Hook {
    /// Does `action` once, before the next call of this kind goes through.
    pub(super) fn before_next(&self, call: Call, action: impl FnOnce() + Send + 'static) {
        *self.0.lock().expect("no action panics under the lock") = Some((call, Box::new(action)));
    }
}

impl Watch for Hook {
    fn before(&self, call: harness::Call<'_>) -> io::Result<()> {
        let call = match call {
            harness::Call::List => Call::List,
            harness::Call::Open("anchor") => Call::OpenAnchor,
            harness::Call::Open(_) => Call::OpenSegment,
            harness::Call::SyncRange(_) => Call::Sync,
            harness::Call::Sync(_) => Call::SyncFile,
            harness::Call::SyncDirectory => Call::SyncDirectory,
            _ => return Ok(()),
        };
        let action = {
            let mut armed = self.0.lock().expect("no action panics under the lock");
            if armed.as_ref().is_some_and(|(wanted, _)| *wanted == call) { armed.take() } else { None }
        };
        if let Some((_, action)) = action {
            action();
        }
        Ok(())
    }
}
