//! Retention: the log begins later, no cursor loses what it holds, and whatever dies meanwhile, nothing else is missing.

mod clock;
mod crash;
mod readers;
mod threads;

use std::collections::BTreeSet;
use std::sync::Arc;

use esker::{
    Attached, Commit, Contract, ErrorKind, HeldBy, Log, Offset, Options, Record, Retention, Start, Topic, inspect,
    repair,
};
use harness::MemoryDisk;

use crate::support::{append_numbered, checkpoints, drain, expected, forget, open, options, payloads, segments};

fn eager() -> Options {
    options().checkpoint_bytes(4096)
}

/// A log of 300 records in many small segments, all durable.
fn filled(disk: &MemoryDisk) -> Log {
    let log = eager().open_on(Arc::new(disk.clone())).expect("opens");
    fill(&log, 0..300);
    log
}

fn fill(log: &Log, numbers: std::ops::Range<u64>) {
    for number in numbers.step_by(10) {
        append_numbered(log, number..number + 10);
        log.sync().expect("syncs");
        log.background_step();
    }
}

fn at(number: u64) -> Offset {
    Offset::new(number)
}

fn topics(numbers: &[u32]) -> Contract {
    Contract::HoldTopics(numbers.iter().filter_map(|number| Topic::new(*number)).collect::<BTreeSet<_>>())
}

fn verified(disk: &MemoryDisk) -> Vec<inspect::FindingClass> {
    let found = inspect::verify_on(disk, &mut |_| {}).expect("verifies");
    assert!(!found.is_damaged(), "{:?}", found.findings);
    assert_eq!(repair::plan_on(disk).expect("plans").steps, []);
    found.findings.iter().map(|finding| finding.class).collect()
}

#[test]
fn what_is_dropped_is_gone_and_stays_so() {
    let disk = MemoryDisk::new(1);
    let log = filled(&disk);
    let before = segments(&disk).len();
    assert_eq!(log.drop_before(at(200)).expect("drops"), at(200));
    assert_eq!(log.start(), at(200));
    assert!(segments(&disk).len() < before - 2, "{:?}", segments(&disk));
    assert_eq!(segments(&disk).len(), log.stats().segments + 1, "and a spare");
    assert_eq!(payloads(&log), expected(200..300));
    let error = log.reader().seek(at(199)).expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::Trimmed { next: at(200) });
    assert_eq!(log.drop_before(at(100)).expect("lower"), at(200), "it never goes back");
    assert_eq!(log.drop_before(at(301)).expect_err("past the end").kind(), ErrorKind::Invalid);
    let killed = disk.snapshot();
    log.close().expect("closes");
    for left in [killed, disk] {
        let attached = Attached::open_on(Arc::new(left.clone())).expect("attaches");
        assert_eq!((attached.start(), attached.segments().expect("reads").len()), (at(200), segments_of(&left)));
        let log = open(&left).expect("opens");
        assert_eq!((log.start(), log.recovery().start), (at(200), at(200)));
        assert_eq!(payloads(&log), expected(200..300));
        fill(&log, 300..340);
        log.close().expect("closes");
        assert_eq!(verified(&left), []);
        let log = open(&left).expect("opens");
        assert_eq!((log.start(), payloads(&log)), (at(200), expected(200..340)));
    }
}

/// Segments that hold something.
fn segments_of(disk: &MemoryDisk) -> usize {
    segments(disk).iter().filter(|name| disk.read_file(name).expect("is there")[0] != 0).count()
}

