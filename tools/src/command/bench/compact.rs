//! `esker bench compact`: how fast a log is compacted, beside a scan of it and a bare write of what is kept; what appends feel
//! of it; and its memory.
//!
//! Guarantees:
//! 1. Each compaction leaves one record of each key, or the command fails.
//! 2. Scan, compaction, bare write and appends take turns, in each round on a log that was filled anew.

use std::fs;
use std::hint::black_box;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use esker::{Background, Compaction, CompactionReport, Log, Options};
use serde_json::json;

use super::filling::close;
use super::keyed;
use super::pass::Passes;
use super::rate::{Measured, bytes_per_second, median, per_second, ratio, ratio_text, real};
use super::report::Report;
use super::scratch::Scratch;
use super::work::{BATCH_MAX, EVENTS_MAX, SIZE_MAX, Work, index};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Align, Output};
use crate::text::{Sizes, parse_bytes};

const COLUMNS: [(&str, Align); 4] =
    [("", Align::Left), ("records", Align::Right), ("log", Align::Right), ("ratio", Align::Right)];
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(1);
/// How long appends are counted alone.
const ALONE: Duration = Duration::from_millis(500);
const PIECE_BYTES: usize = 1 << 20;
const JSON_HELP: &str = "Print one JSON object with the keys of 'bench append', then keys kept bytes_before bytes_after passes \
    scan_records_per_second ratio_to_scan write_bytes_per_second bare_write_bytes_per_second ratio_to_write \
    appends_alone_per_second appends_beside_per_second ratio_beside memory_bytes. events_per_second is of records gone over by the \
    compaction, bytes_per_second of bytes of log; write is of what is kept; memory_bytes is null where the system does not say \
    it; a rate is null if it was too short to measure";

/// Measure a compaction beside a scan, a bare write and appends
///
/// A log of records with keys is filled; the keys take turns in no order, so that one record of each is kept. Each round scans
/// it, compacts it, and writes and syncs as many bytes as were kept to a bare file; then on another such log appends of the
/// same records without a key are counted, alone and beside the compaction. The figures are medians of the rounds, and the
/// files are in memory. Memory is what the process took more while it compacted, maps of files not counted.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Records
    #[arg(long, value_name = "N", default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..=EVENTS_MAX))]
    records: u64,
    /// Keys
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=EVENTS_MAX))]
    keys: u64,
    /// Payload bytes of a record
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=SIZE_MAX))]
    size: u64,
    /// Records a frame
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=BATCH_MAX))]
    batch: u16,
    /// Memory for the keys
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "64MiB")]
    memory: u64,
    /// Rounds, of which the median is shown
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    /// Directory for the logs, empty or not there yet; the last stays. Without: a temporary folder that is removed
    #[arg(long)]
    dir: Option<PathBuf>,
    #[arg(long, help = JSON_HELP)]
    json: bool,
}

/// What came of the rounds.
#[derive(Default)]
struct Rounds {
    scan: Vec<Option<f64>>,
    compact: Vec<Option<f64>>,
    to_scan: Vec<Option<f64>>,
    write: Vec<Option<f64>>,
    bare: Vec<Option<f64>>,
    to_write: Vec<Option<f64>>,
    alone: Vec<Option<f64>>,
    beside: Vec<Option<f64>>,
    to_alone: Vec<Option<f64>>,
    memory: Vec<Option<u64>>,
    report: CompactionReport,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let work = keyed::work(arguments.records, arguments.size, arguments.batch)?;
    let scratch = Scratch::new(arguments.dir.as_deref())?;
    let mut passes = Passes::new(work.log_bytes().saturating_mul(6 * u64::from(arguments.rounds)));
    let mut rounds = Rounds::default();
    for round in 0..arguments.rounds {
        let last = round + 1 == arguments.rounds;
        rounds.compaction(arguments, &work, &scratch, &mut passes)?;
        scratch.clear()?;
        let folder = if last { scratch.last() } else { scratch.pass() };
        rounds.appends(arguments, &work, folder, &mut passes)?;
        if !last {
            scratch.clear()?;
        }
    }
    if arguments.json { output.json(&rounds.json(arguments, &work)) } else { rounds.print(arguments, &work, output) }
}

fn filled(arguments: &Arguments, work: &Work, folder: &Path, passes: &mut Passes) -> Result<(), Failure> {
    let log = interrupt::open(&Options::new().background(Background::Manual), folder)?;
    let payload = Work { size: index(arguments.size), ..*work }.payload();
    keyed::fill(&log, work, arguments.keys, &payload, &mut |bytes| passes.at(bytes))?;
    close(log)?;
    passes.pass_is_over(work.log_bytes());
    Ok(())
}

