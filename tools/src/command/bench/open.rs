//! `esker bench open`: how long an open takes, of a log that was closed and of one whose writer was killed, with its
//! checkpoints and without.
//!
//! Guarantees:
//! 1. The writer that is killed is a process of its own, ended by SIGKILL right after its last append.
//! 2. After each open every event is there, or the command fails.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use esker::Options;
use serde_json::json;

use super::filling::{close, fill};
use super::latency::{Clock, Latencies};
use super::pass::{Passes, check_count};
use super::rate::{Measured, bytes_per_second, median, span};
use super::report::Report;
use super::scratch::Scratch;
use super::work::{BATCH_MAX, EVENTS_MAX, SIZE_MAX, Work};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Align, Output};
use crate::text::Sizes;

/// What the filling process says once everything is appended.
const FILLED: &str = "filled";
/// How often it says how far it is.
const STEPS: u64 = 64;
/// Opens of the log that was closed.
const CLEAN_OPENS: usize = 15;
const BYTES_MAX: u64 = 1 << 40;
const COLUMNS: [(&str, Align); 7] = [
    ("open", Align::Left),
    ("log", Align::Right),
    ("scanned", Align::Right),
    ("replayed", Align::Right),
    ("median", Align::Right),
    ("max", Align::Right),
    ("scan", Align::Right),
];
const JSON_HELP: &str = "Print one JSON object with the keys of 'bench append', then log_bytes segments killed_p50_ns \
    killed_max_ns killed_log_bytes killed_scanned_bytes killed_bytes_per_second killed_replayed_bytes bare_p50_ns \
    bare_max_ns bare_replayed_bytes killed_bare_p50_ns killed_bare_max_ns killed_bare_replayed_bytes. p50_ns to max_ns are \
    of opens of the closed log; killed_p50_ns and killed_max_ns of first opens after a kill; bare_ are the same with the \
    checkpoints removed before; scanned bytes were judged, replayed bytes read again for the state, medians both; \
    killed_bytes_per_second is the median of scanned bytes by time, null if too short to measure; rates, ratio, threads, \
    durability and in_flight are null";

/// Measure an open after a close and after a kill
///
/// A log is filled and closed, which is not measured, then opened and closed 15 times, and 15 times with its checkpoints
/// removed before each open. After that a child process fills a log in each round, is killed right after its last append,
/// and the first open is timed; then the same once more, with the checkpoints removed. The files are in memory. There is no
/// limit row; what an open has to do is said by the bytes that it scanned (to decide where the log ends) and replayed (to
/// know its state).
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Payload bytes of an event
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=SIZE_MAX))]
    size: u64,
    /// Events a frame
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=BATCH_MAX))]
    batch: u16,
    /// Events; 256 MiB of log unless given
    #[arg(long, value_name = "N", conflicts_with = "bytes", value_parser = clap::value_parser!(u64).range(1..=EVENTS_MAX))]
    events: Option<u64>,
    /// As many events as make so many bytes of log
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=BYTES_MAX))]
    bytes: Option<u64>,
    /// Writers that are killed; the median is shown
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    /// Directory for the logs, empty or not there yet; the last log stays in it. Without: a temporary folder that is removed
    #[arg(long)]
    dir: Option<PathBuf>,
    #[arg(long, help = JSON_HELP)]
    json: bool,
}

/// Fill a log, say so, and wait to be killed; a part of 'esker bench open'
#[derive(Debug, clap::Args)]
pub(crate) struct Filling {
    dir: PathBuf,
    #[arg(value_parser = clap::value_parser!(u64).range(0..=SIZE_MAX))]
    size: u64,
    #[arg(value_parser = clap::value_parser!(u16).range(1..=BATCH_MAX))]
    batch: u16,
    #[arg(value_parser = clap::value_parser!(u64).range(1..=EVENTS_MAX))]
    events: u64,
}

/// What is done to a log between its writer's end and the open that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing.
    AsItIs,
    /// The checkpoints are removed: the state has to be read from the log.
    Bare,
}

impl Before {
    fn prepare(self, log: &Path) -> Result<(), Failure> {
        if self == Self::AsItIs {
            return Ok(());
        }
        for checkpoint in esker::Attached::open(log)?.checkpoints()? {
            let path = log.join(&checkpoint.file);
            std::fs::remove_file(&path)
                .map_err(|error| Failure::Input(format!("remove {}: {error}; try it again", path.display())))?;
        }
        Ok(())
    }
}

