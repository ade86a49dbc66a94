//! Index files that are not what they should be: dropped, or without harm.

use std::sync::Arc;

use esker::inspect::{FindingClass, verify_on};
use esker::{Attached, Log, Record, Topic};
use harness::MemoryDisk;
use harness::memory::{Fate, NamesModel, Reached, Survival};

use super::{Told, agree, entries_start, indexed, indexes, key, latest, latest_of, tell, word};
use crate::support::{at, open, options, segments};

/// What all keys say.
fn all(log: &Log) -> Vec<Told> {
    (0..42).map(|number| tell(log.history(Topic::default(), &key(number))).expect("reads")).collect()
}

#[test]
fn every_flipped_bit_is_dropped_or_harmless() {
    let disk = MemoryDisk::new(1);
    let log = indexed(&options(), &disk);
    let expected = all(&log);
    log.close().expect("closes");
    let name = indexes(&disk).remove(1);
    let bytes = disk.read_file(&name).expect("is there");
    let attached = |disk: &MemoryDisk| Attached::open_on(Arc::new(disk.clone())).expect("attaches");
    for bit in (0..bytes.len() * 8).filter(|bit| bit / 8 < 256 || bit % 5 == 0) {
        disk.edit_file(&name, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let asked = u64::try_from(bit % 41).expect("small");
        let attached = attached(&disk);
        let told = &expected[bit % 41];
        assert_eq!(
            latest(attached.latest(Topic::default(), &key(asked))).expect("reads"),
            latest_of(told),
            "bit {bit}"
        );
        assert_eq!(&tell(attached.history(Topic::default(), &key(asked))).expect("reads"), told, "bit {bit}");
        if bit % 101 == 0 {
            let found = verify_on(&disk, &mut |_| {}).expect("looks");
            let classes: Vec<_> = found.findings.iter().map(|finding| finding.class).collect();
            assert_eq!((classes, found.is_damaged()), (vec![FindingClass::BadIndex], false), "bit {bit}");
            let image = disk.snapshot();
            let log = open(&image).expect("opens");
            assert_eq!(all(&log), expected, "bit {bit}");
            log.background_step();
            assert_eq!(image.read_file(&name).as_ref(), Some(&bytes), "bit {bit}: made anew, and the same");
        }
        disk.edit_file(&name, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
    }
}

/// Names and lengths survive, and any part of what was stored.
struct Torn(u64);

impl Torn {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

impl Fate for Torn {
    fn names(&mut self) -> NamesModel {
        NamesModel::Adversarial
    }

    fn change(&mut self, _index: usize, _of: usize) -> bool {
        true
    }

    fn length(&mut self) -> Reached {
        Reached::All
    }

    fn sector(&mut self, _index: usize, _of: usize) -> Survival {
        if self.draw().is_multiple_of(3) { Survival::Old } else { Survival::New }
    }
}

#[test]
fn what_a_crash_leaves_of_an_index_file_is_never_believed() {
    let disk = MemoryDisk::new(1);
    let log = indexed(&options(), &disk);
    let expected = all(&log);
    let (mut whole, mut torn) = (0, 0);
    for seed in 0..60 {
        let image = disk.lose_power(&mut Torn(seed));
        for name in indexes(&image) {
            let same = image.read_file(&name) == disk.read_file(&name);
            (whole, torn) = (whole + u32::from(same), torn + u32::from(!same));
        }
        let log = open(&image).expect("opens");
        assert_eq!(all(&log), expected, "seed {seed}");
        log.background_step();
        (0..42).for_each(|number| agree(&log, &image, Topic::default(), &key(number)));
    }
    assert!(torn > 50, "{whole} whole, {torn} torn: the test is about those");
}

#[test]
fn index_files_of_other_segments_and_stores_are_not_believed() {
    let (disk, other) = (MemoryDisk::new(1), MemoryDisk::new(2));
    let (log, foreign) = (indexed(&options(), &disk), indexed(&options(), &other));
    let expected = all(&log);
    log.close().expect("closes");
    foreign.close().expect("closes");
    let names = indexes(&disk);
    let swapped = disk.read_file(&names[2]).expect("is there");
    for (name, bytes) in [(&names[1], swapped.clone()), (&names[3], other.read_file(&names[3]).expect("is there"))] {
        disk.remove(name);
        disk.put_file(name, &bytes);
    }
    disk.put_file("0000000099.idx", &swapped);
    let found = verify_on(&disk, &mut |_| {}).expect("looks");
    let mut classes: Vec<_> = found.findings.iter().map(|finding| finding.class.name()).collect();
    classes.sort_unstable();
    assert_eq!(
        (classes, found.is_damaged()),
        (vec!["bad-index", "bad-index", "leftover"], false),
        "{:?}",
        found.findings
    );
    let log = open(&disk).expect("opens");
    assert!(log.recovery().removed.contains(&"0000000099.idx".to_owned()), "{:?}", log.recovery());
    assert_eq!(all(&log), expected);
    log.background_step();
    let found = verify_on(&disk, &mut |_| {}).expect("looks");
    let left = [FindingClass::BadIndex, FindingClass::Leftover];
    assert!(!found.findings.iter().any(|finding| left.contains(&finding.class)), "{:?}", found.findings);
}

#[test]
fn an_index_file_with_right_sums_that_lies_is_found_out() {
    let disk = MemoryDisk::new(1);
    let log = indexed(&options(), &disk);
    let expected = all(&log);
    log.close().expect("closes");
    let name = indexes(&disk).remove(1);
    // All key entries lead to the frame behind theirs; the sums are those of what is said.
    disk.edit_file(&name, |bytes| {
        let start = entries_start(bytes);
        for entry in 0..word(bytes, 100) {
            let place = start + 12 * at(entry.into()) + 4;
            let moved = word(bytes, place) + 1;
            bytes[place..place + 4].copy_from_slice(&moved.to_le_bytes());
        }
        let body = crc32fast::hash(&bytes[256..]);
        bytes[68..72].copy_from_slice(&body.to_le_bytes());
        bytes[12..16].fill(0);
        let header = crc32fast::hash(&bytes[..256]);
        bytes[12..16].copy_from_slice(&header.to_le_bytes());
    });
    let found = verify_on(&disk, &mut |_| {}).expect("looks");
    let finding = found.findings.first().expect("one");
    assert_eq!(finding.class, FindingClass::BadIndex);
    assert!(finding.cause.contains("differs from what the segment holds"), "{finding}");
    let log = open(&disk).expect("opens");
    assert_eq!(all(&log), expected);
    assert!(disk.read_file(&name).is_none(), "it was dropped");
    log.background_step();
    assert!(disk.read_file(&name).is_some(), "and made anew");
}

#[test]
fn a_full_disk_only_costs_index_files() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    let fill = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            let payload = number.to_le_bytes().repeat(20);
            let _ = log.append(Record::new(&payload).key(&key(number % 41))).expect("appends");
        }
        log.sync().expect("syncs");
    };
    fill(0..300);
    disk.space_limit(1);
    log.background_step();
    let failed = log.stats();
    assert!(failed.index_failures > 0 && failed.indexes == 0 && indexes(&disk).is_empty(), "{failed:?}");
    log.background_step();
    assert_eq!(log.stats().index_failures, failed.index_failures, "not again before the log goes on");
    assert!(!disk.names().iter().any(|name| name.contains(".idx.draft")), "{:?}", disk.names());
    disk.space_limit(u64::MAX);
    fill(300..600);
    log.background_step();
    assert!(indexes(&disk).len() + 1 >= segments(&disk).len() - 1, "{:?}", disk.names());
    (0..42).for_each(|number| agree(&log, &disk, Topic::default(), &key(number)));
}

