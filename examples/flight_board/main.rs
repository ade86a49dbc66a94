//! A flight board over an event log, to be stopped and run again.
//!
//! One thread appends 10,000 real events (New York, January 2013; see `../data/README.md`) while two readers follow, each
//! with a cursor of its own: a statistic of delays per airline, whose totals are committed together with its cursor, and a
//! live board with the last event of each aircraft. The log stays where it is (`--dir`): run it again, and all three go
//! on where they were. `--crash-after N` dies in the middle by SIGKILL; the next run goes on from there.
//!
//! At the end of each run that gets there, the log, the totals and the board are compared with what a plain loop over the
//! input says; if they differ, the exit code is 1. Run: `cargo run --release --example flight_board`.
//!
//! Where to look: `feed.rs` appends, `statistic.rs` and `board.rs` read, and this file puts them together.

mod arguments;
mod board;
mod event;
mod feed;
mod page;
mod statistic;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use esker::{FileSystems, Log, Offset, Options, Sync};

use arguments::{Arguments, USAGE};
use board::{Board, Rows};
use event::Event;
use feed::Feed;
use page::{dim, grouped, show};
use statistic::{DelayTable, Statistic};

/// If nothing comes for so long, the writer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + std::marker::Sync>>;

fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os().skip(1)))
}

/// Runs with these arguments. Returns the exit code: 1 if something failed or the totals are wrong, 2 for a wrong argument.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let done = match Arguments::parse(arguments) {
        Ok(Some(arguments)) => fly(&arguments),
        Ok(None) => show(USAGE),
        Err(wrong) => {
            eprint!("flight_board: {wrong}\n\n{USAGE}");
            return 2;
        }
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("flight_board: {error}");
            1
        }
    }
}

fn fly(arguments: &Arguments) -> Result<()> {
    if arguments.fresh {
        remove_earlier(&arguments.folder)?;
    }
    let log = open(&arguments.folder)?;
    let lines = event::sample();
    let end = Offset::new(u64::try_from(lines.len())?);
    let known = [statistic::CURSOR, board::CURSOR].map(|name| standing(&log, name));
    let mut feed = Feed::resume(&log, &lines)?;
    let mut statistic = Statistic::resume(&log)?;
    let mut board = Board::resume(&log)?;
    show(&opening(&log, &feed, known, board.read_back)?)?;

    let started = Instant::now();
    let (appended, counted, shown) = thread::scope(|scope| {
        let feeding = scope.spawn(|| feed.append_rest());
        let showing = scope.spawn(|| board.follow(end));
        let counted = statistic.follow(end, arguments.crash_after);
        (feeding.join(), counted, showing.join())
    });
    appended.expect("the feed does not panic")?;
    counted?;
    shown.expect("the board does not panic")?;
    log.sync()?;
    let run_time = started.elapsed();

    let table = DelayTable::load(&log)?;
    show(&page::delays(&table)?)?;
    show(&page::board(board.rows())?)?;
    check(&log, &lines, &table, board.rows())?;
    show(&totals(&log, &feed, &statistic, run_time, arguments.crash_after)?)?;
    Ok(log.close()?)
}

fn open(folder: &Path) -> Result<Log> {
    // The folder for temporary files may lie on any file system, and the sample is too small to fill it. The board shows
    // only what is durable, so that is not left to the end.
    let options = Options::new().file_systems(FileSystems::Any).sync(Sync::Interval(Duration::from_millis(20)));
    Ok(options.open(folder)?)
}

/// Removes the log of earlier runs. To open it first makes sure that the folder holds a log and nothing else, and that
/// nobody uses it.
fn remove_earlier(folder: &Path) -> Result<()> {
    open(folder)?.close()?;
    Ok(std::fs::remove_dir_all(folder)?)
}

/// Where an earlier run left the cursor, if one did.
fn standing(log: &Log, name: &str) -> Result<Option<Offset>> {
    Ok(log.cursors()?.into_iter().find(|cursor| cursor.name == name).map(|cursor| cursor.offset))
}

/// Dies as by `kill -9`: nothing is dropped, committed or closed any more.
fn crash(handled: u64, uncommitted: u64) -> ! {
    let text = format!("\n  dies now, by SIGKILL: {handled} events handled, the last {uncommitted} not committed\n");
    let _unheard = show(&text);
    #[cfg(target_os = "linux")]
    let _never = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // Elsewhere: as sudden.
    std::process::abort()
}

