//! Crash runs: a log lives through a plan on a disk in memory, and at any of its events the power fails or the process
//! dies. Each image is recovered and judged; its recovery may be crashed in turn.
//!
//! Guarantees:
//! 1. One seed decides everything: two runs of it have the same trace.
//! 2. A violation comes with the line that runs it again, as short as it could be made.

mod exhaustive;
mod fate;
mod frames;
mod judge;
mod plan;
mod repair;
mod run;
mod shrink;
mod watch;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub use exhaustive::{exhaust, workload, workloads};
pub use fate::{ByDice, Odometer};
pub use plan::{OPERATIONS_MAX, Plan};
pub use run::{Conditions, Conduct, DEPTH_MAX, Outcome, Tempo, Totals, Violation};
pub use shrink::{Failure, replay, shrink};

use crate::dice::Dice;
use plan::Operation;
use run::Run;
use world::{Attention, World};

/// Carries a plan out; `dice` decide when what dies, and what is left.
#[must_use]
pub fn carry_out(plan: &Plan, dice: Dice, conditions: Conditions) -> Outcome {
    let run = Arc::new(Run::new(plan.settings, conditions));
    guarded(&run, |at| {
        let world = World::begin(&run, dice, Attention::Close)?;
        live(world, &plan.operations, &run, at)
    });
    run.outcome()
}

/// Notes what is wrong: an error of a life, or a panic in it.
fn guarded(run: &Run, live: impl FnOnce(&mut String) -> Result<(), String>) {
    let mut at = "the first open".to_owned();
    let lived = catch_unwind(AssertUnwindSafe(|| live(&mut at))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("with no text");
        Err(format!("panicked: {text}"))
    });
    if let Err(what) = lived {
        run.violated(what, &at);
    }
}

fn live(mut world: World, operations: &[Operation], run: &Run, at: &mut String) -> Result<(), String> {
    let mut lived = Ok(());
    for (index, operation) in operations.iter().enumerate() {
        *at = format!("operation {index}, {operation}");
        lived = world.carry_out(*operation);
        if lived.is_err() || run.is_violated() {
            break;
        }
    }
    world.end();
    lived
}

/// For fuzzers: operations, moments and what is left of them come from the input.
///
/// # Panics
/// If anything is lost, or appears, that must not.
pub fn recover_after_crash(input: &[u8]) {
    let mut dice = Dice::from_bytes(input);
    let plan = Plan::of(&mut dice.fork());
    let conditions = Conditions { tempo: Tempo::OneIn(8), conduct: Conduct::Honest };
    let outcome = carry_out(&plan, dice, conditions);
    if let Some(violation) = outcome.violation {
        panic!("{violation}\n{plan}");
    }
}

#[cfg(test)]
mod tests;
