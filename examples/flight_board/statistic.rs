//! The first reader: delays per airline, kept as state of the log itself.
//!
//! What a batch adds to the totals is committed in one frame with the move of the cursor behind that batch. A process
//! that dies has done both or neither, so every flight counts once.

use std::collections::{BTreeMap, BTreeSet};

use esker::{Batch, Commit, Cursor, Log, Offset};
use serde_json::{Value, json};

use super::event::Event;
use super::{PATIENCE, Result, crash};

pub(super) const CURSOR: &str = "delay-statistic";
/// One state entry an airline: this, and its code.
const KEY_PREFIX: &str = "delay/";
/// A departure later than this counts as late.
pub(super) const LATE_MINUTES: i32 = 15;

/// Departures and cancellations per airline.
#[derive(Debug, Default, PartialEq)]
pub(super) struct DelayTable {
    pub(super) airlines: BTreeMap<String, Delays>,
}

/// Delays are those at departure.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Delays {
    pub(super) departed: i32,
    pub(super) cancelled: i32,
    pub(super) late: i32,
    /// All together, negative where they left early.
    pub(super) minutes: i32,
    /// 0 if all left early.
    pub(super) minutes_worst: i32,
}

pub(super) struct Statistic<'a> {
    log: &'a Log,
    cursor: Cursor,
    table: DelayTable,
    /// Events that this run handled, and the batches that they came in.
    pub(super) handled: u64,
    pub(super) batches: u32,
    /// The largest number of events that were visible and not yet read.
    pub(super) behind_max: u64,
}

impl<'a> Statistic<'a> {
    pub(super) fn resume(log: &'a Log) -> Result<Self> {
        // It may read what is visible and not yet durable: its totals lie in the same log, behind the flights that they
        // were made of, so a power failure that takes a flight takes its share of the totals too.
        let cursor = log.cursor(CURSOR)?;
        Ok(Self { log, cursor, table: DelayTable::load(log)?, handled: 0, batches: 0, behind_max: 0 })
    }

    /// Handles all records below `end`; dies after `crash_after` of them, if that is given.
    pub(super) fn follow(&mut self, end: Offset, crash_after: Option<u64>) -> Result<()> {
        while self.cursor.offset() < end {
            let batch = self.cursor.poll_wait(PATIENCE)?.ok_or("the statistic waited in vain for the next event")?;
            self.behind_max = self.behind_max.max(self.log.visible().since(batch.first()));
            let mut touched = BTreeSet::new();
            for record in &batch {
                let event = Event::parse(record.payload())?;
                self.table.see(&event);
                touched.insert(event.airline().to_owned());
                self.handled += 1;
                if Some(self.handled) == crash_after {
                    crash(self.handled, record.offset().after(1).since(batch.first()));
                }
            }
            self.commit(&batch, &touched)?;
            self.batches += 1;
        }
        Ok(())
    }

    /// The totals that changed, and the cursor: one frame.
    fn commit(&mut self, batch: &Batch, touched: &BTreeSet<String>) -> Result<()> {
        let totals = touched.iter().filter_map(|code| Some((code, self.table.airlines.get(code)?)));
        let entries: Vec<_> = totals.map(|(code, delays)| (key(code), delays.to_json())).collect();
        let commit = entries.iter().fold(Commit::new(), |commit, (key, value)| commit.state(key, value));
        let _visible = self.cursor.commit_with(batch, commit)?;
        Ok(())
    }
}

fn key(airline: &str) -> String {
    format!("{KEY_PREFIX}{airline}")
}

impl DelayTable {
    /// As the log holds it.
    pub(super) fn load(log: &Log) -> Result<Self> {
        let mut table = Self::default();
        for (key, held) in log.states(KEY_PREFIX)? {
            let airline = std::str::from_utf8(&key)?.trim_start_matches(KEY_PREFIX).to_owned();
            table.airlines.insert(airline, Delays::from_json(held.value())?);
        }
        Ok(table)
    }

    pub(super) fn see(&mut self, event: &Event) {
        let delays = self.airlines.entry(event.airline().to_owned()).or_default();
        match (event.what.as_str(), event.delay) {
            ("departed", Some(minutes)) => {
                delays.departed += 1;
                delays.late += i32::from(minutes > LATE_MINUTES);
                delays.minutes += minutes;
                delays.minutes_worst = delays.minutes_worst.max(minutes);
            }
            ("cancelled", _) => delays.cancelled += 1,
            _ => {}
        }
    }
}

impl Delays {
    pub(super) fn add(&mut self, other: &Self) {
        self.departed += other.departed;
        self.cancelled += other.cancelled;
        self.late += other.late;
        self.minutes += other.minutes;
        self.minutes_worst = self.minutes_worst.max(other.minutes_worst);
    }

    fn to_json(self) -> String {
        let Self { departed, cancelled, late, minutes, minutes_worst: worst } = self;
        json!({"departed": departed, "cancelled": cancelled, "late": late, "minutes": minutes, "worst": worst})
            .to_string()
    }

    fn from_json(text: &[u8]) -> Result<Self> {
        let held: Value = serde_json::from_slice(text)?;
        let number = |name: &str| -> Result<i32> {
            let number = held[name].as_i64().ok_or_else(|| format!("no {name} in the state entry {held}"))?;
            Ok(number.try_into()?)
        };
        Ok(Self {
            departed: number("departed")?,
            cancelled: number("cancelled")?,
            late: number("late")?,
            minutes: number("minutes")?,
            minutes_worst: number("worst")?,
        })
    }
}
