//! What a filter costs: what is read, and what is opened.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use esker::platform::File;
use esker::{Attached, Background, Log, Options, ReadMode, Reader, Record};
use harness::MemoryDisk;
use harness::watched::{Call, Watch, WatchedDisk};

use super::{numbers, numbers_back, topic};

/// Counts, by segment file, bytes that are read behind its header; a file that was opened is there.
#[derive(Default)]
struct Counting {
    read: Mutex<BTreeMap<String, usize>>,
}

impl Watch for Counting {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        if let Call::Open(name) = call
            && name.contains(".seg")
        {
            self.read.lock().expect("not poisoned").entry(name.to_owned()).or_default();
        }
        Ok(())
    }

    fn read(&self, file: &dyn File, name: &str, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let read = file.read_at(buffer, position)?;
        if let Some(count) = self.read.lock().expect("not poisoned").get_mut(name)
            && position > 0
        {
            *count += read;
        }
        Ok(read)
    }
}

/// What a reader costs from end to end.
#[derive(Debug)]
struct Cost {
    /// Segments.
    opened: usize,
    /// Segments of which more than the header is read.
    read: usize,
    bytes: usize,
    records: usize,
}

fn counted(disk: &WatchedDisk<Counting>, reader: Reader, walk: fn(&mut Reader) -> esker::Result<Vec<u64>>) -> Cost {
    let mut reader = reader;
    disk.read.lock().expect("not poisoned").clear();
    let records = walk(&mut reader).expect("reads").len();
    let read = disk.read.lock().expect("not poisoned");
    let segments = read.values().filter(|bytes| **bytes > 0).count();
    Cost { opened: read.len(), read: segments, bytes: read.values().sum(), records }
}

/// A log of segments of 1 MiB, 30 bytes of payload a record and 20 records a call: 100 topics, one after the other so many calls;
/// each record has a key of its own, but for every 5,000th.
fn laid_out(calls: u32) -> (WatchedDisk<Counting>, Log) {
    let disk = WatchedDisk::new(MemoryDisk::new(1), Counting::default());
    let options = Options::new().segment_bytes(1 << 20).background(Background::Manual);
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    for number in (0..100_u32).flat_map(|number| vec![number; usize::try_from(calls).expect("small")]) {
        let first = log.visible().get();
        let keys: Vec<_> = (first..first + 20).map(|record| if record % 5000 == 7 { 7 } else { record }).collect();
        let keys: Vec<_> = keys.iter().map(|key| key.to_le_bytes()).collect();
        let records = keys.iter().map(|key| Record::new(&[7; 30]).key(key).topic(topic(number)));
        let _ = log.append_batch(records.collect::<Vec<_>>()).expect("appends");
    }
    log.sync().expect("syncs");
    log.background_step();
    assert!(log.stats().indexes >= 5, "{:?}", log.stats());
    (disk, log)
}

#[test]
fn a_topic_costs_the_blocks_that_hold_it_and_opens_no_segment_that_does_not() {
    // 1,200 records a topic, of about 50 bytes: a block or two.
    let (disk, log) = laid_out(60);
    let attached = Attached::open_on(Arc::new(disk.clone())).expect("attaches");
    let whole = counted(&disk, log.reader().mode(ReadMode::Copy), numbers);
    assert!(whole.bytes > 5 << 20 && whole.read >= 6, "{whole:?}");
    for attaches in [false, true] {
        let reader = |wanted: u32| {
            let reader = if attaches { attached.reader() } else { log.reader().mode(ReadMode::Copy) };
            reader.topics([topic(wanted)])
        };
        let from_the_end = |wanted| {
            let mut reader = reader(wanted);
            reader.seek_latest();
            reader
        };
        // What is read of the active segment has nothing to do with the topic.
        let active = [counted(&disk, reader(100), numbers), counted(&disk, from_the_end(100), numbers_back)];
        let found = [counted(&disk, reader(17), numbers), counted(&disk, from_the_end(17), numbers_back)];
        for (found, active) in found.into_iter().zip(active) {
            let what = format!("{attaches}: {found:?} {active:?} {whole:?}");
            assert_eq!((active.read, active.records, found.records), (1, 0, 1200), "{what}");
            // One or two hold it. Who only looks on lists the directory at the end, and opens all to see their headers.
            assert!(found.read <= 3 && (attaches || (active.opened == 1 && found.opened <= 3)), "{what}");
            assert!(found.bytes - active.bytes <= 400 << 10, "{what}");
        }
    }
}

#[test]
fn a_key_costs_its_frames() {
    let (disk, log) = laid_out(60);
    let mut all = 0;
    let mut cost = (0, 0);
    let active = counted(&disk, log.reader().mode(ReadMode::Copy).key(topic(100), b"none"), numbers);
    for number in 0..100 {
        let reader = log.reader().mode(ReadMode::Copy).key(topic(number), &7_u64.to_le_bytes());
        let found = counted(&disk, reader, numbers);
        all += found.records;
        if found.records > 0 {
            // What is read of the active segment has nothing to do with it.
            let beside = (found.read.saturating_sub(active.read), found.bytes.saturating_sub(active.bytes));
            cost = cost.max(beside);
        }
    }
    assert_eq!(all, 24);
    assert!(cost.0 <= 1 && cost.1 <= 16 << 10, "{cost:?}");
}

#[test]
fn long_bodies_that_nobody_asks_for_are_not_read() {
    let disk = WatchedDisk::new(MemoryDisk::new(1), Counting::default());
    let options = Options::new().segment_bytes(16 << 20).background(Background::Manual);
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    for number in 0..50_u32 {
        let payload = vec![7; if number % 10 == 9 { 100 } else { 150_000 }];
        let _ = log.append(Record::new(&payload).topic(topic(number % 10))).expect("appends");
    }
    let whole = counted(&disk, log.reader().mode(ReadMode::Copy), numbers);
    let found = counted(&disk, log.reader().mode(ReadMode::Copy).topics([topic(9)]), numbers);
    assert!(whole.bytes > 6 << 20 && found.records == 5, "{whole:?} {found:?}");
    assert!(found.bytes <= 50 * (8 << 10), "a few KiB a frame: {found:?}");
}
