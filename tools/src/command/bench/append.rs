//! `esker bench append`: how fast events go in, beside a bare loop that stores the same bytes.
//!
//! Guarantees:
//! 1. Engine and bare loop take turns in every round; rates are medians of the rounds, and so is the ratio of each round.
//! 2. The log that is left in a directory that was given holds exactly the events asked for.

use std::path::PathBuf;

use esker::{Options, Record, Stats};

use super::engine::{Appending, Durability};
use super::latency::{Clock, Latencies, Untimed, nanoseconds};
use super::limit;
use super::pass::{self, Outcome, Passes, each};
use super::pipeline::Pipelined;
use super::rate::{Measured, bytes_per_second, median, per_second, ratio, ratio_text, real, span};
use super::report::Report;
use super::scratch::Scratch;
use super::work::{BATCH_MAX, EVENTS_MAX, SIZE_MAX, THREADS_MAX, Work};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Align, Output};

const IN_FLIGHT_MAX: i64 = 65_536;
/// Syncs that a durable pass does unless told otherwise.
const SYNCS_DEFAULT: u64 = 1000;
const COLUMNS: [(&str, Align); 7] = [
    ("", Align::Left),
    ("events", Align::Right),
    ("payload", Align::Right),
    ("p50", Align::Right),
    ("p99", Align::Right),
    ("p99.9", Align::Right),
    ("max", Align::Right),
];

const JSON_HELP: &str = "Print one JSON object: v bench events size batch threads durability in_flight \
    events_per_second bytes_per_second limit_events_per_second ratio_to_limit p50_ns p99_ns p999_ns max_ns. \
    bytes_per_second counts payload bytes. A rate or ratio is null if a pass took less than 1 ms: too short to measure";

/// Measure appends beside a bare loop that stores the same bytes
///
/// Each round has four passes: the bare loop and the engine for a rate, without taking the time of single calls; then both
/// again, with the time of every call. Rates and ratio are medians of the rounds, latencies those of all rounds together.
/// Each pass of the engine has a fresh log with default options; the first eighth of its calls is not measured, since a log
/// begins with small segments.
///
/// The latency of a call is from before the append to its return (visible), to the end of the wait for its ticket (sync),
/// or, with more than one in flight, to the moment at which the program knew it to be durable. It includes two looks at the
/// clock. With more than one in flight a thread appends until so many are under way and then waits for the oldest, which
/// syncs them all; where filling the pipeline takes longer than a sync, a second thread waits in its stead, and appends
/// go on during the sync.
///
/// Of fewer than 1000 calls p99.9 is that of the slowest.
///
/// The limit row, the bare loop: no engine, no lock. For each frame it fills the same header, computes both checksums and
/// copies the payload into a populated map of a preallocated file, at most 512 MiB of it. Visible: as many threads, each
/// with a file of its own. Sync: one thread stores as many frames as all threads together may keep in flight, then calls
/// fdatasync, into pages that are on disk already; its latency is that of such a group.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Payload bytes of an event
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=SIZE_MAX))]
    size: u64,
    /// Events a call: one frame
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=BATCH_MAX))]
    batch: u16,
    /// Threads that append to the one log
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX))]
    threads: u16,
    /// Events of a pass, of all threads together; 256 MiB of log, at most 1000 syncs, unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=EVENTS_MAX))]
    events: Option<u64>,
    /// What a call waits for
    #[arg(long, value_enum, default_value = "visible", value_name = "LINE")]
    durability: Durability,
    /// Calls that a thread keeps appended and not yet durable; it waits for the oldest of so many. Only with sync
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=IN_FLIGHT_MAX))]
    in_flight: u32,
    /// Rounds, of which the median is shown
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(3..=99))]
    rounds: u16,
    /// Directory for the logs, empty or not there yet; the last log stays in it. Without: a temporary folder that is
    /// removed, which may lie in memory
    #[arg(long)]
    dir: Option<PathBuf>,
    #[arg(long, help = JSON_HELP)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let work = work(arguments)?;
    let scratch = Scratch::new(arguments.dir.as_deref())?;
    let payload = work.payload();
    let bench = Bench { arguments, work, limit: limit::part(&work), scratch: &scratch, payload: &payload };
    let rounds = bench.rounds()?;
    if arguments.json { output.json(&rounds.json(&bench)) } else { rounds.print(&bench, output) }
}

