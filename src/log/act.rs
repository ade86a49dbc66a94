//! Recovery, second half: make the decision true, and hand over a segment to append to.
//!
//! Guarantees:
//! 1. What is kept is durable before anything goes on: from the durable line to the end the same bytes are stored again
//!    and synced, oldest segment first. No other byte of a recovered segment is stored.
//! 2. The new segment's length and name, and the names of all it goes on from, are durable before its header is stored; its
//!    header is durable before anything in it is visible. That is the act: a crash before it leaves the log as it was
//!    found, a crash after it finds the new segment.
//! 3. Files off the chain, and below the start line, go last. One that cannot be removed or set aside stays, and is reported: the log has been settled
//!    by then, and its numbers are not used again.
//! 4. After a clean end the segment is continued, and the close frame is made void by a durable session frame first.

use std::io;
use std::sync::Arc;

use super::anchor::AnchorFile;
use super::appender::StateSpan;
use super::catalog::{Entry, Handle};
use super::checkpoint::{Checkpoints, Loaded};
use super::clean::renew;
use super::decide::Decision;
use super::epochs::Epochs;
use super::options::{FIRST_SEGMENT_BYTES, Options, Recovery};
use super::report::{Ending, RecoveryReport};
use super::state::State;
use super::survey::{SegmentFile, Survey, corrupt, holds_bytes, io_error, open_segment};
use crate::error::{Error, ErrorKind, Result};
use crate::format::control::{SessionBody, StartLine};
use crate::format::header::{FIRST_OFFSET_MAX, Link, SegmentHeader};
use crate::format::{Kind, index_name, segment_name};
use crate::platform::{Access, Disk, File, Identity};
use crate::segment::{Blank, Body, SegmentWriter};
use crate::types::{Epoch, Line, Offset, Place, StoreId, Timestamp, index};

/// Room that control frames need at least for one more session: session, close, seal, some marks.
pub(crate) const CONTROL_ROOM_MIN: u64 = 512;
const STORE_AGAIN_BYTES: u64 = 1 << 20;

/// A log that was opened: everything that the running log begins with.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store_id: StoreId,
    pub(crate) writer: SegmentWriter,
    pub(crate) entries: Vec<Entry>,
    pub(crate) durable: Line,
    pub(crate) anchor: AnchorFile,
    /// No file of a higher number was there.
    pub(crate) highest: u64,
    pub(crate) state: State,
    /// Where state entries lie that no checkpoint holds.
    pub(crate) state_span: Option<StateSpan>,
    pub(crate) epochs: Epochs,
    pub(crate) start: StartLine,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) report: RecoveryReport,
}

/// The segment to append to, the segments of the log up to it, and what was found.
struct Begun {
    writer: SegmentWriter,
    entries: Vec<Entry>,
    report: RecoveryReport,
}

/// Files off the chain, and what became of them.
#[derive(Debug, Default)]
struct Cleared {
    removed: Vec<String>,
    quarantined: Vec<String>,
    /// Those that could not be removed or set aside, and why.
    left: Vec<String>,
}

/// What the segment to append to is, and why.
struct Successor {
    number: u64,
    store_id: StoreId,
    epoch: Epoch,
    predecessor: Option<Link>,
    durable: Line,
    first_offset: Offset,
    time_max: Timestamp,
    capacity: u64,
}

