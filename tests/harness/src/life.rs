//! A short life of a log, in acts: all that the engine asks of the system happens in one of them. What fails on the way is
//! noted, and the life goes on.
//!
//! Guarantees:
//! 1. An act says what it is about to do before it does it, and what came of it right behind: who hears the lines knows what
//!    the log owes, wherever the act ends.
//! 2. Without faults two runs of an act make the same calls in the same order: nothing runs in the background.
//! 3. An act panics only where the engine did, or told what is not true.

mod ledger;

use std::path::Path;
use std::sync::Arc;

use esker::inspect::{self, Verification};
use esker::platform::Disk;
use esker::repair::{self, Accept, Plan};
use esker::{Background, Commit, Compaction, Error, ErrorKind, Log, Offset, Options, Record, Result, Topic};

pub use ledger::{Death, Ledger, Said, read};

const KEYS: u64 = 7;
/// The state entry that says which record was the last.
const LAST: &str = "last";
const CURSOR: &str = "billing";

/// A part of the life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A new log: appends, rolls, syncs, checkpoints, indexes, a cursor, a drop, a compaction; it dies at the end.
    Begin,
    /// What a death left: recovery, appends, a close.
    Recover,
    /// What a close left: appends, a close.
    Reopen,
    /// A damaged log: a look at it, a repair, a clean end.
    Repair,
}

impl Act {
    /// In the order of the life.
    pub const ALL: [Self; 4] = [Self::Begin, Self::Recover, Self::Reopen, Self::Repair];

    /// Its name for a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Recover => "recover",
            Self::Reopen => "reopen",
            Self::Repair => "repair",
        }
    }

    /// The act of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.name() == name)
    }

    /// Lives it.
    pub fn live(self, ground: &dyn Ground, say: &mut dyn FnMut(Said)) {
        let mut life = Life { say };
        match self {
            Self::Begin => life.begin(ground),
            Self::Recover => life.go_on(ground, 100..120),
            Self::Reopen => life.go_on(ground, 200..220),
            Self::Repair => {
                if life.step("repair", ground.repair()).is_some() {
                    life.go_on(ground, 300..310);
                }
            }
        }
    }
}

/// Where a log lives.
pub trait Ground {
    /// Opens the log for writing, with the options of the life.
    ///
    /// # Errors
    /// What the engine says.
    fn open(&self) -> Result<Log>;

    /// Plans a repair, and applies it.
    ///
    /// # Errors
    /// What the engine says.
    fn repair(&self) -> Result<Plan>;

    /// Looks whether anything is damaged.
    ///
    /// # Errors
    /// What the engine says.
    fn verify(&self) -> Result<Verification>;
}

impl<D: Disk + Clone + 'static> Ground for D {
    fn open(&self) -> Result<Log> {
        options().open_on(Arc::new(self.clone()))
    }

    fn repair(&self) -> Result<Plan> {
        let _plan = repair::plan_on(self)?;
        repair::apply_on(self, Accept::Loss)
    }

    fn verify(&self) -> Result<Verification> {
        inspect::verify_on(self, &mut |_| {})
    }
}

/// A directory of the system.
#[derive(Debug)]
pub struct Directory<'p>(pub &'p Path);

impl Ground for Directory<'_> {
    fn open(&self) -> Result<Log> {
        options().open(self.0)
    }

    fn repair(&self) -> Result<Plan> {
        let _plan = repair::plan(self.0)?;
        repair::apply(self.0, Accept::Loss)
    }

    fn verify(&self) -> Result<Verification> {
        inspect::verify(self.0, &mut |_| {})
    }
}

/// Tiny segments, frequent checkpoints, and no threads.
pub fn options() -> Options {
    Options::new().segment_bytes(16 << 10).checkpoint_bytes(4096).background(Background::Manual)
}

pub(crate) fn topic() -> Topic {
    Topic::new(1).expect("small")
}

pub(crate) fn key(number: u64) -> [u8; 8] {
    (number % KEYS).to_le_bytes()
}

pub(crate) fn payload(number: u64) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(8 + crate::numbers::index(number * 37 % 900), 0xab);
    payload
}

