//! A segment written anew: the frames that are kept at their places, gap frames between them.
//!
//! Guarantees:
//! 1. Every frame is checked again as it is copied, and the whole is read back once it is synced; what does not check then
//!    is an error, and the draft is not used. What is read back may come from the page cache: it shows what was handed to the
//!    system, not what the medium holds.
//! 2. Nothing but the draft is touched, and of that only what lies below its end.
//! 3. A gap takes the space of its frame, as far as the system gives back the rest.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::sync::Arc;

use super::plan::PAGE_BYTES;
use super::sift::Run;
use super::slots::Stored;
use crate::checksum::{self, Seed};
use crate::error::{Error, ErrorKind, Result};
use crate::format::control::GapBody;
use crate::format::frame::FrameHeader;
use crate::format::header::{self, SegmentHeader};
use crate::format::{FRAMES_START, GAP_FRAME_BYTES, Kind, segment_draft_name};
use crate::log::{Scan, Scanned, Store, open_segment};
use crate::platform::{Access, Disk, File};
use crate::segment::walk::Frames;
use crate::types::{Offset, Timestamp, Topic, length};

/// A segment to write.
#[derive(Debug, Clone)]
pub(super) struct Work {
    /// All but the incarnation, which is drawn when it is written.
    pub(super) header: SegmentHeader,
    /// Where the frames to keep are; `None`: there are none.
    pub(super) stored: Option<Stored>,
    pub(super) runs: Vec<Run>,
}

/// Frames are gathered up to this much before they are stored.
const WRITE_BYTES: usize = 1 << 20;

/// Writes the draft of a segment, synced and read back through the page cache.
pub(super) fn write(disk: &dyn Disk, work: &Work) -> Result<()> {
    let name = segment_draft_name(work.header.number);
    let path = disk.directory().join(&name);
    let failed = |attempt: &'static str| {
        let path = path.clone();
        move |error| Error::io(attempt, error).at_path(path)
    };
    let incarnation = disk.random().map_err(failed("draw the incarnation"))?.max(1);
    let header = SegmentHeader { incarnation, ..work.header };
    let file = disk.create(&name, header.capacity).map_err(failed("create the new segment"))?;
    let mut draft = Draft { file, header, seed: Seed::new(incarnation), at: FRAMES_START, bytes: Vec::new() };
    for run in &work.runs {
        match *run {
            Run::Gap { start, end, offset, next } => {
                draft.gap(start..end, offset, next).map_err(failed("write the new segment"))?;
            }
            Run::Frames { start, end, offset } => {
                let Some(stored) = &work.stored else { return Err(unlike(&path, "there are no frames to keep")) };
                draft.frames(disk, stored, start..end, offset)?;
            }
        }
    }
    draft.put().map_err(failed("write the new segment"))?;
    draft.file.write_at(&header.encode(), 0).map_err(failed("write the new segment"))?;
    draft.file.sync().map_err(failed("sync the new segment"))?;
    read_back(disk, &name, &header)
}

struct Draft {
    file: Arc<dyn File>,
    header: SegmentHeader,
    seed: Seed,
    /// Where `bytes` go.
    at: u64,
    bytes: Vec<u8>,
}

impl Draft {
    fn put(&mut self) -> std::io::Result<()> {
        if !self.bytes.is_empty() {
            self.file.write_at(&self.bytes, self.at)?;
        }
        self.at = self.at.saturating_add(length(self.bytes.len()));
        self.bytes.clear();
        Ok(())
    }

    /// Adds a frame at `position`, which lies at or behind all that was added.
    fn frame(&mut self, position: u64, header: &FrameHeader, body: &[u8]) -> std::io::Result<()> {
        if self.bytes.len() >= WRITE_BYTES || self.at.saturating_add(length(self.bytes.len())) != position {
            self.put()?;
            self.at = position;
        }
        self.bytes.extend(header.encode(self.seed, position).to_bytes());
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        Ok(())
    }

