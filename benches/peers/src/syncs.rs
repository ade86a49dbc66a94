//! Which engines sync before a durable call returns: seen from outside, by `strace`.
//!
//! Guarantees:
//! 1. Two runs of one thread that differ in the number of durable calls alone are traced; what is told is their difference
//!    for each call, so nothing that opening, checking or closing does is counted.
//! 2. An engine is seen to sync if a call syncs at least once, and if each file that every other call or more writes to is
//!    synced as often: to sync an index, and not the events, does not count. Writes through a handle that was opened with
//!    `O_SYNC` or `O_DSYNC` count as synced.
//! 3. `sync_file_range` is shown and does not count: it neither waits for the disk's cache nor for the file's length.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::child;
use crate::engine::{Durability, Entry};
use crate::pass::Order;
use crate::statistic::real;
use crate::workload::Workload;

const TRACED: &str = "trace=fsync,fdatasync,msync,sync_file_range,syncfs,openat,write,pwrite64,writev,pwritev,pwritev2";
/// Calls of a thread in the shorter run, and how many more the longer one makes.
const CALLS: u64 = 64;
const CALLS_MORE: u64 = 128;
/// What the threads of an engine that shares syncs are counted with.
const THREADS: u64 = 8;
const TIME_MAX: Duration = Duration::from_secs(60);

/// What was seen of one engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Syncs {
    pub engine: String,
    /// By call of the system, for each durable call of one thread.
    pub by_kind: BTreeMap<String, f64>,
    /// For each durable call, by one thread and by eight.
    pub a_call: f64,
    pub a_call_of_eight: Option<f64>,
    /// Files that calls write to and that are not synced as often.
    pub unsynced: Vec<String>,
    pub durable: bool,
}

