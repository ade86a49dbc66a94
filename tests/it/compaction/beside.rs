//! A log is looked at by another process, and its writer compacts and drops between any two calls of the onlooker.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use esker::platform::File;
use esker::{Attached, Commit, Compaction, Log, Offset, Reader, Record, Retention, inspect};
use harness::{Call, MemoryDisk, Watch, WatchedDisk};

use super::{eager, topic};

const KEYS: u64 = 5;
/// Values that each key has before the look.
const ROUNDS: u64 = 12;

/// What the writer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Compacts,
    CompactsAndDrops,
}

/// The writer acts at the n-th call of the onlooker.
struct AtCall {
    act: Act,
    left: AtomicU64,
    writer: Mutex<Option<Log>>,
}

impl AtCall {
    fn call(&self) {
        if self.left.load(Ordering::Relaxed) > 0 && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            rewrite(self.writer.lock().expect("free").as_ref().expect("was begun"), self.act);
        }
    }

    fn is_done(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}

impl Watch for AtCall {
    fn before(&self, _call: Call<'_>) -> io::Result<()> {
        self.call();
        Ok(())
    }

    fn read(&self, file: &dyn File, _name: &str, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.call();
        file.read_at(buffer, position)
    }
}

/// Each key gets a value; each value is higher than those before.
fn put(log: &Log, round: u64) {
    for key in 0..KEYS {
        let mut value = round.to_le_bytes().to_vec();
        value.resize(400, 7);
        let key = key.to_le_bytes();
        let commit = Commit::new().record(Record::new(&value).key(&key)).state(&key, &value);
        let _ = log.commit(commit.cursor("reader", Offset::new(round))).expect("commits");
    }
}

/// What every file was known by is gone after this: all values are superseded, what was sealed is rewritten, and one value is
/// dropped by a tombstone's grace no more than by retention, as each key has a newer one.
fn rewrite(log: &Log, act: Act) {
    for round in ROUNDS..2 * ROUNDS {
        put(log, round);
    }
    log.sync().expect("syncs");
    log.background_step();
    log.background_step();
    let _ = log.compact(&Compaction::new()).expect("compacts");
    if act == Act::CompactsAndDrops {
        let keep = log.visible().get() - KEYS;
        let _ = log.drop_before(Offset::new(keep)).expect("drops");
    }
}

fn begun(act: Act) -> (WatchedDisk<AtCall>, Log) {
    let disk = MemoryDisk::new(11);
    let log = eager().segment_bytes(16 * 1024).open_on(Arc::new(disk.clone())).expect("opens");
    for round in 0..ROUNDS {
        put(&log, round);
    }
    log.sync().expect("syncs");
    log.background_step();
    let watch = AtCall { act, left: AtomicU64::new(0), writer: Mutex::new(Some(log.clone())) };
    (WatchedDisk::new(disk, watch), log)
}

/// A look at the log, by who came before or comes now, at whose n-th call the writer acts.
type Look<'a> = &'a dyn Fn(&WatchedDisk<AtCall>, Option<&Attached>, u64);

fn at_every_call(attach: Attach, look: Look<'_>) {
    for act in [Act::Compacts, Act::CompactsAndDrops] {
        at_every_call_of(act, attach, look);
    }
}

/// Lets the writer act at each call of a look in turn, until a look has no more calls.
fn at_every_call_of(act: Act, attach: Attach, look: Look<'_>) {
    for n in 1.. {
        let (disk, log) = begun(act);
        let attached = (attach == Attach::Before).then(|| Attached::open_on(Arc::new(disk.clone())).expect("attaches"));
        disk.left.store(n, Ordering::Relaxed);
        look(&disk, attached.as_ref(), n);
        let is_over = !disk.is_done();
        disk.left.store(0, Ordering::Relaxed);
        *disk.writer.lock().expect("free") = None;
        log.close().expect("closes");
        if is_over {
            assert!(n > 3, "{n} calls");
            return;
        }
    }
}

/// When the onlooker came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attach {
    Before,
    /// The attach is part of the look.
    Within,
}

fn round_of(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().expect("eight bytes"))
}

fn attached(disk: &WatchedDisk<AtCall>, before: Option<&Attached>, n: u64) -> Attached {
    before.cloned().unwrap_or_else(|| {
        Attached::open_on(Arc::new(disk.clone())).unwrap_or_else(|error| panic!("call {n}: {error}"))
    })
}

#[test]
fn a_check_never_calls_what_a_writer_replaced_damage() {
    at_every_call(Attach::Within, &|disk, _, n| {
        let found = inspect::verify_on(disk, &mut |_| {}).unwrap_or_else(|error| panic!("call {n}: {error}"));
        assert!(!found.is_damaged(), "call {n}: {:#?}", found.findings);
        assert!(found.checkpoints > 0, "call {n}");
    });
}

