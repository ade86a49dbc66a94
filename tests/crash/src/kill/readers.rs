//! The reader processes beside a writer, as their parent knows them.
//!
//! Guarantees:
//! 1. Whatever a reader said before it died, or up to now, is judged; a reader that ends by itself, says an error or says
//!    nothing for long is a violation.
//! 2. Readers outlive writers, or are killed at any moment themselves.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use esker::ReadLine;
use harness::Dice;
use harness::oracle::{Audience, Moment, Sight};

use super::pipe;
use super::reader::Habit;

/// Nothing that a reader does takes so long.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Lines that have to come from each reader after a death: what it says then it did not say before.
const LINES_AFTER: usize = 2;
/// One of so many readers is killed in a round, this long after the writer was started at most.
const KILLED: u64 = 4;
const KILL_MICROSECONDS_MAX: u64 = 30_000;

/// What all readers came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Processes, and those of them that were killed while a writer lived.
    pub(super) started: u64,
    pub(super) killed: u64,
    pub(super) attached: u64,
    /// Looks at a directory that held no log yet.
    pub(super) absent: u64,
    /// What was seen, and compared: digests of all from the first record on.
    pub(super) sights: u64,
    pub(super) durable_sights: u64,
    pub(super) states: u64,
    /// Readers that went on, from the life of one writer to that of the next, without attaching again.
    pub(super) followed: u64,
}

/// A reader process.
#[derive(Debug)]
struct Seat {
    habit: Habit,
    process: Child,
    lines: Receiver<String>,
    heard: Vec<String>,
    killed: bool,
    /// Epoch of the last attachment.
    epoch: u64,
    /// How far it saw, and how far it had when the last writer died.
    end: u64,
    end_before: u64,
    /// Whether it attached since then.
    attached_since: bool,
}

/// All that read one directory.
#[derive(Debug)]
pub(super) struct Readers {
    folder: PathBuf,
    seats: Vec<Option<Seat>>,
    audience: Audience,
    /// Since so many deaths of writers there is a log.
    known: u32,
}

/// The lines of a log as they are now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) visible: u64,
    pub(super) durable: u64,
}

impl Readers {
    pub(super) fn of(folder: &Path, count: u64) -> Self {
        let seats = (0..count).map(|_| None).collect();
        Self { folder: folder.to_owned(), seats, audience: Audience::default(), known: 0 }
    }

    pub(super) fn audience(&mut self) -> &mut Audience {
        &mut self.audience
    }

    /// Starts readers where none is alive.
    pub(super) fn fill(&mut self, dice: &mut Dice, tally: &mut Tally) {
        for seat in self.seats.iter_mut().filter(|seat| seat.is_none()) {
            *seat = Some(Seat::start(&self.folder, Habit::ALL[dice.index(Habit::ALL.len())], dice.word()));
            tally.started += 1;
        }
    }

    /// Kills some of them, while a writer is at work.
    pub(super) fn kill_some(&mut self, mut dice: Dice) {
        let started = Instant::now();
        let mut fates: Vec<(Duration, &mut Seat)> = Vec::new();
        for seat in self.seats.iter_mut().flatten() {
            if dice.one_in(KILLED) {
                fates.push((Duration::from_micros(dice.below(KILL_MICROSECONDS_MAX)), seat));
            }
        }
        fates.sort_by_key(|(after, _)| *after);
        for (after, seat) in fates {
            thread::sleep(after.saturating_sub(started.elapsed()));
            seat.kill();
        }
    }

    /// Hears what they say until each has seen what a dead writer left, and judges all of it.
    pub(super) fn judge(&mut self, ends: Ends, tally: &mut Tally) {
        for seat in &mut self.seats {
            let Some(reader) = seat else { continue };
            reader.hear(ends.visible);
            reader.judge(&self.audience, ends, self.known, tally);
            if reader.killed {
                tally.killed += 1;
                *seat = None;
            }
        }
        self.known = if ends.visible > 0 { self.known + 1 } else { 0 };
    }
}

