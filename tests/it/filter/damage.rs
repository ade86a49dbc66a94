//! Damage and gaps: met where a filter looks, and nowhere else.

use std::sync::Arc;

use esker::repair::{Accept, apply_on};
use esker::{Attached, ErrorKind, Log, Offset, Place, ReadMode, Reader};
use harness::MemoryDisk;

use super::{fill, filled, numbers, numbers_back, topic};
use crate::support::{at, open, options, segment_name};

/// The place of the frame of a record.
fn place(log: &Log, offset: u64) -> Place {
    let mut reader = log.reader();
    reader.seek(Offset::new(offset)).expect("inside the log");
    reader.poll().expect("reads").expect("a record").place()
}

fn turn(disk: &MemoryDisk, place: Place, byte: usize) {
    disk.edit_file(&segment_name(place.segment), |bytes| bytes[at(place.position) + byte] ^= 1);
}

fn without_indexes(disk: &MemoryDisk) {
    for name in disk.names().into_iter().filter(|name| name.contains(".idx")) {
        disk.remove(&name);
    }
}

fn readers(log: &Log, disk: &MemoryDisk) -> Vec<Reader> {
    let attached = Attached::open_on(Arc::new(disk.clone())).expect("attaches");
    vec![log.reader(), log.reader().mode(ReadMode::Copy), attached.reader()]
}

#[test]
fn a_body_that_is_stepped_over_is_not_checked_and_one_that_is_asked_for_is() {
    for is_indexed in [true, false] {
        let disk = MemoryDisk::new(1);
        let log = filled(&options(), &disk);
        let damaged = place(&log, 203);
        log.close().expect("closes");
        turn(&disk, damaged, 60);
        if !is_indexed {
            without_indexes(&disk);
        }
        let log = open(&disk).expect("opens");
        for reader in readers(&log, &disk) {
            let mut reader = reader.topics([topic(4)]);
            let others: Vec<u64> = (4..600).step_by(10).collect();
            assert_eq!(numbers(&mut reader).expect("steps over it"), others, "{is_indexed}");
            assert!(numbers_back(&mut reader).expect("steps over it").iter().rev().eq(&others), "{is_indexed}");
        }
        for reader in readers(&log, &disk) {
            let mut reader = reader.topics([topic(3), topic(5)]);
            let error = numbers(&mut reader).expect_err("damage");
            assert_eq!((error.kind(), error.place()), (ErrorKind::Corrupt, Some(damaged)), "{is_indexed}: {error}");
            assert_eq!(reader.offset(), Offset::new(203));
            let skipped = reader.skip_damage().expect("skips").expect("damage");
            assert_eq!((skipped.from, skipped.records), (damaged, 1));
            assert_eq!(numbers(&mut reader).expect("reads on")[..2], [205, 213]);
            let error = numbers_back(&mut reader).expect_err("damage");
            assert_eq!((error.kind(), error.place()), (ErrorKind::Corrupt, Some(damaged)), "{is_indexed}: {error}");
            assert_eq!(reader.offset(), Offset::new(204), "behind it all was handed out, or let by");
        }
    }
}

#[test]
fn a_header_that_does_not_check_is_an_error_where_headers_are_looked_at() {
    let disk = MemoryDisk::new(1);
    let log = filled(&options(), &disk);
    let damaged = place(&log, 203);
    log.close().expect("closes");
    turn(&disk, damaged, 12);
    without_indexes(&disk);
    let log = open(&disk).expect("opens");
    for reader in readers(&log, &disk) {
        let mut reader = reader.topics([topic(4)]);
        let error = numbers(&mut reader).expect_err("nobody knows what follows");
        assert_eq!((error.kind(), error.place()), (ErrorKind::Corrupt, Some(damaged)), "{error}");
        let _skipped = reader.skip_damage().expect("skips").expect("damage");
        assert_eq!(numbers(&mut reader).expect("reads on"), (204..600).step_by(10).collect::<Vec<_>>());
        let error = numbers_back(&mut reader).expect_err("damage");
        assert_eq!((error.kind(), error.place()), (ErrorKind::Corrupt, Some(damaged)), "{error}");
    }
}

