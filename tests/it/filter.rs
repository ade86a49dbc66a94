//! Readers with a filter: what they hand out, what they step over, and what that costs.

mod cost;
mod damage;

use std::sync::Arc;
use std::time::Duration;

use esker::{Attached, ErrorKind, Log, Offset, Options, Reader, Record, Result, Topic};
use harness::MemoryDisk;

use crate::support::{open, options};

fn topic(number: u32) -> Topic {
    Topic::new(number).expect("small")
}

fn numbers(reader: &mut Reader) -> Result<Vec<u64>> {
    let mut all = Vec::new();
    while let Some(batch) = reader.poll()? {
        assert_eq!(reader.offset(), batch.next());
        all.extend(batch.iter().map(|record| record.offset().get()));
    }
    Ok(all)
}

fn numbers_back(reader: &mut Reader) -> Result<Vec<u64>> {
    let mut all = Vec::new();
    while let Some(batch) = reader.poll_back()? {
        all.extend(batch.iter_back().map(|record| record.offset().get()));
    }
    Ok(all)
}

/// So many records with payloads of 160 bytes, of the topics 0 to 9 in turns, with the keys 0 to 6 in turns.
fn fill(log: &Log, count: u64) {
    for _ in 0..count {
        let number = log.visible().get();
        let (payload, key) = (number.to_le_bytes().repeat(20), (number % 7).to_le_bytes());
        let record = Record::new(&payload).key(&key);
        let _ = log.append(record.topic(topic(u32::try_from(number % 10).expect("small")))).expect("appends");
    }
}

/// Fills a log of several segments, all with index files but the last.
fn filled(options: &Options, disk: &MemoryDisk) -> Log {
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    fill(&log, 600);
    log.sync().expect("syncs");
    log.background_step();
    assert!(log.stats().indexes > 1);
    log
}

#[test]
fn a_filter_that_lets_nothing_through_moves_to_the_end() {
    let disk = MemoryDisk::new(1);
    let log = filled(&options(), &disk);
    for mut reader in [log.reader().topics([]), log.reader().topics([topic(77)]), log.reader().key(topic(1), b"none")] {
        assert!(reader.poll().expect("reads").is_none());
        assert_eq!(reader.offset(), log.visible());
        assert!(reader.poll_back().expect("reads").is_none());
        assert_eq!(reader.offset(), log.start());
    }
}

#[test]
fn the_filter_that_came_last_counts_also_on_the_way() {
    let disk = MemoryDisk::new(1);
    let log = filled(&options(), &disk);
    let mut reader = log.reader().topics([topic(3), topic(3), topic(77)]);
    assert_eq!(numbers(&mut reader).expect("reads"), (0..600).filter(|number| number % 10 == 3).collect::<Vec<_>>());
    let mut reader = reader.key(topic(3), &5_u64.to_le_bytes());
    let of_key: Vec<u64> = (0..600).filter(|number| number % 10 == 3 && number % 7 == 5).collect();
    assert!(numbers_back(&mut reader).expect("reads").iter().rev().eq(&of_key));
    reader.seek(Offset::new(300)).expect("inside the log");
    assert!(reader.poll_back().expect("reads").is_some());
    let at = reader.offset().get();
    let mut reader = reader.topics([topic(4)]);
    assert_eq!(
        numbers(&mut reader).expect("reads"),
        (at..600).filter(|number| number % 10 == 4).collect::<Vec<_>>(),
        "what the filter before left out is there for this one"
    );
}

#[test]
fn who_waits_is_woken_by_what_matches_and_not_by_the_rest() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    let mut readers = [
        log.reader().topics([topic(1)]),
        Attached::open_on(Arc::new(disk.clone())).expect("attaches").reader().topics([topic(1)]),
    ];
    let _ = log.append(Record::new(b"other").topic(topic(2))).expect("appends");
    for reader in &mut readers {
        assert!(reader.poll_wait(Duration::from_millis(20)).expect("waits").is_none());
        assert_eq!(reader.offset(), Offset::new(1), "behind what did not match");
    }
    std::thread::scope(|scope| {
        let waiting = readers.each_mut().map(|reader| {
            scope.spawn(|| reader.poll_wait(Duration::from_secs(60)).expect("waits").expect("woken").first().get())
        });
        let _ = log.append(Record::new(b"other").topic(topic(2))).expect("appends");
        let _ = log.append(Record::new(b"this").topic(topic(1))).expect("appends");
        assert_eq!(waiting.map(|thread| thread.join().expect("joins")), [2, 2]);
    });
}

#[test]
fn a_cursor_with_a_filter_commits_over_what_it_left_out() {
    let disk = MemoryDisk::new(1);
    let log = filled(&options(), &disk);
    let mut cursor = log.cursor("threes").expect("is made").topics([topic(3)]);
    let mut met = Vec::new();
    while let Some(batch) = cursor.poll().expect("reads") {
        met.extend(batch.iter().map(|record| record.offset().get()));
        let _ = cursor.commit(&batch).expect("commits");
    }
    assert_eq!(met, (3..600).step_by(10).collect::<Vec<_>>());
    let behind = cursor.offset();
    assert_eq!(behind, log.visible(), "behind all that was looked at");
    let _ = cursor.commit(behind).expect("commits");
    assert_eq!((cursor.lag(), log.cursor("threes").expect("resumes").offset()), (0, behind));
    let mut keyed = log.cursor("keyed").expect("is made").key(topic(3), &3_u64.to_le_bytes());
    assert_eq!(keyed.poll().expect("reads").expect("some").first(), Offset::new(3));
}

#[test]
fn a_reader_below_the_start_of_the_log_is_told_also_where_nothing_would_match() {
    let disk = MemoryDisk::new(1);
    let log = filled(&options(), &disk);
    let mut readers = [log.reader().topics([topic(77)]), log.reader().key(topic(1), b"none")];
    for reader in &mut readers {
        reader.seek(Offset::new(10)).expect("inside the log");
    }
    let start = log.drop_before(Offset::new(400)).expect("drops");
    assert!(start > Offset::new(100));
    for reader in &mut readers {
        let error = reader.poll().expect_err("trimmed");
        assert_eq!(error.kind(), ErrorKind::Trimmed { next: log.start() }, "{error}");
        reader.seek_earliest();
        assert!(reader.poll().expect("reads").is_none());
    }
}
