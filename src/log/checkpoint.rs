//! Checkpoints: the fold of the durable log up to a line, in a file, so that an open need not read what lies before it.
//!
//! Guarantees:
//! 1. A checkpoint says only what was durable when it was written: it is the one before it and the log between, read by an
//!    ordinary reader.
//! 2. It is written under a draft name, synced, renamed, and the directory is synced: at each step there are the older
//!    ones, whole. Only then all but the two newest are removed.
//! 3. One that cannot be written is discarded and counted; nothing else is lost than time at the next open.
//! 4. No lock of the log is held while reading or writing; memory is bounded by what changed in between.
//! 5. It carries every start line whose frame lies before its line, for the start does not move while one is written; and
//!    none that is not durable: of a poisoned log none is written, and in any other the start is durable once it has moved.

mod file;
mod load;

use std::collections::BTreeMap;

use super::core::Core;
use super::fold::{Piece, fold};
use super::reader::{LogSource, ReadMode};
use super::survey::{corrupt, io_error};
use crate::error::{Error, ErrorKind, Result};
use crate::format::checkpoint::{CheckpointHeader, EPOCH_BYTES};
use crate::format::checkpoint_name;
use crate::format::frame::FrameMark;
use crate::format::header::SegmentHeader;
use crate::format::state::{Space, StateEntry};
use crate::platform::Disk;
use crate::types::{Line, Offset, Version, length};
use file::{Draft, draft_name, stored_bytes};
pub(crate) use file::{Entries, Unusable, read_header};
pub(crate) use load::{Loaded, Segments, ends_as_said, load, misfit, stateless};

/// How many checkpoints are kept.
pub(crate) const CHECKPOINTS_KEPT: usize = 2;
/// A checkpoint costs what the state holds: between two of them the log grows at least by this many times as much.
const STATE_BYTES_FACTOR: u64 = 4;

/// What a close leaves to be read again, if nothing was committed: sessions that only looked.
const CLOSE_BYTES_MIN: u64 = 64 << 10;
/// A state up to this size is written at every close behind a commit; of a larger one, what has to be read again must be worth it.
const CLOSE_STATE_BYTES: u64 = 1 << 20;

/// What is known of the checkpoints of an open log.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    /// Newest first.
    pub(crate) kept: Vec<CheckpointHeader>,
    /// Files that cannot be used; removed once there is a newer one.
    pub(crate) stale: Vec<String>,
    /// The highest sequence that any file has.
    pub(crate) sequence: u64,
    /// The highest that an open found.
    pub(crate) found: u64,
    /// Up to where the last attempt went, whatever came of it.
    pub(crate) attempted: Line,
    pub(crate) written: u64,
    pub(crate) failures: u64,
    /// Why the last attempt failed, if it did.
    failure: Option<Error>,
    /// Why one that may be good was passed over, if the system did not give it back.
    pub(crate) unread: Option<Error>,
}

impl Checkpoints {
    /// Up to where the log need not be read again.
    pub(crate) fn line(&self) -> Line {
        self.kept.first().map(|kept| kept.line).unwrap_or_default()
    }

    /// The first segment that has to stay: no line that a kept checkpoint goes up to may lie in one that is gone, and both
    /// have to be there, for one may rot.
    pub(crate) fn keeps(&self) -> u64 {
        self.kept.get(CHECKPOINTS_KEPT - 1).map_or(0, |older| older.line.place.segment)
    }

    /// The same for what goes now. Only what this process wrote counts: a sync of the directory that failed before it may
    /// have given up the names of all that it found, and no later one says so.
    pub(crate) fn lets_go(&self) -> u64 {
        let own = self.kept.iter().take(CHECKPOINTS_KEPT).all(|kept| kept.sequence > self.found);
        if own { self.keeps() } else { 0 }
    }

    /// Keeps what the system said of a file that it did not give back.
    fn note_unread(&mut self, disk: &dyn Disk, sequence: u64, error: Option<std::io::Error>) {
        // One that is gone is no more unread than one that is rotten.
        if let Some(error) = error.filter(|error| error.kind() != std::io::ErrorKind::NotFound) {
            self.unread = Some(io_error(disk, "read the checkpoint", &checkpoint_name(sequence), error));
        }
    }

    pub(crate) fn body_bytes(&self) -> u64 {
        self.kept.first().map_or(0, |kept| kept.body_bytes)
    }
}

