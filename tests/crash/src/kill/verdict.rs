//! What has to be true of a log whose writer was killed, beside what the [oracle](harness::oracle) says.
//!
//! Guarantees:
//! 1. Every record is what its identity says, in every part of it.
//! 2. The report of an open agrees with what is there and with how the log was left, and nothing was cut: a kill tears
//!    nothing.
//! 3. No file is left over.

use std::fs;
use std::path::Path;

use esker::{Ending, Log, Reader, RecoveryReport};
use harness::oracle::fingerprint_of;

use super::ledger::moved_to;
use super::plan::{Identity, OUTPUT_TOPIC, Sample};

/// What a log holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) identities: Vec<Identity>,
    pub(super) fingerprints: Vec<u64>,
    /// Of the outputs: to where they say that the cursor moved.
    pub(super) outputs: Vec<u64>,
}

impl Content {
    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.identities.len()).expect("few")
    }
}

/// All records from the first on, each compared with what its identity says it has to be.
pub(super) fn read(mut reader: Reader) -> Content {
    let mut content = Content::default();
    while let Some(batch) = reader.poll().expect("everything can be read") {
        for record in &batch {
            let offset = record.offset().get();
            assert_eq!(offset, content.count(), "offsets are dense");
            let identity = Identity::found_in(&record);
            let identity = identity.unwrap_or_else(|| panic!("nobody submitted what stands at offset {offset}"));
            assert_eq!(identity.is_output(), record.topic().get() == OUTPUT_TOPIC, "offset {offset}");
            if identity.is_output() {
                content.outputs.push(moved_to(&record).expect("an output is whole"));
            } else {
                assert_eq!(Sample::found(&record), Sample::of(identity), "offset {offset}, {identity:?}");
            }
            content.identities.push(identity);
            content.fingerprints.push(fingerprint_of(&record));
        }
    }
    content
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
    // A log that is created begins with 1, also where somebody died before the first header.
    for name in report.removed.iter().filter(|_| report.ending != Ending::Created) {
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
