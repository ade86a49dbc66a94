//! What is in the directory, and which files form the log: the chain.
//!
//! Guarantees:
//! 1. Nothing is changed: files are opened for reading, only their headers are read, and frames above a broken link.
//! 2. The chain is the newest valid header and all its predecessors, each matched by number and incarnation.
//! 3. A broken link at or above the durable line drops the newer part; one below it is corruption. A link to what the start
//!    line let go is the begin of the log.

use std::sync::Arc;

use super::checkpoint::{Unusable, read_header};
use super::start;
use super::window::{Scan, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::format::anchor::Anchor;
use crate::format::checkpoint::CheckpointHeader;
use crate::format::control::StartLine;
use crate::format::header::{self, Link, SegmentHeader};
use crate::format::{self, ANCHOR_BYTES, FRAMES_START, Fault};
use crate::platform::{Access, Disk, File, QUARANTINE};
use crate::segment::walk::Frames;
use crate::types::{Line, Offset, Place, index};

pub(crate) use crate::format::{ANCHOR_NAME, BALLAST_NAME};

const CACHE_LINE_BYTES: usize = 64;
/// Behind the header and session frame that a segment begins with.
const FIRST_FRAMES_END: u64 = FRAMES_START + format::align(36 + 40);
const OWN_NAMES: [&str; 4] = [ANCHOR_NAME, BALLAST_NAME, "lock", QUARANTINE];

/// A file with a segment's name.
#[derive(Debug, Clone)]
pub(crate) struct SegmentFile {
    pub(crate) name: String,
    pub(crate) number: u64,
    pub(crate) length: u64,
    /// `Ok(None)`: no header yet, a spare.
    pub(crate) header: std::result::Result<Option<SegmentHeader>, Fault>,
}

/// A file with a checkpoint's name.
#[derive(Debug, Clone)]
pub(crate) struct CheckpointFile {
    pub(crate) name: String,
    pub(crate) sequence: u64,
    pub(crate) header: std::result::Result<CheckpointHeader, Fault>,
}

/// Everything in the directory that matters.
#[derive(Debug)]
pub(crate) struct Survey {
    /// In the order of their numbers.
    pub(crate) files: Vec<SegmentFile>,
    /// In the order of their sequence.
    pub(crate) checkpoints: Vec<CheckpointFile>,
    /// Numbers of the segments that have an index file, whatever it holds.
    pub(crate) indexes: Vec<u64>,
    /// Names of what was being written: checkpoints, index files, and what a repair makes.
    pub(crate) drafts: Vec<String>,
    /// Whether space is held for the cleaner.
    pub(crate) has_ballast: bool,
    /// Slots of the anchor that are valid, of whatever store.
    pub(crate) anchors: Vec<Anchor>,
    /// Slots of the anchor that do not decode; they are ignored, and reported.
    pub(crate) anchor_faults: Vec<Fault>,
}

/// A segment of the chain. All but the last have an end, named by their successor.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) header: SegmentHeader,
    pub(crate) length: u64,
    pub(crate) end: Option<u64>,
}

/// The segments that form the log.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// Oldest first; empty if there is no log yet.
    pub(crate) members: Vec<Member>,
    /// The highest durable line that a header, the anchor, or a mark above a broken link carries.
    pub(crate) durable: Line,
    pub(crate) dropped: Option<Dropped>,
    /// The highest start line that the checkpoints carry, or frames that were asked why a segment is gone. Members below it
    /// are what its unlinks left.
    pub(crate) start: StartLine,
}

/// Segments that were begun and do not count, as a link to them is broken or their header is.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    pub(crate) cause: String,
    /// Valid frames and records in them.
    pub(crate) frames: u64,
    pub(crate) records: u64,
}

impl Member {
    /// Up to where frames may lie: its end if it has one, else what the file holds.
    pub(crate) fn limit(&self) -> u64 {
        self.end.unwrap_or(self.header.capacity).min(self.length)
    }
}

