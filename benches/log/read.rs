//! Reads: a scan of everything, and seeks. The log is the same for all samples; reading adds nothing to it.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use esker::{Log, Offset, Options, Record};

use crate::bed::PAYLOAD;

const RECORDS: u64 = 200_000;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    for count in [1_usize, 100] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let log = Options::new().segment_bytes(32 << 20).open(folder.path()).expect("opens");
        while log.visible() < Offset::new(RECORDS) {
            let _ = log.append_batch(vec![Record::new(&PAYLOAD); count]).expect("appends");
        }
        // Else the system writes it back in the middle of the samples.
        log.sync().expect("syncs");
        group.throughput(Throughput::Elements(RECORDS));
        group.bench_function(format!("scan of {RECORDS} records written {count} a call"), |bencher| {
            bencher.iter(|| scan(&log));
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("seek among records written {count} a call"), |bencher| {
            let mut reader = log.reader();
            let mut target = 0;
            bencher.iter(|| {
                target = (target + 77_773) % RECORDS;
                reader.seek(Offset::new(target)).expect("inside the log");
                black_box(reader.offset())
            });
        });
        log.close().expect("closes");
        folder.close().expect("is removed");
    }
    group.finish();
}

fn scan(log: &Log) {
    let mut reader = log.reader();
    let mut bytes = 0;
    while let Some(batch) = reader.poll().expect("reads") {
        bytes += batch.iter().map(|record| record.payload().len()).sum::<usize>();
    }
    assert_eq!(bytes, PAYLOAD.len() * usize::try_from(RECORDS).expect("small"));
}
