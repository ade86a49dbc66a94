//! What of a log may be dropped, looked at from outside.
//!
//! Guarantees:
//! 1. What is said is what an open log would say, of the moment at which the state was read.

use std::collections::BTreeSet;

use super::Attached;
use crate::error::Result;
use crate::log::catalog::copy_for_reading;
use crate::log::contract::{Holder, Part, has_topics, holders};
use crate::log::reader::{LogSource, ReadLine};
use crate::log::retention::{Aim, Retention, RetentionReport, Shape};
use crate::types::{Offset, Timestamp, Topic};

impl Attached {
    /// The cursors that keep retention from dropping something; the one that holds most comes first.
    ///
    /// # Errors
    /// As for [`Attached::state`] and [`Attached::segments`].
    pub fn who_holds(&self) -> Result<Vec<Holder>> {
        let shape = self.shape()?;
        Ok(holders(&shape.standings, &shape.parts, &mut |part, from, topics| self.has(part, from, topics)))
    }

    /// What would go if the log were opened with this retention, and what holds the rest.
    ///
    /// # Errors
    /// As for [`Attached::who_holds`].
    pub fn retention_plan(&self, retention: Retention) -> Result<RetentionReport> {
        let shape = self.shape()?;
        let aim = Aim::Policy(retention, self.shared.disk.now());
        Ok(shape.report(&shape.plan(aim, u64::MAX, &mut |part, from, topics| self.has(part, from, topics))))
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

    fn has(&self, part: &Part, from: Offset, topics: &BTreeSet<Topic>) -> bool {
        let entry = self.shared.state.lock().catalog.get(part.number).cloned();
        let Some(entry) = entry else { return true };
        let Ok(view) = copy_for_reading(&*self.shared.disk, &entry) else { return true };
        // Another file may have the number since the segments were listed.
        has_topics(&view, from, entry.end.unwrap_or(part.bytes), topics)
    }
}
