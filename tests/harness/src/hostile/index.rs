//! Hostile index files: edited, swapped, of other stores, and made up under right sums.
//!
//! Guarantees:
//! 1. Any input is a log to begin with and a list of steps, each on one index file.
//! 2. What is right is what a reader without a filter finds in the log when there are no index files. A file that has not the sums
//!    of its bytes changes no answer. One that lies under right sums may hide a record, for that is what such a file says; it never
//!    makes one up, or makes a lookup fail, and `verify` finds it.

use std::sync::{Arc, OnceLock};

use esker::inspect::{FindingClass, verify_on};
use esker::{Attached, Log, Timestamp};

use super::edits::{Form, carry_out};
use super::keyed::{self, KEYS, TOPICS, key, topic};
use super::put;
use super::ways::{OwnRecord, drain, options};
use crate::MemoryDisk;
use crate::format::bytes::{Input, half, store, word};
use crate::format::fields::INDEX;
use crate::format::sums::{OPENING_SUM, crc32, mend_opening, opening_sum};

const STEPS_MAX: usize = 8;
const HEADER_BYTES: usize = 256;
const BODY_SUM: usize = 68;
const BODY_BYTES: usize = 72;
const FILE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of edits in a step.
const EDIT_BYTES: usize = 8;

/// A log with its index files.
struct Base {
    disk: MemoryDisk,
    /// Those that the log has, and what they hold.
    good: Vec<(String, Vec<u8>)>,
    records: Vec<OwnRecord>,
}

struct Pool {
    bases: Vec<Base>,
    /// Index files of all of them, and of another store.
    files: Vec<Vec<u8>>,
}

fn indexes(disk: &MemoryDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.names().into_iter().filter(|name| name.strip_suffix(".idx").is_some());
    names.map(|name| (name.clone(), disk.read_file(&name).expect("is there"))).collect()
}

/// The moments of a log, each closed with index files of all sealed segments; and the files of another store.
fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let other = MemoryDisk::new(52);
        let log = keyed::open(&other);
        keyed::fill(&log, 0..60);
        log.close().expect("closes");
        let bases: Vec<Base> = keyed::pool().disks.iter().map(base).collect();
        let all = bases.iter().flat_map(|base| base.good.clone()).chain(indexes(&other));
        Pool { files: all.map(|(_, bytes)| bytes).collect(), bases }
    })
}

fn base(disk: &MemoryDisk) -> Base {
    let disk = disk.snapshot();
    let log = keyed::open(&disk);
    log.background_step();
    log.close().expect("closes");
    let bare = disk.snapshot();
    for (name, _) in indexes(&bare) {
        bare.remove(&name);
    }
    let records = drain(keyed::open(&bare).reader()).records;
    let good = indexes(&disk);
    assert!(!good.is_empty() && !records.is_empty());
    Base { disk, good, records }
}

/// Opens a log whose index files the input edited, and looks everything up.
///
/// # Panics
/// If the engine breaks a promise.
pub fn open_index(input: &[u8]) {
    let pool = pool();
    let mut input = Input(input);
    let base = &pool.bases[usize::from(input.byte()) % pool.bases.len()];
    let disk = base.disk.snapshot();
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        step(&disk, base, pool, &mut input);
    }
    let liars: Vec<&(String, Vec<u8>)> =
        base.good.iter().filter(|(name, good)| disk.read_file(name).is_some_and(|bytes| lies(&bytes, good))).collect();
    let belief = if liars.is_empty() { Belief::All } else { Belief::NothingMadeUp };
    let verdict = verify_on(&disk, &mut |_| ()).expect("looks");
    assert!(!verdict.is_damaged(), "an index file is no damage: {:?}", verdict.findings);
    for (name, _) in &liars {
        let is_told = verdict
            .findings
            .iter()
            .any(|finding| finding.class == FindingClass::BadIndex && finding.file.ends_with(name));
        assert!(is_told, "{name} lies: {:?}", verdict.findings);
    }
    let attached = Attached::open_on(Arc::new(disk.clone())).expect("attaches");
    check(&Source::Outside(&attached), base, belief);
    let log = options().open_on(Arc::new(disk.clone())).expect("an index file is a cache");
    check(&Source::Inside(&log), base, belief);
    log.background_step();
    check(&Source::Inside(&log), base, belief);
    log.close().expect("closes");
    if belief == Belief::All {
        assert_eq!(indexes(&disk).iter().filter(|file| base.good.contains(file)).count(), base.good.len(), "made anew");
    }
}

/// How far what a log says by its index files can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Belief {
    All,
    NothingMadeUp,
}

