//! The keys that a pass has seen, with the newest place of each.
//!
//! Guarantees:
//! 1. Exact: full keys are kept and compared, so that keys of one hash are never taken for each other.
//! 2. It takes no more memory than it was made with. When that is full it narrows itself to the lower part of its range of
//!    hashes; the rest is left to passes to come.
//! 3. A key of the range was met since the pass began: none was forgotten in between.
//! 4. Passes go over all hashes: the next range begins where the last one ended.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::ops::RangeInclusive;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::book::Sort;
use crate::format::state::Space;
use crate::types::{Topic, index, length};

const SLOT_BYTES: usize = size_of::<u64>();
const SLOTS_MIN: usize = 1 << 6;
/// Of its memory one part in so many is for slots.
const SLOTS_PART: usize = 4;
/// Slots know where an entry begins in 32 bits.
const ARENA_BYTES_MAX: u64 = 0xffff_ffff;
const HEAD_BYTES: usize = 19;
/// How many keys are loaded at once, at most: more loads than that a processor does not keep under way.
pub(crate) const GATHERED_MAX: usize = 32;
const SPACE: u8 = 1;
const RIPE: u8 = 2;
const OLDER: u8 = 4;

/// Where a key is one: the same key in two topics is two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Topic(Topic),
    Space(Space),
}

impl Scope {
    fn word(self) -> u64 {
        match self {
            Self::Topic(topic) => topic.get().into(),
            Self::Space(space) => length(space.index()) | 1 << 32,
        }
    }
}

/// A hash of keys.
pub(crate) trait KeyHash {
    fn hash(&self, scope: u64, key: &[u8]) -> u64;
}

/// XXH3-64, begun with a word that nobody outside can know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Xxh3 {
    pub(crate) seed: u64,
}

impl KeyHash for Xxh3 {
    #[inline]
    fn hash(&self, scope: u64, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed ^ scope.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// Where a key was met, and what that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index of the segment.
    pub(crate) segment: u32,
    /// Ordinal of the part in it.
    pub(crate) ordinal: u32,
    /// What goes with it.
    pub(crate) bytes: u32,
    pub(crate) end: End,
}

/// Whether a part says that its key has no value any more, and nothing but an older copy would keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Ripe,
    No,
}

/// What was known of a key that was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// Nothing: this is its newest place.
    First,
    /// A newer place, in another segment.
    Newer,
    /// This place, in the same segment: the one that was met is newer.
    Earlier(Place),
    /// It is of another pass.
    Elsewhere,
}

/// More keys of one hash than there is memory for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowded;

/// The newest place of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) sort: Sort,
    pub(crate) place: Place,
    pub(crate) older: Older,
}

/// Whether an older copy of the key was met too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Older {
    Met,
    None,
}

/// See the top of this file.
#[derive(Debug)]
pub(crate) struct Seen<H> {
    hash: H,
    range: RangeInclusive<u64>,
    /// High half: of the hash; low half: where its entry begins, and one more. 0: free.
    slots: Vec<u64>,
    slots_max: usize,
    /// Entries: head and key, one behind the other.
    arena: Vec<u8>,
    arena_max: usize,
    count: usize,
}

/// What is kept of a key in front of it.
#[derive(Debug, Clone, Copy)]
struct Head {
    place: Place,
    scope: u64,
    key_bytes: u16,
    older: Older,
}

impl Head {
    /// Segment and ordinal, bytes and scope, length of the key, flags: in words, as most of the time goes here.
    #[inline]
    fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let end = if self.place.end == End::Ripe { RIPE } else { 0 };
        let older = if self.older == Older::Met { OLDER } else { 0 };
        let [space, ..] = (self.scope >> 32).to_le_bytes();
        let place = u64::from(self.place.segment) | u64::from(self.place.ordinal) << 32;
        let rest = u64::from(self.place.bytes) | self.scope << 32;
        if let Some((to, bytes)) = bytes.split_first_chunk_mut() {
            *to = place.to_le_bytes();
            if let Some((to, bytes)) = bytes.split_first_chunk_mut() {
                *to = rest.to_le_bytes();
                let [a, b] = self.key_bytes.to_le_bytes();
                bytes.copy_from_slice(&[a, b, end | older | space]);
            }
        }
        bytes
    }

    /// The head at the front of these bytes, and what is behind it.
    #[inline]
    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (place, bytes) = bytes.split_first_chunk()?;
        let (rest, bytes) = bytes.split_first_chunk()?;
        let (key_bytes, bytes) = bytes.split_first_chunk()?;
        let (flags, bytes) = bytes.split_first()?;
        let (place, rest) = (u64::from_le_bytes(*place), u64::from_le_bytes(*rest));
        let place = Place {
            segment: low(place),
            ordinal: low(place >> 32),
            bytes: low(rest),
            end: if flags & RIPE == 0 { End::No } else { End::Ripe },
        };
        let scope = rest >> 32 | u64::from(flags & SPACE) << 32;
        let older = if flags & OLDER == 0 { Older::None } else { Older::Met };
        Some((Self { place, scope, key_bytes: u16::from_le_bytes(*key_bytes), older }, bytes))
    }

    fn entry_bytes(&self) -> usize {
        HEAD_BYTES.saturating_add(self.key_bytes.into())
    }
}

