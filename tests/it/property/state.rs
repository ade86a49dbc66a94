//! The part of the model that is state: entries with their versions, cursors with their handles, and checkpoints, which
//! must make no difference.

use std::collections::BTreeMap;

use esker::{
    Attached, Commit, Conflict, Contract, Cursor, Epoch, Error, ErrorKind, Header, Record, Start, Topic, Version,
};
use harness::MemoryDisk;
use proptest::collection::vec;
use proptest::prelude::*;

use super::retention::Holds;
use super::{Stored, World, number, offset, record, stored};
use crate::support::{at, checkpoints};

const NAMES: [&str; 2] = ["billing", "audit/2"];
/// The first two are handles of one cursor.
const HANDLES: [&str; 3] = [NAMES[0], NAMES[0], NAMES[1]];

#[derive(Debug, Clone)]
pub(super) enum StateStep {
    Commit { records: Vec<Stored>, changes: Vec<Change>, conditions: Vec<Condition> },
    Open { handle: usize, start: u8 },
    Poll { handle: usize },
    Move { handle: usize, records: Vec<Stored>, changes: Vec<Change> },
    Seek { handle: usize, part: u8 },
    FailBackground(Failing),
    FailClose(Failing),
    Damage(Damage),
    CrashDamaged(Damage),
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Set { key: u8, value: Vec<u8> },
    Remove { key: u8 },
    Cursor { name: usize, part: u8 },
    SeekCursor { name: usize, part: u8 },
    RemoveCursor { name: usize },
    Contract { name: usize, holds: Holds },
}