fn step(disk: &MemoryDisk, base: &Base, pool: &Pool, input: &mut Input<'_>) {
    let (what, which, from) = (input.byte(), usize::from(input.byte()), usize::from(input.byte()));
    let (name, good) = &base.good[which % base.good.len()];
    let mut bytes = disk.read_file(name).unwrap_or_else(|| good.clone());
    let edits = input.take(EDIT_BYTES);
    match what % 4 {
        0 => bytes.clone_from(&pool.files[from % pool.files.len()]),
        1 => bytes.clear(),
        _ => {
            let form = Form { fields: &INDEX, header_bytes: HEADER_BYTES, bytes_max: FILE_BYTES_MAX };
            carry_out(&mut bytes, edits, &form);
        }
    }
    if what & 0x10 != 0 && bytes.len() >= HEADER_BYTES {
        let body = bytes.len() - HEADER_BYTES;
        store(&mut bytes, BODY_BYTES, &u64::try_from(body).expect("small").to_le_bytes());
    }
    if what & 0x20 != 0 && bytes.len() >= HEADER_BYTES {
        // Whose it says it is.
        store(&mut bytes, 24, &good[24..68]);
    }
    if what & 0x40 != 0 && bytes.len() >= HEADER_BYTES {
        let sum = crc32(&bytes[HEADER_BYTES..]);
        store(&mut bytes, BODY_SUM, &sum.to_le_bytes());
    }
    if what & 0x80 != 0 && bytes.len() >= HEADER_BYTES {
        mend_opening(&mut bytes, HEADER_BYTES);
    }
    if disk.read_file(name).is_some() {
        disk.remove(name);
    }
    put(disk, name, &bytes);
}

/// Whether a file has all its sums, is of the segment that the good one is of, and says another thing.
fn lies(bytes: &[u8], good: &[u8]) -> bool {
    let is_whole = bytes.len() >= HEADER_BYTES
        && half(bytes, OPENING_SUM) == opening_sum(bytes, HEADER_BYTES)
        && half(bytes, BODY_SUM) == crc32(&bytes[HEADER_BYTES..])
        && word(bytes, BODY_BYTES) == u64::try_from(bytes.len() - HEADER_BYTES).expect("small");
    // Optional features and what is reserved say nothing.
    let says = |bytes: &[u8]| [&bytes[..12], &bytes[16..20], &bytes[24..112], &bytes[HEADER_BYTES..]].concat();
    is_whole && bytes[24..68] == good[24..68] && says(bytes) != says(good)
}

/// Where one asks.
enum Source<'a> {
    Inside(&'a Log),
    Outside(&'a Attached),
}

/// Everything that an index file is asked for, compared with what the log says.
fn check(source: &Source<'_>, base: &Base, belief: Belief) {
    let reader = || match source {
        Source::Inside(log) => log.reader(),
        Source::Outside(attached) => attached.reader(),
    };
    assert_eq!(drain(reader()).records, base.records, "nobody asks an index file");
    for number in 0..TOPICS {
        let is_of = |record: &&OwnRecord| record.topic == number;
        let expected: Vec<&OwnRecord> = base.records.iter().filter(is_of).collect();
        let filtered = drain(reader().topics([topic(number)]));
        agree(&filtered.records, &expected, belief, "of a topic");
        // One more key than there are.
        for key in (0..=KEYS).map(key) {
            let of_key: Vec<&OwnRecord> =
                expected.iter().copied().filter(|record| record.key.as_deref() == Some(&key)).collect();
            let filtered = drain(reader().key(topic(number), &key));
            agree(&filtered.records, &of_key, belief, "of a key");
            check_key(source, number, &key, &of_key, belief);
        }
    }
    for record in base.records.iter().step_by(7) {
        let mut reader = reader();
        let sought = reader.seek_time(Timestamp::from_nanoseconds(record.time));
        let found = sought.and_then(|()| reader.poll()).unwrap_or_else(|error| panic!("the log is whole: {error}"));
        let found = found.and_then(|batch| batch.iter().next().map(|record| OwnRecord::of(&record)));
        let first = base.records.iter().find(|other| other.time >= record.time);
        match belief {
            Belief::All => assert_eq!(found.as_ref(), first, "from a time on"),
            Belief::NothingMadeUp => {
                assert!(found.is_none_or(|found| base.records.contains(&found)), "made up, from a time on");
            }
        }
    }
}

fn check_key(source: &Source<'_>, number: u32, key: &[u8], expected: &[&OwnRecord], belief: Belief) {
    let (latest, history) = match source {
        Source::Inside(log) => (log.latest(topic(number), key), log.history(topic(number), key)),
        Source::Outside(attached) => (attached.latest(topic(number), key), attached.history(topic(number), key)),
    };
    let gapped = |error: &esker::Error| matches!(error.kind(), esker::ErrorKind::Gap { .. });
    match latest {
        Ok(found) => {
            let found = found.map(|found| OwnRecord::of(&found.record()));
            let newest = expected.last().copied().filter(|record| !record.tombstone);
            match belief {
                Belief::All => assert_eq!(found.as_ref(), newest, "the latest"),
                Belief::NothingMadeUp => {
                    assert!(found.is_none_or(|found| expected.contains(&&found)), "made up: the latest");
                }
            }
        }
        Err(error) => assert!(gapped(&error), "the log is whole: {error}"),
    }
    let mut told: Vec<OwnRecord> = Vec::new();
    for found in history {
        match found {
            Ok(found) => told.push(OwnRecord::of(&found.record())),
            Err(error) => assert!(gapped(&error), "the log is whole: {error}"),
        }
    }
    agree(&told, expected, belief, "the history");
}

fn agree(found: &[OwnRecord], expected: &[&OwnRecord], belief: Belief, what: &str) {
    match belief {
        Belief::All => assert!(found.iter().eq(expected.iter().copied()), "{what}: {found:?}, not {expected:?}"),
        Belief::NothingMadeUp => {
            let mut rest = expected.iter();
            let is_part = found.iter().all(|record| rest.any(|other| *other == record));
            assert!(is_part, "made up, or out of order: {what}: {found:?}, not of {expected:?}");
        }
    }
}