/// Whether this is the name of what is written in the background, and was not finished.
fn is_draft(name: &str) -> bool {
    format::is_checkpoint_draft(name) || format::is_index_draft(name)
}

/// Refuses a directory that holds something else and no log, before anything is put there.
pub(crate) fn refuse_other_use(disk: &dyn Disk) -> Result<()> {
    let names = disk.list().map_err(|error| io_error(disk, "list the directory", "", error))?;
    let is_own = |name: &String| {
        let of_log = format::segment_number(name).is_some() || format::checkpoint_sequence(name).is_some();
        let of_log = of_log || format::index_number(name).is_some();
        let leftover = is_draft(name) || format::is_repair_leftover(name);
        of_log || leftover || OWN_NAMES.contains(&name.as_str())
    };
    match names.iter().find(|name| !is_own(name)) {
        Some(stranger) if !names.iter().any(|name| format::segment_number(name).is_some()) => {
            Err(Error::new(ErrorKind::Invalid, format!("not a log: it holds {stranger:?}"))
                .at_path(disk.directory())
                .next_step("choose an empty directory, or one that holds a log"))
        }
        _ => Ok(()),
    }
}

/// Looks, and refuses what no open can go on with.
pub(crate) fn survey(disk: &dyn Disk) -> Result<Survey> {
    let survey = look(disk)?;
    check_headers(disk, &survey)?;
    Ok(survey)
}

fn look(disk: &dyn Disk) -> Result<Survey> {
    let mut survey = Survey {
        files: Vec::new(),
        checkpoints: Vec::new(),
        indexes: Vec::new(),
        drafts: Vec::new(),
        has_ballast: false,
        anchors: Vec::new(),
        anchor_faults: Vec::new(),
    };
    // Before the list: what a running writer notes later speaks of segments that this list does not have.
    read_anchor(disk, &mut survey)?;
    let mut names = disk.list().map_err(|error| io_error(disk, "list the directory", "", error))?;
    names.sort();
    for name in names {
        // A file may vanish between listing and opening, when a writer is at work.
        if let Some(number) = format::segment_number(&name)
            && let Some(file) = segment_file(disk, &name, number)?
        {
            survey.files.push(file);
        } else if let Some(sequence) = format::checkpoint_sequence(&name)
            && let Some(file) = checkpoint_file(disk, &name, sequence)?
        {
            survey.checkpoints.push(file);
        } else if let Some(number) = format::index_number(&name) {
            survey.indexes.push(number);
        } else if is_draft(&name) || format::is_repair_leftover(&name) {
            survey.drafts.push(name);
        } else if name == BALLAST_NAME {
            survey.has_ballast = true;
        }
    }
    survey.files.sort_by_key(|file| file.number);
    survey.checkpoints.sort_by_key(|file| file.sequence);
    Ok(survey)
}

fn segment_file(disk: &dyn Disk, name: &str, number: u64) -> Result<Option<SegmentFile>> {
    let file = match disk.open(name, Access::Read) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| io_error(disk, "open the segment", name, error))?,
    };
    let read_error = |error| io_error(disk, "read the segment header", name, error);
    let length = file.length().map_err(read_error)?;
    let mut bytes = [0; header::BYTES];
    let read = file.read_at(&mut bytes, 0).map_err(read_error)?;
    let header = if read == header::BYTES || bytes.iter().all(|byte| *byte == 0) {
        SegmentHeader::decode(&bytes)
    } else {
        Err(Fault::Short { found: crate::types::length(read), expected: crate::types::length(header::BYTES) })
    };
    Ok(Some(SegmentFile { name: name.to_owned(), number, length, header }))
}

