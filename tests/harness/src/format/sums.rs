//! Checksums of the format, from a reader of its own: written after `src/format.md`, and nothing of the engine in it.
//!
//! Guarantees:
//! 1. A sum that is made right here is the one that the format asks for; whatever else is wrong stays as it is.

use super::bytes::{align, store, word};

pub(crate) const FRAMES_START: usize = 4096;
pub(crate) const FRAME_HEADER_BYTES: usize = 36;
pub(crate) const SEGMENT_HEADER_BYTES: usize = 256;
/// Where the checksum stands in the headers of segments, checkpoints and in the slots of the anchor.
pub(crate) const OPENING_SUM: usize = 12;

const INCARNATION: usize = 56;
/// CRC-32 of zlib.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    crc32_on(0, bytes)
}

/// ... continued from the sum of earlier bytes.
fn crc32_on(start: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(start);
    hasher.update(bytes);
    hasher.finalize()
}

/// The checksum of a header of so many bytes, whose own field counts as zero.
pub(crate) fn opening_sum(bytes: &[u8], header_bytes: usize) -> u32 {
    let mut header = bytes[..header_bytes.min(bytes.len())].to_vec();
    store(&mut header, OPENING_SUM, &[0; 4]);
    crc32(&header)
}

/// Makes the checksum of a header of so many bytes right.
pub(crate) fn mend_opening(bytes: &mut [u8], header_bytes: usize) {
    let sum = opening_sum(bytes, header_bytes);
    store(bytes, OPENING_SUM, &sum.to_le_bytes());
}

/// What the frames of a segment are bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seed {
    start: u32,
    pub(crate) tag: u16,
}

impl Seed {
    pub(crate) fn new(incarnation: u64) -> Self {
        let bytes = incarnation.to_le_bytes();
        let tag = bytes.chunks(2).fold(0, |tag, pair| tag ^ u16::from_le_bytes([pair[0], pair[1]]));
        Self { start: crc32(&bytes), tag }
    }

    pub(crate) fn of_segment(bytes: &[u8]) -> Self {
        Self::new(word(bytes, INCARNATION))
    }

    /// The checksum of the frame header that begins with these bytes and stands at this position.
    pub(crate) fn header_sum(self, header: &[u8], position: usize) -> u32 {
        let low = u32::try_from(position & 0xffff_ffff).unwrap_or_default();
        crc32_on(self.start ^ low, &header[..32.min(header.len())])
    }
}

/// Makes tags and sums of the frames of a segment right, as far as their lengths lead.
pub(crate) fn mend_frames(bytes: &mut [u8]) {
    let seed = Seed::of_segment(bytes);
    let mut at = FRAMES_START;
    while let Some(rest) = bytes.get_mut(at..) {
        let frame_bytes = usize::try_from(word(rest, 0) & 0xffff_ffff).unwrap_or(usize::MAX);
        let Some(frame) = rest.get_mut(..frame_bytes).filter(|frame| frame.len() >= FRAME_HEADER_BYTES) else { return };
        store(frame, 6, &seed.tag.to_le_bytes());
        let body_sum = crc32(&frame[FRAME_HEADER_BYTES..]);
        store(frame, 8, &body_sum.to_le_bytes());
        let sum = seed.header_sum(frame, at);
        store(frame, 32, &sum.to_le_bytes());
        at += align(frame_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_format() {
        // Check value and example of `src/format.md`.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let seed = Seed::new(0x1122_3344_5566_7788);
        assert_eq!((seed.start, seed.tag), (0x1d34_f12e, 0x0088));
    }
}
