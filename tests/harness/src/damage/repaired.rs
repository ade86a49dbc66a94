//! One damaged copy, repaired: what is left is clean, opens, and holds nothing that was never told.
//!
//! Guarantees:
//! 1. What a repair gives up is in its plan: each record below the end of the repaired log is handed out as it was told, or lies
//!    in a gap that the plan names. The state is the one at that end, or, if the plan says that entries are lost, one whose
//!    every entry was told.
//! 2. The log ends at or behind the highest line that is still carried, unless the plan sets a carrier aside.
//! 3. No more is given up than was hit: a record that was durable, in a frame of which no byte was hit, in a file whose header
//!    was not, is handed out. Save what lies behind a hit in a segment whose end nobody says any more, as the header of the next
//!    one was hit too: an earlier recovery may have cut it there, and what is dead does not come back.
//! 4. What was written anew keeps its records when its header is lost, and a repair comes once more.
//! 5. A plan is refused only with a typed error; one without steps stands for a log that verifies.
//! 6. Of forgeries and files of other histories only survival is asked for.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use esker::inspect::verify_on;
use esker::repair::{Accept, Action, Plan, StateLoss, apply_on, plan_on};
use esker::{ErrorKind, Log, Place, Recovery};

use super::edit::Nature;
use super::exercise::{Violation, ensure, states};
use super::history::cursors_of;
use super::judge::Case;
use super::layout::{FileKind, SEGMENT_HEADER, Stored, What};
use super::reference::options;
use crate::MemoryDisk;
use crate::format::bytes::{half, short};

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repaired {
    /// No step was planned.
    Nothing,
    /// The plan was carried out.
    Done,
    /// No repair here can judge it.
    Refused,
}

