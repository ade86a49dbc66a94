//! The one error type of the crate.
//!
//! Guarantees:
//! 1. An [`Error`] is one pointer wide, `Send + Sync + Clone`.
//! 2. Its [`ErrorKind`] is coarse: it tells a caller what to do, not what happened inside.
//! 3. Its text says what was attempted, where, what was found and expected, and the next step.

mod conflict;

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use conflict::Conflict;

use crate::types::{Offset, Place};

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure an [`Error`] is: what a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused; see [`Error::source`](StdError::source).
    Io,
    /// No space for what was asked; the log stays readable, and appends go on once there is room.
    OutOfSpace,
    /// Bytes on disk are not what was written, or a file is missing. Nothing was skipped.
    Corrupt,
    /// A condition of the commit did not hold; see [`Error::conflict`].
    Conflict,
    /// What was asked for is gone on purpose: the log begins behind it.
    Trimmed {
        /// The first offset that is still there.
        next: Offset,
    },
    /// The offset is of a history that ended: after a crash the log went on before it, with other records.
    Diverged {
        /// Up to here both histories are the same.
        at: Offset,
    },
    /// The records that come next are lost: a repair left a gap. See [`Reader::skip_damage`](crate::Reader::skip_damage).
    Gap {
        /// The first offset behind the gap.
        next: Offset,
    },
    /// It would give up what was durable, and nobody said that this may be. Nothing was changed.
    Loss,
    /// Another handle holds the directory for writing; see [`Error::holder_pid`].
    Locked,
    /// An earlier sync failed or an append panicked; nothing more is acknowledged. Reopen to recover.
    Poisoned,
    /// The handle was carried into a child process by `fork`; open the log there anew.
    Forked,
    /// A named limit would be exceeded; nothing was stored.
    Limit,
    /// An argument, option, or path does not make sense.
    Invalid,
    /// The file was written by another version, or for a file system that is not supported.
    Incompatible,
    /// The log was closed.
    Closed,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io => "i/o",
            Self::OutOfSpace => "out of space",
            Self::Corrupt => "corrupt",
            Self::Conflict => "conflict",
            Self::Trimmed { .. } => "trimmed",
            Self::Diverged { .. } => "diverged",
            Self::Gap { .. } => "gap",
            Self::Loss => "loss",
            Self::Locked => "locked",
            Self::Poisoned => "poisoned",
            Self::Forked => "forked",
            Self::Limit => "limit",
            Self::Invalid => "invalid",
            Self::Incompatible => "incompatible",
            Self::Closed => "closed",
        })
    }
}

/// Why an operation failed, with its context.
///
/// ```
/// let error = esker::Log::open("/dev/null").unwrap_err();
/// assert_eq!(error.kind(), esker::ErrorKind::Invalid);
/// assert!(error.to_string().contains("/dev/null"));
/// ```
#[derive(Clone)]
pub struct Error(Box<Context>);

#[derive(Debug, Clone)]
struct Context {
    kind: ErrorKind,
    text: String,
    path: Option<PathBuf>,
    place: Option<Place>,
    offset: Option<Offset>,
    holder_pid: Option<u32>,
    conflict: Option<Conflict>,
    next_step: Option<&'static str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// The coarse kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file or directory concerned, if one is known.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The place in the log concerned, if one is known.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.0.place
    }

    /// The record offset concerned, if one is known.
    #[must_use]
    pub fn offset(&self) -> Option<Offset> {
        self.0.offset
    }

    /// For [`ErrorKind::Locked`]: the process that holds the directory, if it wrote its id.
    #[must_use]
    pub fn holder_pid(&self) -> Option<u32> {
        self.0.holder_pid
    }

    /// For [`ErrorKind::Conflict`]: the condition that did not hold.
    #[must_use]
    pub fn conflict(&self) -> Option<&Conflict> {
        self.0.conflict.as_ref()
    }

    /// What to do next, if the error says so; its text ends with that.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.0.next_step
    }

    pub(crate) fn of_conflict(conflict: Conflict) -> Self {
        let next_step = match conflict {
            Conflict::Cursor { .. } => "nothing was stored; open the cursor anew, and go on from where it is",
            Conflict::State { .. } | Conflict::Record { .. } => "nothing was stored; read again and decide anew",
        };
        let mut error = Self::new(ErrorKind::Conflict, format!("commit refused: {conflict}")).next_step(next_step);
        error.0.conflict = Some(conflict);
        error
    }

    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self(Box::new(Context {
            kind,
            text: text.into(),
            path: None,
            place: None,
            offset: None,
            holder_pid: None,
            conflict: None,
            next_step: None,
            source: None,
        }))
    }

    /// An operating system error; `attempt` says what was tried, as in "create the segment".
    pub(crate) fn io(attempt: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::OutOfSpace,
            _ => ErrorKind::Io,
        };
        let mut error = Self::new(kind, attempt);
        if kind == ErrorKind::OutOfSpace {
            error = error.next_step("free some space; the log stays readable meanwhile");
        } else if is_medium_failure(&source) {
            error = error.next_step("copy what can be read to another disk, then run esker verify there");
        }
        error.0.source = Some(Arc::new(source));
        error
    }

    pub(crate) fn at_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.path = Some(path.into());
        self
    }

    pub(crate) fn at_place(mut self, place: Place) -> Self {
        self.0.place = Some(place);
        self
    }

    pub(crate) fn at_offset(mut self, offset: Offset) -> Self {
        self.0.offset = Some(offset);
        self
    }

    pub(crate) fn held_by(mut self, pid: Option<u32>) -> Self {
        self.0.holder_pid = pid;
        self
    }

    pub(crate) fn next_step(mut self, step: &'static str) -> Self {
        self.0.next_step = Some(step);
        self
    }

    pub(crate) fn caused_by(mut self, source: Error) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }
}

/// Whether the medium does not give back, or take, what it should: `EIO`, or `ERROR_CRC`.
pub(crate) fn is_medium_failure(error: &io::Error) -> bool {
    error.raw_os_error() == Some(if cfg!(windows) { 23 } else { 5 })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = &*self.0;
        if let Some(path) = &context.path {
            write!(f, "{}: ", path.display())?;
        }
        match (context.place, &context.path) {
            (Some(place), Some(_)) => write!(f, "at position {}: ", place.position)?,
            (Some(place), None) => write!(f, "at {place}: ")?,
            (None, _) => {}
        }
        f.write_str(&context.text)?;
        if let Some(offset) = context.offset {
            write!(f, " (offset {offset})")?;
        }
        if let Some(source) = &context.source {
            write!(f, ": {source}")?;
        }
        if let Some(step) = context.next_step {
            write!(f, "; {step}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.0.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_pointer_and_crosses_threads() {
        fn crosses_threads<T: Send + Sync + 'static>() {}
        crosses_threads::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn a_full_disk_is_out_of_space_and_says_what_to_do() {
        let error = Error::io("create segment", io::ErrorKind::StorageFull.into()).at_path("d/1.seg");
        assert_eq!(error.kind(), ErrorKind::OutOfSpace);
        assert!(error.to_string().starts_with("d/1.seg: create segment: "), "{error}");
        assert!(error.to_string().contains("free some space"), "{error}");
        assert!(error.source().is_some());
    }

    #[test]
    #[cfg(unix)]
    fn a_medium_that_fails_is_io_and_says_what_to_do() {
        let error = Error::io("read the segment", io::Error::from_raw_os_error(5)).at_path("d/1.seg");
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("copy what can be read"), "{error}");
    }
}
