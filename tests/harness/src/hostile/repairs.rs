//! Repairs of a directory whose files are hostile, on copies of it.
//!
//! Guarantees:
//! 1. A plan changes nothing. A repair that is refused gave a typed error, and one that would lose something is refused unless
//!    the loss is accepted, as the plan says.
//! 2. Behind a repair that was done, or found nothing to do, who opens gets the log or a typed error. If all bytes are of one
//!    history, `verify` finds no damage then, and a second plan is empty.
//! 3. What was planned for one history is done, save for want of room, or of leave to lose what only shows on the way. A
//!    repair that finds no room ends as any that is refused: whole headers may claim segments of up to 2 GiB, and that is what
//!    the disk is asked for.
//! 4. Of made-up bytes with right sums, and of files of copies that went on apart, no more is asked for: each is whole, one
//!    contradicts the other, and no repair can tell which of them to take for the damaged one. An anchor that says "durable
//!    up to the middle of this frame" makes an open refuse, and is no damage that a repair mends.

use std::sync::Arc;

use esker::inspect::verify_on;
use esker::repair::{Accept, apply_on, plan_on};
use esker::{Error, ErrorKind};

use super::ways::options;
use crate::MemoryDisk;

/// What a repair may add to a directory; a disk in memory is memory.
const ROOM: u64 = 4 << 20;

/// What the bytes tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// One history, damaged by accident.
    OneLog,
    /// Several that contradict each other: copies that went on apart, or what was made up with right sums.
    Several,
}

/// Plans, and carries the plan out on a copy, with each [`Accept`].
///
/// # Panics
/// If a promise is broken.
pub(super) fn repair_copies(disk: &MemoryDisk, origin: Origin) {
    let copy = disk.snapshot();
    let plan = plan_on(&copy);
    assert_eq!(copy.take_operations(), [""; 0], "a plan changes nothing");
    for accept in [Accept::NoLoss, Accept::Loss] {
        let copy = disk.snapshot();
        copy.space_limit(copy.space_held().saturating_add(ROOM));
        let done = apply_on(&copy, accept);
        match (&plan, &done) {
            (Ok(plan), Err(error)) if plan.loses() && accept == Accept::NoLoss => {
                assert_eq!(error.kind(), ErrorKind::Loss, "{plan:?}, but {error}");
                assert_eq!(copy.take_operations(), [""; 0], "refused, it changes nothing");
            }
            (Ok(plan), Ok(done)) if plan.loses() && accept == Accept::NoLoss => {
                panic!("{plan:?}, and without leave it did {done:?}")
            }
            (Ok(_), Err(error)) if origin == Origin::OneLog => ended_early(error, accept),
            (Ok(_), Err(error)) => typed(error),
            (Err(planned), Err(error)) => assert_eq!(planned.kind(), error.kind(), "{planned}, but {error}"),
            (Err(planned), Ok(done)) => panic!("{planned}, but it did {done:?}"),
            (Ok(_), Ok(_)) => check_repaired(&copy, origin),
        }
    }
}

fn typed(error: &Error) {
    use ErrorKind::{Corrupt, Incompatible, Invalid, Limit, Loss, OutOfSpace};
    let typed = [Invalid, Incompatible, Corrupt, Loss, Limit, OutOfSpace];
    assert!(typed.contains(&error.kind()), "{error}");
}

/// A repair of one history does what was planned, if there is room; what only shows then may be a loss.
fn ended_early(error: &Error, accept: Accept) {
    let is_loss = accept == Accept::NoLoss && error.kind() == ErrorKind::Loss;
    assert!(is_loss || error.kind() == ErrorKind::OutOfSpace, "planned, but {error}");
}

fn check_repaired(disk: &MemoryDisk, origin: Origin) {
    let left = verify_on(disk, &mut |_| ());
    let again = plan_on(disk);
    if origin == Origin::OneLog {
        let left = left.unwrap_or_else(|error| panic!("verify, repaired: {error}"));
        assert!(!left.is_damaged(), "damaged when it is repaired: {:?}", left.findings);
        let again = again.unwrap_or_else(|error| panic!("plan, repaired: {error}"));
        assert_eq!(again.steps, [], "still to be done");
    }
    if let Err(error) = options().open_on(Arc::new(disk.clone())) {
        typed(&error);
    }
}
