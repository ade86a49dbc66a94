//! A plan, carried out.
//!
//! Guarantees:
//! 1. Those of the [module](super): what is replaced is durable in `quarantine/` before its name means something else, unless
//!    it is empty.
//! 2. It goes on until nothing is left to do: what only shows once the segments are whole is a plan of its own, under the
//!    same condition. If that one is refused, or something is left after all rounds, it is an error: what was done until then
//!    stays, and the next repair goes on from there.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use super::original::keep_original;
use super::plan::{Deed, Made, make};
use super::write::{Work, write};
use super::{Accept, Plan, StateLoss, locked};
use crate::error::{Error, ErrorKind, Result};
use crate::format::anchor::Anchor;
use crate::format::{ANCHOR_BYTES, ANCHOR_NAME, DRAFT_SUFFIX, segment_draft_name, segment_name};
use crate::inspect::unreadable::Readable;
use crate::log::Survey;
use crate::platform::{Disk, Lock};
use crate::types::length;

/// How often a plan is made; the first does it, the next finds nothing, or what only shows behind it.
const ROUNDS_MAX: usize = 4;

/// Repairs the log on any [`Disk`], as [`apply`](super::apply) does in a directory.
///
/// # Errors
/// As for [`apply`](super::apply).
///
/// # Durability
/// What was done is durable when this returns.
pub fn apply_on(disk: &dyn Disk, accept: Accept) -> Result<Plan> {
    super::refuse_writer(disk)?;
    // A directory in which nothing is to be done gets no lock file.
    let first = make(disk)?.plan;
    if first.loses() && accept == Accept::NoLoss {
        return Err(refused(disk, &first));
    }
    if first.steps.is_empty() {
        return Ok(first);
    }
    let failed = |error| Error::io("lock the directory for writing", error).at_path(disk.directory());
    let _lock = match disk.lock().map_err(failed)? {
        Lock::Held(lock) => lock,
        Lock::Busy(holder) => return Err(locked(disk, holder)),
    };
    let mut made = make(disk)?;
    let mut done: Option<Plan> = None;
    for _ in 0..ROUNDS_MAX {
        if made.plan.loses() && accept == Accept::NoLoss {
            return Err(refused(disk, &made.plan));
        }
        if made.plan.steps.is_empty() {
            break;
        }
        carry_out(disk, &made).map_err(|error| match error.advice() {
            Some(_) => error,
            None => error.next_step("what was done so far stays: see to the cause, then repair again"),
        })?;
        match &mut done {
            Some(done) => done.steps.append(&mut made.plan.steps),
            None => done = Some(made.plan),
        }
        made = make(disk)?;
    }
    if let Some(step) = made.plan.steps.first() {
        let text = format!("something is left to repair after {ROUNDS_MAX} rounds: {step}");
        return Err(Error::new(ErrorKind::Corrupt, text)
            .at_path(disk.directory())
            .next_step("check the disk, then repair again; what was done so far stays"));
    }
    Ok(done.unwrap_or(made.plan))
}

fn refused(disk: &dyn Disk, plan: &Plan) -> Error {
    let at_least = if plan.loses_tail() { "at least " } else { "" };
    let state = if plan.steps.iter().any(|step| step.state != StateLoss::None) { ", and state" } else { "" };
    let text = format!("repair would give up {at_least}{} records that were durable{state}", plan.records_lost());
    Error::new(ErrorKind::Loss, text).at_path(disk.directory()).next_step("look at the plan; accept the loss to go on")
}

fn carry_out(disk: &dyn Disk, made: &Made) -> Result<()> {
    let disk = &Readable::new(disk);
    clear_leftovers(disk)?;
    for deed in &made.deeds {
        match deed {
            Deed::Rename { from, to } => {
                disk.rename(from, to).map_err(|error| io(disk, "give the segment its own name", from, error))?;
                sync_directory(disk)?;
            }
            Deed::Write(work) => replace_segment(disk, work)?,
            Deed::Anchor(anchor) => replace_anchor(disk, anchor)?,
            Deed::Quarantine(name) => {
                disk.quarantine(name).map_err(|error| io(disk, "move to quarantine", name, error))?;
                sync_directory(disk)?;
            }
        }
    }
    Ok(())
}

/// What an earlier repair left when it ended early; what it was a copy of is still there.
fn clear_leftovers(disk: &dyn Disk) -> Result<()> {
    for name in Survey::look(disk)?.drafts.iter().filter(|name| crate::format::is_repair_leftover(name)) {
        disk.unlink(name).map_err(|error| io(disk, "remove what an earlier repair left", name, error))?;
    }
    Ok(())
}

fn replace_segment(disk: &dyn Disk, work: &Work) -> Result<()> {
    let name = segment_name(work.header.number);
    let draft = segment_draft_name(work.header.number);
    keep_original(disk, &name)?;
    write(disk, work)?;
    disk.rename(&draft, &name).map_err(|error| io(disk, "put the new segment in place", &name, error))?;
    sync_directory(disk)
}

fn replace_anchor(disk: &dyn Disk, anchor: &Anchor) -> Result<()> {
    let draft = ANCHOR_NAME.to_owned() + DRAFT_SUFFIX;
    let failed = |attempt: &'static str| move |error| io(disk, attempt, ANCHOR_NAME, error);
    keep_original(disk, ANCHOR_NAME)?;
    let file = disk.create(&draft, length(ANCHOR_BYTES)).map_err(failed("create the new anchor"))?;
    let (position, slot) = anchor.encode();
    file.write_at(&slot, position).map_err(failed("write the new anchor"))?;
    file.sync().map_err(failed("sync the new anchor"))?;
    disk.rename(&draft, ANCHOR_NAME).map_err(failed("put the new anchor in place"))?;
    sync_directory(disk)
}

pub(super) fn sync_directory(disk: &dyn Disk) -> Result<()> {
    disk.sync_directory().map_err(|error| io(disk, "sync the directory", "", error))
}

pub(super) fn io(disk: &dyn Disk, attempt: &'static str, name: &str, error: std::io::Error) -> Error {
    let path = if name.is_empty() { disk.directory().to_owned() } else { disk.directory().join(name) };
    Error::io(attempt, error).at_path(path)
}
