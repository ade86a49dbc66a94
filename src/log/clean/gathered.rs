//! Keys on their way to the table of those seen: some at once, so that the waits for its memory overlap.
//!
//! Guarantees:
//! 1. They come out in the order in which they went in.
//! 2. They take a few kilobytes, and the longest key.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use super::book::Sort;
use super::seen::{GATHERED_MAX, Place, Scope};

const KEYS_BYTES: usize = 4096;

/// A key that was met.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Met<'a> {
    pub(crate) hash: u64,
    pub(crate) scope: Scope,
    pub(crate) key: &'a [u8],
    pub(crate) place: Place,
    pub(crate) sort: Sort,
}

/// See the top of this file.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    all: Vec<Held>,
    keys: Vec<u8>,
}

#[derive(Debug)]
struct Held {
    hash: u64,
    scope: Scope,
    key_bytes: usize,
    place: Place,
    sort: Sort,
}

impl Gathered {
    pub(crate) fn push(&mut self, met: &Met<'_>) {
        let Met { hash, scope, key, place, sort } = *met;
        self.all.push(Held { hash, scope, key_bytes: key.len(), place, sort });
        self.keys.extend(key);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.all.len() >= GATHERED_MAX || self.keys.len() >= KEYS_BYTES
    }

    pub(crate) fn hashes(&self) -> impl Iterator<Item = u64> {
        self.all.iter().map(|held| held.hash)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Met<'_>> {
        let mut keys = self.keys.as_slice();
        self.all.iter().map(move |held| {
            let (key, rest) = keys.split_at_checked(held.key_bytes).unwrap_or_default();
            keys = rest;
            Met { hash: held.hash, scope: held.scope, key, place: held.place, sort: held.sort }
        })
    }

    pub(crate) fn clear(&mut self) {
        self.all.clear();
        self.keys.clear();
        self.keys.shrink_to(2 * KEYS_BYTES);
    }
}
