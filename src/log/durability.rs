//! Durable: the line below which the log survives power loss, and the syncs that move it.
//!
//! Guarantees:
//! 1. The line moves to a place only after one sync covered it and every earlier place, was begun after those bytes were
//!    stored, and returned without error.
//! 2. One sync at a time. Who waits and finds none running runs it; the others wait for that one if it reaches them, else
//!    for the next, which one of them runs.
//! 3. The first failed sync poisons the log: whoever waits gets the error, appends are refused, readers stop at the line.
//!    No sync is tried again.
//! 4. Segments are synced oldest first, through the map and file that were open before the first store.
//! 5. A segment that was left is durable only if its name still leads to the file that was stored into; so is a close.
//! 6. A mark written with a sync says how far the log was durable before it. A last mark follows once appends rest.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::act::give_back_tail;
use super::anchor::Clean;
use super::appender::Appender;
use super::catalog::{Entry, Handle};
use super::core::{Core, closed, forked};
use super::stats::SyncStats;
use super::survey::io_error;
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::FrameMark;
use crate::format::{Kind, segment_name};
use crate::platform::{Access, Disk, File};
use crate::segment::Segment;
use crate::sync::{MutexGuard, Ordering};
use crate::types::{Line, Place};

/// What is behind the durability lock.
#[derive(Debug)]
pub(crate) struct Durability {
    pub(crate) durable: Line,
    /// The frame that ends there.
    pub(crate) durable_frame: FrameMark,
    /// Up to where the sync that runs will reach, once its leader knows.
    running: Option<Place>,
    leader: Leader,
    /// Counts syncs; its parity says on which condition variable the running one's waiters wait.
    round: usize,
    poison: Option<Error>,
    /// Set once the log is closed, and nothing more will become visible or durable.
    closed: bool,
    /// The line that the last mark carries.
    marked: Place,
    pub(crate) stats: SyncStats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leader {
    Nobody,
    Somebody,
}

impl Durability {
    pub(crate) fn new(durable: Line, durable_frame: FrameMark) -> Self {
        Self {
            durable,
            durable_frame,
            running: None,
            leader: Leader::Nobody,
            round: 0,
            poison: None,
            closed: false,
            marked: durable.place,
            stats: SyncStats::default(),
        }
    }

    /// Why nothing more becomes durable, if so.
    pub(crate) fn poison(&self) -> Option<&Error> {
        self.poison.as_ref()
    }
}

impl Core {
    /// Waits until everything before `place` is durable.
    pub(crate) fn wait_durable(&self, place: Place) -> Result<()> {
        if self.fork.is_child() {
            return Err(forked());
        }
        let mut durability = self.durability.lock();
        loop {
            if durability.durable.place >= place {
                return Ok(());
            }
            if let Some(poison) = &durability.poison {
                return Err(poison.clone());
            }
            if durability.closed {
                return Err(closed());
            }
            if durability.leader == Leader::Nobody {
                if self.fork.is_child_for_sure() {
                    return Err(forked());
                }
                durability = self.lead(durability);
                continue;
            }
            // Those that the running sync reaches wait for its end; the rest for the next one, and one of them leads it.
            let reached = durability.running.is_none_or(|running| place <= running);
            let round = if reached { durability.round } else { durability.round.wrapping_add(1) };
            self.synced[round % 2].wait(&mut durability);
        }
    }

    /// Runs one sync. The durability lock is released meanwhile.
    fn lead<'a>(&'a self, mut durability: MutexGuard<'a, Durability>) -> MutexGuard<'a, Durability> {
        durability.leader = Leader::Somebody;
        let before = durability.durable;
        drop(durability);
        let (target, frame) = self.mark_tail(before);
        let mut durability = self.durability.lock();
        durability.running = Some(target.place);
        drop(durability);
        let since = Instant::now();
        let result = self.sync_between(before.place, target.place);
        let took = since.elapsed();
        let mut durability = self.durability.lock();
        durability.stats.count(took);
        durability.leader = Leader::Nobody;
        durability.running = None;
        match result {
            Ok(()) => (durability.durable, durability.durable_frame) = (target, frame),
            Err(error) => durability.poison = Some(error),
        }
        let poison = durability.poison.clone();
        let round = durability.round;
        durability.round = round.wrapping_add(1);
        // Those reached all go; of the next round one is enough, it leads. After a failure everybody has to know.
        self.synced[round % 2].notify_all();
        if durability.poison.is_some() {
            self.synced[round.wrapping_add(1) % 2].notify_all();
        } else {
            self.synced[round.wrapping_add(1) % 2].notify_one();
        }
        drop(durability);
        if let Some(poison) = poison {
            self.poison(&poison);
        } else {
            self.durable_moved.notify();
            self.tell_appends();
        }
        self.durability.lock()
    }

