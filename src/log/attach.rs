//! Read-only attach: look at a log that another process writes, or that nobody writes.
//!
//! Guarantees:
//! 1. Nothing is changed: no byte, no name, no time of change. The writer's lock is only asked for.
//! 2. Bytes are copied out of the files, and what was copied is checked, so that a store at the same time can do no harm.
//! 3. Without a writer it shows what a default open would keep. If that open would refuse, it shows what lies before the
//!    damage, and then the same error.
//! 4. Beside a writer, what does not check is damage only below a durable line or an end that a successor names; at the
//!    tail it is not there yet.
//! 5. A file that vanished is no damage if the log begins behind it now: the directory is listed again, and who reads there is
//!    told (`Trimmed`).

mod follow;
mod holds;
mod live;
mod state;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::catalog::{Catalog, Entry, Handle, copy_for_reading};
use super::decide::{Decision, decide};
use super::epochs::Epochs;
use super::index::file::{Role, peek, subject};
use super::index::{Index, ONLOOKER_BYTES};
use super::lookup::{self, Found, History};
use super::options::open_error;
use super::reader::{Limit, LogSource, ReadLine, ReadMode, Reader};
use super::survey::{Member, Survey, io_error, survey};
use super::window::{Scan, Scanned, View};
use super::{sight, start};
use crate::error::{Error, ErrorKind, Result};
use crate::format::control::StartLine;
use crate::format::header::SegmentHeader;
use crate::format::{FRAMES_START, VERSION, segment_name};
use crate::platform::{Disk, Holder, SystemDisk};
use crate::sync::Mutex;
pub use live::LiveRecords;
pub use state::{CheckpointInfo, StateView};

use crate::types::{Epoch, Line, Offset, Place, StoreId, Timestamp, Topic};

/// Another process cannot wake a reader here: it looks again after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A log to look at, read-only.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # esker::Log::open(folder.path())?.append(b"created #1")?.wait()?;
/// let attached = esker::Attached::open(folder.path())?;
/// let mut reader = attached.reader();
/// while let Some(batch) = reader.poll()? {
///     println!("{} records", batch.len());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Attached {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    writer: Option<Holder>,
    state: Mutex<State>,
    index: Index,
}

#[derive(Debug)]
struct State {
    catalog: Catalog,
    durable: Line,
    /// How far the tail was followed.
    seen: Line,
    time_max: Timestamp,
    /// Where the log begins, as far as it was seen.
    start: StartLine,
    clean: bool,
    /// What an open would say.
    refusal: Option<Error>,
}

/// Where a segment is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentState {
    /// It is appended to, or was until the writer ended.
    Active,
    /// Its end is settled.
    Sealed,
}

/// What is known of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub number: u64,
    /// How often it was rewritten.
    pub generation: u32,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Records in it.
    pub records: u64,
    /// Bytes up to its end.
    pub bytes: u64,
    /// Where it is in its life.
    pub state: SegmentState,
    /// Append time of its first record.
    pub first_time: Option<Timestamp>,
    /// Latest append time up to its end.
    pub last_time: Option<Timestamp>,
    /// Bytes of its index file, if it has one; whether that is whole is for `esker verify` to say.
    pub index_bytes: Option<u64>,
}

