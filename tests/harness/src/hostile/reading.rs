//! A reader of one segment, written after `src/format.md`, to compare the engine with.
//!
//! Guarantees:
//! 1. It takes the rules one by one, as the page numbers them, and knows nothing of the engine.
//!
//! Left to others: the header of the segment, which has to be valid, with first offset 0; and checkpoints. Of a header it takes
//! what a rewritten segment says of its end, and the durable line.

use std::collections::BTreeMap;

use super::ways::OwnRecord;
use crate::format::bytes::{Input, align, half, short, word};
use crate::format::contract::{Value, contract};
use crate::format::sums::{FRAME_HEADER_BYTES, FRAMES_START, Seed, crc32};

const START_LINE: u8 = 5;
const GAP: u8 = 7;
const GAP_BYTES_MIN: usize = 48;
const KEY: u8 = 1;
const EVENT_TIME: u8 = 2;
const HEADERS: u8 = 4;
const TOMBSTONE: u8 = 8;
const TOPIC_MIXED: u32 = u32::MAX;
const VALUE_BYTES_MAX: usize = 16 << 20;
const CURSOR_BYTES: usize = 32;

/// A place: segment and position.
type Place = (u64, u64);

/// What the bytes of a segment say.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Those that the start line keeps.
    pub(super) records: Vec<OwnRecord>,
    /// Where the log begins.
    pub(super) start: u64,
    /// By space and key.
    pub(super) state: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
    /// Offsets that a gap takes: the first of them, and the one behind.
    pub(super) gaps: Vec<(u64, u64)>,
    /// Where the first frame begins that is not valid.
    pub(super) end: Place,
    /// Whether what stands there is a later program's.
    pub(super) later: bool,
    /// The highest durable line that a valid frame carries before the end.
    pub(super) durable: Place,
    /// ... or behind it.
    pub(super) durable_anywhere: Place,
    /// Where the frames of a rewritten segment end.
    pub(super) rewritten_end: Option<Place>,
}

/// A change of the state: space, key, and the value; without one, removed.
type Change = (u8, Vec<u8>, Option<Vec<u8>>);

/// Why a frame is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    Bad,
    Later,
}

struct Frame<'a> {
    header: &'a [u8],
    body: &'a [u8],
    kind: u8,
    sparse: bool,
    records: u16,
    states: u16,
    topic: u32,
    delta: u32,
}

/// What a header says of a segment.
#[derive(Clone, Copy)]
struct Kept {
    /// Where its frames have to end.
    end: usize,
    /// Of a rewritten one, the offset behind its range.
    end_offset: Option<u64>,
}

struct Body {
    records: Vec<OwnRecord>,
    /// In their order.
    entries: Vec<Change>,
}

pub(super) fn read(bytes: &[u8], number: u64) -> Reading {
    let seed = Seed::of_segment(bytes);
    let rewritten = half(bytes, 48) > 0;
    let kept = Kept {
        end: if rewritten { usize::try_from(word(bytes, 160)).expect("valid") } else { bytes.len() },
        end_offset: rewritten.then(|| word(bytes, 176)),
    };
    let place = |end| (number, u64::try_from(end).expect("small"));
    let mut reading = Reading { rewritten_end: rewritten.then(|| place(kept.end)), ..Reading::default() };
    let bytes = &bytes[..kept.end];
    let (mut at, mut offset) = (FRAMES_START, 0);
    let fault = loop {
        let frame = frame_at(bytes, seed, at, kept);
        match frame.and_then(|frame| Ok((body_of(&frame, offset, kept)?, frame))) {
            Ok((body, frame)) => {
                offset = frame.delta.into();
                reading.durable = reading.durable.max(line_of(&frame, place(at)));
                if frame.kind == GAP {
                    let Some((next, span)) = gap(&frame, offset, bytes.len() - at) else { break Fault::Bad };
                    if kept.end_offset.is_some_and(|end| next > end) {
                        break Fault::Bad;
                    }
                    reading.gaps.push((offset, next));
                    (at, offset) = (at + span, next);
                    continue;
                }
                if frame.kind == START_LINE {
                    let (start, segment) = (word(frame.body, 0), word(frame.body, 8));
                    // One behind its own frame does not count.
                    let counts = start <= offset && segment <= number;
                    reading.start = reading.start.max(if counts { start } else { 0 });
                }
                at = align(at + FRAME_HEADER_BYTES + frame.body.len());
                offset += u64::from(frame.records);
                reading.records.extend(body.records);
                for (space, key, value) in body.entries {
                    match value {
                        Some(value) => drop(reading.state.insert((space, key), value)),
                        None => drop(reading.state.remove(&(space, key))),
                    }
                }
            }
            Err(fault) => break fault,
        }
    };
    let start = reading.start;
    reading.records.retain(|record| record.offset >= start);
    reading.gaps.retain(|(_, next)| *next > start);
    reading.gaps.iter_mut().for_each(|(from, _)| *from = start.max(*from));
    reading.end = place(at);
    reading.later = fault == Fault::Later;
    let behind = (at..bytes.len()).step_by(8).filter_map(|at| Some((at, frame_at(bytes, seed, at, kept).ok()?)));
    let carried =
        behind.filter(|(_, frame)| body_sum_is_right(frame)).map(|(at, frame)| line_of(&frame, place(at))).max();
    reading.durable_anywhere = reading.durable.max(carried.unwrap_or_default());
    reading
}

