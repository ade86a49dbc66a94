//! Salvage: read what can be reached from the start of the log, over damage, up to the first segment that is missing.
//!
//! Guarantees:
//! 1. Those of [`Attached`]: nothing is changed, and what is handed out checks.
//! 2. Each step goes forward, and it ends: behind what cannot be stepped over there is no further step.
//! 3. What is left out is said, with its cause, before what follows it is handed out.

use std::path::Path;
use std::sync::Arc;

use super::attach::Attached;
use super::batch::Batch;
use super::reader::{Reader, Skipped};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::Disk;

/// Reads a log whatever its state, without changing it: an iterator of batches and damages. It goes over damage inside
/// segments, and ends at the first segment that is missing or has no valid header.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # esker::Log::open(folder.path())?.append(b"created #1")?.wait()?;
/// for item in esker::Salvage::open(folder.path())? {
///     match item? {
///         esker::Salvaged::Batch(batch) => println!("{} records", batch.len()),
///         esker::Salvaged::Damage { error, skipped } => println!("{error}, {skipped:?}"),
///         _ => {}
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Salvage {
    reader: Reader,
    over: bool,
}

/// What salvage came to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Salvaged {
    /// Records that are whole.
    Batch(Batch),
    /// Something that is not, or a gap that a repair left ([`ErrorKind::Gap`]).
    Damage {
        /// What is wrong, and where.
        error: Error,
        /// What was left out to go on; `None` if nothing whole follows.
        skipped: Option<Skipped>,
    },
}

impl Salvage {
    /// Opens the log in `path` for salvage.
    ///
    /// # Errors
    /// As for [`Attached::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self { reader: Attached::open(path)?.reader(), over: false })
    }

    /// Opens the log on any [`Disk`] for salvage.
    ///
    /// # Errors
    /// As for [`Attached::open`].
    pub fn open_on(disk: Arc<dyn Disk>) -> Result<Self> {
        Ok(Self { reader: Attached::open_on(disk)?.reader(), over: false })
    }
}

impl Iterator for Salvage {
    type Item = Result<Salvaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        match self.reader.poll() {
            Ok(Some(batch)) => Some(Ok(Salvaged::Batch(batch))),
            Ok(None) => {
                self.over = true;
                None
            }
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Gap { .. }) => {
                let skipped = self.reader.skip_damage().ok().flatten();
                self.over = skipped.is_none();
                Some(Ok(Salvaged::Damage { error, skipped }))
            }
            Err(error) => {
                self.over = true;
                Some(Err(error))
            }
        }
    }
}
