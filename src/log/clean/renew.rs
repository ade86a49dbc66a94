//! A segment that an open found, and whose name may not be durable, gets it anew.
//!
//! Guarantees:
//! 1. The name leads to the same bytes all the time. Behind the next sync of the directory it is durable, also if one that
//!    failed before gave it up, which no later one would tell.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::io;

use crate::format::segment_draft_name;
use crate::log::survey::Member;
use crate::platform::{Access, Disk};
use crate::types::{index, length};

const COPY_BYTES: u64 = 1 << 20;

/// Puts a copy in its place.
pub(crate) fn renew(disk: &dyn Disk, member: &Member) -> io::Result<()> {
    let draft = segment_draft_name(member.header.number);
    let _seldom_there = disk.unlink(&draft);
    let copied = copy(disk, member, &draft).and_then(|()| disk.rename(&draft, &member.name));
    copied.inspect_err(|_| {
        // One that stays is removed by the next attempt, or open.
        let _removed_later = disk.unlink(&draft);
    })
}

fn copy(disk: &dyn Disk, member: &Member, draft: &str) -> io::Result<()> {
    let from = disk.open(&member.name, Access::Read)?;
    let to = disk.create(draft, member.length)?;
    let mut piece = vec![0; index(COPY_BYTES.min(member.length))];
    let mut at = 0;
    while at < member.limit() {
        let read = from.read_at(&mut piece, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_at(piece.get(..read).unwrap_or_default(), at)?;
        at = at.saturating_add(length(read));
    }
    to.sync()
}
