//! The append: one short lock, a frame at the tail, readers take none.
//!
//! Guarantees:
//! 1. Frames are whole and in the order of the lock: offsets are dense, and a frame is visible before the next begins.
//! 2. Under the lock nothing allocates, syncs, creates files, or calls the caller's code; a roll takes a prepared spare.
//! 3. An append that fails has stored nothing, except `Poisoned` of a log that was poisoned while it waited for its sync.
//! 4. Once a roll is due every data append waits for it, so that a large record is not overtaken for ever. If no spare can
//!    be had, the roll is called off: smaller records may still go into the room that is left.
//! 5. Control frames never wait: data leaves them a reserve in every segment, and the seal its own room. Small commits of
//!    state alone use the reserve too, but for what the last marks need: cursors move when the disk is full.
//! 6. If a thread ever unwinds while storing, the log is poisoned.

use std::time::Instant;

use super::act::{CONTROL_ROOM_MIN, next_capacity};
use super::catalog::{Entry, Handle};
use super::core::{Core, closed, forked};
use super::options::{Options, Sync};
use super::prepare::{POPULATE_NOW, Spare};
use super::stats::AppendStats;
use super::ticket::Ticket;
use crate::error::{Error, Result};
use crate::format::control::{LINE_BYTES, LineBody, SESSION_BYTES, START_LINE_BYTES, StartLine};
use crate::format::frame::HEADER_BYTES;
use crate::format::header::{Link, SegmentHeader};
use crate::format::{FRAMES_START, Kind};
use crate::segment::{Appended, Body, SegmentWriter};
use crate::sync::MutexGuard;
use crate::types::{Line, Place, Timestamp};

/// What data may not use at the end of a segment: marks, start lines, small state commits, session and close frames.
const CONTROL_RESERVE_BYTES: u64 = 4096;
/// What of it small state commits leave to control frames: a full disk must stay one that can be closed and opened.
const CONTROL_ONLY_BYTES: u64 = CONTROL_ROOM_MIN + 1536;
/// What only the seal may use.
const SEAL_RESERVE_BYTES: u64 = 128;
/// What marks leave to start lines besides: a full disk must stay one that can be trimmed.
const START_RESERVE_BYTES: u64 = 512;
/// What a segment holds beyond data: header, session frame, reserves.
pub(crate) const OVERHEAD_BYTES: u64 = FRAMES_START + 128 + CONTROL_RESERVE_BYTES + SEAL_RESERVE_BYTES;
const _: () =
    assert!(SEAL_RESERVE_BYTES >= 72 && HEADER_BYTES + LINE_BYTES <= 72 && HEADER_BYTES + SESSION_BYTES <= 128);
const _: () = assert!(HEADER_BYTES + START_LINE_BYTES <= 56 && START_RESERVE_BYTES >= SEAL_RESERVE_BYTES + 4 * 56);

/// What is behind the append lock.
#[derive(Debug)]
pub(crate) struct Appender {
    pub(crate) writer: SegmentWriter,
    /// Data frames end at or before this position.
    data_limit: u64,
    /// When the tail passes this, the preparer is told to populate further.
    pub(crate) populate_at: u64,
    /// Why appends are refused, once they are.
    pub(crate) refusal: Option<Error>,
    /// True while a frame is stored; found true by the next only if a thread unwound there.
    storing: Storing,
    /// Readers wait for the tail to move.
    pub(crate) readers_wait: Waiting,
    /// The syncer sleeps without a deadline and must be told of the next append.
    pub(crate) syncer_sleeps: Waiting,
    pub(crate) spare: Option<Spare>,
    /// A roll waits for a spare with room for this many bytes of frame.
    pub(crate) roll_needs: Option<u64>,
    pub(crate) attempts: u64,
    pub(crate) attempt_error: Option<Error>,
    /// Bytes in all segments before this one.
    pub(crate) settled_bytes: u64,
    /// The close frame is stored: no frame may follow it.
    closed: Closed,
    /// The end of the last data frame.
    pub(crate) data_end: Place,
    /// Where state entries lie that no checkpoint holds.
    pub(crate) state_span: Option<StateSpan>,
    pub(crate) stats: AppendStats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Storing {
    No,
    Yes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    No,
    Yes,
}

/// Up to where a frame may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// As records do: a roll that is due comes first.
    Data,
    /// Into the reserve too, and past a roll that is due.
    Reserve,
    /// In a later segment than this.
    Behind(u64),
}