/// Commits the record of a number, and the state entry that names it.
pub(crate) fn commit(log: &Log, number: u64) -> Result<Offset> {
    let (payload, key) = (payload(number), key(number));
    let record = Record::new(&payload).topic(topic()).key(&key);
    let ticket = log.commit(Commit::new().record(record).state(LAST, &number.to_le_bytes()))?;
    Ok(ticket.offset())
}

struct Life<'s> {
    say: &'s mut dyn FnMut(Said),
}

impl Life<'_> {
    /// Notes an error; `None`: the life goes on without it.
    fn step<T>(&mut self, step: &'static str, outcome: Result<T>) -> Option<T> {
        match outcome {
            Ok(done) => Some(done),
            Err(error) => {
                self.fail(step, &error);
                None
            }
        }
    }

    fn fail(&mut self, step: &'static str, error: &Error) {
        (self.say)(Said::Failed { step: step.to_owned(), kind: error.kind().to_string(), text: error.to_string() });
    }

    fn append(&mut self, log: &Log, number: u64) {
        (self.say)(Said::Trying(number));
        match commit(log, number) {
            Ok(offset) => (self.say)(Said::Visible { number, offset: offset.get() }),
            Err(error) => {
                (self.say)(Said::Refused(number));
                self.fail("append", &error);
            }
        }
    }

    fn sync(&mut self, log: &Log) {
        if self.step("sync", log.sync()).is_some() {
            (self.say)(Said::Durable);
        }
    }

    fn begin(&mut self, ground: &dyn Ground) {
        let Some(log) = self.step("open", ground.open()) else { return };
        for number in 0..60 {
            self.append(&log, number);
            if number % 12 == 11 {
                self.sync(&log);
                log.background_step();
            }
        }
        self.move_cursor(&log);
        self.look(&log);
        let offset = log.durable().get() / 3;
        (self.say)(Said::Dropping(offset));
        let _told = self.step("drop", log.drop_before(Offset::new(offset)));
        (self.say)(Said::Compacting);
        let _told = self.step("compact", log.compact(&Compaction::new()));
        for number in 60..80 {
            self.append(&log, number);
        }
        self.look(&log);
        log.background_step();
        self.sync(&log);
    }

    fn go_on(&mut self, ground: &dyn Ground, numbers: std::ops::Range<u64>) {
        let Some(log) = self.step("open", ground.open()) else { return };
        for number in numbers {
            self.append(&log, number);
        }
        self.sync(&log);
        log.background_step();
        self.move_cursor(&log);
        self.look(&log);
        if self.step("close", log.close()).is_some() {
            (self.say)(Said::Durable);
        }
    }

    fn move_cursor(&mut self, log: &Log) {
        let Some(mut cursor) = self.step("open the cursor", log.cursor(CURSOR)) else { return };
        // All of it is there, but the end moves only with what is visible.
        let next = log.visible();
        (self.say)(Said::Moving(next.get()));
        let moved = cursor.commit(next).map(|_ticket| ());
        if self.step("move the cursor", moved).is_some() {
            (self.say)(Said::Moved(next.get()));
        }
    }

    /// Reads all, and looks a key up.
    fn look(&mut self, log: &Log) {
        let mut reader = log.reader();
        let mut newest = None;
        loop {
            match reader.poll() {
                Ok(Some(batch)) => {
                    for record in &batch {
                        let number = ledger::number_in(&record);
                        newest = newest.max((key(number) == key(0)).then_some((record.offset(), number)));
                    }
                }
                Ok(None) => break,
                // Of a log that was repaired.
                Err(error) if matches!(error.kind(), ErrorKind::Gap { .. }) => {
                    if self.step("step over a gap", reader.skip_damage()).is_none() {
                        return;
                    }
                }
                Err(error) => return self.fail("read", &error),
            }
        }
        if let Some(found) = self.step("look up", log.latest(topic(), &key(0))) {
            let found = found.map(|found| (found.offset(), ledger::number_in(&found.record())));
            assert!(found >= newest, "the lookup finds {found:?}, a reader {newest:?}");
        }
    }
}
