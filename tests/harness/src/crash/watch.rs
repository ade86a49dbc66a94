//! Who watches a disk in a run: takes images at its events, arms faults, and asserts the order of writes.
//!
//! Guarantees, asserted at each event of a life:
//! 1. What was acknowledged durable cannot be lost with the power, from the acknowledgement on: no sync was forgotten, and
//!    nothing else was stored there since.
//! 2. When a file is removed or set aside, no name that could replace it waits for its sync; but for index files, which nothing
//!    needs, and whose names are never synced.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use esker::{Log, Place};

use super::fate::{ByDice, Odometer};
use super::judge::{Case, recover};
use super::run::{Run, Tempo};
use crate::dice::Dice;
use crate::format::bytes::word;
use crate::memory::{MemoryDisk, mix};
use crate::oracle::{Death, Frame, History, fingerprint};
use crate::watched::{Call, Watch};

/// Who appends while a sync runs.
pub(super) const INTRUDER: u64 = 1;
/// What a descriptor limit says on the systems that have one.
const TOO_MANY_FILES: i32 = 24;
/// An intruder appends only where a segment has so much room left: it must not wait for the sync that it runs beside.
const INTRUDER_ROOM: u64 = 7 * 1024;
const SEGMENT_BYTES_LEAST: u64 = 16 * 1024;

/// What happens at events.
#[derive(Debug)]
pub(super) enum Mode {
    /// A log lives: images are taken as the tempo says.
    Live,
    /// Every outcome of power loss is tried at every event, as the tempo says.
    Exhaustive,
    /// A log is being recovered; it dies at this event, if there are so many.
    Recovering { dies_at: Option<u64>, depth: u32 },
    /// Nothing.
    Quiet,
    /// Every call fails: the machine is off.
    Dead,
}

/// A fault of calls that open or create: from the n-th on, so many times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    pub(super) after: u64,
    pub(super) times: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    Full,
    NoFiles,
}

pub(super) struct Watcher {
    disk: MemoryDisk,
    run: Arc<Run>,
    inner: Mutex<Inner>,
}

struct Inner {
    mode: Mode,
    history: Arc<History>,
    death: Death,
    dice: Dice,
    events: u64,
    faults: Vec<Fault>,
    /// Whom an intruder appends to.
    log: Option<Log>,
    intrudes: u64,
    /// The moment at which all outcomes were tried last.
    tried: Option<(u64, usize, Place)>,
}

