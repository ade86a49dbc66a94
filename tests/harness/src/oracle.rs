//! What must be true of a log after each recovery, whatever died, and how.
//!
//! A [`History`] is told of each frame before it is submitted and of each answer that came; [`History::judge`] compares
//! it with what a recovered log holds. It knows neither files nor the engine: threads, processes and simulated disks are
//! judged alike.
//!
//! Guarantees, by the invariants of a log:
//! 1. Whatever was acknowledged durable is there, the same, at its offset; after the death of the process alone, whatever
//!    was visible.
//! 2. What is there is a prefix of what was appended, in the order of the log: frames are there in full or not at all, each
//!    producer's in the order in which it submitted them.
//! 3. Nothing is there that was not submitted, twice, or whose append was refused.
//! 4. State and cursors are what the frames that are there say, and no cursor stands behind the end.
//! 5. Of two histories that end alike the epoch tells which is meant: an end that is not clean raises it.
//! 6. The log begins where it was dropped to: never lower than was acknowledged, never higher than was asked for, and never
//!    above a cursor that holds.
//! 7. Of a log that was compacted only what a later record supersedes is missing: see [`History::compacts`].
//! 8. Whoever looks while the log is written sees what the log holds, and the state of one moment: see [`Audience`].

mod audience;
mod begin;
mod gone;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use esker::{Epoch, Place, RecordRef, Timestamp};

use crate::memory::mix;
use crate::numbers::{index as index_of, length};
pub use audience::{Audience, Moment, Sight};
use begin::Begin;
use gone::Compacted;
pub use gone::GONE;

/// Who submits, one frame at a time.
pub type Producer = u64;
/// A state key, or the name of a cursor behind the byte `@`.
pub type Key = Vec<u8>;
/// State entries by key: fingerprints of values, and offsets of cursors.
pub type StateMap = BTreeMap<Key, u64>;

/// What one append stores.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// Fingerprints of its records.
    pub records: Vec<u64>,
    /// What it changes in the state; `None` removes.
    pub changes: Vec<(Key, Option<u64>)>,
}

/// What died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The process: the system keeps what was stored.
    Process,
    /// The machine: what was not synced may be gone.
    Machine,
}

/// What a recovered log holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Offset of the first record.
    pub start: u64,
    /// Fingerprints of all records, from there on; [`GONE`] where none is.
    pub records: Vec<u64>,
    /// State entries and cursors.
    pub state: StateMap,
}

/// How the frames that are there end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// How many of those that were reported visible are there.
    pub visible: usize,
    /// How many of those that were not reported are there.
    pub unreported: usize,
}

/// A frame whose append returned.
#[derive(Debug, Clone)]
struct Visible {
    producer: Producer,
    frame: Frame,
    first: u64,
    /// Just behind it.
    place: Place,
}

/// All that is known of a log since it was last settled.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// What a recovery kept, from offset 0 on, also what was dropped since: all of it is durable.
    settled: Found,
    begin: Begin,
    compacted: Compacted,
    /// In the order of the log.
    visible: Vec<Visible>,
    /// Submitted and not answered, or answered with an unknown outcome.
    open: BTreeMap<Producer, Frame>,
    /// Acknowledged durable.
    durable: Place,
    /// The newest that is known.
    epoch: Option<Epoch>,
}

/// A byte for byte comparison in one word.
#[must_use]
pub fn fingerprint(parts: &[&[u8]]) -> u64 {
    let mut state = 0x6573_6b65_7221;
    for part in parts {
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            state = (state ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        state = mix(state ^ u64::from_le_bytes(last)).wrapping_add(length(part.len()));
    }
    mix(state)
}

/// All that a caller gives for a record.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parts<'a> {
    /// Its payload.
    pub payload: &'a [u8],
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its headers, each encoded by [`Parts::header`], one behind the other.
    pub headers: &'a [u8],
    /// Its event time, in nanoseconds.
    pub event_time: Option<i64>,
    /// The number of its topic.
    pub topic: u32,
    /// What says that its key has no value any more.
    pub tombstone: Tombstone,
}

