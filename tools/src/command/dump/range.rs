//! From where to where a dump goes.
//!
//! Guarantees:
//! 1. A bound before the start of the log means the start, one behind the end the end.
//! 2. A range that is open to the end of the log meets the damage there, if any.

use std::str::FromStr;

use esker::{Attached, ErrorKind, Offset, Reader, RecordRef, Timestamp};

use crate::failure::Failure;
use crate::time;

/// `--from` or `--to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    At(Offset),
    /// The first record appended at or after this.
    Since(Timestamp),
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = text.parse().map_err(|_| format!("{text} is larger than any offset"))?;
            return Ok(Self::At(Offset::new(number)));
        }
        time::parse(text).map(Self::Since).map_err(|cause| format!("{cause}, or give an offset"))
    }
}

/// What to print.
#[derive(Debug)]
pub(super) struct Range {
    from: Option<Bound>,
    start: Offset,
    /// Not included. That of the log if nothing ends the range before.
    pub(super) end: Offset,
    /// Nothing but the end of the log ends the range.
    open: bool,
    /// What ends the range where its offset could not be found because damage is in the way.
    end_time: Option<Timestamp>,
    /// Of the log when the end was chosen, if nothing but its end ends the range and a writer is at work.
    replacements: Option<u64>,
}

impl Range {
    pub(super) fn find(attached: &Attached, from: Option<Bound>, to: Option<Bound>) -> Result<Self, Failure> {
        let counts = to.is_none() && attached.writer().is_some();
        // Before the end is chosen: what is replaced later may lack what it held below the end.
        let replacements = if counts { Some(attached.replacements()?) } else { None };
        let visible = attached.visible();
        let mut range = Self { from, start: attached.start(), end: visible, open: true, end_time: None, replacements };
        match to {
            None => {}
            Some(Bound::At(offset)) => range.end = offset.min(visible),
            Some(Bound::Since(time)) => {
                let mut reader = attached.reader();
                match reader.seek_time(time) {
                    Ok(()) => range.end = reader.offset().min(visible),
                    Err(_met_when_reading) => range.end_time = Some(time),
                }
            }
        }
        range.open = range.end == visible;
        Ok(range)
    }

    /// Whether the end may move.
    pub(super) fn may_go_on(&self) -> bool {
        self.replacements.is_some()
    }

    /// At the end: moves it to where the log ends now, if segments were replaced since it was chosen.
    pub(super) fn goes_on(&mut self, attached: &Attached) -> Result<bool, Failure> {
        let Some(before) = self.replacements else { return Ok(false) };
        let now = attached.replacements()?;
        if now == before {
            return Ok(false);
        }
        (self.replacements, self.end) = (Some(now), attached.visible());
        Ok(true)
    }

    pub(super) fn seek_start(&self, reader: &mut Reader) -> Result<(), Failure> {
        match self.from {
            // A reader begins there; should that fail, its first poll says why.
            None => {}
            Some(Bound::At(offset)) if offset >= self.end => reader.seek_latest(),
            Some(Bound::At(offset)) if offset <= self.start => {}
            Some(Bound::At(offset)) => reader.seek(offset)?,
            Some(Bound::Since(time)) => reader.seek_time(time)?,
        }
        Ok(())
    }

    pub(super) fn start_offset(&self, attached: &Attached) -> Result<Offset, Failure> {
        match self.from {
            None => Ok(self.start),
            Some(Bound::At(offset)) => Ok(offset.max(self.start)),
            Some(Bound::Since(time)) => {
                let mut reader = attached.reader();
                match reader.seek_time(time) {
                    // Damage is in the way: going back from the end meets it too, and prints what lies behind it first.
                    Err(error) if error.kind() == ErrorKind::Corrupt => Ok(self.start),
                    sought => sought.map(|()| reader.offset()).map_err(Failure::Engine),
                }
            }
        }
    }

    pub(super) fn seek_end(&self, reader: &mut Reader) -> Result<(), Failure> {
        if self.open {
            reader.seek_latest();
            return Ok(());
        }
        Ok(reader.seek(self.end.max(self.start))?)
    }

    /// Whether the record lies behind the range.
    pub(super) fn is_over(&self, record: &RecordRef<'_>) -> bool {
        record.offset() >= self.end || self.end_time.is_some_and(|time| record.time() >= time)
    }

    /// At the end of the log: whether it is an end, or damage.
    pub(super) fn check_end(&self, attached: &Attached) -> Result<(), Failure> {
        if !self.open {
            return Ok(());
        }
        let mut reader = attached.reader();
        reader.seek_latest();
        reader.poll()?;
        Ok(())
    }
}
