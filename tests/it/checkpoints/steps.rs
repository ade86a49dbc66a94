//! Every single operation of a checkpoint: the process dies before it, or it fails.

use std::sync::Arc;

use esker::{Attached, Commit, Ending, Log, Options, Version};
use harness::MemoryDisk;

use super::stepped::{Fail, Moment, SteppedDisk, stepped};
use super::{eager, entries, step};
use crate::support::{append_numbered, checkpoints, expected, numbered, payloads};

type Entry = (Vec<u8>, Vec<u8>, Version);

/// Who writes the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Background,
    Close,
}

/// A log that would write a checkpoint next, with two there already.
struct Ready {
    disk: SteppedDisk,
    log: Log,
    held: Vec<Entry>,
    records: u64,
}

impl Ready {
    fn new(seed: u64) -> Self {
        let disk = stepped(MemoryDisk::new(seed));
        let log = eager().open_on(Arc::new(disk.clone())).expect("opens");
        (0..10).for_each(|number| step(&log, number));
        append_numbered(&log, 100..140);
        let _ = log.commit(Commit::new().state("last", "one").remove_state("key-003")).expect("commits");
        let _ = log.cursor("reader").expect("is made").commit(esker::Offset::new(17)).expect("commits");
        log.sync().expect("syncs");
        assert_eq!(checkpoints(&disk.disk).len(), 2);
        let held = entries(&log);
        Self { disk, log, held, records: 140 }
    }

    fn write(&self, writer: Writer) {
        match writer {
            Writer::Background => self.log.background_step(),
            Writer::Close => self.log.clone().close().expect("closes"),
        }
    }

    /// An open of what is left finds everything.
    fn check(&self, left: &MemoryDisk, what: &str) -> Log {
        let outside = Attached::open_on(Arc::new(left.clone())).expect("attaches").state();
        let outside = outside.unwrap_or_else(|error| panic!("{what}: {error}")).with_prefix("");
        let log = eager().open_on(Arc::new(left.clone())).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(entries(&log), self.held, "{what}");
        assert!(
            outside.iter().map(|(key, held)| (&**key, held.value())).eq(self.held.iter().map(|(k, v, _)| (&**k, &**v))),
            "{what}"
        );
        assert!(payloads(&log) == expected(0..self.records), "{what}");
        assert_eq!(log.cursor("reader").expect("is there").offset().get(), 17, "{what}");
        assert_eq!((&log.recovery().cut, log.recovery().checkpoint_faults.len()), (&None, 0), "{what}");
        assert!(!left.names().iter().any(|name| name.contains("draft")), "{what}: {:?}", left.names());
        assert!((2..=3).contains(&checkpoints(left).len()), "{what}: {:?}", checkpoints(left));
        log
    }
}

/// The operations on checkpoints, and the sync of the directory that makes a name durable. Index files come behind them.
fn of_checkpoint(moments: &[Moment]) -> Vec<&str> {
    let operations: Vec<&str> = moments.iter().map(|moment| moment.operation.as_str()).collect();
    let first = operations.iter().position(|operation| operation.contains(".ckp")).expect("one is written");
    let of_others = |operation: &str| operation == "the end" || operation.contains(".idx");
    operations[first..].iter().copied().take_while(|operation| !of_others(operation)).collect()
}

