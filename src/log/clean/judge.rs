//! What of the log goes: the one rule by which records and state entries are dropped.
//!
//! Guarantees:
//! 1. Of each key of a compacted topic, and of each key of the state, the latest part that was read stays. It goes only if it says
//!    that there is no value any more, nobody needs to hear of it, and neither damage nor an older copy of its key was met.
//! 2. Nothing goes only because of what lies at or above the limits: they are not read past.
//! 3. Each frame is checked in full. Of a segment in which one does not check nothing goes; what checks in it is later than
//!    what is older all the same.
//! 4. Memory is bounded, whatever the log holds: but for an offset for each topic with a retention. Keys, or topics, that do not fit are left to another pass, and segments whose
//!    marks do not fit to another round; what is marked until then is right in itself.
//! 5. By the age or amount of its topic a record goes only if no cursor holds it; in a compacted topic only if no older segment
//!    that has the topic stays as it is, so that nothing that it superseded comes back.
//!
//! Left to others: to rewrite the segments oldest first, and none any more once one was left out.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::collections::BTreeMap;

use super::book::{Book, Counts, Sort, Weights};
use super::gathered::{Gathered, Met as Gather};
use super::marks::Marks;
use super::policy::Policies;
use super::seen::{Crowded, End, KeyHash, Met, Older, Place as Seat, Scope, Seen, Xxh3};
use super::stretches::{STRETCH_PARTS, Stretches};
use super::tally::{Expired, Sum, Tally};
use crate::error::{Error, ErrorKind, Result};
use crate::format::state::StateEntry;
use crate::format::{FRAMES_START, Fault, Kind, segment_name};
use crate::log::act::draw_incarnation;
use crate::log::catalog::Entry;
use crate::log::retention::Retention;
use crate::log::survey::{corrupt, io_error};
use crate::log::window::{SCAN_BYTES, Scan, Scanned, View};
use crate::platform::Disk;
use crate::segment::walk::Frame;
use crate::types::{Offset, Place, RecordRef, Timestamp, Topic};

/// Less memory than this is not worth a pass.
pub(crate) const MEMORY_MIN: usize = 1 << 20;

/// A segment to read.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) entry: Entry,
    /// Up to where.
    pub(crate) limit: u64,
    /// Whether it may be rewritten; only then parts of it are marked.
    pub(crate) rewritable: bool,
}

/// By what is decided.
#[derive(Clone, Copy)]
pub(crate) struct Rule<'a> {
    pub(crate) policies: &'a Policies,
    pub(crate) now: Timestamp,
    /// Where the log begins. What lies below goes.
    pub(crate) start: Offset,
    /// Below this offset no cursor holds anything of the topic.
    pub(crate) passed: &'a dyn Fn(Topic) -> Offset,
}

/// What to judge.
pub(crate) struct Task<'a> {
    pub(crate) disk: &'a dyn Disk,
    /// The segments of the log up to where it is durable, oldest first.
    pub(crate) inputs: &'a [Input],
    pub(crate) rule: Rule<'a>,
    /// How much memory may be used, beside what is read and a little for each segment.
    pub(crate) memory: usize,
    /// `None`: the segment is gone, as the log begins later by now.
    pub(crate) open: &'a dyn Fn(&Entry) -> Result<Option<View>>,
    /// Told how much was read since; an error ends the work.
    pub(crate) pace: &'a mut dyn FnMut(u64) -> Result<()>,
}

/// A segment that may be rewritten.
#[derive(Debug)]
pub(crate) struct Judged {
    /// Its place among the inputs.
    pub(crate) at: usize,
    pub(crate) number: u64,
    /// Records and state entries in it.
    pub(crate) parts: u64,
    /// Those that go, by their ordinals: of each frame its records, then its state entries, in the order of the segment.
    pub(crate) dropped: Marks,
    pub(crate) stretches: Stretches,
    pub(crate) records: u64,
    pub(crate) records_kept: u64,
    /// What its frames take at most without what goes.
    pub(crate) bytes_kept: u64,
}

