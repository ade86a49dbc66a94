//! Records gathered into frames.
//!
//! Guarantees:
//! 1. A frame holds as many records as asked for, and fewer only at the end or where they would not fit.
//! 2. Records are appended in the order of the lines, up to the first that cannot be.
//! 3. The memory for lines is bounded by twice the largest frame.

use std::ops::Range;

use esker::{ErrorKind, Log, Offset, Record, Timestamp};

use super::fields::Found;
use crate::failure::Failure;

/// The largest frame, and so the largest line.
pub(super) const FRAME_BYTES_MAX: u64 = 8 << 20;

/// When a frame is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Before the next one.
    EachFrame,
    /// At the end, with all others.
    AtEnd,
}

impl From<bool> for Pace {
    fn from(sync: bool) -> Self {
        if sync { Self::EachFrame } else { Self::AtEnd }
    }
}

/// What is in the log.
#[derive(Debug, Clone, Default)]
pub(super) struct Imported {
    pub(super) records: u64,
    /// Payload bytes.
    pub(super) bytes: u64,
    /// Bytes of input, newlines and all.
    pub(super) read: u64,
    pub(super) offsets: Option<Range<Offset>>,
}

/// Gathers records and appends them.
pub(super) struct Frames<'log> {
    log: &'log Log,
    records_max: usize,
    pace: Pace,
    /// Lines with their newlines.
    arena: Vec<u8>,
    pending: Vec<Pending>,
    imported: Imported,
}

struct Pending {
    payload: Range<usize>,
    key: Option<String>,
    event_time: Option<Timestamp>,
}

impl<'log> Frames<'log> {
    pub(super) fn new(log: &'log Log, records_max: u32, pace: Pace) -> Self {
        let records_max = usize::try_from(records_max).unwrap_or(usize::MAX);
        Self { log, records_max, pace, arena: Vec::new(), pending: Vec::new(), imported: Imported::default() }
    }

    /// Where the next line goes.
    pub(super) fn arena(&mut self) -> &mut Vec<u8> {
        &mut self.arena
    }

    pub(super) fn payload(&self, range: &Range<usize>) -> &[u8] {
        self.arena.get(range.clone()).unwrap_or_default()
    }

    /// Number of the line that comes next, the first being 1: lines and records are the same thing.
    pub(super) fn line(&self) -> u64 {
        self.imported.records.saturating_add(length(self.pending.len())).saturating_add(1)
    }

    pub(super) fn imported(&self) -> Imported {
        self.imported.clone()
    }

    /// Takes a record that lies in the arena; appends once there are enough. `true`: appended.
    pub(super) fn push(&mut self, payload: Range<usize>, found: Found) -> Result<bool, Failure> {
        self.pending.push(Pending { payload, key: found.key, event_time: found.event_time });
        let due = self.pending.len() >= self.records_max || length(self.arena.len()) > FRAME_BYTES_MAX;
        if due {
            self.append()?;
        }
        Ok(due)
    }

    /// Appends what is gathered.
    pub(super) fn append(&mut self) -> Result<(), Failure> {
        let records: Vec<Record<'_>> = self.pending.iter().map(|pending| pending.record(&self.arena)).collect();
        append(self.log, self.pace, &records, &mut self.imported)?;
        self.imported.read = self.imported.read.saturating_add(length(self.arena.len()));
        self.pending.clear();
        self.arena.clear();
        Ok(())
    }
}

impl Pending {
    fn record<'a>(&'a self, arena: &'a [u8]) -> Record<'a> {
        let mut record = Record::new(arena.get(self.payload.clone()).unwrap_or_default());
        if let Some(key) = &self.key {
            record = record.key(key);
        }
        match self.event_time {
            Some(time) => record.event_time(time),
            None => record,
        }
    }
}

/// Appends in one frame, or in two halves if one frame is too small, and so on down to single records.
fn append(log: &Log, pace: Pace, records: &[Record<'_>], imported: &mut Imported) -> Result<(), Failure> {
    if records.is_empty() {
        return Ok(());
    }
    match log.append_batch(records) {
        Ok(ticket) => {
            let offsets = ticket.offsets();
            let first = imported.offsets.as_ref().map_or(offsets.start, |before| before.start);
            imported.offsets = Some(first..offsets.end);
            imported.records = imported.records.saturating_add(length(records.len()));
            let bytes = records.iter().fold(0, |sum: usize, record| sum.saturating_add(record.payload_bytes()));
            imported.bytes = imported.bytes.saturating_add(length(bytes));
            match pace {
                Pace::EachFrame => Ok(ticket.wait()?),
                Pace::AtEnd => Ok(()),
            }
        }
        Err(error) if error.kind() == ErrorKind::Limit && records.len() > 1 => {
            let (former, latter) = records.split_at(records.len() / 2);
            append(log, pace, former, imported)?;
            append(log, pace, latter, imported)
        }
        Err(error) => Err(Failure::Line { number: imported.records.saturating_add(1), error }),
    }
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
