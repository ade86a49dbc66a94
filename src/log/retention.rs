//! Retention: the log begins later, and what lies below is unlinked.
//!
//! Guarantees:
//! 1. The order is: a start-line frame, its sync, and only then unlinks. Whatever dies in between, no file is missing that
//!    no durable start line let go.
//! 2. Only segments wholly below the older of two checkpoints, both written by the process that lets them go, are unlinked, so
//!    that a log that was trimmed can be opened although one of them rots. An open that finds less than two unlinks none. Never the segment in use, and nothing above the durable line.
//! 3. No cursor loses what its contract holds, also if it is moved at the same time: whether it still lets the log begin
//!    there is decided with all commits waiting, and a commit that comes later is measured by the new start.
//! 4. Age is measured by a clock that never runs ahead of the wall clock at the open and the time since: a wall clock that
//!    jumps ahead makes nothing older, and one that goes back makes nothing go early.
//! 5. The start line has room of its own in each segment: a full disk can be trimmed.
//!
//! Left to others: where an open finds the start line ([`start`](super::start)), what a cursor holds
//! ([`contract`](super::contract)).

mod drop;
mod plan;

use std::time::Duration;

use super::contract::Topics;
use crate::platform::Disk;
use crate::types::{Contract, Offset, Timestamp};

pub(crate) use plan::{Aim, Plan, Shape};

/// How much of a log is kept: a segment goes if it exceeds one of the limits, oldest first, and no cursor holds it.
///
/// ```
/// use std::time::Duration;
///
/// # let folder = tempfile::tempdir()?;
/// let week = esker::Retention::new().bytes(10 << 30).age(Duration::from_secs(7 * 24 * 3600));
/// let log = esker::Options::new().retention(week).open(folder.path())?;
/// assert_eq!(log.retention_plan()?.segments, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct Retention {
    pub(crate) bytes: Option<u64>,
    pub(crate) age: Option<Duration>,
}

impl Retention {
    /// Keeps everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps at most so many bytes of segments, as far as whole segments and cursors allow. The segment in use always stays.
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Drops segments all of whose records were appended longer ago than this.
    pub fn age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What retention did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionReport {
    /// Where the log begins then.
    pub start: Offset,
    /// Segments that go.
    pub segments: u64,
    /// Records that go.
    pub records: u64,
    /// Bytes of the segments that go.
    pub bytes: u64,
    /// What holds the rest; what holds most comes first, and decides.
    pub held: Vec<Held>,
}

/// Something that keeps a part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// What it is.
    pub by: HeldBy,
    /// The first offset that it keeps.
    pub offset: Offset,
    /// Records from there to the end of the log.
    pub records: u64,
    /// Bytes of the segments from there to the end of the log.
    pub bytes: u64,
}

/// What keeps a part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeldBy {
    /// The policy, or the offset that was given.
    Policy,
    /// A cursor.
    Cursor {
        /// Its name.
        name: String,
        /// Its contract.
        contract: Contract,
    },
    /// The older checkpoint: what lies behind it would be needed if the newer one rots.
    Checkpoint,
    /// It is in use, or not known to be durable.
    Active,
}

/// What retention remembers of an open log.
#[derive(Debug)]
pub(crate) struct Pace {
    pub(crate) clock: Clock,
    topics: Topics,
    /// What was tried last, and when.
    tried: Option<(Offset, Duration)>,
    pub(crate) segments: u64,
    pub(crate) failures: u64,
}

impl Pace {
    pub(crate) fn new(disk: &dyn Disk) -> Self {
        Self { clock: Clock::new(disk), topics: Topics::new(), tried: None, segments: 0, failures: 0 }
    }
}

/// A clock by which nothing is older than it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    wall: Timestamp,
    monotonic: Duration,
}

impl Clock {
    pub(crate) fn new(disk: &dyn Disk) -> Self {
        Self { wall: disk.now(), monotonic: disk.monotonic() }
    }

    /// The wall clock, if it did not run ahead.
    pub(crate) fn now(&self, disk: &dyn Disk) -> Timestamp {
        let since = disk.monotonic().saturating_sub(self.monotonic);
        let since = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        let expected = Timestamp::from_nanoseconds(self.wall.nanoseconds().saturating_add(since));
        disk.now().min(expected)
    }
}