/// Carries a decision out, for a log whose state was loaded; without one, creates a log.
pub(crate) fn act(
    disk: &dyn Disk,
    options: &Options,
    survey: &Survey,
    decision: Option<(Decision, Loaded)>,
) -> Result<Opened> {
    let (begun, mut loaded) = match decision {
        Some((mut decision, loaded)) => {
            let last = decision.chain.last().map_or(0, |last| last.header.number);
            decision.chain.retain(|member| member.header.number >= loaded.first_kept().min(last));
            decision.start = loaded.start;
            (settle(disk, options, survey, &decision)?, loaded)
        }
        None => (create(disk, options, survey)?, Loaded::default()),
    };
    let Begun { writer, entries, mut report } = begun;
    let first =
        entries.first().map(|first| StartLine { offset: first.header.first_offset, segment: first.header.number });
    loaded.start = loaded.start.max(first.unwrap_or_default());
    report.start = loaded.start.offset;
    report.checkpoint = loaded.checkpoints.kept.first().map(|newest| newest.line);
    report.replayed_bytes = loaded.replayed_bytes;
    report.checkpoint_faults = loaded.faults;
    loaded.epochs.begin(report.epoch, report.end.offset);
    let store_id = writer.segment().header().store_id;
    Ok(Opened {
        store_id,
        durable: line_at(&writer),
        writer,
        entries,
        anchor: AnchorFile::new(store_id, survey.own_anchor()),
        highest: survey.files.iter().map(|file| file.number).max().unwrap_or_default(),
        state: loaded.state,
        state_span: loaded.state_span,
        epochs: loaded.epochs,
        start: loaded.start,
        checkpoints: loaded.checkpoints,
        report,
    })
}

fn settle(disk: &dyn Disk, options: &Options, survey: &Survey, decision: &Decision) -> Result<Begun> {
    let last = decision.chain.last().ok_or_else(|| corrupt("no segment"))?;
    let room = last.header.capacity.saturating_sub(decision.end.place.position);
    // Nothing is ever appended to what a repair wrote.
    if decision.clean && room >= CONTROL_ROOM_MIN && last.header.rewritten.is_none() {
        return go_on(disk, survey, decision);
    }
    if options.recovery == Recovery::Strict && !decision.clean {
        let cause = decision.cut.as_ref().map_or("it was not closed".to_owned(), |cut| cut.cause.clone());
        return Err(Error::new(ErrorKind::Corrupt, format!("strict open refused, the end is not clean: {cause}"))
            .at_path(disk.directory().join(&last.name))
            .at_place(decision.end.place)
            .next_step("open with Recovery::TornTail to go on from there"));
    }
    succeed(disk, options, survey, decision)
}

fn create(disk: &dyn Disk, options: &Options, survey: &Survey) -> Result<Begun> {
    let random = || disk.random().map_err(|error| io_error(disk, "draw the store's identity", "", error));
    let (upper, lower) = (random()?.to_le_bytes(), random()?.to_le_bytes());
    let mut store_id = StoreId::default();
    store_id.0.iter_mut().zip(upper.into_iter().chain(lower)).for_each(|(to, from)| *to = from);
    let cleared = clear(disk, survey, &[], StartLine::default())?;
    let plan = Successor {
        number: 1,
        store_id,
        epoch: Epoch { counter: 1, word: random()? },
        predecessor: None,
        durable: Line::default(),
        first_offset: Offset::ZERO,
        time_max: Timestamp::default(),
        capacity: FIRST_SEGMENT_BYTES.min(options.segment_bytes),
    };
    let (writer, entry) = begin_segment(disk, &plan)?;
    let report = report(Ending::Created, plan.epoch, cleared);
    Ok(Begun { writer, entries: vec![entry], report })
}

/// Continues the last segment after a clean close.
fn go_on(disk: &dyn Disk, survey: &Survey, decision: &Decision) -> Result<Begun> {
    let last = decision.chain.last().ok_or_else(|| corrupt("no segment"))?;
    store_again(disk, decision)?;
    let failed = |attempt| move |error| io_error(disk, attempt, &last.name, error);
    let file = disk.open(&last.name, Access::Write).map_err(failed("open the segment for writing"))?;
    file.reserve(last.header.capacity).map_err(failed("reserve the segment's space"))?;
    let region = file.map(last.header.capacity, Access::Write).map_err(failed("map the segment"))?;
    let end = decision.end;
    let mut writer = SegmentWriter::resume(last.header, region, end.place.position, end.offset, decision.time_max);
    append_session(disk, &mut writer, identity(disk, &last.name, &*file)?)?;
    let synced = end.place.position..writer.tail();
    file.sync_range(writer.segment().region(), synced).map_err(failed("sync the segment"))?;
    let cleared = clear(disk, survey, &decision.chain, decision.start)?;
    let mut entries: Vec<Entry> = decision.chain.iter().map(Entry::of_member).collect();
    if let Some(entry) = entries.last_mut() {
        entry.handle = Handle::Open { segment: Arc::clone(writer.segment()), file };
    }
    let report = report_of(decision, report(Ending::Clean, last.header.epoch, cleared));
    Ok(Begun { writer, entries, report })
}

