//! The state: the latest entry of each key, as it is visible.
//!
//! Guarantees:
//! 1. Changes are applied in the order of the log. Whoever has seen a record of a commit sees the state of it too, and
//!    nobody sees a part of a commit.
//! 2. Applying a commit allocates nothing: entries were built, and room in the tables was promised, before the append lock.
//! 3. The limits hold up to what commits that were decided at the same time add together.
//!
//! Left to others: what the keys of a space mean, what is durable, and how state comes back at an open.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::format::state::{SPACES, Space, StateEntry};
use crate::types::{Place, Version, length};

/// What an entry takes in memory beyond key and value, as the limit counts it.
pub(crate) const ENTRY_OVERHEAD_BYTES: u64 = 64;

/// The value of a state entry, and its version.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let log = esker::Log::open(folder.path())?;
/// let _ = log.commit(esker::Commit::new().state(b"total", b"17"))?;
/// let total = log.state(b"total")?.expect("just committed");
/// assert_eq!(total.value(), b"17");
///
/// // Decided in the order of the log: only if nobody changed it since.
/// let _ = log.commit(esker::Commit::new().state(b"total", b"18").if_state(b"total", total.version()))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateValue {
    pub(super) value: Arc<[u8]>,
    pub(super) version: Version,
}

impl StateValue {
    /// Its bytes.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// Which commit stored it.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }
}

/// How much the state may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) bytes_max: u64,
    pub(crate) keys_max: u64,
}

/// Keys and bytes that are held, or promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Size {
    pub(crate) keys: u64,
    /// Keys and values, and [`ENTRY_OVERHEAD_BYTES`] for each.
    pub(crate) bytes: u64,
}

type Table = HashMap<Box<[u8]>, StateValue>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct State {
    tables: [Table; SPACES],
    size: Size,
    promised: Size,
    /// Entries that commits which are not settled may add to a table.
    promised_slots: usize,
}

/// Room for a commit's changes, to be given back to [`State::settle`].
#[derive(Debug)]
#[must_use]
pub(crate) struct Promise {
    size: Size,
    slots: usize,
}

/// A change that is ready to be applied; afterwards it holds what it replaced, to be dropped without a lock.
#[derive(Debug)]
pub(crate) struct Change {
    space: Space,
    key: Box<[u8]>,
    value: Option<StateValue>,
}

impl Change {
    pub(crate) fn of(entry: &StateEntry<'_>) -> Self {
        let value = entry.value.map(|value| StateValue { value: value.into(), version: Version::default() });
        Self { space: entry.space, key: entry.key.into(), value }
    }
}

impl Size {
    fn of(key: &[u8], value: &[u8]) -> Self {
        let bytes = length(key.len()).saturating_add(length(value.len())).saturating_add(ENTRY_OVERHEAD_BYTES);
        Self { keys: 1, bytes }
    }

    fn add(&mut self, other: Self) {
        self.keys = self.keys.saturating_add(other.keys);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn take(&mut self, other: Self) {
        self.keys = self.keys.saturating_sub(other.keys);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }

    fn beyond(self, other: Self) -> Self {
        Self { keys: self.keys.saturating_sub(other.keys), bytes: self.bytes.saturating_sub(other.bytes) }
    }
}

impl State {
    pub(crate) fn get(&self, space: Space, key: &[u8]) -> Option<&StateValue> {
        self.tables.get(space.index())?.get(key)
    }

    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// Entries of a space whose keys begin with `prefix`, in the order of their keys.
    pub(crate) fn with_prefix(&self, space: Space, prefix: &[u8]) -> Vec<(Box<[u8]>, StateValue)> {
        let table = self.tables.get(space.index()).into_iter().flatten();
        let found = table.filter(|(key, _)| key.starts_with(prefix));
        let mut found: Vec<_> = found.map(|(key, value)| (key.clone(), value.clone())).collect();
        found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        found
    }