impl<H: KeyHash> Seen<H> {
    pub(crate) fn new(hash: H, bytes: usize) -> Self {
        let mut seen = Self {
            hash,
            range: 0..=u64::MAX,
            slots: Vec::new(),
            slots_max: 0,
            arena: Vec::new(),
            arena_max: 0,
            count: 0,
        };
        seen.resize(bytes);
        seen
    }

    /// Forgets all keys, and takes so much memory from now on.
    pub(crate) fn resize(&mut self, bytes: usize) {
        self.slots_max = (bytes / SLOTS_PART / SLOT_BYTES).max(SLOTS_MIN);
        let arena_max = bytes.saturating_sub(self.slots_max.saturating_mul(SLOT_BYTES));
        self.arena_max = arena_max.min(index(ARENA_BYTES_MAX));
        // What is not touched takes no memory; and what grows has to be there twice.
        (self.slots, self.arena) = (Vec::new(), Vec::new());
        self.arena.reserve_exact(self.arena_max);
        self.slots.resize(SLOTS_MIN, 0);
        self.count = 0;
    }

    /// How much memory it may take.
    pub(crate) fn bytes(&self) -> usize {
        self.arena_max.saturating_add(self.slots_max.saturating_mul(SLOT_BYTES))
    }

    /// How many keys of the range were met.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Goes on to the hashes behind. `false`: there are none.
    pub(crate) fn advance(&mut self) -> bool {
        let behind = if self.range.is_empty() { None } else { self.range.end().checked_add(1) };
        self.range = behind.map_or(RangeInclusive::new(1, 0), |from| from..=u64::MAX);
        self.arena.clear();
        self.slots.fill(0);
        self.count = 0;
        behind.is_some()
    }

    /// The hash of a key; `None`: it is of another pass.
    #[inline]
    pub(crate) fn hash(&self, scope: Scope, key: &[u8]) -> Option<u64> {
        Some(self.hash.hash(scope.word(), key)).filter(|hash| self.range.contains(hash))
    }

    /// Loads what [`Seen::meet`] looks at first. No load waits for another, as those of one key after the other would.
    pub(crate) fn warm(&self, hashes: impl Iterator<Item = u64>) {
        let mut slots = [0; GATHERED_MAX];
        for (to, hash) in slots.iter_mut().zip(hashes) {
            *to = self.slots.get(self.slot(hash)).copied().unwrap_or_default();
        }
        let byte = |at: usize| self.arena.get(at).copied().unwrap_or_default();
        let loaded = slots
            .iter()
            .map(|slot| begin(*slot))
            .fold(0, |sum, at| sum ^ byte(at) ^ byte(at.saturating_add(HEAD_BYTES)));
        std::hint::black_box(loaded);
    }

    /// Meets a key at a place that is older than all places before, but for those in the same segment, than which it is newer.
    #[inline]
    pub(crate) fn meet(&mut self, hash: u64, scope: Scope, key: &[u8], place: Place) -> Result<Met, Crowded> {
        let scope = scope.word();
        if !self.range.contains(&hash) {
            return Ok(Met::Elsewhere);
        }
        match self.find(hash, scope, key) {
            Some((at, head)) => Ok(self.meet_again(at, head, place)),
            None => self.insert(hash, scope, key, place),
        }
    }

    #[inline]
    fn find(&self, hash: u64, scope: u64, key: &[u8]) -> Option<(usize, Head)> {
        let (mut slot, mark) = (self.slot(hash), hash >> 32);
        loop {
            let found = self.slots.get(slot).copied().filter(|found| *found != 0)?;
            if found >> 32 == mark {
                let at = begin(found);
                let (head, rest) = self.entry(at)?;
                if head.scope == scope && rest.get(..head.key_bytes.into()) == Some(key) {
                    return Some((at, head));
                }
            }
            slot = self.next_slot(slot);
        }
    }

