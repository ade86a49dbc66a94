//! Frame headers: encoding, and the check that every reader makes.
//!
//! Guarantees:
//! 1. [`look`] accepts a frame header only if word, tag, checksum, kind and flags are those of this segment at this
//!    position; it touches no byte past `bytes`.
//! 2. The body is another matter: [`check_body`] compares its checksum.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use super::field::Words;
use super::frame_header as table;
use super::{Fault, Kind, TOPIC_MIXED, control};
use crate::checksum::{self, Seed};
use crate::types::{Timestamp, Topic, index, length};

pub(crate) const HEADER_BYTES: usize = table::BYTES;
/// Bytes of the commit word, which is stored last.
pub(crate) const WORD_BYTES: usize = 8;
const SUMMED_BYTES: usize = table::HEADER_CHECKSUM.place;
const _: () = assert!(SUMMED_BYTES == 32 && HEADER_BYTES == 36, "four words and a checksum");

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Header and body, without the padding behind.
    pub(crate) length: u32,
    pub(crate) kind: Kind,
    pub(crate) body_checksum: u32,
    /// `None`: the records carry their own.
    pub(crate) topic: Option<Topic>,
    pub(crate) time: Timestamp,
    pub(crate) offset_delta: u32,
    pub(crate) record_count: u16,
    pub(crate) state_count: u16,
    /// As stored; for reports. Encoding computes it.
    pub(crate) header_checksum: u32,
}

/// One frame of all that could stand in a place: where it begins, and the checksum of its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FrameMark {
    pub(crate) position: u64,
    pub(crate) checksum: u32,
}

/// What stands at a position.
#[derive(Debug)]
pub(crate) enum Look {
    /// The commit word is zero: nothing yet.
    Zero,
    /// More bytes are needed to tell.
    Short { needed: u64 },
    /// A valid header; the body is there in full, unchecked.
    Frame(FrameHeader),
    /// Anything else.
    Bad(Fault),
}

impl FrameHeader {
    /// Bytes of the body.
    #[inline]
    pub(crate) fn body_length(&self) -> u64 {
        u64::from(self.length).saturating_sub(length(HEADER_BYTES))
    }

    /// Bytes from the start of this frame to the start of the next.
    #[inline]
    pub(crate) fn stride(&self) -> u64 {
        super::align(u64::from(self.length))
    }

    #[inline]
    pub(crate) fn encode(&self, seed: Seed, position: u64) -> Encoded {
        let words = Words::<4>::zero()
            .with(table::LENGTH, self.length.into())
            .with(table::KIND, self.kind.number().into())
            .with(table::TAG, seed.tag().into())
            .with(table::BODY_CHECKSUM, self.body_checksum.into())
            .with(table::TOPIC, self.topic.map_or(TOPIC_MIXED, Topic::get).into())
            .with(table::TIME, self.time.nanoseconds().cast_unsigned())
            .with(table::OFFSET_DELTA, self.offset_delta.into())
            .with(table::RECORD_COUNT, self.record_count.into())
            .with(table::STATE_COUNT, self.state_count.into());
        let mut summed = [0; SUMMED_BYTES];
        for (to, word) in summed.chunks_exact_mut(8).zip(words.words()) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        Encoded { words, checksum: seed.header(position, &summed) }
    }
}

/// A frame header ready to be stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoded {
    words: Words<4>,
    checksum: u32,
}

impl Encoded {
    /// The commit word, which is stored last.
    #[inline]
    pub(crate) fn commit_word(&self) -> u64 {
        let [word, ..] = self.words.words();
        *word
    }

    #[inline]
    pub(crate) fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Stores everything behind the commit word.
    #[inline]
    pub(crate) fn store(&self, to: &mut [u8; HEADER_BYTES - WORD_BYTES]) {
        let [_, a, b, c] = self.words.words();
        let (words, checksum) = to.split_at_mut(SUMMED_BYTES - WORD_BYTES);
        for (to, word) in words.chunks_exact_mut(8).zip([a, b, c]) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        checksum.copy_from_slice(&self.checksum.to_le_bytes());
    }

    /// Header in full, as it stands in the file.
    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        if let Some((word, rest)) = bytes.split_first_chunk_mut::<WORD_BYTES>() {
            *word = self.commit_word().to_le_bytes();
            if let Some(rest) = rest.first_chunk_mut() {
                self.store(rest);
            }
        }
        bytes
    }
}

/// The commit word in the first bytes of a header.
#[inline]
fn word(header: &[u8; HEADER_BYTES]) -> u64 {
    header.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

/// Looks at what begins at `bytes[0]`, which stands at `position` with `room` bytes up to the end of the segment.
#[inline]
pub(crate) fn look(bytes: &[u8], seed: Seed, position: u64, room: u64) -> Look {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return match bytes.first_chunk::<WORD_BYTES>() {
            Some([0, 0, 0, 0, 0, 0, 0, 0]) => Look::Zero,
            _ if room < length(WORD_BYTES) => Look::Zero,
            _ if room < length(HEADER_BYTES) => Look::Bad(Fault::Short { found: room, expected: length(HEADER_BYTES) }),
            _ => Look::Short { needed: length(HEADER_BYTES) },
        };
    };
    if word(header) == 0 {
        return Look::Zero;
    }
    let tag = table::TAG.u16(header);
    if tag != seed.tag() {
        return Look::Bad(Fault::Tag { found: tag, expected: seed.tag() });
    }
    let stored = table::HEADER_CHECKSUM.u32(header);
    let computed = seed.header(position, header.get(..SUMMED_BYTES).unwrap_or_default());
    if stored != computed {
        return Look::Bad(Fault::Checksum { what: "frame header", stored, computed });
    }
    match read(header, room) {
        Err(fault) => Look::Bad(fault),
        Ok(frame) if u64::from(frame.length) > length(bytes.len()) => Look::Short { needed: frame.length.into() },
        Ok(frame) => Look::Frame(frame),
    }
}

