//! An allocator for programs that test: the system's, and a note of what each thread asked for: the largest piece, and how much
//! it had at once.
//!
//! Guarantees:
//! 1. Every piece is the system's, as it came; a program says `#[global_allocator] static A: Noting = Noting;` to be noted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which notes.
#[derive(Debug)]
pub struct Noting;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    /// What this thread took, less what it gave back, and the most that this was.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The largest piece of memory in bytes that this thread asked for while `act` ran; 0 if nobody notes.
pub fn largest_during(act: impl FnOnce()) -> usize {
    LARGEST.set(0);
    act();
    LARGEST.get()
}

/// The most memory that this thread had at once while `act` ran, above what it had before; 0 if nobody notes.
pub fn peak_during(act: impl FnOnce()) -> usize {
    let before = HELD.get().0;
    HELD.set((before, before));
    act();
    usize::try_from(HELD.get().1 - before).unwrap_or_default()
}

fn note(taken: usize, given: usize) {
    let signed = |bytes| isize::try_from(bytes).unwrap_or(isize::MAX);
    // A thread that ends may allocate when its own values are gone already.
    let _nobody_asks = LARGEST.try_with(|largest| largest.set(largest.get().max(taken)));
    let _nobody_asks = HELD.try_with(|held| {
        let (now, peak) = held.get();
        let now = now.saturating_add(signed(taken)).saturating_sub(signed(given));
        held.set((now, peak.max(now)));
    });
}

#[expect(unsafe_code, reason = "an allocator is unsafe to implement")]
// SAFETY: all is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // While it is moved it is there twice.
        note(bytes, 0);
        // SAFETY: as the caller promises.
        let moved = unsafe { System.realloc(pointer, layout, bytes) };
        note(0, layout.size());
        moved
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}