/// What else an append does under the lock.
pub(crate) trait Terms {
    /// Why it was not stored.
    type Stop: From<Error>;
    /// What it holds besides the append lock.
    type Held<'a>;

    fn room(&self, body: &Body<'_>) -> Room;

    /// Taken before the append lock, so that whoever keeps it for long keeps no plain append waiting.
    fn hold(core: &Core) -> Self::Held<'_>;

    /// Taken under the append lock, if nobody has it.
    fn try_hold(core: &Core) -> Option<Self::Held<'_>>;

    /// Decides, for a frame that goes to the tail as it is now. Allocates nothing.
    ///
    /// # Errors
    /// Why it must not.
    fn admit(&mut self, held: &Self::Held<'_>, appender: &Appender) -> std::result::Result<(), Self::Stop>;

    /// Stores the frame, by [`Appender::store`].
    fn store(
        &mut self,
        held: &mut Self::Held<'_>,
        appender: &mut Appender,
        body: &Body<'_>,
        time: Timestamp,
    ) -> Option<Appended>;
}

/// Records alone.
struct Unconditional;

impl Terms for Unconditional {
    type Stop = Error;
    type Held<'a> = ();

    #[inline]
    fn room(&self, _body: &Body<'_>) -> Room {
        Room::Data
    }

    #[inline]
    fn hold(_core: &Core) {}

    #[inline]
    fn try_hold(_core: &Core) -> Option<()> {
        Some(())
    }

    #[inline]
    fn admit(&mut self, (): &(), _appender: &Appender) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn store(&mut self, (): &mut (), appender: &mut Appender, body: &Body<'_>, time: Timestamp) -> Option<Appended> {
        appender.store(body, time, |_| ())
    }
}

/// A part of the log outside of which there are no state entries that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StateSpan {
    /// Before the first frame with state entries.
    pub(crate) first: Line,
    /// Behind the last.
    pub(crate) last: Place,
}

/// Whether somebody waits to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    Nobody,
    Somebody,
}

impl Waiting {
    /// Takes the note that somebody waits.
    #[inline]
    pub(crate) fn take(&mut self) -> bool {
        std::mem::replace(self, Self::Nobody) == Self::Somebody
    }
}

impl Appender {
    pub(crate) fn new(
        writer: SegmentWriter,
        options: &Options,
        settled_bytes: u64,
        state_span: Option<StateSpan>,
    ) -> Self {
        let data_end = Place::new(writer.segment().header().number, writer.tail());
        let mut appender = Self {
            data_limit: 0,
            populate_at: writer.tail(),
            refusal: None,
            storing: Storing::No,
            readers_wait: Waiting::Nobody,
            syncer_sleeps: Waiting::Nobody,
            spare: None,
            roll_needs: None,
            attempts: 0,
            attempt_error: None,
            settled_bytes,
            closed: Closed::No,
            data_end,
            state_span,
            stats: AppendStats::default(),
            writer,
        };
        appender.set_limits();
        // A sync that is only ever asked for needs no thread until there is something to mark.
        if options.sync == Sync::OnRequest {
            appender.syncer_sleeps = Waiting::Somebody;
        }
        appender
    }

    fn capacity(&self) -> u64 {
        self.writer.segment().header().capacity
    }

    fn set_limits(&mut self) {
        self.data_limit = self.capacity().saturating_sub(CONTROL_RESERVE_BYTES.saturating_add(SEAL_RESERVE_BYTES));
    }

    /// Notes that a frame of the active segment has state entries.
    fn note_state(&mut self, stored: &Appended, stride: u64) {
        let last = Place::new(self.data_end.segment, stored.end);
        let place = Place { position: stored.end.saturating_sub(stride), ..last };
        let first = self.state_span.map_or(Line { place, offset: stored.first }, |span| span.first);
        self.state_span = Some(StateSpan { first, last });
    }

    /// No checkpoint holds what came behind `line`.
    pub(crate) fn recall_state(&mut self, line: Line) {
        self.state_span = Some(StateSpan { first: line, last: self.tail().place });
    }

    /// State entries before `line` are in a checkpoint.
    pub(crate) fn forget_state(&mut self, line: Line) {
        let behind = self.state_span.filter(|span| span.last > line.place);
        self.state_span = behind.map(|span| StateSpan { first: span.first.max(line), ..span });
    }

    /// Where the log ends.
    pub(crate) fn tail(&self) -> Line {
        let place = Place::new(self.writer.segment().header().number, self.writer.tail());
        Line { place, offset: self.writer.next_offset() }
    }

