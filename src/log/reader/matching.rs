//! Reading with a filter: only records of some topics, or of one key.
//!
//! Guarantees:
//! 1. Each record that matches is handed out, in the order of the log, or an error says why not: damage and gaps where the
//!    reader looks are errors as without a filter.
//! 2. Of a frame that its header does not admit only the header is checked, and believed as to how long it is: damage in its
//!    body is not met. What an index file says holds nothing that matches is not looked at, nor its file opened; unless
//!    there is a gap behind.
//! 3. Where nobody vouches for what is there yet, at the tail of another process's log, each frame is checked in full.
//! 4. The position moves behind all that was looked at, whether it matched or not.

use std::sync::Arc;

use super::plan::{NEAR_BYTES, Next, Told};
use super::selection::Selection;
use super::{BATCH_BYTES, Left, Limit, Reader, Stop, Taken};
use crate::error::Result;
use crate::format::{FRAMES_START, Fault, Kind};
use crate::log::batch::FrameAt;
use crate::log::filter::Filter;
use crate::log::window::{Chunk, View};
use crate::segment::walk::{Frame, Frames, Step};
use crate::types::{Offset, Place, Topic, length};

/// How much is read at first where bodies may be long that nobody asks for.
const WINDOW_BYTES_MIN: u64 = 4096;

/// What a reader with a filter goes by.
#[derive(Debug)]
pub(super) struct Matching {
    pub(super) filter: Arc<Filter>,
    pub(super) told: Option<Told>,
    window: u64,
}

/// How far a look at some bytes came.
struct Looked {
    end: FrameAt,
    /// `None`: to where it was to go.
    stop: Option<Stop>,
}

/// Whether a segment was passed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    Yes,
    No,
}

