//! The body of a data frame: records, and state entries behind them.
//!
//! Guarantees:
//! 1. [`measure`] refuses every record, state entry or commit over a named limit, before anything is stored.
//! 2. [`encode`] writes exactly the bytes that [`measure`] counted, and [`checksum_of`] sums exactly those bytes.
//! 3. [`check`] accepts a body only if it is as many records as its frame announces, `state_count` state entries and nothing
//!    else; [`Records`] and [`states`] over an accepted body yield all of them.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use super::frame::{FrameHeader, Layout};
use super::state::{self, StateEntry, States};
use super::{
    BATCH_RECORDS_MAX, COMMIT_STATES_MAX, Fault, HEADER_NAME_BYTES_MAX, HEADERS_BYTES_MAX, KEY_BYTES_MAX,
    record_head as table, record_header, sparse_body,
};
use crate::checksum::Pieces;
use crate::error::{Error, ErrorKind, Result};

use crate::types::{Header, Headers, Offset, Payload, Record, RecordRef, Timestamp, Tombstone, Topic};

const KEY: u8 = 1;
const EVENT_TIME: u8 = 2;
const HEADERS: u8 = 4;
const TOMBSTONE: u8 = 8;
const FLAGS_KNOWN: u8 = KEY | EVENT_TIME | HEADERS | TOMBSTONE;

#[cfg_attr(not(test), expect(dead_code, reason = "only a cleaner drops anything, and it is not built yet"))]
pub(crate) mod thin;

/// Bytes of the offset that each record of a sparse frame says.
pub(crate) const DELTA_BYTES: usize = 2;

/// The longest head: all that is optional is there.
const HEAD_BYTES_MAX: usize = table::BYTES + 4 + 2 + 8 + 2;

/// What a commit needs in the log, measured before the lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) body_length: usize,
    pub(crate) record_count: u16,
    pub(crate) state_count: u16,
    /// `None`: the records differ in topic, and each carries its own.
    pub(crate) topic: Option<Topic>,
}

/// Measures a commit and checks it against every limit but the frame's.
#[inline]
pub(crate) fn measure(records: &[Record<'_>], states: &[StateEntry<'_>]) -> Result<Shape> {
    let Ok(record_count) = u16::try_from(records.len()) else {
        return Err(over("records in one batch", records.len(), BATCH_RECORDS_MAX));
    };
    let Ok(state_count) = u16::try_from(states.len()) else {
        return Err(over("state entries in one commit", states.len(), COMMIT_STATES_MAX));
    };
    let first = records.first().map_or(Topic::default(), |record| record.topic);
    let topic = records.iter().all(|record| record.topic == first).then_some(first);
    let mut body_length = 0_usize;
    for record in records {
        body_length = body_length.saturating_add(record_length(record, topic)?);
    }
    for state in states {
        body_length = body_length.saturating_add(state::measure(state)?);
    }
    Ok(Shape { body_length, record_count, state_count, topic })
}

#[cold]
pub(super) fn over(what: &str, found: usize, limit: usize) -> Error {
    Error::new(ErrorKind::Limit, format!("append refused: {what}: {found}, at most {limit}"))
        .next_step("nothing was stored; split or shorten it")
}

#[inline]
fn record_length(record: &Record<'_>, shared: Option<Topic>) -> Result<usize> {
    let payload = record.payload_bytes();
    if u32::try_from(payload).is_err() {
        return Err(over("bytes of payload", payload, index_max()));
    }
    let mut sum = payload.saturating_add(table::BYTES);
    if shared.is_none() {
        sum = sum.saturating_add(4);
    }
    if let Some(key) = record.key {
        if key.len() > KEY_BYTES_MAX {
            return Err(over("bytes of key", key.len(), KEY_BYTES_MAX));
        }
        sum = sum.saturating_add(2).saturating_add(key.len());
    }
    if record.event_time.is_some() {
        sum = sum.saturating_add(8);
    }
    if !record.headers.is_empty() {
        sum = sum.saturating_add(2).saturating_add(headers_length(record.headers)?);
    }
    Ok(sum)
}

fn index_max() -> usize {
    crate::types::index(u32::MAX.into())
}

