//! A log that lives through a plan, and the history of what it was told and what it answered.
//!
//! Guarantees:
//! 1. The history knows of a frame before the log does, and of an answer only once it came.

use std::sync::Arc;
use std::time::Duration;

use esker::{Commit, Compaction, Contract, Ending, Error, ErrorKind, Log, Offset, Record, Ticket};

use super::fate::ByDice;
use super::judge::{look, read, turn_off};
use super::plan::{Cleaned, Operation};
use super::repair::{Repair, damage_and_repair};
use super::run::{Conduct, Run, Tempo};
use super::watch::{Fault, FaultKind, Mode, Watcher};
use crate::dice::Dice;
use crate::memory::{AfterFailure, Honesty, MemoryDisk};
use crate::oracle::{Death, Frame, History, Parts, Raised, contract_key, cursor_key, fingerprint};
use crate::watched::WatchedDisk;

/// Who carries out the plan.
const OWNER: u64 = 0;
const CURSORS: [&str; 2] = ["billing", "search"];

pub(super) struct World {
    run: Arc<Run>,
    disk: WatchedDisk<Watcher>,
    log: Option<Log>,
    dice: Dice,
    /// Counts what was appended, so that no two records are alike.
    numbers: u64,
    /// A sync failed: only an open goes on.
    poisoned: bool,
    attention: Attention,
}

/// Whether anything happens at events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attention {
    Away,
    Close,
}

/// How a close went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    /// The log holds so many records.
    Cleanly {
        records: u64,
    },
    Poisoned,
}

/// What one frame shall hold.
#[derive(Default)]
struct Content {
    records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    state: Option<(Vec<u8>, Option<Vec<u8>>)>,
    cursor: Option<(&'static str, u64)>,
    contract: Option<(&'static str, Contract)>,
}

impl Content {
    fn frame(&self) -> Frame {
        let records = self
            .records
            .iter()
            .map(|(payload, key)| Parts { payload, key: key.as_deref(), ..Parts::default() }.fingerprint())
            .collect();
        let state =
            self.state.iter().map(|(key, value)| (key.clone(), value.as_ref().map(|value| fingerprint(&[value]))));
        let cursor = self.cursor.iter().map(|(name, offset)| (cursor_key(name), Some(*offset)));
        let contract = self.contract.iter().map(|(name, contract)| {
            let limit = match contract {
                Contract::BestEffort => Some(0),
                Contract::HoldUpTo(bytes) => Some(*bytes),
                _ => None,
            };
            (contract_key(name), limit)
        });
        Frame { records, changes: state.chain(cursor).chain(contract).collect() }
    }

    fn give<'l>(&self, log: &'l Log) -> esker::Result<Ticket<'l>> {
        let records: Vec<Record<'_>> = self
            .records
            .iter()
            .map(|(payload, key)| match key {
                Some(key) => Record::new(payload).key(key),
                None => Record::new(payload),
            })
            .collect();
        if self.state.is_none() && self.cursor.is_none() && self.contract.is_none() {
            return match &records[..] {
                [one] => log.append(*one),
                several => log.append_batch(several),
            };
        }
        let mut commit = Commit::new().records(records);
        match &self.state {
            Some((key, Some(value))) => commit = commit.state(key, value),
            Some((key, None)) => commit = commit.remove_state(key),
            None => {}
        }
        if let Some((name, offset)) = self.cursor {
            commit = commit.cursor(name, Offset::new(offset));
        }
        if let Some((name, contract)) = &self.contract {
            commit = commit.contract(name, contract);
        }
        log.commit(commit)
    }
}

impl World {
    /// An empty disk, and a log on it; what is known of it.
    pub(super) fn begin(run: &Arc<Run>, mut dice: Dice, attention: Attention) -> Result<Self, String> {
        let disk = MemoryDisk::new(dice.word());
        if run.conditions.conduct == Conduct::Lying {
            disk.set_honesty(Honesty::Lying);
        }
        let watched = Self::watch(disk, run, Arc::default(), dice.fork());
        let mut world =
            Self { run: Arc::clone(run), disk: watched, log: None, dice, numbers: 0, poisoned: false, attention };
        world.pay(attention);
        world.open(Death::Process)?;
        Ok(world)
    }

