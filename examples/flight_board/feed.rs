//! The writer: appends the sample, and goes on where an earlier run ended, however it ended.

use std::time::{Duration, Instant};

use esker::{Commit, Log, Record};

use super::Result;
use super::event::Event;

/// Events that are appended in one frame: all of them become visible, or none.
const BATCH_EVENTS: usize = 50;
/// State entry: how many lines of the sample are in the log.
const APPENDED: &str = "feed/appended";

pub(super) struct Feed<'a> {
    log: &'a Log,
    lines: &'a [&'a str],
    /// Lines that earlier runs appended.
    pub(super) found: usize,
    /// Frames that this run appended.
    pub(super) frames: u32,
    /// Time inside of `commit`, without parsing.
    pub(super) commit_time: Duration,
}

impl<'a> Feed<'a> {
    pub(super) fn resume(log: &'a Log, lines: &'a [&'a str]) -> Result<Self> {
        let found = match log.state(APPENDED)? {
            Some(held) => std::str::from_utf8(held.value())?.parse()?,
            None if log.visible().get() > 0 => return Err("the log holds something else; choose another --dir".into()),
            None => 0,
        };
        Ok(Self { log, lines, found, frames: 0, commit_time: Duration::ZERO })
    }

    /// Lines that are left to append.
    pub(super) fn rest(&self) -> &'a [&'a str] {
        self.lines.get(self.found..).unwrap_or_default()
    }

    pub(super) fn append_rest(&mut self) -> Result<()> {
        let mut appended = self.found;
        for lines in self.rest().chunks(BATCH_EVENTS) {
            let events = lines.iter().map(Event::parse).collect::<Result<Vec<Event>>>()?;
            let records: Vec<Record> = events.iter().zip(lines).map(|(event, line)| event.record(line)).collect();
            appended += lines.len();
            let count = appended.to_string();
            // In one frame with the records: the count is right whenever the process dies.
            let commit = Commit::new().records(records).state(APPENDED, &count);
            let begun = Instant::now();
            let _visible = self.log.commit(commit)?;
            self.commit_time += begun.elapsed();
            self.frames += 1;
        }
        Ok(())
    }
}
