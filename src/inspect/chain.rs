//! The chain as far as it can be followed: where recovery would stop at a broken link, this goes on.
//!
//! Guarantees:
//! 1. Without damage the pieces are the chain of `log::survey`.
//! 2. A segment whose header is lost, but whose incarnation and end its successor names, is still a piece; what is not
//!    known of it is put together from its neighbours, and from its frames ([`unheaded`](super::unheaded)).
//! 3. What does not fit is looked at again before it is believed: a writer may be at work.
//! 4. What lies below the start line is no piece, and nothing there is missing.
//! 5. Only a header that a later program may have written is an error; and, where files are to be mended, two stores that as
//!    much speaks for, and two files under each other's names.

use super::unheaded::{Proof, Thinned, prove};
use super::{Finding, FindingClass};
use crate::checksum::Seed;
use crate::error::{Error, ErrorKind, Result};
use crate::format::control::StartLine;
use crate::format::header::{self, Link, Places, Rewritten, SegmentHeader};
use crate::format::{FRAMES_START, Fault, SEGMENT_BYTES_MAX, segment_name, segment_number};
use crate::log::{ANCHOR_NAME, Links, Member, SegmentFile, Survey, decide, holds_frames, open_segment, start};
use crate::platform::Disk;
use crate::segment::walk::Frames;
use crate::types::{Line, Offset, Place, StoreId};

/// How often a directory that does not fit together is looked at.
const LOOKS_MAX: usize = 3;

/// A segment of the log.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) name: String,
    pub(crate) header: SegmentHeader,
    pub(crate) source: Source,
    /// Of its frames.
    pub(crate) seed: Seed,
    pub(crate) length: u64,
    /// Where its successor says that it ends.
    pub(crate) end: Option<u64>,
    /// What is wrong between this piece and the one before it.
    pub(crate) gap: Option<Gap>,
}

/// Where the header of a piece comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// From its file.
    Stored,
    /// Put together from what its neighbours say, and its frames; the first offset is not known.
    Rebuilt,
}

/// A link that does not hold.
#[derive(Debug)]
pub(crate) struct Gap {
    /// The segment that is not there or not whole.
    pub(crate) number: u64,
    pub(crate) class: FindingClass,
    pub(crate) cause: String,
}

/// A directory, as far as its headers tell.
#[derive(Debug)]
pub(crate) struct Chain {
    /// Oldest first; their numbers rise.
    pub(crate) pieces: Vec<Piece>,
    /// Where the log begins, as far as something says.
    pub(crate) start: StartLine,
    pub(crate) survey: Survey,
    /// What was set aside because it is not of this log.
    pub(crate) foreign: Vec<Finding>,
    /// What a repair would begin with; empty as the directory is.
    pub(crate) mended: Vec<Mended>,
}

/// Whether files are looked at as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    AsTheyAre,
    /// As if headers in which one bit turned were as before, and files under another's name under their own.
    Mended,
}

/// What was taken for mended.
#[derive(Debug, Clone)]
pub(crate) enum Mended {
    Header { number: u64, fault: Fault },
    Name { file: String, number: u64 },
}

impl Piece {
    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }

    /// Up to where frames may lie.
    pub(crate) fn limit(&self) -> u64 {
        self.end.unwrap_or(self.header.capacity).min(self.length)
    }

    pub(crate) fn frames(&self) -> Frames {
        Frames { seed: self.seed, ..Frames::new(&self.header, self.limit()) }
    }

    fn stored(file: &SegmentFile, header: &SegmentHeader, successor: Option<&Link>) -> Self {
        let (end, seed) = (header.end(successor), Seed::new(header.incarnation));
        let (name, length) = (file.name.clone(), file.length);
        Self { name, header: *header, source: Source::Stored, seed, length, end, gap: None }
    }

    /// A segment without header of its own, before `next`, which has `link`.
    fn rebuilt(file: &SegmentFile, next: &SegmentHeader, link: Link, proof: Proof) -> Self {
        let capacity = file.length.clamp(FRAMES_START, SEGMENT_BYTES_MAX);
        let (rewritten, seed) = match proof {
            Proof::Nothing | Proof::Named => (None, Seed::new(link.incarnation)),
            Proof::Anew(seed) => (None, seed),
            Proof::Thinned(thinned) => (Some(thinned.before(next, link)), thinned.seed),
        };
        let header = SegmentHeader {
            number: file.number,
            incarnation: link.incarnation,
            first_offset: if file.number == 1 { Offset::ZERO } else { next.first_offset },
            predecessor: None,
            durable: Line::default(),
            capacity,
            generation: rewritten.is_some().into(),
            rewritten,
            ..*next
        };
        Self { source: Source::Rebuilt, seed, ..Self::stored(file, &header, Some(&link)) }
    }
}

