//! What happens to the log while it is compacted.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use esker::{Attached, Background, Cleaner, Cleanup, Commit, Compaction, Log, Offset, Options, Retention, SegmentInfo};
use harness::{Call, MemoryDisk, Watch, WatchedDisk};

use super::{compacted, eager, fill, filled, read, topic, verified};

type Act = Box<dyn FnOnce(&Log) + Send>;

/// Does something once, when the draft of a segment is created.
struct Meanwhile {
    log: Mutex<Option<Log>>,
    act: Mutex<Option<Act>>,
}

impl Watch for Meanwhile {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        let Call::Create(name) = call else { return Ok(()) };
        if !name.contains(".seg.draft") {
            return Ok(());
        }
        let act = self.act.lock().expect("free").take();
        let log = self.log.lock().expect("free").clone();
        if let (Some(act), Some(log)) = (act, log) {
            act(&log);
        }
        Ok(())
    }
}

fn compact_while(act: impl FnOnce(&Log) + Send + 'static) -> (MemoryDisk, esker::Result<esker::CompactionReport>, Log) {
    compact_with(&eager(), act)
}

fn compact_with(
    options: &Options,
    act: impl FnOnce(&Log) + Send + 'static,
) -> (MemoryDisk, esker::Result<esker::CompactionReport>, Log) {
    let disk = MemoryDisk::new(5);
    let log = filled(&disk, 200);
    log.sync().expect("syncs");
    let disk = disk.snapshot();
    let watch = Meanwhile { log: Mutex::new(None), act: Mutex::new(Some(Box::new(act))) };
    let watched = WatchedDisk::new(disk.clone(), watch);
    let log = options.open_on(Arc::new(watched.clone())).expect("opens");
    *watched.log.lock().expect("free") = Some(log.clone());
    let done = log.compact(&Compaction::new());
    *watched.log.lock().expect("free") = None;
    (disk, done, log)
}

#[test]
fn what_retention_lets_go_meanwhile_stays_gone() {
    let (disk, done, log) = compact_while(|log| {
        let start = log.drop_before(Offset::new(90)).expect("drops");
        assert_eq!(start, Offset::new(90));
    });
    let report = done.expect("ends");
    assert_eq!(log.start(), Offset::new(90));
    let left = read(&log);
    assert!(left.iter().all(|seen| seen.0 >= 90) && report.replaced.segments_before == 0, "{report:?}");
    let _ = log.compact(&Compaction::new()).expect("compacts");
    let kept: Vec<_> = compacted(&left);
    assert_eq!(read(&log), kept);
    log.close().expect("closes");
    assert_eq!(verified(&disk), []);
    let log = eager().open_on(Arc::new(disk)).expect("opens");
    assert_eq!((log.start(), read(&log)), (Offset::new(90), kept));
}

#[test]
fn what_a_cursor_comes_to_hold_meanwhile_stays() {
    let deleted = eager().cleanup(topic(0), Cleanup::delete(Retention::new().bytes(0)));
    for went_back in [true, false] {
        let (_, done, log) = compact_with(&deleted, move |log| {
            // One that holds nothing of what is about to go changes nothing.
            let at = if went_back { Offset::ZERO } else { log.visible() };
            let _ = log.commit(Commit::new().cursor("late", at)).expect("commits");
        });
        let report = done.expect("ends");
        let of_topic = read(&log).iter().filter(|seen| seen.1 == 0).count();
        let expected = if went_back { (true, 133) } else { (false, 0) };
        assert_eq!((report.replaced.segments_before == 0, of_topic), expected, "{report:?}");
        let _ = log.commit(Commit::new().remove_cursor("late")).expect("commits");
        let _ = log.compact(&Compaction::new()).expect("compacts");
        assert_eq!(read(&log).iter().filter(|seen| seen.1 == 0).count(), 0);
    }
}

#[test]
fn what_is_appended_meanwhile_is_there() {
    let (disk, done, log) = compact_while(|log| fill(log, 200..300));
    let _ = done.expect("compacts");
    let left = read(&log);
    let of_then: Vec<_> = left.iter().filter(|seen| seen.0 < 200).cloned().collect();
    assert_eq!(compacted(&of_then), of_then);
    assert_eq!(left.iter().filter(|seen| seen.0 >= 200).count(), 100);
    log.close().expect("closes");
    assert_eq!(verified(&disk), []);
}

