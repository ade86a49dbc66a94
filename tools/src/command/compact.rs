//! `esker compact`: drops what was superseded from the whole log.
//!
//! Guarantees:
//! 1. What is kept stays at its offset. Whatever the process dies of, the log has for each key what it had.
//! 2. A directory that is no log is never made one.
//! 3. Damage that was found is exit code 1, once all else was done.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use esker::{
    Attached, Background, CleanPhase, Compaction, CompactionReport, Log, Options, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
    SegmentInfo, Topic,
};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Align, Output};
use crate::progress::Progress;
use crate::text::{Sizes, parse_bytes};

const COLUMNS: [(&str, Align); 4] =
    [("", Align::Left), ("segments", Align::Right), ("records", Align::Right), ("size", Align::Right)];

/// Segments are as long as a multiple of this.
const PAGE_BYTES: u64 = 4096;

/// How often the bar moves.
const LOOK: Duration = Duration::from_millis(20);

const JSON_HELP: &str = "Print one JSON object: v segments_before segments_after records_before records_after bytes_before bytes_after \
    keys passes tombstones_waiting damaged seconds; before and after are of the whole log";

/// Drop records that a later one with the same topic and key superseded, from the whole log
///
/// Records without a key stay. The log goes on in another segment first, and two checkpoints are written, so that all of it is
/// compacted. A tombstone goes once it is a day old and no cursor has yet to read it. Exit code 0: done, also if nothing
/// went. 1: some segments are damaged, and left as it was. 3: a writer holds the log.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory of the log
    dir: PathBuf,
    /// Only this topic; may be given several times. All topics unless given
    #[arg(long, value_name = "T")]
    topic: Vec<u32>,
    /// Memory for the keys, at least 1MiB; keys that do not fit cost another pass over the log. Pages of the files come on top
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "64MiB")]
    memory: u64,
    /// How large a segment may become when small ones are merged, 16KiB to 2GiB; as large as the largest there is unless given
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    segment_bytes: Option<u64>,
    #[arg(long, help = JSON_HELP)]
    json: bool,
    #[command(flatten)]
    sizes: Sizes,
}

/// How large a log is.
struct Extent {
    segments: usize,
    records: u64,
    bytes: u64,
}

impl Extent {
    fn of(segments: &[SegmentInfo]) -> Self {
        Self {
            segments: segments.len(),
            records: segments.iter().map(|segment| segment.records).sum(),
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
        }
    }
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let mut compaction = Compaction::new().memory(arguments.memory);
    for topic in &arguments.topic {
        let known = Topic::new(*topic).ok_or_else(|| {
            Failure::Input(format!("topic {topic} does not exist; give one up to {}", Topic::MAX.get()))
        })?;
        compaction = compaction.topic(known);
    }
    let attached = Attached::open(&arguments.dir)?;
    if let Some(refusal) = attached.refusal() {
        return Err(refusal.into());
    }
    let segments = attached.segments()?;
    let before = Extent::of(&segments);
    let segment_bytes = arguments.segment_bytes.unwrap_or_else(|| largest(&segments));
    drop(attached);
    let log = Options::new().segment_bytes(segment_bytes).background(Background::Manual).open(&arguments.dir)?;
    interrupt::close_first(&log);
    let since = Instant::now();
    let done = watched(&log, &compaction);
    let seconds = since.elapsed().as_secs_f64();
    interrupt::let_it_end();
    interrupt::nothing_to_close();
    let closed = log.close();
    let report = done?;
    closed?;
    let after = Extent::of(&Attached::open(&arguments.dir)?.segments()?);
    if arguments.json {
        output.json(&as_json(&before, &after, &report, seconds))?;
    } else {
        show(arguments, [("before", &before), ("after", &after)], &report, output)?;
    }
    let Some(first) = report.damaged.first() else { return Ok(()) };
    Err(Failure::Damage(format!(
        "{} segment{} damaged, and left as it was; the first: {first}; see `esker verify`",
        report.damaged.len(),
        if report.damaged.len() == 1 { " is" } else { "s are" },
    )))
}

/// What the log's owner seems to allow a segment.
fn largest(segments: &[SegmentInfo]) -> u64 {
    let largest = segments.iter().map(|segment| segment.bytes).max().unwrap_or_default();
    largest.next_multiple_of(PAGE_BYTES).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
}

/// Compacts, with a bar for each of its phases.
fn watched(log: &Log, compaction: &Compaction) -> esker::Result<CompactionReport> {
    thread::scope(|scope| {
        let work = scope.spawn(|| log.compact(compaction));
        let mut shown: Option<(CleanPhase, Progress)> = None;
        while !work.is_finished() {
            if let Some(now) = log.clean_stats().progress {
                if shown.as_ref().is_none_or(|(phase, _)| *phase != now.phase) {
                    shown = Some((now.phase, Progress::new(Some(now.bytes_total))));
                }
                if let Some((_, bar)) = &mut shown {
                    bar.at(now.bytes_done);
                }
            }
            thread::sleep(LOOK);
        }
        drop(shown);
        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn show(
    arguments: &Arguments,
    extents: [(&str, &Extent); 2],
    report: &CompactionReport,
    output: &mut Output,
) -> Result<(), Failure> {
    let row = |(name, extent): (&str, &Extent)| {
        vec![
            name.to_owned(),
            extent.segments.to_string(),
            extent.records.to_string(),
            arguments.sizes.show(extent.bytes),
        ]
    };
    output.table(&COLUMNS, extents.map(row).to_vec())?;
    let waiting = match report.tombstones_waiting {
        0 => String::new(),
        waiting => format!("; {waiting} tombstones are for the next time"),
    };
    let passes = if report.passes == 1 { "" } else { "es" };
    output.line(format!("{} keys, {} pass{passes} over the log{waiting}", report.keys, report.passes))
}

fn as_json(before: &Extent, after: &Extent, report: &CompactionReport, seconds: f64) -> Value {
    json!({
        "v": 1,
        "segments_before": before.segments,
        "segments_after": after.segments,
        "records_before": before.records,
        "records_after": after.records,
        "bytes_before": before.bytes,
        "bytes_after": after.bytes,
        "keys": report.keys,
        "passes": report.passes,
        "tombstones_waiting": report.tombstones_waiting,
        "damaged": report.damaged.len(),
        "seconds": seconds,
    })
}
