//! What a log was told: every record in all its fields, and the state and the cursors behind every commit.
//!
//! Guarantees:
//! 1. A history is noted from what was appended, not from what the engine reads back.
//! 2. What a recovery cut is not part of it.

use esker::{Commit, Epoch, Header, Log, Offset, Place, Record, RecordRef, StateValue, Timestamp, Topic};

use crate::MemoryDisk;

/// A record, with everything that a reader shows of it but its offset, which is its place in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    time: Timestamp,
    topic: Topic,
    event_time: Option<Timestamp>,
    tombstone: bool,
    key: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
    payload: Vec<u8>,
}

pub(super) type Entries = Vec<(Box<[u8]>, StateValue)>;
/// Name, offset and epoch of each cursor.
pub(super) type Cursors = Vec<(String, Offset, Epoch)>;

/// State and cursors from a place on.
#[derive(Debug, Clone)]
struct Noted {
    place: Place,
    entries: Entries,
    cursors: Cursors,
}

/// The life of a log.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) records: Vec<Told>,
    noted: Vec<Noted>,
}

impl Told {
    /// Whether this is what was read, in every field.
    pub(super) fn is(&self, read: &RecordRef<'_>) -> bool {
        let headers = || read.headers().map(|header| (header.name, header.value));
        let told = || self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        self.payload == read.payload()
            && self.key.as_deref() == read.key()
            && self.time == read.time()
            && self.topic == read.topic()
            && self.event_time == read.event_time()
            && self.tombstone == read.is_tombstone()
            && headers().eq(told())
    }
}

pub(super) fn cursors_of(cursors: &[esker::CursorInfo]) -> Cursors {
    cursors.iter().map(|cursor| (cursor.name.clone(), cursor.offset, cursor.epoch)).collect()
}

impl History {
    /// Whether this is the state behind the last commit that ends at or before `end`.
    pub(super) fn holds_at(&self, end: Place, entries: &Entries, cursors: &Cursors) -> bool {
        let known = self.noted.partition_point(|noted| noted.place <= end);
        let last = known.checked_sub(1).and_then(|last| self.noted.get(last));
        let none = || entries.is_empty() && cursors.is_empty();
        last.map_or_else(none, |noted| noted.entries == *entries && noted.cursors == *cursors)
    }

    /// Whether this was ever the state, or none was.
    pub(super) fn held(&self, entries: &Entries, cursors: &Cursors) -> bool {
        let none = entries.is_empty() && cursors.is_empty();
        none || self.noted.iter().any(|noted| noted.entries == *entries && noted.cursors == *cursors)
    }

    /// Whether each of these was told at some time, by itself.
    pub(super) fn told_all(&self, entries: &Entries, cursors: &Cursors) -> bool {
        entries.iter().all(|entry| self.noted.iter().any(|noted| noted.entries.contains(entry)))
            && cursors.iter().all(|cursor| self.noted.iter().any(|noted| noted.cursors.contains(cursor)))
    }

    /// Forgets what an open cut.
    pub(super) fn cut_to(&mut self, log: &Log) {
        let end = log.recovery().end;
        self.records.truncate(usize::try_from(end.offset.get()).expect("small"));
        self.noted.retain(|noted| noted.place <= end.place);
    }

    /// Commits the records, states and cursors of step `number`, and notes them. `tag` makes two lives differ.
    pub(super) fn step(&mut self, log: &Log, disk: &MemoryDisk, number: u64, tag: u8) -> Place {
        let time = esker::platform::Disk::now(disk);
        let told = shapes(number, tag, time);
        let headers: Vec<Vec<Header<'_>>> = told.iter().map(headers_of).collect();
        let records: Vec<Record<'_>> =
            told.iter().zip(&headers).map(|(told, headers)| record_of(told, headers)).collect();
        let which = u8::try_from(number % 11).expect("small");
        let (key, value) = ([b'k', which], vec![tag ^ which; usize::from(which) * 3]);
        let (next, last) = (Offset::new(log.visible().get() / 2), number.to_le_bytes());
        let place = if number.is_multiple_of(3) && !records.is_empty() {
            log.append_batch(&records).expect("appends").place()
        } else {
            let commit = Commit::new().records(records).state(&key, &value).state("last", &last);
            let commit = if which == 7 { commit.remove_state(b"k\x03") } else { commit };
            let commit = match number % 8 {
                1 => commit.seek_cursor("billing", next),
                4 => commit.seek_cursor("audit/2", log.visible()),
                7 if number % 16 == 15 => commit.remove_cursor("audit/2").seek_cursor("billing", Offset::ZERO),
                _ => commit,
            };
            log.commit(commit).expect("commits").place()
        };
        self.records.extend(told);
        let entries = log.states("").expect("shown");
        let cursors = cursors_of(&log.cursors().expect("shown"));
        self.noted.push(Noted { place, entries, cursors });
        place
    }
}

fn headers_of(told: &Told) -> Vec<Header<'_>> {
    told.headers.iter().map(|(name, value)| Header { name, value }).collect()
}

fn record_of<'a>(told: &'a Told, headers: &'a [Header<'a>]) -> Record<'a> {
    let record = match (&told.key, told.tombstone) {
        (Some(key), true) => Record::tombstone(key),
        (Some(key), false) => Record::new(&told.payload).key(key),
        (None, _) => Record::new(&told.payload),
    };
    let record = record.headers(headers).topic(told.topic);
    told.event_time.map_or(record, |time| record.event_time(time))
}

/// The records of a step: none, one or several, of every shape there is.
fn shapes(number: u64, tag: u8, time: Timestamp) -> Vec<Told> {
    let count = match number % 6 {
        5 if !number.is_multiple_of(3) => 0,
        2 => 4,
        _ => 1,
    };
    let told = (0..count).map(|place| {
        let record = number.wrapping_mul(7).wrapping_add(place * 5);
        // Of one topic, or of several in one frame.
        let topic = if number % 12 == 2 { record % 3 } else { 2 };
        shape(record, tag, time, topic)
    });
    told.collect()
}

fn shape(number: u64, tag: u8, time: Timestamp, topic: u64) -> Told {
    let bytes = usize::try_from(number * 37 % 290).expect("small");
    let key = match number % 5 {
        0 => None,
        1 => Some(Vec::new()),
        _ => Some(format!("order-{}", number % 17).into_bytes()),
    };
    let tombstone = number % 13 == 3 && key.is_some();
    let name = |name: &str| (name.to_owned(), vec![tag; usize::from(tag % 5) + 2]);
    let headers = match number % 4 {
        0 => vec![name("trace"), name("trace"), (String::from("\u{e9}"), Vec::new())],
        1 => vec![name("a")],
        _ => Vec::new(),
    };
    let moment = i64::try_from(number * 1000).expect("small");
    Told {
        time,
        topic: Topic::new(u32::try_from(topic).expect("small")).expect("a topic"),
        event_time: (number % 3 == 1).then(|| Timestamp::from_nanoseconds(-moment)),
        tombstone,
        key,
        headers,
        payload: if tombstone || number.is_multiple_of(19) {
            Vec::new()
        } else {
            vec![tag ^ number.to_le_bytes()[0]; bytes]
        },
    }
}
