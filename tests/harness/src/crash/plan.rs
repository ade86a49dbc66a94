//! What a run does to a log.
//!
//! Guarantees:
//! 1. A plan follows from its seed alone; one of fewer operations follows from the seed and the numbers of those kept.

use std::fmt;
use std::time::Duration;

use esker::{Background, Cleaner, Cleanup, Options, Retention, Sync, Topic};

use crate::dice::Dice;
use crate::memory::AfterFailure;

/// The most operations of a plan.
pub const OPERATIONS_MAX: usize = 40;

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// Appends one record with a payload of so many bytes.
    Append { bytes: u16 },
    /// Appends so many records in one frame.
    Batch { records: u8, bytes: u16 },
    /// Sets a state entry.
    State { key: u8, bytes: u16 },
    /// Removes a state entry.
    RemoveState { key: u8 },
    /// A record, a state entry and a cursor move in one frame.
    Commit { key: u8, cursor: u8, bytes: u16 },
    /// Moves a cursor to the end.
    Cursor { cursor: u8 },
    /// Makes everything durable.
    Sync,
    /// What the threads would do.
    Background,
    /// Compacts the whole log.
    Compact,
    /// Drops all before such a part of the log.
    Drop { part: u8 },
    /// Sets what a cursor holds: everything, or so many KiB, or nothing.
    Contract { cursor: u8, kibibytes: Option<u8> },
    /// Somebody else looks.
    Look,
    /// Time goes by.
    Advance { milliseconds: u16 },
    /// The system writes sectors back on its own.
    WriteBack { sectors: u8 },
    /// The n-th sync of a file from here fails.
    FailSync { after: u8, leaving: AfterFailure },
    /// The n-th sync of the directory fails.
    FailDirectory { after: u8, leaving: AfterFailure },
    /// From the n-th creation on the disk is full, for so many creations.
    Full { after: u8, times: u8 },
    /// From the n-th file to be opened or created on there are too many, for so many files.
    NoFiles { after: u8, times: u8 },
    /// Closes the log and opens it again.
    Reopen,
    /// Closes the log; on a copy so many bytes are damaged, and repaired while something else goes wrong; opens it again.
    Repair { bytes: u8 },
    /// The process dies, and the log is opened again.
    Kill,
    /// The machine loses its power, and the log is opened again.
    Power,
}

/// How the log is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// When records become durable.
    pub(super) sync: Sync,
    /// The largest segment.
    pub(super) segment_bytes: u64,
    /// How many full segments may wait for their sync.
    pub(super) unproven_segments: usize,
    /// How much of the log is kept.
    pub(super) retention_bytes: Option<u64>,
    /// Whether it is cleaned in the background.
    pub(super) cleanup: Cleaned,
}

/// Whether a log is cleaned in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cleaned {
    No,
    Yes,
}

/// Settings and operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How the log is opened.
    pub(super) settings: Settings,
    /// What is done, in this order.
    pub(super) operations: Vec<Operation>,
}

impl Settings {
    fn thrown(dice: &mut Dice) -> Self {
        let sync = match dice.below(6) {
            0 => Sync::EveryCommit,
            1 => Sync::Interval(Duration::from_millis(50)),
            _ => Sync::OnRequest,
        };
        let segment_bytes = [16_384, 16_384, 20_480, 32_768][dice.index(4)];
        let unproven_segments = [8, 8, 1, 2][dice.index(4)];
        let retention_bytes = [None, None, Some(36_000), Some(1)][dice.index(4)];
        let cleanup = [Cleaned::No, Cleaned::Yes][dice.index(2)];
        Self { sync, segment_bytes, unproven_segments, retention_bytes, cleanup }
    }

    /// As options, for a log without threads.
    pub(super) fn options(&self) -> Options {
        let options = match self.cleanup {
            Cleaned::No => Options::new(),
            Cleaned::Yes => Options::new()
                .cleanup(Topic::default(), Cleanup::compact())
                .cleaner(Cleaner::new().dirty_ratio(0.3).memory(1 << 20)),
        };
        options
            .segment_bytes(self.segment_bytes)
            .checkpoint_bytes(4096)
            .sync(self.sync)
            .unproven_segments_max(self.unproven_segments)
            .retention(self.retention_bytes.map_or(Retention::new(), |bytes| Retention::new().bytes(bytes)))
            .background(Background::Manual)
    }
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(dice: &mut Dice) -> Self {
        let settings = Settings::thrown(dice);
        let count = 4 + dice.index(OPERATIONS_MAX - 3);
        let operations = (0..count).map(|_| Operation::thrown(dice)).collect();
        Self { settings, operations }
    }

    /// The same with only the operations of these numbers.
    #[must_use]
    pub fn only(&self, kept: &[usize]) -> Self {
        let operations = kept.iter().filter_map(|index| self.operations.get(*index).copied()).collect();
        Self { settings: self.settings, operations }
    }
}

impl Operation {
    fn thrown(dice: &mut Dice) -> Self {
        let key = u8::try_from(dice.below(4)).expect("small");
        let small = u8::try_from(1 + dice.below(6)).expect("small");
        match dice.below(78) {
            0..=15 => Self::Append { bytes: size(dice) },
            16..=21 => Self::Batch { records: small, bytes: size(dice) / 4 },
            22..=26 => Self::State { key, bytes: size(dice) / 2 },
            27 => Self::RemoveState { key },
            28..=32 => Self::Commit { key, cursor: key % 2, bytes: size(dice) },
            33..=35 => Self::Cursor { cursor: key % 2 },
            36..=42 => Self::Sync,
            43 => Self::Look,
            44..=48 => Self::Background,
            49..=50 => Self::Advance { milliseconds: 20 * u16::from(small) },
            51..=53 => Self::WriteBack { sectors: small },
            54..=55 => Self::FailSync { after: small, leaving: left(dice) },
            56 => Self::FailDirectory { after: small.div_ceil(2), leaving: left(dice) },
            57 => Self::Full { after: small % 3, times: [1, u8::MAX][dice.index(2)] },
            58 => Self::NoFiles { after: small, times: [1, u8::MAX][dice.index(2)] },
            59..=60 => Self::Reopen,
            61 => Self::Kill,
            62..=63 => Self::Repair { bytes: [1, small, 200][dice.index(3)] },
            64..=65 => Self::Power,
            74..=77 => Self::Compact,
            66..=71 => Self::Drop { part: u8::try_from(dice.below(256)).expect("small") },
            _ => Self::Contract { cursor: key % 2, kibibytes: [None, Some(0), Some(24)][dice.index(3)] },
        }
    }
}

fn left(dice: &mut Dice) -> AfterFailure {
    if dice.one_in(2) { AfterFailure::Kept } else { AfterFailure::Reverted }
}

/// Mostly small; now and then large enough that segments roll soon.
fn size(dice: &mut Dice) -> u16 {
    let limit = [24, 200, 200, 700, 1500, 5000][dice.index(6)];
    u16::try_from(dice.below(limit)).expect("small")
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.settings)?;
        self.operations.iter().enumerate().try_for_each(|(index, operation)| write!(f, "\n  {index}: {operation}"))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