    /// The slot to begin with: by other bits than the range is told by, and mostly than the slot's mark.
    #[inline]
    fn slot(&self, hash: u64) -> usize {
        index((hash & 0xffff_ffff).saturating_mul(length(self.slots.len())) >> 32)
    }

    #[inline]
    fn next_slot(&self, slot: usize) -> usize {
        let next = slot.saturating_add(1);
        if next < self.slots.len() { next } else { 0 }
    }

    #[inline]
    fn entry(&self, at: usize) -> Option<(Head, &[u8])> {
        Head::decode(self.arena.get(at..)?)
    }

    fn meet_again(&mut self, at: usize, head: Head, place: Place) -> Met {
        let before = head.place;
        let is_same_segment = before.segment == place.segment;
        let head = Head { older: Older::Met, place: if is_same_segment { place } else { before }, ..head };
        if let Some(to) = self.arena.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *to = head.encode();
        }
        if is_same_segment { Met::Earlier(before) } else { Met::Newer }
    }

    fn insert(&mut self, hash: u64, scope: u64, key: &[u8], place: Place) -> Result<Met, Crowded> {
        let Ok(key_bytes) = u16::try_from(key.len()) else { return Err(Crowded) };
        let head = Head { place, scope, key_bytes, older: Older::None };
        while !self.has_room(head.entry_bytes()) {
            self.narrow()?;
        }
        if !self.range.contains(&hash) {
            return Ok(Met::Elsewhere);
        }
        let at = self.arena.len();
        self.arena.extend(head.encode());
        self.arena.extend(key);
        self.count = self.count.saturating_add(1);
        self.put(hash, at);
        Ok(Met::First)
    }

    /// Puts an entry into a free slot.
    fn put(&mut self, hash: u64, at: usize) {
        let mut slot = self.slot(hash);
        while self.slots.get(slot).is_some_and(|found| *found != 0) {
            slot = self.next_slot(slot);
        }
        if let Some(free) = self.slots.get_mut(slot) {
            *free = (hash >> 32) << 32 | length(at).saturating_add(1);
        }
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        if self.arena.len().saturating_add(bytes) > self.arena_max {
            return false;
        }
        // As long as there is memory, hardly a key shares its slot.
        if self.count >= self.slots.len() / 4 && self.slots.len() < self.slots_max {
            let slots = self.slots.len().saturating_mul(2).min(self.slots_max);
            // The old ones go before the new ones come.
            self.slots = Vec::new();
            self.slots = vec![0; slots];
            self.fill_slots();
        }
        self.count < self.slots.len().saturating_sub(self.slots.len() / 4)
    }

    fn fill_slots(&mut self) {
        let mut at = 0;
        while let Some((hash, end)) = self.hash_at(at) {
            self.put(hash, at);
            at = end;
        }
    }

    /// The hash of the entry that begins here, and where it ends.
    fn hash_at(&self, at: usize) -> Option<(u64, usize)> {
        let (head, rest) = self.entry(at)?;
        let hash = self.hash.hash(head.scope, rest.get(..head.key_bytes.into())?);
        Some((hash, at.saturating_add(head.entry_bytes())))
    }

    /// Leaves the upper part of the range to the passes to come.
    fn narrow(&mut self) -> Result<(), Crowded> {
        let (from, last) = self.range.clone().into_inner();
        if from == last {
            return Err(Crowded);
        }
        let width = last.saturating_sub(from);
        self.range = from..=last.saturating_sub((width / 4).max(1));
        let (mut at, mut kept, mut count) = (0, 0_usize, 0_usize);
        while let Some((hash, end)) = self.hash_at(at) {
            if self.range.contains(&hash) {
                self.arena.copy_within(at..end, kept);
                kept = kept.saturating_add(end.saturating_sub(at));
                count = count.saturating_add(1);
            }
            at = end;
        }
        self.arena.truncate(kept);
        self.count = count;
        self.slots.fill(0);
        self.fill_slots();
        Ok(())
    }

    /// All keys of the range that were met.
    pub(crate) fn newest(&self) -> impl Iterator<Item = Newest> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (head, _) = self.entry(at)?;
            at = at.saturating_add(head.entry_bytes());
            let sort = if head.scope >> 32 == 0 { Sort::Record } else { Sort::State };
            Some(Newest { sort, place: head.place, older: head.older })
        })
    }
}

/// The lower half of a word.
#[inline]
fn low(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Where the entry of a slot begins.
#[inline]
fn begin(slot: u64) -> usize {
    index((slot & 0xffff_ffff).saturating_sub(1))
}
