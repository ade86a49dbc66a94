//! The log of this process, as readers see it.

use std::sync::Arc;
use std::time::Duration;

use super::appender::Waiting;
use super::catalog::{Catalog, Entry, Handle, copy_for_reading, map_for_reading};
use super::clean::least_start;
use super::core::Core;
use super::epochs::Epochs;
use super::index::Index;
use super::reader::{Limit, LogSource, ReadLine, ReadMode};
use super::window::{Store, View};
use crate::error::{Error, Result};
use crate::platform::Disk;
use crate::sync::Ordering;
use crate::types::{Line, Offset, Place, Topic};

impl Core {
    /// A poisoned log shows what is durable, and nothing else.
    fn line_shown(&self, line: ReadLine) -> ReadLine {
        // Relaxed: the line itself is read under its lock.
        if self.is_poisoned() { ReadLine::Durable } else { line }
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    /// Whether the state may be shown, and what is the latest.
    pub(crate) fn check_state(&self) -> Result<()> {
        self.check_fork()?;
        Core::ended(self).map_or(Ok(()), Err)
    }
}

/// Up to where a file is read on that is not part of the log any more: where all of it is at hand, and durable.
fn left_over(place: Place, view: &View) -> Option<Limit> {
    let Store::Mapped(segment) = &view.store else { return None };
    let position = segment.published();
    (place.position < position).then_some(Limit { position, sure: true, over: false })
}

impl Core {
    fn open_view(&self, entry: &Entry, mode: ReadMode) -> Result<View> {
        if mode == ReadMode::Copy {
            return copy_for_reading(&*self.disk, entry);
        }
        let open = match &entry.handle {
            Handle::Open { segment, .. } => Some(Arc::clone(segment)),
            Handle::Cold(segment) => segment.upgrade(),
        };
        if let Some(segment) = open {
            return Ok(View::mapped(segment));
        }
        let segment = map_for_reading(&*self.disk, entry)?;
        self.catalog.write().remember(&segment);
        Ok(View::mapped(segment))
    }
}

impl LogSource for Core {
    fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    fn start(&self) -> Offset {
        self.start.lock().offset
    }

    fn topics_start(&self, topics: &[Topic]) -> Offset {
        least_start(&self.state.read(), topics)
    }

    fn epochs(&self) -> Epochs {
        self.epochs.clone()
    }

    fn end(&self, line: ReadLine) -> Line {
        match self.line_shown(line) {
            ReadLine::Visible => self.appender.lock().tail(),
            ReadLine::Durable => self.durability.lock().durable,
        }
    }

    fn entry(&self, find: &dyn Fn(&Catalog) -> Option<Entry>) -> Result<Option<Entry>> {
        Ok(find(&self.catalog.read()))
    }

    fn replacements(&self) -> u64 {
        self.catalog.read().replacements()
    }

    fn view(&self, entry: &Entry, mode: ReadMode) -> Result<View> {
        let view = self.open_view(entry, mode);
        if view.is_err() {
            // Another file may be taking its place: who asks the catalog again then finds that one.
            self.clean.wait_for_names();
        }
        view
    }

    fn index(&self) -> &Index {
        &self.index
    }

    fn check_lookups(&self) -> Result<()> {
        self.check_state()
    }

    fn limit(&self, place: Place, view: &View, line: ReadLine) -> Option<Limit> {
        let line = self.line_shown(line);
        if let (Store::Mapped(segment), ReadLine::Visible) = (&view.store, line) {
            let published = segment.published();
            if place.position < published {
                return Some(Limit { position: published, sure: true, over: false });
            }
        }
        let (published, end) = {
            let catalog = self.catalog.read();
            let Some(entry) = catalog.of(&view.header) else { return left_over(place, view) };
            let published = match (&view.store, &entry.handle) {
                (Store::Mapped(segment), _) | (Store::File(_), Handle::Open { segment, .. }) => segment.published(),
                (Store::File(_), Handle::Cold(_)) => 0,
            };
            // Once the segment has an end, all of it is published.
            (entry.end.unwrap_or(published), entry.end)
        };
        let position = match line {
            ReadLine::Visible => published,
            ReadLine::Durable => {
                let durable = self.durability.lock().durable.place;
                match durable.segment.cmp(&place.segment) {
                    std::cmp::Ordering::Less => 0,
                    std::cmp::Ordering::Equal => durable.position.min(published),
                    std::cmp::Ordering::Greater => published,
                }
            }
        };
        Some(Limit { position, sure: true, over: end == Some(position) })
    }

    fn is_readable(&self, sealed: &Entry, line: ReadLine) -> bool {
        let Some(end) = sealed.end else { return false };
        match self.line_shown(line) {
            ReadLine::Visible => true,
            ReadLine::Durable => self.durability.lock().durable.place >= Place::new(sealed.number(), end),
        }
    }

    fn wait(&self, place: Place, line: ReadLine, timeout: Duration) {
        // The ticket comes first: whatever is not seen by the looks that follow changes the generation after it.
        let (wake, ticket) = match self.line_shown(line) {
            ReadLine::Visible => {
                let mut appender = self.appender.lock();
                let ticket = self.visible_moved.ticket();
                if appender.tail().place > place {
                    return;
                }
                appender.readers_wait = Waiting::Somebody;
                (&self.visible_moved, ticket)
            }
            ReadLine::Durable => {
                let durability = self.durability.lock();
                let ticket = self.durable_moved.ticket();
                if durability.durable.place > place {
                    return;
                }
                (&self.durable_moved, ticket)
            }
        };
        if self.ended().is_none() {
            wake.wait(ticket, timeout);
        }
    }

    fn ended(&self) -> Option<Error> {
        Core::ended(self)
    }
}
