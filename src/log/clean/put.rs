//! Segments written anew take the place of those that they stand for, in a log that is open.
//!
//! Guarantees:
//! 1. The log is the one before or the one after, whatever dies when: an output is durable before it takes its name, and its
//!    name before what it stands for is unlinked. If that it is durable cannot be had, nothing is unlinked, and the cleaner
//!    stops: what went from older segments may come back, and with it what a later run would no longer know of.
//! 2. What retention let go meanwhile stays gone, and no segment is merged into one that it let go. What a cursor came to hold
//!    meanwhile stays: whether one did is decided with all commits waiting, until the new segment is in place.
//! 3. An output is begun only while the next segment is prepared, or in space that was given up for it: appends do not find the
//!    disk full because of the cleaner. What fails leaves no draft behind, if it can be removed.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::ops::Range;

use super::draft::unlike;
use super::group::{Member, bytes_max};
use super::judge::Judged;
use super::passed::Passed;
use super::report::Replaced;
use super::rewrite::{Choice, Job, discard, put_in_place, rewrite};
use super::run::Run;
use super::stretches::Ahead;
use crate::error::{Error, ErrorKind, Result};
use crate::format::header::SegmentHeader;
use crate::format::record::thin::{Fate, Part};
use crate::format::{FRAMES_START, segment_name};
use crate::log::catalog::Entry;
use crate::log::contract::standings;
use crate::log::core::Core;
use crate::log::reader::{LogSource, ReadMode};
use crate::log::survey::io_error;
use crate::types::{Offset, length};

/// Neighbours that become one segment.
pub(super) struct Group<'a> {
    pub(super) entries: Vec<Entry>,
    pub(super) members: &'a [Member],
    pub(super) judged: &'a [Judged],
    /// When that was judged.
    pub(super) passed: &'a Passed,
}

/// Whether a group took the place of what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    Done,
    /// It is not part of the log any more, in whole or in part, or a cursor holds what would go.
    Left,
}

impl<'a> Group<'a> {
    /// Bytes of what it stands for.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.iter().filter_map(|entry| entry.end).fold(0, u64::saturating_add)
    }

    fn offsets(&self) -> Range<Offset> {
        let begin = self.members.first().map(|first| first.offsets.0).unwrap_or_default();
        begin..self.members.last().map(|last| last.offsets.1).unwrap_or_default()
    }

    /// Its segments of which something goes, each for itself.
    fn singles(&self) -> impl Iterator<Item = Group<'a>> {
        let parts = self.entries.iter().zip(self.members.chunks(1)).zip(self.judged.chunks(1));
        let loses = |members: &[Member]| members.iter().any(|member| member.parts_dropped > 0);
        parts.filter(move |((_, members), _)| loses(members)).map(|((entry, members), judged)| Group {
            entries: vec![entry.clone()],
            members,
            judged,
            passed: self.passed,
        })
    }
}

/// Goes by what was judged.
pub(super) struct Marked<'a> {
    judged: &'a [Judged],
    current: Option<(&'a Judged, Ahead<'a>)>,
    /// Of the next part.
    ordinal: u64,
}

impl<'a> Marked<'a> {
    pub(super) fn new(judged: &'a [Judged]) -> Self {
        Self { judged, current: None, ordinal: 0 }
    }
}

impl Choice for Marked<'_> {
    fn begin(&mut self, segment: &SegmentHeader) {
        let judged = self.judged.iter().find(|judged| judged.number == segment.number);
        self.current = judged.map(|judged| (judged, judged.stretches.ahead()));
        self.ordinal = 0;
    }

    fn passed(&mut self, position: u64) -> Option<(u64, Offset)> {
        let (judged, ahead) = self.current.as_mut()?;
        let mut behind = None;
        while let Some((parts, next)) = ahead.at(behind.map_or(position, |(position, _)| position)) {
            if parts.start != self.ordinal || judged.dropped.shared(parts.clone()) != Some(Fate::Drop) {
                break;
            }
            self.ordinal = parts.end;
            behind = Some((next.position, next.offset));
        }
        behind
    }

    fn shared(&mut self, parts: u32) -> Option<Fate> {
        let end = self.ordinal.saturating_add(parts.into());
        let shared = self.current?.0.dropped.shared(self.ordinal..end)?;
        self.ordinal = end;
        Some(shared)
    }

    fn fate(&mut self, _part: &Part<'_>) -> Fate {
        let goes = self.current.is_some_and(|(judged, _)| judged.dropped.contains(self.ordinal));
        self.ordinal = self.ordinal.saturating_add(1);
        if goes { Fate::Drop } else { Fate::Keep }
    }

    fn ended(&mut self) -> bool {
        self.current.is_some_and(|(judged, _)| judged.parts == self.ordinal)
    }
}