    /// Whether a frame may go to the tail now.
    #[inline]
    fn takes(&self, stride: u64, room: Room) -> bool {
        match room {
            Room::Data => {
                let end = self.writer.tail().saturating_add(stride);
                self.roll_needs.is_none() && end <= self.data_limit && self.writer.has_offsets()
            }
            Room::Reserve => {
                let left = self.capacity().saturating_sub(SEAL_RESERVE_BYTES.saturating_add(CONTROL_ONLY_BYTES));
                self.writer.tail().saturating_add(stride) <= left
            }
            Room::Behind(number) => self.writer.segment().header().number > number,
        }
    }

    /// Stores a frame and makes it visible; then `after`, with its end, before anything else can happen.
    #[inline]
    pub(crate) fn store(&mut self, body: &Body<'_>, time: Timestamp, after: impl FnOnce(Place)) -> Option<Appended> {
        self.storing = Storing::Yes;
        let appended = self.writer.append(body, time);
        if let Some(appended) = &appended {
            after(Place::new(self.data_end.segment, appended.end));
        }
        self.storing = Storing::No;
        appended
    }

    /// Stores a control frame; apart from [`Appender::store`], so that the path of records stays in one piece.
    #[cold]
    fn store_control(&mut self, body: &Body<'_>, time: Timestamp) -> Option<Appended> {
        self.store(body, time, |_| ())
    }

    /// Appends a frame that carries a durable line, if there is room for it besides the seal, and the log is not closed.
    pub(crate) fn append_line(&mut self, kind: Kind, durable: Line, now: Timestamp) -> Option<Appended> {
        let bytes = LineBody { durable, time_max: self.writer.time_max() }.encode();
        let body = Body::Control { kind, bytes: &bytes };
        let left = match kind {
            Kind::Seal => 0,
            Kind::Close => SEAL_RESERVE_BYTES,
            _ => SEAL_RESERVE_BYTES.saturating_add(START_RESERVE_BYTES),
        };
        let appended = self.append_control(&body, left, now);
        if kind == Kind::Close && appended.is_some() {
            self.closed = Closed::Yes;
        }
        appended
    }

    /// Appends a start line, if there is room for it besides close frame and seal. Returns where it ends.
    pub(crate) fn append_start(&mut self, start: StartLine, now: Timestamp) -> Option<Place> {
        let bytes = start.encode();
        let body = Body::Control { kind: Kind::StartLine, bytes: &bytes };
        let appended = self.append_control(&body, SEAL_RESERVE_BYTES.saturating_mul(2), now)?;
        Some(Place::new(self.data_end.segment, appended.end))
    }

    /// Appends a control frame, if it leaves so much of the segment, and the log is not closed.
    fn append_control(&mut self, body: &Body<'_>, left: u64, now: Timestamp) -> Option<Appended> {
        let limit = self.capacity().saturating_sub(left);
        if self.is_broken() || self.is_closed() || self.writer.tail().saturating_add(body.stride()) > limit {
            return None;
        }
        self.store_control(body, now)
    }

    /// Refuses appends from now on, with this as the reason; the first reason stays.
    pub(crate) fn refuse(&mut self, error: Error) {
        self.refusal.get_or_insert(error);
    }

    /// Whether the close frame is stored.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed == Closed::Yes
    }

    /// Whether a thread unwound while it stored a frame.
    fn is_broken(&self) -> bool {
        self.storing == Storing::Yes
    }
}