#[derive(Debug, Clone)]
pub(super) enum Condition {
    /// At the version that it has, if there is one.
    Held {
        key: u8,
    },
    /// At a version that it had.
    Stale {
        key: u8,
    },
    None {
        key: u8,
    },
    NoRecord {
        topic: u32,
        key: u8,
        part: u8,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Failing {
    Create,
    Directory,
}

/// Of the newest checkpoint; or all of them gone.
#[derive(Debug, Clone, Copy)]
pub(super) enum Damage {
    Flip { part: u8, bit: u8 },
    Cut { part: u8 },
    Remove,
    RemoveAll,
}

/// What the state has to be.
#[derive(Debug, Default)]
pub(super) struct Model {
    entries: BTreeMap<Vec<u8>, (Vec<u8>, Version)>,
    cursors: BTreeMap<&'static str, Standing>,
    /// Of cursors that do not hold all, also of those that are not there.
    contracts: BTreeMap<&'static str, Holds>,
    newest: Version,
}

impl Model {
    pub(super) fn contract(&self, name: &str) -> Holds {
        self.contracts.get(name).copied().unwrap_or(Holds::All)
    }

    pub(super) fn standings(&self) -> impl Iterator<Item = (&&'static str, usize)> {
        self.cursors.iter().map(|(name, standing)| (name, standing.offset))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    offset: usize,
    epoch: Epoch,
    version: Version,
}

/// A handle, and the version of the cursor that it knows.
pub(super) struct Handle {
    cursor: Cursor,
    known: Version,
}

fn holds() -> impl Strategy<Value = Holds> {
    prop_oneof![Just(Holds::All), Just(Holds::Topic), Just(Holds::Nothing)]
}

fn change() -> impl Strategy<Value = Change> {
    let (key, name, part) = (0..5_u8, 0..2_usize, any::<u8>());
    prop_oneof![
        6 => (key.clone(), vec(any::<u8>(), 0..60)).prop_map(|(key, value)| Change::Set { key, value }),
        2 => key.prop_map(|key| Change::Remove { key }),
        2 => (name.clone(), part).prop_map(|(name, part)| Change::Cursor { name, part }),
        1 => (name.clone(), part).prop_map(|(name, part)| Change::SeekCursor { name, part }),
        1 => name.clone().prop_map(|name| Change::RemoveCursor { name }),
        1 => (name, holds()).prop_map(|(name, holds)| Change::Contract { name, holds }),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let key = 0..5_u8;
    prop_oneof![
        4 => key.clone().prop_map(|key| Condition::Held { key }),
        1 => key.clone().prop_map(|key| Condition::Stale { key }),
        1 => key.prop_map(|key| Condition::None { key }),
        3 => (0..3_u32, 0..4_u8, any::<u8>()).prop_map(|(topic, key, part)| Condition::NoRecord { topic, key, part }),
    ]
}

/// A record whose key others have too.
fn keyed() -> impl Strategy<Value = Stored> {
    (stored(), 0..4_u8).prop_map(|(stored, key)| Stored { key: stored.key.map(|_| vec![key]), ..stored })
}

pub(super) fn state_step() -> impl Strategy<Value = StateStep> {
    let (handle, part) = (0..3_usize, any::<u8>());
    let failing = || prop_oneof![Just(Failing::Create), Just(Failing::Directory)];
    let damage = || {
        prop_oneof![
            2 => (any::<u8>(), 0..8_u8).prop_map(|(part, bit)| Damage::Flip { part, bit }),
            1 => any::<u8>().prop_map(|part| Damage::Cut { part }),
            1 => Just(Damage::Remove),
            1 => Just(Damage::RemoveAll),
        ]
    };
    prop_oneof![
        10 => (vec(keyed(), 0..3), vec(change(), 0..5), vec(condition(), 0..2)).prop_map(
            |(records, changes, conditions)| StateStep::Commit { records, changes, conditions }
        ),
        3 => (handle.clone(), part).prop_map(|(handle, start)| StateStep::Open { handle, start }),
        3 => handle.clone().prop_map(|handle| StateStep::Poll { handle }),
        4 => (handle.clone(), vec(keyed(), 0..2), vec(change(), 0..2)).prop_map(
            |(handle, records, changes)| StateStep::Move { handle, records, changes }
        ),
        1 => (handle, part).prop_map(|(handle, part)| StateStep::Seek { handle, part }),
        1 => failing().prop_map(StateStep::FailBackground),
        1 => failing().prop_map(StateStep::FailClose),
        1 => damage().prop_map(StateStep::Damage),
        1 => damage().prop_map(StateStep::CrashDamaged),
    ]
}

impl World {
    pub(super) fn run_state(&mut self, step: StateStep) {
        match step {
            StateStep::Commit { records, changes, conditions } => self.commit(records, &changes, &conditions),
            StateStep::Open { handle, start } => self.open_cursor(handle, start),
            StateStep::Poll { handle } => self.poll_cursor(handle),
            StateStep::Move { handle, records, changes } => self.move_cursor(handle, records, &changes),
            StateStep::Seek { handle, part } => self.seek_cursor(handle, part),
            StateStep::FailBackground(failing) => {
                self.arm(failing, 1);
                self.step_background();
                self.arm(failing, 0);
                self.durable = number(self.log.durable());
            }
            StateStep::FailClose(failing) => {
                self.arm(failing, 1);
                self.reopen();
            }
            // A log that was trimmed needs one of them.
            StateStep::Damage(_) | StateStep::CrashDamaged(_) if self.is_trimmed() => {}
            StateStep::Damage(damage) => damage_checkpoints(&self.disk, damage),
            StateStep::CrashDamaged(damage) => {
                let left = self.disk.snapshot();
                damage_checkpoints(&left, damage);
                self.open(left);
                assert_eq!(self.log.recovery().cut, None);
            }
        }
    }

    /// Makes the next creation, or sync of the directory, fail; or takes that back.
    fn arm(&self, failing: Failing, next: u64) {
        match failing {
            Failing::Create => self.disk.fail_create(next),
            Failing::Directory => self.disk.fail_directory_sync(next),
        }
    }

    /// What is inside, and what is seen from outside, is what the model says.
    pub(super) fn compare_state(&self) {
        let inside = self.log.states("").expect("shown");
        self.compare_entries(inside.iter().map(|(key, held)| (&**key, held)));
        let cursors = self.log.cursors().expect("shown");
        self.compare_cursors(&cursors);
        let keys = self.state.entries.len() + self.state.cursors.len() + self.state.contracts.len();
        assert_eq!(at(self.log.stats().state_keys), keys);
    }

    pub(super) fn compare_outside(&self, attached: &Attached) {
        let view = attached.state().expect("shown");
        self.compare_entries(view.with_prefix("").iter().map(|(key, held)| (&**key, held)));
        self.compare_cursors(&view.cursors());
        assert_eq!(number(view.end()), self.model.len());
    }

    fn compare_entries<'a>(&self, found: impl Iterator<Item = (&'a [u8], &'a esker::StateValue)>) {
        let found: Vec<_> = found.map(|(key, held)| (key, held.value(), held.version())).collect();
        let expected: Vec<_> =
            self.state.entries.iter().map(|(key, (value, version))| (&**key, &**value, *version)).collect();
        assert_eq!(found, expected);
    }

    fn compare_cursors(&self, found: &[esker::CursorInfo]) {
        let found: Vec<_> = found
            .iter()
            .map(|info| (&*info.name, number(info.offset), info.epoch, at(info.lag), info.contract.clone()))
            .collect();
        let lag = |standing: &Standing| self.model.len() - standing.offset;
        let mut expected: Vec<_> = self
            .state
            .cursors
            .iter()
            .map(|(name, standing)| {
                (*name, standing.offset, standing.epoch, lag(standing), self.state.contract(name).contract())
            })
            .collect();
        expected.sort_by_key(|row| row.0);
        assert_eq!(found, expected);
    }

    fn part(&self, part: u8) -> usize {
        self.start() + (self.model.len() - self.start()) * usize::from(part) / 255
    }

    fn commit(&mut self, records: Vec<Stored>, changes: &[Change], conditions: &[Condition]) {
        let keys: Vec<[u8; 1]> = (0..5).map(|key| [key]).collect();
        let mut commit = Commit::new();
        for condition in conditions {
            commit = match *condition {
                Condition::Held { key } => match self.state.entries.get(&[key][..]) {
                    Some((_, version)) => commit.if_state(&keys[usize::from(key)], *version),
                    None => commit.if_no_state(&keys[usize::from(key)]),
                },
                Condition::Stale { key } => commit.if_state(&keys[usize::from(key)], Version::default()),
                Condition::None { key } => commit.if_no_state(&keys[usize::from(key)]),
                Condition::NoRecord { topic, key, part } => {
                    let topic = Topic::new(topic).expect("small");
                    commit.if_no_record(topic, &keys[usize::from(key)], offset(self.part(part)))
                }
            };
        }
        let expected = self.refusal(conditions, changes);
        let headers: Vec<Vec<Header<'_>>> = records.iter().map(Stored::headers).collect();
        let commit = commit.records(with_headers(&records, &headers));
        let contracts = contracts_of(changes);
        let commit = self.with_changes(commit, changes, &keys, &contracts);
        match (self.log.commit(&commit).map(|ticket| (ticket.place(), ticket.offsets())), expected) {
            (Ok((place, offsets)), None) => {
                assert_eq!(
                    number(offsets.start)..number(offsets.end),
                    self.model.len()..self.model.len() + records.len()
                );
                if !commit.is_empty() {
                    self.committed(place, records, changes);
                }
            }
            (Err(error), _) if error.kind() == ErrorKind::Limit => {}
            (Err(error), Some(expected)) => expected.check(&error),
            (found, expected) => panic!("{found:?}, where {expected:?} was expected"),
        }
    }

    fn with_changes<'c>(
        &self,
        mut commit: Commit<'c>,
        changes: &'c [Change],
        keys: &'c [[u8; 1]],
        contracts: &'c [Contract],
    ) -> Commit<'c> {
        for (change, contract) in changes.iter().zip(contracts) {
            commit = match change {
                Change::Set { key, value } => commit.state(&keys[usize::from(*key)], value),
                Change::Remove { key } => commit.remove_state(&keys[usize::from(*key)]),
                Change::Cursor { name, part } => commit.cursor(NAMES[*name], offset(self.part(*part))),
                Change::SeekCursor { name, part } => commit.seek_cursor(NAMES[*name], offset(self.part(*part))),
                Change::RemoveCursor { name } => commit.remove_cursor(NAMES[*name]),
                Change::Contract { name, .. } => commit.contract(NAMES[*name], contract),
            };
        }
        commit
    }

    /// Why a commit has to be refused, if it has: records are decided first, then the rest in the order of the commit.
    fn refusal(&self, conditions: &[Condition], changes: &[Change]) -> Option<Refusal> {
        let broken = self.model.iter().enumerate().find_map(|(at, stored)| {
            let forbidden = |condition: &Condition| match condition {
                Condition::NoRecord { topic, key, part } => {
                    at >= self.part(*part) && stored.topic == *topic && stored.key.as_deref() == Some(&[*key])
                }
                _ => false,
            };
            conditions.iter().any(forbidden).then_some(Refusal::Record(at))
        });
        let of_state = |condition: &Condition| {
            let (Condition::Stale { key } | Condition::None { key }) = condition else { return None };
            let found = self.state.entries.get(&[*key][..]).map(|(_, version)| *version);
            let holds = matches!(condition, Condition::None { .. }) && found.is_none();
            (!holds).then(|| Refusal::State { key: vec![*key], found })
        };
        broken.or_else(|| conditions.iter().find_map(of_state)).or_else(|| self.cursor_refusal(changes))
    }

    fn cursor_refusal(&self, changes: &[Change]) -> Option<Refusal> {
        changes.iter().find_map(|change| {
            let Change::Cursor { name, part } = change else { return None };
            let held = self.state.cursors.get(NAMES[*name])?;
            (held.offset > self.part(*part)).then_some(Refusal::Back)
        })
    }

    /// A commit was stored: all of it counts, under one version that no other commit had.
    fn committed(&mut self, place: esker::Place, records: Vec<Stored>, changes: &[Change]) {
        let version = Version::new(place);
        assert!(version > self.state.newest, "{version}, after {}", self.state.newest);
        self.state.newest = version;
        let epoch = self.log.epoch();
        for change in changes {
            match change {
                Change::Set { key, value } => {
                    self.state.entries.insert(vec![*key], (value.clone(), version));
                }
                Change::Remove { key } => {
                    self.state.entries.remove(&[*key][..]);
                }
                Change::Cursor { name, part } | Change::SeekCursor { name, part } => {
                    let standing = Standing { offset: self.part(*part), epoch, version };
                    self.state.cursors.insert(NAMES[*name], standing);
                }
                Change::RemoveCursor { name } => {
                    self.state.cursors.remove(NAMES[*name]);
                    self.state.contracts.remove(NAMES[*name]);
                }
                Change::Contract { name, holds: Holds::All } => {
                    self.state.contracts.remove(NAMES[*name]);
                }
                Change::Contract { name, holds } => {
                    self.state.contracts.insert(NAMES[*name], *holds);
                }
            }
        }
        let time = esker::platform::Disk::now(&self.disk);
        self.model.extend(records.into_iter().map(|stored| Stored { time, ..stored }));
    }

    fn open_cursor(&mut self, handle: usize, start: u8) {
        let name = HANDLES[handle];
        let from = if start < 128 { Start::Earliest } else { Start::Offset(offset(self.part(start))) };
        let behind = self.state.cursors.get(name).is_some_and(|held| held.offset < self.start());
        let resumes = behind && self.state.contract(name) == Holds::Topic;
        let cursor = match self.log.cursor_from(name, from) {
            Err(error) if behind && !resumes => {
                assert_eq!(error.kind(), ErrorKind::Trimmed { next: self.log.start() }, "{error}");
                return;
            }
            cursor => cursor.expect("opens"),
        };
        let (epoch, begin) = (self.log.epoch(), if start < 128 { self.start() } else { self.part(start) });
        // Nothing was stored behind the frame that made it.
        let version = Version::new(self.log.stats().visible.place);
        let made = Standing { offset: begin, epoch, version };
        let standing = *self.state.cursors.entry(name).or_insert(made);
        if standing == made {
            assert!(version >= self.state.newest);
            self.state.newest = version;
        }
        let next = if resumes { self.start() } else { standing.offset };
        assert_eq!((number(cursor.offset()), number(cursor.committed())), (next, standing.offset));
        self.handles[handle] = Some(Handle { cursor, known: standing.version });
    }

    fn poll_cursor(&mut self, handle: usize) {
        let Some(Handle { cursor, .. }) = &mut self.handles[handle] else { return };
        let from = number(cursor.offset());
        let batch = match cursor.poll() {
            Err(error) if from < number(self.log.start()) => {
                assert_eq!(error.kind(), ErrorKind::Trimmed { next: self.log.start() }, "{error}");
                return;
            }
            batch => batch.expect("reads"),
        };
        match &batch {
            Some(batch) => {
                assert_eq!(number(batch.first()), from);
                self.compare(batch);
            }
            None => assert_eq!(from, self.model.len(), "a cursor stops only at the end"),
        }
    }

    /// Commits what a handle has read, with what was made of it.
    fn move_cursor(&mut self, handle: usize, records: Vec<Stored>, changes: &[Change]) {
        let Some(mut own) = self.handles[handle].take() else { return };
        let name = HANDLES[handle];
        let (next, before) = (own.cursor.offset(), own.cursor.committed());
        let keys: Vec<[u8; 1]> = (0..5).map(|key| [key]).collect();
        // Other cursors stay out of it: of two moves of one the order counts, which is another step's to try.
        let changes: Vec<Change> = changes
            .iter()
            .filter(|change| matches!(change, Change::Set { .. } | Change::Remove { .. }))
            .cloned()
            .collect();
        let held = self.state.cursors.get(name).copied();
        let expected = match held {
            Some(held) if held.version == own.known => (held.offset > number(next)).then_some(Refusal::Back),
            held => Some(Refusal::Cursor { name, found: held.map(|held| held.offset), expected: number(before) }),
        };
        let headers: Vec<Vec<Header<'_>>> = records.iter().map(Stored::headers).collect();
        let commit = Commit::new().records(with_headers(&records, &headers));
        let contracts = contracts_of(&changes);
        let commit = self.with_changes(commit, &changes, &keys, &contracts);
        let expected = if number(next) < self.start() { Some(Refusal::Trimmed) } else { expected };
        let moved = own.cursor.commit_with(next, commit).map(|ticket| ticket.place());
        match (moved, expected) {
            (Ok(place), None) => {
                own.known = Version::new(place);
                self.committed(place, records, &changes);
                let standing = Standing { offset: number(next), epoch: self.log.epoch(), version: own.known };
                self.state.cursors.insert(name, standing);
                assert_eq!(own.cursor.committed(), next);
            }
            (Err(error), _) if error.kind() == ErrorKind::Limit => {}
            (Err(error), Some(expected)) => {
                expected.check(&error);
                assert_eq!((own.cursor.committed(), own.cursor.offset()), (before, next));
            }
            (found, expected) => panic!("{found:?}, where {expected:?} was expected"),
        }
        self.handles[handle] = Some(own);
    }

    fn seek_cursor(&mut self, handle: usize, part: u8) {
        let Some(mut own) = self.handles[handle].take() else { return };
        let (name, target) = (HANDLES[handle], self.part(part));
        let fits = self.state.cursors.get(name).is_some_and(|held| held.version == own.known);
        match own.cursor.seek(offset(target)).map(|ticket| ticket.place()) {
            Ok(place) => {
                assert!(fits, "another moved it since");
                own.known = Version::new(place);
                self.committed(place, Vec::new(), &[]);
                let standing = Standing { offset: target, epoch: self.log.epoch(), version: own.known };
                self.state.cursors.insert(name, standing);
                assert_eq!((own.cursor.offset(), own.cursor.committed()), (offset(target), offset(target)));
            }
            Err(error) => assert!(!fits && error.kind() == ErrorKind::Conflict, "{error}"),
        }
        self.handles[handle] = Some(own);
    }
}

/// What a commit has to be refused for.
#[derive(Debug)]
enum Refusal {
    Record(usize),
    State { key: Vec<u8>, found: Option<Version> },
    Cursor { name: &'static str, expected: usize, found: Option<usize> },
    Back,
    Trimmed,
}

impl Refusal {
    fn check(&self, error: &Error) {
        let same = match (self, error.conflict()) {
            (Self::Record(at), Some(Conflict::Record { offset, .. })) => number(*offset) == *at,
            (Self::State { key, found }, Some(Conflict::State { key: of, found: now, .. })) => {
                key == of && found == now
            }
            (
                Self::Cursor { name, expected, found },
                Some(Conflict::Cursor { name: of, expected: left, found: now }),
            ) => name == of && *expected == number(*left) && *found == now.map(number),
            (Self::Back, None) => error.kind() == ErrorKind::Invalid,
            (Self::Trimmed, None) => matches!(error.kind(), ErrorKind::Trimmed { .. }),
            _ => false,
        };
        assert!(same, "{error}, where {self:?} was expected");
    }
}

fn contracts_of(changes: &[Change]) -> Vec<Contract> {
    let contract = |change: &Change| match change {
        Change::Contract { holds, .. } => holds.contract(),
        _ => Contract::Hold,
    };
    changes.iter().map(contract).collect()
}

fn with_headers<'a>(records: &'a [Stored], headers: &'a [Vec<Header<'a>>]) -> impl Iterator<Item = Record<'a>> {
    records.iter().zip(headers).map(|(stored, headers)| record(stored).headers(headers))
}

fn damage_checkpoints(disk: &MemoryDisk, damage: Damage) {
    let names = checkpoints(disk);
    let Some(newest) = names.last() else { return };
    let length = disk.read_file(newest).expect("is there").len();
    match damage {
        Damage::Flip { part, bit } => {
            // Another version would be a later program's.
            let at = length.saturating_sub(1) * usize::from(part) / 255;
            let at = if (8..10).contains(&at) { 0 } else { at };
            disk.edit_file(newest, |bytes| bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit));
        }
        Damage::Cut { part } => disk.truncate(newest, u64::try_from(length * usize::from(part) / 255).expect("small")),
        Damage::Remove => disk.remove(newest),
        Damage::RemoveAll => names.iter().for_each(|name| disk.remove(name)),
    }
}
