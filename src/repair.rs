//! Repair: makes a damaged log one that opens again, keeps all that checks, and says what is lost.
//!
//! A plan is made from the log alone, and only read. Applied, each segment that is damaged below the durable line is
//! written anew, as the next generation of itself (`format.md`): its frames at their places, and gap frames where there
//! were others. Records keep their offsets. What stood there before lies in `quarantine/`, whole, or as far as it can be read.
//!
//! Guarantees:
//! 1. [`plan`] changes nothing. [`apply`] holds the writer's lock, plans anew under it, and changes nothing if that plan
//!    gives up something durable and [`Accept`] does not allow it. What only shows once that plan is carried out is planned
//!    and judged the same way; if it is refused then, what was done before stays.
//! 2. A frame is written again only if both its sums and its content check, and never another byte: damage is never
//!    copied under a fresh checksum.
//! 3. What is not below the durable line is left alone, in whatever state: the next open cuts it as after any crash. Only
//!    where a segment has to be written anyway, it ends where that open would end it, and so does the log: later segments go
//!    to `quarantine/`, and the plan says what was in them.
//! 4. Repair is idempotent: behind it a plan is empty and `verify` finds no damage.
//! 5. Whose log it is, most of the segments, checkpoints and anchor slots say; if as many speak for another store, nothing is
//!    planned. Nor where two files have each other's names: what is whole is never given up for a name.
//! 6. Memory is bounded by the longest frame, the count of files and the count of damaged stretches.
//!
//! The argument for a crash at any moment, by cases. A segment is replaced in this order: (1) a copy of the original is
//! written beside it, synced, and moved to `quarantine/`; (2) the new generation is written as a draft, synced, and read
//! back (as the system has it: what the medium holds, no program can ask); (3) the draft is renamed over the original; (4) the directory is synced.
//!
//! - *Before the rename is durable*: the original is there under its name. Copy and draft are leftovers: nobody reads them,
//!   the next repair or open removes them. A copy that came to `quarantine/` stays there, and is the one of the next try too.
//! - *After it*: the new generation is there in full, since it was synced before. Links and checkpoints know it by the
//!   original's incarnation and end, which its header carries on, so that its neighbours hold whether they were replaced
//!   or not: between two segments the log is one with less damage, and a plan made of it is the rest of this one.
//! - *Segments behind the new end of the log*: they go first, before anything is replaced. (1) The anchor is written anew, with
//!   the durable line D of the plan, and no segment above the one in which the log ends; (2) the segments above that one are
//!   moved to `quarantine/`, newest first, the directory synced behind each. Between any two of these steps the log is the
//!   one that it was, with less behind the place at which it is torn: an open cuts there in any case, or refuses because of
//!   the damage below D, of which the anchor tells whatever is gone.
//! - *Other files*: checkpoints, anchor and strangers are moved by one rename each, and else after all segments are durable, so
//!   that no durable line that they carry is forgotten while something below it is still damaged.
//!
//! State that was lost with a gap is not known any more, unless a checkpoint lies behind the gap. Repaired, the state is
//! what is left: the fold of the log that goes over the gap, as if its entries had never been committed. The plan says so
//! ([`Step::state`]), and counts it as a loss.

mod apply;
mod aside;
mod checkpoints;
mod original;
mod plan;
mod sift;
mod slots;
mod way;
mod write;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use apply::apply_on;
pub use plan::plan_on;

use crate::error::{Error, ErrorKind, Result};
use crate::platform::{Disk, SystemDisk};
use crate::types::{Line, Offset};

/// What a repair of the log in the directory `path` would do; changes nothing.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # esker::Log::open(folder.path())?.append(b"created #1")?.wait()?;
/// let plan = esker::repair::plan(folder.path())?;
/// for step in &plan.steps {
///     println!("{step}");
/// }
/// assert!(plan.steps.is_empty(), "nothing is damaged");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Invalid`] if there is no log, or something stands in the way of the plan; [`ErrorKind::Locked`] if a writer holds it; [`ErrorKind::Incompatible`] for
/// another format; [`ErrorKind::Corrupt`] for damage that no repair here can judge; and what the system says.
pub fn plan(path: impl AsRef<Path>) -> Result<Plan> {
    plan_on(&open(path.as_ref())?)
}

/// Repairs the log in the directory `path`, and returns what was done.
///
/// ```
/// use esker::repair::{self, Accept};
/// # let folder = tempfile::tempdir()?;
/// # esker::Log::open(folder.path())?.append(b"created #1")?.wait()?;
/// let done = repair::apply(folder.path(), Accept::NoLoss)?;
/// assert!(done.steps.is_empty(), "nothing was damaged");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As for [`plan`]; [`ErrorKind::Loss`] if it would give up what was durable, and `accept` does not say that it may.
///
/// # Durability
/// What was done is durable when this returns.
pub fn apply(path: impl AsRef<Path>, accept: Accept) -> Result<Plan> {
    apply_on(&open(path.as_ref())?, accept)
}

fn open(path: &Path) -> Result<SystemDisk> {
    SystemDisk::open(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotADirectory {
            return Error::new(ErrorKind::Invalid, "not a directory").at_path(path).next_step("a log is a directory");
        }
        Error::io("open the directory", error).at_path(path)
    })
}

