//! Hostile checkpoints: a good one with edits, put in the place of the newest of a log that was killed.
//!
//! Guarantees:
//! 1. Any input is a list of edits. With its first byte it can have checksums made right again, so that what lies behind
//!    them is reached.
//! 2. What is right is told by a reader of its own, written after `src/format.md`, and by the log alone: all of it is
//!    there, so that no checkpoint is needed.

use std::sync::{Arc, OnceLock};

use esker::{Attached, Background, Commit, CursorInfo, Error, ErrorKind, Log, Offset, Options, StateValue};

use super::edits::{Form, carry_out};
use super::put;
use super::repairs::{Origin, repair_copies};
use crate::MemoryDisk;
use crate::format::bytes::{store, word};
use crate::format::contract::{Value, contract};
use crate::format::fields::CHECKPOINT;
use crate::format::sums::{crc32, mend_opening, opening_sum};

const HEADER_BYTES: usize = 256;
/// The longest that edits may make it.
const BYTES_MAX: usize = 64 * 1024;
const SUM: usize = 12;
const LINE: std::ops::Range<usize> = 48..80;
/// Where the log begins: it may be dropped up to there, or refused if that is behind its end.
const START: std::ops::Range<usize> = 80..96;
const LAST: std::ops::Range<usize> = 128..140;
const CLEAN: std::ops::Range<usize> = 10..12;
const BODY_SUM: usize = 108;
const BODY_BYTES: usize = 120;

const FIX_BODY_SUM: u8 = 1;
const FIX_SUM: u8 = 2;
const FIX_BODY_BYTES: u8 = 4;
const ALONE: u8 = 8;

type Entries = Vec<(Box<[u8]>, StateValue)>;

/// A log that was killed, and what it holds.
struct Base {
    disk: MemoryDisk,
    older: String,
    newest: String,
    good: Vec<u8>,
    entries: Entries,
    cursors: Vec<CursorInfo>,
    visible: Offset,
}

/// What the bytes are by the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Another version, or a feature that must be known.
    Later,
    /// The header is not valid, or is another store's.
    Nothing,
    /// The header is valid, the rest is not.
    Header,
    Whole,
}

fn options() -> Options {
    Options::new().segment_bytes(16 * 1024).checkpoint_bytes(4096).background(Background::Manual)
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let mut disk = MemoryDisk::new(11);
        for life in 0..2_u8 {
            let log = options().open_on(Arc::new(disk.clone())).expect("opens");
            fill(&log, life);
            disk = disk.snapshot();
        }
        let mut names = disk.names();
        names.retain(|name| name.contains(".ckp"));
        let [older, newest] = <[String; 2]>::try_from(names).expect("two are kept");
        let good = disk.read_file(&newest).expect("is there");
        let bare = disk.snapshot();
        for name in [&older, &newest] {
            bare.remove(name);
        }
        let log = options().open_on(Arc::new(bare)).expect("all of the log is there");
        let (entries, cursors) = (log.states("").expect("shown"), log.cursors().expect("shown"));
        Base { disk, older, newest, good, entries, cursors, visible: log.visible() }
    })
}

/// Some of everything: records, entries long, short and removed, cursors; two checkpoints; and a log behind them.
fn fill(log: &Log, life: u8) {
    for number in 0..16_u8 {
        let (key, value) = ([b'k', number % 10], vec![number; usize::from(number) * 2]);
        let (record, lived) = ([number; 350], [life, number]);
        let commit = Commit::new().record(&record).state(&key, &value).state("life", &lived);
        let _ = log.commit(if number % 7 == 6 { commit.remove_state(&[b'k', 1]) } else { commit }).expect("commits");
        let name = ["billing", "audit"][usize::from(number % 2)];
        let mut cursor = log.cursor(name).expect("is there");
        let next = cursor.committed().after(1);
        let _ = cursor.commit(next).expect("commits");
        if number < 13 {
            log.sync().expect("syncs");
            log.background_step();
        }
    }
}

/// How long the checkpoint is that edits begin with.
#[must_use]
pub fn good_checkpoint_bytes() -> usize {
    base().good.len()
}

/// Edits the newest checkpoint of a log by `input`, and opens the log in every way there is.
///
/// # Panics
/// If the engine breaks a promise.
pub fn open_checkpoint(input: &[u8]) {
    let base = base();
    let (&flags, edits) = input.split_first().unwrap_or((&0, &[]));
    let bytes = edited(&base.good, flags, edits);
    let disk = base.disk.snapshot();
    disk.remove(&base.newest);
    put(&disk, &base.newest, &bytes);
    if flags & ALONE != 0 {
        disk.remove(&base.older);
    }
    let found = found(&bytes, &base.good);
    let same_line = [LINE, START, LAST, CLEAN].into_iter().all(|part| bytes.get(part.clone()) == base.good.get(part));
    repair_copies(&disk, Origin::Several);
    let _verdict = esker::inspect::verify_on(&disk, &mut |_| ());
    let outside = Attached::open_on(Arc::new(disk.clone()));
    let outside = outside.and_then(|attached| Ok((attached.state()?, attached.checkpoints()?)));
    match options().open_on(Arc::new(disk.clone())) {
        Ok(log) => {
            let (view, _files) = outside.unwrap_or_else(|error| panic!("{found:?}: refused from outside: {error}"));
            assert_ne!(found, Found::Later, "of a later program");
            let (entries, cursors) = (log.states("").expect("shown"), log.cursors().expect("shown"));
            assert_eq!(view.with_prefix(""), entries, "{found:?}: from outside the same as inside");
            assert_eq!(view.cursors(), cursors, "{found:?}: from outside the same as inside");
            if found != Found::Whole {
                assert_eq!((&entries, &cursors), (&base.entries, &base.cursors), "{found:?}: the log knows better");
                assert_eq!(log.recovery().checkpoint_faults.len(), 1, "{found:?}: {}", log.recovery());
            }
            if found == Found::Nothing || same_line {
                assert_eq!(log.visible(), base.visible, "{found:?}");
                goes_on(&log, &disk);
            }
        }
        Err(error) => {
            let expected = match found {
                Found::Later => matches!(error.kind(), ErrorKind::Incompatible),
                Found::Header | Found::Whole => error.kind() == ErrorKind::Corrupt && !same_line,
                Found::Nothing => false,
            };
            assert!(expected, "{found:?}: {error}");
            assert!(outside.is_err(), "{found:?}: fine from outside, but {error}");
        }
    }
}

