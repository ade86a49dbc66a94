//! Readers with a filter hand out what a plain model says, wherever they go, whatever the index files are, and in logs of which
//! parts were dropped.

use std::path::Path;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::error::ErrorKind;
use crate::format::record::thin::{Fate, Part};
use crate::format::segment_name;
use crate::log::clean::tests::{replace, rewrite_again};
use crate::log::lookup::tests::Between;
use crate::log::{Attached, Background, Batch, Log, Options, ReadLine, ReadMode, Reader};
use crate::sync::Mutex;
use crate::types::{Offset, Record, RecordRef, Topic};

/// A record as a test compares it: offset, topic, key.
type Plain = (u64, u32, Option<u8>);

/// Records that are appended, so many at a time.
#[derive(Debug, Clone)]
struct Run {
    /// `None`: they are of several.
    topic: Option<u32>,
    key: u8,
    bytes: usize,
    calls: usize,
    batch: usize,
}

/// Which records are asked for.
#[derive(Debug, Clone)]
enum Asked {
    Topics(Vec<u32>),
    Key(u32, u8),
}

#[derive(Debug, Clone)]
enum Step {
    Seek(usize),
    Poll,
    Back,
    Time(usize),
}

fn run() -> impl Strategy<Value = Run> {
    let bytes = prop_oneof![4 => 0..300_usize, 2 => 2000..5000_usize, 1 => Just(70_000_usize)];
    (proptest::option::weighted(0.8, 0..4_u32), 0..7_u8, bytes, 1..40_usize, 1..6_usize).prop_map(
        |(topic, key, bytes, calls, batch)| {
            let calls = if bytes > 1000 { calls.div_ceil(bytes / 500) } else { calls };
            Run { topic, key, bytes, calls, batch: batch.min(150_000 / bytes.max(1)) }
        },
    )
}

fn asked() -> impl Strategy<Value = Asked> {
    prop_oneof![
        vec(0..6_u32, 0..3).prop_map(Asked::Topics),
        (0..5_u32, 0..8_u8).prop_map(|(topic, key)| Asked::Key(topic, key)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..101_usize).prop_map(Step::Seek),
        (0..101_usize).prop_map(Step::Time),
        Just(Step::Poll),
        Just(Step::Poll),
        Just(Step::Back),
        Just(Step::Back),
    ]
}

fn topic(number: u32) -> Topic {
    Topic::new(number).expect("small")
}

fn open(folder: &Path, segment_bytes: u64) -> Log {
    let options = Options::new().segment_bytes(segment_bytes).background(Background::Manual);
    options.open(folder).expect("opens")
}

fn append(log: &Log, run: &Run) {
    let payload = vec![7; run.bytes];
    for call in 0..run.calls {
        let keys: Vec<u8> = (0..run.batch).map(|record| run.key + u8::from((call + record) % 3 == 0)).collect();
        let of_key = |(record, key): (usize, &u8)| {
            let topic = topic(run.topic.unwrap_or(u32::try_from(record % 3).expect("small")));
            (Record::new(&payload).topic(topic), *key)
        };
        let records = keys.iter().enumerate().map(of_key);
        // Every fifth has none.
        let records: Vec<_> = records
            .zip(&keys)
            .map(|((record, number), key)| if number % 5 == 4 { record } else { record.key(std::slice::from_ref(key)) })
            .collect();
        let _ = log.append_batch(records).expect("appends");
    }
}

fn plain(record: &RecordRef<'_>) -> Plain {
    (record.offset().get(), record.topic().get(), record.key().map(|key| key[0]))
}

fn records(batch: &Batch) -> Vec<Plain> {
    let all: Vec<Plain> = batch.iter().map(|record| plain(&record)).collect();
    assert!(!all.is_empty() && batch.len() == all.len() && !batch.is_empty());
    assert_eq!(batch.first().get(), all[0].0);
    assert!(batch.next().get() > all[all.len() - 1].0);
    assert!(batch.iter_back().map(|record| plain(&record)).eq(all.iter().rev().copied()));
    all
}

fn all(reader: &mut Reader) -> Vec<Plain> {
    let mut all = Vec::new();
    while let Some(batch) = reader.poll().expect("reads") {
        assert_eq!(batch.next(), reader.offset());
        all.extend(records(&batch));
    }
    all
}

fn all_back(reader: &mut Reader) -> Vec<Plain> {
    let mut all = Vec::new();
    while let Some(batch) = reader.poll_back().expect("reads") {
        assert_eq!(batch.first(), reader.offset());
        all.splice(0..0, records(&batch));
    }
    all
}

