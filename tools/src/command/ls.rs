//! `esker ls`: the segments of a log, oldest first.
//!
//! Guarantees:
//! 1. It takes no longer than a look at headers, and at most [`LIVE_BYTES`] of log, unless it is asked for more.
//! 2. What is live is left out if it cannot be had and was not asked for: the segments are listed all the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use esker::{Attached, Holder, SegmentInfo, SegmentState};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Align, Output};
use crate::text::Sizes;
use crate::time;

/// A log up to this size is read for its live records without being asked.
const LIVE_BYTES: u64 = 1 << 30;

const COLUMNS: [(&str, Align); 11] = [
    ("segment", Align::Right),
    ("generation", Align::Right),
    ("base offset", Align::Right),
    ("records", Align::Right),
    ("live", Align::Right),
    ("size", Align::Right),
    ("state", Align::Left),
    ("first time", Align::Left),
    ("last time", Align::Left),
    ("index", Align::Right),
    ("held by", Align::Left),
];

const JSON_HELP: &str = "Print one JSON object a segment: v number generation base_offset records live_ratio bytes state \
    first_time last_time index_bytes held_by; live_ratio is the part of the records that a compaction of all topics would keep, \
    null if it was not looked for or could not be had; index_bytes is null if it has no index file; held_by are the cursors that \
    hold it and all behind it, and nothing before";

/// List the segments of a log
///
/// Changes nothing, also while a writer is at work. Live is what a compaction of all topics would keep of a segment: records that
/// are the last of their key, or have none.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory of the log
    dir: PathBuf,
    /// Say what is live also of a log of more than 1 GiB, all of which is read for that
    #[arg(long)]
    live: bool,
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
    let live = live_ratios(arguments, &attached, &segments)?;
    let ends = segments.iter().skip(1).map(|next| next.base_offset).chain([esker::Offset::new(u64::MAX)]);
    let rows = segments.iter().zip(ends).map(|(segment, end)| {
        let from_here = |holder: &&Holder| (segment.base_offset..end).contains(&holder.offset);
        let held_by = holders.iter().filter(from_here).map(|holder| holder.cursor.as_str());
        Row { segment, live: live.get(&segment.number).copied(), held_by: held_by.collect() }
    });
    if arguments.json {
        rows.into_iter().try_for_each(|row| output.json(&row.as_json()))?;
    } else {
        output.table(&COLUMNS, rows.map(|row| row.cells(arguments.sizes)).collect())?;
    }
    attached.refusal().map_or(Ok(()), |refusal| Err(refusal.into()))
}

fn state(segment: &SegmentInfo) -> &'static str {
    match segment.state {
        SegmentState::Active => "active",
        SegmentState::Sealed => "sealed",
    }
}

/// The live ratio of each segment; empty if it is not looked for.
fn live_ratios(
    arguments: &Arguments,
    attached: &Attached,
    segments: &[SegmentInfo],
) -> Result<BTreeMap<u64, f64>, Failure> {
    let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    if attached.refusal().is_some() || (bytes > LIVE_BYTES && !arguments.live) {
        return Ok(BTreeMap::new());
    }
    let live = match attached.live_records() {
        Err(_shown_as_unknown) if !arguments.live => return Ok(BTreeMap::new()),
        live => live?,
    };
    Ok(live.iter().map(|live| (live.number, live.ratio())).collect())
}

/// A line of the table.
struct Row<'a> {
    segment: &'a SegmentInfo,
    live: Option<f64>,
    held_by: Vec<&'a str>,
}

impl Row<'_> {
    fn as_json(&self) -> Value {
        let segment = self.segment;
        json!({
            "v": 1,
            "number": segment.number,
            "generation": segment.generation,
            "base_offset": segment.base_offset.get(),
            "records": segment.records,
            "live_ratio": self.live,
            "bytes": segment.bytes,
            "state": state(segment),
            "first_time": segment.first_time.map(time::exact),
            "last_time": segment.last_time.map(time::exact),
            "index_bytes": segment.index_bytes,
            "held_by": self.held_by,
        })
    }

    fn cells(&self, sizes: Sizes) -> Vec<String> {
        let segment = self.segment;
        vec![
            segment.number.to_string(),
            segment.generation.to_string(),
            segment.base_offset.to_string(),
            segment.records.to_string(),
            self.live.map_or_else(|| "-".to_owned(), |live| format!("{:.1} %", 100.0 * live)),
            sizes.show(segment.bytes),
            state(segment).to_owned(),
            time::or_dash(segment.first_time),
            time::or_dash(segment.last_time),
            segment.index_bytes.map_or_else(|| "-".to_owned(), |bytes| sizes.show(bytes)),
            if self.held_by.is_empty() { "-".to_owned() } else { self.held_by.join(" ") },
        ]
    }
}
