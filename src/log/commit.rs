//! A commit: records, state entries and cursor moves in one frame, under conditions.
//!
//! Guarantees:
//! 1. It is there in full or not at all, and visible at once: whoever has seen one part sees the others.
//! 2. Its conditions are decided in the order of the log: between the decision and the frame nothing else is stored.
//! 3. A commit that is refused has stored nothing.

mod decide;

use std::sync::Arc;

use super::core::{Core, frame_bytes};
use super::cursor::check_name;
use super::reader::{LogSource, ReadLine, Reader};
use super::state::Change;
use super::ticket::Ticket;
use crate::error::{Error, ErrorKind, Result};
use crate::format::state::{CURSOR_BYTES, CursorValue, Space, StateEntry, TopicStart};
use crate::format::{CONTRACT_TOPICS_MAX, contract, record};
use crate::segment::Body;
use crate::types::{Contract, Offset, Record, Topic, Version};
use decide::{Decider, Stop};

/// The most conditions of one commit; each cursor move is one.
pub const COMMIT_CONDITIONS_MAX: usize = 65_535;
/// The most conditions of one commit that ask for records: each is compared with every record since.
pub const COMMIT_RECORD_CONDITIONS_MAX: usize = 64;

/// One atomic change: any number of records, state entries and cursor moves, in one frame, under conditions.
///
/// *Consume, emit, and move the cursor* is one commit: it happens once, whatever dies when.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use esker::{Commit, Record};
///
/// let log = esker::Log::open(folder.path())?;
/// let _ = log.append(b"order #1: 5 boxes")?;
///
/// let mut billing = log.cursor("billing")?;
/// while let Some(batch) = billing.poll()? {
///     let commit = Commit::new().record(Record::new(b"invoice #1")).state(b"boxes", b"5");
///     let _ = billing.commit_with(&batch, commit)?; // records, state and cursor: all or nothing
/// #   break;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a commit does something only when it is given to the log"]
pub struct Commit<'a> {
    records: Vec<Record<'a>>,
    moves: Vec<Move<'a>>,
    pub(super) conditions: Vec<Condition<'a>>,
}