impl Asked {
    fn of(&self, reader: Reader) -> Reader {
        match self {
            Self::Topics(topics) => reader.topics(topics.iter().copied().map(topic)),
            Self::Key(number, key) => reader.key(topic(*number), std::slice::from_ref(key)),
        }
    }

    fn matches(&self, record: &Plain) -> bool {
        match self {
            Self::Topics(topics) => topics.contains(&record.1),
            Self::Key(number, key) => record.1 == *number && record.2 == Some(*key),
        }
    }
}

/// A reader walks about, and the model with it.
fn walk(reader: &mut Reader, model: &[Plain], (start, end): (u64, u64), steps: &[Step]) {
    for step in steps {
        let at = model.partition_point(|record| record.0 < reader.offset().get());
        match step {
            Step::Seek(part) => {
                let offset = start + (end - start) * u64::try_from(*part).expect("small") / 100;
                reader.seek(Offset::new(offset)).expect("inside the log");
            }
            Step::Time(part) => {
                // All records have about one append time: it is one end or the other.
                let time = if *part < 50 { i64::MIN } else { i64::MAX };
                reader.seek_time(crate::types::Timestamp::from_nanoseconds(time)).expect("inside the log");
                let at = model.partition_point(|record| record.0 < reader.offset().get());
                assert_eq!(at, if *part < 50 { 0 } else { model.len() });
            }
            Step::Poll => match reader.poll().expect("reads").map(|batch| records(&batch)) {
                Some(found) => assert_eq!(found, model[at..at + found.len()], "{step:?}"),
                None => assert_eq!((at, reader.offset().get()), (model.len(), end), "nothing is left"),
            },
            Step::Back => match reader.poll_back().expect("reads").map(|batch| records(&batch)) {
                Some(found) => assert_eq!(found, model[at - found.len()..at], "{step:?}"),
                None => assert_eq!((at, reader.offset().get()), (0, start), "nothing is left"),
            },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_with_a_filter_finds_what_a_plain_model_says(
        runs in vec(run(), 4..40), large in any::<bool>(), rewritten in proptest::option::of(1..100_u64),
        is_indexed in any::<bool>(), start in proptest::option::of(0..100_u64),
        questions in vec((asked(), vec(step(), 1..12)), 1..6),
    ) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let segment_bytes = if large { 400 * 1024 } else { 16 * 1024 };
        let mut log = open(folder.path(), segment_bytes);
        let runs = runs.iter().filter(|run| large || run.bytes * run.batch < 7000);
        for (number, run) in runs.enumerate() {
            append(&log, run);
            if is_indexed && number == 20 {
                // What is sealed by now has index files from here on.
                log.sync().expect("syncs");
                log.background_step();
            }
        }
        if let Some(percent) = rewritten {
            log.close().expect("closes");
            rewrite_again(folder.path(), |offset| offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 << 32 < percent * (u64::MAX / 100));
            log = open(folder.path(), segment_bytes);
        }
        if is_indexed {
            log.sync().expect("syncs");
            log.background_step();
        }
        if let Some(part) = start {
            log.drop_before(Offset::new(log.visible().get() * part / 100)).expect("drops");
        }
        let model = all(&mut log.reader());
        let range = (log.start().get(), log.visible().get());
        log.sync().expect("syncs");
        let attached = Attached::open(folder.path()).expect("attaches");
        for (asked, steps) in questions {
            let wanted: Vec<Plain> = model.iter().copied().filter(|record| asked.matches(record)).collect();
            let readers =
                [log.reader(), log.reader().mode(ReadMode::Copy), log.reader().up_to(ReadLine::Durable), attached.reader()];
            for reader in readers {
                let mut reader = asked.of(reader);
                prop_assert_eq!(&all(&mut reader), &wanted);
                prop_assert_eq!(reader.offset().get(), range.1);
                prop_assert_eq!(&all_back(&mut reader), &wanted);
                prop_assert_eq!(reader.offset().get(), range.0);
                walk(&mut reader, &wanted, range, &steps);
            }
        }
    }
}

/// Rewrites some sealed neighbours of a running log as a cleaner does.
fn rewrite_live(log: &Log, begin: usize, count: usize, keeps: &dyn Fn(u64) -> bool) {
    let core = log.core();
    let entries = core.catalog.read().entries().to_vec();
    let inputs = &entries[begin..(begin + count).min(entries.len() - 1)];
    let mut decide = |part: &Part<'_>| match part {
        Part::Record(record) if !keeps(record.offset().get()) => Fate::Drop,
        _ => Fate::Keep,
    };
    let replaced = replace(&*core.disk, inputs, &mut decide).expect("rewrites");
    core.catalog.write().replace(replaced);
    for input in &inputs[1..] {
        core.disk.unlink(&segment_name(input.number())).expect("is there");
    }
}

