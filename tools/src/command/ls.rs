//! `esker ls`: the segments of a log, oldest first.

use std::path::PathBuf;

use esker::{Attached, Holder, SegmentInfo, SegmentState};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Align, Output};
use crate::text::Sizes;
use crate::time;

const COLUMNS: [(&str, Align); 10] = [
    ("segment", Align::Right),
    ("generation", Align::Right),
    ("base offset", Align::Right),
    ("records", Align::Right),
    ("size", Align::Right),
    ("state", Align::Left),
    ("first time", Align::Left),
    ("last time", Align::Left),
    ("index", Align::Right),
    ("held by", Align::Left),
];

const JSON_HELP: &str = "Print one JSON object a segment: v number generation base_offset records bytes state first_time last_time \
    index_bytes held_by; index_bytes is null if it has no index file; held_by are the cursors that hold it and all behind it, and \
    nothing before";

/// List the segments of a log
///
/// Changes nothing, also while a writer is at work.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory of the log
    dir: PathBuf,
    #[arg(long, help = JSON_HELP)]
    json: bool,
    #[command(flatten)]
    sizes: Sizes,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let attached = Attached::open(&arguments.dir)?;
    let segments = attached.segments()?;
    // A log that no open would take has no state to say it.
    let holders = if attached.refusal().is_none() { attached.who_holds()? } else { Vec::new() };
    let ends = segments.iter().skip(1).map(|next| next.base_offset).chain([esker::Offset::new(u64::MAX)]);
    let rows = segments.iter().zip(ends).map(|(segment, end)| {
        let from_here = |holder: &&Holder| (segment.base_offset..end).contains(&holder.offset);
        (segment, holders.iter().filter(from_here).map(|holder| holder.cursor.as_str()).collect::<Vec<_>>())
    });
    if arguments.json {
        rows.into_iter().try_for_each(|(segment, held_by)| output.json(&as_json(segment, &held_by)))?;
    } else {
        let rows = rows.map(|(segment, held_by)| as_row(segment, &held_by, arguments.sizes));
        output.table(&COLUMNS, rows.collect())?;
    }
    attached.refusal().map_or(Ok(()), |refusal| Err(refusal.into()))
}

fn state(segment: &SegmentInfo) -> &'static str {
    match segment.state {
        SegmentState::Active => "active",
        SegmentState::Sealed => "sealed",
    }
}

fn as_json(segment: &SegmentInfo, held_by: &[&str]) -> Value {
    json!({
        "v": 1,
        "number": segment.number,
        "generation": segment.generation,
        "base_offset": segment.base_offset.get(),
        "records": segment.records,
        "bytes": segment.bytes,
        "state": state(segment),
        "first_time": segment.first_time.map(time::exact),
        "last_time": segment.last_time.map(time::exact),
        "index_bytes": segment.index_bytes,
        "held_by": held_by,
    })
}

fn as_row(segment: &SegmentInfo, held_by: &[&str], sizes: Sizes) -> Vec<String> {
    vec![
        segment.number.to_string(),
        segment.generation.to_string(),
        segment.base_offset.to_string(),
        segment.records.to_string(),
        sizes.show(segment.bytes),
        state(segment).to_owned(),
        time::or_dash(segment.first_time),
        time::or_dash(segment.last_time),
        segment.index_bytes.map_or_else(|| "-".to_owned(), |bytes| sizes.show(bytes)),
        if held_by.is_empty() { "-".to_owned() } else { held_by.join(" ") },
    ]
}
