//! Lookups by key: what they say is what a plain loop over the log says, whatever the index files hold.

mod cost;
mod damage;
mod files;
#[cfg(all(target_os = "linux", not(esker_portable)))]
mod memory;
mod property;

use std::sync::Arc;

use esker::{Attached, Log, Options, Record, Result, Topic};
use harness::MemoryDisk;

use crate::support::{at, open, options};

/// Offsets, tombstones and payloads, oldest first.
type Told = Vec<(u64, bool, Vec<u8>)>;

fn topic(number: u32) -> Topic {
    Topic::new(number).expect("small")
}

fn key(number: u64) -> Vec<u8> {
    format!("key-{number}").into_bytes()
}

/// The names of the index files.
fn indexes(disk: &MemoryDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.contains(".idx")).collect()
}

fn remove_indexes(disk: &MemoryDisk) {
    for name in indexes(disk) {
        disk.remove(&name);
    }
}

/// Where the key entries of an index file begin.
fn entries_start(bytes: &[u8]) -> usize {
    let (blocks, topics, lists) = (word(bytes, 88), word(bytes, 92), word(bytes, 96));
    at((256 + 16 * blocks + 16 * topics + 4 * lists).into())
}

fn word(bytes: &[u8], place: usize) -> u32 {
    u32::from_le_bytes(bytes[place..place + 4].try_into().expect("four"))
}

/// What a plain loop over the log says of a key.
fn by_reading(log: &Log, topic: Topic, key: &[u8]) -> Told {
    let (mut reader, mut told) = (log.reader(), Vec::new());
    while let Some(batch) = reader.poll().expect("reads") {
        let matches = batch.iter().filter(|record| record.topic() == topic && record.key() == Some(key));
        told.extend(matches.map(|one| (one.offset().get(), one.is_tombstone(), one.payload().to_vec())));
    }
    told
}

fn tell(history: esker::History) -> Result<Told> {
    history
        .map(|found| {
            let found = found?;
            let record = found.record();
            assert_eq!(found.offset(), record.offset());
            Ok((record.offset().get(), record.is_tombstone(), record.payload().to_vec()))
        })
        .collect()
}

fn latest_of(told: &Told) -> Option<(u64, Vec<u8>)> {
    let (offset, tombstone, payload) = told.last()?;
    (!tombstone).then(|| (*offset, payload.clone()))
}

fn latest(found: Result<Option<esker::Found>>) -> Result<Option<(u64, Vec<u8>)>> {
    Ok(found?.map(|found| (found.offset().get(), found.record().payload().to_vec())))
}

/// The log, and who only looks on, say of a key what a plain loop says.
fn agree(log: &Log, disk: &MemoryDisk, topic: Topic, key: &[u8]) {
    let told = by_reading(log, topic, key);
    assert_eq!(tell(log.history(topic, key)).expect("reads"), told, "{topic:?} {}", key.escape_ascii());
    assert_eq!(latest(log.latest(topic, key)).expect("reads"), latest_of(&told), "{}", key.escape_ascii());
    let attached = Attached::open_on(Arc::new(disk.clone())).expect("attaches");
    assert_eq!(latest(attached.latest(topic, key)).expect("reads"), latest_of(&told), "{}", key.escape_ascii());
    assert_eq!(tell(attached.history(topic, key)).expect("reads"), told, "{}", key.escape_ascii());
}

/// A log of several segments that all have an index file, but the last; keys 0 to 40, each several times.
fn indexed(options: &Options, disk: &MemoryDisk) -> Log {
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    for number in 0..600_u64 {
        let (key, payload) = (key(number % 41), number.to_le_bytes().repeat(20));
        let _ = log.append(Record::new(&payload).key(&key)).expect("appends");
    }
    log.sync().expect("syncs");
    log.background_step();
    assert!(indexes(disk).len() >= 5, "{:?}", disk.names());
    log
}

