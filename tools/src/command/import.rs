//! `esker import`: each line of the input becomes a record.
//!
//! Guarantees:
//! 1. The payload is the line without its newline, byte for byte; also a last line that has none, and an empty line.
//! 2. Line `n` of the input is record `n` of the import: nothing is left out, nothing comes twice.
//! 3. Whatever stops an import, all lines before are in the log, and durable once the command ended.

mod fields;
mod frames;
mod lines;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Instant;

use esker::{Ending, Options};
use serde_json::json;

use crate::failure::{Failure, say};
use crate::interrupt;
use crate::output::Output;
use crate::progress::Progress;
use crate::text::Sizes;
use fields::Fields;
use frames::{FRAME_BYTES_MAX, Frames, Imported};
use lines::Line;

const READ_BYTES: usize = 256 * 1024;
const JSON_HELP: &str = "Print the summary as one JSON object: v records bytes first_offset last_offset seconds";

/// Append each line of a file to a log
///
/// The directory is made if it is not there. The payload of a record is the line without its newline, byte for byte.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory of the log
    dir: PathBuf,
    /// File to read; standard input without it, or with `-`
    file: Option<PathBuf>,
    /// Take the key from this top-level field of each line, which must be a JSON object
    #[arg(long, value_name = "F")]
    key_field: Option<String>,
    /// Take the event time from this top-level field (RFC 3339; UTC if without zone)
    #[arg(long, value_name = "F")]
    time_field: Option<String>,
    /// Records a frame
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    batch: u32,
    /// Make each batch durable before the next; else one sync at the end
    #[arg(long)]
    sync: bool,
    #[arg(long, help = JSON_HELP)]
    json: bool,
    #[command(flatten)]
    sizes: Sizes,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    // The input comes first: a wrong name must not leave an empty log behind.
    let (input, bytes) = open_input(arguments.file.as_deref())?;
    let since = Instant::now();
    let log = Options::new().frame_bytes_max(FRAME_BYTES_MAX).open(&arguments.dir)?;
    let report = log.recovery();
    if matches!(report.ending, Ending::Unclean | Ending::Torn) {
        say(&format!("esker: {report}"));
    }
    interrupt::close_first(&log);
    let mut frames = Frames::new(&log, arguments.batch, arguments.sync.into());
    let outcome = take_lines(input, &Fields::new(arguments), &mut frames, Progress::new(bytes));
    let imported = frames.imported();
    interrupt::let_it_end();
    interrupt::nothing_to_close();
    let closed = log.close().map_err(Failure::Engine);
    interrupt::let_it_end();
    closed.and_then(|()| summarize(arguments, output, &imported, since)).and(outcome)
}

fn open_input(file: Option<&Path>) -> Result<(Box<dyn BufRead>, Option<u64>), Failure> {
    let Some(path) = file.filter(|path| *path != Path::new("-")) else {
        return Ok((Box::new(BufReader::with_capacity(READ_BYTES, io::stdin().lock())), None));
    };
    let refused = |cause: String| Failure::Input(format!("{}: {cause}; give a file of lines", path.display()));
    let file = File::open(path).map_err(|error| refused(error.to_string()))?;
    let about = file.metadata().map_err(|error| refused(error.to_string()))?;
    if about.is_dir() {
        return Err(refused("is a directory".to_owned()));
    }
    let bytes = about.is_file().then_some(about.len());
    Ok((Box::new(BufReader::with_capacity(READ_BYTES, file)), bytes))
}

/// Appends lines until the input ends or one of them cannot be appended; what was taken before is in the log then.
fn take_lines(
    mut input: Box<dyn BufRead>,
    fields: &Fields,
    frames: &mut Frames<'_>,
    mut progress: Progress,
) -> Result<(), Failure> {
    loop {
        let stop = match lines::read(&mut input, frames.arena()) {
            Ok(Line::Whole(payload)) => match fields.find(frames.payload(&payload)) {
                Ok(found) => {
                    if frames.push(payload, found)? {
                        progress.at(frames.imported().read);
                    }
                    continue;
                }
                Err(cause) => Err(cause),
            },
            Ok(Line::TooLong) => Err(format!(
                "longer than {FRAME_BYTES_MAX} bytes, the largest frame; cut it, or import a reference to it"
            )),
            Ok(Line::End) => Ok(()),
            Err(error) => Err(format!("read the input: {error}; import the rest again")),
        };
        let number = frames.line();
        frames.append()?;
        return stop
            .map_err(|cause| Failure::Input(format!("line {number}: {cause}; everything before it is in the log")));
    }
}

fn summarize(arguments: &Arguments, output: &mut Output, imported: &Imported, since: Instant) -> Result<(), Failure> {
    let seconds = since.elapsed().as_secs_f64();
    let offsets = imported.offsets.as_ref().map(|offsets| (offsets.start.get(), offsets.end.get().saturating_sub(1)));
    if arguments.json {
        return output.json(&json!({
            "v": 1,
            "records": imported.records,
            "bytes": imported.bytes,
            "first_offset": offsets.map(|(first, _)| first),
            "last_offset": offsets.map(|(_, last)| last),
            "seconds": seconds,
        }));
    }
    let size = arguments.sizes.show(imported.bytes);
    let place = offsets.map_or_else(String::new, |(first, last)| format!(", offsets {first} to {last}"));
    output.line(format!("{} records, {size}{place}, in {seconds:.3} s", imported.records))
}
