//! A disk that keeps what the death of the process would leave before each of its operations, or makes some of them fail.
//!
//! Guarantees:
//! 1. Nothing is noted and nothing fails until it is asked for.
//! 2. A write is two operations: before it, and when half of its bytes are stored.

use std::io;
use std::sync::{Mutex, MutexGuard};

use esker::platform::File;
use harness::{Call, MemoryDisk, Watch, WatchedDisk};

pub(super) type SteppedDisk = WatchedDisk<Steps>;

/// An operation that was about to be done, and what a death of the process at that moment leaves.
pub(super) struct Moment {
    pub(super) operation: String,
    pub(super) left: MemoryDisk,
}

/// Which operations on checkpoints fail, counted from 0 since it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fail {
    Never,
    Once(usize),
    From(usize),
}

/// See the module.
pub(super) struct Steps {
    disk: MemoryDisk,
    plan: Mutex<Plan>,
}

struct Plan {
    /// What was noted, while it is asked for.
    moments: Option<Vec<Moment>>,
    fail: Fail,
    /// Operations on checkpoints since failures were asked for.
    counted: usize,
    /// Those that were made to fail, and what came after them.
    failed: Vec<String>,
    after: Vec<String>,
    /// A checkpoint got its name, and its directory was not synced yet.
    renamed: bool,
    /// The next open of a checkpoint finds no descriptor left.
    descriptors_out: bool,
}

pub(super) fn stepped(disk: MemoryDisk) -> SteppedDisk {
    let (failed, after) = (Vec::new(), Vec::new());
    let plan =
        Plan { moments: None, fail: Fail::Never, counted: 0, failed, after, renamed: false, descriptors_out: false };
    WatchedDisk::new(disk.clone(), Steps { disk, plan: Mutex::new(plan) })
}

impl Steps {
    /// What would be left before each operation that `act` does, and at its end.
    pub(super) fn moments_of(&self, act: impl FnOnce()) -> Vec<Moment> {
        self.plan().moments = Some(Vec::new());
        act();
        self.note("the end");
        self.plan().moments.take().expect("asked for")
    }

    /// Makes operations on checkpoints fail from now on, as `fail` says.
    pub(super) fn fail(&self, fail: Fail) {
        let mut plan = self.plan();
        (plan.fail, plan.counted) = (fail, 0);
        plan.failed.clear();
        plan.after.clear();
    }

    /// Makes the next open of a checkpoint fail for now.
    pub(super) fn run_out_of_descriptors(&self) {
        self.plan().descriptors_out = true;
    }

    /// The operations that were made to fail, and those on checkpoints that came after the first of them.
    pub(super) fn failed(&self) -> (Vec<String>, Vec<String>) {
        let plan = self.plan();
        (plan.failed.clone(), plan.after.clone())
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("nothing panics under the lock")
    }

    fn note(&self, operation: &str) {
        if self.plan().moments.is_none() {
            return;
        }
        let left = self.disk.snapshot();
        let moment = Moment { operation: operation.to_owned(), left };
        self.plan().moments.as_mut().expect("asked for").push(moment);
    }

    /// Notes an operation, and decides whether it goes on.
    fn reach(&self, operation: &str) -> io::Result<()> {
        self.note(operation);
        let mut plan = self.plan();
        let syncs_name = operation == "sync directory" && std::mem::take(&mut plan.renamed);
        if !operation.contains(".ckp") && !syncs_name {
            return Ok(());
        }
        if !plan.failed.is_empty() {
            plan.after.push(operation.to_owned());
        }
        let number = plan.counted;
        plan.counted += 1;
        let fails = match plan.fail {
            Fail::Never => false,
            Fail::Once(wanted) => number == wanted,
            Fail::From(first) => number >= first,
        };
        if fails {
            plan.failed.push(operation.to_owned());
            return Err(io::Error::other("made to fail"));
        }
        plan.renamed = plan.renamed || operation.starts_with("rename");
        Ok(())
    }
}

impl Watch for Steps {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        match call {
            Call::List => Ok(()),
            Call::Open(name) => {
                let out = name.contains(".ckp") && std::mem::take(&mut self.plan().descriptors_out);
                if out { Err(io::Error::other("too many open files")) } else { Ok(()) }
            }
            call => self.reach(&call.to_string()),
        }
    }

    fn write(&self, file: &dyn File, name: &str, bytes: &[u8], position: u64) -> io::Result<()> {
        let (half, rest) = bytes.split_at(bytes.len() / 2);
        file.write_at(half, position)?;
        self.note(&format!("write the other half of {name}"));
        file.write_at(rest, position + u64::try_from(half.len()).expect("small"))
    }
}
