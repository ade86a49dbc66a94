//! Whose frames lie in a file without a valid header.
//!
//! Guarantees:
//! 1. An incarnation that a checkpoint names counts if a frame checks under it. Without one, a frame header gives the seed
//!    under which its own checksum is right; it counts only if the body of that frame checks, and all of the one behind it.
//! 2. The cost is linear in the first part of the file that is looked at: a body is summed only if a header checks behind it,
//!    and no more of them than make up [`SUMMED_BYTES_MAX`].
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use super::slots::Known;
use crate::checksum::Seed;
use crate::error::{Error, Result};
use crate::format::frame::{self, FrameHeader, HEADER_BYTES, Look};
use crate::format::{FRAME_ALIGNMENT, FRAMES_START, frame_header as table};
use crate::log::{SegmentFile, Store, open_segment};
use crate::types::{index, length};

/// How much of a file is searched for two frames that agree.
const SEARCH_BYTES: u64 = 4 << 20;
/// How many bytes of bodies are summed in search of them. Of frames that were stored one sums right, or is rotten: as many as
/// are searched are enough.
const SUMMED_BYTES_MAX: u64 = 4 * SEARCH_BYTES;

/// The seed of the frames in a file; `None` if nothing proves one.
pub(super) fn seed_of(known: &Known<'_>, file: &SegmentFile) -> Result<Option<Seed>> {
    let store = Store::File(open_segment(known.disk, &file.name)?);
    let failed = |error| Error::io("read the segment", error).at_path(known.disk.directory().join(&file.name));
    let limit = file.length;
    let chunk = store.load(FRAMES_START, SEARCH_BYTES, limit).map_err(failed)?;
    let within = known.checkpoints.iter().filter(|checkpoint| checkpoint.line.place.segment == file.number);
    let named = within.map(|checkpoint| Seed::new(checkpoint.incarnation)).find(|seed| {
        let frames = crate::segment::walk::Frames { seed: *seed, first_offset: crate::types::Offset::ZERO, end: limit };
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
