//! The consumer: for each piece of what it reads it commits what it made of it, a sum in the state, and the move of its
//! cursor, in one commit. Whatever is killed when, each record is handled once.
//!
//! Guarantees:
//! 1. Every output names its input and the offset that the cursor moved to in the same commit.
//! 2. Producers commit an entry of their own with every second frame, and with every fourth set or remove one more: what
//!    the state has to be follows from the records that are there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use esker::{Attached, Commit, Log, Offset, Record, RecordRef, StateView, Ticket, Topic, Version};

use super::plan::{Identity, OUTPUT_TOPIC, Run, Sample, usize_of};

pub(super) const CURSOR: &str = "consumer";
const SUM: &str = "sum";
/// Handled in one commit: outputs of so many fit into a frame of the smallest segment.
const PIECE_RECORDS: usize = 40;

/// State entries by key.
pub(super) type Entries = BTreeMap<Vec<u8>, (Vec<u8>, Version)>;

/// What was handled so far: how many records, and their digests added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sum {
    count: u64,
    digests: u64,
}

impl Sum {
    fn add(&mut self, input: &Sample) {
        self.count += 1;
        self.digests = self.digests.wrapping_add(input.digest());
    }

    fn encode(self) -> Vec<u8> {
        [self.count, self.digests].iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn decode(bytes: &[u8]) -> Self {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Self { count: word(0), digests: word(8) }
    }
}

/// What the consumer does, until the producers are done and it has handled everything.
pub(super) fn consume(run: &Run, log: &Log, producing: &AtomicU64, say: &impl Fn(&str)) {
    let mut cursor = match log.cursor(CURSOR) {
        Ok(cursor) => cursor,
        Err(error) => return say(&format!("error cursor: {error}")),
    };
    let sum = log.state(SUM).expect("shown");
    let mut sum = sum.map_or_else(Sum::default, |held| Sum::decode(held.value()));
    loop {
        // Asked before the poll: what they appended until they were done is then seen. Acquire; pairs with the Release
        // of a producer that is done.
        let done = producing.load(Ordering::Acquire) == 0;
        let batch = match cursor.poll_wait(Duration::from_millis(1)) {
            Ok(Some(batch)) => batch,
            Ok(None) if done => return,
            Ok(None) => continue,
            Err(error) => return say(&format!("error poll: {error}")),
        };
        let records: Vec<RecordRef<'_>> = batch.iter().collect();
        for piece in records.chunks(PIECE_RECORDS) {
            let next = piece.last().expect("not empty").offset().after(1);
            let inputs = piece.iter().filter(|record| record.topic().get() != OUTPUT_TOPIC);
            let outputs: Vec<Vec<u8>> = inputs.clone().map(|input| output(run, input.offset(), next)).collect();
            inputs.for_each(|input| sum.add(&Sample::found(input)));
            let (topic, value) = (Topic::new(OUTPUT_TOPIC).expect("small"), sum.encode());
            let commit = Commit::new().records(outputs.iter().map(|payload| Record::new(payload).topic(topic)));
            let commit = if outputs.is_empty() { commit } else { commit.state(SUM, &value) };
            if let Err(error) = cursor.commit_with(next, commit) {
                return say(&format!("error commit: {error}"));
            }
            say(&format!("moved {next}"));
        }
    }
}

fn output(run: &Run, input: Offset, next: Offset) -> Vec<u8> {
    let mut payload = Identity::of_output(run.seed, input.get()).bytes();
    payload.extend(next.get().to_le_bytes());
    payload
}

/// The offset to which an output says that the cursor moved.
pub(super) fn moved_to(record: &RecordRef<'_>) -> Option<u64> {
    Some(u64::from_le_bytes(record.payload().get(24..)?.try_into().ok()?))
}

/// How a producer commits its frame with this index: records alone, or with entries.
pub(super) fn producer_commit<'l>(
    log: &'l Log,
    run: &Run,
    thread: u64,
    index: u64,
    records: &[Record<'_>],
) -> esker::Result<Ticket<'l>> {
    if index.is_multiple_of(2) {
        return log.append_batch(records);
    }
    let (key, flag, value) = (producer_key(thread), flag_key(thread), producer_value(run.seed, index));
    let commit = Commit::new().records(records.iter().copied()).state(&key, &value);
    let commit = if index % 4 == 1 { commit.state(&flag, &value) } else { commit.remove_state(&flag) };
    log.commit(commit)
}