fn compacted(arguments: &Arguments, log: &Log) -> Result<CompactionReport, Failure> {
    Ok(log.compact(&Compaction::new().memory(arguments.memory))?)
}

impl Rounds {
    /// A scan, a compaction, and a bare write of what it kept.
    fn compaction(
        &mut self,
        arguments: &Arguments,
        work: &Work,
        scratch: &Scratch,
        passes: &mut Passes,
    ) -> Result<(), Failure> {
        filled(arguments, work, scratch.pass(), passes)?;
        let log = interrupt::open(&Options::new().background(Background::Manual), scratch.pass())?;
        let scanned = scan(&log, work)?.per_second();
        passes.pass_is_over(work.log_bytes());
        let (report, elapsed, memory) = watched(|| compacted(arguments, &log))?;
        let kept = log.reader();
        check_kept(arguments, kept)?;
        close(log)?;
        passes.pass_is_over(work.log_bytes());
        let (bytes, count) = (report.replaced.bytes_after, work.events);
        let rate = Measured { count, elapsed }.per_second();
        let write = Measured { count: bytes, elapsed }.per_second();
        let bare = bare_write(scratch.folder(), bytes)?.per_second();
        self.scan.push(scanned);
        self.compact.push(rate);
        self.to_scan.push(ratio(rate, scanned));
        self.write.push(write);
        self.bare.push(bare);
        self.to_write.push(ratio(write, bare));
        self.memory.push(memory);
        self.report = report;
        Ok(())
    }

    /// Appends alone, and beside a compaction.
    fn appends(
        &mut self,
        arguments: &Arguments,
        work: &Work,
        folder: &Path,
        passes: &mut Passes,
    ) -> Result<(), Failure> {
        filled(arguments, work, folder, passes)?;
        let log = interrupt::open(&Options::new(), folder)?;
        let payload = Work { size: index(arguments.size), ..*work }.payload();
        let since = Instant::now();
        let alone = append_while(&log, &payload, || since.elapsed() < ALONE)?.per_second();
        let ended = AtomicBool::new(false);
        let beside = thread::scope(|scope| {
            let work = scope.spawn(|| {
                let done = compacted(arguments, &log);
                // Release, so that whoever counts sees it soon; it orders nothing else.
                ended.store(true, Ordering::Release);
                done
            });
            let beside = append_while(&log, &payload, || !ended.load(Ordering::Acquire));
            work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            beside
        })?
        .per_second();
        close(log)?;
        passes.pass_is_over(work.log_bytes());
        self.alone.push(alone);
        self.beside.push(beside);
        self.to_alone.push(ratio(beside, alone));
        Ok(())
    }
}

/// Reads the log from its first record to its last.
fn scan(log: &Log, work: &Work) -> Result<Measured, Failure> {
    let (mut reader, mut count) = (log.reader(), 0_u64);
    let since = Instant::now();
    while let Some(batch) = reader.poll()? {
        for record in &batch {
            count += 1;
            black_box(record.payload());
        }
    }
    let elapsed = since.elapsed();
    if count == work.events { Ok(Measured { count, elapsed }) } else { Err(wrong(count, work.events)) }
}

fn check_kept(arguments: &Arguments, mut reader: esker::Reader) -> Result<(), Failure> {
    let (mut found, expected) = (0_u64, arguments.keys.min(arguments.records));
    while let Some(batch) = reader.poll()? {
        found += batch.iter().map(|_| 1).sum::<u64>();
    }
    if found == expected { Ok(()) } else { Err(wrong(found, expected)) }
}

fn wrong(found: u64, expected: u64) -> Failure {
    Failure::Damage(format!(
        "{found} records were found, not {expected}; keep the log with --dir and run 'esker verify'"
    ))
}

/// Does something, and says how long it took, and how much memory the process took more than before.
fn watched<T: Send>(work: impl FnOnce() -> Result<T, Failure> + Send) -> Result<(T, Duration, Option<u64>), Failure> {
    let before = anonymous_bytes();
    let ended = AtomicBool::new(false);
    let (done, elapsed, peak) = thread::scope(|scope| {
        let look = scope.spawn(|| {
            let mut peak = before;
            // Acquire: pairs with the store below; it orders nothing else.
            while !ended.load(Ordering::Acquire) {
                peak = peak.max(anonymous_bytes());
                thread::sleep(LOOK);
            }
            peak
        });
        let since = Instant::now();
        let done = work();
        let elapsed = since.elapsed();
        ended.store(true, Ordering::Release);
        (done, elapsed, look.join().unwrap_or_default())
    });
    let memory = peak.zip(before).map(|(peak, before)| peak.saturating_sub(before));
    Ok((done?, elapsed, memory))
}

/// Memory of this process that is no map of a file; `None` where the system does not say it.
fn anonymous_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}

