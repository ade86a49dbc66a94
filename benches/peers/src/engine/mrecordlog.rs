//! mrecordlog: the log of Quickwit's ingest, kept in memory as a whole beside its files.
//!
//! Setting: `SyncPolicy::OnAppend`, the default: a call returns when what it wrote has reached the system. One record log,
//! one of its logs in it. Its calls are futures of tokio; the runtime is the current thread, which the crate's writes hand
//! over to a helper thread of tokio, as tokio does with files. Reads are from memory; that is what the crate does.
//!
//! Not durable: `sync` flushes the buffer to the system, and neither calls `fsync` nor `fdatasync`.

use std::path::Path;

use ::mrecordlog::{MultiRecordLog, SyncPolicy};
use anyhow::{Result, anyhow};
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::{Builder, Runtime};

use super::{Durability, Engine, Modes, Writer};
use crate::tally::Tally;

const NAME_INSIDE: &str = "events";

pub struct Mrecordlog {
    runtime: Runtime,
    log: Mutex<MultiRecordLog>,
}

impl Engine for Mrecordlog {
    const NAME: &'static str = "mrecordlog";
    const CRATE: &'static str = "mrecordlog";
    const MODES: Modes = Modes::VisibleOnly;
    const SETTING: &'static str = "SyncPolicy::OnAppend, the default, which does not sync";

    type Writer<'e> = Appending<'e>;

    fn open(folder: &Path, _durability: Durability) -> Result<Self> {
        let runtime = Builder::new_current_thread().build()?;
        let log = runtime.block_on(async {
            let mut log = MultiRecordLog::open_with_prefs(folder, SyncPolicy::OnAppend).await?;
            if !log.queue_exists(NAME_INSIDE) {
                log.create_queue(NAME_INSIDE).await?;
            }
            anyhow::Ok(log)
        })?;
        Ok(Self { runtime, log: Mutex::new(log) })
    }

    fn writer(&self, _thread: u64) -> Result<Appending<'_>> {
        Ok(Appending { runtime: &self.runtime, log: self.log.lock() })
    }

    fn scan(&mut self, tally: &mut Tally) -> Result<()> {
        for (_position, event) in
            self.log.get_mut().range(NAME_INSIDE, ..).map_err(|missing| anyhow!("no log {}", missing.0))?
        {
            tally.take(&event);
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        let mut log = self.log.into_inner();
        Ok(self.runtime.block_on(log.sync())?)
    }
}

/// Holds the log for as long as it writes: there is one writer, since the durable workloads leave this engine out.
pub struct Appending<'e> {
    runtime: &'e Runtime,
    log: MutexGuard<'e, MultiRecordLog>,
}

impl Writer for Appending<'_> {
    fn append(&mut self, events: &[&[u8]]) -> Result<()> {
        let appending = self.log.append_records(NAME_INSIDE, None, events.iter().copied());
        self.runtime.block_on(appending)?;
        Ok(())
    }
}