impl Case<'_> {
    /// Repairs a copy of the disk, and judges what is left.
    pub(super) fn repaired(&self, damaged: &MemoryDisk) -> Result<Repaired, Violation> {
        let disk = &damaged.snapshot();
        let plan = match plan_on(disk) {
            Ok(plan) => plan,
            Err(error) => return self.typed(&error, "plan").map(|()| Repaired::Refused),
        };
        let strange = self.damage.nature != Nature::Accident;
        if plan.steps.is_empty() {
            let damaged = verify_on(disk, &mut |_| ()).is_ok_and(|verified| verified.is_damaged());
            ensure(!damaged || strange, || {
                format!("damaged, and nothing is planned: {:?}", verify_on(disk, &mut |_| ()))
            })?;
            return Ok(Repaired::Nothing);
        }
        let done = apply_on(disk, Accept::Loss);
        if strange {
            return Ok(if done.is_ok() { Repaired::Done } else { Repaired::Refused });
        }
        let done = done.map_err(|error| format!("repair: {error:?}; {plan:?}"))?;
        let left = verify_on(disk, &mut |_| ()).map_err(|error| format!("verify, repaired: {error:?}"))?;
        ensure(!left.is_damaged(), || format!("damaged when it is repaired: {:?}; {done:?}", left.findings))?;
        let again = plan_on(disk).map_err(|error| format!("plan, repaired: {error:?}"))?;
        ensure(again.steps.is_empty(), || format!("still to be done: {again:?}; {done:?}"))?;
        let opened = options(Recovery::TornTail).open_on(Arc::new(disk.clone()));
        let log = opened.map_err(|error| format!("open, repaired: {error:?}; {done:?}"))?;
        self.check_repaired(&log, &done).map_err(|violation| format!("repaired: {violation}; {done:?}"))?;
        log.close().map_err(|error| format!("close, repaired: {error:?}"))?;
        repaired_again(disk, &done)?;
        Ok(Repaired::Done)
    }

    fn check_repaired(&self, log: &Log, done: &Plan) -> Result<(), Violation> {
        let end = log.recovery().end.place;
        let aside = done.steps.iter().any(|step| step.cause.contains("its durable line is not true"));
        ensure(aside || end >= self.durable, || format!("ends at {end}, durable up to {}", self.durable))?;
        self.read_repaired(log, done)?;
        let entries = states(log)?;
        let cursors = cursors_of(&log.cursors().map_err(|error| format!("cursors: {error:?}"))?);
        let history = &self.reference.history;
        let known = if done.steps.iter().any(|step| step.state == StateLoss::AsLeft) {
            history.told_all(&entries, &cursors)
        } else {
            history.holds_at(end, &entries, &cursors)
        };
        ensure(known, || format!("not a state that was told: {entries:?}, {cursors:?}"))
    }

    /// Every offset up to the end is handed out as it was told, or lost as the plan says.
    fn read_repaired(&self, log: &Log, done: &Plan) -> Result<(), Violation> {
        let lost: Vec<Range<u64>> = done
            .steps
            .iter()
            .flat_map(|step| &step.lost)
            .map(|lost| lost.offsets.start.get()..lost.offsets.end.get())
            .collect();
        let kept = self.whole_below_durable();
        let mut reader = log.reader();
        let mut next = reader.offset();
        loop {
            match reader.poll() {
                Ok(Some(batch)) => {
                    for record in &batch {
                        ensure(record.offset() == next, || format!("offset {}, {next} expected", record.offset()))?;
                        ensure(self.fitting(&record) > 0, || format!("never told so: {record:?}"))?;
                        next = record.offset().after(1);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let ErrorKind::Gap { next: behind } = error.kind() else { return Err(format!("read: {error:?}")) };
                    let told = |offset: u64| lost.iter().any(|range| range.contains(&offset));
                    ensure((next.get()..behind.get()).all(told), || format!("lost, and not planned: {error:?}"))?;
                    let whole = (next.get()..behind.get()).find(|offset| kept.contains(offset));
                    ensure(whole.is_none(), || format!("lost at {whole:?}, where nothing was hit: {error:?}"))?;
                    next = behind;
                    reader.seek(behind).map_err(|error| format!("seek: {error:?}"))?;
                }
            }
        }
        ensure(next == log.visible(), || format!("read up to {next} of {}", log.visible()))
    }

    /// The offsets of records that no repair may give up.
    fn whole_below_durable(&self) -> BTreeSet<u64> {
        let mut offsets = BTreeSet::new();
        for (number, stored) in self.reference.files.iter().enumerate() {
            let FileKind::Segment { number: segment, first_offset } = stored.kind else { continue };
            let follows = |file: &Stored| file.number() == Some(segment + 1);
            let next = self.reference.files.iter().position(follows);
            let end_is_told = next.is_none_or(|next| !self.hits.contains(&(next, 0)));
            let first_hit = self.hits.iter().filter(|hit| hit.0 == number).map(|hit| hit.1).min();
            let whole = |unit: usize| {
                let sure = end_is_told || first_hit.is_none_or(|hit| unit < hit);
                sure && !self.hits.contains(&(number, 0)) && !self.hits.contains(&(number, unit))
            };
            for (unit, frame) in stored.units.iter().enumerate().filter(|(_, unit)| unit.what == What::Frame) {
                let place = Place { segment, position: u64::try_from(frame.range.end).unwrap_or(u64::MAX) };
                if whole(unit) && place <= self.durable {
                    let at = frame.range.start;
                    let first = first_offset + u64::from(half(&stored.bytes, at + 24));
                    offsets.extend(first..first + u64::from(short(&stored.bytes, at + 28)));
                }
            }
        }
        offsets
    }
}

/// The header of each segment that was written anew is lost in its turn: no record goes with it.
fn repaired_again(disk: &MemoryDisk, done: &Plan) -> Result<(), Violation> {
    for step in done.steps.iter().filter(|step| step.action == Action::Rewrite && step.records_kept > 0) {
        let again = disk.snapshot();
        let name = step.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        again.edit_file(&name, |bytes| bytes[..SEGMENT_HEADER].fill(0));
        let plan = apply_on(&again, Accept::Loss).map_err(|error| format!("{name}, again: {error:?}; {done:?}"))?;
        ensure(plan.records_lost() == 0, || format!("{name} again: {plan:?}; {done:?}"))?;
    }
    Ok(())
}
