//! Power loss on a simulated disk, by seeds.
//!
//! Guarantees:
//! 1. Each seed is one plan; the threads take them in order, so that the lowest seeds are done whatever the time.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use harness::crash::{self, Tempo, Totals};

/// Between two lines that say how far it is.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Lose power, or the process, at random moments of random lives of a log
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run for so long
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// The first seed; the others count up from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run so many seeds, however long it takes
    #[arg(long)]
    seeds: Option<u64>,
    /// Threads
    #[arg(long, default_value_t = 1)]
    threads: u64,
    /// Take an image at one event in so many
    #[arg(long, default_value_t = 2)]
    every: u64,
    /// Run only this seed, and of its plan only these operations
    #[arg(long, value_delimiter = ',')]
    only: Option<Vec<usize>>,
}

struct Progress {
    next: AtomicU64,
    failed: AtomicBool,
    totals: Mutex<Totals>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let tempo = Tempo::OneIn(arguments.every);
    if let Some(only) = &arguments.only {
        let (plan, outcome) = crash::replay(arguments.seed, Some(only), tempo);
        println!("{plan}\n{}\ntrace {:016x}", outcome.totals, outcome.trace);
        return match outcome.violation {
            Some(violation) => {
                println!("violation: {violation}");
                ExitCode::FAILURE
            }
            None => ExitCode::SUCCESS,
        };
    }
    let progress = Progress {
        next: AtomicU64::new(arguments.seed),
        failed: AtomicBool::new(false),
        totals: Mutex::default(),
    };
    let end = arguments.seeds.map(|seeds| arguments.seed.saturating_add(seeds));
    let started = Instant::now();
    let deadline = started + Duration::from_secs_f64(arguments.minutes * 60.0);
    thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| live(&progress, tempo, end, deadline));
        }
        report(&progress, started, end, deadline);
    });
    let failed = progress.failed.load(Ordering::Relaxed);
    print_totals(&progress, started, arguments.threads);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn live(progress: &Progress, tempo: Tempo, end: Option<u64>, deadline: Instant) {
    // Relaxed: counts, and a word to stop.
    while !progress.failed.load(Ordering::Relaxed) {
        let seed = progress.next.fetch_add(1, Ordering::Relaxed);
        if end.map_or_else(|| Instant::now() >= deadline, |end| seed >= end) {
            return;
        }
        let (_, outcome) = crash::replay(seed, None, tempo);
        progress.totals.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome.totals);
        if outcome.violation.is_some() {
            progress.failed.store(true, Ordering::Relaxed);
            match crash::shrink(seed, tempo) {
                Some(failure) => println!("{failure}"),
                None => println!("seed {seed} failed once, and not again: {:?}", outcome.violation),
            }
        }
    }
}

fn report(progress: &Progress, started: Instant, end: Option<u64>, deadline: Instant) {
    let mut next_line = Instant::now() + LINE_EVERY;
    loop {
        thread::sleep(Duration::from_millis(50));
        let next = progress.next.load(Ordering::Relaxed);
        let over = end.map_or_else(|| Instant::now() >= deadline, |end| next >= end);
        if over || progress.failed.load(Ordering::Relaxed) {
            return;
        }
        if Instant::now() >= next_line {
            let images = progress.totals.lock().unwrap_or_else(PoisonError::into_inner).images;
            eprintln!("{:.0} s: {images} images, seed {next}", started.elapsed().as_secs_f64());
            next_line += LINE_EVERY;
        }
    }
}

fn print_totals(progress: &Progress, started: Instant, threads: u64) {
    let totals = *progress.totals.lock().unwrap_or_else(PoisonError::into_inner);
    let seconds = started.elapsed().as_secs_f64();
    // Lossless below 2^53.
    let images = f64::from(u32::try_from(totals.images).unwrap_or(u32::MAX));
    println!("{totals}");
    println!("{seconds:.1} s, {:.0} images a second, on {threads} threads", images / seconds);
}
