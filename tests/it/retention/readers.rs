//! Readers of what is dropped under them.

use std::sync::Arc;

use esker::{Attached, ErrorKind, ReadLine, ReadMode, Reader};
use harness::MemoryDisk;

use super::{at, fill, filled};
use crate::support::{drain, expected, numbered};

/// Reads on to where it is told that the rest is gone.
fn until_trimmed(reader: &mut Reader, from: u64) -> u64 {
    let mut next = from;
    loop {
        match reader.poll() {
            Ok(Some(batch)) => {
                for record in &batch {
                    assert_eq!((record.offset(), record.payload().to_vec()), (at(next), numbered(next)));
                    next += 1;
                }
            }
            Ok(None) => panic!("it stands at {next}, and is not told"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Trimmed { next: at(200) }, "{error}");
                assert_eq!(reader.offset(), at(next), "it stands where it stood");
                return next;
            }
        }
    }
}

#[test]
fn a_reader_inside_a_dropped_segment_reads_on_to_its_end_and_is_then_told() {
    let disk = MemoryDisk::new(1);
    let log = filled(&disk);
    let mut inside: Vec<Reader> = [ReadMode::Map, ReadMode::Copy].map(|mode| log.reader().mode(mode)).into();
    inside.push(log.reader().up_to(ReadLine::Durable));
    for reader in &mut inside {
        reader.seek(at(3)).expect("is there");
    }
    let mut back = log.reader();
    back.seek(at(250)).expect("is there");
    let mut latest = log.reader();
    latest.seek_latest();
    log.drop_before(at(200)).expect("drops");
    let ends: Vec<u64> = inside.iter_mut().map(|reader| until_trimmed(reader, 3)).collect();
    assert!(ends[0] > 20 && ends[0] == ends[2], "{ends:?}: the map is pinned");
    for reader in &mut inside {
        until_trimmed(reader, reader.offset().get());
        assert_eq!(reader.poll_back().expect_err("below the start").kind(), ErrorKind::Trimmed { next: at(200) });
        reader.seek(at(200)).expect("where it was told");
        assert_eq!(drain(reader).expect("reads"), expected(200..300));
    }
    let mut seen = 250;
    while let Some(batch) = back.poll_back().expect("reads") {
        assert_eq!(batch.next(), at(seen));
        assert!(batch.iter().all(|record| record.payload() == numbered(record.offset().get())));
        seen = batch.first().get();
    }
    assert_eq!(seen, 200, "back to the start, and no further");
    back.seek_earliest();
    assert_eq!(back.offset(), at(200));
    back.seek_time(esker::Timestamp::from_nanoseconds(0)).expect("before all");
    assert_eq!(back.offset(), at(200));
    fill(&log, 300..320);
    assert_eq!(drain(&mut latest).expect("reads"), expected(300..320));
}

#[test]
fn a_reader_of_another_process_goes_on_across_drops_or_is_told() {
    let disk = MemoryDisk::new(2);
    let log = filled(&disk);
    let attached = Attached::open_on(Arc::new(disk.clone())).expect("attaches");
    let (mut slow, mut quick) = (attached.reader(), attached.reader());
    slow.seek(at(3)).expect("is there");
    quick.seek(at(230)).expect("is there");
    let mut fresh = attached.reader();
    log.drop_before(at(200)).expect("drops");
    until_trimmed(&mut slow, 3);
    assert_eq!(attached.start(), at(200));
    let told = fresh.poll().expect_err("its segment is gone");
    assert_eq!(told.kind(), ErrorKind::Trimmed { next: at(200) });
    assert_eq!(drain(&mut quick).expect("reads"), expected(230..300));
    for round in 30..60 {
        fill(&log, round * 10..round * 10 + 10);
        log.drop_before(at(round * 10 - 20)).expect("drops");
        let read = drain(&mut quick).expect("is never behind");
        assert_eq!(read, expected(round * 10..round * 10 + 10));
        assert_eq!(attached.start(), at(round * 10 - 20), "it is seen in the tail");
    }
    slow.seek(attached.start()).expect("where the log begins now");
    assert_eq!(drain(&mut slow).expect("reads"), expected(570..600));
    // Whoever slept through all of it.
    let asleep = Attached::open_on(Arc::new(disk.clone())).expect("attaches");
    let mut sleeper = asleep.reader();
    fill(&log, 600..900);
    log.drop_before(at(880)).expect("drops");
    let mut next = at(570);
    let told = loop {
        match sleeper.poll() {
            Ok(Some(batch)) => {
                assert_eq!(batch.first(), next, "what is left of the file that it has open");
                next = batch.next();
            }
            Ok(None) => panic!("it stands at {next}, and is not told"),
            Err(error) => break error.kind(),
        }
    };
    assert_eq!(told, ErrorKind::Trimmed { next: at(880) });
    sleeper.seek(at(880)).expect("is there");
    assert_eq!(drain(&mut sleeper).expect("reads"), expected(880..900));
}
