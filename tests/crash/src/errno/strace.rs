//! System calls of a real process fail, by the hand of `strace`; what it leaves is opened without faults, and judged.
//!
//! Guarantees:
//! 1. Which calls an act makes is found out by looking at it, so that none is forgotten: one that the table does not know is
//!    told of.
//! 2. Only calls between the first line of the act and its last are failed, not those by which the program starts and ends.
//! 3. A process that hangs, panics, dies, or says what no fault explains is a violation. Only where the system refuses memory
//!    that the engine did not ask for as a map it may abort, which is the death of a process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use harness::errno::rot;
use harness::life::{Act, Death, Directory, Ground as _, Ledger, Said, read};
use tempfile::TempDir;

use super::Arguments;
use super::child::{BEGIN, END};
use super::table::{HARMLESS, Name, errors_of, is_once};

/// No act takes so long, whatever fails.
const ACT_MAX: Duration = Duration::from_secs(60);
const ABORTED: i32 = 6;
/// After so many the sweep ends.
const VIOLATIONS_MAX: usize = 20;

/// A log that an act begins with.
struct Eve {
    act: Act,
    folder: TempDir,
    ledger: Ledger,
}

/// Which calls of one kind an act makes: behind so many that the program makes before, and up to so many.
#[derive(Debug, Clone, Copy, Default)]
struct Calls {
    before: u64,
    end: u64,
}

/// What is made to fail.
#[derive(Debug, Clone, Copy)]
struct Fault<'f> {
    call: &'f str,
    error: Name,
    number: u64,
    /// `+`: and all behind it.
    more: &'static str,
}

/// What an act said, and how it ended.
struct Heard {
    ledger: Ledger,
    ended: bool,
    status: ExitStatus,
    stderr: String,
}

#[derive(Debug, Default)]
struct Totals {
    lives: u64,
    unharmed: u64,
    errors: u64,
    aborts: u64,
    sampled: bool,
    violations: Vec<String>,
}

pub(super) fn sweep(arguments: &Arguments) -> Result<(), String> {
    if !Command::new("strace").arg("--version").output().is_ok_and(|output| output.status.success()) {
        println!("LEFT OUT: no system call was made to fail, because strace is not there or does not run here");
        return Ok(());
    }
    let started = Instant::now();
    let mut totals = Totals::default();
    for act in Act::ALL {
        let eve = eve(act, arguments.folder.as_deref());
        let calls = trace(&eve)?;
        let unknown: Vec<&String> =
            calls.keys().filter(|call| errors_of(call).is_empty() && !HARMLESS.contains(&call.as_str())).collect();
        if !unknown.is_empty() {
            println!("LEFT OUT: in act {}, the table has no errors for {unknown:?}", act.name());
        }
        for (call, range) in &calls {
            if arguments.syscalls.is_empty() || arguments.syscalls.contains(call) {
                fail_each(&eve, call, *range, arguments.most, &mut totals)?;
            }
        }
    }
    let Totals { lives, unharmed, errors, aborts, sampled, violations } = totals;
    println!(
        "with strace: {lives} lives with a fault, {unharmed} of them unharmed; {errors} errors told, {aborts} aborts for \
         want of memory{}; {:.1} s",
        if sampled { ", of some calls a sample" } else { "" },
        started.elapsed().as_secs_f64()
    );
    violations.into_iter().next().map_or(Ok(()), Err)
}

fn temporary(parent: Option<&Path>) -> TempDir {
    parent.map_or_else(tempfile::tempdir, tempfile::tempdir_in).expect("a temporary folder")
}

fn eve(act: Act, parent: Option<&Path>) -> Eve {
    let folder = temporary(parent);
    let mut ledger = Ledger::default();
    let before: &[Act] = match act {
        Act::Begin => &[],
        Act::Recover => &[Act::Begin],
        Act::Reopen | Act::Repair => &[Act::Begin, Act::Recover],
    };
    let log = folder.path().join("log");
    for act in before {
        act.live(&Directory(&log), &mut |said| ledger.hear(said));
    }
    assert_eq!(ledger.failures, [], "{act:?}");
    let eve = Eve { act, folder, ledger };
    if act == Act::Repair { damaged(eve) } else { eve }
}

