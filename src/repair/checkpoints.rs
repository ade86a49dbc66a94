//! Which checkpoints can stay, for the log as it will be.
//!
//! Guarantees:
//! 1. One stays only if it is whole, of this log, and its line lies between two frames, or around a gap, of a segment that
//!    it names.
//! 2. If no segment is written anew, it stays only if it says what the log says.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use super::sift::Run;
use super::slots::{Known, Stored};
use super::write::Work;
use crate::error::{Error, Result};
use crate::format::checkpoint::CheckpointHeader;
use crate::format::checkpoint_name;
use crate::format::header::SegmentHeader;
use crate::inspect::checkpoints::{Rest, check};
use crate::log::{Entries, ends_as_said, open_segment};
use crate::platform::Disk;
use crate::types::{Epoch, Line, Place};

/// A segment as it will be.
pub(super) struct Becomes<'a> {
    pub(super) number: u64,
    /// Where its frames are now.
    pub(super) stored: Option<&'a Stored>,
    pub(super) header: SegmentHeader,
    pub(super) end: u64,
    pub(super) work: Option<&'a Work>,
}

/// What becomes of the checkpoints.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Names and causes.
    pub(super) bad: Vec<(String, String)>,
    /// The line of the newest that stays.
    pub(super) newest: Line,
    /// The highest line of one that goes.
    pub(super) gone: Line,
}

pub(super) fn judge(known: &Known<'_>, segments: &[Becomes<'_>], gaps: &[Place]) -> Result<Judged> {
    let whole = segments.iter().all(|segment| segment.work.is_none()) && known.chain.mended.is_empty();
    let checked = check(known.disk, known.chain, if whole { Rest::Whole } else { Rest::Damaged }, gaps)?;
    let mut judged = Judged::default();
    for finding in checked.findings.iter().filter(|finding| finding.class.is_damage()) {
        let name = finding.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        judged.bad.push((name, finding.cause.clone()));
    }
    for file in &known.chain.survey.checkpoints {
        let Ok(header) = &file.header else { continue };
        if known.chain.is_outlived(header.line.place) {
            // The next checkpoint that is written removes it.
            continue;
        }
        let is_bad = judged.bad.iter().any(|(name, _)| *name == file.name);
        if !is_bad && let Some(cause) = misfit(known, segments, header)? {
            judged.bad.push((file.name.clone(), cause));
        }
        if judged.bad.iter().any(|(name, _)| *name == file.name) {
            judged.gone = judged.gone.max(header.line);
        } else {
            judged.newest = judged.newest.max(header.line);
        }
    }
    Ok(judged)
}

/// The newest epoch that a checkpoint knows of.
pub(super) fn newest_epoch(disk: &dyn Disk, checkpoints: &[CheckpointHeader]) -> Option<(Epoch, u64)> {
    let mut newest = checkpoints.iter().rev();
    newest.find_map(|checkpoint| {
        let name = checkpoint_name(checkpoint.sequence);
        let (_, epochs, _) = Entries::read_whole(disk, &name).ok()?;
        Some((epochs.last()?.epoch, checkpoint.line.place.segment))
    })
}

/// Why the line of a checkpoint does not lie in the log as it will be.
fn misfit(known: &Known<'_>, segments: &[Becomes<'_>], header: &CheckpointHeader) -> Result<Option<String>> {
    let (place, last) = (header.line.place, header.last.position);
    let Some(segment) = segments.iter().find(|segment| segment.number == place.segment) else {
        return Ok(Some(format!("goes up to {place}, which is not part of the log")));
    };
    if segment.header.known_incarnation() != header.incarnation {
        return Ok(Some(format!("goes up to {place} of another incarnation")));
    }
    if place.position > segment.end {
        return Ok(Some(format!("goes up to {place}, and the segment ends at {}", segment.end)));
    }
    let parted = segment.work.is_some_and(|work| {
        work.runs
            .iter()
            .any(|run| matches!(run, Run::Gap { start, end, .. } if (*start, *end) == (last, place.position)))
    });
    let kept = |run: &Run| matches!(run, Run::Frames { start, end, .. } if *start <= last && place.position <= *end);
    let in_frames = segment.work.is_none_or(|work| work.runs.iter().any(kept));
    let same = match segment.stored {
        Some(stored) if in_frames => {
            let file = open_segment(known.disk, &stored.name)?;
            let said = ends_as_said(&*file, stored.frames.seed, header.incarnation, header);
            let path = known.disk.directory().join(&stored.name);
            said.map_err(|error| Error::io("read the segment", error).at_path(path))?
        }
        _ => false,
    };
    Ok((!parted && !same).then(|| format!("goes up to {place}, where no frame ends any more")))
}