/// Whether a repair may give up what was durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// Only what loses nothing durable is done.
    NoLoss,
    /// What the plan says is lost is given up.
    Loss,
}

/// What a repair does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// In the order in which they are done; empty if there is nothing to repair.
    pub steps: Vec<Step>,
    /// Up to where something says that the log was durable.
    pub durable: Line,
    /// A torn tail that is there, and needs no repair: the next open cuts it. One that is cut by the repair itself is told of by
    /// the step that does.
    pub torn_tail: Option<Line>,
    /// What is wrong with the anchor, and who mends it, if no step writes it. It is a hint that no log needs: for
    /// [`verify`](crate::inspect::verify) too it is no damage.
    pub anchor: Option<String>,
}

impl Plan {
    /// Whether it gives up something that was durable.
    #[must_use]
    pub fn loses(&self) -> bool {
        self.steps.iter().any(Step::loses)
    }

    /// Whether more may be lost at the end than anything knows of.
    #[must_use]
    pub fn loses_tail(&self) -> bool {
        self.steps.iter().any(|step| step.tail != TailLoss::None)
    }

    /// Records that it gives up, as far as anything knows of them: see [`TailLoss`].
    #[must_use]
    pub fn records_lost(&self) -> u64 {
        let lost = self.steps.iter().flat_map(|step| &step.lost);
        lost.fold(0, |sum, lost| sum.saturating_add(lost.offsets.end.since(lost.offsets.start)))
    }
}

/// One step of a [`Plan`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// To which file.
    pub file: PathBuf,
    /// The segment concerned, if it is one.
    pub segment: Option<u64>,
    /// Why.
    pub cause: String,
    /// Records of the segment that are kept.
    pub records_kept: u64,
    /// What becomes a gap. All of it lies below the durable line.
    pub lost: Vec<Lost>,
    /// Whether state is lost with it.
    pub state: StateLoss,
    /// Whether more may be lost than anything knows of.
    pub tail: TailLoss,
}

impl Step {
    /// Whether it gives up something that was durable.
    #[must_use]
    pub fn loses(&self) -> bool {
        self.state != StateLoss::None
            || self.tail != TailLoss::None
            || self.lost.iter().any(|lost| !lost.offsets.is_empty())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.action.name(), self.file.display(), self.cause)?;
        for lost in &self.lost {
            write!(f, "; {lost}")?;
        }
        if self.tail == TailLoss::Unknown {
            f.write_str("; what stood behind it is gone, and how much that was nobody knows")?;
        }
        match self.state {
            StateLoss::None => Ok(()),
            StateLoss::AsLeft => f.write_str("; state entries may be lost: the state is then as of what is left"),
        }
    }
}

/// What a [`Step`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Gives a segment file its own name back.
    Rename,
    /// Writes a segment anew, with gaps where something is lost.
    Rewrite,
    /// Makes a segment that is not there, or of which nothing checks: a gap.
    Replace,
    /// Writes the anchor anew.
    WriteAnchor,
    /// Moves a file to `quarantine/`.
    Quarantine,
}

impl Action {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rename => "rename",
            Self::Rewrite => "rewrite",
            Self::Replace => "replace",
            Self::WriteAnchor => "write-anchor",
            Self::Quarantine => "quarantine",
        }
    }
}

/// A stretch of a segment that becomes a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// Where it begins.
    pub position: u64,
    /// How long it is.
    pub bytes: u64,
    /// Offsets of the records that are lost with it; none if it held no records, or only such as were dropped before. In a
    /// segment that was rewritten some of them may have been dropped before too.
    pub offsets: Range<Offset>,
    /// What is wrong there.
    pub cause: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at position {}: {}", self.bytes, self.position, self.cause)?;
        if self.offsets.is_empty() {
            return f.write_str(", no record is lost");
        }
        write!(f, ", offsets {} up to {} are lost", self.offsets.start, self.offsets.end)
    }
}

/// What a [`Step`] means for the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StateLoss {
    /// No entry is lost, or a checkpoint behind it knows them.
    None,
    /// Entries may be lost that no checkpoint holds: the state becomes what the rest of the log says.
    AsLeft,
}

/// What a [`Step`] means for the end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TailLoss {
    /// Nothing is missing behind what is there.
    None,
    /// The last file became shorter, is not there, or cannot be read behind the end: how many records, durable ones too, stood
    /// there nobody knows.
    Unknown,
}

/// Refuses while somebody writes: what is half stored looks like damage.
fn refuse_writer(disk: &dyn Disk) -> Result<()> {
    let holder = disk.lock_holder();
    let holder = holder.map_err(|error| Error::io("ask for the writer's lock", error).at_path(disk.directory()))?;
    holder.map_or(Ok(()), |holder| Err(locked(disk, holder)))
}

fn locked(disk: &dyn Disk, holder: crate::platform::Holder) -> Error {
    Error::new(ErrorKind::Locked, format!("locked for writing by {holder}"))
        .at_path(disk.directory())
        .held_by(holder.pid)
        .next_step("close it there first")
}

#[cfg(test)]
mod tests;
