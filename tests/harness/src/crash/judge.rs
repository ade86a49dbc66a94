//! The recovery of one image, and everything that has to be true of it.
//!
//! Guarantees, beyond those of the [oracle](crate::oracle):
//! 1. Who only looks sees what an open then keeps, and changes nothing.
//! 2. A recovery that dies, or one that a call fails in, loses nothing: the next one is judged as the first.
//! 3. What an open kept is durable: power right behind it takes none of it. A second open finds a clean end behind a close.
//! 4. The log goes on: what is appended behind a recovery is judged again.
//! 5. The report names the end, and as many cut records as valid frames are lost; no file is left that is not the log's.
//! 6. Lookups by key say what the records say, whatever index files the crash left.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use esker::{Attached, Contract, CursorInfo, Ending, ErrorKind, Log, Offset, Reader, RecoveryReport, Topic};

use super::fate::ByDice;
use super::frames;
use super::plan::Cleaned;
use super::run::{Conduct, DEPTH_MAX, Run, Tempo};
use super::watch::{Fault, FaultKind, Mode, Watcher};
use super::world::append_one;
use crate::dice::Dice;
use crate::memory::{AfterFailure, MemoryDisk};
use crate::numbers::{index, length};
use crate::oracle::{
    Death, Found, GONE, History, Key, Raised, StateMap, contract_key, cursor_key, fingerprint, fingerprint_of,
};
use crate::watched::WatchedDisk;

/// An image to recover, and what is known of the log in it.
pub(super) struct Case {
    pub(super) run: Arc<Run>,
    pub(super) image: MemoryDisk,
    pub(super) history: Arc<History>,
    pub(super) death: Death,
    /// How many crashes it lies behind.
    pub(super) depth: u32,
    pub(super) dice: Dice,
    pub(super) place: String,
}

/// The newest checkpoint and the one before it.
const CHECKPOINTS_KEPT: usize = 2;
/// What a recovery is followed by.
const FOLLOW_UPS: u64 = 4;

/// Whether what comes behind a recovery is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syncs {
    No,
    Once,
}

/// Recovers an image and judges it; what is wrong is noted in the run.
pub(super) fn recover(case: Case) {
    let run = Arc::clone(&case.run);
    if run.is_violated() {
        return;
    }
    run.count(|totals| {
        totals.images += 1;
        totals.inside += u64::from(case.depth > 1);
        totals.depths[index(case.depth.min(DEPTH_MAX).into())] += 1;
        totals.process_deaths += u64::from(case.death == Death::Process);
    });
    let place = case.place.clone();
    let judged = if run.conditions.conduct == Conduct::Careless { case.judge_damaged() } else { case.judge() };
    if let Err(what) = judged {
        run.violated(what, &place);
    }
}

impl Case {
    fn judge(mut self) -> Result<(), String> {
        let mut looked = if self.dice.one_in(4) { Some(look(&self.image)?) } else { None };
        let nests = matches!(self.run.conditions.tempo, Tempo::OneIn(_)) && self.depth < DEPTH_MAX;
        let dies_at = (nests && self.dice.one_in(2)).then(|| 1 + self.dice.below(20));
        let mode = Mode::Recovering { dies_at, depth: self.depth };
        let (watched, log, frames) = self.open(mode, &mut looked)?;
        let report = log.recovery().clone();
        let found = read(&log)?;
        self.run.count(|totals| {
            totals.records += length(found.records.len());
            totals.torn += u64::from(report.ending == Ending::Torn);
            totals.trimmed[0] += u64::from(found.start > 0);
            totals.trimmed[1] += u64::from(self.image.read_file("0000000001.seg").is_none());
        });
        let kept = self.history.judge(self.death, &found)?;
        self.judge_report(&report, &found, &frames)?;
        if looked.is_some_and(|looked| looked != found) {
            return Err("who looked saw another log than the open kept".to_owned());
        }
        self.judge_names(&log, frames.start_segment(report.end.place))?;
        self.run.trace(length(kept.visible));
        self.follow(&watched, log, &found, &report)
    }

