//! The hot calls of the engine, one by one: append, batch, scan, seek. `cargo bench --bench log`; `-- --test` runs each
//! once. For rates beside the machine's own limit see `esker bench`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use esker::{Log, Offset, Options, Record};

const PAYLOAD: [u8; 100] = [0x5a; 100];
const SCANNED: u64 = 200_000;

fn open(folder: &tempfile::TempDir) -> Log {
    Options::new().segment_bytes(64 << 20).open(folder.path()).expect("opens")
}

fn append(criterion: &mut Criterion) {
    for batch in [1_usize, 100] {
        let mut group = criterion.benchmark_group("append");
        group.throughput(Throughput::Elements(u64::try_from(batch).expect("small")));
        let folder = tempfile::tempdir().expect("temporary folder");
        let log = open(&folder);
        let records = vec![Record::new(&PAYLOAD); batch];
        group.bench_function(format!("{batch} of 100 B a call"), |bencher| {
            bencher.iter(|| black_box(log.append_batch(&records).expect("appends").offset()));
        });
        group.finish();
        log.close().expect("closes");
    }
}

fn read(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = open(&folder);
    for _ in 0..SCANNED / 100 {
        let _ = log.append_batch(vec![Record::new(&PAYLOAD); 100]).expect("appends");
    }
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(SCANNED));
    group.bench_function("scan of records written 100 a call", |bencher| {
        bencher.iter(|| {
            let mut reader = log.reader();
            let mut bytes = 0;
            while let Some(batch) = reader.poll().expect("reads") {
                bytes += batch.iter().map(|record| record.payload().len()).sum::<usize>();
            }
            assert_eq!(bytes, PAYLOAD.len() * usize::try_from(SCANNED).expect("small"));
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("seek", |bencher| {
        let mut reader = log.reader();
        let mut target = 0;
        bencher.iter(|| {
            target = (target + 77_773) % SCANNED;
            reader.seek(Offset::new(target)).expect("inside the log");
        });
    });
    group.finish();
    log.close().expect("closes");
}

criterion_group!(benches, append, read);
criterion_main!(benches);