/// Rules 2 to 7.
fn frame_at(bytes: &[u8], seed: Seed, at: usize, kept: Kept) -> Result<Frame<'_>, Fault> {
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.get(..8).is_none_or(|word| word == [0; 8]) {
        return Err(Fault::Nothing);
    }
    let header = rest.get(..FRAME_HEADER_BYTES).ok_or(Fault::Bad)?;
    if short(header, 6) != seed.tag || half(header, 32) != seed.header_sum(header, at) {
        return Err(Fault::Bad);
    }
    let frame_bytes = usize::try_from(half(header, 0)).map_err(|_| Fault::Bad)?;
    let body = rest.get(FRAME_HEADER_BYTES..frame_bytes).ok_or(Fault::Bad)?;
    let (kind, flags) = (header[4], header[5]);
    if !(1..=8).contains(&kind) || flags > 1 {
        return Err(Fault::Later);
    }
    let (records, states) = (short(header, 28), short(header, 30));
    let sparse = flags == 1;
    if (kind == 1) != (records > 0 || states > 0) || (sparse && (records == 0 || kept.end_offset.is_none())) {
        return Err(Fault::Bad);
    }
    Ok(Frame { header, body, kind, sparse, records, states, topic: half(header, 12), delta: half(header, 24) })
}

fn body_sum_is_right(frame: &Frame<'_>) -> bool {
    half(frame.header, 8) == crc32(frame.body)
}

/// Rules 8 to 10.
fn body_of(frame: &Frame<'_>, next: u64, kept: Kept) -> Result<Body, Fault> {
    let offset = u64::from(frame.delta);
    let placed = match kept.end_offset {
        Some(end) => offset >= next && offset + u64::from(frame.records) <= end,
        None => offset == next,
    };
    if !placed || !body_sum_is_right(frame) {
        return Err(Fault::Bad);
    }
    let mut body = Body { records: Vec::new(), entries: Vec::new() };
    let length = match frame.kind {
        1 => {
            let mut rest = Input(frame.body);
            let count = if frame.sparse { short(exactly(&mut rest, 2)?, 0) } else { frame.records };
            if count > frame.records || (frame.sparse && count == 0) {
                return Err(Fault::Bad);
            }
            for number in 0..count {
                let record = record(&mut rest, frame, offset, number)?;
                let rises = body.records.last().is_none_or(|last: &OwnRecord| last.offset < record.offset);
                if !rises || record.offset >= offset + u64::from(frame.records) {
                    return Err(Fault::Bad);
                }
                body.records.push(record);
            }
            for _ in 0..frame.states {
                body.entries.push(entry(&mut rest)?);
            }
            frame.body.len() - rest.0.len()
        }
        2 | 3 | 6 => 32,
        4 => 40,
        5 => 16,
        GAP => 12,
        _ => frame.body.len(),
    };
    if length == frame.body.len() { Ok(body) } else { Err(Fault::Bad) }
}