#[test]
fn a_log_may_be_dropped_up_to_its_end_and_goes_on() {
    let disk = MemoryDisk::new(2);
    let log = filled(&disk);
    let _ = log.append(b"not durable yet").expect("appends");
    assert_eq!(log.drop_before(log.visible()).expect("drops"), at(301));
    assert_eq!((log.start(), log.durable(), payloads(&log)), (at(301), at(301), Vec::new()));
    let mut reader = log.reader();
    let _ = log.append(b"first").expect("appends");
    assert_eq!(reader.poll().expect("reads").map(|batch| batch.first()), Some(at(301)));
    assert!(reader.poll_back().expect("reads").is_some());
    assert!(reader.poll_back().expect("at the start").is_none());
    let log = open(&disk.snapshot()).expect("opens");
    assert_eq!((log.start(), payloads(&log)), (at(301), vec![b"first".to_vec()]));
}

#[test]
fn bytes_and_age_let_whole_segments_go_and_a_plan_says_so_before() {
    let disk = MemoryDisk::new(3);
    drop(filled(&disk));
    let hour = std::time::Duration::from_secs(3600);
    disk.advance(hour);
    let retained =
        |retention: Retention| eager().retention(retention).open_on(Arc::new(disk.snapshot())).expect("opens");
    let all: u64 = Attached::open_on(Arc::new(disk.clone())).expect("attaches").bytes().expect("reads");
    for (retention, goes) in [
        (Retention::new(), false),
        (Retention::new().bytes(u64::MAX), false),
        (Retention::new().bytes(all / 2), true),
        (Retention::new().age(2 * hour), false),
        (Retention::new().age(hour / 2), true),
        (Retention::new().age(2 * hour).bytes(all / 2), true),
        (Retention::new().bytes(0), true),
    ] {
        let log = retained(retention);
        let plan = log.retention_plan().expect("plans");
        assert_eq!(log.start(), at(0), "a plan changes nothing");
        assert_eq!(
            (plan.segments > 0, plan.records > 0, plan.bytes > 0),
            (goes, goes, goes),
            "{retention:?}: {plan:?}"
        );
        let before = log.stats().segments;
        let done = log.retain().expect("retains");
        assert_eq!(
            (done.start, done.segments, done.records, done.bytes),
            (plan.start, plan.segments, plan.records, plan.bytes)
        );
        assert_eq!(
            (log.start(), u64::try_from(before - log.stats().segments).expect("few")),
            (plan.start, plan.segments)
        );
        assert_eq!(payloads(&log), expected(plan.start.get()..300));
        assert_eq!(log.retain().expect("again").segments, 0);
        assert!(plan.held.iter().any(|held| held.by == HeldBy::Active));
    }
}

#[test]
fn the_background_retains_as_the_log_grows() {
    let disk = MemoryDisk::new(4);
    let log = eager().retention(Retention::new().bytes(40_000)).open_on(Arc::new(disk.clone())).expect("opens");
    fill(&log, 0..1000);
    assert!(log.start() > at(500) && log.stats().segments_dropped > 5, "{:?}", log.stats());
    assert!(Attached::open_on(Arc::new(disk.clone())).expect("attaches").bytes().expect("reads") <= 40_000);
    assert_eq!(payloads(&log), expected(log.start().get()..1000));
    assert_eq!(log.stats().retention_failures, 0);
    let start = log.start();
    log.close().expect("closes");
    assert_eq!(open(&disk).expect("opens").start(), start);
}

