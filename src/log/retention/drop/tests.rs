//! Segments are merged, or a sync fails, between the look at a log and what is decided on it.

use std::path::Path;

use super::*;
use crate::format::FRAMES_START;
use crate::log::{Background, Commit, Compaction, Log, Options};
use crate::types::{Contract, Record};

fn held() -> BTreeSet<Topic> {
    Topic::new(7).into_iter().collect()
}

/// A log of which the first segments become one by a compaction, with one record of topic 7, at offset 50, and state behind it; a
/// cursor that holds the topic stands right before it.
fn log(folder: &Path) -> Log {
    let options = Options::new().segment_bytes(16 * 1024).background(Background::Manual);
    let log = options.open(folder).expect("opens");
    let contract = Contract::HoldTopics(held());
    for number in 0..200_u64 {
        let record = Record::new(&[7; 1000]);
        let record = match number {
            50 => Record::new(&[7; 4000]).topic(*held().first().expect("one")),
            30 => Record::new(&[7; 4000]),
            0..100 | 199 => record.key(b"k"),
            _ => record,
        };
        let _ = log.append(record).expect("appends");
        if number == 95 {
            let _ = log.commit(Commit::new().state("s", "v")).expect("commits");
        }
        if number == 99 {
            log.core().roll_if_used().expect("goes on in the next");
        }
    }
    let commit = Commit::new().cursor("holds", Offset::new(50)).contract("holds", &contract);
    let _ = log.commit(commit).expect("commits");
    log.sync().expect("syncs");
    log
}

/// Compacts; the segment that has the record then, and where the one behind it begins.
fn merge(log: &Log) -> (Entry, Offset) {
    let _ = log.compact(&Compaction::new()).expect("compacts");
    let catalog = log.core().catalog.read();
    let entry = catalog.holding(Offset::new(50)).expect("there").clone();
    let behind = catalog.after(entry.number()).expect("one more").header.first_offset;
    (entry, behind)
}

#[test]
fn what_a_cursor_holds_stays_though_its_segment_became_a_part_of_another() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = log(folder.path());
    let core = log.core();
    let before = core.shape();
    let (merged, behind) = merge(&log);
    let of_then = before.parts.iter().find(|part| part.end > Offset::new(50)).expect("a part");
    assert!(core.catalog.read().get(of_then.number).is_none() && merged.number() < of_then.number, "it was merged");
    assert!(before.parts.iter().any(|part| part.first == behind), "the next one was not");
    let done = core.carry_out_on(&before, Aim::Offset(behind), Checkpointing::Always).expect("decides");
    assert_eq!(done, Done::Replaced, "the shape is another by now");
    assert_eq!(log.start(), Offset::ZERO);
    assert_eq!(log.drop_before(behind).expect("drops what is not held"), Offset::new(50));
    let first = log.reader().poll().expect("reads").expect("records");
    assert_eq!(first.iter().next().map(|record| record.offset()), Some(Offset::new(50)));
}

#[test]
fn a_segment_is_gone_over_to_its_own_end_however_long_the_one_before_was() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = log(folder.path());
    let core = log.core();
    let (merged, _) = merge(&log);
    let part = core.shape().parts.into_iter().find(|part| part.number == merged.number()).expect("a part");
    let of_then = Part { bytes: FRAMES_START, ..part };
    for part in [of_then, part] {
        assert!(core.has(&part, part.first, &held()));
    }
}

#[test]
fn a_start_that_is_not_durable_lets_nothing_go() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = log(folder.path());
    let core = log.core();
    let _ = core.poison_by_panic();
    // As another thread leaves it whose start line could not be made durable, when this one waited behind it.
    *core.start.lock() = StartLine { offset: Offset::new(40), segment: 2 };
    let error = core.carry_out(Aim::Offset(Offset::new(40)), Checkpointing::Always).expect_err("nothing is durable");
    assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
    assert!(folder.path().join(segment_name(1)).exists());
}

#[test]
fn a_segment_that_was_rewritten_is_held_for_its_topics_only() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = log(folder.path());
    let core = log.core();
    let (merged, behind) = merge(&log);
    let part = core.shape().parts.into_iter().find(|part| part.number == merged.number()).expect("a part");
    let from = |offset| core.has(&part, Offset::new(offset), &held());
    assert_eq!((part.end, behind), (Offset::new(100), Offset::new(100)), "state is the last that it has");
    assert_eq!((from(0), from(50), from(51)), (true, true, false));
    let other = Topic::new(9).into_iter().collect();
    assert!(!core.has(&part, part.first, &other));
}
