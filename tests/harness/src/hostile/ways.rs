//! All ways to open a directory whose files are hostile, and what they must agree on.
//!
//! Guarantees:
//! 1. Who only looks changes nothing, and sees what an open keeps: the same records, the same state, the same refusal.
//! 2. An open that refuses damage has changed nothing, and `verify` calls it damage too.
//! 3. A log that opened takes a record and a commit, and comes back with all that it showed: after the death of its
//!    process, after a close, and without checkpoints and anchor if the log did not need them. Where something was planted
//!    in the room that it goes on in, it only survives.

use std::sync::Arc;

use esker::{
    Attached, Background, Commit, CursorInfo, Ending, Error, ErrorKind, Log, Options, Reader, RecordRef, StateValue,
    Timestamp,
};

use crate::MemoryDisk;
use crate::numbers::index;

/// Header, body and padding of a session frame.
const SESSION_STRIDE: usize = 80;
/// Damages inside one log are stepped over up to this often.
const SKIPS_MAX: usize = 1000;

/// A record, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnRecord {
    pub(super) offset: u64,
    pub(super) time: i64,
    pub(super) topic: u32,
    pub(super) event_time: Option<i64>,
    pub(super) tombstone: bool,
    pub(super) key: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) payload: Vec<u8>,
}

impl OwnRecord {
    pub(super) fn of(record: &RecordRef<'_>) -> Self {
        let headers = record.headers().map(|header| (header.name.to_owned(), header.value.to_vec()));
        Self {
            offset: record.offset().get(),
            time: record.time().nanoseconds(),
            topic: record.topic().get(),
            event_time: record.event_time().map(Timestamp::nanoseconds),
            tombstone: record.is_tombstone(),
            key: record.key().map(<[u8]>::to_vec),
            headers: headers.collect(),
            payload: record.payload().to_vec(),
        }
    }
}

/// What a reader gave, and what it ended with if it was not the end of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drained {
    pub(super) records: Vec<OwnRecord>,
    /// Where the reader met gaps, and stepped over: the first offset that is lost, and the one behind.
    pub(super) gaps: Vec<(u64, u64)>,
    pub(super) ended: Option<ErrorKind>,
}

/// What an open log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) drained: Drained,
    pub(super) entries: Vec<(Box<[u8]>, StateValue)>,
    pub(super) cursors: Vec<CursorInfo>,
}

/// Whether the checkpoints that are there at first can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checkpoints {
    /// What they say is what the log says, if they are valid.
    True,
    /// They may be valid and say anything.
    Forged,
}

pub(super) fn options() -> Options {
    Options::new().segment_bytes(16 * 1024).checkpoint_bytes(4096).background(Background::Manual)
}

pub(super) fn drain(mut reader: Reader) -> Drained {
    let mut records: Vec<OwnRecord> = Vec::new();
    let mut gaps = Vec::new();
    loop {
        match reader.poll() {
            Ok(Some(batch)) => {
                let before = records.len();
                records.extend(batch.iter().map(|record| OwnRecord::of(&record)));
                assert_eq!(records.len() - before, batch.len(), "a batch holds what it says");
            }
            Ok(None) => return Drained { records, gaps, ended: None },
            Err(error) => match error.kind() {
                ErrorKind::Gap { next } => {
                    gaps.push((reader.offset().get(), next.get()));
                    reader.skip_damage().expect("steps over").expect("a gap");
                }
                kind => return Drained { records, gaps, ended: Some(kind) },
            },
        }
    }
}

/// Reads over damage as far as it goes.
fn salvage(mut reader: Reader) {
    for _ in 0..SKIPS_MAX {
        let drained = reader.poll();
        match drained {
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(error) => match reader.skip_damage() {
                Ok(Some(skipped)) => assert!(skipped.to > skipped.from, "{error}: {skipped:?}"),
                Ok(None) | Err(_) => return,
            },
        }
    }
}

fn held(log: &Log) -> Held {
    let (entries, cursors) = (log.states("").expect("shown"), log.cursors().expect("shown"));
    Held { drained: drain(log.reader()), entries, cursors }
}