/// Whether a record is a tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tombstone {
    /// It has a value.
    #[default]
    No,
    /// It is one.
    Yes,
}

impl Parts<'_> {
    /// A header, in bytes that no other row of headers has.
    ///
    /// # Panics
    /// If the name is longer than a header's may be.
    pub fn header(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
        bytes.push(u8::try_from(name.len()).expect("a short name"));
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&length(value.len()).to_le_bytes());
        bytes.extend_from_slice(value);
    }

    /// The fingerprint of all of it.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let flags = [u8::from(self.key.is_some()), u8::from(self.tombstone == Tombstone::Yes)];
        let time = self.event_time.map(i64::to_le_bytes);
        let time = time.as_ref().map_or(&[][..], |time| &time[..]);
        let key = self.key.unwrap_or_default();
        fingerprint(&[&flags, key, self.headers, time, &self.topic.to_le_bytes(), self.payload])
    }
}

/// The fingerprint of a record as it is read: of all that its caller gave.
#[must_use]
pub fn fingerprint_of(record: &RecordRef<'_>) -> u64 {
    let mut headers = Vec::new();
    for header in record.headers() {
        Parts::header(&mut headers, header.name, header.value);
    }
    let parts = Parts {
        payload: record.payload(),
        key: record.key(),
        headers: &headers,
        event_time: record.event_time().map(Timestamp::nanoseconds),
        topic: record.topic().get(),
        tombstone: if record.is_tombstone() { Tombstone::Yes } else { Tombstone::No },
    };
    parts.fingerprint()
}

/// The name of a cursor as a key of the state.
#[must_use]
pub fn cursor_key(name: &str) -> Key {
    [b"@", name.as_bytes()].concat()
}

/// The name of a cursor as a key of the state, for its contract.
#[must_use]
pub fn contract_key(name: &str) -> Key {
    [b"#", name.as_bytes()].concat()
}

impl History {
    /// A frame is about to be submitted.
    ///
    /// # Panics
    /// If the producer's last one was not answered yet.
    pub fn submit(&mut self, producer: Producer, frame: Frame) {
        let before = self.open.insert(producer, frame);
        assert!(before.is_none(), "producer {producer} submits before it heard of its last frame");
    }

    /// The producer's append returned: its records begin at `first`, and it ends at `place`.
    ///
    /// # Panics
    /// If it submitted none.
    pub fn visible(&mut self, producer: Producer, first: u64, place: Place) {
        let frame = self.open.remove(&producer).expect("a frame that was submitted");
        let index = self.visible.partition_point(|before| before.place < place);
        self.visible.insert(index, Visible { producer, frame, first, place });
    }

    /// The producer's append was refused: nothing was stored.
    pub fn refused(&mut self, producer: Producer) {
        self.open.remove(&producer);
    }

    /// Everything before this place was acknowledged durable.
    pub fn durable(&mut self, place: Place) {
        self.durable = self.durable.max(place);
    }

    /// Up to where it was acknowledged durable.
    #[must_use]
    pub fn durable_place(&self) -> Place {
        self.durable
    }

    /// Whether this record was appended, or submitted, to stand at this offset.
    #[must_use]
    pub fn knows(&self, offset: u64, record: u64) -> bool {
        if let Some(settled) = self.settled.records.get(index_of(offset)) {
            return *settled == record;
        }
        let of_frame =
            |frame: &Visible| Some(*frame.frame.records.get(index_of(offset.checked_sub(frame.first)?))? == record);
        let visible = self.visible.iter().find_map(of_frame);
        visible.unwrap_or_else(|| self.open.values().any(|frame| frame.records.contains(&record)))
    }

    /// How many frames were submitted since it was settled.
    #[must_use]
    pub fn submitted(&self) -> usize {
        self.visible.len() + self.open.len()
    }

