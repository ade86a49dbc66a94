//! The second reader: a live board with the last event of the aircraft that were heard of last.
//!
//! It keeps no state. Its cursor says up to where it has shown the log; what the rows were is read back from there. An
//! event that it sees a second time, because the process died before the cursor moved, changes no row.

use std::collections::HashMap;

use esker::{Cursor, Log, Offset, ReadLine};

use super::event::Event;
use super::{PATIENCE, Result};

pub(super) const CURSOR: &str = "live-board";
pub(super) const ROWS: usize = 12;
/// The cursor moves after so many events: what a board that comes up again shows twice at most.
const COMMIT_EVENTS: u64 = 1000;

pub(super) struct Board {
    cursor: Cursor,
    rows: Rows,
    /// Rows that were there at once, from what earlier runs had shown.
    pub(super) read_back: usize,
}

/// The last event of each aircraft, and its offset.
#[derive(Default)]
pub(super) struct Rows {
    aircraft: HashMap<String, (Offset, Event)>,
}

impl Board {
    pub(super) fn resume(log: &Log) -> Result<Self> {
        // What people have seen must not turn out never to have happened: only what is durable is shown.
        let cursor = log.cursor(CURSOR)?.up_to(ReadLine::Durable);
        let rows = Rows::read_back(log, cursor.offset())?;
        Ok(Self { read_back: rows.latest().len(), cursor, rows })
    }

    /// Follows the log up to `end`, at its own pace.
    pub(super) fn follow(&mut self, end: Offset) -> Result<()> {
        while self.cursor.offset() < end {
            let batch = self.cursor.poll_wait(PATIENCE)?.ok_or("the board waited in vain for the next event")?;
            for record in &batch {
                self.rows.see(record.offset(), Event::parse(record.payload())?);
            }
            let shown = self.cursor.offset();
            if shown == end || shown.since(self.cursor.committed()) >= COMMIT_EVENTS {
                let _visible = self.cursor.commit(shown)?;
            }
        }
        Ok(())
    }

    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }
}

impl Rows {
    /// Reads back from `end` until the board is full.
    fn read_back(log: &Log, end: Offset) -> Result<Self> {
        let mut rows = Self::default();
        let mut reader = log.reader();
        reader.seek(end)?;
        while rows.aircraft.len() < ROWS
            && let Some(batch) = reader.poll_back()?
        {
            for record in batch.iter_back() {
                rows.see(record.offset(), Event::parse(record.payload())?);
            }
        }
        Ok(rows)
    }

    pub(super) fn see(&mut self, offset: Offset, event: Event) {
        let Some(tail) = event.tail.clone() else { return };
        if self.aircraft.get(&tail).is_none_or(|(shown, _)| *shown < offset) {
            self.aircraft.insert(tail, (offset, event));
        }
    }

    /// What the board shows, the latest first.
    pub(super) fn latest(&self) -> Vec<&(Offset, Event)> {
        let mut rows: Vec<_> = self.aircraft.values().collect();
        rows.sort_by_key(|(offset, _)| std::cmp::Reverse(*offset));
        rows.truncate(ROWS);
        rows
    }
}
