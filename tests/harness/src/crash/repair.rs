//! The repair of a closed log of which a sealed segment is damaged: it ends early, and another one ends it.
//!
//! Guarantees, beyond those of [`repairs`](crate::repairs):
//! 1. The log itself stays as it is: all this happens to copies.
//! 2. A repair in which a sync of the directory failed is ended by the next one too, whatever the power then takes.

use std::collections::BTreeSet;
use std::sync::Arc;

use esker::repair::{Accept, Plan, apply_on, plan_on};
use esker::{Attached, ErrorKind, Options};

use super::fate::ByDice;
use crate::dice::Dice;
use crate::format::bytes::word;
use crate::format::sums::{FRAMES_START, SEGMENT_HEADER_BYTES};
use crate::memory::{AfterFailure, MemoryDisk};
use crate::numbers::index;
use crate::oracle::{History, fingerprint_of};
use crate::repairs::{Files, Happens, Steps, Truth, files, judge_originals};

/// Where a segment header names the end of the segment before.
const PREDECESSOR_END: usize = 104;
/// Where it names its own, if it was rewritten.
const REWRITTEN_END: usize = 160;
/// A header of another version is a later program's, and refused, not repaired.
const BEHIND_VERSION: usize = 10;

/// Whether there was something to repair, and what went wrong meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repair {
    Needless,
    Died,
    LostPower,
    NamesFailed,
}

/// Damages so many bytes of a sealed segment on a copy of the closed log, which holds so many records, and judges its repair.
pub(super) fn damage_and_repair(
    closed: &MemoryDisk,
    bytes: usize,
    options: &Options,
    (history, records): (&History, u64),
    dice: &mut Dice,
) -> Result<Repair, String> {
    // As it comes back after a loss of power: what that could still take is not the repair's to keep.
    let damaged = closed.lose_power(&mut ByDice::new(dice.fork()));
    let gone = dropped(&damaged)?;
    if !damage(&damaged, bytes, dice) {
        return Ok(Repair::Needless);
    }
    let is_right = |record: &esker::RecordRef<'_>| history.knows(record.offset().get(), fingerprint_of(record));
    let truth = Truth { options, is_right: &is_right, records, gone: &gone };
    let plan = plan_on(&damaged).map_err(|error| format!("plan: {error}"))?;
    if plan.steps.is_empty() {
        truth.judge_repaired(&damaged, &plan)?;
        return Ok(Repair::Needless);
    }
    let before = files(&damaged);
    if dice.one_in(4) {
        repair_over_failed_names(&damaged, &plan, &before, truth, dice)?;
        return Ok(Repair::NamesFailed);
    }
    let (happens, repair) = if dice.one_in(4) {
        (Happens::Death, Repair::Died)
    } else {
        (Happens::PowerLoss(dice.below(1 << 31)), Repair::LostPower)
    };
    let watched = Steps::on(&damaged, happens);
    apply_on(&watched, Accept::Loss).map_err(|error| format!("repair: {error}; {plan:#?}"))?;
    let mut moments = watched.taken();
    let (operation, left) = moments.swap_remove(dice.index(moments.len()));
    judge(&left, &plan, &before, truth).map_err(|what| format!("{happens:?} before {operation}: {what}"))?;
    judge(&damaged, &plan, &before, truth)?;
    Ok(repair)
}

/// The offsets of a log that a compaction took.
fn dropped(disk: &MemoryDisk) -> Result<BTreeSet<u64>, String> {
    let attached = Attached::open_on(Arc::new(disk.clone())).map_err(|error| format!("attach: {error}"))?;
    let mut gone: BTreeSet<u64> = (attached.start().get()..attached.visible().get()).collect();
    let mut reader = attached.reader();
    while let Some(batch) = reader.poll().map_err(|error| format!("read: {error}"))? {
        batch.iter().for_each(|record| _ = gone.remove(&record.offset().get()));
    }
    Ok(gone)
}

/// What is left is ended by another repair, and all that was there before is kept.
fn judge(left: &MemoryDisk, plan: &Plan, before: &Files, truth: Truth<'_>) -> Result<(), String> {
    judge_originals(before, left)?;
    let again = truth.judge_left(left, plan)?;
    judge_originals(before, &again)
}

/// A sync of the directory fails; the repair is ended by another one, then power fails.
fn repair_over_failed_names(
    damaged: &MemoryDisk,
    plan: &Plan,
    before: &Files,
    truth: Truth<'_>,
    dice: &mut Dice,
) -> Result<(), String> {
    let leaving = [AfterFailure::Kept, AfterFailure::Reverted][dice.index(2)];
    damaged.fail_directory_sync_leaving(1 + dice.below(3), leaving);
    let first = apply_on(damaged, Accept::Loss);
    damaged.fail_directory_sync(0);
    if let Err(error) = first
        && error.kind() != ErrorKind::Io
    {
        return Err(format!("a repair in which a sync of the directory failed says: {error}"));
    }
    let what = |what: String| format!("a sync of the directory failed, {leaving:?}: {what}");
    judge(damaged, plan, before, truth).map_err(what)?;
    apply_on(damaged, Accept::Loss).map_err(|error| what(format!("repair again: {error}")))?;
    let left = damaged.lose_power(&mut ByDice::new(dice.fork()));
    judge(&left, plan, before, truth).map_err(|wrong| what(format!("and then the power: {wrong}")))
}

/// Turns bits of a sealed segment, in its header or among its frames; whether there is one.
fn damage(disk: &MemoryDisk, bytes: usize, dice: &mut Dice) -> bool {
    let mut segments: Vec<(String, Vec<u8>)> =
        files(disk).into_iter().filter(|(name, bytes)| name.contains(".seg") && word(bytes, 0) != 0).collect();
    segments.sort();
    let sealed = segments.len().saturating_sub(1);
    if sealed == 0 {
        return false;
    }
    let chosen = dice.index(sealed);
    let end = match word(&segments[chosen].1, REWRITTEN_END) {
        0 => word(&segments[chosen + 1].1, PREDECESSOR_END),
        own => own,
    };
    let end = index(end);
    // A crash may have left a segment without frames.
    let within =
        if end <= FRAMES_START || dice.one_in(8) { BEHIND_VERSION..SEGMENT_HEADER_BYTES } else { FRAMES_START..end };
    let start = within.start + dice.index(within.len());
    let mask = 1 << dice.below(8);
    disk.edit_file(&segments[chosen].0, |file| {
        file[start..within.end.min(start + bytes)].iter_mut().for_each(|byte| *byte ^= mask);
    });
    true
}
