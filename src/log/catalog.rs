//! The segments of the log in order, and how to open one for reading.
//!
//! Guarantees:
//! 1. Entries are ordered by number, first offset and time; all but the last have an end.
//! 2. A segment stays open while it is active or not yet durable; later only while somebody reads it.
//! 3. What is opened by the name of an entry is the file of the entry: another one that has its name by now is an error.
//! 4. [`Catalog::replacements`] grows with each entry that takes the place of others, and in no other way.

use std::sync::{Arc, Weak};

use super::survey::{Member, corrupt, io_error};
use super::window::View;
use crate::error::Result;
use crate::format::header::{self, SegmentHeader};
use crate::format::segment_name;
use crate::platform::{Access, Disk, File};
use crate::segment::Segment;
use crate::types::{Line, Offset, Place, Timestamp, length};

#[derive(Debug, Default)]
pub(crate) struct Catalog {
    entries: Vec<Entry>,
    replacements: u64,
}

/// A segment of the log.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) header: SegmentHeader,
    /// Where its frames end, once that is settled.
    pub(crate) end: Option<u64>,
    pub(crate) handle: Handle,
}

/// What is held of a segment.
#[derive(Debug, Clone)]
pub(crate) enum Handle {
    /// Mapped and with its file, for the next sync.
    Open { segment: Arc<Segment>, file: Arc<dyn File> },
    /// Durable; mapped while a reader holds it.
    Cold(Weak<Segment>),
}

impl Entry {
    pub(crate) fn of_member(member: &Member) -> Self {
        Self { header: member.header, end: member.end, handle: Handle::Cold(Weak::new()) }
    }

    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }
}