#[test]
fn each_contract_holds_what_it_says_and_who_holds_is_told() {
    let disk = MemoryDisk::new(5);
    let log = eager().open_on(Arc::new(disk.clone())).expect("opens");
    for number in 0..300_u32 {
        let topic = Topic::new(u32::from((100..110).contains(&number))).expect("small");
        let _ = log.append(Record::new(&[7; 400]).topic(topic)).expect("appends");
    }
    log.sync().expect("syncs");
    log.background_step();
    let made = |name: &str, offset, contract: Contract| {
        let cursor = log.cursor_from(name, Start::Offset(at(offset))).expect("is made");
        let _ = cursor.set_contract(&contract).expect("commits");
    };
    made("topic", 20, topics(&[1]));
    made("behind", 5, Contract::BestEffort);
    made("little", 7, Contract::HoldUpTo(30_000));
    made("all", 150, Contract::Hold);
    let holders = log.who_holds().expect("says");
    let names: Vec<&str> = holders.iter().map(|holder| holder.cursor.as_str()).collect();
    assert_eq!(names, ["topic", "all", "little"]);
    let held = &holders[0];
    assert!((75..=100).contains(&held.offset.get()) && held.records == 300 - held.offset.get(), "{held:?}");
    assert!(holders[2].offset > at(200) && holders[2].bytes <= 30_000, "{:?}", holders[2]);
    // The topic's cursor stands below the start from here on, and nothing of its topic is gone.
    assert_eq!(log.drop_before(at(300)).expect("drops"), held.offset);
    let mut topic = log.cursor("topic").expect("resumes at the start");
    assert_eq!((topic.offset(), topic.committed()), (log.start(), at(20)));
    for name in ["behind", "little"] {
        let error = log.cursor(name).expect_err("its records are gone");
        assert_eq!(error.kind(), ErrorKind::Trimmed { next: log.start() });
    }
    let _ = topic.commit(at(110)).expect("moves on");
    assert_eq!(log.drop_before(at(300)).expect("drops"), at(150));
    assert_eq!(log.cursor("all").expect("resumes").offset(), at(150));
    let _ = log.commit(Commit::new().remove_cursor("all")).expect("commits");
    let last = log.who_holds().expect("says");
    assert_eq!(last.iter().map(|holder| holder.cursor.as_str()).collect::<Vec<_>>(), ["little"]);
    drop(topic);
    log.close().expect("closes");
    let view = Attached::open_on(Arc::new(disk.clone())).expect("attaches").state().expect("reads");
    let contracts: Vec<Contract> = view.cursors().into_iter().map(|cursor| cursor.contract).collect();
    assert_eq!(contracts, [Contract::BestEffort, Contract::HoldUpTo(30_000), topics(&[1])]);
    let error = open(&disk).expect("opens");
    let many: Contract = topics(&(0..1025).collect::<Vec<_>>());
    let error = error.commit(Commit::new().contract("c", &many)).expect_err("too many topics");
    assert_eq!(error.kind(), ErrorKind::Limit);
}

#[test]
fn a_full_disk_frees_itself_when_the_cursors_that_hold_it_move() {
    let disk = MemoryDisk::new(6);
    let options = eager().retention(Retention::new().bytes(30_000));
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    let mut slow = log.cursor("slow").expect("is made");
    fill(&log, 0..300);
    assert_eq!(log.start(), at(0));
    disk.space_limit(disk.space_held() + 20_000);
    let mut number = 300;
    let error = loop {
        match log.append(&crate::support::numbered(number)) {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
        log.background_step();
    };
    assert_eq!(error.kind(), ErrorKind::OutOfSpace);
    let plan = log.retention_plan().expect("plans");
    assert!(
        plan.segments == 0 && matches!(&plan.held[0].by, HeldBy::Cursor { name, .. } if name == "slow"),
        "{plan:?}"
    );
    for _ in 0..10 {
        // Marks take no room that a start line needs, however many there are.
        let _ = log.commit(Commit::new().state("k", "v")).map(|ticket| ticket.wait());
    }
    let _ = slow.commit(at(number)).expect("cursors move on a full disk").wait();
    log.background_step();
    assert!(log.start() > at(200), "{:?}", log.retention_plan());
    for more in number..number + 100 {
        let _ = log.append(&crate::support::numbered(more)).expect("there is room again");
        let _ = slow.commit(at(more + 1)).expect("commits");
        log.sync().expect("syncs");
        log.background_step();
    }
    assert_eq!(payloads(&log), expected(log.start().get()..number + 100));
}

#[test]
fn where_nothing_goes_since_no_checkpoint_can_be_written_the_reason_is_told() {
    let disk = MemoryDisk::new(6);
    let options = eager().retention(Retention::new().bytes(0));
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    for number in 0..300 {
        let _ = log.append(&crate::support::numbered(number)).expect("appends");
    }
    log.sync().expect("syncs");
    disk.space_limit(disk.space_held());
    let error = log.retain().expect_err("not one byte is left");
    assert_eq!((error.kind(), log.start()), (ErrorKind::OutOfSpace, at(0)), "{error}");
    disk.space_limit(u64::MAX);
    assert!(log.retain().expect("there is room again").segments > 0);
}

#[test]
fn a_trimmed_log_without_checkpoints_is_refused_and_told_what_to_do() {
    let disk = MemoryDisk::new(7);
    let log = filled(&disk);
    log.drop_before(at(200)).expect("drops");
    let live = disk.snapshot();
    log.close().expect("closes");
    for left in [live, disk] {
        assert_eq!(checkpoints(&left).len(), 2);
        forget(&left);
        let error = open(&left).expect_err("its state is gone");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("; "), "{error}");
        let found = inspect::verify_on(&left, &mut |_| {}).expect("verifies");
        assert!(found.is_damaged(), "{found:?}");
        let error = repair::plan_on(&left).expect_err("there is nothing to make its state from");
        assert!(error.to_string().contains("no checkpoint holds the state of then; restore"), "{error}");
        let attached = Attached::open_on(Arc::new(left)).expect("attaches");
        let read = crate::support::drain(&mut attached.reader()).expect("what is left can be read");
        assert_eq!(read, expected(200..300));
    }
}

