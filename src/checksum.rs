//! Checksums: CRC-32 (ISO-HDLC, as in `crc32fast`), plain for bodies, seeded for frame headers.
//!
//! Guarantees:
//! 1. A header checksum depends on the segment's incarnation and on the frame's position, so that stale or misplaced
//!    bytes do not pass: CRC-32 maps different initial values to different results for the same bytes.
//! 2. A body checksum depends on the body alone, so that it can be computed before the frame has a place.

use crc32fast::Hasher;

/// The polynomial of CRC-32, reflected (`format.md`).
const POLYNOMIAL: u32 = 0xedb8_8320;

/// What the incarnation of a segment contributes to the checksums and tags of its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seed {
    initial: u32,
    tag: u16,
}

impl Seed {
    pub(crate) fn new(incarnation: u64) -> Self {
        let bytes = incarnation.to_le_bytes();
        let (pairs, _no_rest) = bytes.as_chunks::<2>();
        let tag = pairs.iter().fold(0, |tag, pair| tag ^ u16::from_le_bytes(*pair));
        Self { initial: crc32fast::hash(&bytes), tag }
    }

    /// The seed under which a header at `position` with this tag, these summed bytes and this checksum would be right. Any
    /// bytes give one: that it is true is for the frame's body and for the frames behind it to show.
    pub(crate) fn of_header(position: u64, tag: u16, bytes: &[u8], checksum: u32) -> Self {
        let zero = Self { initial: 0, tag };
        let initial = begun_apart(checksum ^ zero.header(position, bytes), bytes.len());
        Self { initial, tag }
    }

    /// The tag in the commit word of every frame of the segment.
    #[inline]
    pub(crate) fn tag(self) -> u16 {
        self.tag
    }

    /// The checksum of a frame header at `position`.
    #[inline]
    pub(crate) fn header(self, position: u64, bytes: &[u8]) -> u32 {
        let [a, b, c, d, ..] = position.to_le_bytes();
        let mut hasher = Hasher::new_with_initial(self.initial ^ u32::from_le_bytes([a, b, c, d]));
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// By how much the initial values differ from which the CRC-32 of the same `bytes` bytes differs by `apart`: the steps of
/// the register over as many zero bytes, backward.
pub(crate) fn begun_apart(apart: u32, bytes: usize) -> u32 {
    (0..bytes.saturating_mul(8)).fold(apart, |register, _| {
        // A step shifts down and puts the polynomial in if a one fell out; only the polynomial sets the top bit.
        if register >> 31 == 0 { register << 1 } else { ((register ^ POLYNOMIAL) << 1) | 1 }
    })
}

/// The checksum of a body, or of any whole structure that carries its own.
#[inline]
pub(crate) fn plain(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// The checksum of a body that lies in pieces.
#[derive(Debug, Default)]
pub(crate) struct Pieces(Hasher);

impl Pieces {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Goes on with what was summed apart.
    pub(crate) fn append(&mut self, behind: &Self) {
        self.0.combine(&behind.0);
    }

    pub(crate) fn finish(self) -> u32 {
        self.0.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_elsewhere_or_in_another_incarnation_have_another_checksum() {
        let seed = Seed::new(0x0123_4567_89ab_cdef);
        let bytes = [7; 32];
        let here = seed.header(4096, &bytes);
        assert!((1..2000).all(|step| seed.header(4096 + step * 8, &bytes) != here));
        assert_ne!(Seed::new(0x0123_4567_89ab_cdee).header(4096, &bytes), here);
    }

    #[test]
    fn pieces_sum_to_the_whole() {
        let mut pieces = Pieces::default();
        pieces.update(b"es");
        pieces.update(b"ker");
        assert_eq!(pieces.finish(), plain(b"esker"));
    }
}
