//! What stands in the way of a plan, found before anything is changed.
//!
//! Guarantees:
//! 1. Names that the plan has to write or to clear are free, or those of regular files; `quarantine` is a folder, or free.
//! 2. Nothing is changed.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::io;

use super::plan::Deed;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{ANCHOR_BYTES, ANCHOR_NAME, is_repair_leftover};
use crate::log::is_no_file;
use crate::platform::{Access, Disk, QUARANTINE};

/// Refuses what no repair could carry out.
pub(super) fn check(disk: &dyn Disk, deeds: &[Deed], drafts: &[String]) -> Result<()> {
    if deeds.is_empty() {
        return Ok(());
    }
    disk.settle_quarantine().map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory => in_the_way(disk, QUARANTINE, "it is no folder, and files have to go there"),
        _ => Error::io("look at the folder", error).at_path(disk.directory().join(QUARANTINE)),
    })?;
    for name in drafts.iter().filter(|name| is_repair_leftover(name)) {
        // It is only unlinked: nobody needs what is in it.
        let _unread = look(disk, name)?;
    }
    if deeds.iter().any(|deed| matches!(deed, Deed::Anchor(_)))
        && let Some(error) = look(disk, ANCHOR_NAME)?
    {
        return Err(in_the_way(disk, ANCHOR_NAME, &format!("it cannot be read: {error}")));
    }
    Ok(())
}

/// Why the file cannot be read, if it is there; refuses what is no file.
fn look(disk: &dyn Disk, name: &str) -> Result<Option<io::Error>> {
    let read = disk.open(name, Access::Read).and_then(|file| file.read_at(&mut [0; ANCHOR_BYTES], 0));
    match read {
        Err(error) if is_no_file(&error) => {
            Err(in_the_way(disk, name, "it is no regular file, and the repair needs the name"))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Ok(Some(error)),
        _ => Ok(None),
    }
}

fn in_the_way(disk: &dyn Disk, name: &str, cause: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("in the way of a repair: {cause}"))
        .at_path(disk.directory().join(name))
        .next_step("move it out of the directory, then repair again; nothing was changed")
}