#[cold]
fn headers_length(headers: &[Header<'_>]) -> Result<usize> {
    let mut sum = 0_usize;
    for header in headers {
        if header.name.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "append refused: a header without a name")
                .next_step("nothing was stored; name it"));
        }
        if header.name.len() > HEADER_NAME_BYTES_MAX {
            return Err(over("bytes of header name", header.name.len(), HEADER_NAME_BYTES_MAX));
        }
        sum = sum
            .saturating_add(record_header::BYTES)
            .saturating_add(header.name.len())
            .saturating_add(header.value.len());
    }
    if sum > HEADERS_BYTES_MAX {
        return Err(over("bytes of headers", sum, HEADERS_BYTES_MAX));
    }
    Ok(sum)
}

/// A record's head: lengths and flags, everything before key, headers and payload.
struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    length: usize,
}

impl Head {
    #[inline]
    fn of(record: &Record<'_>, shared: Option<Topic>) -> Self {
        let mut head = Self { bytes: [0; HEAD_BYTES_MAX], length: table::BYTES };
        let mut flags = 0;
        if shared.is_none() {
            head.push(record.topic.get().to_le_bytes());
        }
        if let Some(key) = record.key {
            flags |= KEY;
            head.push(narrow(key.len()).to_le_bytes());
        }
        if let Some(time) = record.event_time {
            flags |= EVENT_TIME;
            head.push(time.nanoseconds().to_le_bytes());
        }
        if !record.headers.is_empty() {
            flags |= HEADERS;
            let section = record.headers.iter().map(|header| {
                record_header::BYTES.saturating_add(header.name.len()).saturating_add(header.value.len())
            });
            head.push(narrow(section.fold(0, usize::saturating_add)).to_le_bytes());
        }
        if record.tombstone == Tombstone::Yes {
            flags |= TOMBSTONE;
        }
        let payload = u32::try_from(record.payload_bytes()).unwrap_or(u32::MAX);
        table::PAYLOAD_LENGTH.put(&mut head.bytes, payload.to_le_bytes());
        table::FLAGS.put(&mut head.bytes, [flags]);
        head
    }

    #[inline]
    fn push<const N: usize>(&mut self, value: [u8; N]) {
        let end = self.length.saturating_add(N);
        if let Some(to) = self.bytes.get_mut(self.length..end) {
            to.copy_from_slice(&value);
            self.length = end;
        }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// A length that [`measure`] found to be at most 65,535.
#[inline]
fn narrow(length: usize) -> u16 {
    let narrow = u16::try_from(length);
    debug_assert!(narrow.is_ok(), "measured before");
    narrow.unwrap_or(u16::MAX)
}

/// Calls `sink` with the encoded bytes of the records, piece by piece, in order; of a topic that all share they say nothing.
#[inline]
fn each_piece(records: &[Record<'_>], shared: Option<Topic>, mut sink: impl FnMut(&[u8])) {
    for record in records {
        sink(Head::of(record, shared).bytes());
        if let Some(key) = record.key {
            sink(key);
        }
        for header in record.headers {
            let mut head = [0; record_header::BYTES];
            record_header::NAME_LENGTH.put(&mut head, [u8::try_from(header.name.len()).unwrap_or(u8::MAX)]);
            record_header::VALUE_LENGTH.put(&mut head, narrow(header.value.len()).to_le_bytes());
            sink(&head);
            sink(header.name.as_bytes());
            sink(header.value);
        }
        for piece in record.payload.pieces() {
            sink(piece);
        }
    }
}

/// Copies the encoded records into `body`, which is as long as [`measure`] said.
#[inline]
pub(crate) fn encode(records: &[Record<'_>], states: &[StateEntry<'_>], shape: &Shape, body: &mut [u8]) {
    let mut rest = body;
    for record in records {
        rest = match plain_payload(record, shape) {
            Some(payload) => encode_plain(payload, rest),
            None => encode_general(record, shape, rest),
        };
    }
    for state in states {
        rest = state.encode(rest);
    }
    debug_assert!(rest.is_empty(), "measured before");
}

/// The payload of a record that has nothing else, in one piece: most do, and need no more than two copies.
#[inline]
fn plain_payload<'a>(record: &Record<'a>, shape: &Shape) -> Option<&'a [u8]> {
    match record {
        Record {
            payload: Payload::One([payload]),
            key: None,
            headers: [],
            event_time: None,
            tombstone: Tombstone::No,
            ..
        } if shape.topic.is_some() => Some(payload),
        _ => None,
    }
}

#[inline]
fn encode_plain<'b>(payload: &[u8], to: &'b mut [u8]) -> &'b mut [u8] {
    let Some((head, rest)) = to.split_first_chunk_mut::<{ table::BYTES }>() else { return &mut [] };
    let Some((to, rest)) = rest.split_at_mut_checked(payload.len()) else { return &mut [] };
    table::PAYLOAD_LENGTH.put(head, u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    table::FLAGS.put(head, [0]);
    to.copy_from_slice(payload);
    rest
}

