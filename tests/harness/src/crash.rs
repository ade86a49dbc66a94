//! Crash runs: a log lives through a plan on a disk in memory, and at any of its events the power fails or the process
//! dies. Each image is recovered and judged; its recovery may be crashed in turn.
//!
//! Guarantees:
//! 1. One seed decides everything: two runs of it have the same trace.
//! 2. A violation comes with the line that runs it again, as short as it could be made.

mod fate;
mod frames;
mod judge;
mod plan;
mod run;
mod shrink;
mod watch;
mod world;

use std::sync::Arc;

pub use fate::{ByDice, Odometer};
pub use plan::{OPERATIONS_MAX, Plan};
pub use run::{DEPTH_MAX, Outcome, Tempo, Totals, Violation};
pub use shrink::{Failure, replay, shrink};

use crate::dice::Dice;
use run::Run;
use world::World;

/// Carries a plan out; `seed` decides when what dies, and what is left.
#[must_use]
pub fn carry_out(plan: &Plan, seed: u64, tempo: Tempo) -> Outcome {
    carry_out_by(plan, Dice::new(seed), tempo)
}

/// As [`carry_out`], by any dice.
#[must_use]
pub fn carry_out_by(plan: &Plan, dice: Dice, tempo: Tempo) -> Outcome {
    let run = Arc::new(Run::new(plan.settings, tempo));
    run.count(|totals| totals.plans += 1);
    let mut at = "the first open".to_owned();
    let lived = World::begin(&run, dice).and_then(|mut world| {
        world.watch_closely();
        let mut lived = Ok(());
        for (index, operation) in plan.operations.iter().enumerate() {
            at = format!("operation {index}, {operation}");
            lived = world.carry_out(*operation);
            if lived.is_err() || run.is_violated() {
                break;
            }
        }
        world.end();
        lived
    });
    if let Err(what) = lived {
        run.violated(what, &at);
    }
    run.outcome()
}