    /// An image with damage below the durable line: it may be refused, and reading may end in an error; nothing may be wrong,
    /// and nothing missing in silence that a line in the image says was durable.
    fn judge_damaged(self) -> Result<(), String> {
        let refused = |error: esker::Error| {
            if !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Incompatible) {
                return Err(format!("of damage an open or a reader says: {error}"));
            }
            self.run.count(|totals| totals.refused += 1);
            Ok(())
        };
        let watched = self.watch(Mode::Quiet, Dice::new(0));
        let frames = frames::valid(&self.image);
        let log = match self.run.settings.options().open_on(Arc::new(watched.clone())) {
            Ok(log) => log,
            Err(error) => return refused(error),
        };
        let mut reader = log.reader();
        let judged = loop {
            match reader.poll() {
                Ok(Some(batch)) => {
                    let wrong =
                        batch.iter().find(|record| !self.history.knows(record.offset().get(), fingerprint_of(record)));
                    if let Some(record) = wrong {
                        break Err(format!("nobody appended what is read at offset {}", record.offset()));
                    }
                    self.run.count(|totals| totals.records += length(batch.len()));
                }
                // Nothing is said to be wrong: then nothing that something calls durable is missing at the end.
                Ok(None) => break frames.judge_end(log.recovery().end.place),
                Err(error) => break refused(error),
            }
        };
        drop(reader);
        turn_off(log, &watched);
        judged
    }

    /// Opens the image; a recovery that a call was made to fail in is tried again.
    fn open(
        &mut self,
        mode: Mode,
        looked: &mut Option<Found>,
    ) -> Result<(WatchedDisk<Watcher>, Log, frames::Valid), String> {
        let mut dice = self.dice.fork();
        let fault = dice.one_in(12).then(|| RecoveryFault::thrown(&mut dice));
        if matches!(fault, Some(RecoveryFault::Sync { leaving: AfterFailure::Reverted, .. })) {
            // What was visible goes with the pages, and what was looked at.
            (self.death, *looked) = (Death::Machine, None);
        }
        let options = self.run.settings.options();
        let watched = self.watch(mode, dice.fork());
        if let Some(fault) = fault {
            fault.arm(&watched);
        }
        let frames = frames::valid(&self.image);
        let opened = options.open_on(Arc::new(watched.clone()));
        self.image.fail_sync(0);
        self.image.fail_directory_sync(0);
        watched.disarm();
        match opened {
            Ok(log) => Ok((watched, log, frames)),
            Err(error) if fault.is_some() => {
                if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Incompatible | ErrorKind::Invalid) {
                    return Err(format!("a recovery in which a call failed says: {error}"));
                }
                self.run.count(|totals| totals.faults += 1);
                watched.set_mode(Mode::Dead);
                let again = self.watch(Mode::Quiet, dice.fork());
                // What the first attempt left, or took with it.
                let frames = frames::valid(&self.image);
                let log = options.open_on(Arc::new(again.clone())).map_err(|error| format!("open again: {error}"))?;
                Ok((again, log, frames))
            }
            Err(error) => Err(format!("open: {error}")),
        }
    }

    fn watch(&self, mode: Mode, dice: Dice) -> WatchedDisk<Watcher> {
        let (run, history) = (Arc::clone(&self.run), Arc::clone(&self.history));
        WatchedDisk::new(self.image.clone(), Watcher::new(self.image.clone(), run, mode, history, self.death, dice))
    }

    /// Guarantee 5, the report.
    fn judge_report(&self, report: &RecoveryReport, found: &Found, frames: &frames::Valid) -> Result<(), String> {
        let end = found.start + length(found.records.len());
        if report.start.get() != found.start {
            return Err(format!(
                "the report says that the log begins at {}, it begins at {}",
                report.start, found.start
            ));
        }
        if report.end.offset.get() != end {
            return Err(format!("the report says that the log ends at {}, it ends at {end}", report.end.offset));
        }
        if !report.checkpoint_faults.is_empty() {
            return Err(format!("a checkpoint got its name before it was durable: {:?}", report.checkpoint_faults));
        }
        frames.judge_end(report.end.place)?;
        let raised = match report.ending {
            Ending::Unclean | Ending::Torn => Raised::Yes,
            _ => Raised::No,
        };
        self.history.judge_epoch(report.epoch, raised)?;
        if report.ending == Ending::Clean && report.cut.is_some() {
            return Err(format!("a clean end with a cut: {report}"));
        }
        let (cut_frames, cut_records) = report.cut.as_ref().map_or((0, 0), |cut| (cut.frames, cut.records));
        let lost = frames.behind(report.end.place);
        if (cut_frames, cut_records) != lost {
            let what = format!("the report counts {cut_frames} frames with {cut_records} records cut");
            return Err(format!("{what}, but {:?} are lost: {report}", frames.list_behind(report.end.place)));
        }
        Ok(())
    }

    /// Guarantee 5, the files.
    fn judge_names(&self, log: &Log, first: u64) -> Result<(), String> {
        let names = self.image.names();
        let segments = names.iter().filter(|name| name.contains(".seg")).count();
        let left = !log.recovery().left.is_empty();
        if segments != log.stats().segments && !left {
            return Err(format!("{segments} segment files of {} segments: {names:?}", log.stats().segments));
        }
        let number = |name: &String| name.strip_suffix(".seg")?.parse::<u64>().ok();
        // With less than two checkpoints nothing goes: one may rot, and the other may be all that says what the state was.
        let checkpoints = names.iter().filter(|name| name.contains(".ckp")).count();
        let goes = !left && checkpoints >= CHECKPOINTS_KEPT;
        if let Some(below) = names.iter().filter_map(number).find(|number| goes && *number < first) {
            return Err(format!("segment {below} lies below the start line, which keeps {first}: {names:?}"));
        }
        if names.iter().any(|name| name.contains("draft")) && !left {
            return Err(format!("left behind: {names:?}"));
        }
        Ok(())
    }

    /// Deaths may leave more of them than are kept, until the next is written.
    fn judge_checkpoints(&self, log: &Log) -> Result<(), String> {
        let mut names = self.image.names();
        names.retain(|name| name.contains(".ckp"));
        if log.stats().checkpoints > 0 && names.len() > CHECKPOINTS_KEPT {
            return Err(format!("behind a checkpoint there are {names:?}"));
        }
        Ok(())
    }

    /// Guarantees 3 and 4.
    fn follow(
        mut self,
        watched: &WatchedDisk<Watcher>,
        log: Log,
        found: &Found,
        report: &RecoveryReport,
    ) -> Result<(), String> {
        let mut history = History::clone(&self.history);
        history.settle(found.clone(), report.end.place, report.epoch);
        watched.set_mode(Mode::Quiet);
        match self.dice.below(FOLLOW_UPS) {
            0 => return self.close_and_open(log, found, report),
            1 => {}
            2 => self.go_on(&log, &mut history, Syncs::No)?,
            _ => self.go_on(&log, &mut history, Syncs::Once)?,
        }
        // Power fails, or the process dies, right behind it.
        let (image, death) = if self.dice.one_in(4) {
            (self.image.snapshot(), Death::Process)
        } else {
            (self.image.lose_power(&mut ByDice::new(self.dice.fork())), Death::Machine)
        };
        turn_off(log, watched);
        self.run.count(|totals| {
            totals.images += 1;
            totals.behind += 1;
        });
        let log = self.open_quietly(&image, "open after a second crash")?;
        let again = read(&log)?;
        history.judge(death, &again).map_err(|what| format!("after a second crash: {what}"))?;
        let raised = if log.recovery().ending == Ending::Clean { Raised::No } else { Raised::Yes };
        history.judge_epoch(log.recovery().epoch, raised)?;
        log.close().map_err(|error| format!("close after a second crash: {error}"))
    }

    fn close_and_open(&self, log: Log, found: &Found, report: &RecoveryReport) -> Result<(), String> {
        log.close().map_err(|error| format!("close behind a recovery: {error}"))?;
        let log = self.open_quietly(&self.image, "open behind a close")?;
        if log.recovery().ending != Ending::Clean || log.recovery().epoch != report.epoch {
            return Err(format!("behind a close the log opens {}", log.recovery()));
        }
        let again = read(&log)?;
        if again == *found { Ok(()) } else { Err(format!("behind a close the log is {again:?}, was {found:?}")) }
    }

    /// Appends, and now and then syncs and lets the background work.
    fn go_on(&mut self, log: &Log, history: &mut History, syncs: Syncs) -> Result<(), String> {
        let word = self.dice.word();
        let frame = |number: u64| [word, number].map(u64::to_le_bytes).concat();
        for number in 0..=self.dice.below(4) {
            append_one(log, history, &frame(number))?;
            if syncs == Syncs::Once && number == 1 {
                log.sync().map_err(|error| format!("sync behind a recovery: {error}"))?;
                history.durable(log.stats().durable.place);
            }
        }
        if self.dice.one_in(2) {
            append_one(log, history, &frame(5).repeat(300))?;
            if self.run.settings.retention_bytes.is_some() {
                history.drops(log.visible().get());
            }
            if self.run.settings.cleanup == Cleaned::Yes {
                history.compacts();
            }
            log.background_step();
            history.begins(log.start().get());
            self.judge_checkpoints(log)?;
        }
        Ok(())
    }

    fn open_quietly(&self, image: &MemoryDisk, what: &str) -> Result<Log, String> {
        self.run.settings.options().open_on(Arc::new(image.clone())).map_err(|error| format!("{what}: {error}"))
    }
}

