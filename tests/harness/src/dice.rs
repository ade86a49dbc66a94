//! Choices that can be made again: from a seed, or from bytes that a fuzzer hands in.
//!
//! Guarantees:
//! 1. The same seed or bytes give the same choices, in the same order, on every machine.

use crate::memory::mix;
use crate::numbers::{index, length};

/// The step of splitmix64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A row of choices.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
    /// What is chosen first, last byte first.
    bytes: Vec<u8>,
}

impl Dice {
    /// From a seed: splitmix64 (Steele, Lea and Flood 2014).
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed, bytes: Vec::new() }
    }

    /// From bytes, one for each choice; when they are used up, from what they were.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let state = bytes.iter().fold(0, |state, byte| mix(state ^ u64::from(*byte)));
        Self { state, bytes: bytes.iter().rev().copied().collect() }
    }

    /// Any word.
    pub fn word(&mut self) -> u64 {
        if let Some(byte) = self.bytes.pop() {
            return u64::from(byte);
        }
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }

    /// Less than `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.word() % limit
    }

    /// Less than `limit`, which is not 0.
    pub fn index(&mut self, limit: usize) -> usize {
        index(self.below(length(limit)))
    }

    /// Whether the one case of so many came.
    pub fn one_in(&mut self, cases: u64) -> bool {
        self.below(cases) == 0
    }

    /// Choices of their own, which do not depend on how many are made here later. Of bytes that are left they get half.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        let state = mix(self.word() ^ self.state);
        Self { state, bytes: self.bytes.split_off(self.bytes.len().div_ceil(2)) }
    }
}
