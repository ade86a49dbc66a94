//! Where the files of a run are: a temporary folder that goes away, or a directory that was given and stays.
//!
//! Guarantees:
//! 1. A directory that is not empty is refused, and nothing in it is touched.
//! 2. The temporary folder is removed however the run ends: well, with an error, or by an interrupt.
//! 3. A directory that was given holds the log of the last pass in the end, and nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::interrupt;

/// The folder of a run.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    /// The log of a pass that is not the last.
    pass: PathBuf,
    stay: Stay,
}

/// What becomes of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stay {
    Kept,
    Removed,
}

impl Scratch {
    /// In `given`, which must be empty or not there yet; without it in the system's folder for temporary files.
    pub(super) fn new(given: Option<&Path>) -> Result<Self, Failure> {
        let Some(given) = given else {
            let folder = interrupt::remove_at_last(temporary).map_err(|error| {
                Failure::Input(format!("make a temporary folder: {error}; give --dir, or set TMPDIR"))
            })?;
            return Ok(Self { pass: folder.join("pass"), folder, stay: Stay::Removed });
        };
        let refused =
            |cause: String| Failure::Input(format!("{}: {cause}; give an empty directory, or none", given.display()));
        make_empty(given).map_err(|error| refused(error.to_string()))?;
        let pass = interrupt::remove_at_last(|| Ok(given.join("pass"))).map_err(|error| refused(error.to_string()))?;
        Ok(Self { folder: given.to_owned(), pass, stay: Stay::Kept })
    }

    /// For files that are gone before a log is made here.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// For the log of a pass; [`Scratch::clear`] removes it.
    pub(super) fn pass(&self) -> &Path {
        &self.pass
    }

    /// For the log of the last pass.
    pub(super) fn last(&self) -> &Path {
        if self.stay == Stay::Kept { &self.folder } else { &self.pass }
    }

    /// Removes the log of a pass.
    pub(super) fn clear(&self) -> Result<(), Failure> {
        interrupt::remove_now(&self.pass)
            .map_err(|error| Failure::Input(format!("{}: remove: {error}; remove it by hand", self.pass.display())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let gone = if self.stay == Stay::Kept { &self.pass } else { &self.folder };
        if let Err(error) = interrupt::remove_now(gone) {
            crate::failure::say(&format!("esker: {}: remove: {error}; remove it by hand", gone.display()));
        }
        interrupt::nothing_to_remove();
    }
}

/// Refuses one that is not empty; makes one that is not there.
fn make_empty(given: &Path) -> io::Result<()> {
    match fs::read_dir(given).map(|mut entries| entries.next()) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, "is not empty")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(given),
        Err(error) => Err(error),
    }
}

fn temporary() -> io::Result<PathBuf> {
    tempfile::Builder::new().prefix("esker-bench-").tempdir().map(tempfile::TempDir::keep)
}
