//! `esker ls`: the segments of a log, oldest first.

use std::path::PathBuf;

use esker::{Attached, SegmentInfo, SegmentState};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Align, Output};
use crate::text::Sizes;
use crate::time;

const COLUMNS: [(&str, Align); 9] = [
    ("segment", Align::Right),
    ("generation", Align::Right),
    ("base offset", Align::Right),
    ("records", Align::Right),
    ("size", Align::Right),
    ("state", Align::Left),
    ("first time", Align::Left),
    ("last time", Align::Left),
    ("index", Align::Right),
];

const JSON_HELP: &str = "Print one JSON object a segment: v number generation base_offset records bytes state first_time last_time \
    index_bytes, which is null if it has no index file";

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
    if arguments.json {
        segments.iter().try_for_each(|segment| output.json(&as_json(segment)))?;
    } else {
        output.table(&COLUMNS, segments.iter().map(|segment| as_row(segment, arguments.sizes)).collect())?;
    }
    attached.refusal().map_or(Ok(()), |refusal| Err(refusal.into()))
}

fn state(segment: &SegmentInfo) -> &'static str {
    match segment.state {
        SegmentState::Active => "active",
        SegmentState::Sealed => "sealed",
    }
}

fn as_json(segment: &SegmentInfo) -> Value {
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
    })
}

fn as_row(segment: &SegmentInfo, sizes: Sizes) -> Vec<String> {
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
    ]
}
