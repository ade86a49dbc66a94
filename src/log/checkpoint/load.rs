//! State as it was: the newest checkpoint that can be used, and the log behind it.
//!
//! Guarantees:
//! 1. What is loaded is what folding the whole log up to the end would give.
//! 2. A checkpoint that is damaged is passed over, and reported; then the one before it counts, or the whole log, if all of
//!    it is still there. If it is not, that is an error: state is never left out in silence.
//! 3. A checkpoint of a place that the log does not hold, or that ends behind another frame, is an error: the files are not
//!    of one time, or not of one log.
//! 4. So is one at the very end whose offset is not that of the end: nothing is folded there that would contradict it.
//! 5. One of a place below the start line is stale, and nothing else: it was about to be removed when its segment went.

use std::cmp::Ordering;

use super::{Checkpoints, Entries, Unusable, partial};
use crate::checksum::Seed;
use crate::error::{Error, Result};
use crate::format::checkpoint::{CheckpointHeader, EpochStart};
use crate::format::control::{GAP_BYTES, GapBody, StartLine};
use crate::format::frame::{self, HEADER_BYTES};
use crate::format::{Kind, checkpoint_name};
use crate::log::appender::StateSpan;
use crate::log::epochs::Epochs;
use crate::log::fold::{Piece, fold};
use crate::log::state::State;
use crate::log::survey::{CheckpointFile, Member, Survey, corrupt, io_error, open_segment};
use crate::log::window::Store;
use crate::platform::{Disk, File};
use crate::types::{Line, StoreId};

/// What was loaded; of a log that is created, nothing.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) state: State,
    /// Where state entries lie that no checkpoint holds.
    pub(crate) state_span: Option<StateSpan>,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) epochs: Epochs,
    /// Where the log begins.
    pub(crate) start: StartLine,
    /// Up to where the log was folded.
    pub(crate) end: Line,
    /// Bytes of log gone over.
    pub(crate) replayed_bytes: u64,
    /// Checkpoints that were passed over, and why.
    pub(crate) faults: Vec<String>,
}

/// The segments of a log to load the state of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segments<'a> {
    /// Oldest first.
    pub(crate) members: &'a [Member],
    /// Where the last one ends, if that is decided; else it is followed as far as it is whole.
    pub(crate) end: Option<Line>,
    /// Below this every frame is known to be whole.
    pub(crate) durable: Line,
    /// The start line as far as it is known without the frames behind the checkpoints.
    pub(crate) start: StartLine,
}

impl Loaded {
    /// The first segment that an open keeps: nothing goes that lies above the older checkpoint, and nothing without one.
    pub(crate) fn first_kept(&self) -> u64 {
        self.checkpoints.keeps().min(self.start.segment)
    }
}

