//! One life of a writer process: what it does, how it is killed, and what it had said by then.
//!
//! Guarantees:
//! 1. What the writer says, it says after the fact, in one system call a line: a line that arrived is true, and a thread
//!    that did not get its line out has not gone on.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use esker::{Ending, Log};

use super::consumer;
use super::plan::{Dice, LastAct, Run};

pub(super) const FOLDER_VARIABLE: &str = "ESKER_KILL_FOLDER";
pub(super) const SEED_VARIABLE: &str = "ESKER_KILL_SEED";
/// No line begins so by chance: the test harness writes to the same pipe.
const PREFIX: &str = "!esker ";
/// How an open can find a log, as numbers.
const ENDINGS: [Ending; 4] = [Ending::Created, Ending::Clean, Ending::Unclean, Ending::Torn];
/// Nothing that a writer does takes so long.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// What the writer process does until it is killed.
pub(super) fn live(folder: &Path, seed: u64) {
    let run = Run::of(seed);
    let pipe: File = std::io::stdout().as_fd().try_clone_to_owned().expect("a second handle of stdout").into();
    let say = |words: &str| (&pipe).write_all(format!("{PREFIX}{words}\n").as_bytes()).expect("the parent listens");
    (&pipe).write_all(b"\n").expect("the parent listens");
    let log = match run.options.open(folder) {
        Ok(log) => log,
        Err(error) => return say(&format!("error open: {error}")),
    };
    let report = log.recovery();
    let ending = ENDINGS.iter().position(|ending| *ending == report.ending).expect("one of those");
    say(&format!("open {} {} {ending}", report.epoch.counter, report.end.offset));
    let producing = AtomicU64::new(run.threads);
    thread::scope(|scope| {
        for number in 0..run.threads {
            let (run, log, say, producing) = (&run, &log, &say, &producing);
            scope.spawn(move || {
                write(run, number, log, say);
                // Release; pairs with the Acquire of the consumer.
                producing.fetch_sub(1, Ordering::Release);
            });
        }
        scope.spawn(|| consumer::consume(&run, &log, &producing, &say));
    });
    match run.last_act {
        LastAct::Stay => say("done"),
        LastAct::Close => match log.close() {
            Ok(()) => return say("closed"),
            Err(error) => return say(&format!("error close: {error}")),
        },
    }
    loop {
        thread::park();
    }
}

fn write(run: &Run, thread: u64, log: &Log, say: &impl Fn(&str)) {
    let mut dice = Dice::new(run.seed ^ (thread << 32));
    let frames = usize::try_from(run.frames).expect("few");
    for (index, samples) in (0..).zip(run.plan(thread).take(frames)) {
        let headers: Vec<_> = samples.iter().map(super::plan::Sample::headers).collect();
        let records: Vec<_> = samples.iter().zip(&headers).map(|(sample, headers)| sample.record(headers)).collect();
        let ticket = match consumer::producer_commit(log, run, thread, index, &records) {
            Ok(ticket) => ticket,
            Err(error) => return say(&format!("error append: {error}")),
        };
        let offsets = ticket.offsets();
        say(&format!("visible {thread} {} {}", offsets.start, offsets.end));
        if dice.below(run.waits) == 0 {
            match ticket.wait() {
                Ok(()) => say(&format!("durable {}", offsets.end)),
                Err(error) => return say(&format!("error wait: {error}")),
            }
        }
    }
}

/// A frame whose append returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Visible {
    pub(super) thread: u64,
    pub(super) first: u64,
    pub(super) next: u64,
}

/// What the writer's open found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) epoch: u64,
    pub(super) end: u64,
    pub(super) ending: Ending,
}

/// All that a writer said before it died.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) opened: Option<Opened>,
    pub(super) visible: Vec<Visible>,
    /// Highest offset behind a record that was reported durable.
    pub(super) durable: u64,
    pub(super) durable_reports: u64,
    /// Highest offset to which the consumer reported that it moved, and how often it did.
    pub(super) moved: u64,
    pub(super) moves: u64,
    pub(super) done: bool,
    pub(super) closed: bool,
    pub(super) errors: Vec<String>,
}

impl Account {
    fn hear(&mut self, line: &str) {
        let Some(words) = line.strip_prefix(PREFIX) else { return };
        let mut words = words.splitn(2, ' ');
        let (what, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let numbers: Vec<u64> = rest.split(' ').filter_map(|number| number.parse().ok()).collect();
        match (what, numbers[..].as_ref()) {
            ("open", &[epoch, end, ending]) => {
                self.opened = Some(Opened { epoch, end, ending: ENDINGS[super::plan::usize_of(ending)] });
            }
            ("visible", &[thread, first, next]) => self.visible.push(Visible { thread, first, next }),
            ("durable", &[next]) => {
                self.durable = self.durable.max(next);
                self.durable_reports += 1;
            }
            ("moved", &[next]) => {
                self.moved = self.moved.max(next);
                self.moves += 1;
            }
            ("done", []) => self.done = true,
            ("closed", []) => self.closed = true,
            _ => self.errors.push(line.to_owned()),
        }
    }

    fn is_over(&self) -> bool {
        self.done || self.closed || !self.errors.is_empty()
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
            0 | 1 => Self::Started(Duration::from_micros(dice.below(25_000))),
            2..=4 => Self::Opened(Duration::from_micros(dice.below(25_000))),
            5 => Self::Worked(Duration::from_micros(dice.below(3_000))),
            _ => Self::Lines(1 + super::plan::usize_of(dice.below(120))),
        }
    }
}

/// Starts a writer, kills it, and returns what it had said.
pub(super) fn kill_one(folder: &Path, run: &Run, moment: Moment) -> Account {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .args(["--exact", "kill::child", "--nocapture"])
        .env(FOLDER_VARIABLE, folder)
        .env(SEED_VARIABLE, run.seed.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let pipe = child.stdout.take().expect("a pipe");
    let (sender, lines) = mpsc::channel();
    let listener = thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut account = Account::default();
    listen_until(&lines, run, moment, &mut account);
    kill(&mut child);
    // What it had written before it died is still in the pipe.
    for line in lines {
        account.hear(&line);
    }
    listener.join().expect("the pipe was read");
    account
}

fn listen_until(lines: &Receiver<String>, run: &Run, moment: Moment, account: &mut Account) {
    let started = Instant::now();
    let (mut opened, mut worked) = (None, None);
    let frames = super::plan::usize_of(run.frames * run.threads);
    loop {
        let lines_heard = account.visible.len() + super::plan::usize_of(account.durable_reports);
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