impl Thinned {
    /// What the lost header said, before the segment `next`, which has `link`.
    fn before(&self, next: &SegmentHeader, link: Link) -> Rewritten {
        Rewritten {
            end: self.end,
            last_number: link.number,
            end_offset: next.first_offset,
            records: self.records,
            incarnation: link.incarnation,
            original_end: link.end,
            places: Places::Moved,
        }
    }
}

impl Chain {
    /// Looks at the directory, more than once if it does not fit together.
    pub(crate) fn look(disk: &dyn Disk) -> Result<Self> {
        let mut chain = Self::look_once(disk, Manner::AsTheyAre)?;
        for _ in 1..LOOKS_MAX {
            if chain.fits() {
                break;
            }
            chain = Self::look_once(disk, Manner::AsTheyAre)?;
        }
        Ok(chain)
    }

    pub(crate) fn look_once(disk: &dyn Disk, manner: Manner) -> Result<Self> {
        let mut survey = Survey::look(disk)?;
        refuse_unknown(disk, &survey)?;
        let mut mended = if manner == Manner::Mended { mend(disk, &mut survey)? } else { Vec::new() };
        let mut foreign = set_foreign_aside(disk, &mut survey);
        let mut pieces = pieces(disk, &survey)?;
        if take_names_back(&mut survey, &mut mended, &pieces) {
            foreign.extend(set_foreign_aside(disk, &mut survey));
            pieces = self::pieces(disk, &survey)?;
        }
        let mut chain = Self { pieces, start: survey.start(), survey, foreign, mended };
        chain.begin(disk)?;
        Ok(chain)
    }

    /// Takes off what the start line let go: also the link to what is gone.
    fn begin(&mut self, disk: &dyn Disk) -> Result<()> {
        self.start = self.start.max(self.start_in_frames(disk)?);
        let kept = self.start.segment;
        if self.pieces.iter().all(|piece| piece.number() < kept) {
            return Ok(());
        }
        self.pieces.retain(|piece| piece.number() >= kept);
        if let Some(first) = self.pieces.first_mut()
            && first.number() == kept
            && first.source == Source::Stored
        {
            first.gap = None;
        }
        Ok(())
    }

    /// What start-line frames say: of a log that opens all that it keeps, else those that say why a segment is gone.
    fn start_in_frames(&self, disk: &dyn Disk) -> Result<StartLine> {
        let known = self.survey.checkpointed();
        if let Ok(Some(decision)) = decide(disk, &self.survey) {
            let highest = start::highest(disk, &decision.chain, known, Some(decision.end))?;
            return Ok(highest.max(decision.start));
        }
        for piece in self.pieces.iter().rev().filter(|piece| piece.gap.is_some()) {
            if let Some(found) = start::first_that_keeps(disk, &self.members(piece.number()), known, piece.number())? {
                return Ok(found.start);
            }
        }
        Ok(StartLine::default())
    }

    /// The segments from a number on whose frames may be asked for start lines.
    fn members(&self, number: u64) -> Vec<Member> {
        let stored = self.pieces.iter().filter(|piece| piece.source == Source::Stored && piece.number() >= number);
        let member = |piece: &Piece| Member {
            name: piece.name.clone(),
            header: piece.header,
            length: piece.length,
            end: piece.end,
        };
        stored.map(member).collect()
    }

