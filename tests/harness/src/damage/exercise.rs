//! One damaged copy, used in every way there is: verified, attached to, salvaged, opened for writing twice, read forward
//! and backward, appended to, and opened again.
//!
//! Guarantees:
//! 1. Every record that anybody hands out is compared with what was told, in every field; and so are all state entries,
//!    their versions, and all cursors.
//! 2. Looking stores nothing; an open that refuses stores nothing.

use std::sync::Arc;

use esker::inspect::{Verification, verify_on};
use esker::{
    Attached, Batch, CursorInfo, Ending, Error, ErrorKind, Log, Offset, ReadMode, Reader, Recovery, Salvage, Salvaged,
};

use super::edit::Nature;
use super::history::{Entries, cursors_of};
use super::judge::{Case, Verdict, is_empty_behind};
use super::proof::Proof;
use super::reference::{End, options};
use crate::MemoryDisk;

/// A violation, in words.
pub(super) type Violation = String;

const MORE: &[u8] = b"one more";

/// Which histories all that was read is of, one bit each.
type Mask = u32;

/// How far a reader came.
#[derive(Debug)]
struct Read {
    next: Offset,
    mask: Mask,
    error: Option<Error>,
}

/// What was seen from outside.
#[derive(Debug)]
struct Looked {
    refusal: Option<Error>,
    visible: Offset,
    entries: Entries,
}

/// What came of an open for writing.
#[derive(Debug)]
enum Opened {
    Refused(Error),
    /// Where it ended, the state there, and whether all that there ever was is there.
    Open {
        ending: Ending,
        end: Offset,
        entries: Entries,
        complete: bool,
        lost: bool,
    },
}

