//! `esker verify`: is the log whole?
//!
//! Guarantees:
//! 1. Exit code 1 if and only if something that was durable is lost or wrong. A torn tail, a spare segment and a
//!    running writer are listed, and are not damage.

use std::path::PathBuf;

use esker::Evidence;
use esker::inspect::{self, Finding, Neighbour, Verification};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Align, Output};
use crate::progress::Progress;
use crate::text::{Sizes, hex, readable};

const COLUMNS: [(&str, Align); 5] = [
    ("class", Align::Left),
    ("file", Align::Left),
    ("position", Align::Right),
    ("offset", Align::Right),
    ("cause", Align::Left),
];

const JSON_HELP: &str = "Print one JSON object a finding: v class segment position offset cause session before behind; session \
    is boot_id pid device inode says, before and behind are segment position offset of the valid frames beside it, all null if \
    unknown. Then one with \"summary\": true";

/// Check every byte of a log that counts
///
/// Segments, frames, checkpoints, anchor. Writes nothing. Exit code 0: clean; a torn tail, a spare segment, a gap that a
/// repair left, an anchor that says nothing and a running writer are clean. 1: damage. 2: not a log, or it cannot be read.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory of the log
    dir: PathBuf,
    /// Say for each finding who wrote there, and which frames stand on both sides; and who carries durable lines
    #[arg(long)]
    evidence: bool,
    #[arg(long, help = JSON_HELP)]
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
        print(&verification, arguments, output)?;
    }
    if verification.is_damaged() {
        let text = "the log is damaged; copy the directory before anything else, then see what 'esker repair' would do";
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

fn print(verification: &Verification, arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    if !verification.findings.is_empty() {
        output.table(&COLUMNS, verification.findings.iter().map(as_row).collect())?;
    }
    if arguments.evidence {
        verification.findings.iter().filter_map(evidence).try_for_each(|text| output.line(text))?;
        for carried in verification.lines.iter() {
            let line = carried.line;
            output.line(format!("durable up to {} (offset {}): {}", line.place, line.offset, carried.carrier))?;
        }
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
        arguments.sizes.show(verification.bytes),
        verification.checkpoints,
        if verification.checkpoints == 1 { "" } else { "s" },
    ))
}

/// A finding's evidence as a line; `None` if there is none.
fn evidence(finding: &Finding) -> Option<String> {
    let found = &finding.evidence;
    let beside = |name: &str, frame: Option<Neighbour>| {
        frame.map(|frame| format!("; {name} it a valid frame at {} (offset {})", frame.place, frame.offset))
    };
    let session =
        found.session.map(|session| format!("; written by process {}, {}", session.pid, says(session.evidence)));
    let parts = [session, beside("before", found.before), beside("behind", found.behind)];
    let text: String = parts.into_iter().flatten().collect();
    let place = Some(finding.segment?).zip(finding.position);
    let place = place.map_or(format!("segment {}", finding.segment?), |(segment, position)| {
        format!("segment {segment} position {position}")
    });
    (!text.is_empty()).then(|| format!("{} at {place}{text}", finding.class))
}

fn says(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::SameBoot => "same-boot",
        Evidence::OtherBoot => "other-boot",
        Evidence::CopiedFile => "copied-file",
        _ => "unknown",
    }
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
        "session": finding.evidence.session.map(|session| json!({
            "boot_id": hex(&session.boot_id),
            "pid": session.pid,
            "device": session.file.0,
            "inode": session.file.1,
            "says": says(session.evidence),
        })),
        "before": neighbour(finding.evidence.before),
        "behind": neighbour(finding.evidence.behind),
    })
}

fn neighbour(frame: Option<Neighbour>) -> Value {
    frame.map_or(Value::Null, |frame| {
        json!({
            "segment": frame.place.segment, "position": frame.place.position, "offset": frame.offset.get(),
        })
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
        "lines": verification.lines.iter().map(|carried| json!({
            "segment": carried.line.place.segment,
            "position": carried.line.place.position,
            "offset": carried.line.offset.get(),
            "carrier": carried.carrier,
        })).collect::<Vec<_>>(),
    })
}