/// `None`: it vanished, as a running writer replaces it.
fn checkpoint_file(disk: &dyn Disk, name: &str, sequence: u64) -> Result<Option<CheckpointFile>> {
    let header = match read_header(disk, name) {
        Ok(header) => Ok(header),
        Err(Unusable::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(Unusable::Closed(error)) => return Err(io_error(disk, "open the checkpoint", name, error)),
        // It can be done without, as when it is rotten.
        Err(Unusable::Io(error)) => Err(Fault::Unreadable { kind: error.kind() }),
        Err(Unusable::Bad(fault)) => Err(fault),
    };
    Ok(Some(CheckpointFile { name: name.to_owned(), sequence, header }))
}

fn read_anchor(disk: &dyn Disk, survey: &mut Survey) -> Result<()> {
    let unreadable = |error: &std::io::Error| Fault::Unreadable { kind: error.kind() };
    let file = match disk.open(ANCHOR_NAME, Access::Read) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) if is_no_file(&error) => {
            survey.anchor_faults.push(unreadable(&error));
            return Ok(());
        }
        file => file.map_err(|error| io_error(disk, "open the anchor", ANCHOR_NAME, error))?,
    };
    let mut bytes = [0; ANCHOR_BYTES];
    if let Err(error) = file.read_at(&mut bytes, 0) {
        survey.anchor_faults.push(unreadable(&error));
        return Ok(());
    }
    for slot in Anchor::decode(&bytes) {
        match slot {
            Ok(Some(slot)) => survey.anchors.push(slot),
            Ok(None) => {}
            Err(fault) => survey.anchor_faults.push(fault),
        }
    }
    Ok(())
}

/// Whether what has a file's name is there, and is no regular file. The engine can do without what should be there.
pub(crate) fn is_no_file(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    /// Too many links to follow: a link is not followed at all. On Linux, and on most other systems of its kind.
    const LINK: i32 = if cfg!(target_os = "linux") { 40 } else { 62 };
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::IsADirectory) || error.raw_os_error() == Some(LINK)
}

/// What no open can go on with: another format, a name that disagrees, another store's file.
fn check_headers(disk: &dyn Disk, survey: &Survey) -> Result<()> {
    let mut store_id = None;
    for file in &survey.files {
        let path = disk.directory().join(&file.name);
        match &file.header {
            Err(fault) if fault.is_unknown() => {
                return Err(Error::new(ErrorKind::Incompatible, fault.to_string())
                    .at_path(path)
                    .next_step("open it with the version of esker that wrote it, or a newer one"));
            }
            Ok(Some(header)) if header.number != file.number => {
                let text = format!("the name says segment {}, the header segment {}", file.number, header.number);
                return Err(corrupt(text).at_path(path).next_step("give the file its own name again"));
            }
            Ok(Some(header)) if *store_id.get_or_insert(header.store_id) != header.store_id => {
                let first = store_id.unwrap_or_default();
                let text = format!("belongs to store {}, the files before it to store {first}", header.store_id);
                return Err(corrupt(text).at_path(path).next_step("move it out of the directory"));
            }
            _ => {}
        }
    }
    check_cover(disk, survey)?;
    for file in &survey.checkpoints {
        if let Err(fault) = &file.header
            && fault.is_unknown()
        {
            return Err(Error::new(ErrorKind::Incompatible, fault.to_string())
                .at_path(disk.directory().join(&file.name))
                .next_step("open it with the version of esker that wrote it, or a newer one"));
        }
    }
    Ok(())
}

/// Of two files that stand for one number the higher generation counts; of the same generation none does.
fn check_cover(disk: &dyn Disk, survey: &Survey) -> Result<()> {
    let mut before: Option<&SegmentHeader> = None;
    for (file, header) in survey.valid() {
        if let Some(before) = before.filter(|before| before.last_number() >= header.number)
            && before.generation == header.generation
        {
            let text = format!("segment {} of the same generation stands for it too", before.number);
            let path = disk.directory().join(&file.name);
            return Err(corrupt(text).at_path(path).next_step("move one of the two out of the directory"));
        }
        if before.is_none_or(|before| before.last_number() < header.last_number()) {
            before = Some(header);
        }
    }
    Ok(())
}

/// Which of two headers is the newer.
fn rank(header: &SegmentHeader) -> (u64, u64, u32) {
    (header.epoch.counter, header.last_number(), header.generation)
}

