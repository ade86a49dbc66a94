//! Random appends, rolls, reopens and harm to index files: lookups agree with a plain model.

use std::collections::BTreeMap;
use std::sync::Arc;

use esker::{Attached, Log, Options, Record, Topic};
use harness::MemoryDisk;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Told, indexes, latest, latest_of, tell, topic};
use crate::support;

#[derive(Debug, Clone)]
struct Entry {
    topic: u32,
    key: Option<u8>,
    bytes: usize,
    tombstone: bool,
}

/// What is done to index files.
#[derive(Debug, Clone)]
enum Harm {
    Remove { which: usize },
    Flip { which: usize, bit: usize },
    Cut { which: usize, part: usize },
    Swap { one: usize, other: usize },
    Foreign { which: usize },
    Garbage { which: usize },
    Draft,
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Entry>),
    Look { topic: u32, key: u8 },
    Sync,
    Background,
    Remove { which: usize },
    Reopen(Vec<Harm>),
}

fn entry() -> impl Strategy<Value = Entry> {
    (0..3_u32, proptest::option::weighted(0.8, 0..8_u8), 0..350_usize, prop::bool::weighted(0.15))
        .prop_map(|(topic, key, bytes, tombstone)| Entry { topic, key, bytes, tombstone: tombstone && key.is_some() })
}

fn harm() -> impl Strategy<Value = Harm> {
    let which = 0..8_usize;
    prop_oneof![
        which.clone().prop_map(|which| Harm::Remove { which }),
        (which.clone(), any::<usize>()).prop_map(|(which, bit)| Harm::Flip { which, bit }),
        (which.clone(), any::<usize>()).prop_map(|(which, part)| Harm::Cut { which, part }),
        (which.clone(), which.clone()).prop_map(|(one, other)| Harm::Swap { one, other }),
        which.clone().prop_map(|which| Harm::Foreign { which }),
        which.prop_map(|which| Harm::Garbage { which }),
        Just(Harm::Draft),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => vec(entry(), 1..2).prop_map(Step::Append),
        6 => vec(entry(), 1..20).prop_map(Step::Append),
        8 => (0..4_u32, 0..9_u8).prop_map(|(topic, key)| Step::Look { topic, key }),
        1 => Just(Step::Sync),
        2 => Just(Step::Background),
        1 => (0..8_usize).prop_map(|which| Step::Remove { which }),
        1 => vec(harm(), 0..4).prop_map(Step::Reopen),
    ]
}

/// Key 0 is the empty one.
fn bytes_of(key: u8) -> Vec<u8> {
    vec![key; key.into()]
}

fn options(memory: u64) -> Options {
    support::options().checkpoint_bytes(4096).index_memory(memory)
}

struct World {
    disk: MemoryDisk,
    log: Log,
    memory: u64,
    appended: u64,
    model: BTreeMap<(u32, u8), Told>,
}

impl World {
    fn new(seed: u64, memory: u64) -> Self {
        let disk = MemoryDisk::new(seed);
        let log = options(memory).open_on(Arc::new(disk.clone())).expect("opens");
        Self { disk, log, memory, appended: 0, model: BTreeMap::new() }
    }

    fn append(&mut self, entries: &[Entry]) {
        let keys: Vec<_> = entries.iter().map(|entry| entry.key.map(bytes_of)).collect();
        let fill = u8::try_from(self.appended % 251).expect("small");
        let payloads: Vec<_> = entries.iter().map(|entry| vec![fill; entry.bytes]).collect();
        let records = entries.iter().zip(&keys).zip(&payloads).map(|((entry, key), payload)| {
            let record = match key {
                Some(key) if entry.tombstone => Record::tombstone(key),
                Some(key) => Record::new(payload).key(key),
                None => Record::new(payload),
            };
            record.topic(topic(entry.topic))
        });
        let records: Vec<_> = records.collect();
        let _ = self.log.append_batch(&records).expect("appends");
        for (entry, payload) in entries.iter().zip(payloads) {
            if let Some(key) = entry.key {
                let payload = if entry.tombstone { Vec::new() } else { payload };
                let told = (self.appended, entry.tombstone, payload);
                self.model.entry((entry.topic, key)).or_default().push(told);
            }
            self.appended += 1;
        }
    }