/// A change of the state.
#[derive(Debug, Clone, Copy)]
enum Move<'a> {
    Set { space: Space, key: &'a [u8], value: &'a [u8] },
    Remove { key: &'a [u8] },
    Cursor { name: &'a str, offset: Offset },
    RemoveCursor { name: &'a str },
    Contract { name: &'a str, contract: &'a Contract },
}

/// What a change stores that is encoded for it.
enum Encoded {
    Nothing,
    Cursor([u8; CURSOR_BYTES]),
    Contract(Vec<u8>),
}

/// What must hold when the commit is decided.
#[derive(Debug, Clone, Copy)]
pub(super) enum Condition<'a> {
    /// The entry has this version, or there is none.
    State { key: &'a [u8], expected: Option<Version> },
    /// No record of the key at or behind the offset.
    NoRecord { topic: Topic, key: &'a [u8], since: Offset },
    /// The cursor stands at or before the offset, if it exists.
    CursorNotBehind { name: &'a str, offset: Offset },
    /// The cursor's entry is the one that its handle knows; `None`: there is none.
    CursorUnmoved { name: &'a str, expected: Option<(Version, Offset)> },
}

impl<'a> Commit<'a> {
    /// A commit that changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record.
    pub fn record(mut self, record: impl Into<Record<'a>>) -> Self {
        self.records.push(record.into());
        self
    }

    /// Adds records.
    pub fn records(mut self, records: impl IntoIterator<Item = Record<'a>>) -> Self {
        self.records.extend(records);
        self
    }

    /// Sets a state entry. Of several changes of one key the last counts.
    pub fn state<K: AsRef<[u8]> + ?Sized, V: AsRef<[u8]> + ?Sized>(mut self, key: &'a K, value: &'a V) -> Self {
        self.moves.push(Move::Set { space: Space::CALLER, key: key.as_ref(), value: value.as_ref() });
        self
    }

    /// Sets state entries, as [`Commit::state`] does each.
    pub fn states<K, V>(self, entries: impl IntoIterator<Item = (&'a K, &'a V)>) -> Self
    where
        K: AsRef<[u8]> + ?Sized + 'a,
        V: AsRef<[u8]> + ?Sized + 'a,
    {
        entries.into_iter().fold(self, |commit, (key, value)| commit.state(key, value))
    }

    /// Says from which offset on a topic is there.
    pub(super) fn topic_start(mut self, start: &'a TopicStart) -> Self {
        self.moves.push(Move::Set { space: Space::TOPIC_STARTS, key: &start.key, value: &start.value });
        self
    }

    /// Removes a state entry; nothing happens if it is not there.
    pub fn remove_state<K: AsRef<[u8]> + ?Sized>(mut self, key: &'a K) -> Self {
        self.moves.push(Move::Remove { key: key.as_ref() });
        self
    }

    /// Moves a cursor forward, to the offset of the record that it reads next; makes the cursor if it does not exist. To
    /// move it back is refused, see [`Commit::seek_cursor`].
    pub fn cursor(mut self, name: &'a str, next: Offset) -> Self {
        self.conditions.push(Condition::CursorNotBehind { name, offset: next });
        self.seek_cursor(name, next)
    }

    /// Moves a cursor to any offset that the log has reached, also back; makes the cursor if it does not exist.
    pub fn seek_cursor(mut self, name: &'a str, next: Offset) -> Self {
        self.moves.push(Move::Cursor { name, offset: next });
        self
    }

    /// Removes a cursor, and its contract; nothing happens if it does not exist.
    pub fn remove_cursor(mut self, name: &'a str) -> Self {
        self.moves.push(Move::RemoveCursor { name });
        self.contract(name, &Contract::Hold)
    }

    /// Sets what a cursor keeps retention from dropping. Without that it is [`Contract::Hold`].
    pub fn contract(mut self, name: &'a str, contract: &'a Contract) -> Self {
        self.moves.push(Move::Contract { name, contract });
        self
    }

    /// Only if the cursor's entry is the one that a handle knows; `None`: only if there is none.
    pub(super) fn if_cursor(mut self, name: &'a str, expected: Option<(Version, Offset)>) -> Self {
        self.conditions.push(Condition::CursorUnmoved { name, expected });
        self
    }

    /// Only if the state entry is still at this version.
    pub fn if_state<K: AsRef<[u8]> + ?Sized>(mut self, key: &'a K, version: Version) -> Self {
        self.conditions.push(Condition::State { key: key.as_ref(), expected: Some(version) });
        self
    }

    /// Only if there is no state entry of this key.
    pub fn if_no_state<K: AsRef<[u8]> + ?Sized>(mut self, key: &'a K) -> Self {
        self.conditions.push(Condition::State { key: key.as_ref(), expected: None });
        self
    }

    /// Only if no record of this key was appended to the topic at `since` or behind it. Costs reading what was: choose
    /// `since` as late as possible, for example the offset behind what was read before deciding. A `since` before the start of
    /// the log, or [of the topic](crate::Log::topic_start), is refused as `Trimmed`: what was there cannot be known; one past the end as `Invalid`. The commit's own records do
    /// not count.
    pub fn if_no_record<K: AsRef<[u8]> + ?Sized>(mut self, topic: Topic, key: &'a K, since: Offset) -> Self {
        self.conditions.push(Condition::NoRecord { topic, key: key.as_ref(), since });
        self
    }

    fn check_conditions(&self) -> Result<()> {
        let of_records = |condition: &&Condition<'_>| matches!(condition, Condition::NoRecord { .. });
        let records = self.conditions.iter().filter(of_records).count();
        let limits = [
            ("conditions", self.conditions.len(), COMMIT_CONDITIONS_MAX),
            ("conditions on records", records, COMMIT_RECORD_CONDITIONS_MAX),
        ];
        match limits.iter().find(|(_, found, most)| found > most) {
            Some((what, found, most)) => {
                let text = format!("commit refused: {what}: {found}, at most {most}");
                Err(Error::new(ErrorKind::Limit, text).next_step("nothing was stored; split the commit"))
            }
            None => Ok(()),
        }
    }

    /// Whether it appends no record and changes no state.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.moves.is_empty()
    }
}

impl Core {
    /// See [`Log::commit`](super::Log::commit).
    pub(crate) fn commit(self: &Arc<Self>, commit: &Commit<'_>) -> Result<Ticket<'_>> {
        // Before any lock: in a child it may be held for ever.
        self.check_fork()?;
        let searches = commit.conditions.iter().any(|condition| matches!(condition, Condition::NoRecord { .. }));
        self.commit_by(commit, searches.then(|| Reader::new(Arc::<Self>::clone(self))))
    }

    /// Commits; the reader is for conditions on records, if there are some.
    pub(crate) fn commit_by(&self, commit: &Commit<'_>, reader: Option<Reader>) -> Result<Ticket<'_>> {
        commit.check_conditions()?;
        let values = self.check_moves(&commit.moves)?;
        let entries: Vec<StateEntry<'_>> =
            commit.moves.iter().zip(&values).map(|(change, value)| change.entry(value)).collect();
        let shape = record::measure(&commit.records, &entries)?;
        if frame_bytes(shape.body_length) > self.frame_bytes_max {
            return Err(self.too_large(frame_bytes(shape.body_length)));
        }
        let lowest = commit.moves.iter().filter_map(Move::offset).min_by_key(|(_, offset)| *offset);
        let changes = entries.iter().map(Change::of).collect();
        let mut decider = Decider::new(self, &commit.conditions, lowest, changes, reader);
        decider.catch_up()?;
        let ticket = if commit.is_empty() {
            self.decide_only(&mut decider)?
        } else {
            decider.promise(self, &entries)?;
            let stored = self.store(&Body::data(&commit.records, &entries, &shape), &mut decider);
            decider.give_back(self);
            stored?
        };
        if self.syncs_every_commit() {
            ticket.wait()?;
        }
        Ok(ticket)
    }

    /// Stores a commit as soon as its conditions are decided.
    fn store(&self, body: &Body<'_>, decider: &mut Decider<'_>) -> Result<Ticket<'_>> {
        loop {
            match self.append_on(body, decider) {
                Ok(ticket) => return Ok(ticket),
                Err(Stop::CatchUp) => decider.catch_up()?,
                Err(stop) => return Err(decider.error(stop)),
            }
        }
    }

    /// Conditions alone: decided, and nothing stored.
    fn decide_only(&self, decider: &mut Decider<'_>) -> Result<Ticket<'_>> {
        loop {
            match self.admit_only(decider) {
                Ok(end) => return Ok(Ticket { core: self, end: end.place, first: end.offset, next: end.offset }),
                Err(Stop::CatchUp) => decider.catch_up()?,
                Err(stop) => return Err(decider.error(stop)),
            }
        }
    }

    /// Checks names and offsets, and encodes cursors.
    fn check_moves(&self, moves: &[Move<'_>]) -> Result<Vec<Encoded>> {
        let end = self.end(ReadLine::Visible).offset;
        let mut values = Vec::with_capacity(moves.len());
        for change in moves {
            values.push(match *change {
                Move::Cursor { name, offset } => {
                    check_name(name)?;
                    if offset > end || offset < self.start() {
                        // A log that has ended shows less than it holds.
                        let ended = Core::ended(self);
                        return Err(ended.unwrap_or_else(|| outside(name, offset, self.start(), end)));
                    }
                    Encoded::Cursor(CursorValue { epoch: self.epoch, offset }.encode())
                }
                Move::RemoveCursor { name } => {
                    check_name(name)?;
                    Encoded::Nothing
                }
                Move::Contract { name, contract } => {
                    check_name(name)?;
                    check_contract(name, contract)?;
                    // That of a cursor without one.
                    if *contract == Contract::Hold {
                        Encoded::Nothing
                    } else {
                        Encoded::Contract(contract::encode(contract))
                    }
                }
                Move::Set { .. } | Move::Remove { .. } => Encoded::Nothing,
            });
        }
        Ok(values)
    }
}

fn check_contract(name: &str, contract: &Contract) -> Result<()> {
    match contract {
        Contract::HoldTopics(topics) if topics.len() > CONTRACT_TOPICS_MAX => {
            let text = format!(
                "commit refused: the contract of cursor {name} names {} topics, at most {CONTRACT_TOPICS_MAX}",
                topics.len()
            );
            Err(Error::new(ErrorKind::Limit, text)
                .next_step("nothing was stored; hold all topics, or use more cursors"))
        }
        _ => Ok(()),
    }
}

#[cold]
fn outside(name: &str, offset: Offset, start: Offset, end: Offset) -> Error {
    let text = format!("commit refused: cursor {name} to offset {offset}, the log holds {start} to {end}");
    let kind = if offset < start { ErrorKind::Trimmed { next: start } } else { ErrorKind::Invalid };
    Error::new(kind, text)
        .at_offset(offset)
        .next_step("nothing was stored; give the offset behind a record that was read")
}

impl<'a> Move<'a> {
    /// Where it moves which cursor.
    fn offset(&self) -> Option<(&'a str, Offset)> {
        if let Self::Cursor { name, offset } = *self { Some((name, offset)) } else { None }
    }

    /// As it is stored; `value` is what was encoded for it.
    fn entry(&self, value: &'a Encoded) -> StateEntry<'a> {
        let value = match value {
            Encoded::Nothing => None,
            Encoded::Cursor(value) => Some(&value[..]),
            Encoded::Contract(value) => Some(&value[..]),
        };
        self.entry_of(value)
    }

    fn entry_of(&self, encoded: Option<&'a [u8]>) -> StateEntry<'a> {
        match *self {
            Self::Set { space, key, value } => StateEntry { space, key, value: Some(value) },
            Self::Remove { key } => StateEntry { space: Space::CALLER, key, value: None },
            Self::Cursor { name, .. } => StateEntry { space: Space::CURSORS, key: name.as_bytes(), value: encoded },
            Self::Contract { name, .. } => StateEntry { space: Space::CONTRACTS, key: name.as_bytes(), value: encoded },
            Self::RemoveCursor { name } => StateEntry { space: Space::CURSORS, key: name.as_bytes(), value: None },
        }
    }
}
