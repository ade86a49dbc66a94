//! Conditions that many threads decide at once, on tiny segments with real background threads: across rolls too nothing
//! happens twice, nothing gets between a condition and its frame, and what was refused is not there.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use esker::{Attached, Commit, Conflict, ErrorKind, Log, Offset, Options, Record, Sync, Topic};
use tempfile::TempDir;

use crate::support;

const THREADS: u64 = 6;

/// Tiny segments and checkpoints, so that both come all the time.
fn options() -> Options {
    Options::new().segment_bytes(16 * 1024).checkpoint_bytes(4096).sync(Sync::Interval(Duration::from_millis(1)))
}

fn tiny() -> (TempDir, Log) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = options().open(folder.path()).expect("opens");
    (folder, log)
}

/// Runs `act` in all threads at once, each with its number.
fn together<T: Send>(act: impl Fn(u64) -> T + core::marker::Sync) -> Vec<T> {
    let begin = Barrier::new(support::at(THREADS));
    let (act, begin) = (&act, &begin);
    thread::scope(|scope| {
        let start = |number| {
            scope.spawn(move || {
                begin.wait();
                act(number)
            })
        };
        let threads: Vec<_> = (0..THREADS).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("runs")).collect()
    })
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

fn count(log: &Log, key: &str) -> (u64, Option<esker::Version>) {
    let held = log.state(key).expect("shown");
    held.map_or((0, None), |held| (word(held.value()), Some(held.version())))
}

/// After all threads are done: many rolls, and the same state from outside, after a close, and without checkpoints.
fn check_end(folder: &TempDir, log: Log) -> Log {
    log.sync().expect("syncs");
    let stats = log.stats();
    assert!(stats.rolls > 5 && stats.checkpoint_failures == 0, "{stats:?}");
    let (held, cursors) = (log.states("").expect("shown"), log.cursors().expect("shown"));
    let view = Attached::open(folder.path()).expect("attaches").state().expect("shown");
    assert_eq!((view.with_prefix(""), view.cursors()), (held.clone(), cursors.clone()));
    let end = log.visible();
    log.close().expect("closes");
    let log = options().open(folder.path()).expect("opens again");
    assert_eq!((log.states("").expect("shown"), log.cursors().expect("shown"), log.visible()), (held, cursors, end));
    log
}

/// Each thread makes the record of each key and generation, if nobody did since the one before: of every race one wins.
#[test]
fn of_a_key_and_generation_there_is_one_record_whoever_tries() {
    const KEYS: u64 = 3;
    const GENERATIONS: u64 = 60;
    let (folder, log) = tiny();
    let topic = Topic::new(2).expect("small");
    let won: u64 = together(|thread| {
        let mut won = 0;
        for generation in 0..GENERATIONS {
            for key in 0..KEYS {
                won += u64::from(make(&log, topic, thread, key, generation));
                if (generation + thread) % 5 == 0 {
                    // What is not of the key moves the tail, and rolls, between reading and deciding.
                    let _ = log.append(Record::new(&vec![7; 700]).topic(topic)).expect("appends");
                }
            }
        }
        won
    })
    .into_iter()
    .sum();
    let log = check_end(&folder, log);
    let mut generations = BTreeMap::<u64, Vec<u64>>::new();
    let mut reader = log.reader();
    while let Some(batch) = reader.poll().expect("reads") {
        for record in batch.iter().filter(|record| record.key().is_some()) {
            generations.entry(word(record.key().expect("keyed"))).or_default().push(word(record.payload()));
        }
    }
    let expected: Vec<u64> = (0..GENERATIONS).collect();
    assert!(generations.len() == 3 && generations.values().all(|found| *found == expected), "{generations:?}");
    assert_eq!(won, KEYS * GENERATIONS, "each is somebody's");
}

/// Makes the record of a key and generation; `false`: somebody did already.
fn make(log: &Log, topic: Topic, thread: u64, key: u64, generation: u64) -> bool {
    let key = key.to_le_bytes();
    let payload = [generation.to_le_bytes(), thread.to_le_bytes()].concat();
    let mut reader = log.reader();
    // Behind the record of the generation before, if it is there; it is, for this thread made or saw it.
    let (mut since, mut last) = (Offset::ZERO, None);
    loop {
        while let Some(batch) = reader.poll().expect("reads") {
            for record in batch.iter().filter(|record| record.key() == Some(&key)) {
                (since, last) = (record.offset().after(1), Some(word(record.payload())));
            }
        }
        if last.is_some_and(|last| last >= generation) {
            return false;
        }
        assert_eq!(last.map_or(0, |last| last + 1), generation, "what this thread saw is there");
        let record = Record::new(&payload).key(&key).topic(topic);
        match log.commit(Commit::new().record(record).if_no_record(topic, &key, since)) {
            Ok(_ticket) => return true,
            Err(error) => {
                let Some(Conflict::Record { offset, .. }) = error.conflict() else { panic!("{error}") };
                assert!(*offset >= since && *offset < log.visible(), "{offset}, since {since}");
            }
        }
    }
}

