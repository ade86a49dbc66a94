//! A flight board over an event log.
//!
//! One thread appends 10,000 real events (New York, January 2013; see `data/README.md`) in small batches, while another
//! reads them back as they become visible. What it read becomes two views, each fed one event at a time: delays per
//! airline, and the last event per aircraft. At the end everything is made durable, and what was read must be what was
//! appended, byte for byte; if not, the exit code is 1. Run: `cargo run --release --example flight_board`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use esker::{FileSystems, Log, Offset, Options, Record, RecordRef, Timestamp};
use serde_json::Value;

const SAMPLE: &str = include_str!("data/flights-2013-01-sample.jsonl");
/// Events that are appended in one frame: all of them become visible, or none.
const BATCH_EVENTS: usize = 50;
/// If nothing comes for so long, the writer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
const BOARD_ROWS: usize = 12;
/// A departure later than this counts as late.
const LATE_MINUTES: i32 = 15;
/// Length of a bar that says: half of all departures were late.
const BAR_CELLS: usize = 24;
const AIRLINES: &str = "9E Endeavor Air, AA American Airlines, AS Alaska Airlines, B6 JetBlue Airways, \
    DL Delta Air Lines, EV ExpressJet, F9 Frontier Airlines, FL AirTran Airways, HA Hawaiian Airlines, MQ Envoy Air, \
    OO SkyWest Airlines, UA United Air Lines, US US Airways, VX Virgin America, WN Southwest Airlines, YV Mesa Airlines";
const DIM: &str = "2";
const BOLD: &str = "1";
const AMBER: &str = "33";
const RED: &str = "31";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flight_board: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("esker-flight-board-").tempdir()?;
    // The temporary folder may lie on any file system, and the sample is too small to fill it.
    let log = Options::new().file_systems(FileSystems::Any).open(folder.path())?;

    let started = Instant::now();
    let (appended, read) = thread::scope(|scope| {
        let appender = scope.spawn(|| append_all(&log));
        let read = read_back(&log);
        (appender.join().expect("the appender does not panic"), read)
    });
    let (appended, read) = (appended?, read?);
    let run_time = started.elapsed();
    log.sync()?;

    let mut page = format!("\n  {}\n", paint(BOLD, "FLIGHT BOARD    New York EWR JFK LGA    January 2013"));
    render_delays(&mut page, &read.delays)?;
    render_board(&mut page, &read.board)?;
    render_totals(&mut page, &log, &appended, &read, run_time)?;
    log.close()?;
    folder.close()?;
    match io::stdout().write_all(page.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

// --- The writer ---

struct Appended {
    events: u64,
    batches: u32,
    /// Time inside of `append_batch`, without parsing.
    append_time: Duration,
}

fn append_all(log: &Log) -> Result<Appended> {
    let mut appended = Appended { events: 0, batches: 0, append_time: Duration::ZERO };
    let lines: Vec<&str> = SAMPLE.lines().collect();
    for lines in lines.chunks(BATCH_EVENTS) {
        let events = lines.iter().map(|line| Event::parse(line.as_bytes())).collect::<Result<Vec<Event>>>()?;
        let records: Vec<Record> = lines.iter().zip(&events).map(|(line, event)| event.record(line)).collect();
        let begun = Instant::now();
        let ticket = log.append_batch(&records)?;
        appended.append_time += begun.elapsed();
        appended.batches += 1;
        appended.events += ticket.offsets().end.since(ticket.offset());
    }
    Ok(appended)
}

// --- The reader ---

/// What the reader saw and made of it.
#[derive(Default)]
struct ReadBack {
    events: u64,
    bytes: usize,
    polls: u32,
    /// The largest number of events that were visible and not yet read.
    behind_max: u64,
    delays: DelayTable,
    board: Board,
}

fn read_back(log: &Log) -> Result<ReadBack> {
    let mut read = ReadBack::default();
    let mut expected = SAMPLE.lines().peekable();
    let mut reader = log.reader();
    while expected.peek().is_some() {
        let batch = reader.poll_wait(PATIENCE)?.ok_or("the writer stopped before the last event")?;
        read.polls += 1;
        read.behind_max = read.behind_max.max(log.visible().since(batch.first()));
        for record in &batch {
            let event = Event::parse(record.payload())?;
            verify(&record, &event, expected.next())?;
            read.events += 1;
            read.bytes += record.payload().len();
            read.delays.see(&event);
            read.board.see(record.offset(), event);
        }
    }
    match reader.poll()? {
        None => Ok(read),
        Some(batch) => Err(format!("read {} records more than were appended", batch.len()).into()),
    }
}

/// The record must be the line that was appended, with the key and the time that were taken from it.
fn verify(record: &RecordRef, event: &Event, line: Option<&str>) -> Result<()> {
    let same = line.map(str::as_bytes) == Some(record.payload())
        && record.key() == event.tail.as_deref().map(str::as_bytes)
        && record.event_time() == Some(event.time);
    if same {
        Ok(())
    } else {
        Err(format!("offset {}: what was read is not what was appended", record.offset()).into())
    }
}

// --- Events ---

/// One line of the sample.
struct Event {
    /// As in the line: `2013-01-01T05:17:00`.
    at: String,
    time: Timestamp,
    /// `departed`, `arrived` or `cancelled`.
    what: String,
    /// Tail number of the aircraft, where there is one.
    tail: Option<String>,
    flight: String,
    origin: String,
    dest: String,
    /// In minutes, negative if early; none if cancelled.
    delay: Option<i32>,
}

impl Event {
    fn parse(line: &[u8]) -> Result<Self> {
        let line: Value = serde_json::from_slice(line)?;
        let data = &line["data"];
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| format!("not an event: {line}"));
        let at = text(&line["at"])?;
        Ok(Self {
            time: timestamp(&at).ok_or_else(|| format!("no time: {line}"))?,
            at,
            what: text(&line["type"])?.trim_start_matches("Flight").to_lowercase(),
            tail: line["key"].as_str().map(str::to_owned),
            flight: text(&data["flight"])?,
            origin: text(&data["origin"])?,
            dest: text(&data["dest"])?,
            delay: data["delay_min"].as_i64().map(i32::try_from).transpose()?,
        })
    }

    /// The record of this event: payload is the line as it is.
    fn record<'a>(&'a self, line: &'a str) -> Record<'a> {
        let record = Record::new(line).event_time(self.time);
        match &self.tail {
            Some(tail) => record.key(tail),
            None => record,
        }
    }
}