    /// Notes the tail, behind a mark that carries the line `durable`.
    fn mark_tail(&self, durable: Line) -> (Line, FrameMark) {
        let mut appender = self.appender.lock();
        let unmarked = self.durability.lock().marked < durable.place;
        if unmarked && appender.tail().place > durable.place {
            self.append_mark(&mut appender, Kind::Mark, durable);
        }
        (appender.tail(), appender.writer.last())
    }

    /// Appends a frame that carries a durable line, if there is room; then nothing is left to mark up to there.
    fn append_mark(&self, appender: &mut Appender, kind: Kind, durable: Line) -> bool {
        let stored = appender.append_line(kind, durable, self.disk.now()).is_some();
        if stored {
            let mut durability = self.durability.lock();
            durability.marked = durability.marked.max(durable.place);
        } else {
            appender.stats.marks_skipped = appender.stats.marks_skipped.saturating_add(1);
        }
        stored
    }

    fn sync_between(&self, from: Place, to: Place) -> Result<()> {
        let segments = self.catalog.read().open_between(from, to.segment);
        for (segment, file) in segments {
            let number = segment.header().number;
            let start = if number == from.segment { from.position } else { 0 };
            let end = if number == to.segment { to.position } else { segment.published() };
            self.sync_range(&segment, &*file, start..end)?;
            // What is durable under no name is lost at the next open. Once a segment, as asking costs two system calls.
            if number < to.segment {
                self.check_in_place(number, &*file).map_err(|cause| poisoned(&*self.disk, cause))?;
            }
        }
        Ok(())
    }

    /// Refuses a segment whose name leads to another file now, or to none.
    fn check_in_place(&self, number: u64, file: &dyn File) -> Result<()> {
        let name = segment_name(number);
        let found = match self.disk.open(&name, Access::Read).and_then(|file| file.identity()) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            // Whether it is there cannot be told now: for lack of descriptors, say.
            Err(_) => return Ok(()),
        };
        if file.identity().is_ok_and(|own| found != Some(own)) {
            let text = if found.is_some() { "another file took its place" } else { "the file was removed" };
            return Err(Error::new(ErrorKind::Corrupt, format!("{text} while it was written"))
                .at_path(self.disk.directory().join(name))
                .next_step("put the file back before the log is opened again, and see who changes the directory"));
        }
        Ok(())
    }

    fn sync_range(&self, segment: &Arc<Segment>, file: &dyn File, range: Range<u64>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        file.sync_range(segment.region(), range).map_err(|error| {
            poisoned(
                &*self.disk,
                io_error(&*self.disk, "sync the segment", &segment_name(segment.header().number), error),
            )
        })
    }

    /// Refuses appends, and tells everybody who waits. Whoever is told finds the reason: it was set before.
    fn poison(&self, error: &Error) {
        // Relaxed: see `line_shown`.
        self.poisoned.store(true, Ordering::Relaxed);
        let mut appender = self.appender.lock();
        appender.refuse(error.clone());
        drop(appender);
        self.rolled.notify_all();
        self.visible_moved.notify();
        self.durable_moved.notify();
    }

    /// A thread unwound while it stored a frame: as a failed sync, nothing more is acknowledged.
    #[cold]
    pub(crate) fn poison_by_panic(&self) -> Error {
        let error = Error::new(ErrorKind::Poisoned, "a thread panicked while it stored a frame")
            .at_path(self.disk.directory())
            .next_step("close the log and open it again");
        let mut durability = self.durability.lock();
        let error = durability.poison.get_or_insert(error).clone();
        drop(durability);
        self.synced.iter().for_each(|waiters| {
            waiters.notify_all();
        });
        self.poison(&error);
        error
    }

    /// After the line moved: an append that waits for segments to become durable looks again, and the syncer, if it sleeps
    /// until the next append, sees to the last mark.
    fn tell_appends(&self) {
        let mut appender = self.appender.lock();
        let (waits, sleeps) = (appender.roll_needs.is_some(), appender.syncer_sleeps.take());
        drop(appender);
        if waits {
            self.rolled.notify_all();
        }
        if sleeps {
            self.syncer.wake();
        }
    }

    /// Makes everything that is visible now durable.
    pub(crate) fn sync(&self) -> Result<Line> {
        self.check_fork()?;
        let tail = self.appender.lock().tail();
        self.wait_durable(tail.place)?;
        Ok(tail)
    }

