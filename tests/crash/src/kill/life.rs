//! One life of a writer process, as its parent knows it: how it is killed, and what it had said by then.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use esker::{Ending, Epoch, Place};
use harness::Dice;

use super::pipe;
use super::plan::{Run, usize_of};
use super::writer::ENDINGS;

/// Nothing that a writer does takes so long.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// A frame whose append returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Visible {
    pub(super) thread: u64,
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) place: Place,
}

/// A commit of the consumer, and where it stands if it returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    /// To where its cursor moves.
    pub(super) next: u64,
    pub(super) visible: Option<(u64, Place)>,
}

/// What the writer's open found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) epoch: Epoch,
    pub(super) end: u64,
    pub(super) ending: Ending,
    pub(super) place: Place,
}

/// All that a writer said before it died.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) opened: Option<Opened>,
    pub(super) visible: Vec<Visible>,
    /// The places that were reported durable.
    pub(super) durable: Vec<Place>,
    /// What the consumer did, in its order.
    pub(super) moves: Vec<Move>,
    pub(super) done: bool,
    pub(super) closed: bool,
    pub(super) errors: Vec<String>,
}

impl Account {
    fn hear(&mut self, line: &str) {
        let (what, numbers) = pipe::parse(line);
        match (what, numbers[..].as_ref()) {
            ("open", &[counter, word, end, ending, segment, position]) => {
                let (epoch, ending) = (Epoch { counter, word }, ENDINGS[usize_of(ending)]);
                self.opened = Some(Opened { epoch, end, ending, place: Place { segment, position } });
            }
            ("visible", &[thread, first, next, segment, position]) => {
                self.visible.push(Visible { thread, first, next, place: Place { segment, position } });
            }
            ("durable", &[_, segment, position]) => self.durable.push(Place { segment, position }),
            ("moving", &[next]) => self.moves.push(Move { next, visible: None }),
            ("moved", &[first, segment, position]) => {
                let moving = self.moves.last_mut().expect("it said so before it began");
                moving.visible = Some((first, Place { segment, position }));
            }
            ("done", []) => self.done = true,
            ("closed", []) => self.closed = true,
            _ => self.errors.push(line.to_owned()),
        }
    }

    fn is_over(&self) -> bool {
        self.done || self.closed || !self.errors.is_empty()
    }

    /// Records that were reported visible.
    pub(super) fn records(&self) -> u64 {
        self.visible.iter().map(|frame| frame.next - frame.first).sum()
    }

    /// Commits of the consumer that were reported.
    pub(super) fn moved(&self) -> impl Iterator<Item = &Move> {
        self.moves.iter().filter(|moving| moving.visible.is_some())
    }
}

/// When to kill.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moment {
    /// So many lines after the open; at the end of its work if that comes before.
    Lines(usize),
    /// So long after it was started.
    Started(Duration),
    /// So long after it said that it opened the log.
    Opened(Duration),
    /// So long after it appended its last frame: while it closes.
    Worked(Duration),
}

impl Moment {
    pub(super) fn random(dice: &mut Dice) -> Self {
        match dice.below(8) {
            // While it recovers.
            0 => Self::Started(Duration::from_micros(dice.below(6_000))),
            1 => Self::Started(Duration::from_micros(dice.below(25_000))),
            2..=4 => Self::Opened(Duration::from_micros(dice.below(25_000))),
            5 => Self::Worked(Duration::from_micros(dice.below(6_000))),
            _ => Self::Lines(1 + usize_of(dice.below(120))),
        }
    }
}

/// Starts a writer, kills it, and returns what it had said.
pub(super) fn kill_one(folder: &Path, run: &Run, moment: Moment) -> Account {
    let seed = run.seed.to_string();
    let (mut child, lines) = pipe::start(&[OsStr::new("writer"), folder.as_os_str(), OsStr::new(&seed)]);
    let mut account = Account::default();
    listen_until(&lines, run, moment, &mut account);
    kill(&mut child);
    // What it had written before it died is still in the pipe.
    for line in lines {
        account.hear(&line);
    }
    account
}

fn listen_until(lines: &Receiver<String>, run: &Run, moment: Moment, account: &mut Account) {
    let started = Instant::now();
    let (mut opened, mut worked) = (None, None);
    let frames = usize_of(run.frames * run.threads);
    loop {
        let lines_heard = account.visible.len() + account.durable.len();
        let deadline = match moment {
            Moment::Lines(count) if lines_heard >= count => return,
            Moment::Lines(_) => None,
            Moment::Started(after) => Some(started + after),
            Moment::Opened(after) => opened.map(|opened: Instant| opened + after),
            Moment::Worked(after) => worked.map(|worked: Instant| worked + after),
        };
        let deadline = deadline.unwrap_or(started + LIFE_MAX);
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => account.hear(&line),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                assert!(started.elapsed() < LIFE_MAX, "the writer hangs: {account:?}");
                return;
            }
        }
        if account.is_over() {
            return;
        }
        let now = Instant::now();
        opened = opened.or_else(|| account.opened.map(|_| now));
        worked = worked.or_else(|| (account.visible.len() == frames).then_some(now));
    }
}

fn kill(child: &mut Child) {
    child.kill().expect("kills");
    let status = child.wait().expect("is reaped");
    // It may have closed the log and ended before the signal came.
    assert!(status.code().is_none_or(|code| code == 0), "the writer failed: {status}");
}