    fn watch(disk: MemoryDisk, run: &Arc<Run>, history: Arc<History>, dice: Dice) -> WatchedDisk<Watcher> {
        let watcher = Watcher::new(disk.clone(), Arc::clone(run), Mode::Quiet, history, Death::Process, dice);
        WatchedDisk::new(disk, watcher)
    }

    /// From here on events count, or do not.
    pub(super) fn pay(&mut self, attention: Attention) {
        self.attention = attention;
        self.disk.set_mode(match (attention, self.is_exhaustive()) {
            (Attention::Away, _) => Mode::Quiet,
            (Attention::Close, true) => Mode::Exhaustive,
            (Attention::Close, false) => Mode::Live,
        });
    }

    fn is_exhaustive(&self) -> bool {
        matches!(self.run.conditions.tempo, Tempo::Exhaustive { .. })
    }

    fn open(&mut self, death: Death) -> Result<(), String> {
        let options = self.run.settings.options();
        let log = options.open_on(Arc::new(self.disk.clone())).map_err(|error| format!("open: {error}"))?;
        let report = log.recovery().clone();
        let found = read(&log)?;
        let history = self.disk.history();
        history.judge(death, &found)?;
        let raised = if matches!(report.ending, Ending::Clean | Ending::Created) { Raised::No } else { Raised::Yes };
        history.judge_epoch(report.epoch, raised)?;
        drop(history);
        self.disk.note(|history| history.settle(found, report.end.place, report.epoch));
        if self.run.settings.sync != esker::Sync::EveryCommit
            && self.run.settings.unproven_segments == 8
            && !self.is_exhaustive()
        {
            self.disk.set_log(Some(log.clone()));
        }
        self.log = Some(log);
        self.poisoned = false;
        Ok(())
    }

    fn log(&self) -> Result<Log, String> {
        self.log.clone().ok_or_else(|| "no log is open".to_owned())
    }

    /// Carries one operation out.
    pub(super) fn carry_out(&mut self, operation: Operation) -> Result<(), String> {
        let calls = self.disk.events();
        // What the process leaves when it dies while it stores the frame.
        let before =
            (!self.is_exhaustive() && !self.poisoned && self.dice.one_in(8)).then(|| self.disk.disk.snapshot());
        let history = self.disk.history();
        match self.content(operation)? {
            Some(content) => {
                self.append(&content)?;
                if let Some(before) = before.filter(|_| self.disk.events() == calls && !self.poisoned) {
                    self.die_while_storing(&before, history, operation);
                }
            }
            None => self.carry_out_other(operation)?,
        }
        if let Some(log) = &self.log {
            // What the log says is durable is held against it, too.
            let durable = log.stats().durable.place;
            self.disk.note(|history| history.durable(durable));
        }
        self.disk.event(&format!("after {operation}"));
        Ok(())
    }

    /// The frame that an operation appends, if it does.
    fn content(&mut self, operation: Operation) -> Result<Option<Content>, String> {
        let end = self.log()?.visible().get();
        let cursor_at_end = |cursor: u8| Some((CURSORS[usize::from(cursor)], end));
        let content = match operation {
            Operation::Append { bytes } => Content { records: vec![self.record(bytes)], ..Content::default() },
            Operation::Batch { records, bytes } => {
                Content { records: (0..records).map(|_| self.record(bytes)).collect(), ..Content::default() }
            }
            Operation::State { key, bytes } => {
                Content { state: Some((vec![b'k', key], Some(self.record(bytes).0))), ..Content::default() }
            }
            Operation::RemoveState { key } => Content { state: Some((vec![b'k', key], None)), ..Content::default() },
            Operation::Commit { key, cursor, bytes } => {
                let records = vec![self.record(bytes)];
                let value = self.numbers.to_le_bytes().to_vec();
                let state = Some((vec![b'k', key], Some(value)));
                Content { records, state, cursor: cursor_at_end(cursor), contract: None }
            }
            Operation::Cursor { cursor } => Content { cursor: cursor_at_end(cursor), ..Content::default() },
            Operation::Contract { cursor, kibibytes } => return self.contract(CURSORS[usize::from(cursor)], kibibytes),
            _ => return Ok(None),
        };
        Ok(Some(content))
    }

