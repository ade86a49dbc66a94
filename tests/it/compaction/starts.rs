//! Who reads a topic alone is told where its retention dropped what comes next; nobody else is.

use std::sync::{Arc, Mutex};

use esker::{Commit, Contract, Cursor, ErrorKind, ReadLine, ReadMode, Reader, Retention, Start};
use harness::WatchedDisk;
use harness::crash::ByDice;
use harness::dice::Dice;

use super::crash::Moments;
use super::{Cleanup, Compaction, Log, MemoryDisk, Offset, Options, Seen, eager, fill, read, seen, topic};

fn keeping_little() -> Options {
    eager().cleanup(topic(1), Cleanup::delete(Retention::new().bytes(3000)))
}

fn open(disk: &MemoryDisk) -> Log {
    keeping_little().open_on(Arc::new(disk.clone())).expect("opens")
}

/// A log of which much may go, and all that is in it.
fn grown(disk: &MemoryDisk) -> (Log, Vec<Seen>) {
    let log = open(disk);
    for part in 0..4 {
        fill(&log, part * 100..part * 100 + 100);
        log.sync().expect("syncs");
    }
    let _ = log.compact(&Compaction::new().topic(topic(9))).expect("merges at most");
    let all = read(&log);
    (log, all)
}

fn of_topic(all: &[Seen], number: u32, from: Offset) -> Vec<Seen> {
    all.iter().filter(|seen| seen.1 == number && seen.0 >= from.get()).cloned().collect()
}

/// Reads to where it is told that the rest is gone.
fn until_told(reader: &mut Reader, next: Offset) -> Vec<Seen> {
    let mut all = Vec::new();
    loop {
        match reader.poll() {
            Ok(batch) => all.extend(batch.expect("it is told").iter().map(|record| {
                let key = record.key().map(<[u8]>::to_vec);
                (record.offset().get(), record.topic().get(), key, record.payload().to_vec())
            })),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Trimmed { next }, "{error}");
                return all;
            }
        }
    }
}

fn is_told<T: std::fmt::Debug>(found: Result<T, esker::Error>, next: Offset) {
    let error = found.expect_err("what comes next is gone");
    assert_eq!(error.kind(), ErrorKind::Trimmed { next }, "{error}");
    assert!(error.to_string().contains("topic"), "{error}");
}

#[test]
fn a_reader_of_a_topic_is_told_where_its_retention_dropped_what_comes_next_and_others_are_not() {
    let disk = MemoryDisk::new(1);
    let (log, all) = grown(&disk);
    let begun = |reader: Reader, number: u32| {
        let mut reader = reader.topics([topic(number)]);
        let batch = reader.poll().expect("reads").expect("records");
        (reader, batch.iter().map(|record| record.offset().get()).collect::<Vec<_>>())
    };
    let (mut inside, mut read_before) = begun(log.reader(), 1);
    let (mut copying, _) = begun(log.reader().mode(ReadMode::Copy), 1);
    let (mut other, others_before) = begun(log.reader(), 0);
    let mut waiting = log.reader().topics([topic(1)]);
    let mut back = log.reader().topics([topic(1)]);
    back.seek_latest();
    assert_eq!(log.topic_start(topic(1)), Offset::ZERO);

    let _ = log.clean().expect("cleans");
    let start = log.topic_start(topic(1));
    assert_eq!((log.topic_start(topic(0)), log.start()), (Offset::ZERO, Offset::ZERO));
    let (left, kept) = (read(&log), of_topic(&all, 1, start));
    assert!(kept.len() > 5 && of_topic(&all, 1, Offset::ZERO).len() > 5 * kept.len(), "{start}");
    assert_eq!(of_topic(&left, 1, Offset::ZERO), kept, "just what is below it is gone");
    assert!(all.iter().any(|seen| seen.0 + 1 == start.get() && seen.1 == 1), "it lies just behind a record");

    // What was begun is read to the end of the file, and no record is missed in silence.
    read_before.extend(until_told(&mut inside, start).iter().map(|seen| seen.0));
    let whole: Vec<u64> = of_topic(&all, 1, Offset::ZERO).iter().map(|seen| seen.0).collect();
    assert_eq!(read_before, whole[..read_before.len()]);
    until_told(&mut copying, start);
    is_told(inside.poll_back(), start);
    is_told(waiting.poll(), start);
    for mut reader in [inside, copying] {
        is_told(reader.seek(Offset::new(start.get() - 1)), start);
        reader.seek(start).expect("where it was told");
        assert_eq!(seen(reader), kept);
    }
    let mut others = others_before;
    while let Some(batch) = other.poll().expect("is not told") {
        others.extend(batch.iter().map(|record| record.offset().get()));
    }
    assert_eq!(others, of_topic(&all, 0, Offset::ZERO).iter().map(|seen| seen.0).collect::<Vec<_>>());

    // Who begins now begins there, and who asks for what is below is told.
    for line in [ReadLine::Visible, ReadLine::Durable] {
        let reader = log.reader().up_to(line).topics([topic(1)]);
        assert_eq!(reader.offset(), start);
        assert_eq!(seen(reader), kept);
    }
    assert_eq!(log.reader().topics([topic(1)]).topics([topic(0)]).offset(), Offset::ZERO);
    let mut below = log.reader();
    below.seek(Offset::ZERO).expect("is there");
    let mut below = below.topics([topic(1)]);
    is_told(below.poll(), start);
    is_told(below.poll_back(), start);
    assert_eq!(below.offset(), Offset::ZERO, "it stands where it stood");
    let key = kept.iter().find_map(|seen| seen.2.clone()).expect("one has a key");
    is_told(log.reader().key(topic(1), &key).seek(Offset::new(1)), start);
    below.seek_time(esker::Timestamp::default()).expect("goes");
    assert_eq!(below.offset(), start);
    let mut least = start.after(1);
    while let Some(batch) = back.poll_back().expect("reads") {
        least = batch.first();
    }
    assert_eq!((least.get(), back.offset()), (kept[0].0, start), "back to the start, and no further");
    assert_eq!(seen(log.reader().topics([topic(0), topic(1)])), left, "one of them begins with the log");
    assert_eq!(seen(log.reader().topics([])), []);
}

