//! Many threads on one log: appending, reading, waiting, syncing, closing at once.
//!
//! Nothing here sleeps to wait for something: who waits does so with a limit that no healthy machine reaches.

mod conditions;
mod hooked;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use esker::{Attached, Ending, ErrorKind, Log, Options, ReadLine, ReadMode, Reader, Record, Sync};
use harness::crash::ByDice;
use harness::memory::AfterFailure;
use harness::{Dice, MemoryDisk};
use tempfile::TempDir;

use crate::support;
use hooked::{Call, hooked};

/// Who waits longer waits for ever.
const LIMIT: Duration = Duration::from_secs(30);

type Stamp = (u64, u64);

fn payload((thread, number): Stamp, bytes: u64) -> Vec<u8> {
    let mut payload = [thread.to_le_bytes(), number.to_le_bytes()].concat();
    payload.resize(payload.len() + support::at(bytes), 0x5a);
    payload
}

fn stamp(payload: &[u8]) -> Stamp {
    let word = |at| u64::from_le_bytes(payload[at..at + 8].try_into().expect("eight bytes"));
    (word(0), word(8))
}

fn tiny(sync: Sync) -> (TempDir, Log) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = Options::new().segment_bytes(16 * 1024).sync(sync).open(folder.path()).expect("opens");
    (folder, log)
}

/// Appends in batches of 1 to 3, of sizes from nothing up to what fills a tiny segment.
fn append_all(log: &Log, thread: u64, records: u64) -> Result<(), esker::Error> {
    let mut number = 0;
    while number < records {
        let batch = (1 + (number + thread) % 3).min(records - number);
        let bytes = if number % 17 == 0 { 6000 / batch } else { number * 31 % 200 };
        let payloads: Vec<_> = (number..number + batch).map(|number| payload((thread, number), bytes)).collect();
        let batched: Vec<_> = payloads.iter().map(Record::new).collect();
        let ticket = log.append_batch(&batched)?;
        assert_eq!(ticket.offsets().end.since(ticket.offset()), batch);
        number += batch;
    }
    Ok(())
}

/// Reads `records` records and waits for those that are not there yet.
fn read_all(mut reader: Reader, records: u64) -> Vec<Stamp> {
    let deadline = Instant::now() + LIMIT;
    let mut seen = Vec::new();
    while u64::try_from(seen.len()).expect("few") < records {
        let batch = reader.poll_wait(deadline.saturating_duration_since(Instant::now())).expect("reads");
        let batch = batch.unwrap_or_else(|| panic!("no wake after {} of {records} records", seen.len()));
        for record in &batch {
            assert_eq!(support::at(record.offset().get()), seen.len(), "offsets are dense");
            seen.push(stamp(record.payload()));
        }
    }
    seen
}

fn assert_whole(seen: &[Stamp], threads: u64, records: u64) {
    let mut next = vec![0; support::at(threads)];
    for (thread, number) in seen {
        let next = &mut next[support::at(*thread)];
        assert_eq!(number, next, "records of thread {thread} in order, none lost");
        *next += 1;
    }
    assert!(next.iter().all(|next| *next == records), "{next:?}");
}

#[test]
fn all_readers_see_the_same_dense_order_of_what_many_threads_append() {
    const RECORDS: u64 = 400;
    for threads in 1..=8 {
        let (_folder, log) = tiny(Sync::Interval(Duration::from_millis(1)));
        let seen = thread::scope(|scope| {
            let modes = [ReadMode::Map, ReadMode::Copy].map(|mode| {
                [ReadLine::Visible, ReadLine::Durable].map(|line| {
                    let reader = log.reader().mode(mode).up_to(line);
                    scope.spawn(move || read_all(reader, threads * RECORDS))
                })
            });
            for thread in 0..threads {
                let log = &log;
                scope.spawn(move || append_all(log, thread, RECORDS).expect("appends"));
            }
            modes.map(|lines| lines.map(|reader| reader.join().expect("reads")))
        });
        let [[first, durable], [copied, copied_durable]] = &seen;
        assert_whole(first, threads, RECORDS);
        assert!(first == durable && first == copied && first == copied_durable, "{threads} threads");
        assert!(log.stats().rolls > 5, "{:?}", log.stats());
        assert_eq!(log.visible().get(), threads * RECORDS);
    }
}

