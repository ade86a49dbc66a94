//! State: committed with records, decided in the order of the log, there again after every kind of end.

use std::sync::Arc;
use std::thread;

use esker::{Commit, Conflict, ErrorKind, Offset, Record, Topic, Version};
use harness::MemoryDisk;

use crate::support::{append_numbered, checkpoints, expected, open, options, payloads};

fn value(log: &esker::Log, key: &str) -> Option<Vec<u8>> {
    log.state(key).expect("is shown").map(|held| held.value().to_vec())
}

#[test]
fn records_and_state_of_a_commit_are_there_together_also_after_a_crash() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    let commit = Commit::new().record(b"one").record(b"two").state("total", "2").state("gone", "x");
    let ticket = log.commit(commit).expect("commits");
    assert_eq!((ticket.offsets().start, ticket.len()), (Offset::ZERO, 2));
    let _ = log.commit(Commit::new().record(b"three").state("total", "3").remove_state("gone")).expect("commits");
    for log in [log, open(&disk.snapshot()).expect("recovers")] {
        assert_eq!(value(&log, "total").as_deref(), Some(&b"3"[..]));
        assert_eq!(value(&log, "gone"), None);
        assert_eq!(payloads(&log), [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
        assert_eq!(log.stats().state_keys, 1);
    }
}

#[test]
fn state_alone_takes_no_offset_and_wakes_no_reader() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    let ticket = log.commit(Commit::new().state("a", "1")).expect("commits");
    assert!(ticket.is_empty());
    ticket.wait().expect("durable");
    assert_eq!(log.visible(), Offset::ZERO);
    let mut reader = log.reader();
    assert!(reader.poll().expect("reads").is_none());
    append_numbered(&log, 0..1);
    assert_eq!(reader.poll().expect("reads").expect("one record").len(), 1);
    reader.seek_earliest();
    assert!(reader.poll().expect("reads").is_some());
    let mut back = log.reader();
    back.seek_latest();
    assert_eq!(back.poll_back().expect("reads").expect("one record").len(), 1);
    assert!(back.poll_back().expect("reads").is_none(), "the state before it is no record");
}

#[test]
fn a_condition_on_state_holds_only_for_the_version_that_was_read() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    let first = Version::new(log.commit(Commit::new().state("k", "1").if_no_state("k")).expect("is new").place());
    assert_eq!(log.state("k").expect("shown").expect("held").version(), first);
    let error = log.commit(Commit::new().state("k", "2").if_no_state("k")).expect_err("it is there");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let expected = Conflict::State { key: b"k".to_vec(), expected: None, found: Some(first) };
    assert_eq!(error.conflict(), Some(&expected));
    let _ = log.commit(Commit::new().state("k", "2").if_state("k", first)).expect("unchanged since");
    let error = log.commit(Commit::new().record(b"x").if_state("k", first)).expect_err("changed since");
    assert!(matches!(error.conflict(), Some(Conflict::State { found: Some(found), .. }) if *found > first), "{error}");
    assert_eq!(log.visible(), Offset::ZERO, "what was refused stored nothing");
    // Removed and set again: not the same version, and the version holds across an open.
    let _ = log.commit(Commit::new().remove_state("k")).expect("removes");
    let third = Version::new(log.commit(Commit::new().state("k", "2")).expect("sets").place());
    log.close().expect("closes");
    let log = open(&disk).expect("opens");
    assert!(log.commit(Commit::new().if_state("k", first)).is_err());
    assert!(log.commit(Commit::new().if_state("k", third)).is_ok(), "conditions alone are decided too");
}