/// Writes and syncs so many bytes.
fn bare_write(folder: &Path, bytes: u64) -> Result<Measured, Failure> {
    let path = folder.join("bare-write");
    let failed =
        |error| Failure::Input(format!("{}: {error}; check the disk, or choose another --dir", path.display()));
    let piece = vec![0x5a_u8; PIECE_BYTES];
    let since = Instant::now();
    let mut file = fs::File::create(&path).map_err(failed)?;
    let mut left = index(bytes);
    while left > 0 {
        let part = piece.get(..left.min(PIECE_BYTES)).unwrap_or_default();
        file.write_all(part).map_err(failed)?;
        left -= part.len();
    }
    file.sync_data().map_err(failed)?;
    let elapsed = since.elapsed();
    drop(file);
    fs::remove_file(&path).map_err(failed)?;
    Ok(Measured { count: bytes, elapsed })
}

fn append_while(log: &Log, payload: &[u8], goes_on: impl Fn() -> bool) -> Result<Measured, Failure> {
    let since = Instant::now();
    let mut count = 0_u64;
    while goes_on() {
        for _ in 0..64 {
            let _visible_is_enough = log.append(payload)?;
        }
        count += 64;
    }
    Ok(Measured { count, elapsed: since.elapsed() })
}

impl Rounds {
    fn json(&self, arguments: &Arguments, work: &Work) -> serde_json::Value {
        let bytes = median(&self.compact).map(|rate| rate * self.log_bytes_a_record(work));
        let report = Report {
            bench: "compact",
            threads: Some(1),
            events_per_second: median(&self.compact),
            bytes_per_second: bytes,
            ..Report::default()
        };
        let replaced = &self.report.replaced;
        let own = [
            ("keys", json!(arguments.keys)),
            ("kept", json!(replaced.records_after)),
            ("bytes_before", json!(replaced.bytes_before)),
            ("bytes_after", json!(replaced.bytes_after)),
            ("passes", json!(self.report.passes)),
            ("scan_records_per_second", json!(median(&self.scan))),
            ("ratio_to_scan", json!(median(&self.to_scan))),
            ("write_bytes_per_second", json!(median(&self.write))),
            ("bare_write_bytes_per_second", json!(median(&self.bare))),
            ("ratio_to_write", json!(median(&self.to_write))),
            ("appends_alone_per_second", json!(median(&self.alone))),
            ("appends_beside_per_second", json!(median(&self.beside))),
            ("ratio_beside", json!(median(&self.to_alone))),
            ("memory_bytes", json!(self.memory.iter().flatten().max())),
        ];
        report.json(&Work { size: index(arguments.size), ..*work }, &own)
    }

    fn log_bytes_a_record(&self, work: &Work) -> f64 {
        real(self.report.replaced.bytes_before) / real(work.events)
    }

    fn print(&self, arguments: &Arguments, work: &Work, output: &mut Output) -> Result<(), Failure> {
        let (sizes, replaced) = (Sizes::default(), &self.report.replaced);
        output.line(format!(
            "{} records of {} bytes, {} a frame, {} keys; {} rounds",
            work.events, arguments.size, arguments.batch, arguments.keys, arguments.rounds
        ))?;
        let bytes = |rate: Option<f64>| bytes_per_second(rate.map(|rate| rate * self.log_bytes_a_record(work)));
        let records = |name: &str, rates: &[Option<f64>], to: &[Option<f64>]| {
            let rate = median(rates);
            vec![name.to_owned(), per_second(rate), bytes(rate), ratio_text(median(to))]
        };
        let written = |name: &str, rates: &[Option<f64>], to: &[Option<f64>]| {
            vec![name.to_owned(), String::new(), bytes_per_second(median(rates)), ratio_text(median(to))]
        };
        let appends = |name: &str, rates: &[Option<f64>], to: &[Option<f64>]| {
            vec![name.to_owned(), per_second(median(rates)), String::new(), ratio_text(median(to))]
        };
        output.table(
            &COLUMNS,
            vec![
                records("scan", &self.scan, &[]),
                records("compaction", &self.compact, &self.to_scan),
                written("bare write of what is kept", &self.bare, &[]),
                written("compaction, what is kept", &self.write, &self.to_write),
                appends("appends alone", &self.alone, &[]),
                appends("appends beside it", &self.beside, &self.to_alone),
            ],
        )?;
        let memory =
            self.memory.iter().flatten().max().map_or_else(|| "not known".to_owned(), |bytes| sizes.show(*bytes));
        output.pairs(&[
            ("log before", sizes.show(replaced.bytes_before)),
            ("log after", sizes.show(replaced.bytes_after)),
            ("passes", self.report.passes.to_string()),
            ("memory", memory),
        ])
    }
}
