//! Counts and positions, from one width to the other.
//!
//! Guarantees:
//! 1. No number changes: tests run where memory can hold a segment, so each fits.

/// A length in memory as a number of bytes, or a count.
pub(crate) fn length(count: usize) -> u64 {
    u64::try_from(count).expect("at most 64 bits")
}

/// A number of bytes, or a count, as an index.
pub(crate) fn index(number: u64) -> usize {
    usize::try_from(number).expect("memory can hold it")
}