/// What somebody sees who only looks. Guarantee 1.
pub(super) fn look(disk: &MemoryDisk) -> Result<Found, String> {
    let before = disk.take_operations();
    drop(before);
    let attached = match Attached::open_on(Arc::new(disk.clone())) {
        Ok(attached) => attached,
        // There is no log yet; that nothing is lost is what the open shows.
        Err(error) if error.kind() == ErrorKind::Invalid => return Ok(Found::default()),
        Err(error) => return Err(format!("attach: {error}")),
    };
    if let Some(error) = attached.refusal() {
        return Err(format!("attach: {error}"));
    }
    let latest = |key: &[u8]| attached.latest(Topic::default(), key);
    let records = read_records(attached.reader(), attached.start()..attached.visible(), &latest)?;
    let view = attached.state().map_err(|error| format!("look at the state: {error}"))?;
    let states = view.with_prefix(b"").into_iter().map(|(key, value)| (key.into_vec(), fingerprint(&[value.value()])));
    let cursors = view.cursors().into_iter().map(|cursor| (cursor_key(&cursor.name), cursor.offset.get()));
    let changed = disk.take_operations();
    if !changed.is_empty() {
        return Err(format!("who only looked did {changed:?}"));
    }
    let contracts = view.cursors().into_iter().filter_map(|cursor| contract_entry(&cursor));
    let start = attached.start().get();
    Ok(Found { start, records, state: states.chain(cursors).chain(contracts).collect() })
}

