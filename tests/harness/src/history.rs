//! The judge of a history: what writers were told and what readers saw, compared while both go on.
//!
//! Guarantees:
//! 1. All who name an offset name the same record: whoever is first notes it, everyone else is compared with the note.
//! 2. A reader of a log without trimming or compaction sees every offset once, in order, each producer's records in the
//!    order of their sequence without one left out, and no batch in part.
//! 3. An append that returned before another began has the smaller offset.
//! 4. What is noted takes 8 bytes a record, and a note takes no lock.
//!
//! Left to the caller: to say where the durable line is, and to read all once more after a reopen.

use std::sync::atomic::{AtomicU64, Ordering};

/// Who wrote a record, as which of its records, and how many records of the same batch come after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The writer.
    pub producer: u16,
    /// Its records are numbered from 0 (32 bits suffice for a run).
    pub sequence: u32,
    /// Records of the same batch that follow.
    pub left: u8,
}

impl Name {
    /// As one word, never zero.
    #[must_use]
    pub fn word(self) -> u64 {
        1 << 63 | u64::from(self.producer) << 40 | u64::from(self.left) << 32 | u64::from(self.sequence)
    }
}

/// What is wrong with a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Two name different records at one offset.
    Disagreement(u64),
    /// An offset above all that the caller made room for.
    NoRoom(u64),
    /// The append returned this offset, but one that returned before it began has a larger one.
    RealTime(u64),
    /// A reader left out this offset.
    Skipped(u64),
    /// A reader saw this offset again, or after a larger one.
    Inverted(u64),
    /// This record is from nobody who writes, or was acknowledged to nobody.
    Invented(u64),
    /// This record is not the next of its producer: one is lost, there twice, or out of order.
    ProducerOrder(u64),
    /// The batch of the record before this offset is not whole.
    HalfBatch(u64),
    /// Seen as durable, or a cursor, at or beyond the durable line.
    BeyondDurable(u64),
    /// Acknowledged, but not there when all was read.
    Lost(u64),
}

/// What all agree on.
#[derive(Debug)]
pub struct Ledger {
    /// By offset: the record's word, or zero.
    words: Box<[AtomicU64]>,
    /// One more than the highest offset whose append has returned.
    returned: AtomicU64,
}

impl Ledger {
    /// With room for so many records.
    #[must_use]
    pub fn new(records_max: usize) -> Self {
        Self { words: (0..records_max).map(|_| AtomicU64::new(0)).collect(), returned: AtomicU64::new(0) }
    }

    /// Before an append begins: what its offset must not be below.
    #[must_use]
    pub fn begin(&self) -> u64 {
        self.returned.load(Ordering::Acquire) // pairs with the AcqRel in `acknowledge`
    }

    /// An append that began at `begun` has returned.
    ///
    /// # Errors
    ///
    /// The history is wrong.
    pub fn acknowledge(&self, begun: u64, offset: u64, name: Name) -> Result<(), Alarm> {
        if offset < begun {
            return Err(Alarm::RealTime(offset));
        }
        self.agree(offset, name)?;
        self.returned.fetch_max(offset + 1, Ordering::AcqRel); // pairs with the Acquire in `begin`
        Ok(())
    }

    fn agree(&self, offset: u64, name: Name) -> Result<(), Alarm> {
        let slot = usize::try_from(offset).ok().and_then(|index| self.words.get(index)).ok_or(Alarm::NoRoom(offset))?;
        // Only the word itself is told, so no order is needed beside it.
        match slot.compare_exchange(0, name.word(), Ordering::Relaxed, Ordering::Relaxed) {
            Err(noted) if noted != name.word() => Err(Alarm::Disagreement(offset)),
            _ => Ok(()),
        }
    }
}

/// One reader's way from offset 0 on.
#[derive(Debug)]
pub struct Reading<'ledger> {
    ledger: &'ledger Ledger,
    next: u64,
    sequences: Vec<u32>,
    open: Option<Name>,
}

impl<'ledger> Reading<'ledger> {
    /// Of records from so many producers.
    #[must_use]
    pub fn new(ledger: &'ledger Ledger, producers: u16) -> Self {
        Self { ledger, next: 0, sequences: vec![0; usize::from(producers)], open: None }
    }

    /// The reader saw this record.
    ///
    /// # Errors
    ///
    /// The history is wrong.
    pub fn saw(&mut self, offset: u64, name: Name) -> Result<(), Alarm> {
        if offset > self.next {
            return Err(Alarm::Skipped(self.next));
        }
        if offset < self.next {
            return Err(Alarm::Inverted(offset));
        }
        let sequence = self.sequences.get_mut(usize::from(name.producer)).ok_or(Alarm::Invented(offset))?;
        if let Some(before) = self.open
            && (before.producer != name.producer || before.left - 1 != name.left)
        {
            return Err(Alarm::HalfBatch(offset));
        }
        if name.sequence != *sequence {
            return Err(Alarm::ProducerOrder(offset));
        }
        self.ledger.agree(offset, name)?;
        *sequence += 1;
        self.next += 1;
        self.open = (name.left > 0).then_some(name);
        Ok(())
    }