    fn carry_out_other(&mut self, operation: Operation) -> Result<(), String> {
        let disk = &self.disk.disk;
        match operation {
            Operation::Sync => self.sync()?,
            Operation::Background => self.background()?,
            Operation::Drop { part } => self.drop_part(part)?,
            Operation::Compact => self.compact()?,
            Operation::Advance { milliseconds } => disk.advance(Duration::from_millis(milliseconds.into())),
            Operation::WriteBack { sectors } => {
                for _ in 0..sectors {
                    disk.write_back(|of| self.dice.index(of));
                }
            }
            Operation::FailSync { after, leaving } => {
                if leaving == AfterFailure::Reverted {
                    // What was visible goes with the pages.
                    self.disk.set_death(Death::Machine);
                }
                disk.fail_sync_leaving(after.into(), leaving);
            }
            Operation::FailDirectory { after, leaving } => disk.fail_directory_sync_leaving(after.into(), leaving),
            Operation::Full { after, times } => self.arm(FaultKind::Full, after, times),
            Operation::NoFiles { after, times } => self.arm(FaultKind::NoFiles, after, times),
            // Where pages may have gone back under a living writer, who looks may meet what is left of them.
            Operation::Look if self.disk.death() == Death::Process => {
                let found = look(disk)?;
                let judged = self.disk.history().judge(Death::Process, &found);
                judged.map_err(|what| format!("who looks: {what}"))?;
            }
            Operation::Reopen => {
                let closed = self.close()?;
                self.open_closed(closed)?;
            }
            Operation::Repair { bytes } => self.repair(bytes)?,
            Operation::Kill => self.crash(Death::Process)?,
            Operation::Power => self.crash(Death::Machine)?,
            _ => {}
        }
        Ok(())
    }

    /// What is set of a contract. A cursor that has lost something already can not be one that holds.
    fn contract(&self, name: &'static str, kibibytes: Option<u8>) -> Result<Option<Content>, String> {
        let log = self.log()?;
        // A poisoned log does not say.
        let found = log.cursor_info(name).ok().flatten();
        let contract = match kibibytes {
            None => Contract::Hold,
            Some(0) => Contract::BestEffort,
            Some(limit) => Contract::HoldUpTo(u64::from(limit) * 1024),
        };
        let lost = contract == Contract::Hold && found.as_ref().is_some_and(|found| found.offset < log.start());
        let set = found.is_some() && !lost;
        Ok(set.then(|| Content { contract: Some((name, contract)), ..Content::default() }))
    }

