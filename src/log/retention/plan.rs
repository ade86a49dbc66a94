//! How far the log may be dropped, and what stops it there.
//!
//! Guarantees:
//! 1. The new start is the least of all limits, and never lower than the one before.
//! 2. A policy drops whole segments; by hand the log may begin inside one.

use std::collections::BTreeSet;

use super::{Held, HeldBy, Retention, RetentionReport};
use crate::format::control::StartLine;
use crate::log::contract::{Part, Standing, bytes_from, holders};
use crate::types::{Line, Offset, Timestamp, Topic};

/// What is to be dropped.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Aim {
    /// What a policy does not keep, at this time.
    Policy(Retention, Timestamp),
    /// All before this offset.
    Offset(Offset),
}

/// A log, as retention sees it.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// Oldest first; the last one is in use. Never empty.
    pub(crate) parts: Vec<Part>,
    pub(crate) start: StartLine,
    pub(crate) durable: Line,
    /// How often a segment had been put in the place of others.
    pub(crate) replacements: u64,
    pub(crate) standings: Vec<Standing>,
}

/// How far the log may be dropped.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) target: StartLine,
    /// Up to which segment it would go if every checkpoint lay high enough.
    pub(crate) wants: u64,
    held: Vec<(HeldBy, Offset)>,
}

impl Aim {
    /// Where the log would begin if nothing held it.
    pub(crate) fn wanted(&self, shape: &Shape) -> Offset {
        let (policy, now) = match self {
            Self::Offset(offset) => return *offset,
            Self::Policy(policy, now) => (policy, now),
        };
        let oldest = policy.age.map(|age| now.before(age));
        let mut bytes = bytes_from(&shape.parts, shape.start.offset);
        let mut wanted = shape.start.offset;
        let sealed = shape.parts.len().saturating_sub(1);
        for part in shape.parts.iter().take(sealed).filter(|part| part.number >= shape.start.segment) {
            let large = policy.bytes.is_some_and(|most| bytes > most);
            let old = oldest.is_some_and(|oldest| part.time_max < oldest);
            if !large && !old {
                break;
            }
            bytes = bytes.saturating_sub(part.bytes);
            wanted = wanted.max(part.end);
        }
        wanted
    }
}

impl Shape {
    /// Plans, for checkpoints of which the older lies in segment `checkpoint`. `has` says whether a part has records of
    /// topics from an offset on.
    pub(crate) fn plan(
        &self,
        aim: Aim,
        checkpoint: u64,
        has: &mut dyn FnMut(&Part, Offset, &BTreeSet<Topic>) -> bool,
    ) -> Plan {
        let first_of = |number: u64| self.parts.iter().find(|part| part.number >= number).map(|part| part.first);
        let mut held = vec![(HeldBy::Policy, aim.wanted(self))];
        for holder in holders(&self.standings, &self.parts, has) {
            held.push((HeldBy::Cursor { name: holder.cursor, contract: holder.contract }, holder.offset));
        }
        let in_use = self.parts.last().map(|last| last.first).unwrap_or_default();
        let durable = match aim {
            Aim::Offset(_) => self.durable.offset,
            Aim::Policy(..) => first_of(self.durable.place.segment).unwrap_or_default().min(in_use),
        };
        held.push((HeldBy::Active, durable));
        let free = self.segment_at(least(&held)).min(self.durable.place.segment);
        // By hand the log may begin behind it, and its segments go later.
        let checkpointed = first_of(checkpoint).unwrap_or_default();
        if checkpoint < free {
            held.push((HeldBy::Checkpoint, checkpointed));
        }
        let offset = match aim {
            Aim::Offset(_) => least(held.iter().filter(|(by, _)| *by != HeldBy::Checkpoint)),
            Aim::Policy(..) => self.begin_of(self.segment_at(least(&held))),
        };
        held.sort_by_key(|(_, offset)| *offset);
        let target =
            StartLine { offset: offset.max(self.start.offset), segment: free.min(checkpoint).max(self.start.segment) };
        Plan { target, wants: free, held }
    }

    /// The segment that holds an offset.
    fn segment_at(&self, offset: Offset) -> u64 {
        let holding = self.parts.iter().take_while(|part| part.first <= offset).last();
        holding.or(self.parts.first()).map_or(0, |part| part.number)
    }

    fn begin_of(&self, number: u64) -> Offset {
        self.parts.iter().find(|part| part.number == number).map(|part| part.first).unwrap_or_default()
    }

    /// What a plan comes to.
    pub(crate) fn report(&self, plan: &Plan) -> RetentionReport {
        let end = self.parts.last().map(|last| last.end).unwrap_or_default();
        let going = self.parts.iter().filter(|part| part.number < plan.target.segment);
        let (segments, bytes) = going
            .fold((0_u64, 0_u64), |(count, bytes), part| (count.saturating_add(1), bytes.saturating_add(part.bytes)));
        let held = plan.held.iter().map(|(by, offset)| Held {
            by: by.clone(),
            offset: *offset,
            records: end.since(*offset),
            bytes: bytes_from(&self.parts, *offset),
        });
        RetentionReport {
            start: plan.target.offset,
            segments,
            records: plan.target.offset.since(self.start.offset),
            bytes,
            held: held.collect(),
        }
    }
}

fn least<'a>(held: impl IntoIterator<Item = &'a (HeldBy, Offset)>) -> Offset {
    held.into_iter().map(|(_, offset)| *offset).min().unwrap_or_default()
}
