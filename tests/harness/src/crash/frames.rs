//! Which frames of an image are valid: read by the letter of `src/format.md`, and not with the engine's code.
//!
//! Guarantees:
//! 1. A frame is found wherever it stands, also behind damage: at each multiple of 8 of each segment with a valid header.

use esker::Place;

use crate::memory::MemoryDisk;
use crate::numbers::length;

const FRAMES_START: usize = 4096;
const SEGMENT_HEADER_BYTES: usize = 256;
const FRAME_HEADER_BYTES: usize = 36;
/// Mark, seal and close: their bodies begin with the durable line.
const LINE_KINDS: [u8; 3] = [2, 3, 6];
const SEGMENT_MAGIC: &[u8; 8] = b"eskerseg";

/// Valid frames of an image: the place where each begins, and its records.
#[derive(Debug, Default)]
pub(super) struct Valid {
    frames: Vec<(Place, u64)>,
    /// The highest durable line that a valid header or frame carries.
    durable: Place,
}

impl Valid {
    /// Frames from `end` on, and the records in them.
    pub(super) fn behind(&self, end: Place) -> (u64, u64) {
        self.list_behind(end).iter().fold((0, 0), |(frames, records), (_, more)| (frames + 1, records + more))
    }

    fn find(&mut self, bytes: &[u8], number: u64, incarnation: [u8; 8]) {
        let tag = incarnation.chunks(2).fold([0; 2], |tag, word| [tag[0] ^ word[0], tag[1] ^ word[1]]);
        let start = crc32(0, &incarnation);
        let mut at = FRAMES_START;
        while at + FRAME_HEADER_BYTES <= bytes.len() {
            let frame = frame_length(bytes, at, tag, start);
            if frame.is_some() {
                let records = u64::from(u16::from_le_bytes([bytes[at + 28], bytes[at + 29]]));
                self.frames.push((Place { segment: number, position: length(at) }, records));
                if LINE_KINDS.contains(&bytes[at + 4]) {
                    self.durable = self.durable.max(place(bytes, at + FRAME_HEADER_BYTES));
                }
            }
            at += frame.unwrap_or(8).next_multiple_of(8);
        }
    }

    /// Whether a log that ends there holds all that something in the image says was durable.
    pub(super) fn judge_end(&self, end: Place) -> Result<(), String> {
        if self.durable <= end {
            return Ok(());
        }
        Err(format!("it ends at {end}, and what is stored says that it was durable up to {}", self.durable))
    }

    /// The same, one by one.
    pub(super) fn list_behind(&self, end: Place) -> Vec<(Place, u64)> {
        self.frames.iter().filter(|(place, _)| *place >= end).copied().collect()
    }
}

/// Finds them.
pub(super) fn valid(image: &MemoryDisk) -> Valid {
    let mut valid = Valid::default();
    for name in image.names() {
        let Some(number) = name.strip_suffix(".seg").and_then(|number| number.parse::<u64>().ok()) else { continue };
        if let Some(bytes) = image.read_file(&name)
            && let Some(incarnation) = incarnation(&bytes)
        {
            valid.durable = valid.durable.max(place(&bytes, 112));
            valid.find(&bytes, number, incarnation);
        }
    }
    valid
}

/// The incarnation of a segment whose header is valid.
fn incarnation(bytes: &[u8]) -> Option<[u8; 8]> {
    let mut header: [u8; SEGMENT_HEADER_BYTES] = *bytes.first_chunk()?;
    let stored = word(&header, 12)?;
    header[12..16].fill(0);
    (header.starts_with(SEGMENT_MAGIC) && crc32(0, &header) == stored).then(|| header[56..].first_chunk().copied())?
}

/// The length of a valid frame at this position.
fn frame_length(bytes: &[u8], at: usize, tag: [u8; 2], start: u32) -> Option<usize> {
    let header = bytes.get(at..at + FRAME_HEADER_BYTES)?;
    if header[6..8] != tag {
        return None;
    }
    let length = usize::try_from(word(header, 0)?).ok()?;
    let start = start ^ u32::try_from(at).ok()?;
    if crc32(start, &header[..32]) != word(header, 32)? {
        return None;
    }
    let body = bytes.get(at + FRAME_HEADER_BYTES..at.checked_add(length)?)?;
    (crc32(0, body) == word(header, 8)?).then_some(length)
}

/// A place that is stored there.
fn place(bytes: &[u8], at: usize) -> Place {
    let word =
        |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word));
    Place { segment: word(at), position: word(at + 8) }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn crc32(start: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(start);
    hasher.update(bytes);
    hasher.finalize()
}