/// The offset behind a gap, and the bytes that it takes.
fn gap(frame: &Frame<'_>, offset: u64, left: usize) -> Option<(u64, usize)> {
    let (next, span) = (word(frame.body, 0), usize::try_from(half(frame.body, 8)).ok()?);
    let fits = (GAP_BYTES_MIN..=left).contains(&span) && span.is_multiple_of(8);
    (fits && (offset..=u64::from(u32::MAX)).contains(&next)).then_some((next, span))
}

/// Exactly so many bytes.
fn exactly<'a>(rest: &mut Input<'a>, count: usize) -> Result<&'a [u8], Fault> {
    let taken = rest.take(count);
    if taken.len() == count { Ok(taken) } else { Err(Fault::Bad) }
}

fn record(rest: &mut Input<'_>, frame: &Frame<'_>, first: u64, number: u16) -> Result<OwnRecord, Fault> {
    let head = exactly(rest, 5)?;
    let flags = head[4];
    if flags > 15 {
        return Err(Fault::Later);
    }
    let offset = first + u64::from(if frame.sparse { short(exactly(rest, 2)?, 0) } else { number });
    let topic = if frame.topic == TOPIC_MIXED { half(exactly(rest, 4)?, 0) } else { frame.topic };
    if topic == TOPIC_MIXED {
        return Err(Fault::Bad);
    }
    let has = |flag: u8| flags & flag != 0;
    let key_bytes = if has(KEY) { Some(short(exactly(rest, 2)?, 0)) } else { None };
    let event_time = if has(EVENT_TIME) { Some(word(exactly(rest, 8)?, 0).cast_signed()) } else { None };
    let headers_bytes = if has(HEADERS) { short(exactly(rest, 2)?, 0) } else { 0 };
    let key = key_bytes.map(|count| exactly(rest, count.into())).transpose()?;
    let mut section = Input(exactly(rest, headers_bytes.into())?);
    let payload = exactly(rest, usize::try_from(half(head, 0)).map_err(|_| Fault::Bad)?)?;
    Ok(OwnRecord {
        offset,
        time: word(frame.header, 16).cast_signed(),
        topic,
        event_time,
        tombstone: has(TOMBSTONE),
        key: key.map(<[u8]>::to_vec),
        headers: headers(&mut section)?,
        payload: payload.to_vec(),
    })
}

fn headers(section: &mut Input<'_>) -> Result<Vec<(String, Vec<u8>)>, Fault> {
    let mut headers = Vec::new();
    while !section.is_empty() {
        let head = exactly(section, 3)?;
        let name = exactly(section, head[0].into())?;
        let value = exactly(section, short(head, 1).into())?;
        let name = String::from_utf8(name.to_vec()).ok().filter(|name| !name.is_empty()).ok_or(Fault::Bad)?;
        headers.push((name, value.to_vec()));
    }
    Ok(headers)
}

fn entry(rest: &mut Input<'_>) -> Result<Change, Fault> {
    let head = exactly(rest, 8)?;
    let (space, flags) = (head[0], head[1]);
    if space > 15 || flags > 1 {
        return Err(Fault::Later);
    }
    let key = exactly(rest, short(head, 2).into())?.to_vec();
    let value = exactly(rest, usize::try_from(half(head, 4)).map_err(|_| Fault::Bad)?)?;
    if space == 3 && (key.len() != 4 || flags == 0 && value.len() != 8) {
        return Err(Fault::Bad);
    }
    if flags == 1 {
        return if value.is_empty() { Ok((space, key, None)) } else { Err(Fault::Bad) };
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(Fault::Bad);
    }
    if space == 1 && value.len() != CURSOR_BYTES {
        return Err(if value.len() > CURSOR_BYTES { Fault::Later } else { Fault::Bad });
    }
    if space == 1 && half(value, 24) != 0 {
        return Err(Fault::Later);
    }
    match if space == 2 { contract(value) } else { Value::Contract } {
        Value::Contract => Ok((space, key, Some(value.to_vec()))),
        Value::Later => Err(Fault::Later),
        Value::Bad => Err(Fault::Bad),
    }
}

/// The durable line that a frame carries, if it is of a kind that does. One behind the frame itself does not count.
fn line_of(frame: &Frame<'_>, stands: Place) -> Place {
    let carries = matches!(frame.kind, 2 | 3 | 6) && frame.body.len() == 32;
    let line = if carries { (word(frame.body, 0), word(frame.body, 8)) } else { Place::default() };
    if line <= stands { line } else { Place::default() }
}