/// A thread that waits for a roll must not give up because others filled the new segment before it woke.
#[test]
fn no_append_is_refused_while_segments_can_be_prepared() {
    const THREADS: u64 = 8;
    let (_folder, log) = tiny(Sync::OnRequest);
    let refused: Vec<_> = thread::scope(|scope| {
        let appending: Vec<_> = (0..THREADS)
            .map(|thread| {
                let log = &log;
                // One record fills more than half of a segment: all others have to wait for the next one.
                scope.spawn(move || (0..20).find_map(|number| log.append(&payload((thread, number), 5000)).err()))
            })
            .collect();
        appending.into_iter().filter_map(|appending| appending.join().expect("runs")).collect()
    });
    assert!(refused.is_empty(), "{} of {THREADS} threads were refused: {}", refused.len(), refused[0]);
    assert_eq!(log.visible().get(), THREADS * 20);
}

/// The writer goes on only when all readers have seen the last record: each wait is for an append that is the last one,
/// so a wake that is lost is missed for ever.
#[test]
fn no_wake_is_lost_between_a_look_and_a_wait() {
    const ROUNDS: u64 = 1000;
    let (_folder, log) = tiny(Sync::Interval(Duration::from_millis(1)));
    let (seen, all_seen) = mpsc::channel();
    let readers = [
        (ReadLine::Visible, ReadMode::Map),
        (ReadLine::Visible, ReadMode::Map),
        (ReadLine::Visible, ReadMode::Copy),
        (ReadLine::Durable, ReadMode::Map),
    ];
    thread::scope(|scope| {
        for (line, mode) in readers {
            let (mut reader, seen) = (log.reader().up_to(line).mode(mode), seen.clone());
            scope.spawn(move || {
                for number in 0..ROUNDS {
                    let batch = reader.poll_wait(LIMIT).expect("reads");
                    let batch = batch.unwrap_or_else(|| panic!("{line:?} {mode:?}: the wake of {number} was lost"));
                    assert_eq!((batch.first().get(), batch.len()), (number, 1));
                    seen.send(number).expect("the writer listens");
                }
            });
        }
        for number in 0..ROUNDS {
            let ticket = log.append(&payload((0, number), number % 300)).expect("appends");
            if number % 2 == 0 {
                ticket.wait().expect("syncs");
            }
            for _ in readers {
                assert_eq!(all_seen.recv_timeout(LIMIT), Ok(number), "a reader does not wake");
            }
        }
    });
    assert!(log.stats().rolls > 5, "{:?}", log.stats());
}

