//! A copy of the tree, for patches to be tried on.
//!
//! Guarantees:
//! 1. It holds the tracked files as they are in the tree, changes that are not committed too, and nothing else of it.
//! 2. A file is written only if it differs, so that builds in a copy that was left go on from what is there.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::Failure;
use super::patch::Patch;

#[derive(Debug)]
pub(super) struct Copy {
    folder: PathBuf,
    /// Removes it in the end.
    _temporary: Option<TempDir>,
}

impl Copy {
    pub(super) fn make(tree: &Path, folder: Option<&Path>) -> Result<Self, Failure> {
        let failed = |error| format!("cannot copy the tree: {error}");
        let temporary = if folder.is_none() { Some(tempfile::tempdir().map_err(failed)?) } else { None };
        let named = folder.or(temporary.as_ref().map(TempDir::path)).unwrap_or(tree).join("tree");
        for name in tracked(tree)? {
            let to = named.join(&name);
            let bytes = std::fs::read(tree.join(&name)).map_err(failed)?;
            if std::fs::read(&to).is_ok_and(|old| old == bytes) {
                continue;
            }
            std::fs::create_dir_all(to.parent().unwrap_or(&to)).map_err(failed)?;
            std::fs::write(&to, bytes).map_err(failed)?;
        }
        let folder = named.canonicalize().map_err(failed)?;
        Ok(Self { folder, _temporary: temporary })
    }

    pub(super) fn path(&self) -> &Path {
        &self.folder
    }

    pub(super) fn apply(&self, patch: &Patch) -> Result<(), Failure> {
        git_apply(&self.folder, patch, &[])
    }

    pub(super) fn reverse(&self, patch: &Patch) -> Result<(), Failure> {
        git_apply(&self.folder, patch, &["--reverse"])
    }
}

/// Whether a patch applies to the tree.
pub(super) fn applies(tree: &Path, patch: &Patch) -> Result<(), Failure> {
    git_apply(tree, patch, &["--check"])
}

/// As if the folder belonged to no repository: inside one, git passes over files outside of the folder in silence.
fn git_apply(folder: &Path, patch: &Patch, arguments: &[&str]) -> Result<(), Failure> {
    let mut git = Command::new("git");
    git.current_dir(folder).arg("apply").args(arguments).arg(&patch.path);
    let outside = folder.join("no-repository");
    let output = git.env("GIT_DIR", outside).output().map_err(|error| format!("cannot run git: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{} does not apply: {}", patch.name, String::from_utf8_lossy(&output.stderr).trim()))
}

fn tracked(tree: &Path) -> Result<Vec<String>, Failure> {
    let listed = Command::new("git").current_dir(tree).args(["ls-files", "-z"]).output();
    let listed = listed.map_err(|error| format!("cannot run git: {error}"))?;
    let names = String::from_utf8(listed.stdout).map_err(|error| format!("the tree has a strange name: {error}"))?;
    if !listed.status.success() || names.is_empty() {
        return Err(format!("{} is no working tree of git", tree.display()));
    }
    // What was removed and not committed is not part of the tree.
    let names = names.split('\0').filter(|name| !name.is_empty() && tree.join(name).is_file());
    Ok(names.map(str::to_owned).collect())
}
