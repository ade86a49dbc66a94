//! What a reader says where it cannot go on.

use super::{Limit, Reader};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Fault, segment_name};
use crate::log::start::trimmed;
use crate::log::survey::{corrupt, io_error};
use crate::platform::Disk;
use crate::types::{Offset, Place};

/// What stands at a place is not what was stored there.
pub(crate) fn damage(disk: &dyn Disk, place: Place, offset: Offset, fault: Fault) -> Error {
    corrupt(fault.to_string())
        .at_path(disk.directory().join(segment_name(place.segment)))
        .at_place(place)
        .at_offset(offset)
}

/// What stood at a place was given up.
pub(crate) fn gap(disk: &dyn Disk, place: Place, offset: Offset, next: Offset) -> Error {
    let text = format!("records {offset} up to {next} are lost: a repair left a gap");
    Error::new(ErrorKind::Gap { next }, text)
        .at_path(disk.directory().join(segment_name(place.segment)))
        .at_place(place)
        .at_offset(offset)
        .next_step("step over it, or seek behind it")
}

impl Reader {
    /// Where what it reads begins: the log, or the first of its topics to begin.
    pub(super) fn start(&self) -> Offset {
        let topics = self.matching.as_ref().map(|matching| self.source.topics_start(matching.filter.asked()));
        self.source.start().max(topics.unwrap_or_default())
    }

    /// Refuses an offset below the start of what it reads.
    pub(super) fn check_trimmed(&self, offset: Offset) -> Result<()> {
        let start = self.start();
        if offset >= start {
            return Ok(());
        }
        let of_log = offset < self.source.start();
        Err(trimmed(if of_log { "the log" } else { "what is left of its topics" }, offset, start))
    }

    pub(super) fn damage(&self, place: Place, offset: Offset, fault: Fault) -> Error {
        damage(self.source.disk(), place, offset, fault)
    }

    pub(super) fn gap(&self, place: Place, offset: Offset, next: Offset) -> Error {
        gap(self.source.disk(), place, offset, next)
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
}
