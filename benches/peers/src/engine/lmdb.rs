//! LMDB, by the crate heed: a B+tree in a map, one transaction a call, keys that count up.
//!
//! Setting: `MDB_APPEND`, which LMDB's docs name for keys that come in order: no search, and full pages. Durable: the
//! default flags, so each commit writes its pages, syncs, and writes the meta page through a handle that is `O_DSYNC`.
//! Visible: `MDB_NOSYNC` with `MDB_WRITEMAP`, the fastest that the docs offer ("faster, and uses fewer mallocs, but loses
//! protection from application bugs"); what was committed survives the death of the process.
//! One writer at a time: threads wait for each other's commit, syncs are not shared.
#![expect(unsafe_code, reason = "heed marks opening a map, and flags that give up durability, as unsafe")]

use std::path::Path;

use anyhow::Result;
use heed::byteorder::BigEndian;
use heed::types::{Bytes, U64};
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags};
use parking_lot::Mutex;

use super::{Durability, Engine, Modes, Writer};
use crate::tally::Tally;

/// Address space, more than a pass may write.
const MAP_BYTES: usize = 4 << 30;

type Events<'e> = Database<'e, U64<BigEndian>, Bytes>;

pub struct Lmdb {
    environment: Env,
    /// Key of the next event. Held during a transaction, as LMDB's own lock is.
    next: Mutex<u64>,
}

impl Engine for Lmdb {
    const NAME: &'static str = "LMDB";
    const CRATE: &'static str = "heed";
    const MODES: Modes = Modes::Both;
    const SETTING: &'static str = "MDB_APPEND; visible: MDB_NOSYNC | MDB_WRITEMAP; durable: default flags";

    type Writer<'e> = Appending<'e>;

    fn open(folder: &Path, durability: Durability) -> Result<Self> {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES);
        if durability == Durability::Visible {
            // SAFETY: the pass is the only process that has the map, and keeps no reference into it beyond a transaction.
            unsafe { options.flags(EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP) };
        }
        // SAFETY: the folder is the pass's own; nobody else changes the file.
        let environment = unsafe { options.open(folder)? };
        let next = {
            let events = events(&environment)?;
            let transaction = environment.read_txn()?;
            events.last(&transaction)?.map_or(0, |(key, _)| key + 1)
        };
        Ok(Self { environment, next: Mutex::new(next) })
    }

    fn writer(&self, _thread: u64) -> Result<Appending<'_>> {
        Ok(Appending { engine: self, events: events(&self.environment)? })
    }

    fn scan(&mut self, tally: &mut Tally) -> Result<()> {
        let events = events(&self.environment)?;
        let transaction = self.environment.read_txn()?;
        for entry in events.iter(&transaction)? {
            tally.take(entry?.1);
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        self.environment.force_sync()?;
        self.environment.prepare_for_closing().wait();
        Ok(())
    }
}

/// The one database of the environment; made if it is not there.
fn events(environment: &Env) -> heed::Result<Events<'_>> {
    let transaction = environment.write_txn()?;
    let made = environment.create_databases_and_commit(transaction, |opener, transaction| {
        let events = opener.create_database(transaction, None)?;
        heed::Result::Ok(CommitOrAbort::<_, ()>::Commit(events))
    })?;
    Ok(made.unwrap_commit())
}

pub struct Appending<'e> {
    engine: &'e Lmdb,
    events: Events<'e>,
}

impl Writer for Appending<'_> {
    fn append(&mut self, events: &[&[u8]]) -> Result<()> {
        let mut next = self.engine.next.lock();
        let mut transaction = self.engine.environment.write_txn()?;
        let mut key = *next;
        for event in events {
            self.events.put_with_flags(&mut transaction, PutFlags::APPEND, &key, event)?;
            key += 1;
        }
        transaction.commit()?;
        *next = key;
        Ok(())
    }
}