impl Survey {
    /// What is in the directory, unjudged: headers may be of another format, another store, or under another's name.
    pub(crate) fn look(disk: &dyn Disk) -> Result<Self> {
        look(disk)
    }

    pub(crate) fn valid(&self) -> impl Iterator<Item = (&SegmentFile, &SegmentHeader)> {
        self.files.iter().filter_map(|file| Some((file, file.header.as_ref().ok()?.as_ref()?)))
    }

    /// The highest durable line that a header, a checkpoint or the anchor carries.
    pub(crate) fn durable(&self) -> Line {
        let headers = self.valid().map(|(_, header)| header.durable);
        let carried = headers.chain(self.own_checkpoints().map(|checkpoint| checkpoint.line));
        carried.chain(self.own_anchor().map(|anchor| anchor.durable)).max().unwrap_or_default()
    }

    /// Headers of the checkpoints that are of the same store as the segments.
    pub(crate) fn own_checkpoints(&self) -> impl Iterator<Item = &CheckpointHeader> {
        let headers = self.checkpoints.iter().filter_map(|file| file.header.as_ref().ok());
        headers.filter(|checkpoint| self.valid().all(|(_, header)| header.store_id == checkpoint.store_id))
    }

    /// The newest slot of the anchor that is of the same store as the segments; one of another does not count.
    pub(crate) fn own_anchor(&self) -> Option<&Anchor> {
        let is_own = |anchor: &&Anchor| self.valid().all(|(_, header)| header.store_id == anchor.store_id);
        self.anchors.iter().filter(is_own).max_by_key(|anchor| anchor.sequence)
    }

    /// The segments that form the log, and what a broken link dropped.
    pub(crate) fn chain(&self, disk: &dyn Disk) -> Result<Chain> {
        let (mut durable, mut start) = (self.durable(), self.start());
        let mut dropped: Option<Dropped> = None;
        let links = Links::of(self);
        let mut newest = self.newest_up_to(u64::MAX);
        while let Some((file, header)) = newest {
            let followed = match links.follow(file, header) {
                Err(broken) if self.is_begin(disk, &broken, &mut start, &mut durable)? => Ok(broken.followed),
                followed => followed,
            };
            match followed {
                Ok(members) => {
                    self.check_newest(disk, header.number)?;
                    return Ok(Chain { members, durable, dropped, start });
                }
                Err(broken) => {
                    let counted = count_all(disk, &broken.followed, &mut durable)?;
                    let text = format!("segment {} is missing or replaced: {}", broken.number, broken.cause);
                    if durable.place > Place::new(broken.number, FRAMES_START) {
                        return Err(corrupt(text).at_path(disk.directory().join(&broken.named_by)));
                    }
                    let before = dropped.take().unwrap_or_default();
                    dropped = Some(Dropped {
                        cause: text,
                        frames: before.frames.saturating_add(counted.0),
                        records: before.records.saturating_add(counted.1),
                    });
                    newest = self.newest_up_to(broken.above.saturating_sub(1));
                }
            }
        }
        if durable > Line::default() {
            let text = format!("no segment is left, but the log was durable up to {}", durable.place);
            return Err(corrupt(text).at_path(disk.directory()));
        }
        Ok(Chain::default())
    }

    /// Whether the log begins above a link that leads nowhere, as the start line says. Frames are asked if no checkpoint does.
    fn is_begin(
        &self,
        disk: &dyn Disk,
        broken: &BrokenLink,
        start: &mut StartLine,
        durable: &mut Line,
    ) -> Result<bool> {
        if start.segment < broken.above
            && let Some(found) = start::first_that_keeps(disk, &broken.followed, self.checkpointed(), broken.above)?
        {
            // A segment that is gone proves that the frame that lets it go was durable.
            (*start, *durable) = (found.start.max(*start), found.end.max(*durable));
        }
        Ok(start.segment >= broken.above)
    }

    /// The newest valid header among the files numbered up to `number`.
    pub(crate) fn newest_up_to(&self, number: u64) -> Option<(&SegmentFile, &SegmentHeader)> {
        self.valid().filter(|(file, _)| file.number <= number).max_by_key(|(_, header)| rank(header))
    }

