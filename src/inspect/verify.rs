//! The check of a whole log.
//!
//! Guarantees:
//! 1. The durable line D is found first, as recovery finds it: the highest that the anchor, a header, or a valid mark, seal
//!    or close frame carries, also one behind damage.
//! 2. What does not check below D is damage, and the check goes on behind it. The first place at or above D at which no
//!    valid frame begins is the end of the log; what follows is counted as a torn tail.
//! 3. What an open refuses as corrupt is damage, if no writer is at work.
//! 4. Nothing is called damage before it was read twice: a writer may be storing it. Beside a writer all is judged of one moment
//!    (a sight of its directory), and damage is what is found in two of them.
//! 5. A stretch of a segment that the medium does not give back is damage with its place, and hides nothing else.

use std::sync::Arc;

use super::chain::{Chain, Gap, Piece, Source, was_durable};
use super::checkpoints::Rest;
use super::evidence::{self, CarriedLine, FindingEvidence, Neighbour, Session};
use super::origin::Origins;
use super::progress::{Progress, Told};
use super::unreadable::Readable;
use super::{Finding, FindingClass, Verification};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{FRAMES_START, Fault, Kind, align};
use crate::log::{Scan, Scanned, Store, decide, holds_frames, judged, open_segment, partial, survey};
use crate::platform::{Disk, Holder};
use crate::segment::walk::Frames;
use crate::types::{Line, Offset, Place};

/// How much of a damaged stretch is searched for where it comes from.
const ORIGIN_BYTES_MAX: u64 = 64 * 1024;

/// Checks the log on any [`Disk`], as [`verify`](super::verify) does in a directory.
///
/// # Errors
/// As for [`verify`](super::verify).
pub fn verify_on(disk: &dyn Disk, progress: &mut dyn FnMut(Progress)) -> Result<Verification> {
    let found = match holder(disk)? {
        Some(writer) => return beside(disk, writer, progress),
        None => check(disk, None, progress),
    };
    if found.as_ref().is_ok_and(|found| !found.is_damaged()) {
        return found;
    }
    // A writer may have begun since.
    match holder(disk)? {
        Some(writer) => beside(disk, writer, progress),
        None => found,
    }
}

fn holder(disk: &dyn Disk) -> Result<Option<Holder>> {
    disk.lock_holder().map_err(|error| Error::io("ask for the writer's lock", error).at_path(disk.directory()))
}

/// Of what a writer has, only what two sights of it show is damage, or torn: a header may be being stored just now.
fn beside(disk: &dyn Disk, writer: Holder, progress: &mut dyn FnMut(Progress)) -> Result<Verification> {
    let is_torn = |found: &Verification| found.findings.iter().any(|one| one.class == FindingClass::TornTail);
    let is_doubtful = |found: &Verification| found.is_damaged() || is_torn(found);
    judged(disk, is_doubtful, |sight| check(sight, Some(writer), progress))
}

fn check(disk: &dyn Disk, writer: Option<Holder>, progress: &mut dyn FnMut(Progress)) -> Result<Verification> {
    let readable = Readable::new(disk);
    let disk: &dyn Disk = &readable;
    let chain = Chain::look(disk)?;
    if chain.pieces.is_empty() && chain.foreign.is_empty() && chain.highest_known() == 0 && !is_lost_log(disk, &chain)?
    {
        return Err(Error::new(ErrorKind::Invalid, "not a log: no segment is there")
            .at_path(disk.directory())
            .next_step("check the path"));
    }
    let durable = durable_line(disk, &chain)?;
    let lines = evidence::lines(&chain, durable, |piece| {
        scan_of(disk, piece, piece.header.first_offset, FRAMES_START, piece.header.first_offset)
    })?;
    let headers = chain.survey.valid().map(|(_, header)| *header);
    let rebuilt = chain.pieces.iter().filter(|piece| piece.source == Source::Rebuilt).map(|piece| piece.header);
    let origins = Origins::new(headers.chain(rebuilt).map(|h| (h.number, h.incarnation, h.capacity)));
    let first = chain.pieces.first().map_or(Offset::ZERO, |piece| piece.header.first_offset);
    let total = chain.pieces.iter().fold(0_u64, |sum, piece| sum.saturating_add(piece.limit()));
    let mut check = Check {
        disk,
        readable: &readable,
        chain: &chain,
        origins,
        durable,
        end: Line { place: Place::default(), offset: first },
        gaps: Vec::new(),
        lines: Arc::clone(&lines),
        session: None,
        before: None,
        followed: 0,
        found: Verification {
            findings: Vec::new(),
            omitted: 0,
            segments: 0,
            frames: 0,
            records: 0,
            bytes: 0,
            checkpoints: 0,
            start: first.max(chain.start.offset),
            end: first,
            durable: durable.offset,
            lines,
            writer,
            damaged: false,
        },
        told: Told::new(progress, total),
    };
    check.run()?;
    Ok(check.found)
}

