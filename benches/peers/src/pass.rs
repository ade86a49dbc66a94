//! One pass of one engine over one workload: what runs in a process of its own.
//!
//! Guarantees:
//! 1. A pass ends with its events or with its time, whichever comes first; it says how many events it appended.
//! 2. Every pass scans the log at its end, and fails unless the scan met exactly what was appended.
//! 3. Time is counted from the moment when all threads stand ready to the return of the last call. Opening, making the
//!    threads, the check and closing are not in it; what opening wrote is on disk before it begins.

use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::engine::{Durability, Engine, Writer};
use crate::tally::{Pool, Tally, length};
use crate::workload::Workload;

/// Calls between two looks at the clock, where a call is too short to look each time.
const CALLS_A_LOOK: u64 = 64;
/// Events of a call that fills a log to be read.
const FILL_BATCH: usize = 100;

/// What a pass is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    pub engine: String,
    pub workload: Workload,
    /// Payload bytes of an event.
    pub size: usize,
    pub events_max: u64,
    pub time_max: Duration,
    /// An empty folder.
    pub folder: PathBuf,
}

/// What a pass did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    pub events: u64,
    pub calls: u64,
    /// Of the appends, or of the scan.
    pub elapsed: Duration,
    /// Of opening a log that was closed; of a pass that reads.
    pub reopening: Option<Duration>,
}

pub fn run<E: Engine>(order: &Order) -> Result<Outcome> {
    match order.workload {
        Workload::Read => read::<E>(order),
        Workload::Append { .. } => append::<E>(order),
    }
    .with_context(|| format!("{}, {}, {} bytes an event", E::NAME, order.workload.name(), order.size))
}

fn append<E: Engine>(order: &Order) -> Result<Outcome> {
    let pool = Pool::new(order.size);
    let mut log = E::open(&order.folder, order.workload.durability())?;
    settle(&order.folder)?;
    let mut appended = Tally::default();
    let outcome = fill(&log, &pool, order, &mut appended)?;
    check(&mut log, &appended)?;
    log.close()?;
    Ok(outcome)
}

fn read<E: Engine>(order: &Order) -> Result<Outcome> {
    let pool = Pool::new(order.size);
    let durability =
        if E::MODES == crate::engine::Modes::DurableOnly { Durability::Durable } else { Durability::Visible };
    let log = E::open(&order.folder, durability)?;
    settle(&order.folder)?;
    let mut appended = Tally::default();
    let filled = fill(&log, &pool, order, &mut appended)?;
    log.close()?;
    settle(&order.folder)?;
    let since = Instant::now();
    let mut log = E::open(&order.folder, durability)?;
    let reopening = since.elapsed();
    let since = Instant::now();
    check(&mut log, &appended)?;
    let elapsed = since.elapsed();
    log.close()?;
    Ok(Outcome { elapsed, reopening: Some(reopening), ..filled })
}

fn check<E: Engine>(log: &mut E, appended: &Tally) -> Result<()> {
    let mut met = Tally::default();
    log.scan(&mut met)?;
    met.must_be(appended)
}

/// Waits until what is dirty in the file system of this folder is on disk, so that it disturbs no measuring.
pub fn settle(folder: &Path) -> Result<()> {
    let file = std::fs::File::open(folder)?;
    rustix::fs::syncfs(&file).with_context(|| format!("{}: sync the file system", folder.display()))
}

/// Appends in the threads and calls of the workload.
fn fill<E: Engine>(log: &E, pool: &Pool, order: &Order, appended: &mut Tally) -> Result<Outcome> {
    let (batch, threads) = match order.workload {
        Workload::Append { batch, threads, .. } => (batch, threads),
        Workload::Read => (FILL_BATCH, 1),
    };
    let calls = (order.events_max / length(batch) / threads).max(1);
    let ready = Barrier::new(crate::tally::index(threads) + 1);
    let looks = if order.workload.durability() == Durability::Durable { 1 } else { CALLS_A_LOOK };
    let (elapsed, done) = thread::scope(|scope| {
        let appending = |thread| {
            let (ready, events) = (&ready, pool.events());
            move || {
                let writer = log.writer(thread);
                ready.wait();
                Appending { writer: writer?, batch, calls, looks, time_max: order.time_max }.run(&events)
            }
        };
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(appending(thread))).collect();
        ready.wait();
        let since = Instant::now();
        let done: Vec<Result<u64>> = handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|_panic| Err(anyhow!("a thread of the pass panicked"))))
            .collect();
        (since.elapsed(), done)
    });
    let mut outcome = Outcome { events: 0, calls: 0, elapsed, reopening: None };
    for calls in done {
        let calls = calls?;
        let events = calls * length(batch);
        pool.count(events, appended);
        outcome.calls += calls;
        outcome.events += events;
    }
    Ok(outcome)
}

/// The calls of one thread.
struct Appending<W> {
    writer: W,
    batch: usize,
    calls: u64,
    /// Calls between two looks at the clock.
    looks: u64,
    time_max: Duration,
}

impl<W: Writer> Appending<W> {
    /// Makes the calls and says how many.
    fn run(mut self, events: &[&[u8]]) -> Result<u64> {
        let since = Instant::now();
        let mut turn = events.chunks_exact(self.batch).cycle();
        for call in 0..self.calls {
            if call % self.looks == 0 && since.elapsed() > self.time_max {
                return Ok(call);
            }
            self.writer.append(turn.next().unwrap_or(events))?;
        }
        Ok(self.calls)
    }
}