/// Drops a log without letting it write: its disk answers no more.
pub(super) fn turn_off(log: Log, watched: &WatchedDisk<Watcher>) {
    watched.set_mode(Mode::Dead);
    drop(log);
}

/// A call of a recovery that fails.
#[derive(Debug, Clone, Copy)]
enum RecoveryFault {
    Sync { after: u64, leaving: AfterFailure },
    SyncDirectory { after: u64, leaving: AfterFailure },
    Other(Fault),
}

impl RecoveryFault {
    fn thrown(dice: &mut Dice) -> Self {
        let after = dice.below(6);
        let times = if dice.one_in(2) { 1 } else { u64::MAX };
        match dice.below(5) {
            0 => Self::Sync { after, leaving: AfterFailure::Kept },
            1 => Self::Sync { after, leaving: AfterFailure::Reverted },
            2 => Self::SyncDirectory {
                after: after % 2,
                leaving: [AfterFailure::Kept, AfterFailure::Reverted][dice.index(2)],
            },
            3 => Self::Other(Fault { kind: FaultKind::Full, after: after % 2, times }),
            _ => Self::Other(Fault { kind: FaultKind::NoFiles, after: 2 * after, times }),
        }
    }

    fn arm(self, watched: &WatchedDisk<Watcher>) {
        match self {
            Self::Sync { after, leaving } => watched.disk.fail_sync_leaving(1 + after, leaving),
            Self::SyncDirectory { after, leaving } => watched.disk.fail_directory_sync_leaving(1 + after, leaving),
            Self::Other(fault) => watched.arm(fault),
        }
    }
}