#[test]
fn a_cursor_that_held_nothing_is_told_and_one_that_held_its_topic_never_is() {
    for holds in [Contract::Hold, Contract::HoldTopics([topic(1)].into())] {
        let disk = MemoryDisk::new(2);
        let (log, all) = grown(&disk);
        let held = Offset::new(250);
        for (name, at, contract) in
            [("holds", 250, &holds), ("some", 0, &Contract::HoldUpTo(1)), ("none", 0, &Contract::BestEffort)]
        {
            let cursor = log.cursor_from(name, Start::Offset(Offset::new(at))).expect("is made");
            let _ = cursor.set_contract(contract).expect("commits");
        }
        log.sync().expect("syncs");
        let _ = log.clean().expect("cleans");
        let start = log.topic_start(topic(1));
        assert!(start > Offset::ZERO && start <= held, "{start}");
        log.close().expect("closes");
        for disk in [disk.snapshot(), disk.lose_power(&mut ByDice::new(Dice::new(3)))] {
            let log = open(&disk);
            assert_eq!(log.topic_start(topic(1)), start);
            let cursor = |name| log.cursor(name).expect("resumes").topics([topic(1)]);
            for name in ["some", "none"] {
                let mut told: Cursor = cursor(name);
                assert_eq!(told.offset(), Offset::ZERO);
                is_told(told.poll(), start);
                is_told(told.seek(Offset::new(1)).map(|_| ()), start);
                let _ = told.seek(start).expect("commits");
                assert!(cursor(name).poll().expect("resumes").is_some());
            }
            let mut reader = cursor("holds");
            let mut found = Vec::new();
            while let Some(batch) = reader.poll().expect("is not told") {
                found.extend(batch.iter().map(|record| record.offset().get()));
            }
            assert_eq!(found, of_topic(&all, 1, held).iter().map(|seen| seen.0).collect::<Vec<_>>());
            // Another topic, and all of them, are there from the begin.
            let _ = log.commit(Commit::new().seek_cursor("none", Offset::ZERO)).expect("commits");
            assert!(log.cursor("none").expect("resumes").poll().expect("is not told").is_some());
            assert!(log.cursor("none").expect("resumes").topics([topic(0)]).poll().expect("is not told").is_some());
            assert_eq!(log.cursor("new").expect("is made").topics([topic(1)]).offset(), start);
        }
    }
}

