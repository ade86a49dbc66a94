//! What is left of a frame of which records or state entries are dropped.
//!
//! Guarantees:
//! 1. What is kept comes back as it was, at its offset and in its order; what is dropped does not come back.
//! 2. The records of a frame that keeps them all stay as they are stored, byte for byte.
//! 3. The offsets that a frame spans stay the same as long as one of its records does.
//!
//! Left to others: what to keep.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use super::super::frame::{FrameHeader, Layout};
use super::super::record_head as table;
use super::super::state::{self, StateEntry};
use super::{DELTA_BYTES, Fault, announced, split_any};
use crate::types::{Offset, RecordRef};

/// Whether a part of a frame stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Keep,
    Drop,
}

/// A part of a frame that can be dropped alone.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part<'a> {
    Record(RecordRef<'a>),
    State(StateEntry<'a>),
}

/// What a frame is whose body was thinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Thinned {
    pub(crate) layout: Layout,
    /// Records in it.
    pub(crate) records: u16,
    /// Offsets that it spans.
    pub(crate) record_count: u16,
    pub(crate) state_count: u16,
}

/// Puts behind `to` what is left of a body that [`check`](super::check) accepted, whose frame has the offset `first`.
/// `None`: nothing is.
pub(crate) fn thin(
    frame: &FrameHeader,
    first: Offset,
    body: &[u8],
    decide: &mut dyn FnMut(&Part<'_>) -> Fate,
    to: &mut Vec<u8>,
) -> Result<Option<Thinned>, Fault> {
    let (layout, records, rest) = thin_records(frame, first, body, decide, to)?;
    let state_count = thin_states(frame, rest, decide, to)?;
    let record_count = if records > 0 { frame.record_count } else { 0 };
    let thinned = Thinned { layout, records, record_count, state_count };
    Ok((records > 0 || state_count > 0).then_some(thinned))
}

fn thin_records<'a>(
    frame: &FrameHeader,
    first: Offset,
    body: &'a [u8],
    decide: &mut dyn FnMut(&Part<'_>) -> Fate,
    to: &mut Vec<u8>,
) -> Result<(Layout, u16, &'a [u8]), Fault> {
    let start = to.len();
    let (records, mut rest) = announced(body, frame)?;
    let mut kept = 0_u16;
    // Known once all is decided.
    to.extend(kept.to_le_bytes());
    for number in 0..records {
        let (said, record, behind) = split_any(rest, frame.layout, frame.topic)?;
        let (head, tail) = rest.split_at_checked(table::BYTES).unwrap_or_default();
        let said_bytes = if said.is_some() { DELTA_BYTES } else { 0 };
        let tail = tail.get(said_bytes..tail.len().saturating_sub(behind.len())).unwrap_or_default();
        let delta = said.unwrap_or(number);
        if decide(&Part::Record(record.at(first.after(delta.into()), frame.time))) == Fate::Keep {
            kept = kept.saturating_add(1);
            to.extend(head);
            to.extend(delta.to_le_bytes());
            to.extend(tail);
        }
        rest = behind;
    }
    if kept == records {
        to.truncate(start);
        to.extend(body.get(..body.len().saturating_sub(rest.len())).unwrap_or_default());
        return Ok((frame.layout, kept, rest));
    }
    if kept == 0 {
        to.truncate(start);
        return Ok((Layout::Dense, 0, rest));
    }
    to.get_mut(start..).and_then(<[u8]>::first_chunk_mut).into_iter().for_each(|count| *count = kept.to_le_bytes());
    Ok((Layout::Sparse, kept, rest))
}

fn thin_states(
    frame: &FrameHeader,
    entries: &[u8],
    decide: &mut dyn FnMut(&Part<'_>) -> Fate,
    to: &mut Vec<u8>,
) -> Result<u16, Fault> {
    let mut rest = entries;
    let mut kept = 0_u16;
    for _ in 0..frame.state_count {
        let (entry, behind) = state::split(rest)?;
        if decide(&Part::State(entry)) == Fate::Keep {
            kept = kept.saturating_add(1);
            to.extend(rest.get(..rest.len().saturating_sub(behind.len())).unwrap_or_default());
        }
        rest = behind;
    }
    Ok(kept)
}
