//! Threads that append to a log.

use std::hint::black_box;

use esker::{Log, Record};

use super::latency::Clock;
use super::pass::Caller;
use crate::failure::Failure;

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Durability {
    /// Appended: every reader sees it, and it survives the death of the process
    Visible,
    /// Synced: it survives power loss; threads share syncs
    Sync,
}

impl Durability {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Visible => "visible",
            Self::Sync => "sync",
        }
    }
}

/// Appends, and waits for each call before the next.
pub(super) struct Appending<'a, C> {
    pub(super) log: &'a Log,
    pub(super) records: &'a [Record<'a>],
    pub(super) durability: Durability,
    pub(super) clock: C,
}

impl<C: Clock> Caller for Appending<'_, C> {
    type Clock = C;

    #[inline]
    fn call(&mut self, events: usize) -> Result<(), Failure> {
        let since = C::start();
        let ticket = append(self.log, self.records, events)?;
        if self.durability == Durability::Sync {
            ticket.wait()?;
        }
        self.clock.stop(since);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn restart(&mut self) {
        self.clock = C::new();
    }

    fn finish(self) -> C {
        self.clock
    }
}

/// One call: the first `events` of the records, in one frame.
#[inline]
pub(super) fn append<'log>(
    log: &'log Log,
    records: &[Record<'_>],
    events: usize,
) -> Result<esker::Ticket<'log>, esker::Error> {
    let ticket = match records.get(..events).unwrap_or(records) {
        [one] => log.append(*one)?,
        several => log.append_batch(several)?,
    };
    black_box(ticket.offset());
    Ok(ticket)
}
