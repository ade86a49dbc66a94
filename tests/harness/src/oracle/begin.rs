//! Where a log begins that is dropped from.

use super::{Found, History, Visible};
use crate::numbers::{index as index_of, length};

/// Where the log may begin.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Begin {
    /// Acknowledged: it begins no lower.
    least: u64,
    /// Asked for: it begins no higher.
    most: u64,
}

impl Begin {
    pub(super) fn settle(&mut self, start: u64) {
        *self = Self { least: start, most: start };
    }
}

impl History {
    /// All before this offset is about to be dropped, as far as nothing holds it.
    pub fn drops(&mut self, offset: u64) {
        self.begin.most = self.begin.most.max(offset);
    }

    /// It was acknowledged that the log begins here.
    pub fn begins(&mut self, offset: u64) {
        self.begin.least = self.begin.least.max(offset);
    }

    /// A cursor without contract holds all that it has not passed.
    pub(super) fn judge_begin(&self, found: &Found) -> Result<(), String> {
        let (start, Begin { least, most }) = (found.start, self.begin);
        if start < least || start > most {
            return Err(format!("the log begins at {start}; acknowledged was {least}, asked for {most}"));
        }
        let holds = |name: &[u8]| !found.state.contains_key(&[b"#", name].concat());
        let lost =
            found.state.iter().find(|(key, offset)| key.strip_prefix(b"@").is_some_and(holds) && **offset < start);
        lost.map_or(Ok(()), |(key, offset)| {
            Err(format!("cursor {} holds from {offset} on, and the log begins at {start}", key.escape_ascii()))
        })
    }

    /// What was found, before it what was known to lie there, and between what a compaction may have taken.
    pub(super) fn whole(&self, found: &Found) -> Result<Found, String> {
        let mut records = self.settled.records.clone();
        for visible in &self.visible {
            if length(records.len()) == visible.first {
                records.extend(&visible.frame.records);
            }
        }
        let Some(below) = records.get(..index_of(found.start)) else {
            return Err(format!("the log begins at {}, and only {} records are known", found.start, records.len()));
        };
        let mut whole: Vec<u64> = below.iter().chain(&found.records).copied().collect();
        self.put_back(&records, &mut whole)?;
        Ok(Found { records: whole, ..found.clone() })
    }

    /// Whether all that a frame holds may be gone.
    pub(super) fn may_be_dropped(&self, frame: &Visible) -> bool {
        frame.first + length(frame.frame.records.len()) <= self.begin.most
    }
    /// Whether all that stands in a segment up to where it is known may be gone.
    #[must_use]
    pub fn may_be_gone(&self, segment: u64) -> bool {
        let last = self.visible.iter().rev().find(|frame| frame.place.segment == segment);
        last.map_or(length(self.settled.records.len()) <= self.begin.most, |last| self.may_be_dropped(last))
    }
}
