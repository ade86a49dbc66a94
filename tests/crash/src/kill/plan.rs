//! What a writer that is going to be killed appends.
//!
//! Guarantees:
//! 1. Every byte follows from the seed of the run, the thread and the number of the record: whoever finds a record can
//!    tell whether it was submitted, and what it has to look like.
//! 2. The batches of a thread follow from the same: where its frames end can be told without having seen it write.

use std::time::Duration;

use esker::{Header, Options, Record, RecordRef, Sync, Timestamp, Topic};
use harness::Dice;
use harness::oracle::{Parts, Tombstone};

/// What a segment holds beyond data, with some to spare.
const OVERHEAD_BYTES: u64 = 9 * 1024;
/// What a record takes beyond payload, key and headers, at most.
const RECORD_OVERHEAD_BYTES: usize = 64;
const PAYLOAD_BYTES_MAX: u64 = 5000;
const IDENTITY_BYTES: usize = 24;
/// The topic of what the consumer makes; no sample has it.
pub(super) const OUTPUT_TOPIC: u32 = 3;
/// The thread that outputs name; their number is the offset of the input.
pub(super) const CONSUMER: u64 = 1 << 32;

/// Which record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// Seed of the run.
    pub(super) run: u64,
    pub(super) thread: u64,
    /// Counts the records of the thread.
    pub(super) number: u64,
}

impl Identity {
    fn dice(self) -> Dice {
        let of_thread = Dice::new(self.thread.wrapping_mul(0x1_0001)).word();
        Dice::new(self.run ^ of_thread ^ Dice::new(self.number.wrapping_add(1)).word())
    }

    /// Of what the consumer of a run makes of the input at an offset.
    pub(super) fn of_output(run: u64, input: u64) -> Self {
        Self { run, thread: CONSUMER, number: input }
    }

    pub(super) fn is_output(self) -> bool {
        self.thread == CONSUMER
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        [self.run, self.thread, self.number].iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// The identity that a record carries in its payload, or in its key if it is a tombstone.
    pub(super) fn found_in(record: &RecordRef<'_>) -> Option<Self> {
        let carrier = if record.is_tombstone() { record.key()? } else { record.payload() };
        let mut words = carrier.get(..IDENTITY_BYTES)?.chunks_exact(8);
        let mut word = || Some(u64::from_le_bytes(words.next()?.try_into().ok()?));
        Some(Self { run: word()?, thread: word()?, number: word()? })
    }
}

/// A record, in full.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sample {
    payload: Vec<u8>,
    key: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
    topic: u32,
    event_time: Option<i64>,
    tombstone: bool,
}

impl Sample {
    pub(super) fn of(identity: Identity) -> Self {
        let mut dice = identity.dice();
        let tombstone = dice.below(16) == 0;
        let mut payload = identity.bytes();
        let random_bytes = match dice.below(16) {
            0..=11 => dice.below(200),
            12..=14 => dice.below(2000),
            _ => dice.below(PAYLOAD_BYTES_MAX),
        };
        payload.extend(bytes(&mut dice, random_bytes));
        let key_bytes = dice.below(40);
        let key = (dice.below(3) == 0).then(|| bytes(&mut dice, key_bytes));
        let header_count = dice.below(4).saturating_sub(1);
        let headers =
            (0..header_count).map(|number| (format!("header-{number}"), bytes(&mut dice, number * 7))).collect();
        let topic = u32::try_from(dice.below(3)).expect("small");
        let event_time = (dice.below(4) == 0).then(|| i64::from_le_bytes(dice.word().to_le_bytes()));
        if tombstone {
            return Self { key: Some(payload), payload: Vec::new(), headers, topic, event_time, tombstone };
        }
        Self { payload, key, headers, topic, event_time, tombstone }
    }

    pub(super) fn found(record: &RecordRef<'_>) -> Self {
        Self {
            payload: record.payload().to_vec(),
            key: record.key().map(<[u8]>::to_vec),
            headers: record.headers().map(|header| (header.name.to_owned(), header.value.to_vec())).collect(),
            topic: record.topic().get(),
            event_time: record.event_time().map(Timestamp::nanoseconds),
            tombstone: record.is_tombstone(),
        }
    }

