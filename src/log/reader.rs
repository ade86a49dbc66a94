//! Readers: one position in the log that moves forward or back, batch by batch.
//!
//! Guarantees:
//! 1. Records come in the order of the log, each once, none left out but what was dropped on purpose; damage, and a gap that a
//!    repair left in its place, is an error, never a silent step. With a filter, see `matching`.
//! 2. After an error the reader stands where it stood; [`Reader::skip_damage`] steps over, and says what it left out.
//! 3. A reader leaves a segment only at its end as the log knows it: behind the seal, or where the successor says. It goes on
//!    by its offset: a file that is rewritten under it is read on, or left for the one that took its place.
//! 4. A reader below the start of the log, or, with a filter, of its topics, reads on inside the segment that it stands in; where
//!    it would leave or open one, it is told (`Trimmed`), and stands until it is sought.
//! 5. Reading takes no lock except to go to another segment and to wait.

mod back;
mod errors;
mod matching;
mod plan;
mod seek;
mod selection;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::catalog::{Catalog, Entry};
use super::epochs::Epochs;
use super::index::Index;
use super::window::{Chunk, Scan, Scanned, View};
use crate::error::{Error, Result};
use crate::format::header::SegmentHeader;
use crate::format::{FRAMES_START, Fault, Kind};
use crate::platform::Disk;
use crate::segment::walk::Step;
use crate::types::{Line, Offset, Place, Topic, length};
pub(crate) use errors::{damage, gap};
use matching::Matching;
use selection::Found;

/// A batch is made of frames that begin within this many bytes.
const BATCH_BYTES: u64 = 128 * 1024;

/// How often a reader looks for the file of a segment that is rewritten again and again just then.
const LOOKS_MAX: usize = 16;

/// Up to where a reader goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadLine {
    /// All that is visible: it survives the death of the process, but may vanish when power fails.
    #[default]
    Visible,
    /// Only what is durable. For whatever acts on the outside world.
    Durable,
}

/// How a reader gets at the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadMode {
    /// Records borrow from the memory map; nothing is copied.
    #[default]
    Map,
    /// Each batch is read from the file into memory of its own. Slower; a sector that the disk cannot read is then an
    /// error under all circumstances, and nobody who damages the file under the map can disturb the process.
    Copy,
}

/// Where frames may be read up to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) position: u64,
    /// What stands below the position is whole; if not, it is damage.
    pub(crate) sure: bool,
    /// The segment is over at the position.
    pub(crate) over: bool,
}

/// What a reader reads: a log of this process, or one of another.
pub(crate) trait LogSource: Send + Sync {
    fn disk(&self) -> &dyn Disk;
    /// Offset of the first record.
    fn start(&self) -> Offset;
    /// The least offset below which the retention of one of these topics dropped records, as far as that is known.
    fn topics_start(&self, _topics: &[Topic]) -> Offset {
        Offset::ZERO
    }
    /// The epochs of the log.
    fn epochs(&self) -> Epochs;
    /// The end of what may be read now.
    fn end(&self, line: ReadLine) -> Line;
    fn entry(&self, find: &dyn Fn(&Catalog) -> Option<Entry>) -> Result<Option<Entry>>;
    /// How often a rewritten segment took the place of others, as far as that is known.
    fn replacements(&self) -> u64;
    fn view(&self, entry: &Entry, mode: ReadMode) -> Result<View>;
    /// What is known of where keys are.
    fn index(&self) -> &Index;
    /// Why lookups cannot be answered, if so.
    fn check_lookups(&self) -> Result<()>;
    /// Whether all of a segment that has an end may be read.
    fn is_readable(&self, sealed: &Entry, line: ReadLine) -> bool;
    /// For a reader at `place`: up to where its segment may be read. `None`: the file of the view is not part of the log any
    /// more.
    fn limit(&self, place: Place, view: &View, line: ReadLine) -> Option<Limit>;
    /// Looks anew which files form the log, where nobody tells.
    fn look_again(&self) -> Result<()> {
        Ok(())
    }
    /// Looks for what came since, where nobody tells. `true`: there is more.
    fn refresh(&self, _line: ReadLine) -> Result<bool> {
        Ok(false)
    }
    /// Blocks until something moved that a reader at `place` may want to see, at most for `timeout`.
    fn wait(&self, place: Place, line: ReadLine, timeout: Duration);
    /// Why nothing more will come, if so.
    fn ended(&self) -> Option<Error>;
}

