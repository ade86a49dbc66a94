//! Checkpoints: what an open need not read again, written so that a crash or damage costs time and nothing else.

mod outrun;
mod stepped;
mod steps;

use std::sync::Arc;

use esker::{Attached, Commit, ErrorKind, Log, Offset, Options};
use harness::MemoryDisk;

use crate::support::{append_numbered, at, checkpoints, expected, forget, open, options, payloads, segment_name};

fn eager() -> Options {
    options().checkpoint_bytes(4096)
}

fn open_eager(disk: &MemoryDisk) -> Log {
    eager().open_on(Arc::new(disk.clone())).expect("opens")
}

/// Records, an entry of its own and a count, all with one number; then a sync and the background's turn.
fn step(log: &Log, number: u64) {
    append_numbered(log, number * 10..number * 10 + 10);
    let (key, value) = (format!("key-{:03}", number % 50), number.to_le_bytes());
    let commit = Commit::new().state(&key, &value).state("count", &value);
    let _ = log.commit(if number % 7 == 3 { commit.remove_state("key-001") } else { commit }).expect("commits");
    log.sync().expect("syncs");
    log.background_step();
}

/// Entries of the state, in order.
fn entries(log: &Log) -> Vec<(Vec<u8>, Vec<u8>, esker::Version)> {
    let all = log.states("").expect("shown");
    all.into_iter().map(|(key, held)| (key.to_vec(), held.value().to_vec(), held.version())).collect()
}

#[test]
fn an_open_reads_only_what_came_behind_the_newest_checkpoint() {
    let disk = MemoryDisk::new(1);
    let log = open_eager(&disk);
    (0..60).for_each(|number| step(&log, number));
    assert!(log.stats().checkpoints > 5, "{:?}", log.stats());
    assert_eq!(checkpoints(&disk).len(), 2);
    let held = entries(&log);
    let left = disk.snapshot();
    let recovered = open_eager(&left);
    let report = recovered.recovery();
    assert!(report.checkpoint.is_some() && report.replayed_bytes < 16 * 1024, "{report:?}");
    assert_eq!(entries(&recovered), held);
    log.close().expect("closes");
    let log = open_eager(&disk);
    assert_eq!(log.recovery().replayed_bytes, 0, "the one at close covers all");
    assert_eq!(entries(&log), held);
    assert_eq!(payloads(&log), expected(0..600));
}

#[test]
fn without_checkpoints_the_whole_log_gives_the_same_state() {
    let disk = MemoryDisk::new(2);
    let log = open_eager(&disk);
    (0..40).for_each(|number| step(&log, number));
    let held = entries(&log);
    let crashed = disk.snapshot();
    log.close().expect("closes");
    for disk in [disk, crashed] {
        forget(&disk);
        let log = open_eager(&disk);
        assert_eq!(log.recovery().checkpoint, None);
        assert!(log.recovery().replayed_bytes > 40 * 1024);
        assert_eq!(entries(&log), held);
        log.close().expect("closes");
        assert_eq!(checkpoints(&disk).len(), 1, "there is one again");
        assert_eq!(entries(&open_eager(&disk)), held);
    }
}

