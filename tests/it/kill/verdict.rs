//! What has to be true of a log whose writer was killed.
//!
//! Guarantees:
//! 1. Every record that was reported visible is there, at its offset, byte for byte; so is what an earlier check found.
//! 2. No record is there that was not submitted: of each thread at most the one frame beyond its last report, and whole.
//! 3. Offsets are dense, each thread's records in the order in which it appended them.
//! 4. The report of an open agrees with what is there, and nothing was cut: a kill tears nothing.
//! 5. State and cursor are what the records say: see [`Ledger`].

use std::fs;
use std::path::Path;

use esker::{Ending, Log, Reader, RecoveryReport};

use super::consumer::{Ledger, moved_to};
use super::life::Account;
use super::plan::{Identity, OUTPUT_TOPIC, Run, Sample};

/// All records from the first on, each compared with what its identity says it has to be; and of the outputs among them
/// to where they say that the cursor moved.
pub(super) fn read(mut reader: Reader) -> (Vec<Identity>, Vec<u64>) {
    let (mut found, mut outputs) = (Vec::new(), Vec::new());
    while let Some(batch) = reader.poll().expect("everything can be read") {
        for record in &batch {
            let offset = record.offset().get();
            assert_eq!(offset, count(&found), "offsets are dense");
            let identity = Identity::found_in(&record);
            let identity = identity.unwrap_or_else(|| panic!("nobody submitted what stands at offset {offset}"));
            assert_eq!(identity.is_output(), record.topic().get() == OUTPUT_TOPIC, "offset {offset}");
            if identity.is_output() {
                outputs.push(moved_to(&record).expect("an output is whole"));
            } else {
                assert_eq!(Sample::found(&record), Sample::of(identity), "offset {offset}, {identity:?}");
            }
            found.push(identity);
        }
    }
    (found, outputs)
}

/// What was settled before is unchanged, and what came since is what the run submitted, with all that it reported.
pub(super) fn judge(found: &[Identity], settled: &[Identity], run: &Run, account: &Account, ledger: &mut Ledger) {
    assert_eq!(found.get(..settled.len()), Some(settled), "what was recovered once stays");
    let mut counts = vec![0; super::plan::usize_of(run.threads)];
    for identity in &found[settled.len()..] {
        assert_eq!(identity.run, run.seed, "a record of a run that is long over");
        if identity.is_output() {
            continue;
        }
        let count = counts.get_mut(super::plan::usize_of(identity.thread)).expect("a thread of the run");
        assert_eq!(identity.number, *count, "records of thread {} are in order", identity.thread);
        *count += 1;
    }
    let mut reported = vec![Vec::new(); counts.len()];
    for frame in &account.visible {
        reported[super::plan::usize_of(frame.thread)].push(*frame);
    }
    for ((thread, frames), count) in (0..).zip(&reported).zip(counts) {
        let mut plan = run.plan(thread);
        let mut number = 0;
        for frame in frames {
            let records = plan.next().expect("endless").len();
            assert_eq!(frame.next - frame.first, u64::try_from(records).expect("few"), "{frame:?}");
            for offset in frame.first..frame.next {
                let expected = Identity { run: run.seed, thread, number };
                assert_eq!(found.get(super::plan::usize_of(offset)), Some(&expected), "reported visible: {frame:?}");
                number += 1;
            }
        }
        let next = u64::try_from(plan.next().expect("endless").len()).expect("few");
        let all = u64::try_from(frames.len()).expect("few") == run.frames;
        let possible = if all { vec![number] } else { vec![number, number + next] };
        assert!(possible.contains(&count), "thread {thread}: {count} records, reported {number}, next frame {next}");
        ledger.note_frames(run, thread, u64::try_from(frames.len()).expect("few") + u64::from(count > number));
    }
    assert!(count(found) >= account.durable, "{} records, durable were {}", found.len(), account.durable);
    assert!(account.opened.is_some() || found.len() == settled.len(), "appended before it opened");
}