/// Why a checkpoint was not written.
enum Failed {
    /// The one before cannot be used; with what the system said, if that is why.
    Before(Option<std::io::Error>),
    /// Anything else.
    Here(Error),
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::Here(Error::io("write the checkpoint", error))
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Here(error)
    }
}

/// Where a checkpoint is read, it is the one before.
impl From<Unusable> for Failed {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Closed(error) => error.into(),
            Unusable::Io(error) => Self::Before(Some(error)),
            Unusable::Bad(_) => Self::Before(None),
        }
    }
}

/// Why the state of a log cannot be had from its segments alone, oldest first; `None`: it can.
pub(crate) fn partial<'a>(segments: impl IntoIterator<Item = &'a SegmentHeader>) -> Option<String> {
    let mut segments = segments.into_iter();
    let first = segments.next()?;
    if first.predecessor.is_some() || first.first_offset > Offset::ZERO {
        return Some(format!("segments before {} are gone, and no checkpoint holds the state of then", first.number));
    }
    let moved = std::iter::once(first).chain(segments).find(|header| header.is_moved())?;
    Some(format!(
        "segment {} was rewritten, and no checkpoint holds the versions of the state from before",
        moved.number
    ))
}

/// What changed since the last checkpoint.
type Changes = BTreeMap<(Space, Box<[u8]>), Option<(Version, Box<[u8]>)>>;

impl Core {
    /// Whether a checkpoint would save enough at the next open.
    pub(crate) fn checkpoint_due(&self) -> bool {
        let checkpoints = self.checkpoints.lock();
        let behind = checkpoints.line().max(checkpoints.attempted).place;
        let wait = self.options.checkpoint_bytes.max(checkpoints.body_bytes().saturating_mul(STATE_BYTES_FACTOR));
        drop(checkpoints);
        let durable = self.durability.lock().durable.place;
        self.catalog.read().bytes_between(behind, durable) >= wait
    }

    /// Writes a checkpoint if one is due. `true`: it was attempted.
    pub(crate) fn checkpoint_step(&self) -> bool {
        let due = self.checkpoint_due();
        if due {
            self.checkpoint_now();
        }
        due
    }

    /// The last checkpoint, so that the next open reads nothing again; needless if there is next to nothing to read.
    pub(crate) fn checkpoint_at_close(&self) {
        let committed = self.appender.lock().stats.appends() > 0;
        let (none, before, held) = {
            let checkpoints = self.checkpoints.lock();
            let none = checkpoints.kept.is_empty() || !checkpoints.stale.is_empty();
            (none, checkpoints.line().place, checkpoints.body_bytes())
        };
        let durable = self.durability.lock().durable.place;
        let behind = self.catalog.read().bytes_between(before, durable);
        let small = committed && held <= CLOSE_STATE_BYTES;
        if none || small || behind > CLOSE_BYTES_MIN.max(held / STATE_BYTES_FACTOR) {
            self.checkpoint_now();
        }
    }