/// What was loaded takes commits, goes into the next checkpoints, and comes back.
fn goes_on(log: &Log, disk: &MemoryDisk) {
    for name in ["billing", "audit"] {
        let made = log.cursor(name).map(|_| ()).map_err(|error| error.kind());
        let typed = matches!(made, Ok(()) | Err(ErrorKind::Corrupt | ErrorKind::Invalid | ErrorKind::Diverged { .. }));
        assert!(typed, "{made:?}");
    }
    let _ = log.commit(Commit::new().record(b"goes on").state("goes", "on").remove_state("life")).expect("commits");
    let held = log.states("").expect("shown");
    let same = |disk: &MemoryDisk, what: &str| {
        let log = options().open_on(Arc::new(disk.clone())).unwrap_or_else(|error: Error| panic!("{what}: {error}"));
        assert_eq!(log.states("").expect("shown"), held, "{what}");
    };
    same(&disk.snapshot(), "killed");
    log.clone().close().expect("closes");
    same(disk, "closed");
}

/// Carries out the edits, and makes right what the flags say.
fn edited(good: &[u8], flags: u8, edits: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    carry_out(&mut bytes, edits, &Form { fields: &CHECKPOINT, header_bytes: HEADER_BYTES, bytes_max: BYTES_MAX });
    let body = bytes.len().saturating_sub(HEADER_BYTES);
    if flags & FIX_BODY_BYTES != 0 {
        store(&mut bytes, BODY_BYTES, &u64::try_from(body).expect("small").to_le_bytes());
    }
    if flags & FIX_BODY_SUM != 0 && bytes.len() >= HEADER_BYTES {
        let said = usize::try_from(word(&bytes, BODY_BYTES)).unwrap_or(usize::MAX).min(body);
        let sum = crc32(&bytes[HEADER_BYTES..HEADER_BYTES + said]);
        store(&mut bytes, BODY_SUM, &sum.to_le_bytes());
    }
    if flags & FIX_SUM != 0 && bytes.len() >= HEADER_BYTES {
        mend_opening(&mut bytes, HEADER_BYTES);
    }
    bytes
}

/// What the bytes are; `good` says whose store and which sequence it has to be.
fn found(bytes: &[u8], good: &[u8]) -> Found {
    if bytes.len() < HEADER_BYTES || bytes[..8] != *b"eskerckp" {
        return Found::Nothing;
    }
    if u32::try_from(word(bytes, SUM) & 0xffff_ffff).expect("masked") != opening_sum(bytes, HEADER_BYTES) {
        return Found::Nothing;
    }
    if bytes[8..10] != [0, 0] || bytes[16..20] != [0; 4] {
        return Found::Later;
    }
    if bytes[24..40] != good[24..40] || epochs(bytes) > 65536 {
        return Found::Nothing;
    }
    if bytes[40..48] == good[40..48] && body_is_whole(bytes).is_some() { Found::Whole } else { Found::Header }
}

/// Whether the body is what the header says.
fn body_is_whole(bytes: &[u8]) -> Option<()> {
    let body = bytes[HEADER_BYTES..].get(..usize::try_from(word(bytes, BODY_BYTES)).ok()?)?;
    let (table, mut rest) = body.split_at_checked(epochs(bytes).checked_mul(24)?)?;
    let counts: Vec<u64> = table.chunks(24).map(|row| word(row, 0)).collect();
    let behind = bytes.get(HEADER_BYTES + body.len()..)?;
    if !counts.is_sorted_by(|one, next| one < next) || behind.iter().any(|byte| *byte != 0) {
        return None;
    }
    let mut last: Option<(u8, &[u8])> = None;
    let mut entries = word(bytes, 112);
    while entries > 0 {
        entries -= 1;
        let head = rest.get(16..24)?;
        let key = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let value = usize::try_from(u32::from_le_bytes([head[4], head[5], head[6], head[7]])).ok()?;
        let name = (head[0], rest.get(24..24 + key)?);
        let ordered = last.is_none_or(|last| last < name);
        let is_cursor = || value == 32 && rest.get(24 + key + 24..24 + key + 28) == Some(&[0; 4]);
        let is_contract =
            || rest.get(24 + key..24 + key + value).is_some_and(|value| contract(value) == Value::Contract);
        if head[0] > 15
            || head[1] != 0
            || !ordered
            || value > 16 << 20
            || (head[0] == 1 && !is_cursor())
            || (head[0] == 2 && !is_contract())
        {
            return None;
        }
        last = Some(name);
        rest = rest.get((24 + key).checked_add(value)?..)?;
    }
    let sum = u32::try_from(word(bytes, BODY_SUM) & 0xffff_ffff).ok()?;
    (rest.is_empty() && sum == crc32(body)).then_some(())
}

fn epochs(bytes: &[u8]) -> usize {
    usize::try_from(word(bytes, 104) & 0xffff_ffff).expect("masked")
}
