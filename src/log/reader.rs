//! Readers: one position in the log that moves forward or back, batch by batch.
//!
//! Guarantees:
//! 1. Records come in the order of the log, each once, none left out; damage, and a gap that a repair left in its place,
//!    is an error, never a silent step.
//! 2. After an error the reader stands where it stood; [`Reader::skip_damage`] steps over, and says what it left out.
//! 3. A reader leaves a segment only at its end as the log knows it: behind the seal, or where the successor says.
//! 4. A reader below the start of the log reads on inside the segment that it stands in; where it would leave or open one, it is
//!    told (`Trimmed`), and stands until it is sought.
//! 5. Reading takes no lock except to go to another segment and to wait.

mod errors;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::catalog::{Catalog, Entry};
use super::epochs::Epochs;
use super::start::{is_trimmed, trimmed};
use super::window::{Chunk, Scan, Scanned, View};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{FRAMES_START, Fault, Kind};
use crate::platform::Disk;
use crate::segment::walk::Step;
use crate::types::{Epoch, Line, Offset, Place, Timestamp, length};

/// A batch is made of frames that begin within this many bytes.
const BATCH_BYTES: u64 = 128 * 1024;

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
    /// The epochs of the log.
    fn epochs(&self) -> Epochs;
    /// The end of what may be read now.
    fn end(&self, line: ReadLine) -> Line;
    fn entry(&self, find: &dyn Fn(&super::catalog::Catalog) -> Option<Entry>) -> Result<Option<Entry>>;
    fn view(&self, entry: &Entry, mode: ReadMode) -> Result<View>;
    /// For a reader at `place`: up to where its segment may be read.
    fn limit(&self, place: Place, view: &View, line: ReadLine) -> Limit;
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
    /// Records that cannot be read.
    pub records: u64,
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
struct Found {
    /// Position and offset of the first frame with a record to hand out.
    first_data: Option<(u64, Offset)>,
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
        next: Offset,
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

    /// Offset of the next record that a poll hands out.
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
    pub fn poll(&mut self) -> Result<Option<Batch>> {
        loop {
            let Some(view) = self.view()? else { return Ok(None) };
            let limit = self.source.limit(self.place, &view, self.line);
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
            self.check_trimmed(self.next)?;
            let number = self.place.segment;
            let Some(entry) = self.source.entry(&|catalog| catalog.after(number).cloned())? else { return Ok(None) };
            self.enter(&entry);
        }
    }

    /// The next records; waits for them if there are none now, at most for `timeout`.
    ///
    /// # Errors
    /// As for [`Reader::poll`]; also [`ErrorKind::Closed`] or [`ErrorKind::Poisoned`] if nothing more will come.
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

    /// The records before the position, and moves the position before them; `None` at the start of the log. Their order in
    /// the batch is that of the log: [`Batch::iter_back`] goes from the newest to the oldest.
    ///
    /// # Errors
    /// As for [`Reader::poll`].
    pub fn poll_back(&mut self) -> Result<Option<Batch>> {
        if self.line == ReadLine::Durable && self.next > self.source.end(self.line).offset {
            // It was set to read up to the durable line when it stood behind it.
            self.seek_latest();
        }
        loop {
            let start = self.source.start();
            self.check_trimmed(self.next)?;
            if self.next == start {
                return Ok(None);
            }
            let Some(view) = self.view()? else { return Ok(None) };
            if self.next > view.header.first_offset {
                return self.take_back(&view, start).map(Some);
            }
            let number = self.place.segment;
            let Some(entry) = self.source.entry(&|catalog| catalog.before(number).cloned())? else { return Ok(None) };
            let next = self.next;
            self.enter(&entry);
            self.next = next;
        }
    }

    /// Goes to the first record of the log.
    pub fn seek_earliest(&mut self) {
        let start = self.source.start();
        match self.seek(start) {
            Ok(()) => {}
            // It moved meanwhile.
            Err(error) if is_trimmed(&error) => self.seek_earliest(),
            // A failure is found again, and reported, by the poll that follows: the place is then unknown.
            Err(_) => self.forget_place(start),
        }
    }

    /// Goes behind the last record that may be read now.
    pub fn seek_latest(&mut self) {
        self.go_to(self.source.end(self.line));
    }

