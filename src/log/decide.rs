//! Recovery, first half: read, and decide where the log ends. Nothing is changed.
//!
//! Guarantees:
//! 1. The durable line D is the highest that a valid mark, header, checkpoint or the anchor carries, also one that stands behind
//!    damage. That a file exists proves nothing.
//! 2. Damage or a missing file below D is an error. At or above D it ends the log: see [`Decision::end`].
//! 3. Frames behind the end are counted, never kept.
//! 4. What headers, checkpoints and the anchor say of D is an error if no frame ends there, or one behind which another offset
//!    is the next. A valid frame at D tells; if there is none, the frames before it are gone over, in its whole segment.
//! 5. After a clean close that the anchor or a checkpoint knows, only the headers and the close frame are read.
//! 6. Where frames are and no valid header is, there was a log: an error, never "no log yet".
//! 7. Who only looks uses the same decision, so that it sees what an open would keep.
//!
//! Limit: rot in the last group, which no mark covers yet, cannot be told from a tear; [`Evidence`] is all there is.

use super::checkpoint::Segments;
use super::report::{Cut, Evidence};
use super::survey::{Chain, Dropped, Member, Survey, corrupt, holds_frames, io_error, open_segment};
use super::window::{FoundFrame, Scan, Scanned, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::format::control::{LINE_BYTES, SessionBody, StartLine};
use crate::format::frame::HEADER_BYTES;
use crate::format::{FRAMES_START, Fault, Kind, align};
use crate::platform::{Disk, Identity};
use crate::segment::walk::Frames;
use crate::types::{Line, Offset, Place, Timestamp, length};

/// What recovery decided.
#[derive(Debug)]
pub(crate) struct Decision {
    /// The segments that are kept, oldest first; never empty.
    pub(crate) chain: Vec<Member>,
    /// Where the log ends, in the last of them.
    pub(crate) end: Line,
    /// The durable line as written down.
    pub(crate) durable: Line,
    /// The start line as far as it is known without the frames behind the checkpoints.
    pub(crate) start: StartLine,
    /// Whether a close frame stands at the very end.
    pub(crate) clean: bool,
    pub(crate) cut: Option<Cut>,
    pub(crate) time_max: Timestamp,
    pub(crate) scanned_bytes: u64,
}

impl Decision {
    /// The log that it keeps.
    pub(crate) fn segments(&self) -> Segments<'_> {
        Segments { members: &self.chain, end: Some(self.end), durable: self.durable, start: self.start }
    }
}

/// Decides. `None`: there is no log yet.
pub(crate) fn decide(disk: &dyn Disk, survey: &Survey) -> Result<Option<Decision>> {
    let mut chain = survey.chain(disk)?;
    let Some(newest) = chain.members.last() else { return refuse_lost_log(disk, survey).map(|()| None) };
    check_lengths(disk, &chain)?;
    if chain.dropped.is_none() {
        chain.dropped = survey.lost_above(disk, newest.header.number)?;
    }
    if chain.dropped.is_none()
        && let Some((end, time_max)) = closed_at(disk, survey, newest, chain.durable)?
    {
        let (chain, start) = (chain.members, chain.start);
        return Ok(Some(Decision {
            end,
            durable: end,
            start,
            clean: true,
            cut: None,
            time_max,
            scanned_bytes: 0,
            chain,
        }));
    }
    Judge::new(disk, survey, chain).decide().map(Some)
}

/// Where no log is, there may have been one.
fn refuse_lost_log(disk: &dyn Disk, survey: &Survey) -> Result<()> {
    for file in &survey.files {
        // Of a log whose creation never ended nothing lies there.
        if holds_frames(disk, file)? {
            let cause = file.header.as_ref().err().map_or("no header".to_owned(), ToString::to_string);
            let text = format!("{cause}, but frames behind it, and no other segment is there");
            return Err(corrupt(text).at_path(disk.directory().join(&file.name)));
        }
    }
    Ok(())
}

/// Files are never shortened, and their length is durable before they are used: one that ends before its frames may have
/// lost some, and it is known without reading.
fn check_lengths(disk: &dyn Disk, chain: &Chain) -> Result<()> {
    for member in chain.members.iter().filter(|member| member.header.number >= chain.start.segment) {
        let whole = member.end.unwrap_or(member.header.capacity);
        let place = Place::new(member.header.number, member.length);
        if member.length < whole && (member.end.is_none() || place < chain.durable.place) {
            return Err(cut_short(disk, member, whole));
        }
    }
    Ok(())
}

