//! Read-only analysis of a log: is it whole, and what does a segment file hold?
//!
//! Guarantees:
//! 1. Nothing is changed, and no lock is kept: both work beside a writer and on a log that no open would take.
//! 2. [`verify`] checks every byte that counts: every segment header, every link, every frame of the chain in full up to
//!    its segment's end, the checkpoints, the index files and the anchor. It goes on behind damage, so that one finding does not hide the next.
//! 3. What is called damage was durable, or is refused by an open. What a crash leaves, and what a running writer is about
//!    to store, is never called damage; bytes at or past a settled end are never judged.
//! 4. Hostile bytes are findings: no panic, no endless loop, and memory is bounded by the longest frame that checks, the
//!    count of files, and [`FINDINGS_MAX`]; an index file is checked in 32 MiB.
//!
//! Left to others: how it is shown (`tools/`), and what to do about it.

pub(crate) mod chain;
pub(crate) mod checkpoints;
mod dissect;
mod evidence;
mod indexes;
mod origin;
mod progress;
pub(crate) mod unheaded;
pub(crate) mod unreadable;
mod verify;

use std::fmt;
use std::path::{Path, PathBuf};

pub use dissect::{Checksums, Dissection, FieldValue, FrameRow, FrameRows, SettledEnd, dissect};
pub use evidence::{CarriedLine, FindingEvidence, Neighbour, Session};
pub use progress::Progress;
pub(crate) use verify::durable_line;
pub use verify::verify_on;

use crate::error::{Error, ErrorKind, Result};
use crate::format::segment_name;
use crate::platform::{Disk, Holder, SystemDisk};
use crate::types::{Offset, Place};

/// The most findings that a [`Verification`] lists; what exceeds them is counted in [`Verification::omitted`].
pub const FINDINGS_MAX: usize = 10_000;

/// Checks the log in the directory `path`, and changes nothing. `progress` is called now and then.
///
/// Damage is not an error here: it is in [`Verification::findings`].
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # esker::Log::open(folder.path())?.append(b"created #1")?.wait()?;
/// let verification = esker::inspect::verify(folder.path(), &mut |_| {})?;
/// for finding in &verification.findings {
///     println!("{finding}");
/// }
/// assert!(!verification.is_damaged());
/// assert_eq!(verification.records, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Invalid`] if there is no log; [`ErrorKind::Incompatible`] for another format, which this build cannot
/// judge; and what the system says.
pub fn verify(path: impl AsRef<Path>, progress: &mut dyn FnMut(Progress)) -> Result<Verification> {
    let path = path.as_ref();
    let disk = SystemDisk::open(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotADirectory {
            return Error::new(ErrorKind::Invalid, "not a directory").at_path(path).next_step("a log is a directory");
        }
        Error::io("open the directory", error).at_path(path)
    })?;
    verify_on(&disk, progress)
}

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// Everything worth a line, in the order of the log where it has one.
    pub findings: Vec<Finding>,
    /// Findings beyond [`FINDINGS_MAX`], which are only counted.
    pub omitted: u64,
    /// Segments that form the log, as far as they could be followed.
    pub segments: u64,
    /// Valid frames in them, up to the end of the log.
    pub frames: u64,
    /// Records in those frames.
    pub records: u64,
    /// Bytes of those segments up to their ends, headers included.
    pub bytes: u64,
    /// Checkpoints that are good.
    pub checkpoints: u64,
    /// Offset of the first record.
    pub start: Offset,
    /// Offset behind the last record.
    pub end: Offset,
    /// Offset behind the last record that is written down as durable.
    pub durable: Offset,
    /// The durable lines that are written down, the highest first.
    pub lines: std::sync::Arc<[CarriedLine]>,
    /// Whether a writer held the log meanwhile, and its process id if it left one.
    pub writer: Option<Holder>,
    damaged: bool,
}

impl Verification {
    /// Whether anything that was found is damage. A torn tail is not: it is what a crash looks like.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }

    fn report(&mut self, finding: Finding) {
        self.damaged |= finding.class.is_damage();
        if self.is_full() {
            self.omitted = self.omitted.saturating_add(1);
        } else {
            self.findings.push(finding);
        }
    }

    fn is_full(&self) -> bool {
        self.findings.len() >= FINDINGS_MAX
    }

    /// Counts damage that is not listed.
    fn omit_damage(&mut self, findings: u64) {
        self.damaged = true;
        self.omitted = self.omitted.saturating_add(findings);
    }
}

/// One thing that [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What it is.
    pub class: FindingClass,
    /// The segment concerned, if it is one.
    pub segment: Option<u64>,
    /// The file concerned, or where it should be; the directory if it is no file.
    pub file: PathBuf,
    /// Byte position in the file, if there is one.
    pub position: Option<u64>,
    /// Offset of the record expected there, if it is known.
    pub offset: Option<Offset>,
    /// What was found and expected.
    pub cause: String,
    /// What speaks for it.
    pub evidence: FindingEvidence,
}