#[test]
fn the_latest_record_is_found_wherever_it_lies() {
    let disk = MemoryDisk::new(1);
    let log = indexed(&options(), &disk);
    let _ = log.append(Record::new(b"only here").key(b"")).expect("appends");
    let _ = log.append_batch([Record::tombstone(&key(7)), Record::new(b"other").key(&key(8)).topic(topic(3))]);
    for number in 0..45 {
        agree(&log, &disk, Topic::default(), &key(number));
        agree(&log, &disk, topic(3), &key(number));
    }
    agree(&log, &disk, Topic::default(), b"");
    assert!(log.latest(Topic::default(), &key(7)).expect("reads").is_none(), "a tombstone");
}

#[test]
fn only_what_is_durable_is_told_where_that_is_asked_for() {
    let disk = MemoryDisk::new(1);
    let log = indexed(&options(), &disk);
    let before = latest(log.latest(Topic::default(), &key(3))).expect("reads");
    let _ = log.append(Record::new(b"not yet").key(&key(3))).expect("appends");
    let line = esker::ReadLine::Durable;
    assert_eq!(latest(log.latest_up_to(line, Topic::default(), &key(3))).expect("reads"), before);
    let durable = tell(log.history(Topic::default(), &key(3)).up_to(line)).expect("reads");
    let visible = tell(log.history(Topic::default(), &key(3))).expect("reads");
    assert_eq!((visible.len(), visible.last().expect("one").2.as_slice()), (durable.len() + 1, &b"not yet"[..]));
    log.sync().expect("syncs");
    assert_eq!(tell(log.history(Topic::default(), &key(3)).up_to(line)).expect("reads"), visible);
}

#[test]
fn keys_that_share_a_hash_are_never_taken_for_each_other() {
    // Index files know the upper half of the hash: among so many keys some share it.
    let mut seen = std::collections::HashMap::new();
    let shared = (0_u64..).find_map(|number| {
        let mut bytes = vec![0; 4];
        bytes.extend(key(number));
        let upper = xxhash_rust::xxh3::xxh3_64(&bytes) >> 32;
        seen.insert(upper, number).map(|other| [key(other), key(number)])
    });
    let [one, other] = shared.expect("there is no end of keys");
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    let append = |key: &[u8], value: u64| {
        let payload = value.to_le_bytes().repeat(50);
        let _ = log.append(Record::new(&payload).key(key)).expect("appends");
    };
    for value in 0..120 {
        append(if value % 3 == 0 { &one } else { &other }, value);
    }
    let last = [one.clone(), other.clone()].map(|key| latest(log.latest(Topic::default(), &key)).expect("reads"));
    assert!(last[0] != last[1] && last.iter().all(Option::is_some), "{last:?}");
    agree(&log, &disk, Topic::default(), &one);
    let _ = log.append(Record::tombstone(&one)).expect("appends");
    log.sync().expect("syncs");
    log.background_step();
    assert!(!indexes(&disk).is_empty());
    agree(&log, &disk, Topic::default(), &one);
    agree(&log, &disk, Topic::default(), &other);
}

#[test]
fn a_closed_log_says_so_instead_of_what_was_the_latest() {
    let disk = MemoryDisk::new(1);
    let log = indexed(&options(), &disk);
    log.clone().close().expect("closes");
    let error = log.latest(Topic::default(), &key(3)).expect_err("another may have appended since");
    assert_eq!(error.kind(), esker::ErrorKind::Closed);
    let mut history = log.history(Topic::default(), &key(3));
    assert_eq!(history.next().expect("an error").expect_err("closed").kind(), esker::ErrorKind::Closed);
    assert!(history.next().is_none());
}