impl Attached {
    /// Attaches to the log in the directory `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there is no log; [`ErrorKind::Incompatible`] for another format; what the system says.
    /// Damage is no error here: reading meets it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let disk = SystemDisk::open(path).map_err(|error| open_error(path, error))?;
        Self::open_on(Arc::new(disk))
    }

    /// Attaches to the log on any [`Disk`].
    ///
    /// # Errors
    /// As for [`Attached::open`].
    pub fn open_on(disk: Arc<dyn Disk>) -> Result<Self> {
        let holder = || disk.lock_holder().map_err(|error| io_error(&*disk, "ask for the writer's lock", "", error));
        let mut writer = holder()?;
        let mut state = Err(sight::unsettled(&*disk));
        if writer.is_none() {
            state = State::as_left(&*disk);
            if !state.as_ref().is_ok_and(|state| state.refusal.is_none()) {
                // A writer may have begun since.
                writer = holder()?;
            }
        }
        if writer.is_some() {
            state = State::beside_writer(&*disk, Line::default());
        }
        let state = state?;
        let index = Index::new(Role::Onlooker, ONLOOKER_BYTES);
        Ok(Self { shared: Arc::new(Shared { disk, writer, state: Mutex::new(state), index }) })
    }

    /// A reader at the first record.
    #[must_use]
    pub fn reader(&self) -> Reader {
        let shared: Arc<Shared> = Arc::clone(&self.shared);
        Reader::new(shared)
    }

    /// As [`Log::latest`](crate::Log::latest), of what can be read now.
    ///
    /// # Errors
    /// As for [`Log::latest`](crate::Log::latest); and what an open would say, if it would refuse.
    pub fn latest<K: AsRef<[u8]> + ?Sized>(&self, topic: Topic, key: &K) -> Result<Option<Found>> {
        lookup::latest(&*self.shared, topic, key.as_ref(), ReadLine::Visible)
    }

    /// As [`Log::history`](crate::Log::history), of what can be read now.
    pub fn history<K: AsRef<[u8]> + ?Sized>(&self, topic: Topic, key: &K) -> History {
        let shared: Arc<Shared> = Arc::clone(&self.shared);
        History::new(shared, topic, key.as_ref())
    }

    /// The identity of the store.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.first(|entry| entry.header.store_id)
    }

    /// The version of the format.
    #[must_use]
    pub fn format_version(&self) -> u16 {
        VERSION
    }

    /// The newest epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.shared.state.lock().catalog.entries().last().map(|entry| entry.header.epoch).unwrap_or_default()
    }

    /// Offset of the first record.
    #[must_use]
    pub fn start(&self) -> Offset {
        // A start line may stand in the tail; what cannot be read there is found by the poll that meets it.
        let _found_by_poll = self.shared.follow_tail();
        self.shared.start()
    }

    /// Offset behind the last record that can be read now.
    #[must_use]
    pub fn visible(&self) -> Offset {
        self.shared.end(ReadLine::Visible).offset
    }

    /// Offset behind the last record that is written down as durable; a running writer may know of more.
    #[must_use]
    pub fn durable(&self) -> Offset {
        self.shared.end(ReadLine::Durable).offset
    }

    /// Who holds the log for writing, if somebody did when this was opened.
    #[must_use]
    pub fn writer(&self) -> Option<Holder> {
        self.shared.writer
    }

    /// Whether the log was closed, and nobody writes.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.shared.state.lock().clean
    }

    /// The error that an open for writing would return for the segments on disk. That it may refuse for the state too is
    /// said by [`Attached::state`].
    #[must_use]
    pub fn refusal(&self) -> Option<Error> {
        self.shared.state.lock().refusal.clone()
    }

    /// The segments, oldest first.
    ///
    /// # Errors
    /// What the system says; [`ErrorKind::Io`] if files are replaced faster than they can be looked at.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>> {
        self.shared.settled(&|| self.segments_now())
    }

    fn segments_now(&self) -> Result<Vec<SegmentInfo>> {
        let end = self.shared.end(ReadLine::Visible);
        let (entries, time_max) = {
            let state = self.shared.state.lock();
            (state.catalog.entries().to_vec(), state.time_max)
        };
        let mut segments = Vec::with_capacity(entries.len());
        for (entry, next) in entries.iter().zip(entries.iter().skip(1).map(Some).chain([None])) {
            let (bytes, offset, last) = match (entry.end, next) {
                (Some(bytes), Some(next)) => (bytes, next.header.first_offset, next.header.time_max),
                _ => (end.place.position, end.offset, time_max),
            };
            let spanned = offset.since(entry.header.first_offset);
            let records = entry.header.rewritten.map_or(spanned, |rewritten| rewritten.records);
            segments.push(SegmentInfo {
                number: entry.number(),
                generation: entry.header.generation,
                base_offset: entry.header.first_offset,
                records,
                bytes,
                state: if next.is_some() { SegmentState::Sealed } else { SegmentState::Active },
                first_time: if records == 0 { None } else { self.shared.first_time(entry)? },
                last_time: (records > 0).then_some(last),
                index_bytes: subject(entry).and_then(|subject| peek(&*self.shared.disk, &subject).ok()),
            });
        }
        Ok(segments)
    }

    /// Bytes that all segments take up to their ends.
    ///
    /// # Errors
    /// As for [`Attached::segments`].
    pub fn bytes(&self) -> Result<u64> {
        Ok(self.segments()?.iter().fold(0, |sum, segment| sum.saturating_add(segment.bytes)))
    }

    /// How often segments were found to be replaced by rewritten ones since this was opened; looks anew. Who read up to
    /// what was [visible](Attached::visible) when he began, and finds that this grew meanwhile, may miss what was left out for
    /// the sake of newer records: he reads on to what is visible now.
    ///
    /// # Errors
    /// As for [`Attached::segments`].
    pub fn replacements(&self) -> Result<u64> {
        self.shared.replaced()
    }

    fn first<T: Default>(&self, of: impl Fn(&Entry) -> T) -> T {
        self.shared.state.lock().catalog.entries().first().map(of).unwrap_or_default()
    }
}