/// Loads the state of a log.
///
/// # Errors
/// See the guarantees; and damage in what has to be folded.
pub(crate) fn load(disk: &dyn Disk, survey: &Survey, segments: Segments<'_>) -> Result<Loaded> {
    let Some(first) = segments.members.first() else {
        return Err(corrupt("no segment").at_path(disk.directory()));
    };
    let mut loaded = Loaded::default();
    let checkpoints = &mut loaded.checkpoints;
    checkpoints.sequence = survey.checkpoints.iter().map(|file| file.sequence).max().unwrap_or_default();
    checkpoints.found = checkpoints.sequence;
    for file in survey.checkpoints.iter().rev() {
        let found = match (&file.header, checkpoints.kept.is_empty()) {
            (Ok(header), false) if misfit(header, first.header.store_id, file).is_none() => Ok(*header),
            _ => read(disk, first.header.store_id, file).map(|(header, epochs, state)| {
                (loaded.epochs, loaded.state) = (Epochs::new(epochs), state);
                header
            }),
        };
        match found {
            Ok(header) if header.line.place.segment < segments.start.segment.min(first.header.number) => {
                checkpoints.stale.push(file.name.clone());
            }
            // A third one, which stayed when it should have gone: what it speaks of was rewritten since.
            Ok(header) if segments.has_moved(header.line.place.segment) => {
                checkpoints.stale.push(file.name.clone());
            }
            Ok(header) => {
                check_place(disk, segments, &file.name, &header)?;
                checkpoints.kept.push(header);
            }
            Err(Passed::Closed(error)) => return Err(io_error(disk, "open the checkpoint", &file.name, error)),
            Err(Passed::Over(cause, unread)) => {
                checkpoints.note_unread(disk, file.sequence, unread);
                loaded.faults.push(format!("{}: {cause}", file.name));
                checkpoints.stale.push(file.name.clone());
            }
        }
    }
    if checkpoints.kept.is_empty()
        && let Some(cause) = partial(segments.members.iter().map(|member| &member.header))
    {
        return Err(stateless(disk, cause, checkpoints.unread.take()));
    }
    let from = checkpoints.line();
    let (state, span) = (&mut loaded.state, &mut loaded.state_span);
    let folded = fold(disk, from, segments.pieces(disk, from.place.segment), &mut |entry, end| {
        state.load(entry, end);
        *span = Some(StateSpan { first: from, last: end });
        Ok(())
    })?;
    if let Some(end) = segments.end
        && folded.end != end
    {
        let text =
            format!("the checkpoint goes up to offset {}, and the log ends at {}", folded.end.offset, end.offset);
        return Err(corrupt(text).at_path(disk.directory()).at_place(end.place));
    }
    segments.members.iter().for_each(|member| loaded.epochs.note(&member.header));
    (loaded.end, loaded.replayed_bytes) = (folded.end, folded.bytes);
    let begin = StartLine { offset: first.header.first_offset, segment: first.header.number };
    loaded.start = segments.start.max(folded.start).max(begin);
    Ok(loaded)
}

/// What a log is refused for that was trimmed or rewritten, and of which no checkpoint is left; or why one was not read that
/// may be good.
pub(crate) fn stateless(disk: &dyn Disk, cause: String, unread: Option<Error>) -> Error {
    if let Some(error) = unread {
        return error;
    }
    corrupt(cause)
        .at_path(disk.directory())
        .next_step("restore a checkpoint (.ckp) if there is a copy; what is left can be read with esker dump")
}

impl<'a> Segments<'a> {
    /// Whether this segment is in one that was rewritten, and its frames at other places.
    fn has_moved(self, number: u64) -> bool {
        self.members.iter().any(|member| member.header.is_moved() && member.header.covers(number))
    }