#[test]
fn an_old_index_file_that_cannot_be_made_is_tried_once() {
    let disk = MemoryDisk::new(1);
    indexed(&options(), &disk).close().expect("closes");
    let log = open(&disk).expect("opens");
    log.background_step();
    disk.remove(&indexes(&disk)[0]);
    assert!(log.latest(Topic::default(), b"looked for everywhere").expect("reads").is_none());
    disk.space_limit(1);
    log.background_step();
    log.background_step();
    assert_eq!((log.stats().index_failures, log.stats().indexes), (1, 0));
}

#[test]
fn a_directory_with_index_files_alone_holds_no_log_and_nothing_else() {
    let disk = MemoryDisk::new(1);
    disk.put_file("0000000001.idx", b"left behind");
    disk.put_file("0000000002.idx.draft", b"left behind");
    let log = open(&disk).expect("a new log");
    let mut removed = log.recovery().removed.clone();
    removed.sort();
    assert_eq!(removed, ["0000000001.idx", "0000000002.idx.draft"]);
}

#[test]
fn a_reader_of_a_log_that_was_closed_removes_no_index_file() {
    let disk = MemoryDisk::new(1);
    let _ = indexed(&options(), &disk).close();
    let log = open(&disk).expect("opens");
    let mut reader = log.reader();
    log.close().expect("closes");
    let names = indexes(&disk);
    for name in &names {
        disk.edit_file(name, |bytes| bytes[300] ^= 1);
    }
    // The directory may be another writer's by now.
    for offset in 0..log_end(&mut reader) {
        reader.seek(esker::Offset::new(offset)).expect("inside the log");
        assert!(reader.poll().expect("reads").is_some());
    }
    assert_eq!(indexes(&disk), names);
}

fn log_end(reader: &mut esker::Reader) -> u64 {
    reader.seek_latest();
    reader.offset().get()
}
