//! Those who read a log while it is written, in other threads or processes, and what they said they saw.
//!
//! Guarantees:
//! 1. What anybody saw from offset 0 up to an offset is what the log holds there. So no two saw different things, and
//!    nobody skipped a record, or saw one twice, too early, or one that vanished.
//! 2. A state that was looked at is that of one moment: behind a whole frame, of all before it and of nothing after it.
//! 3. Whoever reads durable records only saw none behind what was written down as durable.
//!
//! It speaks of deaths of processes: what power took may have been seen.

use std::collections::{BTreeMap, BTreeSet};

use super::{Death, Found, History, Producer, StateMap, fingerprint, fold, length};
use crate::memory::mix;

/// What somebody saw of a log from offset 0 on, in two words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sight {
    /// Offset behind the last record that was seen.
    pub end: u64,
    /// Of the fingerprints of all records before it, in their order.
    pub digest: u64,
}

/// The state of a log as somebody saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Offset of the next record.
    pub end: u64,
    /// Of all keys and values.
    pub digest: u64,
}

/// What those who look may have seen of one log, all its lives through.
#[derive(Debug, Clone, Default)]
pub struct Audience {
    /// Behind each record, and before the first.
    sights: Vec<Sight>,
    moments: BTreeSet<Moment>,
}

impl Sight {
    /// The next record was seen.
    pub fn see(&mut self, fingerprint: u64) {
        self.end += 1;
        self.digest = mix(self.digest.rotate_left(17) ^ fingerprint);
    }
}

impl Moment {
    /// A state, and where the log ends.
    #[must_use]
    pub fn of(end: u64, state: &StateMap) -> Self {
        let digest =
            state.iter().fold(0, |digest, (key, value)| mix(digest ^ fingerprint(&[key, &value.to_le_bytes()])));
        Self { end, digest }
    }
}

impl History {
    /// All states that the log passed through since it was settled, the process having died.
    fn moments(&self, found: &Found) -> Result<BTreeSet<Moment>, String> {
        let order = self.order(Death::Process, found)?;
        let last: BTreeMap<Producer, usize> =
            (1..).zip(&order.steps).map(|(count, step)| (step.producer, count)).collect();
        let (mut state, mut end) = (self.settled.state.clone(), length(self.settled.records.len()));
        let mut moments = BTreeSet::from([Moment::of(end, &state)]);
        for count in 0..=order.steps.len() {
            if let Some(step) = count.checked_sub(1).and_then(|index| order.steps.get(index)) {
                (state, end) = (fold(&state, std::iter::once(step.frame)), step.end);
                moments.insert(Moment::of(end, &state));
            }
            // Whether an unreported frame of state alone was there already, nobody can tell.
            for (producer, frame) in &order.silent {
                if last.get(producer).is_none_or(|last| *last <= count) {
                    moments.insert(Moment::of(end, &fold(&state, std::iter::once(*frame))));
                }
            }
        }
        Ok(moments)
    }
}

impl Audience {
    /// The process that wrote is dead, and this is what it left; `history` does not count it as settled yet.
    ///
    /// # Errors
    /// If it does not go on from what was learned before, or is not what `history` allows.
    pub fn learn(&mut self, history: &History, found: &Found) -> Result<(), String> {
        let mut sights = vec![Sight::default()];
        for fingerprint in &found.records {
            let mut sight = sights.last().copied().unwrap_or_default();
            sight.see(*fingerprint);
            sights.push(sight);
        }
        if !sights.starts_with(&self.sights) {
            let same = sights.iter().zip(&self.sights).take_while(|(now, before)| now == before).count();
            return Err(format!("the log changed below offset {same}, where somebody may have read it"));
        }
        self.sights = sights;
        self.moments.append(&mut history.moments(found)?);
        Ok(())
    }

    /// What somebody said to have seen, up to a line that stood at `end_max` at most.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn judge(&self, sight: Sight, end_max: u64) -> Result<(), String> {
        let held = usize::try_from(sight.end).ok().and_then(|end| self.sights.get(end));
        match held {
            _ if sight.end > end_max => Err(format!("saw records up to {}, its line ends at {end_max}", sight.end)),
            None => Err(format!("saw {} records, the log holds {}", sight.end, self.sights.len().saturating_sub(1))),
            Some(held) if *held != sight => {
                Err(format!("what it saw below offset {} is not what the log holds", sight.end))
            }
            Some(_) => Ok(()),
        }
    }

    /// The state that somebody said to have seen.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn judge_state(&self, moment: Moment) -> Result<(), String> {
        if self.moments.contains(&moment) {
            return Ok(());
        }
        let there = self.moments.iter().filter(|other| other.end == moment.end).count();
        Err(format!(
            "no moment of the log has the state that it saw at offset {}: {there} had others there",
            moment.end
        ))
    }
}
