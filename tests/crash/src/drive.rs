//! Numbered runs on several threads, until the time or the numbers are over, or one of them fails.
//!
//! Guarantees:
//! 1. Numbers are taken in order: the lowest are done, however long it took.
//! 2. The first failure stops all; what it is goes to stdout, with how to run it again.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use harness::crash::Totals;

/// Between two lines that say how far it is.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Which runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) first: u64,
    /// Behind the last.
    pub(crate) end: Option<u64>,
    /// None is begun after so long.
    pub(crate) time: Option<Duration>,
    pub(crate) threads: u64,
}

struct Progress {
    next: AtomicU64,
    failed: AtomicBool,
    totals: Mutex<Totals>,
}

impl Progress {
    fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs them; `run` says what was done, and what failed.
pub(crate) fn drive(range: Range, run: &(dyn Fn(u64) -> (Totals, Option<String>) + Sync)) -> ExitCode {
    let progress =
        Progress { next: AtomicU64::new(range.first), failed: AtomicBool::new(false), totals: Mutex::default() };
    let started = Instant::now();
    thread::scope(|scope| {
        // Nothing is sent: it is closed when the last thread is over, also by a panic.
        let (open, over) = mpsc::channel::<()>();
        for _ in 0..range.threads {
            let (open, progress) = (open.clone(), &progress);
            scope.spawn(move || {
                work(range, started, progress, run);
                drop(open);
            });
        }
        drop(open);
        say(&progress, started, &over);
    });
    let totals = *progress.totals();
    let seconds = started.elapsed().as_secs_f64();
    let images = f64::from(u32::try_from(totals.images).unwrap_or(u32::MAX));
    println!("{totals}");
    println!("{seconds:.1} s, {:.0} images a second on {} threads", images / seconds, range.threads);
    if progress.failed.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn work(range: Range, started: Instant, progress: &Progress, run: &dyn Fn(u64) -> (Totals, Option<String>)) {
    // Relaxed, as all here: counts, and a word to stop.
    while !progress.failed.load(Ordering::Relaxed) {
        let number = progress.next.fetch_add(1, Ordering::Relaxed);
        if range.end.is_some_and(|end| number >= end) || range.time.is_some_and(|time| started.elapsed() >= time) {
            return;
        }
        let (totals, failure) = run(number);
        progress.totals().add(&totals);
        if let Some(failure) = failure {
            println!("{failure}");
            progress.failed.store(true, Ordering::Relaxed);
        }
    }
}

fn say(progress: &Progress, started: Instant, over: &Receiver<()>) {
    while over.recv_timeout(LINE_EVERY) == Err(RecvTimeoutError::Timeout) {
        let (images, next) = (progress.totals().images, progress.next.load(Ordering::Relaxed));
        eprintln!("{:.0} s: {images} images, run {next}", started.elapsed().as_secs_f64());
    }
}