    /// Writes a checkpoint up to the durable line. Whether it could be written is in the statistics.
    pub(crate) fn checkpoint_now(&self) {
        // One at a time: two would take the same sequence.
        let _checkpointing = self.checkpointing.lock();
        // Where the start moved to is durable, unless a sync failed.
        let state = self.check_state();
        let (line, last) = {
            let durability = self.durability.lock();
            (durability.durable, durability.durable_frame)
        };
        let (before, sequence) = {
            let mut checkpoints = self.checkpoints.lock();
            checkpoints.attempted = line;
            // Under a name that is taken it could be taken for what is stale.
            let exhausted = || Error::new(ErrorKind::Limit, "checkpoints are exhausted");
            match state.and_then(|()| checkpoints.sequence.checked_add(1).ok_or_else(exhausted)) {
                Ok(sequence) => (checkpoints.kept.first().copied(), sequence),
                Err(error) => {
                    checkpoints.failures = checkpoints.failures.wrapping_add(1);
                    checkpoints.failure = Some(error);
                    return;
                }
            }
        };
        let written = self.write_checkpoint(before, sequence, line, last);
        if written.is_ok() {
            self.appender.lock().forget_state(line);
            // More may be cleaned now.
            self.clean.signal.wake();
        }
        let mut checkpoints = self.checkpoints.lock();
        match written {
            Ok(header) => {
                checkpoints.sequence = sequence;
                checkpoints.written = checkpoints.written.wrapping_add(1);
                checkpoints.failure = None;
                checkpoints.kept.insert(0, header);
                let left = CHECKPOINTS_KEPT.min(checkpoints.kept.len());
                let mut old = std::mem::take(&mut checkpoints.stale);
                old.extend(checkpoints.kept.drain(left..).map(|kept| checkpoint_name(kept.sequence)));
                drop(checkpoints);
                for name in old {
                    // One that stays is found by the next open, and removed by the checkpoint after it.
                    let _removed_later = self.disk.unlink(&name);
                }
            }
            Err(failed) => {
                checkpoints.failures = checkpoints.failures.wrapping_add(1);
                checkpoints.failure = if let Failed::Here(error) = &failed { Some(error.clone()) } else { None };
                if let Failed::Before(error) = failed {
                    // The one before is rotten: the next attempt begins at the one before that.
                    let rotten = before.map_or(0, |kept| kept.sequence);
                    checkpoints.note_unread(&*self.disk, rotten, error);
                    checkpoints.kept.retain(|kept| kept.sequence != rotten);
                    checkpoints.stale.push(checkpoint_name(rotten));
                    let before = checkpoints.line();
                    drop(checkpoints);
                    self.appender.lock().recall_state(before);
                } else {
                    drop(checkpoints);
                }
                // A leftover that cannot be removed now is removed by the next attempt, or open.
                let _removed_later = self.disk.unlink(&draft_name(sequence));
            }
        }
    }

    /// Forgets checkpoints that are not what was written: before something goes that only they could replace. Their bodies
    /// are not read.
    pub(crate) fn look_at_checkpoints(&self) {
        let _checkpointing = self.checkpointing.lock();
        let kept = self.checkpoints.lock().kept.clone();
        let mut unread = Vec::new();
        let is_there = |header: &CheckpointHeader| {
            let found = read_header(&*self.disk, &checkpoint_name(header.sequence));
            match found {
                Ok(found) => found == *header,
                Err(Unusable::Closed(_)) => true,
                Err(Unusable::Io(error)) => {
                    unread.push((header.sequence, error));
                    false
                }
                Err(Unusable::Bad(_)) => false,
            }
        };
        let (good, gone): (Vec<_>, Vec<_>) = kept.into_iter().partition(is_there);
        if gone.is_empty() {
            return;
        }
        let mut checkpoints = self.checkpoints.lock();
        for (sequence, error) in unread {
            checkpoints.note_unread(&*self.disk, sequence, Some(error));
        }
        checkpoints.stale.extend(gone.iter().map(|header| checkpoint_name(header.sequence)));
        checkpoints.kept = good;
        let before = checkpoints.line();
        drop(checkpoints);
        self.appender.lock().recall_state(before);
    }

    /// Writes checkpoints until what lies below this segment may go; or says why that cannot be had.
    pub(crate) fn raise_checkpoints_to(&self, segment: u64) -> Result<()> {
        // As many as are kept, and for each rotten one that they should have begun with one more.
        for _ in 0..2 * CHECKPOINTS_KEPT {
            if self.checkpoints.lock().lets_go() >= segment {
                return Ok(());
            }
            self.checkpoint_now();
            if let Some(error) = self.checkpoints.lock().failure.clone() {
                return Err(error);
            }
        }
        if self.checkpoints.lock().lets_go() >= segment {
            return Ok(());
        }
        Err(corrupt("no checkpoint can be read again that was just written").at_path(self.disk.directory()))
    }

