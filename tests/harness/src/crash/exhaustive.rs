//! Every short workload, every event of it, every outcome of a loss of power.
//!
//! Guarantees:
//! 1. Each workload of at most so many operations is there once, for each [`BASES`]: numbered, so that one can be run again.
//! 2. Only the last operation is watched: what comes before it is another workload's.

use std::sync::Arc;

use esker::Sync;

use super::plan::{Cleaned, Operation, Plan, Settings};
use super::run::{Conditions, Conduct, Outcome, Run, Tempo};
use super::world::{Attention, World};
use crate::dice::Dice;
use crate::memory::AfterFailure;
use crate::numbers::{index, length};

/// Small enough that what one or two of them leave unsynced is tried in full.
const ALPHABET: [Operation; 14] = [
    Operation::Append { bytes: 20 },
    Operation::Append { bytes: 600 },
    Operation::Append { bytes: 3600 },
    Operation::Batch { records: 3, bytes: 40 },
    Operation::State { key: 0, bytes: 24 },
    Operation::RemoveState { key: 0 },
    Operation::Commit { key: 0, cursor: 0, bytes: 30 },
    Operation::Sync,
    Operation::Background,
    Operation::FailSync { after: 1, leaving: AfterFailure::Kept },
    Operation::Reopen,
    Operation::Kill,
    Operation::Drop { part: 255 },
    Operation::Compact,
];
/// What the log holds before: nothing, or so much that the next segment is near, or several segments and two checkpoints.
const BASES: [&[Operation]; 3] = [
    &[],
    &[
        Operation::State { key: 0, bytes: 40 },
        Operation::Append { bytes: 5000 },
        Operation::Append { bytes: 2300 },
        Operation::Sync,
        Operation::Background,
    ],
    &[
        Operation::State { key: 0, bytes: 40 },
        Operation::Append { bytes: 5000 },
        Operation::Append { bytes: 5000 },
        Operation::Sync,
        Operation::Background,
        Operation::Append { bytes: 5000 },
        Operation::Append { bytes: 5000 },
        Operation::Sync,
        Operation::Background,
    ],
];
const SETTINGS: Settings = Settings {
    sync: Sync::OnRequest,
    segment_bytes: 16_384,
    unproven_segments: 8,
    retention_bytes: None,
    cleanup: Cleaned::No,
};

/// How many workloads there are of at most so many operations.
#[must_use]
pub fn workloads(operations: u32) -> u64 {
    (0..=operations).map(|count| of_length(count) * length(BASES.len())).sum()
}

fn of_length(count: u32) -> u64 {
    length(ALPHABET.len()).pow(count)
}

/// The workload of a number; shorter ones come first.
#[must_use]
pub fn workload(number: u64) -> Plan {
    let bases = length(BASES.len());
    let (base, mut rest) = (BASES[index(number % bases)], number / bases);
    let mut count = 0;
    while rest >= of_length(count) {
        rest -= of_length(count);
        count += 1;
    }
    let mut operations = base.to_vec();
    for _ in 0..count {
        operations.push(ALPHABET[index(rest % length(ALPHABET.len()))]);
        rest /= length(ALPHABET.len());
    }
    Plan { settings: SETTINGS, operations }
}

/// Tries every outcome at every event of a workload's last operation; of more than `sectors_max` things that are not
/// settled, a sample of so many.
#[must_use]
pub fn exhaust(number: u64, sectors_max: usize, sample: u64) -> Outcome {
    let plan = workload(number);
    let tempo = Tempo::Exhaustive { sectors_max, sample };
    let run = Arc::new(Run::new(SETTINGS, Conditions { tempo, conduct: Conduct::Honest }));
    let first = if plan.operations.is_empty() { Attention::Close } else { Attention::Away };
    super::guarded(&run, |at| {
        let mut world = World::begin(&run, Dice::new(number), first)?;
        let last = plan.operations.len().saturating_sub(1);
        let mut lived = Ok(());
        for (number, operation) in plan.operations.iter().enumerate() {
            *at = format!("operation {number}, {operation}");
            if number == last {
                world.pay(Attention::Close);
            }
            lived = lived.and_then(|()| world.carry_out(*operation));
        }
        world.end();
        lived
    });
    run.outcome()
}