    /// Whether what stood there was let go by the start line, or stands elsewhere since its segment was rewritten.
    pub(crate) fn is_outlived(&self, place: Place) -> bool {
        let below = self.pieces.first().is_some_and(|first| place.segment < first.number().min(self.start.segment));
        below || self.pieces.iter().any(|piece| piece.header.is_moved() && piece.header.covers(place.segment))
    }

    /// The number of the newest segment; 0 if there is none.
    pub(crate) fn newest(&self) -> u64 {
        self.pieces.last().map_or(0, Piece::number)
    }

    /// The highest segment that something says is durable, as far as headers and anchor tell.
    pub(crate) fn highest_known(&self) -> u64 {
        let anchored = self.survey.own_anchor().map_or(0, |anchor| anchor.segment_highest);
        anchored.max(self.survey.durable().place.segment)
    }

    fn fits(&self) -> bool {
        self.foreign.is_empty()
            && self.pieces.iter().all(|piece| piece.gap.is_none())
            && self.survey.files.iter().all(|file| file.header.is_ok())
            && self.survey.anchor_faults.is_empty()
            && self.highest_known() <= self.newest()
    }

    /// Files with a segment's name that are no piece.
    pub(crate) fn leftovers(&self) -> impl Iterator<Item = &SegmentFile> {
        let is_piece = |file: &&SegmentFile| self.pieces.binary_search_by_key(&file.number, Piece::number).is_ok();
        self.survey.files.iter().filter(move |file| !is_piece(file))
    }

    /// What is to be said about the anchor. It decides nothing, so this is never damage.
    pub(crate) fn judge_anchor(&self, disk: &dyn Disk) -> Vec<Finding> {
        let finding = |cause: String| Finding::of_file(disk, FindingClass::BadAnchor, ANCHOR_NAME, None, cause);
        let unnoticed = "a lost last file would not be noticed";
        let mut findings: Vec<Finding> =
            self.survey.anchor_faults.iter().map(|fault| finding(format!("a slot does not check: {fault}"))).collect();
        match (self.survey.anchors.first(), self.survey.own_anchor()) {
            (Some(anchor), None) => {
                findings.push(finding(format!("belongs to store {}: ignored, {unnoticed}", anchor.store_id)));
            }
            (None, _) if findings.is_empty() => findings.push(finding(format!("nothing noted in it: {unnoticed}"))),
            _ => {}
        }
        findings
    }

    /// Files that are no part of the log: what a crash or a roll leaves, unless something says that they were durable.
    pub(crate) fn judge_leftovers(&self, disk: &dyn Disk, durable: Line) -> Vec<Finding> {
        let newest = self.newest();
        let known = self.highest_known().max(durable.place.segment);
        let mut findings = Vec::new();
        let mut seen = newest;
        for file in self.leftovers() {
            if file.number < self.start.segment && newest > 0 {
                let cause = "below the start line: dropped, and not removed yet".to_owned();
                let place = Some(Place::new(file.number, 0));
                findings.push(Finding::new(disk, FindingClass::Leftover, place, None, cause));
                continue;
            }
            let generation = file.header.as_ref().ok().and_then(Option::as_ref).map_or(0, |header| header.generation);
            if let Some(piece) = self.pieces.iter().find(|piece| piece.header.replaces(file.number, generation)) {
                let cause = format!("{} stands for it now, and it was not removed yet", piece.name);
                let place = Some(Place::new(file.number, 0));
                findings.push(Finding::new(disk, FindingClass::Leftover, place, None, cause));
                continue;
            }
            let above = file.number > newest;
            let in_use = above && file.number <= known;
            seen = seen.max(file.number);
            let (class, cause) = match &file.header {
                Ok(None) if in_use => (FindingClass::HeaderRot, "its header is zero, and it was in use".to_owned()),
                Ok(None) if newest == 0 && is_headless(disk, file) => {
                    (FindingClass::HeaderRot, "its header is zero, and frames are behind it".to_owned())
                }
                Ok(None) if above && is_headless(disk, file) => {
                    (FindingClass::TornTail, "frames, and no header before them; not known to be durable".to_owned())
                }
                Ok(None) if above => (FindingClass::SpareSegment, "prepared, not in use".to_owned()),
                Err(fault) if in_use || newest == 0 => (FindingClass::HeaderRot, fault.to_string()),
                Err(fault) if above => {
                    (FindingClass::TornTail, format!("{fault}; nothing in it was known to be durable"))
                }
                Err(fault) => (FindingClass::OffChain, format!("not part of the log: {fault}")),
                Ok(Some(_)) if in_use => {
                    (FindingClass::BrokenChain, "it was in use, and no link of the chain leads to it".to_owned())
                }
                Ok(_) => (FindingClass::OffChain, "not part of the log".to_owned()),
            };
            findings.push(Finding::new(disk, class, Some(Place::new(file.number, 0)), None, cause));
        }
        if known > seen {
            let cause = format!("it was in use; the newest segment that is there is {newest}");
            let place = Some(Place::new(known, 0));
            findings.push(Finding::new(disk, FindingClass::MissingSegment, place, None, cause));
        }
        findings
    }
}

