//! Lookups by key: the latest record, and all of them, in segments that have index files.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use esker::{Background, Log, Options, Record, Topic};

use crate::bed::PAYLOAD;

const RECORDS: u64 = 200_000;
const KEYS: u64 = 20_000;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lookup");
    let folder = tempfile::tempdir().expect("temporary folder");
    let options = Options::new().segment_bytes(4 << 20).background(Background::Manual);
    let log = options.open(folder.path()).expect("opens");
    for number in 0..RECORDS {
        let _ = log.append(Record::new(&PAYLOAD).key(&key(number % KEYS))).expect("appends");
    }
    log.sync().expect("syncs");
    log.background_step();
    assert!(log.stats().indexes > 3, "the segments have index files");
    group.throughput(Throughput::Elements(1));
    let mut next = 0;
    let mut draw = move || {
        next = (next + 7919) % KEYS;
        key(next)
    };
    group.bench_function("latest of a key that is there", |bencher| {
        bencher.iter(|| latest(&log, &draw()).expect("is there"));
    });
    group.bench_function("latest of a key that is not there", |bencher| {
        bencher.iter(|| assert!(latest(&log, b"not there").is_none()));
    });
    group.throughput(Throughput::Elements(RECORDS / KEYS));
    group.bench_function(format!("history of a key with {} records", RECORDS / KEYS), |bencher| {
        bencher.iter(|| {
            let history = log.history(Topic::default(), &draw());
            let bytes: usize = history.map(|found| found.expect("reads").record().payload().len()).sum();
            assert_eq!(black_box(bytes), PAYLOAD.len() * usize::try_from(RECORDS / KEYS).expect("small"));
        });
    });
    group.finish();
    log.close().expect("closes");
    folder.close().expect("is removed");
}

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

fn latest(log: &Log, key: &[u8]) -> Option<usize> {
    log.latest(Topic::default(), key).expect("reads").map(|found| black_box(found.record().payload().len()))
}