/// Reads the log from a position on, in batches.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use std::time::Duration;
///
/// let log = esker::Log::open(folder.path())?;
/// let _ = log.append(b"created #1")?;
/// let mut reader = log.reader();
/// while let Some(batch) = reader.poll()? {
///     for record in &batch {
///         println!("{} {} bytes", record.offset(), record.payload().len());
///     }
/// }
/// assert!(reader.poll_wait(Duration::from_millis(1))?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Reader {
    source: Arc<dyn LogSource>,
    line: ReadLine,
    mode: ReadMode,
    view: Option<Arc<View>>,
    place: Place,
    /// Offset that the frame at `place` begins with.
    frame_offset: Offset,
    /// Offset of the next record to hand out; larger than `frame_offset` after a seek into a frame.
    next: Offset,
    /// The first record, if it went there and was not sought since.
    begin: Option<Offset>,
    /// `None`: all records are handed out.
    matching: Option<Box<Matching>>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("next", &self.next).field("place", &self.place).finish_non_exhaustive()
    }
}

/// What [`Reader::skip_damage`] left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// Where the damage begins.
    pub from: Place,
    /// Where the reader stands now.
    pub to: Place,
    /// Records that cannot be read. In a segment that was rewritten some of them may have been dropped before.
    pub records: u64,
}

/// Whether a reader left a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Gone,
    /// There is no other yet.
    Nowhere,
}

/// What a reader took.
enum Taken {
    Batch(Batch),
    /// Only frames without records that are new.
    Control,
    /// Nothing whole is there yet.
    Nothing,
}

/// What a walk over a chunk found.
struct Walked {
    records: Option<Found>,
    /// Where the valid frames end, and the offset there.
    end: u64,
    offset: Offset,
    stop: Stop,
}

/// Why a walk went no further.
enum Stop {
    Short {
        needed: u64,
    },
    Fault(Fault),
    /// Records are missing that a repair could not keep.
    Gap {
        lost: Range<Offset>,
    },
}

impl Reader {
    pub(crate) fn new(source: Arc<dyn LogSource>) -> Self {
        let next = source.start();
        let mut reader = Self {
            source,
            line: ReadLine::Visible,
            mode: ReadMode::Map,
            view: None,
            place: Place::default(),
            frame_offset: next,
            next,
            begin: None,
            matching: None,
        };
        reader.seek_earliest();
        reader
    }

    /// Reads up to this line; [`ReadLine::Visible`] unless said.
    #[must_use]
    pub fn up_to(mut self, line: ReadLine) -> Self {
        self.line = line;
        self
    }

    /// Reads in this mode; [`ReadMode::Map`] unless said. Logs of other processes are always copied from.
    #[must_use]
    pub fn mode(mut self, mode: ReadMode) -> Self {
        self.mode = mode;
        self.view = None;
        self
    }