#[test]
fn segments_that_are_rewritten_under_readers_with_a_filter_lose_nothing_that_is_kept() {
    let keeps = |offset: u64| !offset.is_multiple_of(3);
    for asked in [Asked::Topics(vec![1, 3]), Asked::Topics(vec![2]), Asked::Key(0, 3), Asked::Key(3, 9)] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let log = open(folder.path(), 16 * 1024);
        for number in 0..60_u32 {
            let run = Run { topic: Some(number % 4), key: 3, bytes: 200, calls: 6, batch: 2 };
            append(&log, &run);
        }
        log.sync().expect("syncs");
        log.background_step();
        let attached = Attached::open(folder.path()).expect("attaches");
        let before: Vec<Plain> = all(&mut log.reader()).into_iter().filter(|record| asked.matches(record)).collect();
        let (middle, end) = (log.visible().get() / 2, log.visible().get());
        let mut readers = Vec::new();
        for at in [0, middle / 2, middle, middle + 1, end - 10] {
            for reader in [log.reader(), log.reader().mode(ReadMode::Copy), attached.reader()] {
                let mut reader = asked.of(reader);
                reader.seek(Offset::new(at)).expect("inside the log");
                // One step, after which it may stand inside a file, or at the end of one.
                let _some_or_none = reader.poll().expect("reads");
                readers.push(reader);
            }
        }
        let count = log.core().catalog.read().entries().len();
        rewrite_live(&log, 0, 3, &keeps);
        rewrite_live(&log, 2, count / 2, &keeps);
        append(&log, &Run { topic: Some(1), key: 3, bytes: 200, calls: 6, batch: 2 });
        log.sync().expect("syncs");
        let model: Vec<Plain> = all(&mut log.reader()).into_iter().filter(|record| asked.matches(record)).collect();
        assert!(model.len() < before.len() || before.is_empty());
        for (number, reader) in readers.iter_mut().enumerate() {
            let from = reader.offset().get();
            let found = all(reader);
            // What lies in a file that was left behind since may still be there.
            assert!(found.iter().all(|record| model.contains(record) || before.contains(record)), "{number}");
            let kept: Vec<Plain> = found.into_iter().filter(|record| model.contains(record)).collect();
            let expected = &model[model.partition_point(|record| record.0 < from)..];
            assert_eq!(kept, expected, "{asked:?}: reader {number} from {from}");
            assert_eq!(all_back(reader), model, "{asked:?}: reader {number}");
        }
    }
}

/// A log of many segments, and a reader of it that stands behind the first batch.
fn left_behind(folder: &Path) -> (Arc<Between>, Reader) {
    let log = open(folder, 16 * 1024);
    for _ in 0..20 {
        append(&log, &Run { topic: Some(1), key: 3, bytes: 200, calls: 12, batch: 2 });
    }
    log.sync().expect("syncs");
    let source = Arc::new(Between { log, acts: Mutex::default(), acts_of_start: Mutex::default() });
    let mut reader = Reader::new(source.clone());
    assert!(reader.poll().expect("reads").is_some());
    (source, reader)
}

fn drop_half(log: &Log) {
    let middle = Offset::new(log.visible().get() / 2);
    assert!(log.drop_before(middle).expect("drops") > Offset::ZERO);
}

#[test]
fn a_reader_that_leaves_a_segment_while_the_next_are_dropped_is_told() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (source, mut reader) = left_behind(folder.path());
    let (log, stood) = (source.log.clone(), reader.offset());
    source.acts_of_start.lock().push(Box::new(move || drop_half(&log)));
    let error = reader.poll().expect_err("what comes next was dropped");
    assert!(source.acts_of_start.lock().is_empty());
    assert_eq!((error.kind(), reader.offset()), (ErrorKind::Trimmed { next: source.log.start() }, stood));
}

#[test]
fn a_reader_that_steps_over_damage_behind_which_all_was_dropped_is_told() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (source, mut reader) = left_behind(folder.path());
    reader.seek(Offset::new(2)).expect("inside the log");
    let view = reader.view().expect("opens").expect("a segment");
    let bytes = vec![7; usize::try_from(view.frames.end - reader.place.position).expect("small")];
    let path = folder.path().join(segment_name(view.header.number));
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("opens");
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, reader.place.position).expect("writes");
    assert_eq!(reader.poll().expect_err("damaged").kind(), ErrorKind::Corrupt);
    drop_half(&source.log);
    let error = reader.skip_damage().expect_err("what comes behind the damage was dropped");
    assert_eq!((error.kind(), reader.offset().get()), (ErrorKind::Trimmed { next: source.log.start() }, 2));
}