/// Settles the old end and begins a new segment behind it.
fn succeed(disk: &dyn Disk, options: &Options, survey: &Survey, decision: &Decision) -> Result<Begun> {
    let last = decision.chain.last().ok_or_else(|| corrupt("no segment"))?;
    store_again(disk, decision)?;
    if decision.end.offset > FIRST_OFFSET_MAX {
        return Err(Error::new(ErrorKind::Limit, "offsets are exhausted").at_offset(decision.end.offset));
    }
    let random = disk.random().map_err(|error| io_error(disk, "draw the epoch", "", error))?;
    let old = last.header.epoch;
    let counter = old.counter.checked_add(1).ok_or_else(|| Error::new(ErrorKind::Limit, "epochs are exhausted"))?;
    let epoch = if decision.clean { old } else { Epoch { counter, word: random } };
    let highest = survey.files.iter().map(|file| file.number).max().unwrap_or_default();
    let anchored = survey.own_anchor().map_or(0, |anchor| anchor.segment_highest);
    let number = highest.max(anchored).max(last.header.last_number()).checked_add(1);
    let live = decision.chain.iter().fold(0_u64, |sum, member| sum.saturating_add(member.end.unwrap_or_default()));
    let plan = Successor {
        number: number.ok_or_else(|| Error::new(ErrorKind::Limit, "segment numbers are exhausted"))?,
        store_id: last.header.store_id,
        epoch,
        predecessor: Some(last.header.link(decision.end.place.position)),
        durable: decision.end,
        first_offset: decision.end.offset,
        time_max: decision.time_max,
        capacity: next_capacity(options, live.saturating_add(decision.end.place.position), 0),
    };
    let (writer, entry) = begin_segment(disk, &plan)?;
    let cleared = clear(disk, survey, &decision.chain, decision.start)?;
    if decision.cut.is_none() {
        give_back_tail(disk, &last.name, decision.end.place.position, last.header.capacity);
    }
    let mut entries: Vec<Entry> = decision.chain.iter().map(Entry::of_member).collect();
    if let Some(entry) = entries.last_mut() {
        entry.end = Some(decision.end.place.position);
    }
    entries.push(entry);
    let ending = match (decision.clean, &decision.cut) {
        (true, _) => Ending::Clean,
        (false, None) => Ending::Unclean,
        (false, Some(_)) => Ending::Torn,
    };
    let report = report_of(decision, report(ending, epoch, cleared));
    Ok(Begun { writer, entries, report })
}

/// How large the next segment should be: as large as the log, within limits, and large enough for what waits for it.
pub(crate) fn next_capacity(options: &Options, live_bytes: u64, needed: u64) -> u64 {
    let wanted = live_bytes.max(FIRST_SEGMENT_BYTES).max(needed).min(options.segment_bytes);
    wanted.next_multiple_of(4096).min(options.segment_bytes)
}

/// The space behind a settled end is given back; that it could not be costs space, nothing else.
pub(crate) fn give_back_tail(disk: &dyn Disk, name: &str, end: u64, capacity: u64) {
    let start = end.next_multiple_of(4096);
    if start < capacity
        && let Ok(file) = disk.open(name, Access::Write)
    {
        let _costs_only_space = file.punch(start..capacity);
    }
}