fn encode_general<'b>(record: &Record<'_>, shape: &Shape, to: &'b mut [u8]) -> &'b mut [u8] {
    let mut rest = to;
    each_piece(std::slice::from_ref(record), shape.topic, |piece| {
        let taken = std::mem::take(&mut rest);
        if let Some((to, behind)) = taken.split_at_mut_checked(piece.len()) {
            to.copy_from_slice(piece);
            rest = behind;
        } else {
            debug_assert!(false, "measured before");
        }
    });
    rest
}

/// The checksum that the body will have, from the records themselves.
pub(crate) fn checksum_of(records: &[Record<'_>], states: &[StateEntry<'_>], shape: &Shape) -> u32 {
    let mut sum = Pieces::default();
    each_piece(records, shape.topic, |piece| sum.update(piece));
    for state in states {
        sum.update(&state.head());
        sum.update(state.key);
        sum.update(state.value.unwrap_or_default());
    }
    sum.finish()
}

/// Checks that a body is exactly what its frame header announces.
#[inline]
pub(crate) fn check(body: &[u8], frame: &FrameHeader) -> std::result::Result<(), Fault> {
    let mut rest = body;
    if frame.layout == Layout::Sparse {
        rest = check_sparse(body, frame)?;
    } else {
        for _ in 0..frame.record_count {
            rest = check_first(rest, frame.topic)?;
        }
    }
    for _ in 0..frame.state_count {
        rest = state::split(rest)?.1;
    }
    if rest.is_empty() { Ok(()) } else { Err(Fault::Content { what: "bytes behind the last entry of a body" }) }
}

/// Checks the first record of the rest of a dense body, and returns what is behind it.
#[inline]
fn check_first(rest: &[u8], topic_of_all: Option<Topic>) -> std::result::Result<&[u8], Fault> {
    let (head, rest) = rest.split_first_chunk::<{ table::BYTES }>().ok_or(CUT)?;
    let payload_length = crate::types::index(table::PAYLOAD_LENGTH.u32(head).into());
    let flags = table::FLAGS.u8(head);
    if flags == 0 && topic_of_all.is_some() {
        return rest.get(payload_length..).ok_or(CUT);
    }
    let (record, behind) = split_general(rest, topic_of_all, flags, payload_length)?;
    check_headers(record.headers)?;
    Ok(behind)
}

/// The state entries of a body that [`check`] accepted.
pub(crate) fn states<'a>(body: &'a [u8], frame: &FrameHeader) -> States<'a> {
    let Ok((records, mut rest)) = announced(body, frame) else { return States::new(&[], 0) };
    for _ in 0..records {
        rest = split_any(rest, frame.layout, frame.topic).map_or(&[], |(_, _, behind)| behind);
    }
    States::new(rest, frame.state_count)
}

/// Checks the records of a sparse frame, and returns what is behind them.
#[cold]
fn check_sparse<'a>(body: &'a [u8], frame: &FrameHeader) -> std::result::Result<&'a [u8], Fault> {
    let (records, mut rest) = announced(body, frame)?;
    let mut least = 0;
    for _ in 0..records {
        let (delta, record, behind) = split_any(rest, frame.layout, frame.topic)?;
        check_headers(record.headers)?;
        let delta = delta.unwrap_or_default();
        if delta < least || delta >= frame.record_count {
            return Err(Fault::Content { what: "offsets of a sparse frame that do not rise inside of it" });
        }
        least = delta.saturating_add(1);
        rest = behind;
    }
    Ok(rest)
}

