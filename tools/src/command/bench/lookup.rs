//! `esker bench lookup`: how fast records are found by their key, and what index files do for that.
//!
//! Guarantees:
//! 1. Each lookup finds a record of its key, or the command fails.
//! 2. Where index files are removed before, none is made while it is measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use esker::{Background, Log, Options, Stats, Topic};
use serde_json::json;

use super::filling::close;
use super::keyed::{self, Draw, key};
use super::latency::{Clock, Latencies, nanoseconds};
use super::pass::Passes;
use super::rate::{Measured, per_second, real, span};
use super::report::Report;
use super::scratch::Scratch;
use super::work::{BATCH_MAX, EVENTS_MAX, SIZE_MAX, Work, index};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::Output;
use crate::text::Sizes;

const OPENS: usize = 7;
/// Of so many lookups of the latest record one is followed by a lookup of all.
const HISTORIES: u64 = 20;
const JSON_HELP: &str = "Print one JSON object with the keys of 'bench append', then keys lookups log_bytes segments \
    index_bytes index_ns lookups_per_second segments_per_lookup histories_per_second history_records_per_second \
    open_p50_ns bare_open_p50_ns first_lookup_ns bare_first_lookup_ns. events are records; p50_ns to max_ns are of lookups \
    of the latest record; index_ns is how long it took to make all index files; bare_ is with the index files removed \
    before; rates, ratio, durability and in_flight are null";

/// Measure lookups by key, with index files and without
///
/// A log of records with keys is filled, and its index files are made. Then the latest records of keys drawn at random are
/// looked up, and of some all records. An open, and the first lookup behind it, are timed with the index files and with
/// them removed. The files are in memory. There is no limit row; what a lookup has to do is said by the segments in which
/// it reads.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Records
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=EVENTS_MAX))]
    records: u64,
    /// Keys, which take turns in no order
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=EVENTS_MAX))]
    keys: u64,
    /// Payload bytes of a record
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=SIZE_MAX))]
    size: u64,
    /// Records a frame
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=BATCH_MAX))]
    batch: u16,
    /// Lookups of the latest record
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=EVENTS_MAX))]
    lookups: u64,
    /// Directory for the log, empty or not there yet; it stays. Without: a temporary folder that is removed
    #[arg(long)]
    dir: Option<PathBuf>,
    #[arg(long, help = JSON_HELP)]
    json: bool,
}

/// What was measured.
struct Found {
    log_bytes: u64,
    segments: usize,
    index_bytes: u64,
    indexed: Duration,
    latest: Latencies,
    lookups: Measured,
    segments_per_lookup: f64,
    histories: Measured,
    records: Measured,
    open: [Duration; 2],
    first: [Duration; 2],
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let work = keyed::work(arguments.records, arguments.size, arguments.batch)?;
    let scratch = Scratch::new(arguments.dir.as_deref())?;
    let mut passes = Passes::new(work.log_bytes().saturating_mul(2));
    let folder = scratch.last();
    let found = measure(arguments, &work, folder, &mut passes)?;
    let shown = Work { size: index(arguments.size), ..work };
    if arguments.json { output.json(&found.json(arguments, &shown)) } else { found.print(arguments, output) }
}

fn measure(arguments: &Arguments, work: &Work, folder: &Path, passes: &mut Passes) -> Result<Found, Failure> {
    fill(arguments, work, folder, passes)?;
    let options = Options::new().background(Background::Manual);
    let log = interrupt::open(&options, folder)?;
    let since = Instant::now();
    log.background_step();
    let indexed = since.elapsed();
    let segments = esker::Attached::open(folder)?.segments()?;
    let (latest, lookups, segments_per_lookup) = latest(arguments, &log)?;
    let (histories, records) = histories(arguments, &log)?;
    close(log)?;
    let with = open(&options, folder, arguments)?;
    for segment in &segments {
        if segment.index_bytes.is_some() {
            let path = folder.join(format!("{:010}.idx", segment.number));
            fs::remove_file(&path)
                .map_err(|error| Failure::Input(format!("remove {}: {error}; try it again", path.display())))?;
        }
    }
    let bare = open(&options, folder, arguments)?;
    passes.pass_is_over(work.log_bytes());
    Ok(Found {
        log_bytes: segments.iter().map(|segment| segment.bytes).sum(),
        segments: segments.len(),
        index_bytes: segments.iter().filter_map(|segment| segment.index_bytes).sum(),
        indexed,
        latest,
        lookups,
        segments_per_lookup,
        histories,
        records,
        open: [with.0, bare.0],
        first: [with.1, bare.1],
    })
}

fn fill(arguments: &Arguments, work: &Work, folder: &Path, passes: &mut Passes) -> Result<(), Failure> {
    // Index files are made at the end, and timed: not beside this.
    let log = interrupt::open(&Options::new().background(Background::Manual), folder)?;
    let payload = Work { size: index(arguments.size), ..*work }.payload();
    keyed::fill(&log, work, arguments.keys, &payload, &mut |bytes| passes.at(bytes))?;
    close(log)?;
    passes.pass_is_over(work.log_bytes());
    Ok(())
}

