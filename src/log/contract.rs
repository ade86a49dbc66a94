//! Who holds what: the contracts of cursors, measured on the segments of a log.
//!
//! Guarantees:
//! 1. A cursor without a contract holds all that it has not passed. What cannot be read is held, whatever its topics.
//! 2. What is held is all from one offset on: of a log as a whole nothing is dropped from the middle.
//! 3. Nothing is changed, and no lock is held while segments are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::state::State;
use super::window::{Scan, Scanned, View};
use crate::format::state::{CursorValue, Space};
use crate::format::{FRAMES_START, contract};
use crate::types::{Contract, Offset, Timestamp, Topic, Version};

/// A cursor that keeps retention from dropping something.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its name.
    pub cursor: String,
    /// Why it holds.
    pub contract: Contract,
    /// The first offset that it holds.
    pub offset: Offset,
    /// Records from there to the end of the log.
    pub records: u64,
    /// Bytes of the segments from there to the end of the log.
    pub bytes: u64,
}

/// A segment, as retention sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) number: u64,
    pub(crate) first: Offset,
    /// Behind its last record.
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    /// Latest append time up to its end.
    pub(crate) time_max: Timestamp,
}

/// A cursor with its contract, as the state says.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) name: String,
    pub(crate) offset: Offset,
    pub(crate) contract: Contract,
    /// Which commit set the contract.
    version: Option<Version>,
}

/// The topics of segments that have ended, as far as somebody asked, with the incarnation that was looked at.
pub(crate) type Topics = BTreeMap<u64, (u64, TopicList)>;

/// `None`: too many to keep.
pub(crate) type TopicList = Option<Arc<[Topic]>>;

/// All cursors with their contracts, by name.
pub(crate) fn standings(state: &State) -> Vec<Standing> {
    let cursors = state.with_prefix(Space::CURSORS, b"");
    let standing = cursors.iter().filter_map(|(key, held)| {
        let offset = CursorValue::decode(held.value()).ok()?.offset;
        let (contract, version) = contract_of(state, key);
        Some(Standing { name: String::from_utf8_lossy(key).into_owned(), offset, contract, version })
    });
    standing.collect()
}

/// The contract of the cursor of this name, and which commit set it.
pub(crate) fn contract_of(state: &State, name: &[u8]) -> (Contract, Option<Version>) {
    let held = state.get(Space::CONTRACTS, name);
    let contract = held.and_then(|held| contract::decode(held.value()).ok()).unwrap_or_default();
    (contract, held.map(super::state::StateValue::version))
}

/// Whether all that was planned on these standings holds for the state as it is now: the log may begin at `start`.
pub(crate) fn still_lets(state: &State, planned: &[Standing], start: Offset) -> bool {
    let moved_on = |now: &Standing| {
        let before = planned.binary_search_by(|before| before.name.as_str().cmp(&now.name)).ok();
        let before = before.and_then(|at| planned.get(at));
        before.is_some_and(|before| before.version == now.version && before.offset <= now.offset)
    };
    standings(state).iter().all(|now| now.offset >= start || moved_on(now))
}

/// Where what a cursor holds begins; `None`: it holds nothing. `has` says whether a part has records of topics from an
/// offset on.
pub(crate) fn held_from(
    standing: &Standing,
    parts: &[Part],
    has: &mut dyn FnMut(&Part, Offset, &BTreeSet<Topic>) -> bool,
) -> Option<Offset> {
    let own = standing.offset;
    match &standing.contract {
        Contract::Hold => Some(own),
        Contract::BestEffort => None,
        Contract::HoldUpTo(limit) => {
            let mut bytes = 0_u64;
            let newest = parts.iter().rev().take_while(|part| {
                bytes = bytes.saturating_add(part.bytes);
                bytes <= *limit
            });
            newest.last().map(|part| part.first.max(own))
        }
        Contract::HoldTopics(topics) => {
            let found = parts.iter().filter(|part| part.end > own).find(|part| has(part, own.max(part.first), topics));
            found.map(|part| own.max(part.first))
        }
    }
}

/// What these cursors hold of a log of these parts, the one that holds most first.
pub(crate) fn holders(
    standings: &[Standing],
    parts: &[Part],
    has: &mut dyn FnMut(&Part, Offset, &BTreeSet<Topic>) -> bool,
) -> Vec<Holder> {
    let end = parts.last().map(|last| last.end).unwrap_or_default();
    let mut holders = Vec::new();
    for standing in standings {
        let Some(offset) = held_from(standing, parts, has).filter(|offset| *offset < end) else { continue };
        holders.push(Holder {
            cursor: standing.name.clone(),
            contract: standing.contract.clone(),
            offset,
            records: end.since(offset),
            bytes: bytes_from(parts, offset),
        });
    }
    holders.sort_by(|one, other| (one.offset, &one.cursor).cmp(&(other.offset, &other.cursor)));
    holders
}

