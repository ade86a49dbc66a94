//! A segment written anew: the frames that are kept at their places, gap frames between them.
//!
//! Guarantees:
//! 1. Those of a [`Draft`].
//! 2. Every frame is checked again as it is copied.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::ops::Range;

use super::sift::Run;
use super::slots::Stored;
use crate::error::{Error, Result};
use crate::format::header::SegmentHeader;
use crate::format::segment_draft_name;
use crate::log::{Draft, Scan, Scanned, Store, open_segment, unlike};
use crate::platform::Disk;
use crate::segment::walk::Frames;
use crate::types::Offset;

/// A segment to write.
#[derive(Debug, Clone)]
pub(super) struct Work {
    /// All but the incarnation, which is drawn when it is written.
    pub(super) header: SegmentHeader,
    /// Where the frames to keep are; `None`: there are none.
    pub(super) stored: Option<Stored>,
    pub(super) runs: Vec<Run>,
}

/// Writes the draft of a segment, synced and read back through the page cache.
pub(super) fn write(disk: &dyn Disk, work: &Work) -> Result<()> {
    let mut draft = Draft::create(disk, &work.header)?;
    for run in &work.runs {
        match *run {
            Run::Gap { start, end, offset, next } => draft.gap(start..end, offset, next)?,
            Run::Frames { start, end, offset } => {
                let path = disk.directory().join(segment_draft_name(work.header.number));
                let Some(stored) = &work.stored else { return Err(unlike(&path, "there are no frames to keep")) };
                copy(disk, stored, start..end, offset, &mut draft)?;
            }
        }
    }
    draft.complete(disk).map(|_| ())
}

/// Copies frames, each checked in full.
fn copy(disk: &dyn Disk, stored: &Stored, range: Range<u64>, offset: Offset, to: &mut Draft) -> Result<()> {
    let path = disk.directory().join(&stored.name);
    let store = Store::File(open_segment(disk, &stored.name)?);
    let frames = Frames { first_offset: to.header().first_offset, ..stored.frames };
    let mut scan = Scan::new(store, frames, range.start, offset, stored.limit);
    while scan.position < range.end {
        let found = scan.next().map_err(|error| Error::io("read the segment", error).at_path(&path))?;
        let Scanned::Frame(found) = found else { return Err(unlike(&path, "a frame that checked before")) };
        to.frame(found.position, &found.header, scan.frame(&found).body)?;
    }
    if scan.position == range.end { Ok(()) } else { Err(unlike(&path, "frames that ended here before")) }
}