    fn go_to(&mut self, line: Line) {
        self.view = None;
        (self.place, self.frame_offset, self.next) = (line.place, line.offset, line.offset);
    }

    /// Goes to an offset as it was meant in an epoch: for whoever keeps offsets outside of the log, beside
    /// [`Log::epoch`](crate::Log::epoch).
    ///
    /// # Errors
    /// [`ErrorKind::Diverged`] if the log went on from an earlier offset since: a crash took records that had been visible. As
    /// for [`Reader::seek`] otherwise. The reader stands where it stood.
    pub fn seek_in(&mut self, epoch: Epoch, offset: Offset) -> Result<()> {
        self.source.epochs().check(epoch, offset)?;
        self.seek(offset)
    }

    /// Goes to the record with this offset, or behind the last record. An offset that lies in a gap is a place to stand
    /// too: the poll that follows says that its record is lost.
    ///
    /// # Errors
    /// [`ErrorKind::Trimmed`] if the log begins behind it; [`ErrorKind::Invalid`] if it does not reach to it;
    /// [`ErrorKind::Corrupt`] if damage stands in the way. The reader stands where it stood.
    pub fn seek(&mut self, offset: Offset) -> Result<()> {
        let (start, end) = (self.source.start(), self.source.end(self.line));
        if offset < start {
            return Err(trimmed(offset, start));
        }
        if offset > end.offset {
            // Who looks at a log that an open refuses is told why: the start may lie behind all that can be reached.
            self.source.entry(&|_| None)?;
            let text = format!("seek to offset {offset}, the log holds {start} to {}", end.offset);
            let error = Error::new(ErrorKind::Invalid, text).at_offset(offset);
            return Err(error.next_step("seek to an offset that the log has reached"));
        }
        if offset == end.offset {
            // Not to the end as it is now: records may have come since.
            self.go_to(end);
            return Ok(());
        }
        let Some(entry) = self.source.entry(&|catalog| catalog.holding(offset).cloned())? else {
            return Err(self.gone(offset));
        };
        let view = self.open(&entry, offset)?;
        let delta = offset.since(entry.header.first_offset);
        let limit = self.source.limit(Place::new(entry.number(), 0), &view, self.line).position;
        let found = view
            .locate(limit, |entry| u64::from(entry.offset_delta) <= delta)
            .map_err(|error| self.read_error(entry.number(), error))?;
        let known = found.unwrap_or_else(View::start_entry);
        let first = entry.header.first_offset.after(known.offset_delta.into());
        let mut scan = Scan::new(view.store.clone(), view.frames, known.position, first, limit);
        loop {
            let at = Place::new(entry.number(), scan.position);
            match scan.skim().map_err(|error| self.read_error(entry.number(), error))? {
                Scanned::Frame(frame) if scan.offset > offset => {
                    self.view = Some(Arc::new(view));
                    (self.place, self.frame_offset, self.next) = (at, frame.offset, offset);
                    return Ok(());
                }
                Scanned::Frame(_) => {}
                stopped => return Err(self.astray(entry.number(), &mut scan, &stopped, offset)),
            }
        }
    }