    /// Just behind the last visible frame.
    #[must_use]
    pub fn end(&self) -> Place {
        self.visible.last().map_or(self.durable, |frame| frame.place)
    }

    /// Where the last visible frame of a segment ends, if it has not been dropped.
    #[must_use]
    pub fn end_in(&self, segment: u64) -> Option<u64> {
        let of_segment = self.visible.iter().rev().find(|frame| frame.place.segment == segment);
        of_segment.filter(|frame| !self.may_be_dropped(frame)).map(|frame| frame.place.position)
    }

    /// Compares what a recovered log holds with what is known.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn judge(&self, death: Death, found: &Found) -> Result<Kept, String> {
        self.judge_begin(found)?;
        let found = &self.whole(found)?;
        let order = self.order(death, found)?;
        let end = length(found.records.len());
        if let Some((name, offset)) = found.state.iter().find(|(key, offset)| key.starts_with(b"@") && **offset > end) {
            return Err(format!("cursor {} stands at {offset}, the log ends at {end}", name.escape_ascii()));
        }
        // Frames of state alone leave no trace among the records: each end that they allow is one the log may have.
        for visible in (order.least..=order.most).rev() {
            let steps = order.steps.iter().filter(|step| step.index.is_none_or(|index| index < visible));
            let state = fold(&self.settled.state, steps.map(|step| step.frame));
            if state == found.state {
                return Ok(Kept { visible, unreported: order.unreported });
            }
            for (_, frame) in &order.silent {
                if fold(&state, std::iter::once(*frame)) == found.state {
                    return Ok(Kept { visible, unreported: order.unreported + 1 });
                }
            }
        }
        let least = order.steps.iter().filter(|step| step.index.is_none_or(|index| index < order.least));
        let expected = fold(&self.settled.state, least.map(|step| step.frame));
        let (least, most) = (order.least, order.most);
        Err(format!("state is not that of {least} to {most} frames: {}", differences(&found.state, &expected)))
    }

    /// The frames that are there, in the order of the log, as the records tell it.
    fn order(&self, death: Death, found: &Found) -> Result<Order<'_>, String> {
        let settled = self.settled.records.len();
        if found.records.get(..settled) != Some(&self.settled.records[..]) {
            let same = found.records.iter().zip(&self.settled.records).take_while(|(one, other)| one == other).count();
            return Err(format!("of {settled} records that were settled only {same} are there"));
        }
        let mut order = Order::of(self);
        let (mut next, mut most) = (settled, self.visible.len());
        for (index, visible) in self.visible.iter().enumerate() {
            let records = &visible.frame.records;
            let first = index_of(visible.first);
            if !records.is_empty() {
                if next < first {
                    order.take_open(found, &mut next, first)?;
                }
                if next < first && next == found.records.len() || next == first && found.records.len() <= first {
                    most = index;
                    break;
                }
                if next != first {
                    return Err(format!("a frame begins at offset {first}, the one before it ends at {next}"));
                }
                if found.records.get(first..first + records.len()) != Some(&records[..]) {
                    let of = visible.producer;
                    return Err(format!("offsets {first} to {} are not producer {of}'s", first + records.len()));
                }
                next = first + records.len();
                order.least = index + 1;
            }
            let (index, producer) = (Some(index), visible.producer);
            order.steps.push(Step { frame: &visible.frame, producer, index, end: length(next) });
        }
        let end = found.records.len();
        if next < end {
            order.take_open(found, &mut next, end)?;
        }
        if next != end {
            return Err(format!("{} records from offset {next} on that nobody submitted", end - next));
        }
        let bound = match death {
            Death::Process => self.visible.len(),
            Death::Machine => self.visible.partition_point(|frame| frame.place <= self.durable),
        };
        if most < bound {
            let lost = &self.visible[most];
            let word = if death == Death::Process { "visible" } else { "durable" };
            return Err(format!("was {word}, and is lost: offset {}, up to {}", lost.first, lost.place));
        }
        order.least = order.least.max(bound);
        order.most = most;
        Ok(order)
    }

    /// What an open says of the epoch.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn judge_epoch(&self, epoch: Epoch, raised: Raised) -> Result<(), String> {
        match raised {
            Raised::Yes if self.epoch.is_some_and(|newest| epoch.counter <= newest.counter) => {
                Err(format!("the end was not clean, and epoch {epoch} is no new one"))
            }
            Raised::No if self.epoch.is_some_and(|newest| epoch != newest) => {
                Err(format!("the end was clean, and epoch {epoch} is not the newest that was known"))
            }
            _ => Ok(()),
        }
    }

    /// A writer opened the log, and found what was settled.
    pub fn begin(&mut self, durable: Place, epoch: Epoch) {
        self.durable = durable;
        self.epoch = Some(epoch);
    }

    /// From here on the log is what a recovery found.
    pub fn settle(&mut self, found: Found, durable: Place, epoch: Epoch) {
        let found = self.whole(&found).unwrap_or(found);
        self.begin.settle(found.start);
        (self.settled, self.durable) = (found, durable);
        self.visible.clear();
        self.open.clear();
        self.epoch = Some(epoch);
    }
}