/// Damages a record, and finds out what a repair gives up.
fn damaged(mut eve: Eve) -> Eve {
    let records = |folder: &Path| read(&Directory(folder).open().expect("opens")).expect("reads");
    let intact = eve.copy();
    let all = records(&intact);
    let log = eve.log();
    let mut names: Vec<PathBuf> = fs::read_dir(&log).expect("lists").map(|entry| entry.expect("one").path()).collect();
    names.sort();
    let segment = names.iter().find(|path| path.extension().is_some_and(|end| end == "seg")).expect("one");
    let mut bytes = fs::read(segment).expect("reads");
    rot(&mut bytes);
    fs::write(segment, bytes).expect("writes");
    let repaired = eve.copy();
    let _plan = Directory(&repaired).repair().expect("repairs");
    let left = records(&repaired);
    eve.ledger.give_up(all.iter().filter(|seen| !left.contains(seen)).map(|(_, number)| *number).collect());
    eve
}

impl Eve {
    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// A copy of the log, in place of the last one.
    fn copy(&self) -> PathBuf {
        let target = self.folder.path().join("copy");
        if target.exists() {
            fs::remove_dir_all(&target).expect("removes");
        }
        if self.log().exists() {
            copy_folder(&self.log(), &target);
        }
        target
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("makes");
    for entry in fs::read_dir(from).expect("lists").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copies");
        }
    }
}