/// Whether a segment holds frames behind a header of zeros. A writer that takes a spare stores the header first: whoever
/// finds frames looks whether there is none even now.
fn is_headless(disk: &dyn Disk, file: &SegmentFile) -> bool {
    // What cannot be read is found by who needs it.
    if !holds_frames(disk, file).is_ok_and(|holds| holds) {
        return false;
    }
    let mut bytes = [0; header::BYTES];
    let read = open_segment(disk, &file.name).ok().and_then(|opened| opened.read_at(&mut bytes, 0).ok());
    read.is_some() && bytes == [0; header::BYTES]
}

/// A header of another format under its right sum is good, and nothing can be judged.
fn refuse_unknown(disk: &dyn Disk, survey: &Survey) -> Result<()> {
    for file in &survey.files {
        if let Err(fault) = file.header
            && fault.is_unknown()
        {
            return Err(Error::new(ErrorKind::Incompatible, fault.to_string())
                .at_path(disk.directory().join(&file.name))
                .next_step("verify it with the version of esker that wrote it, or a newer one"));
        }
    }
    Ok(())
}

/// Takes for good what one bit made bad, and gives files their own names, in the survey alone.
fn mend(disk: &dyn Disk, survey: &mut Survey) -> Result<Vec<Mended>> {
    let mut mended = Vec::new();
    for file in &mut survey.files {
        let Err(fault) = file.header else { continue };
        let path = disk.directory().join(&file.name);
        let mut bytes = [0; header::BYTES];
        let opened = open_segment(disk, &file.name)?;
        opened.read_at(&mut bytes, 0).map_err(|error| Error::io("read the segment header", error).at_path(path))?;
        if let Some(header) = SegmentHeader::mend(&bytes).filter(|header| header.number == file.number) {
            file.header = Ok(Some(header));
            mended.push(Mended::Header { number: file.number, fault });
        }
    }
    give_names(disk, survey, &mut mended)?;
    Ok(mended)
}

/// Gives files of this log the names of their numbers: those that are free, or that a spare has.
fn give_names(disk: &dyn Disk, survey: &mut Survey, mended: &mut Vec<Mended>) -> Result<()> {
    refuse_two_stores(disk, survey)?;
    let store_id = own_store(survey);
    let own = |(file, header): (&SegmentFile, &SegmentHeader)| {
        (header.store_id == store_id).then(|| (file.name.clone(), file.number, header.number))
    };
    let mut misnamed: Vec<_> = survey.valid().filter_map(own).filter(|(_, named, number)| named != number).collect();
    loop {
        let mut left = Vec::new();
        for (name, named, number) in &misnamed {
            if !is_free(disk, survey, *number)? {
                left.push((name.clone(), *named, *number));
                continue;
            }
            survey.files.retain(|file| file.number != *number);
            if let Some(file) = survey.files.iter_mut().find(|file| file.name == *name) {
                file.number = *number;
                mended.push(Mended::Name { file: name.clone(), number: *number });
            }
        }
        // A name that was given may have left one that another file waits for.
        if left.len() == misnamed.len() {
            break;
        }
        misnamed = left;
    }
    for (name, _, number) in &misnamed {
        if let Some((other, ..)) = misnamed.iter().find(|(_, named, _)| named == number) {
            // Either could be given up for the other, and both may be whole.
            let text = format!("it is segment {number}, and {other}, which has that name, is another");
            return Err(Error::new(ErrorKind::Corrupt, text)
                .at_path(disk.directory().join(name))
                .next_step("give the files the names of their segments, or move away what is too much"));
        }
    }
    survey.files.sort_by_key(|file| file.number);
    Ok(())
}

