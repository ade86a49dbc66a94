//! The places of the chain: segments that are there, and those that have to be made again.
//!
//! Guarantees:
//! 1. Slots come in the order of the log. Each knows what its successor calls it, if anything does.
//! 2. A segment without a valid header is a slot with frames only if they prove it: by the incarnation that its successor
//!    or a checkpoint names, or by themselves ([`unheaded`](crate::inspect::unheaded)), as those do that were written anew.
//! 3. The offset with which such a segment begins is never guessed: what follows tells it, a durable line that lies in it, or
//!    the segment before it, if a compaction wrote it; else it is left open, for what comes before to tell. What a repair
//!    wrote proves no more than what it replaced. Places in a segment from which records were dropped tell nothing.
//! 4. What was not durable has no slot, and neither has anything behind it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use crate::error::{Error, Result};
use crate::format::checkpoint::CheckpointHeader;
use crate::format::control::StartLine;
use crate::format::header::{Link, Places, Rewritten, SegmentHeader};
use crate::format::{FRAME_ALIGNMENT, FRAMES_START, Kind};
use crate::inspect::FindingClass;
use crate::inspect::chain::{Chain, Mended, Piece, Source, was_durable};
use crate::inspect::unheaded::seed_of;
use crate::inspect::unreadable::Readable;
use crate::log::{FoundFrame, Scan, Scanned, Store, open_segment};
use crate::platform::Disk;
use crate::segment::walk::Frames;
use crate::types::{Epoch, Line, Offset, Place};

/// The most durable lines that are looked for in a segment.
const LINES_MAX: usize = 256;

/// Of a segment that nothing names.
const NOT_THERE: &str = "what came before the next segment is not there";

/// A place of the chain.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) number: u64,
    /// Where its frames are; `None`: nothing is left of it.
    pub(super) frames: Option<Stored>,
    /// Its header as stored, or as far as it is known.
    pub(super) header: Option<SegmentHeader>,
    /// What that says of the originals that it stands for.
    pub(super) rewritten: Option<Rewritten>,
    /// The incarnation by which others know it; 0 if nobody says.
    pub(super) incarnation: u64,
    /// Where its frames end, if that is settled.
    pub(super) end: Option<u64>,
    pub(super) first_offset: Option<Offset>,
    /// What is wrong with its header, or why it is not there.
    pub(super) cause: Option<String>,
    /// Its header, and so what came before it, is put together from its neighbours.
    pub(super) rebuilt: Rebuilt,
    /// Of the last segment: how long the file is that became shorter, 0 if it is not there. What stood behind nobody knows.
    pub(super) cut: Option<u64>,
}

/// How much of a header is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rebuilt {
    /// Nothing: it is as stored, or one bit of it was mended.
    No,
    /// All.
    Yes,
}

/// Frames in a file.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) frames: Frames,
    /// Up to where they may lie in the file.
    pub(super) limit: u64,
    /// How long the file was.
    pub(super) capacity: u64,
}

/// What a plan is made from.
pub(super) struct Known<'a> {
    pub(super) disk: &'a dyn Disk,
    /// The same one.
    pub(super) readable: &'a Readable<'a>,
    pub(super) chain: &'a Chain,
    pub(super) durable: Line,
    /// Checkpoints whose headers are good, and of this store.
    pub(super) checkpoints: &'a [CheckpointHeader],
    /// The epoch that the newest whole checkpoint knows of, and the segment in which its line lies.
    pub(super) epoch: Option<(Epoch, u64)>,
}

