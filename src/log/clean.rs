//! Segments written anew, without what was dropped from them.
//!
//! Guarantees:
//! 1. A segment is replaced as a whole, by one rename: whoever opens its name finds the one file or the other, each complete
//!    and durable.
//! 2. What is kept stays at its offset, with its append time.
//!
//! Left to others: what to drop, and from when on the files may go that a rewritten one stands for.

mod book;
pub(crate) mod draft;
mod gathered;
pub(crate) mod group;
#[cfg_attr(not(test), expect(dead_code, reason = "the cleaner that acts on it is not built yet"))]
pub(crate) mod judge;
#[cfg_attr(not(test), expect(dead_code, reason = "the cleaner that acts on it is not built yet"))]
pub(crate) mod marks;
#[cfg_attr(not(test), expect(dead_code, reason = "the cleaner that acts on it is not built yet"))]
pub(crate) mod policy;
#[cfg_attr(not(test), expect(dead_code, reason = "the cleaner that decides what to drop is not built yet"))]
pub(crate) mod rewrite;
mod seen;
mod tally;

#[cfg(test)]
pub(crate) mod tests;
