//! The events: one line of the sample each, and the record that it becomes.

use esker::{Record, Timestamp};
use serde_json::Value;

use super::Result;

const SAMPLE: &str = include_str!("../data/flights-2013-01-sample.jsonl");

/// The lines of the sample, in the order in which they are appended.
pub(super) fn sample() -> Vec<&'static str> {
    SAMPLE.lines().collect()
}

/// One line of the sample.
#[derive(Clone, PartialEq)]
pub(super) struct Event {
    /// As in the line: `2013-01-01T05:17:00`.
    pub(super) at: String,
    pub(super) time: Timestamp,
    /// `departed`, `arrived` or `cancelled`.
    pub(super) what: String,
    /// Tail number of the aircraft, where there is one.
    pub(super) tail: Option<String>,
    pub(super) flight: String,
    pub(super) origin: String,
    pub(super) dest: String,
    /// In minutes, negative if early; none if cancelled.
    pub(super) delay: Option<i32>,
}

impl Event {
    pub(super) fn parse(line: impl AsRef<[u8]>) -> Result<Self> {
        let line: Value = serde_json::from_slice(line.as_ref())?;
        let data = &line["data"];
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| format!("not an event: {line}"));
        let at = text(&line["at"])?;
        Ok(Self {
            time: timestamp(&at).ok_or_else(|| format!("no time: {line}"))?,
            at,
            what: text(&line["type"])?.trim_start_matches("Flight").to_lowercase(),
            tail: line["key"].as_str().map(str::to_owned),
            flight: text(&data["flight"])?,
            origin: text(&data["origin"])?,
            dest: text(&data["dest"])?,
            delay: data["delay_min"].as_i64().map(i32::try_from).transpose()?,
        })
    }

    /// The record of this event: payload is the line as it is.
    pub(super) fn record<'a>(&'a self, line: &'a str) -> Record<'a> {
        let record = Record::new(line).event_time(self.time);
        match &self.tail {
            Some(tail) => record.key(tail),
            None => record,
        }
    }

    /// The code of the airline that flies.
    pub(super) fn airline(&self) -> &str {
        self.flight.get(..2).unwrap_or(&self.flight)
    }
}

/// `2013-01-01T05:17:00`, taken as UTC.
fn timestamp(at: &str) -> Option<Timestamp> {
    let number = |from: usize, to: usize| at.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // Years counted from March have their leap day last, so month lengths follow one rule.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + number(11, 13)?) * 60 + number(14, 16)?) * 60 + number(17, 19)?;
    Some(Timestamp::from_nanoseconds(seconds.checked_mul(1_000_000_000)?))
}