#[test]
fn a_gap_may_hold_what_was_asked_for_and_is_met_by_every_filter() {
    let disk = MemoryDisk::new(1);
    let log = filled(&options(), &disk);
    let lost = place(&log, 203);
    log.close().expect("closes");
    turn(&disk, lost, 60);
    assert_eq!(apply_on(&disk, Accept::Loss).expect("repairs").records_lost(), 1);
    for is_indexed in [false, true] {
        let log = open(&disk).expect("opens");
        if is_indexed {
            log.background_step();
            assert!(disk.names().contains(&format!("{:010}.idx", lost.segment)));
        }
        let asked: [fn(Reader) -> Reader; 3] = [
            |reader| reader.topics([topic(4)]),
            |reader| reader.topics([topic(77)]),
            |reader| reader.key(topic(77), b"none"),
        ];
        for mut reader in asked.iter().flat_map(|ask| readers(&log, &disk).into_iter().map(ask)) {
            let gap = (ErrorKind::Gap { next: Offset::new(204) }, Some(lost));
            let error = numbers(&mut reader).expect_err("a gap");
            assert_eq!((error.kind(), error.place()), gap, "{is_indexed}: {error}");
            assert!(reader.skip_damage().expect("skips").is_some());
            let behind = numbers(&mut reader).expect("reads on");
            assert!(behind.is_empty() || behind == (204..600).step_by(10).collect::<Vec<_>>());
            assert_eq!(reader.offset(), log.visible());
            let error = numbers_back(&mut reader).expect_err("a gap");
            assert_eq!((error.kind(), error.place()), gap, "{is_indexed}: {error}");
            assert_eq!(reader.offset(), Offset::new(204));
        }
        log.close().expect("closes");
    }
}

/// Makes an index file say something else, under right sums.
fn lie(disk: &MemoryDisk, name: &str, edit: impl FnOnce(&mut [u8])) {
    disk.edit_file(name, |bytes| {
        edit(bytes);
        let body = crc32fast::hash(&bytes[256..]);
        bytes[68..72].copy_from_slice(&body.to_le_bytes());
        bytes[12..16].fill(0);
        let header = crc32fast::hash(&bytes[..256]);
        bytes[12..16].copy_from_slice(&header.to_le_bytes());
    });
}

/// The four bytes at a place of an index file.
fn word(bytes: &[u8], place: usize) -> u32 {
    u32::from_le_bytes(bytes[place..place + 4].try_into().expect("four"))
}

/// Where the key entries of an index file begin, and how many there are.
fn entries(bytes: &[u8]) -> (usize, usize) {
    let start = 256 + 16 * word(bytes, 88) + 16 * word(bytes, 92) + 4 * word(bytes, 96);
    (at(start.into()), at(word(bytes, 100).into()))
}

/// What readers find of topic 4, and of a key in it, in a log whose index files say something else; and what is there.
fn found_behind(edit: impl Fn(&mut [u8])) -> Vec<[Vec<u64>; 3]> {
    let disk = MemoryDisk::new(1);
    let options = options().segment_bytes(48 * 1024);
    let log = filled(&options, &disk);
    fill(&log, 900);
    log.sync().expect("syncs");
    log.background_step();
    log.close().expect("closes");
    let names: Vec<String> = disk.names().into_iter().filter(|name| name.contains(".idx")).collect();
    assert!(names.len() > 5);
    for name in &names {
        lie(&disk, name, &edit);
    }
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    let mut told = Vec::new();
    for with_key in [false, true] {
        for reader in readers(&log, &disk) {
            let wants = |number: &u64| number % 10 == 4 && (!with_key || number % 7 == 5);
            let expected: Vec<u64> = (0..1500).filter(wants).collect();
            let mut reader =
                if with_key { reader.key(topic(4), &5_u64.to_le_bytes()) } else { reader.topics([topic(4)]) };
            let forward = numbers(&mut reader).expect("reads");
            let mut back = numbers_back(&mut reader).expect("reads");
            back.reverse();
            told.push([forward, back, expected]);
        }
    }
    told
}

#[test]
fn an_index_file_that_leads_astray_is_dropped_and_the_segment_read() {
    // Entries lead behind their frames.
    let behind = |bytes: &mut [u8]| {
        let (start, count) = entries(bytes);
        for entry in 0..count {
            bytes[start + 12 * entry + 4] ^= 1;
        }
    };
    // Blocks begin elsewhere, or at other offsets.
    let elsewhere = |bytes: &mut [u8]| bytes[256] ^= 8;
    let at_another_offset = |bytes: &mut [u8]| bytes[260] ^= 8;
    for [forward, back, expected] in
        [found_behind(behind), found_behind(elsewhere), found_behind(at_another_offset)].into_iter().flatten()
    {
        assert_eq!((&forward, &back), (&expected, &expected));
    }
}

#[test]
fn readers_come_to_an_end_also_in_an_index_whose_entries_descend() {
    let descend = |bytes: &mut [u8]| {
        let (start, count) = entries(bytes);
        let mut swapped = 0;
        for entry in (1..count).rev() {
            let [before, behind] = [entry - 1, entry].map(|entry| start + 12 * entry);
            if word(bytes, before) == word(bytes, behind) {
                let (first, second) = bytes.split_at_mut(behind);
                first[before + 4..][..4].swap_with_slice(&mut second[4..8]);
                swapped += 1;
            }
        }
        assert!(swapped > 50);
    };
    for [forward, back, expected] in found_behind(descend) {
        for found in [forward, back] {
            assert!(found.is_sorted_by(|a, b| a < b) && found.iter().all(|number| expected.contains(number)));
        }
    }
}
