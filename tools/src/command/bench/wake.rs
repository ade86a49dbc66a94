//! `esker bench wake`: how long after an append begins a waiting reader has the record, beside a bare hand-over.
//!
//! Guarantees:
//! 1. One event at a time: the next is appended only after the reader had the one before and has had time to wait again.
//! 2. Engine and bare hand-over take turns, on the same two threads' worth of work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use esker::{Log, Options, Reader};
use serde_json::Value;

use super::filling::close;
use super::latency::{Clock, Latencies, nanoseconds};
use super::pass::Passes;
use super::report::Report;
use super::scratch::Scratch;
use super::work::{EVENTS_MAX, Work};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Align, Ink, Output};

const EVENTS_DEFAULT: u64 = 6000;
const EVENT_BYTES: u64 = 100;
const ROUNDS: u64 = 3;
/// So long the writer sleeps before each event to a blocked reader, for which some microseconds would do to block.
const REST: Duration = Duration::from_micros(150);
/// So long it stays awake then, as a writer that has something to do.
const AWAKE: Duration = Duration::from_micros(20);
/// A reader that gets nothing for so long never will.
const PATIENCE: Duration = Duration::from_secs(60);
const COLUMNS: [(&str, Align); 5] = [
    ("reader", Align::Left),
    ("p50", Align::Right),
    ("p99", Align::Right),
    ("p99.9", Align::Right),
    ("max", Align::Right),
];
const JSON_HELP: &str = "Print one JSON object with the keys of 'bench append', then limit_p50_ns limit_p99_ns \
    limit_p999_ns limit_max_ns spin_p50_ns spin_p99_ns spin_p999_ns spin_max_ns spin_limit_p50_ns spin_limit_p99_ns \
    spin_limit_p999_ns spin_limit_max_ns. p50_ns to max_ns are those of the blocked reader; rates, ratio, threads, \
    durability and in_flight are null";

/// Measure how soon a waiting reader has what was appended
///
/// From before the append to the reader having the record, one event of 100 bytes at a time: to a reader that is blocked in
/// `poll_wait`, and to one that calls `poll` in a loop. To the first the writer sleeps 150 us before each event, so that the
/// reader is blocked, and is awake for 20 us before it appends.
///
/// The limit rows: the same number handed over by a mutex and a condition variable, and by one atomic word.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Events for each of the two readers
    #[arg(long, value_name = "N", default_value_t = EVENTS_DEFAULT, value_parser = clap::value_parser!(u64).range(1..=EVENTS_MAX))]
    events: u64,
    #[arg(long, help = JSON_HELP)]
    json: bool,
}

/// How the reader waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Blocked,
    Spinning,
}

/// What became of the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taker {
    Waits,
    /// It failed.
    Gone,
}

/// One way to hand a number to another thread that waits for it.
trait HandOver: Sync {
    fn give(&self, number: u64) -> Result<(), Failure>;
    /// Waits for the next number, once it was given.
    fn take(&self, turn: u64, taker: &mut Option<Reader>) -> Result<u64, Failure>;
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let work = Work::new(Some(arguments.events), EVENT_BYTES, 1, 1)?;
    let scratch = Scratch::new(None)?;
    let mut passes = Passes::new(work.log_bytes().saturating_mul(4));
    let mut rows = [(); 4].map(|()| Latencies::new());
    for round in 0..ROUNDS {
        let events = work.events / ROUNDS + u64::from(round < work.events % ROUNDS);
        let part = Work { events, ..work };
        let log = interrupt::open(&Options::new(), scratch.pass())?;
        let done = one_round(&log, &part, &mut rows, &mut passes);
        close(log)?;
        done?;
        scratch.clear()?;
    }
    print(arguments, &work, &rows, output)
}

/// In turns: bare and engine to a blocked reader, bare and engine to a spinning one.
fn one_round(log: &Log, part: &Work, rows: &mut [Latencies; 4], passes: &mut Passes) -> Result<(), Failure> {
    let [bare_blocked, blocked, bare_spinning, spinning] = rows;
    let slot = Slot::default();
    hand_over(&slot, None, Waiting::Blocked, part, bare_blocked, passes)?;
    let payload = part.payload();
    let appends = |waiting| Appends { log, payload: &payload, waiting };
    hand_over(&appends(Waiting::Blocked), Some(log.reader()), Waiting::Blocked, part, blocked, passes)?;
    hand_over(&AtomicU64::new(0), None, Waiting::Spinning, part, bare_spinning, passes)?;
    let mut reader = log.reader();
    reader.seek_latest();
    hand_over(&appends(Waiting::Spinning), Some(reader), Waiting::Spinning, part, spinning, passes)
}

/// Hands over one number an event: the nanoseconds since this pass began.
fn hand_over(
    way: &impl HandOver,
    mut reader: Option<Reader>,
    waiting: Waiting,
    part: &Work,
    latencies: &mut Latencies,
    passes: &mut Passes,
) -> Result<(), Failure> {
    let began = Instant::now();
    // Events that the reader has had; Release by the reader, pairs with the Acquire in `pause`.
    let had = AtomicU64::new(0);
    let taken = thread::scope(|scope| {
        let taking = scope.spawn(|| {
            let mut taken = Latencies::new();
            for turn in 1..=part.events {
                let outcome = way.take(turn, &mut reader);
                let now = nanoseconds(began.elapsed());
                match outcome {
                    Ok(given) => taken.record(Duration::from_nanos(now.saturating_sub(given))),
                    Err(failure) => {
                        had.store(u64::MAX, Ordering::Release);
                        return Err(failure);
                    }
                }
                had.store(turn, Ordering::Release);
            }
            Ok(taken)
        });
        let mut given = Ok(());
        for turn in 0..part.events {
            if pause(&had, turn, waiting) == Taker::Gone {
                break;
            }
            given = way.give(nanoseconds(began.elapsed()).max(1));
            if given.is_err() {
                break;
            }
            passes.at(turn.saturating_mul(part.stride()));
        }
        let taken = taking.join().unwrap_or_else(|_| Err(Failure::Input("a reader panicked; report this".to_owned())));
        given.and(taken)
    })?;
    passes.pass_is_over(part.log_bytes());
    latencies.merge(&taken);
    Ok(())
}

