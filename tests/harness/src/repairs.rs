//! Repairs that end early: the process dies, the power fails, or an operation does; and what has to be true of what is left.
//!
//! Guarantees:
//! 1. A moment is kept before each operation of a repair, when half of a write is stored, and when a file came to quarantine
//!    where nothing holds it yet.
//! 2. Between any two of them every record that can be read is the right one, a log that opens ends where it ended, and the
//!    next repair ends what this one began: it loses the records that the first plan said, and no state if that said none.
//! 3. What was there before is, byte by byte, under its name or in quarantine.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use esker::inspect::verify_on;
use esker::platform::File;
use esker::repair::{Accept, Plan, StateLoss, apply_on, plan_on};
use esker::{Attached, ErrorKind, Options, Reader, RecordRef};

use crate::crash::ByDice;
use crate::{Call, Dice, MemoryDisk, Watch, WatchedDisk};

/// Keeps what is left before each operation, or makes one fail.
#[derive(Debug)]
pub struct Steps {
    disk: MemoryDisk,
    moments: Mutex<Vec<(String, MemoryDisk)>>,
    happens: Happens,
}

/// What happens at an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happens {
    /// The process dies.
    Death,
    /// The power fails; what is left follows from the seed.
    PowerLoss(u64),
    /// The operation of this number fails, counted from 0.
    Failure(usize),
}

impl Steps {
    /// A disk whose operations are watched.
    #[must_use]
    pub fn on(disk: &MemoryDisk, happens: Happens) -> WatchedDisk<Self> {
        WatchedDisk::new(disk.clone(), Self { disk: disk.clone(), moments: Mutex::default(), happens })
    }

    fn note(&self, operation: String, disk: &MemoryDisk) -> usize {
        let mut moments = self.moments.lock().expect("nothing panics under the lock");
        let number = moments.len();
        let left = match self.happens {
            Happens::Death => disk.snapshot(),
            Happens::PowerLoss(seed) => {
                let seed = seed << 32 | u64::try_from(number).expect("few");
                disk.lose_power(&mut ByDice::new(Dice::new(seed)))
            }
            Happens::Failure(_) => MemoryDisk::new(0),
        };
        moments.push((operation, left));
        number
    }

    fn pass(&self, operation: String) -> io::Result<()> {
        let number = self.note(operation, &self.disk);
        if self.happens == Happens::Failure(number) { Err(io::Error::other("made to fail")) } else { Ok(()) }
    }

    /// The operations that were about to be done, and what was left then.
    ///
    /// # Panics
    /// If a disk panicked.
    #[must_use]
    pub fn taken(&self) -> Vec<(String, MemoryDisk)> {
        std::mem::take(&mut self.moments.lock().expect("nothing panics under the lock"))
    }
}

impl Watch for Steps {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        if matches!(call, Call::List | Call::Open(_)) {
            return Ok(());
        }
        self.pass(call.to_string())?;
        if let (Call::Quarantine(name), Happens::Death | Happens::PowerLoss(_)) = (call, self.happens) {
            self.note(format!("settle {name}"), &self.disk.snapshot_inside_quarantine(name));
        }
        Ok(())
    }

    fn write(&self, file: &dyn File, name: &str, bytes: &[u8], position: u64) -> io::Result<()> {
        let (half, rest) = bytes.split_at(bytes.len() / 2);
        file.write_at(half, position)?;
        self.pass(format!("write the other half of {name}"))?;
        file.write_at(rest, position + u64::try_from(half.len()).expect("small"))
    }
}

/// Names, with all bytes; without those in quarantine.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The files of a disk.
///
/// # Panics
/// If one goes away meanwhile.
#[must_use]
pub fn files(disk: &MemoryDisk) -> Files {
    let names = disk.names().into_iter().filter(|name| name != "lock" && name != "quarantine");
    names.map(|name| (name.clone(), disk.read_file(&name).expect("a file"))).collect()
}

/// The log that a repair is judged by.
#[derive(Clone, Copy)]
pub struct Truth<'a> {
    /// How it is opened.
    pub options: &'a Options,
    /// Whether a record is the right one for its offset.
    pub is_right: &'a dyn Fn(&RecordRef<'_>) -> bool,
    /// Where it ends.
    pub records: u64,
    /// Offsets of which it holds no record, for a compaction took them; every other has to be there, or in a gap.
    pub gone: &'a BTreeSet<u64>,
}

