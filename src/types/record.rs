//! Records as callers give them ([`Record`]) and as readers get them ([`RecordRef`]).
//!
//! Guarantees:
//! 1. Both only borrow: building or reading a record copies and allocates nothing.

use super::{Offset, Timestamp, Topic};

/// One name and value that travel with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// 1 to 255 bytes of UTF-8. Names may repeat; order is kept.
    pub name: &'a str,
    /// Any bytes, up to 65,535.
    pub value: &'a [u8],
}

/// A record to append: payload, and optionally key, headers, topic and event time.
///
/// ```
/// use esker::{Record, Topic};
///
/// let whole = Record::new(b"paid").key(b"order-7");
/// let pieces: [&[u8]; 2] = [b"pa", b"id"];
/// let gathered = Record::gather(&pieces).key(b"order-7").topic(Topic::new(3).unwrap());
/// assert_eq!(whole.payload_bytes(), gathered.payload_bytes());
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "a record is stored only when it is appended"]
pub struct Record<'a> {
    pub(crate) payload: Payload<'a>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) headers: &'a [Header<'a>],
    pub(crate) topic: Topic,
    pub(crate) event_time: Option<Timestamp>,
    pub(crate) tombstone: Tombstone,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Payload<'a> {
    One([&'a [u8]; 1]),
    Several(&'a [&'a [u8]]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tombstone {
    No,
    Yes,
}

impl<'a> Record<'a> {
    /// A record with this payload, without key or headers, in topic 0.
    pub fn new<B: AsRef<[u8]> + ?Sized>(payload: &'a B) -> Self {
        Self {
            payload: Payload::One([payload.as_ref()]),
            key: None,
            headers: &[],
            topic: Topic::default(),
            event_time: None,
            tombstone: Tombstone::No,
        }
    }

    /// A record whose payload lies in several pieces; the one copy into the log joins them.
    pub fn gather(pieces: &'a [&'a [u8]]) -> Self {
        Self { payload: Payload::Several(pieces), ..Self::new(b"") }
    }

    /// A record without payload that says: `key` has no value any more.
    pub fn tombstone<K: AsRef<[u8]> + ?Sized>(key: &'a K) -> Self {
        Self { tombstone: Tombstone::Yes, ..Self::new(b"") }.key(key)
    }

    /// Gives the record a key; an empty key is a key.
    pub fn key<K: AsRef<[u8]> + ?Sized>(mut self, key: &'a K) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// Gives the record headers.
    pub fn headers(mut self, headers: &'a [Header<'a>]) -> Self {
        self.headers = headers;
        self
    }

    /// Puts the record into a topic.
    pub fn topic(mut self, topic: Topic) -> Self {
        self.topic = topic;
        self
    }

    /// Says when the event happened, which may be long before it is appended.
    pub fn event_time(mut self, time: impl Into<Timestamp>) -> Self {
        self.event_time = Some(time.into());
        self
    }

    /// Length of the payload in bytes, all pieces together.
    #[must_use]
    #[inline]
    pub fn payload_bytes(&self) -> usize {
        match self.payload {
            Payload::One([payload]) => payload.len(),
            Payload::Several(pieces) => pieces.iter().fold(0, |sum: usize, piece| sum.saturating_add(piece.len())),
        }
    }
}

impl<'a> Payload<'a> {
    #[inline]
    pub(crate) fn pieces(&self) -> &[&'a [u8]] {
        match self {
            Self::One(payload) => payload,
            Self::Several(pieces) => pieces,
        }
    }
}

impl<'a> From<&'a [u8]> for Record<'a> {
    fn from(payload: &'a [u8]) -> Self {
        Self::new(payload)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Record<'a> {
    fn from(payload: &'a [u8; N]) -> Self {
        Self::new(payload)
    }
}

impl<'a> From<&'a str> for Record<'a> {
    fn from(payload: &'a str) -> Self {
        Self::new(payload)
    }
}

impl<'a> From<&'a Vec<u8>> for Record<'a> {
    fn from(payload: &'a Vec<u8>) -> Self {
        Self::new(payload)
    }
}

impl<'a> From<&'a String> for Record<'a> {
    fn from(payload: &'a String) -> Self {
        Self::new(payload)
    }
}

/// A record as read: it borrows from the batch that a reader handed out, already checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    pub(crate) offset: Offset,
    pub(crate) time: Timestamp,
    pub(crate) topic: Topic,
    pub(crate) event_time: Option<Timestamp>,
    pub(crate) tombstone: bool,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) headers: Headers<'a>,
    pub(crate) payload: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// Its number in the log.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// When it was appended, by the system's coarse clock (resolution 1 to 10 ms); it may step back.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// When the event happened, if the producer said so.
    #[must_use]
    pub fn event_time(&self) -> Option<Timestamp> {
        self.event_time
    }

    /// Its topic.
    #[must_use]
    pub fn topic(&self) -> Topic {
        self.topic
    }

    /// Its key, if it has one.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// Its headers, in the order in which they were given.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }

    /// Its payload.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Whether it says that its key has no value any more.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.tombstone
    }
}

/// The headers of a record that was read; an iterator of [`Header`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    /// Encoded header section; the decoder has checked its structure and its UTF-8.
    pub(crate) encoded: &'a [u8],
}
