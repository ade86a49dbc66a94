//! `esker dump`: the records of a log, one a line.
//!
//! Guarantees:
//! 1. What lies before damage is printed, then the damage is reported: never is a record left out in silence. Of a gap that
//!    a repair left it is said which offsets of the range are lost, the same in both directions, and what follows is printed.
//! 2. With a topic, what a reader with that filter steps over is neither checked nor said: damage there is for `verify`.
//! 3. Beside a writer it ends: with what was visible when it began. If segments were rewritten meanwhile, what it did not come to
//!    may have been dropped for the sake of newer records: then it goes on to them, and backward, where those are passed, it
//!    fails rather than leave a key out.

mod range;
mod show;

use std::path::PathBuf;

use esker::{Attached, ErrorKind, Offset, Reader, RecordRef, Topic};
use serde_json::json;

use crate::failure::{Failure, say};
use crate::output::Output;
use range::{Bound, Range};
pub(crate) use show::Show;

/// How often a dump goes on to what came while segments were rewritten.
const STRETCHES_MAX: u32 = 64;

const JSON_HELP: &str = "Print one JSON object a record: v offset time event_time key headers topic tombstone payload. \
    What is not UTF-8 comes as key_hex, payload_hex, [name, {\"value_hex\": ...}]; the payload of a tombstone is null. For \
    records that a repair gave up, one object: v gap offset next";

/// Print the records of a log
///
/// A line a record: offset, append time, key, payload. Changes nothing, also while a writer is at work.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory of the log
    dir: PathBuf,
    /// First record: an offset, or the first appended at or after a time (RFC 3339)
    #[arg(long, value_name = "OFFSET|TIME")]
    from: Option<Bound>,
    /// Where to end, itself left out: an offset or a time
    #[arg(long, value_name = "OFFSET|TIME")]
    to: Option<Bound>,
    /// Print at most this many records
    #[arg(short = 'n', value_name = "N")]
    count: Option<u64>,
    /// Newest first
    #[arg(long)]
    reverse: bool,
    /// Only records with this key; in any topic, unless one is named
    #[arg(long, value_name = "K")]
    key: Option<String>,
    /// Only records of the topic with this number. What is of others is not checked, and where there are index files not read
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32).range(..=i64::from(Topic::MAX.get())))]
    topic: Option<u32>,
    /// Print payloads as they are, each with a newline
    #[arg(long, conflicts_with = "json")]
    payload: bool,
    #[arg(long, help = JSON_HELP)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let attached = Attached::open(&arguments.dir)?;
    let mut printer = Printer {
        left: arguments.count.unwrap_or(u64::MAX),
        key: arguments.key.as_deref().map(str::as_bytes),
        show: Show::chosen(arguments),
        output,
    };
    if printer.left == 0 {
        return Ok(());
    }
    let mut range = Range::find(&attached, arguments.from, arguments.to)?;
    let reader = match (arguments.topic.and_then(Topic::new), &arguments.key) {
        (None, _) => attached.reader(),
        (Some(topic), None) => attached.reader().topics([topic]),
        (Some(topic), Some(key)) => attached.reader().key(topic, key),
    };
    if arguments.reverse {
        backward(&attached, reader, &mut range, &mut printer)
    } else {
        forward(&attached, reader, &mut range, &mut printer)
    }
}

fn forward(attached: &Attached, reader: Reader, range: &mut Range, printer: &mut Printer<'_>) -> Result<(), Failure> {
    let mut reader = reader;
    range.seek_start(&mut reader)?;
    for _ in 0..STRETCHES_MAX {
        if up_to_end(&mut reader, range, printer)? == Next::Enough {
            return Ok(());
        }
        if !range.goes_on(attached)? {
            return range.check_end(attached);
        }
    }
    Err(rewritten())
}

fn rewritten() -> Failure {
    let text = "segments were rewritten meanwhile, and what was printed may lack a key whose newest record came since; try again";
    Failure::Input(text.to_owned())
}

fn up_to_end(reader: &mut Reader, range: &Range, printer: &mut Printer<'_>) -> Result<Next, Failure> {
    while reader.offset() < range.end {
        let batch = match reader.poll() {
            // In search of a record it went past the range.
            Err(_) if reader.offset() >= range.end => break,
            Err(error) if let ErrorKind::Gap { next } = error.kind() => {
                printer.gap(error.offset().unwrap_or(reader.offset()), next.min(range.end))?;
                reader.skip_damage()?;
                continue;
            }
            batch => batch?,
        };
        let Some(batch) = batch else { break };
        for record in &batch {
            if range.is_over(&record) {
                if range.may_go_on() {
                    // What comes behind it in the batch was not printed.
                    reader.seek(range.end)?;
                }
                return Ok(Next::More);
            }
            if printer.take(&record)? == Next::Enough {
                return Ok(Next::Enough);
            }
        }
    }
    Ok(Next::More)
}

fn backward(attached: &Attached, reader: Reader, range: &mut Range, printer: &mut Printer<'_>) -> Result<(), Failure> {
    let mut reader = reader;
    let start = range.start_offset(attached)?;
    range.seek_end(&mut reader)?;
    while reader.offset() > start {
        let batch = match reader.poll_back() {
            Err(_) if reader.offset() <= start => break,
            Err(error) if let (ErrorKind::Gap { next }, Some(first)) = (error.kind(), error.offset()) => {
                printer.gap(first.max(start), next.min(range.end))?;
                reader.seek(first)?;
                continue;
            }
            batch => batch?,
        };
        let Some(batch) = batch else { break };
        for record in batch.iter_back().filter(|record| !range.is_over(record)) {
            if record.offset() < start {
                break;
            }
            if printer.take(&record)? == Next::Enough {
                return Ok(());
            }
        }
    }
    if range.goes_on(attached)? {
        return Err(rewritten());
    }
    range.check_end(attached)
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    More,
    Enough,
}

/// Prints records that are wanted, until there were enough.
struct Printer<'a> {
    left: u64,
    key: Option<&'a [u8]>,
    show: Show,
    output: &'a mut Output,
}

impl Printer<'_> {
    /// Says that records are lost; none is where only what was dropped before a gap lies in the range.
    fn gap(&mut self, first: Offset, next: Offset) -> Result<(), Failure> {
        if first >= next {
            return Ok(());
        }
        say(&format!("esker: offsets {first} up to {next} are lost: a repair left a gap"));
        if self.show.is_json() {
            self.output.json(&json!({ "v": 1, "gap": true, "offset": first.get(), "next": next.get() }))?;
        }
        Ok(())
    }

    fn take(&mut self, record: &RecordRef<'_>) -> Result<Next, Failure> {
        if self.key.is_some() && self.key != record.key() {
            return Ok(Next::More);
        }
        self.show.print(record, self.output)?;
        self.left = self.left.saturating_sub(1);
        Ok(if self.left == 0 { Next::Enough } else { Next::More })
    }
}