impl Core {
    /// Appends one frame of records; it is visible when this returns.
    #[inline]
    pub(crate) fn append(&self, body: &Body<'_>) -> Result<Ticket<'_>> {
        self.append_on(body, &mut Unconditional)
    }

    /// Appends one frame on terms; it is visible when this returns.
    ///
    /// # Errors
    /// Why the terms stop it, or why the log does.
    #[inline]
    pub(crate) fn append_on<T: Terms>(
        &self,
        body: &Body<'_>,
        terms: &mut T,
    ) -> std::result::Result<Ticket<'_>, T::Stop> {
        if self.fork.is_child() {
            return Err(forked().into());
        }
        let (stride, room) = (body.stride(), terms.room(body));
        let time = self.disk.now();
        let mut held = T::hold(self);
        let mut appender = self.appender.lock();
        while appender.storing == Storing::Yes || appender.refusal.is_some() || !appender.takes(stride, room) {
            drop(held);
            appender = self.wait_for_roll(appender, stride, room)?;
            held = if let Some(held) = T::try_hold(self) {
                held
            } else {
                drop(appender);
                let held = T::hold(self);
                appender = self.appender.lock();
                held
            };
        }
        terms.admit(&held, &appender)?;
        let Some(stored) = terms.store(&mut held, &mut appender, body, time) else {
            return Err(self.too_large(body.frame_length()).into());
        };
        drop(held);
        let segment = appender.data_end.segment;
        appender.data_end.position = stored.end;
        if body.state_count() > 0 {
            appender.note_state(&stored, stride);
        }
        appender.stats.count(body.record_count(), stride);
        // State alone wakes no reader.
        let readers_wait = body.record_count() > 0 && appender.readers_wait.take();
        let syncer_sleeps = appender.syncer_sleeps.take();
        let populate = stored.end >= appender.populate_at;
        if populate {
            appender.populate_at = POPULATE_NOW;
        }
        drop(appender);
        if readers_wait {
            self.visible_moved.notify();
        }
        if populate {
            self.preparer.wake();
        }
        if syncer_sleeps {
            self.syncer.wake();
        }
        let next = stored.first.after(body.record_count().into());
        Ok(Ticket { core: self, end: Place::new(segment, stored.end), first: stored.first, next })
    }

    /// Decides terms for the end of the log, and stores nothing.
    ///
    /// # Errors
    /// As for [`Core::append_on`].
    pub(crate) fn admit_only<T: Terms>(&self, terms: &mut T) -> std::result::Result<Line, T::Stop> {
        self.check_fork()?;
        let held = T::hold(self);
        let appender = self.appender.lock();
        if let Some(refusal) = &appender.refusal {
            return Err(refusal.clone().into());
        }
        terms.admit(&held, &appender)?;
        Ok(appender.tail())
    }

    /// Waits until the log rolled or may roll, or says why it cannot.
    #[cold]
    fn wait_for_roll<'a>(
        &'a self,
        mut appender: MutexGuard<'a, Appender>,
        stride: u64,
        room: Room,
    ) -> Result<MutexGuard<'a, Appender>> {
        let since = Instant::now();
        let attempts = appender.attempts;
        let stalls = u64::from(!matches!(room, Room::Behind(_)));
        appender.stats.stalls = appender.stats.stalls.saturating_add(stalls);
        let result = loop {
            if appender.is_broken() {
                drop(appender);
                return Err(self.poison_by_panic());
            }
            if let Some(refusal) = &appender.refusal {
                break Err(refusal.clone());
            }
            if appender.takes(stride, room) {
                break Ok(());
            }
            let needs = appender.roll_needs.map_or(stride, |needs| needs.max(stride));
            let durable = self.durability.lock().durable.place;
            let proven = self.catalog.read().unproven(durable) < self.options.unproven_segments_max;
            let roomy = appender.spare.as_ref().is_some_and(|spare| spare.holds(needs));
            if proven && roomy {
                if let Some(spare) = appender.spare.take() {
                    self.roll(&mut appender, spare);
                }
                continue;
            }
            if appender.attempts > attempts
                && let Some(error) = appender.attempt_error.clone()
            {
                appender.roll_needs = None;
                break Err(error);
            }
            appender.roll_needs = Some(needs);
            if self.is_manual() {
                drop(appender);
                let _whether_any = if proven { self.prepare_step() } else { self.sync_sealed_step() };
                appender = self.appender.lock();
            } else {
                let helper = if proven { &self.preparer } else { &self.syncer };
                helper.wake();
                self.rolled.wait(&mut appender);
            }
        };
        if result.is_err() {
            // Others wait for the same roll; they find out for themselves.
            self.rolled.notify_all();
        }
        appender.stats.stalled = appender.stats.stalled.saturating_add(since.elapsed());
        result.map(|()| appender)
    }

    /// Goes on in the next segment, if there are records in this one.
    pub(crate) fn roll_if_used(&self) -> Result<()> {
        let appender = self.appender.lock();
        let header = *appender.writer.segment().header();
        if appender.writer.next_offset() == header.first_offset {
            return Ok(());
        }
        self.wait_for_roll(appender, 0, Room::Behind(header.number)).map(|_| ())
    }

    /// Seals the active segment and goes on in `spare`.
    fn roll(&self, appender: &mut Appender, spare: Spare) {
        let durable = self.durability.lock().durable;
        let now = self.disk.now();
        let sealed = appender.append_line(Kind::Seal, durable, now);
        assert!(sealed.is_some(), "every segment keeps room for its seal");
        // Behind a seal nothing may be stored: an unwinding from here on poisons the log.
        appender.storing = Storing::Yes;
        let old = *appender.writer.segment().header();
        let end = appender.tail();
        let header = SegmentHeader {
            number: spare.number,
            incarnation: spare.incarnation,
            first_offset: end.offset,
            predecessor: Some(Link { number: old.number, incarnation: old.incarnation, end: end.place.position }),
            durable,
            created: now,
            time_max: appender.writer.time_max(),
            capacity: spare.blank.region().length(),
            ..old
        };
        let populated = spare.populated;
        let writer = spare.blank.activate(&header);
        let mut writer = writer.expect("a spare has room for its header");
        writer.append(&Body::Control { kind: Kind::Session, bytes: &spare.session }, now);
        let handle = Handle::Open { segment: std::sync::Arc::clone(writer.segment()), file: spare.file };
        appender.writer = writer;
        appender.settled_bytes = appender.settled_bytes.saturating_add(end.place.position);
        appender.data_end = appender.tail().place;
        appender.populate_at = populated / 2;
        appender.roll_needs = None;
        appender.stats.rolls = appender.stats.rolls.saturating_add(1);
        appender.set_limits();
        self.catalog.write().roll(end.place.position, Entry { header, end: None, handle });
        appender.storing = Storing::No;
        if appender.readers_wait.take() {
            self.visible_moved.notify();
        }
        self.rolled.notify_all();
        self.preparer.wake();
        self.syncer.wake();
    }

    /// How large the spare for the next roll should be.
    pub(crate) fn spare_capacity(&self, appender: &Appender) -> u64 {
        // Who rolls without a frame to store compacts the log: what there was says nothing of what comes.
        let compacted = appender.roll_needs == Some(0);
        let live = if compacted { 0 } else { appender.settled_bytes.saturating_add(appender.writer.tail()) };
        let needed = appender.roll_needs.map_or(0, |needs| needs.saturating_add(OVERHEAD_BYTES));
        next_capacity(&self.options, live, needed)
    }
}