/// What goes.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Oldest first.
    pub(crate) segments: Vec<Judged>,
    /// The newest segment whose marks found no room. It and all older ones are for another round.
    pub(crate) next: Option<u64>,
    pub(crate) passes: u32,
    /// Different keys.
    pub(crate) keys: u64,
    /// Tombstones that could go in another round, as their older copies go in this one.
    pub(crate) waiting_tombstones: u64,
    /// Of each topic of which its age or amount lets something go: behind the last record of that.
    pub(crate) starts: BTreeMap<Topic, Offset>,
    /// Of each segment the first frame that does not check, oldest first.
    pub(crate) damaged: Vec<Error>,
}

/// Judges the log; nothing is changed.
///
/// # Errors
/// [`ErrorKind::Limit`] if the marks of one segment do not fit, or too many keys have one hash; [`ErrorKind::Corrupt`] if what
/// was read before reads otherwise now; what the system says, and the pace.
pub(crate) fn judge(task: &mut Task<'_>) -> Result<Verdict> {
    let seed = draw_incarnation(task.disk)?;
    let memory = task.memory.max(MEMORY_MIN);
    judge_by(Xxh3 { seed }, memory, STRETCH_PARTS, task)
}

/// As [`judge`], with a hash, as little memory, and as short stretches as a test wants.
pub(super) fn judge_by(hash: impl KeyHash, memory: usize, stretch_parts: u64, task: &mut Task<'_>) -> Result<Verdict> {
    Judging::new(hash, memory, stretch_parts, task).run()
}

/// What to do with each frame.
#[derive(Debug, Clone, Copy)]
enum Visit<'e> {
    Judge,
    /// All records of these topics go.
    Expire(&'e [Expired]),
}

/// What a topic's owner said, worked out.
#[derive(Debug, Clone, Copy)]
struct Treatment {
    topic: Topic,
    /// Of a compacted topic: a tombstone of this time or before may go.
    ripe: Option<Timestamp>,
    retention: Option<Retention>,
}

/// Where a visit is.
struct Visitor<'e> {
    visit: Visit<'e>,
    at: usize,
    counts: Counts,
}

struct Judging<'t, 'a, H> {
    task: &'t mut Task<'a>,
    rule: Rule<'a>,
    memory: usize,
    book: Book,
    seen: Seen<H>,
    gathered: Gathered,
    tally: Tally,
    /// Of the topic that was asked about last.
    treatment: Treatment,
    passes: u32,
    keys: u64,
    waiting: u64,
    starts: BTreeMap<Topic, Offset>,
}

impl<'t, 'a, H: KeyHash> Judging<'t, 'a, H> {
    fn new(hash: H, memory: usize, stretch_parts: u64, task: &'t mut Task<'a>) -> Self {
        let tally_bytes = if task.rule.policies.has_retention() { memory / 8 } else { 0 };
        let room = memory / 2;
        let rule = task.rule;
        Self {
            rule,
            memory,
            book: Book::new(task.inputs.iter().map(|input| input.rewritable), room, stretch_parts),
            seen: Seen::new(hash, memory.saturating_sub(room).saturating_sub(tally_bytes)),
            gathered: Gathered::default(),
            tally: Tally::new(tally_bytes),
            treatment: treatment(&rule, Topic::default()),
            passes: 0,
            keys: 0,
            waiting: 0,
            starts: BTreeMap::new(),
            task,
        }
    }

    fn run(mut self) -> Result<Verdict> {
        loop {
            self.passes = self.passes.saturating_add(1);
            self.pass()?;
            self.bury();
            self.expire()?;
            self.keys = self.keys.saturating_add(crate::types::length(self.seen.count()));
            let (more_keys, more_topics) = (self.seen.advance(), self.tally.advance());
            if !more_keys && !more_topics {
                return Ok(self.finish());
            }
            if self.passes == 1 {
                // Room that marks did not need.
                self.seen.resize(self.seen.bytes().saturating_add(self.book.room()));
            }
        }
    }