/// What survived in memory of the system, or was called clean after a failed write, is stored and synced anew.
fn store_again(disk: &dyn Disk, decision: &Decision) -> Result<()> {
    let durable = decision.durable.place;
    if durable == decision.end.place {
        return Ok(());
    }
    for member in decision.chain.iter().filter(|member| member.header.number >= durable.segment) {
        let failed = |attempt| move |error| io_error(disk, attempt, &member.name, error);
        let file = disk.open(&member.name, Access::Write).map_err(failed("open the segment for writing"))?;
        let own = member.header.number == durable.segment;
        let end = member.end.unwrap_or(decision.end.place.position);
        let mut at = if own { durable.position } else { 0 };
        let mut piece = vec![0; index(STORE_AGAIN_BYTES.min(end.saturating_sub(at)))];
        while at < end {
            let wanted = piece.len().min(index(end.saturating_sub(at)));
            let part = piece.get_mut(..wanted).unwrap_or_default();
            let read = file.read_at(part, at).map_err(failed("read the segment"))?;
            if read == 0 {
                return Err(corrupt("the file became shorter while it was recovered")
                    .at_path(disk.directory().join(&member.name)));
            }
            file.write_at(part.get(..read).unwrap_or_default(), at).map_err(failed("store the same bytes again"))?;
            at = at.saturating_add(crate::types::length(read));
        }
        file.sync().map_err(failed("sync the segment"))?;
    }
    Ok(())
}

/// Creates a segment with its header and a session frame, all durable.
fn begin_segment(disk: &dyn Disk, plan: &Successor) -> Result<(SegmentWriter, Entry)> {
    let name = segment_name(plan.number);
    let failed = |attempt| {
        let name = name.clone();
        move |error| io_error(disk, attempt, &name, error)
    };
    let file = disk.create(&name, plan.capacity).map_err(failed("create the segment"))?;
    // As with a spare, length and name first: else a header could come back in a file that is too short, which is what a cut
    // looks like, or without the segment that it goes on from, whose name the process before may not have made durable.
    file.sync().map_err(failed("sync the new segment"))?;
    disk.sync_directory().map_err(|error| io_error(disk, "sync the directory", "", error))?;
    let header = SegmentHeader {
        store_id: plan.store_id,
        number: plan.number,
        generation: 0,
        incarnation: draw_incarnation(disk)?,
        epoch: plan.epoch,
        first_offset: plan.first_offset,
        predecessor: plan.predecessor,
        durable: plan.durable,
        created: disk.now(),
        time_max: plan.time_max,
        capacity: plan.capacity,
        rewritten: None,
    };
    let region = file.map(plan.capacity, Access::Write).map_err(failed("map the segment"))?;
    let mut writer =
        Blank::new(region).activate(&header).ok_or_else(|| corrupt("a segment without room for its header"))?;
    append_session(disk, &mut writer, identity(disk, &name, &*file)?)?;
    file.sync().map_err(failed("sync the segment"))?;
    let entry = Entry { header, end: None, handle: Handle::Open { segment: Arc::clone(writer.segment()), file } };
    Ok((writer, entry))
}

pub(crate) fn draw_incarnation(disk: &dyn Disk) -> Result<u64> {
    let random = disk.random().map_err(|error| io_error(disk, "draw the incarnation", "", error))?;
    Ok(random.max(1))
}

pub(crate) fn identity(disk: &dyn Disk, name: &str, file: &dyn File) -> Result<Identity> {
    file.identity().map_err(|error| io_error(disk, "read the identity", name, error))
}

/// The session frame of this process for a file.
pub(crate) fn session(disk: &dyn Disk, identity: Identity) -> SessionBody {
    SessionBody { boot_id: disk.boot_id(), device: identity.device, inode: identity.inode, pid: std::process::id() }
}

fn append_session(disk: &dyn Disk, writer: &mut SegmentWriter, identity: Identity) -> Result<()> {
    let bytes = session(disk, identity).encode();
    let body = Body::Control { kind: Kind::Session, bytes: &bytes };
    writer.append(&body, disk.now()).map(|_| ()).ok_or_else(|| corrupt("a segment without room for its first frame"))
}