/// The slots of a log, oldest first.
pub(super) fn slots(known: &Known<'_>) -> Result<Vec<Slot>> {
    let pieces = &known.chain.pieces;
    let mut slots = Vec::new();
    for piece in pieces {
        if let Some(gap) = &piece.gap {
            if !was_durable(gap.number, known.durable) {
                return Ok(slots);
            }
            if gap.class != FindingClass::HeaderRot
                && let Some(link) = &piece.header.predecessor
            {
                // A file of that name which is not the one that is meant is of another history.
                slots.retain(|slot: &Slot| slot.number < link.number);
                slots.push(Slot::lost(link.number, Some(link), &gap.cause));
            }
        }
        let ended = slots.last().filter(|before| before.rewritten.is_some()).map(Slot::last_number);
        if ended.is_some_and(|ended| piece.source == Source::Rebuilt && ended.saturating_add(1) < piece.number()) {
            // The one before says where it ends: what is lost behind it does not fit there.
            slots.push(Slot::lost(piece.number().saturating_sub(1), None, NOT_THERE));
        }
        slots.push(Slot::of_piece(known, piece));
    }
    let newest = known.chain.newest();
    let mut last = known.chain.highest_known().max(known.durable.place.segment);
    if last == 0 {
        // Nothing says anything but what is in the files.
        last = known.chain.survey.files.last().map_or(0, |file| file.number);
    }
    if last > newest {
        let slot = newest_lost(known, last)?;
        if was_durable(last, known.durable) || (pieces.is_empty() && slot.frames.is_some()) {
            slots.push(slot);
        }
    }
    for index in 0..slots.len() {
        let follows = slots.get(index.saturating_add(1)).and_then(|next| next.first_offset);
        let before = index.checked_sub(1).and_then(|before| slots.get(before)).and_then(|slot| slot.rewritten);
        if let Some(slot) = slots.get_mut(index) {
            slot.find_first_offset(known, before, follows)?;
            slot.find_incarnation(known.checkpoints);
        }
    }
    if let Some(first) = slots.first_mut()
        && first.rebuilt == Rebuilt::Yes
        && first.number > known.chain.start.segment.max(1)
        && first.first_offset.is_some_and(|offset| offset > Offset::ZERO)
    {
        let before = first.number.saturating_sub(1);
        slots.insert(0, Slot::lost(before, None, NOT_THERE));
    }
    Ok(slots)
}

/// The newest segment, whose header nothing proves but its own frames, or a checkpoint.
fn newest_lost(known: &Known<'_>, number: u64) -> Result<Slot> {
    let Some(file) = known.chain.survey.files.iter().find(|file| file.number == number) else {
        return Ok(Slot { cut: Some(0), ..Slot::lost(number, None, "the last segment that is known of") });
    };
    let cause = file.header.as_ref().err().map_or("its header is zero".to_owned(), ToString::to_string);
    let mut slot = Slot::lost(number, None, &cause);
    if let Some(seed) = seed_of(known.disk, &known.chain.survey, file)? {
        let frames = Frames { seed, first_offset: Offset::ZERO, end: file.length, rewritten: None };
        slot.frames = Some(Stored { name: file.name.clone(), frames, limit: file.length, capacity: file.length });
    }
    Ok(slot)
}

impl Slot {
    fn lost(number: u64, link: Option<&Link>, cause: &str) -> Self {
        Self {
            number,
            frames: None,
            header: None,
            rewritten: None,
            incarnation: link.map_or(0, |link| link.incarnation),
            end: link.map(|link| link.end.max(FRAMES_START)),
            first_offset: None,
            cause: Some(cause.to_owned()),
            rebuilt: Rebuilt::Yes,
            cut: None,
        }
    }

    fn of_piece(known: &Known<'_>, piece: &Piece) -> Self {
        let number = piece.number();
        let mended = known.chain.mended.iter().find_map(|mended| match mended {
            Mended::Header { number: of, fault } if *of == number => Some(fault.to_string()),
            _ => None,
        });
        let stored = piece.source == Source::Stored;
        let limit = piece.limit();
        let cause = if stored { mended } else { piece.gap.as_ref().map(|gap| gap.cause.clone()) };
        let capacity = piece.header.capacity;
        // No open goes on with a file that became shorter, wherever the log ends.
        let is_cut = piece.end.is_none() && piece.length < capacity;
        // ... nor with one that lost only the padding behind its last frame.
        let expected = piece.end.unwrap_or(capacity);
        let cut = || format!("the file was cut at {}, at least {expected} bytes are expected", piece.length);
        let cause = cause.or_else(|| (piece.length < expected).then(cut));
        Self {
            number,
            frames: Some(Stored { name: piece.name.clone(), frames: piece.frames(), limit, capacity }),
            header: stored.then_some(piece.header),
            rewritten: piece.header.rewritten,
            incarnation: piece.header.known_incarnation(),
            end: piece.end,
            first_offset: stored.then_some(piece.header.first_offset),
            cause,
            rebuilt: if stored { Rebuilt::No } else { Rebuilt::Yes },
            cut: is_cut.then_some(piece.length),
        }
    }

