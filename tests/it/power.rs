//! Power loss, where one moment and one outcome matter; `esker-crash` tries them all.

use std::io;
use std::sync::{Arc, Mutex};

use esker::Ending;
use harness::memory::{Fate, NamesModel, Reached, Survival};
use harness::{Call, MemoryDisk, Watch, WatchedDisk};

use crate::support;

/// What survives, the same at each decision.
#[derive(Debug, Clone, Copy)]
enum Survives {
    /// Only what was synced.
    Synced,
    /// Everything but half of a length.
    HalfLengths,
    /// Everything but all names that changed except the last.
    LastName,
}

impl Fate for Survives {
    fn names(&mut self) -> NamesModel {
        NamesModel::Adversarial
    }

    fn change(&mut self, index: usize, of: usize) -> bool {
        match self {
            Self::Synced => false,
            Self::HalfLengths => true,
            Self::LastName => index + 1 == of,
        }
    }

    fn length(&mut self) -> Reached {
        match self {
            Self::Synced => Reached::None,
            Self::HalfLengths => Reached::Half,
            Self::LastName => Reached::All,
        }
    }

    fn sector(&mut self, _index: usize, _of: usize) -> Survival {
        if let Self::Synced = self { Survival::Old } else { Survival::New }
    }
}

/// Images made before each call of an open.
struct Images {
    disk: MemoryDisk,
    survives: Option<Survives>,
    made: Mutex<Vec<(String, MemoryDisk)>>,
}

impl Watch for Images {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        let image =
            self.survives.map_or_else(|| self.disk.snapshot(), |mut survives| self.disk.lose_power(&mut survives));
        self.made.lock().expect("no panic").push((call.to_string(), image));
        Ok(())
    }
}

/// What an open that dies before each of its calls leaves: of the machine, or (`None`) of the process.
fn images_of_open(disk: &MemoryDisk, survives: Option<Survives>) -> Vec<(String, MemoryDisk)> {
    let images = Images { disk: disk.clone(), survives, made: Mutex::default() };
    let watched = WatchedDisk::new(disk.clone(), images);
    drop(support::options().open_on(Arc::new(watched.clone())).expect("opens"));
    std::mem::take(&mut *watched.made.lock().expect("no panic"))
}

/// A header in a file that is too short looks like a file that somebody cut: the length comes first.
#[test]
fn an_open_that_dies_leaves_no_header_in_a_short_file() {
    let disk = MemoryDisk::new(1);
    let log = support::open(&disk).expect("opens");
    support::append_numbered(&log, 0..20);
    log.sync().expect("syncs");
    let images = images_of_open(&disk.snapshot(), Some(Survives::HalfLengths));
    let calls: Vec<&str> = images.iter().map(|(call, _)| call.as_str()).collect();
    let act = ["create 0000000002.seg", "sync 0000000002.seg", "sync directory", "sync 0000000002.seg"];
    assert!(calls.windows(act.len()).any(|calls| calls == act), "length, name, then header: {calls:?}");
    for (call, image) in images {
        let log = support::open(&image).unwrap_or_else(|error| panic!("power failed before {call}: {error}"));
        assert!(support::payloads(&log) == support::expected(0..20), "power failed before {call}");
    }
}

/// A process dies while it creates a log, the next one goes on from what it left, and the machine dies under that: no header
/// may come back that speaks of a segment whose name was never synced.
#[test]
fn a_header_never_comes_back_without_the_segment_that_it_goes_on_from() {
    for (first, left) in images_of_open(&MemoryDisk::new(1), None) {
        for (second, image) in images_of_open(&left, Some(Survives::LastName)) {
            let log = support::open(&image);
            let log = log.unwrap_or_else(|error| panic!("died before {first}, then before {second}: {error}"));
            assert_eq!(log.visible().get(), 0);
        }
    }
}

/// Whatever sync of a close fails: if the close says that it went well, the next open finds it so.
#[test]
fn a_close_that_went_well_is_found_clean_though_the_anchor_could_not_be_synced() {
    let mut went_well = 0;
    // What of the pages reaches the medium before the sync fails is another coin in each.
    for (nth, seed) in (1..9).flat_map(|nth| (0..6).map(move |seed| (nth, seed))) {
        let disk = MemoryDisk::new(seed);
        let log = support::open(&disk).expect("opens");
        support::append_numbered(&log, 0..100);
        assert!(log.stats().rolls > 0);
        disk.fail_sync_leaving(nth, harness::memory::AfterFailure::Reverted);
        // The checkpoint of the close, which would say it too.
        disk.fail_create(1);
        let closed = log.close();
        disk.fail_sync(0);
        disk.fail_create(0);
        let again = support::open(&disk).expect("opens again");
        if closed.is_ok() {
            went_well += 1;
            assert_eq!(again.recovery().ending, Ending::Clean, "sync {nth} failed");
            assert!(support::payloads(&again) == support::expected(0..100));
        }
    }
    assert!(went_well > 20, "only syncs of the log itself matter: {went_well}");
}

/// The close frame stood in the page cache alone when the process died: the log went on behind it, and only then power failed.
#[test]
fn what_is_appended_behind_a_close_that_was_never_synced_is_not_lost() {
    let disk = MemoryDisk::new(1);
    let log = support::open(&disk).expect("opens");
    support::append_numbered(&log, 0..5);
    log.sync().expect("syncs");
    disk.fail_sync(1);
    log.close().expect_err("the close frame could not be synced");
    let left = disk.snapshot();
    let log = support::open(&left).expect("opens");
    assert_eq!(log.recovery().ending, Ending::Clean, "the close frame is there: {}", log.recovery());
    support::append_numbered(&log, 5..7);
    log.sync().expect("syncs");
    let log = support::open(&left.lose_power(&mut { Survives::Synced })).expect("opens after power loss");
    assert!(support::payloads(&log) == support::expected(0..7));
}