/// Removes what is off the chain: files that hold nothing, lie below the start line, or are stood for by another, are unlinked,
/// others set aside.
fn clear(disk: &dyn Disk, survey: &Survey, chain: &[super::survey::Member], start: StartLine) -> Result<Cleared> {
    let mut cleared = Cleared::default();
    let replaced = replaced(disk, survey, chain)?;
    for file in &survey.files {
        if chain.iter().any(|member| member.name == file.name) {
            continue;
        }
        let below = file.number < start.segment;
        let empty = matches!(file.header, Ok(None)) && is_zero(disk, file);
        let stood_for = replaced.iter().find(|(number, _)| *number == file.number).map(|(_, renewed)| renewed);
        if let (false, Some(Err(error))) = (below, stood_for) {
            cleared.left.push(format!("{}: what stands for it could not get its name anew: {error}", file.name));
            continue;
        }
        let (done, to) = if below || empty || stood_for.is_some() {
            (disk.unlink(&file.name), &mut cleared.removed)
        } else {
            (disk.quarantine(&file.name), &mut cleared.quarantined)
        };
        match done {
            Ok(()) => to.push(file.name.clone()),
            Err(error) => cleared.left.push(format!("{}: {error}", file.name)),
        }
    }
    // An index file speaks of a segment whose end is settled.
    let settled = |number| chain.iter().any(|member| member.header.number == number && member.end.is_some());
    let is_orphan = |number: &&u64| !settled(**number);
    let orphans = survey.indexes.iter().filter(is_orphan).map(|number| index_name(*number));
    for name in orphans.chain(survey.drafts.iter().cloned()) {
        match disk.unlink(&name) {
            Ok(()) => cleared.removed.push(name),
            Err(error) => cleared.left.push(format!("{name}: {error}")),
        }
    }
    if !cleared.removed.is_empty() || !cleared.quarantined.is_empty() {
        disk.sync_directory().map_err(|error| io_error(disk, "sync the directory", "", error))?;
    }
    Ok(cleared)
}

/// Numbers of files that others stand for; and whether these have their names durably, which they may not have had: they get
/// them anew.
fn replaced(disk: &dyn Disk, survey: &Survey, chain: &[super::survey::Member]) -> Result<Vec<(u64, io::Result<()>)>> {
    let mut found = Vec::new();
    for member in chain.iter().filter(|member| member.header.rewritten.is_some()) {
        let is_replaced = |file: &&SegmentFile| {
            // Whatever its header is by now: nothing else ever had a number in between.
            let generation = file.header.as_ref().ok().and_then(Option::as_ref).map_or(0, |header| header.generation);
            file.name != member.name && member.header.replaces(file.number, generation)
        };
        let numbers: Vec<u64> = survey.files.iter().filter(is_replaced).map(|file| file.number).collect();
        if !numbers.is_empty() {
            let renewed = renew(disk, member);
            let again = |number| (number, renewed.as_ref().copied().map_err(|error| error.kind().into()));
            found.extend(numbers.into_iter().map(again));
        }
    }
    if !found.is_empty() {
        disk.sync_directory().map_err(|error| io_error(disk, "sync the directory", "", error))?;
    }
    Ok(found)
}

/// Whether a file holds nothing; one that cannot be read may.
fn is_zero(disk: &dyn Disk, file: &SegmentFile) -> bool {
    open_segment(disk, &file.name).is_ok_and(|opened| holds_bytes(&*opened, 0, file.length).is_ok_and(|holds| !holds))
}

fn line_at(writer: &SegmentWriter) -> Line {
    let place = Place::new(writer.segment().header().number, writer.tail());
    Line { place, offset: writer.next_offset() }
}

/// What there is to say of a log that was created.
fn report(ending: Ending, epoch: Epoch, cleared: Cleared) -> RecoveryReport {
    RecoveryReport {
        ending,
        epoch,
        start: Offset::ZERO,
        end: Line::default(),
        durable: Line::default(),
        segments: 1,
        scanned_bytes: 0,
        cut: None,
        removed: cleared.removed,
        quarantined: cleared.quarantined,
        left: cleared.left,
        checkpoint: None,
        replayed_bytes: 0,
        checkpoint_faults: Vec::new(),
    }
}

/// ... and what the decision found, of one that was there.
fn report_of(decision: &Decision, report: RecoveryReport) -> RecoveryReport {
    RecoveryReport {
        end: decision.end,
        durable: decision.durable,
        segments: decision.chain.len(),
        scanned_bytes: decision.scanned_bytes,
        cut: decision.cut.clone(),
        ..report
    }
}