impl Case<'_> {
    /// Judges the copy on `disk`, which is only looked at.
    pub(super) fn run(&self, disk: &MemoryDisk) -> Result<Verdict, Violation> {
        let _earlier = disk.take_operations();
        let verified = verify_on(disk, &mut |_| ());
        let looked = self.attach(disk)?;
        self.salvage(disk)?;
        let stored = disk.take_operations();
        ensure(stored.is_empty(), || format!("looking stored something: {stored:?}"))?;
        let torn = self.write(disk, Recovery::TornTail)?;
        let strict = self.write(disk, Recovery::Strict)?;
        if self.damage.nature == Nature::Forgery {
            return Ok(Verdict::Harmless(Proof::Forged));
        }
        agree(looked.as_ref(), &torn, &strict)?;
        if let Err(error) = &verified {
            self.typed(error, "verify")?;
        }
        let unreported = self.unreported(&verified);
        let complete = matches!(&torn, Opened::Open { complete: true, .. });
        let same = verified.as_ref().is_ok_and(|verified| *verified == self.reference.verification);
        if matches!(self.damage.nature, Nature::Apart | Nature::Twin) {
            if verified.as_ref().map_or(true, |verified| !verified.findings.is_empty()) {
                return Ok(Verdict::Reported);
            }
            if self.damage.nature == Nature::Twin {
                return Ok(Verdict::LimitSilent);
            }
            ensure(complete, || format!("neither reported nor one history: {torn:?}"))?;
            return Ok(Verdict::Harmless(Proof::OneHistory));
        }
        let lost = matches!(&torn, Opened::Open { lost: true, .. });
        if self.is_judged() && unreported.is_empty() {
            return Ok(if lost { Verdict::LimitCut } else { Verdict::Reported });
        }
        let segments = self.of_segments(&unreported);
        if !segments.is_empty() && self.vanished(&segments, disk) {
            return Ok(Verdict::LimitSilent);
        }
        let Some(proof) = self.class(&unreported, disk) else {
            return Err(format!("not reported: {}; {verified:?}", self.show(&unreported)));
        };
        if unreported.len() < self.runs().len() {
            return Ok(Verdict::Reported);
        }
        let damaged = verified.as_ref().map_or(true, Verification::is_damaged);
        ensure(complete && !damaged, || format!("not harmless, though {}: {torn:?}; {verified:?}", proof.name()))?;
        ensure(same || self.is_judged() || proof == Proof::OtherCheckpoint, || {
            format!("judged, though {}: {verified:?}", proof.name())
        })?;
        let clean = self.reference.end == End::Closed;
        let as_before = matches!(&torn, Opened::Open { ending, .. } if *ending == self.reference.ending);
        ensure(as_before && matches!(strict, Opened::Open { .. }) == clean, || {
            format!("ends in another way, though {}: {torn:?}", proof.name())
        })?;
        Ok(Verdict::Harmless(proof))
    }

    pub(super) fn typed(&self, error: &Error, what: &str) -> Result<(), Violation> {
        let forged = self.damage.nature == Nature::Forgery;
        let typed = match error.kind() {
            ErrorKind::Corrupt | ErrorKind::Incompatible => error.path().is_some(),
            ErrorKind::Invalid => what != "read" || forged,
            ErrorKind::Limit | ErrorKind::OutOfSpace | ErrorKind::Diverged { .. } | ErrorKind::Io => forged,
            _ => false,
        };
        ensure(typed, || format!("{what}: {error:?}"))
    }

    fn accept(&self, batch: &Batch, read: &mut Read, end: Option<Offset>) -> Result<(), Violation> {
        for record in batch {
            let offset = record.offset();
            ensure(offset == read.next || self.histories.is_empty(), || {
                format!("offset {offset} handed out, {} expected", read.next)
            })?;
            read.next = offset.after(1);
            if end.is_some_and(|end| offset >= end) {
                ensure(record.payload() == MORE && Some(offset) == end, || {
                    format!("offset {offset} is not what was appended")
                })?;
                continue;
            }
            let fitting = self.fitting(&record);
            read.mask = if self.damage.nature == Nature::Twin { fitting } else { read.mask & fitting };
            ensure(read.mask > 0, || format!("offset {offset} was never told so: {record:?}"))?;
        }
        Ok(())
    }

    /// The histories that hold this record at its offset.
    pub(super) fn fitting(&self, record: &esker::RecordRef<'_>) -> Mask {
        if self.histories.is_empty() {
            return Mask::MAX;
        }
        let at = usize::try_from(record.offset().get()).unwrap_or(usize::MAX);
        let fits = |(bit, history): (usize, &&super::history::History)| {
            history.records.get(at).is_some_and(|told| told.is(record)).then_some(1 << bit)
        };
        self.histories.iter().enumerate().filter_map(fits).sum()
    }

    /// Reads to the end, or to the first error; what lies at `end` is the record that was appended there.
    fn read(&self, reader: &mut Reader, end: Option<Offset>) -> Result<Read, Violation> {
        let mut read = Read { next: reader.offset(), mask: Mask::MAX, error: None };
        loop {
            match reader.poll() {
                Ok(Some(batch)) => self.accept(&batch, &mut read, end)?,
                Ok(None) => return Ok(read),
                Err(error) => {
                    self.typed(&error, "read")?;
                    read.error = Some(error);
                    return Ok(read);
                }
            }
        }
    }

    /// Reads backward from the end.
    fn read_back(&self, reader: &mut Reader) -> Result<Offset, Violation> {
        reader.seek_latest();
        let mut before = reader.offset();
        loop {
            match reader.poll_back() {
                Ok(Some(batch)) => {
                    for record in batch.iter_back() {
                        let expected = before.get().checked_sub(1);
                        ensure(Some(record.offset().get()) == expected || self.histories.is_empty(), || {
                            format!("backward: offset {} handed out, {expected:?} expected", record.offset())
                        })?;
                        before = record.offset();
                        ensure(self.fitting(&record) > 0, || format!("backward: {record:?} was never told so"))?;
                    }
                }
                Ok(None) => return Ok(before),
                Err(error) => return self.typed(&error, "read").map(|()| before),
            }
        }
    }

    fn attach(&self, disk: &MemoryDisk) -> Result<Option<Looked>, Violation> {
        let attached = match Attached::open_on(Arc::new(disk.clone())) {
            Ok(attached) => attached,
            Err(error) => return self.typed(&error, "attach").map(|()| None),
        };
        let read = self.read(&mut attached.reader(), None)?;
        let visible = attached.visible();
        let refusal = attached.refusal();
        if self.damage.nature != Nature::Forgery {
            ensure(read.error.is_some() || (read.next == visible && refusal.is_none()), || {
                format!("attached: read up to {} of {visible} without an error", read.next)
            })?;
        }
        match attached.state() {
            Ok(view) => {
                self.state_of_some_place(&view.with_prefix(""), &view.cursors())?;
                Ok(Some(Looked { refusal, visible, entries: view.with_prefix("") }))
            }
            Err(error) => {
                self.typed(&error, "attached state")?;
                Ok(Some(Looked { refusal: Some(error), visible, entries: Entries::new() }))
            }
        }
    }

    fn salvage(&self, disk: &MemoryDisk) -> Result<(), Violation> {
        let salvage = match Salvage::open_on(Arc::new(disk.clone())) {
            Ok(salvage) => salvage,
            Err(error) => return self.typed(&error, "salvage"),
        };
        let mut read = Read { next: Offset::ZERO, mask: Mask::MAX, error: None };
        for item in salvage {
            match item {
                Ok(Salvaged::Batch(batch)) => self.accept(&batch, &mut read, None)?,
                Ok(Salvaged::Damage { error, skipped }) => {
                    self.typed(&error, "salvage")?;
                    let Some(skipped) = skipped else { continue };
                    ensure(skipped.to > skipped.from, || format!("salvage stands still: {skipped:?}"))?;
                    read.next = read.next.after(skipped.records);
                    // What lies behind may be of another history; whoever salvages was told where.
                    read.mask = Mask::MAX;
                }
                Ok(other) => return Err(format!("salvage: {other:?}")),
                Err(error) => return self.typed(&error, "salvage"),
            }
        }
        Ok(())
    }

    fn state_of_some_place(&self, entries: &Entries, cursors: &[CursorInfo]) -> Result<(), Violation> {
        let cursors = cursors_of(cursors);
        let known = matches!(self.damage.nature, Nature::Forgery | Nature::Twin)
            || self.histories.iter().any(|history| history.held(entries, &cursors));
        ensure(known, || format!("a state that never was: {entries:?}, {cursors:?}"))
    }

    /// Opens a copy for writing, and if that goes well appends and opens again: behind a close, or as after a kill.
    fn write(&self, damaged: &MemoryDisk, recovery: Recovery) -> Result<Opened, Violation> {
        let disk = &damaged.snapshot();
        let log = match options(recovery).open_on(Arc::new(disk.clone())) {
            Ok(log) => log,
            Err(error) => {
                self.typed(&error, "open")?;
                let mut stored = disk.take_operations();
                stored.retain(|operation| operation != "lock");
                let tried = self.damage.nature == Nature::Forgery;
                ensure(stored.is_empty() || tried, || format!("refused ({error}), but {stored:?}"))?;
                return Ok(Opened::Refused(error));
            }
        };
        let mode = if recovery == Recovery::Strict { ReadMode::Copy } else { ReadMode::Map };
        let read = self.read(&mut log.reader().mode(mode), None)?;
        let first = self.read_back(&mut log.reader().mode(mode))?;
        let (entries, cursors) = (states(&log)?, log.cursors().map_err(|error| format!("cursors: {error:?}"))?);
        if self.damage.nature == Nature::Forgery {
            self.go_on_forged(&log, disk);
            let (ending, end) = (log.recovery().ending, log.visible());
            return Ok(Opened::Open { ending, end, entries, complete: false, lost: false });
        }
        let end = log.recovery().end;
        let whole = self.check_read(damaged, &log, &read)?;
        ensure(!whole || first == Offset::ZERO, || format!("backward only to {first}"))?;
        let cursors = cursors_of(&cursors);
        let told = self.histories.iter().enumerate().filter(|(bit, _)| read.mask >> bit & 1 == 1);
        let known = self.histories.iter().any(|history| history.holds_at(end.place, &entries, &cursors));
        let mixed = self.damage.nature == Nature::Twin;
        ensure(known || mixed, || format!("not the state at {}: {entries:?}, {cursors:?}", end.place))?;
        let mut ends = told.map(|(_, history)| u64::try_from(history.records.len()).unwrap_or_default());
        let complete = whole && ends.any(|records| records == end.offset.get());
        let lost = end.place < self.reference.acknowledged;
        let (ending, end) = (log.recovery().ending, end.offset);
        self.go_on(log, disk, recovery, &read)?;
        Ok(Opened::Open { ending, end, entries, complete, lost })
    }

    /// What was read of a log that opened; whether it is all that the log says it holds.
    fn check_read(&self, damaged: &MemoryDisk, log: &Log, read: &Read) -> Result<bool, Violation> {
        let report = log.recovery();
        let end = report.end.place;
        if self.damage.nature == Nature::Accident {
            ensure(end >= self.durable, || format!("durable up to {}, and cut at {end}: {report}", self.durable))?;
            let cut = report.cut.as_ref();
            let silent = cut.is_none() && end != self.reference.ends;
            ensure(!silent || is_empty_behind(self.reference, damaged, end), || {
                format!("cut at {end} in silence: {report}")
            })?;
            ensure(cut.is_none_or(|cut| cut.place == end), || format!("cut elsewhere than at {end}: {report}"))?;
        }
        if let Some(error) = &read.error {
            let place = error.place();
            let known = self.damage.nature != Nature::Accident || place.is_some_and(|place| self.is_hit(place));
            ensure(known, || format!("an error where nothing was damaged: {error:?}"))?;
            return Ok(false);
        }
        ensure(read.next == log.visible(), || {
            format!("read up to {} of {} without an error", read.next, log.visible())
        })?;
        Ok(true)
    }

    /// One more record, and the next open finds it behind all that was there.
    fn go_on(&self, log: Log, disk: &MemoryDisk, recovery: Recovery, before: &Read) -> Result<(), Violation> {
        let failed = |what: &'static str| move |error: Error| format!("{what}: {error:?}");
        let end = log.visible();
        let offset = log.append(MORE).map_err(failed("append"))?.offset();
        ensure(offset == end, || format!("appended at {offset}, the log ended at {end}"))?;
        log.sync().map_err(failed("sync"))?;
        let entries = states(&log)?;
        let left = if recovery == Recovery::Strict {
            let left = disk.snapshot();
            drop(log);
            left
        } else {
            log.close().map_err(failed("close"))?;
            disk.clone()
        };
        let again = options(Recovery::TornTail).open_on(Arc::new(left)).map_err(failed("open again"))?;
        // Unless what was damaged stands right behind what is there now: then that is told, and nothing was cut.
        let cut = again.recovery().cut.as_ref();
        let of_damage = cut.is_none_or(|cut| cut.records == 0 && self.is_free(cut.place));
        ensure(of_damage, || format!("cut again: {}", again.recovery()))?;
        ensure(states(&again)? == entries, || "another state at the next open".to_owned())?;
        ensure(again.visible() == end.after(1), || format!("ends at {} at the next open", again.visible()))?;
        let read = self.read(&mut again.reader(), Some(end))?;
        let place = |read: &Read| read.error.as_ref().and_then(Error::place);
        ensure(place(&read) == place(before), || format!("reads another way at the next open: {read:?}, {before:?}"))?;
        let mut reader = again.reader();
        reader.seek_latest();
        let batch = reader.poll_back();
        let found = batch.as_ref().ok().and_then(Option::as_ref).and_then(|batch| batch.iter_back().next());
        let found = found.is_some_and(|record| record.payload() == MORE && record.offset() == end);
        // Backward a segment is gone over from its start: damage there may stand in the way.
        let in_the_way =
            batch.as_ref().is_err_and(|error| before.error.is_some() && error.kind() == ErrorKind::Corrupt);
        ensure(found || in_the_way, || format!("what was appended is not there at the next open: {batch:?}"))
    }

    /// Survival: every call gives an answer, whatever it is.
    fn go_on_forged(&self, log: &Log, disk: &MemoryDisk) {
        let _appended = log.append(MORE).map(|ticket| ticket.offset());
        let _synced = log.sync();
        let _closed = log.clone().close();
        let again = options(Recovery::TornTail).open_on(Arc::new(disk.clone()));
        let _read = again.map(|again| self.read(&mut again.reader(), None));
    }
}

