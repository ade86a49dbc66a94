//! The machine that is measured, and the day.

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory: String,
    pub kernel: String,
    pub file_system: String,
    /// UTC.
    pub date: String,
    pub command: String,
}

impl Machine {
    /// # Errors
    /// The data would lie in memory, where no sync costs anything.
    pub fn of(data: &Path) -> Result<Self> {
        let file_system = file_system(data)?;
        if file_system.starts_with("tmpfs") || file_system.starts_with("ramfs") {
            bail!("{}: on {file_system}, so in memory; give a folder on a disk by --data", data.display());
        }
        let uname = rustix::system::uname();
        let kernel = format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
        Ok(Self {
            processor: line_of("/proc/cpuinfo", "model name"),
            cores: available_parallelism().map_or(0, Into::into),
            memory: line_of("/proc/meminfo", "MemTotal"),
            kernel,
            file_system,
            date: utc(SystemTime::now())?,
            command: command(std::env::args()),
        })
    }
}

/// Without the path of the program.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let rest: Vec<String> = arguments.skip(1).collect();
    format!("cargo run --release -- {}", rest.join(" "))
}

fn line_of(path: &str, key: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.split_once(':'));
    found.map_or("unknown", |(_, value)| value.trim()).to_owned()
}

/// Type and options of what is mounted where this path lies.
fn file_system(path: &Path) -> Result<String> {
    let path = path.canonicalize().with_context(|| format!("{}: find", path.display()))?;
    let mounts = fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts: read")?;
    let mut found = ("unknown".to_owned(), 0);
    for line in mounts.lines() {
        let [_device, point, kind, options, ..] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        if path.starts_with(point) && point.len() >= found.1 {
            found = (format!("{kind} ({options})"), point.len());
        }
    }
    Ok(found.0)
}

/// Day and minute, by the civil calendar (H. Hinnant, "chrono-compatible low-level date algorithms").
fn utc(time: SystemTime) -> Result<String> {
    let seconds = time.duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
    Ok(format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds)).expect("after 1970");
        assert_eq!(at(0), "1970-01-01 00:00 UTC");
        assert_eq!(at(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(at(1_798_761_599), "2026-12-31 23:59 UTC");
    }
}