/// An open.
struct Opened {
    elapsed: Duration,
    log_bytes: u64,
    scanned_bytes: u64,
    replayed_bytes: u64,
}

/// Opens of one sort.
#[derive(Default)]
struct Sort(Vec<Opened>);

/// What came out of all opens.
struct Opens {
    segments: usize,
    clean: Sort,
    clean_bare: Sort,
    killed: Sort,
    killed_bare: Sort,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let mut work = Work::new(arguments.events, arguments.size, arguments.batch, 1)?;
    if let Some(bytes) = arguments.bytes {
        work.events = (bytes / work.stride()).max(1).saturating_mul(arguments.batch.into());
    }
    let scratch = Scratch::new(arguments.dir.as_deref())?;
    let mut passes = Passes::new(work.log_bytes().saturating_mul(1 + 2 * u64::from(arguments.rounds)));
    let mut opens = after_close(&work, scratch.pass(), &mut passes)?;
    scratch.clear()?;
    for round in 1..=arguments.rounds {
        opens.killed_bare.0.push(after_kill(&work, scratch.pass(), Before::Bare, &mut passes)?);
        scratch.clear()?;
        let last = round == arguments.rounds;
        let folder = if last { scratch.last() } else { scratch.pass() };
        opens.killed.0.push(after_kill(&work, folder, Before::AsItIs, &mut passes)?);
        if !last {
            scratch.clear()?;
        }
    }
    if arguments.json { output.json(&opens.json(&work)) } else { opens.print(arguments, &work, output) }
}

fn after_close(work: &Work, folder: &Path, passes: &mut Passes) -> Result<Opens, Failure> {
    close(fill(work, folder, &mut |bytes| passes.at(bytes))?)?;
    passes.pass_is_over(work.log_bytes());
    let (_, segments) = size(folder)?;
    let (mut clean, mut clean_bare) = (Sort::default(), Sort::default());
    for _ in 0..CLEAN_OPENS {
        clean.0.push(open(work, folder, Before::AsItIs)?);
        clean_bare.0.push(open(work, folder, Before::Bare)?);
    }
    Ok(Opens { segments, clean, clean_bare, killed: Sort::default(), killed_bare: Sort::default() })
}

fn after_kill(work: &Work, folder: &Path, before: Before, passes: &mut Passes) -> Result<Opened, Failure> {
    fill_and_kill(work, folder, passes)?;
    passes.pass_is_over(work.log_bytes());
    open(work, folder, before)
}

fn open(work: &Work, folder: &Path, before: Before) -> Result<Opened, Failure> {
    let (log_bytes, _) = size(folder)?;
    before.prepare(folder)?;
    let since = Instant::now();
    let log = interrupt::open(&Options::new(), folder)?;
    let elapsed = since.elapsed();
    check_count(&log, work)?;
    let (scanned_bytes, replayed_bytes) = (log.recovery().scanned_bytes, log.recovery().replayed_bytes);
    close(log)?;
    Ok(Opened { elapsed, log_bytes, scanned_bytes, replayed_bytes })
}

/// Bytes of all segment files, and how many there are.
fn size(folder: &Path) -> Result<(u64, usize), Failure> {
    let segments = esker::Attached::open(folder)?.segments()?;
    Ok((segments.iter().map(|segment| segment.bytes).sum(), segments.len()))
}