fn work(arguments: &Arguments) -> Result<Work, Failure> {
    let Arguments { events, size, batch, threads, durability, in_flight, .. } = *arguments;
    if durability == Durability::Visible && in_flight != 1 {
        return Err(Failure::Input(format!(
            "--in-flight {in_flight} with --durability visible: nothing is waited for; give --durability sync"
        )));
    }
    let work = Work::new(events, size, batch, threads)?;
    if durability == Durability::Visible || events.is_some() {
        return Ok(work);
    }
    let group = u64::from(threads) * u64::from(in_flight) * u64::from(batch);
    Work::new(Some(work.events.min(SYNCS_DEFAULT.saturating_mul(group))), size, batch, threads)
}

struct Bench<'a> {
    arguments: &'a Arguments,
    work: Work,
    /// What the bare loop does of it.
    limit: Work,
    scratch: &'a Scratch,
    payload: &'a [u8],
}

/// Where a pass of the engine has its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// One more follows.
    Middle,
    Last,
}

impl Bench<'_> {
    fn rounds(&self) -> Result<Rounds, Failure> {
        let each_round = self.work.log_bytes().saturating_add(self.limit.log_bytes()).saturating_mul(2);
        let mut passes = Passes::new(each_round.saturating_mul(self.arguments.rounds.into()));
        let mut rounds = Rounds { rates: Vec::new(), limit: Latencies::new(), engine: Latencies::new() };
        for round in 1..=self.arguments.rounds {
            let limit = self.bare::<Untimed>(&mut passes)?.measured;
            let (engine, stats) = self.engine::<Untimed>(Turn::Middle, &mut passes)?;
            rounds.rates.push(Rates { limit, engine: engine.measured, stats });
            rounds.limit.merge(&self.bare::<Latencies>(&mut passes)?.clock);
            let turn = if round == self.arguments.rounds { Turn::Last } else { Turn::Middle };
            rounds.engine.merge(&self.engine::<Latencies>(turn, &mut passes)?.0.clock);
        }
        Ok(rounds)
    }

    fn bare<C: Clock>(&self, passes: &mut Passes) -> Result<Outcome<C>, Failure> {
        let folder = self.scratch.folder();
        match self.arguments.durability {
            Durability::Visible => limit::visible(&self.limit, folder, self.payload, passes),
            Durability::Sync => limit::durable(&self.limit, self.group(), folder, self.payload, passes),
        }
    }

    /// Calls that all threads together may keep in flight.
    fn group(&self) -> usize {
        let in_flight = usize::try_from(self.arguments.in_flight).unwrap_or(usize::MAX);
        self.work.threads.saturating_mul(in_flight)
    }

    fn engine<C: Clock>(&self, turn: Turn, passes: &mut Passes) -> Result<(Outcome<C>, Stats), Failure> {
        let folder = if turn == Turn::Last { self.scratch.last() } else { self.scratch.pass() };
        let log = interrupt::open(&Options::new(), folder)?;
        let outcome = self.append(&log, passes);
        let checked = outcome.and_then(|outcome| pass::check_count(&log, &self.work).map(|()| outcome));
        let stats = log.stats();
        interrupt::nothing_to_close();
        let closed = log.close();
        let outcome = checked?;
        closed?;
        if turn == Turn::Middle {
            self.scratch.clear()?;
        }
        Ok((outcome, stats))
    }

    fn append<C: Clock>(&self, log: &esker::Log, passes: &mut Passes) -> Result<Outcome<C>, Failure> {
        let records = vec![Record::new(self.payload); self.work.batch];
        let records = records.as_slice();
        let in_flight = usize::try_from(self.arguments.in_flight).unwrap_or(usize::MAX);
        if in_flight > 1 {
            let callers = each(&self.work, |_| Ok(Pipelined::new(log, records, in_flight)))?;
            return pass::run(&self.work, callers, passes);
        }
        let durability = self.arguments.durability;
        let callers = each(&self.work, |_| Ok(Appending { log, records, durability, clock: C::new() }))?;
        pass::run(&self.work, callers, passes)
    }
}