#[test]
fn seeks_say_the_same_with_index_files_and_without() {
    let disk = MemoryDisk::new(1);
    let log = indexed(&options(), &disk);
    log.close().expect("closes");
    let with = open(&disk).expect("opens");
    let bare = disk.snapshot();
    remove_indexes(&bare);
    let without = open(&bare).expect("opens");
    for offset in (0..600).rev().step_by(7) {
        let offset = esker::Offset::new(offset);
        let ask = |log: &Log| {
            let mut reader = log.reader();
            reader.seek(offset).expect("is there");
            let back = reader.poll_back().expect("reads").map(|batch| (batch.first(), batch.next()));
            reader.seek(offset).expect("is there");
            let batch = reader.poll().expect("reads").expect("a batch");
            let (first, time) = (batch.first(), batch.iter().next().expect("a record").time());
            reader.seek_time(time).expect("is there");
            (back, first, reader.offset())
        };
        assert_eq!(ask(&with), ask(&without), "{offset}");
    }
}

#[test]
fn a_seek_into_a_cold_segment_goes_by_its_index_file() {
    let disk = MemoryDisk::new(1);
    let options = Options::new().background(esker::Background::Manual);
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    for number in 0..3000_u64 {
        disk.advance(std::time::Duration::from_millis(50));
        let _ = log.append(Record::new(&number.to_le_bytes().repeat(50))).expect("appends");
    }
    log.sync().expect("syncs");
    log.background_step();
    let mut reader = log.reader();
    reader.seek(esker::Offset::new(2000)).expect("is there");
    let time = reader.poll().expect("reads").expect("a batch").iter().next().expect("a record").time();
    log.close().expect("closes");
    // Who goes over the frames of the first block from the first on does not get far.
    disk.edit_file(&crate::support::segment_name(1), |bytes| bytes[5000..5100].fill(0xee));
    let seeks = |disk: &MemoryDisk| {
        let log = options.open_on(Arc::new(disk.clone())).expect("opens");
        let attached = Attached::open_on(Arc::new(disk.clone())).expect("attaches");
        [log.reader(), attached.reader()].map(|mut reader| {
            let sought = reader.seek(esker::Offset::new(2000)).map(|()| reader.offset().get());
            let at_time = reader.seek_time(time).map(|()| reader.offset().get());
            let back = sought.is_ok().then(|| reader.poll_back().expect("reads").expect("a batch").next().get());
            (sought.ok(), at_time.ok(), back)
        })
    };
    assert_eq!(seeks(&disk), [(Some(2000), Some(2000), Some(2000)); 2]);
    remove_indexes(&disk);
    assert_eq!(seeks(&disk), [(None, None, None); 2]);
}

#[test]
fn lookups_beside_appends_and_the_making_of_index_files_never_go_back() {
    let disk = MemoryDisk::new(1);
    let options = options().background(esker::Background::Threads);
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    let last = 4000_u64;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..=last {
                let payload = number.to_be_bytes().repeat(10);
                let _ = log.append(Record::new(&payload).key(&key(number % 5))).expect("appends");
                if number.is_multiple_of(50) {
                    log.sync().expect("syncs");
                }
            }
        });
        let (mut seen, mut rounds) = ([None; 5], 0_u64);
        while !writer.is_finished() || rounds < 5 {
            let number = rounds % 5;
            let found = latest(log.latest(Topic::default(), &key(number))).expect("reads").map(|(offset, _)| offset);
            let before = &mut seen[at(number)];
            assert!(found >= *before && found.is_none_or(|offset| offset % 5 == number), "{found:?} behind {before:?}");
            *before = found;
            if rounds.is_multiple_of(97) {
                let told = tell(log.history(Topic::default(), &key(number))).expect("reads");
                assert!(told.iter().map(|(offset, ..)| *offset).eq((number..).step_by(5).take(told.len())), "{number}");
                assert!(told.last().map(|(offset, ..)| *offset) >= found, "{number}");
            }
            rounds += 1;
        }
    });
    for number in 0..5 {
        assert_eq!(
            tell(log.history(Topic::default(), &key(number))).expect("reads").len(),
            800 + usize::from(number == 0)
        );
    }
    log.close().expect("closes");
}
