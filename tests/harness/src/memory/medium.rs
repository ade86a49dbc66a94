//! What the medium holds of one file, beside what the system shows of it.
//!
//! Guarantees:
//! 1. A sector is *dirty* if and only if medium and system differ in it: nobody has to say what was stored.
//! 2. What a sync covered without error is on the medium, unless an earlier failed sync gave it up and it was not stored
//!    since: the system then calls it clean, as real ones do.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::numbers::{index, length};

/// What reaches the medium in one piece, or torn at words of 8 bytes.
pub const SECTOR_BYTES: usize = 512;
const WORD_BYTES: usize = 8;
const DAMAGE: u8 = 0xa5;
/// Compared first, since most of a file is not dirty.
const STRETCH_BYTES: usize = 16 * SECTOR_BYTES;

/// What became of a dirty sector when power was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// As it was before.
    Old,
    /// As the system showed it.
    New,
    /// Of each word of 8 bytes, lowest first: as the system showed it where the bit is set, else as before.
    Torn(u64),
    /// As torn, and the words whose bit is not set hold what was never stored: the disk breaks its promise that what stands
    /// beside a store stays.
    Damaged(u64),
}

/// What a failed sync leaves of the pages, or the names, that it did not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterFailure {
    /// They stay as they are, and count as written.
    #[default]
    Kept,
    /// They are again what the medium holds.
    Reverted,
}

#[derive(Debug, Clone)]
pub(super) struct Medium {
    /// As long as the file can be.
    bytes: Vec<u8>,
    /// How long the file is there.
    pub(super) length: u64,
    /// Sectors that were given up by a failed sync, and what they held.
    given_up: BTreeMap<usize, Vec<u8>>,
}

impl Medium {
    /// Of a new file: no length yet.
    pub(super) fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity], length: 0, given_up: BTreeMap::new() }
    }

    /// Of a file that holds exactly this.
    pub(super) fn holding(bytes: Vec<u8>, length: u64) -> Self {
        Self { bytes, length, given_up: BTreeMap::new() }
    }

    /// The file can be so long now.
    pub(super) fn grow(&mut self, capacity: usize) {
        self.bytes.resize(capacity, 0);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Numbers of the sectors in which `shown` differs, in order.
    pub(super) fn dirty(&self, shown: &[u8]) -> Vec<usize> {
        self.dirty_within(shown, 0..shown.len())
    }

    fn dirty_within(&self, shown: &[u8], range: Range<usize>) -> Vec<usize> {
        let mut dirty = Vec::new();
        let first = range.start / SECTOR_BYTES * SECTOR_BYTES;
        let end = range.end.min(shown.len());
        for start in (first..end).step_by(STRETCH_BYTES) {
            let stretch = start..(start + STRETCH_BYTES).min(end);
            if shown[stretch.clone()] == self.bytes[stretch.clone()] {
                continue;
            }
            let sectors = stretch.step_by(SECTOR_BYTES).map(|start| start..(start + SECTOR_BYTES).min(shown.len()));
            let differ = sectors.filter(|sector| shown[sector.clone()] != self.bytes[sector.clone()]);
            dirty.extend(differ.map(|sector| sector.start / SECTOR_BYTES));
        }
        dirty
    }

    /// A sync of a range that returns without error.
    pub(super) fn sync(&mut self, shown: &[u8], range: Range<usize>) {
        for sector in self.dirty_within(shown, range) {
            let at = within(sector, shown);
            if self.given_up.get(&sector).is_none_or(|content| *content != shown[at.clone()]) {
                self.bytes[at.clone()].copy_from_slice(&shown[at]);
                self.given_up.remove(&sector);
            }
        }
        self.length = length(shown.len());
    }

    /// A sync of a range that fails: what `written` names got there before. Returns what the system shows from now on.
    pub(super) fn fail(
        &mut self,
        shown: &[u8],
        range: Range<usize>,
        after: AfterFailure,
        mut written: impl FnMut() -> bool,
    ) -> Vec<(usize, Vec<u8>)> {
        let mut reverted = Vec::new();
        for sector in self.dirty_within(shown, range) {
            let at = within(sector, shown);
            if written() {
                self.bytes[at.clone()].copy_from_slice(&shown[at]);
            } else if after == AfterFailure::Reverted {
                reverted.push((at.start, self.bytes[at].to_vec()));
            } else {
                self.given_up.insert(sector, shown[at].to_vec());
            }
        }
        reverted
    }

    /// Somebody stored there, so that the next sync writes it again.
    pub(super) fn stored(&mut self, range: Range<usize>) {
        if !self.given_up.is_empty() {
            let sectors = range.start / SECTOR_BYTES..range.end.div_ceil(SECTOR_BYTES);
            self.given_up.retain(|sector, _| !sectors.contains(sector));
        }
    }

    /// A byte changes, whoever did it.
    pub(super) fn damage(&mut self, position: usize, byte: u8) {
        self.bytes[position] = byte;
    }

    /// The file is shorter now.
    pub(super) fn truncate(&mut self, length: u64) {
        self.length = self.length.min(length);
        self.bytes[index(length)..].fill(0);
    }

    /// One sector reaches the medium.
    pub(super) fn settle(&mut self, shown: &[u8], sector: usize, survival: Survival) {
        let at = within(sector, shown);
        match survival {
            Survival::Old => {}
            Survival::New => self.bytes[at.clone()].copy_from_slice(&shown[at]),
            Survival::Torn(words) | Survival::Damaged(words) => {
                for (index, start) in at.clone().step_by(WORD_BYTES).enumerate() {
                    let word = start..(start + WORD_BYTES).min(at.end);
                    if words >> index & 1 == 1 {
                        self.bytes[word.clone()].copy_from_slice(&shown[word]);
                    } else if let Survival::Damaged(_) = survival {
                        self.bytes[word].iter_mut().for_each(|byte| *byte ^= DAMAGE);
                    }
                }
            }
        }
    }

    /// Whether the system gave this sector up: power can then only take it.
    pub(super) fn is_given_up(&self, shown: &[u8], sector: usize) -> bool {
        self.given_up.get(&sector).is_some_and(|content| *content == shown[within(sector, shown)])
    }
}

fn within(sector: usize, shown: &[u8]) -> Range<usize> {
    let start = sector * SECTOR_BYTES;
    start..(start + SECTOR_BYTES).min(shown.len())
}