/// Whether an open has to have raised the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raised {
    /// The end was not clean.
    Yes,
    /// It was.
    No,
}

/// A frame that is there.
#[derive(Debug, Clone, Copy)]
struct Step<'a> {
    frame: &'a Frame,
    producer: Producer,
    /// Which of those that were reported visible; `None`: one that was not.
    index: Option<usize>,
    /// Offset behind it.
    end: u64,
}

/// The frames that are there, in the order of the log.
#[derive(Debug)]
struct Order<'a> {
    steps: Vec<Step<'a>>,
    /// The fewest and the most visible frames that the records allow.
    least: usize,
    most: usize,
    /// Open ones with records, which are among the steps, and those that are not.
    unreported: usize,
    open: Vec<(Producer, &'a Frame)>,
    /// Open ones without records: nothing but the state can tell whether one of them is there.
    silent: Vec<(Producer, &'a Frame)>,
}

impl<'a> Order<'a> {
    fn of(history: &'a History) -> Self {
        let (silent, open): (Vec<_>, Vec<_>) =
            history.open.iter().map(|(who, frame)| (*who, frame)).partition(|(_, frame)| frame.records.is_empty());
        Self { steps: Vec::new(), least: 0, most: 0, unreported: 0, open, silent }
    }

    /// Finds the frames, of those that were not reported, that stand from `next` up to `end`.
    fn take_open(&mut self, found: &Found, next: &mut usize, end: usize) -> Result<(), String> {
        while *next < end.min(found.records.len()) {
            let here = &found.records[*next..];
            let Some(index) = self.open.iter().position(|(_, frame)| here.starts_with(&frame.records)) else {
                return Err(format!("nobody submitted what stands at offset {next}, or not all of it is there"));
            };
            let (producer, frame) = self.open.swap_remove(index);
            *next += frame.records.len();
            self.unreported += 1;
            self.steps.push(Step { frame, producer, index: None, end: length(*next) });
        }
        Ok(())
    }
}

fn fold<'a>(state: &StateMap, frames: impl Iterator<Item = &'a Frame>) -> StateMap {
    let mut state = state.clone();
    for (key, value) in frames.flat_map(|frame| &frame.changes) {
        match value {
            Some(value) => state.insert(key.clone(), *value),
            None => state.remove(key),
        };
    }
    state
}

fn differences(found: &StateMap, expected: &StateMap) -> String {
    let mut text = String::new();
    for key in found.keys().chain(expected.keys()).collect::<BTreeSet<_>>() {
        let (found, expected) = (found.get(key), expected.get(key));
        if found != expected {
            write!(text, "{}: found {found:x?}, expected {expected:x?}; ", key.escape_ascii()).expect("to a string");
        }
    }
    text
}