impl Watcher {
    pub(super) fn new(
        disk: MemoryDisk,
        run: Arc<Run>,
        mode: Mode,
        history: Arc<History>,
        death: Death,
        dice: Dice,
    ) -> Self {
        let inner =
            Inner { mode, history, death, dice, events: 0, faults: Vec::new(), log: None, intrudes: 0, tried: None };
        Self { disk, run, inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        self.inner().mode = mode;
    }

    pub(super) fn set_death(&self, death: Death) {
        self.inner().death = death;
    }

    pub(super) fn death(&self) -> Death {
        self.inner().death
    }

    pub(super) fn arm(&self, fault: Fault) {
        self.inner().faults.push(fault);
    }

    pub(super) fn disarm(&self) {
        self.inner().faults.clear();
    }

    /// Lets an intruder append to this log while it syncs; `None`: no more.
    pub(super) fn set_log(&self, log: Option<Log>) {
        let before = std::mem::replace(&mut self.inner().log, log);
        // The last handle closes the log, which asks this watch.
        drop(before);
    }

    pub(super) fn events(&self) -> u64 {
        self.inner().events
    }

    /// Changes what is known. It is shared with images only while they are judged.
    pub(super) fn note<T>(&self, change: impl FnOnce(&mut History) -> T) -> T {
        change(Arc::make_mut(&mut self.inner().history))
    }

    pub(super) fn history(&self) -> Arc<History> {
        Arc::clone(&self.inner().history)
    }

    /// A moment between two calls.
    pub(super) fn event(&self, name: &str) {
        let mut inner = self.inner();
        inner.events += 1;
        let (events, history, death) = (inner.events, Arc::clone(&inner.history), inner.death);
        self.run.trace(mix(fingerprint(&[name.as_bytes()]) ^ events));
        let case = |image: MemoryDisk, death, depth, dice, place: String| Case {
            run: Arc::clone(&self.run),
            image,
            history: Arc::clone(&history),
            death,
            depth,
            dice,
            place,
        };
        match inner.mode {
            Mode::Live => {
                if inner.dice.one_in(4) {
                    let word = inner.dice.index(1 << 16);
                    self.disk.write_back(|of| word % of);
                }
                let (images, mut dice) = (self.run.conditions.tempo.images(&mut inner.dice), inner.dice.fork());
                drop(inner);
                self.assert_durable(&history, name);
                for _ in 0..images {
                    let place = format!("event {events}, {name}");
                    if dice.one_in(8) {
                        recover(case(self.disk.snapshot(), death, 1, dice.fork(), format!("{place}, process dies")));
                    } else {
                        let mut fate = ByDice::of(dice.fork(), self.run.conditions.conduct);
                        let image = self.disk.lose_power(&mut fate);
                        recover(case(image, Death::Machine, 1, dice.fork(), format!("{place}, power fails")));
                    }
                }
            }
            Mode::Exhaustive => {
                drop(inner);
                self.assert_durable(&history, name);
                self.every_outcome(&history, &|image, index| {
                    let place = format!("event {events}, {name}, outcome {index}");
                    case(image, Death::Machine, 1, Dice::new(index), place)
                });
            }
            Mode::Recovering { dies_at, depth } if dies_at == Some(events) => {
                let mut dice = inner.dice.fork();
                drop(inner);
                let place = format!("recovery event {events}, {name}");
                let (image, death) = if dice.one_in(4) {
                    (self.disk.snapshot(), death)
                } else {
                    (self.disk.lose_power(&mut ByDice::new(dice.fork())), Death::Machine)
                };
                recover(case(image, death, depth + 1, dice.fork(), place));
            }
            Mode::Recovering { .. } | Mode::Quiet | Mode::Dead => {}
        }
    }

    /// Tries every outcome of power loss, unless nothing came since the last event.
    fn every_outcome(&self, history: &History, case: &dyn Fn(MemoryDisk, u64) -> Case) {
        let unsettled = self.disk.unsettled();
        let Tempo::Exhaustive { sectors_max, sample } = self.run.conditions.tempo else { return };
        let moment = (self.disk.moment(), history.submitted(), history.durable_place());
        if self.inner().tried.replace(moment) == Some(moment) {
            return;
        }
        let all = unsettled.sectors + unsettled.changes + unsettled.lengths <= sectors_max;
        self.run.count(|totals| *if all { &mut totals.events_all } else { &mut totals.events_sampled } += 1);
        let mut odometer = Odometer::default();
        let mut index = 0;
        while if all { odometer.turn() } else { index < sample } {
            let image = if all {
                self.disk.lose_power(&mut odometer)
            } else {
                self.disk.lose_power(&mut ByDice::new(Dice::new(mix(index))))
            };
            recover(case(image, index));
            index += 1;
        }
    }

    /// Guarantee 1. The segment of the last acknowledgement may be dropped since: a drop makes more durable before it
    /// unlinks, and that is not heard of before it returns.
    fn assert_durable(&self, history: &History, name: &str) {
        let Place { segment, position, .. } = history.durable_place();
        let ends = (1..segment).rev().map_while(|before| Some((before, history.end_in(before)?)));
        for (segment, end) in std::iter::once((segment, position)).filter(|(number, _)| *number > 0).chain(ends) {
            let file = format!("{segment:010}.seg");
            if history.may_be_rewritten(segment) || history.may_be_gone(segment) && !self.disk.names().contains(&file) {
                continue;
            }
            if let Some(why) = self.disk.could_lose(&file, end) {
                self.run.violated(
                    format!("at {name}: acknowledged durable up to {segment}/{end}, and {why}"),
                    "order of writes",
                );
            }
        }
    }

    /// Guarantee 2. What replaces a file is of its kind; a draft holds nothing that was ever there. Nor does a spare, or one
    /// that could not be synced and was removed again: a segment that is dropped while it waits is replaced by none.
    fn assert_replaced(&self, name: &str) {
        let Some((_, kind)) = name.rsplit_once('.').filter(|(_, kind)| !["draft", "idx"].contains(kind)) else {
            return;
        };
        let mut waiting = self.disk.unsynced_names_beside(name);
        waiting.retain(|other| other.rsplit_once('.').is_some_and(|(_, other)| other == kind));
        waiting.retain(|other| self.disk.read_file(other).is_some_and(|bytes| word(&bytes, 0) != 0));
        if !waiting.is_empty() {
            self.run.violated(format!("{name} is removed while {waiting:?} were not synced"), "order of writes");
        }
    }

    fn fault(&self, call: Call<'_>) -> io::Result<()> {
        let mut inner = self.inner();
        for fault in &mut inner.faults {
            let concerns = match fault.kind {
                FaultKind::Full => matches!(call, Call::Create(_) | Call::Reserve(_)),
                FaultKind::NoFiles => matches!(call, Call::Create(_) | Call::Open(_)),
            };
            if !concerns || fault.times == 0 {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            fault.times -= 1;
            return Err(match fault.kind {
                FaultKind::Full => io::ErrorKind::StorageFull.into(),
                FaultKind::NoFiles => io::Error::from_raw_os_error(TOO_MANY_FILES),
            });
        }
        Ok(())
    }

    /// Somebody appends while a sync runs.
    fn intrude(&self) {
        let (log, number) = {
            let mut inner = self.inner();
            if !matches!(inner.mode, Mode::Live) || !inner.dice.one_in(4) {
                return;
            }
            inner.intrudes += 1;
            let number = inner.intrudes;
            let Some(log) = inner.log.take() else { return };
            (log, number)
        };
        if log.stats().visible.place.position < SEGMENT_BYTES_LEAST - INTRUDER_ROOM {
            let payload = mix(number ^ 0x696e).to_le_bytes();
            let frame = Frame { records: vec![super::world::fingerprint_of_payload(&payload)], changes: Vec::new() };
            self.note(|history| history.submit(INTRUDER, frame));
            let answer = log.append(&payload).map(|ticket| (ticket.offset().get(), ticket.place()));
            self.note(|history| match answer {
                Ok((offset, place)) => history.visible(INTRUDER, offset, place),
                Err(_) => history.refused(INTRUDER),
            });
        }
        self.inner().log = Some(log);
    }
}

impl Watch for Watcher {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        if matches!(self.inner().mode, Mode::Dead) {
            return Err(io::Error::other("the machine is off"));
        }
        if let Call::Unlink(name) | Call::Quarantine(name) = call {
            self.assert_replaced(name);
        }
        if let Call::SyncRange(_) = call {
            self.intrude();
        }
        self.event(&call.to_string());
        self.fault(call)
    }
}