#[test]
fn whatever_a_power_loss_leaves_no_record_of_a_topic_is_gone_above_where_it_begins() {
    let disk = MemoryDisk::new(3);
    let (log, all) = grown(&disk);
    let whole = of_topic(&all, 1, Offset::ZERO);
    drop(log);
    let watched = WatchedDisk::new(disk.clone(), Moments { disk: disk.clone(), left: Mutex::new(None) });
    let log = keeping_little().open_on(Arc::new(watched.clone())).expect("opens");
    let _ = log.compact(&Compaction::new().topic(topic(9))).expect("writes checkpoints");
    *watched.left.lock().expect("free") = Some(Vec::new());
    let _ = log.clean().expect("cleans");
    let start = log.topic_start(topic(1));
    assert!(start > Offset::ZERO);
    let moments = watched.left.lock().expect("free").take().expect("asked for");
    let (mut said_before, mut gone) = (0, 0);
    for (operation, left) in &moments {
        for seed in 0..4 {
            let what = format!("dead before {operation}, {seed}");
            let left = if seed == 0 { left.snapshot() } else { left.lose_power(&mut ByDice::new(Dice::new(seed))) };
            let log = open(&left);
            let found = of_topic(&read(&log), 1, Offset::ZERO);
            let (now, missing) = (log.topic_start(topic(1)), whole.len() - found.len());
            assert!(now == Offset::ZERO || now == start, "{what}: {now}");
            assert!(of_topic(&found, 1, now) == of_topic(&whole, 1, now), "{what}: something above {now} is gone");
            assert!(missing == 0 || now == start, "{what}: {missing} are gone, and nobody is told");
            said_before += u32::from(now == start && missing == 0);
            gone += u32::from(missing > 0);
            let _ = log.compact(&Compaction::new().topic(topic(9))).unwrap_or_else(|error| panic!("{what}: {error}"));
            let _ = log.clean().unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(log.topic_start(topic(1)) >= start, "{what}");
            assert!(of_topic(&read(&log), 1, Offset::ZERO).len() < whole.len(), "{what}");
        }
    }
    assert!(said_before > 0 && gone > 0, "{said_before} {gone} of {}", moments.len());
}

#[test]
fn whether_a_key_had_a_record_below_where_its_topic_begins_cannot_be_known() {
    let disk = MemoryDisk::new(5);
    let (log, _) = grown(&disk);
    let commit = |number, since| {
        let commit = Commit::new().if_no_record(topic(number), b"nobody", since);
        log.commit(commit).map(|_| ())
    };
    commit(1, Offset::ZERO).expect("there was none");
    let _ = log.clean().expect("cleans");
    let start = log.topic_start(topic(1));
    is_told(commit(1, Offset::new(start.get() - 1)), start);
    commit(1, start).expect("there was none");
    commit(0, Offset::ZERO).expect("there was none");
}

#[test]
fn who_has_the_file_open_misses_nothing_and_who_has_not_is_told() {
    let disk = MemoryDisk::new(6);
    let (log, all) = grown(&disk);
    let mut inside = log.reader().topics([topic(1)]);
    let mut found: Vec<u64> =
        inside.poll().expect("reads").iter().flatten().map(|record| record.offset().get()).collect();
    let mut waiting = log.reader().topics([topic(1)]);
    // Only the first file loses something.
    let _ = log.cursor("holds").expect("is made");
    for at in (0..400).step_by(10) {
        let _ = log.commit(Commit::new().cursor("holds", Offset::new(at))).expect("commits");
        let _ = log.clean().expect("cleans");
        if log.topic_start(topic(1)) > Offset::ZERO {
            break;
        }
    }
    while let Some(batch) = inside.poll().expect("is not told") {
        found.extend(batch.iter().map(|record| record.offset().get()));
    }
    assert_eq!(found, of_topic(&all, 1, Offset::ZERO).iter().map(|seen| seen.0).collect::<Vec<_>>());
    let start = log.topic_start(topic(1));
    assert!(of_topic(&read(&log), 1, Offset::ZERO) == of_topic(&all, 1, start) && start.get() < 200, "{start}");
    is_told(waiting.poll(), start);
}

#[test]
fn a_run_by_which_no_topic_begins_later_commits_nothing() {
    let disk = MemoryDisk::new(4);
    let (log, _) = grown(&disk);
    let _ = log.clean().expect("cleans");
    let (start, appends) = (log.topic_start(topic(1)), log.stats().appends);
    assert!(start > Offset::ZERO);
    let _ = log.clean().expect("cleans");
    assert_eq!((log.topic_start(topic(1)), log.stats().appends), (start, appends));
}
