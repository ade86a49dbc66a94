//! Segments are rewritten, and the log goes on, between the moment that a lookup is of and its answer.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{History, latest};
use crate::error::{Error, Result};
use crate::format::record::thin::{Fate, Part};
use crate::log::catalog::{Catalog, Entry};
use crate::log::clean::tests::replace;
use crate::log::epochs::Epochs;
use crate::log::index::Index;
use crate::log::reader::{Limit, LogSource, ReadLine, ReadMode};
use crate::log::window::View;
use crate::log::{Background, Log, Options};
use crate::platform::Disk;
use crate::sync::Mutex;
use crate::types::{Line, Offset, Place, Record, RecordRef, Topic};

const KEY: &[u8] = b"k";

/// What happens in a log.
type Act = Box<dyn FnOnce() + Send>;

/// A log in which something happens each time that its end, or its start, was asked for, as often as there is something left to
/// happen.
pub(crate) struct Between {
    pub(crate) log: Log,
    pub(crate) acts: Mutex<Vec<Act>>,
    pub(crate) acts_of_start: Mutex<Vec<Act>>,
}

impl LogSource for Between {
    fn disk(&self) -> &dyn Disk {
        self.log.core().disk()
    }

    fn start(&self) -> Offset {
        let start = LogSource::start(self.log.core());
        let act = self.acts_of_start.lock().pop();
        if let Some(act) = act {
            act();
        }
        start
    }

    fn epochs(&self) -> Epochs {
        LogSource::epochs(self.log.core())
    }

    fn end(&self, line: ReadLine) -> Line {
        let end = self.log.core().end(line);
        let act = self.acts.lock().pop();
        if let Some(act) = act {
            act();
        }
        end
    }

    fn entry(&self, find: &dyn Fn(&Catalog) -> Option<Entry>) -> Result<Option<Entry>> {
        self.log.core().entry(find)
    }

    fn replacements(&self) -> u64 {
        self.log.core().replacements()
    }

    fn view(&self, entry: &Entry, mode: ReadMode) -> Result<View> {
        self.log.core().view(entry, mode)
    }

    fn index(&self) -> &Index {
        self.log.core().index()
    }

    fn check_lookups(&self) -> Result<()> {
        self.log.core().check_lookups()
    }

    fn limit(&self, place: Place, view: &View, line: ReadLine) -> Option<Limit> {
        self.log.core().limit(place, view, line)
    }

    fn is_readable(&self, sealed: &Entry, line: ReadLine) -> bool {
        self.log.core().is_readable(sealed, line)
    }

    fn wait(&self, place: Place, line: ReadLine, timeout: Duration) {
        LogSource::wait(self.log.core(), place, line, timeout);
    }

    fn ended(&self) -> Option<Error> {
        LogSource::ended(self.log.core())
    }
}

fn fill(log: &Log) {
    for number in 0..150_u64 {
        let _ = log.append(&number.to_le_bytes().repeat(20)).expect("appends");
    }
}

fn put(log: &Log, value: &[u8]) {
    let _ = log.append(Record::new(value).key(KEY)).expect("appends");
}

/// A log with index files, whose key has these values, each in another segment.
fn log_with_key(folder: &Path, values: &[&[u8]]) -> Log {
    let options = Options::new().segment_bytes(16 * 1024).background(Background::Manual);
    let log = options.open(folder).expect("opens");
    for value in values {
        put(&log, value);
        fill(&log);
    }
    log.sync().expect("syncs");
    log.background_step();
    log
}

/// Appends a newer value, and drops the one at an offset, as a cleaner may once the newer one is durable.
fn supersede(log: &Log, value: &[u8], dropped: Offset) {
    put(log, value);
    log.sync().expect("syncs");
    clean(log, dropped..dropped.after(1), &|record| record.offset() != dropped);
}

/// Makes one segment of those that hold a range of offsets, as a cleaner does.
fn clean(log: &Log, range: Range<Offset>, keeps: &dyn Fn(&RecordRef<'_>) -> bool) {
    let core = log.core();
    let entries = core.catalog.read().entries().to_vec();
    let begin = entries.partition_point(|entry| entry.header.first_offset <= range.start) - 1;
    let end = entries.partition_point(|entry| entry.header.first_offset < range.end);
    let inputs = &entries[begin..end];
    assert!(inputs.iter().all(|input| input.end.is_some()), "sealed");
    let mut decide = |part: &Part<'_>| match part {
        Part::Record(record) if !keeps(record) => Fate::Drop,
        _ => Fate::Keep,
    };
    let replaced = replace(core.disk(), inputs, &mut decide).expect("rewrites");
    core.catalog.write().replace(replaced);
}