/// Bytes of the parts from the one that holds `offset` on.
pub(crate) fn bytes_from(parts: &[Part], offset: Offset) -> u64 {
    parts.iter().filter(|part| part.end > offset).fold(0, |sum, part| sum.saturating_add(part.bytes))
}

/// Whether a segment has a record of these topics from `from` on, up to `limit`.
pub(crate) fn has_topics(view: &View, from: Offset, limit: u64, topics: &BTreeSet<Topic>) -> bool {
    let mut found = false;
    let whole = each_topic(view, limit, &mut |offset, topic| {
        found |= offset >= from && topics.contains(&topic);
        !found
    });
    found || whole.is_none()
}

/// The topics of a segment that ends at `limit`; `None`: too many, or it cannot be read.
pub(crate) fn topics_of(view: &View, limit: u64) -> TopicList {
    let mut topics = BTreeSet::new();
    each_topic(view, limit, &mut |_, topic| {
        topics.insert(topic);
        topics.len() <= crate::format::CONTRACT_TOPICS_MAX
    })?;
    (topics.len() <= crate::format::CONTRACT_TOPICS_MAX).then(|| topics.into_iter().collect())
}

/// Shows the topic of each record, with the last offset of its frame, while that is asked for. `None`: not all could be read.
fn each_topic(view: &View, limit: u64, show: &mut dyn FnMut(Offset, Topic) -> bool) -> Option<()> {
    let first = view.header.first_offset;
    let mut scan = Scan::new(view.store.clone(), view.frames, FRAMES_START, first, limit);
    loop {
        let found = match scan.skim().ok()? {
            Scanned::Frame(found) => found,
            Scanned::End => return Some(()),
            Scanned::Zero | Scanned::Bad { .. } => return None,
        };
        let frame = scan.frame(&found);
        // Not where the scan goes on: behind the last frame of a rewritten segment that is the end of its offsets.
        let next = frame.next_offset();
        if found.header.record_count == 0 {
            if next > found.offset {
                // A gap: what stood there nobody knows.
                return None;
            }
            continue;
        }
        let more = if let Some(topic) = found.header.topic {
            show(Offset::new(next.get().saturating_sub(1)), topic)
        } else {
            frame.check().ok()?;
            frame.records().all(|record| show(record.offset(), record.topic()))
        };
        if !more {
            return Some(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<Part> {
        let part = |number| Part {
            number,
            first: Offset::new(number * 10),
            end: Offset::new(number * 10 + 10),
            bytes: 1000,
            time_max: Timestamp::default(),
        };
        (1..=5).map(part).collect()
    }

    fn from(offset: u64, contract: Contract) -> Option<u64> {
        let standing = Standing { name: "c".to_owned(), offset: Offset::new(offset), contract, version: None };
        // Segment n has the topics n and 9.
        let has = &mut |part: &Part, _: Offset, topics: &BTreeSet<Topic>| {
            topics.iter().any(|topic| [part.number, 9].contains(&topic.get().into()))
        };
        held_from(&standing, &parts(), has).map(Offset::get)
    }

    #[test]
    fn each_contract_holds_what_it_says() {
        let topics = |numbers: &[u32]| Contract::HoldTopics(numbers.iter().filter_map(|it| Topic::new(*it)).collect());
        assert_eq!(from(25, Contract::Hold), Some(25));
        assert_eq!(from(25, Contract::BestEffort), None);
        assert_eq!(from(25, Contract::HoldUpTo(999)), None, "the newest segment alone is more");
        assert_eq!(from(25, Contract::HoldUpTo(2999)), Some(40));
        assert_eq!(from(25, Contract::HoldUpTo(u64::MAX)), Some(25));
        assert_eq!(from(47, Contract::HoldUpTo(3000)), Some(47));
        assert_eq!(from(25, topics(&[4])), Some(40));
        assert_eq!(from(25, topics(&[2, 4])), Some(25), "in the middle of a segment that has one");
        assert_eq!(from(25, topics(&[1])), None);
        assert_eq!(from(25, topics(&[])), None);
        assert_eq!(from(60, topics(&[9])), None);
    }

    #[test]
    fn a_cursor_that_moved_on_changes_no_plan_and_one_that_went_back_does() {
        let value =
            |offset| CursorValue { epoch: crate::types::Epoch::default(), offset: Offset::new(offset) }.encode();
        let state = |offsets: [u64; 2]| {
            let mut state = State::default();
            for (name, offset) in [&b"a"[..], b"b"].into_iter().zip(offsets) {
                let value = value(offset);
                let entry = crate::format::state::StateEntry { space: Space::CURSORS, key: name, value: Some(&value) };
                state.load(&entry, crate::types::Place::new(1, 8));
            }
            state
        };
        let planned = standings(&state([10, 50]));
        let lets = |offsets| still_lets(&state(offsets), &planned, Offset::new(30));
        assert!(lets([10, 50]) && lets([20, 60]) && lets([10, 30]));
        assert!(!lets([9, 50]) && !lets([10, 29]));
        assert!(!still_lets(&state([10, 50]), &planned[1..], Offset::new(30)), "a new one");
    }
}
