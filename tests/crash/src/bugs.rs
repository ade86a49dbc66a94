//! Seeded bugs: patches that break the engine in known ways, each of which the tests have to notice.
//!
//! Guarantees:
//! 1. A bug counts as caught only by a stage that the tree passes without it. A stage that does not end in its time is one
//!    that fails; a build that does not is no result.
//! 2. A patch that does not apply, or does not compile, is a failure, as one that nothing catches.
//! 3. Nothing in the tree is changed: patches go to a copy of its tracked files, which is removed, if no folder is named for it.

mod copy;
mod patch;
mod stage;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use copy::Copy;
use patch::Patch;
use stage::{Outcome, Stage};

/// Break a copy of the engine in known ways, and see that the tests notice
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only the bugs of these names
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Say what there is, and run nothing
    #[arg(long, conflicts_with = "check")]
    list: bool,
    /// Only see whether all patches still apply
    #[arg(long)]
    check: bool,
    /// Run only the stage that a patch names, not all others if that does not notice
    #[arg(long)]
    named_stage: bool,
    /// Make the copy here and leave it, so that the next run has less to build
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// What came of a bug.
struct Caught {
    by: String,
    took: Duration,
}

/// Why there is no result, or none that is good.
type Failure = String;

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let done = chosen(&tree, &arguments.only).and_then(|patches| {
        if arguments.list {
            for patch in &patches {
                println!("{}\n    {}\n    {}", patch.name, patch.breaks, patch.promise);
            }
            return Ok(ExitCode::SUCCESS);
        }
        if arguments.check { Ok(check(&tree, &patches)) } else { catch_all(&tree, arguments, &patches) }
    });
    done.unwrap_or_else(|failure| {
        eprintln!("{failure}");
        ExitCode::from(2)
    })
}

fn chosen(tree: &Path, only: &[String]) -> Result<Vec<Patch>, Failure> {
    let mut patches = patch::read_all(&tree.join("tests/crash/bugs"))?;
    if let Some(unknown) = only.iter().find(|name| patches.iter().all(|patch| patch.name != **name)) {
        return Err(format!("no bug is named {unknown}"));
    }
    patches.retain(|patch| only.is_empty() || only.contains(&patch.name));
    Ok(patches)
}

fn check(tree: &Path, patches: &[Patch]) -> ExitCode {
    let stale: Vec<Failure> = patches.iter().filter_map(|patch| copy::applies(tree, patch).err()).collect();
    for failure in &stale {
        println!("{failure}");
    }
    println!("{} of {} apply", patches.len().saturating_sub(stale.len()), patches.len());
    if stale.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn catch_all(tree: &Path, arguments: &Arguments, patches: &[Patch]) -> Result<ExitCode, Failure> {
    let copy = Copy::make(tree, arguments.folder.as_deref())?;
    let mut sound = BTreeSet::new();
    for stage in patches.iter().map(|patch| &patch.stage) {
        require_sound(&copy, stage, &mut sound)?;
    }
    let mut caught = 0_usize;
    for patch in patches {
        let since = Instant::now();
        let others = if arguments.named_stage { Vec::new() } else { Stage::all().collect() };
        let found = catch(&copy, patch, &others, &mut sound);
        let (by, seconds) = match &found {
            Ok(found) => (found.by.as_str(), format!("{:.1}", found.took.as_secs_f64())),
            Err(failure) => (failure.as_str(), "-".to_owned()),
        };
        println!("| {} | {} | {by} | {seconds} | {:.0} |", patch.name, patch.promise, since.elapsed().as_secs_f64());
        caught = caught.saturating_add(usize::from(found.is_ok()));
    }
    println!("{caught} of {} caught", patches.len());
    Ok(if caught == patches.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sees to it that the tree passes a stage as it is.
fn require_sound(copy: &Copy, stage: &Stage, sound: &mut BTreeSet<Stage>) -> Result<(), Failure> {
    if sound.contains(stage) {
        return Ok(());
    }
    let built = stage.build(copy)?;
    match built.run(copy)? {
        Outcome::Passed { tests: 0 } => Err(format!("{stage} has no test")),
        Outcome::Passed { .. } => {
            sound.insert(stage.clone());
            Ok(())
        }
        Outcome::Failed { what, .. } => Err(format!("the tree as it is fails {stage}: {what}")),
    }
}

fn catch(copy: &Copy, patch: &Patch, others: &[Stage], sound: &mut BTreeSet<Stage>) -> Result<Caught, Failure> {
    copy.apply(patch)?;
    let found = first_to_fail(copy, patch, others);
    copy.reverse(patch)?;
    let (stage, caught) = found?;
    require_sound(copy, &stage, sound)?;
    Ok(caught)
}

/// The stage that is said to catch it comes first.
fn first_to_fail(copy: &Copy, patch: &Patch, others: &[Stage]) -> Result<(Stage, Caught), Failure> {
    let mut took = Duration::ZERO;
    for stage in std::iter::once(&patch.stage).chain(others) {
        let built = stage.build(copy)?;
        let since = Instant::now();
        let outcome = built.run(copy)?;
        took = took.saturating_add(since.elapsed());
        if let Outcome::Failed { what } = outcome {
            return Ok((stage.clone(), Caught { by: what, took }));
        }
    }
    Err("not caught".to_owned())
}