/// What is known of the directory before an open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    /// Counter of the newest epoch that is known of.
    pub(super) epoch: u64,
    pub(super) end: End,
    /// Writers since then that died before they said anything; each may have raised the epoch, or not.
    pub(super) unheard: u64,
}

/// How the log was left by the last who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// There is no log, as far as anybody said.
    Nothing,
    /// Closed, by a close that returned.
    Closed,
    /// Its writer died in the middle of it.
    Unclosed,
    /// Its writer died while it closed.
    Closing,
}

impl Before {
    /// Whether an open that ends so, in an epoch with this counter, can be.
    pub(super) fn allows(self, ending: Ending, counter: u64) -> bool {
        let raised = counter.checked_sub(self.epoch);
        match (ending, self.end) {
            (Ending::Created, End::Nothing) => raised == Some(1),
            (Ending::Clean, End::Closed | End::Closing) => raised == Some(0),
            (Ending::Unclean, End::Unclosed | End::Closing) => {
                raised.is_some_and(|raised| (1..=self.unheard + 1).contains(&raised))
            }
            // Somebody died who had begun a log, or gone on with one.
            (Ending::Unclean, End::Nothing | End::Closed) => {
                self.unheard > 0 && raised.is_some_and(|raised| (1..=self.unheard + 1).contains(&raised))
            }
            _ => false,
        }
    }
}

/// The report of an open by this process agrees with what is known and with what is there.
pub(super) fn check_report(folder: &Path, report: &RecoveryReport, before: Before, records: u64) {
    assert!(before.allows(report.ending, report.epoch.counter), "{before:?}: {report:?}");
    assert_eq!(report.cut, None, "a kill tears nothing: {report:?}");
    assert_eq!((report.start.get(), report.end.offset.get()), (0, records), "{report:?}");
    assert!(report.durable <= report.end, "{report:?}");
    assert!(report.quarantined.len() <= 1, "{report:?}");
    for name in &report.quarantined {
        // The one thing that may be set aside: a segment whose header was being stored. Its magic comes last.
        let bytes = fs::read(folder.join("quarantine").join(name)).expect("set aside");
        let empty = |part: &[u8]| part.iter().all(|byte| *byte == 0);
        assert!(empty(&bytes[..8]) && empty(&bytes[4096..]), "{name} was more than begun: {report:?}");
    }
    let created = report.ending == Ending::Created;
    assert!(report.segments >= 1 && (created || report.end.place.segment > 0), "{report:?}");
}

/// No file is left over: the segments of the log, and at most one spare while it is open.
pub(super) fn check_files(folder: &Path, log: &Log, report: &RecoveryReport) {
    let segments = log.stats().segments;
    let files = segment_files(folder);
    assert!(files.len() <= segments + 1, "{segments} segments, files {files:?}, {report:?}");
    // In the background the next spare is prepared, which may have the number of the one that was removed.
    let in_use = files.iter().take(segments).collect::<Vec<_>>();
    for name in &report.removed {
        assert!(!in_use.contains(&name), "{name} was removed: {files:?}");
    }
    let added = segments - report.segments;
    let continued = report.ending == Ending::Clean || report.ending == Ending::Created;
    assert!(added == 1 || (continued && added == 0), "{segments} segments now, {report:?}");
}

pub(super) fn segment_files(folder: &Path) -> Vec<String> {
    files(folder, "seg")
}

/// Checkpoints, and those that were being written.
pub(super) fn checkpoint_files(folder: &Path) -> (Vec<String>, Vec<String>) {
    (files(folder, "ckp"), files(folder, "draft"))
}

fn files(folder: &Path, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("lists").map(|entry| entry.expect("an entry"));
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| Path::new(name).extension().is_some_and(|end| end == ending)).collect();
    names.sort();
    names
}

pub(super) fn count(found: &[Identity]) -> u64 {
    u64::try_from(found.len()).expect("few")
}