/// Whether no file has this name, or one that holds nothing.
fn is_free(disk: &dyn Disk, survey: &Survey, number: u64) -> Result<bool> {
    match survey.files.iter().find(|file| file.number == number) {
        Some(spare) => Ok(spare.header == Ok(None) && !holds_frames(disk, spare)?),
        None => Ok(true),
    }
}

/// A name that leads no file into the chain is not given: its number may be what is wrong. Whether there was one.
fn take_names_back(survey: &mut Survey, mended: &mut Vec<Mended>, pieces: &[Piece]) -> bool {
    let before = mended.len();
    mended.retain(|mended| {
        let Mended::Name { file, number } = mended else { return true };
        let is_piece = pieces.iter().any(|piece| piece.number() == *number);
        if let Some(found) = survey.files.iter_mut().find(|found| found.name == *file && !is_piece) {
            found.number = segment_number(file).unwrap_or(found.number);
        }
        is_piece
    });
    survey.files.sort_by_key(|file| file.number);
    mended.len() < before
}

/// Takes files out of the survey that are under another's name, or of another store.
fn set_foreign_aside(disk: &dyn Disk, survey: &mut Survey) -> Vec<Finding> {
    let store_id = own_store(survey);
    let mut findings = Vec::new();
    survey.files.retain(|file| {
        let Ok(Some(header)) = &file.header else { return true };
        let cause = if header.store_id != store_id {
            format!("belongs to store {}, the log to store {store_id}: move it out of the directory", header.store_id)
        } else if header.number != file.number {
            format!("the header says segment {}: give the file its own name again", header.number)
        } else {
            return true;
        };
        let class = FindingClass::ForeignSegment;
        findings.push(Finding::of_file(disk, class, &file.name, Some(file.number), cause));
        false
    });
    findings
}

/// The stores that segments, checkpoints and slots of the anchor name, each with how many files do, and how many of them are
/// segments. The most named one comes first.
fn stores(survey: &Survey) -> Vec<((usize, usize), StoreId)> {
    let segments = survey.valid().map(|(_, header)| (header.store_id, 1));
    let checkpoints = survey.checkpoints.iter().filter_map(|file| file.header.as_ref().ok());
    let checkpoints = checkpoints.map(|header| (header.store_id, 0));
    let anchors = survey.anchors.iter().map(|anchor| (anchor.store_id, 0));
    let mut named: Vec<(StoreId, usize)> = segments.chain(checkpoints).chain(anchors).collect();
    named.sort_unstable();
    let runs = named.chunk_by(|one, other| one.0 == other.0);
    let counted = runs.filter_map(|run| {
        let segments = run.iter().fold(0, |sum: usize, (_, segment)| sum.saturating_add(*segment));
        Some(((run.len(), segments), run.first()?.0))
    });
    let mut stores: Vec<_> = counted.collect();
    stores.sort_unstable_by_key(|(named, _)| std::cmp::Reverse(*named));
    stores
}

/// The store whose log this is.
fn own_store(survey: &Survey) -> StoreId {
    stores(survey).first().map(|(_, store_id)| *store_id).unwrap_or_default()
}