/// How many records a body holds; none that a sparse frame could not.
#[inline]
pub(crate) fn count(body: &[u8], frame: &FrameHeader) -> u16 {
    announced(body, frame).map_or(0, |(records, _)| records)
}

/// How many records a body holds, and where they begin.
#[inline]
fn announced<'a>(body: &'a [u8], frame: &FrameHeader) -> std::result::Result<(u16, &'a [u8]), Fault> {
    if frame.layout == Layout::Dense {
        return Ok((frame.record_count, body));
    }
    let (head, rest) = body.split_first_chunk::<{ sparse_body::BYTES }>().ok_or(CUT)?;
    let records = sparse_body::KEPT.u16(head);
    if records == 0 || records > frame.record_count {
        return Err(Fault::Content { what: "a sparse frame with more records than offsets, or none" });
    }
    Ok((records, rest))
}

/// The records of a body that [`check`] accepted.
#[derive(Debug, Clone)]
pub(crate) struct Records<'a> {
    rest: &'a [u8],
    left: u16,
    form: Form,
    time: Timestamp,
    /// Offset of the next record; that of the frame, if it is sparse.
    next: Offset,
}

/// What the records of a frame can be.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// Dense, and of one topic: a record without flags is nothing but its payload.
    Plain(Topic),
    Marked(Layout, Option<Topic>),
}

impl<'a> Records<'a> {
    #[inline]
    pub(crate) fn new(body: &'a [u8], frame: &FrameHeader, first: Offset) -> Self {
        let (form, (left, rest)) = match (frame.layout, frame.topic) {
            (Layout::Dense, Some(topic)) => (Form::Plain(topic), (frame.record_count, body)),
            (layout, topic) => (Form::Marked(layout, topic), announced(body, frame).unwrap_or_default()),
        };
        Self { rest, left, form, time: frame.time, next: first }
    }

    fn next_general(&mut self) -> Option<RecordRef<'a>> {
        let (layout, topic) = match self.form {
            Form::Plain(topic) => (Layout::Dense, Some(topic)),
            Form::Marked(layout, topic) => (layout, topic),
        };
        let (delta, record, rest) = split_any(self.rest, layout, topic).ok()?;
        self.rest = rest;
        let offset = self.next.after(delta.unwrap_or_default().into());
        if layout == Layout::Dense {
            self.next = offset.after(1);
        }
        Some(record.at(offset, self.time))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<RecordRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (head, rest) = self.rest.split_first_chunk::<{ table::BYTES }>()?;
        let (0, Form::Plain(topic)) = (table::FLAGS.u8(head), self.form) else { return self.next_general() };
        let payload_length = crate::types::index(table::PAYLOAD_LENGTH.u32(head).into());
        let (record, rest) = split_plain(rest, topic, payload_length).ok()?;
        self.rest = rest;
        let offset = self.next;
        self.next = offset.after(1);
        Some(record.at(offset, self.time))
    }
}

struct Raw<'a> {
    topic: Topic,
    event_time: Option<Timestamp>,
    tombstone: bool,
    key: Option<&'a [u8]>,
    headers: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Raw<'a> {
    #[inline]
    fn at(&self, offset: Offset, time: Timestamp) -> RecordRef<'a> {
        RecordRef {
            offset,
            time,
            topic: self.topic,
            event_time: self.event_time,
            tombstone: self.tombstone,
            key: self.key,
            headers: Headers { encoded: self.headers },
            payload: self.payload,
        }
    }
}

const CUT: Fault = Fault::Content { what: "a record reaches past the end of its body" };

/// Splits the first record off the rest of a body, with what it says of its offset.
fn split_any(
    rest: &[u8],
    layout: Layout,
    topic: Option<Topic>,
) -> std::result::Result<(Option<u16>, Raw<'_>, &[u8]), Fault> {
    match layout {
        Layout::Dense => split(rest, topic).map(|(record, behind)| (None, record, behind)),
        Layout::Sparse => split_sparse(rest, topic).map(|(delta, record, behind)| (Some(delta), record, behind)),
    }
}

fn split_sparse(rest: &[u8], topic_of_all: Option<Topic>) -> std::result::Result<(u16, Raw<'_>, &[u8]), Fault> {
    let (head, mut rest) = rest.split_first_chunk::<{ table::BYTES }>().ok_or(CUT)?;
    let delta = u16::from_le_bytes(take::<DELTA_BYTES>(&mut rest)?);
    let payload_length = crate::types::index(table::PAYLOAD_LENGTH.u32(head).into());
    let (record, behind) = split_general(rest, topic_of_all, table::FLAGS.u8(head), payload_length)?;
    Ok((delta, record, behind))
}

