//! Space that is given up for what the cleaner writes when the disk is full.
//!
//! Guarantees:
//! 1. Nothing of the log depends on it: it is there, or it is not.
//! 2. While it is held, as much space is reserved as the next segment would take when it was asked for last.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::io;

use crate::format::BALLAST_NAME;
use crate::platform::{Access, Disk};

/// How many bytes are held.
#[derive(Debug, Default)]
pub(crate) struct Ballast {
    bytes: u64,
    spent: Spent,
}

/// Whether a run gave it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Spent {
    #[default]
    No,
    Yes,
}

impl Ballast {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Holds at least so many bytes, if they can be had. What was held is given up for more only if there is more.
    pub(crate) fn hold(&mut self, disk: &dyn Disk, bytes: u64) -> io::Result<()> {
        if self.bytes >= bytes {
            return Ok(());
        }
        if self.bytes == 0 {
            self.find(disk);
        }
        if self.bytes >= bytes {
            return Ok(());
        }
        let before = self.bytes;
        let spent = self.spent;
        self.give_up(disk);
        self.spent = spent;
        let made = disk.create(BALLAST_NAME, bytes);
        if made.is_err() && before > 0 && disk.create(BALLAST_NAME, before).is_ok() {
            self.bytes = before;
        }
        made?;
        self.bytes = bytes;
        Ok(())
    }

    /// What was given up was another run's.
    pub(crate) fn begin_run(&mut self) {
        self.spent = Spent::No;
    }

    /// Gives back what is held. `true`: something was, now or earlier in this run.
    pub(crate) fn give_up(&mut self, disk: &dyn Disk) -> bool {
        self.bytes = 0;
        if disk.unlink(BALLAST_NAME).is_ok() {
            self.spent = Spent::Yes;
        }
        self.spent == Spent::Yes
    }

    /// Takes over what an earlier process left; a copy of it may have holes.
    fn find(&mut self, disk: &dyn Disk) {
        let reserved = disk.open(BALLAST_NAME, Access::Write).and_then(|file| {
            let bytes = file.length()?;
            file.reserve(bytes)?;
            Ok(bytes)
        });
        self.bytes = reserved.unwrap_or(0);
    }
}