#[test]
fn checkpoints_that_vanished_meanwhile_are_noticed_before_anything_goes() {
    let disk = MemoryDisk::new(11);
    let log = filled(&disk);
    let _ = log.commit(Commit::new().state("k", "v")).expect("commits");
    forget(&disk);
    assert_eq!(log.drop_before(at(200)).expect("drops"), at(200));
    assert_eq!(checkpoints(&disk).len(), 2, "they were written anew");
    let log = open(&disk.snapshot()).expect("opens");
    assert_eq!((log.start(), payloads(&log)), (at(200), expected(200..300)));
    assert!(log.state("k").expect("says").is_some());
}

#[test]
fn one_checkpoint_that_rots_costs_a_trimmed_log_nothing() {
    let disk = MemoryDisk::new(8);
    let log = filled(&disk);
    let _ = log.commit(Commit::new().state("k", "v")).expect("commits");
    log.drop_before(at(250)).expect("drops");
    drop(log);
    for name in checkpoints(&disk) {
        for byte in [100, 300] {
            let left = disk.snapshot();
            left.edit_file(&name, |bytes| bytes[byte] ^= 1);
            let log = open(&left).expect("opens with the other");
            assert_eq!((log.start(), payloads(&log)), (at(250), expected(250..300)), "{name} byte {byte}");
            assert!(log.state("k").expect("says").is_some());
        }
    }
}

#[test]
fn a_file_that_is_missing_above_the_start_line_is_damage() {
    let disk = MemoryDisk::new(9);
    let log = filled(&disk);
    log.drop_before(at(150)).expect("drops");
    log.close().expect("closes");
    let names = segments(&disk);
    for name in &names {
        let left = disk.snapshot();
        left.remove(name);
        let error = open(&left).expect_err("a durable segment is gone");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error}");
        assert!(inspect::verify_on(&left, &mut |_| {}).expect("verifies").is_damaged(), "{name}");
        let outside = Attached::open_on(Arc::new(left.clone())).expect("attaches");
        let told = drain(&mut outside.reader()).expect_err("a segment is gone");
        assert_eq!(told.kind(), ErrorKind::Corrupt, "{name}: {told}");
        let done = repair::apply_on(&left, repair::Accept::Loss).expect("repairs");
        assert!(done.loses(), "{name}: {done:?}");
        assert!(done.steps.iter().flat_map(|step| &step.lost).all(|lost| lost.offsets.start >= at(150)), "{done:?}");
        let log = open(&left).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(log.start(), at(150), "{name}");
    }
}