/// Finds out which calls an act makes.
fn trace(eve: &Eve) -> Result<BTreeMap<String, Calls>, String> {
    let heard = live(eve, &["-e".to_owned(), "trace=all".to_owned()])?;
    if !heard.ended || !heard.ledger.failures.is_empty() {
        return Err(format!("act {} without faults: {} {:?}", eve.act.name(), heard.stderr, heard.ledger.failures));
    }
    let text = fs::read_to_string(eve.folder.path().join("trace")).map_err(|error| error.to_string())?;
    let (begin, end) = (format!("\"{BEGIN}\""), format!("\"{END}\""));
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut at_begin = None;
    for line in text.lines() {
        // The number of the process comes first.
        let call = line.split_once(' ').map_or("", |(_, call)| call.trim_start());
        let Some((name, rest)) = call.split_once('(') else { continue };
        if name == "writev" && rest.contains(&begin) {
            at_begin = Some(counts.clone());
        } else if name == "writev" && rest.contains(&end) {
            let before = at_begin.ok_or("the act did not begin")?;
            let range = |(name, end): (String, u64)| {
                let calls = Calls { before: before.get(&name).copied().unwrap_or_default(), end };
                (name, calls)
            };
            return Ok(counts.into_iter().map(range).filter(|(_, calls)| calls.before < calls.end).collect());
        }
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    Err("the act did not end".to_owned())
}

fn fail_each(eve: &Eve, call: &str, calls: Calls, most: u64, totals: &mut Totals) -> Result<(), String> {
    let count = calls.end - calls.before;
    let step = count.div_ceil(most);
    totals.sampled |= step > 1;
    let before = (totals.lives, totals.unharmed);
    for error in errors_of(call) {
        for more in if is_once(call, error) { &[""][..] } else { &["", "+"] } {
            for number in (calls.before + 1..=calls.end).step_by(usize::try_from(step).expect("few")) {
                if let Err(violation) = fail(eve, Fault { call, error, number, more }, totals) {
                    println!("violation: {violation}");
                    totals.violations.push(violation);
                }
                if totals.violations.len() >= VIOLATIONS_MAX {
                    return Err(format!("{VIOLATIONS_MAX} violations"));
                }
            }
        }
    }
    let (lives, unharmed) = (totals.lives - before.0, totals.unharmed - before.1);
    println!("with strace, {}, {call}: {count} calls, {lives} lives, {unharmed} unharmed", eve.act.name());
    Ok(())
}

fn fail(eve: &Eve, fault: Fault<'_>, totals: &mut Totals) -> Result<(), String> {
    let Fault { call, error, number, more } = fault;
    let inject = format!("inject={call}:error={error}:when={number}{more}");
    let told = |wrong: String| format!("act {}, {inject}: {wrong}", eve.act.name());
    let heard =
        live(eve, &["-e".to_owned(), format!("trace={call}"), "-e".to_owned(), inject.clone()]).map_err(told)?;
    let trace = fs::read_to_string(eve.folder.path().join("trace")).unwrap_or_default();
    if !trace.contains("(INJECTED)") {
        return Err(told("the call was not made".to_owned()));
    }
    totals.lives += 1;
    totals.errors += u64::try_from(heard.ledger.failures.len()).expect("few");
    let aborted = heard.status.signal() == Some(ABORTED) && heard.stderr.contains("memory allocation of");
    totals.aborts += u64::from(aborted);
    let unharmed = heard.ended && heard.ledger.failures.is_empty();
    totals.unharmed += u64::from(unharmed);
    let is_memory = ["mmap", "mremap", "munmap"].contains(&call);
    let is_expected = heard.ended && heard.status.success() || aborted && is_memory;
    if !is_expected {
        return Err(told(format!("{}\n{}", heard.status, heard.stderr)));
    }
    if eve.act == Act::Repair && call == "pread64" && more == "+" {
        // A medium that gives nothing back is damage to a repair, which was told to accept the loss; see its own tests.
        return Ok(());
    }
    let mut ledger = heard.ledger.clone();
    if call == "close" {
        // The lock stays with the process, whose close was kept from the system.
        ledger.failures.retain(|said| !matches!(said, Said::Failed { kind, .. } if kind == "locked"));
    }
    judge(eve, &ledger).map_err(|wrong| {
        let failures: Vec<String> = heard.ledger.failures.iter().map(ToString::to_string).collect();
        told(format!("{wrong}\ntold: {failures:#?}"))
    })
}

fn judge(eve: &Eve, ledger: &Ledger) -> Result<(), String> {
    ledger.judge_failures()?;
    let copy = eve.folder.path().join("copy");
    let ground = Directory(&copy);
    let judged = panic::catch_unwind(AssertUnwindSafe(|| {
        if eve.act == Act::Repair {
            let _plan = ground.repair().map_err(|error| format!("it cannot be repaired: {error}"))?;
        }
        ledger.judge(&ground, Death::OfTheProcess)
    }));
    judged.unwrap_or_else(|_| Err("it panics while it is judged".to_owned()))
}

/// Lives the act on a copy, under strace.
fn live(eve: &Eve, how: &[String]) -> Result<Heard, String> {
    let (copy, stderr) = (eve.copy(), eve.folder.path().join("stderr"));
    let mut child = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(eve.folder.path().join("trace"))
        .args(how)
        .arg(std::env::current_exe().expect("this program"))
        .args(["errno", "life", eve.act.name()])
        .arg(copy)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&stderr).expect("a file"))
        .spawn()
        .map_err(|error| format!("strace does not start: {error}"))?;
    let pipe = child.stdout.take().expect("a pipe");
    let (sender, lines) = mpsc::channel();
    let hear = std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let (mut ledger, mut ended) = (eve.ledger.clone(), false);
    let deadline = Instant::now() + ACT_MAX;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line == BEGIN => {}
            Ok(line) if line == END => ended = true,
            Ok(line) => ledger.hear(line.parse()?),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                child.kill().map_err(|error| error.to_string())?;
                return Err(format!("it hangs; {:?}", ledger.failures));
            }
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    hear.join().map_err(|_| "the reader of a pipe panicked".to_owned())?;
    Ok(Heard { ledger, ended, status, stderr: fs::read_to_string(stderr).unwrap_or_default() })
}
