mod power;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use esker::Timestamp;
use esker::platform::{Access, Disk as _, Holder, Lock};
use esker::{Background, Ending, Log, Options, ReadMode};

use super::*;

fn read(disk: &MemoryDisk, name: &str, position: usize) -> Vec<u8> {
    disk.read_file(name).expect("is there")[position..position + 5].to_vec()
}

#[test]
fn all_maps_and_reads_of_a_file_see_the_same_bytes() {
    let disk = MemoryDisk::new(1);
    let file = disk.create("a", 10_000).expect("creates");
    let region = file.map(10_000, Access::Write).expect("maps");
    let other = disk.open("a", Access::Read).expect("opens");
    let seen = other.map(8192, Access::Read).expect("maps");
    let mut bytes = [1; 5];
    assert_eq!(other.read_at(&mut bytes, 9_998).expect("reads"), 2);
    assert_eq!(bytes, [0, 0, 1, 1, 1]);
    region.copy_in(4096, b"esker");
    seen.copy_out(4096, &mut bytes);
    assert_eq!((&bytes, other.length().expect("length")), (b"esker", 10_000));
    file.write_at(b"store", 4096).expect("writes");
    region.copy_out(4096, &mut bytes);
    assert_eq!((&bytes[..], read(&disk, "a", 4096)), (&b"store"[..], b"store".to_vec()));
    assert_eq!(file.write_at(b"past", 9_998).expect_err("past the end").kind(), ErrorKind::InvalidInput);
    assert_eq!(other.write_at(b"x", 0).expect_err("opened to be read").kind(), ErrorKind::PermissionDenied);
    other.map(8192, Access::Write).expect_err("opened to be read");
    file.map(10_001, Access::Read).expect_err("past the end");
}

#[test]
fn an_unlinked_file_stays_usable_and_its_name_is_free() {
    let disk = MemoryDisk::new(1);
    let old = disk.create("a", 4096).expect("creates");
    disk.unlink("a").expect("unlinks");
    assert_eq!(disk.unlink("a").expect_err("gone").kind(), ErrorKind::NotFound);
    let new = disk.create("a", 4096).expect("creates");
    old.write_at(b"esker", 0).expect("writes");
    assert_eq!(read(&disk, "a", 0), [0; 5]);
    assert_ne!(old.identity().expect("identity"), new.identity().expect("identity"));
    assert_eq!(disk.create("a", 4096).expect_err("taken").kind(), ErrorKind::AlreadyExists);
    assert_eq!(disk.space_held(), 8192);
    drop(old);
    assert_eq!(disk.space_held(), 4096);
}

#[test]
fn quarantine_keeps_every_file_under_a_free_name() {
    let disk = MemoryDisk::new(1);
    for text in [b"first", b"later"] {
        disk.create("a", 4096).expect("creates").write_at(text, 0).expect("writes");
        disk.quarantine("a").expect("moves");
    }
    assert_eq!((disk.quarantined(), disk.names()), (vec!["a".to_owned(), "a.1".to_owned()], vec![QUARANTINE.into()]));
    assert_eq!(read(&disk, "quarantine/a.1", 0), b"later");
}

#[test]
fn a_second_lock_is_busy_until_the_guard_is_dropped_or_the_process_dies() {
    let disk = MemoryDisk::new(1);
    assert_eq!(disk.lock_holder().expect("asks"), None);
    let held = disk.lock().expect("locks");
    assert!(matches!(disk.clone().lock().expect("asks"), Lock::Busy(Holder { pid: Some(PROCESS_ID) })));
    assert_eq!(disk.lock_holder().expect("asks"), Some(Holder { pid: Some(PROCESS_ID) }));
    let left = disk.snapshot();
    let second = left.lock().expect("locks");
    assert!(matches!(second, Lock::Held(_)));
    drop(held);
    assert_eq!(disk.lock_holder().expect("asks"), None);
    assert_eq!(left.lock_holder().expect("asks"), Some(Holder { pid: Some(PROCESS_ID) }));
    assert_eq!(disk.list().expect("lists"), ["lock"]);
}