/// Until the reader has had `turn` events and waits again.
fn pause(had: &AtomicU64, turn: u64, waiting: Waiting) -> Taker {
    while had.load(Ordering::Acquire) < turn {
        thread::yield_now();
    }
    if waiting == Waiting::Blocked {
        thread::sleep(REST);
    }
    let since = Instant::now();
    while since.elapsed() < AWAKE {
        std::hint::spin_loop();
    }
    if had.load(Ordering::Acquire) == u64::MAX { Taker::Gone } else { Taker::Waits }
}

/// Through the log: the number stands in the first bytes of the payload.
struct Appends<'a> {
    log: &'a Log,
    payload: &'a [u8],
    waiting: Waiting,
}

impl HandOver for Appends<'_> {
    fn give(&self, number: u64) -> Result<(), Failure> {
        let rest = self.payload.get(8..).unwrap_or_default();
        let pieces: [&[u8]; 2] = [&number.to_le_bytes(), rest];
        let _visible_is_enough = self.log.append(esker::Record::gather(&pieces))?;
        Ok(())
    }

    fn take(&self, _turn: u64, taker: &mut Option<Reader>) -> Result<u64, Failure> {
        let Some(reader) = taker else { return Err(nothing_came()) };
        let batch = match self.waiting {
            Waiting::Blocked => reader.poll_wait(PATIENCE)?,
            Waiting::Spinning => spin(|| Ok(reader.poll()?))?,
        };
        let first = batch.as_ref().and_then(|batch| batch.iter().next());
        let stamp = first.and_then(|record| record.payload().first_chunk().copied()).ok_or_else(nothing_came)?;
        Ok(u64::from_le_bytes(stamp))
    }
}

/// By a mutex and a condition variable: what a blocked reader costs at least.
#[derive(Default)]
struct Slot {
    number: Mutex<Option<u64>>,
    given: Condvar,
}

impl HandOver for Slot {
    fn give(&self, number: u64) -> Result<(), Failure> {
        *self.number.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
        self.given.notify_one();
        Ok(())
    }

    fn take(&self, _turn: u64, _taker: &mut Option<Reader>) -> Result<u64, Failure> {
        let mut number = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match number.take() {
                Some(number) => return Ok(number),
                None => number = self.given.wait(number).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// By one word: what a spinning reader costs at least. Release by the writer, pairs with the Acquire of the reader.
impl HandOver for AtomicU64 {
    fn give(&self, number: u64) -> Result<(), Failure> {
        self.store(number, Ordering::Release);
        Ok(())
    }

    fn take(&self, _turn: u64, _taker: &mut Option<Reader>) -> Result<u64, Failure> {
        // Nobody gives before this was taken and told, so zero is overwritten by nobody else.
        let number = spin(|| Ok(Some(self.load(Ordering::Acquire)).filter(|number| *number > 0)))?;
        self.store(0, Ordering::Relaxed);
        number.ok_or_else(nothing_came)
    }
}

/// Asks again and again; now and then it looks at the clock, and lets others run.
fn spin<T>(mut ask: impl FnMut() -> Result<Option<T>, Failure>) -> Result<Option<T>, Failure> {
    const ASKS: u32 = 100_000;
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        for _ in 0..ASKS {
            if let Some(found) = ask()? {
                return Ok(Some(found));
            }
            std::hint::spin_loop();
        }
        thread::yield_now();
    }
    Ok(None)
}

fn nothing_came() -> Failure {
    Failure::Damage("an event was appended, and the reader did not get it in a minute; report this".to_owned())
}

fn print(arguments: &Arguments, work: &Work, rows: &[Latencies; 4], output: &mut Output) -> Result<(), Failure> {
    let [bare_blocked, blocked, bare_spinning, spinning] = rows;
    if arguments.json {
        let report = Report { bench: "wake", latencies: Some(blocked), ..Report::default() };
        let names = ["limit", "spin", "spin_limit"];
        let mut own: Vec<(String, Value)> = Vec::new();
        for (name, row) in names.iter().zip([bare_blocked, spinning, bare_spinning]) {
            let keys = ["p50", "p99", "p999", "max"].map(|figure| format!("{name}_{figure}_ns"));
            own.extend(keys.into_iter().zip(row.json()));
        }
        let own: Vec<(&str, Value)> = own.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        return output.json(&report.json(work, &own));
    }
    let row = |name: &str, latencies: &Latencies| {
        let mut row = vec![name.to_owned()];
        row.extend(latencies.cells());
        row
    };
    output.line(format!("{} events of {} bytes to each reader; {ROUNDS} rounds", work.events, work.size))?;
    let table = vec![
        row("blocked in poll_wait", blocked),
        row("bare condition variable", bare_blocked),
        row("spinning on poll", spinning),
        row("bare atomic word", bare_spinning),
    ];
    output.table(&COLUMNS, table)?;
    for (name, latencies) in [("blocked in poll_wait", blocked), ("spinning on poll", spinning)] {
        output.line("")?;
        output.line(output.inks().paint(Ink::Heading, &format!("append to record, {name}")))?;
        latencies.draw(output.columns()).iter().try_for_each(|line| output.line(line))?;
    }
    Ok(())
}
