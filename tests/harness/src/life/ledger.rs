//! What an act said, and whether the log that it left keeps it.
//!
//! Guarantees:
//! 1. A judge that finds nothing wrong has opened the log, read all of it, compared state and cursor, appended, compacted, closed,
//!    opened it again, and had it verified.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use esker::{Compaction, Ending, Log, RecordRef};

use super::{CURSOR, Ground, LAST, commit, key, payload};

/// A line of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A record of this number is about to be appended.
    Trying(u64),
    /// Its append returned.
    Visible {
        /// Of the record.
        number: u64,
        /// Where it stands.
        offset: u64,
    },
    /// Its append returned an error.
    Refused(u64),
    /// All that was visible is durable.
    Durable,
    /// All below an offset may be dropped from here on.
    Dropping(u64),
    /// What is superseded may go from here on.
    Compacting,
    /// The cursor is about to move.
    Moving(u64),
    /// It moved.
    Moved(u64),
    /// Something returned an error.
    Failed {
        /// What was tried.
        step: String,
        /// Of the error.
        kind: String,
        /// Of the error.
        text: String,
    },
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trying(number) => write!(f, "trying|{number}"),
            Self::Visible { number, offset } => write!(f, "visible|{number}|{offset}"),
            Self::Refused(number) => write!(f, "refused|{number}"),
            Self::Durable => f.write_str("durable"),
            Self::Dropping(offset) => write!(f, "dropping|{offset}"),
            Self::Compacting => f.write_str("compacting"),
            Self::Moving(offset) => write!(f, "moving|{offset}"),
            Self::Moved(offset) => write!(f, "moved|{offset}"),
            Self::Failed { step, kind, text } => write!(f, "failed|{step}|{kind}|{text}"),
        }
    }
}

impl FromStr for Said {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let parts: Vec<&str> = line.splitn(4, '|').collect();
        let of = |text: &str| text.parse::<u64>().map_err(|_| format!("no number: {line}"));
        Ok(match parts[..] {
            ["trying", number] => Self::Trying(of(number)?),
            ["visible", number, offset] => Self::Visible { number: of(number)?, offset: of(offset)? },
            ["refused", number] => Self::Refused(of(number)?),
            ["durable"] => Self::Durable,
            ["dropping", offset] => Self::Dropping(of(offset)?),
            ["compacting"] => Self::Compacting,
            ["moving", offset] => Self::Moving(of(offset)?),
            ["moved", offset] => Self::Moved(of(offset)?),
            ["failed", step, kind, text] => {
                Self::Failed { step: step.to_owned(), kind: kind.to_owned(), text: text.to_owned() }
            }
            _ => return Err(format!("not a line of a life: {line}")),
        })
    }
}

/// How a record stands with who appended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing is known: the append did not return.
    Open,
    Visible(u64),
    Durable(u64),
    Refused,
}

/// Whether power was lost, or only a process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// All that was visible is owed.
    OfTheProcess,
    /// What was durable is owed.
    OfTheMachine,
}

/// What a log owes.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    records: BTreeMap<u64, Standing>,
    /// Records that a damage took, and a repair may give up.
    damaged: Vec<u64>,
    dropping: u64,
    compacts: bool,
    /// Of the cursor: what is acknowledged, and what may be too.
    moved: u64,
    moved_durable: u64,
    /// Errors, as they were told.
    pub failures: Vec<Said>,
}

impl Ledger {
    /// Notes a line.
    pub fn hear(&mut self, said: Said) {
        match said {
            Said::Trying(number) => {
                self.records.insert(number, Standing::Open);
            }
            Said::Visible { number, offset } => {
                self.records.insert(number, Standing::Visible(offset));
            }
            Said::Refused(number) => {
                self.records.insert(number, Standing::Refused);
            }
            Said::Durable => {
                for standing in self.records.values_mut() {
                    if let Standing::Visible(offset) = *standing {
                        *standing = Standing::Durable(offset);
                    }
                }
                self.moved_durable = self.moved;
            }
            Said::Dropping(offset) => self.dropping = offset,
            Said::Compacting => self.compacts = true,
            Said::Moving(_) => {}
            Said::Moved(offset) => self.moved = offset,
            Said::Failed { .. } => self.failures.push(said),
        }
    }