    /// Makes room for a commit, within the limits. What a commit does not add is always allowed: entries can be replaced by
    /// no longer ones, and removed, when the state is full.
    pub(crate) fn promise(&mut self, entries: &[StateEntry<'_>], limits: Limits) -> Result<Promise> {
        let (mut more, mut less, mut in_space) = (Size::default(), Size::default(), [0_usize; SPACES]);
        let mut seen = HashSet::new();
        // Of several changes of one key the last counts.
        for entry in entries.iter().rev() {
            if entries.len() > 1 && !seen.insert((entry.space, entry.key)) {
                continue;
            }
            if let Some(held) = self.get(entry.space, entry.key) {
                less.add(Size::of(entry.key, &held.value));
            }
            if let Some(value) = entry.value {
                more.add(Size::of(entry.key, value));
            }
        }
        for entry in entries.iter().filter(|entry| entry.value.is_some()) {
            if let Some(count) = in_space.get_mut(entry.space.index()) {
                *count = count.saturating_add(1);
            }
        }
        let size = more.beyond(less);
        let mut whole = self.size;
        whole.add(self.promised);
        whole.add(size);
        if size.bytes > 0 && whole.bytes > limits.bytes_max {
            return Err(full("bytes of state", whole.bytes, limits.bytes_max));
        }
        if size.keys > 0 && whole.keys > limits.keys_max {
            return Err(full("keys of state", whole.keys, limits.keys_max));
        }
        let slots = in_space.iter().fold(0, |sum: usize, count| sum.saturating_add(*count));
        self.promised.add(size);
        self.promised_slots = self.promised_slots.saturating_add(slots);
        for (table, _) in self.tables.iter_mut().zip(in_space).filter(|(_, count)| *count > 0) {
            // Others may not have used their room yet; what an entry replaces may be gone by then.
            table.reserve(self.promised_slots);
        }
        Ok(Promise { size, slots })
    }

    /// The commit is applied, or will not be.
    pub(crate) fn settle(&mut self, promise: &Promise) {
        self.promised.take(promise.size);
        self.promised_slots = self.promised_slots.saturating_sub(promise.slots);
    }

    /// Applies the changes of a commit whose frame ends at `end`.
    pub(crate) fn apply(&mut self, changes: &mut [Change], end: Place) {
        let version = Version::new(end);
        for change in changes {
            let Some(table) = self.tables.get_mut(change.space.index()) else { continue };
            match (table.get_mut(&change.key), change.value.take()) {
                (Some(held), Some(value)) => {
                    self.size.take(Size::of(&change.key, &held.value));
                    self.size.add(Size::of(&change.key, &value.value));
                    change.value = Some(std::mem::replace(held, StateValue { version, ..value }));
                }
                (None, Some(value)) => {
                    self.size.add(Size::of(&change.key, &value.value));
                    table.insert(std::mem::take(&mut change.key), StateValue { version, ..value });
                }
                (Some(_), None) => {
                    if let Some((key, value)) = table.remove_entry(&change.key) {
                        self.size.take(Size::of(&key, &value.value));
                        (change.key, change.value) = (key, Some(value));
                    }
                }
                (None, None) => {}
            }
        }
    }

    /// The key of an entry that only one of two states has, or that is not the same in both.
    pub(crate) fn difference<'s>(&'s self, other: &'s Self) -> Option<&'s [u8]> {
        let lacks = |one: &'s Self, other: &'s Self| {
            let mut tables = one.tables.iter().zip(&other.tables);
            tables.find_map(|(table, held)| table.iter().find(|(key, value)| held.get(*key) != Some(value)))
        };
        lacks(self, other).or_else(|| lacks(other, self)).map(|(key, _)| &**key)
    }

    /// Applies one entry while the state is built anew.
    pub(crate) fn load(&mut self, entry: &StateEntry<'_>, end: Place) {
        self.apply(&mut [Change::of(entry)], end);
    }
}

#[cold]
fn full(what: &str, found: u64, limit: u64) -> Error {
    Error::new(ErrorKind::Limit, format!("commit refused: {what}: {found}, at most {limit}"))
        .next_step("nothing was stored; remove entries, or raise the limit in the options")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bytes_max: 220, keys_max: 2 };

    fn set<'a>(key: &'a [u8], value: &'a [u8]) -> StateEntry<'a> {
        StateEntry { space: Space::CALLER, key, value: Some(value) }
    }

    fn commit(state: &mut State, entry: &StateEntry<'_>, at: u64) -> Result<()> {
        let promise = state.promise(std::slice::from_ref(entry), LIMITS)?;
        state.apply(&mut [Change::of(entry)], Place::new(1, at));
        state.settle(&promise);
        Ok(())
    }

    #[test]
    fn limits_refuse_what_is_new_and_let_pass_what_adds_nothing() {
        let mut state = State::default();
        commit(&mut state, &set(b"a", b"123"), 1).expect("fits");
        commit(&mut state, &set(b"b", b"123"), 2).expect("fits");
        assert_eq!(state.size(), Size { keys: 2, bytes: 2 * (64 + 4) });
        let keys = commit(&mut state, &set(b"c", b""), 3).expect_err("a third key");
        assert!(keys.to_string().contains("keys of state: 3, at most 2"), "{keys}");
        let bytes = commit(&mut state, &set(b"a", &[0; 100]), 3).expect_err("too long");
        assert!(bytes.to_string().contains("bytes of state: 233, at most 220"), "{bytes}");
        commit(&mut state, &set(b"a", b"321"), 3).expect("no longer than before");
        commit(&mut state, &StateEntry { value: None, ..set(b"b", b"") }, 4).expect("removed");
        commit(&mut state, &set(b"c", b"1"), 5).expect("there is room again");
        assert_eq!(state.promised, Size::default());
        assert_eq!(state.size(), Size { keys: 2, bytes: 64 + 4 + 64 + 2 });
    }

    #[test]
    fn promises_count_until_they_are_settled() {
        let mut state = State::default();
        let first = state.promise(&[set(b"a", b""), set(b"b", b"")], LIMITS).expect("fits");
        assert!(state.promise(&[set(b"c", b"")], LIMITS).is_err());
        state.settle(&first);
        assert!(state.promise(&[set(b"c", b"")], LIMITS).is_ok());
    }

    #[test]
    fn a_key_in_two_spaces_is_two_entries_and_a_new_value_has_a_new_version() {
        let mut state = State::default();
        state.load(&set(b"k", b"mine"), Place::new(1, 8));
        state.load(&StateEntry { space: Space::CURSORS, ..set(b"k", b"cursor") }, Place::new(1, 16));
        assert_eq!(state.get(Space::CALLER, b"k").map(|held| held.value.to_vec()), Some(b"mine".to_vec()));
        let before = state.get(Space::CALLER, b"k").map(StateValue::version);
        state.load(&set(b"k", b"mine"), Place::new(1, 24));
        assert!(state.get(Space::CALLER, b"k").map(StateValue::version) > before);
        assert_eq!(state.with_prefix(Space::CURSORS, b"").len(), 1);
    }
}
