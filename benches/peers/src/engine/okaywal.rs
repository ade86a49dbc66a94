//! okaywal: a write-ahead log that shares syncs between threads. Every commit syncs; there is no other mode.
//!
//! Setting: a file that is preallocated, as its docs call critical for performance, here with room for a whole pass
//! (the default of 1 MiB would hand the events to a checkpoint, which takes them out of the log, within a second), and
//! a buffer of 64 KiB instead of 16. An entry is a call, a chunk an event.
//! The log is read in order by recovery only: a scan is an open that is handed every entry, checksums looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};
use anyhow::{Context, Result};
use parking_lot::Mutex;

use super::{Durability, Engine, Modes, Writer};
use crate::tally::Tally;

const PREALLOCATED_BYTES: u32 = 256 << 20;
const BUFFER_BYTES: usize = 64 << 10;

pub struct OkayWal {
    folder: PathBuf,
    log: Option<WriteAheadLog>,
}

/// Takes what recovery hands out, if there is somebody to take it.
#[derive(Debug)]
struct Recovered(Option<Arc<Mutex<Tally>>>);

impl LogManager for Recovered {
    fn recover(&mut self, entry: &mut Entry<'_>) -> std::io::Result<()> {
        let Some(tally) = &self.0 else { return Ok(()) };
        let mut tally = tally.lock();
        for event in entry.read_all_chunks()?.into_iter().flatten() {
            tally.take(&event);
        }
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> std::io::Result<()> {
        Err(std::io::Error::other("a checkpoint, which no pass is long enough for"))
    }
}

fn open(folder: &Path, recovered: Recovered) -> Result<WriteAheadLog> {
    let configuration = Configuration::default_for(folder)
        .preallocate_bytes(PREALLOCATED_BYTES)
        .checkpoint_after_bytes(u64::MAX)
        .buffer_bytes(BUFFER_BYTES);
    Ok(configuration.open(recovered)?)
}

impl Engine for OkayWal {
    const NAME: &'static str = "okaywal";
    const CRATE: &'static str = "okaywal";
    const MODES: Modes = Modes::DurableOnly;
    const SETTING: &'static str = "256 MiB preallocated, no checkpoints, 64 KiB buffer; every commit syncs";

    type Writer<'e> = &'e Self;

    fn open(folder: &Path, _durability: Durability) -> Result<Self> {
        let log = Some(open(folder, Recovered(None))?);
        Ok(Self { folder: folder.to_owned(), log })
    }

    fn writer(&self, _thread: u64) -> Result<&Self> {
        Ok(self)
    }

    fn scan(&mut self, tally: &mut Tally) -> Result<()> {
        self.log.take().context("okaywal: the log is open")?.shutdown()?;
        let met = Arc::new(Mutex::new(Tally::default()));
        self.log = Some(open(&self.folder, Recovered(Some(Arc::clone(&met))))?);
        *tally = *met.lock();
        Ok(())
    }

    fn close(self) -> Result<()> {
        Ok(self.log.context("okaywal: the log is open")?.shutdown()?)
    }
}

impl Writer for &OkayWal {
    fn append(&mut self, events: &[&[u8]]) -> Result<()> {
        let log = self.log.as_ref().context("okaywal: the log is open")?;
        let mut entry = log.begin_entry()?;
        for event in events {
            entry.write_chunk(event)?;
        }
        entry.commit()?;
        Ok(())
    }
}
