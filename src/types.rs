//! The words of the log as types: offsets, places, times, identities, records.
//!
//! Guarantees:
//! 1. An index, an offset and a position are different types or differently named.
//! 2. The conversions between integer widths here are the only ones; none truncates.

mod contract;
mod record;

use std::fmt;
use std::time::{Duration, SystemTime};

pub use contract::Contract;
pub use record::{Header, Headers, Record, RecordRef};
pub(crate) use record::{Payload, Tombstone};

/// The number of a record in the log: dense, starting at 0, never reused within an [`Epoch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of every log.
    pub const ZERO: Self = Self(0);

    /// The offset with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset `records` after this one; the largest offset if there is none.
    #[must_use]
    pub const fn after(self, records: u64) -> Self {
        Self(self.0.saturating_add(records))
    }

    /// How many offsets lie from `earlier` to this one; 0 if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where in the log: segment number and byte position. Totally ordered, as the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Place {
    /// Number of the segment.
    pub segment: u64,
    /// Byte position inside the segment's file.
    pub position: u64,
}

impl Place {
    pub(crate) const fn new(segment: u64, position: u64) -> Self {
        Self { segment, position }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} position {}", self.segment, self.position)
    }
}

/// Which commit stored a state entry: later commits have larger versions, also across restarts and crashes, and none is
/// ever used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(Place);

impl Version {
    /// The version of the commit that ends at this place; for whoever kept the place.
    #[must_use]
    pub const fn new(place: Place) -> Self {
        Self(place)
    }

    /// The place just behind the commit.
    #[must_use]
    pub const fn place(self) -> Place {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {}:{}", self.0.segment, self.0.position)
    }
}

/// A place between two frames and the offset of the next record there.
///
/// Durable lines and segment ends are lines: they say both where the bytes end and what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Line {
    /// The place just past the last frame covered.
    pub place: Place,
    /// Offset of the first record not covered.
    pub offset: Offset,
}

/// A moment: nanoseconds since the Unix epoch, UTC, leap seconds ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `nanoseconds` after the Unix epoch (before it, if negative).
    #[must_use]
    pub const fn from_nanoseconds(nanoseconds: i64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn nanoseconds(self) -> i64 {
        self.0
    }

    /// The moment so much earlier; the earliest there is, if it is before all.
    pub(crate) fn before(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl From<SystemTime> for Timestamp {
    /// Times out of range (before 1677, after 2262) become the nearest that fits.
    fn from(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Self(i64::try_from(after.as_nanos()).unwrap_or(i64::MAX)),
            Err(before) => Self(i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n)),
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_nanos(time.0.unsigned_abs());
        if time.0 < 0 { Self::UNIX_EPOCH - distance } else { Self::UNIX_EPOCH + distance }
    }
}

/// The number of a topic. The log knows topics as numbers only; 0 is the one nobody named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Topic(u32);

impl Topic {
    /// The largest topic number; the one above it means "mixed" in a frame header.
    pub const MAX: Self = Self(u32::MAX - 1);

    /// The topic with this number; `None` for `u32::MAX`, which is reserved.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number == u32::MAX { None } else { Some(Self(number)) }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// The identity of a store, drawn at random when it is created; the same in all its files.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct StoreId(pub(crate) [u8; 16]);

impl StoreId {
    /// Its sixteen bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

/// A stretch of the log's life in which an offset has one meaning. It ends at every unclean end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch {
    /// Counts up by one at every open that follows an unclean end.
    pub counter: u64,
    /// Drawn at random with the counter, so that two copies of one directory never share an epoch.
    pub word: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.counter, self.word)
    }
}

/// A byte position or length as an index into memory.
///
/// On a target whose `usize` is narrower, a value that does not fit becomes `usize::MAX`, which no slice holds: the
/// bounds check that follows refuses it.
#[inline]
pub(crate) fn index(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

/// The length of something in memory as a number of bytes; exact, as no target has a wider `usize`.
#[inline]
pub(crate) fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_to_system_time_and_back() {
        for nanoseconds in [0, 1, -1, i64::MAX, i64::MIN + 1, 1_700_000_000_123_456_789] {
            let time = Timestamp::from_nanoseconds(nanoseconds);
            assert_eq!(Timestamp::from(SystemTime::from(time)), time);
        }
    }

    #[test]
    fn places_order_by_segment_then_position() {
        assert!(Place::new(1, 900) < Place::new(2, 0));
        assert!(Place::new(2, 8) < Place::new(2, 16));
    }
}
