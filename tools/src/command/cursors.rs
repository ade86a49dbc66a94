//! `esker cursors`: the cursors of a log, by name, and how far each is behind.

use std::path::PathBuf;

use esker::{Attached, CursorInfo};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Align, Output};

const COLUMNS: [(&str, Align); 4] =
    [("name", Align::Left), ("offset", Align::Right), ("lag", Align::Right), ("epoch", Align::Right)];

const JSON_HELP: &str = "Print one JSON object a cursor: v name offset lag epoch";

/// List the cursors of a log: where each reads next, and how many records it is behind
///
/// Offset is that of the record it reads next, epoch the count of the epoch in which it was committed. Changes nothing, also
/// while a writer is at work; then it is what is visible.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory of the log
    dir: PathBuf,
    #[arg(long, help = JSON_HELP)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let cursors = Attached::open(&arguments.dir)?.state()?.cursors();
    if arguments.json {
        cursors.iter().try_for_each(|cursor| output.json(&as_json(cursor)))
    } else {
        output.table(&COLUMNS, cursors.iter().map(as_row).collect())
    }
}

fn as_json(cursor: &CursorInfo) -> Value {
    json!({
        "v": 1,
        "name": cursor.name,
        "offset": cursor.offset.get(),
        "lag": cursor.lag,
        "epoch": cursor.epoch.counter,
    })
}

fn as_row(cursor: &CursorInfo) -> Vec<String> {
    vec![cursor.name.clone(), cursor.offset.to_string(), cursor.lag.to_string(), cursor.epoch.counter.to_string()]
}
