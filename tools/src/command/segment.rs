//! `esker segment`: one segment file taken apart, the header field by field, then frame by frame.
//!
//! Guarantees:
//! 1. Any state of the file will do; what does not check is shown with what is wrong about it.
//! 2. Exit code 1 if the header does not check, or a frame before the end that a successor names or before a valid
//!    frame. At the open end of a log that is not judged: it may be a torn tail, and `verify` knows.

use std::path::PathBuf;

use esker::inspect::{self, Checksums, Dissection, FrameRow};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Align, Ink, Output};
use crate::text::readable;
use crate::time;

const FIELD_COLUMNS: [(&str, Align); 5] = [
    ("field", Align::Left),
    ("place", Align::Right),
    ("width", Align::Right),
    ("value", Align::Left),
    ("meaning", Align::Left),
];

const JSON_HELP: &str = "Print one JSON object for the header (v header fields fault file_bytes end), then one a frame \
    (v position kind length first_offset records time header_checksum body_checksum live fault states offsets)";

/// Take one segment file apart
///
/// The header field by field, then a line a frame: position, kind, length, first offset, records (and of how many, if some were
/// dropped since), state entries, append time, checksums as stored and as computed, and whether it is live. Changes nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// File of the segment
    file: PathBuf,
    #[arg(long, help = JSON_HELP)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let dissection = inspect::dissect(&arguments.file)?;
    if arguments.json {
        output.json(&header_json(&dissection))?;
    } else {
        print_header(&dissection, output)?;
    }
    let mut judge = Judge {
        damaged: dissection.header_fault.is_some() && !is_spare(&dissection),
        suspect: false,
        settled: dissection.end.is_some(),
    };
    for row in dissection.frames() {
        let row = row?;
        judge.take(&row);
        if arguments.json { output.json(&frame_json(&row))? } else { print_frame(&row, output)? }
    }
    if judge.damaged {
        let text = "does not check; run 'esker verify' on its directory to learn what that means for the log";
        return Err(Failure::Damage(format!("{}: {text}", arguments.file.display())));
    }
    Ok(())
}

/// Whether it was prepared and is not in use: nothing but zeros where the header goes.
fn is_spare(dissection: &Dissection) -> bool {
    dissection.header.iter().all(|field| field.value.replace("\\x00", "").bytes().all(|digit| digit == b'0'))
}

/// Tells damage from what may be a torn tail, as far as one file shows.
struct Judge {
    damaged: bool,
    /// Something does not check, and nothing valid followed so far.
    suspect: bool,
    settled: bool,
}

impl Judge {
    fn take(&mut self, row: &FrameRow) {
        if row.live {
            match row.fault {
                Some(_) => self.suspect = true,
                None => self.damaged |= self.suspect,
            }
            self.damaged |= self.suspect && self.settled;
        }
    }
}

fn header_json(dissection: &Dissection) -> Value {
    let fields = dissection.header.iter().map(|field| {
        json!({
            "name": field.name,
            "place": field.place,
            "width": field.width,
            "value": field.value,
            "meaning": field.meaning,
        })
    });
    json!({
        "v": 1,
        "header": true,
        "fields": fields.collect::<Value>(),
        "fault": dissection.header_fault,
        "file_bytes": dissection.length,
        "end": dissection.end.map(|end| json!({ "position": end.position, "named_by": end.named_by })),
    })
}

fn print_header(dissection: &Dissection, output: &mut Output) -> Result<(), Failure> {
    let rows = dissection.header.iter().map(|field| {
        let value = readable(field.value.as_bytes());
        vec![field.name.clone(), field.place.to_string(), field.width.to_string(), value, field.meaning.to_owned()]
    });
    output.table(&FIELD_COLUMNS, rows.collect())?;
    let fault = dissection.header_fault.as_deref().map(|fault| format!("; the header does not check: {fault}"));
    let end = match dissection.end {
        Some(end) => format!("segment {} names position {} as the end", end.named_by, end.position),
        None => "no other segment names the end".to_owned(),
    };
    output.line(format!("\n{} bytes of file; {end}{}\n", dissection.length, fault.unwrap_or_default()))?;
    let inks = output.inks();
    output.line(inks.paint(Ink::Heading, HEADING))
}

const HEADING: &str = "  position  kind          length  first offset  records  states  append time               \
    header stored computed  body stored computed";

/// Frames are as many as they are: they go out one by one, in columns of their own.
fn print_frame(row: &FrameRow, output: &mut Output) -> Result<(), Failure> {
    let inks = output.inks();
    let first = row.first_offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
    let dropped = row.offsets > row.records;
    let records = if dropped { format!("{}/{}", row.records, row.offsets) } else { row.records.to_string() };
    let line = format!(
        "{:>10}  {:<10}  {:>8}  {first:>12}  {records:>7}  {:>6}  {:<24}  {:>13} {:>8}  {:>11} {:>8}  {}",
        row.position,
        row.kind,
        row.length,
        row.states,
        time::or_dash(row.time),
        sum(row.header_checksum, |sums| sums.stored),
        sum(row.header_checksum, |sums| sums.computed),
        sum(row.body_checksum, |sums| sums.stored),
        sum(row.body_checksum, |sums| sums.computed),
        if row.live { "live" } else { "dead" },
    );
    match &row.fault {
        Some(fault) => output.line(format!("{line}  {}", inks.paint(Ink::Alarm, &readable(fault.as_bytes())))),
        None => output.line(line),
    }
}

fn sum(sums: Option<Checksums>, of: impl Fn(Checksums) -> u32) -> String {
    sums.map_or_else(|| "-".to_owned(), |sums| format!("{:08x}", of(sums)))
}

fn frame_json(row: &FrameRow) -> Value {
    let sums = |sums: Option<Checksums>| {
        sums.map(
            |sums| json!({ "stored": format!("{:08x}", sums.stored), "computed": format!("{:08x}", sums.computed) }),
        )
    };
    json!({
        "v": 1,
        "position": row.position,
        "kind": row.kind,
        "length": row.length,
        "first_offset": row.first_offset.map(esker::Offset::get),
        "records": row.records,
        "time": row.time.map(time::exact),
        "header_checksum": sums(row.header_checksum),
        "body_checksum": sums(row.body_checksum),
        "live": row.live,
        "fault": row.fault,
        "states": row.states,
        "offsets": row.offsets,
    })
}