    fn pass(&mut self) -> Result<()> {
        for at in (0..self.task.inputs.len()).rev() {
            self.visit(at, Visit::Judge)?;
            if self.book.is_open(at) {
                self.tally.end_segment(seat(at), self.rule.now, self.rule.passed);
            }
        }
        match self.book.crowded_out.and_then(|at| self.task.inputs.get(at)) {
            Some(input) if !self.book.has_open() => Err(crowded_segment(input.entry.number(), self.memory)),
            _ => Ok(()),
        }
    }

    fn finish(self) -> Verdict {
        let number = |input: &Input| input.entry.number();
        let next = self.book.crowded_out.and_then(|at| self.task.inputs.get(at)).map(number);
        let (segments, damaged) = self.book.finish(self.task.inputs.iter().map(number));
        Verdict {
            segments,
            next,
            passes: self.passes,
            keys: self.keys,
            waiting_tombstones: self.waiting,
            starts: self.starts,
            damaged,
        }
    }

    /// Goes over a segment, oldest frame first.
    fn visit(&mut self, at: usize, visit: Visit<'_>) -> Result<()> {
        let Some(input) = self.task.inputs.get(at) else { return Ok(()) };
        let Some(view) = (self.task.open)(&input.entry)? else {
            self.book.close(at);
            return Ok(());
        };
        let first = input.entry.header.first_offset;
        let mut scan = Scan::new(view.store, view.frames, FRAMES_START, first, input.limit);
        let mut visitor = Visitor { visit, at, counts: Counts::default() };
        if let Err(damage) = self.visit_sound(&mut scan, &mut visitor)? {
            self.note_damage(at, damage)?;
            self.visit_behind(&mut scan, &mut visitor)?;
            return self.meet_gathered(at);
        }
        self.meet_gathered(at)?;
        if self.book.end(at, visitor.counts, scan.position, scan.offset) {
            Ok(())
        } else {
            Err(self.reads_otherwise(at))
        }
    }

    /// Goes on up to the end, or to what does not check.
    fn visit_sound(&mut self, scan: &mut Scan, visitor: &mut Visitor<'_>) -> Result<std::result::Result<(), Error>> {
        let mut told = scan.position;
        loop {
            let fault = match scan.next() {
                Ok(Scanned::Frame(found)) => {
                    self.frame(&scan.frame(&found), found.records, visitor)?;
                    if scan.position.saturating_sub(told) >= SCAN_BYTES {
                        (self.task.pace)(scan.position.saturating_sub(told))?;
                        told = scan.position;
                    }
                    continue;
                }
                Ok(Scanned::End) => {
                    (self.task.pace)(scan.position.saturating_sub(told))?;
                    return Ok(Ok(()));
                }
                Ok(Scanned::Zero) => Fault::Missing,
                Ok(Scanned::Bad { fault, .. }) => fault,
                Err(error) => {
                    let name = self.name(visitor.at);
                    return Ok(Err(io_error(self.task.disk, "read the segment", &name, error)));
                }
            };
            return Ok(Err(self.damage(visitor.at, scan.position, &fault)));
        }
    }

    /// What checks behind damage is later than what is older, as far as it can be read.
    fn visit_behind(&mut self, scan: &mut Scan, visitor: &mut Visitor<'_>) -> Result<()> {
        let mut told = scan.position;
        while let Ok(Some(found)) = scan.next_whole() {
            self.frame(&scan.frame(&found), found.records, visitor)?;
            (self.task.pace)(scan.position.saturating_sub(told))?;
            told = scan.position;
        }
        Ok(())
    }

    fn name(&self, at: usize) -> String {
        self.task.inputs.get(at).map(|input| segment_name(input.entry.number())).unwrap_or_default()
    }

    fn damage(&self, at: usize, position: u64, fault: &Fault) -> Error {
        let number = self.task.inputs.get(at).map(|input| input.entry.number()).unwrap_or_default();
        corrupt(format!("not cleaned: {fault}"))
            .at_path(self.task.disk.directory().join(segment_name(number)))
            .at_place(Place::new(number, position))
    }

