//! A segment while it is written anew, beside the one that it will stand for.
//!
//! Guarantees:
//! 1. What is complete is synced and was read back; what reads otherwise then is an error, and the draft is not used. What is
//!    read back may come from the page cache: it shows what was handed to the system, not what the medium holds.
//! 2. Nothing but the draft is touched, and of that only what lies below its end.
//! 3. A gap takes the space of its frame, as far as the system gives back the rest.
//! 4. The file is as long as the capacity in its header says: at least what it was created with, and no page longer than its
//!    frames if they need more. Space is reserved before it is used.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checksum::{self, Seed};
use crate::error::{Error, ErrorKind, Result};
use crate::format::control::GapBody;
use crate::format::frame::{FrameHeader, Layout};
use crate::format::header::{self, Rewritten, SegmentHeader};
use crate::format::{FRAMES_START, GAP_FRAME_BYTES, Kind, segment_draft_name};
use crate::log::act::draw_incarnation;
use crate::log::window::{Scan, Scanned, Store};
use crate::platform::{Access, Disk, File};
use crate::segment::walk::Frames;
use crate::types::{Offset, Timestamp, Topic, length};

/// A new segment takes whole pages.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// Frames are gathered up to this much before they are stored.
const WRITE_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Draft {
    file: Arc<dyn File>,
    path: PathBuf,
    header: SegmentHeader,
    seed: Seed,
    /// How long the file is.
    reserved: u64,
    /// Where `bytes` go.
    at: u64,
    bytes: Vec<u8>,
}

impl Draft {
    /// A draft of the segment with this header, but for the incarnation, which is drawn here.
    pub(crate) fn create(disk: &dyn Disk, header: &SegmentHeader) -> Result<Self> {
        let name = segment_draft_name(header.number);
        let path = disk.directory().join(&name);
        let header = SegmentHeader { incarnation: draw_incarnation(disk)?, ..*header };
        let created = disk.create(&name, header.capacity);
        let file = created.map_err(|error| Error::io("create the new segment", error).at_path(&path))?;
        let seed = Seed::new(header.incarnation);
        Ok(Self { file, path, header, seed, reserved: header.capacity, at: FRAMES_START, bytes: Vec::new() })
    }

    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Where the next frame goes, if it stands right behind the last.
    pub(crate) fn end(&self) -> u64 {
        self.at.saturating_add(length(self.bytes.len()))
    }

    /// Adds a frame at `position`, which lies at or behind all that was added.
    pub(crate) fn frame(&mut self, position: u64, header: &FrameHeader, body: &[u8]) -> Result<()> {
        if self.bytes.len() >= WRITE_BYTES || self.end() != position {
            self.put()?;
            self.at = position;
        }
        self.bytes.extend(header.encode(self.seed, position).to_bytes());
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        Ok(())
    }

    /// Adds a gap frame in place of `range`.
    pub(crate) fn gap(&mut self, range: Range<u64>, offset: Offset, next: Offset) -> Result<()> {
        let bytes = range.end.saturating_sub(range.start);
        let delta = u32::try_from(offset.since(self.header.first_offset));
        let (Ok(offset_delta), Ok(bytes)) = (delta, u32::try_from(bytes)) else {
            return Err(self.unlike("a gap that no segment could hold"));
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
            layout: Layout::Dense,
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

    /// Says what it stands for, now that that is known.
    pub(crate) fn settle(&mut self, rewritten: Rewritten) {
        self.header.rewritten = Some(rewritten);
    }

    /// Stores what is missing, syncs the file and reads it back. It still has the name of a draft.
    pub(crate) fn complete(mut self, disk: &dyn Disk) -> Result<SegmentHeader> {
        self.put()?;
        self.header.capacity = self.reserved;
        self.file.write_at(&self.header.encode(), 0).map_err(|error| self.failed(error))?;
        self.file.sync().map_err(|error| Error::io("sync the new segment", error).at_path(&self.path))?;
        self.read_back(disk)?;
        Ok(self.header)
    }

    fn put(&mut self) -> Result<()> {
        let needed = self.end().next_multiple_of(PAGE_BYTES);
        if needed > self.reserved {
            self.file.reserve(needed).map_err(|error| self.failed(error))?;
            self.reserved = needed;
        }
        if !self.bytes.is_empty() {
            self.file.write_at(&self.bytes, self.at).map_err(|error| self.failed(error))?;
        }
        self.at = self.end();
        self.bytes.clear();
        Ok(())
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::io("write the new segment", error).at_path(&self.path)
    }

    /// Whether what the system has now is what was meant to be; a fault of the medium shows once the cache is dropped.
    fn read_back(&self, disk: &dyn Disk) -> Result<()> {
        let failed = |error| Error::io("read the new segment back", error).at_path(&self.path);
        let expected = self.header;
        let file = disk.open(&segment_draft_name(expected.number), Access::Read).map_err(failed)?;
        let mut bytes = [0; header::BYTES];
        file.read_at(&mut bytes, 0).map_err(failed)?;
        let Some(rewritten) = expected.rewritten.filter(|_| SegmentHeader::decode(&bytes) == Ok(Some(expected))) else {
            return Err(self.unlike("its header"));
        };
        let frames = Frames::new(&expected, rewritten.end);
        let mut scan = Scan::new(Store::File(file), frames, FRAMES_START, expected.first_offset, rewritten.end);
        let mut records = 0_u64;
        loop {
            match scan.next().map_err(failed)? {
                Scanned::Frame(found) => records = records.saturating_add(found.records.into()),
                Scanned::End => break,
                Scanned::Zero | Scanned::Bad { .. } => return Err(self.unlike("one of its frames")),
            }
        }
        let found = (scan.position, scan.offset, records);
        if found == (rewritten.end, rewritten.end_offset, rewritten.records) {
            Ok(())
        } else {
            Err(self.unlike("its end"))
        }
    }

    pub(crate) fn unlike(&self, what: &str) -> Error {
        unlike(&self.path, what)
    }
}

/// What was read before, or just written, is another thing now.
pub(crate) fn unlike(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{what} reads otherwise now; the log was not changed here"))
        .at_path(path)
        .next_step("check the disk, then try again")
}
