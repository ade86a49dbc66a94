//! Which neighbours become one segment.
//!
//! Guarantees:
//! 1. Segments of a group are neighbours of one epoch, and what is kept of them fits one segment, offsets included.
//! 2. Each segment of which something goes is in one group.
//! 3. In the background nothing is written only to be merged unless it at least doubles: no record is written again and again.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::ops::Range;

use crate::format::FRAMES_START;
use crate::types::{Epoch, Offset};

/// A segment that may be rewritten.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    /// Its place among all segments.
    pub(crate) at: usize,
    pub(crate) epoch: Epoch,
    pub(crate) offsets: (Offset, Offset),
    /// What its frames take at most, once what goes is gone.
    pub(crate) bytes_kept: u64,
    pub(crate) parts_dropped: u64,
}

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eagerness {
    /// All that can be merged is.
    ByHand,
    Background,
}

/// The groups to rewrite, oldest first, as ranges of `members`; what is in none stays as it is.
pub(crate) fn groups(members: &[Member], segment_bytes: u64, eagerness: Eagerness) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for end in 1..=members.len() {
        let next = members.get(end);
        let group = members.get(start..end).unwrap_or_default();
        if next.is_none_or(|next| !fits(group, next, segment_bytes)) {
            choose(members, start..end, eagerness, &mut found);
            start = end;
        }
    }
    found
}

/// What a group takes at most as one segment.
pub(crate) fn bytes_max(group: &[Member]) -> u64 {
    group.iter().fold(FRAMES_START, |sum, member| sum.saturating_add(member.bytes_kept))
}

fn fits(group: &[Member], next: &Member, segment_bytes: u64) -> bool {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return false };
    last.at.checked_add(1) == Some(next.at)
        && last.epoch == next.epoch
        && next.offsets.1.since(first.offsets.0) <= u32::MAX.into()
        && bytes_max(group).saturating_add(next.bytes_kept) <= segment_bytes
}

/// Takes of a group what is worth its writing.
fn choose(members: &[Member], range: Range<usize>, eagerness: Eagerness, found: &mut Vec<Range<usize>>) {
    let group = members.get(range.clone()).unwrap_or_default();
    let untouched = |member: &Member| member.parts_dropped == 0;
    if eagerness == Eagerness::Background {
        // A segment of which nothing goes and that is most of the whole stays out of it.
        let whole = group.iter().fold(0_u64, |sum, member| sum.saturating_add(member.bytes_kept));
        let large = |member: &Member| untouched(member) && member.bytes_kept > whole / 2;
        if let Some(at) = group.iter().position(large) {
            let at = range.start.saturating_add(at);
            choose(members, range.start..at, eagerness, found);
            choose(members, at.saturating_add(1)..range.end, eagerness, found);
            return;
        }
    }
    if group.len() > 1 || !group.iter().all(untouched) {
        found.push(range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::length;

    /// Members of so many kept kilobytes; of those marked something goes.
    fn members(kept: &[(u64, bool)]) -> Vec<Member> {
        let member = |(at, (kept, goes)): (usize, &(u64, bool))| Member {
            at,
            epoch: Epoch { counter: 1, word: 1 },
            offsets: (Offset::new(length(at) * 100), Offset::new(length(at) * 100 + 100)),
            bytes_kept: kept << 10,
            parts_dropped: u64::from(*goes),
        };
        kept.iter().enumerate().map(member).collect()
    }

    fn ends(groups: Vec<Range<usize>>) -> Vec<(usize, usize)> {
        groups.into_iter().map(|group| (group.start, group.end)).collect()
    }

    fn plan(kept: &[(u64, bool)], eagerness: Eagerness) -> Vec<(usize, usize)> {
        ends(groups(&members(kept), (100 << 10) + FRAMES_START, eagerness))
    }

    #[test]
    fn neighbours_are_merged_as_far_as_they_fit_one_segment() {
        let kept = [(40, true), (40, true), (20, true), (1, true), (99, true), (100, true), (100, true)];
        for eagerness in [Eagerness::ByHand, Eagerness::Background] {
            assert_eq!(plan(&kept, eagerness), [(0, 3), (3, 5), (5, 6), (6, 7)]);
            assert_eq!(plan(&[], eagerness), []);
        }
    }

    #[test]
    fn what_loses_nothing_is_written_only_to_be_merged() {
        let kept = [(100, false), (60, false), (40, false), (30, false), (50, true)];
        assert_eq!(plan(&kept, Eagerness::ByHand), [(1, 3), (3, 5)]);
        assert_eq!(plan(&kept, Eagerness::Background), [(3, 5)]);
        assert_eq!(plan(&[(40, false), (40, false)], Eagerness::Background), [(0, 2)], "it doubles");
        assert_eq!(plan(&[(41, false), (40, false)], Eagerness::Background), [], "it does not");
        assert_eq!(plan(&[(90, false)], Eagerness::ByHand), []);
    }

    #[test]
    fn a_segment_of_which_nothing_stays_joins_a_neighbour_that_is_written_anyway() {
        assert_eq!(plan(&[(100, true), (0, true), (100, true)], Eagerness::Background), [(0, 2), (2, 3)]);
        assert_eq!(plan(&[(0, true), (100, true)], Eagerness::Background), [(0, 2)]);
        assert_eq!(plan(&[(100, false), (0, true), (100, false)], Eagerness::Background), [(1, 2)]);
        assert_eq!(plan(&[(100, false), (0, true), (100, false)], Eagerness::ByHand), [(0, 2)]);
    }

    #[test]
    fn what_is_not_side_by_side_in_one_epoch_is_not_merged() {
        let mut apart = members(&[(10, true), (10, true), (10, true), (10, true)]);
        apart[1].epoch.counter = 2;
        apart[2].epoch.counter = 2;
        apart[3].epoch.counter = 2;
        apart[3].at = 4;
        assert_eq!(ends(groups(&apart, 1 << 20, Eagerness::ByHand)), [(0, 1), (1, 3), (3, 4)]);
        let mut wide = members(&[(10, true), (10, true)]);
        wide[1].offsets.1 = Offset::new(u64::from(u32::MAX));
        assert_eq!(ends(groups(&wide, 1 << 20, Eagerness::ByHand)), [(0, 2)]);
        wide[1].offsets.1 = Offset::new(u64::from(u32::MAX) + 1);
        assert_eq!(ends(groups(&wide, 1 << 20, Eagerness::ByHand)), [(0, 1), (1, 2)]);
    }
}
