//! esker, as it is opened by default.
//!
//! Setting: the defaults. An append is visible when it returns; a durable one waits for its ticket, and the tickets of
//! several threads share a sync. Readers read the map, and check every frame.

use std::path::Path;

use ::esker::{Log, Record};
use anyhow::Result;

use super::{Durability, Engine, Modes, Writer};
use crate::tally::Tally;

pub struct Esker {
    log: Log,
    durability: Durability,
}

impl Engine for Esker {
    const NAME: &'static str = "esker";
    const CRATE: &'static str = "esker";
    const MODES: Modes = Modes::Both;
    const SETTING: &'static str = "defaults; durable: append, then Ticket::wait";

    type Writer<'e> = &'e Self;

    fn open(folder: &Path, durability: Durability) -> Result<Self> {
        Ok(Self { log: Log::open(folder)?, durability })
    }

    fn writer(&self, _thread: u64) -> Result<&Self> {
        Ok(self)
    }

    fn scan(&mut self, tally: &mut Tally) -> Result<()> {
        let mut reader = self.log.reader();
        while let Some(batch) = reader.poll()? {
            for record in &batch {
                tally.take(record.payload());
            }
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        Ok(self.log.close()?)
    }
}

impl Writer for &Esker {
    #[inline]
    fn append(&mut self, events: &[&[u8]]) -> Result<()> {
        let ticket = match events {
            [one] => self.log.append(Record::new(one))?,
            several => self.log.append_batch(several.iter().map(|event| Record::new(*event)).collect::<Vec<_>>())?,
        };
        if self.durability == Durability::Durable {
            ticket.wait()?;
        }
        Ok(())
    }
}
