//! `esker get`: the latest record of a key, or all of them.
//!
//! Guarantees:
//! 1. What is printed is the latest record, never an older one in its place: damage behind it is an error.
//! 2. 1 if the key has no value: there is no record of it, or the latest is a tombstone.

use std::path::PathBuf;

use esker::{Attached, ErrorKind, Topic};

use super::dump::Show;
use crate::failure::{Failure, say};
use crate::output::Output;

const JSON_HELP: &str = "Print one JSON object a record, as 'dump --json'";

/// Print the latest record of a key
///
/// As 'dump' prints it. Exits with 1 if there is none, or if the latest is a tombstone: the key has no value then. Index
/// files are used where they are; without them the log is read. Changes nothing, also while a writer is at work.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory of the log
    dir: PathBuf,
    /// The key
    #[arg(long, value_name = "K")]
    key: String,
    /// Number of its topic
    #[arg(long, value_name = "T", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=i64::from(Topic::MAX.get())))]
    topic: u32,
    /// All records of the key, oldest first, tombstones too
    #[arg(long)]
    history: bool,
    #[arg(long, help = JSON_HELP)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let attached = Attached::open(&arguments.dir)?;
    let topic = Topic::new(arguments.topic).unwrap_or_default();
    let show = if arguments.json { Show::Json } else { Show::Columns };
    let has_value = if arguments.history {
        history(&attached, topic, &arguments.key, show, output)?
    } else {
        let found = attached.latest(topic, &arguments.key)?;
        found.as_ref().map_or(Ok(()), |found| show.print(&found.record(), output))?;
        found.is_some()
    };
    if has_value {
        return Ok(());
    }
    let text = format!("key '{}' has no value in topic {}", arguments.key, arguments.topic);
    Err(Failure::NotThere(format!("{text}; 'esker dump --key' looks in all topics")))
}

/// Whether the key has a value.
fn history(attached: &Attached, topic: Topic, key: &str, show: Show, output: &mut Output) -> Result<bool, Failure> {
    let (mut has_value, mut lost) = (false, None);
    for found in attached.history(topic, key) {
        match found {
            Ok(found) => {
                show.print(&found.record(), output)?;
                has_value = !found.record().is_tombstone();
            }
            // What follows is printed, as by 'dump'; then it is no good end.
            Err(error) if matches!(error.kind(), ErrorKind::Gap { .. }) => {
                say(&format!("esker: {error}"));
                lost = Some(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    lost.map_or(Ok(has_value), |error| Err(error.into()))
}
