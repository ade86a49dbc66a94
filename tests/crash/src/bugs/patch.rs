//! A bug as it stands in its file: a few words about it, then a unified diff.
//!
//! Guarantees:
//! 1. Each file begins with these lines: `Breaks:` what a careless change would do, `Promise:` which promise falls then,
//!    `Caught by:` the stage that should notice; each is one line.

use std::path::{Path, PathBuf};

use super::Failure;
use super::stage::Stage;

#[derive(Debug)]
pub(super) struct Patch {
    /// That of its file, without the ending.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) breaks: String,
    pub(super) promise: String,
    pub(super) stage: Stage,
}

/// All in a folder, by name.
pub(super) fn read_all(folder: &Path) -> Result<Vec<Patch>, Failure> {
    let failed = |error| format!("{}: {error}", folder.display());
    let mut paths = Vec::new();
    for found in std::fs::read_dir(folder).map_err(failed)? {
        paths.push(found.map_err(failed)?.path());
    }
    paths.sort();
    paths.into_iter().map(read).collect()
}

fn read(path: PathBuf) -> Result<Patch, Failure> {
    let failed = |what: &str| format!("{}: {what}", path.display());
    let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".patch"));
    let name = name.ok_or_else(|| failed("no patch"))?.to_owned();
    let text = std::fs::read_to_string(&path).map_err(|error| failed(&error.to_string()))?;
    let line = |key: &str| {
        let lines = text.lines().take_while(|line| !line.starts_with("--- "));
        let value = lines.filter_map(|line| line.strip_prefix(key)).map(str::trim).next();
        value.map(str::to_owned).ok_or_else(|| failed(&format!("no line {key}")))
    };
    let (breaks, promise) = (line("Breaks:")?, line("Promise:")?);
    let stage = line("Caught by:")?.parse().map_err(|what: Failure| failed(&what))?;
    Ok(Patch { name, path, breaks, promise, stage })
}