#[test]
fn time_moves_only_when_told_and_random_words_follow_the_seed() {
    let disk = MemoryDisk::new(0);
    assert_eq!((disk.now(), disk.monotonic()), (START, Duration::ZERO));
    disk.advance(Duration::from_nanos(5));
    disk.set_now(Timestamp::from_nanoseconds(-1));
    disk.advance(Duration::from_nanos(2));
    assert_eq!((disk.now(), disk.monotonic()), (Timestamp::from_nanoseconds(1), Duration::from_nanos(7)));
    // The published first words of splitmix64 from 0.
    assert_eq!(disk.random().expect("random"), 0xe220_a839_7b1d_cdaf);
    assert_eq!(disk.random().expect("random"), 0x6e78_9e6a_a1b9_65f4);
    let mut words = [disk.snapshot(), disk.snapshot(), disk].map(|disk| disk.random().expect("random"));
    words.sort_unstable();
    assert!(words.windows(2).all(|pair| pair[0] != pair[1]), "each process draws its own words");
}

#[test]
fn a_file_past_the_space_limit_is_not_there_afterwards() {
    let disk = MemoryDisk::new(1);
    disk.space_limit(3 * 4096);
    let file = disk.create("a", 8192).expect("creates");
    assert_eq!(disk.create("b", 4097).map(drop).expect_err("full").kind(), ErrorKind::StorageFull);
    assert_eq!(disk.names(), ["a"]);
    file.write_at(b"esker", 4094).expect("writes");
    file.punch(1..8192).expect("punches");
    assert_eq!((disk.space_held(), read(&disk, "a", 4094)), (4096, vec![0; 5]));
    disk.create("b", 8192).expect("creates");
    assert_eq!(file.reserve(8192).expect_err("full").kind(), ErrorKind::StorageFull);
    disk.unlink("b").expect("unlinks");
    file.reserve(8192).expect("reserves");
    assert_eq!(disk.space_held(), 8192);
}