/// Closes the appender: what comes later is refused.
pub(crate) fn close(appender: &mut Appender) {
    appender.refuse(closed());
}

impl Spare {
    /// Whether a frame of this many bytes fits behind the header and before the reserves.
    pub(crate) fn holds(&self, stride: u64) -> bool {
        stride.saturating_add(OVERHEAD_BYTES) <= self.blank.region().length()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::ErrorKind;
    use crate::log::{Background, LogSource, ReadLine, Reader};

    #[test]
    fn after_a_panic_while_storing_nothing_more_is_acknowledged_and_everybody_is_told() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let log = Options::new().background(Background::Manual).open(folder.path()).expect("opens");
        log.append(b"safe").expect("appends").wait().expect("syncs");
        let core: std::sync::Arc<Core> = std::sync::Arc::clone(&log.handle.core);
        core.appender.lock().storing = Storing::Yes;
        let ticket = log.core().appender.lock().tail();
        assert_eq!(core.end(ReadLine::Visible), ticket);
        let error = log.append(b"x").expect_err("a frame may be half stored");
        assert_eq!(error.kind(), ErrorKind::Poisoned);
        assert_eq!(log.sync().expect("all that is visible was durable before"), ());
        let mut reader: Reader = log.reader();
        assert_eq!(reader.poll().expect("reads").expect("one record").len(), 1);
        let told = reader.poll_wait(Duration::from_secs(60)).expect_err("nothing comes");
        assert_eq!(told.kind(), ErrorKind::Poisoned);
        assert_eq!(log.close().expect_err("poisoned").kind(), ErrorKind::Poisoned);
    }

    #[test]
    fn a_sync_long_after_the_last_append_wakes_the_syncer_for_the_last_mark() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let log = Options::new().background(Background::Manual).open(folder.path()).expect("opens");
        let ticket = log.append(b"a").expect("appends");
        log.core().appender.lock().syncer_sleeps = Waiting::Somebody;
        ticket.wait().expect("syncs");
        assert_eq!(log.core().appender.lock().syncer_sleeps, Waiting::Nobody, "it was told");
        log.background_step();
        let attached = crate::log::Attached::open(folder.path()).expect("attaches");
        assert_eq!(attached.durable(), ticket.offsets().end);
    }
}