#[test]
fn a_close_ends_a_run_that_is_under_way() {
    let closing = Arc::new(Mutex::new(None));
    let started = Arc::clone(&closing);
    let (disk, done, log) = compact_while(move |log| {
        let other = log.clone();
        *started.lock().expect("free") = Some(std::thread::spawn(move || other.close()));
        while log.append(b"x").is_ok() {
            std::thread::yield_now();
        }
    });
    let error = done.expect_err("closed");
    assert_eq!(error.kind(), esker::ErrorKind::Closed, "{error}");
    let closed = closing.lock().expect("free").take().expect("was started").join().expect("ends");
    closed.expect("closes");
    drop(log);
    assert_eq!(verified(&disk), [], "{:?}", disk.names());
    let log = eager().open_on(Arc::new(disk)).expect("opens");
    assert!(read(&log).len() >= 200);
}

/// Counts how often files are opened.
struct Opened(Mutex<Vec<String>>);

impl Watch for Opened {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        if let Call::Open(name) = call {
            self.0.lock().expect("nothing panics under the lock").push(name.to_owned());
        }
        Ok(())
    }
}

#[test]
fn a_segment_of_which_nothing_stays_is_read_once_and_one_of_which_something_stays_twice() {
    let disk = MemoryDisk::new(7);
    let log = eager().open_on(Arc::new(disk.clone())).expect("opens");
    for number in 0..100_u64 {
        let key = if number == 45 { vec![9] } else { vec![1] };
        let _ = log.append(esker::Record::new(&[7; 500]).key(&key)).expect("appends");
    }
    log.close().expect("closes");
    let watched = WatchedDisk::new(disk, Opened(Mutex::default()));
    let log = eager().open_on(Arc::new(watched.clone())).expect("opens");
    watched.0.lock().expect("free").clear();
    let report = log.compact(&Compaction::new()).expect("compacts");
    assert_eq!((report.replaced.segments_after, report.replaced.records_after), (1, 2), "{report:?}");
    let opened = watched.0.lock().expect("free").clone();
    let times = |number: u64| opened.iter().filter(|name| **name == crate::support::segment_name(number)).count();
    let counts: Vec<usize> = (1..=report.replaced.segments_before).map(times).collect();
    // The newest one was in use when the log was opened.
    let (_newest, others) = counts.split_last().expect("some");
    assert!(
        others.iter().filter(|times| **times == 2).count() == 1 && others.iter().sum::<usize>() == others.len() + 1,
        "{counts:?}"
    );
}

#[test]
fn who_looked_before_is_told_of_the_segments_that_are_there_now() {
    let disk = MemoryDisk::new(5);
    let options = eager().cleanup(topic(0), Cleanup::compact()).cleanup(topic(1), Cleanup::compact());
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    fill(&log, 0..150);
    log.sync().expect("syncs");
    log.background_step();
    fill(&log, 150..200);
    let attach = || Attached::open_on(Arc::new(disk.clone())).expect("attaches");
    let [of_segments, of_live] = [attach(), attach()];
    let before = of_segments.segments().expect("lists");
    log.sync().expect("syncs");
    log.background_step();
    let _ = log.clean().expect("cleans");
    let segments = of_segments.segments().expect("lists");
    let last = |segments: &[SegmentInfo]| segments.last().expect("one").number;
    assert!(segments.len() < before.len() && last(&segments) == last(&before), "{segments:?}");
    assert_eq!(segments, attach().segments().expect("lists"));
    assert_eq!(of_live.live_records().expect("reads"), attach().live_records().expect("reads"));
}

#[test]
fn a_close_ends_a_run_by_hand_that_waits_for_its_pace_beside_a_cleaner_that_has_nothing_to_do() {
    let disk = MemoryDisk::new(6);
    let options = |cleaner| eager().cleanup(topic(0), Cleanup::compact()).cleaner(cleaner);
    let log = options(Cleaner::new()).open_on(Arc::new(disk.clone())).expect("opens");
    fill(&log, 0..100);
    let _ = log.compact(&Compaction::new()).expect("compacts");
    fill(&log, 100..150);
    log.close().expect("closes");
    // One byte a second, and of what there is a part was compacted before: the thread finds that nothing is due.
    let slow = options(Cleaner::new().bytes_per_second(1).dirty_ratio(1.0)).background(Background::Threads);
    let log = slow.open_on(Arc::new(disk)).expect("opens");
    let cleaning = std::thread::spawn({
        let log = log.clone();
        move || log.clean()
    });
    while log.clean_stats().progress.is_none_or(|progress| progress.bytes_done == 0) {
        assert!(!cleaning.is_finished());
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(50));
    let (closed, ends) = std::sync::mpsc::channel();
    std::thread::spawn(move || closed.send(log.close()));
    ends.recv_timeout(Duration::from_secs(20)).expect("ends at once").expect("closes");
    assert_eq!(cleaning.join().expect("ends").expect_err("closed").kind(), esker::ErrorKind::Closed);
}
