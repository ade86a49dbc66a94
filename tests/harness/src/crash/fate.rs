//! Two ways to decide what a loss of power leaves: by dice, with the shapes in which real losses come, and all ways there
//! are, one after the other.
//!
//! Guarantees:
//! 1. [`ByDice`] can come to every outcome that the disk allows.
//! 2. [`Odometer`] comes to each combination of whole sectors, lengths and names once, and then ends.

use super::run::Conduct;
use crate::dice::Dice;
use crate::memory::{Fate, NamesModel, Reached, Survival};

/// Which of the dirty sectors reached the medium, when the dice decide.
#[derive(Debug, Clone, Copy)]
enum Shape {
    All,
    None,
    LastOnly,
    FirstOnly,
    AllBut(usize),
    EverySecond,
    Uniform,
}

/// By dice.
#[derive(Debug)]
pub struct ByDice {
    dice: Dice,
    sectors: Shape,
    names: Shape,
    model: NamesModel,
    /// One sector in so many is torn.
    torn: u64,
    conduct: Conduct,
}

impl ByDice {
    /// Throws for the shape of the loss; what follows is thrown when asked for.
    #[must_use]
    pub fn new(mut dice: Dice) -> Self {
        let model = if dice.one_in(2) { NamesModel::Journaled } else { NamesModel::Adversarial };
        let (sectors, names) = (Shape::thrown(&mut dice), Shape::thrown(&mut dice));
        let torn = [u64::MAX, 16, 4, 2][dice.index(4)];
        Self { dice, sectors, names, model, torn, conduct: Conduct::Honest }
    }

    /// As a disk of this conduct loses power.
    #[must_use]
    pub fn of(dice: Dice, conduct: Conduct) -> Self {
        Self { conduct, ..Self::new(dice) }
    }
}

impl Shape {
    fn thrown(dice: &mut Dice) -> Self {
        match dice.below(16) {
            0 => Self::All,
            1 => Self::None,
            2 | 3 => Self::LastOnly,
            4 | 5 => Self::FirstOnly,
            6..=8 => Self::AllBut(dice.index(64)),
            9 => Self::EverySecond,
            _ => Self::Uniform,
        }
    }

    fn takes(self, index: usize, of: usize, dice: &mut Dice) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::LastOnly => index + 1 == of,
            Self::FirstOnly => index == 0,
            Self::AllBut(one) => index != one % of.max(1),
            Self::EverySecond => index.is_multiple_of(2),
            Self::Uniform => dice.one_in(2),
        }
    }
}

impl Fate for ByDice {
    fn names(&mut self) -> NamesModel {
        self.model
    }

    fn change(&mut self, index: usize, of: usize) -> bool {
        self.names.takes(index, of, &mut self.dice)
    }

    fn length(&mut self) -> Reached {
        [Reached::None, Reached::Half, Reached::All, Reached::All][self.dice.index(4)]
    }

    fn sector(&mut self, index: usize, of: usize) -> Survival {
        if self.torn < u64::MAX && self.dice.one_in(self.torn) {
            let words = self.dice.word();
            return if self.conduct == Conduct::Careless { Survival::Damaged(words) } else { Survival::Torn(words) };
        }
        if self.sectors.takes(index, of, &mut self.dice) { Survival::New } else { Survival::Old }
    }
}

/// All outcomes of one moment, one after the other: loop while [`Odometer::turn`] says that there is another.
#[derive(Debug, Default)]
pub struct Odometer {
    /// What was chosen, of so many.
    wheels: Vec<(usize, usize)>,
    at: usize,
    started: bool,
}

impl Odometer {
    /// Turns to the next outcome; `false`: all were there.
    pub fn turn(&mut self) -> bool {
        self.at = 0;
        if !std::mem::replace(&mut self.started, true) {
            return true;
        }
        while let Some((chosen, of)) = self.wheels.pop() {
            if chosen + 1 < of {
                self.wheels.push((chosen + 1, of));
                return true;
            }
        }
        false
    }

    fn choose(&mut self, of: usize) -> usize {
        if self.at == self.wheels.len() {
            self.wheels.push((0, of));
        }
        self.at += 1;
        self.wheels[self.at - 1].0
    }
}

impl Fate for Odometer {
    /// Every prefix of a journal is among the subsets.
    fn names(&mut self) -> NamesModel {
        NamesModel::Adversarial
    }

    fn change(&mut self, _index: usize, _of: usize) -> bool {
        self.choose(2) == 1
    }

    fn length(&mut self) -> Reached {
        [Reached::None, Reached::All][self.choose(2)]
    }

    fn sector(&mut self, _index: usize, _of: usize) -> Survival {
        [Survival::Old, Survival::New][self.choose(2)]
    }
}
