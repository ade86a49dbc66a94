//! commitlog: a log in the manner of Kafka, one `write` a call, and an index that is mapped.
//!
//! Setting: 1 GB segments, the default. The index of a segment begins with room for 100,000 events and is made longer as
//! they come; it begins here with room for all of them, so that this is no part of what is measured. Calls may be as large
//! as the workload's (default 1 MB).
//!
//! Not durable: `CommitLog::flush` calls `File::flush`, which does nothing for a file, and syncs the map of the index. The
//! events themselves are not synced, and the file that holds them is not lent out.

use std::path::Path;

use ::commitlog::message::{MessageBuf, MessageSet};
use ::commitlog::{CommitLog, LogOptions, ReadLimit};
use anyhow::{Result, anyhow};
use parking_lot::{Mutex, MutexGuard};

use super::{Durability, Engine, Modes, Writer};
use crate::tally::Tally;

const INDEX_EVENTS: usize = 4 << 20;
const CALL_BYTES_MAX: usize = 16 << 20;
const READ_BYTES: usize = 8 << 20;

pub struct Commitlog {
    log: Mutex<CommitLog>,
}

impl Engine for Commitlog {
    const NAME: &'static str = "commitlog";
    const CRATE: &'static str = "commitlog";
    const MODES: Modes = Modes::VisibleOnly;
    const SETTING: &'static str = "1 GB segments, index with room for 4 Mi events, reads of 8 MiB";

    type Writer<'e> = Appending<'e>;

    fn open(folder: &Path, _durability: Durability) -> Result<Self> {
        let mut options = LogOptions::new(folder);
        options.index_max_items(INDEX_EVENTS).message_max_bytes(CALL_BYTES_MAX);
        Ok(Self { log: Mutex::new(CommitLog::new(options)?) })
    }

    fn writer(&self, _thread: u64) -> Result<Appending<'_>> {
        Ok(Appending { log: self.log.lock(), batch: MessageBuf::default() })
    }

    fn scan(&mut self, tally: &mut Tally) -> Result<()> {
        let log = self.log.get_mut();
        let mut next = 0;
        loop {
            let read = log.read(next, ReadLimit::max_bytes(READ_BYTES))?;
            if read.is_empty() {
                return Ok(());
            }
            for event in read.iter() {
                tally.take(event.payload());
                next = event.offset() + 1;
            }
        }
    }

    fn close(self) -> Result<()> {
        Ok(self.log.into_inner().flush()?)
    }
}

/// Holds the log for as long as it writes: there is one writer, since the durable workloads leave this engine out.
pub struct Appending<'e> {
    log: MutexGuard<'e, CommitLog>,
    /// Used again in each call.
    batch: MessageBuf,
}

impl Writer for Appending<'_> {
    fn append(&mut self, events: &[&[u8]]) -> Result<()> {
        self.batch.clear();
        for event in events {
            self.batch.push(event).map_err(|error| anyhow!("commitlog: {error:?}"))?;
        }
        self.log.append(&mut self.batch)?;
        Ok(())
    }
}
