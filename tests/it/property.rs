//! Random operations on a log and on a plain list must agree, whatever the order: the model is a vector of records, and a
//! map of state and cursors.

mod retention;
mod state;

use std::sync::Arc;

use esker::{Attached, Header, Log, Offset, Options, ReadLine, ReadMode, Reader, Record, Retention, Timestamp, Topic};
use harness::MemoryDisk;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support;
use retention::Polled;
use state::{Handle, Model, StateStep, state_step};

/// Checkpoints come often; one log in three has a limit.
fn options(seed: u64) -> Options {
    let options = support::options().checkpoint_bytes(4096);
    if seed.is_multiple_of(3) { options.retention(Retention::new().bytes(50_000)) } else { options }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    payload: Vec<u8>,
    key: Option<Vec<u8>>,
    header: Option<(String, Vec<u8>)>,
    topic: u32,
    event_time: Option<i64>,
    tombstone: bool,
    time: Timestamp,
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Stored>),
    Gather(Vec<Vec<u8>>),
    Poll { reader: usize },
    PollBack { reader: usize },
    Seek { reader: usize, part: u8 },
    SeekTime { reader: usize, part: u8 },
    SeekEnd { reader: usize },
    Sync,
    Background,
    Advance { milliseconds: u16 },
    Reopen,
    Crash,
    Attach,
    State(StateStep),
    Drop { part: u8 },
}

fn stored() -> impl Strategy<Value = Stored> {
    let key = proptest::option::of(vec(any::<u8>(), 0..12));
    let header = proptest::option::of(("[a-z]{1,6}", vec(any::<u8>(), 0..9)));
    let length = prop_oneof![6 => 0..200_usize, 1 => 200..4000_usize];
    (length, any::<u8>(), key, header, 0..3_u32, proptest::option::of(any::<i64>()), prop::bool::weighted(0.1))
        .prop_map(|(length, fill, key, header, topic, event_time, tombstone)| {
            let tombstone = tombstone && key.is_some();
            let payload = if tombstone { Vec::new() } else { vec![fill; length] };
            let header = header.filter(|_| !tombstone);
            Stored { payload, key, header, topic, event_time, tombstone, time: Timestamp::default() }
        })
}

fn step() -> impl Strategy<Value = Step> {
    let reader = 0..3_usize;
    prop_oneof![
        8 => vec(stored(), 1..2).prop_map(Step::Append),
        4 => vec(stored(), 0..12).prop_map(Step::Append),
        2 => vec(vec(any::<u8>(), 0..50), 0..4).prop_map(Step::Gather),
        6 => reader.clone().prop_map(|reader| Step::Poll { reader }),
        3 => reader.clone().prop_map(|reader| Step::PollBack { reader }),
        3 => (reader.clone(), any::<u8>()).prop_map(|(reader, part)| Step::Seek { reader, part }),
        2 => (reader.clone(), any::<u8>()).prop_map(|(reader, part)| Step::SeekTime { reader, part }),
        1 => reader.prop_map(|reader| Step::SeekEnd { reader }),
        2 => Just(Step::Sync),
        2 => Just(Step::Background),
        4 => (0..2000_u16).prop_map(|milliseconds| Step::Advance { milliseconds }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
        1 => Just(Step::Attach),
        16 => state_step().prop_map(Step::State),
        2 => any::<u8>().prop_map(|part| Step::Drop { part }),
    ]
}

impl Stored {
    fn headers(&self) -> Vec<Header<'_>> {
        self.header.iter().map(|(name, value)| Header { name, value }).collect()
    }
}