#[test]
fn what_is_left_below_the_start_line_is_no_damage_and_is_removed_by_the_next_open() {
    let disk = MemoryDisk::new(10);
    let log = filled(&disk);
    let whole = disk.snapshot();
    log.drop_before(at(200)).expect("drops");
    log.close().expect("closes");
    let gone: Vec<String> = segments(&whole).into_iter().filter(|name| !disk.names().contains(name)).collect();
    assert!(gone.len() > 3);
    for kept in 1..1_usize << gone.len().min(4) {
        let left = disk.snapshot();
        for (index, name) in gone.iter().enumerate().filter(|(index, _)| kept >> index & 1 == 1) {
            let mut bytes = whole.read_file(name).expect("was there");
            if index == 1 {
                bytes[5000..].fill(0xee);
            }
            left.put_file(name, &bytes);
        }
        assert!(verified(&left).iter().all(|class| *class == inspect::FindingClass::Leftover));
        let attached = Attached::open_on(Arc::new(left.clone())).expect("attaches");
        assert_eq!((attached.start(), attached.refusal().map(|error| error.to_string())), (at(200), None));
        let log = open(&left).expect("opens");
        assert_eq!((log.start(), payloads(&log)), (at(200), expected(200..300)));
        assert!(gone.iter().all(|name| !left.names().contains(name)), "{:?}", left.names());
        assert!(left.quarantined().is_empty());
    }
}

#[test]
fn what_rots_behind_the_start_is_lost_and_what_was_dropped_before_is_not() {
    let disk = MemoryDisk::new(12);
    let log = open(&disk).expect("opens");
    let ends = append_numbered(&log, 0..20);
    assert_eq!(log.drop_before(at(10)).expect("drops"), at(10));
    log.close().expect("closes");
    let carried_by_frames_alone = disk.snapshot();
    forget(&carried_by_frames_alone);
    for disk in [disk, carried_by_frames_alone] {
        for (number, lost) in [(4, at(10)..at(10)), (12, at(12)..at(13))] {
            let left = disk.snapshot();
            let last = usize::try_from(ends[number].position).expect("small") - 8;
            left.edit_file("0000000001.seg", |bytes| bytes[last] ^= 1);
            let plan = repair::plan_on(&left).expect("plans");
            let found: Vec<_> =
                plan.steps.iter().flat_map(|step| &step.lost).map(|lost| lost.offsets.clone()).collect();
            assert_eq!((found, plan.loses()), (vec![lost.clone()], !lost.is_empty()), "{number}: {plan:?}");
            let accept = if lost.is_empty() { repair::Accept::NoLoss } else { repair::Accept::Loss };
            let _ = repair::apply_on(&left, accept).expect("repairs");
            assert_eq!(open(&left).expect("opens").start(), at(10));
        }
    }
}

#[test]
fn a_first_segment_whose_header_rots_still_says_that_something_came_before_it() {
    let disk = MemoryDisk::new(13);
    let log = open(&disk).expect("opens");
    for key in 0..200_u64 {
        let _ = log.commit(Commit::new().state(&key.to_le_bytes(), &[7; 200])).expect("commits");
        log.background_step();
    }
    append_numbered(&log, 0..10);
    assert_eq!(log.drop_before(at(0)).expect("drops"), at(0));
    log.close().expect("closes");
    let first = segments(&disk)[0].clone();
    assert_ne!(first, "0000000001.seg");
    disk.edit_file(&first, |bytes| bytes[20] ^= 0xff);
    let done = repair::apply_on(&disk, repair::Accept::NoLoss).expect("loses nothing");
    assert_eq!(done.steps.len(), 1, "{done:?}");
    verified(&disk);
    let log = open(&disk).expect("opens");
    assert_eq!(payloads(&log), expected(0..10));
    assert_eq!((0..200_u64).filter(|key| log.state(&key.to_le_bytes()).expect("says").is_some()).count(), 200);
}
