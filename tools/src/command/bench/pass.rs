//! One pass: threads that make their calls at the same time, and how long that took.
//!
//! Guarantees:
//! 1. All threads begin the measured calls together, after each has made its first ones, which are not measured.
//! 2. The time of a pass is from the first beginning to the last end, taken by the threads themselves.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::latency::Clock;
use super::rate::Measured;
use super::work::{Share, Work, length};
use crate::failure::Failure;
use crate::progress::Progress;

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often in its pass a thread says how far it is.
const NOTES: u64 = 64;

/// Makes the calls of one thread.
pub(super) trait Caller: Send {
    type Clock: Clock;
    /// One call for so many events.
    fn call(&mut self, events: usize) -> Result<(), Failure>;
    /// Waits for what is still under way.
    fn settle(&mut self) -> Result<(), Failure>;
    /// The first calls are over: what was timed so far does not count.
    fn restart(&mut self);
    fn finish(self) -> Self::Clock;
}

/// What came out of a pass.
#[derive(Debug)]
pub(super) struct Outcome<C> {
    pub(super) measured: Measured,
    pub(super) clock: C,
}

/// The progress of a command that makes several passes.
#[derive(Debug)]
pub(super) struct Passes {
    progress: Progress,
    /// Bytes of the passes that are over.
    over: u64,
}

impl Passes {
    pub(super) fn new(bytes: u64) -> Self {
        Self { progress: Progress::new(Some(bytes)), over: 0 }
    }

    pub(super) fn at(&mut self, bytes: u64) {
        self.progress.at(self.over.saturating_add(bytes));
    }

    pub(super) fn pass_is_over(&mut self, bytes: u64) {
        self.over = self.over.saturating_add(bytes);
        self.at(0);
    }
}

/// Runs a thread for each caller, with its share of the work.
pub(super) fn run<K: Caller>(work: &Work, callers: Vec<K>, passes: &mut Passes) -> Result<Outcome<K::Clock>, Failure> {
    let shares = work.shares();
    let start = Barrier::new(callers.len());
    let done = AtomicU64::new(0);
    let stride = work.stride();
    let (tell, told) = mpsc::channel();
    let mut ends: Vec<Result<End<K::Clock>, Failure>> = Vec::with_capacity(callers.len());
    thread::scope(|scope| {
        for (caller, share) in callers.into_iter().zip(&shares) {
            let (tell, start, done) = (tell.clone(), &start, &done);
            // Nobody listens any more once the command failed.
            scope.spawn(move || drop(tell.send(one_thread(caller, *share, start, &|calls| note(done, calls)))));
        }
        drop(tell);
        loop {
            match told.recv_timeout(LOOK_EVERY) {
                Ok(end) => ends.push(end),
                // Relaxed: a count for a progress bar.
                Err(RecvTimeoutError::Timeout) => passes.at(done.load(Ordering::Relaxed).saturating_mul(stride)),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    passes.pass_is_over(work.log_bytes());
    let mut clock = K::Clock::new();
    let mut span: Option<(Instant, Instant)> = None;
    for end in ends {
        let end = end?;
        clock.merge(&end.clock);
        let (began, ended) = span.unwrap_or((end.began, end.ended));
        span = Some((began.min(end.began), ended.max(end.ended)));
    }
    let elapsed = span.map_or(Duration::ZERO, |(began, ended)| ended.saturating_duration_since(began));
    let count = shares.iter().map(Share::measured_events).sum();
    Ok(Outcome { measured: Measured { count, elapsed }, clock })
}

fn note(done: &AtomicU64, calls: u64) {
    // Relaxed: a count for a progress bar.
    done.fetch_add(calls, Ordering::Relaxed);
}

/// How one thread came to its end.
struct End<C> {
    began: Instant,
    ended: Instant,
    clock: C,
}

fn one_thread<K: Caller>(
    mut caller: K,
    share: Share,
    start: &Barrier,
    note: &dyn Fn(u64),
) -> Result<End<K::Clock>, Failure> {
    let first = calls(&mut caller, &share, 0..share.first_calls, note);
    caller.restart();
    // Also after a failure: the others wait here.
    start.wait();
    first?;
    let began = Instant::now();
    calls(&mut caller, &share, share.first_calls..share.calls, note)?;
    let ended = Instant::now();
    Ok(End { began, ended, clock: caller.finish() })
}

fn calls<K: Caller>(
    caller: &mut K,
    share: &Share,
    calls: std::ops::Range<u64>,
    note: &dyn Fn(u64),
) -> Result<(), Failure> {
    let step = (share.calls / NOTES).max(1);
    let mut next = calls.start;
    while next < calls.end {
        let end = next.saturating_add(step).min(calls.end);
        for call in next..end {
            caller.call(share.events(call))?;
        }
        note(end - next);
        next = end;
    }
    caller.settle()
}

/// Of a log that does not hold what was appended, nothing else may be said.
pub(super) fn check_count(log: &esker::Log, work: &Work) -> Result<(), Failure> {
    let held = log.visible().get();
    if held == work.events {
        return Ok(());
    }
    Err(Failure::Damage(format!(
        "the log holds {held} events, and {} were appended; keep it with --dir and run 'esker verify'",
        work.events
    )))
}

/// As many as the work has threads.
pub(super) fn each<K>(work: &Work, make: impl FnMut(u64) -> Result<K, Failure>) -> Result<Vec<K>, Failure> {
    (0..length(work.threads)).map(make).collect()
}