/// Counters in the state and records that say what they were at: the order of the log is the order of the decisions.
#[test]
fn counters_under_conditions_count_each_commit_once_in_the_order_of_the_log() {
    const COUNTS: u64 = 150;
    let (folder, log) = tiny();
    let refused: u64 = together(|thread| {
        let mut refused = 0;
        for number in 0..COUNTS {
            let key = ["one", "other"][support::at((number + thread) % 2)];
            loop {
                let (before, version) = count(&log, key);
                let (next, payload) = ((before + 1).to_le_bytes(), vec![3; support::at(number * 7 % 400)]);
                let payload = [&next[..], &payload].concat();
                let commit = Commit::new().record(Record::new(&payload).key(key)).state(key, &next);
                let commit = match version {
                    Some(version) => commit.if_state(key, version),
                    None => commit.if_no_state(key),
                };
                match log.commit(commit) {
                    Ok(_ticket) => break,
                    Err(error) if error.kind() == ErrorKind::Conflict => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        refused
    })
    .into_iter()
    .sum();
    let log = check_end(&folder, log);
    let mut counted = BTreeMap::new();
    let mut reader = log.reader();
    while let Some(batch) = reader.poll().expect("reads") {
        for record in &batch {
            let last = counted.entry(record.key().expect("keyed").to_vec()).or_insert(0);
            assert_eq!(word(record.payload()), *last + 1, "offset {}", record.offset());
            *last += 1;
        }
    }
    assert_eq!(counted.values().sum::<u64>(), THREADS * COUNTS, "{refused} were refused");
    assert!(["one", "other"].iter().all(|key| count(&log, key).0 == counted[key.as_bytes()]));
}

/// Several handles of one cursor race: each input is handled by the one whose commit moved the cursor past it.
#[test]
fn handles_that_share_a_cursor_handle_each_record_once() {
    const INPUTS: u64 = 900;
    let (folder, log) = tiny();
    let (input, output) = (Topic::new(1).expect("small"), Topic::new(2).expect("small"));
    let moves = together(|thread| {
        if thread == 0 {
            for number in 0..INPUTS {
                let payload = [&number.to_le_bytes()[..], &vec![5; support::at(number * 13 % 200)]].concat();
                let _ = log.append(Record::new(&payload).topic(input)).expect("appends");
            }
            return 0;
        }
        let mut moves = 0;
        while count(&log, "handled").0 < INPUTS {
            moves += u64::from(handle_one_piece(&log, input, output));
        }
        moves
    });
    assert!(moves.iter().filter(|moves| **moves > 0).count() > 1, "more than one handle moved it: {moves:?}");
    let log = check_end(&folder, log);
    let mut handled = Vec::new();
    let mut reader = log.reader();
    while let Some(batch) = reader.poll().expect("reads") {
        handled.extend(batch.iter().filter(|record| record.topic() == output).map(|record| word(record.payload())));
    }
    assert!(handled == (0..INPUTS).collect::<Vec<_>>(), "{handled:?}");
    assert_eq!(count(&log, "handled").0, INPUTS);
}

/// Opens the cursor anew, as a consumer does that lost it, and handles what comes next; `false`: another was faster.
fn handle_one_piece(log: &Log, input: Topic, output: Topic) -> bool {
    let mut cursor = log.cursor("shared").expect("opens");
    let Some(batch) = cursor.poll_wait(Duration::from_millis(1)).expect("reads") else { return false };
    let piece: Vec<_> = batch.iter().take(20).collect();
    let next = piece.last().expect("not empty").offset().after(1);
    let inputs: Vec<_> = piece.iter().filter(|record| record.topic() == input).collect();
    let made: Vec<_> = inputs.iter().map(|record| word(record.payload()).to_le_bytes()).collect();
    let (before, _version) = count(log, "handled");
    // Not under a condition of its own: the cursor fences it.
    let total = (before + u64::try_from(made.len()).expect("few")).to_le_bytes();
    let commit = Commit::new().records(made.iter().map(|payload| Record::new(payload).topic(output)));
    match cursor.commit_with(next, commit.state("handled", &total)) {
        Ok(_ticket) => true,
        Err(error) if error.kind() == ErrorKind::Conflict => false,
        Err(error) => panic!("{error}"),
    }
}

/// Each commit is one record and the count of all: whoever looks from outside, while segments and checkpoints come and go,
/// sees both of the same moment, and never an earlier one than before.
#[test]
fn whoever_looks_at_the_state_from_outside_sees_one_moment() {
    const COMMITS: u64 = 4000;
    let (folder, log) = tiny();
    let _ = log.commit(Commit::new().state("count", &0_u64.to_le_bytes())).expect("commits");
    let looks = together(|thread| {
        if thread == 0 {
            for number in 1..=COMMITS {
                let (payload, count) = (vec![9; support::at(number * 11 % 150)], number.to_le_bytes());
                let commit = Commit::new().record(&payload).state("count", &count);
                let _ = log.commit(commit.seek_cursor("last", Offset::new(number - 1))).expect("commits");
            }
            return 0;
        }
        let (mut looks, mut before) = (0, 0);
        let attached = Attached::open(folder.path()).expect("attaches");
        while before < COMMITS {
            let anew = Attached::open(folder.path()).expect("attaches");
            let view = if looks % 2 == 0 { attached.state() } else { anew.state() };
            let view = view.unwrap_or_else(|error| panic!("look {looks}, {before} seen: {error}"));
            let seen = word(view.get("count").expect("held").value());
            assert_eq!(seen, view.end().get(), "look {looks}");
            assert!(seen >= before, "look {looks}: {before} seen, now {seen}");
            assert!(seen == 0 || view.cursors()[0].lag == 1, "{:?} of {seen}", view.cursors());
            (looks, before) = (looks + 1, seen);
        }
        looks
    });
    assert!(looks[1..].iter().all(|looks| *looks > 0), "{looks:?}");
    check_end(&folder, log);
}
