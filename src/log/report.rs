//! What an open found, kept and cut.

use std::fmt;

use crate::format::control::SessionBody;
use crate::platform::Identity;
use crate::types::{Epoch, Line, Offset, Place};

/// How the log ended before it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// There was no log; it was created.
    Created,
    /// Its writer closed it.
    Clean,
    /// Its writer died, and nothing that was visible is missing as far as can be told.
    Unclean,
    /// Its writer died, and what followed the last whole frame was cut: a torn tail.
    Torn,
}

/// What [`Log::open`](crate::Log::open) found, kept and cut.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// How the log ended.
    pub ending: Ending,
    /// The epoch from here on.
    pub epoch: Epoch,
    /// First offset kept.
    pub start: Offset,
    /// Where the log went on: all below was kept.
    pub end: Line,
    /// The durable line that was found written down; nothing below it was judged a torn tail.
    pub durable: Line,
    /// Segments that form the log.
    pub segments: usize,
    /// Bytes that were scanned to decide.
    pub scanned_bytes: u64,
    /// What was cut, if anything.
    pub cut: Option<Cut>,
    /// Files off the chain that held nothing, or that were dropped, removed.
    pub removed: Vec<String>,
    /// Files off the chain that held something, moved to `quarantine/`.
    pub quarantined: Vec<String>,
    /// Files off the chain that could neither be removed nor set aside, and why.
    pub left: Vec<String>,
    /// The line of the checkpoint that the state was loaded from; `None`: from the log alone.
    pub checkpoint: Option<Line>,
    /// Bytes of log that were gone over to know the state.
    pub replayed_bytes: u64,
    /// Checkpoints that cannot be used, and why; the one before them counts, or the log.
    pub checkpoint_faults: Vec<String>,
}

/// The part behind the end of a log that was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cut {
    /// Where the log ends now.
    pub place: Place,
    /// What was wrong there.
    pub cause: String,
    /// Valid frames behind it that were cut too. They were never durable as far as anything says.
    pub frames: u64,
    /// Records in those frames.
    pub records: u64,
    /// What the last session written there says about who wrote it.
    pub evidence: Evidence,
}

/// Whether a cut looks like a crash or like rot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// The writer ran under another boot of the system: a tear by power loss is likely.
    OtherBoot,
    /// The writer ran under this boot and on this file: its pages cannot have been lost, rot or interference is likely.
    SameBoot,
    /// The file is not the one that was written (another device or inode): a copy, perhaps an incomplete one.
    CopiedFile,
    /// Nothing is known.
    None,
}

impl Evidence {
    /// Of the last session in a file, whose identity is now this, under this boot of the system.
    pub(crate) fn of(session: &SessionBody, now: Identity, boot_id: [u8; 16]) -> Self {
        if (session.device, session.inode) != (now.device, now.inode) {
            Self::CopiedFile
        } else if session.boot_id == boot_id {
            Self::SameBoot
        } else {
            Self::OtherBoot
        }
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ending {
            Ending::Created => f.write_str("created")?,
            Ending::Clean => {
                write!(f, "clean, {} segment{}", self.segments, if self.segments == 1 { "" } else { "s" })?;
            }
            Ending::Unclean => write!(f, "not closed, nothing to cut; went on as epoch {}", self.epoch)?,
            Ending::Torn => write!(f, "torn tail cut; went on as epoch {}", self.epoch)?,
        }
        if let Some(cut) = &self.cut {
            write!(f, "; cut at {}: {}", cut.place, cut.cause)?;
            write!(f, " ({} valid frames with {} records behind it", cut.frames, cut.records)?;
            f.write_str(match cut.evidence {
                Evidence::OtherBoot => ", written under an earlier boot: a power loss)",
                Evidence::SameBoot => ", written under this boot: damage is more likely than a tear)",
                Evidence::CopiedFile => ", the file is a copy)",
                Evidence::None => ")",
            })?;
        }
        for fault in &self.checkpoint_faults {
            write!(f, "; checkpoint not used: {fault}")?;
        }
        for left in &self.left {
            write!(f, "; left where it was: {left}")?;
        }
        for name in &self.quarantined {
            write!(f, "; {name} moved to quarantine/")?;
        }
        Ok(())
    }
}