impl Reader {
    /// Reads records of these topics alone, in place of any filter before. What is of other topics is stepped over by its
    /// frame's header, or, where the segment has an index file, not looked at: damage there is not met.
    ///
    /// What it reads begins where the first of these topics does ([`Log::topic_start`](crate::Log::topic_start)): a reader that
    /// was not sought goes there, and one that stands below is told by the poll that follows
    /// ([`ErrorKind::Trimmed`](crate::ErrorKind::Trimmed)). Of several topics those that begin later are missing up to there;
    /// whoever has to be told of each reads each by itself. Readers of an [`Attached`](crate::Attached) are not told.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// use esker::{Record, Topic};
    ///
    /// let log = esker::Log::open(folder.path())?;
    /// let payments = Topic::new(7).expect("not the reserved one");
    /// let _ = log.append_batch([Record::new(b"a"), Record::new(b"paid").topic(payments), Record::new(b"b")])?;
    /// let mut reader = log.reader().topics([payments]);
    /// let batch = reader.poll()?.expect("one record");
    /// assert_eq!((batch.len(), batch.first().get(), batch.next().get()), (1, 1, 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn topics(self, topics: impl IntoIterator<Item = Topic>) -> Self {
        self.filtered(Filter::topics(topics))
    }

    /// Reads records with this key in this topic alone, in place of any filter before. What else there is, is passed by as with
    /// [`Reader::topics`]. As [`Log::history`](crate::Log::history), but forward and back from any position, and on as records
    /// come.
    #[must_use]
    pub fn key<K: AsRef<[u8]> + ?Sized>(self, topic: Topic, key: &K) -> Self {
        self.filtered(Filter::key(topic, key.as_ref()))
    }

    fn filtered(mut self, filter: Filter) -> Self {
        self.matching = Some(Box::new(Matching { filter: Arc::new(filter), told: None, window: WINDOW_BYTES_MIN }));
        let start = self.start();
        if self.begin == Some(self.next) && self.next != start {
            self.seek_earliest();
        } else if self.next < start {
            // The poll that follows seeks, and is told.
            (self.view, self.place) = (None, Place::default());
        }
        if self.place.position == FRAMES_START {
            // Its index may say that the segment need not be opened.
            self.view = None;
        }
        self
    }

    pub(super) fn filter(&self) -> Option<Arc<Filter>> {
        self.matching.as_ref().map(|matching| Arc::clone(&matching.filter))
    }

    /// Goes over segments in which nothing matches, without opening them.
    pub(super) fn pass_over(&mut self) -> Result<()> {
        while self.view.is_none() && self.place.position == FRAMES_START {
            let number = self.place.segment;
            let Some(plan) = self.plan(&|catalog| catalog.get(number)).filter(|plan| plan.is_empty()) else { break };
            let header = plan.header;
            if self.leave(&header, self.next)? == Left::Nowhere {
                break;
            }
        }
        Ok(())
    }

    /// Goes back over the segment before the position, if nothing in it matches.
    pub(super) fn pass_back(&mut self, start: Offset) -> Passed {
        let next = self.next;
        let Some(plan) = self.plan(&|catalog| catalog.below(next)).filter(|plan| plan.is_empty()) else {
            return Passed::No;
        };
        let header = plan.header;
        self.view = None;
        self.stand_before(header.number, FrameAt { position: FRAMES_START, offset: header.first_offset }, start);
        Passed::Yes
    }

    /// Takes what matches in a piece of the segment at the position.
    pub(super) fn take_matching(&mut self, view: &View, limit: Limit) -> Result<Taken> {
        let Some(matching) = &self.matching else { return Ok(Taken::Control) };
        let (window, stands) = (matching.window, self.place);
        let (start, until, mut wanted) = match self.ahead(&view.header, limit.position) {
            Next::Unknown => (stands.position, limit.position, window),
            Next::Stretch(stretch) => {
                let bytes = stretch.end.saturating_sub(stretch.start);
                (stretch.start, stretch.end.min(limit.position), bytes.saturating_add(NEAR_BYTES))
            }
            Next::Nothing(end) => {
                self.go_on(end);
                return Ok(Taken::Control);
            }
        };
        let room = limit.position.saturating_sub(start);
        let (chunk, selection, from, looked) = loop {
            let loaded = view.store.load(start, wanted, limit.position);
            let chunk = loaded.map_err(|error| self.read_error(stands.segment, error))?;
            let jumped = start > stands.position;
            let offset = if jumped { view.offset_at(&chunk, start, limit.position) } else { Some(self.frame_offset) };
            let Some(offset) = offset.filter(|offset| *offset >= self.frame_offset) else {
                let _unknown: Next<()> = self.doubt(&view.header);
                return Ok(Taken::Control);
            };
            let from = FrameAt { position: start, offset };
            let mut selection = Selection::new(self.filter());
            let looked = self.look(view, &chunk, from, until, limit, &mut selection);
            match looked.stop {
                Some(Stop::Short { needed }) if looked.end == from && (wanted..=room).contains(&needed) => {
                    wanted = needed.max(wanted.saturating_add(1));
                }
                _ => break (chunk, selection, from, looked),
            }
        };
        if looked.end.position > from.position {
            self.widen(looked.end.position, start.saturating_add(length(chunk.bytes().len())));
            self.go_on(looked.end);
            let batch = selection.batch(chunk, view, looked.end.offset);
            return Ok(batch.map_or(Taken::Control, Taken::Batch));
        }
        self.go_on(from);
        match looked.stop {
            Some(stop) => self.stopped(&chunk, stop, limit),
            None => Ok(Taken::Control),
        }
    }

    /// What nobody asked for ended outside of the bytes at hand: then not to read it is worth more than to read on.
    fn widen(&mut self, reached: u64, loaded: u64) {
        if let Some(matching) = &mut self.matching {
            let wider = matching.window.saturating_mul(2).min(BATCH_BYTES);
            matching.window = if reached > loaded { WINDOW_BYTES_MIN } else { wider };
        }
    }

    fn go_on(&mut self, to: FrameAt) {
        self.place.position = to.position;
        self.frame_offset = to.offset;
        self.next = self.next.max(to.offset);
    }

    /// Goes over the frames in a chunk that begin before `until`.
    fn look(
        &self,
        view: &View,
        chunk: &Chunk,
        from: FrameAt,
        until: u64,
        limit: Limit,
        selection: &mut Selection,
    ) -> Looked {
        // No frame that is let by without a look at its body reaches past what is there.
        let frames = Frames { end: limit.position.min(view.frames.end), ..view.frames };
        let mut walk = frames.walk(chunk.bytes(), from.position, from.offset);
        let wanted = self.next..Offset::new(u64::MAX);
        let stop = loop {
            let before = (walk.position, walk.offset);
            if walk.position >= until {
                break None;
            }
            let stop = match walk.glance() {
                Step::Frame(frame)
                    if frame.header.kind == Kind::Gap && frame.next_offset() > self.next.max(frame.offset) =>
                {
                    Stop::Gap { lost: self.next.max(frame.offset)..frame.next_offset() }
                }
                Step::Frame(frame) if limit.sure && !selection.admits(&frame) => continue,
                Step::Frame(frame) => match check_whole(&frame) {
                    Ok(()) => {
                        selection.add(&frame, &wanted);
                        continue;
                    }
                    Err(stop) => stop,
                },
                Step::Zero => Stop::Fault(Fault::Missing),
                Step::Bad { fault, .. } => Stop::Fault(fault),
                Step::Short { needed } => Stop::Short { needed },
            };
            (walk.position, walk.offset) = before;
            break Some(stop);
        };
        let offset = view.frames.offset_at(walk.position, walk.offset);
        Looked { end: FrameAt { position: walk.position, offset }, stop }
    }
}

/// Checks a frame of which maybe only the header was looked at.
fn check_whole(frame: &Frame<'_>) -> std::result::Result<(), Stop> {
    if length(frame.body.len()) < frame.header.body_length() {
        return Err(Stop::Short { needed: frame.header.length.into() });
    }
    frame.check().map_err(Stop::Fault)
}
