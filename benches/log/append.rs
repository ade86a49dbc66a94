//! Appends of 100 B, one a call and 100 a call, by one thread and by two.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use esker::Record;

use crate::bed::{Bed, PAYLOAD};

/// What a frame and a record take beyond the payload, rounded up.
const FRAME_BYTES: u64 = 48;
const RECORD_BYTES: u64 = 8;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    for count in [1_u64, 100] {
        let records = vec![Record::new(&PAYLOAD); usize::try_from(count).expect("small")];
        let call_bytes = FRAME_BYTES + count * (RECORD_BYTES + 100);
        group.throughput(Throughput::Elements(count));
        for threads in [1_u64, 2] {
            let mut bed = Bed::new(|_| ());
            let by = if threads == 1 { "1 thread" } else { "2 threads" };
            group.bench_function(format!("{count} of 100 B a call/{by}"), |bencher| {
                bencher.iter_custom(|calls| {
                    bed.time_by(threads, calls, call_bytes, |log| {
                        let ticket = match &*records {
                            [one] => log.append(*one),
                            several => log.append_batch(several),
                        };
                        black_box(ticket.expect("appends").offset());
                    })
                });
            });
            bed.close();
        }
    }
    group.finish();
}