/// A repair has to know whose log it is: it sets the files of all other stores aside.
fn refuse_two_stores(disk: &dyn Disk, survey: &Survey) -> Result<()> {
    match stores(survey).as_slice() {
        [(one, first), (other, second), ..] if one == other => {
            let text = format!("as many files of store {first} as of store {second}: whose log it is cannot be told");
            Err(Error::new(ErrorKind::Corrupt, text)
                .at_path(disk.directory())
                .next_step("move the files of one of the two out of the directory; esker verify names them"))
        }
        _ => Ok(()),
    }
}

fn pieces(disk: &dyn Disk, survey: &Survey) -> Result<Vec<Piece>> {
    let mut pieces: Vec<Piece> = Vec::new();
    let links = Links::of(survey);
    let mut below = u64::MAX;
    while let Some((file, newest)) = survey.newest_up_to(below) {
        pieces.push(Piece::stored(file, newest, None));
        let mut current = *newest;
        below = 0;
        while let Some(link) = current.predecessor {
            match links.linked(link, current.first_offset) {
                Ok((file, before)) => {
                    pieces.push(Piece::stored(file, before, Some(&link)));
                    current = *before;
                }
                Err(cause) => {
                    below = cross(disk, survey, &mut pieces, &current, link, &cause)?;
                    break;
                }
            }
        }
    }
    pieces.reverse();
    Ok(pieces)
}

/// Notes a link of `current` that does not hold; the chain goes on at or below the number returned.
fn cross(
    disk: &dyn Disk,
    survey: &Survey,
    pieces: &mut Vec<Piece>,
    current: &SegmentHeader,
    link: Link,
    cause: &str,
) -> Result<u64> {
    let found = survey.files.iter().find(|file| file.number == link.number);
    let class = match found.map(|file| &file.header) {
        None => FindingClass::MissingSegment,
        Some(Ok(Some(_))) => FindingClass::BrokenChain,
        Some(Ok(None) | Err(_)) => FindingClass::HeaderRot,
    };
    let rebuilt = match (class, found) {
        (FindingClass::HeaderRot, Some(file)) => {
            let proof = prove(disk, survey, file, (Seed::new(link.incarnation), link.end), current.first_offset)?;
            Some(Piece::rebuilt(file, current, link, proof))
        }
        (FindingClass::MissingSegment, _) => covering(disk, survey, current, link)?,
        _ => None,
    };
    let text = |cause: &str| format!("{} links to segment {}: {cause}", segment_name(current.number), link.number);
    if let Some(piece) = rebuilt {
        let number = piece.number();
        let cause = if number == link.number {
            text(cause)
        } else {
            text(&format!("{} stands for it, and has no valid header", piece.name))
        };
        pieces.push(Piece { gap: Some(Gap { number, class: FindingClass::HeaderRot, cause }), ..piece });
        return Ok(number.saturating_sub(1));
    }
    if let Some(last) = pieces.last_mut() {
        last.gap = Some(Gap { number: link.number, class, cause: text(cause) });
    }
    Ok(current.number.saturating_sub(1))
}

/// The segment that stood for the one that a link leads to and that is not there, if it lost its header: the one before it,
/// if records were dropped from that. Not if something is left of a file of its own, or if a checkpoint kept it from being
/// rewritten.
fn covering(disk: &dyn Disk, survey: &Survey, next: &SegmentHeader, link: Link) -> Result<Option<Piece>> {
    let before = survey.files.iter().rev().find(|file| file.number < link.number);
    let Some(file) = before.filter(|file| !matches!(file.header, Ok(Some(_)))) else { return Ok(None) };
    let behind = file.number.saturating_add(1)..=link.number;
    let is_own = survey.indexes.iter().any(|number| behind.contains(number));
    let is_held = survey.own_checkpoints().any(|checkpoint| checkpoint.line.place.segment <= link.number);
    if is_own || is_held {
        return Ok(None);
    }
    let proof = prove(disk, survey, file, (Seed::new(link.incarnation), link.end), next.first_offset)?;
    Ok(matches!(proof, Proof::Thinned(_)).then(|| Piece::rebuilt(file, next, link, proof)))
}

/// Whether a segment without (valid) header was known to be durable.
pub(crate) fn was_durable(number: u64, durable: Line) -> bool {
    durable.place > Place::new(number, FRAMES_START)
}
