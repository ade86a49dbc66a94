//! Locks, atomics and raw memory as the model checker loom sees them, under the names and signatures that the crate uses.
//!
//! Guarantees:
//! 1. Nothing here works outside of a model: there it panics.
//! 2. A timed wait never ends by its time. Who counts on the timeout to be woken makes the model fail with a deadlock, as
//!    who waits without one.
//! 3. A look at bytes that nobody has stored, or whose store does not happen before the look, makes the model fail. So does
//!    a store to bytes that were looked at, if the look does not happen before the store.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut, Range};
use std::sync::PoisonError;
use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::sync::RwLockReadGuard;

pub(crate) use loom::sync::RwLockWriteGuard;
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64};

/// What loom says of a lock only after a thread has panicked, which has failed the model already.
const FAILED: &str = "no thread of the model has panicked";

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

/// Empty only while its thread waits for a condition variable.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

#[derive(Debug, Default)]
pub(crate) struct Condvar(loom::sync::Condvar);

#[derive(Debug)]
pub(crate) struct RwLock<T>(loom::sync::RwLock<T>);

/// Remembers of each piece of raw memory who stored it, and who looked at it.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// By their starts. The lock is never held where loom may switch threads.
    pieces: std::sync::Mutex<BTreeMap<u64, Piece>>,
}

/// Memory that was stored at once.
#[derive(Debug)]
struct Piece {
    end: u64,
    cell: UnsafeCell<()>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    #[track_caller]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().expect(FAILED)))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("not waiting")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("not waiting")
    }
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    #[track_caller]
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.0.take().expect("not waiting");
        guard.0 = Some(self.0.wait(held).expect(FAILED));
    }

    #[track_caller]
    pub(crate) fn wait_while<T>(&self, guard: &mut MutexGuard<'_, T>, mut condition: impl FnMut(&mut T) -> bool) {
        while condition(guard) {
            self.wait(guard);
        }
    }

    #[track_caller]
    pub(crate) fn wait_while_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        condition: impl FnMut(&mut T) -> bool,
        _never: Duration,
    ) {
        self.wait_while(guard, condition);
    }

    #[track_caller]
    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    #[track_caller]
    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::RwLock::new(value))
    }

    #[track_caller]
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().expect(FAILED)
    }

    #[track_caller]
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().expect(FAILED)
    }

    #[track_caller]
    pub(crate) fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.0.try_write().ok()
    }
}

impl Witness {
    /// Of memory whose first bytes were stored by the calling thread, or before it was given the memory.
    #[track_caller]
    pub(crate) fn new(stored: u64) -> Self {
        let witness = Self::default();
        witness.stores(0..stored);
        witness
    }

    /// The calling thread stores these bytes now, or at least before it does anything else that loom sees.
    #[track_caller]
    pub(crate) fn stores(&self, range: Range<u64>) {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let overlapping = pieces.range(..range.end).filter(|(_, piece)| piece.end > range.start);
        overlapping.for_each(|(_, piece)| piece.cell.with_mut(|_| ()));
        let cell = UnsafeCell::new(());
        cell.with_mut(|_| ());
        pieces.insert(range.start, Piece { end: range.end, cell });
    }

    /// The calling thread looks at these bytes.
    #[track_caller]
    pub(crate) fn looks(&self, range: Range<u64>) {
        let pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = range.start;
        for (start, piece) in pieces.range(..range.end) {
            if piece.end > seen && *start <= seen {
                piece.cell.with(|_| ());
                seen = piece.end;
            }
        }
        assert!(seen >= range.end, "looked at {range:?}, of which {seen} and on is not stored");
    }
}
