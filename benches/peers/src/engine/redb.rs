//! redb: a copy-on-write B-tree in a file, keys that count up, one transaction a call.
//!
//! Setting: the defaults. Durable: `Durability::Immediate`, the default: one sync a commit (two-phase commit, which
//! doubles it, is for files that an attacker writes to). Visible: `Durability::None`, which reaches the disk with the next
//! commit that is immediate: less than the others give, for it does not survive the death of the process. One writer at a
//! time: threads wait for each other's commit. Closing commits once more with `Immediate`.

use std::path::Path;

use ::redb::{Database, Durability as Level, ReadableDatabase, ReadableTable, TableDefinition};
use anyhow::Result;
use parking_lot::Mutex;

use super::{Durability, Engine, Modes, Writer};
use crate::tally::Tally;

const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");

pub struct Redb {
    database: Database,
    /// Key of the next event. Held during a transaction, as redb's own lock is.
    next: Mutex<u64>,
    level: Level,
}

impl Engine for Redb {
    const NAME: &'static str = "redb";
    const CRATE: &'static str = "redb";
    const MODES: Modes = Modes::Both;
    const SETTING: &'static str = "defaults; visible: Durability::None; durable: Durability::Immediate";

    type Writer<'e> = &'e Self;

    fn open(folder: &Path, durability: Durability) -> Result<Self> {
        let level = if durability == Durability::Durable { Level::Immediate } else { Level::None };
        Ok(Self { database: Database::create(folder.join("events.redb"))?, next: Mutex::new(0), level })
    }

    fn writer(&self, _thread: u64) -> Result<&Self> {
        Ok(self)
    }

    fn scan(&mut self, tally: &mut Tally) -> Result<()> {
        let transaction = self.database.begin_read()?;
        let events = transaction.open_table(EVENTS)?;
        for entry in events.iter()? {
            tally.take(entry?.1.value());
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Level::Immediate)?;
        transaction.open_table(EVENTS)?;
        transaction.commit()?;
        Ok(self.database.close()?)
    }
}

impl Writer for &Redb {
    fn append(&mut self, events: &[&[u8]]) -> Result<()> {
        let mut next = self.next.lock();
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(self.level)?;
        {
            let mut table = transaction.open_table(EVENTS)?;
            for event in events {
                table.insert(*next, *event)?;
                *next += 1;
            }
        }
        Ok(transaction.commit()?)
    }
}
