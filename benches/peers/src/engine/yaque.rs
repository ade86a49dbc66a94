//! yaque: a queue in files of 4 MiB, with one sender and one receiver.
//!
//! Setting: files of 128 MiB instead of 4, as ours has them; no limit of size, the default. Reads are by `QueueIter`, which
//! its docs recommend to who only reads, and which leaves the events where they are. The crate keeps a header with a parity
//! for each event, and no checksum.
//!
//! Not durable: nothing in the crate calls `fsync` or `fdatasync`.

use std::path::{Path, PathBuf};

use ::yaque::{QueueIter, Sender, SenderBuilder};
use anyhow::{Result, anyhow};
use parking_lot::{Mutex, MutexGuard};

use super::{Durability, Engine, Modes, Writer};
use crate::tally::Tally;

const FILE_BYTES: u64 = 128 << 20;

pub struct Yaque {
    folder: PathBuf,
    sender: Mutex<Sender>,
}

impl Engine for Yaque {
    const NAME: &'static str = "yaque";
    const CRATE: &'static str = "yaque";
    const MODES: Modes = Modes::VisibleOnly;
    const SETTING: &'static str = "files of 128 MiB, no limit of size; read by QueueIter";

    type Writer<'e> = MutexGuard<'e, Sender>;

    fn open(folder: &Path, _durability: Durability) -> Result<Self> {
        let sender = SenderBuilder::new().segment_size(FILE_BYTES).open(folder)?;
        Ok(Self { folder: folder.to_owned(), sender: Mutex::new(sender) })
    }

    /// There is one writer, since the durable workloads leave this engine out.
    fn writer(&self, _thread: u64) -> Result<MutexGuard<'_, Sender>> {
        Ok(self.sender.lock())
    }

    fn scan(&mut self, tally: &mut Tally) -> Result<()> {
        for event in QueueIter::open(&self.folder)? {
            tally.take(&event?);
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Writer for MutexGuard<'_, Sender> {
    fn append(&mut self, events: &[&[u8]]) -> Result<()> {
        match events {
            [one] => self.try_send(one).map_err(|error| anyhow!("yaque: {}", error.unwrap_io())),
            several => self.try_send_batch(several).map_err(|error| anyhow!("yaque: {}", error.unwrap_io())),
        }
    }
}
