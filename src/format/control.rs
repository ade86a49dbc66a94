//! Bodies of the frames that carry no records.
//!
//! Guarantees:
//! 1. A body is accepted only at the exact length of its kind; what was encoded comes back as it was.
//! 2. Nothing is believed of the places and offsets in it: who uses them asks whether they are there.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use super::{Fault, Kind, gap_body, line_body, session_body, start_line_body};
use crate::types::{Line, Offset, Place, Timestamp};

pub(crate) const LINE_BYTES: usize = line_body::BYTES;
pub(crate) const GAP_BYTES: usize = gap_body::BYTES;
pub(crate) const SESSION_BYTES: usize = session_body::BYTES;
pub(crate) const START_LINE_BYTES: usize = start_line_body::BYTES;

/// Body of a mark, seal or close frame: how far the log was durable before it, and the latest append time up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineBody {
    pub(crate) durable: Line,
    pub(crate) time_max: Timestamp,
}

/// Body of a gap frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GapBody {
    /// Offset of the record after the gap.
    pub(crate) next_offset: Offset,
    /// From where the gap frame begins to where the next frame does.
    pub(crate) bytes: u32,
}

/// Body of a session frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionBody {
    pub(crate) boot_id: [u8; 16],
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) pid: u32,
}

/// Body of a start-line frame: where the log begins. A later one is the higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct StartLine {
    /// First offset kept; it may lie inside the segment.
    pub(crate) offset: Offset,
    /// First segment kept.
    pub(crate) segment: u64,
}

impl StartLine {
    pub(crate) fn encode(&self) -> [u8; START_LINE_BYTES] {
        let mut bytes = [0; START_LINE_BYTES];
        start_line_body::OFFSET.put(&mut bytes, self.offset.get().to_le_bytes());
        start_line_body::SEGMENT.put(&mut bytes, self.segment.to_le_bytes());
        bytes
    }

    /// Of the frame with this kind and body, if it is one that has it.
    pub(crate) fn of(kind: Kind, body: &[u8]) -> Option<Self> {
        if kind != Kind::StartLine || body.len() != START_LINE_BYTES {
            return None;
        }
        let offset = Offset::new(start_line_body::OFFSET.u64(body));
        Some(Self { offset, segment: start_line_body::SEGMENT.u64(body) })
    }
}

impl LineBody {
    pub(crate) fn encode(&self) -> [u8; LINE_BYTES] {
        let mut bytes = [0; LINE_BYTES];
        line_body::SEGMENT.put(&mut bytes, self.durable.place.segment.to_le_bytes());
        line_body::POSITION.put(&mut bytes, self.durable.place.position.to_le_bytes());
        line_body::OFFSET.put(&mut bytes, self.durable.offset.get().to_le_bytes());
        line_body::TIME_MAX.put(&mut bytes, self.time_max.nanoseconds().to_le_bytes());
        bytes
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, Fault> {
        exact(body, LINE_BYTES)?;
        let place = Place::new(line_body::SEGMENT.u64(body), line_body::POSITION.u64(body));
        Ok(Self {
            durable: Line { place, offset: Offset::new(line_body::OFFSET.u64(body)) },
            time_max: Timestamp::from_nanoseconds(line_body::TIME_MAX.i64(body)),
        })
    }
}

impl GapBody {
    pub(crate) fn encode(&self) -> [u8; GAP_BYTES] {
        let mut bytes = [0; GAP_BYTES];
        gap_body::NEXT_OFFSET.put(&mut bytes, self.next_offset.get().to_le_bytes());
        gap_body::SPAN.put(&mut bytes, self.bytes.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, Fault> {
        exact(body, GAP_BYTES)?;
        Ok(Self { next_offset: Offset::new(gap_body::NEXT_OFFSET.u64(body)), bytes: gap_body::SPAN.u32(body) })
    }
}

impl SessionBody {
    pub(crate) fn encode(&self) -> [u8; SESSION_BYTES] {
        let mut bytes = [0; SESSION_BYTES];
        session_body::BOOT_ID.put(&mut bytes, self.boot_id);
        session_body::DEVICE.put(&mut bytes, self.device.to_le_bytes());
        session_body::INODE.put(&mut bytes, self.inode.to_le_bytes());
        session_body::PID.put(&mut bytes, self.pid.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, Fault> {
        exact(body, SESSION_BYTES)?;
        Ok(Self {
            boot_id: session_body::BOOT_ID.array(body),
            device: session_body::DEVICE.u64(body),
            inode: session_body::INODE.u64(body),
            pid: session_body::PID.u32(body),
        })
    }
}

fn exact(body: &[u8], expected: usize) -> Result<(), Fault> {
    if body.len() == expected { Ok(()) } else { Err(WRONG_LENGTH) }
}

/// What is said of a body that is not as long as those of its kind.
pub(crate) const WRONG_LENGTH: Fault = Fault::Content { what: "a control frame whose body has the wrong length" };

/// How long the body of a frame of this kind is; `None`: as long as its frame says.
pub(crate) fn body_bytes(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Mark | Kind::Seal | Kind::Close => Some(LINE_BYTES),
        Kind::Session => Some(SESSION_BYTES),
        Kind::StartLine => Some(START_LINE_BYTES),
        Kind::Gap => Some(GAP_BYTES),
        Kind::Pad | Kind::Data => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bodies_come_back_as_they_were_stored() {
        let line = LineBody {
            durable: Line { place: Place::new(3, 4096), offset: Offset::new(17) },
            time_max: Timestamp::from_nanoseconds(-1),
        };
        assert_eq!(LineBody::decode(&line.encode()), Ok(line));
        let session = SessionBody { boot_id: [3; 16], device: 1, inode: 2, pid: 3 };
        assert_eq!(SessionBody::decode(&session.encode()), Ok(session));
        let gap = GapBody { next_offset: Offset::new(7), bytes: 4096 };
        assert_eq!(GapBody::decode(&gap.encode()), Ok(gap));
        let start = StartLine { offset: Offset::new(17), segment: 3 };
        assert_eq!(StartLine::of(Kind::StartLine, &start.encode()), Some(start));
        assert_eq!(StartLine::of(Kind::StartLine, &start.encode()[1..]), None);
        assert_eq!(StartLine::of(Kind::Pad, &start.encode()), None);
        assert!(GapBody::decode(&[0; GAP_BYTES + 1]).is_err());
        assert!(LineBody::decode(&[0; LINE_BYTES - 1]).is_err());
        assert!(SessionBody::decode(&[0; SESSION_BYTES + 1]).is_err());
    }
}