    /// Offset of the next record that a poll hands out, if it was not dropped, and is let through by a filter; else of what
    /// comes before that.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.next
    }

    /// The place where it stands, and the offset there.
    pub(crate) fn line(&self) -> Line {
        Line { place: self.place, offset: self.frame_offset }
    }

    /// The next records, or `None` if there are none now. Does not block.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] with the place of the damage; [`ErrorKind::Gap`] where a repair left a gap in place of records:
    /// [`Reader::skip_damage`] steps over both. [`ErrorKind::Trimmed`] where retention dropped what comes next. What the system
    /// says. The reader stands where it stood.
    ///
    /// [`ErrorKind::Corrupt`]: crate::ErrorKind::Corrupt
    /// [`ErrorKind::Gap`]: crate::ErrorKind::Gap
    /// [`ErrorKind::Trimmed`]: crate::ErrorKind::Trimmed
    pub fn poll(&mut self) -> Result<Option<Batch>> {
        loop {
            if self.matching.is_some() {
                self.pass_over()?;
            }
            let Some((view, limit)) = self.segment()? else { return Ok(None) };
            if self.place.position < limit.position {
                match self.take(&view, limit)? {
                    Taken::Batch(batch) => return Ok(Some(batch)),
                    Taken::Control => continue,
                    Taken::Nothing => {}
                }
            }
            if !limit.over || self.place.position < limit.position {
                if self.source.refresh(self.line)? {
                    continue;
                }
                return Ok(None);
            }
            if self.place.position > limit.position {
                return Err(self.diverged(limit)?);
            }
            let next = view.frames.offset_at(self.place.position, self.next);
            if self.leave(&view.header, next)? == Left::Nowhere {
                return Ok(None);
            }
        }
    }

    /// Goes from a segment that it is through with to the one that holds the next offset.
    fn leave(&mut self, header: &SegmentHeader, next: Offset) -> Result<Left> {
        let Some(entry) = self.beyond(header, next)? else { return Ok(Left::Nowhere) };
        if entry.header.first_offset < next {
            // It was rewritten together with what came before, meanwhile.
            self.seek(next)?;
        } else {
            self.enter(&entry);
        }
        Ok(Left::Gone)
    }

    /// The segment in which whoever is through with a file finds `next`.
    fn beyond(&self, header: &SegmentHeader, next: Offset) -> Result<Option<Entry>> {
        let entry = self.source.entry(&|catalog| catalog.beyond(header, next).cloned())?;
        // Only now, as the start moves before segments go: what the look did not find any more is below it.
        self.check_trimmed(next)?;
        Ok(entry)
    }

    /// The next records; waits for them if there are none now, at most for `timeout`.
    ///
    /// # Errors
    /// As for [`Reader::poll`]; also [`ErrorKind::Closed`] or [`ErrorKind::Poisoned`] if nothing more will come.
    ///
    /// [`ErrorKind::Closed`]: crate::ErrorKind::Closed
    /// [`ErrorKind::Poisoned`]: crate::ErrorKind::Poisoned
    pub fn poll_wait(&mut self, timeout: Duration) -> Result<Option<Batch>> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let ended = self.source.ended();
            if let Some(batch) = self.poll()? {
                return Ok(Some(batch));
            }
            if let Some(error) = ended {
                return Err(error);
            }
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            self.source.wait(self.place, self.line, left);
        }
    }

    /// After [`ErrorKind::Corrupt`] or [`ErrorKind::Gap`]: goes behind the damage, to the next frame that is whole, or behind
    /// the gap. `None`: there is neither at the position.
    ///
    /// # Errors
    /// What the system says; [`ErrorKind::Corrupt`] if nothing whole follows up to the end of the log;
    /// [`ErrorKind::Trimmed`] if nothing whole follows in the segment, and retention dropped what comes behind it.
    ///
    /// [`ErrorKind::Corrupt`]: crate::ErrorKind::Corrupt
    /// [`ErrorKind::Gap`]: crate::ErrorKind::Gap
    /// [`ErrorKind::Trimmed`]: crate::ErrorKind::Trimmed
    pub fn skip_damage(&mut self) -> Result<Option<Skipped>> {
        let Some((view, limit)) = self.segment()? else { return Ok(None) };
        let (from, next) = (self.place, self.next);
        let mut scan = Scan::new(view.store.clone(), view.frames, from.position, self.frame_offset, limit.position);
        let failed = |error| self.read_error(from.segment, error);
        let damaged = match scan.next().map_err(failed)? {
            Scanned::Frame(found) if found.header.kind == Kind::Gap => {
                (self.place.position, self.frame_offset) = (scan.position, scan.offset);
                let records = self.frame_offset.since(next.max(found.offset));
                self.next = next.max(self.frame_offset);
                return Ok(Some(Skipped { from, to: self.place, records }));
            }
            Scanned::Bad { .. } | Scanned::Zero => limit.sure && from.position < limit.position,
            Scanned::Frame(_) | Scanned::End => false,
        };
        if !damaged {
            return Ok(None);
        }
        scan.position = from.position;
        if scan.resync().map_err(failed)? {
            self.place.position = scan.position;
            self.frame_offset = scan.offset;
        } else {
            let Some(entry) = self.beyond(&view.header, next)? else {
                return Err(self.damage(from, self.next, Fault::Missing));
            };
            self.enter(&entry);
        }
        let records = self.frame_offset.since(next);
        self.next = next.max(self.frame_offset);
        Ok(Some(Skipped { from, to: self.place, records }))
    }

    /// The segment at the position, and up to where it may be read. `None`: there is no segment yet.
    fn segment(&mut self) -> Result<Option<(Arc<View>, Limit)>> {
        for _ in 0..LOOKS_MAX {
            let Some(view) = self.view()? else { return Ok(None) };
            if let Some(limit) = self.source.limit(self.place, &view, self.line) {
                return Ok(Some((view, limit)));
            }
            // Places in the file that took its place are others, offsets are not.
            self.seek(self.next)?;
        }
        Err(self.gone(self.next))
    }

    fn enter(&mut self, entry: &Entry) {
        self.view = None;
        self.place = Place::new(entry.number(), FRAMES_START);
        self.frame_offset = entry.header.first_offset;
        self.next = entry.header.first_offset;
    }

    /// Takes whole frames from the position on.
    fn take(&mut self, view: &View, limit: Limit) -> Result<Taken> {
        if self.matching.is_some() {
            return self.take_matching(view, limit);
        }
        let start = self.place;
        let room = limit.position.saturating_sub(start.position);
        let mut wanted = BATCH_BYTES;
        let (chunk, walked) = loop {
            let loaded = view.store.load(start.position, wanted, limit.position);
            let chunk = loaded.map_err(|error| self.read_error(start.segment, error))?;
            let walked = self.walk(view, &chunk);
            match walked.stop {
                Stop::Short { needed } if walked.end == start.position && (wanted..=room).contains(&needed) => {
                    wanted = needed.max(wanted.saturating_add(1));
                }
                _ => break (chunk, walked),
            }
        };
        if walked.end > start.position {
            self.place.position = walked.end;
            self.frame_offset = walked.offset;
            let Some(found) = walked.records else { return Ok(Taken::Control) };
            self.next = walked.offset;
            return Ok(Taken::Batch(found.batch(chunk, view, walked.offset)));
        }
        self.stopped(&chunk, walked.stop, limit)
    }

    /// What it means that a walk came over no frame at the position.
    fn stopped(&self, chunk: &Chunk, stop: Stop, limit: Limit) -> Result<Taken> {
        let fault = match stop {
            Stop::Fault(fault) => fault,
            Stop::Gap { lost } => return Err(self.gap(self.place, lost.start, lost.end)),
            Stop::Short { needed } => Fault::Short { found: length(chunk.bytes().len()), expected: needed },
        };
        if limit.sure { Err(self.damage(self.place, self.next, fault)) } else { Ok(Taken::Nothing) }
    }

    fn walk(&self, view: &View, chunk: &Chunk) -> Walked {
        let mut walk = view.frames.walk(chunk.bytes(), self.place.position, self.frame_offset);
        let wanted = self.next..Offset::new(u64::MAX);
        let mut records = None;
        let stop = loop {
            let before = (walk.position, walk.offset);
            match walk.step() {
                // In place of a frame without records nothing is missing.
                Step::Frame(frame)
                    if frame.header.kind == Kind::Gap && frame.next_offset() > self.next.max(frame.offset) =>
                {
                    (walk.position, walk.offset) = before;
                    break Stop::Gap { lost: self.next.max(frame.offset)..frame.next_offset() };
                }
                Step::Frame(frame) => Found::add(&mut records, &frame, &wanted),
                Step::Zero => break Stop::Fault(Fault::Missing),
                Step::Bad { fault, .. } => break Stop::Fault(fault),
                Step::Short { needed } => break Stop::Short { needed },
            }
        };
        Walked { records, end: walk.position, offset: view.frames.offset_at(walk.position, walk.offset), stop }
    }
}

#[cfg(test)]
mod tests;
