//! Which frames of an image are valid: read by the letter of `src/format.md`, and not with the engine's code.
//!
//! Guarantees:
//! 1. A frame is found wherever it stands, also behind damage: at each multiple of 8 of each segment with a valid header.

use esker::Place;

use crate::format::bytes::{half, short, word};
use crate::format::sums::{
    FRAME_HEADER_BYTES, FRAMES_START, OPENING_SUM, SEGMENT_HEADER_BYTES, Seed, crc32, opening_sum,
};
use crate::memory::MemoryDisk;
use crate::numbers::{index, length};

/// Mark, seal and close: their bodies begin with the durable line.
const LINE_KINDS: [u8; 3] = [2, 3, 6];
const START_LINE_KIND: u8 = 5;
const SEGMENT_MAGIC: &[u8; 8] = b"eskerseg";

/// Valid frames of an image: the place where each begins, and its records.
#[derive(Debug, Default)]
pub(super) struct Valid {
    frames: Vec<(Place, u64)>,
    /// The highest durable line that a valid header or frame carries.
    durable: Place,
    /// The start lines in valid frames: where each begins, and the first segment that it keeps.
    starts: Vec<(Place, u64)>,
    /// Segments, and where the one before each ends.
    links: Vec<(u64, Place)>,
}

impl Valid {
    /// Frames from `end` on, and the records in them.
    pub(super) fn behind(&self, end: Place) -> (u64, u64) {
        self.list_behind(end).iter().fold((0, 0), |(frames, records), (_, more)| (frames + 1, records + more))
    }

    fn find(&mut self, bytes: &[u8], number: u64) {
        let seed = Seed::of_segment(bytes);
        let mut at = FRAMES_START;
        while at + FRAME_HEADER_BYTES <= bytes.len() {
            let frame = frame_at(bytes, seed, at);
            if let Some(frame) = frame {
                self.frames.push((Place { segment: number, position: length(at) }, short(frame, 28).into()));
                if frame[4] == START_LINE_KIND {
                    let begin = Place { segment: number, position: length(at) };
                    self.starts.push((begin, word(frame, FRAME_HEADER_BYTES + 8)));
                }
                if LINE_KINDS.contains(&frame[4]) {
                    self.durable = self.durable.max(place(frame, FRAME_HEADER_BYTES));
                }
            }
            at += frame.map_or(8, <[u8]>::len).next_multiple_of(8);
        }
    }

    /// Whether a log that ends there holds all that something in the image says was durable.
    pub(super) fn judge_end(&self, end: Place) -> Result<(), String> {
        if self.durable <= end {
            return Ok(());
        }
        Err(format!("it ends at {end}, and what is stored says that it was durable up to {}", self.durable))
    }

    /// The first segment that a log keeps that ends there, as far as its frames say. What lies behind the end that the
    /// next segment names is dead: a start line there was cut by an open before, and keeps and lets go nothing.
    pub(super) fn start_segment(&self, end: Place) -> u64 {
        let before = |end: &Place| self.links.iter().find(|(number, _)| *number == end.segment).map(|(_, end)| *end);
        let ends: Vec<Place> = std::iter::successors(Some(end), before).collect();
        let lives = |place: Place| ends.iter().any(|end| end.segment == place.segment && place < *end);
        self.starts.iter().filter(|(place, _)| lives(*place)).map(|(_, kept)| *kept).max().unwrap_or_default()
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
        if let Some(bytes) = image.read_file(&name).filter(|bytes| has_header(bytes)) {
            valid.durable = valid.durable.max(place(&bytes, 112));
            valid.links.extend(link(&bytes).map(|end| (number, end)));
            valid.find(&bytes, number);
        }
    }
    valid
}

fn has_header(bytes: &[u8]) -> bool {
    bytes.starts_with(SEGMENT_MAGIC) && opening_sum(bytes, SEGMENT_HEADER_BYTES) == half(bytes, OPENING_SUM)
}

/// The valid frame at this position.
fn frame_at(bytes: &[u8], seed: Seed, at: usize) -> Option<&[u8]> {
    let header = bytes.get(at..at + FRAME_HEADER_BYTES)?;
    if short(header, 6) != seed.tag || half(header, 32) != seed.header_sum(header, at) {
        return None;
    }
    let frame = bytes.get(at..at + index(half(header, 0).into()))?;
    (crc32(frame.get(FRAME_HEADER_BYTES..)?) == half(header, 8)).then_some(frame)
}

/// Where the segment before ends, if there is one.
fn link(header: &[u8]) -> Option<Place> {
    let number = word(header, 88);
    (number > 0).then(|| Place { segment: number, position: word(header, 104) })
}

/// A place that is stored there.
fn place(bytes: &[u8], at: usize) -> Place {
    Place { segment: word(bytes, at), position: word(bytes, at + 8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_line_behind_the_end_of_its_segment_keeps_nothing() {
        let at = |segment, position| Place { segment, position };
        let log = |end| Valid {
            starts: vec![(at(2, 8424), 2)],
            links: vec![(2, at(1, 5056)), (3, at(2, end))],
            ..Valid::default()
        };
        assert_eq!(log(8480).start_segment(at(3, 4176)), 2);
        assert_eq!(log(4176).start_segment(at(3, 4176)), 0);
        assert_eq!(log(4176).start_segment(at(2, 8480)), 2);
        assert_eq!(log(4176).start_segment(at(2, 8424)), 0);
    }
}