/// Traces an engine, in folders below `data`.
pub fn of(entry: &Entry, data: &Path) -> Result<Syncs> {
    let more = Trace::more(entry, 1, data)?;
    let each = |count: i64| real(count.max(0).unsigned_abs()) / real(CALLS_MORE);
    let often = |count: i64| each(count) >= 0.5;
    let unsynced: Vec<String> = more
        .files
        .iter()
        .filter(|(_, file)| often(file.writes) && !often(file.syncs))
        .map(|(path, _)| path.clone())
        .collect();
    let a_call = each(more.files.values().map(|file| file.syncs).sum());
    let durable = a_call >= 1.0 && unsynced.is_empty();
    let a_call_of_eight = if durable {
        let syncs: i64 = Trace::more(entry, THREADS, data)?.files.values().map(|file| file.syncs).sum();
        Some(each(syncs) / real(THREADS))
    } else {
        None
    };
    let by_kind =
        more.kinds.into_iter().map(|(kind, count)| (kind, each(count))).filter(|(_, each)| *each > 0.0).collect();
    Ok(Syncs { engine: entry.name.to_owned(), by_kind, a_call, a_call_of_eight, unsynced, durable })
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Calls {
    writes: i64,
    syncs: i64,
}

/// The counted calls of a process, by file and by kind.
#[derive(Debug, Default, PartialEq, Eq)]
struct Trace {
    files: BTreeMap<String, Calls>,
    kinds: BTreeMap<String, i64>,
}

impl Trace {
    /// What the longer run does beyond the shorter.
    fn more(entry: &Entry, threads: u64, data: &Path) -> Result<Self> {
        let short = Self::of(entry, threads, CALLS, data)?;
        let mut long = Self::of(entry, threads, CALLS + CALLS_MORE, data)?;
        for (path, calls) in short.files {
            let file = long.files.entry(path).or_default();
            file.writes -= calls.writes;
            file.syncs -= calls.syncs;
        }
        for (kind, count) in short.kinds {
            *long.kinds.entry(kind).or_default() -= count;
        }
        Ok(long)
    }

    fn of(entry: &Entry, threads: u64, calls: u64, data: &Path) -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix("peers-").tempdir_in(data)?;
        let (folder, trace) = (scratch.path().join("log"), scratch.path().join("trace"));
        fs::create_dir(&folder)?;
        let order = Order {
            engine: entry.name.to_owned(),
            workload: Workload::Append { batch: 1, threads, durability: Durability::Durable },
            size: 100,
            events_max: calls * threads,
            time_max: TIME_MAX,
            folder: folder.clone(),
        };
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-qq", "-s", "0", "-e", TRACED, "-o"]).arg(&trace).arg(std::env::current_exe()?);
        let output = child::command(strace, &order)?.output().context("start strace; is it installed?")?;
        child::answer(&output).with_context(|| format!("{} under strace", entry.name))?;
        let text = fs::read_to_string(&trace).with_context(|| format!("{}: read", trace.display()))?;
        let found = Self::parse(&text, &folder.canonicalize()?.to_string_lossy());
        scratch.close()?;
        Ok(found)
    }

    /// Counts what touches files in `folder`, and maps.
    fn parse(text: &str, folder: &str) -> Self {
        let mut trace = Self::default();
        let mut synced_handles: BTreeSet<&str> = BTreeSet::new();
        let mut opening: BTreeSet<&str> = BTreeSet::new();
        for line in text.lines() {
            let Some((process, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            if let Some(resumed) = call.strip_prefix("<... openat resumed>") {
                if opening.remove(process) {
                    synced_handles.extend(opened(resumed));
                }
                continue;
            }
            let Some((kind, arguments)) = call.split_once('(') else { continue };
            if kind == "openat" {
                let synced = arguments.contains("O_SYNC") || arguments.contains("O_DSYNC");
                if synced && arguments.ends_with("<unfinished ...>") {
                    opening.insert(process);
                } else if let Some(handle) = opened(arguments) {
                    // A number that is given anew stands for the new handle.
                    let number = handle.split('<').next().unwrap_or(handle);
                    synced_handles.retain(|other| other.split('<').next() != Some(number));
                    if synced {
                        synced_handles.insert(handle);
                    }
                }
                continue;
            }
            trace.take(kind, arguments, folder, &synced_handles);
        }
        trace
    }

    fn take(&mut self, kind: &str, arguments: &str, folder: &str, synced_handles: &BTreeSet<&str>) {
        if kind == "msync" {
            if arguments.contains("MS_SYNC") {
                self.files.entry("a map".to_owned()).or_default().syncs += 1;
                *self.kinds.entry("msync".to_owned()).or_default() += 1;
            }
            return;
        }
        let Some(handle) = arguments.find('>').and_then(|end| arguments.get(..=end)) else { return };
        let Some(path) = handle.split_once('<').and_then(|(_, path)| path.strip_prefix(folder)) else { return };
        let file = self.files.entry(nameless(path.trim_end_matches('>'))).or_default();
        let through =
            synced_handles.contains(handle) || arguments.contains("RWF_DSYNC") || arguments.contains("RWF_SYNC");
        let shown = match kind {
            "fsync" | "fdatasync" | "syncfs" => {
                file.syncs += 1;
                kind
            }
            "sync_file_range" => kind,
            _ => {
                file.writes += 1;
                if !through {
                    return;
                }
                file.syncs += 1;
                "write through O_SYNC"
            }
        };
        *self.kinds.entry(shown.to_owned()).or_default() += 1;
    }
}

/// The handle that an `openat` gave, as `5</path>`.
fn opened(result: &str) -> Option<&str> {
    Some(result.rsplit_once(" = ")?.1.trim()).filter(|handle| handle.ends_with('>'))
}

/// Without numbers: they differ from run to run.
fn nameless(path: &str) -> String {
    let mut name = String::new();
    for letter in path.trim_start_matches('/').chars() {
        let letter = if letter.is_ascii_digit() { '#' } else { letter };
        if letter != '#' || !name.ends_with('#') {
            name.push(letter);
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
7  openat(AT_FDCWD</t>, \"/t/log/a.db\", O_RDWR|O_CREAT|O_DSYNC, 0644) = 5</t/log/a.db>
7  openat(AT_FDCWD</t>, \"/t/log/01.seg\", O_RDWR) = 6</t/log/01.seg>
8  openat(AT_FDCWD</t>, \"/t/log/b\", O_RDWR|O_SYNC <unfinished ...>
8  <... openat resumed>) = 9</t/log/b>
7  pwrite64(5</t/log/a.db>, \"\"..., 8, 0) = 8
7  pwrite64(6</t/log/01.seg>, \"\"..., 8, 0) = 8
8  write(9</t/log/b>, \"\"..., 8 <unfinished ...>
7  fdatasync(6</t/log/01.seg> <unfinished ...>
7  <... fdatasync resumed>) = 0
7  msync(0x7f, 4096, MS_SYNC) = 0
7  msync(0x7f, 4096, MS_ASYNC) = 0
7  sync_file_range(6</t/log/01.seg>, 0, 8, SYNC_FILE_RANGE_WRITE) = 0
7  write(1</dev/pts/0>, \"\"..., 8) = 8
7  fsync(4</elsewhere>) = 0
";

    #[test]
    fn syncs_and_writes_are_counted_for_their_file() {
        let trace = Trace::parse(TEXT, "/t/log");
        let file = |path: &str| trace.files.get(path).copied().expect("is there");
        assert_eq!(file("a.db"), Calls { writes: 1, syncs: 1 });
        assert_eq!(file("#.seg"), Calls { writes: 1, syncs: 1 });
        assert_eq!(file("b"), Calls { writes: 1, syncs: 1 });
        assert_eq!(file("a map"), Calls { writes: 0, syncs: 1 });
        assert_eq!(trace.files.len(), 4);
        assert_eq!(trace.kinds.get("write through O_SYNC"), Some(&2));
        assert_eq!(trace.kinds.get("sync_file_range"), Some(&1));
    }

    #[test]
    fn a_number_given_anew_without_the_flag_is_not_synced() {
        let again = format!(
            "{TEXT}7  openat(AT_FDCWD</t>, \"/t/log/a.db\", O_RDWR) = 5</t/log/a.db>\n7  pwrite64(5</t/log/a.db>, 8) = 8\n"
        );
        let calls = Trace::parse(&again, "/t/log").files["a.db"];
        assert_eq!(calls, Calls { writes: 2, syncs: 1 });
    }
}
