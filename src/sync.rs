//! The one place where the log takes its locks and atomics from.
//!
//! Guarantees:
//! 1. Every lock and condition variable of the crate, every thread of a log, and every atomic but the commit words comes from
//!    here, so that a model checker can stand in: under `cfg(loom)` it does.
//! 2. Otherwise they are those of `parking_lot` and the standard library themselves, and a [`Witness`] is nothing.

#[cfg(loom)]
mod modelled;

#[cfg(loom)]
pub(crate) use loom::thread;
#[cfg(loom)]
pub(crate) use modelled::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, RwLock, RwLockWriteGuard, Witness};
#[cfg(not(loom))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockWriteGuard};
pub(crate) use std::sync::atomic::Ordering;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
#[cfg(not(loom))]
pub(crate) use std::thread;

#[cfg(not(loom))]
use std::ops::Range;
use std::time::Duration;

/// Tells a model which bytes of raw memory are stored and looked at: it sees locks and atomics by itself, these not.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct Witness;

#[cfg(not(loom))]
#[expect(clippy::unused_self, reason = "a model has something to tell")]
impl Witness {
    #[inline]
    pub(crate) fn new(_stored: u64) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn stores(&self, _range: Range<u64>) {}

    #[inline]
    pub(crate) fn looks(&self, _range: Range<u64>) {}
}

/// Wakes whoever waits for something to move. Whoever waits takes a [`Wake::ticket`] under the lock that guards the
/// thing; whoever moves it calls [`Wake::notify`] after. A move between the two is seen as another generation.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    generation: Mutex<u64>,
    moved: Condvar,
}

/// What was the generation when the waiter last looked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WakeTicket(u64);

impl Wake {
    pub(crate) fn ticket(&self) -> WakeTicket {
        WakeTicket(*self.generation.lock())
    }

    pub(crate) fn notify(&self) {
        let mut generation = self.generation.lock();
        *generation = generation.wrapping_add(1);
        drop(generation);
        self.moved.notify_all();
    }

    /// Blocks until a move after `ticket`, at most for `timeout`; tells whether there was one.
    pub(crate) fn wait(&self, ticket: WakeTicket, timeout: Duration) -> bool {
        let mut generation = self.generation.lock();
        self.moved.wait_while_for(&mut generation, |now| *now == ticket.0, timeout);
        *generation != ticket.0
    }
}
