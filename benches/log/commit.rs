//! Commits: of a cursor, of state, and of a record, state and a cursor in one frame.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use esker::{Commit, Cursor, Log, Record};

use crate::bed::{Bed, PAYLOAD};

/// A frame of any commit here is less.
const CALL_BYTES: u64 = 512;
/// State entries that are replaced in turn.
const KEYS: u64 = 1000;
/// Records that a cursor can move over; then it is committed where it is.
const RECORDS: u64 = 10_000;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Elements(1));
    group.bench_function("cursor", |bencher| {
        let mut bed = Bed::new(records_and_cursor);
        bencher.iter_custom(|calls| {
            bed.time(calls, CALL_BYTES, |log, cursor| {
                let next = cursor.committed().after(1).min(log.visible());
                black_box(cursor.commit(next).expect("commits").place());
            })
        });
        bed.close();
    });
    let keys: Vec<String> = (0..KEYS).map(|number| format!("key/{number}")).collect();
    group.bench_function("state of 100 B", |bencher| {
        let mut bed = Bed::new(|_| ());
        let mut turns = keys.iter().cycle();
        bencher.iter_custom(|calls| {
            bed.time(calls, CALL_BYTES, |log, ()| {
                let key = turns.next().expect("endless");
                black_box(log.commit(Commit::new().state(key, &PAYLOAD)).expect("commits").place());
            })
        });
        bed.close();
    });
    group.bench_function("record of 100 B, state of 100 B and cursor", |bencher| {
        let mut bed = Bed::new(records_and_cursor);
        let mut turns = keys.iter().cycle();
        bencher.iter_custom(|calls| {
            bed.time(calls, CALL_BYTES, |_, cursor| {
                let key = turns.next().expect("endless");
                let commit = Commit::new().record(&PAYLOAD).state(key, &PAYLOAD);
                let next = cursor.committed().after(1);
                black_box(cursor.commit_with(next, commit).expect("commits").place());
            })
        });
        bed.close();
    });
    group.finish();
}

fn records_and_cursor(log: &Log) -> Cursor {
    for _ in 0..RECORDS / 100 {
        let _ = log.append_batch([Record::new(&PAYLOAD); 100]).expect("appends");
    }
    log.cursor("bench").expect("is made")
}
