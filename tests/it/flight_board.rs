//! The example `flight_board`: run again and killed at many points, it goes on with right totals, and it can tell wrong ones.
//!
//! Its source is a module of this program, and a child process runs it. Cargo tells a test no path of an example's binary,
//! and does not build one for `cargo test --test it`: a binary found beside this one may be missing or old.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use esker::{Attached, Commit, FileSystems, Options};
use serde_json::Value;

#[expect(dead_code, reason = "its main is not called, the function below it is")]
#[path = "../../examples/flight_board/main.rs"]
mod example;

const LINES: &str = include_str!("../../examples/data/flights-2013-01-sample.jsonl");
const EVENTS: u64 = 10_000;
const ARGUMENTS_VARIABLE: &str = "ESKER_FLIGHT_BOARD_ARGUMENTS";
const SIGKILL: i32 = 9;
/// Of the table: the name of the airline, and what stands before it.
const NAME_COLUMNS: usize = 26;

/// What one airline comes to, as the example's state entries name it.
type Totals = BTreeMap<String, i64>;

/// Not a test: what the child process runs. One argument a line.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(ARGUMENTS_VARIABLE) else { return };
    std::process::exit(example::run(arguments.lines().map(Into::into)).into());
}

/// How a run ended, and what it printed on stdout and stderr.
struct Run {
    status: ExitStatus,
    page: String,
    complaint: String,
}

fn run(folder: &Path, more: &[&str]) -> Run {
    let folder = folder.to_str().expect("text");
    let arguments = [&["--dir", folder], more].concat().join("\n");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "flight_board::child", "--nocapture"])
        .env(ARGUMENTS_VARIABLE, arguments)
        .stdin(Stdio::null())
        .output()
        .expect("runs, and is waited for");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Run { status: output.status, page: text(output.stdout), complaint: text(output.stderr) }
}

impl Run {
    fn ended(self) -> Self {
        assert!(self.status.success(), "{:?}\n{}\n{}", self.status, self.page, self.complaint);
        assert!(self.says("checked     log, totals and board are what a plain loop over the 10,000 lines gives"));
        self
    }

    fn killed(self) -> Self {
        assert_eq!(self.status.signal(), Some(SIGKILL), "{:?}\n{}\n{}", self.status, self.page, self.complaint);
        self
    }

    fn says(&self, line: &str) -> bool {
        self.page.lines().any(|printed| printed.trim() == line)
    }

    /// Statistic and board, as printed.
    fn tables(&self) -> &str {
        let begin = self.page.find("airline  ").expect("the statistic");
        &self.page[begin..self.page.find("this run").expect("what follows")]
    }
}