impl Run<'_> {
    /// Writes a group. If the disk is full, space is given up for it, and its segments are written one by one.
    pub(super) fn write_group(&mut self, group: &Group<'_>) -> Result<Put> {
        let full = match self.core.check_spare().and_then(|()| self.write_one(group)) {
            Err(error) if error.kind() == ErrorKind::OutOfSpace => error,
            done => return done,
        };
        if !self.core.clean.give_up_ballast(&*self.core.disk) {
            return Err(full);
        }
        let mut done = Ok(Put::Done);
        for single in group.singles() {
            done = self.write_one(&single);
            if !matches!(done, Ok(Put::Done)) {
                break;
            }
        }
        self.core.hold_ballast();
        done
    }

    fn write_one(&mut self, group: &Group<'_>) -> Result<Put> {
        let core = self.core;
        let mut job = Job {
            disk: &*core.disk,
            inputs: &group.entries,
            view: &|entry| core.view(entry, ReadMode::Map),
            bytes_max: bytes_max(group.members),
            pace: &mut |bytes| self.pace(bytes),
        };
        let mut choice = Marked::new(group.judged);
        let header = match rewrite(&mut job, &mut choice) {
            Ok(header) => header,
            Err(_) if !core.holds(&group.entries) => return Ok(Put::Left),
            Err(error) => return Err(error),
        };
        let kept = group.judged.iter().fold(0, |sum, judged| judged.records_kept.saturating_add(sum));
        if header.rewritten.is_none_or(|rewritten| rewritten.records != kept) {
            discard(&*core.disk, header.number);
            return Err(unlike(&core.disk.directory().join(segment_name(header.number)), "the number of its records"));
        }
        let Some(entry) = core.put(group, &header)? else { return Ok(Put::Left) };
        self.report.replaced.add(&Replaced {
            segments_before: length(group.entries.len()),
            segments_after: 1,
            records_before: group.judged.iter().fold(0, |sum, judged| sum.saturating_add(judged.records)),
            records_after: kept,
            bytes_before: group.bytes(),
            bytes_after: entry.end.unwrap_or_default(),
        });
        core.clean.note_judged([&entry]);
        Ok(Put::Done)
    }
}

impl Core {
    /// Whether all of these are part of the log.
    fn holds(&self, inputs: &[Entry]) -> bool {
        let start = self.start.lock().segment;
        let catalog = self.catalog.read();
        inputs.iter().all(|input| input.number() >= start && catalog.of(&input.header).is_some())
    }

    /// Refuses to take space while the next segment has none.
    fn check_spare(&self) -> Result<()> {
        // That it failed for whoever asked before says nothing of the room that there is now.
        self.appender.lock().attempt_error = None;
        self.prepare_step();
        let appender = self.appender.lock();
        if appender.spare.is_some() {
            return Ok(());
        }
        let cause = appender.attempt_error.clone();
        let kind = cause.as_ref().map_or(ErrorKind::OutOfSpace, Error::kind);
        let error = Error::new(kind, "not rewritten: the next segment could not be prepared")
            .at_path(self.disk.directory())
            .next_step("make room on the disk");
        Err(match cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        })
    }

    /// Puts a draft in the place of what it stands for, on the disk and in the catalog. `None`: that is not all there any more, or
    /// not as it was judged.
    fn put(&self, group: &Group<'_>, header: &SegmentHeader) -> Result<Option<Entry>> {
        let inputs = &group.entries;
        let (changing, entry) = {
            // Retention lets segments go under the same lock.
            let _checkpointing = self.checkpointing.lock();
            self.check_open().inspect_err(|_| discard(&*self.disk, header.number))?;
            // Commits that move cursors wait from here on; those that come later find the new segment.
            let state = self.state.read();
            let passed = self.passed_by(&standings(&state));
            if !self.holds(inputs) || passed.went_back(group.passed, &group.offsets()) {
                discard(&*self.disk, header.number);
                return Ok(None);
            }
            let changing = self.directory_syncs.begin();
            let _naming = self.clean.naming.lock();
            let entry = put_in_place(&*self.disk, header)?;
            self.catalog.write().replace(entry.clone());
            (changing, entry)
        };
        let before = inputs.iter().filter_map(|input| input.end).fold(0, u64::saturating_add);
        let mut appender = self.appender.lock();
        let after = entry.end.unwrap_or(FRAMES_START);
        appender.settled_bytes = appender.settled_bytes.saturating_sub(before).saturating_add(after);
        drop(appender);
        self.directory_syncs.sync(&*self.disk, &changing).map_err(|error| {
            let error = io_error(&*self.disk, "make the name of a rewritten segment durable", "", error);
            self.clean.stop(&error);
            error
        })?;
        for (at, input) in inputs.iter().enumerate() {
            self.index.forget(&*self.disk, input.number());
            if at > 0 {
                // One that stays is removed by the next open.
                let _removed_later = self.disk.unlink(&segment_name(input.number()));
            }
        }
        Ok(Some(entry))
    }

    /// Gives back space that an earlier process held, if nothing is cleaned any more.
    pub(crate) fn settle_ballast(&self) {
        if self.options.policies.is_empty() {
            self.clean.give_up_ballast(&*self.disk);
        }
    }

    /// Holds as much space as the next segment takes, while something may be cleaned.
    pub(crate) fn hold_ballast(&self) {
        if self.options.policies.is_empty() || self.check_open().is_err() {
            return;
        }
        let bytes = self.spare_capacity(&self.appender.lock());
        self.clean.hold_ballast(&*self.disk, bytes);
    }
}
