//! The reference logs: what they hold, what is on their disks, and their relatives.
//!
//! Guarantees:
//! 1. Everything follows from two numbers: each run works on the same bytes.
//! 2. Four segments of 16 KiB, two checkpoints and an anchor; three lives in two epochs; frames that are dead; records,
//!    entries and cursors of all shapes, seals, marks, sessions.
//! 3. An older file of the same name is one that this very log had. The two copies that went on apart share everything up
//!    to a clean close: store, segments, incarnations, offsets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use esker::inspect::{Verification, verify_on};
use esker::{Background, Ending, Log, Options, Place, Recovery};

use super::history::History;
use super::layout::{Stored, layout};
use crate::MemoryDisk;

/// All files of a directory.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// What the payloads of the reference are made of; the tag modulo 5 says how long its headers are.
const TAG: u8 = 0xa5;
const TAG_APART: u8 = 0x3d;
const TAG_LATER: u8 = 0x6b;
const TAG_TWIN: u8 = 0x3c;

/// How the log ended that is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was closed.
    Closed,
    /// Its writer died.
    Killed,
}

impl End {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Closed, Self::Killed];

    /// Its name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Killed => "killed",
        }
    }
}

/// A log that is damaged in copies.
pub(super) struct Reference {
    pub(super) end: End,
    pub(super) disk: MemoryDisk,
    /// By name, with what each byte is.
    pub(super) files: Vec<Stored>,
    pub(super) history: History,
    /// Behind what the writer was told to be durable.
    pub(super) acknowledged: Place,
    /// Where the log ends.
    pub(super) ends: Place,
    /// What is said of it undamaged.
    pub(super) verification: Verification,
    pub(super) ending: Ending,
    /// The directory as it was earlier.
    pub(super) older: Vec<Files>,
    /// The directory of another store that did the same.
    pub(super) other: Files,
    /// Directories of copies that went on apart, and what they hold; the last one in frames of the same lengths.
    pub(super) apart: Vec<(Files, History)>,
}

pub(super) fn options(recovery: Recovery) -> Options {
    let options = Options::new().segment_bytes(16 * 1024).checkpoint_bytes(4096).recovery(recovery);
    options.background(Background::Manual)
}

pub(super) fn open(disk: &MemoryDisk) -> Log {
    options(Recovery::TornTail).open_on(Arc::new(disk.clone())).expect("opens")
}

pub(super) fn files(disk: &MemoryDisk) -> Files {
    let read = |name: String| disk.read_file(&name).map(|bytes| (name, bytes));
    // Nothing needs an index file: damage to them is for tests that know what they say.
    disk.names().into_iter().filter(|name| !name.contains(".idx")).filter_map(read).collect()
}

/// A log on its way, and what was noted of it.
struct Life {
    disk: MemoryDisk,
    history: History,
    number: u64,
    tag: u8,
}

impl Life {
    /// Steps until the log has reached a place; every few steps a sync, more rarely what happens in the background.
    fn fill(&mut self, log: &Log, segment: u64, position: u64) -> Place {
        loop {
            self.disk.advance(Duration::from_millis(7));
            self.number += 1;
            let place = self.history.step(log, &self.disk, self.number, self.tag);
            if self.number.is_multiple_of(8) {
                log.sync().expect("syncs");
            }
            if self.number.is_multiple_of(24) {
                log.background_step();
            }
            if place >= (Place { segment, position }) {
                return place;
            }
        }
    }

    fn fork(&self, tag: u8) -> Self {
        Self { disk: self.disk.snapshot(), history: self.history.clone(), number: self.number, tag }
    }

    /// The second life: goes on behind a close, is killed above the durable line, and loses what it stored last.
    fn second(&mut self) {
        let log = open(&self.disk);
        self.fill(&log, 2, 7000);
        log.sync().expect("syncs");
        let torn = self.fill(&log, 2, 9500);
        let name = format!("{:010}.seg", torn.segment);
        let torn = usize::try_from(torn.position).expect("small");
        let left = self.disk.snapshot();
        // Some frames above the line survive, one is torn, and those behind it are dead once this is recovered.
        left.edit_file(&name, |bytes| bytes[torn - 1500..torn - 1400].fill(0xee));
        self.disk = left;
    }
}

/// What both ends have in the past.
fn past(seed: u64) -> (Life, Life, Vec<Files>) {
    let mut life = Life { disk: MemoryDisk::new(seed), history: History::default(), number: 0, tag: TAG };
    let log = open(&life.disk);
    life.fill(&log, 1, 9000);
    log.close().expect("closes");
    let fork = life.fork(TAG_APART);
    let mut older = vec![files(&life.disk)];
    life.second();
    older.push(files(&life.disk));
    (life, fork, older)
}

/// The log of a seed, and how far it was acknowledged.
fn grown(seed: u64, end: End) -> (Life, Life, Vec<Files>, Place) {
    let (mut life, fork, mut older) = past(seed);
    let log = open(&life.disk);
    assert_eq!(log.recovery().ending, Ending::Torn, "some frames are dead");
    life.history.cut_to(&log);
    life.fill(&log, 3, 9000);
    older.push(files(&life.disk));
    let synced = life.fill(&log, 4, 7000);
    log.sync().expect("syncs");
    older.push(files(&life.disk));
    let mut acknowledged = synced;
    match end {
        End::Closed => {
            acknowledged = life.fill(&log, 4, 9000);
            log.close().expect("closes");
        }
        End::Killed => {
            // Nothing is synced for the last steps, whatever their numbers.
            for _ in 0..6 {
                life.disk.advance(Duration::from_millis(7));
                life.number += 1;
                life.history.step(&log, &life.disk, life.number, life.tag);
            }
            life.disk = life.disk.snapshot();
        }
    }
    (life, fork, older, acknowledged)
}

impl Reference {
    pub(super) fn new(end: End) -> Self {
        let (life, mut fork, older, acknowledged) = grown(7, end);
        let (other, ..) = grown(8, end);
        let mut twin = fork.fork(TAG_TWIN);
        for copy in [&mut fork, &mut twin] {
            copy.second();
            let log = open(&copy.disk);
            copy.history.cut_to(&log);
            copy.fill(&log, 4, 5000);
            log.close().expect("closes");
        }
        let mut later = life.fork(TAG_LATER);
        let log = open(&later.disk);
        later.history.cut_to(&log);
        later.fill(&log, if end == End::Closed { 4 } else { 5 }, 10_500);
        log.close().expect("closes");
        let copy = life.disk.snapshot();
        let verification = verify_on(&copy, &mut |_| ()).expect("a log");
        let log = open(&copy);
        let (ends, ending) = (log.recovery().end.place, log.recovery().ending);
        assert_eq!(log.visible().get(), u64::try_from(life.history.records.len()).expect("small"), "all is there");
        let reference = Self {
            end,
            files: layout(files(&life.disk)),
            disk: life.disk,
            history: life.history,
            acknowledged,
            ends,
            verification,
            ending,
            older,
            other: files(&other.disk),
            apart: [fork, later, twin].into_iter().map(|life| (files(&life.disk), life.history)).collect(),
        };
        drop(log);
        reference
    }

    pub(super) fn file(&self, name: &str) -> Option<usize> {
        self.files.iter().position(|file| file.name == name)
    }
}
