//! The keys of a segment that has no index file, in memory: the active one, and those that wait for theirs.
//!
//! Guarantees:
//! 1. A table covers its segment from the start up to one place, whole frames, each checked in full. What is beyond is for
//!    others to look at.
//! 2. All tables of a log together take no more than their [`Room`]; one that is dropped gives its part back.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use crate::format::index::{KeyHash, eighth};
use crate::format::{FRAME_ALIGNMENT, FRAMES_START, Fault, Kind};
use crate::log::window::{Scan, Scanned, View};
use crate::segment::walk::Frame;
use crate::sync::Mutex;
use crate::types::{Offset, length};

/// Links are allocated in pieces of so many, so that none is ever copied.
const PIECE_LINKS: usize = 1024;
/// What a hash takes in a map: key, value, and a byte of control.
const HASH_BYTES: u64 = 9;

/// Memory that may be taken.
#[derive(Debug)]
pub(crate) struct Room {
    left: Mutex<u64>,
}

impl Room {
    pub(crate) fn new(bytes: u64) -> Self {
        Self { left: Mutex::new(bytes) }
    }

    fn take(&self, bytes: u64) -> Option<()> {
        let mut left = self.left.lock();
        *left = left.checked_sub(bytes)?;
        Some(())
    }

    fn give_back(&self, bytes: u64) {
        let mut left = self.left.lock();
        *left = left.saturating_add(bytes);
    }
}

/// The record with a key that a link stands for, and the one before it with the same upper hash.
#[derive(Debug, Clone, Copy)]
struct Link {
    eighth: u32,
    /// Number of the link before; the link's own if there is none.
    before: u32,
    record: u16,
}

/// Where a record may be that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) position: u64,
    pub(crate) record: u16,
}

/// Up to where a table goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached {
    pub(crate) position: u64,
    pub(crate) offset: Offset,
}

/// What keeps a table from going on.
#[derive(Debug)]
pub(crate) enum Stopped {
    Damage { at: Reached, fault: Fault },
    Io(io::Error),
}

/// The keys of one segment.
#[derive(Debug)]
pub(crate) struct Table {
    incarnation: u64,
    reached: Reached,
    last_gap: Option<u64>,
    /// The newest link of each upper hash.
    newest: HashMap<u32, u32>,
    links: Vec<Box<[Link]>>,
    count: u32,
    room: Arc<Room>,
    taken: u64,
}

impl Drop for Table {
    fn drop(&mut self) {
        self.room.give_back(self.taken);
    }
}

impl Table {
    pub(crate) fn new(view: &View, room: &Arc<Room>) -> Self {
        Self {
            incarnation: view.header.incarnation,
            reached: Reached { position: FRAMES_START, offset: view.header.first_offset },
            last_gap: None,
            newest: HashMap::new(),
            links: Vec::new(),
            count: 0,
            room: Arc::clone(room),
            taken: 0,
        }
    }

    pub(crate) fn is_of(&self, incarnation: u64) -> bool {
        self.incarnation == incarnation
    }

    pub(crate) fn reached(&self) -> Reached {
        self.reached
    }

    /// Position of the last gap that lost records, if there is one.
    pub(crate) fn last_gap(&self) -> Option<u64> {
        self.last_gap
    }

    /// Takes in what comes up to `limit`, as long as there is room; returns how many bytes were gone over.
    pub(crate) fn extend(&mut self, view: &View, limit: u64) -> Result<u64, Stopped> {
        let start = self.reached;
        let mut scan = Scan::new(view.store.clone(), view.frames, start.position, start.offset, limit);
        while scan.position < limit && self.has_room(1) {
            match scan.next().map_err(Stopped::Io)? {
                Scanned::Frame(found) => {
                    let frame = scan.frame(&found);
                    if !self.has_room(found.header.record_count.into()) {
                        break;
                    }
                    self.note(&frame);
                    self.reached = Reached { position: frame.end(), offset: frame.next_offset() };
                }
                Scanned::End => break,
                Scanned::Zero => return Err(Stopped::Damage { at: self.reached, fault: Fault::Missing }),
                Scanned::Bad { fault, .. } => return Err(Stopped::Damage { at: self.reached, fault }),
            }
        }
        Ok(self.reached.position.saturating_sub(start.position))
    }

    /// Sees to it that so many more keys can be taken in.
    fn has_room(&mut self, keys: usize) -> bool {
        let held = self.links.len().saturating_mul(PIECE_LINKS);
        let free = held.saturating_sub(crate::types::index(self.count.into()));
        for _ in 0..keys.saturating_sub(free).div_ceil(PIECE_LINKS) {
            let bytes = length(PIECE_LINKS * size_of::<Link>());
            if u32::try_from(self.links.len().saturating_add(1).saturating_mul(PIECE_LINKS)).is_err()
                || self.room.take(bytes).is_none()
            {
                return false;
            }
            self.taken = self.taken.saturating_add(bytes);
            self.links.push(vec![Link { eighth: 0, before: 0, record: 0 }; PIECE_LINKS].into());
        }
        let wanted = self.newest.len().saturating_add(keys);
        if wanted <= self.newest.capacity() {
            return true;
        }
        // The old map is there until the new one is filled.
        let (before, after) = (map_bytes(self.newest.capacity()), map_bytes(wanted.max(self.newest.capacity() * 2)));
        if self.room.take(after).is_none() {
            return false;
        }
        self.newest.reserve(wanted.max(self.newest.capacity() * 2).saturating_sub(self.newest.len()));
        self.taken = self.taken.saturating_add(after).saturating_sub(before);
        self.room.give_back(before);
        true
    }

    fn note(&mut self, frame: &Frame<'_>) {
        if frame.gap().is_some() && frame.next_offset() > frame.offset {
            self.last_gap = Some(frame.position);
        }
        if frame.header.kind != Kind::Data {
            return;
        }
        for (record, number) in frame.records().zip(0_u16..=u16::MAX) {
            if let Some(key) = record.key() {
                self.put(KeyHash::of(record.topic(), key).upper(), frame.position, number);
            }
        }
    }

    fn put(&mut self, upper: u32, position: u64, record: u16) {
        let link = self.count;
        let before = self.newest.insert(upper, link).unwrap_or(link);
        let at = crate::types::index(link.into());
        if let Some(to) = self.links.get_mut(at / PIECE_LINKS).and_then(|piece| piece.get_mut(at % PIECE_LINKS)) {
            *to = Link { eighth: eighth(position), before, record };
        }
        self.count = link.saturating_add(1);
    }

    fn link(&self, number: u32) -> Option<&Link> {
        let at = crate::types::index(number.into());
        self.links.get(at / PIECE_LINKS)?.get(at % PIECE_LINKS)
    }

    /// Where records of this hash may be, newest first.
    pub(crate) fn newest_first(&self, hash: KeyHash) -> impl Iterator<Item = Candidate> {
        let mut next = self.newest.get(&hash.upper()).copied();
        std::iter::from_fn(move || {
            let number = next?;
            let link = self.link(number)?;
            next = (link.before < number).then_some(link.before);
            let position = u64::from(link.eighth).saturating_mul(FRAME_ALIGNMENT);
            Some(Candidate { position, record: link.record })
        })
    }
}

/// What a map takes that has room for so many.
fn map_bytes(capacity: usize) -> u64 {
    if capacity == 0 {
        return 0;
    }
    // At most seven of eight places are used, and their number is a power of two.
    length(capacity.saturating_mul(8).div_ceil(7).next_power_of_two()).saturating_mul(HASH_BYTES)
}
