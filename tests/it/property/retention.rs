//! The part of the model that is retention: where the log begins, which is what was asked for, as far as no cursor holds it.

use esker::{Batch, Contract, ErrorKind, Result, Topic};

use super::{World, number, offset};
use crate::support::segment_name;

/// What a cursor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    All,
    /// Records of topic 1.
    Topic,
    Nothing,
}

/// What a reader got.
pub(super) enum Polled {
    Batch(Batch),
    End,
    /// What it wanted is gone, and it was told so.
    Trimmed,
}

impl Holds {
    pub(super) fn contract(self) -> Contract {
        match self {
            Self::All => Contract::Hold,
            Self::Topic => Contract::HoldTopics(Topic::new(1).into_iter().collect()),
            Self::Nothing => Contract::BestEffort,
        }
    }
}

impl World {
    /// Whether segments are gone, which may have held nothing.
    pub(super) fn is_trimmed(&self) -> bool {
        !self.disk.names().contains(&segment_name(1))
    }

    pub(super) fn start(&self) -> usize {
        number(self.log.start())
    }

    /// The first record that a cursor must not lose, and whether what it holds may begin before that: with its segment.
    fn bounds(&self) -> Vec<(usize, bool)> {
        let bound = |(name, standing): (&&'static str, usize)| match self.state.contract(name) {
            Holds::All => Some((standing, false)),
            Holds::Topic => {
                let mut ahead = self.model.iter().enumerate().skip(standing);
                ahead.find(|(_, stored)| stored.topic == 1).map(|(at, _)| (at, true))
            }
            Holds::Nothing => None,
        };
        self.state.standings().filter_map(bound).collect()
    }

    pub(super) fn drop_before(&mut self, part: u8) {
        let (before, wanted) = (self.start(), self.model.len() * usize::from(part) / 255);
        let dropped = match self.log.drop_before(offset(wanted)) {
            Err(error) if error.kind() == ErrorKind::OutOfSpace => return,
            dropped => number(dropped.expect("drops")),
        };
        let bounds = self.bounds();
        let most = bounds.iter().map(|(bound, _)| *bound).chain([wanted]).min().expect("one at least").max(before);
        assert_eq!(dropped, self.start());
        assert!((before..=most).contains(&dropped), "{dropped} of {most}, wanted {wanted}");
        if bounds.iter().all(|(_, earlier)| !earlier) {
            assert_eq!(dropped, most, "as far as nothing holds it");
        }
        let holders = self.log.who_holds().expect("says");
        assert!(
            holders
                .iter()
                .all(|holder| number(holder.offset) + number(offset(0).after(holder.records)) == self.model.len())
        );
        self.durable = number(self.log.durable());
    }

    /// The background may drop what exceeds a limit, and nothing that is held.
    pub(super) fn step_background(&mut self) {
        let before = self.start();
        self.log.background_step();
        let held = self.bounds().into_iter().map(|(bound, _)| bound).min().unwrap_or(usize::MAX);
        assert!(self.start() == before || (self.start() > before && self.start() <= held), "{before}, {held}");
    }

    /// What a reader that stood at `from` got.
    pub(super) fn unless_trimmed(&mut self, polled: Result<Option<Batch>>, reader: usize, from: usize) -> Polled {
        let error = match polled {
            Ok(Some(batch)) => return Polled::Batch(batch),
            Ok(None) => return Polled::End,
            Err(error) => error,
        };
        let start = self.log.start();
        assert_eq!(error.kind(), ErrorKind::Trimmed { next: start }, "{error}");
        assert!(from < number(start) && number(self.readers[reader].offset()) == from, "it stands where it stood");
        self.readers[reader].seek(start).expect("where it was told");
        Polled::Trimmed
    }
}