/// `2013-01-01T05:17:00`, taken as UTC.
fn timestamp(at: &str) -> Option<Timestamp> {
    let number = |from: usize, to: usize| at.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // Years counted from March have their leap day last, so month lengths follow one rule.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + number(11, 13)?) * 60 + number(14, 16)?) * 60 + number(17, 19)?;
    Some(Timestamp::from_nanoseconds(seconds.checked_mul(1_000_000_000)?))
}

// --- The views: each lives on events alone, and knows nothing of the other ---

/// Departures and cancellations per carrier.
#[derive(Default)]
struct DelayTable {
    carriers: BTreeMap<String, Delays>,
}

#[derive(Default)]
struct Delays {
    cancelled: usize,
    /// Of each departure, in minutes.
    minutes: Vec<i32>,
}

impl DelayTable {
    fn see(&mut self, event: &Event) {
        let carrier = event.flight.get(..2).unwrap_or(&event.flight);
        let delays = self.carriers.entry(carrier.to_owned()).or_default();
        match (event.what.as_str(), event.delay) {
            ("departed", Some(minutes)) => delays.minutes.push(minutes),
            ("cancelled", _) => delays.cancelled += 1,
            _ => {}
        }
    }
}

/// The last event of each aircraft.
#[derive(Default)]
struct Board {
    aircraft: HashMap<String, (Offset, Event)>,
}

impl Board {
    fn see(&mut self, offset: Offset, event: Event) {
        if let Some(tail) = event.tail.clone() {
            self.aircraft.insert(tail, (offset, event));
        }
    }
}

// --- The page ---

/// Colour is for people: only on a terminal, and not if they said no.
static COLOUR: LazyLock<bool> = LazyLock::new(|| io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());