    /// Damage that the first pass did not meet makes void what was decided since.
    fn note_damage(&mut self, at: usize, damage: Error) -> Result<()> {
        if self.passes == 1 {
            self.book.damage(at, damage);
            return Ok(());
        }
        if self.book.is_damaged(at) { Ok(()) } else { Err(damage) }
    }

    fn reads_otherwise(&self, at: usize) -> Error {
        super::draft::unlike(&self.task.disk.directory().join(self.name(at)), "the segment")
    }

    fn frame(&mut self, frame: &Frame<'_>, records: u16, visitor: &mut Visitor<'_>) -> Result<()> {
        let first = visitor.counts.parts;
        visitor.counts.add(frame, records);
        self.book.meet(visitor.at, frame, first..visitor.counts.parts);
        if frame.header.kind != Kind::Data {
            return Ok(());
        }
        let part = Part { at: visitor.at, ordinal: first, weights: Weights::of(frame, records) };
        match visitor.visit {
            Visit::Judge => {
                self.records(part, frame)?;
                self.states(part.after(records), frame)
            }
            Visit::Expire(expired) => {
                self.expire_records(part, frame, expired);
                Ok(())
            }
        }
    }

    fn records(&mut self, mut part: Part, frame: &Frame<'_>) -> Result<()> {
        let below_start = frame.offset < self.rule.start;
        if let Some(topic) = frame.header.topic {
            self.treat(topic);
            let Treatment { ripe, retention, .. } = self.treatment;
            if ripe.is_none() && retention.is_none() && !below_start {
                return Ok(());
            }
        }
        for record in frame.records() {
            self.record(part, &record)?;
            part = part.after(1);
        }
        Ok(())
    }

    fn record(&mut self, part: Part, record: &RecordRef<'_>) -> Result<()> {
        self.treat(record.topic);
        let Treatment { topic, ripe, retention } = self.treatment;
        let bytes = part.weights.record(record);
        if record.offset < self.rule.start {
            self.book.mark(part.at, part.ordinal, Sort::Record, bytes);
        } else if let Some(retention) = retention {
            let sum = Sum { bytes: bytes.into(), time: record.time, last: record.offset };
            self.tally.add(topic, retention, seat(part.at), sum);
        }
        let (Some(ripe), Some(key)) = (ripe, record.key) else { return Ok(()) };
        let is_over = record.tombstone && record.time <= ripe && record.offset < (self.rule.passed)(topic);
        self.key(part, Sort::Record, Scope::Topic(topic), key, bytes, if is_over { End::Ripe } else { End::No })
    }

    fn states(&mut self, mut part: Part, frame: &Frame<'_>) -> Result<()> {
        if frame.header.state_count == 0 {
            return Ok(());
        }
        for entry in frame.states() {
            self.state(part, &entry)?;
            part = part.after(1);
        }
        Ok(())
    }

    fn state(&mut self, part: Part, entry: &StateEntry<'_>) -> Result<()> {
        let end = if entry.value.is_none() { End::Ripe } else { End::No };
        self.key(part, Sort::State, Scope::Space(entry.space), entry.key, part.weights.state(entry), end)
    }

    fn key(&mut self, part: Part, sort: Sort, scope: Scope, key: &[u8], bytes: u32, end: End) -> Result<()> {
        let Some(hash) = self.seen.hash(scope, key) else { return Ok(()) };
        let ordinal = u32::try_from(part.ordinal).unwrap_or(u32::MAX);
        let place = Seat { segment: seat(part.at), ordinal, bytes, end };
        self.gathered.push(&Gather { hash, scope, key, place, sort });
        if self.gathered.is_full() { self.meet_gathered(part.at) } else { Ok(()) }
    }

