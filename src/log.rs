//! The log: many segments, one order. Append, read, make durable, recover.
//!
//! Guarantees:
//! 1. Records are in one total order, their offsets given one by one; a batch is there in full or not at all.
//! 2. *Visible* (an append returned): every reader sees it, and it survives the death of the process.
//! 3. *Durable* (a ticket's wait, or a sync, returned): it survives power loss, and so does all before it.
//! 4. Nothing that was durable is ever cut or left out in silence.
//!
//! The way of a record: [`appender`] stores it in the active segment, [`durability`] syncs it, [`reader`] hands it out.
//! An open: [`survey`] lists, [`decide`] judges, [`act`] makes it true.

mod act;
mod anchor;
mod appender;
mod attach;
mod background;
mod batch;
mod catalog;
mod checkpoint;
mod clean;
mod commit;
mod contract;
mod core;
mod cursor;
mod decide;
mod directory;
mod durability;
mod epochs;
mod filter;
mod fold;
mod index;
mod lookup;
mod options;
mod prepare;
mod reader;
mod report;
mod retention;
mod salvage;
mod sight;
mod source;
pub(crate) mod start;
mod state;
mod stats;
mod survey;
mod ticket;
mod window;

use std::borrow::Borrow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use attach::{Attached, CheckpointInfo, LiveRecords, SegmentInfo, SegmentState, StateView};
pub use batch::{Batch, Iter};
pub use clean::{CleanPhase, CleanProgress, CleanStats, Cleaner, Cleanup, Compaction, CompactionReport, Replaced};
pub use commit::{COMMIT_CONDITIONS_MAX, COMMIT_RECORD_CONDITIONS_MAX, Commit};
pub use contract::Holder;
pub use cursor::{CURSOR_NAME_BYTES_MAX, Cursor, CursorInfo, Start};
pub use lookup::{Found, History};
pub use options::{Background, FileSystems, Options, Recovery, SEGMENT_BYTES_MIN, Sync};
pub use reader::{ReadLine, ReadMode, Reader, Skipped};
pub use report::{Cut, Ending, Evidence, RecoveryReport};
pub use retention::{Held, HeldBy, Retention, RetentionReport};
pub use salvage::{Salvage, Salvaged};
pub use state::StateValue;
pub use stats::Stats;
pub use ticket::Ticket;

pub(crate) use checkpoint::{Entries, Unusable, ends_as_said, misfit as foreign, partial, stateless};
pub(crate) use clean::draft::{Draft, PAGE_BYTES, unlike};
#[cfg(test)]
pub(crate) use clean::tests::{rewrite_again, rewritten};
pub(crate) use decide::decide;
pub(crate) use fold::{Piece as FoldPiece, fold};
pub(crate) use index::build::{Failed, Pace, Sealed, Sink as IndexSink, build};
pub(crate) use index::file::{IndexFile, NoIndex, Role, read};
pub(crate) use sight::judged;
pub(crate) use state::State;
pub(crate) use survey::{
    ANCHOR_NAME, CheckpointFile, Links, Member, SegmentFile, Survey, holds_frames, is_no_file, open_segment, survey,
};
pub(crate) use window::{FoundFrame, Scan, Scanned, Store, View};

use self::core::{Core, frame_bytes};
use self::reader::LogSource;
use crate::error::{Error, ErrorKind, Result};
use crate::format::record;
use crate::format::state::Space;
use crate::platform::{Disk, Lock};
use crate::segment::Body;
use crate::types::{Epoch, Offset, Place, Record, StoreId, Topic};

/// An open log. Cheap to clone; all clones are the same log, from any number of threads.
///
/// Dropping the last clone closes the log and can not say if that failed; [`Log::close`] can.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let log = esker::Log::open(folder.path())?;
/// let ticket = log.append(b"created #1")?; // visible
/// ticket.wait()?; // durable
/// log.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Log {
    handle: Arc<Handle>,
}

/// The last one closes the log.
#[derive(Debug)]
struct Handle {
    core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Who wants to know calls `close`.
        let _unheard = self.core.close();
    }
}