    /// Makes full segments durable, gives back what they did not use, and lets go of them.
    pub(crate) fn sync_sealed_step(&self) -> bool {
        let durable = self.durability.lock().durable;
        let sealed = {
            let catalog = self.catalog.read();
            let ends = catalog.entries().iter().rev().find_map(|entry| Some(Place::new(entry.number(), entry.end?)));
            ends.filter(|end| *end > durable.place)
        };
        // A failure has poisoned the log, which everybody is told who asks for something.
        let synced = sealed.is_some_and(|end| self.wait_durable(end).is_ok());
        if self.cool() {
            self.note_durable(None);
        }
        synced
    }

    /// Lets go of sealed segments that are durable. `true`: there were some.
    fn cool(&self) -> bool {
        let durable = self.durability.lock().durable;
        let cooled = self.catalog.write().cool(durable);
        for (segment, _file, end) in &cooled {
            segment.region().protect();
            let header = segment.header();
            give_back_tail(&*self.disk, &segment_name(header.number), *end, header.capacity);
        }
        !cooled.is_empty()
    }

    /// Notes the durable line in the anchor, if it moved to another place since.
    pub(crate) fn note_durable(&self, clean: Option<Clean>) {
        let durable = self.durability.lock().durable;
        let time_max = self.appender.lock().writer.time_max();
        let mut anchor = self.anchor.lock();
        if clean.is_some() || anchor.written() != durable {
            anchor.write(&*self.disk, durable, time_max, clean);
        }
    }

    /// Once appends rest: a last mark, so that what is durable is known to be, whatever happens to the bytes behind.
    pub(crate) fn idle_mark_step(&self) -> bool {
        let (durable, marked) = {
            let durability = self.durability.lock();
            (durability.durable, durability.marked)
        };
        let mut appender = self.appender.lock();
        // Only if data became durable that no mark covers yet.
        if appender.refusal.is_some() || marked >= durable.place || marked >= appender.data_end {
            return false;
        }
        self.append_mark(&mut appender, Kind::Mark, durable);
        let target = appender.tail();
        drop(appender);
        let done = self.wait_durable(target.place).is_ok();
        self.note_durable(None);
        done
    }

    /// Ends the log: everything durable, a close frame at the end, a note in the anchor.
    pub(crate) fn close(&self) -> Result<()> {
        self.check_fork()?;
        let tail = {
            let mut appender = self.appender.lock();
            match &appender.refusal {
                Some(error) if error.kind() == ErrorKind::Closed => return Ok(()),
                Some(error) => {
                    let error = error.clone();
                    drop(appender);
                    self.join();
                    self.clean.wait();
                    self.release();
                    return Err(error);
                }
                None => super::appender::close(&mut appender),
            }
            appender.tail()
        };
        self.rolled.notify_all();
        self.join();
        self.clean.wait();
        let result = self.wait_durable(tail.place).and_then(|()| self.append_close());
        self.release();
        result
    }

    fn append_close(&self) -> Result<()> {
        let active = self.catalog.read().entries().last().cloned();
        if let Some(Entry { header, handle: Handle::Open { file, .. }, .. }) = active {
            self.check_in_place(header.number, &*file)?;
        }
        let closed_at = {
            let mut appender = self.appender.lock();
            let durable = self.durability.lock().durable;
            self.append_mark(&mut appender, Kind::Close, durable).then(|| appender.tail())
        };
        let spare = self.appender.lock().spare.take();
        if let Some(spare) = spare {
            // One that stays is removed by the next open.
            let _removed_later = self.disk.unlink(&segment_name(spare.number));
        }
        if let Some(end) = closed_at {
            self.wait_durable(end.place)?;
            self.note_durable(Some(Clean));
        }
        // Nothing is noted behind the close: a line there that does not say "clean" would hide the close frame.
        self.cool();
        self.checkpoint_at_close();
        Ok(())
    }

    /// Lets everybody go who waits, and the directory.
    fn release(&self) {
        self.durability.lock().closed = true;
        self.rolled.notify_all();
        self.visible_moved.notify();
        self.durable_moved.notify();
        self.index.close();
        self.lock.lock().take();
    }

    /// Whether the log takes no more appends.
    pub(crate) fn is_ended(&self) -> bool {
        self.appender.lock().refusal.is_some()
    }

    /// Why there will be nothing more to read: closed, or poisoned.
    pub(crate) fn ended(&self) -> Option<Error> {
        let durability = self.durability.lock();
        durability.poison().cloned().or_else(|| durability.closed.then(closed))
    }
}

/// Why nothing more is acknowledged.
fn poisoned(disk: &dyn Disk, cause: Error) -> Error {
    Error::new(ErrorKind::Poisoned, "a sync failed; whether what was not yet durable survives is unknown")
        .at_path(disk.directory())
        .caused_by(cause)
        .next_step("close the log and open it again, which settles it")
}