    /// A segment behind the newest whose header was complete and is not valid, or that has none, and frames: the header never
    /// reached the disk, or was lost. What was in it is lost too. Reads what is behind headers that are not there.
    pub(crate) fn lost_above(&self, disk: &dyn Disk, newest: u64) -> Result<Option<Dropped>> {
        for file in self.files.iter().filter(|file| file.number > newest) {
            let cause = match &file.header {
                Err(fault) if *fault != Fault::Missing => fault.to_string(),
                Ok(None) | Err(_) if holds_frames(disk, file)? => "frames, and no header before them".to_owned(),
                _ => continue,
            };
            let cause = format!("segment {}: {cause}", file.number);
            return Ok(Some(Dropped { cause, ..Dropped::default() }));
        }
        Ok(None)
    }

    fn check_newest(&self, disk: &dyn Disk, newest: u64) -> Result<()> {
        match self.own_anchor() {
            Some(anchor) if anchor.segment_highest > newest => {
                let name = format::segment_name(anchor.segment_highest);
                let text = format!("segment {} is missing or its header is damaged", anchor.segment_highest);
                Err(corrupt(text).at_path(disk.directory().join(name)))
            }
            _ => Ok(()),
        }
    }
}

/// Where links lead. Following one does not look at all files, so that a long chain costs its length.
pub(crate) struct Links<'a> {
    /// In the order of their numbers.
    files: &'a [SegmentFile],
    /// What repairs wrote, by the number that links know it by, then by generation.
    rewritten: Vec<(&'a SegmentFile, &'a SegmentHeader)>,
}

impl<'a> Links<'a> {
    pub(crate) fn of(survey: &'a Survey) -> Self {
        let mut rewritten: Vec<_> = survey.valid().filter(|(_, header)| header.rewritten.is_some()).collect();
        rewritten.sort_by_key(|(_, header)| (header.last_number(), header.generation));
        Self { files: &survey.files, rewritten }
    }

    /// Of what stands for the link's segment, the highest generation.
    fn rewritten(&self, link: &Link) -> Option<(&'a SegmentFile, &'a SegmentHeader)> {
        let end = self.rewritten.partition_point(|(_, header)| header.last_number() <= link.number);
        let upwards = self.rewritten.get(..end).unwrap_or_default().iter().rev().copied();
        let mut of_number = upwards.take_while(|(_, header)| header.last_number() == link.number);
        of_number.find(|(_, header)| header.is_linked_by(link))
    }

    fn follow(&self, file: &SegmentFile, header: &SegmentHeader) -> std::result::Result<Vec<Member>, BrokenLink> {
        let mut chain = vec![member(file, header, None)];
        let mut current = *header;
        while let Some(link) = current.predecessor {
            let (found, before) = match self.linked(link, current.first_offset) {
                Ok(linked) => linked,
                Err(cause) => {
                    let named_by = format::segment_name(current.number);
                    let (number, above) = (link.number, current.number);
                    chain.reverse();
                    return Err(BrokenLink { number, above, named_by, cause, followed: chain });
                }
            };
            chain.push(member(found, before, Some(&link)));
            current = *before;
        }
        chain.reverse();
        Ok(chain)
    }

    /// The segment that a link leads to, or why the link does not hold; `first_offset` is that of the segment that has it.
    pub(crate) fn linked(
        &self,
        link: Link,
        first_offset: Offset,
    ) -> std::result::Result<(&'a SegmentFile, &'a SegmentHeader), String> {
        if let Some((file, header)) = self.rewritten(&link) {
            return if header.first_offset > first_offset {
                Err("it begins too late".to_owned())
            } else {
                Ok((file, header))
            };
        }
        let found = self.files.binary_search_by_key(&link.number, |file| file.number).map_err(|_| "no such file")?;
        let found = &self.files[found];
        let before = match &found.header {
            Ok(Some(before)) => before,
            Ok(None) => return Err("it has no header".to_owned()),
            Err(fault) => return Err(fault.to_string()),
        };
        if !before.is_linked_by(&link) {
            let found = before.known_incarnation();
            return Err(format!("incarnation {found:016x} found, {:016x} expected", link.incarnation));
        }
        if before.first_offset > first_offset || link.end < FRAMES_START || link.end > before.capacity {
            return Err(format!("it cannot end at position {}", link.end));
        }
        Ok((found, before))
    }
}

