//! walrus-rust: topics in blocks of 10 MiB, read by cursors that are kept.
//!
//! Setting: the backend of file descriptors, the default, with `io_uring` for batches. Visible: `FsyncSchedule::NoFsync`, by
//! its docs the maximum of throughput. Durable: `FsyncSchedule::SyncEach`, which opens the files with `O_SYNC` and calls
//! `fsync` after each write besides. Reads: `AtLeastOnce` with the cursor kept as rarely as possible, in portions of 8 MiB,
//! of which the engine gives 2,000 events at most.
//! Where its files lie is said by the variable `WALRUS_DATA_DIR` alone, which is set for each pass.

use std::path::Path;

use anyhow::Result;
use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus as Log};

use super::{Durability, Engine, Modes, Writer};
use crate::tally::Tally;

const TOPIC: &str = "events";
const READ_BYTES: usize = 8 << 20;

pub struct Walrus {
    log: Log,
}

impl Engine for Walrus {
    const NAME: &'static str = "walrus";
    const CRATE: &'static str = "walrus-rust";
    const MODES: Modes = Modes::Both;
    const SETTING: &'static str = "fd backend, AtLeastOnce; visible: NoFsync; durable: SyncEach";

    type Writer<'e> = &'e Self;

    fn open(_folder: &Path, durability: Durability) -> Result<Self> {
        let schedule = match durability {
            Durability::Visible => FsyncSchedule::NoFsync,
            Durability::Durable => FsyncSchedule::SyncEach,
        };
        let consistency = ReadConsistency::AtLeastOnce { persist_every: u32::MAX };
        Ok(Self { log: Log::with_consistency_and_schedule(consistency, schedule)? })
    }

    fn writer(&self, _thread: u64) -> Result<&Self> {
        Ok(self)
    }

    fn scan(&mut self, tally: &mut Tally) -> Result<()> {
        loop {
            let read = self.log.batch_read_for_topic(TOPIC, READ_BYTES, true)?;
            if read.is_empty() {
                return Ok(());
            }
            for event in &read {
                tally.take(&event.data);
            }
        }
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Writer for &Walrus {
    fn append(&mut self, events: &[&[u8]]) -> Result<()> {
        match events {
            [one] => Ok(self.log.append_for_topic(TOPIC, one)?),
            several => Ok(self.log.batch_append_for_topic(TOPIC, several)?),
        }
    }
}