fn cut_short(disk: &dyn Disk, member: &Member, whole: u64) -> Error {
    corrupt(format!("the file was cut here, at least {whole} bytes are expected"))
        .at_path(disk.directory().join(&member.name))
        .at_place(Place::new(member.header.number, member.length))
}

/// The end of the log, if the anchor or a checkpoint says that it was closed there and nothing follows.
fn closed_at(disk: &dyn Disk, survey: &Survey, newest: &Member, durable: Line) -> Result<Option<(Line, Timestamp)>> {
    let anchor = survey.own_anchor().map(|anchor| (anchor.clean, anchor.durable, anchor.time_max));
    let checkpoints = survey.own_checkpoints().map(|found| (found.clean, found.line, found.time_max));
    let mut notes = anchor.into_iter().chain(checkpoints);
    let Some((_, end, time_max)) = notes.find(|(clean, line, _)| *clean && *line == durable) else { return Ok(None) };
    // What a repair wrote has an end of its own.
    if end.place.segment != newest.header.number || newest.end.is_some_and(|own| own != end.place.position) {
        return Ok(None);
    }
    let close_bytes = align(length(HEADER_BYTES).saturating_add(length(LINE_BYTES)));
    let start = end.place.position.saturating_sub(close_bytes);
    let limit = newest.limit();
    let frames = Frames::new(&newest.header, limit);
    let mut scan = Scan::new(Store::File(open_segment(disk, &newest.name)?), frames, start, end.offset, limit);
    let failed = |error| io_error(disk, "read the segment", &newest.name, error);
    let closed = match scan.next().map_err(failed)? {
        Scanned::Frame(found) => found.header.kind == Kind::Close && scan.position == end.place.position,
        _ => false,
    };
    if !closed && newest.header.rewritten.is_some() {
        // A repair gave it up: the end is one like any other.
        return Ok(None);
    }
    if !closed {
        // The note was written after the close frame was durable, and frames behind it do not touch it.
        return Err(corrupt("the log was closed here, and its close frame is damaged")
            .at_path(disk.directory().join(&newest.name))
            .at_place(Place::new(newest.header.number, start))
            .at_offset(end.offset));
    }
    Ok((matches!(scan.next().map_err(failed)?, Scanned::Zero | Scanned::End)).then_some((end, time_max)))
}

struct Judge<'a> {
    disk: &'a dyn Disk,
    chain: Vec<Member>,
    durable: Line,
    start: StartLine,
    dropped: Option<Dropped>,
    time_max: Timestamp,
    scanned_bytes: u64,
    last_kind: Option<Kind>,
    session: Option<(SessionBody, Identity)>,
}

/// The first place that is not a valid frame, and whose fault it is.
struct Stop {
    member: usize,
    line: Line,
    /// `None`: nothing is stored there, in the last segment.
    fault: Option<Fault>,
}

impl<'a> Judge<'a> {
    fn new(disk: &'a dyn Disk, survey: &Survey, chain: Chain) -> Self {
        // What lies below the durable line is not scanned: its latest append time is known to whoever carries the line.
        let headers = chain.members.iter().map(|member| member.header.time_max);
        let checkpoints = survey.own_checkpoints().map(|checkpoint| checkpoint.time_max);
        let carried = headers.chain(checkpoints).chain(survey.own_anchor().map(|anchor| anchor.time_max));
        let time_max = carried.max().unwrap_or_default();
        Self {
            disk,
            chain: chain.members,
            durable: chain.durable,
            start: chain.start,
            dropped: chain.dropped,
            time_max,
            scanned_bytes: 0,
            last_kind: None,
            session: None,
        }
    }