#[test]
fn the_death_of_the_process_before_each_operation_of_a_checkpoint_loses_nothing() {
    for writer in [Writer::Background, Writer::Close] {
        let ready = Ready::new(5);
        let written = ready.log.stats().checkpoints;
        let [oldest, newest] = <[String; 2]>::try_from(checkpoints(&ready.disk.disk)).expect("two are kept");
        let moments = ready.disk.moments_of(|| ready.write(writer));
        assert_eq!(ready.log.stats().checkpoints, written + 1);
        let name = checkpoints(&ready.disk.disk).pop().expect("the new one");
        let steps = [
            format!("unlink {name}.draft"),
            format!("create {name}.draft"),
            format!("write {name}.draft"),
            format!("write the other half of {name}.draft"),
            format!("write {name}.draft"),
            format!("write the other half of {name}.draft"),
            format!("sync {name}.draft"),
            format!("rename {name}"),
            "sync directory".to_owned(),
            format!("unlink {oldest}"),
        ];
        assert_eq!(of_checkpoint(&moments), steps, "what comes first and what later is what keeps it safe");
        assert!(newest < name);
        for Moment { operation, left } in &moments {
            let what = format!("{writer:?}: dead before {operation}");
            die_again(&ready, left, &what);
            let log = ready.check(left, &what);
            let again = left.snapshot();
            let goes_on = ready.check(&again, &format!("{what}, and once more"));
            goes_on.close().expect("closes");
            ready.check(&again, &format!("{what}, and once more, and closed"));
            // It goes on, and the next checkpoint leaves two.
            (14..20).for_each(|number| step(&log, number));
            assert_eq!(checkpoints(left).len(), 2, "{what}");
            let (held, records) = (entries(&log), payloads(&log));
            let log = eager().open_on(Arc::new(left.snapshot())).expect("recovers");
            assert!(entries(&log) == held && payloads(&log) == records, "{what}");
        }
    }
}

/// The open of what is left dies before each of its own operations, and is done again.
fn die_again(ready: &Ready, left: &MemoryDisk, what: &str) {
    let disk = stepped(left.snapshot());
    let mut opened = None;
    let moments = disk.moments_of(|| opened = Some(eager().open_on(Arc::new(disk.clone())).expect("opens")));
    for Moment { operation, left } in moments {
        ready.check(&left, &format!("{what}, then the open before {operation}"));
    }
}

#[test]
fn a_checkpoint_larger_than_its_buffer_is_written_piece_by_piece_and_dies_at_any() {
    let options = Options::new().segment_bytes(2 << 20).background(esker::Background::Manual);
    let disk = stepped(MemoryDisk::new(9));
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    for number in 0..4_u8 {
        let value = vec![number; 350_000];
        let _ = log.commit(Commit::new().record(&numbered(number.into())).state(&[number], &value)).expect("commits");
    }
    let held = entries(&log);
    let moments = disk.moments_of(|| log.clone().close().expect("closes"));
    let writes = moments.iter().filter(|moment| moment.operation.starts_with("write 0000000001.ckp")).count();
    assert!(writes > 2, "{writes} writes");
    for Moment { operation, left } in moments.into_iter().filter(|moment| moment.operation.contains(".ckp")) {
        let log = options.open_on(Arc::new(left.clone())).expect("opens");
        assert!(entries(&log) == held && payloads(&log) == expected(0..4), "dead before {operation}");
        assert!(checkpoints(&left).iter().all(|name| !name.contains("draft")), "dead before {operation}");
        log.close().expect("closes");
        assert!(entries(&options.open_on(Arc::new(left)).expect("opens")) == held, "dead before {operation}");
    }
}

/// How many operations on checkpoints one checkpoint is.
const OPERATIONS: usize = 8;

