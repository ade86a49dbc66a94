//! The cleaner over hostile logs.
//!
//! Guarantees:
//! 1. Whatever stands in the log: what could be read before and is the latest of its key, or has no key, can be read after, the
//!    same at the same offset. Nothing else appears, and no record of a key whose tombstone went.
//! 2. Files in which damage was found stay as they were, and no new damage is made.
//! 3. Entries and cursors stay, and the log comes back as it was left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use esker::inspect::verify_on;
use esker::{Cleanup, Compaction, CompactionReport, Error, ErrorKind, Log, Offset, Options, Reader, Retention};

use super::keyed::{Scene, fill, topic};
use super::rewritten::check_ways_to_read;
use super::ways::{OwnRecord, options};
use crate::MemoryDisk;
use crate::format::bytes::Input;

/// More damages than this are not stepped over.
const SKIPS_MAX: usize = 1000;
/// What a log goes on with; no log of the pool has them.
const NEW_RECORDS: std::ops::Range<u64> = 300..330;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const GIVEN_UP: u32 = 1;

const GROW: u8 = 1;
const DROP: u8 = 2;
const GIVE_UP: u8 = 4;
const TWICE: u8 = 8;
const WAIT: u8 = 16;

/// Compacts a log that the input edited. The first byte says what happens before and meanwhile: 1 the log goes on, 2 its
/// beginning is dropped, 4 a topic was given up, and the others are not compacted, 8 it is done twice, 16 the time of tombstones
/// has passed.
///
/// # Panics
/// If the engine breaks a promise.
pub fn compact_hostile(input: &[u8]) {
    let mut input = Input(input);
    let how = input.byte();
    let scene = Scene::of(&mut input);
    let disk = &scene.disk;
    let Ok(log) = asked(how).open_on(Arc::new(disk.clone())) else { return };
    scene.check_appended(&read_over(log.reader()).records);
    if how & GROW != 0 && scene.is_true() {
        fill(&log, NEW_RECORDS);
    }
    if how & DROP != 0 {
        drop_half(&log);
    }
    if how & WAIT != 0 {
        disk.advance(YEAR);
    }
    for _ in 0..=u8::from(how & TWICE != 0) {
        compact(&log, disk, how);
    }
    check_ways_to_read(&log);
    let now = Kept::of(&log);
    let killed = disk.snapshot();
    log.close().expect("closes");
    for (left, what) in [(&killed, "killed"), (disk, "closed")] {
        match asked(how).open_on(Arc::new(left.clone())) {
            Ok(log) => assert_eq!(Kept::of(&log), now, "{what}"),
            // Of the last number that a segment can have there is no next one.
            Err(error) => assert!(error.kind() == ErrorKind::Limit && !scene.is_true(), "{what}: {error}"),
        }
    }
}

fn asked(how: u8) -> Options {
    if how & GIVE_UP == 0 {
        options()
    } else {
        options().cleanup(topic(GIVEN_UP), Cleanup::delete(Retention::new().bytes(0)))
    }
}

/// What can be read of a log, over what is damaged.
#[derive(Debug, PartialEq, Eq)]
struct ReadOver {
    records: Vec<OwnRecord>,
    /// Damage and gaps that were met, by the offset behind: what comes before may go.
    met: Vec<(u64, Met)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    Damage,
    Gap,
}

/// All that a log holds.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    read: ReadOver,
    entries: Vec<(Box<[u8]>, esker::StateValue)>,
    cursors: Vec<esker::CursorInfo>,
}

impl Kept {
    fn of(log: &Log) -> Self {
        let (entries, cursors) = (log.states("").expect("shown"), log.cursors().expect("shown"));
        Self { read: read_over(log.reader()), entries, cursors }
    }
}

fn read_over(mut reader: Reader) -> ReadOver {
    let (mut records, mut met) = (Vec::new(), Vec::new());
    while met.len() < SKIPS_MAX {
        match reader.poll() {
            Ok(Some(batch)) => records.extend(batch.iter().map(|record| OwnRecord::of(&record))),
            Ok(None) => break,
            Err(error) => {
                let what = if matches!(error.kind(), ErrorKind::Gap { .. }) { Met::Gap } else { Met::Damage };
                let is_behind = matches!(reader.skip_damage(), Ok(Some(_)));
                met.push((reader.offset().get(), what));
                if !is_behind {
                    break;
                }
            }
        }
    }
    ReadOver { records, met }
}