/// Who looks sees what an open would keep, and who is strict what an end is.
fn agree(looked: Option<&Looked>, torn: &Opened, strict: &Opened) -> Result<(), Violation> {
    let seen = looked.filter(|looked| looked.refusal.is_none());
    match (seen, torn) {
        (Some(looked), Opened::Open { end, entries, .. }) => {
            let same = looked.visible == *end && looked.entries == *entries;
            ensure(same, || format!("from outside up to {}, opened up to {end}, or another state", looked.visible))?;
        }
        (None, Opened::Refused(_)) => {}
        (Some(_), Opened::Refused(error)) => return Err(format!("fine from outside, and refused: {error:?}")),
        (None, Opened::Open { .. }) => return Err(format!("opened, and refused from outside: {looked:?}")),
    }
    match (torn, strict) {
        (Opened::Open { ending: Ending::Clean, .. }, Opened::Open { ending: Ending::Clean, .. })
        | (Opened::Refused(_), Opened::Refused(_)) => Ok(()),
        (Opened::Open { ending, .. }, Opened::Refused(_)) if *ending != Ending::Clean => Ok(()),
        _ => Err(format!("a strict open says {strict:?}, another {torn:?}")),
    }
}

pub(super) fn states(log: &Log) -> Result<Entries, Violation> {
    log.states("").map_err(|error| format!("state: {error:?}"))
}

pub(super) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
