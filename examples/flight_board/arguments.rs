//! What the program is told.

use std::ffi::OsString;
use std::path::PathBuf;

pub(super) const USAGE: &str = "\
usage: flight_board [--dir DIR] [--fresh] [--crash-after N]

  --dir DIR          where the log is; esker-flight-board in the folder for temporary files unless given
  --fresh            removes the log of earlier runs first
  --crash-after N    dies by SIGKILL when the statistic has handled N events, before it commits the last of them
";

pub(super) struct Arguments {
    pub(super) folder: PathBuf,
    pub(super) fresh: bool,
    pub(super) crash_after: Option<u64>,
}

impl Arguments {
    /// `None`: only asked for help.
    pub(super) fn parse(given: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, String> {
        let folder = std::env::temp_dir().join("esker-flight-board");
        let mut arguments = Self { folder, fresh: false, crash_after: None };
        let mut given = given.into_iter();
        while let Some(argument) = given.next() {
            match argument.to_str() {
                Some("--help" | "-h") => return Ok(None),
                Some("--fresh") => arguments.fresh = true,
                Some("--dir") => arguments.folder = given.next().ok_or("--dir wants a directory")?.into(),
                Some("--crash-after") => {
                    let count = given.next().and_then(|count| count.to_str()?.parse().ok()).filter(|count| *count > 0);
                    arguments.crash_after = Some(count.ok_or("--crash-after wants a number of events, 1 or more")?);
                }
                _ => return Err(format!("{} is not known", argument.display())),
            }
        }
        Ok(Some(arguments))
    }
}
