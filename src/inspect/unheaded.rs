//! Whose frames lie in a file without a valid header.
//!
//! Guarantees:
//! 1. An incarnation that a checkpoint names counts if a frame checks under it. Without one, a frame header gives the seed
//!    under which its own checksum is right; it counts only if the body of that frame checks, and all of the one behind it.
//! 2. The cost is linear in the first part of the file that is looked at: a body is summed only if a header checks behind it,
//!    and no more of them than make up [`SUMMED_BYTES_MAX`]. Only frames that prove themselves are all looked at.
//! 3. Frames are called those of a segment from which records were dropped only if none of them is of a kind that no such
//!    segment holds. Where they end is where the file does, unless nothing can have stood behind the last of them.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::io;

use crate::checksum::Seed;
use crate::error::{Error, Result};
use crate::format::frame::{self, FrameHeader, HEADER_BYTES, Look};
use crate::format::{FRAME_ALIGNMENT, FRAMES_START, GAP_FRAME_BYTES, Kind, align, frame_header as table};
use crate::log::{PAGE_BYTES, Scan, SegmentFile, Store, Survey, open_segment};
use crate::platform::Disk;
use crate::segment::walk::{Covered, Frames};
use crate::types::{Offset, index, length};

/// How much of a file is searched for two frames that agree.
const SEARCH_BYTES: u64 = 4 << 20;
/// How many bytes of bodies are summed in search of them. Of frames that were stored one sums right, or is rotten: as many as
/// are searched are enough.
const SUMMED_BYTES_MAX: u64 = 4 * SEARCH_BYTES;

/// What the frames in a file without a valid header prove.
#[derive(Debug, Clone, Copy)]
pub(super) enum Proof {
    /// Nothing.
    Nothing,
    /// They are those of the incarnation that is looked for.
    Named,
    /// They are of another, which only the lost header had: a repair wrote them, each at its place.
    Anew(Seed),
    /// As well, and records were dropped: only their offsets are what they were.
    Thinned(Thinned),
}

/// Frames of a segment from which records were dropped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thinned {
    pub(super) seed: Seed,
    pub(super) end: u64,
    pub(super) records: u64,
}

/// Asks the frames in a file whether they are those of the incarnation with the seed `named`, up to `end`. If not, all are
/// asked; whatever they hold, it lies before `follows`.
pub(super) fn prove(
    disk: &dyn Disk,
    survey: &Survey,
    file: &SegmentFile,
    named: (Seed, u64),
    follows: Offset,
) -> Result<Proof> {
    let failed = |error| Error::io("read the segment", error).at_path(disk.directory().join(&file.name));
    let store = Store::File(open_segment(disk, &file.name)?);
    if scan_of(&store, named.0, named.1.min(file.length), follows).next_whole().map_err(failed)?.is_some() {
        return Ok(Proof::Named);
    }
    let Some(seed) = seed_of(disk, survey, file)? else { return Ok(Proof::Nothing) };
    let thinned = thinned(&store, seed, file.length, follows).map_err(failed)?;
    Ok(thinned.map_or(Proof::Anew(seed), Proof::Thinned))
}

/// All frames in a file, whatever their offsets, as long as they can lie in a segment before `follows`.
fn scan_of(store: &Store, seed: Seed, limit: u64, follows: Offset) -> Scan {
    let first_offset = Offset::new(follows.get().saturating_sub(u32::MAX.into()));
    let rewritten = Some(Covered { end: u64::MAX, end_offset: Offset::new(u64::MAX) });
    let frames = Frames { seed, first_offset, end: limit, rewritten };
    Scan::new(store.clone(), frames, FRAMES_START, first_offset, limit)
}

