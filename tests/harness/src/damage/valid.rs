//! Whether bytes are valid, told by `src/format.md` alone: of forgeries only what the format rules out has to be refused.
//!
//! Guarantees:
//! 1. No code of the engine is used, and the rules of a segment header, an anchor slot, a frame and a checkpoint that one file
//!    can show are all here: one that the engine forgets is noticed. The content of control frames is not told but its length.

use super::layout::{CHECKPOINT_HEADER, FRAME_HEADER, Stored, Topics, usize_at};
use crate::format::bytes::{half, short, word};
use crate::format::contract::{Value, contract};
use crate::format::sums::{OPENING_SUM, opening_sum};

const VALUE_BYTES_MAX: usize = 16 << 20;
const SEGMENT_BYTES_MAX: u64 = 1 << 31;

/// Whether a slot of the anchor was never written, or is valid.
pub(super) fn slot(slot: &[u8]) -> bool {
    let sums = opening_sum(slot, slot.len()) == half(slot, OPENING_SUM);
    slot.iter().all(|byte| *byte == 0) || (sums && short(slot, 8) == 0 && word(slot, 56) <= SEGMENT_BYTES_MAX)
}

/// Of a header whose magic and checksum are right; `good` is what it was, and what the file is named by.
pub(super) fn segment_header(good: &[u8], bytes: &[u8]) -> bool {
    let known = short(bytes, 8) == 0 && half(bytes, 16) == 0 && half(bytes, 52) == 0;
    let (number, before, capacity) = (word(bytes, 40), word(bytes, 88), word(bytes, 152));
    known
        && word(bytes, 56) != 0
        && number == word(good, 40)
        && number > before
        && (4096..=SEGMENT_BYTES_MAX).contains(&capacity)
        && capacity.is_multiple_of(8)
        && word(bytes, 104).is_multiple_of(8)
        && word(bytes, 104) <= SEGMENT_BYTES_MAX
        && word(bytes, 80) <= 1 << 63
        && (half(bytes, 48) == 0 || rewritten(bytes))
}

/// What the header of a rewritten segment says of its originals.
fn rewritten(bytes: &[u8]) -> bool {
    let (number, first_offset, capacity) = (word(bytes, 40), word(bytes, 80), word(bytes, 152));
    let (end, last_number, end_offset) = (word(bytes, 160), word(bytes, 168), word(bytes, 176));
    let (records, incarnation, original_end) = (word(bytes, 184), word(bytes, 192), word(bytes, 200));
    (4096..=capacity).contains(&end)
        && (4096..=SEGMENT_BYTES_MAX).contains(&original_end)
        && end.is_multiple_of(8)
        && original_end.is_multiple_of(8)
        && last_number >= number
        && end_offset.checked_sub(first_offset).is_some_and(|offsets| records <= offsets)
        && incarnation != 0
}

/// Of the frame at `at` of a segment whose frame there was valid before, by rules 2 to 10; its sums are right.
pub(super) fn frame(stored: &Stored, bytes: &[u8], at: usize) -> bool {
    let length = usize_at(bytes, at);
    let (kind, flags) = (bytes[at + 4], bytes[at + 5]);
    let (records, states) = (short(bytes, at + 28), short(bytes, at + 30));
    let end = stored.frames().last().map_or(0, |frame| frame.range.end.next_multiple_of(8));
    let limit = if stored.units.last().is_some_and(|unit| unit.range.start == end) { end } else { bytes.len() };
    let header = word(bytes, at) != 0
        && short(bytes, at + 6) == short(&stored.bytes, at + 6)
        && (FRAME_HEADER..=limit - at).contains(&length)
        && (1..=8).contains(&kind)
        && flags == 0
        && (kind == 1) == (records > 0 || states > 0)
        && half(bytes, at + 24) == half(&stored.bytes, at + 24);
    if !header {
        return false;
    }
    let body = &bytes[at + FRAME_HEADER..at + length];
    match kind {
        1 => data(body, Topics::of(bytes, at), records, states),
        2 | 3 | 6 => body.len() == 32,
        4 => body.len() == 40,
        5 => body.len() == 16,
        7 => body.len() == 12,
        _ => true,
    }
}