/// The record at each offset must be that line, and statistic and board what a plain loop over the lines makes of them.
fn check(log: &Log, lines: &[&str], table: &DelayTable, rows: &Rows) -> Result<()> {
    let (mut plain_table, mut plain_rows) = (DelayTable::default(), Rows::default());
    let mut expected = lines.iter();
    let mut reader = log.reader();
    while let Some(batch) = reader.poll()? {
        for record in &batch {
            let offset = record.offset();
            let line = expected.next().ok_or_else(|| format!("offset {offset}: more was read than was appended"))?;
            let event = Event::parse(line)?;
            let same = record.payload() == line.as_bytes()
                && record.key() == event.tail.as_deref().map(str::as_bytes)
                && record.event_time() == Some(event.time);
            if !same {
                return Err(format!("offset {offset}: what was read is not what was appended").into());
            }
            plain_table.see(&event);
            plain_rows.see(offset, event);
        }
    }
    if expected.next().is_some() {
        return Err(format!("the log ends at offset {}, before the last line", reader.offset()).into());
    }
    for (code, delays) in &plain_table.airlines {
        let held = table.airlines.get(code);
        if held != Some(delays) {
            return Err(format!("the totals of {code} are wrong: expected {delays:?}, found {held:?}").into());
        }
    }
    if *table != plain_table {
        return Err("the totals hold an airline that does not fly".into());
    }
    if rows.latest() != plain_rows.latest() {
        return Err("the board shows other events than the latest".into());
    }
    Ok(())
}

/// What is known before anything is read or appended.
fn opening(log: &Log, feed: &Feed, known: [Result<Option<Offset>>; 2], rows: usize) -> Result<String> {
    let mut page = page::title();
    writeln!(page, "  log         {}", log.path().display())?;
    writeln!(page, "  opened      {}", log.recovery())?;
    match (feed.found, feed.rest().len()) {
        (0, rest) => writeln!(page, "  feed        has {} events to append", grouped(&rest))?,
        (found, 0) => writeln!(page, "  feed        all {} events are appended already", grouped(&found))?,
        (found, rest) => {
            let (found, rest) = (grouped(&found), grouped(&rest));
            writeln!(page, "  feed        resumes behind {found} events, {rest} are left")?;
        }
    }
    let [statistic, board] = known;
    let place = |known: Option<Offset>| match known {
        None => "begins at offset 0".to_owned(),
        Some(offset) => format!("resumes at offset {offset}"),
    };
    writeln!(page, "  statistic   {}", place(statistic?))?;
    let back = if rows > 0 { format!(", {rows} rows read back from the log") } else { String::new() };
    writeln!(page, "  board       {}{back}", place(board?))?;
    Ok(page)
}

/// What the run came to.
fn totals(log: &Log, feed: &Feed, statistic: &Statistic, time: Duration, crash_after: Option<u64>) -> Result<String> {
    let mut page = page::heading("this run");
    let (appended, frames, commit_time) = (feed.rest().len(), feed.frames, feed.commit_time);
    if appended > 0 {
        writeln!(
            page,
            "  appended    {} events in {frames} frames, {commit_time:.1?} in the commits",
            grouped(&appended)
        )?;
    } else {
        writeln!(page, "  appended    nothing, all was there")?;
    }
    let Statistic { handled, batches, behind_max, .. } = *statistic;
    if handled > 0 {
        let (events, behind) = (grouped(&handled), grouped(&behind_max));
        writeln!(
            page,
            "  statistic   {events} events in {batches} commits, never more than {behind} behind the log's end"
        )?;
    } else {
        writeln!(page, "  statistic   nothing, all was counted")?;
    }
    writeln!(
        page,
        "  checked     log, totals and board are what a plain loop over the {} lines gives",
        grouped(&log.visible())
    )?;
    let stats = log.stats();
    let (syncs, sync_time) = (stats.syncs, stats.sync_time);
    let (visible, durable) = (grouped(&log.visible()), grouped(&log.durable()));
    match syncs {
        0 => writeln!(page, "  durable     {durable} of {visible} events")?,
        _ => writeln!(page, "  durable     {durable} of {visible} events, by {syncs} syncs in {sync_time:.1?}")?,
    }
    writeln!(page, "  time        {time:.1?}, with parsing on all sides")?;
    if let Some(count) = crash_after {
        writeln!(page, "  no crash    {} events were left to handle, fewer than {count}", grouped(&handled))?;
    }
    let again = "run it again: both readers resume. --fresh begins anew, --crash-after 3000 dies in the middle";
    writeln!(page, "\n  {}", dim(again))?;
    Ok(page)
}
