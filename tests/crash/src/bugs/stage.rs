//! A part of the tests that is built and run by itself: one test program, or those of its tests that a filter names.
//!
//! Guarantees:
//! 1. Time is counted without the build. The first test that fails ends the stage.
//! 2. A stage that takes longer than [`Suite::limit`] is killed and has failed: that something does not end is how a lost wake
//!    shows. A build that takes longer than [`BUILD_LIMIT`] is no result.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::Failure;
use super::copy::Copy;

const BUILD_LIMIT: Duration = Duration::from_secs(900);
/// Of the crash runs.
const POWER_SEEDS: &str = "150";

/// A test program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Suite {
    /// Unit tests of the engine.
    Unit,
    /// Integration tests.
    It,
    /// Tests of the harness, short crash runs among them.
    Harness,
    /// Crashes by seeds.
    Power,
    /// Models of threads.
    Loom,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stage {
    suite: Suite,
    /// Part of the names of its tests; empty: all.
    filter: String,
}

/// A stage that can be run.
pub(super) struct Built<'a> {
    stage: &'a Stage,
    program: PathBuf,
}

pub(super) enum Outcome {
    Passed { tests: u64 },
    Failed { what: String },
}

impl Suite {
    const ALL: [Self; 5] = [Self::Unit, Self::It, Self::Harness, Self::Power, Self::Loom];

    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::It => "it",
            Self::Harness => "harness",
            Self::Power => "power",
            Self::Loom => "loom",
        }
    }

    /// How long it may take.
    fn limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Unit | Self::Harness | Self::Power => 120,
            Self::It => 240,
            Self::Loom => 300,
        })
    }

    fn build_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Unit => &["test", "--no-run", "--package", "esker", "--lib"],
            Self::It => &["test", "--no-run", "--package", "esker", "--test", "it"],
            Self::Harness => &["test", "--no-run", "--package", "esker-harness", "--lib"],
            Self::Power => &["build", "--package", "esker-crash"],
            Self::Loom => &["test", "--no-run", "--package", "esker", "--release", "--test", "loom"],
        }
    }
}

impl Stage {
    /// Each suite as a whole, in the order of their speed.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        Suite::ALL.into_iter().map(|suite| Self { suite, filter: String::new() })
    }

    pub(super) fn build(&self, copy: &Copy) -> Result<Built<'_>, Failure> {
        let mut cargo = Command::new("cargo");
        let target = copy.path().with_file_name(if self.suite == Suite::Loom { "target-loom" } else { "target" });
        cargo.current_dir(copy.path()).args(self.suite.build_arguments()).env("CARGO_TARGET_DIR", &target);
        // Between two patches little changes: what is not optimized is built fast, and what is a little, runs fast.
        cargo.env("CARGO_INCREMENTAL", "1").env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_DEBUG", "0");
        if self.suite == Suite::Loom {
            cargo.env("RUSTFLAGS", "--cfg loom");
        }
        cargo.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = cargo.spawn().map_err(|error| format!("cannot run cargo: {error}"))?;
        let said = child.stderr.take().map(lines_of);
        let mut text = Vec::new();
        let ended = said.is_some_and(|said| said.until(BUILD_LIMIT, &mut |line| text.push(line.to_owned())));
        if !ended {
            end(&mut child);
            return Err("the build did not end in its time".to_owned());
        }
        let status = child.wait().map_err(|error| format!("cannot wait for cargo: {error}"))?;
        if !status.success() {
            let errors = text.iter().filter(|line| line.starts_with("error"));
            let first = errors.map(String::as_str).next().unwrap_or("no reason was given");
            return Err(format!("does not compile: {first}"));
        }
        let program = match self.suite {
            Suite::Power => Some(target.join("debug/esker-crash")),
            _ => text.iter().find_map(|line| executable(line)).map(|program| copy.path().join(program)),
        };
        program.map(|program| Built { stage: self, program }).ok_or_else(|| "cargo names no test program".to_owned())
    }
}

/// The test program that a line of cargo names.
fn executable(line: &str) -> Option<&Path> {
    let (_, rest) = line.trim().strip_prefix("Executable ")?.rsplit_once('(')?;
    rest.strip_suffix(')').map(Path::new)
}

impl Built<'_> {
    pub(super) fn run(&self, copy: &Copy) -> Result<Outcome, Failure> {
        let suite = self.stage.suite;
        let mut command = Command::new(&self.program);
        command.current_dir(copy.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        match suite {
            Suite::Power => command.args(["power", "--seeds", POWER_SEEDS, "--threads", "2"]),
            // What the tree looks like is not what is asked.
            _ => command.args(["--skip", "tidy"]).arg(&self.stage.filter),
        };
        if suite == Suite::Loom {
            command.arg("--test-threads=1");
        }
        let mut child = command.spawn().map_err(|error| format!("cannot run {}: {error}", self.stage))?;
        let Some(said) = child.stdout.take().map(lines_of) else { return Err("no output".to_owned()) };
        let (mut tests, mut failed) = (0_u64, None);
        let ended = said.until_told(suite.limit(), &mut |line| {
            tests = tests.saturating_add(u64::from(line.ends_with("... ok") || suite == Suite::Power));
            failed = failure_in(line);
            failed.is_some()
        });
        if failed.is_some() || !ended {
            end(&mut child);
        }
        let what = match failed {
            Some(what) => what,
            None if !ended => format!("{}: no end within {} s", self.stage, suite.limit().as_secs()),
            None => {
                let status = child.wait().map_err(|error| format!("cannot wait for {}: {error}", self.stage))?;
                if status.success() {
                    return Ok(Outcome::Passed { tests });
                }
                format!("{}, {status}", self.stage.filter)
            }
        };
        Ok(Outcome::Failed { what: format!("{}: {what}", suite.name()) })
    }
}

/// The test that a line says has failed.
fn failure_in(line: &str) -> Option<String> {
    let test = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"));
    let seed = line.find("--seed ").filter(|_| line.contains("replay:")).and_then(|at| line.get(at..));
    let seed = seed.and_then(|seed| seed.split_whitespace().nth(1)).map(|seed| format!("seed {seed}"));
    test.map(str::to_owned).or(seed)
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _gone = child.kill();
    let _gone = child.wait();
}

/// Lines that another process writes.
struct Lines(mpsc::Receiver<String>);

fn lines_of(from: impl Read + Send + 'static) -> Lines {
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    Lines(lines)
}

impl Lines {
    /// Hears them all. `false`: there was no end to them within the limit.
    fn until(self, limit: Duration, hear: &mut dyn FnMut(&str)) -> bool {
        self.until_told(limit, &mut |line| {
            hear(line);
            false
        })
    }

    /// Hears them until it is told that this is enough.
    fn until_told(self, limit: Duration, is_enough: &mut dyn FnMut(&str) -> bool) -> bool {
        let since = Instant::now();
        loop {
            match self.0.recv_timeout(limit.saturating_sub(since.elapsed())) {
                Ok(line) if is_enough(&line) => return true,
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }
}

impl FromStr for Stage {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let (name, filter) = text.split_once(' ').unwrap_or((text, ""));
        let suite = Suite::ALL.into_iter().find(|suite| suite.name() == name);
        let suite = suite.ok_or_else(|| format!("no stage is named {name}"))?;
        Ok(Self { suite, filter: filter.trim().to_owned() })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.suite.name(), self.filter)
    }
}