/// The statistic over the first lines of the sample, by a loop that knows nothing of the example.
fn plain(events: u64) -> BTreeMap<String, Totals> {
    let mut airlines: BTreeMap<String, Totals> = BTreeMap::new();
    for line in LINES.lines().take(usize::try_from(events).expect("few")) {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let code = &event["data"]["flight"].as_str().expect("a flight")[..2];
        let delay = event["data"]["delay_min"].as_i64();
        let zeros = ["departed", "cancelled", "late", "minutes", "worst"].map(|name| (name.to_owned(), 0));
        let totals = airlines.entry(code.to_owned()).or_insert_with(|| zeros.into());
        let mut add = |name: &str, number: i64| *totals.get_mut(name).expect("one of those") += number;
        match (event["type"].as_str(), delay) {
            (Some("FlightDeparted"), Some(minutes)) => {
                add("departed", 1);
                add("minutes", minutes);
                add("late", i64::from(minutes > 15));
                let worst = totals["worst"].max(minutes);
                totals.insert("worst".to_owned(), worst);
            }
            (Some("FlightCancelled"), None) => add("cancelled", 1),
            (Some("FlightArrived"), Some(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    airlines
}

/// What the log holds, seen without touching it: cursor and totals of the statistic, cursor of the board, events.
struct Held {
    counted: u64,
    totals: BTreeMap<String, Totals>,
    shown: u64,
    events: u64,
}

fn held(folder: &Path) -> Held {
    let log = Attached::open(folder).expect("attaches");
    let state = log.state().expect("reads");
    let cursor = |name| state.cursors().into_iter().find(|cursor| cursor.name == name).expect("is there").offset.get();
    let mut totals = BTreeMap::new();
    for (key, entry) in state.with_prefix("delay/") {
        let code = String::from_utf8(key[6..].to_vec()).expect("text");
        let numbers: Value = serde_json::from_slice(entry.value()).expect("JSON");
        let numbers = numbers.as_object().expect("an object").iter();
        totals.insert(code, numbers.map(|(name, value)| (name.clone(), value.as_i64().expect("a number"))).collect());
    }
    let mut events = 0;
    let (mut reader, mut lines) = (log.reader(), LINES.lines());
    while let Some(batch) = reader.poll().expect("reads") {
        for record in &batch {
            assert_eq!(Some(record.payload()), lines.next().map(str::as_bytes), "offset {}", record.offset());
            events += 1;
        }
    }
    Held { counted: cursor("delay-statistic"), totals, shown: cursor("live-board"), events }
}

#[test]
fn a_second_run_resumes_at_the_end_and_shows_the_same() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let first = run(folder.path(), &[]).ended();
    assert!(first.says("opened      created") && first.says("statistic   begins at offset 0"), "{}", first.page);
    assert!(first.says("board       begins at offset 0"), "{}", first.page);
    let second = run(folder.path(), &["--crash-after", "1"]).ended();
    assert!(second.says("feed        all 10,000 events are appended already"), "{}", second.page);
    assert!(second.says("statistic   resumes at offset 10000"), "{}", second.page);
    assert!(second.says("board       resumes at offset 10000, 12 rows read back from the log"), "{}", second.page);
    assert!(second.says("no crash    0 events were left to handle, fewer than 1"), "{}", second.page);
    assert_eq!(first.tables(), second.tables());
    let held = held(folder.path());
    assert_eq!((held.events, held.counted, held.shown), (EVENTS, EVENTS, EVENTS));
    assert_eq!(held.totals, plain(EVENTS));
    let anew = run(folder.path(), &["--fresh"]).ended();
    assert!(anew.says("statistic   begins at offset 0"), "{}", anew.page);
}

#[test]
fn the_printed_statistic_is_that_of_a_plain_loop() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let run = run(folder.path(), &[]).ended();
    let airlines = plain(EVENTS);
    assert_eq!(airlines.len(), 15);
    for (code, totals) in airlines {
        let row = run.tables().lines().find(|row| row.trim_start().starts_with(&format!("{code} "))).expect("a row");
        let numbers: Vec<&str> = row[NAME_COLUMNS..].split_whitespace().take(5).collect();
        let [flights, cancelled, average, worst, late] = numbers[..] else { panic!("{row}") };
        let real = |number: i64| f64::from(i32::try_from(number).expect("small"));
        let departed = real(totals["departed"]);
        assert_eq!(flights, (totals["departed"] + totals["cancelled"]).to_string(), "{row}");
        assert_eq!((cancelled, worst), (&*totals["cancelled"].to_string(), &*totals["worst"].to_string()), "{row}");
        assert_eq!(average, format!("{:.1}", real(totals["minutes"]) / departed), "{row}");
        assert_eq!(late, format!("{:.1}%", 100.0 * real(totals["late"]) / departed), "{row}");
    }
}

#[test]
fn killed_at_any_point_the_next_run_ends_with_the_right_totals() {
    for crash_after in [1, 137, 5000, 9999] {
        let folder = tempfile::tempdir().expect("temporary folder");
        run(folder.path(), &["--crash-after", &crash_after.to_string()]).killed();
        let left = held(folder.path());
        assert!(left.counted < crash_after && left.events >= crash_after, "some of what it handled was not committed");
        assert_eq!(left.totals, plain(left.counted), "totals and cursor are of one moment");
        let next = run(folder.path(), &[]).ended();
        assert!(next.page.contains("opened      not closed, nothing to cut; went on as epoch 2-"), "{}", next.page);
        assert!(next.says(&format!("statistic   resumes at offset {}", left.counted)), "{}", next.page);
        assert!(next.page.contains(&format!("board       resumes at offset {}", left.shown)), "{}", next.page);
        let held = held(folder.path());
        assert_eq!((held.events, held.counted, held.shown), (EVENTS, EVENTS, EVENTS), "killed after {crash_after}");
        assert_eq!(held.totals, plain(EVENTS), "killed after {crash_after}");
    }
}

#[test]
fn killed_over_and_over_it_comes_to_its_end() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (mut kills, mut counted_before) = (0, 0);
    loop {
        let run = run(folder.path(), &["--crash-after", "2000"]);
        let held = held(folder.path());
        assert_eq!(held.totals, plain(held.counted), "after {kills} kills");
        if run.status.signal().is_none() {
            run.ended();
            assert_eq!((held.events, held.counted, held.shown), (EVENTS, EVENTS, EVENTS));
            break;
        }
        run.killed();
        kills += 1;
        // A batch is at most 128 KiB, some 900 events: of 2000 that were handled, more than half were committed.
        assert!(held.counted > counted_before + 1000, "{} after {counted_before}", held.counted);
        counted_before = held.counted;
    }
    assert!(kills >= 4, "{kills}");
}

#[test]
fn wrong_totals_are_told() {
    let folder = tempfile::tempdir().expect("temporary folder");
    run(folder.path(), &[]).ended();
    let log = Options::new().file_systems(FileSystems::Any).open(folder.path()).expect("opens");
    let held = log.state("delay/UA").expect("shown").expect("held");
    let text = String::from_utf8(held.value().to_vec()).expect("text").replace("\"cancelled\":3", "\"cancelled\":4");
    assert_ne!(text.as_bytes(), held.value());
    let _ = log.commit(Commit::new().state("delay/UA", &text)).expect("commits");
    log.close().expect("closes");
    let run = run(folder.path(), &[]);
    assert_eq!(run.status.code(), Some(1), "{}", run.page);
    assert!(run.complaint.contains("the totals of UA are wrong"), "{}", run.complaint);
    assert!(!run.page.contains("checked"), "{}", run.page);
}

#[test]
fn a_wrong_argument_is_refused_and_a_foreign_folder_is_left_alone() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for wrong in [&["--crash-after"][..], &["--crash-after", "0"], &["--crash-after", "x"], &["--dir"], &["again"]] {
        let run = run(folder.path(), wrong);
        assert_eq!((run.status.code(), run.complaint.contains("usage: ")), (Some(2), true), "{wrong:?}");
    }
    let mine = folder.path().join("mine.txt");
    std::fs::write(&mine, "mine").expect("writes");
    let run = run(folder.path(), &["--fresh"]);
    assert_eq!(run.status.code(), Some(1), "{}", run.page);
    assert!(run.complaint.contains("mine.txt"), "{}", run.complaint);
    assert_eq!(std::fs::read(&mine).expect("is still there"), b"mine");
}
