//! `esker retain`: lets the oldest segments of a log go, or shows what would go.
//!
//! Guarantees:
//! 1. With `--dry-run` nothing is changed. Without it only what no cursor holds goes, and what is gone is gone for good
//!    when it is printed.
//! 2. A directory that is no log is never made one.

use std::path::PathBuf;
use std::time::Duration;

use esker::{Attached, Background, HeldBy, Options, Retention, RetentionReport};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Align, Output};
use crate::text::{Sizes, parse_bytes};
use crate::time;

const COLUMNS: [(&str, Align); 5] = [
    ("held by", Align::Left),
    ("contract", Align::Left),
    ("from offset", Align::Right),
    ("records", Align::Right),
    ("size", Align::Right),
];

const JSON_HELP: &str = "Print one JSON object for each that holds a part: v by cursor contract offset records bytes; by is \
    \"policy\", \"cursor\", \"checkpoint\" or \"active\". Then one with \"summary\": true";

/// Drop the oldest segments of a log that exceed a size or an age; with --dry-run, show what would go
///
/// What a cursor holds stays, and so does the segment in use. The table says what holds the rest, from which offset on; what
/// comes first decides. Exit code 0: done, also if nothing went. 3: a writer holds the log.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("limit").required(true).multiple(true).args(["max_bytes", "max_age"]))]
pub(crate) struct Arguments {
    /// Directory of the log
    dir: PathBuf,
    /// Keep at most so many bytes: 1000000, 500KiB, 10MiB, 2GiB
    #[arg(long, value_name = "B", value_parser = parse_bytes)]
    max_bytes: Option<u64>,
    /// Drop what was appended longer ago: 90s, 30m, 12h, 7d
    #[arg(long, value_name = "D", value_parser = time::parse_duration)]
    max_age: Option<Duration>,
    /// Change nothing
    #[arg(long)]
    dry_run: bool,
    #[arg(long, help = JSON_HELP)]
    json: bool,
    #[command(flatten)]
    sizes: Sizes,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let mut retention = Retention::new();
    if let Some(bytes) = arguments.max_bytes {
        retention = retention.bytes(bytes);
    }
    if let Some(age) = arguments.max_age {
        retention = retention.age(age);
    }
    let attached = Attached::open(&arguments.dir)?;
    if let Some(refusal) = attached.refusal() {
        return Err(refusal.into());
    }
    if arguments.dry_run {
        return show(arguments, &attached.retention_plan(retention)?, output);
    }
    drop(attached);
    // Nothing goes before it is asked for, so that all of it is told.
    let log = Options::new().retention(retention).background(Background::Manual).open(&arguments.dir)?;
    let done = log.retain();
    let closed = log.close();
    let report = done?;
    show(arguments, &report, output)?;
    Ok(closed?)
}

fn show(arguments: &Arguments, report: &RetentionReport, output: &mut Output) -> Result<(), Failure> {
    if arguments.json {
        report.held.iter().try_for_each(|held| output.json(&as_json(held)))?;
        return output.json(&summary(report, arguments.dry_run));
    }
    output.table(&COLUMNS, report.held.iter().map(|held| as_row(held, arguments.sizes)).collect())?;
    let verb = if arguments.dry_run { "would drop" } else { "dropped" };
    output.line(format!(
        "{verb}: {} segment{}, {} record{}, {}; the log begins at offset {}",
        report.segments,
        if report.segments == 1 { "" } else { "s" },
        report.records,
        if report.records == 1 { "" } else { "s" },
        arguments.sizes.show(report.bytes),
        report.start,
    ))
}

fn by(held: &esker::Held) -> &'static str {
    match held.by {
        HeldBy::Cursor { .. } => "cursor",
        HeldBy::Policy => "policy",
        HeldBy::Checkpoint => "checkpoint",
        HeldBy::Active => "active",
        _ => "unknown",
    }
}

fn as_row(held: &esker::Held, sizes: Sizes) -> Vec<String> {
    let (by, contract) = match &held.by {
        HeldBy::Cursor { name, contract } => (format!("cursor {name}"), contract.to_string()),
        _ => (by(held).to_owned(), "-".to_owned()),
    };
    vec![by, contract, held.offset.to_string(), held.records.to_string(), sizes.show(held.bytes)]
}

fn as_json(held: &esker::Held) -> Value {
    let (cursor, contract) = match &held.by {
        HeldBy::Cursor { name, contract } => (Some(name.clone()), Some(contract.to_string())),
        _ => (None, None),
    };
    json!({
        "v": 1,
        "by": by(held),
        "cursor": cursor,
        "contract": contract,
        "offset": held.offset.get(),
        "records": held.records,
        "bytes": held.bytes,
    })
}

fn summary(report: &RetentionReport, dry_run: bool) -> Value {
    json!({
        "v": 1,
        "summary": true,
        "applied": !dry_run,
        "start": report.start.get(),
        "segments": report.segments,
        "records": report.records,
        "bytes": report.bytes,
    })
}
