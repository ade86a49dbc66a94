//! All records of a key, oldest first.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::segment::start_of;
use super::{Failure, Found, Miss, Moved, Question, TRIES_MAX, busy, limit_of};
use crate::error::{Error, ErrorKind, Result};
use crate::format::index::KeyHash;
use crate::log::catalog::{Catalog, Entry};
use crate::log::index::file::IndexFile;
use crate::log::index::keys::Candidate;
use crate::log::reader::{LogSource, ReadLine};
use crate::log::window::{Scan, View};
use crate::types::{Line, Offset, Topic};

/// The records of a key in a topic, oldest first, tombstones too.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// use esker::{Record, Topic};
///
/// let log = esker::Log::open(folder.path())?;
/// let _ = log.append(Record::new(b"parked").key(b"N12345"))?;
/// let _ = log.append(Record::new(b"in the air").key(b"N12345"))?;
/// for found in log.history(Topic::default(), b"N12345") {
///     println!("{}", String::from_utf8_lossy(found?.record().payload()));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// An error of kind [`Gap`](crate::ErrorKind::Gap) says that records may be missing here, and the records behind the gap follow;
/// any other error is the last that comes.
#[must_use]
pub struct History {
    source: Arc<dyn LogSource>,
    topic: Topic,
    key: Box<[u8]>,
    hash: KeyHash,
    line: ReadLine,
    way: Way,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("topic", &self.topic).field("key", &self.key).finish_non_exhaustive()
    }
}

/// Where it is.
enum Way {
    Begin,
    Within(Box<Within>),
    Over,
}

struct Within {
    /// Of the log, when it chose its end.
    replacements: u64,
    /// Up to where it goes.
    end: Line,
    /// What lies below was gone over, or never looked for.
    next: Offset,
    segment: Option<InSegment>,
}

/// What is left of a segment.
struct InSegment {
    entry: Entry,
    view: Arc<View>,
    limit: u64,
    /// What lies below was gone over when it is.
    behind: Offset,
    candidates: Candidates,
}

/// Where records may be, oldest first.
enum Candidates {
    File {
        file: Arc<IndexFile>,
        entries: std::ops::Range<u32>,
    },
    /// Those of a table or a frame, and what comes behind them.
    Held {
        held: VecDeque<Candidate>,
        rest: Box<Scan>,
    },
}

impl History {
    pub(crate) fn new(source: Arc<dyn LogSource>, topic: Topic, key: &[u8]) -> Self {
        let hash = KeyHash::of(topic, key);
        Self { source, topic, key: key.into(), hash, line: ReadLine::Visible, way: Way::Begin }
    }

    /// Goes up to this line; [`ReadLine::Visible`] unless said. To be called before the first record is asked for.
    pub fn up_to(mut self, line: ReadLine) -> Self {
        self.line = line;
        self
    }

    fn step(&mut self) -> std::result::Result<Option<Found>, Failure> {
        let source = Arc::clone(&self.source);
        let question = Question { source: &*source, topic: self.topic, key: &self.key, hash: self.hash };
        if let Way::Begin = self.way {
            source.check_lookups()?;
            source.index().count(|counts| counts.lookups = counts.lookups.saturating_add(1));
            let replacements = source.replacements();
            let within = Within { replacements, end: source.end(self.line), next: source.start(), segment: None };
            self.way = Way::Within(Box::new(within));
        }
        let Way::Within(within) = &mut self.way else { return Ok(None) };
        loop {
            if let Some(segment) = &mut within.segment {
                match segment.next(&question) {
                    Ok(Some(found)) if found.offset() < within.next => {}
                    Ok(Some(found)) => {
                        within.next = found.offset().after(1);
                        return Ok(Some(found));
                    }
                    Ok(None) => {
                        within.next = within.next.max(segment.behind);
                        let (header, next) = (segment.entry.header, within.next);
                        within.enter(&question, &|catalog| catalog.beyond(&header, next))?;
                        if within.segment.is_none() && within.go_on(&question, self.line) == End::Reached {
                            return Ok(None);
                        }
                    }
                    Err(error) => {
                        let moved = question.moved(&segment.entry);
                        if moved == Moved::Yes {
                            within.segment = None;
                        }
                        return Err(Failure { error, moved });
                    }
                }
                continue;
            }
            let next = within.next;
            within.enter(&question, &|catalog| catalog.holding(next).or_else(|| catalog.entries().first()))?;
            if within.segment.is_none() && within.go_on(&question, self.line) == End::Reached {
                return Ok(None);
            }
        }
    }
}

/// Whether a history is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Reached,
    Moved,
}

impl Within {
    /// At the end: goes on up to where the log is now if segments were replaced. What was dropped from them was superseded,
    /// maybe by what came behind the end.
    fn go_on(&mut self, question: &Question<'_>, line: ReadLine) -> End {
        let replacements = question.source.replacements();
        if replacements == self.replacements {
            return End::Reached;
        }
        self.next = self.next.max(self.end.offset);
        (self.replacements, self.end) = (replacements, question.source.end(line));
        End::Moved
    }