    /// The last number that it stands for.
    pub(super) fn last_number(&self) -> u64 {
        self.rewritten.map_or(self.number, |rewritten| rewritten.last_number)
    }

    /// Frames count offsets from the first of their segment: wherever one of them is known, the first is.
    fn find_first_offset(
        &mut self,
        known: &Known<'_>,
        before: Option<Rewritten>,
        follows: Option<Offset>,
    ) -> Result<()> {
        let (Some(stored), None) = (&mut self.frames, self.first_offset) else { return Ok(()) };
        let number = self.number;
        // What a repair wrote ends where that guessed, if its last frame is a gap: only a seal tells, and sifting looks for it.
        let is_proof =
            |before: &Rewritten| before.places == Places::Moved && before.last_number.saturating_add(1) == number;
        let ended = before.filter(is_proof);
        if number == 1 {
            self.first_offset = Some(Offset::ZERO);
        } else if let Some(ended) = ended {
            self.first_offset = Some(ended.end_offset);
        } else if self.rewritten.is_none() {
            let within = known.checkpoints.iter().map(|checkpoint| checkpoint.line).chain([known.durable]);
            let mut lines: Vec<Line> = within.filter(|line| line.place.segment == number).collect();
            if let (Some(offset), Some(end)) = (follows, self.end) {
                lines.push(Line { place: Place::new(number, end), offset });
            }
            go_over(known.disk, stored, &mut |scan, found| {
                let line = found.and_then(|found| scan.frame(found).line(number)).map(|body| body.durable);
                lines.extend(line.filter(|line| line.place.segment == number && lines.len() < LINES_MAX));
            })?;
            let mut first = None;
            go_over(known.disk, stored, &mut |scan, _| {
                let here = lines.iter().find(|line| line.place.position == scan.position);
                let fits = here.filter(|line| line.offset >= scan.offset);
                first = first.or(fits.map(|line| Offset::new(line.offset.since(scan.offset))));
            })?;
            self.first_offset = first;
        }
        if let Some(first) = self.first_offset {
            stored.frames.first_offset = first;
        }
        Ok(())
    }

    /// The link of a header that is put together. What the start line let go came before too: state may begin there.
    pub(super) fn link_back(&self, before: Option<Link>, start: StartLine) -> Option<Link> {
        let gone = self.number.checked_sub(1).filter(|number| *number > 0 && self.number == start.segment);
        before.or(gone.map(|number| Link { number, incarnation: 0, end: FRAMES_START }))
    }

    /// A checkpoint names the incarnation of the segment that its line lies in.
    fn find_incarnation(&mut self, checkpoints: &[CheckpointHeader]) {
        if self.incarnation == 0 {
            let within = checkpoints.iter().filter(|checkpoint| checkpoint.line.place.segment == self.number);
            self.incarnation = within.map(|checkpoint| checkpoint.incarnation).next_back().unwrap_or_default();
        }
    }
}

/// Goes over the frames in a file, offsets counted from 0, and shows each place that a frame is known to end at, or begin.
fn go_over(disk: &dyn Disk, stored: &Stored, show: &mut dyn FnMut(&Scan, Option<&FoundFrame>)) -> Result<()> {
    let frames = Frames { first_offset: Offset::ZERO, ..stored.frames };
    let store = Store::File(open_segment(disk, &stored.name)?);
    let mut scan = Scan::new(store, frames, FRAMES_START, Offset::ZERO, stored.limit);
    let failed = |error| Error::io("read the segment", error).at_path(disk.directory().join(&stored.name));
    loop {
        match scan.next_anywhere().map_err(failed)? {
            Scanned::Frame(found) if found.header.kind == Kind::Gap => {
                // Its offset is a whole one, not counted from here: the next header tells where it goes on.
                scan.position = scan.position.saturating_sub(FRAME_ALIGNMENT);
                if !scan.resync().map_err(failed)? {
                    return Ok(());
                }
                show(&scan, None);
            }
            Scanned::Frame(found) => show(&scan, Some(&found)),
            Scanned::Bad { next: Some((position, offset)), .. } => {
                (scan.position, scan.offset) = (position, offset);
                show(&scan, None);
            }
            Scanned::Bad { .. } | Scanned::Zero | Scanned::End => {
                if !scan.resync().map_err(failed)? {
                    return Ok(());
                }
                show(&scan, None);
            }
        }
    }
}