#[test]
fn a_condition_on_records_sees_every_record_of_its_key_and_no_other() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    let (mine, other) = (Topic::default(), Topic::new(7).expect("valid"));
    append_numbered(&log, 0..200);
    let offset = log.append(Record::new(b"x").key("order-7")).expect("appends").offset();
    append_numbered(&log, 0..200);
    let only = |topic, key, since| log.commit(Commit::new().record(b"y").if_no_record(topic, key, since));
    let error = only(mine, "order-7", Offset::ZERO).expect_err("there is one");
    let conflict = Conflict::Record { topic: mine, key: b"order-7".to_vec(), offset };
    assert_eq!((error.kind(), error.conflict()), (ErrorKind::Conflict, Some(&conflict)));
    assert!(only(mine, "order-7", offset).is_err());
    assert!(only(mine, "order-7", offset.after(1)).is_ok());
    assert!(only(other, "order-7", Offset::ZERO).is_ok());
    assert!(only(mine, "order-8", Offset::ZERO).is_ok());
    assert_eq!(only(mine, "k", Offset::new(10_000)).expect_err("not reached").kind(), ErrorKind::Invalid);
}

#[test]
fn of_many_threads_that_create_one_key_exactly_one_succeeds() {
    let disk = MemoryDisk::new(1);
    let log = options().segment_bytes(256 << 10).open_on(Arc::new(disk)).expect("opens");
    for round in 0..50_u32 {
        let key = format!("order-{round}");
        let since = log.visible();
        let won: usize = thread::scope(|scope| {
            let tries: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let record = Record::new(b"created").key(&key);
                        let commit = Commit::new().record(record).if_no_record(Topic::default(), &key, since);
                        match log.commit(commit) {
                            Ok(_ticket) => 1,
                            Err(error) if error.kind() == ErrorKind::Conflict => 0,
                            Err(error) => panic!("{error}"),
                        }
                    })
                })
                .collect();
            tries.into_iter().map(|tried| tried.join().expect("decides")).sum()
        });
        assert_eq!(won, 1, "round {round}");
    }
    assert_eq!(log.visible(), Offset::new(50));
}

#[test]
fn threads_that_count_in_one_entry_lose_no_count() {
    let disk = MemoryDisk::new(1);
    let log = options().segment_bytes(256 << 10).open_on(Arc::new(disk)).expect("opens");
    let _ = log.commit(Commit::new().state("count", &0_u64.to_le_bytes())).expect("sets");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    loop {
                        let held = log.state("count").expect("shown").expect("held");
                        let count = u64::from_le_bytes(held.value().try_into().expect("eight bytes"));
                        let next = (count + 1).to_le_bytes();
                        let commit = Commit::new().state("count", &next).if_state("count", held.version());
                        match log.commit(commit) {
                            Ok(_ticket) => break,
                            Err(error) if error.kind() == ErrorKind::Conflict => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
    });
    assert_eq!(value(&log, "count"), Some(400_u64.to_le_bytes().to_vec()));
}

#[test]
fn whoever_sees_a_record_sees_the_state_of_its_commit() {
    let disk = MemoryDisk::new(1);
    let log = options().segment_bytes(256 << 10).open_on(Arc::new(disk)).expect("opens");
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reader = log.reader();
            let mut seen = 0_u64;
            while seen < 2000 {
                let Some(batch) = reader.poll().expect("reads") else { continue };
                seen = batch.next().get();
                let held = log.state("count").expect("shown").expect("committed with the record");
                let count = u64::from_le_bytes(held.value().try_into().expect("eight bytes"));
                assert!(count >= seen, "record {seen}, state {count}");
            }
        });
        for count in 1..=2000_u64 {
            let _ = log.commit(Commit::new().record(b"r").state("count", &count.to_le_bytes())).expect("commits");
        }
        reader.join().expect("reads");
    });
}

#[test]
fn limits_of_state_refuse_before_anything_is_stored() {
    let disk = MemoryDisk::new(1);
    let log = options().state_keys_max(3).state_bytes_max(1000).open_on(Arc::new(disk)).expect("opens");
    for key in ["a", "b", "c"] {
        let _ = log.commit(Commit::new().state(key, "1")).expect("fits");
    }
    let end = log.stats().visible;
    let error = log.commit(Commit::new().record(b"r").state("d", "1")).expect_err("a fourth key");
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    let bytes = [0_u8; 900];
    assert_eq!(log.commit(Commit::new().state("a", &bytes)).expect_err("too long").kind(), ErrorKind::Limit);
    assert_eq!(log.stats().visible, end);
    let _ = log.commit(Commit::new().state("b", "1").state("b", "2")).expect("one key, twice");
    let _ = log.commit(Commit::new().remove_state("b").state("e", "2").remove_state("x")).expect("one for another");
    let _ = log.commit(Commit::new().remove_state("e").state("a", "2")).expect("adds nothing");
    let _ = log.commit(Commit::new().state("d", "1")).expect("there is room again");
    let key = vec![7; esker::STATE_KEY_BYTES_MAX + 1];
    assert_eq!(log.commit(Commit::new().state(&key, "")).expect_err("long key").kind(), ErrorKind::Limit);
}

