//! The events that are appended, and the sum by which a scan shows that it met all of them.
//!
//! Guarantees:
//! 1. Events are the same in every run: a pool of [`POOL_EVENTS`] different ones, in turn. No two of them are equal, and
//!    they do not compress.
//! 2. A [`Tally`] is the count of events, their bytes, and a sum over the first and the last bytes of each. An event that
//!    is lost, met twice, cut or exchanged for another changes it.

use anyhow::{Result, ensure};

/// As many as the largest call appends.
pub const POOL_EVENTS: usize = 100;

/// What is appended, in turn.
pub struct Pool {
    events: Vec<Vec<u8>>,
}

impl Pool {
    pub fn new(size: usize) -> Self {
        let mut word = 0x9e37_79b9_7f4a_7c15_u64;
        let mut step = || {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word.to_le_bytes()[0]
        };
        Self { events: (0..POOL_EVENTS).map(|_event| (0..size).map(|_byte| step()).collect()).collect() }
    }

    pub fn events(&self) -> Vec<&[u8]> {
        self.events.iter().map(Vec::as_slice).collect()
    }

    /// Adds the first `events` of the turn to a tally.
    pub fn count(&self, events: u64, tally: &mut Tally) {
        for (_, event) in (0..events).zip(self.events.iter().cycle()) {
            tally.take(event);
        }
    }
}

/// What was met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub events: u64,
    pub bytes: u64,
    sum: u64,
}

impl Tally {
    #[inline]
    pub fn take(&mut self, event: &[u8]) {
        self.events += 1;
        self.bytes += length(event.len());
        let first = event.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        let last = event.last_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        self.sum = self.sum.wrapping_add(first ^ last.rotate_left(32));
    }

    /// # Errors
    /// What was met is not what was appended.
    pub fn must_be(&self, appended: &Self) -> Result<()> {
        ensure!(
            self == appended,
            "a scan met {} events of {} bytes (sum {:x}), and {} of {} bytes (sum {:x}) were appended",
            self.events,
            self.bytes,
            self.sum,
            appended.events,
            appended.bytes,
            appended.sum
        );
        Ok(())
    }
}

pub fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

pub fn index(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_lost_doubled_cut_or_exchanged_is_seen() {
        let pool = Pool::new(100);
        let events = pool.events();
        let tally = |events: &[&[u8]]| {
            let mut tally = Tally::default();
            for event in events {
                tally.take(event);
            }
            tally
        };
        let whole = tally(&events);
        let mut counted = Tally::default();
        pool.count(100, &mut counted);
        assert_eq!(whole, counted);
        assert!(tally(&events[1..]).must_be(&whole).is_err());
        let doubled: Vec<&[u8]> = [&events[..99], &events[..1]].concat();
        assert!(tally(&doubled).must_be(&whole).is_err());
        let cut: Vec<&[u8]> = [&events[..99], &[&events[99][..99]]].concat();
        assert!(tally(&cut).must_be(&whole).is_err());
    }
}