struct World {
    seed: u64,
    disk: MemoryDisk,
    log: Log,
    readers: Vec<Reader>,
    model: Vec<Stored>,
    durable: usize,
    state: Model,
    /// Three, some of which were not opened yet.
    handles: Vec<Option<Handle>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = MemoryDisk::new(seed);
        let log = options(seed).open_on(Arc::new(disk.clone())).expect("opens");
        let (readers, model, handles) = (Vec::new(), Vec::new(), Vec::new());
        let mut world = Self { seed, disk, log, readers, model, durable: 0, state: Model::default(), handles };
        world.take_readers();
        world
    }

    fn take_readers(&mut self) {
        self.readers =
            vec![self.log.reader(), self.log.reader().mode(ReadMode::Copy), self.log.reader().up_to(ReadLine::Durable)];
        self.handles = vec![None, None, None];
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Append(records) => self.append(records),
            Step::Gather(pieces) => self.gather(&pieces),
            Step::Poll { reader } => self.poll(reader),
            Step::PollBack { reader } => self.poll_back(reader),
            Step::Seek { reader, part } => self.seek(reader, part),
            Step::SeekTime { reader, part } => self.seek_time(reader, part),
            Step::SeekEnd { reader } => {
                self.readers[reader].seek_latest();
                assert_eq!(number(self.readers[reader].offset()), self.limit(reader));
            }
            Step::Sync => {
                self.log.sync().expect("syncs");
                self.durable = self.model.len();
            }
            Step::Background => {
                self.step_background();
                self.durable = number(self.log.durable());
            }
            Step::Advance { milliseconds } => self.disk.advance(std::time::Duration::from_millis(milliseconds.into())),
            Step::Reopen => self.reopen(),
            Step::Crash => {
                let left = self.disk.snapshot();
                self.open(left);
                assert_eq!(self.log.recovery().cut, None);
            }
            Step::Attach => {
                let attached = Attached::open_on(Arc::new(self.disk.clone())).expect("attaches");
                assert_eq!(self.all(&mut attached.reader()), self.model.len());
                assert_eq!(number(attached.visible()), self.model.len());
                assert!(number(attached.durable()) <= number(self.log.durable()));
                self.compare_outside(&attached);
            }
            Step::State(step) => self.run_state(step),
            Step::Drop { part } => self.drop_before(part),
        }
        self.compare_state();
        assert_eq!(number(self.log.visible()), self.model.len());
        assert!(number(self.log.durable()) >= self.durable, "the durable line never moves back");
    }

    fn reopen(&mut self) {
        self.readers.clear();
        self.handles.clear();
        self.log.clone().close().expect("closes");
        self.disk.fail_create(0);
        self.disk.fail_directory_sync(0);
        self.open(self.disk.clone());
        assert_eq!(self.log.recovery().ending, esker::Ending::Clean);
    }

    fn open(&mut self, disk: MemoryDisk) {
        // Who looks before it is opened sees what the open will find.
        let attached = Attached::open_on(Arc::new(disk.clone())).expect("attaches");
        self.compare_outside(&attached);
        let start = self.log.start();
        self.log = options(self.seed).open_on(Arc::new(disk.clone())).expect("opens");
        assert_eq!((self.log.start(), attached.start()), (start, start), "a start that was acknowledged stays");
        self.disk = disk;
        self.durable = self.model.len();
        assert_eq!(number(self.log.durable()), self.durable, "an open makes durable what it keeps");
        self.take_readers();
        self.compare_state();
    }

    fn append(&mut self, mut records: Vec<Stored>) {
        let headers: Vec<Vec<Header<'_>>> = records.iter().map(Stored::headers).collect();
        let batch: Vec<Record<'_>> =
            records.iter().zip(&headers).map(|(stored, headers)| record(stored).headers(headers)).collect();
        let ticket = match &batch[..] {
            [one] => self.log.append(*one),
            several => self.log.append_batch(several),
        };
        let ticket = match ticket {
            Err(error) if error.kind() == esker::ErrorKind::Limit => return,
            ticket => ticket.expect("appends"),
        };
        let first = self.model.len();
        assert_eq!(number(ticket.offsets().start)..number(ticket.offsets().end), first..first + batch.len());
        let now = esker::platform::Disk::now(&self.disk);
        for stored in &mut records {
            stored.time = now;
        }
        self.model.extend(records);
    }

    fn gather(&mut self, pieces: &[Vec<u8>]) {
        let slices: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let _ = self.log.append(Record::gather(&slices)).expect("appends");
        self.model.push(Stored {
            payload: pieces.concat(),
            key: None,
            header: None,
            topic: 0,
            event_time: None,
            tombstone: false,
            time: esker::platform::Disk::now(&self.disk),
        });
    }

    /// How far a reader may see.
    fn limit(&self, reader: usize) -> usize {
        if reader == 2 { number(self.log.durable()) } else { self.model.len() }
    }

    fn poll(&mut self, reader: usize) {
        let (from, limit) = (number(self.readers[reader].offset()), self.limit(reader));
        let polled = self.readers[reader].poll();
        match self.unless_trimmed(polled, reader, from) {
            Polled::Trimmed => {}
            Polled::Batch(batch) => {
                assert_eq!(number(batch.first()), from);
                assert!(number(batch.next()) <= limit);
                self.compare(&batch);
            }
            Polled::End => assert_eq!(from, limit, "a reader stops only at the end"),
        }
    }

    fn poll_back(&mut self, reader: usize) {
        let from = number(self.readers[reader].offset());
        let polled = self.readers[reader].poll_back();
        match self.unless_trimmed(polled, reader, from) {
            Polled::Trimmed => {}
            Polled::Batch(batch) => {
                assert_eq!(number(batch.next()), from);
                assert_eq!(self.readers[reader].offset(), batch.first());
                self.compare(&batch);
            }
            Polled::End => assert_eq!(from, self.start(), "a reader going back stops only at the start"),
        }
    }

    fn seek(&mut self, reader: usize, part: u8) {
        let limit = self.limit(reader);
        let target = self.start() + (limit - self.start()) * usize::from(part) / 255;
        self.readers[reader].seek(offset(target)).expect("inside the log");
        assert_eq!(number(self.readers[reader].offset()), target);
        assert!(self.readers[reader].seek(offset(limit + 1)).is_err());
    }

    fn seek_time(&mut self, reader: usize, part: u8) {
        let limit = self.limit(reader);
        let Some(near) = self.model.get(limit * usize::from(part) / 256) else { return };
        let time = near.time;
        self.readers[reader].seek_time(time).expect("seeks");
        let mut kept = self.model[..limit].iter().enumerate().skip(self.start());
        let expected = kept.find(|(_, stored)| stored.time >= time).map_or(limit, |(at, _)| at);
        assert_eq!(number(self.readers[reader].offset()), expected);
    }

    fn compare(&self, batch: &esker::Batch) {
        assert!(!batch.is_empty());
        let mut expected = number(batch.first());
        for record in batch {
            assert_eq!(number(record.offset()), expected);
            assert_eq!(read(&record), self.model[expected]);
            expected += 1;
        }
        assert_eq!(expected, number(batch.next()));
        let back: Vec<Offset> = batch.iter_back().map(|record| record.offset()).collect();
        assert!(back.windows(2).all(|pair| pair[0] > pair[1]) && back.len() == batch.len());
    }

    fn all(&self, reader: &mut Reader) -> usize {
        let mut seen = number(reader.offset());
        while let Some(batch) = reader.poll().expect("reads") {
            self.compare(&batch);
            seen = number(batch.next());
        }
        seen
    }
}