#[test]
fn what_is_told_of_segments_state_and_retention_is_of_one_moment() {
    for attach in [Attach::Before, Attach::Within] {
        at_every_call(attach, &|disk, before, n| {
            let attached = attached(disk, before, n);
            let failed = |error: esker::Error| -> ! { panic!("call {n}: {error}") };
            let segments = attached.segments().unwrap_or_else(|error| failed(error));
            assert!(segments.windows(2).all(|pair| pair[0].number < pair[1].number), "call {n}: {segments:?}");
            let state = attached.state().unwrap_or_else(|error| failed(error));
            assert_eq!((state.keys(), state.cursors().len()), (KEYS + 1, 1), "call {n}");
            assert!(round_of(state.get(&0_u64.to_le_bytes()).expect("held").value()) >= ROUNDS - 1, "call {n}");
            let _ = attached.who_holds().unwrap_or_else(|error| failed(error));
            let _ = attached.retention_plan(Retention::new().bytes(0)).unwrap_or_else(|error| failed(error));
            assert!(!attached.checkpoints().unwrap_or_else(|error| failed(error)).is_empty(), "call {n}");
            let live = attached.live_records().unwrap_or_else(|error| failed(error));
            assert!(live.iter().map(|live| live.live).sum::<u64>() >= KEYS, "call {n}: {live:?}");
        });
    }
}

#[test]
fn a_key_that_always_has_a_value_is_always_found_and_never_with_an_older_one() {
    for attach in [Attach::Before, Attach::Within] {
        at_every_call(attach, &|disk, before, n| {
            let attached = attached(disk, before, n);
            for key in 0..KEYS {
                let was_done = disk.is_done();
                let found = attached.latest(topic(0), &key.to_le_bytes());
                let found = found.unwrap_or_else(|error| panic!("call {n}: {error}"));
                let round = round_of(found.unwrap_or_else(|| panic!("call {n}: key {key}")).record().payload());
                let least = if was_done { 2 * ROUNDS - 1 } else { ROUNDS - 1 };
                assert!(round >= least, "call {n}: key {key} has {round}, {least} was there before it was asked for");
            }
        });
    }
}

#[test]
fn the_history_of_a_key_that_always_has_a_value_always_ends_with_one() {
    for attach in [Attach::Before, Attach::Within] {
        at_every_call(attach, &|disk, before, n| {
            let attached = attached(disk, before, n);
            for key in 0..KEYS {
                let was_done = disk.is_done();
                let all = attached.history(topic(0), &key.to_le_bytes());
                let all = all.map(|found| found.unwrap_or_else(|error| panic!("call {n}: {error}")));
                let rounds: Vec<u64> = all.map(|found| round_of(found.record().payload())).collect();
                let least = if was_done { 2 * ROUNDS - 1 } else { ROUNDS - 1 };
                assert!(rounds.is_sorted() && rounds.last() >= Some(&least), "call {n}: key {key}: {rounds:?}");
            }
        });
    }
}

/// The latest of each key, as a reader meets them.
fn read(mut reader: Reader, n: u64) -> BTreeMap<Vec<u8>, u64> {
    let mut latest = BTreeMap::new();
    loop {
        match reader.poll() {
            Ok(Some(batch)) => latest.extend(
                batch.iter().map(|record| (record.key().expect("has one").to_vec(), round_of(record.payload()))),
            ),
            Ok(None) => return latest,
            // Retention went past it, and says so.
            Err(error) if matches!(error.kind(), esker::ErrorKind::Trimmed { .. }) => reader.seek_earliest(),
            Err(error) => panic!("call {n}: {error}"),
        }
    }
}

#[test]
fn who_reads_to_the_end_meets_every_key() {
    for attach in [Attach::Before, Attach::Within] {
        at_every_call(attach, &|disk, before, n| {
            let met = read(attached(disk, before, n).reader(), n);
            assert_eq!(met.len(), usize::try_from(KEYS).expect("small"), "call {n}: {met:?}");
            assert!(met.values().all(|round| *round >= ROUNDS - 1), "call {n}: {met:?}");
        });
    }
}

/// The header of a segment is being stored for some looks: its first word, which comes last, is not there yet.
struct HalfStored {
    name: String,
    left: AtomicU64,
}

impl Watch for HalfStored {
    fn before(&self, _call: Call<'_>) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, file: &dyn File, name: &str, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let read = file.read_at(buffer, position)?;
        if position == 0 && name == self.name && self.left.load(Ordering::Relaxed) > 0 {
            self.left.fetch_sub(1, Ordering::Relaxed);
            buffer[..8].fill(0);
        }
        Ok(read)
    }
}

#[test]
fn a_header_that_is_being_stored_is_no_torn_tail() {
    const LOOKS: u64 = 3;
    let disk = MemoryDisk::new(11);
    let log = eager().segment_bytes(16 * 1024).open_on(Arc::new(disk.clone())).expect("opens");
    let ticket = log.append(&[7; 400]).expect("appends");
    for _ in 0..60 {
        let _ = log.append(&[7; 400]).expect("appends");
    }
    assert!(log.append(b"last").expect("appends").place().segment > ticket.place().segment);
    let name = format!("{:010}.seg", log.append(b"last").expect("appends").place().segment);
    let watched = WatchedDisk::new(disk, HalfStored { name, left: AtomicU64::new(LOOKS) });
    let found = inspect::verify_on(&watched, &mut |_| {}).expect("verifies");
    assert!(watched.left.load(Ordering::Relaxed) == 0, "it was looked at");
    let classes: Vec<_> = found.findings.iter().map(|finding| finding.class).collect();
    assert_eq!(classes, [inspect::FindingClass::LiveWriter], "{:#?}", found.findings);
    log.close().expect("closes");
}