/// As often as told, a newer value comes and the newest old one goes.
fn between(log: &Log, dropped: &[u64]) -> Arc<Between> {
    let act = |offset: &u64| {
        let (log, offset) = (log.clone(), Offset::new(*offset));
        let act: Act = Box::new(move || {
            supersede(&log, format!("newer than {offset}").as_bytes(), offset);
            fill(&log);
        });
        act
    };
    let acts = Mutex::new(dropped.iter().rev().map(act).collect());
    Arc::new(Between { log: log.clone(), acts, acts_of_start: Mutex::default() })
}

#[test]
fn a_key_that_always_has_a_value_is_found_though_the_value_is_replaced_meanwhile() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = log_with_key(folder.path(), &[b"one"]);
    // The second time the value goes that the first one brought.
    let brought = log.visible().get();
    let source = between(&log, &[0, brought]);
    let found = latest(&*source, Topic::default(), KEY, ReadLine::Visible).expect("reads").expect("has a value");
    assert_eq!(found.record().payload(), format!("newer than {brought}").as_bytes());
    assert!(source.acts.lock().is_empty());
}

#[test]
fn no_value_is_found_that_was_older_already_when_the_lookup_began() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = log_with_key(folder.path(), &[b"one", b"two"]);
    let source = between(&log, &[151]);
    let found = latest(&*source, Topic::default(), KEY, ReadLine::Visible).expect("reads").expect("has a value");
    assert_eq!(found.record().payload(), b"newer than 151");
}

#[test]
fn the_history_of_a_key_that_always_has_a_value_is_never_empty() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = log_with_key(folder.path(), &[b"one"]);
    let brought = log.visible().get();
    let source = between(&log, &[0, brought]);
    let told: Vec<Vec<u8>> = History::new(source.clone(), Topic::default(), KEY)
        .map(|found| found.expect("reads").record().payload().to_vec())
        .collect();
    let last = told.last().expect("it always had a value");
    let latest = log.latest(Topic::default(), KEY).expect("reads").expect("has a value");
    assert_eq!(last, latest.record().payload(), "{told:?}");
}

#[test]
fn a_history_has_the_records_of_neighbours_that_are_merged_behind_it() {
    let firsts = [0, 151, 302].map(Offset::new);
    for (first, last, taken) in [(0, 1, 0), (0, 1, 1), (0, 1, 2), (0, 2, 1), (0, 2, 2), (1, 2, 1), (1, 2, 2)] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let log = log_with_key(folder.path(), &[b"one", b"two", b"three"]);
        let mut history = log.history(Topic::default(), KEY);
        let mut told: Vec<Offset> = history.by_ref().take(taken).map(|found| found.expect("reads").offset()).collect();
        clean(&log, firsts[first]..firsts[last].after(1), &|_| true);
        told.extend(history.map(|found| found.expect("reads").offset()));
        assert_eq!(told, firsts, "{first} to {last} were merged after {taken}");
    }
}

/// What is asked for lies in the last segment, which is sealed and rewritten meanwhile.
fn log_with_key_at_the_end(folder: &Path) -> Arc<Between> {
    let log = log_with_key(folder, &[]);
    (0..3).for_each(|_| fill(&log));
    put(&log, b"one");
    let last = log.core().catalog.read().entries().last().expect("one").header.first_offset;
    let writer = log.clone();
    let act: Act = Box::new(move || {
        fill(&writer);
        writer.sync().expect("syncs");
        clean(&writer, last..last.after(1), &|record| record.key().is_some());
    });
    Arc::new(Between { log, acts: Mutex::new(vec![act]), acts_of_start: Mutex::default() })
}

#[test]
fn a_lookup_goes_up_to_an_end_whose_segment_is_rewritten_meanwhile() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let source = log_with_key_at_the_end(folder.path());
    let found = latest(&*source, Topic::default(), KEY, ReadLine::Visible).expect("reads").expect("has a value");
    assert_eq!(found.record().payload(), b"one");
    assert!(source.acts.lock().is_empty());
}

#[test]
fn a_history_goes_up_to_an_end_whose_segment_is_rewritten_meanwhile() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let source = log_with_key_at_the_end(folder.path());
    let told: Vec<Vec<u8>> = History::new(source.clone(), Topic::default(), KEY)
        .map(|found| found.expect("reads").record().payload().to_vec())
        .collect();
    assert_eq!(told, [b"one"]);
    assert!(source.acts.lock().is_empty());
}