/// What came out of all rounds.
struct Rounds {
    rates: Vec<Rates>,
    limit: Latencies,
    engine: Latencies,
}

struct Rates {
    limit: Measured,
    engine: Measured,
    /// What the engine counted meanwhile, from its first call on.
    stats: Stats,
}

impl Rounds {
    fn median(&self, of: impl Fn(&Rates) -> Option<f64>) -> Option<f64> {
        median(&self.rates.iter().map(of).collect::<Vec<_>>())
    }

    fn engine_rate(&self) -> Option<f64> {
        self.median(|rates| rates.engine.per_second())
    }

    fn limit_rate(&self) -> Option<f64> {
        self.median(|rates| rates.limit.per_second())
    }

    fn ratio(&self) -> Option<f64> {
        self.median(|rates| ratio(rates.engine.per_second(), rates.limit.per_second()))
    }

    fn json(&self, bench: &Bench<'_>) -> serde_json::Value {
        let rate = self.engine_rate();
        let report = Report {
            bench: "append",
            threads: Some(bench.work.threads),
            durability: Some(bench.arguments.durability.name()),
            in_flight: Some(bench.arguments.in_flight),
            events_per_second: rate,
            bytes_per_second: rate.map(|rate| rate * real(bench.work.payload_bytes(1))),
            limit_events_per_second: self.limit_rate(),
            ratio_to_limit: self.ratio(),
            latencies: Some(&self.engine),
        };
        report.json(&bench.work, &[])
    }

    /// What else the engine did while its rates were taken.
    fn counted(&self) -> String {
        let sum = |of: fn(&Stats) -> u64| self.rates.iter().map(|rates| of(&rates.stats)).sum::<u64>();
        let stalled = self.rates.iter().map(|rates| rates.stats.append_stalled).sum();
        format!(
            "all rates: {} syncs, {} rolls; {} appends waited {} for a segment",
            sum(|stats| stats.syncs),
            sum(|stats| stats.rolls),
            sum(|stats| stats.append_stalls),
            span(nanoseconds(stalled)),
        )
    }

    fn print(&self, bench: &Bench<'_>, output: &mut Output) -> Result<(), Failure> {
        let (work, arguments) = (&bench.work, bench.arguments);
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        output.line(format!(
            "{} events of {} bytes, {} a call, {} thread{}, {}, {} in flight; {} rounds",
            work.events,
            work.size,
            work.batch,
            work.threads,
            plural(work.threads),
            arguments.durability.name(),
            arguments.in_flight,
            arguments.rounds,
        ))?;
        let row = |name: &str, rate: Option<f64>, latencies: &Latencies| {
            let bytes = rate.map(|rate| rate * real(work.payload_bytes(1)));
            let mut row = vec![name.to_owned(), per_second(rate), bytes_per_second(bytes)];
            row.extend(latencies.cells());
            row
        };
        let rows = vec![
            row("esker", self.engine_rate(), &self.engine),
            row("bare loop", self.limit_rate(), &self.limit),
            vec!["ratio".to_owned(), ratio_text(self.ratio())],
        ];
        output.table(&COLUMNS, rows)?;
        output.line(self.counted())?;
        output.line("")?;
        output.line(output.inks().paint(crate::output::Ink::Heading, "latency of a call, esker"))?;
        self.engine.draw(output.columns()).iter().try_for_each(|line| output.line(line))
    }
}