impl Seat {
    fn start(folder: &Path, habit: Habit, seed: u64) -> Self {
        let seed = seed.to_string();
        let words = ["reader".as_ref(), folder.as_os_str(), OsStr::new(&seed), OsStr::new(habit.word())];
        let (process, lines) = pipe::start(&words);
        Self {
            habit,
            process,
            lines,
            heard: Vec::new(),
            killed: false,
            epoch: 0,
            end: 0,
            end_before: 0,
            attached_since: true,
        }
    }

    fn kill(&mut self) {
        // One that ended by itself was not killed.
        let ended = self.process.try_wait().expect("asks for its status");
        self.process.kill().expect("kills");
        self.process.wait().expect("is reaped");
        self.killed = ended.is_none();
    }

    /// Takes all lines that are there, and then those that come, until what it says is of now.
    fn hear(&mut self, visible: u64) {
        loop {
            match self.lines.try_recv() {
                Ok(line) => self.take(line),
                Err(TryRecvError::Empty) if self.killed => thread::yield_now(),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return self.over(),
            }
        }
        let (deadline, lines) = (Instant::now() + SILENCE_MAX, self.heard.len());
        let farthest = |seat: &Self| seat.habit.line() == ReadLine::Durable || seat.end >= visible;
        while self.heard.len() < lines + LINES_AFTER || !farthest(self) {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.take(line),
                Err(RecvTimeoutError::Disconnected) => return self.over(),
                Err(RecvTimeoutError::Timeout) => {
                    let last = &self.heard[self.heard.len().saturating_sub(5)..];
                    panic!("a reader ({:?}) hangs at {} of {visible}; it said last: {last:?}", self.habit, self.end);
                }
            }
        }
    }

    /// It says nothing any more.
    fn over(&self) {
        let last = self.heard.last();
        assert!(self.killed, "a reader ({:?}) ended by itself; it said last: {last:?}", self.habit);
    }

    fn take(&mut self, line: String) {
        let (what, numbers) = pipe::parse(&line);
        if let ("saw", [end, _]) = (what, &numbers[..]) {
            self.end = *end;
        }
        self.heard.push(line);
    }

    fn judge(&mut self, audience: &Audience, ends: Ends, known: u32, tally: &mut Tally) {
        let habit = self.habit;
        let end_max = if habit.line() == ReadLine::Durable { ends.durable } else { ends.visible };
        for line in std::mem::take(&mut self.heard) {
            let (what, numbers) = pipe::parse(&line);
            let judged = match (what, &numbers[..]) {
                ("quiet", []) => Ok(()),
                ("attached", &[epoch]) => {
                    assert!(
                        epoch >= self.epoch,
                        "a reader ({habit:?}) attached in epoch {epoch}, and in {} before",
                        self.epoch
                    );
                    (self.epoch, self.attached_since) = (epoch, true);
                    tally.attached += 1;
                    Ok(())
                }
                ("absent", []) => {
                    tally.absent += 1;
                    // What it said of the time before the first death may be heard after the second.
                    if known < 2 { Ok(()) } else { Err("there is no log".to_owned()) }
                }
                ("saw", &[end, digest]) => {
                    tally.sights += 1;
                    tally.durable_sights += u64::from(habit.line() == ReadLine::Durable);
                    audience.judge(Sight { end, digest }, end_max)
                }
                ("state", &[end, digest]) => {
                    tally.states += 1;
                    audience.judge_state(Moment { end, digest })
                }
                _ => Err(line.clone()),
            };
            assert_eq!(judged, Ok(()), "a reader ({habit:?}) said {line:?}, {ends:?}");
        }
        tally.followed += u64::from(!self.attached_since && self.end_before < self.end);
        (self.end_before, self.attached_since) = (self.end, false);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.killed {
            // Errors: it ended already.
            let _ended = (self.process.kill(), self.process.wait());
        }
    }
}