    /// From here on these records may be missing: the log was damaged, and a repair gave them up.
    pub fn give_up(&mut self, numbers: Vec<u64>) {
        self.damaged = numbers;
    }

    /// The errors that no fault of the system explains.
    ///
    /// # Errors
    /// The first of them.
    pub fn judge_failures(&self) -> Result<(), String> {
        let of_faults = |kind: &str| ["i/o", "out of space", "poisoned", "incompatible"].contains(&kind);
        // A lookup in a log that was repaired does not know what was lost.
        let explained = |kind: &str| of_faults(kind) || (kind == "gap" && !self.damaged.is_empty());
        for said in &self.failures {
            match said {
                Said::Failed { kind, .. } if explained(kind) => {}
                said => return Err(format!("an error of the wrong kind: {said}")),
            }
        }
        Ok(())
    }

    /// Opens what was left, without faults, and judges it; the log is closed afterwards, and holds some records more.
    ///
    /// # Errors
    /// What is not as it must be.
    pub fn judge(&self, ground: &dyn Ground, death: Death) -> Result<(), String> {
        let log = ground.open().map_err(|error| format!("it does not open: {error}"))?;
        let found = read(&log)?;
        self.judge_records(&found, death)?;
        self.judge_rest(&log, &found, death)?;
        let mut all = found;
        for number in 1000..1030 {
            let offset = commit(&log, number).map_err(|error| format!("it does not go on: {error}"))?;
            all.push((offset.get(), number));
        }
        if read(&log)? != all {
            return Err("what was appended later is not what is read".to_owned());
        }
        log.background_step();
        let _report = log.compact(&Compaction::new()).map_err(|error| format!("it does not compact: {error}"))?;
        let kept = read(&log)?;
        log.close().map_err(|error| format!("it does not close: {error}"))?;
        let log = ground.open().map_err(|error| format!("it does not open again: {error}"))?;
        if log.recovery().ending != Ending::Clean || read(&log)? != kept {
            return Err(format!("it was closed, and then: {}", log.recovery()));
        }
        drop(log);
        let verified = ground.verify().map_err(|error| format!("no verdict: {error}"))?;
        if verified.is_damaged() {
            return Err(format!("damaged: {:?}", verified.findings));
        }
        Ok(())
    }

    fn judge_records(&self, found: &[(u64, u64)], death: Death) -> Result<(), String> {
        if !found.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1) {
            return Err(format!("out of order: {found:?}"));
        }
        for (offset, number) in found {
            match self.records.get(number) {
                None => return Err(format!("record {number} at {offset} was never appended")),
                Some(Standing::Refused) => {
                    return Err(format!("record {number} at {offset}, whose append returned an error"));
                }
                Some(Standing::Visible(at) | Standing::Durable(at)) if at != offset => {
                    return Err(format!("record {number} moved from {at} to {offset}"));
                }
                Some(_) => {}
            }
        }
        let last = found.last().map(|(_, number)| *number);
        for (number, standing) in &self.records {
            let offset = match (standing, death) {
                (Standing::Durable(offset), _) | (Standing::Visible(offset), Death::OfTheProcess) => offset,
                // Of the rest a beginning is there.
                (Standing::Visible(offset), Death::OfTheMachine) if last > Some(*number) => offset,
                _ => continue,
            };
            let is_there = found.iter().any(|(_, there)| there == number);
            let supersedes = |later: &u64| later > number && key(*later) == key(*number);
            let later = || found.iter().map(|(_, later)| later).chain(&self.damaged).any(supersedes);
            let may_be_gone = *offset < self.dropping || self.damaged.contains(number) || self.compacts && later();
            if !is_there && !may_be_gone {
                return Err(format!("record {number} at {offset} is lost; there are {found:?}"));
            }
        }
        Ok(())
    }

    fn judge_rest(&self, log: &Log, found: &[(u64, u64)], death: Death) -> Result<(), String> {
        let of = |error: esker::Error| format!("the state cannot be had: {error}");
        let state = log.state(LAST).map_err(of)?.map(|held| held.value().to_vec());
        let last = found.last().map(|(_, number)| number.to_le_bytes().to_vec());
        if state != last {
            return Err(format!("the state says {state:?}, the last record {last:?}"));
        }
        let cursor = log.cursor_info(CURSOR).map_err(of)?.map_or(0, |info| info.offset.get());
        let owed = if death == Death::OfTheProcess { self.moved } else { self.moved_durable };
        if cursor < owed || cursor > log.visible().get() {
            return Err(format!("the cursor is at {cursor}, and was at {owed}; the log ends at {}", log.visible()));
        }
        if log.start().get() > self.dropping {
            return Err(format!("the log begins at {}, and was dropped below {}", log.start(), self.dropping));
        }
        Ok(())
    }
}