impl Log {
    /// Opens the log in the directory `path` for writing, with default [`Options`]; makes both if they are not there.
    ///
    /// # Errors
    /// See [`Options::open`].
    ///
    /// # Durability
    /// What the log held is durable when this returns.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(path)
    }

    pub(crate) fn open_with(disk: Arc<dyn Disk>, options: &Options) -> Result<Self> {
        survey::refuse_other_use(&*disk)?;
        if options.file_systems == FileSystems::Known {
            disk.check_file_system().map_err(|error| {
                Error::new(ErrorKind::Incompatible, error.to_string())
                    .at_path(disk.directory())
                    .next_step("choose another directory, or open with FileSystems::Any")
            })?;
        }
        let lock = match disk.lock() {
            Ok(Lock::Held(lock)) => lock,
            Ok(Lock::Busy(holder)) => {
                return Err(Error::new(ErrorKind::Locked, format!("locked for writing by {holder}"))
                    .at_path(disk.directory())
                    .held_by(holder.pid)
                    .next_step("close it there, or attach read-only"));
            }
            Err(error) => return Err(survey::io_error(&*disk, "lock the directory for writing", "", error)),
        };
        let survey = survey(&*disk)?;
        let decision = match decide(&*disk, &survey)? {
            Some(decision) => {
                let loaded = checkpoint::load(&*disk, &survey, decision.segments())?;
                Some((decision, loaded))
            }
            None => None,
        };
        let opened = act::act(&*disk, options, &survey, decision)?;
        let core = Core::new(disk, options, lock, opened)?;
        core.note_durable(None);
        if survey.has_ballast {
            core.settle_ballast();
        }
        if !core.is_manual() {
            background::start(&core)?;
        }
        Ok(Self { handle: Arc::new(Handle { core }) })
    }

    fn core(&self) -> &Core {
        &self.handle.core
    }

    /// Appends one record: `&[u8]`, `&str`, or a [`Record`] with key, headers and more.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] or [`ErrorKind::Invalid`] for the record; [`ErrorKind::OutOfSpace`] if it does not fit and no
    /// further segment could be prepared; `Closed`, `Poisoned`, `Forked`. Nothing was stored then, with one exception:
    /// under [`Sync::EveryCommit`] `Poisoned` means that the outcome is unknown.
    ///
    /// # Durability
    /// Visible when this returns: it survives the death of the process. Durable once the ticket's
    /// [`wait`](Ticket::wait) returned (under [`Sync::EveryCommit`], when this returns).
    #[inline]
    pub fn append<'r>(&self, record: impl Into<Record<'r>>) -> Result<Ticket<'_>> {
        self.append_slice(std::slice::from_ref(&record.into()))
    }

    /// Appends all records in one frame: they become visible and durable together, or not at all. An empty batch stores
    /// nothing.
    ///
    /// # Errors
    /// As for [`Log::append`].
    ///
    /// # Durability
    /// As for [`Log::append`].
    #[inline]
    pub fn append_batch<'r>(&self, records: impl AsRef<[Record<'r>]>) -> Result<Ticket<'_>> {
        self.append_slice(records.as_ref())
    }

    #[inline]
    fn append_slice(&self, records: &[Record<'_>]) -> Result<Ticket<'_>> {
        let core = self.core();
        if records.is_empty() {
            let end = core.end(ReadLine::Visible);
            return Ok(Ticket { core, end: end.place, first: end.offset, next: end.offset });
        }
        let shape = record::measure(records, &[])?;
        if frame_bytes(shape.body_length) > core.frame_bytes_max {
            return Err(core.too_large(frame_bytes(shape.body_length)));
        }
        let ticket = core.append(&Body::data(records, &[], &shape))?;
        if core.syncs_every_commit() {
            ticket.wait()?;
        }
        Ok(ticket)
    }

    /// Commits records, state and cursor moves in one frame, if the conditions of the commit hold.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] with [`Error::conflict`] if a condition does not hold; [`ErrorKind::Limit`] if the state would
    /// exceed its limits; [`ErrorKind::Invalid`] for a cursor moved back or past the end, or a bad name;
    /// [`ErrorKind::Trimmed`] for an offset before the start; [`ErrorKind::Corrupt`] or [`ErrorKind::Io`] if the records that a
    /// condition asks for cannot be read; else as for [`Log::append`]. Nothing was stored then, with the exception named
    /// there.
    ///
    /// # Durability
    /// As for [`Log::append`].
    pub fn commit<'c>(&self, commit: impl Borrow<Commit<'c>>) -> Result<Ticket<'_>> {
        self.handle.core.commit(commit.borrow())
    }

    /// The latest state entry of this key, as it is visible; `None` if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Poisoned`]: a sync failed, and which entry survives is unknown; [`ErrorKind::Closed`]: another handle may
    /// have changed it since; [`ErrorKind::Forked`].
    pub fn state<K: AsRef<[u8]> + ?Sized>(&self, key: &K) -> Result<Option<StateValue>> {
        self.core().check_state()?;
        Ok(self.core().state.read().get(Space::CALLER, key.as_ref()).cloned())
    }

    /// All state entries whose keys begin with `prefix`, in the order of their keys, as of one moment. Goes over all of the
    /// state, and keeps commits that change it waiting meanwhile.
    ///
    /// # Errors
    /// As for [`Log::state`].
    pub fn states<K: AsRef<[u8]> + ?Sized>(&self, prefix: &K) -> Result<Vec<(Box<[u8]>, StateValue)>> {
        self.core().check_state()?;
        Ok(self.core().state.read().with_prefix(Space::CALLER, prefix.as_ref()))
    }

    /// The cursor of this name; makes one at the first record if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for the name; [`ErrorKind::Trimmed`] or [`ErrorKind::Diverged`] if the log does not hold what the
    /// cursor would read next: nothing is skipped in silence, [`Commit::seek_cursor`] says where to go on. And as for
    /// [`Log::commit`].
    pub fn cursor(&self, name: &str) -> Result<Cursor> {
        self.cursor_from(name, Start::Earliest)
    }

    /// As [`Log::cursor`], but a new cursor begins at `start`.
    ///
    /// # Errors
    /// As for [`Log::cursor`].
    pub fn cursor_from(&self, name: &str, start: Start) -> Result<Cursor> {
        Cursor::open(&self.handle.core, name, start)
    }

    /// All cursors, by name.
    ///
    /// # Errors
    /// As for [`Log::state`].
    pub fn cursors(&self) -> Result<Vec<CursorInfo>> {
        self.core().check_state()?;
        // The end first: the lag of a cursor that moves meanwhile is then none, and not wrong.
        let end = self.core().end(ReadLine::Visible).offset;
        Ok(cursor::list(&self.core().state.read(), end))
    }

    /// What is known of the cursor of this name; `None` if there is none. Makes none, and judges nothing.
    ///
    /// # Errors
    /// As for [`Log::state`].
    pub fn cursor_info(&self, name: &str) -> Result<Option<CursorInfo>> {
        self.core().check_state()?;
        let end = self.core().end(ReadLine::Visible).offset;
        Ok(cursor::find(&self.core().state.read(), name, end))
    }

    /// The latest record of this key in this topic; `None` if there never was one, or the latest is a tombstone.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// use esker::{Record, Topic};
    ///
    /// let log = esker::Log::open(folder.path())?;
    /// let _ = log.append(Record::new(b"parked").key(b"N12345"))?;
    /// let _ = log.append(Record::new(b"in the air").key(b"N12345"))?;
    /// let found = log.latest(Topic::default(), b"N12345")?.expect("two records");
    /// assert_eq!(found.record().payload(), b"in the air");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] or [`ErrorKind::Gap`] if damage, or a gap that a repair left, lies where a later record may have
    /// been: never an older value instead. As for [`Log::state`], and what the system says.
    pub fn latest<K: AsRef<[u8]> + ?Sized>(&self, topic: Topic, key: &K) -> Result<Option<Found>> {
        self.latest_up_to(ReadLine::Visible, topic, key)
    }

    /// As [`Log::latest`], of what lies before this line.
    ///
    /// # Errors
    /// As for [`Log::latest`].
    pub fn latest_up_to<K: AsRef<[u8]> + ?Sized>(
        &self,
        line: ReadLine,
        topic: Topic,
        key: &K,
    ) -> Result<Option<Found>> {
        lookup::latest(self.core(), topic, key.as_ref(), line)
    }

    /// All records of this key in this topic, oldest first, tombstones too; up to what is visible when the first is asked for.
    pub fn history<K: AsRef<[u8]> + ?Sized>(&self, topic: Topic, key: &K) -> History {
        let core: Arc<Core> = Arc::clone(&self.handle.core);
        History::new(core, topic, key.as_ref())
    }

    /// Blocks until everything that is visible now is durable.
    ///
    /// # Errors
    /// [`ErrorKind::Poisoned`]: a sync failed, now or before. Whether what was not yet durable survives is unknown.
    pub fn sync(&self) -> Result<()> {
        self.core().sync().map(|_| ())
    }

    /// Blocks until everything before `place` is durable; the place is that of a [`Ticket`].
    ///
    /// # Errors
    /// As for [`Log::sync`]; [`ErrorKind::Invalid`] for a place that the log has not reached.
    pub fn wait_durable(&self, place: Place) -> Result<()> {
        let core = self.core();
        core.check_fork()?;
        let end = core.end(ReadLine::Visible).place;
        if place > end && !core.is_poisoned() {
            let text = format!("wait for {place}, the log ends at {end}");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        core.wait_durable(place)
    }

    /// A reader at the first record.
    #[must_use]
    pub fn reader(&self) -> Reader {
        let core: Arc<Core> = Arc::clone(&self.handle.core);
        Reader::new(core)
    }

    /// Offset of the first record.
    #[must_use]
    pub fn start(&self) -> Offset {
        LogSource::start(self.core())
    }

    /// Where what is left of a topic begins: below this offset its [retention](Cleanup::delete) dropped records, or will as soon
    /// as this is durable. Without one it is where the log begins.
    #[must_use]
    pub fn topic_start(&self, topic: Topic) -> Offset {
        self.start().max(self.core().topics_start(&[topic]))
    }

    /// Offset behind the last visible record.
    #[must_use]
    pub fn visible(&self) -> Offset {
        self.core().end(ReadLine::Visible).offset
    }

    /// Offset behind the last durable record.
    #[must_use]
    pub fn durable(&self) -> Offset {
        self.core().end(ReadLine::Durable).offset
    }

    /// Drops all records before `offset`, as far as no cursor holds them, and returns where the log begins then. Makes them
    /// durable first, if need be, and writes checkpoints. Files go as soon as all of their records did; the segment in use stays.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an offset that the log has not reached; [`ErrorKind::Poisoned`] if a sync failed, and the
    /// outcome is unknown; [`ErrorKind::OutOfSpace`] if there is no room to note it; [`ErrorKind::Conflict`] if cursors went
    /// back again and again meanwhile; as for [`Log::state`].
    ///
    /// # Durability
    /// The new start is durable when this returns.
    pub fn drop_before(&self, offset: Offset) -> Result<Offset> {
        self.core().drop_before(offset)
    }

    /// Lets go now what the [`Retention`] of the options does not keep, as far as no cursor holds it.
    ///
    /// # Errors
    /// As for [`Log::drop_before`]. If nothing can go since checkpoints cannot be written: why.
    ///
    /// # Durability
    /// As for [`Log::drop_before`].
    pub fn retain(&self) -> Result<RetentionReport> {
        self.core().retain()
    }

    /// What [`Log::retain`] would do now, and what holds the rest. Changes nothing.
    ///
    /// # Errors
    /// As for [`Log::state`].
    pub fn retention_plan(&self) -> Result<RetentionReport> {
        self.core().retention_plan()
    }

    /// The cursors that keep retention from dropping something; the one that holds most comes first.
    ///
    /// # Errors
    /// As for [`Log::state`].
    pub fn who_holds(&self) -> Result<Vec<Holder>> {
        self.core().who_holds()
    }

    /// What the open found, kept and cut.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.core().report
    }

    /// Counters since the open.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core().stats()
    }

    /// The identity of the store.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.core().store_id
    }

    /// The epoch that appends belong to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.core().epoch
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.core().disk.directory().to_owned()
    }

    /// Does once what the background threads would do now. Only of use with [`Background::Manual`].
    pub fn background_step(&self) {
        self.core().background_step();
    }

    /// Makes everything durable, marks the end as clean and lets the directory go. Other clones and waiting readers then
    /// get [`ErrorKind::Closed`]; a second close does nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Poisoned`] if a sync failed, now or before; the directory is let go all the same.
    pub fn close(self) -> Result<()> {
        self.core().close()
    }
}