fn thinned(store: &Store, seed: Seed, limit: u64, follows: Offset) -> io::Result<Option<Thinned>> {
    let mut scan = scan_of(store, seed, limit, follows);
    let (mut end, mut records) = (FRAMES_START, 0_u64);
    while let Some(found) = scan.next_whole()? {
        if !matches!(found.header.kind, Kind::Data | Kind::Gap) {
            return Ok(None);
        }
        end = scan.position;
        records = records.saturating_add(found.records.into());
    }
    // The file is no longer than its frames, in whole pages.
    let too_short = limit.saturating_sub(end) < GAP_FRAME_BYTES;
    let is_last = too_short || (end.next_multiple_of(PAGE_BYTES) == limit && is_zero(store, end, limit)?);
    Ok(Some(Thinned { seed, end: if is_last { end } else { align(limit) }, records }))
}

fn is_zero(store: &Store, from: u64, limit: u64) -> io::Result<bool> {
    Ok(store.load(from, limit.saturating_sub(from), limit)?.bytes().iter().all(|byte| *byte == 0))
}

/// The seed of the frames in a file; `None` if nothing proves one.
pub(crate) fn seed_of(disk: &dyn Disk, survey: &Survey, file: &SegmentFile) -> Result<Option<Seed>> {
    let store = Store::File(open_segment(disk, &file.name)?);
    let failed = |error| Error::io("read the segment", error).at_path(disk.directory().join(&file.name));
    let limit = file.length;
    let chunk = store.load(FRAMES_START, SEARCH_BYTES, limit).map_err(failed)?;
    let within = survey.own_checkpoints().filter(|checkpoint| checkpoint.line.place.segment == file.number);
    let named = within.map(|checkpoint| Seed::new(checkpoint.incarnation)).find(|seed| {
        let frames = Frames { seed: *seed, first_offset: Offset::ZERO, end: limit, rewritten: None };
        frames.resync(chunk.bytes(), FRAMES_START).is_some()
    });
    Ok(named.or_else(|| agreed(chunk.bytes(), limit)))
}

/// The seed under which two frames, one behind the other, check.
fn agreed(bytes: &[u8], limit: u64) -> Option<Seed> {
    let (mut rest, mut position, mut summed_bytes) = (bytes, FRAMES_START, 0_u64);
    while let Some(head) = rest.first_chunk::<HEADER_BYTES>() {
        let summed = head.get(..table::HEADER_CHECKSUM.place).unwrap_or_default();
        let (tag, stored) = (table::TAG.u16(head), table::HEADER_CHECKSUM.u32(head));
        if table::LENGTH.u32(head) >= u32::try_from(HEADER_BYTES).unwrap_or_default() {
            let seed = Seed::of_header(position, tag, summed, stored);
            if let Some((first, second)) = pair(rest, seed, position, limit) {
                let sum = length(first.1.len()).saturating_add(length(second.1.len()));
                summed_bytes = summed_bytes.saturating_add(sum);
                if summed_bytes > SUMMED_BYTES_MAX {
                    return None;
                }
                if [first, second].iter().all(|(header, body)| frame::check_body(body, header).is_ok()) {
                    return Some(seed);
                }
            }
        }
        rest = rest.get(index(FRAME_ALIGNMENT)..).unwrap_or_default();
        position = position.saturating_add(FRAME_ALIGNMENT);
    }
    None
}

/// A header that checks, and the body behind it, which was not looked at.
type Unsummed<'a> = (FrameHeader, &'a [u8]);

/// The frames at `bytes[0]` and behind that one, if both headers check.
fn pair(bytes: &[u8], seed: Seed, position: u64, limit: u64) -> Option<(Unsummed<'_>, Unsummed<'_>)> {
    let first = unsummed(bytes, seed, position, limit)?;
    let stride = first.0.stride();
    let second = unsummed(bytes.get(index(stride)..)?, seed, position.saturating_add(stride), limit)?;
    Some((first, second))
}

fn unsummed(bytes: &[u8], seed: Seed, position: u64, limit: u64) -> Option<Unsummed<'_>> {
    let Look::Frame(found) = frame::look(bytes, seed, position, limit.saturating_sub(position)) else { return None };
    let body = frame::body(bytes, &found);
    debug_assert!(length(body.len()) <= found.body_length(), "as long as the header says");
    Some((found, body))
}
