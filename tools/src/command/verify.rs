//! `esker verify`: is the log whole?
//!
//! Guarantees:
//! 1. Exit code 1 if and only if something that was durable is lost or wrong. A torn tail, a spare segment and a
//!    running writer are listed, and are not damage.

use std::path::PathBuf;

use esker::inspect::{self, Finding, Verification};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Align, Output};
use crate::progress::Progress;
use crate::text::{Sizes, readable};

const COLUMNS: [(&str, Align); 5] = [
    ("class", Align::Left),
    ("file", Align::Left),
    ("position", Align::Right),
    ("offset", Align::Right),
    ("cause", Align::Left),
];

/// Check every byte of a log that counts
///
/// Segments, frames, checkpoints, anchor. Writes nothing. Exit code 0: clean; a torn tail, a spare segment and a running
/// writer are clean. 1: damage. 2: not a
/// log, or it cannot be read.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory of the log
    dir: PathBuf,
    /// Print one JSON object a finding (v class segment position offset cause), then one with "summary": true
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sizes: Sizes,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let verification = verify(arguments)?;
    if arguments.json {
        verification.findings.iter().try_for_each(|finding| output.json(&as_json(finding)))?;
        output.json(&summary(&verification))?;
    } else {
        print(&verification, arguments.sizes, output)?;
    }
    if verification.is_damaged() {
        let text = "the log is damaged; copy the directory before anything else, then read what can be read";
        return Err(Failure::Damage(format!("{}: {text}", arguments.dir.display())));
    }
    Ok(())
}

fn verify(arguments: &Arguments) -> Result<Verification, Failure> {
    let mut progress: Option<Progress> = None;
    let verification = inspect::verify(&arguments.dir, &mut |done| {
        progress.get_or_insert_with(|| Progress::new(Some(done.bytes_total))).at(done.bytes_done);
    })?;
    Ok(verification)
}

fn print(verification: &Verification, sizes: Sizes, output: &mut Output) -> Result<(), Failure> {
    if !verification.findings.is_empty() {
        output.table(&COLUMNS, verification.findings.iter().map(as_row).collect())?;
    }
    if verification.omitted > 0 {
        output.line(format!("and {} more", verification.omitted))?;
    }
    output.line(format!(
        "{}: {} segments, {} frames, {} records ({} to {}, durable to {}), {}, {} checkpoint{}",
        if verification.is_damaged() { "damaged" } else { "clean" },
        verification.segments,
        verification.frames,
        verification.records,
        verification.start,
        verification.end,
        verification.durable,
        sizes.show(verification.bytes),
        verification.checkpoints,
        if verification.checkpoints == 1 { "" } else { "s" },
    ))
}

fn as_row(finding: &Finding) -> Vec<String> {
    let or_dash = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    vec![
        finding.class.name().to_owned(),
        readable(finding.file.as_os_str().as_encoded_bytes()),
        or_dash(finding.position),
        or_dash(finding.offset.map(esker::Offset::get)),
        readable(finding.cause.as_bytes()),
    ]
}

fn as_json(finding: &Finding) -> Value {
    json!({
        "v": 1,
        "class": finding.class.name(),
        "segment": finding.segment,
        "position": finding.position,
        "offset": finding.offset.map(esker::Offset::get),
        "cause": finding.cause,
    })
}

fn summary(verification: &Verification) -> Value {
    let listed = u64::try_from(verification.findings.len()).unwrap_or(u64::MAX);
    json!({
        "v": 1,
        "summary": true,
        "damaged": verification.is_damaged(),
        "findings": listed.saturating_add(verification.omitted),
        "segments": verification.segments,
        "frames": verification.frames,
        "records": verification.records,
        "bytes": verification.bytes,
        "start": verification.start.get(),
        "end": verification.end.get(),
        "durable": verification.durable.get(),
        "writer_pid": verification.writer.and_then(|holder| holder.pid),
        "checkpoints": verification.checkpoints,
    })
}
