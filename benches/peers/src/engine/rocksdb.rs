//! RocksDB: an LSM tree with a write-ahead log, keys that count up, one write batch a call.
//!
//! Setting: what is measured is the write-ahead log and the table in memory: write buffers of 512 MiB, more than a pass
//! writes, so that no compaction runs beside it. No compression, since the events do not compress. Visible: the default
//! write options: the log reaches the system. Durable: `WriteOptions::sync`; writers that wait at once are one group with
//! one sync. Reads are by the iterator, with checksums, the default.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ::rocksdb::{DB, DBCompressionType, Options, WriteBatch, WriteOptions};
use anyhow::Result;

use super::{Durability, Engine, Modes, Writer};
use crate::tally::Tally;

const WRITE_BUFFER_BYTES: usize = 512 << 20;

pub struct RocksDb {
    database: DB,
    /// Key of the next event. Relaxed: it only has to be unique.
    next: AtomicU64,
    durability: Durability,
}

impl Engine for RocksDb {
    const NAME: &'static str = "RocksDB";
    const CRATE: &'static str = "rocksdb";
    const MODES: Modes = Modes::Both;
    const SETTING: &'static str = "write buffers of 512 MiB, no compression; durable: WriteOptions::sync";

    type Writer<'e> = Appending<'e>;

    fn open(folder: &Path, durability: Durability) -> Result<Self> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        options.set_compression_type(DBCompressionType::None);
        Ok(Self { database: DB::open(&options, folder)?, next: AtomicU64::new(0), durability })
    }

    fn writer(&self, _thread: u64) -> Result<Appending<'_>> {
        let mut options = WriteOptions::default();
        options.set_sync(self.durability == Durability::Durable);
        Ok(Appending { engine: self, options })
    }

    fn scan(&mut self, tally: &mut Tally) -> Result<()> {
        let mut iterator = self.database.raw_iterator();
        iterator.seek_to_first();
        while let Some(event) = iterator.value() {
            tally.take(event);
            iterator.next();
        }
        Ok(iterator.status()?)
    }

    fn close(self) -> Result<()> {
        Ok(self.database.flush_wal(true)?)
    }
}

pub struct Appending<'e> {
    engine: &'e RocksDb,
    options: WriteOptions,
}

impl Writer for Appending<'_> {
    fn append(&mut self, events: &[&[u8]]) -> Result<()> {
        let key = self.engine.next.fetch_add(crate::tally::length(events.len()), Ordering::Relaxed);
        if let [one] = events {
            return Ok(self.engine.database.put_opt(key.to_be_bytes(), one, &self.options)?);
        }
        let mut batch = WriteBatch::default();
        for (key, event) in (key..).zip(events) {
            batch.put(key.to_be_bytes(), event);
        }
        Ok(self.engine.database.write_opt(batch, &self.options)?)
    }
}