impl Truth<'_> {
    /// What a repair left that ended early: not yet a log that opens, or one whose every record is right. Ends the repair on
    /// a copy, which is returned: what is lost in all is what the first plan said.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn judge_left(&self, left: &MemoryDisk, plan: &Plan) -> Result<MemoryDisk, String> {
        let outside = Attached::open_on(Arc::new(left.snapshot())).map_err(|error| format!("attach: {error}"))?;
        self.read_as_far_as_whole(&mut outside.reader())?;
        match self.options.open_on(Arc::new(left.snapshot())) {
            Ok(log) if log.visible().get() != self.records => {
                return Err(format!("it opens, and ends at {} of {}", log.visible(), self.records));
            }
            Ok(log) => self.read_as_far_as_whole(&mut log.reader())?,
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            Err(error) => return Err(format!("open: {error}")),
        }
        let again = left.snapshot();
        let rest = apply_on(&again, Accept::Loss).map_err(|error| format!("repair again: {error}"))?;
        if rest.steps.len() > plan.steps.len() {
            return Err(format!("more is to be done than before: {rest:#?}"));
        }
        if loses_state(&rest) && !loses_state(plan) {
            return Err(format!("state is lost that was not lost before: {rest:#?}, {plan:#?}"));
        }
        self.judge_repaired(&again, plan)?;
        Ok(again)
    }

    /// What a repair left that came to its end: clean, nothing to be done, and every record there or in a gap of the plan.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn judge_repaired(&self, disk: &MemoryDisk, plan: &Plan) -> Result<(), String> {
        let verified = verify_on(disk, &mut |_| {}).map_err(|error| format!("verify: {error}"))?;
        if verified.is_damaged() {
            return Err(format!("damaged when it is repaired: {:?}", verified.findings));
        }
        let left = plan_on(disk).map_err(|error| format!("plan: {error}"))?;
        if !left.steps.is_empty() {
            return Err(format!("something is left to do: {:#?}", left.steps));
        }
        let attached = Attached::open_on(Arc::new(disk.clone())).map_err(|error| format!("attach: {error}"))?;
        if let Some(error) = attached.refusal() {
            return Err(format!("an open would refuse: {error}"));
        }
        let lost = self.held(self.read_all(&mut attached.reader())?);
        let planned = plan.steps.iter().flat_map(|step| &step.lost).map(|lost| &lost.offsets);
        if lost != self.held(planned.map(|offsets| offsets.start.get()..offsets.end.get())) {
            return Err(format!("lost are {lost:?}, and the plan says {plan:#?}"));
        }
        Ok(())
    }

    /// The offsets of these ranges of which it holds a record.
    fn held(&self, ranges: impl IntoIterator<Item = Range<u64>>) -> BTreeSet<u64> {
        ranges.into_iter().flatten().filter(|offset| !self.gone.contains(offset)).collect()
    }

    /// Every record that is there is the right one, at its offset, and every other is in a gap; the gaps.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn read_all(&self, reader: &mut Reader) -> Result<Vec<Range<u64>>, String> {
        let mut lost = Vec::new();
        match self.read(reader, &mut lost)? {
            None if reader.offset().get() == self.records => Ok(lost),
            None => Err(format!("it ends at {} of {}", reader.offset(), self.records)),
            Some(error) => Err(format!("read: {error}")),
        }
    }

    /// Every record that can be read is the right one, and what cannot is damage.
    fn read_as_far_as_whole(&self, reader: &mut Reader) -> Result<(), String> {
        match self.read(reader, &mut Vec::new())? {
            Some(error) if error.kind() != ErrorKind::Corrupt => Err(format!("read: {error}")),
            _ => Ok(()),
        }
    }

    /// Reads over gaps, to the end or to the first error.
    fn read(&self, reader: &mut Reader, lost: &mut Vec<Range<u64>>) -> Result<Option<esker::Error>, String> {
        loop {
            let from = reader.offset();
            match reader.poll() {
                Ok(None) => return Ok(None),
                Ok(Some(batch)) => {
                    if let Some(wrong) = batch.iter().find(|record| !(self.is_right)(record)) {
                        return Err(format!("the record at offset {} is another", wrong.offset()));
                    }
                    let read: BTreeSet<u64> = batch.iter().map(|record| record.offset().get()).collect();
                    let held = self.held(std::iter::once(from.get()..batch.next().get()));
                    if let Some(missing) = held.difference(&read).next() {
                        return Err(format!("nothing is read at offset {missing}"));
                    }
                }
                Err(error) => {
                    let ErrorKind::Gap { next } = error.kind() else { return Ok(Some(error)) };
                    let skipped = reader.skip_damage().map_err(|error| format!("step over a gap: {error}"))?;
                    if skipped.is_none() || reader.offset() != next {
                        return Err(format!("behind {error} a reader goes on at {}", reader.offset()));
                    }
                    lost.push(from.get()..next.get());
                }
            }
        }
    }
}

fn loses_state(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| step.state != StateLoss::None)
}

/// Whether all that was there before is still there, under its name or in quarantine; of an empty file, or a draft, that is
/// nothing: no draft was ever a part of the log.
///
/// # Errors
/// What is not, in words.
pub fn judge_originals(before: &Files, left: &MemoryDisk) -> Result<(), String> {
    let kept: Vec<Vec<u8>> =
        left.quarantined().iter().filter_map(|name| left.read_file(&format!("quarantine/{name}"))).collect();
    let mut held = before.iter().filter(|(name, bytes)| !bytes.is_empty() && !name.contains(".draft"));
    let lost = held.find(|(name, bytes)| {
        left.read_file(name).is_none_or(|now| now != **bytes) && !kept.iter().any(|kept| kept == *bytes)
    });
    lost.map_or(Ok(()), |(name, _)| Err(format!("{name} is neither there nor in quarantine")))
}
