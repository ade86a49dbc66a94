//! What of a log may be dropped, looked at from outside.
//!
//! Guarantees:
//! 1. What is said is what an open log would say, of the moment at which the state was read.

use std::collections::BTreeSet;

use super::Attached;
use super::follow::is_replaced;
use crate::error::Result;
use crate::log::catalog::copy_for_reading;
use crate::log::contract::{Holder, Part, has_topics, holders};
use crate::log::reader::{LogSource, ReadLine};
use crate::log::retention::{Aim, Retention, RetentionReport, Shape};
use crate::types::{Offset, Timestamp, Topic};

/// Whether a part has records of one of these topics, from an offset on.
type Has<'a> = dyn FnMut(&Part, Offset, &BTreeSet<Topic>) -> bool + 'a;

impl Attached {
    /// The cursors that keep retention from dropping something; the one that holds most comes first.
    ///
    /// # Errors
    /// As for [`Attached::state`] and [`Attached::segments`].
    pub fn who_holds(&self) -> Result<Vec<Holder>> {
        self.told(&|shape, has| holders(&shape.standings, &shape.parts, has))
    }

    /// What would go if the log were opened with this retention, and what holds the rest.
    ///
    /// # Errors
    /// As for [`Attached::who_holds`].
    pub fn retention_plan(&self, retention: Retention) -> Result<RetentionReport> {
        let now = self.shared.disk.now();
        self.told(&|shape, has| shape.report(&shape.plan(Aim::Policy(retention, now), u64::MAX, has)))
    }

    /// What there is to tell; looked at anew if a segment was replaced or dropped that was asked for its topics.
    fn told<T>(&self, tell: &dyn Fn(&Shape, &mut Has<'_>) -> T) -> Result<T> {
        self.shared.settled(&|| {
            let shape = self.shape()?;
            let mut gone = None;
            let told = tell(&shape, &mut |part, from, topics| {
                self.has(part, from, topics).unwrap_or_else(|error| {
                    gone = Some(error);
                    true
                })
            });
            gone.map_or(Ok(told), Err)
        })
    }

    fn shape(&self) -> Result<Shape> {
        // The cursors first: what they hold is in the log then.
        let standings = self.state()?.standings();
        let segments = self.segments()?;
        let end = self.shared.end(ReadLine::Visible);
        let ends = segments.iter().skip(1).map(|next| next.base_offset).chain([end.offset]);
        let parts = segments.iter().zip(ends).map(|(segment, end)| Part {
            number: segment.number,
            first: segment.base_offset,
            end,
            bytes: segment.bytes,
            time_max: segment.last_time.unwrap_or(Timestamp::from_nanoseconds(i64::MIN)),
        });
        let (start, durable, replacements) = {
            let state = self.shared.state.lock();
            // An open makes durable what it keeps.
            let durable = if self.shared.writer.is_some() { state.durable } else { end };
            (state.start, durable, state.catalog.replacements())
        };
        Ok(Shape { parts: parts.collect(), start, durable, replacements, standings })
    }

    fn has(&self, part: &Part, from: Offset, topics: &BTreeSet<Topic>) -> Result<bool> {
        let entry = self.shared.state.lock().catalog.get(part.number).cloned();
        // Where all parts were, others are by now: they are held until it is known what they are.
        let Some(entry) = entry else { return Ok(true) };
        match copy_for_reading(&*self.shared.disk, &entry) {
            Ok(view) => Ok(has_topics(&view, from, entry.end.unwrap_or(part.bytes), topics)),
            Err(error) if is_replaced(&error) => Err(error),
            // What cannot be read is held.
            Err(_) => Ok(true),
        }
    }
}
