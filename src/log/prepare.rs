//! Background work ahead of the writer: the next segment, and the pages in front of the tail.
//!
//! Guarantees:
//! 1. A spare is created, reserved, synced, in a synced directory and mapped before a roll can take it.
//! 2. A spare that could not be prepared leaves no file behind; the reason goes to whoever waits for the roll.
//! 3. How far pages are populated follows the rate of appends: what the next 10 ms will use, at most 32 MiB, and nothing
//!    for a slow writer.
//! 4. A roll waits for a spare, never for its pages: those are populated once it can be taken, and behind those at the tail.

use std::sync::Arc;
use std::time::Duration;

use super::act::{draw_incarnation, identity, session};
use super::core::Core;
use super::survey::io_error;
use crate::error::{Error, ErrorKind, Result};
use crate::format::control::SESSION_BYTES;
use crate::format::header::{FIRST_OFFSET_MAX, SegmentHeader};
use crate::format::{FRAMES_START, segment_name};
use crate::platform::{Access, File};
use crate::segment::Blank;

/// The most that is populated ahead of the tail.
const POPULATE_BYTES_MAX: u64 = 32 << 20;
/// Less than this is not worth a system call: the first store of each page pays.
const POPULATE_BYTES_MIN: u64 = 64 << 10;
/// A spare is populated in pieces of this much, and between two of them the tail is looked after.
const SPARE_PIECE_BYTES: u64 = 1 << 20;
/// Where the tail is said to be looked after once an append passed the place, until it was.
pub(crate) const POPULATE_NOW: u64 = u64::MAX;
/// How far ahead in time population reaches.
const POPULATE_AHEAD: Duration = Duration::from_millis(10);

/// A segment that waits for its roll.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) number: u64,
    pub(crate) incarnation: u64,
    pub(crate) file: Arc<dyn File>,
    /// The body of its session frame, encoded here since a roll may not ask the system.
    pub(crate) session: [u8; SESSION_BYTES],
    pub(crate) blank: Blank,
    pub(crate) populated: u64,
}

/// How fast the tail moves, as population sees it.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    segment: u64,
    /// Up to where pages are there: populated, or touched by appends.
    populated: u64,
    /// Bytes in the whole log when the last round began, and when that was.
    bytes: u64,
    at: Duration,
    /// How much is populated ahead now.
    window: u64,
    /// A spare, and up to where its pages are there.
    spare: (u64, u64),
}

impl Core {
    /// Prepares the next segment if there is none, or none that is large enough. `true`: it made one.
    pub(crate) fn prepare_step(&self) -> bool {
        // One at a time: two would take the same number.
        let _preparing = self.preparing.lock();
        let (number, capacity, too_small) = {
            let mut appender = self.appender.lock();
            let needs = appender.roll_needs.unwrap_or(0);
            if appender.refusal.is_some() || appender.spare.as_ref().is_some_and(|spare| spare.holds(needs)) {
                return false;
            }
            if appender.attempt_error.is_some() && appender.roll_needs.is_none() {
                // It failed, and nobody needs it now.
                return false;
            }
            let number = next_number(appender.writer.segment().header(), self.highest_found);
            (number, self.spare_capacity(&appender), appender.spare.take())
        };
        let discarded = too_small.map_or(Ok(()), |spare| {
            let name = segment_name(spare.number);
            self.disk
                .unlink(&name)
                .map_err(|error| io_error(&*self.disk, "remove a spare that is too small", &name, error))
        });
        let prepared = discarded.and(number).and_then(|number| self.prepare(number, capacity));
        self.catalog.write().reserve();
        let mut appender = self.appender.lock();
        appender.attempts = appender.attempts.saturating_add(1);
        let made = prepared.is_ok();
        match prepared {
            Ok(spare) => (appender.spare, appender.attempt_error) = (Some(spare), None),
            Err(error) => appender.attempt_error = Some(error),
        }
        drop(appender);
        self.rolled.notify_all();
        // One attempt for each who asks: until the append that waits has heard of a failure, it looks as if it still asked.
        made
    }

    fn prepare(&self, number: u64, capacity: u64) -> Result<Spare> {
        let disk = &*self.disk;
        let name = segment_name(number);
        let changing = self.directory_syncs.begin();
        let file =
            disk.create(&name, capacity).map_err(|error| io_error(disk, "create the next segment", &name, error))?;
        let finish = || {
            let failed = |attempt| {
                let name = &name;
                move |error| io_error(disk, attempt, name, error)
            };
            file.sync().map_err(failed("sync the next segment"))?;
            let synced = self.directory_syncs.sync(disk, &changing);
            synced.map_err(failed("sync the directory of the next segment"))?;
            let region = file.map(capacity, Access::Write).map_err(failed("map the next segment"))?;
            region.populate(0..FRAMES_START);
            Ok(Spare {
                number,
                incarnation: draw_incarnation(disk)?,
                session: session(disk, identity(disk, &name, &*file)?).encode(),
                file: Arc::clone(&file),
                blank: Blank::new(region),
                populated: FRAMES_START,
            })
        };
        finish().inspect_err(|_| {
            // What is left behind if this fails too is a spare, which the next open removes.
            let _spare_stays = disk.unlink(&name);
        })
    }

