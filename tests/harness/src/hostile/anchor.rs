//! Hostile anchors: those of logs that were killed or closed, with edits.
//!
//! Guarantees:
//! 1. Any input is a log to begin with, what is made right again, and a list of edits.
//! 2. An anchor may make an open refuse. It never decides what is kept: what opens is what opens without it.

use std::sync::{Arc, OnceLock};

use esker::{Commit, ErrorKind, Log};

use super::edits::{Form, carry_out};
use super::put;
use super::repairs::{Origin, repair_copies};
use super::ways::{Checkpoints, Held, drain, open_all_ways, options};
use crate::MemoryDisk;
use crate::format::bytes::{Input, half, word};
use crate::format::fields::{Field, SLOT};
use crate::format::sums::{OPENING_SUM, mend_opening, opening_sum};

const ANCHOR: &str = "anchor";
const SLOTS: [usize; 2] = [0, 512];
const SLOT_BYTES: usize = 128;
const BYTES_MAX: usize = 2048;
/// Of both slots.
const FIELDS: [Field; 2 * SLOT.len()] = {
    let mut both = [SLOT[0]; 2 * SLOT.len()];
    let mut number = 0;
    while number < both.len() {
        let field = SLOT[number % SLOT.len()];
        both[number] = Field { at: SLOTS[number / SLOT.len()] + field.at, ..field };
        number += 1;
    }
    both
};
const LEFT_WRONG: u8 = 1;
const NO_CHECKPOINTS: u8 = 2;

/// A log, its anchor, and what it holds without one.
struct Base {
    disk: MemoryDisk,
    anchor: Vec<u8>,
    held: Held,
}

/// A log that was killed, one that was closed, and one that was closed, opened again and killed.
fn bases() -> &'static [Base; 3] {
    static BASES: OnceLock<[Base; 3]> = OnceLock::new();
    BASES.get_or_init(|| {
        let mut disk = MemoryDisk::new(21);
        for life in 0..2 {
            disk = killed_after(&disk, life, 0..18);
        }
        let closed = disk.snapshot();
        let log = open(&closed);
        fill(&log, 2, 0..4);
        log.close().expect("closes");
        let again = killed_after(&closed.snapshot(), 3, 0..4);
        [disk, closed, again].map(Base::of)
    })
}

fn open(disk: &MemoryDisk) -> Log {
    options().open_on(Arc::new(disk.clone())).expect("opens")
}

/// What the death of a process leaves that filled the log.
fn killed_after(disk: &MemoryDisk, life: u8, numbers: std::ops::Range<u8>) -> MemoryDisk {
    let log = open(disk);
    fill(&log, life, numbers);
    // While the log is open: to drop it is to close it.
    disk.snapshot()
}

/// Records and state; the last ones are not made durable.
fn fill(log: &Log, life: u8, numbers: std::ops::Range<u8>) {
    let last = numbers.end - 2;
    for number in numbers {
        let record = vec![number; 200 + usize::from(number) * 31];
        let _ = log.commit(Commit::new().record(&record).state(&[life, number % 5], &[number])).expect("commits");
        if number < last {
            log.sync().expect("syncs");
            log.background_step();
        }
    }
}

impl Base {
    fn of(disk: MemoryDisk) -> Self {
        let anchor = disk.read_file(ANCHOR).expect("an anchor was written");
        let bare = disk.snapshot();
        bare.remove(ANCHOR);
        let log = open(&bare);
        let (entries, cursors) = (log.states("").expect("shown"), log.cursors().expect("shown"));
        let held = Held { drained: drain(log.reader()), entries, cursors };
        Self { disk, anchor, held }
    }
}

/// Edits the anchor of a log by `input`, and opens the log in every way there is.
///
/// # Panics
/// If the engine breaks a promise.
pub fn open_anchor(input: &[u8]) {
    let mut input = Input(input);
    let (which, flags) = (usize::from(input.byte()), input.byte());
    let base = &bases()[which % bases().len()];
    let mut bytes = base.anchor.clone();
    carry_out(&mut bytes, input.0, &Form { fields: &FIELDS, header_bytes: SLOT_BYTES, bytes_max: BYTES_MAX });
    if flags & LEFT_WRONG == 0 {
        for slot in SLOTS {
            // One that was never written stays so.
            let slot = bytes.get_mut(slot..slot + SLOT_BYTES).filter(|slot| slot.iter().any(|byte| *byte != 0));
            if let Some(slot) = slot {
                mend_opening(slot, SLOT_BYTES);
            }
        }
    }
    let disk = base.disk.snapshot();
    disk.remove(ANCHOR);
    put(&disk, ANCHOR, &bytes);
    if flags & NO_CHECKPOINTS != 0 {
        disk.names().iter().filter(|name| name.contains(".ckp")).for_each(|name| disk.remove(name));
    }
    repair_copies(&disk, Origin::Several);
    match open_all_ways(&disk, Checkpoints::True) {
        Ok(held) => assert_eq!(held, base.held, "what is kept is what is kept without it"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            let counts = counting(&bytes, &base.anchor);
            assert!(
                counts.is_some() && counts != counting(&base.anchor, &base.anchor),
                "{error}, and the anchor says nothing new"
            );
        }
    }
}

/// The slot that counts: of those that are valid and of the log's store the one with the highest sequence.
fn counting<'a>(bytes: &'a [u8], good: &[u8]) -> Option<&'a [u8]> {
    let slots = SLOTS.iter().filter_map(|slot| bytes.get(*slot..*slot + SLOT_BYTES));
    let valid = slots.filter(|slot| {
        slot.starts_with(b"eskeranc")
            && slot[8..10] == [0; 2]
            && slot[24..40] == good[24..40]
            && half(slot, OPENING_SUM) == opening_sum(slot, SLOT_BYTES)
    });
    valid.max_by_key(|slot| word(slot, 16))
}