    /// A number that depends on all of it.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut headers = Vec::new();
        self.headers.iter().for_each(|(name, value)| Parts::header(&mut headers, name, value));
        let parts = Parts {
            payload: &self.payload,
            key: self.key.as_deref(),
            headers: &headers,
            event_time: self.event_time,
            topic: self.topic,
            tombstone: if self.tombstone { Tombstone::Yes } else { Tombstone::No },
        };
        parts.fingerprint()
    }

    fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 3).sum();
        self.payload.len() + self.key.as_ref().map_or(0, Vec::len) + headers + RECORD_OVERHEAD_BYTES
    }

    pub(super) fn headers(&self) -> Vec<Header<'_>> {
        self.headers.iter().map(|(name, value)| Header { name, value }).collect()
    }

    pub(super) fn record<'a>(&'a self, headers: &'a [Header<'a>]) -> Record<'a> {
        let record = match &self.key {
            Some(key) if self.tombstone => Record::tombstone(key),
            Some(key) => Record::new(&self.payload).key(key),
            None => Record::new(&self.payload),
        };
        let record = record.headers(headers).topic(Topic::new(self.topic).expect("a small number"));
        match self.event_time {
            Some(time) => record.event_time(Timestamp::from_nanoseconds(time)),
            None => record,
        }
    }
}

/// How a run ends if nobody kills it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastAct {
    Close,
    Stay,
}

/// One life of a writer.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) seed: u64,
    pub(super) threads: u64,
    pub(super) options: Options,
    /// Frames of each thread.
    pub(super) frames: u64,
    /// One of so many appends is waited for.
    pub(super) waits: u64,
    pub(super) last_act: LastAct,
    frame_bytes: usize,
}

impl Run {
    pub(super) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x72_756e);
        let segment_bytes = [16, 32, 64][usize_of(dice.below(3))] * 1024;
        let sync = match dice.below(4) {
            0 => Sync::EveryCommit,
            1 => Sync::Interval(Duration::from_millis(1 + dice.below(5))),
            _ => Sync::OnRequest,
        };
        let unproven = usize_of(1 + dice.below(8));
        let checkpoint_bytes = [4, 8, 16][usize_of(dice.below(3))] * 1024;
        let threads = [1, 1, 2, 4][usize_of(dice.below(4))];
        Self {
            seed,
            threads,
            options: Options::new()
                .segment_bytes(segment_bytes)
                .sync(sync)
                .unproven_segments_max(unproven)
                .checkpoint_bytes(checkpoint_bytes),
            frames: 1 + dice.below(120) / threads,
            waits: 1 + dice.below(20),
            last_act: if dice.below(3) == 0 { LastAct::Close } else { LastAct::Stay },
            frame_bytes: usize_of(segment_bytes - OVERHEAD_BYTES),
        }
    }

    /// The numbers of the records of each frame of a thread, frame by frame.
    pub(super) fn plan(&self, thread: u64) -> Plan<'_> {
        Plan { run: self, thread, dice: Dice::new(self.seed ^ (thread + 1).wrapping_mul(0xb_a7c4)), next: 0 }
    }
}

/// See [`Run::plan`].
pub(super) struct Plan<'a> {
    run: &'a Run,
    thread: u64,
    dice: Dice,
    next: u64,
}

impl Iterator for Plan<'_> {
    type Item = Vec<Sample>;

    fn next(&mut self) -> Option<Vec<Sample>> {
        let wanted = match self.dice.below(8) {
            0..=3 => 1,
            4..=6 => 1 + self.dice.below(8),
            _ => 1 + self.dice.below(60),
        };
        let (mut frame, mut bytes) = (Vec::new(), 0);
        for number in self.next..self.next + wanted {
            let sample = Sample::of(Identity { run: self.run.seed, thread: self.thread, number });
            bytes += sample.bytes();
            if bytes > self.run.frame_bytes && !frame.is_empty() {
                break;
            }
            frame.push(sample);
        }
        self.next += u64::try_from(frame.len()).expect("small");
        Some(frame)
    }
}

fn bytes(dice: &mut Dice, count: u64) -> Vec<u8> {
    (0..count.div_ceil(8)).flat_map(|_| dice.word().to_le_bytes()).take(usize_of(count)).collect()
}

pub(super) fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}
