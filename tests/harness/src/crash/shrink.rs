//! Makes a plan that fails shorter, while it still fails.
//!
//! Guarantees:
//! 1. What comes out fails when it is run again, and names the line that does so.

use std::fmt;

use super::plan::Plan;
use super::run::{Conditions, Violation};
use crate::dice::Dice;

/// A plan that fails.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// Which of the seed's operations are needed.
    pub only: Vec<usize>,
    /// The plan.
    pub plan: Plan,
    /// What is wrong.
    pub violation: Violation,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let only: Vec<String> = self.only.iter().map(ToString::to_string).collect();
        writeln!(f, "violation: {}", self.violation)?;
        for (index, operation) in self.only.iter().zip(&self.plan.operations) {
            writeln!(f, "  {index}: {operation}")?;
        }
        write!(f, "replay: power --seed {} --only {}", self.seed, only.join(","))
    }
}

/// Runs some operations of a seed's plan.
#[must_use]
pub fn replay(seed: u64, only: Option<&[usize]>, conditions: Conditions) -> (Plan, super::Outcome) {
    let mut dice = Dice::new(seed);
    let whole = Plan::of(&mut dice);
    let plan = only.map_or_else(|| whole.clone(), |only| whole.only(only));
    let outcome = super::carry_out(&plan, dice.fork(), conditions);
    (plan, outcome)
}

/// The shortest that was found, beginning with a seed that fails; `None` if it does not.
#[must_use]
pub fn shrink(seed: u64, conditions: Conditions) -> Option<Failure> {
    let (plan, outcome) = replay(seed, None, conditions);
    let only: Vec<usize> = (0..plan.operations.len()).collect();
    let mut failure = Failure { seed, only, plan, violation: outcome.violation? };
    // Halves first, then smaller stretches, down to single operations.
    let mut stretch = failure.only.len().div_ceil(2).max(1);
    loop {
        let mut shorter = false;
        let mut start = 0;
        while start < failure.only.len() {
            let end = (start + stretch).min(failure.only.len());
            let only: Vec<usize> = failure.only[..start].iter().chain(&failure.only[end..]).copied().collect();
            let (plan, outcome) = replay(seed, Some(&only), conditions);
            if let Some(violation) = outcome.violation {
                failure = Failure { seed, only, plan, violation };
                shorter = true;
            } else {
                start = end;
            }
        }
        if stretch == 1 && !shorter {
            return Some(failure);
        }
        stretch = (stretch / 2).max(1);
    }
}
