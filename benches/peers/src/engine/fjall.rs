//! fjall: an LSM tree with a journal, keys that count up, one batch a call.
//!
//! Setting: the defaults of database and keyspace; its docs recommend them up to 64 MiB of memtable, which is the default.
//! Visible: `PersistMode::Buffer`, what an insert does by itself: the journal reaches the system. Durable: a batch with
//! `PersistMode::SyncData`, the docs' word for `fdatasync`. The journal is locked during the sync, so threads wait for each
//! other's; `persist` after an insert is no different, it syncs under the same lock.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use anyhow::Result;

use super::{Durability, Engine, Modes, Writer};
use crate::tally::Tally;

pub struct Fjall {
    database: Database,
    events: Keyspace,
    /// Key of the next event. Relaxed: it only has to be unique.
    next: AtomicU64,
    mode: PersistMode,
}

impl Engine for Fjall {
    const NAME: &'static str = "fjall";
    const CRATE: &'static str = "fjall";
    const MODES: Modes = Modes::Both;
    const SETTING: &'static str = "defaults; visible: PersistMode::Buffer; durable: PersistMode::SyncData";

    type Writer<'e> = &'e Self;

    fn open(folder: &Path, durability: Durability) -> Result<Self> {
        let database = Database::builder(folder).open()?;
        let events = database.keyspace("events", KeyspaceCreateOptions::default)?;
        let mode = if durability == Durability::Durable { PersistMode::SyncData } else { PersistMode::Buffer };
        Ok(Self { database, events, next: AtomicU64::new(0), mode })
    }

    fn writer(&self, _thread: u64) -> Result<&Self> {
        Ok(self)
    }

    fn scan(&mut self, tally: &mut Tally) -> Result<()> {
        for entry in self.events.iter() {
            tally.take(&entry.value()?);
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

impl Writer for &Fjall {
    fn append(&mut self, events: &[&[u8]]) -> Result<()> {
        let key = self.next.fetch_add(crate::tally::length(events.len()), Ordering::Relaxed);
        if let ([one], PersistMode::Buffer) = (events, self.mode) {
            return Ok(self.events.insert(key.to_be_bytes(), *one)?);
        }
        let mut batch = self.database.batch().durability(Some(self.mode));
        for (key, event) in (key..).zip(events) {
            batch.insert(&self.events, key.to_be_bytes(), *event);
        }
        Ok(batch.commit()?)
    }
}
