//! The file format, as those who judge the engine read it: after `src/format.md`, and with nothing of the engine in it.
//!
//! Guarantees:
//! 1. A mistake of the engine about its own format is not repeated here, as long as the page is right.

pub(crate) mod bytes;
pub(crate) mod contract;
pub(crate) mod fields;
pub(crate) mod sums;
