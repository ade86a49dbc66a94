//! Lines out of a stream of bytes.
//!
//! Guarantees:
//! 1. Only `\n` ends a line; it is not part of it. Every other byte is kept.
//! 2. No line takes more memory than the largest frame, however long it is.

use std::io::{self, BufRead, Read as _};
use std::ops::Range;

use super::frames::FRAME_BYTES_MAX;

/// What came next.
pub(super) enum Line {
    /// A line, and where in the arena it lies.
    Whole(Range<usize>),
    /// A line that no frame can hold; it was not read to its end.
    TooLong,
    /// Nothing more.
    End,
}

/// Reads the next line behind what `arena` holds.
pub(super) fn read(input: &mut dyn BufRead, arena: &mut Vec<u8>) -> io::Result<Line> {
    let start = arena.len();
    let read = input.take(FRAME_BYTES_MAX + 1).read_until(b'\n', arena)?;
    if read == 0 {
        return Ok(Line::End);
    }
    if arena.last() == Some(&b'\n') {
        return Ok(Line::Whole(start..arena.len() - 1));
    }
    if u64::try_from(read).is_ok_and(|read| read <= FRAME_BYTES_MAX) {
        return Ok(Line::Whole(start..arena.len()));
    }
    arena.truncate(start);
    Ok(Line::TooLong)
}
