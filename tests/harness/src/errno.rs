//! Each call of a short life fails, once or from then on, with each error that the system can answer it with; what is left is
//! judged behind the death of the process and behind the loss of power.
//!
//! Guarantees:
//! 1. Every call of [`Disk`](esker::platform::Disk) and [`File`](esker::platform::File) that the engine makes in the
//!    [acts](crate::life::Act) is failed, unless the step is larger than 1; the counts say how many that were.
//! 2. A failed call does not reach the disk.

use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

use crate::crash::ByDice;
use crate::life::{Act, Death, Ground as _, Ledger, read};
use crate::watched::{Call, Watch, WatchedDisk};
use crate::{Dice, MemoryDisk};

/// An error of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno {
    /// As the system's headers have it.
    pub name: &'static str,
    /// On Linux.
    pub number: i32,
}

const EIO: Errno = Errno { name: "EIO", number: 5 };
const ENOMEM: Errno = Errno { name: "ENOMEM", number: 12 };
const EACCES: Errno = Errno { name: "EACCES", number: 13 };
const ENFILE: Errno = Errno { name: "ENFILE", number: 23 };
const EMFILE: Errno = Errno { name: "EMFILE", number: 24 };
const ENOSPC: Errno = Errno { name: "ENOSPC", number: 28 };
const EROFS: Errno = Errno { name: "EROFS", number: 30 };
const ENOLCK: Errno = Errno { name: "ENOLCK", number: 37 };
const EDQUOT: Errno = Errno { name: "EDQUOT", number: 122 };

/// All that are tried.
pub const ERRORS: [Errno; 9] = [EIO, ENOMEM, EACCES, ENFILE, EMFILE, ENOSPC, EROFS, ENOLCK, EDQUOT];

impl Errno {
    /// Whether a call can fail with it.
    fn meets(self, call: &Call<'_>) -> bool {
        use Call::{
            Create, Identity, Length, List, Lock, LockHolder, Map, Open, Punch, Quarantine, Read, Rename, Reserve,
            SettleQuarantine, Sync, SyncDirectory, SyncRange, Unlink, Write,
        };
        match self {
            EIO => true,
            ENOMEM => !matches!(call, Length(_) | Identity(_) | Read(_)),
            EMFILE | ENFILE => matches!(
                call,
                List | Create(_)
                    | Open(_)
                    | SyncDirectory
                    | Lock
                    | LockHolder
                    | Quarantine(_)
                    | SettleQuarantine
                    | Map(_)
            ),
            EACCES => matches!(call, List | Create(_) | Open(_) | Unlink(_) | Rename(_) | Quarantine(_) | Lock),
            EROFS => matches!(call, Create(_) | Unlink(_) | Rename(_) | Quarantine(_) | Lock | Sync(_)),
            ENOSPC | EDQUOT => matches!(
                call,
                Create(_)
                    | Write(_)
                    | Reserve(_)
                    | Punch(_)
                    | Rename(_)
                    | Quarantine(_)
                    | Sync(_)
                    | SyncRange(_)
                    | SyncDirectory
            ),
            ENOLCK => matches!(call, Lock | LockHolder),
            _ => false,
        }
    }
}

/// For how long calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spell {
    /// One of them.
    Once,
    /// It, and all that come later.
    ForGood,
    /// It, and all of its kind that come later.
    KindForGood,
}

/// Fails calls from the n-th on of those that can fail so.
struct Failing {
    error: Errno,
    spell: Spell,
    /// How many go through before it; `None`: no more is to fail.
    left: Mutex<Option<u64>>,
    /// The first that failed, and its kind.
    failed: Mutex<Option<(String, &'static str)>>,
}

impl Failing {
    fn meet(&self, call: Call<'_>) -> io::Result<()> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(more) = left.as_mut().filter(|_| self.error.meets(&call)) else { return Ok(()) };
        if *more > 0 {
            *more -= 1;
            return Ok(());
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = call.kind();
        let (_, first) = failed.get_or_insert_with(|| (call.to_string(), kind));
        if self.spell == Spell::KindForGood && *first != kind {
            return Ok(());
        }
        if self.spell == Spell::Once {
            *left = None;
        }
        Err(io::Error::from_raw_os_error(self.error.number))
    }
}

impl Watch for Failing {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        self.meet(call)
    }

    fn before_a_look(&self, call: Call<'_>) -> io::Result<()> {
        self.meet(call)
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Lives with a fault.
    pub lives: u64,
    /// Of them, those in which the engine did without what failed.
    pub unharmed: u64,
    /// Errors that were told.
    pub errors: u64,
    /// Logs that were opened and judged.
    pub judged: u64,
}

impl Swept {
    /// Adds another sweep.
    pub fn add(&mut self, other: Self) {
        self.lives += other.lives;
        self.unharmed += other.unharmed;
        self.errors += other.errors;
        self.judged += other.judged;
    }
}

impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lives, unharmed, errors, judged } = self;
        write!(f, "{lives} lives with a fault, {unharmed} of them unharmed; {errors} errors told, {judged} logs judged")
    }
}

