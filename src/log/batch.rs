//! A batch: the records that a reader got from one poll, pinned and checked.
//!
//! Guarantees:
//! 1. Every frame that records are handed out of was checked in full before the batch was handed out.
//! 2. Offsets rise, and are dense but where records were dropped, or are none of those that a filter lets through.
//! 3. Its bytes stay as they are while the batch lives, whatever happens to the log meanwhile.

use std::ops::Range;
use std::sync::Arc;

use super::window::Chunk;
use crate::format::record::Records;
use crate::segment::walk::{Frames, Step, Walk};
use crate::types::{Offset, Place, RecordRef};

/// Records in the order of the log, from one poll of a reader.
///
/// It borrows nothing from the reader, and pins the segment that it lies in; keep it as long as needed, not longer.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let log = esker::Log::open(folder.path())?;
/// let _ = log.append_batch([esker::Record::new(b"a"), esker::Record::new(b"b")])?;
/// let batch = log.reader().poll()?.expect("two records");
/// assert_eq!(batch.len(), 2);
/// let payloads: Vec<&[u8]> = batch.iter().map(|record| record.payload()).collect();
/// assert_eq!(payloads, [b"a", b"b"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Batch {
    pub(super) chunk: Chunk,
    pub(super) frames: Frames,
    pub(super) segment: u64,
    /// The first frame.
    pub(super) start: FrameAt,
    /// Records handed out: those of the frames that lie in this range.
    pub(super) offsets: Range<Offset>,
    /// How many they are.
    pub(super) records: u64,
    /// Behind a filter: which of them, and where. The first run begins with them, in the first frame.
    pub(super) runs: Option<Arc<[Run]>>,
}

/// Where a frame begins, and its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameAt {
    pub(super) position: u64,
    pub(super) offset: Offset,
}

/// Records of a frame that follow each other.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) frame: FrameAt,
    pub(super) offsets: Range<Offset>,
}

impl Batch {
    /// The records, oldest first.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        let FrameAt { position, offset } = self.start;
        let walk = self.frames.walk(self.chunk.from(position), position, offset);
        let mut runs = self.runs.as_deref().unwrap_or_default().iter();
        let offsets = runs.next().map_or_else(|| self.offsets.clone(), |run| run.offsets.clone());
        Iter { walk, records: None, offsets, runs, frame: position }
    }

    /// The records, newest first. Collects them first, as frames are only linked forward.
    pub fn iter_back(&self) -> impl Iterator<Item = RecordRef<'_>> {
        let records: Vec<RecordRef<'_>> = self.iter().collect();
        records.into_iter().rev()
    }

    /// How many records it holds; at least one.
    #[must_use]
    pub fn len(&self) -> usize {
        crate::types::index(self.records)
    }

    /// Whether it holds none; never, for a batch that a reader handed out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Offset of the first record.
    #[must_use]
    pub fn first(&self) -> Offset {
        self.offsets.start
    }

    /// The offset behind the last record, and behind what came next and was dropped, or let by: where to go on.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.offsets.end
    }

    /// The place of the frame that holds the first record.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::new(self.segment, self.start.position)
    }
}

/// The offset behind it: where a cursor goes that has handled it.
impl From<&Batch> for Offset {
    fn from(batch: &Batch) -> Self {
        batch.next()
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = RecordRef<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The records of a [`Batch`], oldest first.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    walk: Walk<'a>,
    records: Option<Records<'a>>,
    offsets: Range<Offset>,
    /// Where to go on behind these offsets.
    runs: std::slice::Iter<'a, Run>,
    /// Position of the frame that the run at hand is in.
    frame: u64,
}

impl Iter<'_> {
    /// Goes to the next run. `None`: there is none. Inlined, as a call would keep the whole iterator in memory.
    #[inline]
    fn begin_next(&mut self) -> Option<()> {
        let Run { frame, offsets } = self.runs.next()?;
        if frame.position != self.frame {
            self.frame = frame.position;
            (self.walk.position, self.walk.offset) = (frame.position, frame.offset);
            self.records = None;
        }
        self.offsets = offsets.clone();
        Some(())
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = RecordRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<RecordRef<'a>> {
        loop {
            if let Some(record) = self.records.as_mut().and_then(Iterator::next) {
                if record.offset() < self.offsets.start {
                    continue;
                }
                if record.offset() < self.offsets.end {
                    return Some(record);
                }
                // It lies between two runs.
                self.begin_next()?;
                continue;
            }
            if self.walk.offset >= self.offsets.end {
                self.begin_next()?;
            }
            match self.walk.skim() {
                Step::Frame(frame) => self.records = Some(frame.records()),
                Step::Zero | Step::Short { .. } | Step::Bad { .. } => return None,
            }
        }
    }
}