/// Opens in every way there is; what the log held as it was opened, or why it was refused.
///
/// # Panics
/// If two ways disagree, or a promise is broken.
pub(super) fn open_all_ways(disk: &MemoryDisk, checkpoints: Checkpoints) -> Result<Held, Error> {
    drop(disk.take_operations());
    let verdict = esker::inspect::verify_on(disk, &mut |_| ());
    let outside = Attached::open_on(Arc::new(disk.clone()));
    let seen = outside.as_ref().ok().map(|attached| {
        let drained = drain(attached.reader());
        salvage(attached.reader());
        let _may_fail = (attached.segments().is_ok(), attached.checkpoints().is_ok());
        (drained, attached.state().map(|view| (view.with_prefix(""), view.cursors())))
    });
    assert_eq!(disk.take_operations(), [""; 0], "looking changes nothing");
    let refusal = outside.as_ref().map_or_else(|error| Some(error.clone()), Attached::refusal);
    match options().open_on(Arc::new(disk.clone())) {
        Ok(log) => {
            let held = held(&log);
            // What holds no log yet is none to look at, and becomes one by an open.
            if let Some((drained, state)) = seen {
                assert_eq!(drained, held.drained, "from outside the same as inside");
                let (entries, cursors) = state.unwrap_or_else(|error| panic!("refused from outside: {error}"));
                assert_eq!((&entries, &cursors), (&held.entries, &held.cursors), "from outside the same as inside");
                assert!(refusal.is_none(), "{refusal:?}, and it opens");
            } else {
                assert!(held.drained.records.is_empty(), "{refusal:?} from outside");
            }
            goes_on(log, disk, &held, checkpoints);
            Ok(held)
        }
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::Poisoned, "{error}");
            if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Incompatible) {
                let done = disk.operations();
                assert!(done.iter().all(|operation| operation == "lock"), "{error}, after {done:?}");
                let state = seen.and_then(|(_, state)| state.err());
                let said = refusal.as_ref().or(state.as_ref()).map(Error::kind);
                assert_eq!(said, Some(error.kind()), "{refusal:?} and {state:?} from outside, but {error}");
            }
            if error.kind() == ErrorKind::Corrupt {
                // Behind the first damage may lie what a later program wrote.
                let judged = match &verdict {
                    Ok(verification) => verification.is_damaged(),
                    Err(other) => other.kind() == ErrorKind::Incompatible,
                };
                assert!(judged, "{error}, but {:?}", verdict.map(|verdict| verdict.findings));
            }
            Err(error)
        }
    }
}

/// What opened goes on, and comes back.
fn goes_on(log: Log, disk: &MemoryDisk, before: &Held, checkpoints: Checkpoints) {
    if is_planted_behind(&log, disk) {
        return survives(log, disk);
    }
    let end = log.visible();
    let ticket = log.commit(Commit::new().record(b"goes on").state("goes", "on"));
    if let Err(error) = &ticket {
        // Offsets may be used up, or a segment too small to hold anything more.
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    } else {
        drop(ticket);
        assert_eq!(log.visible(), end.after(1));
    }
    let now = held(&log);
    assert_eq!(now.drained.ended, before.drained.ended, "an append heals and breaks nothing");
    assert!(now.drained.records.starts_with(&before.drained.records), "an append changes nothing before it");
    let killed = disk.snapshot();
    match options().open_on(Arc::new(killed.clone())) {
        // Of the last number that a segment can have there is no next one; the log can still be looked at.
        Err(error) if error.kind() == ErrorKind::Limit => {
            let attached = Attached::open_on(Arc::new(killed)).unwrap_or_else(|error| panic!("killed: {error}"));
            assert_eq!(drain(attached.reader()), now.drained, "killed");
        }
        log => back(log, &now, "killed"),
    }
    log.close().expect("closes");
    let bare = disk.snapshot();
    back(options().open_on(Arc::new(disk.clone())), &now, "closed");
    if checkpoints == Checkpoints::Forged {
        return;
    }
    for name in bare.names().into_iter().filter(|name| name == "anchor" || name.contains(".ckp")) {
        bare.remove(&name);
    }
    match options().open_on(Arc::new(bare)) {
        Ok(log) => assert_eq!(values(&held(&log)), values(&now), "from the log alone"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
    }
}

/// Whether something lies in the room in which a closed log goes on. No writer leaves anything there, and what was made up to
/// fit just behind a frame to come becomes part of the log: nobody can tell.
fn is_planted_behind(log: &Log, disk: &MemoryDisk) -> bool {
    let end = log.recovery().end.place;
    let name = format!("{:010}.seg", end.segment);
    let newest = disk.names().into_iter().filter(|name| name.contains(".seg")).max();
    let goes_on_there = log.recovery().ending == Ending::Clean && newest.as_ref() == Some(&name);
    let bytes = disk.read_file(&name).unwrap_or_default();
    // The open has stored who goes on.
    let behind = bytes.iter().skip(index(end.position)).skip(SESSION_STRIDE);
    goes_on_there && behind.copied().any(|byte| byte != 0)
}

/// Every call gives an answer, whatever it is.
fn survives(log: Log, disk: &MemoryDisk) {
    let _committed = log.commit(Commit::new().record(b"goes on").state("goes", "on")).map(|ticket| ticket.offset());
    let _closed = log.close();
    let _read = options().open_on(Arc::new(disk.clone())).map(|log| drain(log.reader()));
}

fn back(log: Result<Log, Error>, now: &Held, what: &str) {
    let log = log.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(&held(&log), now, "{what}");
}

/// Records, values and cursors, without the versions.
type Values<'a> = (&'a Drained, Vec<(&'a [u8], &'a [u8])>, &'a [CursorInfo]);

fn values(held: &Held) -> Values<'_> {
    let entries = held.entries.iter().map(|(key, value)| (&**key, value.value())).collect();
    (&held.drained, entries, &held.cursors)
}
