//! The books: what consumer and producers keep in the state, and what follows from the records that are there.
//!
//! Guarantees:
//! 1. Every output names its input and the offset that the cursor moved to in the same commit: whatever is killed when,
//!    each record is handled once.
//! 2. Producers commit an entry of their own with every second frame, and with every fourth set or remove one more.

use std::collections::BTreeMap;

use esker::{Attached, Log, RecordRef, StateView, Version};
use harness::oracle::{StateMap, cursor_key, fingerprint};

use super::plan::{Identity, Sample, usize_of};

pub(super) const CURSOR: &str = "consumer";
pub(super) const SUM: &str = "sum";

/// State entries by key.
pub(super) type Entries = BTreeMap<Vec<u8>, (Vec<u8>, Version)>;

/// What was handled so far: how many records, and their fingerprints added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum {
    pub(super) count: u64,
    fingerprints: u64,
}

impl Sum {
    pub(super) fn add(&mut self, input: &Sample) {
        self.count += 1;
        self.fingerprints = self.fingerprints.wrapping_add(input.fingerprint());
    }

    pub(super) fn encode(self) -> Vec<u8> {
        [self.count, self.fingerprints].iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Self { count: word(0), fingerprints: word(8) }
    }
}

/// What the consumer of a run makes of the input at an offset, when it moves its cursor to `next`.
pub(super) fn output(run: u64, input: u64, next: u64) -> Vec<u8> {
    let mut payload = Identity::of_output(run, input).bytes();
    payload.extend(next.to_le_bytes());
    payload
}

/// The offset to which an output says that the cursor moved.
pub(super) fn moved_to(record: &RecordRef<'_>) -> Option<u64> {
    Some(u64::from_le_bytes(record.payload().get(24..)?.try_into().ok()?))
}

/// What a producer's frame with this index changes in the state; `None` removes.
pub(super) fn producer_changes(run: u64, thread: u64, index: u64) -> Vec<(String, Option<[u8; 16]>)> {
    if index.is_multiple_of(2) {
        return Vec::new();
    }
    let mut value = [0; 16];
    value[..8].copy_from_slice(&run.to_le_bytes());
    value[8..].copy_from_slice(&index.to_le_bytes());
    let flag = (index % 4 == 1).then_some(value);
    vec![(format!("producer/{thread}"), Some(value)), (format!("flag/{thread}"), flag)]
}

/// What was found last.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    entries: Entries,
    /// Where the cursor stood, and what had been handled.
    pub(super) moved: u64,
    pub(super) sum: Sum,
}

impl Ledger {
    /// State and cursor of a log are what its records say, and what was reported.
    pub(super) fn check(&mut self, look: &Look, found: &[Identity], outputs: &[u64], reported: u64) {
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
        let held = look.entries.get(SUM.as_bytes()).map(|(value, _)| value.clone());
        assert_eq!(held, (sum.count > 0).then(|| sum.encode()), "the sum of what was handled");
        for (key, (value, version)) in &look.entries {
            if let Some((before, old)) = self.entries.get(key) {
                let same = if before == value { version == old } else { version > old };
                assert!(same, "{}: {version}, was {old}", key.escape_ascii());
            }
        }
        (self.entries, self.moved, self.sum) = (look.entries.clone(), cursor, sum);
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

    /// As the oracle knows it.
    pub(super) fn state(&self) -> StateMap {
        let entries = self.entries.iter().map(|(key, (value, _))| (key.clone(), fingerprint(&[value])));
        entries.chain(self.cursor.map(|offset| (cursor_key(CURSOR), offset))).collect()
    }

    pub(super) fn outside(attached: &Attached) -> Self {
        Self::of(&attached.state().expect("shown"))
    }
}