impl Finding {
    /// About a place, or the directory if there is none.
    fn new(disk: &dyn Disk, class: FindingClass, place: Option<Place>, offset: Option<Offset>, cause: String) -> Self {
        let directory = disk.directory();
        Self {
            class,
            segment: place.map(|place| place.segment),
            file: place.map_or(directory.to_owned(), |place| directory.join(segment_name(place.segment))),
            position: place.map(|place| place.position).filter(|_| class != FindingClass::MissingSegment),
            offset,
            cause,
            evidence: FindingEvidence::default(),
        }
    }

    /// About a file, whatever it holds.
    fn of_file(disk: &dyn Disk, class: FindingClass, name: &str, segment: Option<u64>, cause: String) -> Self {
        let file = disk.directory().join(name);
        Self { segment, file, ..Self::new(disk, class, None, None, cause) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.class.name(), self.file.display())?;
        if let Some(position) = self.position {
            write!(f, "at position {position}: ")?;
        }
        f.write_str(&self.cause)?;
        self.offset.map_or(Ok(()), |offset| write!(f, " (offset {offset})"))
    }
}

/// What a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingClass {
    /// The log ends here, and something that was never known to be durable follows: what a crash leaves. The next open
    /// cuts it.
    TornTail,
    /// A frame whose header is valid and whose body is not what was stored; or a stretch that the disk does not give back.
    BodyRot,
    /// A header, of a segment or of a frame, that is not what was stored.
    HeaderRot,
    /// Nothing, or the end of the file, where there were frames.
    LostBytes,
    /// What stands here was stored in another segment, or in the file that used this space before.
    StaleBytes,
    /// What stands here belongs to another position of the same segment.
    MisplacedBlock,
    /// A segment that is known to have been durable is not there.
    MissingSegment,
    /// What is there is valid, and does not follow from what comes before.
    BrokenChain,
    /// A segment under another's name, or of another store.
    ForeignSegment,
    /// A segment that was prepared and is not in use.
    SpareSegment,
    /// A segment that is not part of the log any more.
    OffChain,
    /// The anchor, or one of its slots, does not check. The log does not need it; without it a lost last file is not
    /// noticed.
    BadAnchor,
    /// A checkpoint that is not what was written. An open passes over it, and loads the state from an older one, or from
    /// the log, as long as there is one or the other.
    BadCheckpoint,
    /// A checkpoint that is whole, and not of this log, or of a place that the log does not have.
    WrongCheckpoint,
    /// State that cannot be: a frame whose sums match and whose state entries make no sense, or a checkpoint, whole and of
    /// this log, that differs from what the log says.
    BadState,
    /// A gap that a repair left in place of damage. What was lost there was said then; it is no damage any more.
    Gap,
    /// An index file that is not what was written, or not of the segment beside it, or that differs from it. The log does
    /// not need it; its next writer makes another.
    BadIndex,
    /// What is not in use: a checkpoint or an index file that was being written, one of a segment that is not there, files of a
    /// repair that did not end, and what was dropped and not removed yet.
    Leftover,
    /// A writer is at work; what it stores meanwhile was not judged.
    LiveWriter,
}

impl FindingClass {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TornTail => "torn-tail",
            Self::BodyRot => "body-rot",
            Self::HeaderRot => "header-rot",
            Self::LostBytes => "lost-bytes",
            Self::StaleBytes => "stale-bytes",
            Self::MisplacedBlock => "misplaced-block",
            Self::MissingSegment => "missing-segment",
            Self::BrokenChain => "broken-chain",
            Self::ForeignSegment => "foreign-segment",
            Self::SpareSegment => "spare-segment",
            Self::OffChain => "off-chain",
            Self::BadAnchor => "bad-anchor",
            Self::BadCheckpoint => "bad-checkpoint",
            Self::WrongCheckpoint => "wrong-checkpoint",
            Self::BadState => "bad-state",
            Self::Gap => "gap",
            Self::BadIndex => "bad-index",
            Self::Leftover => "leftover",
            Self::LiveWriter => "live-writer",
        }
    }

    /// Whether it says that something durable is lost or wrong.
    #[must_use]
    pub const fn is_damage(self) -> bool {
        match self {
            Self::TornTail
            | Self::SpareSegment
            | Self::OffChain
            | Self::BadAnchor
            | Self::BadIndex
            | Self::Leftover
            | Self::Gap
            | Self::LiveWriter => false,
            Self::BodyRot
            | Self::HeaderRot
            | Self::LostBytes
            | Self::StaleBytes
            | Self::MisplacedBlock
            | Self::MissingSegment
            | Self::BrokenChain
            | Self::ForeignSegment
            | Self::BadCheckpoint
            | Self::WrongCheckpoint
            | Self::BadState => true,
        }
    }
}

impl fmt::Display for FindingClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
