//! The anchor file: a note of what is already durable, so that a lost last file or half a copy is noticed.
//!
//! Guarantees:
//! 1. What is written was durable before: losing the note loses nothing, and a stale note is true.
//! 2. A note that cannot be written is counted, and changes nothing else.

use std::sync::Arc;

use super::survey::ANCHOR_NAME;
use crate::format::ANCHOR_BYTES;
use crate::format::anchor::Anchor;
use crate::platform::{Access, Disk, File};
use crate::types::{Line, StoreId, Timestamp, length};

/// Writes the two slots in turn.
#[derive(Debug)]
pub(crate) struct AnchorFile {
    file: Option<Arc<dyn File>>,
    store_id: StoreId,
    sequence: u64,
    written: Line,
    pub(crate) failures: u64,
}

impl AnchorFile {
    pub(crate) fn new(store_id: StoreId, found: Option<&Anchor>) -> Self {
        let sequence = found.map_or(0, |anchor| anchor.sequence);
        Self { file: None, store_id, sequence, written: Line::default(), failures: 0 }
    }

    /// The durable line that was noted last.
    pub(crate) fn written(&self) -> Line {
        self.written
    }

    /// Notes a durable line; `clean` says that the log was closed there, and makes the note durable itself.
    pub(crate) fn write(&mut self, disk: &dyn Disk, durable: Line, time_max: Timestamp, clean: Option<Clean>) {
        let sequence = self.sequence.wrapping_add(1);
        let note = Anchor {
            store_id: self.store_id,
            sequence,
            segment_highest: durable.place.segment,
            durable,
            time_max,
            clean: clean.is_some(),
        };
        match self.store(disk, &note) {
            Ok(()) => (self.sequence, self.written) = (sequence, durable),
            Err(_) => self.failures = self.failures.saturating_add(1),
        }
    }

    fn store(&mut self, disk: &dyn Disk, note: &Anchor) -> std::io::Result<()> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => Self::open(disk)?,
        };
        let (position, slot) = note.encode();
        file.write_at(&slot, position)?;
        if note.clean {
            file.sync()?;
        }
        self.file = Some(file);
        Ok(())
    }

    fn open(disk: &dyn Disk) -> std::io::Result<Arc<dyn File>> {
        match disk.open(ANCHOR_NAME, Access::Write) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                disk.create(ANCHOR_NAME, length(ANCHOR_BYTES))
            }
            file => file,
        }
    }
}

/// Says that the log was closed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clean;