impl State {
    /// Nobody writes.
    fn as_left(disk: &dyn Disk) -> Result<Self> {
        let survey = survey(disk)?;
        match decide(disk, &survey) {
            Ok(Some(decision)) => Self::as_decided(disk, &survey, &decision),
            Ok(None) => Err(Error::new(ErrorKind::Invalid, "not a log: no segment is there")
                .at_path(disk.directory())
                .next_step("check the path")),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(Self::up_to_damage(&survey, error)),
            Err(error) => Err(error),
        }
    }

    fn as_decided(disk: &dyn Disk, survey: &Survey, decision: &Decision) -> Result<Self> {
        let found = start::highest(disk, &decision.chain, survey.checkpointed(), Some(decision.end))?;
        let start = begin(&decision.chain, decision.start.max(found));
        let mut entries = entries(&decision.chain, start);
        if let Some(last) = entries.last_mut() {
            last.end = Some(decision.end.place.position);
        }
        Ok(Self {
            catalog: Catalog::new(entries),
            durable: decision.durable.min(decision.end),
            seen: decision.end,
            time_max: decision.time_max,
            start,
            clean: decision.clean,
            refusal: None,
        })
    }

    /// What can be reached from the first segment on, by links that hold; of two that follow one segment the newer.
    fn up_to_damage(survey: &Survey, refusal: Error) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        let begin = survey.start();
        // By whom they follow; of the first it is nobody, number 0.
        let before = |header: &SegmentHeader| header.predecessor.map_or(0, |link| link.number);
        let mut headers: Vec<SegmentHeader> = survey.valid().map(|(_, header)| *header).collect();
        headers.sort_by_key(before);
        loop {
            let number = entries.last().map_or(0, |last| last.header.last_number());
            let start = headers.partition_point(|header| before(header) < number);
            let follows = |header: &SegmentHeader| match (header.predecessor, entries.last()) {
                (Some(link), Some(last)) => last.header.is_linked_by(&link),
                (None, None) => true,
                _ => false,
            };
            let next = headers.get(start..).unwrap_or_default().iter().take_while(|header| before(header) == number);
            let next = next.copied().filter(follows);
            let first = headers.iter().find(|header| entries.is_empty() && header.number == begin.segment);
            let next = next.chain(first.copied());
            let Some(header) = next.max_by_key(|header| (header.epoch.counter, header.number)) else { break };
            if let (Some(last), Some(link)) = (entries.last_mut(), header.predecessor) {
                last.end = last.header.end(Some(&link));
            }
            entries.push(Entry { header, end: header.end(None), handle: Handle::Cold(std::sync::Weak::new()) });
        }
        let (seen, time_max) = entries.last().map_or((Line::default(), Timestamp::default()), |last| {
            let place = Place::new(last.number(), FRAMES_START);
            (Line { place, offset: last.header.first_offset }, last.header.time_max)
        });
        Self {
            catalog: Catalog::new(entries),
            durable: survey.durable(),
            seen,
            time_max,
            start: begin,
            clean: false,
            refusal: Some(refusal),
        }
    }
}

/// Where a log of these segments begins, by a start line that may be older than they are.
fn begin(members: &[Member], start: StartLine) -> StartLine {
    let first =
        members.first().map(|first| StartLine { offset: first.header.first_offset, segment: first.header.number });
    start.max(first.unwrap_or_default())
}

/// The segments that the start line keeps; always the last.
fn entries(members: &[Member], start: StartLine) -> Vec<Entry> {
    let last = members.last().map_or(0, |last| last.header.number);
    let kept = members.iter().filter(|member| member.header.number >= start.segment.min(last));
    kept.map(Entry::of_member).collect()
}

