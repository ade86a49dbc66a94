//! Memory of files that are gone, for those to come: most of the time of a crash run went into mapping and touching it.
//!
//! Guarantees:
//! 1. What is handed out is zero, and nobody else has it.
//! 2. Each thread keeps at most [`KEPT_BYTES_MAX`].

use std::cell::RefCell;
use std::io;

use esker::platform::Region;

use crate::numbers::length;

/// Larger ones are not kept.
const REGION_BYTES_MAX: u64 = 64 * 1024;
const KEPT_BYTES_MAX: u64 = 4 << 20;
const PIECE_BYTES: usize = 4096;

thread_local! {
    static KEPT: RefCell<Vec<Region>> = const { RefCell::new(Vec::new()) };
}

/// Memory of at least so many bytes.
pub(super) fn take(bytes: u64) -> io::Result<Region> {
    // Whole pages: files of any length then use each other's memory again.
    let bytes = bytes.next_multiple_of(length(PIECE_BYTES));
    let kept = KEPT.with_borrow_mut(|kept| {
        let index = kept.iter().rposition(|region| region.length() == bytes)?;
        Some(kept.swap_remove(index))
    });
    match kept {
        Some(region) => {
            clear(&region);
            Ok(region)
        }
        None => Region::anonymous(bytes),
    }
}

/// Only what was stored has to be stored over.
fn clear(region: &Region) {
    let mut piece = [0; PIECE_BYTES];
    for start in (0..region.length()).step_by(PIECE_BYTES) {
        region.copy_out(start, &mut piece);
        if piece != [0; PIECE_BYTES] {
            region.copy_in(start, &[0; PIECE_BYTES]);
            piece.fill(0);
        }
    }
}

/// Takes memory back, unless a map of it is still about.
pub(super) fn give_back(region: &Region) {
    if region.is_shared() || region.length() > REGION_BYTES_MAX {
        return;
    }
    let region = region.share();
    // At the end of a thread there is nobody to keep it for.
    let _let_go = KEPT.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        if kept.iter().map(Region::length).sum::<u64>() < KEPT_BYTES_MAX {
            kept.push(region);
        }
    });
}