/// All records, as offset and number.
///
/// # Errors
/// What a reader says.
pub fn read(log: &Log) -> Result<Vec<(u64, u64)>, String> {
    let (mut reader, mut found) = (log.reader(), Vec::new());
    loop {
        match reader.poll() {
            Ok(Some(batch)) => found.extend(batch.iter().map(|record| (record.offset().get(), number_in(&record)))),
            Ok(None) => return Ok(found),
            Err(error) if matches!(error.kind(), esker::ErrorKind::Gap { .. }) => {
                reader.skip_damage().map_err(|error| error.to_string())?;
            }
            Err(error) => return Err(format!("cannot be read: {error}")),
        }
    }
}

/// The number of a record, which is as it was appended.
pub(crate) fn number_in(record: &RecordRef<'_>) -> u64 {
    let number = record.payload().first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
    assert!(
        number < 10_000 && record.payload() == payload(number) && record.key() == Some(&key(number)[..]),
        "{number} at {} is not as it was appended",
        record.offset()
    );
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[Said]) -> Ledger {
        let mut ledger = Ledger::default();
        for said in lines {
            assert_eq!(said.to_string().parse(), Ok(said.clone()));
            ledger.hear(said.clone());
        }
        ledger
    }

    fn visible(number: u64) -> Said {
        Said::Visible { number, offset: number }
    }

    #[test]
    fn a_record_that_is_lost_moved_made_up_or_was_refused_is_noticed() {
        let ledger =
            heard(&[Said::Trying(0), visible(0), Said::Durable, Said::Trying(1), Said::Refused(1), visible(2)]);
        let judge = |found: &[(u64, u64)], death| ledger.judge_records(found, death);
        assert_eq!(judge(&[(0, 0), (2, 2)], Death::OfTheProcess), Ok(()));
        assert_eq!(judge(&[(0, 0)], Death::OfTheMachine), Ok(()));
        let wrong: [&[(u64, u64)]; 6] =
            [&[], &[(0, 0)], &[(0, 0), (1, 1)], &[(0, 0), (3, 2)], &[(0, 2), (2, 0)], &[(0, 9)]];
        for found in wrong {
            judge(found, Death::OfTheProcess).expect_err("is wrong");
        }
        judge(&[(2, 2)], Death::OfTheMachine).expect_err("what was durable is lost");
    }

    #[test]
    fn what_went_on_purpose_is_not_missed() {
        let ledger = heard(&[visible(0), visible(3), visible(5), visible(10), Said::Dropping(1), Said::Compacting]);
        let judge = |found: &[(u64, u64)]| ledger.judge_records(found, Death::OfTheProcess);
        assert_eq!(judge(&[(5, 5), (10, 10)]), Ok(()));
        judge(&[(3, 3), (5, 5)]).expect_err("10 is the latest of its key");
        judge(&[(10, 10)]).expect_err("nothing supersedes 5");
    }

    #[test]
    fn an_error_that_a_fault_does_not_explain_is_noticed() {
        let failed =
            |kind: &str| Said::Failed { step: "append".to_owned(), kind: kind.to_owned(), text: "t".to_owned() };
        assert_eq!(heard(&[failed("i/o"), failed("poisoned")]).judge_failures(), Ok(()));
        heard(&[failed("corrupt")]).judge_failures().expect_err("an i/o error is no damage");
    }
}