    fn look(&self, number: u32, key: u8) {
        let expected = self.model.get(&(number, key)).cloned().unwrap_or_default();
        let (topic, key) = (topic(number), bytes_of(key));
        let history = |history| tell(history).expect("reads");
        assert_eq!(latest(self.log.latest(topic, &key)).expect("reads"), latest_of(&expected));
        assert_eq!(history(self.log.history(topic, &key)), expected);
        let attached = Attached::open_on(Arc::new(self.disk.clone())).expect("attaches");
        assert_eq!(history(attached.history(topic, &key)), expected);
        assert_eq!(latest(attached.latest(topic, &key)).expect("reads"), latest_of(&expected));
        let durable = self.log.durable().get();
        let up_to: Told = expected.into_iter().filter(|(offset, ..)| *offset < durable).collect();
        let line = esker::ReadLine::Durable;
        assert_eq!(latest(self.log.latest_up_to(line, topic, &key)).expect("reads"), latest_of(&up_to));
    }

    /// Puts bytes in place of a file.
    fn put(&self, name: &str, bytes: &[u8]) {
        if self.disk.read_file(name).is_some() {
            self.disk.remove(name);
        }
        self.disk.put_file(name, bytes);
    }

    fn remove(&self, which: usize) {
        let names = indexes(&self.disk);
        if let Some(name) = names.get(which % names.len().max(1)) {
            self.disk.remove(name);
        }
    }

    fn harm(&self, harm: &Harm) {
        let names = indexes(&self.disk);
        let name = |which: usize| names.get(which % names.len().max(1));
        let bytes = |which: usize| name(which).and_then(|name| self.disk.read_file(name));
        match *harm {
            Harm::Remove { which } => self.remove(which),
            Harm::Flip { which, bit } => {
                if let Some(name) = name(which) {
                    self.disk.edit_file(name, |bytes| {
                        let bit = bit % (bytes.len() * 8);
                        bytes[bit / 8] ^= 1 << (bit % 8);
                    });
                }
            }
            Harm::Cut { which, part } => {
                if let (Some(name), Some(bytes)) = (name(which), bytes(which)) {
                    self.put(name, &bytes[..part % bytes.len()]);
                }
            }
            Harm::Swap { one, other } => {
                if let (Some(first), Some(second)) = (bytes(one), bytes(other)) {
                    self.put(name(one).expect("read"), &second);
                    self.put(name(other).expect("read"), &first);
                }
            }
            Harm::Foreign { which } => {
                let other = MemoryDisk::new(98);
                super::indexed(&options(self.memory), &other).close().expect("closes");
                let taken = indexes(&other);
                let bytes = other.read_file(&taken[which % taken.len()]).expect("is there");
                self.put(&taken[which % taken.len()], &bytes);
            }
            Harm::Garbage { which } => {
                let name = format!("{:010}.idx", which * 3 + 1);
                self.put(&name, &[0x5a; 700]);
            }
            Harm::Draft => self.put("0000000002.idx.draft", b"begun"),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Append(entries) => self.append(&entries),
            Step::Look { topic, key } => self.look(topic, key),
            Step::Sync => self.log.sync().expect("syncs"),
            Step::Background => self.log.background_step(),
            Step::Remove { which } => self.remove(which),
            Step::Reopen(harms) => {
                self.log.clone().close().expect("closes");
                for harm in &harms {
                    self.harm(harm);
                }
                self.log = options(self.memory).open_on(Arc::new(self.disk.clone())).expect("opens");
                assert!(!self.disk.names().iter().any(|name| name.contains(".idx.draft")), "removed by the open");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn lookups_agree_with_a_plain_map(
        steps in vec(step(), 1..60), seed in any::<u64>(), memory in prop_oneof![Just(64_u64 << 10), Just(64 << 20)],
    ) {
        let mut world = World::new(seed, memory);
        for step in steps {
            world.run(step);
        }
        world.log.background_step();
        for topic in 0..4 {
            for key in 0..9 {
                world.look(topic, key);
            }
        }
        // What the background made is what it should be.
        let found = esker::inspect::verify_on(&world.disk, &mut |_| {}).expect("looks");
        let bad: Vec<_> = found.findings.iter().filter(|finding| finding.file.to_string_lossy().contains(".idx")).collect();
        prop_assert!(bad.is_empty(), "{:?}", bad);
    }
}

#[test]
fn a_topic_that_is_not_there_has_no_keys() {
    let world = World::new(1, 64 << 20);
    assert!(world.log.latest(Topic::MAX, b"any").expect("reads").is_none());
}