    /// Goes to the first record appended at or after `time`, or behind the last record. Append times may step back; what
    /// counts is the latest time up to each record. Of records that are lost in a gap no time is known: they are passed over.
    ///
    /// # Errors
    /// As for [`Reader::seek`].
    pub fn seek_time(&mut self, time: impl Into<Timestamp>) -> Result<()> {
        let time = time.into();
        let start = self.source.start();
        let find = |catalog: &Catalog| {
            let found = [catalog.at_time(time), catalog.holding(start)];
            found.into_iter().flatten().max_by_key(|entry| entry.number()).cloned()
        };
        let Some(entry) = self.source.entry(&find)? else {
            self.seek_latest();
            return Ok(());
        };
        let view = match self.open(&entry, start) {
            Err(error) if is_trimmed(&error) => return self.seek_time(time),
            view => view?,
        };
        let limit = self.source.limit(Place::new(entry.number(), 0), &view, self.line);
        let failed = |error| self.read_error(entry.number(), error);
        let found = view.locate(limit.position, |entry| entry.time_max < time).map_err(failed)?;
        let known = found.unwrap_or_else(View::start_entry);
        let first = entry.header.first_offset.after(known.offset_delta.into());
        let mut time_max = entry.header.time_max.max(known.time_max);
        let mut scan = Scan::new(view.store.clone(), view.frames, known.position, first, limit.position);
        loop {
            let at = Place::new(entry.number(), scan.position);
            match scan.skim().map_err(failed)? {
                Scanned::Frame(frame) => {
                    time_max = time_max.max(frame.time_of_records());
                    if frame.header.record_count > 0 && time_max >= time && scan.offset > start {
                        self.view = Some(Arc::new(view));
                        (self.place, self.frame_offset, self.next) = (at, frame.offset, frame.offset.max(start));
                        return Ok(());
                    }
                }
                stopped @ Scanned::Bad { .. } if limit.sure => {
                    let offset = scan.offset;
                    return Err(self.astray(entry.number(), &mut scan, &stopped, offset));
                }
                Scanned::Bad { .. } | Scanned::Zero | Scanned::End => {
                    self.view = Some(Arc::new(view));
                    (self.place, self.frame_offset, self.next) = (at, scan.offset, scan.offset.max(start));
                    return Ok(());
                }
            }
        }
    }

