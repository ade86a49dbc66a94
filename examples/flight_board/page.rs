//! What is printed: the table of the statistic, the rows of the board, and what the run came to.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::sync::LazyLock;

use super::board::Rows;
use super::event::Event;
use super::statistic::{DelayTable, Delays, LATE_MINUTES};
use super::{Result, board};

/// Length of a bar that says: half of all departures were late.
const BAR_CELLS: usize = 24;
const AIRLINES: &str = "9E Endeavor Air, AA American Airlines, AS Alaska Airlines, B6 JetBlue Airways, \
    DL Delta Air Lines, EV ExpressJet, F9 Frontier Airlines, FL AirTran Airways, HA Hawaiian Airlines, MQ Envoy Air, \
    OO SkyWest Airlines, UA United Air Lines, US US Airways, VX Virgin America, WN Southwest Airlines, YV Mesa Airlines";
const DIM: &str = "2";
const BOLD: &str = "1";
const AMBER: &str = "33";
const RED: &str = "31";

/// Prints; that nobody reads any more is a quiet end.
pub(super) fn show(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Colour is for people: only on a terminal, and not if they said no.
static COLOUR: LazyLock<bool> = LazyLock::new(|| io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());

fn paint(style: &str, text: &str) -> String {
    if *COLOUR && !style.is_empty() { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
}

pub(super) fn title() -> String {
    format!("\n  {}\n\n", paint(BOLD, "FLIGHT BOARD    New York EWR JFK LGA    January 2013"))
}

pub(super) fn dim(text: &str) -> String {
    paint(DIM, text)
}

/// The heading of a part, with a rule below.
pub(super) fn heading(text: &str) -> String {
    format!("\n  {}\n  {}\n", paint(BOLD, text), paint(DIM, &"─".repeat(98)))
}

pub(super) fn delays(table: &DelayTable) -> Result<String> {
    let mut page = heading("airline                  flights  cancelled   average     worst     late");
    let mut rows: Vec<_> = table.airlines.iter().collect();
    rows.sort_by_key(|(_, delays)| Reverse(delays.departed + delays.cancelled));
    let mut all = Delays::default();
    for (code, delays) in rows {
        all.add(delays);
        writeln!(page, "  {}", row(airline(code), delays)?)?;
    }
    writeln!(page, "  {}", paint(BOLD, &row("All airlines", &all)?))?;
    let note = format!("delay at departure in minutes; late: more than {LATE_MINUTES} min; a full bar is one in two");
    writeln!(page, "  {}", dim(&note))?;
    Ok(page)
}

fn row(name: &str, delays: &Delays) -> Result<String> {
    let departed = delays.departed.max(1);
    let average = f64::from(delays.minutes) / f64::from(departed);
    let late_percent = 100.0 * f64::from(delays.late) / f64::from(departed);
    let eighths = (usize::try_from(delays.late)? * BAR_CELLS * 2 * 8 / usize::try_from(departed)?).min(BAR_CELLS * 8);
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    let bar = paint(AMBER, &format!("{}{part}", "█".repeat(eighths / 8)));
    let (flights, cancelled) = (grouped(&(delays.departed + delays.cancelled)), delays.cancelled);
    let worst = delays.minutes_worst;
    let row = format!("{name:<24} {flights:>7} {cancelled:>10} {average:>9.1} {worst:>9} {late_percent:>7.1}%  {bar}");
    Ok(row.trim_end().to_owned())
}

pub(super) fn board(rows: &Rows) -> Result<String> {
    let mut page = heading("aircraft    last event    flight     from   to     New York time         delay");
    for (_, event) in rows.latest() {
        let (style, delay) = match event.delay {
            None => (RED, String::new()),
            Some(0) => ("", "on time".to_owned()),
            Some(minutes) => (if minutes > LATE_MINUTES { AMBER } else { "" }, format!("{minutes:+} min")),
        };
        let Event { at, what, flight, origin, dest, .. } = event;
        let tail = event.tail.as_deref().unwrap_or_default();
        let (day, time) = (at.get(..10).unwrap_or(at), at.get(11..16).unwrap_or(""));
        let row = format!("{tail:<11} {what:<13} {flight:<10} {origin} →  {dest}    {day} {time}  {delay:>9}");
        writeln!(page, "  {}", paint(style, &row))?;
    }
    writeln!(page, "  {}", dim(&format!("the latest {} aircraft", board::ROWS)))?;
    Ok(page)
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: &impl ToString) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    groups.join(",")
}

/// The label of an airline: code and name.
fn airline(code: &str) -> &str {
    AIRLINES.split(", ").find(|airline| airline.starts_with(code)).unwrap_or(code)
}
