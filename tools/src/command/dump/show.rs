//! One record as a line: to read, as JSON, or its payload alone.

use console::{measure_text_width, truncate_str};
use esker::RecordRef;
use serde_json::{Map, Value, json};

use super::Arguments;
use crate::failure::Failure;
use crate::output::{Ink, Output};
use crate::text::{hex, readable};
use crate::time;

/// The least width of the columns whose values vary.
const OFFSET_COLUMNS: usize = 8;
const KEY_COLUMNS: usize = 12;
/// No letter takes more bytes.
const LETTER_BYTES_MAX: usize = 4;

/// How to print a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    Columns,
    Json,
    Payload,
}

impl Show {
    pub(super) fn chosen(arguments: &Arguments) -> Self {
        match (arguments.payload, arguments.json) {
            (true, _) => Self::Payload,
            (false, true) => Self::Json,
            (false, false) => Self::Columns,
        }
    }

    pub(super) fn is_json(self) -> bool {
        self == Self::Json
    }

    pub(crate) fn print(self, record: &RecordRef<'_>, output: &mut Output) -> Result<(), Failure> {
        match self {
            Self::Columns => print_columns(record, output),
            Self::Json => output.json(&as_json(record)),
            Self::Payload => output.line(record.payload()),
        }
    }
}

fn print_columns(record: &RecordRef<'_>, output: &mut Output) -> Result<(), Failure> {
    let inks = output.inks();
    let offset = format!("{:>OFFSET_COLUMNS$}", record.offset().get());
    let appended = time::to_millisecond(record.time());
    let key = record.key().map_or_else(|| "-".to_owned(), |key| cut(key, output.columns().map(|columns| columns / 4)));
    let padding = " ".repeat(KEY_COLUMNS.saturating_sub(measure_text_width(&key)));
    let taken = offset.len() + appended.len() + measure_text_width(&key) + padding.len() + 6;
    let room = output.columns().map(|columns| columns.saturating_sub(taken));
    let payload =
        if record.is_tombstone() { inks.paint(Ink::Aside, "(tombstone)") } else { cut(record.payload(), room) };
    let (appended, key) = (inks.paint(Ink::Aside, &appended), inks.paint(Ink::Key, &key));
    let line = format!("{offset}  {appended}  {key}{padding}  {payload}");
    output.line(line.trim_end())
}

/// Readable, and not wider than the room there is.
fn cut(bytes: &[u8], room: Option<usize>) -> String {
    let Some(room) = room else { return readable(bytes) };
    let visible = bytes.len().min(room.saturating_add(1).saturating_mul(LETTER_BYTES_MAX));
    truncate_str(&readable(bytes.get(..visible).unwrap_or_default()), room, "…").into_owned()
}

fn as_json(record: &RecordRef<'_>) -> Value {
    let mut object = Map::new();
    object.insert("v".to_owned(), json!(1));
    object.insert("offset".to_owned(), json!(record.offset().get()));
    object.insert("time".to_owned(), json!(time::exact(record.time())));
    object.insert("event_time".to_owned(), json!(record.event_time().map(time::exact)));
    insert_bytes(&mut object, "key", record.key());
    let headers = record.headers().map(|header| match str::from_utf8(header.value) {
        Ok(text) => json!([header.name, text]),
        Err(_) => json!([header.name, { "value_hex": hex(header.value) }]),
    });
    object.insert("headers".to_owned(), headers.collect());
    object.insert("topic".to_owned(), json!(record.topic().get()));
    object.insert("tombstone".to_owned(), json!(record.is_tombstone()));
    insert_bytes(&mut object, "payload", (!record.is_tombstone()).then(|| record.payload()));
    Value::Object(object)
}

/// As text under its name if it is text, else under `<name>_hex`.
fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (bytes, str::from_utf8(bytes))) {
        None => object.insert(name.to_owned(), Value::Null),
        Some((_, Ok(text))) => object.insert(name.to_owned(), json!(text)),
        Some((bytes, Err(_))) => object.insert(format!("{name}_hex"), json!(hex(bytes))),
    };
}