impl Catalog {
    pub(crate) fn new(entries: Vec<Entry>) -> Self {
        Self { entries, replacements: 0 }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How often a segment was put in place of others.
    pub(crate) fn replacements(&self) -> u64 {
        self.replacements
    }

    /// Takes what was looked at anew, in which other files may have the old numbers.
    pub(crate) fn follow(&mut self, fresh: Self) {
        let is_another = |entry: &&Entry| {
            let known = self.get(entry.number());
            known.is_some_and(|known| known.header.incarnation != entry.header.incarnation)
        };
        let replaced = fresh.entries.iter().filter(is_another).count();
        self.replacements = self.replacements.saturating_add(length(replaced));
        self.entries = fresh.entries;
    }

    /// Makes room for one more, so that [`Catalog::roll`] need not.
    pub(crate) fn reserve(&mut self) {
        self.entries.reserve(1);
    }

    /// Ends the last segment and adds the next.
    pub(crate) fn roll(&mut self, end: u64, next: Entry) {
        if let Some(last) = self.entries.last_mut() {
            last.end = Some(end);
        }
        self.entries.push(next);
    }

    /// Takes the segments below this one off, but for the last.
    pub(crate) fn drop_below(&mut self, number: u64) -> Vec<Entry> {
        let below = self.entries.partition_point(|entry| entry.number() < number);
        self.entries.drain(..below.min(self.entries.len().saturating_sub(1))).collect()
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.binary_search_by_key(&number, Entry::number).ok().map(|at| &self.entries[at])
    }

    pub(crate) fn after(&self, number: u64) -> Option<&Entry> {
        self.entries.get(self.entries.partition_point(|entry| entry.number() <= number))
    }

    /// The entry whose file has this header. `None`: it was rewritten since, or dropped.
    pub(crate) fn of(&self, header: &SegmentHeader) -> Option<&Entry> {
        self.get(header.number).filter(|entry| entry.header.incarnation == header.incarnation)
    }

    /// The segment that holds `offset`, or the last before it.
    pub(crate) fn holding(&self, offset: Offset) -> Option<&Entry> {
        self.entries[..self.entries.partition_point(|entry| entry.header.first_offset <= offset)].last()
    }

    /// The last segment that begins below `offset`.
    pub(crate) fn below(&self, offset: Offset) -> Option<&Entry> {
        self.entries[..self.entries.partition_point(|entry| entry.header.first_offset < offset)].last()
    }

    /// Where whoever is through with the file that has this header finds `next`: in the segment that holds it, as that may
    /// stand for that file too by now, or in the one behind.
    pub(crate) fn beyond(&self, header: &SegmentHeader, next: Offset) -> Option<&Entry> {
        let other = |entry: &&Entry| entry.header.incarnation != header.incarnation;
        self.holding(next).filter(other).or_else(|| self.after(header.number))
    }

    /// The last segment before which no append time reached `time`.
    pub(crate) fn at_time(&self, time: Timestamp) -> Option<&Entry> {
        let behind = self.entries.partition_point(|entry| entry.header.time_max < time);
        self.entries[..behind].last().or(self.entries.first())
    }

    /// Sealed segments that end above the durable line.
    pub(crate) fn unproven(&self, durable: Place) -> usize {
        let above = |entry: &&Entry| entry.end.is_some_and(|end| Place::new(entry.number(), end) > durable);
        self.entries.iter().rev().skip(1).take_while(above).count()
    }

    /// What a sync from `durable` up to and with segment `last` has to cover, oldest first.
    pub(crate) fn open_between(&self, durable: Place, last: u64) -> Vec<(Arc<Segment>, Arc<dyn File>)> {
        let within = self.entries.iter().filter(|entry| (durable.segment..=last).contains(&entry.number()));
        within
            .filter_map(|entry| match &entry.handle {
                Handle::Open { segment, file } => Some((Arc::clone(segment), Arc::clone(file))),
                Handle::Cold(_) => None,
            })
            .collect()
    }

    /// Lets go of sealed segments that are durable in full, and returns them.
    pub(crate) fn cool(&mut self, durable: Line) -> Vec<(Arc<Segment>, Arc<dyn File>, u64)> {
        let mut cooled = Vec::new();
        for entry in &mut self.entries {
            let (Some(end), Handle::Open { segment, file }) = (entry.end, &entry.handle) else { continue };
            if Place::new(entry.header.number, end) <= durable.place {
                cooled.push((Arc::clone(segment), Arc::clone(file), end));
                entry.handle = Handle::Cold(Arc::downgrade(segment));
            }
        }
        cooled
    }

    /// Bytes of frames and headers in all settled segments.
    pub(crate) fn settled_bytes(&self) -> u64 {
        self.entries.iter().filter_map(|entry| entry.end).fold(0, u64::saturating_add)
    }

    /// Bytes of log between two places, headers of segments included.
    pub(crate) fn bytes_between(&self, from: Place, to: Place) -> u64 {
        let begin = self.entries.partition_point(|entry| entry.number() < from.segment);
        let within = self.entries[begin..].iter().take_while(|entry| entry.number() <= to.segment);
        within.fold(0, |sum, entry| {
            let start = if entry.number() == from.segment { from.position } else { 0 };
            let end = if entry.number() == to.segment { to.position } else { entry.end.unwrap_or_default() };
            sum.saturating_add(end.saturating_sub(start))
        })
    }

    /// Puts a rewritten segment in place of those that it stands for.
    pub(crate) fn replace(&mut self, rewritten: Entry) {
        let begin = self.entries.partition_point(|entry| entry.number() < rewritten.number());
        let end = self.entries.partition_point(|entry| entry.number() <= rewritten.header.last_number());
        self.entries.splice(begin..end, [rewritten]);
        self.replacements = self.replacements.saturating_add(1);
    }

    /// Notes that a segment was mapped, for the next who asks.
    pub(crate) fn remember(&mut self, segment: &Arc<Segment>) {
        let header = segment.header();
        if let Ok(at) = self.entries.binary_search_by_key(&header.number, Entry::number)
            && self.entries[at].header.incarnation == header.incarnation
            && let Handle::Cold(cold) = &mut self.entries[at].handle
        {
            *cold = Arc::downgrade(segment);
        }
    }
}

/// Maps a segment that is not open, for reading.
pub(crate) fn map_for_reading(disk: &dyn Disk, entry: &Entry) -> Result<Arc<Segment>> {
    let name = segment_name(entry.number());
    let file = open_for_reading(disk, entry)?;
    let end = entry.end.unwrap_or(entry.header.capacity);
    let found = file.length().map_err(|error| io_error(disk, "read the length", &name, error))?;
    if found < end {
        let text = format!("the file was cut to {found} bytes, its frames end at {end}");
        return Err(corrupt(text).at_path(disk.directory().join(name)));
    }
    let region = file.map(end, Access::Read).map_err(|error| io_error(disk, "map the segment", &name, error))?;
    Ok(Segment::sealed(entry.header, region, end))
}

/// Opens a segment's file, for copying from it.
pub(crate) fn copy_for_reading(disk: &dyn Disk, entry: &Entry) -> Result<View> {
    Ok(View::of_file(entry.header, open_for_reading(disk, entry)?))
}

fn open_for_reading(disk: &dyn Disk, entry: &Entry) -> Result<Arc<dyn File>> {
    let name = segment_name(entry.number());
    let file = super::survey::open_segment(disk, &name)?;
    let mut bytes = [0; header::BYTES];
    file.read_at(&mut bytes, 0).map_err(|error| io_error(disk, "read the segment header", &name, error))?;
    let expected = entry.header.incarnation;
    match SegmentHeader::decode(&bytes) {
        Ok(Some(found)) if found.incarnation != expected => {
            let text = format!(
                "another file took its place: incarnation {:016x}, {expected:016x} expected",
                found.incarnation
            );
            Err(corrupt(text).at_path(disk.directory().join(name)))
        }
        // A header that rotted since says nothing of the frames.
        _ => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::header::{Rewritten, sample};

    /// Segments of ten offsets each, from number 1 on; their incarnations are their numbers.
    fn entries(count: u64) -> Vec<Entry> {
        let header = |number| SegmentHeader {
            number,
            incarnation: number,
            first_offset: Offset::new(10 * (number - 1)),
            predecessor: None,
            ..sample()
        };
        let entry = |number| Entry { header: header(number), end: Some(8192), handle: Handle::Cold(Weak::new()) };
        (1..=count).map(entry).collect()
    }

    #[test]
    fn behind_a_file_comes_the_one_that_holds_the_next_offset_by_whatever_number() {
        let old = entries(6);
        let mut catalog = Catalog::new(old.clone());
        let beyond = |catalog: &Catalog, at: usize, next| {
            catalog.beyond(&old[at].header, Offset::new(next)).map(|entry| entry.header.incarnation)
        };
        assert_eq!((beyond(&catalog, 2, 30), beyond(&catalog, 5, 60)), (Some(4), None));
        assert_eq!(beyond(&catalog, 2, 25), Some(4), "what is missing behind its end is not looked for in it again");
        let rewritten = Rewritten {
            end: 8192,
            last_number: 5,
            end_offset: Offset::new(50),
            records: 0,
            incarnation: 5,
            original_end: 8192,
            places: crate::format::header::Places::Kept,
        };
        let header = SegmentHeader { generation: 1, incarnation: 77, rewritten: Some(rewritten), ..old[1].header };
        catalog.replace(Entry { header, ..old[1].clone() });
        assert_eq!(catalog.entries().iter().map(Entry::number).collect::<Vec<_>>(), [1, 2, 6]);
        assert_eq!(
            (beyond(&catalog, 0, 10), beyond(&catalog, 1, 20), beyond(&catalog, 2, 30)),
            (Some(77), Some(77), Some(77))
        );
        assert_eq!(beyond(&catalog, 4, 50), Some(6));
        assert_eq!(catalog.replacements(), 1);
        assert!(catalog.of(&old[1].header).is_none() && catalog.of(&header).is_some());
        let below = |offset| catalog.below(Offset::new(offset)).map(Entry::number);
        assert_eq!((below(0), below(10), below(11), below(50), below(51)), (None, Some(1), Some(2), Some(2), Some(6)));
    }

    #[test]
    fn a_file_of_another_incarnation_is_a_replacement_and_one_that_came_or_went_is_none() {
        let seen = entries(4);
        let mut catalog = Catalog::new(seen.clone());
        let mut follow = |entries: &[Entry]| {
            catalog.follow(Catalog::new(entries.to_vec()));
            (catalog.entries().len(), catalog.replacements())
        };
        assert_eq!((follow(&seen), follow(&entries(6)), follow(&seen[1..])), ((4, 0), (6, 0), (3, 0)));
        let header = SegmentHeader { generation: 1, incarnation: 77, ..seen[1].header };
        let rewritten = Entry { header, ..seen[1].clone() };
        assert_eq!((follow(std::slice::from_ref(&rewritten)), follow(&[rewritten])), ((1, 1), (1, 1)));
    }
}