impl Shared {
    fn first_time(&self, entry: &Entry) -> Result<Option<Timestamp>> {
        let view = copy_for_reading(&*self.disk, entry)?;
        let limit = entry.end.unwrap_or(entry.header.capacity);
        let mut scan = Scan::new(view.store, view.frames, FRAMES_START, entry.header.first_offset, limit);
        let failed = |error| io_error(&*self.disk, "read the segment", &segment_name(entry.number()), error);
        while let Scanned::Frame(found) = scan.skim().map_err(failed)? {
            if found.header.record_count > 0 {
                return Ok(Some(found.header.time));
            }
        }
        Ok(None)
    }

    fn is_live(&self) -> bool {
        self.writer.is_some()
    }
}

impl LogSource for Shared {
    fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    fn start(&self) -> Offset {
        let state = self.state.lock();
        let first = state.catalog.entries().first().map(|entry| entry.header.first_offset);
        first.unwrap_or_default().max(state.start.offset)
    }

    fn epochs(&self) -> Epochs {
        let mut epochs = Epochs::default();
        self.state.lock().catalog.entries().iter().for_each(|entry| epochs.note(&entry.header));
        epochs
    }

    fn end(&self, line: ReadLine) -> Line {
        // What cannot be read is found by the poll that meets it; until then the end is what was seen.
        let _found_by_poll = self.follow_tail();
        let state = self.state.lock();
        match line {
            ReadLine::Visible => state.seen,
            ReadLine::Durable => state.durable.min(state.seen),
        }
    }

    fn entry(&self, find: &dyn Fn(&Catalog) -> Option<Entry>) -> Result<Option<Entry>> {
        let state = self.state.lock();
        match (find(&state.catalog), &state.refusal) {
            (None, Some(refusal)) => Err(refusal.clone()),
            (found, _) => Ok(found),
        }
    }

    fn replacements(&self) -> u64 {
        self.state.lock().catalog.replacements()
    }

    fn view(&self, entry: &Entry, _always_copy: ReadMode) -> Result<View> {
        copy_for_reading(&*self.disk, entry)
    }

    fn index(&self) -> &Index {
        &self.index
    }

    fn check_lookups(&self) -> Result<()> {
        if self.is_live() {
            self.catch_up()?;
        }
        // What is newer than the damage may be what is asked for.
        self.state.lock().refusal.clone().map_or(Ok(()), Err)
    }

    fn limit(&self, place: Place, view: &View, line: ReadLine) -> Option<Limit> {
        let state = self.state.lock();
        let end = state.catalog.of(&view.header)?.end;
        let visible = end.unwrap_or(view.header.capacity);
        let durable = match state.durable.place.segment.cmp(&place.segment) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => state.durable.place.position.min(visible),
            std::cmp::Ordering::Greater => visible,
        };
        let position = if line == ReadLine::Durable { durable } else { visible };
        // Behind the last segment that can be reached the refusal tells what is wrong, better than what is missing there.
        let sure = end.is_some() || (place.position < durable && state.refusal.is_none());
        Some(Limit { position, sure, over: end == Some(position) })
    }

    fn is_readable(&self, sealed: &Entry, line: ReadLine) -> bool {
        let Some(end) = sealed.end else { return false };
        match line {
            ReadLine::Visible => true,
            ReadLine::Durable => self.state.lock().durable.place >= Place::new(sealed.number(), end),
        }
    }

    fn look_again(&self) -> Result<()> {
        Self::look_again(self)
    }

    fn refresh(&self, line: ReadLine) -> Result<bool> {
        if self.is_live() {
            if line == ReadLine::Durable {
                let before = self.state.lock().durable;
                self.follow_tail()?;
                if self.state.lock().durable > before {
                    return Ok(true);
                }
            }
            return self.look_for_successor();
        }
        let state = self.state.lock();
        // An open would refuse; who reads on is told what it would say.
        state.refusal.clone().map_or(Ok(false), Err)
    }

    fn wait(&self, _place: Place, _line: ReadLine, timeout: Duration) {
        // No event crosses from the writer's process: look again after a while.
        thread::sleep(timeout.min(LOOK_AGAIN));
    }

    fn ended(&self) -> Option<Error> {
        None
    }
}