    fn gap(&mut self, range: std::ops::Range<u64>, offset: Offset, next: Offset) -> std::io::Result<()> {
        let bytes = range.end.saturating_sub(range.start);
        let delta = u32::try_from(offset.since(self.header.first_offset));
        let (Ok(offset_delta), Ok(bytes)) = (delta, u32::try_from(bytes)) else {
            return Err(std::io::Error::other("a gap that no segment could hold"));
        };
        // A gap may be as long as somebody only claims. That its space cannot be given back costs space, nothing else.
        let behind = range.start.saturating_add(GAP_FRAME_BYTES).next_multiple_of(PAGE_BYTES);
        if range.end.saturating_sub(behind) >= PAGE_BYTES {
            let _costs_only_space = self.file.punch(behind..range.end);
        }
        let body = GapBody { next_offset: next, bytes }.encode();
        let header = FrameHeader {
            length: u32::try_from(GAP_FRAME_BYTES).unwrap_or_default(),
            kind: Kind::Gap,
            body_checksum: checksum::plain(&body),
            topic: Some(Topic::default()),
            time: Timestamp::default(),
            offset_delta,
            record_count: 0,
            state_count: 0,
            header_checksum: 0,
        };
        self.frame(range.start, &header, &body)
    }

    /// Copies frames, each checked in full.
    fn frames(&mut self, disk: &dyn Disk, stored: &Stored, range: std::ops::Range<u64>, offset: Offset) -> Result<()> {
        let path = disk.directory().join(&stored.name);
        let store = Store::File(open_segment(disk, &stored.name)?);
        let frames = Frames { first_offset: self.header.first_offset, ..stored.frames };
        let mut scan = Scan::new(store, frames, range.start, offset, stored.limit);
        while scan.position < range.end {
            let found = scan.next().map_err(|error| Error::io("read the segment", error).at_path(&path))?;
            let Scanned::Frame(found) = found else { return Err(unlike(&path, "a frame that checked before")) };
            let body = scan.frame(&found).body;
            self.frame(found.position, &found.header, body)
                .map_err(|error| Error::io("write the new segment", error).at_path(&path))?;
        }
        if scan.position == range.end { Ok(()) } else { Err(unlike(&path, "frames that ended here before")) }
    }
}

/// Whether what the system has now is what was meant to be; a fault of the medium shows once the cache is dropped.
fn read_back(disk: &dyn Disk, name: &str, expected: &SegmentHeader) -> Result<()> {
    let path = disk.directory().join(name);
    let failed = |error| Error::io("read the new segment back", error).at_path(&path);
    let file = disk.open(name, Access::Read).map_err(failed)?;
    let mut bytes = [0; header::BYTES];
    file.read_at(&mut bytes, 0).map_err(failed)?;
    let Some(rewritten) = expected.rewritten.filter(|_| SegmentHeader::decode(&bytes) == Ok(Some(*expected))) else {
        return Err(unlike(&path, "its header"));
    };
    let frames = Frames::new(expected, rewritten.end);
    let mut scan = Scan::new(Store::File(file), frames, FRAMES_START, expected.first_offset, rewritten.end);
    let mut records = 0_u64;
    loop {
        match scan.next().map_err(failed)? {
            Scanned::Frame(found) => records = records.saturating_add(found.header.record_count.into()),
            Scanned::End => break,
            Scanned::Zero | Scanned::Bad { .. } => return Err(unlike(&path, "one of its frames")),
        }
    }
    let found = (scan.position, scan.offset, records);
    if found == (rewritten.end, rewritten.end_offset, rewritten.records) {
        Ok(())
    } else {
        Err(unlike(&path, "its end"))
    }
}

fn unlike(path: &std::path::Path, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{what} reads otherwise now; the log was not changed here"))
        .at_path(path)
        .next_step("check the disk, then repair again")
}
