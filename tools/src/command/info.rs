//! `esker info`: what a log is, from where to where it goes, and who writes it.

use std::path::PathBuf;

use esker::{Attached, CheckpointInfo, SegmentInfo, StateView, Timestamp};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Output;
use crate::text::Sizes;
use crate::time;

const JSON_HELP: &str = "Print one JSON object: v store_id format epoch start visible durable records bytes segments \
    first_time last_time writer_pid clean cursors state_keys state_bytes checkpoints checkpoint_offset";

/// Show what a log is: identity, offsets, sizes, times, writer, state, checkpoints
///
/// State and cursors are loaded as an open would: from the newest checkpoint and the log behind it.
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
    let about = About::of(&attached)?;
    if arguments.json {
        output.json(&about.json(&attached))?;
    } else {
        output.pairs(&about.pairs(&attached, arguments.sizes))?;
    }
    // What can be read was shown; that an open for writing would refuse must not look like a clean end.
    attached.refusal().or(about.refusal).map_or(Ok(()), |refusal| Err(refusal.into()))
}

/// What changes while a writer is at work, taken so that it fits together.
struct About {
    durable: u64,
    visible: u64,
    records: u64,
    bytes: u64,
    segments: usize,
    first_time: Option<Timestamp>,
    last_time: Option<Timestamp>,
    /// None of a log that an open would refuse.
    state: Option<StateView>,
    checkpoints: Vec<CheckpointInfo>,
    /// Why there is no state.
    refusal: Option<esker::Error>,
}

impl About {
    fn of(attached: &Attached) -> Result<Self, Failure> {
        // Durable first: it must not overtake what is then said to be visible.
        let durable = attached.durable().get();
        let segments = attached.segments()?;
        let (state, refusal) = match attached.state() {
            Ok(state) => (Some(state), None),
            Err(error) => (None, Some(error)),
        };
        let sum = |of: fn(&SegmentInfo) -> u64| segments.iter().map(of).fold(0, u64::saturating_add);
        // The segment that is appended to is never rewritten: its records are dense.
        let visible = segments.last().map_or(0, |last| last.base_offset.after(last.records).get());
        Ok(Self {
            durable,
            visible,
            records: sum(|segment| segment.records),
            bytes: sum(|segment| segment.bytes),
            segments: segments.len(),
            first_time: segments.iter().find_map(|segment| segment.first_time),
            last_time: segments.iter().filter_map(|segment| segment.last_time).max(),
            state,
            refusal,
            checkpoints: attached.checkpoints()?,
        })
    }

    fn json(&self, attached: &Attached) -> Value {
        json!({
            "v": 1,
            "store_id": self.known(attached.store_id().to_string()),
            "format": attached.format_version(),
            "epoch": self.known(attached.epoch().counter),
            "start": self.known(attached.start().get()),
            "visible": self.known(self.visible),
            "durable": self.known(self.durable),
            "records": self.records,
            "bytes": self.bytes,
            "segments": self.segments,
            "first_time": self.first_time.map(time::exact),
            "last_time": self.last_time.map(time::exact),
            "writer_pid": attached.writer().and_then(|holder| holder.pid),
            "clean": attached.is_clean(),
            "cursors": self.state.as_ref().map(|state| state.cursors().len()),
            "state_keys": self.state.as_ref().map(StateView::keys),
            "state_bytes": self.state.as_ref().map(StateView::bytes),
            "checkpoints": self.checkpoints.len(),
            "checkpoint_offset": self.checkpoints.last().map(|newest| newest.line.offset.get()),
        })
    }

    /// Nothing is known of a log of which no segment can be reached.
    fn known<T>(&self, value: T) -> Option<T> {
        (self.segments > 0).then_some(value)
    }

    fn pairs(&self, attached: &Attached, sizes: Sizes) -> Vec<(&'static str, String)> {
        let writer = match attached.writer() {
            Some(holder) => holder.to_string(),
            None => "none".to_owned(),
        };
        let end = match (attached.writer(), attached.refusal(), attached.is_clean()) {
            (Some(_), _, _) => "being written",
            (None, Some(_), _) => "damaged; run 'esker verify'",
            (None, None, true) => "clean",
            (None, None, false) => "not closed; the next open for writing recovers",
        };
        let state = self.state.as_ref().map_or("-".to_owned(), |state| {
            format!("{} keys, {} of them cursors, {}", state.keys(), state.cursors().len(), sizes.show(state.bytes()))
        });
        let checkpoints = self.checkpoints.last().map_or("none".to_owned(), |newest| {
            let (count, entries) = (self.checkpoints.len(), newest.entries);
            format!("{count}, the newest up to offset {} with {entries} entries", newest.line.offset)
        });
        vec![
            ("store", attached.store_id().to_string()),
            ("format", attached.format_version().to_string()),
            ("epoch", attached.epoch().to_string()),
            ("start", attached.start().to_string()),
            ("visible", self.visible.to_string()),
            ("durable", self.durable.to_string()),
            ("records", self.records.to_string()),
            ("size", sizes.show(self.bytes)),
            ("segments", self.segments.to_string()),
            ("first time", time::or_dash(self.first_time)),
            ("last time", time::or_dash(self.last_time)),
            ("state", state),
            ("checkpoints", checkpoints),
            ("writer", writer),
            ("end", end.to_owned()),
        ]
    }
}
