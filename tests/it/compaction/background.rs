//! The cleaner in the background: when it is due, and what it leaves for later.

use std::sync::Arc;
use std::time::Duration;

use esker::{Background, Cleaner, Cleanup, Log, Options, Record, Retention};
use harness::MemoryDisk;
use harness::crash::ByDice;
use harness::dice::Dice;

use super::{check_kept, check_lookups, eager, fill, read, topic};

fn policies(cleaner: Cleaner) -> Options {
    eager().cleanup(topic(0), Cleanup::compact()).cleanup(topic(1), Cleanup::compact()).cleaner(cleaner)
}

fn step(log: &Log, numbers: std::ops::Range<u64>) {
    for number in numbers {
        fill(log, number..number + 1);
        log.sync().expect("syncs");
        log.background_step();
    }
}

#[test]
fn a_log_is_cleaned_as_it_grows_and_not_while_nothing_comes() {
    let disk = MemoryDisk::new(1);
    let log = policies(Cleaner::new()).open_on(Arc::new(disk.clone())).expect("opens");
    step(&log, 0..600);
    let stats = log.clean_stats();
    assert!(stats.runs > 2 && stats.failures == 0, "{stats:?}");
    assert!(stats.runs < 30, "not at each segment: {stats:?}");
    let left = read(&log);
    assert!(left.len() < 250, "{} of 600", left.len());
    check_kept(&left);
    check_lookups(&log, &left);
    for _ in 0..5 {
        log.background_step();
    }
    assert_eq!(log.clean_stats().runs, stats.runs, "nothing came");
    log.close().expect("closes");
    let log = policies(Cleaner::new()).open_on(Arc::new(disk)).expect("opens");
    log.background_step();
    assert!(log.clean_stats().runs <= 1);
    assert_eq!(read(&log)[..5], left[..5]);
}

#[test]
fn what_is_younger_than_the_lag_stays() {
    let disk = MemoryDisk::new(2);
    let cleaner = Cleaner::new().dirty_ratio(0.0).min_lag(Duration::from_secs(100));
    let log = policies(cleaner).open_on(Arc::new(disk.clone())).expect("opens");
    step(&log, 0..200);
    assert_eq!((read(&log).len(), log.clean_stats().replaced.segments_before), (200, 0));
    disk.advance(Duration::from_secs(101));
    let report = log.clean().expect("cleans");
    assert!(report.replaced.segments_before > 2, "{report:?}");
    assert!(read(&log).len() < 100);
}

#[test]
fn what_could_still_vanish_removes_nothing() {
    let disk = MemoryDisk::new(6);
    let options = policies(Cleaner::new().dirty_ratio(0.0));
    let log = options.clone().open_on(Arc::new(disk.clone())).expect("opens");
    let (old, new) = (vec![1; 3000], vec![2; 3000]);
    let of_key = |payload| Record::new(payload).topic(topic(0)).key(b"seldom");
    let _ = log.append(of_key(&old)).expect("appends");
    step(&log, 0..200);
    let _visible = log.append(of_key(&new)).expect("appends");
    log.clean().expect("cleans");
    for seed in 0..8 {
        let left = disk.lose_power(&mut ByDice::new(Dice::new(seed)));
        let log = options.clone().open_on(Arc::new(left)).expect("opens");
        let found = log.latest(topic(0), b"seldom").expect("looks");
        let found = found.unwrap_or_else(|| panic!("neither value is there, {seed}"));
        assert!([&old[..], &new[..]].contains(&found.record().payload()));
    }
}

#[test]
fn records_of_a_topic_that_are_too_old_go_from_between_the_others() {
    let disk = MemoryDisk::new(3);
    let hour = Cleanup::delete(Retention::new().age(Duration::from_secs(3600)));
    let options = eager().cleanup(topic(1), hour);
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    step(&log, 0..200);
    assert_eq!(read(&log).len(), 200);
    disk.advance(Duration::from_secs(3601));
    log.background_step();
    let left = read(&log);
    assert_eq!(left.iter().filter(|seen| seen.1 == 0).count(), (0..200).filter(|number| number % 3 != 0).count());
    assert!(left.iter().filter(|seen| seen.1 == 1).all(|seen| seen.0 > 100), "{:?}", log.clean_stats());
    assert!(log.clean_stats().replaced.records_before > log.clean_stats().replaced.records_after);
}

#[test]
fn threads_clean_while_others_append_and_read() {
    let disk = MemoryDisk::new(4);
    let options = policies(Cleaner::new().dirty_ratio(0.3)).background(Background::Threads);
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    std::thread::scope(|scope| {
        let appended = scope.spawn(|| {
            for number in 0..4000 {
                fill(&log, number..number + 1);
                if number % 64 == 0 {
                    log.sync().expect("syncs");
                }
            }
        });
        while !appended.is_finished() {
            check_kept(&read(&log));
        }
        appended.join().expect("ends");
    });
    log.sync().expect("syncs");
    let since = std::time::Instant::now();
    while log.clean_stats().runs == 0 || log.clean_stats().progress.is_some() {
        assert!(since.elapsed() < Duration::from_secs(60), "{:?}", log.clean_stats());
        std::thread::yield_now();
    }
    let stats = log.clean_stats();
    assert!(stats.failures == 0 && stats.replaced.records_after < stats.replaced.records_before, "{stats:?}");
    let left = read(&log);
    assert_eq!(left.last().expect("records").0, 3999);
    check_kept(&left);
    log.close().expect("closes");
    assert_eq!(super::verified(&disk), []);
}

#[test]
fn a_run_goes_no_faster_than_it_is_told() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let cleaner = Cleaner::new().dirty_ratio(0.0).bytes_per_second(400_000);
    let log = policies(cleaner).background(Background::Threads).open(folder.path()).expect("opens");
    // Nothing is due before there are checkpoints.
    let began = std::time::Instant::now();
    fill(&log, 0..400);
    log.sync().expect("syncs");
    let report = log.clean().expect("cleans");
    let gone_over = report.replaced.bytes_before.max(100_000);
    assert!(
        began.elapsed()
            > Duration::from_secs_f64(0.9 * f64::from(u32::try_from(gone_over).expect("small")) / 400_000.0)
    );
    log.close().expect("closes");
}

#[test]
fn a_run_that_is_slowed_down_ends_when_the_log_is_closed() {
    // On this disk no time goes by: the pace would hold it for ever.
    let disk = MemoryDisk::new(6);
    let cleaner = Cleaner::new().dirty_ratio(0.0).bytes_per_second(1);
    let log = policies(cleaner).background(Background::Threads).open_on(Arc::new(disk.clone())).expect("opens");
    let since = std::time::Instant::now();
    let mut number = 0;
    while log.clean_stats().progress.is_none_or(|progress| progress.bytes_done == 0) {
        fill(&log, number..number + 20);
        number += 20;
        log.sync().expect("syncs");
        assert!(since.elapsed() < Duration::from_secs(60), "{:?}", log.clean_stats());
    }
    let (other, since) = (log.clone(), std::time::Instant::now());
    log.close().expect("closes");
    assert!(since.elapsed() < Duration::from_secs(30), "as long as it looks again");
    assert_eq!((other.clean_stats().failures, other.clean_stats().progress), (1, None));
    assert_eq!(super::verified(&disk), []);
}