/// Counts valid frames and records of segments above a broken link; marks among them raise the durable line.
fn count_all(disk: &dyn Disk, members: &[Member], durable: &mut Line) -> Result<(u64, u64)> {
    let (mut frames, mut records) = (0_u64, 0_u64);
    for member in members {
        let within = Frames::new(&member.header, member.limit());
        let store = Store::File(open_segment(disk, &member.name)?);
        let mut scan = Scan::new(store, within, FRAMES_START, member.header.first_offset, member.limit());
        let counted = scan.count_on(member.header.number, durable);
        let counted = counted.map_err(|error| io_error(disk, "read the segment", &member.name, error))?;
        frames = frames.saturating_add(counted.0);
        records = records.saturating_add(counted.1);
    }
    Ok((frames, records))
}

fn member(file: &SegmentFile, header: &SegmentHeader, successor: Option<&Link>) -> Member {
    Member { name: file.name.clone(), header: *header, length: file.length, end: header.end(successor) }
}

/// A link of the chain that leads nowhere.
struct BrokenLink {
    /// What it leads to.
    number: u64,
    /// Who holds it.
    above: u64,
    named_by: String,
    cause: String,
    /// The segments from there on, oldest first.
    followed: Vec<Member>,
}

/// Opens a segment for looking. Files are opened one at a time, as there may be more segments than descriptors.
pub(crate) fn open_segment(disk: &dyn Disk, name: &str) -> Result<Arc<dyn File>> {
    disk.open(name, Access::Read).map_err(|error| io_error(disk, "open the segment", name, error))
}

/// Whether it is an error of a file that is not there.
pub(crate) fn is_missing(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.is_some_and(|source| source.kind() == std::io::ErrorKind::NotFound)
}

pub(crate) fn corrupt(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, text)
        .next_step("run esker verify; restore the file if there is a copy, or see what esker repair would do")
}

pub(crate) fn io_error(disk: &dyn Disk, attempt: &str, name: &str, error: std::io::Error) -> Error {
    let path = if name.is_empty() { disk.directory().to_owned() } else { disk.directory().join(name) };
    Error::io(attempt, error).at_path(path)
}

/// Whether a file without a valid header holds more than a segment begins with: all else is stored when the header and the
/// session frame behind it are there, and visible.
pub(crate) fn holds_frames(disk: &dyn Disk, file: &SegmentFile) -> Result<bool> {
    let opened = match disk.open(&file.name, Access::Read) {
        // A running writer took its spare back since the directory was listed.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        opened => opened.map_err(|error| io_error(disk, "open the segment", &file.name, error))?,
    };
    holds_bytes(&*opened, FIRST_FRAMES_END, file.length)
        .map_err(|error| io_error(disk, "read the segment", &file.name, error))
}

/// Whether a file holds anything but zeros from `start` to `length`.
pub(crate) fn holds_bytes(file: &dyn File, start: u64, length: u64) -> std::io::Result<bool> {
    let mut piece = vec![0; index(length.min(1 << 20))];
    let mut at = start;
    while at < length {
        let read = file.read_at(&mut piece, at)?;
        if read == 0 {
            break;
        }
        // Whole lines at a time: a search that may stop at each byte is not vectorized.
        let lines = piece.get(..read).unwrap_or_default().chunks(CACHE_LINE_BYTES);
        if lines.map(|line| line.iter().fold(0, |all, byte| all | byte)).any(|all| all != 0) {
            return Ok(true);
        }
        at = at.saturating_add(crate::types::length(read));
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
