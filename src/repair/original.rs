//! Originals: what is replaced, kept in `quarantine/`.
//!
//! Guarantees:
//! 1. When [`keep_original`] returns, a copy of the file is durable in quarantine, whatever happens to its name: all its
//!    bytes, save those that cannot be read, which are as [`Readable`](crate::inspect::unreadable::Readable) shows them.
//! 2. Of the same bytes one copy that can be read is kept, however often a repair is tried. A copy comes to quarantine only
//!    when it is whole; a part of one stands beside the log, and the next repair or open removes it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use super::apply::{io, sync_directory};
use crate::error::{Result, is_medium_failure};
use crate::format::ORIGINAL_SUFFIX;
use crate::log::{is_no_file, open_segment};
use crate::platform::{Access, Disk, File, QUARANTINE};
use crate::types::{index, length};

const COPY_BYTES: u64 = 1 << 20;
/// How many copies of one name are compared; behind so many one more is made.
const COPIES_MAX: u32 = 1024;

/// Puts a durable copy of a file into quarantine, if there is such a file.
pub(super) fn keep_original(disk: &dyn Disk, name: &str) -> Result<()> {
    let names = disk.list().map_err(|error| io(disk, "list the directory", "", error))?;
    if !names.iter().any(|found| found == name) {
        return Ok(());
    }
    let copy = name.to_owned() + ORIGINAL_SUFFIX;
    let from = open_segment(disk, name)?;
    let bytes = from.length().map_err(|error| io(disk, "read the length", name, error))?;
    if bytes == 0 {
        // It was cut to nothing: there is nothing to keep, and no file system has room of no bytes.
        return Ok(());
    }
    if is_kept(disk, &*from, &copy)? {
        return Ok(());
    }
    let to = disk.create(&copy, bytes).map_err(|error| io(disk, "create a copy of the original", name, error))?;
    let mut piece = vec![0; index(COPY_BYTES.min(bytes))];
    let mut at = 0;
    while at < bytes {
        let read = from.read_at(&mut piece, at).map_err(|error| io(disk, "read the original", name, error))?;
        if read == 0 {
            break;
        }
        let part = piece.get(..read).unwrap_or_default();
        // The copy is zero already where the original is.
        if part.iter().any(|byte| *byte != 0) {
            to.write_at(part, at).map_err(|error| io(disk, "copy the original", name, error))?;
        }
        at = at.saturating_add(length(read));
    }
    to.sync().map_err(|error| io(disk, "sync the copy of the original", name, error))?;
    disk.quarantine(&copy).map_err(|error| io(disk, "move the copy to quarantine", name, error))?;
    sync_directory(disk)
}

/// Whether an earlier try has kept the same bytes. Who moved them there may have died before it was durable.
fn is_kept(disk: &dyn Disk, original: &dyn File, copy: &str) -> Result<bool> {
    for number in 0..COPIES_MAX {
        let suffix = if number == 0 { String::new() } else { format!(".{number}") };
        let name = format!("{QUARANTINE}/{copy}{suffix}");
        let failed = |attempt: &'static str| move |error| io(disk, attempt, QUARANTINE, error);
        match disk.open(&name, Access::Read) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) if is_no_file(&error) || is_medium_failure(&error) => {}
            Err(error) => return Err(io(disk, "open an original in quarantine", &name, error)),
            Ok(kept) if is_same_readable(original, &*kept).map_err(failed("compare with what is kept"))? => {
                kept.sync().map_err(failed("sync what is kept"))?;
                disk.settle_quarantine().map_err(failed("sync the folder"))?;
                return Ok(true);
            }
            Ok(_) => {}
        }
    }
    Ok(false)
}

/// A copy that the medium has lost keeps nothing.
fn is_same_readable(original: &dyn File, kept: &dyn File) -> std::io::Result<bool> {
    match is_same(original, kept) {
        Err(error) if is_medium_failure(&error) => Ok(false),
        same => same,
    }
}

fn is_same(one: &dyn File, other: &dyn File) -> std::io::Result<bool> {
    let bytes = one.length()?;
    if bytes != other.length()? {
        return Ok(false);
    }
    let mut pieces = [vec![0; index(COPY_BYTES.min(bytes))], vec![0; index(COPY_BYTES.min(bytes))]];
    let [left, right] = &mut pieces;
    let mut at = 0;
    while at < bytes {
        let (read, found) = (one.read_at(left, at)?, other.read_at(right, at)?);
        if read == 0 || left.get(..read) != right.get(..found) {
            return Ok(false);
        }
        at = at.saturating_add(length(read));
    }
    Ok(true)
}