fn data(body: &[u8], topics: Topics, records: u16, states: u16) -> bool {
    let mut rest = body;
    let read = (0..records).all(|_| record(&mut rest, topics).is_some());
    read && (0..states).all(|_| entry(&mut rest, &mut |_, _| true).is_some()) && rest.is_empty()
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(bytes)?;
    *rest = left;
    Some(taken)
}

fn record(rest: &mut &[u8], topics: Topics) -> Option<()> {
    let head = take(rest, 5)?;
    let (payload, flags) = (usize_at(head, 0), head[4]);
    if flags > 15 || (topics == Topics::Own && take(rest, 4)? == [0xff; 4]) {
        return None;
    }
    let key = if flags & 1 == 0 { 0 } else { short(take(rest, 2)?, 0) };
    if flags & 2 != 0 {
        take(rest, 8)?;
    }
    let headers = if flags & 4 == 0 { 0 } else { short(take(rest, 2)?, 0) };
    take(rest, key.into())?;
    let mut section = take(rest, headers.into())?;
    while !section.is_empty() {
        let head = take(&mut section, 3)?;
        let name = take(&mut section, head[0].into())?;
        if name.is_empty() || std::str::from_utf8(name).is_err() {
            return None;
        }
        take(&mut section, short(head, 1).into())?;
    }
    take(rest, payload).map(|_| ())
}

/// A state entry; `of` is told space and key, and says whether they may stand here.
fn entry<'a>(rest: &mut &'a [u8], of: &mut dyn FnMut(u8, &'a [u8]) -> bool) -> Option<u8> {
    let head = take(rest, 8)?;
    let (space, flags, length) = (head[0], head[1], usize_at(head, 4));
    let key = take(rest, short(head, 2).into())?;
    let value = take(rest, length)?;
    let removed = flags == 1;
    let is_cursor = || value.len() == 32 && value[24..28] == [0; 4];
    let good = space < 16 && flags < 2 && !(removed && length > 0) && length <= VALUE_BYTES_MAX;
    let fits = match space {
        1 => removed || is_cursor(),
        2 => removed || contract(value) == Value::Contract,
        3 => key.len() == 4 && (removed || value.len() == 8),
        _ => true,
    };
    (good && fits && of(space, key)).then_some(flags)
}

/// Of a checkpoint whose magic and checksums are right; `good` is what it was.
pub(super) fn checkpoint(good: &[u8], bytes: &[u8]) -> bool {
    let known = short(bytes, 8) == 0 && half(bytes, 16) == 0 && word(bytes, 56) <= SEGMENT_BYTES_MAX;
    let (epochs, entries) = (half(bytes, 104), word(bytes, 112));
    let body = usize::try_from(word(bytes, 120)).ok().and_then(|length| bytes[CHECKPOINT_HEADER..].get(..length));
    let Some(mut rest) = body.filter(|_| known && epochs <= 65_536 && bytes[24..48] == good[24..48]) else {
        return false;
    };
    let behind = &bytes[CHECKPOINT_HEADER + rest.len()..];
    let mut count = None;
    let rising = (0..epochs).all(|_| {
        let before = count;
        count = take(&mut rest, 24).map(|row| word(row, 0));
        count.is_some() && before < count
    });
    if !rising || behind.iter().any(|byte| *byte != 0) {
        return false;
    }
    let mut last: Option<(u8, &[u8])> = None;
    let mut left = entries;
    while left > 0 {
        left -= 1;
        let mut ordered = |space: u8, key| last.replace((space, key)).is_none_or(|last| last < (space, key));
        if take(&mut rest, 16).is_none() || entry(&mut rest, &mut ordered) != Some(0) {
            return false;
        }
    }
    rest.is_empty()
}