/// Whether files without a header are what is left of a log. A header that is there, and bad, is reported as such.
fn is_lost_log(disk: &dyn Disk, chain: &Chain) -> Result<bool> {
    for file in &chain.survey.files {
        if file.header.is_err() || holds_frames(disk, file)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// D: beyond what headers and anchor carry only the newest frames can raise it.
pub(crate) fn durable_line(disk: &dyn Disk, chain: &Chain) -> Result<Line> {
    let mut durable = chain.survey.durable();
    let known = durable.place;
    for piece in chain.pieces.iter().filter(|piece| piece.number() >= known.segment) {
        let (position, offset) = if piece.number() == known.segment && known.position >= FRAMES_START {
            (align(known.position), durable.offset)
        } else {
            (FRAMES_START, piece.header.first_offset)
        };
        let mut scan = scan_of(disk, piece, piece.header.first_offset, position, offset)?;
        let counted = scan.count_on(piece.number(), &mut durable);
        counted.map_err(|error| read_error(disk, piece, error))?;
    }
    Ok(durable)
}

fn cut_short(expected: u64) -> String {
    format!("the file was cut here, at least {expected} bytes are expected")
}

fn scan_of(disk: &dyn Disk, piece: &Piece, first_offset: Offset, position: u64, offset: Offset) -> Result<Scan> {
    let frames = Frames { first_offset, ..piece.frames() };
    let store = Store::File(open_segment(disk, &piece.name)?);
    Ok(Scan::new(store, frames, position, offset, piece.limit()))
}

fn read_error(disk: &dyn Disk, piece: &Piece, error: std::io::Error) -> Error {
    Error::io("read the segment", error).at_path(disk.directory().join(&piece.name))
}

struct Check<'a, 'p> {
    disk: &'a dyn Disk,
    /// The same one.
    readable: &'a Readable<'a>,
    chain: &'a Chain,
    origins: Origins,
    durable: Line,
    end: Line,
    /// Places behind gaps.
    gaps: Vec<Place>,
    /// What speaks for a finding at the place that the check has come to.
    lines: Arc<[CarriedLine]>,
    session: Option<Session>,
    before: Option<Neighbour>,
    /// How many findings know which frame is behind them, or are of no place.
    followed: usize,
    found: Verification,
    told: Told<'p>,
}

/// Whether the log goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    /// Nothing more is to be found in this piece.
    PieceEnds,
    LogEnds,
}

/// What is not a valid frame.
struct Stop {
    /// `None`: nothing is stored.
    fault: Option<Fault>,
    next: Option<(u64, Offset)>,
}

impl Check<'_, '_> {
    fn run(&mut self) -> Result<()> {
        if let Some(writer) = self.found.writer {
            let cause = format!("{writer} holds the log for writing; what it stores meanwhile was not judged");
            self.report(FindingClass::LiveWriter, None, None, cause);
        }
        for finding in self.chain.foreign.iter().cloned().chain(self.chain.judge_anchor(self.disk)) {
            self.found.report(finding);
        }
        let chain = self.chain;
        self.followed = self.found.findings.len();
        for (index, piece) in chain.pieces.iter().enumerate() {
            if let Some(gap) = &piece.gap
                && self.gap(gap, index)? == Then::LogEnds
            {
                break;
            }
            let then = self.piece(index, piece)?;
            self.found.segments = self.found.segments.saturating_add(1);
            self.found.bytes = self.found.bytes.saturating_add(self.end.place.position);
            if then == Then::LogEnds {
                break;
            }
        }
        self.found.end = self.end.offset;
        for finding in chain.judge_leftovers(self.disk, self.durable) {
            self.found.report(finding);
        }
        for file in &chain.survey.files {
            self.report_unreadable(&file.name, file.number);
        }
        self.refused_by_an_open();
        // Only if nothing else is wrong can they be held against the log.
        let rest = if self.found.damaged { Rest::Damaged } else { Rest::Whole };
        let notes = super::checkpoints::check(self.disk, chain, rest, &self.gaps)?;
        self.found.checkpoints = notes.good;
        if notes.good == 0
            && !self.found.damaged
            && let Some(first) = chain.pieces.first()
            && let Some(cause) = partial(chain.pieces.iter().map(|piece| &piece.header))
        {
            self.report(FindingClass::MissingSegment, Some(Place::new(first.number(), 0)), None, cause);
        }
        let indexes = super::indexes::check(self.disk, chain, rest)?;
        for finding in notes.findings.into_iter().chain(indexes) {
            self.found.report(finding);
        }
        self.told.end();
        Ok(())
    }

    /// What could not be read is damage, whatever it was: an open may need it.
    fn report_unreadable(&mut self, name: &str, number: u64) {
        for lost in self.readable.unreadable(name) {
            let place = Some(Place::new(number, lost.range.start));
            self.found.report(Finding::new(self.disk, FindingClass::BodyRot, place, None, lost.to_string()));
        }
    }

    /// What an open refuses is damage here too, whatever the reason: a note may say of the end what no frame says.
    fn refused_by_an_open(&mut self) {
        if self.found.damaged || self.found.writer.is_some() {
            return;
        }
        let opened = survey(self.disk).and_then(|survey| decide(self.disk, &survey));
        if let Some(error) = opened.err().filter(|error| error.kind() == ErrorKind::Corrupt) {
            let cause = format!("an open refuses: {error}");
            self.report(FindingClass::BrokenChain, error.place(), error.offset(), cause);
        }
    }

    /// Goes over a link that does not hold: damage below D, the end of the log above.
    fn gap(&mut self, gap: &Gap, index: usize) -> Result<Then> {
        let place = Place::new(gap.number, 0);
        if was_durable(gap.number, self.durable) {
            let cause = self.below_durable(&gap.cause);
            self.report(gap.class, Some(place), None, cause);
            return Ok(Then::GoOn);
        }
        let (frames, records) = self.count_behind(index)?;
        let cause = self.torn(&gap.cause, frames, records);
        self.report(FindingClass::TornTail, Some(place), Some(self.end.offset), cause);
        Ok(Then::LogEnds)
    }

    fn piece(&mut self, index: usize, piece: &Piece) -> Result<Then> {
        let first_offset = self.first_offset(piece);
        let mut scan = scan_of(self.disk, piece, first_offset, FRAMES_START, first_offset)?;
        let then = loop {
            let stop = match scan.next_settled().map_err(|error| read_error(self.disk, piece, error))? {
                Scanned::Frame(found) => {
                    let beside = Neighbour::new(Place::new(piece.number(), found.position), found.offset);
                    self.follow(beside);
                    self.found.frames = self.found.frames.saturating_add(1);
                    self.found.records = self.found.records.saturating_add(found.records.into());
                    self.told.at(scan.position);
                    match found.header.kind {
                        Kind::Gap => self.note_gap(piece, &scan, found.position, found.offset),
                        Kind::Session => {
                            let session = Session::of(self.disk, piece, scan.frame(&found).body);
                            self.session = session.or(self.session);
                        }
                        _ => {}
                    }
                    self.before = Some(beside);
                    continue;
                }
                Scanned::End => break self.at_limit(index, piece, &mut scan)?,
                Scanned::Zero => Stop { fault: None, next: None },
                Scanned::Bad { fault, next } => Stop { fault: Some(fault), next },
            };
            let then = self.stop(index, piece, &mut scan, &stop)?;
            if then != Then::GoOn {
                break then;
            }
        };
        self.end = Line { place: Place::new(piece.number(), scan.position), offset: scan.offset };
        self.told.piece(piece.limit());
        Ok(then)
    }

    /// With which offset a piece begins that comes next.
    fn first_offset(&self, piece: &Piece) -> Offset {
        match piece.source {
            Source::Stored => piece.header.first_offset,
            Source::Rebuilt => self.end.offset,
        }
    }

    fn note_gap(&mut self, piece: &Piece, scan: &Scan, position: u64, offset: Offset) {
        self.gaps.push(Place::new(piece.number(), scan.position));
        let bytes = scan.position.saturating_sub(position);
        let cause = format!("{bytes} bytes that a repair gave up, with the records {offset} up to {}", scan.offset);
        self.report_at(FindingClass::Gap, piece, position, offset, cause);
    }

    /// Tells what was found since the last frame which one is behind it.
    fn follow(&mut self, frame: Neighbour) {
        for finding in self.found.findings.iter_mut().skip(self.followed) {
            finding.evidence.behind = Some(frame);
        }
        self.followed = self.found.findings.len();
    }

    /// The scan reached the limit of its piece: is that where the piece ends, and does the next one follow?
    fn at_limit(&mut self, index: usize, piece: &Piece, scan: &mut Scan) -> Result<Then> {
        let expected = piece.end.unwrap_or(piece.header.capacity);
        if scan.position < expected {
            let fault = Fault::Short { found: piece.length, expected };
            let then = self.stop(index, piece, scan, &Stop { fault: Some(fault), next: None })?;
            return Ok(if then == Then::GoOn { Then::PieceEnds } else { then });
        }
        if piece.length < expected {
            // The frames are there, and the padding behind the last is not: no open takes that.
            self.report_at(FindingClass::LostBytes, piece, piece.length, scan.offset, cut_short(expected));
        }
        let Some(next) = self.chain.pieces.get(index.saturating_add(1)) else { return Ok(Then::LogEnds) };
        let unknown = next.source == Source::Rebuilt || piece.source == Source::Rebuilt || piece.end.is_none();
        let follows = next.header.first_offset;
        if unknown || follows == scan.offset {
            return Ok(Then::PieceEnds);
        }
        let fault = Fault::Offset { found: follows.get(), expected: scan.offset.get() };
        if self.is_durable(piece, scan) {
            let cause = self.below_durable(&format!("{fault}, in the header of {}", next.name));
            self.report_at(FindingClass::BrokenChain, piece, scan.position, scan.offset, cause);
            return Ok(Then::PieceEnds);
        }
        self.log_ends(index, piece, scan, Some(fault))
    }

    /// No valid frame begins here.
    fn stop(&mut self, index: usize, piece: &Piece, scan: &mut Scan, stop: &Stop) -> Result<Then> {
        let (position, offset) = (scan.position, scan.offset);
        if let Some(fault) = stop.fault.filter(Fault::is_unknown) {
            return Err(Error::new(ErrorKind::Incompatible, fault.to_string())
                .at_path(self.disk.directory().join(&piece.name))
                .at_place(Place::new(piece.number(), position))
                .next_step("verify it with the version of esker that wrote it, or a newer one"));
        }
        if !self.is_durable(piece, scan) {
            return self.log_ends(index, piece, scan, stop.fault);
        }
        let last = index.saturating_add(1) >= self.chain.pieces.len();
        let mut backward = None;
        let then = if let Some(Fault::Offset { found, .. }) = stop.fault {
            // The frame itself was not looked at yet.
            scan.offset = Offset::new(found);
            Then::GoOn
        } else if let Some((next, offset)) = stop.next {
            (scan.position, scan.offset) = (next, offset);
            Then::GoOn
        } else if scan.resync().map_err(|error| read_error(self.disk, piece, error))? {
            backward = (scan.offset < offset).then_some(scan.offset);
            Then::GoOn
        } else {
            (scan.position, scan.offset) = (position, offset);
            if last { Then::LogEnds } else { Then::PieceEnds }
        };
        // A segment whose successor is lost may have ended here; that nobody says so is a finding of its own.
        let end_lost = piece.end.is_none() && (!last || self.durable.place.segment > piece.number());
        if end_lost && stop.fault.is_none() && then != Then::GoOn {
            return Ok(then);
        }
        let behind = if then == Then::GoOn { scan.position } else { piece.limit() };
        if self.found.is_full() {
            self.found.omit_damage(1_u64.saturating_add(backward.is_some().into()));
            return Ok(then);
        }
        let (class, cause) = self.classify(piece, scan, stop, position..behind)?;
        self.report_at(class, piece, position, offset, self.below_durable(&cause));
        if let Some(found) = backward {
            let fault = Fault::Offset { found: found.get(), expected: offset.get() };
            self.report_at(FindingClass::BrokenChain, piece, behind, offset, self.below_durable(&fault.to_string()));
        }
        Ok(then)
    }

    fn classify(
        &self,
        piece: &Piece,
        scan: &Scan,
        stop: &Stop,
        range: std::ops::Range<u64>,
    ) -> Result<(FindingClass, String)> {
        let Some(fault) = stop.fault else { return Ok((FindingClass::LostBytes, Fault::Missing.to_string())) };
        let class = match fault {
            Fault::Short { .. } => FindingClass::LostBytes,
            Fault::Length { .. } if piece.length < piece.end.unwrap_or(piece.header.capacity) => {
                FindingClass::LostBytes
            }
            Fault::Length { .. } | Fault::Offset { .. } => FindingClass::BrokenChain,
            Fault::State { .. } => FindingClass::BadState,
            _ if stop.next.is_some() => FindingClass::BodyRot,
            _ => FindingClass::HeaderRot,
        };
        if class != FindingClass::HeaderRot {
            return Ok((class, fault.to_string()));
        }
        let searched = range.start..range.end.min(range.start.saturating_add(ORIGIN_BYTES_MAX));
        let bytes = scan.load(searched).map_err(|error| read_error(self.disk, piece, error))?;
        let Some(origin) = self.origins.find(bytes.bytes(), range.start, piece.number()) else {
            return Ok((class, fault.to_string()));
        };
        let home = Place::new(origin.segment, origin.home);
        let text = format!("{fault}; at position {} stands what belongs to {home}", origin.found);
        let own = origin.segment == piece.number();
        Ok((if own { FindingClass::MisplacedBlock } else { FindingClass::StaleBytes }, text))
    }

    /// The log ends at the scan's position, which is not below D.
    fn log_ends(&mut self, index: usize, piece: &Piece, scan: &mut Scan, fault: Option<Fault>) -> Result<Then> {
        let last = index.saturating_add(1) >= self.chain.pieces.len();
        let (position, offset) = (scan.position, scan.offset);
        if last && fault.is_none() && self.found.writer.is_some() {
            // What stands behind is being stored just now.
            return Ok(Then::LogEnds);
        }
        let failed = |error| read_error(self.disk, piece, error);
        let mut counted = (0, 0);
        if scan.resync().map_err(failed)? {
            counted = scan.count_on(piece.number(), &mut Line::default()).map_err(failed)?;
        }
        (scan.position, scan.offset) = (position, offset);
        let (frames, records) = self.count_behind(index.saturating_add(1))?;
        let (frames, records) = (frames.saturating_add(counted.0), records.saturating_add(counted.1));
        if last && piece.length < piece.header.capacity {
            self.report_at(FindingClass::LostBytes, piece, piece.length, offset, cut_short(piece.header.capacity));
        } else if fault.is_some() || frames > 0 || !last {
            let cause = self.torn(&fault.unwrap_or(Fault::Missing).to_string(), frames, records);
            self.report_at(FindingClass::TornTail, piece, position, offset, cause);
        }
        Ok(Then::LogEnds)
    }

    /// Valid frames and their records in the pieces from `first` on.
    fn count_behind(&mut self, first: usize) -> Result<(u64, u64)> {
        let (mut frames, mut records) = (0_u64, 0_u64);
        let chain = self.chain;
        for piece in chain.pieces.iter().skip(first) {
            let first_offset = piece.header.first_offset;
            let mut scan = scan_of(self.disk, piece, first_offset, FRAMES_START, first_offset)?;
            let counted = scan.count_on(piece.number(), &mut Line::default());
            let counted = counted.map_err(|error| read_error(self.disk, piece, error))?;
            (frames, records) = (frames.saturating_add(counted.0), records.saturating_add(counted.1));
            self.told.piece(piece.limit());
        }
        Ok((frames, records))
    }

    /// Whether a valid frame has to begin where the scan is. A running writer has stored all up to a settled end.
    fn is_durable(&self, piece: &Piece, scan: &Scan) -> bool {
        let settled = self.found.writer.is_some() && piece.end.is_some();
        settled || Place::new(piece.number(), scan.position) < self.durable.place
    }

    fn below_durable(&self, cause: &str) -> String {
        format!("{cause}; the log was durable up to {}", self.durable.place)
    }

    fn torn(&self, cause: &str, frames: u64, records: u64) -> String {
        let durable = self.durable.place;
        format!(
            "{cause}; not known to be durable, which reaches up to {durable}; behind it {frames} valid frames, {records} records"
        )
    }

    fn report_at(&mut self, class: FindingClass, piece: &Piece, position: u64, offset: Offset, cause: String) {
        self.report(class, Some(Place::new(piece.number(), position)), Some(offset), cause);
    }

    fn report(&mut self, class: FindingClass, place: Option<Place>, offset: Option<Offset>, cause: String) {
        let mut finding = Finding::new(self.disk, class, place, offset, cause);
        if place.is_some() {
            let lines = Arc::clone(&self.lines);
            finding.evidence = FindingEvidence { session: self.session, lines, before: self.before, behind: None };
        }
        self.found.report(finding);
    }
}