    fn enter(
        &mut self,
        question: &Question<'_>,
        find: &dyn Fn(&Catalog) -> Option<&Entry>,
    ) -> std::result::Result<(), Failure> {
        self.segment = None;
        let end = self.end;
        // What comes behind it is asked in one look, as it may be merged with it at any time.
        let behind = Cell::new(end.offset);
        let entry = question.source.entry(&|catalog| {
            let entry = find(catalog)?;
            let next = catalog.after(entry.number()).map_or(end.offset, |next| next.header.first_offset);
            behind.set(next.min(end.offset));
            Some(entry.clone())
        })?;
        if let Some(entry) = entry.filter(|entry| entry.number() <= end.place.segment) {
            let segment = InSegment::new(question, &entry, limit_of(&entry, end), behind.get());
            self.segment = Some(segment.map_err(|error| Failure { moved: question.moved(&entry), error })?);
        }
        Ok(())
    }
}

impl InSegment {
    fn new(question: &Question<'_>, entry: &Entry, limit: u64, behind: Offset) -> Result<Self> {
        let (index, disk) = (question.source.index(), question.source.disk());
        let view = question.view(entry)?;
        let entry = entry.clone();
        if let Some(file) = index.file(disk, &entry).filter(|file| file.last_gap().is_none()) {
            let entries = file.ask(disk, |tables| {
                if tables.may_hold(question.hash)? { tables.entries_of(question.hash) } else { Ok(0..0) }
            });
            if let Ok(entries) = entries {
                if !entries.is_empty() {
                    question.touch();
                }
                return Ok(Self { entry, view, limit, behind, candidates: Candidates::File { file, entries } });
            }
            index.drop_file(disk, &entry);
        }
        question.touch();
        let table = index.table(&view);
        let mut reached = question.extend(&table, &view, limit)?;
        let mut held = VecDeque::new();
        if table.lock().last_gap().is_some() {
            // Where the gap is counts: frame by frame.
            reached = start_of(&entry);
        } else {
            table.lock().newest_first(question.hash).for_each(|candidate| held.push_front(candidate));
        }
        question.scanned(limit.saturating_sub(reached.position));
        let rest = Scan::new(view.store.clone(), view.frames, reached.position, reached.offset, limit);
        Ok(Self { entry, view, limit, behind, candidates: Candidates::Held { held, rest: Box::new(rest) } })
    }

    /// Reads the whole segment instead of believing its index; what was handed out is passed over.
    fn doubt(&mut self, question: &Question<'_>) {
        let start = start_of(&self.entry);
        let rest = Scan::new(self.view.store.clone(), self.view.frames, start.position, start.offset, self.limit);
        question.source.index().drop_file(question.source.disk(), &self.entry);
        question.scanned(self.limit.saturating_sub(start.position));
        self.candidates = Candidates::Held { held: VecDeque::new(), rest: Box::new(rest) };
    }

    /// The next record in the segment.
    fn next(&mut self, question: &Question<'_>) -> Result<Option<Found>> {
        loop {
            let candidate = match &mut self.candidates {
                Candidates::File { file, entries } => {
                    let Some(number) = entries.next() else { return Ok(None) };
                    match file.ask(question.source.disk(), |tables| tables.entry(number)) {
                        Ok(key) => Candidate { position: key.position(), record: key.record },
                        Err(_dropped) => {
                            self.doubt(question);
                            continue;
                        }
                    }
                }
                Candidates::Held { held, rest } => {
                    let Some(candidate) = held.pop_front() else {
                        if read_on(question, &self.view, rest, held)? == More::Frames {
                            continue;
                        }
                        return Ok(None);
                    };
                    candidate
                }
            };
            if candidate.position >= self.limit {
                continue;
            }
            match (question.at(&self.view, candidate, self.limit), &self.candidates) {
                (Ok(Some(found)), _) => return Ok(Some(found)),
                (Ok(None), _) => {}
                (Err(Miss::Doubt), Candidates::File { .. }) => self.doubt(question),
                (Err(miss), _) => return Err(question.no_doubt(miss, &self.view, candidate)),
            }
        }
    }
}

/// Whether a segment goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    Frames,
    Nothing,
}

/// Takes in the records of the next frame.
fn read_on(question: &Question<'_>, view: &View, rest: &mut Scan, held: &mut VecDeque<Candidate>) -> Result<More> {
    let Some(frame) = question.next_frame(view, rest)? else { return Ok(More::Nothing) };
    if let Some(error) = question.lost(view, &frame) {
        return Err(error);
    }
    let position = frame.position;
    for (record, number) in frame.records().zip(0_u16..=u16::MAX) {
        if question.is_asked_for(&record) {
            held.push_back(Candidate { position, record: number });
        }
    }
    Ok(More::Frames)
}

impl Iterator for History {
    type Item = Result<Found>;

    fn next(&mut self) -> Option<Result<Found>> {
        for _ in 0..TRIES_MAX {
            match self.step() {
                Ok(Some(found)) => return Some(Ok(found)),
                Ok(None) => {
                    self.way = Way::Over;
                    return None;
                }
                Err(Failure { moved: Moved::Yes, .. }) => {}
                Err(Failure { error, .. }) => return Some(Err(self.fail(error))),
            }
        }
        Some(Err(self.fail(busy())))
    }
}

impl History {
    fn fail(&mut self, error: Error) -> Error {
        // Behind a gap the log goes on.
        if !matches!(error.kind(), ErrorKind::Gap { .. }) {
            self.way = Way::Over;
        }
        error
    }
}
