//! Reads with a filter beside a scan of everything: one of 100 topics, and one key of 100,000, in a log of a million records
//! whose segments have index files.

use std::hint::black_box;

use criterion::Criterion;
use esker::{Background, Options, Reader, Record, Topic};

use crate::bed::PAYLOAD;

const RECORDS: u64 = 1_000_000;
const TOPICS: u64 = 100;
const KEYS: u64 = 100_000;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filter");
    group.sample_size(20);
    // Alone, the topics in turns: the worst for a filter. And as a batch of one topic.
    for count in [1, 100] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let options = Options::new().segment_bytes(8 << 20).background(Background::Manual);
        let log = options.open(folder.path()).expect("opens");
        for first in (0..RECORDS).step_by(count) {
            let numbers = first..first + u64::try_from(count).expect("small");
            let keys: Vec<_> = numbers.map(|number| (number % KEYS).to_be_bytes()).collect();
            let topic = topic(first / u64::try_from(count).expect("small") % TOPICS);
            let records: Vec<_> = keys.iter().map(|key| Record::new(&PAYLOAD).topic(topic).key(key)).collect();
            let _ = log.append_batch(records).expect("appends");
        }
        log.sync().expect("syncs");
        log.background_step();
        assert!(log.stats().indexes > 2, "the segments have index files");
        // The one with this key, whichever topic its batch is of.
        let key = 7_u64;
        let of_key = topic(key / u64::try_from(count).expect("small") % TOPICS);
        let name = |what: &str| format!("{what}, of {RECORDS} records written {count} a call");
        group.bench_function(name("all"), |bencher| bencher.iter(|| read(log.reader(), RECORDS)));
        group.bench_function(name("one of 100 topics"), |bencher| {
            bencher.iter(|| read(log.reader().topics([topic(3)]), RECORDS / TOPICS));
        });
        group.bench_function(name("one key of 100,000"), |bencher| {
            bencher.iter(|| read(log.reader().key(of_key, &key.to_be_bytes()), RECORDS / KEYS));
        });
        log.close().expect("closes");
        folder.close().expect("is removed");
    }
    group.finish();
}

fn topic(number: u64) -> Topic {
    Topic::new(u32::try_from(number).expect("small")).expect("not the reserved one")
}

fn read(reader: Reader, expected: u64) {
    let mut reader = reader;
    let mut bytes = 0;
    while let Some(batch) = reader.poll().expect("reads") {
        bytes += batch.iter().map(|record| black_box(record.payload()).len()).sum::<usize>();
    }
    assert_eq!(bytes, PAYLOAD.len() * usize::try_from(expected).expect("small"));
}
