//! `esker bench scan`: how fast events are read in order, checked, beside a bare loop that sums the same bytes.
//!
//! Guarantees:
//! 1. Every event is met once, in order, or the command fails; the bare loop meets as many.
//! 2. Each round opens the log anew, so that nothing that an earlier round checked is taken for granted.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use esker::{Log, Options};

use super::filling::{close, fill};
use super::frame;
use super::pass::Passes;
use super::rate::{Measured, bytes_per_second, median, per_second, ratio, ratio_text, real};
use super::report::Report;
use super::scratch::Scratch;
use super::work::{BATCH_MAX, EVENTS_MAX, SIZE_MAX, Work, length};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Align, Output};

const COLUMNS: [(&str, Align); 3] = [("", Align::Left), ("events", Align::Right), ("payload", Align::Right)];
const JSON_HELP: &str = "Print one JSON object with the keys of 'bench append'. threads is 1; durability, in_flight and \
    the latencies are null. A rate or ratio is null if a scan took less than 1 ms: too short to measure";

/// Measure a scan, checksums on, beside a bare loop that sums the same bytes
///
/// A log is written and closed, which is not measured. Each round opens it and reads it from the first event to the last;
/// the figures are medians of the rounds, and the files are in memory.
///
/// The limit row, the bare loop: it walks the same segment files, read into memory before, frame by frame, and sums each
/// header and each body.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Payload bytes of an event
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=SIZE_MAX))]
    size: u64,
    /// Events a frame
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=BATCH_MAX))]
    batch: u16,
    /// Events; 256 MiB of log unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=EVENTS_MAX))]
    events: Option<u64>,
    /// Rounds, of which the median is shown
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(3..=99))]
    rounds: u16,
    /// Directory for the log, empty or not there yet; it stays. Without: a temporary folder that is removed
    #[arg(long)]
    dir: Option<PathBuf>,
    #[arg(long, help = JSON_HELP)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let work = Work::new(arguments.events, arguments.size, arguments.batch, 1)?;
    let scratch = Scratch::new(arguments.dir.as_deref())?;
    let mut passes = Passes::new(work.log_bytes().saturating_mul(1 + 2 * u64::from(arguments.rounds)));
    close(fill(&work, scratch.last(), &mut |bytes| passes.at(bytes))?)?;
    passes.pass_is_over(work.log_bytes());
    let (mut limits, mut rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _round in 0..arguments.rounds {
        let limit = walk(&work, scratch.last(), &mut passes)?.per_second();
        let log = interrupt::open(&Options::new(), scratch.last())?;
        let scanned = scan(&work, &log, &mut passes);
        close(log)?;
        let rate = scanned?.per_second();
        limits.push(limit);
        rates.push(rate);
        ratios.push(ratio(rate, limit));
    }
    print(arguments, &work, [median(&limits), median(&rates), median(&ratios)], output)
}

/// Reads the log from its first event to its last.
fn scan(work: &Work, log: &Log, passes: &mut Passes) -> Result<Measured, Failure> {
    let mut reader = log.reader();
    let (mut events, mut bytes) = (0_u64, 0_u64);
    let since = Instant::now();
    while let Some(batch) = reader.poll()? {
        for record in &batch {
            if record.offset().get() != events {
                return Err(missing(work, events));
            }
            events += 1;
            bytes += length(black_box(record.payload()).len());
        }
    }
    let elapsed = since.elapsed();
    passes.pass_is_over(work.log_bytes());
    if events != work.events || bytes != work.payload_bytes(events) {
        return Err(missing(work, events));
    }
    Ok(Measured { count: events, elapsed })
}

/// Sums the same bytes, one segment in memory at a time.
fn walk(work: &Work, folder: &Path, passes: &mut Passes) -> Result<Measured, Failure> {
    let unread = |error| Failure::Input(format!("{}: read: {error}; check the disk", folder.display()));
    let (mut events, mut elapsed) = (0, Duration::ZERO);
    for entry in fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let file = fs::read(&path).map_err(unread)?;
            let since = Instant::now();
            events += frame::walk(black_box(&file));
            elapsed += since.elapsed();
        }
    }
    passes.pass_is_over(work.log_bytes());
    if events == work.events { Ok(Measured { count: events, elapsed }) } else { Err(missing(work, events)) }
}

fn missing(work: &Work, met: u64) -> Failure {
    Failure::Damage(format!(
        "a scan met {met} events, and the log was given {}; keep it with --dir and run 'esker verify'",
        work.events
    ))
}

fn print(
    arguments: &Arguments,
    work: &Work,
    [limit, rate, ratio]: [Option<f64>; 3],
    output: &mut Output,
) -> Result<(), Failure> {
    let bytes = |rate: Option<f64>| rate.map(|rate| rate * real(work.payload_bytes(1)));
    if arguments.json {
        let report = Report {
            bench: "scan",
            threads: Some(1),
            events_per_second: rate,
            bytes_per_second: bytes(rate),
            limit_events_per_second: limit,
            ratio_to_limit: ratio,
            ..Report::default()
        };
        return output.json(&report.json(work, &[]));
    }
    let Work { events, size, batch, .. } = work;
    output.line(format!("{events} events of {size} bytes, {batch} a frame; {} rounds", arguments.rounds))?;
    let row = |name: &str, rate| vec![name.to_owned(), per_second(rate), bytes_per_second(bytes(rate))];
    let rows =
        vec![row("esker", rate), row("bare loop", limit), vec!["ratio".to_owned(), ratio_text(ratio), String::new()]];
    output.table(&COLUMNS, rows)
}