/// Another process of this program fills the log and is killed.
fn fill_and_kill(work: &Work, folder: &Path, passes: &mut Passes) -> Result<(), Failure> {
    let failed = |cause: String| Failure::Input(format!("run the writer that is to be killed: {cause}; try it again"));
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new(program);
    command.args(["bench", "fill"]).arg(folder);
    command.args([work.size.to_string(), work.batch.to_string(), work.events.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    // An interrupt from the terminal is for this process alone; it ends the child.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let (stdin, stdout) = interrupt::start(&mut command, |child| (child.stdin.take(), child.stdout.take()))
        .map_err(|error| failed(error.to_string()))?;
    let filled = stdout.is_some_and(|stdout| follow(stdout, passes));
    let killed = interrupt::kill();
    drop(stdin);
    killed.map_err(|error| failed(error.to_string()))?;
    if filled { Ok(()) } else { Err(failed("it ended before it had filled the log".to_owned())) }
}

/// Reads how far the writer is, until it says that it has filled the log. `false`: it came to its end without that.
fn follow(stdout: ChildStdout, passes: &mut Passes) -> bool {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        match line.parse() {
            Ok(bytes) => passes.at(bytes),
            Err(_) => return line == FILLED,
        }
    }
    false
}

/// The writer that is to be killed.
pub(crate) fn run_filling(filling: &Filling, output: &mut Output) -> Result<(), Failure> {
    let work = Work::new(Some(filling.events), filling.size, filling.batch, 1)?;
    let step = work.log_bytes() / STEPS;
    let mut said = 0;
    let _stays_open = fill(&work, &filling.dir, &mut |bytes| {
        if bytes >= said + step {
            said = bytes;
            // Whoever reads may be gone; then the end of the standard input says so.
            let _unheard = output.line(bytes.to_string()).and_then(|()| output.finish());
        }
    })?;
    output.line(FILLED)?;
    output.finish()?;
    // Nothing comes; an end means that whoever was to kill this process is gone.
    let _nobody_there = std::io::stdin().lines().next();
    Ok(())
}

impl Sort {
    fn latencies(&self) -> Latencies {
        let mut latencies = Latencies::new();
        self.0.iter().for_each(|opened| latencies.record(opened.elapsed));
        latencies
    }

    /// In the middle, by size.
    fn bytes(&self, of: impl Fn(&Opened) -> u64) -> u64 {
        let mut bytes: Vec<u64> = self.0.iter().map(of).collect();
        bytes.sort_unstable();
        bytes.get(bytes.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    }

    /// Of what was scanned.
    fn rate(&self) -> Option<f64> {
        let rate = |opened: &Opened| Measured { count: opened.scanned_bytes, elapsed: opened.elapsed }.per_second();
        median(&self.0.iter().map(rate).collect::<Vec<_>>())
    }

    fn row(&self, name: &str) -> Vec<String> {
        let (latencies, sizes) = (self.latencies(), Sizes::default());
        let cell = |figure: Option<u64>| figure.map_or_else(|| "-".to_owned(), span);
        let show = |bytes: u64| if bytes == 0 { "-".to_owned() } else { sizes.show(bytes) };
        let scanned = self.bytes(|opened| opened.scanned_bytes);
        vec![
            name.to_owned(),
            show(self.bytes(|opened| opened.log_bytes)),
            show(scanned),
            show(self.bytes(|opened| opened.replayed_bytes)),
            cell(latencies.at(0.5)),
            cell(latencies.max()),
            if scanned == 0 { "-".to_owned() } else { bytes_per_second(self.rate()) },
        ]
    }
}

impl Opens {
    fn json(&self, work: &Work) -> serde_json::Value {
        let clean = self.clean.latencies();
        let report = Report { bench: "open", latencies: Some(&clean), ..Report::default() };
        let replayed = |sort: &Sort| json!(sort.bytes(|opened| opened.replayed_bytes));
        let (killed, bare, killed_bare) =
            (self.killed.latencies(), self.clean_bare.latencies(), self.killed_bare.latencies());
        let own = [
            ("log_bytes", json!(self.clean.bytes(|opened| opened.log_bytes))),
            ("segments", json!(self.segments)),
            ("killed_p50_ns", json!(killed.at(0.5))),
            ("killed_max_ns", json!(killed.max())),
            ("killed_log_bytes", json!(self.killed.bytes(|opened| opened.log_bytes))),
            ("killed_scanned_bytes", json!(self.killed.bytes(|opened| opened.scanned_bytes))),
            ("killed_bytes_per_second", json!(self.killed.rate())),
            ("killed_replayed_bytes", replayed(&self.killed)),
            ("bare_p50_ns", json!(bare.at(0.5))),
            ("bare_max_ns", json!(bare.max())),
            ("bare_replayed_bytes", replayed(&self.clean_bare)),
            ("killed_bare_p50_ns", json!(killed_bare.at(0.5))),
            ("killed_bare_max_ns", json!(killed_bare.max())),
            ("killed_bare_replayed_bytes", replayed(&self.killed_bare)),
        ];
        report.json(work, &own)
    }

    fn print(&self, arguments: &Arguments, work: &Work, output: &mut Output) -> Result<(), Failure> {
        let Work { events, size, batch, .. } = work;
        let rounds = arguments.rounds;
        output.line(format!(
            "{events} events of {size} bytes, {batch} a frame; of each sort {CLEAN_OPENS} opens after a close, {rounds} after \
             a kill"
        ))?;
        let rows = vec![
            self.clean.row("after a close"),
            self.clean_bare.row("after a close, no checkpoints"),
            self.killed.row("after a kill"),
            self.killed_bare.row("after a kill, no checkpoints"),
        ];
        output.table(&COLUMNS, rows)
    }
}