fn record(stored: &Stored) -> Record<'_> {
    let mut record = Record::new(&stored.payload);
    if let Some(key) = &stored.key {
        record = if stored.tombstone { Record::tombstone(key) } else { record.key(key) };
    }
    if let Some(time) = stored.event_time {
        record = record.event_time(Timestamp::from_nanoseconds(time));
    }
    record.topic(Topic::new(stored.topic).expect("small"))
}

fn read(record: &esker::RecordRef<'_>) -> Stored {
    Stored {
        payload: record.payload().to_vec(),
        key: record.key().map(<[u8]>::to_vec),
        header: record.headers().next().map(|header| (header.name.to_owned(), header.value.to_vec())),
        topic: record.topic().get(),
        event_time: record.event_time().map(Timestamp::nanoseconds),
        tombstone: record.is_tombstone(),
        time: record.time(),
    }
}

fn number(offset: Offset) -> usize {
    usize::try_from(offset.get()).expect("small")
}

fn offset(number: usize) -> Offset {
    Offset::new(u64::try_from(number).expect("small"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_agrees_with_a_list(seed in any::<u64>(), steps in vec(step(), 1..120)) {
        let mut world = World::new(seed);
        for step in steps {
            world.run(step);
        }
        let mut reader = world.log.reader();
        prop_assert_eq!(world.all(&mut reader), world.model.len());
        // However it ends now, all of it comes back.
        world.run(Step::Attach);
        world.run(Step::Crash);
        world.run(Step::Reopen);
        let mut reader = world.log.reader();
        prop_assert_eq!(world.all(&mut reader), world.model.len());
    }
}