#[test]
fn a_checkpoint_of_a_later_version_is_refused_and_a_rotten_version_is_rot() {
    let disk = MemoryDisk::new(3);
    let log = open_eager(&disk);
    (0..40).for_each(|number| step(&log, number));
    let held = entries(&log);
    let left = disk.snapshot();
    for (name, position) in checkpoints(&left).iter().flat_map(|name| [8, 9, 16, 19].map(|position| (name, position))) {
        let disk = left.snapshot();
        disk.edit_file(name, |bytes| bytes[position] ^= 0x40);
        assert_eq!(entries(&open_eager(&disk.snapshot())), held, "{name}, byte {position}: rot");
        disk.edit_file(name, |bytes| {
            bytes[12..16].fill(0);
            let sum = crc32fast::hash(&bytes[..256]);
            bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        });
        let error = eager().open_on(Arc::new(disk)).expect_err("of a later program");
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{name}, byte {position}: {error}");
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_replaced() {
    let disk = MemoryDisk::new(3);
    let log = open_eager(&disk);
    (0..40).for_each(|number| step(&log, number));
    let held = entries(&log);
    let left = disk.snapshot();
    let names = checkpoints(&left);
    let [older, newer] = &names[..] else { panic!("two are kept: {names:?}") };
    let length = left.read_file(newer).expect("is there").len();
    for position in [0, 8, 12, 40, 100, 255, 256, 300, length / 2] {
        let damaged = left.snapshot();
        damaged.edit_file(newer, |bytes| bytes[position] ^= 0x40);
        let log = eager().open_on(Arc::new(damaged.clone())).expect("the other one is used");
        assert_eq!(entries(&log), held, "byte {position}");
        let report = log.recovery();
        assert_eq!(report.checkpoint_faults.len(), 1, "byte {position}: {report}");
        assert!(report.to_string().contains(&**newer), "{report}");
        step(&log, 40);
        log.close().expect("closes");
        assert!(!damaged.names().contains(newer), "byte {position}: a newer one took its place");
        let both = left.snapshot();
        both.edit_file(newer, |bytes| bytes[position] ^= 0x40);
        both.edit_file(older, |bytes| bytes[length / 3] ^= 0x40);
        assert_eq!(entries(&open_eager(&both)), held, "byte {position} and the older one");
    }
    for cut in [0, 1, 255, 256, 300] {
        let damaged = left.snapshot();
        damaged.truncate(newer, cut);
        assert_eq!(entries(&open_eager(&damaged)), held, "cut to {cut}");
    }
}

#[test]
fn a_checkpoint_that_goes_bad_while_the_log_is_open_is_noticed_by_the_next_one() {
    let disk = MemoryDisk::new(4);
    let log = open_eager(&disk);
    (0..30).for_each(|number| step(&log, number));
    let newest = checkpoints(&disk).pop().expect("two are kept");
    disk.edit_file(&newest, |bytes| bytes[140] ^= 1);
    (30..40).for_each(|number| step(&log, number));
    assert_eq!(log.stats().checkpoint_failures, 1);
    assert!(!disk.names().contains(&newest));
    assert_eq!(checkpoints(&disk).len(), 2);
    let (held, left) = (entries(&log), disk.snapshot());
    let log = open_eager(&left);
    assert!(log.recovery().checkpoint_faults.is_empty());
    assert_eq!(entries(&log), held);
}

#[test]
fn a_checkpoint_carries_the_durable_line() {
    let disk = MemoryDisk::new(7);
    let log = open_eager(&disk);
    (0..40).for_each(|number| step(&log, number));
    log.close().expect("closes");
    disk.remove("anchor");
    let last = log_end(&disk);
    // The tail of the last segment is lost: only the checkpoint knows that it was durable.
    let damaged = disk.snapshot();
    damaged.edit_file(&segment_name(last.0), |bytes| bytes[at(last.1) - 200..].fill(0));
    let error = eager().open_on(Arc::new(damaged)).expect_err("durable records are gone");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let damaged = disk.snapshot();
    damaged.remove(&segment_name(last.0));
    let error = eager().open_on(Arc::new(damaged)).expect_err("a durable segment is gone");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

/// Segment and position at which the newest checkpoint ends.
fn log_end(disk: &MemoryDisk) -> (u64, u64) {
    let found = Attached::open_on(Arc::new(disk.clone())).expect("attaches").checkpoints().expect("reads");
    let newest = found.last().expect("one at least");
    assert_eq!(newest.line.offset, Offset::new(400));
    (newest.line.place.segment, newest.line.place.position)
}

#[test]
fn a_checkpoint_of_another_time_or_store_is_not_believed() {
    let disk = MemoryDisk::new(8);
    let log = open_eager(&disk);
    (0..20).for_each(|number| step(&log, number));
    let earlier = disk.snapshot();
    (20..60).for_each(|number| step(&log, number));
    let newest = checkpoints(&disk).pop().expect("two are kept");
    let put = |to: &MemoryDisk, name: &str, bytes: &[u8]| {
        let length = u64::try_from(bytes.len()).expect("small");
        esker::platform::Disk::create(to, name, length).expect("is free").write_at(bytes, 0).expect("writes");
    };
    // Of a later time: it knows more than the log holds.
    put(&earlier, &newest, &disk.read_file(&newest).expect("is there"));
    let error = eager().open_on(Arc::new(earlier)).expect_err("what was durable is gone");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    // Of another store, and under another name.
    let other = MemoryDisk::new(99);
    let stranger = open_eager(&other);
    (0..40).for_each(|number| step(&stranger, number));
    let foreign = checkpoints(&other).pop().expect("two are kept");
    let held = entries(&log);
    for (name, bytes) in [
        ("0000000900.ckp", other.read_file(&foreign).expect("is there")),
        ("0000000901.ckp", disk.read_file(&newest).expect("is there")),
    ] {
        let left = disk.snapshot();
        put(&left, name, &bytes);
        let log = open_eager(&left);
        assert_eq!(entries(&log), held);
        assert_eq!(log.recovery().checkpoint_faults.len(), 1, "{}", log.recovery());
    }
}

/// Behind the last sequence there is none: no checkpoint may take the place of a stranger, and be removed as that one.
#[test]
fn where_sequences_are_used_up_the_checkpoints_that_are_there_stay() {
    let disk = MemoryDisk::new(10);
    let log = open_eager(&disk);
    (0..20).for_each(|number| step(&log, number));
    log.close().expect("closes");
    let kept = checkpoints(&disk);
    let last = format!("{}.ckp", u64::MAX);
    esker::platform::Disk::create(&disk, &last, 100).expect("is free");
    for life in 2..4 {
        let log = open_eager(&disk);
        (life * 10..life * 10 + 10).for_each(|number| step(&log, number));
        assert_eq!(log.stats().checkpoints, 0);
        assert!(log.stats().checkpoint_failures > 0);
        let held = entries(&log);
        log.close().expect("closes");
        assert!(kept.iter().all(|name| disk.names().contains(name)), "{:?}", disk.names());
        assert_eq!(entries(&open_eager(&disk.snapshot())), held);
    }
}

#[test]
fn a_checkpoint_that_vanishes_while_the_log_is_open_is_made_up_for_by_the_next_one() {
    let disk = MemoryDisk::new(11);
    let log = open_eager(&disk);
    (0..20).for_each(|number| step(&log, number));
    disk.remove(&checkpoints(&disk).pop().expect("two are kept"));
    let written = log.stats().checkpoints;
    (20..40).for_each(|number| step(&log, number));
    assert!(log.stats().checkpoints > written, "{:?}", log.stats());
    assert_eq!((log.stats().checkpoint_failures, checkpoints(&disk).len()), (1, 2));
    let held = entries(&log);
    assert_eq!(entries(&open_eager(&disk.snapshot())), held);
}

#[test]
fn a_copy_of_a_checkpoint_under_another_name_takes_none_that_is_kept() {
    let disk = MemoryDisk::new(2);
    let log = open_eager(&disk);
    (0..40).for_each(|number| step(&log, number));
    let left = disk.snapshot();
    let newest = checkpoints(&left).pop().expect("two are kept");
    let bytes = left.read_file(&newest).expect("is there");
    let length = u64::try_from(bytes.len()).expect("small");
    let copy = esker::platform::Disk::create(&left, "0000000001.ckp", length).expect("is free");
    copy.write_at(&bytes, 0).expect("writes");
    let log = open_eager(&left);
    assert_eq!(log.recovery().checkpoint_faults.len(), 1, "{}", log.recovery());
    let written = log.stats().checkpoints;
    let mut number = 40;
    while log.stats().checkpoints == written {
        step(&log, number);
        number += 1;
    }
    let names = checkpoints(&left);
    assert!(names.len() == 2 && names[0] == newest, "{names:?}");
}

#[test]
fn an_open_and_close_around_one_record_writes_no_large_state_again() {
    let disk = MemoryDisk::new(10);
    let options = || options().segment_bytes(16 << 20);
    let log = options().open_on(Arc::new(disk.clone())).expect("opens");
    for number in 0..40_u8 {
        let _ = log.commit(Commit::new().state(&[number], &vec![number; 50_000])).expect("commits");
    }
    log.close().expect("closes");
    let before = checkpoints(&disk);
    let log = options().open_on(Arc::new(disk.clone())).expect("opens");
    append_numbered(&log, 0..1);
    log.close().expect("closes");
    assert_eq!(checkpoints(&disk), before, "next to nothing came since");
    let log = options().open_on(Arc::new(disk.clone())).expect("opens");
    assert_eq!((log.recovery().ending, log.stats().state_keys), (esker::Ending::Clean, 40));
}

#[test]
fn a_checkpoint_of_a_copy_that_went_on_elsewhere_is_refused() {
    let disk = MemoryDisk::new(11);
    let log = open(&disk).expect("opens");
    let _ = log.commit(Commit::new().record(b"000").state("balance", "000")).expect("commits");
    log.close().expect("closes");
    // Two copies go on in the same segment, to the same lengths and offsets.
    let [one, other] = [b"111", b"222"].map(|value| {
        let copy = disk.snapshot();
        copy.advance(std::time::Duration::from_millis(u64::from(value[0])));
        let log = open(&copy).expect("opens");
        let _ = log.commit(Commit::new().record(value).state("balance", value)).expect("commits");
        log.close().expect("closes");
        copy
    });
    let newest = checkpoints(&one).pop().expect("two are kept");
    let foreign = other.read_file(&newest).expect("of the same name");
    one.edit_file(&newest, |bytes| bytes.copy_from_slice(&foreign));
    let error = open(&one).expect_err("its state would be the other's");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("another frame ends there"), "{error}");
}