#[test]
fn tickets_that_many_threads_wait_for_share_syncs() {
    const THREADS: u64 = 8;
    const WAITS: u64 = 60;
    let (_folder, log) = tiny(Sync::OnRequest);
    let begin = Barrier::new(support::at(THREADS));
    let waited = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (log, begin, waited) = (&log, &begin, &waited);
            scope.spawn(move || {
                begin.wait();
                for number in 0..WAITS {
                    let ticket = log.append(&payload((thread, number), 40)).expect("appends");
                    ticket.wait().expect("syncs");
                    assert!(log.durable() >= ticket.offsets().end);
                    // Relaxed: read after the threads were joined.
                    waited.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let stats = log.stats();
    assert_eq!(waited.into_inner(), THREADS * WAITS);
    // A sync of a segment that was left, and that of an idle mark, may come on top; still far from one a wait.
    assert!(stats.syncs < THREADS * WAITS * 3 / 4, "{stats:?}");
    assert!(stats.syncs >= WAITS, "each thread waits for one sync after the other: {stats:?}");
}

#[test]
fn an_attached_reader_in_the_same_process_follows_the_writer() {
    const RECORDS: u64 = 3000;
    let (folder, log) = tiny(Sync::Interval(Duration::from_millis(1)));
    append_all(&log, 0, 50).expect("appends");
    let attached = Attached::open(folder.path()).expect("attaches");
    assert_eq!(attached.writer().and_then(|holder| holder.pid), Some(std::process::id()));
    thread::scope(|scope| {
        let followers = [ReadLine::Visible, ReadLine::Durable].map(|line| {
            let reader = attached.reader().up_to(line);
            scope.spawn(move || read_all(reader, 50 + RECORDS))
        });
        let lookers: Vec<_> = (0..2)
            .map(|_| {
                // Attaches anew all the time: what it looks at changes under its eyes.
                scope.spawn(|| {
                    let (mut looks, mut before) = (0, 0);
                    while before < 50 + RECORDS {
                        let seen = Attached::open(folder.path()).expect("attaches").visible().get();
                        assert!(seen >= before, "{before} records were visible, now {seen}");
                        (looks, before) = (looks + 1, seen);
                    }
                    looks
                })
            })
            .collect();
        append_all(&log, 1, RECORDS).expect("appends");
        log.sync().expect("syncs");
        let seen = followers.map(|follower| follower.join().expect("follows"));
        assert_eq!(seen[0], seen[1]);
        assert_eq!(seen[0].iter().filter(|(thread, _)| *thread == 1).count(), support::at(RECORDS));
        assert!(seen[0].is_sorted());
        assert!(lookers.into_iter().all(|looker| looker.join().expect("looks") > 0));
    });
}

#[test]
fn a_close_wakes_readers_that_wait_and_they_have_read_all() {
    for round in 0..50 {
        let (_folder, log) = tiny(Sync::OnRequest);
        let readers = [ReadMode::Map, ReadMode::Copy].map(|mode| {
            let mut reader = log.reader().mode(mode);
            thread::spawn(move || {
                let mut seen = 0;
                loop {
                    match reader.poll_wait(LIMIT) {
                        Ok(Some(batch)) => seen += batch.len(),
                        Ok(None) => panic!("the close woke nobody"),
                        Err(error) => return (error.kind(), seen),
                    }
                }
            })
        });
        append_all(&log, 0, round).expect("appends");
        log.close().expect("closes");
        for reader in readers {
            assert_eq!(reader.join().expect("reads"), (ErrorKind::Closed, support::at(round)));
        }
    }
}

/// `poll_wait` says `Closed` "if nothing more will come". While a close still makes records durable, more will.
#[test]
fn a_durable_reader_gets_the_last_records_before_it_hears_of_the_close() {
    let disk = hooked(MemoryDisk::new(1));
    let log = support::options().open_on(Arc::new(disk.clone())).expect("opens");
    let mut reader = log.reader().up_to(ReadLine::Durable);
    let _ = log.append(b"last words").expect("appends");
    let (told, heard) = mpsc::channel();
    disk.before_next(Call::Sync, move || {
        let early = reader.poll_wait(Duration::from_millis(1)).map(|batch| batch.is_some());
        told.send((early, reader)).expect("the test listens");
    });
    log.close().expect("closes");
    let (early, mut reader) = heard.try_recv().expect("a close syncs");
    let late = support::drain(&mut reader).expect("reads");
    assert_eq!(late, [b"last words"]);
    assert!(matches!(early, Ok(false)), "it was told {early:?}, and then {} records came", late.len());
}

/// Anchor, names and headers are read one after the other, while the writer goes on.
#[test]
fn a_roll_while_the_directory_is_looked_at_is_not_taken_for_a_loss() {
    for call in [Call::OpenAnchor, Call::List, Call::OpenSegment] {
        let memory = MemoryDisk::new(1);
        let log = support::open(&memory).expect("opens");
        let before = support::append_numbered(&log, 0..10).len();
        log.sync().expect("syncs");
        log.background_step();
        let disk = hooked(memory);
        let writer = log.clone();
        disk.before_next(call, move || {
            support::append_numbered(&writer, 10..200);
            writer.sync().expect("syncs");
            writer.background_step();
        });
        let attached = Attached::open_on(Arc::new(disk)).expect("attaches beside a writer");
        assert_eq!(log.visible().get(), 200, "the hook was reached");
        let seen = support::drain(&mut attached.reader()).expect("reads");
        assert!(seen.len() >= before && support::expected(0..200).starts_with(&seen), "{call:?}: {} seen", seen.len());
    }
}

/// Two readers of one `Attached` look for more at once; the look that began first ends last, and knows less.
#[test]
fn a_slow_look_for_the_next_segment_does_not_undo_a_faster_one() {
    let memory = MemoryDisk::new(1);
    let log = support::open(&memory).expect("opens");
    support::append_numbered(&log, 0..10);
    let disk = hooked(memory);
    let attached = Attached::open_on(Arc::new(disk.clone())).expect("attaches");
    let (mut slow, mut fast) = (attached.reader(), attached.reader());
    assert_eq!(support::drain(&mut slow).expect("reads").len(), 10);
    support::append_numbered(&log, 10..200);
    let hooks = disk.clone();
    disk.before_next(Call::OpenAnchor, move || {
        // The slow reader lists the directory next; then it looks at the segments that it found.
        hooks.before_next(Call::OpenSegment, move || {
            support::append_numbered(&log, 200..400);
            log.sync().expect("syncs");
            support::append_numbered(&log, 400..600);
            assert_eq!(support::drain(&mut fast).expect("reads").len(), 600);
            // The writer stays.
            std::mem::forget(log);
        });
    });
    assert!(support::drain(&mut slow).expect("reads on") == support::expected(10..600));
}

/// A mark in the segment that it reads must move the line of a reader that only polls.
#[test]
fn an_attached_durable_reader_learns_of_marks_in_the_last_segment_by_polling() {
    let disk = MemoryDisk::new(1);
    let log = support::open(&disk).expect("opens");
    let attached = Attached::open_on(Arc::new(disk)).expect("attaches");
    let mut reader = attached.reader().up_to(ReadLine::Durable);
    log.append(b"marked").expect("appends").wait().expect("syncs");
    // The writer rests: it writes a last mark, which says that the record is durable.
    log.background_step();
    let polled = support::drain(&mut reader).expect("reads");
    assert_eq!(attached.durable().get(), 1, "it is written down");
    assert_eq!(support::drain(&mut reader).expect("reads").len() + polled.len(), 1);
    assert_eq!(polled, [b"marked"], "the reader saw it only after somebody had asked for the line");
}

/// What a failed sync of the directory gave up is lost, whoever asked for it: no later sync brings it back.
#[test]
fn a_segment_whose_name_the_failed_sync_of_another_thread_gave_up_is_never_appended_to() {
    for seed in 0..8 {
        let memory = MemoryDisk::new(seed);
        let disk = hooked(memory.clone());
        let log = support::options().checkpoint_bytes(4096).open_on(Arc::new(disk.clone())).expect("opens");
        log.background_step();
        support::append_numbered(&log, 0..26);
        log.sync().expect("syncs");
        let (created, at_sync) = mpsc::channel();
        let (failed, gone_on) = mpsc::channel();
        let (hooks, writer) = (disk.clone(), log.clone());
        let names = memory.clone();
        let appending = Arc::new(std::sync::Mutex::new(None));
        let handle = Arc::clone(&appending);
        // The checkpoint has its name; a spare that is created before the directory is synced waits for the same sync.
        disk.before_next(Call::SyncDirectory, move || {
            hooks.before_next(Call::SyncFile, move || {
                created.send(()).expect("is waited for");
                gone_on.recv_timeout(LIMIT).expect("the sync of the directory fails");
            });
            let append = move || (26..200).filter(|number| writer.append(&support::numbered(*number)).is_err()).count();
            *handle.lock().expect("nobody panics") = Some(thread::spawn(append));
            at_sync.recv_timeout(LIMIT).expect("the next segment is created");
            names.fail_directory_sync_leaving(1, AfterFailure::Kept);
        });
        log.background_step();
        assert_eq!(log.stats().checkpoint_failures, 1, "the sync of the directory failed");
        failed.send(()).expect("is waited for");
        let appending = appending.lock().expect("nobody panics").take().expect("was started");
        let refused = appending.join().expect("appends");
        log.sync().expect("syncs");
        let held = support::payloads(&log);
        assert_eq!(held.len() + refused, 200);
        let left = memory.lose_power(&mut ByDice::new(Dice::new(seed)));
        drop(log);
        let log = support::open(&left).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(support::payloads(&log) == held, "seed {seed}: {}", log.recovery());
    }
}

/// A close that returned is a clean end, also when somebody else asks for a sync meanwhile.
#[test]
fn a_sync_beside_a_close_leaves_the_end_clean() {
    for round in 0..300_u64 {
        let disk = MemoryDisk::new(round);
        let log = support::open(&disk).expect("opens");
        let begin = Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let log = log.clone();
                    begin.wait();
                    for _ in 0..20 {
                        log.sync().expect("syncs");
                    }
                });
            }
            support::append_numbered(&log, 0..5);
            begin.wait();
            log.clone().close().expect("closes");
        });
        drop(log);
        let log = support::open(&disk).expect("opens again");
        assert_eq!(log.recovery().ending, Ending::Clean, "round {round}: {:?}", log.recovery());
    }
}
