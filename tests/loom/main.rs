//! Models: the product's own code in every order of a few threads' steps, run by the model checker loom.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --test loom -- --test-threads=1
//! RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=4 cargo test --release --test loom durable:: -- --nocapture
//! ```
//!
//! One model at a time is faster: their disks map and unmap memory all the while, and the process has one lock for that.
//!
//! Guarantees:
//! 1. Each model is a claim that must hold in every order with at most so many preemptions as it is run with.
//! 2. A lost wake is a deadlock, which fails the model; so is a wait that only its timeout would end.
//! 3. A reader that looks at bytes which are not stored, or not seen to be stored, fails the model.
//! 4. Nothing but the threads' order differs from run to run: the disk is in memory, its time stands still.
//!
//! Not seen by loom: reference counts and the header's `OnceLock`, which are the standard library's; commit words, which
//! are for other processes; what only time would bring about, as the syncer's looks every 50 ms.
//!
//! Seeded bugs that were tried, the first model that failed, and how long that took (2026-11-20, 2 cores, release build):
//!
//! | bug | failed | ms |
//! |---|---|---|
//! | `published` stored, or loaded, Relaxed | most with a reader | 20 |
//! | `published` stored before the frame, or its commit word | most with a reader | 20 |
//! | `published` 8 too far; or no check against it in all three places | most with a reader | 70 |
//! | offsets not counted on | append | 22 |
//! | a reader leaves a segment without its seal, or before it is durable | append, durable | 20 |
//! | append, roll, line, poison or close wake no reader | wake, poison, close | 50 |
//! | only one of the readers is woken; a move is not counted; waiting is not noted | wake, poison, close | 40 |
//! | ticket taken after the look at the line; end looked for before the ticket, or not at all | wake, close | 60 |
//! | a reader that waits asks after its poll whether the log has ended, not before | close | 1700 |
//! | line moved to the tail after the sync, or before it | durable, background | 30 |
//! | two lead at once | close | 570 |
//! | sync of the last segment alone; a full segment let go of before its sync | durable | 50 |
//! | a mark carries the tail, not the line | durable | 120 |
//! | waiters of this round or of the next not woken, or only one | durable, close | 180 |
//! | rounds not counted | durable, of four | 1900 |
//! | failed sync: not kept, line moved, appends not refused, next round not woken, tail still shown | poison, background | 50 |
//! | closed before all is durable | background | 16 |
//! | spare not told of, preparer and syncer not woken, their wake forgotten, line not told to appends | background | 270 |
//! | preparer tries for ever while the waiting append does not get its turn (it was so) | background | 20 |
//!
//! Tried and not caught, since another guard holds: one alone of the three checks against `published`; marks not refused
//! behind a close frame (the line that the close frame carries leaves none to write); waiting appends not told of a roll
//! (the spare's arrival told them); a close that waits for less than the tail (its own frame is waited for next); a segment's
//! header set after it is published (nobody is given the segment before).
#![cfg(loom)]

mod append;
mod background;
mod close;
mod commit;
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