/// Splits the first record off the rest of a dense body.
#[inline]
fn split(body: &[u8], topic_of_all: Option<Topic>) -> std::result::Result<(Raw<'_>, &[u8]), Fault> {
    let (head, rest) = body.split_first_chunk::<{ table::BYTES }>().ok_or(CUT)?;
    let payload_length = crate::types::index(table::PAYLOAD_LENGTH.u32(head).into());
    let flags = table::FLAGS.u8(head);
    if let (0, Some(topic)) = (flags, topic_of_all) {
        return split_plain(rest, topic, payload_length);
    }
    split_general(rest, topic_of_all, flags, payload_length)
}

/// Splits off what is behind the head of a record that has a payload and nothing else.
#[inline]
fn split_plain(rest: &[u8], topic: Topic, payload_length: usize) -> std::result::Result<(Raw<'_>, &[u8]), Fault> {
    let (payload, rest) = rest.split_at_checked(payload_length).ok_or(CUT)?;
    Ok((Raw { topic, event_time: None, tombstone: false, key: None, headers: &[], payload }, rest))
}

fn split_general(
    rest: &[u8],
    topic_of_all: Option<Topic>,
    flags: u8,
    payload_length: usize,
) -> std::result::Result<(Raw<'_>, &[u8]), Fault> {
    if flags & !FLAGS_KNOWN != 0 {
        return Err(Fault::Unknown { what: "record flags", found: flags.into() });
    }
    let mut rest = rest;
    let topic = match topic_of_all {
        Some(topic) => topic,
        None => Topic::new(u32::from_le_bytes(take(&mut rest)?))
            .ok_or(Fault::Content { what: "a record in the reserved topic" })?,
    };
    let key_length = if flags & KEY == 0 { None } else { Some(u16::from_le_bytes(take(&mut rest)?)) };
    let event_time = if flags & EVENT_TIME == 0 {
        None
    } else {
        Some(Timestamp::from_nanoseconds(i64::from_le_bytes(take(&mut rest)?)))
    };
    let headers_length = if flags & HEADERS == 0 { 0 } else { u16::from_le_bytes(take(&mut rest)?) };
    let mut key = None;
    if let Some(length) = key_length {
        let (taken, behind) = rest.split_at_checked(length.into()).ok_or(CUT)?;
        (key, rest) = (Some(taken), behind);
    }
    let (headers, rest) = rest.split_at_checked(headers_length.into()).ok_or(CUT)?;
    let (payload, rest) = rest.split_at_checked(payload_length).ok_or(CUT)?;
    Ok((Raw { topic, event_time, tombstone: flags & TOMBSTONE != 0, key, headers, payload }, rest))
}

#[inline]
fn take<const N: usize>(rest: &mut &[u8]) -> std::result::Result<[u8; N], Fault> {
    let (taken, behind) = rest.split_first_chunk::<N>().ok_or(CUT)?;
    *rest = behind;
    Ok(*taken)
}

#[inline]
fn check_headers(encoded: &[u8]) -> std::result::Result<(), Fault> {
    let mut rest = encoded;
    while !rest.is_empty() {
        rest = split_header(rest).ok_or(Fault::Content { what: "a header section that does not decode" })?.1;
    }
    Ok(())
}

fn split_header(encoded: &[u8]) -> Option<(Header<'_>, &[u8])> {
    let (head, rest) = encoded.split_first_chunk::<{ record_header::BYTES }>()?;
    let (name, rest) = rest.split_at_checked(record_header::NAME_LENGTH.u8(head).into())?;
    let (value, rest) = rest.split_at_checked(record_header::VALUE_LENGTH.u16(head).into())?;
    let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
    Some((Header { name, value }, rest))
}

#[expect(clippy::copy_iterator, reason = "it is two words, and callers iterate over a copy that a record gives")]
impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        let (header, rest) = split_header(self.encoded)?;
        self.encoded = rest;
        Some(header)
    }
}

#[cfg(test)]
mod tests;