fn asked(arguments: &Arguments) -> Draw {
    Draw::new(0x2545_f491_4f6c_dd1d, arguments.keys.min(arguments.records))
}

fn latest(arguments: &Arguments, log: &Log) -> Result<(Latencies, Measured, f64), Failure> {
    let (mut draw, mut latencies) = (asked(arguments), Latencies::new());
    look(log, draw.next())?;
    let touched = |stats: Stats| real(stats.lookup_segments);
    let before = touched(log.stats());
    let since = Instant::now();
    for _ in 0..arguments.lookups {
        let number = draw.next();
        let since = Latencies::start();
        look(log, number)?;
        latencies.stop(since);
    }
    let measured = Measured { count: arguments.lookups, elapsed: since.elapsed() };
    Ok((latencies, measured, (touched(log.stats()) - before) / real(arguments.lookups)))
}

fn look(log: &Log, number: u64) -> Result<(), Failure> {
    let key = key(number);
    let found = log.latest(Topic::default(), &key)?;
    if found.is_some_and(|found| found.record().key() == Some(key.as_bytes())) { Ok(()) } else { Err(missing(&key)) }
}

fn missing(key: &str) -> Failure {
    Failure::Damage(format!("no record of {key} was found; keep the log with --dir and run 'esker verify'"))
}

fn histories(arguments: &Arguments, log: &Log) -> Result<(Measured, Measured), Failure> {
    let mut draw = asked(arguments);
    let (count, mut records) = (arguments.lookups.div_ceil(HISTORIES), 0);
    let since = Instant::now();
    for _ in 0..count {
        let key = key(draw.next());
        let before = records;
        for found in log.history(Topic::default(), &key) {
            records += u64::from(found?.record().key() == Some(key.as_bytes()));
        }
        if records == before {
            return Err(missing(&key));
        }
    }
    let elapsed = since.elapsed();
    Ok((Measured { count, elapsed }, Measured { count: records, elapsed }))
}

/// How long an open takes, and the first lookup behind it: medians.
fn open(options: &Options, folder: &Path, arguments: &Arguments) -> Result<(Duration, Duration), Failure> {
    let (mut opens, mut firsts) = (Vec::new(), Vec::new());
    for _ in 0..OPENS {
        let since = Instant::now();
        let log = interrupt::open(options, folder)?;
        opens.push(since.elapsed());
        let since = Instant::now();
        look(&log, asked(arguments).next())?;
        firsts.push(since.elapsed());
        close(log)?;
    }
    opens.sort_unstable();
    firsts.sort_unstable();
    let middle = |times: &[Duration]| times.get(OPENS / 2).copied().unwrap_or_default();
    Ok((middle(&opens), middle(&firsts)))
}

impl Found {
    fn json(&self, arguments: &Arguments, work: &Work) -> serde_json::Value {
        let report = Report { bench: "lookup", threads: Some(1), latencies: Some(&self.latest), ..Report::default() };
        let [open, bare] = self.open.map(nanoseconds);
        let [first, bare_first] = self.first.map(nanoseconds);
        let own = [
            ("keys", json!(arguments.keys)),
            ("lookups", json!(arguments.lookups)),
            ("log_bytes", json!(self.log_bytes)),
            ("segments", json!(self.segments)),
            ("index_bytes", json!(self.index_bytes)),
            ("index_ns", json!(nanoseconds(self.indexed))),
            ("lookups_per_second", json!(self.lookups.per_second())),
            ("segments_per_lookup", json!(self.segments_per_lookup)),
            ("histories_per_second", json!(self.histories.per_second())),
            ("history_records_per_second", json!(self.records.per_second())),
            ("open_p50_ns", json!(open)),
            ("bare_open_p50_ns", json!(bare)),
            ("first_lookup_ns", json!(first)),
            ("bare_first_lookup_ns", json!(bare_first)),
        ];
        report.json(work, &own)
    }

    fn print(&self, arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
        let sizes = Sizes::default();
        let time = |time: Duration| span(nanoseconds(time));
        let latency = |part| self.latest.at(part).map_or_else(|| "-".to_owned(), span);
        let both = |[with, bare]: [Duration; 2]| format!("{}, without index files {}", time(with), time(bare));
        output.line(format!(
            "{} records of {} bytes, {} a frame, {} keys",
            arguments.records, arguments.size, arguments.batch, arguments.keys
        ))?;
        output.pairs(&[
            ("log", format!("{} in {} segments", sizes.show(self.log_bytes), self.segments)),
            ("index files", format!("{}, made in {}", sizes.show(self.index_bytes), time(self.indexed))),
            (
                "latest",
                format!("{}, p50 {}, p99 {}", per_second(self.lookups.per_second()), latency(0.5), latency(0.99)),
            ),
            ("segments a lookup", format!("{:.2}", self.segments_per_lookup)),
            (
                "history",
                format!(
                    "{}, {} records",
                    per_second(self.histories.per_second()),
                    per_second(self.records.per_second())
                ),
            ),
            ("open", both(self.open)),
            ("first lookup", both(self.first)),
        ])
    }
}