#[test]
fn a_background_checkpoint_may_fail_at_each_operation_and_the_log_goes_on() {
    for fail in (0..=OPERATIONS).flat_map(|number| [Fail::Once(number), Fail::From(number)]) {
        let ready = Ready::new(6);
        let before = checkpoints(&ready.disk.disk);
        let (written, failures) = (ready.log.stats().checkpoints, ready.log.stats().checkpoint_failures);
        ready.disk.fail(fail);
        ready.write(Writer::Background);
        let (failed, after) = ready.disk.failed();
        assert_eq!(failed.is_empty(), fail == Fail::Once(OPERATIONS) || fail == Fail::From(OPERATIONS), "{fail:?}");
        check_after(&ready.disk, &before, &failed, &after);
        let stats = ready.log.stats();
        // The first is a look for a leftover, the last removes the oldest: without them there is a checkpoint all the same.
        let (counted, harmless) = (failed.len(), failed.iter().all(|operation| operation.starts_with("unlink")));
        let expected = if harmless { (written + 1, failures) } else { (written, failures + 1) };
        assert_eq!((stats.checkpoints, stats.checkpoint_failures), expected, "{fail:?}, {counted} failed: {failed:?}");
        // What is durable is there without it, also when the process dies now.
        ready.check(&ready.disk.disk.snapshot(), &format!("{fail:?}"));
        // The log goes on, with failures and after them.
        (14..20).for_each(|number| step(&ready.log, number));
        ready.disk.fail(Fail::Never);
        (20..30).for_each(|number| step(&ready.log, number));
        assert!(ready.log.stats().checkpoints > written, "{fail:?}: it is written in the end");
        let (held, records) = (entries(&ready.log), payloads(&ready.log));
        assert_eq!(records, expected_after(&ready, 140..300));
        let left = ready.disk.disk.snapshot();
        let log = eager().open_on(Arc::new(left.clone())).expect("recovers");
        assert!(entries(&log) == held && payloads(&log) == records, "{fail:?}");
        (30..40).for_each(|number| step(&log, number));
        assert_eq!(checkpoints(&left).len(), 2, "{fail:?}: what stayed is removed by the checkpoint after an open");
    }
}

#[test]
fn a_checkpoint_at_close_may_fail_at_each_operation_and_the_end_is_clean() {
    for fail in (0..=OPERATIONS).flat_map(|number| [Fail::Once(number), Fail::From(number)]) {
        let ready = Ready::new(7);
        let before = checkpoints(&ready.disk.disk);
        ready.disk.fail(fail);
        ready.write(Writer::Close);
        let (failed, after) = ready.disk.failed();
        check_after(&ready.disk, &before, &failed, &after);
        let left = &ready.disk.disk;
        let log = ready.check(left, &format!("{fail:?}"));
        assert_eq!(log.recovery().ending, Ending::Clean, "{fail:?}");
        log.close().expect("closes");
        ready.check(left, &format!("{fail:?}, closed again"));
        ready.check(&left.snapshot(), &format!("{fail:?}, closed again, then killed"));
    }
}

#[test]
fn a_checkpoint_that_cannot_be_opened_for_now_is_not_taken_for_a_rotten_one() {
    let ready = Ready::new(8);
    let before = checkpoints(&ready.disk.disk);
    ready.disk.run_out_of_descriptors();
    ready.write(Writer::Background);
    assert_eq!(ready.log.stats().checkpoint_failures, 1);
    assert_eq!(checkpoints(&ready.disk.disk), before);
    for number in 50..60 {
        step(&ready.log, number);
    }
    assert_eq!(ready.log.stats().checkpoint_failures, 1);
    let left = stepped(ready.disk.disk.snapshot());
    left.run_out_of_descriptors();
    let error = eager().open_on(Arc::new(left.clone())).expect_err("cannot be opened");
    assert_eq!(error.kind(), esker::ErrorKind::Io, "{error}");
    let log = eager().open_on(Arc::new(left)).expect("opens the next time");
    assert!(log.recovery().checkpoint_faults.is_empty(), "{}", log.recovery());
    assert_eq!(entries(&log), entries(&ready.log));
}

/// Unless the new checkpoint is there for sure, the ones before it are.
fn check_after(disk: &SteppedDisk, before: &[String], failed: &[String], after: &[String]) {
    let now = checkpoints(&disk.disk);
    let unsure = failed.iter().any(|operation| !operation.starts_with("unlink"));
    if unsure {
        assert!(before.iter().all(|name| now.contains(name)), "{failed:?}: {before:?} before, {now:?} now");
    }
    if failed.iter().any(|operation| operation == "sync directory") {
        let removed = |operation: &&String| operation.starts_with("unlink") && !operation.contains("draft");
        assert_eq!(after.iter().find(removed), None, "{failed:?}, then {after:?}");
    }
}

/// The records of a ready log, and then those of more steps.
fn expected_after(ready: &Ready, more: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    let mut all = expected(0..ready.records);
    all.extend(expected(more));
    all
}
