//! What a reader says where it cannot go on.

use super::{Limit, Reader};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Fault, segment_name};
use crate::log::catalog::Entry;
use crate::log::start::trimmed;
use crate::log::survey::{corrupt, io_error};
use crate::log::window::{Scan, Scanned, View};
use crate::types::{Offset, Place};

impl Reader {
    /// Opens a segment to read from `offset` on.
    pub(super) fn open(&self, entry: &Entry, offset: Offset) -> Result<View> {
        let opened = self.source.view(entry, self.mode);
        // If it was dropped meanwhile, that says more than that it is not there.
        self.check_trimmed(offset)?;
        opened
    }

    /// Refuses an offset below the start of the log.
    pub(super) fn check_trimmed(&self, offset: Offset) -> Result<()> {
        let start = self.source.start();
        if offset < start { Err(trimmed(offset, start)) } else { Ok(()) }
    }

    pub(super) fn damage(&self, place: Place, offset: Offset, fault: Fault) -> Error {
        corrupt(fault.to_string())
            .at_path(self.source.disk().directory().join(segment_name(place.segment)))
            .at_place(place)
            .at_offset(offset)
    }

    pub(super) fn gap(&self, place: Place, offset: Offset, next: Offset) -> Error {
        let text = format!("records {offset} up to {next} are lost: a repair left a gap");
        Error::new(ErrorKind::Gap { next }, text)
            .at_path(self.source.disk().directory().join(segment_name(place.segment)))
            .at_place(place)
            .at_offset(offset)
            .next_step("step over it, or seek behind it")
    }

    pub(super) fn diverged(&self, limit: Limit) -> Result<Error> {
        let number = self.place.segment;
        let next = self.source.entry(&|catalog| catalog.after(number).cloned())?;
        let at = next.map_or(self.next, |entry| entry.header.first_offset);
        let text = format!(
            "the writer died, and the log goes on from position {}, before what this reader saw",
            limit.position
        );
        Ok(Error::new(ErrorKind::Diverged { at }, text)
            .at_path(self.source.disk().directory().join(segment_name(number)))
            .at_place(self.place)
            .next_step("seek to an offset that is still there"))
    }

    pub(super) fn gone(&self, offset: Offset) -> Error {
        corrupt("no segment holds the offset").at_path(self.source.disk().directory()).at_offset(offset)
    }

    pub(super) fn read_error(&self, number: u64, error: std::io::Error) -> Error {
        io_error(self.source.disk(), "read the segment", &segment_name(number), error)
    }

    /// What stands in the way of a search that stopped.
    pub(super) fn astray(&self, number: u64, scan: &mut Scan, stopped: &Scanned, offset: Offset) -> Error {
        match scan.blame(stopped) {
            Ok(fault) => self.damage(Place::new(number, scan.position), offset, fault),
            Err(error) => self.read_error(number, error),
        }
    }
}