    /// One round of the preparer: pages ahead of the tail, the next segment, its pages; the segment first if a roll is near.
    pub(crate) fn preparer_round(&self, pace: &mut Pace) {
        if self.roll_is_near(pace) {
            self.prepare_step();
        }
        self.populate_step(pace);
        while self.prepare_step() {
            self.populate_step(pace);
        }
        while self.populate_spare_step(pace) {
            let tail_needs_more = self.appender.lock().populate_at == POPULATE_NOW;
            if self.prepare_step() || tail_needs_more {
                self.populate_step(pace);
            }
        }
    }

    /// Whether a segment could not be prepared in time once the tail was looked after.
    fn roll_is_near(&self, pace: &Pace) -> bool {
        let appender = self.appender.lock();
        let left = appender.writer.segment().header().capacity.saturating_sub(appender.writer.tail());
        appender.roll_needs.is_some() || left < pace.window.saturating_mul(2)
    }

    /// Populates a piece of the spare. `false`: it is populated as far as it should be, or there is none.
    fn populate_spare_step(&self, pace: &mut Pace) -> bool {
        let (number, populated, segment) = {
            let appender = self.appender.lock();
            let Some(spare) = &appender.spare else { return false };
            (spare.number, spare.populated, Arc::clone(spare.blank.segment()))
        };
        let end = populated.saturating_add(SPARE_PIECE_BYTES).min(pace.window).min(segment.region().length());
        if end <= populated || pace.window < POPULATE_BYTES_MIN {
            return false;
        }
        segment.region().populate(populated..end);
        pace.spare = (number, end);
        if let Some(spare) = self.appender.lock().spare.as_mut().filter(|spare| spare.number == number) {
            spare.populated = end;
        }
        true
    }

    fn populate_step(&self, pace: &mut Pace) {
        let (segment, header, tail, bytes) = {
            let appender = self.appender.lock();
            let segment = Arc::clone(appender.writer.segment());
            let (header, tail) = (*segment.header(), appender.writer.tail());
            (segment, header, tail, appender.settled_bytes.saturating_add(tail))
        };
        let now = self.disk.monotonic();
        if pace.segment != header.number {
            let (spare, populated) = pace.spare;
            let populated = if spare == header.number { populated } else { 0 };
            (pace.segment, pace.populated) = (header.number, populated.max(tail));
        }
        let elapsed = now.saturating_sub(pace.at).max(Duration::from_micros(100));
        let growth = u128::from(bytes.saturating_sub(pace.bytes));
        let ahead = growth.saturating_mul(POPULATE_AHEAD.as_nanos()) / elapsed.as_nanos();
        // A first look has nothing to compare with.
        let ahead = if pace.at.is_zero() { 0 } else { ahead };
        pace.window = u64::try_from(ahead).unwrap_or(u64::MAX).min(POPULATE_BYTES_MAX);
        (pace.bytes, pace.at) = (bytes, now);
        // Where appends outran population, they touched the pages first.
        let faults = tail.saturating_sub(pace.populated).div_ceil(4096);
        let end = tail.saturating_add(pace.window).min(header.capacity);
        let start = pace.populated.max(tail);
        pace.populated = start;
        if pace.window >= POPULATE_BYTES_MIN && end > start {
            segment.region().populate(start..end);
            pace.populated = end;
        }
        let mut appender = self.appender.lock();
        appender.stats.page_faults = appender.stats.page_faults.saturating_add(faults);
        if appender.writer.segment().header().number == header.number {
            // Half of the window is left when the next round begins; a slow writer is looked at again after a while.
            let step = (pace.window / 2).max(POPULATE_BYTES_MIN);
            appender.populate_at = tail.saturating_add(step);
        }
    }
}

/// The number of the segment behind this one, if there can be one: numbers and offsets have an end.
fn next_number(header: &SegmentHeader, highest: u64) -> Result<u64> {
    let exhausted = |what| Error::new(ErrorKind::Limit, what).at_offset(header.first_offset);
    if header.first_offset.after(u32::MAX.into()) > FIRST_OFFSET_MAX {
        return Err(exhausted("offsets are exhausted"));
    }
    header.number.max(highest).checked_add(1).ok_or_else(|| exhausted("segment numbers are exhausted"))
}
