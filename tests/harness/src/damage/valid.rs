//! Whether bytes are valid, told by `src/format.md` alone: of forgeries only what the format rules out has to be refused.
//!
//! Guarantees:
//! 1. No code of the engine is used: a rule that it forgets is noticed.

use super::layout::{CHECKPOINT_HEADER, FRAME_HEADER, Stored, u16_at, u32_at, u64_at, usize_at};

const VALUE_BYTES_MAX: usize = 16 << 20;

/// CRC-32 of zlib, continued from `start`.
pub(super) fn crc32(bytes: &[u8], start: u32) -> u32 {
    !bytes.iter().fold(!start, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(sum & 1)))
    })
}

/// Whether a slot of the anchor was never written, or sums.
pub(super) fn slot(slot: &[u8]) -> bool {
    let mut summed = slot.to_vec();
    sum_header(&mut summed);
    slot.iter().all(|byte| *byte == 0) || summed == slot
}

/// Makes the checksum at byte 12 right.
pub(super) fn sum_header(header: &mut [u8]) {
    header[12..16].fill(0);
    let sum = crc32(header, 0);
    header[12..16].copy_from_slice(&sum.to_le_bytes());
}

/// Of a header whose magic and checksum are right; `good` is what it was, and what the file is named by.
pub(super) fn segment_header(good: &[u8], bytes: &[u8]) -> bool {
    let known = u16_at(bytes, 8) == 0 && u32_at(bytes, 16) == 0 && u32_at(bytes, 48) == 0 && u32_at(bytes, 52) == 0;
    let (number, before, capacity) = (u64_at(bytes, 40), u64_at(bytes, 88), u64_at(bytes, 152));
    known
        && u64_at(bytes, 56) != 0
        && number == u64_at(good, 40)
        && number > before
        && (4096..=1 << 31).contains(&capacity)
        && capacity.is_multiple_of(8)
        && u64_at(bytes, 104).is_multiple_of(8)
        && u64_at(bytes, 80) <= 1 << 63
}

/// Of the frame at `at` of a segment whose frame there was valid before, by rules 2 to 10; its sums are right.
pub(super) fn frame(stored: &Stored, bytes: &[u8], at: usize) -> bool {
    let length = usize_at(bytes, at);
    let (kind, flags) = (bytes[at + 4], bytes[at + 5]);
    let (records, states) = (u16_at(bytes, at + 28), u16_at(bytes, at + 30));
    let end = stored.frames().last().map_or(0, |frame| frame.range.end.next_multiple_of(8));
    let limit = if stored.units.last().is_some_and(|unit| unit.range.start == end) { end } else { bytes.len() };
    let header = u64_at(bytes, at) != 0
        && u16_at(bytes, at + 6) == u16_at(&stored.bytes, at + 6)
        && (FRAME_HEADER..=limit - at).contains(&length)
        && (1..=8).contains(&kind)
        && flags == 0
        && (kind == 1) == (records > 0 || states > 0)
        && u32_at(bytes, at + 24) == u32_at(&stored.bytes, at + 24);
    if !header {
        return false;
    }
    let body = &bytes[at + FRAME_HEADER..at + length];
    match kind {
        1 => data(body, u32_at(bytes, at + 12) == u32::MAX, records, states),
        2 | 3 | 6 => body.len() == 32,
        4 => body.len() == 40,
        5 => body.len() == 16,
        7 => body.len() == 12,
        _ => true,
    }
}

fn data(body: &[u8], mixed: bool, records: u16, states: u16) -> bool {
    let mut rest = body;
    let read = (0..records).all(|_| record(&mut rest, mixed).is_some());
    read && (0..states).all(|_| entry(&mut rest, &mut |_, _| true).is_some()) && rest.is_empty()
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(bytes)?;
    *rest = left;
    Some(taken)
}

fn record(rest: &mut &[u8], mixed: bool) -> Option<()> {
    let head = take(rest, 5)?;
    let (payload, flags) = (usize_at(head, 0), head[4]);
    if flags > 15 || (mixed && take(rest, 4)? == [0xff; 4]) {
        return None;
    }
    let key = if flags & 1 == 0 { 0 } else { u16_at(take(rest, 2)?, 0) };
    if flags & 2 != 0 {
        take(rest, 8)?;
    }
    let headers = if flags & 4 == 0 { 0 } else { u16_at(take(rest, 2)?, 0) };
    take(rest, key.into())?;
    let mut section = take(rest, headers.into())?;
    while !section.is_empty() {
        let head = take(&mut section, 3)?;
        let name = take(&mut section, head[0].into())?;
        if name.is_empty() || std::str::from_utf8(name).is_err() {
            return None;
        }
        take(&mut section, u16_at(head, 1).into())?;
    }
    take(rest, payload).map(|_| ())
}

/// A state entry; `of` is told space and key, and says whether they may stand here.
fn entry<'a>(rest: &mut &'a [u8], of: &mut dyn FnMut(u8, &'a [u8]) -> bool) -> Option<u8> {
    let head = take(rest, 8)?;
    let (space, flags, length) = (head[0], head[1], usize_at(head, 4));
    let key = take(rest, u16_at(head, 2).into())?;
    let value = take(rest, length)?;
    let removed = flags == 1;
    let is_cursor = || value.len() == 32 && value[24..28] == [0; 4];
    let good = space < 16 && flags < 2 && !(removed && length > 0) && length <= VALUE_BYTES_MAX;
    (good && (space != 1 || removed || is_cursor()) && of(space, key)).then_some(flags)
}

/// Of a checkpoint whose magic and checksums are right; `good` is what it was.
pub(super) fn checkpoint(good: &[u8], bytes: &[u8]) -> bool {
    let known = u16_at(bytes, 8) == 0 && u32_at(bytes, 16) == 0;
    let (epochs, entries) = (u32_at(bytes, 104), u64_at(bytes, 112));
    let body = usize::try_from(u64_at(bytes, 120)).ok().and_then(|length| bytes[CHECKPOINT_HEADER..].get(..length));
    let Some(mut rest) = body.filter(|_| known && epochs <= 65_536 && bytes[24..48] == good[24..48]) else {
        return false;
    };
    let behind = &bytes[CHECKPOINT_HEADER + rest.len()..];
    let mut count = None;
    let rising = (0..epochs).all(|_| {
        let before = count;
        count = take(&mut rest, 24).map(|row| u64_at(row, 0));
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