    fn background(&mut self) -> Result<(), String> {
        let log = self.log()?;
        if self.run.settings.retention_bytes.is_some() {
            self.disk.note(|history| history.drops(log.visible().get()));
        }
        if self.run.settings.cleanup == Cleaned::Yes {
            self.disk.note(History::compacts);
        }
        log.background_step();
        if self.run.settings.cleanup == Cleaned::Yes {
            self.disk.note(|history| history.compacted(log.visible().get()));
        }
        if log.state(b"").is_ok() {
            self.disk.note(|history| history.begins(log.start().get()));
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<(), String> {
        if self.poisoned {
            return Ok(());
        }
        let log = self.log()?;
        let before = log.visible().get();
        self.disk.note(History::compacts);
        let done = log.compact(&Compaction::new());
        self.disk.note(|history| history.compacted(log.visible().get()));
        match done {
            Ok(report) if !report.damaged.is_empty() => {
                return Err(format!("a compaction found damage: {:?}", report.damaged));
            }
            Ok(report) => {
                let found = read(&log)?;
                self.disk.history().judge_compacted(found.start, &found.records, before)?;
                self.run.count(|totals| totals.compacted += report.replaced.segments_before);
            }
            Err(error) => match error.kind() {
                ErrorKind::Poisoned => self.poisoned = true,
                ErrorKind::OutOfSpace | ErrorKind::Io => {}
                _ => return Err(format!("compact: {error}")),
            },
        }
        Ok(())
    }

    fn drop_part(&mut self, part: u8) -> Result<(), String> {
        if self.poisoned {
            return Ok(());
        }
        let log = self.log()?;
        let offset = log.visible().get() * u64::from(part) / 255;
        self.disk.note(|history| history.drops(offset));
        match log.drop_before(Offset::new(offset)) {
            Ok(start) if start != log.start() => {
                return Err(format!("dropped up to {start}, begins at {}", log.start()));
            }
            Ok(start) => self.disk.note(|history| history.begins(start.get())),
            Err(error) => match error.kind() {
                ErrorKind::Poisoned => self.poisoned = true,
                ErrorKind::OutOfSpace | ErrorKind::Io => {}
                _ => return Err(format!("drop: {error}")),
            },
        }
        Ok(())
    }

    fn record(&mut self, bytes: u16) -> (Vec<u8>, Option<Vec<u8>>) {
        self.numbers += 1;
        let mut dice = Dice::new(self.numbers);
        let mut payload = self.numbers.to_le_bytes().to_vec();
        payload.resize_with(usize::from(bytes).max(8), || u8::try_from(dice.word() & 0xff).expect("a byte"));
        let key = self.numbers.is_multiple_of(3).then(|| vec![b'r', payload[0] % 8]);
        (payload, key)
    }

    fn append(&mut self, content: &Content) -> Result<(), String> {
        if self.poisoned {
            return Ok(());
        }
        let frame = content.frame();
        self.disk.note(|history| {
            for ((_, key), record) in content.records.iter().zip(&frame.records) {
                if let Some(key) = key {
                    history.keyed(*record, key);
                }
            }
            history.submit(OWNER, frame);
        });
        let log = self.log()?;
        let answer = content.give(&log);
        self.answered(answer.as_ref())
    }

    fn answered(&mut self, answer: Result<&Ticket<'_>, &Error>) -> Result<(), String> {
        match answer {
            Ok(ticket) => {
                let (offset, place) = (ticket.offset().get(), ticket.place());
                self.disk.note(|history| history.visible(OWNER, offset, place));
            }
            Err(error) => match error.kind() {
                // Under EveryCommit it may have been stored; the outcome is unknown.
                ErrorKind::Poisoned => self.poisoned = true,
                ErrorKind::OutOfSpace | ErrorKind::Limit | ErrorKind::Io => {
                    self.disk.note(|history| history.refused(OWNER));
                }
                _ => return Err(format!("append: {error}")),
            },
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), String> {
        let log = self.log()?;
        // Before the call: what an intruder appends meanwhile need not be covered.
        let visible = self.disk.history();
        match log.sync() {
            Ok(()) => {
                let end = visible.end();
                drop(visible);
                self.disk.note(|history| history.durable(end));
            }
            Err(error) if error.kind() == ErrorKind::Poisoned => self.poisoned = true,
            Err(error) => return Err(format!("sync: {error}")),
        }
        Ok(())
    }

    fn arm(&self, kind: FaultKind, after: u8, times: u8) {
        let times = if times == u8::MAX { u64::MAX } else { times.into() };
        self.disk.arm(Fault { kind, after: after.into(), times });
    }

    /// A process that dies in the middle of a store leaves any part of the frame but its first word, which comes last.
    fn die_while_storing(&mut self, before: &MemoryDisk, history: Arc<History>, operation: Operation) {
        for name in before.names() {
            let (Some(old), Some(new)) = (before.read_file(&name), self.disk.disk.read_file(&name)) else { continue };
            let words = old.chunks(8).zip(new.chunks(8)).enumerate().filter(|(_, (old, new))| old != new);
            let changed: Vec<usize> = words.map(|(index, _)| index * 8).skip(1).collect();
            let kept: Vec<usize> = changed.into_iter().filter(|_| self.dice.one_in(2)).collect();
            before.store(&name, |bytes| {
                for at in kept {
                    bytes[at..at + 8].copy_from_slice(&new[at..at + 8]);
                }
            });
        }
        super::judge::recover(super::judge::Case {
            run: Arc::clone(&self.run),
            image: before.clone(),
            history,
            death: self.disk.death(),
            depth: 1,
            dice: self.dice.fork(),
            place: format!("the process dies while it stores {operation}"),
        });
    }

    fn close(&mut self) -> Result<Closed, String> {
        self.disk.set_log(None);
        let log = self.log.take().ok_or("no log is open")?;
        let (before, records) = (log.stats().durable.place, log.visible().get());
        let closed = match log.close() {
            Ok(()) => {
                let end = self.disk.history().end();
                self.disk.note(|history| history.durable(end));
                Closed::Cleanly { records }
            }
            Err(error) if error.kind() == ErrorKind::Poisoned => Closed::Poisoned,
            Err(error) => return Err(format!("close: {error}")),
        };
        self.disk.event("closed");
        self.disk.note(|history| history.durable(before));
        Ok(closed)
    }

    fn open_closed(&mut self, closed: Closed) -> Result<(), String> {
        let death = self.disk.death();
        self.on(self.disk.disk.clone(), death)?;
        let ending = self.log()?.recovery().ending;
        if closed != Closed::Poisoned && ending != Ending::Clean {
            return Err(format!("closed, and it opens {}", self.log()?.recovery()));
        }
        Ok(())
    }

    fn repair(&mut self, bytes: u8) -> Result<(), String> {
        let closed = self.close()?;
        if let Closed::Cleanly { records } = closed {
            let (history, options) = (self.disk.history(), self.run.settings.options());
            let mut dice = self.dice.fork();
            let told = (&*history, records);
            let repaired = damage_and_repair(&self.disk.disk, bytes.into(), &options, told, &mut dice)?;
            self.run.count(|totals| match repaired {
                Repair::Needless => {}
                Repair::Died => totals.repairs_died += 1,
                Repair::LostPower => totals.repairs_lost_power += 1,
                Repair::NamesFailed => totals.repairs_names_failed += 1,
            });
        }
        self.open_closed(closed)
    }

    fn crash(&mut self, death: Death) -> Result<(), String> {
        self.disk.set_log(None);
        let log = self.log.take().ok_or("no log is open")?;
        let (disk, death) = match death {
            Death::Process => (self.disk.disk.snapshot(), self.disk.death()),
            Death::Machine => (self.disk.disk.lose_power(&mut ByDice::new(self.dice.fork())), Death::Machine),
        };
        turn_off(log, &self.disk);
        self.on(disk, death)
    }

    /// Goes on with what a death left.
    fn on(&mut self, disk: MemoryDisk, death: Death) -> Result<(), String> {
        disk.fail_sync(0);
        disk.fail_directory_sync(0);
        let history = self.disk.history();
        self.disk.set_mode(Mode::Quiet);
        self.disk = Self::watch(disk, &self.run, history, self.dice.fork());
        // This open is an event like others: it may be crashed in.
        self.disk.set_death(death);
        self.pay(self.attention);
        self.open(death)?;
        self.disk.set_death(Death::Process);
        Ok(())
    }

    /// Lets the log go without a word.
    pub(super) fn end(mut self) {
        self.disk.set_mode(Mode::Dead);
        self.disk.set_log(None);
        self.log.take();
    }
}

/// Appends a record beside a plan, and notes it.
pub(super) fn append_one(log: &Log, history: &mut History, payload: &[u8]) -> Result<(), String> {
    history.submit(OWNER, Frame { records: vec![fingerprint_of_payload(payload)], changes: Vec::new() });
    let ticket = log.append(payload).map_err(|error| format!("append behind a recovery: {error}"))?;
    history.visible(OWNER, ticket.offset().get(), ticket.place());
    Ok(())
}

/// Of a record that is a payload and nothing else.
pub(super) fn fingerprint_of_payload(payload: &[u8]) -> u64 {
    Parts { payload, ..Parts::default() }.fingerprint()
}