    /// After [`ErrorKind::Corrupt`] or [`ErrorKind::Gap`]: goes behind the damage, to the next frame that is whole, or behind
    /// the gap. `None`: there is neither at the position.
    ///
    /// # Errors
    /// What the system says; [`ErrorKind::Corrupt`] if nothing whole follows up to the end of the log.
    pub fn skip_damage(&mut self) -> Result<Option<Skipped>> {
        let Some(view) = self.view()? else { return Ok(None) };
        let limit = self.source.limit(self.place, &view, self.line);
        let (from, next) = (self.place, self.next);
        let mut scan = Scan::new(view.store.clone(), view.frames, from.position, self.frame_offset, limit.position);
        let failed = |error| self.read_error(from.segment, error);
        let damaged = match scan.next().map_err(failed)? {
            Scanned::Frame(found) if found.header.kind == Kind::Gap => {
                (self.place.position, self.frame_offset) = (scan.position, scan.offset);
                let records = self.frame_offset.since(next);
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
            let number = from.segment;
            let Some(entry) = self.source.entry(&|catalog| catalog.after(number).cloned())? else {
                return Err(self.damage(from, self.next, Fault::Missing));
            };
            self.enter(&entry);
        }
        let records = self.frame_offset.since(next);
        self.next = next.max(self.frame_offset);
        Ok(Some(Skipped { from, to: self.place, records }))
    }

    fn enter(&mut self, entry: &Entry) {
        self.view = None;
        self.place = Place::new(entry.number(), FRAMES_START);
        self.frame_offset = entry.header.first_offset;
        self.next = entry.header.first_offset;
    }

    fn forget_place(&mut self, offset: Offset) {
        self.view = None;
        (self.place, self.frame_offset, self.next) = (Place::default(), offset, offset);
    }

    /// The segment at the position; opened if need be. `None`: there is no segment yet.
    fn view(&mut self) -> Result<Option<Arc<View>>> {
        if self.place.segment == 0 {
            self.seek(self.next)?;
        }
        if let Some(view) = &self.view {
            return Ok(Some(Arc::clone(view)));
        }
        let number = self.place.segment;
        let Some(entry) = self.source.entry(&|catalog| catalog.get(number).cloned())? else {
            self.check_trimmed(self.next)?;
            return Ok(None);
        };
        let view = Arc::new(self.open(&entry, self.next)?);
        self.view = Some(Arc::clone(&view));
        Ok(Some(view))
    }

    /// Takes whole frames from the position on.
    fn take(&mut self, view: &View, limit: Limit) -> Result<Taken> {
        let start = self.place;
        let room = limit.position.saturating_sub(start.position);
        let mut wanted = BATCH_BYTES;
        let (chunk, found) = loop {
            let loaded = view.store.load(start.position, wanted, limit.position);
            let chunk = loaded.map_err(|error| self.read_error(start.segment, error))?;
            let found = self.walk(view, &chunk);
            match found.stop {
                Stop::Short { needed } if found.end == start.position && (wanted..=room).contains(&needed) => {
                    wanted = needed.max(wanted.saturating_add(1));
                }
                _ => break (chunk, found),
            }
        };
        if found.end > start.position {
            self.place.position = found.end;
            self.frame_offset = found.offset;
            let Some((position, offset)) = found.first_data else { return Ok(Taken::Control) };
            let offsets = self.next..found.offset;
            self.next = found.offset;
            let (frames, segment) = (view.frames, start.segment);
            return Ok(Taken::Batch(Batch { chunk, frames, segment, position, offset, offsets }));
        }
        let fault = match found.stop {
            Stop::Fault(fault) => fault,
            Stop::Gap { next } => return Err(self.gap(start, self.next, next)),
            Stop::Short { needed } => Fault::Short { found: length(chunk.bytes().len()), expected: needed },
        };
        if limit.sure { Err(self.damage(start, self.next, fault)) } else { Ok(Taken::Nothing) }
    }

    fn walk(&self, view: &View, chunk: &Chunk) -> Found {
        let mut walk = view.frames.walk(chunk.bytes(), self.place.position, self.frame_offset);
        let mut first_data = None;
        let stop = loop {
            let before = (walk.position, walk.offset);
            match walk.step() {
                // In place of a frame without records nothing is missing.
                Step::Frame(frame)
                    if frame.header.kind == Kind::Gap && frame.next_offset() > self.next.max(frame.offset) =>
                {
                    (walk.position, walk.offset) = before;
                    break Stop::Gap { next: frame.next_offset() };
                }
                Step::Frame(frame) => {
                    if first_data.is_none() && frame.next_offset() > self.next {
                        first_data = Some((frame.position, frame.offset));
                    }
                }
                Step::Zero => break Stop::Fault(Fault::Missing),
                Step::Bad { fault, .. } => break Stop::Fault(fault),
                Step::Short { needed } => break Stop::Short { needed },
            }
        };
        Found { first_data, end: walk.position, offset: walk.offset, stop }
    }

    fn take_back(&mut self, view: &View, start: Offset) -> Result<Batch> {
        let number = self.place.segment;
        let failed = |error| self.read_error(number, error);
        let limit = self.source.limit(Place::new(number, 0), view, self.line);
        let delta = self.next.since(view.header.first_offset);
        let found = view.locate(limit.position, |entry| u64::from(entry.offset_delta) < delta).map_err(failed)?;
        let known = found.unwrap_or_else(View::start_entry);
        let first = view.header.first_offset.after(known.offset_delta.into());
        let mut scan = Scan::new(view.store.clone(), view.frames, known.position, first, limit.position);
        let (mut first_data, mut damage) = (None, None);
        while scan.offset < self.next {
            let at = Place::new(number, scan.position);
            let fault = match scan.next().map_err(failed)? {
                Scanned::Frame(frame) if frame.header.kind == Kind::Gap && scan.offset > frame.offset => {
                    let error = self.gap(at, frame.offset, scan.offset);
                    if scan.offset >= self.next {
                        return Err(error);
                    }
                    (first_data, damage) = (None, Some(error));
                    continue;
                }
                Scanned::Frame(frame) => {
                    if frame.header.record_count > 0 {
                        first_data.get_or_insert((frame.position, frame.offset));
                    }
                    continue;
                }
                Scanned::Zero | Scanned::End => Fault::Missing,
                Scanned::Bad { fault, .. } => fault,
            };
            // What lies between the damage and the position can be read; the next call meets the damage.
            let error = self.damage(at, scan.offset, fault);
            if !scan.resync().map_err(failed)? || scan.offset >= self.next {
                return Err(error);
            }
            (first_data, damage) = (None, Some(error));
        }
        let Some((position, offset)) = first_data else {
            let nothing = || self.damage(Place::new(number, known.position), first, Fault::Missing);
            return Err(damage.unwrap_or_else(nothing));
        };
        let chunk = view.store.load(position, scan.position.saturating_sub(position), scan.position).map_err(failed)?;
        let offsets = offset.max(start)..self.next;
        self.place.position = position;
        (self.frame_offset, self.next) = (offset, offsets.start);
        Ok(Batch { chunk, frames: view.frames, segment: number, position, offset, offsets })
    }
}
