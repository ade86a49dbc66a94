//! `esker cursors`: the cursors of a log, by name, and how far each is behind.

use std::path::PathBuf;

use esker::{Attached, CursorInfo, Holder};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Align, Output};
use crate::text::Sizes;

const COLUMNS: [(&str, Align); 7] = [
    ("name", Align::Left),
    ("offset", Align::Right),
    ("lag", Align::Right),
    ("epoch", Align::Right),
    ("contract", Align::Left),
    ("held from", Align::Right),
    ("held", Align::Right),
];

const JSON_HELP: &str = "Print one JSON object a cursor: v name offset lag epoch contract held_from held_bytes";

/// List the cursors of a log: where each reads next, and how many records it is behind
///
/// Offset is that of the record it reads next, epoch the count of the epoch in which it was committed, contract what it keeps
/// retention from dropping: from which offset on, and how much. Changes nothing, also
/// while a writer is at work; then it is what is visible.
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
    let (cursors, holders) = (attached.state()?.cursors(), attached.who_holds()?);
    let rows = cursors.iter().map(|cursor| (cursor, holders.iter().find(|holder| holder.cursor == cursor.name)));
    if arguments.json {
        rows.into_iter().try_for_each(|(cursor, holder)| output.json(&as_json(cursor, holder)))
    } else {
        output.table(&COLUMNS, rows.map(|(cursor, holder)| as_row(cursor, holder, arguments.sizes)).collect())
    }
}

fn as_json(cursor: &CursorInfo, holder: Option<&Holder>) -> Value {
    json!({
        "v": 1,
        "name": cursor.name,
        "offset": cursor.offset.get(),
        "lag": cursor.lag,
        "epoch": cursor.epoch.counter,
        "contract": cursor.contract.to_string(),
        "held_from": holder.map(|holder| holder.offset.get()),
        "held_bytes": holder.map(|holder| holder.bytes),
    })
}

fn as_row(cursor: &CursorInfo, holder: Option<&Holder>, sizes: Sizes) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        cursor.name.clone(),
        cursor.offset.to_string(),
        cursor.lag.to_string(),
        cursor.epoch.counter.to_string(),
        cursor.contract.to_string(),
        or_dash(holder.map(|holder| holder.offset.to_string())),
        or_dash(holder.map(|holder| sizes.show(holder.bytes))),
    ]
}