    /// What to go over, from a segment on. Files are opened one at a time.
    fn pieces(self, disk: &'a dyn Disk, from: u64) -> impl Iterator<Item = Result<Piece>> + 'a {
        let within = self.members.iter().filter(move |member| member.header.number >= from);
        within.map(move |member| {
            let number = member.header.number;
            let last =
                if self.members.last().is_some_and(|last| last.header.number == number) { self.end } else { None };
            let limit = last.map_or(member.limit(), |end| end.place.position);
            let whole = match (last, self.durable.place.segment.cmp(&number)) {
                (Some(_), _) | (None, Ordering::Greater) => limit,
                (None, _) if member.end.is_some() => limit,
                (None, Ordering::Equal) => self.durable.place.position.min(limit),
                (None, Ordering::Less) => 0,
            };
            let store = Store::File(open_segment(disk, &member.name)?);
            Ok(Piece { header: member.header, store, limit, whole })
        })
    }
}

/// Reads a checkpoint whole.
fn read(
    disk: &dyn Disk,
    store_id: StoreId,
    file: &CheckpointFile,
) -> std::result::Result<(CheckpointHeader, Vec<EpochStart>, State), Passed> {
    let (header, epochs, state) = Entries::read_whole(disk, &file.name)?;
    match misfit(&header, store_id, file) {
        Some(cause) => Err(Passed::Over(cause, None)),
        None => Ok((header, epochs, state)),
    }
}

/// Whether the frame that ends at the line of a checkpoint is the one that ended there when it was written, or a gap that
/// a repair left in its place. Copies of a log that both go on have segments and offsets in common, and no frame.
pub(crate) fn ends_as_said(
    file: &dyn File,
    seed: Seed,
    known_incarnation: u64,
    checkpoint: &CheckpointHeader,
) -> std::io::Result<bool> {
    let mut bytes = [0; HEADER_BYTES + GAP_BYTES];
    let (position, end) = (checkpoint.last.position, checkpoint.line.place.position);
    let read = file.read_at(&mut bytes, position)?;
    let bytes = bytes.get(..read).unwrap_or_default();
    let room = end.saturating_sub(position);
    let Some(found) = frame::header(bytes, seed, position, room) else { return Ok(false) };
    if found.kind == Kind::Gap {
        let gap = GapBody::decode(frame::body(bytes, &found));
        return Ok(gap.is_ok_and(|gap| position.saturating_add(gap.bytes.into()) == end));
    }
    // As it was in the segment that was rewritten.
    let original = found.encode(Seed::new(known_incarnation), position);
    Ok(original.checksum() == checkpoint.last.checksum && position.saturating_add(found.stride()) == end)
}

/// Why a checkpoint that is whole is not one of this log.
pub(crate) fn misfit(header: &CheckpointHeader, store_id: StoreId, file: &CheckpointFile) -> Option<String> {
    if header.store_id != store_id {
        return Some(format!("belongs to store {}, the log to store {store_id}", header.store_id));
    }
    (header.sequence != file.sequence).then(|| format!("its own name is {}", checkpoint_name(header.sequence)))
}

/// What is made of a checkpoint that was not loaded.
enum Passed {
    /// It can be done without; with what the system said, if that is why.
    Over(String, Option<std::io::Error>),
    /// It may be good, and cannot be opened now.
    Closed(std::io::Error),
}

impl From<Unusable> for Passed {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Closed(error) => Self::Closed(error),
            Unusable::Io(error) => Self::Over(error.to_string(), Some(error)),
            Unusable::Bad(fault) => Self::Over(fault.to_string(), None),
        }
    }
}

/// Its line must lie in the log, in the very segment in which it lay.
fn check_place(disk: &dyn Disk, segments: Segments<'_>, name: &str, header: &CheckpointHeader) -> Result<()> {
    let place = header.line.place;
    let found = segments.members.iter().find(|member| member.header.number == place.segment);
    let cause = match found {
        None => "which is not part of the log".to_owned(),
        Some(found) if found.header.known_incarnation() != header.incarnation => {
            format!("incarnation {:016x}, found is {:016x}", header.incarnation, found.header.known_incarnation())
        }
        Some(found) if place.position > found.limit() => format!("and its segment ends at {}", found.limit()),
        Some(found) => {
            let file = open_segment(disk, &found.name)?;
            let failed = |error| io_error(disk, "read the segment", &found.name, error);
            let seed = Seed::new(found.header.incarnation);
            if ends_as_said(&*file, seed, found.header.known_incarnation(), header).map_err(failed)? {
                return Ok(());
            }
            "and another frame ends there: the files are of two logs that were one".to_owned()
        }
    };
    Err(corrupt(format!("the checkpoint goes up to {place}, {cause}")).at_path(disk.directory().join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::log::decide::decide;
    use crate::log::survey::survey;
    use crate::log::{Background, Commit, Options};
    use crate::platform::SystemDisk;
    use crate::types::Offset;

    #[test]
    fn a_log_whose_beginning_is_gone_needs_a_checkpoint() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let log = Options::new().background(Background::Manual).open(folder.path()).expect("opens");
        let _ = log.commit(Commit::new().record(b"a").state("k", "v")).expect("commits");
        log.close().expect("closes");
        let disk = SystemDisk::open(folder.path()).expect("opens");
        let mut found = survey(&disk).expect("looks");
        let mut decision = decide(&disk, &found).expect("decides").expect("a log");
        decision.chain[0].header.first_offset = Offset::new(1);
        let loaded = load(&disk, &found, decision.segments()).expect("the checkpoint holds the state");
        assert_eq!((loaded.state.size().keys, loaded.replayed_bytes), (1, 0));
        found.checkpoints.clear();
        let error = load(&disk, &found, decision.segments()).expect_err("its state is gone");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("no checkpoint holds the state"), "{error}");
    }
}