/// Drops what comes before the record in the middle, if that can be.
fn drop_half(log: &Log) {
    let before = read_over(log.reader()).records;
    let Some(middle) = before.get(before.len() / 2) else { return };
    match log.drop_before(Offset::new(middle.offset)) {
        Ok(start) => {
            assert!(start.get() <= middle.offset, "no further than asked");
            let after = read_over(log.reader()).records;
            let stay: Vec<&OwnRecord> = before.iter().filter(|record| record.offset >= start.get()).collect();
            assert!(after.iter().eq(stay), "what begins at the new start is what was there");
        }
        Err(error) => typed(&error),
    }
}

fn typed(error: &Error) {
    use ErrorKind::{Corrupt, Gap, Incompatible, Invalid, Limit, OutOfSpace};
    let is_typed = matches!(error.kind(), Corrupt | Gap { .. } | Incompatible | Invalid | Limit | OutOfSpace);
    assert!(is_typed, "{error}");
}

fn compact(log: &Log, disk: &MemoryDisk, how: u8) {
    let before = Kept::of(log);
    let was_damaged = is_damaged(disk);
    let files: BTreeMap<String, Vec<u8>> =
        disk.names().into_iter().filter_map(|name| disk.read_file(&name).map(|bytes| (name, bytes))).collect();
    let done = if how & GIVE_UP == 0 { log.compact(&Compaction::new()) } else { log.clean() };
    let after = Kept::of(log);
    match &done {
        Ok(report) => check_damaged_stays(report, disk, &files),
        Err(error) => {
            typed(error);
            assert!(was_damaged, "nothing is damaged: {error}");
        }
    }
    assert_eq!((&after.entries, &after.cursors), (&before.entries, &before.cursors), "state stays");
    assert!(was_damaged || !is_damaged(disk), "compacted, it is damaged");
    assert!(before.read.met.iter().all(|met| after.read.met.contains(met)), "damage is gone: {:?}", before.read.met);
    check_kept(&before.read.records, &after.read.records, how);
}

fn is_damaged(disk: &MemoryDisk) -> bool {
    verify_on(disk, &mut |_| ()).map_or(true, |verdict| verdict.is_damaged())
}

/// A segment in which damage was found is the file that it was.
fn check_damaged_stays(report: &CompactionReport, disk: &MemoryDisk, files: &BTreeMap<String, Vec<u8>>) {
    for damage in &report.damaged {
        let Some(place) = damage.place() else { continue };
        let name = format!("{:010}.seg", place.segment);
        assert_eq!(disk.read_file(&name).as_ref(), files.get(&name), "{damage}, and its file was replaced");
    }
}

/// What was the latest of its key, or has no key, is there as it was; the rest was there before.
fn check_kept(before: &[OwnRecord], after: &[OwnRecord], how: u8) {
    let known: BTreeMap<u64, &OwnRecord> = before.iter().map(|record| (record.offset, record)).collect();
    let left: BTreeMap<u64, &OwnRecord> = after.iter().map(|record| (record.offset, record)).collect();
    for record in after {
        assert_eq!(known.get(&record.offset), Some(&record), "nobody stored that");
    }
    let name = |record: &OwnRecord| (record.topic, record.key.clone());
    let latest: BTreeMap<_, u64> = before.iter().map(|record| (name(record), record.offset)).collect();
    for record in before {
        let may_go = match (how & GIVE_UP != 0, &record.key) {
            (true, _) => record.topic == GIVEN_UP,
            (false, None) => false,
            (false, Some(_)) => latest[&name(record)] != record.offset || record.tombstone,
        };
        assert!(may_go || left.contains_key(&record.offset), "gone: {} of {:?}", record.offset, name(record));
        let is_grave = how & GIVE_UP == 0 && record.tombstone && latest[&name(record)] == record.offset;
        if is_grave && !left.contains_key(&record.offset) {
            let older = after.iter().find(|older| name(older) == name(record));
            assert_eq!(older, None, "the tombstone at {} went before this", record.offset);
        }
    }
}