    /// All that the reader saw, or a cursor at its place, lies below the durable line, `durable` being one past it.
    ///
    /// # Errors
    ///
    /// It does not.
    pub fn within(&self, durable: u64) -> Result<(), Alarm> {
        if self.next > durable { Err(Alarm::BeyondDurable(durable)) } else { Ok(()) }
    }

    /// The reader has read all that there is, after all appends had returned.
    ///
    /// # Errors
    ///
    /// An acknowledged record was not there, or part of a batch, or the reader saw one that was not acknowledged.
    pub fn finish(self) -> Result<u64, Alarm> {
        if self.open.is_some() {
            return Err(Alarm::HalfBatch(self.next));
        }
        let returned = self.ledger.begin();
        match self.next.cmp(&returned) {
            std::cmp::Ordering::Less => Err(Alarm::Lost(self.next)),
            std::cmp::Ordering::Equal => Ok(self.next),
            std::cmp::Ordering::Greater => Err(Alarm::Invented(returned)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Alarm, Ledger, Name, Reading};

    fn name(producer: u16, sequence: u32, left: u8) -> Name {
        Name { producer, sequence, left }
    }

    /// Reads these from a log of two producers that acknowledged `acknowledged`.
    fn judge(acknowledged: &[(u64, Name)], seen: &[(u64, Name)]) -> Result<u64, Alarm> {
        let ledger = Ledger::new(8);
        for &(offset, name) in acknowledged {
            ledger.acknowledge(0, offset, name)?;
        }
        let mut reading = Reading::new(&ledger, 2);
        for &(offset, name) in seen {
            reading.saw(offset, name)?;
        }
        reading.finish()
    }

    #[test]
    fn a_right_history_raises_no_alarm() {
        let right = [(0, name(0, 0, 1)), (1, name(0, 1, 0)), (2, name(1, 0, 0))];
        assert_eq!(judge(&right, &right), Ok(3));
    }

    #[test]
    fn each_wrong_reading_raises_its_alarm() {
        let (a, b) = (name(0, 0, 0), name(0, 1, 0));
        assert_eq!(judge(&[(0, a), (1, b)], &[(0, a)]), Err(Alarm::Lost(1)));
        assert_eq!(judge(&[], &[(1, a)]), Err(Alarm::Skipped(0)));
        assert_eq!(judge(&[], &[(0, a), (0, a)]), Err(Alarm::Inverted(0)));
        assert_eq!(judge(&[], &[(0, a), (1, a)]), Err(Alarm::ProducerOrder(1)));
        assert_eq!(judge(&[], &[(0, b)]), Err(Alarm::ProducerOrder(0)));
        assert_eq!(judge(&[], &[(0, name(2, 0, 0))]), Err(Alarm::Invented(0)));
        assert_eq!(judge(&[(0, a)], &[(0, name(1, 0, 0))]), Err(Alarm::Disagreement(0)));
        assert_eq!(judge(&[], &[(0, name(0, 0, 1)), (1, name(1, 0, 0))]), Err(Alarm::HalfBatch(1)));
        assert_eq!(judge(&[], &[(0, name(0, 0, 1))]), Err(Alarm::HalfBatch(1)));
        assert_eq!(judge(&[], &[(0, name(0, 0, 2)), (1, name(0, 1, 0))]), Err(Alarm::HalfBatch(1)));
        assert_eq!(judge(&[], &[(0, a)]), Err(Alarm::Invented(0)));
        assert_eq!(judge(&[(8, a)], &[]), Err(Alarm::NoRoom(8)));
    }

    #[test]
    fn an_append_below_one_that_returned_before_it_began_raises_the_alarm() {
        let ledger = Ledger::new(8);
        assert_eq!(ledger.acknowledge(ledger.begin(), 1, name(0, 0, 0)), Ok(()));
        assert_eq!(ledger.acknowledge(ledger.begin(), 0, name(1, 0, 0)), Err(Alarm::RealTime(0)));
    }

    #[test]
    fn a_reading_beyond_the_durable_line_raises_the_alarm() {
        let ledger = Ledger::new(8);
        let mut reading = Reading::new(&ledger, 1);
        assert_eq!(reading.saw(0, name(0, 0, 0)), Ok(()));
        assert_eq!(reading.within(1), Ok(()));
        assert_eq!(reading.within(0), Err(Alarm::BeyondDurable(0)));
    }
}