fn producer_key(thread: u64) -> String {
    format!("producer/{thread}")
}

fn flag_key(thread: u64) -> String {
    format!("flag/{thread}")
}

fn producer_value(run: u64, index: u64) -> [u8; 16] {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&run.to_le_bytes());
    value[8..].copy_from_slice(&index.to_le_bytes());
    value
}

/// What the state has to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    producers: BTreeMap<Vec<u8>, Vec<u8>>,
    /// As it was found last.
    entries: Entries,
    moved: u64,
}

impl Ledger {
    /// A thread of a run has so many frames in the log.
    pub(super) fn note_frames(&mut self, run: &Run, thread: u64, frames: u64) {
        let Some(index) = (0..frames).rev().find(|index| index % 2 == 1) else { return };
        let value = producer_value(run.seed, index).to_vec();
        self.producers.insert(producer_key(thread).into_bytes(), value.clone());
        if index % 4 == 1 {
            self.producers.insert(flag_key(thread).into_bytes(), value);
        } else {
            self.producers.remove(flag_key(thread).as_bytes());
        }
    }

    /// State and cursor of a log are what its records say, and what was reported; returns them.
    pub(super) fn check(&mut self, view: &StateView, found: &[Identity], outputs: &[u64], reported: u64) -> Look {
        let look = Look::of(view);
        let cursor = look.cursor.unwrap_or_default();
        assert!(cursor >= reported.max(self.moved), "the cursor is at {cursor}, {reported} was reported");
        let below = &found[..usize_of(cursor)];
        let inputs: Vec<u64> =
            (0..).zip(below).filter(|(_, identity)| !identity.is_output()).map(|(at, _)| at).collect();
        let handled: Vec<u64> =
            found.iter().filter(|identity| identity.is_output()).map(|output| output.number).collect();
        assert!(inputs == handled, "inputs below {cursor}: {inputs:?}, handled were {handled:?}");
        // Behind what the last output says the cursor has only passed outputs.
        let last = outputs.last().copied().unwrap_or_default();
        let rest = found.get(usize_of(last)..usize_of(cursor)).unwrap_or_default();
        assert!(last <= cursor && rest.iter().all(|identity| identity.is_output()), "{last}, cursor at {cursor}");
        let mut sum = Sum::default();
        for identity in below.iter().filter(|identity| !identity.is_output()) {
            sum.add(&Sample::of(*identity));
        }
        let mut expected = self.producers.clone();
        if sum.count > 0 {
            expected.insert(SUM.into(), sum.encode());
        }
        let values: BTreeMap<_, _> =
            look.entries.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect();
        assert_eq!(values, expected);
        for (key, (value, version)) in &look.entries {
            if let Some((before, old)) = self.entries.get(key) {
                let same = if before == value { version == old } else { version > old };
                assert!(same, "{}: {version}, was {old}", key.escape_ascii());
            }
        }
        (self.entries, self.moved) = (look.entries.clone(), cursor);
        look
    }
}

/// State and cursor as somebody sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    entries: Entries,
    cursor: Option<u64>,
}

impl Look {
    pub(super) fn of(view: &StateView) -> Self {
        let all = view.with_prefix("").into_iter();
        let entries = all.map(|(key, held)| (key.to_vec(), (held.value().to_vec(), held.version()))).collect();
        let cursor = view.cursors().iter().find(|info| info.name == CURSOR).map(|info| info.offset.get());
        Self { entries, cursor }
    }

    pub(super) fn inside(log: &Log) -> Self {
        let all = log.states("").expect("shown").into_iter();
        let entries = all.map(|(key, held)| (key.to_vec(), (held.value().to_vec(), held.version()))).collect();
        let cursors = log.cursors().expect("shown");
        let cursor = cursors.iter().find(|info| info.name == CURSOR).map(|info| info.offset.get());
        Self { entries, cursor }
    }

    pub(super) fn outside(attached: &Attached) -> Self {
        Self::of(&attached.state().expect("shown"))
    }
}