#[test]
fn commits_that_fit_together_are_not_refused_for_one_that_is_being_stored() {
    let log = options().segment_bytes(1 << 20).state_keys_max(2).open_on(Arc::new(MemoryDisk::new(9))).expect("opens");
    thread::scope(|scope| {
        for key in ["a", "b"] {
            let log = &log;
            scope.spawn(move || {
                for _ in 0..5000 {
                    let _ = log.commit(Commit::new().state(key, "v")).expect("two keys, two allowed");
                    let _ = log.commit(Commit::new().remove_state(key)).expect("removes");
                }
            });
        }
    });
    assert_eq!((log.stats().state_keys, log.stats().state_bytes), (0, 0));
}

#[test]
fn a_commit_has_no_more_conditions_than_are_allowed() {
    let log = open(&MemoryDisk::new(1)).expect("opens");
    let with = |count| {
        let none = |commit: Commit<'static>, _| commit.if_no_record(Topic::default(), "k", Offset::ZERO);
        log.commit((0..count).fold(Commit::new().record(b"r"), none)).map(|ticket| ticket.len())
    };
    assert_eq!(with(esker::COMMIT_RECORD_CONDITIONS_MAX).expect("at the limit"), 1);
    let error = with(esker::COMMIT_RECORD_CONDITIONS_MAX + 1).expect_err("one too many");
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
}

#[test]
fn a_closed_log_shows_no_state_that_may_be_old() {
    let log = open(&MemoryDisk::new(1)).expect("opens");
    let _ = log.commit(Commit::new().state("k", "v")).expect("commits");
    let other = log.clone();
    log.close().expect("closes");
    assert_eq!(other.state("k").expect_err("closed").kind(), ErrorKind::Closed);
    assert_eq!(other.cursors().expect_err("closed").kind(), ErrorKind::Closed);
    assert_eq!(other.cursor("c").expect_err("closed").kind(), ErrorKind::Closed);
}

#[test]
fn entries_are_listed_by_prefix_in_the_order_of_their_keys() {
    let log = open(&MemoryDisk::new(1)).expect("opens");
    let entries = [("delay/ua", "1"), ("board/n1", "2"), ("delay/aa", "3"), ("delay", "4")];
    let _ = log.commit(Commit::new().states(entries)).expect("commits");
    let keys: Vec<_> = log.states("delay/").expect("shown").into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [Box::from(&b"delay/aa"[..]), Box::from(&b"delay/ua"[..])]);
    assert_eq!(log.states("").expect("shown").len(), 4);
}

#[test]
fn state_outlives_its_segments_in_checkpoints_and_many_lives() {
    let mut disk = MemoryDisk::new(3);
    for life in 0..12_u64 {
        let log = options().checkpoint_bytes(4096).open_on(Arc::new(disk.clone())).expect("opens");
        assert_eq!(value(&log, "life"), life.checked_sub(1).map(|life| life.to_le_bytes().to_vec()));
        append_numbered(&log, life * 100..life * 100 + 100);
        let _ =
            log.commit(Commit::new().state("life", &life.to_le_bytes()).state(&life.to_le_bytes(), "")).expect("sets");
        log.sync().expect("syncs");
        log.background_step();
        if life % 2 == 0 {
            log.close().expect("closes");
        } else {
            disk = disk.snapshot();
        }
        assert!((1..=2).contains(&checkpoints(&disk).len()));
    }
    let log = open(&disk).expect("opens");
    assert_eq!(log.stats().state_keys, 13);
    assert_eq!(payloads(&log), expected(0..1200));
}