    fn meet_gathered(&mut self, at: usize) -> Result<()> {
        let mut gathered = std::mem::take(&mut self.gathered);
        self.seen.warm(gathered.hashes());
        for Gather { hash, scope, key, place, sort } in gathered.iter() {
            let met = self.seen.meet(hash, scope, key, place).map_err(|Crowded| crowded_keys(self.memory))?;
            let superseded = match met {
                Met::Newer => place,
                Met::Earlier(earlier) => earlier,
                Met::First | Met::Elsewhere => continue,
            };
            self.book.mark(at, superseded.ordinal.into(), sort, superseded.bytes);
        }
        gathered.clear();
        self.gathered = gathered;
        Ok(())
    }

    fn treat(&mut self, topic: Topic) {
        if self.treatment.topic != topic {
            self.treatment = treatment(&self.rule, topic);
        }
    }

    /// Marks the tombstones that nothing needs any more.
    fn bury(&mut self) {
        let has_damage = self.book.has_damage();
        for newest in self.seen.newest().filter(|newest| newest.place.end == End::Ripe) {
            let at = crate::types::index(newest.place.segment.into());
            match newest.older {
                _ if has_damage || !self.book.is_open(at) => {}
                Older::Met => self.waiting = self.waiting.saturating_add(1),
                Older::None => self.book.mark(at, newest.place.ordinal.into(), newest.sort, newest.place.bytes),
            }
        }
    }

    /// Marks the records that are too old, or too many.
    fn expire(&mut self) -> Result<()> {
        let mut expired = self.tally.take_expired();
        let has_damage = self.book.has_damage();
        expired.retain(|expired| {
            let compacted = self.rule.policies.of(expired.topic).is_some_and(|cleanup| cleanup.grace.is_some());
            let at = |segment: u32| crate::types::index(segment.into());
            let mut from_oldest = at(expired.oldest)..=at(expired.segment);
            !compacted || !has_damage && from_oldest.all(|at| self.book.is_open(at))
        });
        for of_segment in expired.chunk_by(|one, next| one.segment == next.segment) {
            let Some(at) = of_segment.first().map(|expired| crate::types::index(expired.segment.into())) else {
                continue;
            };
            if self.book.is_open(at) {
                self.visit(at, Visit::Expire(of_segment))?;
                for expired in of_segment {
                    let start = self.starts.entry(expired.topic).or_default();
                    *start = expired.last.after(1).max(*start);
                }
            }
        }
        Ok(())
    }

    fn expire_records(&mut self, mut part: Part, frame: &Frame<'_>, expired: &[Expired]) {
        let is_expired = |topic: Topic| expired.binary_search_by_key(&topic, |expired| expired.topic).is_ok();
        if frame.header.topic.is_some_and(|topic| !is_expired(topic)) {
            return;
        }
        for record in frame.records() {
            if is_expired(record.topic) {
                self.book.mark(part.at, part.ordinal, Sort::Record, part.weights.record(&record));
            }
            part = part.after(1);
        }
    }
}

/// A part of a frame, without what it says.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// The place of its segment among the inputs.
    at: usize,
    ordinal: u64,
    weights: Weights,
}

impl Part {
    fn after(self, parts: u16) -> Self {
        Self { ordinal: self.ordinal.saturating_add(parts.into()), ..self }
    }
}

fn treatment(rule: &Rule<'_>, topic: Topic) -> Treatment {
    let cleanup = rule.policies.of(topic);
    Treatment {
        topic,
        ripe: cleanup.and_then(|cleanup| cleanup.grace).map(|grace| rule.now.before(grace)),
        retention: cleanup.map(|cleanup| cleanup.retention).filter(|retention| !retention.is_empty()),
    }
}

/// The index of a segment, of which there are fewer than 2^32.
fn seat(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn crowded_segment(number: u64, memory: usize) -> Error {
    let text = format!("not cleaned: segment {number} has more parts than {memory} bytes of memory have marks for");
    Error::new(ErrorKind::Limit, text).next_step("give the cleaner more memory")
}

fn crowded_keys(memory: usize) -> Error {
    let text = format!("not cleaned: more keys of one hash than fit {memory} bytes of memory");
    Error::new(ErrorKind::Limit, text).next_step("give the cleaner more memory")
}
