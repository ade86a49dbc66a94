//! The check of the checkpoints: each is what was written, of this log, and says what the log says.
//!
//! Guarantees:
//! 1. Every byte of every checkpoint is read and summed, and every entry decoded.
//! 2. If nothing else is damaged, the newest one is compared with the log itself: entry by entry, versions included, it is
//!    what the log holds up to its line, from the start of the log, or from the older checkpoint if that start is gone. Over a
//!    gap that a repair left nothing can be compared.
//! 3. A checkpoint that a running writer replaced meanwhile is no finding.

use super::chain::{Chain, Piece};
use super::{Finding, FindingClass};
use crate::checksum::Seed;
use crate::error::{Error, ErrorKind, Result};
use crate::format::checkpoint::CheckpointHeader;
use crate::format::{checkpoint_name, is_checkpoint_draft, is_index_draft};
use crate::log::{
    CheckpointFile, Entries, FoldPiece, State, Store, Unusable, ends_as_said, fold, foreign, open_segment, partial,
};
use crate::platform::Disk;
use crate::types::{Line, Place};

/// What is known of the checkpoints.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) findings: Vec<Finding>,
    /// How many are good.
    pub(crate) good: u64,
}

/// What was found of all else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    Whole,
    Damaged,
}

/// Checks all of them; `gaps` are the places behind the gaps of the log.
pub(crate) fn check(disk: &dyn Disk, chain: &Chain, rest: Rest, gaps: &[Place]) -> Result<Checked> {
    let mut checked = Checked::default();
    let mut good: Vec<(CheckpointHeader, State)> = Vec::new();
    for file in &chain.survey.checkpoints {
        let found = read(disk, file).and_then(|(header, state)| match misfit(disk, chain, file, &header, rest) {
            Some(cause) => Err(Wrong::Misfit(cause)),
            None => Ok((header, state)),
        });
        match found {
            Ok((header, _)) if chain.is_outlived(header.line.place) => {
                let cause = "goes up to what was dropped since, not in use";
                checked.findings.push(finding(disk, FindingClass::Leftover, &file.name, cause));
            }
            Ok(found) => {
                checked.good = checked.good.saturating_add(1);
                // Two are compared, however many there are.
                good.drain(..good.len().saturating_sub(1));
                good.push(found);
            }
            Err(Wrong::Gone) => {}
            Err(Wrong::Later(error)) => return Err(error),
            Err(Wrong::Rotten(cause)) => {
                checked.findings.push(finding(disk, FindingClass::BadCheckpoint, &file.name, &cause));
            }
            Err(Wrong::Misfit(cause)) => {
                checked.findings.push(finding(disk, FindingClass::WrongCheckpoint, &file.name, &cause));
            }
        }
    }
    for name in &chain.survey.drafts {
        let cause = if is_checkpoint_draft(name) || is_index_draft(name) {
            "was being written, not in use"
        } else {
            "left by a repair that did not end, not in use"
        };
        checked.findings.push(finding(disk, FindingClass::Leftover, name, cause));
    }
    if rest == Rest::Whole
        && let Some((newest, state)) = good.pop()
    {
        let before = good.pop();
        match disagreement(disk, chain, &newest, &state, before, gaps)? {
            None => {}
            Some((class, cause)) => {
                checked.findings.push(finding(disk, class, &checkpoint_name(newest.sequence), &cause));
            }
        }
    }
    Ok(checked)
}

/// Why a checkpoint is no good.
enum Wrong {
    /// It is not there any more.
    Gone,
    /// A later program wrote it, or it cannot be opened.
    Later(Error),
    Rotten(String),
    Misfit(String),
}