fn paint(style: &str, text: &str) -> String {
    if *COLOUR && !style.is_empty() { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
}

/// The heading of a part, with a rule below.
fn heading(page: &mut String, text: &str) -> std::fmt::Result {
    writeln!(page, "\n  {}\n  {}", paint(BOLD, text), paint(DIM, &"─".repeat(98)))
}

fn render_delays(page: &mut String, table: &DelayTable) -> Result<()> {
    heading(page, "airline                  flights  cancelled   average    median     late")?;
    let mut rows: Vec<_> = table.carriers.iter().collect();
    rows.sort_by_key(|(_, delays)| std::cmp::Reverse(delays.flights()));
    let mut all = Delays::default();
    for (code, delays) in rows {
        all.cancelled += delays.cancelled;
        all.minutes.extend(&delays.minutes);
        writeln!(page, "  {}", delays.row(airline(code))?)?;
    }
    writeln!(page, "  {}", paint(BOLD, &all.row("All airlines")?))?;
    let note = format!("delay at departure in minutes; late: more than {LATE_MINUTES} min; a full bar is one in two");
    writeln!(page, "  {}", paint(DIM, &note))?;
    Ok(())
}

impl Delays {
    fn flights(&self) -> usize {
        self.minutes.len() + self.cancelled
    }

    fn row(&self, name: &str) -> Result<String> {
        let mut sorted = self.minutes.clone();
        sorted.sort_unstable();
        let departed = sorted.len().max(1);
        let late = sorted.iter().filter(|minutes| **minutes > LATE_MINUTES).count();
        let middle = [(departed - 1) / 2, departed / 2].map(|index| sorted.get(index).copied().unwrap_or(0));
        let median = f64::from(middle.iter().sum::<i32>()) / 2.0;
        let average = f64::from(sorted.iter().sum::<i32>()) / f64::from(u32::try_from(departed)?);
        let late_percent = 100.0 * f64::from(u32::try_from(late)?) / f64::from(u32::try_from(departed)?);
        let eighths = (late * BAR_CELLS * 2 * 8 / departed).min(BAR_CELLS * 8);
        let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
        let bar = paint(AMBER, &format!("{}{part}", "█".repeat(eighths / 8)));
        let (flights, cancelled) = (grouped(&self.flights()), self.cancelled);
        Ok(format!("{name:<24} {flights:>7} {cancelled:>10} {average:>9.1} {median:>9.1} {late_percent:>7.1}%  {bar}"))
    }
}

fn render_board(page: &mut String, board: &Board) -> Result<()> {
    heading(page, "aircraft    last event    flight     from   to     New York time         delay")?;
    let mut latest: Vec<_> = board.aircraft.iter().collect();
    latest.sort_by_key(|(_, (offset, _))| std::cmp::Reverse(*offset));
    for (tail, (_, event)) in latest.iter().take(BOARD_ROWS) {
        let (style, delay) = match event.delay {
            None => (RED, String::new()),
            Some(0) => ("", "on time".to_owned()),
            Some(minutes) => (if minutes > LATE_MINUTES { AMBER } else { "" }, format!("{minutes:+} min")),
        };
        let Event { at, what, flight, origin, dest, .. } = event;
        let (day, time) = (at.get(..10).unwrap_or(at), at.get(11..16).unwrap_or(""));
        let row = format!("{tail:<11} {what:<13} {flight:<10} {origin} →  {dest}    {day} {time}  {delay:>9}");
        writeln!(page, "  {}", paint(style, &row))?;
    }
    let note = format!("the latest {} of {} aircraft", latest.len().min(BOARD_ROWS), grouped(&latest.len()));
    writeln!(page, "  {}", paint(DIM, &note))?;
    Ok(())
}

fn render_totals(page: &mut String, log: &Log, appended: &Appended, read: &ReadBack, run_time: Duration) -> Result<()> {
    heading(page, "the log")?;
    let (events, batches) = (grouped(&appended.events), appended.batches);
    writeln!(page, "  appended    {events} events in {batches} frames of up to {BATCH_EVENTS}")?;
    let (read_events, polls, behind) = (grouped(&read.events), read.polls, grouped(&read.behind_max));
    writeln!(page, "  read back   {read_events} events in {polls} polls, never more than {behind} behind the writer")?;
    writeln!(page, "  verified    every payload, key and event time read is the one appended")?;
    let stats = log.stats();
    let (payload, stored, segments) = (grouped(&read.bytes), grouped(&stats.bytes), stats.segments);
    writeln!(page, "  bytes       {payload} of payload, {stored} in the log, in {segments} segments")?;
    let rate = |time: Duration| grouped(&(u128::from(appended.events) * 1_000_000_000 / time.as_nanos().max(1)));
    writeln!(page, "  time        {run_time:.1?} with parsing on both sides: {} events/s", rate(run_time))?;
    let append_time = appended.append_time;
    writeln!(page, "              {append_time:.1?} of it in the append calls: {} events/s", rate(append_time))?;
    let (visible, durable) = (grouped(&log.visible()), grouped(&log.durable()));
    let (syncs, sync_time) = (stats.syncs, stats.sync_time);
    writeln!(page, "  durable     {durable} of {visible} visible events, by {syncs} syncs in {sync_time:.1?}")?;
    Ok(())
}

/// `1234567` as `1,234,567`.
fn grouped(number: &impl ToString) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    groups.join(",")
}

/// The label of a carrier: code and name.
fn airline(code: &str) -> &str {
    AIRLINES.split(", ").find(|airline| airline.starts_with(code)).unwrap_or(code)
}
