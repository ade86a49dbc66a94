//! Models.
#![cfg(loom)]

mod append;
mod background;
mod close;
mod disk;
mod durable;
mod poison;
mod wake;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use disk::TwinDisk;
use esker::{Background, Log, Options, Reader, Result};

/// A model does not end a wait by its time; see `sync/modelled.rs`.
const FOR_EVER: Duration = Duration::MAX;

/// Runs `model` in every order of its threads' steps in which at most `preemptions` times a thread is stopped that could
/// go on. `LOOM_MAX_PREEMPTIONS` overrides the number.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.max_branches = 20_000;
    let since = Instant::now();
    let orders = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&orders);
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!(" {} orders in {} ms", orders.load(Ordering::Relaxed), since.elapsed().as_millis());
}

/// A log without threads of its own, in tiny segments, with one record in it: what a first append does once is done.
fn open(disk: &TwinDisk) -> Log {
    let log = options().open_on(Arc::new(disk.clone())).expect("opens");
    log.append(b"first").expect("appends").wait().expect("syncs");
    log
}

fn options() -> Options {
    Options::new().segment_bytes(16 * 1024).background(Background::Manual)
}

/// Appends so much that the next record of 1 KiB does not fit, and prepares the next segment.
fn fill(log: &Log) {
    log.append(&[b'.'; 7 * 1024]).expect("appends").wait().expect("syncs");
    log.background_step();
    assert_eq!(log.stats().rolls, 0);
}

/// A record that rolls a log that is filled.
fn large(name: &[u8]) -> Vec<u8> {
    let mut payload = name.to_vec();
    payload.resize(1024, b'.');
    payload
}

/// All records that may be read now, without the dots behind them.
fn drain(reader: &mut Reader) -> Vec<String> {
    let mut names = Vec::new();
    while poll(reader, &mut names).expect("reads") {}
    names
}

/// Polls once. `true`: there was something.
fn poll(reader: &mut Reader, names: &mut Vec<String>) -> Result<bool> {
    let batch = reader.poll()?;
    take(batch.as_ref(), names);
    Ok(batch.is_some())
}

/// Waits for records and takes them.
fn wait(reader: &mut Reader, names: &mut Vec<String>) -> Result<()> {
    let batch = reader.poll_wait(FOR_EVER)?;
    assert!(batch.is_some(), "no time passes");
    take(batch.as_ref(), names);
    Ok(())
}

fn take(batch: Option<&esker::Batch>, names: &mut Vec<String>) {
    for record in batch.into_iter().flatten() {
        names.push(String::from_utf8_lossy(record.payload()).trim_end_matches('.').to_owned());
    }
}