/// What the contract of a cursor is among the state; none for one that holds.
fn contract_entry(cursor: &CursorInfo) -> Option<(Key, u64)> {
    let limit = match cursor.contract {
        Contract::BestEffort => 0,
        Contract::HoldUpTo(bytes) => bytes,
        _ => return None,
    };
    Some((contract_key(&cursor.name), limit))
}

/// All that an open log holds.
pub(super) fn read(log: &Log) -> Result<Found, String> {
    let records = read_records(log.reader(), log.start()..log.visible(), &|key| log.latest(Topic::default(), key))?;
    let failed = |error: esker::Error| format!("read the state: {error}");
    let mut state: StateMap = StateMap::new();
    for (key, value) in log.states(b"").map_err(failed)? {
        state.insert(key.into_vec(), fingerprint(&[value.value()]));
    }
    for cursor in log.cursors().map_err(failed)? {
        state.insert(cursor_key(&cursor.name), cursor.offset.get());
        state.extend(contract_entry(&cursor));
    }
    Ok(Found { start: log.start().get(), records, state })
}

/// Looks up the latest record of a key.
type Latest<'a> = &'a dyn Fn(&[u8]) -> esker::Result<Option<esker::Found>>;

/// All records; and what lookups say of their keys, whatever index files there are, is what the records say.
fn read_records(mut reader: Reader, range: Range<Offset>, latest: Latest<'_>) -> Result<Vec<u64>, String> {
    let (mut records, mut newest) = (Vec::new(), BTreeMap::new());
    while let Some(batch) = reader.poll().map_err(|error| format!("read: {error}"))? {
        for record in &batch {
            let expected = range.start.after(length(records.len()));
            if record.offset() < expected {
                return Err(format!("offset {} stands where {expected} is next", record.offset()));
            }
            records.resize(index(record.offset().since(range.start)), GONE);
            records.push(fingerprint_of(&record));
            if let Some(key) = record.key() {
                newest.insert(key.to_vec(), record.offset());
            }
        }
    }
    records.resize(records.len().max(index(range.end.since(range.start))), GONE);
    for (key, offset) in
        newest.iter().map(|(key, offset)| (key.as_slice(), Some(*offset))).chain([(&b"none"[..], None)])
    {
        let found = latest(key).map_err(|error| format!("look up {}: {error}", key.escape_ascii()))?;
        let found = found.map(|found| found.record().offset());
        if found != offset {
            return Err(format!("the latest of {} is {found:?}, the records say {offset:?}", key.escape_ascii()));
        }
    }
    Ok(records)
}