fn read(disk: &dyn Disk, file: &CheckpointFile) -> std::result::Result<(CheckpointHeader, State), Wrong> {
    let (header, _epochs, state) = Entries::read_whole(disk, &file.name).map_err(|unusable| match unusable {
        Unusable::Io(error) if error.kind() == std::io::ErrorKind::NotFound => Wrong::Gone,
        Unusable::Closed(error) => {
            Wrong::Later(Error::io("open the checkpoint", error).at_path(disk.directory().join(&file.name)))
        }
        Unusable::Bad(fault) if fault.is_unknown() => Wrong::Later(
            Error::new(ErrorKind::Incompatible, fault.to_string())
                .at_path(disk.directory().join(&file.name))
                .next_step("verify it with the version of esker that wrote it, or a newer one"),
        ),
        unusable => Wrong::Rotten(unusable.to_string()),
    })?;
    Ok((header, state))
}

/// Why a checkpoint that is whole is not one of this log.
fn misfit(
    disk: &dyn Disk,
    chain: &Chain,
    file: &CheckpointFile,
    header: &CheckpointHeader,
    rest: Rest,
) -> Option<String> {
    if let Some(first) = chain.pieces.first()
        && let Some(cause) = foreign(header, first.header.store_id, file)
    {
        return Some(cause);
    }
    if rest == Rest::Damaged {
        // What its line leads to may be what is lost, and that was said.
        return None;
    }
    let place = header.line.place;
    if chain.is_outlived(place) {
        return None;
    }
    let piece = chain.pieces.iter().find(|piece| piece.number() == place.segment);
    match piece {
        None => Some(format!("goes up to {place}, which is not part of the log")),
        Some(piece) if piece.header.known_incarnation() != header.incarnation => {
            let (found, expected) = (piece.header.known_incarnation(), header.incarnation);
            Some(format!("goes up to {place} of incarnation {expected:016x}, found is {found:016x}"))
        }
        Some(piece) if place.position > piece.limit() => {
            Some(format!("goes up to {place}, and the segment ends at {}", piece.limit()))
        }
        Some(piece) => {
            let same = open_segment(disk, &piece.name).is_ok_and(|segment| {
                // What cannot be read was found by the check of the segment.
                let seed = Seed::new(piece.header.incarnation);
                ends_as_said(&*segment, seed, piece.header.known_incarnation(), header).unwrap_or(true)
            });
            (!same).then(|| format!("goes up to {place}, and another frame ends there than when it was written"))
        }
    }
}

/// In what the newest checkpoint differs from the log.
fn disagreement(
    disk: &dyn Disk,
    chain: &Chain,
    newest: &CheckpointHeader,
    state: &State,
    before: Option<(CheckpointHeader, State)>,
    gaps: &[Place],
) -> Result<Option<(FindingClass, String)>> {
    let (from, mut folded) = if partial(chain.pieces.iter().map(|piece| &piece.header)).is_none() {
        (Line::default(), State::default())
    } else if let Some((header, state)) = before {
        (header.line, state)
    } else {
        return Ok(None);
    };
    let between = from.place..=newest.line.place;
    if gaps.iter().any(|gap| between.contains(gap)) {
        return Ok(None);
    }
    let within = |piece: &&Piece| (from.place.segment..=newest.line.place.segment).contains(&piece.number());
    let pieces = chain.pieces.iter().filter(within).map(|piece| {
        let last = piece.number() == newest.line.place.segment;
        let limit = if last { newest.line.place.position } else { piece.limit() };
        let store = Store::File(open_segment(disk, &piece.name)?);
        Ok(FoldPiece { header: piece.header, store, limit, whole: limit })
    });
    let end = fold(disk, from, pieces, &mut |entry, end| {
        folded.load(entry, end);
        Ok(())
    })?;
    if end.end != newest.line {
        let (found, expected) = (newest.line, end.end);
        let cause = format!("goes up to {} with offset {}, the log has {}", found.place, found.offset, expected.offset);
        return Ok(Some((FindingClass::WrongCheckpoint, cause)));
    }
    let differs = |key: &[u8]| format!("differs from the log in state {}", key.escape_ascii());
    Ok(folded.difference(state).map(|key| (FindingClass::BadState, differs(key))))
}

fn finding(disk: &dyn Disk, class: FindingClass, name: &str, cause: &str) -> Finding {
    Finding::of_file(disk, class, name, None, format!("{name}: {cause}"))
}
