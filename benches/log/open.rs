//! Opens: of a log that was closed, and of one whose writer died.
//!
//! Both hold the same records, state and checkpoint. Each open gets a copy of its own, because an open changes what it
//! opens; the copy is synced first, so that no open pays for it. Only the open is measured: not the copy, not the close.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use esker::{Background, Commit, Ending, Log, Options, Record};
use tempfile::TempDir;

use crate::bed::PAYLOAD;

/// Records before the checkpoint, and behind it: what an open after a crash goes over.
const RECORDS_BEFORE: u64 = 100_000;
const RECORDS_BEHIND: u64 = 20_000;
const KEYS: u64 = 10_000;

pub fn benches(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = filled(folder.path());
    let unclean = copy_of(folder.path());
    log.close().expect("closes");
    let mut group = criterion.benchmark_group("open");
    // One takes milliseconds, its copy more.
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for (name, folder, ending) in
        [("clean, with a checkpoint", &folder, Ending::Clean), ("after an unclean end", &unclean, Ending::Unclean)]
    {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|opens| (0..opens).map(|_| time_one(folder.path(), ending)).sum());
        });
    }
    group.finish();
    for folder in [folder, unclean] {
        folder.close().expect("is removed");
    }
}

fn time_one(template: &Path, ending: Ending) -> Duration {
    let folder = copy_of(template);
    let begun = Instant::now();
    let log = options().open(folder.path()).expect("opens");
    let time = begun.elapsed();
    let report = log.recovery();
    assert!(report.ending == ending && report.checkpoint.is_some(), "{report:?}");
    assert_eq!((log.visible().get(), log.stats().state_keys), (RECORDS_BEFORE + RECORDS_BEHIND, KEYS));
    log.close().expect("closes");
    folder.close().expect("is removed");
    time
}

fn options() -> Options {
    Options::new().segment_bytes(4 << 20).checkpoint_bytes(4 << 20)
}

/// A log with state, a checkpoint, and more behind it.
fn filled(folder: &Path) -> Log {
    // By hand, so that the checkpoint is where it should be.
    let log = options().background(Background::Manual).open(folder).expect("opens");
    for number in 0..KEYS {
        let _ = log.commit(Commit::new().state(&format!("key/{number}"), &PAYLOAD)).expect("commits");
    }
    append(&log, RECORDS_BEFORE);
    log.sync().expect("syncs");
    log.background_step();
    assert_eq!(log.stats().checkpoints, 1);
    append(&log, RECORDS_BEHIND);
    log
}

fn append(log: &Log, records: u64) {
    for _ in 0..records / 100 {
        let _ = log.append_batch([Record::new(&PAYLOAD); 100]).expect("appends");
    }
}

fn copy_of(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("temporary folder");
    for entry in fs::read_dir(folder).expect("lists") {
        let entry = entry.expect("an entry");
        let path = copy.path().join(entry.file_name());
        fs::copy(entry.path(), &path).expect("copies");
        File::open(path).and_then(|file| file.sync_all()).expect("syncs");
    }
    copy
}