#[test]
fn a_file_grows_by_a_reservation_as_far_as_there_is_space_and_not_under_a_map() {
    let disk = MemoryDisk::new(1);
    disk.space_limit(4 * 4096);
    let file = disk.create("a", 4096).expect("creates");
    file.write_at(b"esker", 4000).expect("writes");
    file.sync().expect("syncs");
    file.reserve(8192).expect("reserves");
    file.write_at(b"longer", 8000).expect("writes");
    assert_eq!((read(&disk, "a", 4000), disk.space_held()), (b"esker".to_vec(), 8192));
    assert_eq!(file.reserve(5 * 4096).expect_err("full").kind(), ErrorKind::StorageFull);
    let length = |left: &MemoryDisk| left.read_file("a").map_or(0, |bytes| bytes.len());
    assert_eq!(length(&disk.snapshot()), 8192);
    disk.sync_directory().expect("syncs");
    let mut lengths: Vec<usize> = (0..40)
        .map(|seed| length(&disk.lose_power(&mut crate::crash::ByDice::new(crate::dice::Dice::new(seed)))))
        .collect();
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.contains(&4096) && lengths.contains(&8192), "{lengths:?}");
    file.sync().expect("syncs");
    let left = disk.lose_power(&mut crate::crash::ByDice::new(crate::dice::Dice::new(1)));
    assert_eq!(read(&left, "a", 8000), b"longe".to_vec());
    let _map = file.map(8192, Access::Read).expect("maps");
    assert_eq!(file.reserve(3 * 4096).expect_err("mapped").kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_read_only_mount_refuses_every_change() {
    let disk = MemoryDisk::new(1);
    disk.create("a", 4096).expect("creates");
    disk.mount(Mount::ReadOnly);
    let refused = [
        disk.create("b", 4096).map(drop),
        disk.open("a", Access::Write).map(drop),
        disk.lock().map(drop),
        disk.unlink("a"),
        disk.quarantine("a"),
    ];
    assert!(refused.into_iter().all(|outcome| outcome.expect_err("refused").kind() == ErrorKind::ReadOnlyFilesystem));
    disk.open("a", Access::Read).expect("opens");
    assert_eq!(disk.snapshot().create("b", 4096).expect_err("refused").kind(), ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn an_armed_fault_trips_once_at_its_step() {
    let disk = MemoryDisk::new(1);
    disk.fail_create(2);
    let file = disk.create("a", 4096).expect("creates");
    disk.create("b", 4096).expect_err("armed");
    disk.create("b", 4096).expect("creates");
    disk.fail_sync(2);
    let region = file.map(4096, Access::Write).expect("maps");
    file.sync().expect("syncs");
    file.sync_range(&region, 0..8).expect_err("armed");
    file.sync_range(&region, 0..8).expect("syncs");
    disk.fail_directory_sync(1);
    disk.sync_directory().expect_err("armed");
    disk.sync_directory().expect("syncs");
    assert_eq!((disk.creates(), disk.syncs()), (3, 3));
    let all =
        "create a, create b failed, create b, sync a, sync a failed, sync a, sync directory failed, sync directory";
    assert_eq!(disk.take_operations().join(", "), all);
    assert_eq!(disk.operations(), Vec::<String>::new());
}

#[test]
fn a_snapshot_is_what_was_stored_and_nothing_that_comes_later() {
    let disk = MemoryDisk::new(1);
    let file = disk.create("a", 1 << 18).expect("creates");
    let region = file.map(1 << 18, Access::Write).expect("maps");
    region.copy_in(200_000, b"esker");
    disk.fail_sync(1);
    disk.advance(Duration::from_secs(1));
    let left = disk.snapshot();
    region.copy_in(200_000, b"later");
    let copy = left.open("a", Access::Write).expect("opens");
    assert_eq!(read(&left, "a", 200_000), b"esker");
    assert_eq!(copy.identity().expect("identity"), file.identity().expect("identity"));
    copy.write_at(b"other", 0).expect("writes");
    copy.sync().expect("not armed");
    assert_eq!((read(&disk, "a", 0), left.now(), left.monotonic()), (vec![0; 5], disk.now(), Duration::ZERO));
    assert_eq!((left.creates(), left.operations()), (0, vec!["write a".to_owned(), "sync a".to_owned()]));
}

#[test]
fn damage_is_seen_under_maps_and_is_not_an_operation() {
    let disk = MemoryDisk::new(1);
    let file = disk.create("a", 1 << 18).expect("creates");
    let region = file.map(1 << 18, Access::Read).expect("maps");
    disk.edit_file("a", |bytes| bytes[200_000] ^= 0x40);
    let mut byte = [0];
    region.copy_out(200_000, &mut byte);
    assert_eq!(byte, [0x40]);
    disk.truncate("a", 200_000);
    region.copy_out(200_000, &mut byte);
    assert_eq!((byte, file.length().expect("length")), ([0], 200_000));
    assert_eq!(disk.read_file("a").map(|bytes| bytes.len()), Some(200_000));
    disk.remove("a");
    assert_eq!((disk.read_file("a"), disk.names()), (None, vec![]));
    assert_eq!(disk.operations(), ["create a"]);
}

const RECORDS: u64 = 300;

fn open_log(disk: &MemoryDisk) -> Log {
    let options = Options::new().background(Background::Manual).segment_bytes(16_384);
    options.open_on(Arc::new(disk.clone())).expect("opens")
}

fn payload(number: u64) -> Vec<u8> {
    format!("record {number} ").repeat(1 + usize::try_from(number % 20).expect("small")).into_bytes()
}

fn records(log: &Log, mode: ReadMode) -> Vec<(u64, Vec<u8>)> {
    let mut reader = log.reader().mode(mode);
    let mut records = Vec::new();
    while let Some(batch) = reader.poll().expect("reads") {
        records.extend(batch.iter().map(|record| (record.offset().get(), record.payload().to_vec())));
    }
    records
}

#[test]
fn a_log_and_its_snapshot_hold_the_same_records() {
    let disk = MemoryDisk::new(1);
    let log = open_log(&disk);
    for number in 0..RECORDS {
        assert_eq!(log.append(&payload(number)).expect("appends").offset().get(), number);
    }
    assert!(log.stats().rolls > 3, "{:?}", log.stats());
    let expected: Vec<_> = (0..RECORDS).map(|number| (number, payload(number))).collect();
    assert!([ReadMode::Map, ReadMode::Copy].into_iter().all(|mode| records(&log, mode) == expected));

    let left = disk.snapshot();
    log.append(b"later").expect("appends").wait().expect("syncs");
    log.close().expect("closes");
    let found = open_log(&left);
    assert_eq!(found.recovery().ending, Ending::Unclean);
    assert!([ReadMode::Map, ReadMode::Copy].into_iter().all(|mode| records(&found, mode) == expected));
    found.close().expect("closes");

    let reopened = open_log(&disk);
    assert_eq!((reopened.recovery().ending, reopened.visible().get()), (Ending::Clean, RECORDS + 1));
    assert_eq!(records(&reopened, ReadMode::Map)[..expected.len()], expected);
}
