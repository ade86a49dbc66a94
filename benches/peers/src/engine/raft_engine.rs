//! raft-engine: TiKV's log for many Raft groups. Each thread writes to a group of its own, as its users do.
//!
//! Setting: the defaults, with compression off, since the events do not compress (the default would try batches over
//! 8 KiB). `Engine::write` with `sync` makes a batch durable; threads that write at once are one group with one sync.
//! Readers get entries in portions; the engine reads the entries of one call from the file at once.

use std::path::Path;

use ::raft_engine::{Config, Engine as Log, LogBatch, MessageExt, ReadableSize};
use anyhow::{Context, Result};
use protobuf::descriptor::UninterpretedOption;

use super::{Durability, Engine, Modes, Writer};
use crate::tally::Tally;

/// Entries of a read.
const PORTION: u64 = 4096;

/// An entry: an index and bytes. A Raft entry is that, with a term and a type; its crate would bring a compiler of
/// protobuf along, and this type of protobuf's own library has both fields.
#[derive(Clone)]
struct Indexed;

impl MessageExt for Indexed {
    type Entry = UninterpretedOption;

    fn index(entry: &UninterpretedOption) -> u64 {
        entry.get_positive_int_value()
    }
}

pub struct RaftEngine {
    log: Log,
    durability: Durability,
}

impl Engine for RaftEngine {
    const NAME: &'static str = "raft-engine";
    const CRATE: &'static str = "raft-engine";
    const MODES: Modes = Modes::Both;
    const SETTING: &'static str =
        "defaults without compression; a Raft group for each thread; durable: write with sync";

    type Writer<'e> = Appending<'e>;

    fn open(folder: &Path, durability: Durability) -> Result<Self> {
        let dir = folder.to_str().context("the folder's name is not UTF-8")?.to_owned();
        let config = Config { dir, batch_compression_threshold: ReadableSize(0), ..Config::default() };
        Ok(Self { log: Log::open(config)?, durability })
    }

    fn writer(&self, thread: u64) -> Result<Appending<'_>> {
        let next = self.log.last_index(thread).map_or(0, |last| last + 1);
        Ok(Appending { engine: self, thread, next, batch: LogBatch::default(), entries: Vec::new() })
    }

    fn scan(&mut self, tally: &mut Tally) -> Result<()> {
        let mut entries = Vec::new();
        for group in self.log.raft_groups() {
            let (Some(first), Some(last)) = (self.log.first_index(group), self.log.last_index(group)) else { continue };
            let mut from = first;
            while from <= last {
                let to = (from + PORTION).min(last + 1);
                entries.clear();
                self.log.fetch_entries_to::<Indexed>(group, from, to, None, &mut entries)?;
                for entry in &entries {
                    tally.take(entry.get_string_value());
                }
                from = to;
            }
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        Ok(self.log.sync()?)
    }
}

pub struct Appending<'e> {
    engine: &'e RaftEngine,
    thread: u64,
    next: u64,
    /// Empty between calls; kept for its memory, as the entries are.
    batch: LogBatch,
    entries: Vec<UninterpretedOption>,
}

impl Writer for Appending<'_> {
    fn append(&mut self, events: &[&[u8]]) -> Result<()> {
        self.entries.resize_with(events.len(), UninterpretedOption::default);
        for (entry, event) in self.entries.iter_mut().zip(events) {
            entry.set_positive_int_value(self.next);
            let bytes = entry.mut_string_value();
            bytes.clear();
            bytes.extend_from_slice(event);
            self.next += 1;
        }
        self.batch.add_entries::<Indexed>(self.thread, &self.entries)?;
        self.engine.log.write(&mut self.batch, self.engine.durability == Durability::Durable)?;
        Ok(())
    }
}
