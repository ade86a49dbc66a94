//! What an append returns: where the records are, and a way to wait until they are durable.

use std::ops::Range;

use super::core::Core;
use crate::error::Result;
use crate::types::{Offset, Place};

/// Records that are visible, and may be waited for until they are durable.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let log = esker::Log::open(folder.path())?;
/// let ticket = log.append(b"created #1")?;
/// assert_eq!(ticket.offset(), esker::Offset::new(0));
/// ticket.wait()?;
/// assert!(log.durable() > ticket.offset());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
#[must_use = "the records are visible, but not yet durable: wait() for that, or let go with `let _ =`"]
pub struct Ticket<'a> {
    pub(super) core: &'a Core,
    pub(super) end: Place,
    pub(super) first: Offset,
    pub(super) next: Offset,
}

impl Ticket<'_> {
    /// The same, borrowed from another handle on the same log.
    pub(super) fn of(self, core: &Core) -> Ticket<'_> {
        Ticket { core, ..self }
    }

    /// Offset of the first record.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.first
    }

    /// Offsets of all records.
    #[must_use]
    pub fn offsets(&self) -> Range<Offset> {
        self.first..self.next
    }

    /// How many records; none for an empty batch.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.next.since(self.first)
    }

    /// Whether it is the ticket of an empty batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first == self.next
    }

    /// The place just behind the records. Whoever keeps it can wait for it later with
    /// [`Log::wait_durable`](crate::Log::wait_durable).
    #[must_use]
    pub fn place(&self) -> Place {
        self.end
    }

    /// Blocks until the records, and all before them, are durable.
    ///
    /// # Errors
    /// [`ErrorKind::Poisoned`](crate::ErrorKind::Poisoned): a sync failed. The records may or may not survive; an error
    /// here never means "not written".
    ///
    /// # Durability
    /// When this returns `Ok`, a sync that began after the records were stored has covered them.
    pub fn wait(&self) -> Result<()> {
        self.core.wait_durable(self.end)
    }
}

impl std::fmt::Debug for Ticket<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("offsets", &self.offsets()).field("place", &self.end).finish()
    }
}