    fn decide(mut self) -> Result<Decision> {
        let noted = self.durable;
        let stop = self.scan_valid()?;
        if stop.line == noted && noted != Line::default() {
            self.check_frames_end_at(noted, stop.member)?;
        }
        let clean_so_far = self.last_kind == Some(Kind::Close) && stop.member + 1 == self.chain.len();
        let (frames, records) = self.scan_behind(&stop)?;
        if stop.line.place < self.durable.place {
            return Err(self.refusal(&stop));
        }
        let dropped = self.dropped.take();
        let clean = clean_so_far && stop.fault.is_none() && frames == 0 && dropped.is_none();
        let torn = stop.fault.is_some() || frames > 0 || dropped.is_some();
        let cause = stop.fault.map(|fault| fault.to_string());
        let dropped_frames = dropped.as_ref().map_or((0, 0), |dropped| (dropped.frames, dropped.records));
        let cause = cause.or(dropped.map(|dropped| dropped.cause)).unwrap_or_else(|| Fault::Missing.to_string());
        let cut = torn.then(|| Cut {
            place: stop.line.place,
            cause,
            frames: frames.saturating_add(dropped_frames.0),
            records: records.saturating_add(dropped_frames.1),
            evidence: self.evidence(),
        });
        self.chain.truncate(stop.member + 1);
        if let Some(last) = self.chain.last_mut() {
            last.end = None;
        }
        Ok(Decision {
            end: stop.line,
            durable: self.durable,
            start: self.start,
            clean,
            cut,
            time_max: self.time_max,
            scanned_bytes: self.scanned_bytes,
            chain: self.chain,
        })
    }

    /// Where the scan begins: at the durable line, if the chain holds it.
    fn begin(&self) -> Result<(usize, u64, Offset)> {
        if self.durable == Line::default() {
            let first = self.chain.first().map_or(Offset::ZERO, |member| member.header.first_offset);
            return Ok((0, FRAMES_START, first));
        }
        let place = self.durable.place;
        let member = self.chain.iter().position(|member| member.header.number == place.segment);
        let Some(member) = member else {
            let text = format!("the log was durable up to {place}, and that segment is not there");
            return Err(corrupt(text).at_path(self.disk.directory()));
        };
        let found = &self.chain[member];
        if place.position > found.limit() || place.position < FRAMES_START {
            let text = format!(
                "the log was durable up to position {}, and the segment ends at {}",
                place.position,
                found.limit()
            );
            return Err(corrupt(text).at_path(self.disk.directory().join(&found.name)));
        }
        Ok((member, place.position, self.durable.offset))
    }

    /// Refuses a durable line inside a frame, or with an offset that is not the next: what begins there is no tear, and whoever
    /// wrote the line down saw another log. Only headers are looked at, and damage before it is left to who reads it.
    fn check_frames_end_at(&self, line: Line, member: usize) -> Result<()> {
        let mut scan = self.scan_of(member, FRAMES_START, self.chain[member].header.first_offset)?;
        while scan.position < line.place.position {
            match scan.skim().map_err(|error| self.read_error(member, error))? {
                Scanned::Frame(_) => {}
                Scanned::Zero | Scanned::Bad { .. } | Scanned::End => return Ok(()),
            }
        }
        if (scan.position, scan.offset) == (line.place.position, line.offset) {
            return Ok(());
        }
        Err(corrupt("the log was durable up to here, and no frame ends here with that offset")
            .at_path(self.disk.directory().join(&self.chain[member].name))
            .at_place(line.place)
            .at_offset(line.offset))
    }

    fn scan_of(&self, member: usize, position: u64, offset: Offset) -> Result<Scan> {
        let member = &self.chain[member];
        let frames = Frames::new(&member.header, member.limit());
        let store = Store::File(open_segment(self.disk, &member.name)?);
        Ok(Scan::new(store, frames, position, offset, member.limit()))
    }

