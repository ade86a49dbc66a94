//! Memory for index files and lookups is bounded. On Linux alone: elsewhere a file of zeros is written through a buffer.

use std::fs;
use std::path::Path;

use esker::{Background, FileSystems, Log, Options, Record, Topic};
use harness::allocation::largest_during;

use super::{entries_start, key, tell};

/// Segments of 1 MiB with many keys; of key 0 there are as many records as of all others. On a real disk: one in memory
/// would take its files from the same allocator.
fn many(path: &Path, options: &Options) -> Log {
    let log = options.open(path).expect("opens");
    let keys: Vec<Vec<u8>> = (0..50_000).map(key).collect();
    for part in keys.chunks(100) {
        let pairs = part.iter().flat_map(|key| [Record::new(b"value").key(key), Record::new(b"hot").key(&keys[0])]);
        let _ = log.append_batch(pairs.collect::<Vec<_>>()).expect("appends");
    }
    log.sync().expect("syncs");
    log
}

fn files(path: &Path) -> Vec<(String, Vec<u8>)> {
    let names = fs::read_dir(path).expect("lists").map(|entry| entry.expect("an entry").path());
    let indexes = names.filter(|path| path.extension().is_some_and(|extension| extension == "idx"));
    let mut all: Vec<_> = indexes.map(|path| (path.display().to_string(), fs::read(path).expect("reads"))).collect();
    all.sort();
    all
}

#[test]
fn memory_for_index_files_and_tables_is_bounded() {
    let options = Options::new().segment_bytes(1 << 20).background(Background::Manual).file_systems(FileSystems::Any);
    let [wide, narrow] = [0; 2].map(|_| tempfile::tempdir().expect("a folder"));
    let log = many(wide.path(), &options);
    let largest = largest_during(|| log.background_step());
    assert!(largest > 400 << 10, "{largest}: all keys of a segment at once");
    let options = options.index_memory(64 << 10);
    let log = many(narrow.path(), &options);
    let largest = largest_during(|| log.background_step());
    // A piece of the segment at a time, which takes 256 KiB.
    assert!((200 << 10..=256 << 10).contains(&largest), "{largest}");
    let (of_wide, of_narrow) = (files(wide.path()), files(narrow.path()));
    assert!(!of_wide.is_empty() && of_wide.len() == of_narrow.len());
    log.close().expect("closes");
    for ((_, wide), (name, narrow)) in of_wide.iter().zip(&of_narrow) {
        // Another store, with other append times; the keys are the same.
        let (wide, narrow) = (&wide[entries_start(wide)..], &narrow[entries_start(narrow)..]);
        assert!(wide == narrow && wide.len() > 10_000, "{name}: the same, whatever the memory");
        fs::remove_file(name).expect("is there");
    }
    let log = options.open(narrow.path()).expect("opens");
    let mut told = Vec::new();
    let largest = largest_during(|| told = tell(log.history(Topic::default(), &key(777))).expect("reads"));
    assert!(largest <= 256 << 10, "{largest}");
    assert_eq!(told, [(1554, false, b"value".to_vec())]);
    let before = log.stats().lookup_scanned_bytes;
    assert!(log.latest(Topic::default(), &key(778)).expect("reads").is_some());
    assert!(log.stats().lookup_scanned_bytes > before + (256 << 10), "what there is no room for is read each time");
    assert_eq!(log.history(Topic::default(), &key(0)).count(), 50_001);
}