    fn write_checkpoint(
        &self,
        before: Option<CheckpointHeader>,
        sequence: u64,
        line: Line,
        last: FrameMark,
    ) -> std::result::Result<CheckpointHeader, Failed> {
        let disk = &*self.disk;
        let (segment, partial) = {
            let catalog = self.catalog.read();
            let segment = catalog.get(line.place.segment).map(|entry| entry.header);
            (segment, partial(catalog.entries().iter().map(|entry| &entry.header)))
        };
        let Some(segment) = segment else {
            return Err(corrupt(format!("there is no segment {}", line.place.segment)).into());
        };
        if let (None, Some(cause)) = (&before, partial) {
            // What it would have to hold cannot be read any more.
            return Err(stateless(disk, cause, self.checkpoints.lock().unread.clone()).into());
        }
        let (time_max, clean, span) = {
            let appender = self.appender.lock();
            let clean = appender.is_closed() && appender.tail() == line;
            (appender.writer.time_max(), clean, appender.state_span)
        };
        // Where the running log saw no state entries there is nothing to read.
        let (changes, changed_bytes) = match span {
            Some(span) if span.first.place < line.place => self.changes_between(span.first, line)?,
            _ => (Changes::new(), 0),
        };
        let (epochs, start) = (self.epochs.starts(), *self.start.lock());
        let table = length(epochs.len()).saturating_mul(length(EPOCH_BYTES));
        let held = before.map_or(0, |kept| kept.body_bytes);
        // One of this name can only be left of an attempt that failed.
        let _seldom_there = disk.unlink(&draft_name(sequence));
        let mut draft = Draft::create(disk, sequence, held.saturating_add(changed_bytes).saturating_add(table))?;
        for epoch in epochs {
            draft.epoch(epoch)?;
        }
        let before = match before {
            Some(kept) => Some(Entries::open(disk, &checkpoint_name(kept.sequence))?.0),
            None => None,
        };
        merge(before, changes, &mut draft)?;
        let header = CheckpointHeader {
            store_id: self.store_id,
            sequence,
            line,
            incarnation: segment.incarnation,
            start: start.offset,
            start_segment: start.segment,
            time_max,
            epochs: 0,
            entries: 0,
            body_bytes: 0,
            body_checksum: 0,
            last,
            clean,
        };
        let header = draft.finish(header)?;
        let changing = self.directory_syncs.begin();
        disk.rename(&draft_name(sequence), &checkpoint_name(sequence))?;
        self.directory_syncs.sync(disk, &changing)?;
        Ok(header)
    }

    /// The latest change of each key between two lines, and an upper bound for what they take in a checkpoint.
    fn changes_between(&self, from: Line, to: Line) -> Result<(Changes, u64)> {
        let mut changes = Changes::new();
        let mut next = Some(from.place.segment);
        let pieces = std::iter::from_fn(|| {
            let number = next?;
            let find = move |catalog: &super::catalog::Catalog| {
                let found = if number == 0 { catalog.entries().first() } else { catalog.get(number) };
                found.or_else(|| catalog.after(number)).filter(|entry| entry.number() <= to.place.segment).cloned()
            };
            let entry = self.entry(&find).transpose()?;
            Some(entry.and_then(|entry| {
                next = entry.number().checked_add(1);
                let limit = if entry.number() == to.place.segment { Some(to.place.position) } else { entry.end };
                let limit = limit.unwrap_or_default();
                let store = self.view(&entry, ReadMode::Map)?.store;
                Ok(Piece { header: entry.header, store, limit, whole: limit })
            }))
        });
        let folded = fold(&*self.disk, from, pieces, &mut |entry: &StateEntry<'_>, end| {
            let value = entry.value.map(|value| (Version::new(end), value.into()));
            changes.insert((entry.space, entry.key.into()), value);
            Ok(())
        })?;
        if folded.end != to {
            return Err(corrupt(format!(
                "the log reads up to {}, it was durable up to {}",
                folded.end.place, to.place
            ))
            .at_path(self.disk.directory()));
        }
        let bytes = changes.iter().fold(0_u64, |sum, ((_, key), value)| {
            let held = value.as_ref().map_or(0, |(_, value)| stored_bytes(key.len(), value.len()));
            sum.saturating_add(held)
        });
        Ok((changes, bytes))
    }
}

/// Writes the entries of the checkpoint before, as they were changed since.
fn merge(mut before: Option<Entries>, changes: Changes, draft: &mut Draft) -> std::result::Result<(), Failed> {
    let mut changes = changes.into_iter().peekable();
    loop {
        let old = match &mut before {
            Some(entries) => entries.next()?,
            None => None,
        };
        let mut replaced = false;
        while let Some(((space, key), value)) = changes
            .next_if(|((space, key), _)| old.as_ref().is_none_or(|old| (*space, &**key) <= (old.space, &*old.key)))
        {
            replaced = old.as_ref().is_some_and(|old| (space, &*key) == (old.space, &*old.key));
            if let Some((version, value)) = &value {
                draft.entry(&StateEntry { space, key: &key, value: Some(value) }, *version)?;
            }
        }
        match old {
            None => return Ok(()),
            Some(old) if !replaced => draft.entry(&old.entry(), old.version)?,
            Some(_) => {}
        }
    }
}