    /// Scans valid frames from the durable line up to the first place that is none.
    fn scan_valid(&mut self) -> Result<Stop> {
        let (begin, mut position, mut offset) = self.begin()?;
        for member in begin..self.chain.len() {
            self.time_max = self.time_max.max(self.chain[member].header.time_max);
            self.first_session(member)?;
            let mut scan = self.scan_of(member, position, offset)?;
            let fault = loop {
                match scan.next().map_err(|error| self.read_error(member, error))? {
                    Scanned::Frame(found) => self.note(member, &scan, &found),
                    Scanned::Bad { fault, .. } => break Some(fault),
                    Scanned::Zero | Scanned::End => break None,
                }
            };
            let end = scan.position;
            self.scanned_bytes = self.scanned_bytes.saturating_add(end.saturating_sub(position));
            let line = Line { place: Place::new(self.chain[member].header.number, end), offset: scan.offset };
            let whole = self.chain[member].end == Some(end);
            if whole && self.chain[member].length < end {
                // All frames are there, and the padding behind the last is not: no reader would take the file.
                return Err(cut_short(self.disk, &self.chain[member], end));
            }
            let next = self.chain.get(member + 1);
            match (fault, next) {
                (Some(fault), _) if fault.is_unknown() => return Err(self.unknown(member, line, fault)),
                (None, Some(next)) if whole && next.header.first_offset == line.offset => {}
                (None, None) => return Ok(Stop { member, line, fault }),
                (fault, _) => return Ok(Stop { member, line, fault: Some(fault.unwrap_or(Fault::Missing)) }),
            }
            (position, offset) = (FRAMES_START, line.offset);
        }
        // The loop ends inside, at the last segment.
        Err(corrupt("no segment to scan").at_path(self.disk.directory()))
    }

    /// Counts valid frames behind the stop, and raises the durable line by the marks among them.
    fn scan_behind(&mut self, stop: &Stop) -> Result<(u64, u64)> {
        let (mut frames, mut records) = (0_u64, 0_u64);
        for member in stop.member..self.chain.len() {
            let (start, offset) = if member == stop.member {
                (stop.line.place.position, stop.line.offset)
            } else {
                (FRAMES_START, self.chain[member].header.first_offset)
            };
            let mut scan = self.scan_of(member, start, offset)?;
            let mut durable = self.durable;
            let counted = scan.count_on(self.chain[member].header.number, &mut durable);
            let (more_frames, more_records) = counted.map_err(|error| self.read_error(member, error))?;
            self.durable = durable;
            frames = frames.saturating_add(more_frames);
            records = records.saturating_add(more_records);
            let seen = self.chain[member].limit().saturating_sub(start);
            self.scanned_bytes = self.scanned_bytes.saturating_add(seen);
        }
        Ok((frames, records))
    }

    fn note(&mut self, member: usize, scan: &Scan, found: &FoundFrame) {
        self.last_kind = Some(found.header.kind);
        self.time_max = self.time_max.max(found.time_of_records());
        let frame = scan.frame(found);
        if let Some(line) = frame.line(self.chain[member].header.number) {
            self.durable = self.durable.max(line.durable);
            self.time_max = self.time_max.max(line.time_max);
        }
        if found.header.kind == Kind::Session
            && let (Ok(session), Ok(file)) =
                (SessionBody::decode(frame.body), open_segment(self.disk, &self.chain[member].name))
            && let Ok(now) = file.identity()
        {
            self.session = Some((session, now));
        }
    }

    /// Every segment begins with a session frame, which the scan may have begun behind.
    fn first_session(&mut self, member: usize) -> Result<()> {
        let first_offset = self.chain[member].header.first_offset;
        let mut scan = self.scan_of(member, FRAMES_START, first_offset)?;
        let kind = self.last_kind;
        if let Scanned::Frame(found) = scan.next().map_err(|error| self.read_error(member, error))?
            && found.header.kind == Kind::Session
        {
            self.note(member, &scan, &found);
        }
        self.last_kind = kind;
        Ok(())
    }

    fn evidence(&self) -> Evidence {
        match &self.session {
            None => Evidence::None,
            Some((session, now)) => Evidence::of(session, *now, self.disk.boot_id()),
        }
    }

    fn refusal(&self, stop: &Stop) -> Error {
        let fault = stop.fault.unwrap_or(Fault::Missing);
        corrupt(format!("{fault}, below the durable line at {}", self.durable.place))
            .at_path(self.disk.directory().join(&self.chain[stop.member].name))
            .at_place(stop.line.place)
            .at_offset(stop.line.offset)
    }

    fn unknown(&self, member: usize, line: Line, fault: Fault) -> Error {
        Error::new(ErrorKind::Incompatible, fault.to_string())
            .at_path(self.disk.directory().join(&self.chain[member].name))
            .at_place(line.place)
            .next_step("open it with the version of esker that wrote it, or a newer one")
    }

    fn read_error(&self, member: usize, error: std::io::Error) -> Error {
        io_error(self.disk, "read the segment", &self.chain[member].name, error)
    }
}