/// A log that an act begins with, and what it owes.
#[derive(Debug, Clone)]
pub struct Eve {
    /// The log.
    pub disk: MemoryDisk,
    /// What it owes.
    pub ledger: Ledger,
}

/// The log that `act` begins with.
///
/// # Panics
/// If the life without faults goes wrong.
#[must_use]
pub fn eve(act: Act) -> Eve {
    let mut eve = Eve { disk: MemoryDisk::new(1), ledger: Ledger::default() };
    let before: &[Act] = match act {
        Act::Begin => &[],
        Act::Recover => &[Act::Begin],
        Act::Reopen | Act::Repair => &[Act::Begin, Act::Recover],
    };
    for act in before {
        act.live(&eve.disk, &mut |said| eve.ledger.hear(said));
        eve.disk = eve.disk.snapshot();
    }
    assert_eq!(eve.ledger.failures, [], "{act:?}");
    if act == Act::Repair {
        damage(&mut eve);
    }
    eve
}

/// Damages a record in the middle, and finds out what a repair gives up.
fn damage(eve: &mut Eve) {
    let records = |disk: &MemoryDisk| read(&disk.open().expect("opens")).expect("reads");
    let all = records(&eve.disk.snapshot());
    let names = eve.disk.names();
    let segment = names.iter().find(|name| name.strip_suffix(".seg").is_some()).expect("one");
    eve.disk.edit_file(segment, rot);
    let repaired = eve.disk.snapshot();
    let plan = repaired.repair().expect("repairs");
    assert!(plan.loses(), "{plan:?}");
    let left = records(&repaired);
    let lost: Vec<u64> = all.iter().filter(|seen| !left.contains(seen)).map(|(_, number)| *number).collect();
    assert!(!lost.is_empty(), "{plan:?}");
    eve.ledger.give_up(lost);
}

/// Changes a byte in the middle of a record.
///
/// # Panics
/// If these are not the bytes of a segment with one.
pub fn rot(bytes: &mut [u8]) {
    let filling = bytes.windows(64).position(|window| window.iter().all(|byte| *byte == 0xab));
    bytes[filling.expect("a record of some length")] ^= 1;
}

/// Fails the `n`-th call of an act, counted among those that can fail so; `None`: there are not so many.
///
/// # Errors
/// What the engine did wrong.
pub fn live(eve: &Eve, act: Act, error: Errno, spell: Spell, n: u64) -> Option<Result<Swept, String>> {
    let failing = Failing { error, spell, left: Mutex::new(Some(n)), failed: Mutex::new(None) };
    let watched = WatchedDisk::new(eve.disk.snapshot(), failing);
    let mut ledger = eve.ledger.clone();
    let lived = panic::catch_unwind(AssertUnwindSafe(|| act.live(&watched, &mut |said| ledger.hear(said))));
    let (failed, _) = watched.failed.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    let what = format!("{}: {failed} fails with {} {spell:?} (call {n})", act.name(), error.name);
    if lived.is_err() {
        return Some(Err(format!("{what}: it panics")));
    }
    Some(judge(&watched.disk, &ledger, act, n).map_err(|wrong| {
        let told: Vec<String> = ledger.failures.iter().map(ToString::to_string).collect();
        format!("{what}: {wrong}\ntold: {told:#?}")
    }))
}

fn judge(disk: &MemoryDisk, ledger: &Ledger, act: Act, n: u64) -> Result<Swept, String> {
    ledger.judge_failures()?;
    let errors = crate::numbers::length(ledger.failures.len());
    let left = [
        (Death::OfTheProcess, disk.snapshot()),
        (Death::OfTheMachine, disk.lose_power(&mut ByDice::new(Dice::new(n)))),
    ];
    for (death, left) in left {
        let judged = panic::catch_unwind(AssertUnwindSafe(|| {
            if act == Act::Repair {
                let _plan = left.repair().map_err(|error| format!("it cannot be repaired: {error}"))?;
            }
            ledger.judge(&left, death)
        }));
        judged
            .unwrap_or_else(|_| Err("it panics while it is judged".to_owned()))
            .map_err(|wrong| format!("{death:?}: {wrong}"))?;
    }
    Ok(Swept { lives: 1, unharmed: u64::from(errors == 0), errors, judged: 2 })
}

/// All of an act with one error: each `step`-th call from the `first` on.
///
/// # Errors
/// The first thing that the engine did wrong.
pub fn sweep(act: Act, error: Errno, first: u64, step: usize) -> Result<Swept, String> {
    let eve = eve(act);
    let mut swept = Swept::default();
    for spell in [Spell::Once, Spell::ForGood, Spell::KindForGood] {
        if (act, spell) == (Act::Repair, Spell::KindForGood) {
            // A medium that gives nothing back is damage to a repair, which is told to accept the loss: see its own tests.
            continue;
        }
        for n in (first..).step_by(step) {
            let Some(outcome) = live(&eve, act, error, spell, n) else { break };
            swept.add(outcome?);
        }
    }
    Ok(swept)
}
