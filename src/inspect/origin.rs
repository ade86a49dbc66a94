//! Where bytes that are no valid frame come from: another segment, or another position of their own.
//!
//! Guarantees:
//! 1. An origin is named only if tag and header checksum are those of a known incarnation at the position named, and if
//!    whole sectors could have been moved from there: the distance is a multiple of 512.
//! 2. No position is tried: a CRC is linear in where it began, so that the one position that fits is computed.
//! 3. The cost is linear in the bytes looked at.

use crate::checksum::{Seed, begun_apart};
use crate::format::frame::HEADER_BYTES;
use crate::format::{FRAME_ALIGNMENT, FRAMES_START, frame_header as table};
use crate::types::{index, length};

/// Disks lose and swap no less than this.
const SECTOR_BYTES: u64 = 512;

/// The segments that bytes may come from.
#[derive(Debug, Default)]
pub(super) struct Origins {
    /// Ordered by tag.
    known: Vec<Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    seed: Seed,
    segment: u64,
    capacity: u64,
}

/// Where a frame belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// Where it was found.
    pub(super) found: u64,
    pub(super) segment: u64,
    /// Its own position there.
    pub(super) home: u64,
}

impl Origins {
    /// Of segments given as number, incarnation and capacity.
    pub(super) fn new(segments: impl Iterator<Item = (u64, u64, u64)>) -> Self {
        let known = |(segment, incarnation, capacity)| Known { seed: Seed::new(incarnation), segment, capacity };
        let mut known: Vec<Known> = segments.map(known).collect();
        known.sort_by_key(|known| known.seed.tag());
        Self { known }
    }

    /// The first frame header in `bytes`, which stand at `position` of a segment, that belongs elsewhere.
    pub(super) fn find(&self, bytes: &[u8], position: u64, segment: u64) -> Option<Origin> {
        let (mut rest, mut found) = (bytes, position);
        while let Some(header) = rest.first_chunk::<HEADER_BYTES>() {
            if let Some(origin) = self.of_header(header, found, segment) {
                return Some(origin);
            }
            rest = rest.get(index(FRAME_ALIGNMENT)..).unwrap_or_default();
            found = found.saturating_add(FRAME_ALIGNMENT);
        }
        None
    }

    fn of_header(&self, header: &[u8; HEADER_BYTES], found: u64, segment: u64) -> Option<Origin> {
        let tag = table::TAG.u16(header);
        let frame_length = u64::from(table::LENGTH.u32(header));
        if frame_length < length(HEADER_BYTES) {
            return None;
        }
        let stored = table::HEADER_CHECKSUM.u32(header);
        let summed = header.get(..table::HEADER_CHECKSUM.place).unwrap_or_default();
        let first = self.known.partition_point(|known| known.seed.tag() < tag);
        let same_tag = self.known.iter().skip(first).take_while(|known| known.seed.tag() == tag);
        same_tag.into_iter().find_map(|known| {
            let computed = known.seed.header(found, summed);
            let home = found ^ u64::from(begun_apart(stored ^ computed, summed.len()));
            let fits = home >= FRAMES_START && home.saturating_add(frame_length) <= known.capacity;
            let moved = home.abs_diff(found).is_multiple_of(SECTOR_BYTES);
            let elsewhere = home != found || known.segment != segment;
            (fits && moved && elsewhere).then_some(Origin { found, segment: known.segment, home })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Kind;
    use crate::format::frame::{FrameHeader, Layout};
    use crate::types::{Timestamp, Topic};

    fn header(seed: Seed, position: u64) -> [u8; HEADER_BYTES] {
        let header = FrameHeader {
            length: 100,
            kind: Kind::Data,
            layout: Layout::Dense,
            body_checksum: 7,
            topic: Some(Topic::default()),
            time: Timestamp::from_nanoseconds(1_700_000_000_000_000_000),
            offset_delta: 77,
            record_count: 3,
            state_count: 0,
            header_checksum: 0,
        };
        header.encode(seed, position).to_bytes()
    }

    #[test]
    fn a_moved_frame_names_its_home() {
        let origins = Origins::new([(1, 42, 1 << 20), (2, 43, 1 << 27)].into_iter());
        for (segment, incarnation, home, found) in
            [(1, 42, 4096, 8192), (1, 42, 70_000, 4976), (2, 43, (1 << 26) + 8, 4104), (2, 43, 5000, 5000)]
        {
            let mut bytes = vec![0xa5; 64];
            bytes.extend(header(Seed::new(incarnation), home));
            let origin = origins.find(&bytes, found - 64, 1);
            assert_eq!(origin, Some(Origin { found, segment, home }), "{segment} {home} {found}");
        }
    }

    #[test]
    fn a_frame_at_home_and_one_moved_by_no_sector_have_no_other_origin() {
        let origins = Origins::new([(1, 42, 1 << 20)].into_iter());
        assert_eq!(origins.find(&header(Seed::new(42), 5000), 5000, 1), None);
        assert_eq!(origins.find(&header(Seed::new(42), 5000), 5008, 1), None);
        assert_eq!(origins.find(&header(Seed::new(44), 5000), 5512, 1), None);
        assert_eq!(origins.find(&header(Seed::new(42), 1 << 20), 4096, 1), None, "past the capacity");
    }
}