/// The valid header at `bytes[0]`, however much of the body is there; `None` if there is none.
pub(crate) fn header(bytes: &[u8], seed: Seed, position: u64, room: u64) -> Option<FrameHeader> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    match look(header, seed, position, room) {
        Look::Frame(frame) => Some(frame),
        Look::Short { .. } => read(header, room).ok(),
        Look::Zero | Look::Bad(_) => None,
    }
}

#[inline]
fn read(header: &[u8; HEADER_BYTES], room: u64) -> Result<FrameHeader, Fault> {
    let found = table::LENGTH.u32(header);
    if u64::from(found) < length(HEADER_BYTES) || u64::from(found) > room {
        return Err(Fault::Length { found, room });
    }
    let number = table::KIND.u8(header);
    let Some(kind) = Kind::from_number(number) else {
        return Err(Fault::Unknown { what: "frame kind", found: number.into() });
    };
    let flags = table::FLAGS.u8(header);
    if flags != 0 {
        return Err(Fault::Unknown { what: "frame flags", found: flags.into() });
    }
    let (record_count, state_count) = (table::RECORD_COUNT.u16(header), table::STATE_COUNT.u16(header));
    if (kind == Kind::Data) != (record_count > 0 || state_count > 0) {
        return Err(Fault::Content { what: "frame header: counts and kind disagree" });
    }
    let body_bytes = u64::from(found).saturating_sub(length(HEADER_BYTES));
    if control::body_bytes(kind).is_some_and(|expected| length(expected) != body_bytes) {
        return Err(control::WRONG_LENGTH);
    }
    Ok(FrameHeader {
        length: found,
        kind,
        body_checksum: table::BODY_CHECKSUM.u32(header),
        topic: Topic::new(table::TOPIC.u32(header)),
        time: Timestamp::from_nanoseconds(table::TIME.i64(header)),
        offset_delta: table::OFFSET_DELTA.u32(header),
        record_count,
        state_count,
        header_checksum: table::HEADER_CHECKSUM.u32(header),
    })
}

/// The body of a frame that [`look`] accepted on these bytes.
#[inline]
pub(crate) fn body<'a>(bytes: &'a [u8], frame: &FrameHeader) -> &'a [u8] {
    bytes.get(HEADER_BYTES..index(frame.length.into())).unwrap_or_default()
}

/// Compares the body's checksum.
#[inline]
pub(crate) fn check_body(body: &[u8], frame: &FrameHeader) -> Result<(), Fault> {
    let computed = checksum::plain(body);
    if computed == frame.body_checksum {
        return Ok(());
    }
    Err(Fault::Checksum { what: "body", stored: frame.body_checksum, computed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seed: Seed, position: u64) -> Vec<u8> {
        let body = [5_u8; 20];
        let header = FrameHeader {
            length: 56,
            kind: Kind::Data,
            body_checksum: checksum::plain(&body),
            topic: Topic::new(9),
            time: Timestamp::from_nanoseconds(1),
            offset_delta: 4,
            record_count: 1,
            state_count: 0,
            header_checksum: 0,
        };
        let mut bytes = header.encode(seed, position).to_bytes().to_vec();
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_frame_is_valid_only_in_its_place_and_incarnation() {
        let seed = Seed::new(42);
        let bytes = sample(seed, 4096);
        assert!(matches!(look(&bytes, seed, 4096, 1000), Look::Frame(frame) if frame.offset_delta == 4));
        assert!(matches!(look(&bytes, seed, 4104, 1000), Look::Bad(Fault::Checksum { .. })));
        assert!(matches!(look(&bytes, Seed::new(43), 4096, 1000), Look::Bad(_)));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let seed = Seed::new(42);
        let good = sample(seed, 4096);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad.get_mut(bit / 8).map(|byte| *byte ^= 1 << (bit % 8)).expect("inside");
            let noticed = match look(&bad, seed, 4096, 1000) {
                Look::Frame(frame) => check_body(body(&bad, &frame), &frame).is_err(),
                Look::Bad(_) => true,
                Look::Zero | Look::Short { .. } => false,
            };
            assert!(noticed, "bit {bit}");
        }
    }

    #[test]
    fn a_length_past_the_room_is_refused_and_one_past_the_buffer_asks_for_more() {
        let seed = Seed::new(42);
        let bytes = sample(seed, 4096);
        assert!(matches!(look(&bytes, seed, 4096, 55), Look::Bad(Fault::Length { found: 56, room: 55 })));
        let part = bytes.first_chunk::<40>().expect("longer");
        assert!(matches!(look(part, seed, 4096, 1000), Look::Short { needed: 56 }));
        let start = bytes.first_chunk::<10>().expect("longer");
        assert!(matches!(look(start, seed, 4096, 1000), Look::Short { needed: 36 }));
        assert!(matches!(look(&[0; 8], seed, 4096, 1000), Look::Zero));
    }
}
