//! Appends that fill segments faster than the disk takes them.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use esker::{Background, Commit, Log};
use harness::{Call, MemoryDisk, Watch, WatchedDisk};

use crate::support::options;

/// After so many syncs it gives up.
const SYNCS_MAX: u64 = 500;

/// Fills a segment before each sync of one, until a checkpoint is written.
struct Outrun {
    log: Mutex<Option<Log>>,
    syncs: AtomicU64,
    told: mpsc::Sender<u64>,
}

impl Watch for Outrun {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        let Call::SyncRange(_) = call else { return Ok(()) };
        let Some(log) = self.log.lock().expect("nothing panics under the lock").clone() else { return Ok(()) };
        let (syncs, stats) = (self.syncs.fetch_add(1, Ordering::Relaxed), log.stats());
        if stats.checkpoints > 0 || syncs >= SYNCS_MAX {
            *self.log.lock().expect("nothing panics under the lock") = None;
            // Nobody listens to a second end.
            let _heard_before = self.told.send(stats.checkpoints);
            return Ok(());
        }
        // This is the thread that syncs: were it to wait for itself to sync more, it would wait for ever.
        if stats.visible.place.segment - stats.durable.place.segment < 3 {
            fill_a_segment(&log, stats.rolls);
        }
        Ok(())
    }
}

fn fill_a_segment(log: &Log, rolls: u64) {
    while log.stats().rolls == rolls {
        let _ = log.append(&[7; 1000]).expect("appends");
    }
}

#[test]
fn checkpoints_are_written_while_appends_outrun_the_disk() {
    let (told, heard) = mpsc::channel();
    let watch = Outrun { log: Mutex::new(None), syncs: AtomicU64::new(0), told };
    let disk = WatchedDisk::new(MemoryDisk::new(12), watch);
    let options = options().checkpoint_bytes(64 << 10).background(Background::Threads);
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    let _ = log.commit(Commit::new().state("k", "v")).expect("commits");
    *disk.log.lock().expect("nothing panics under the lock") = Some(log.clone());
    // The first full segment; from here on each sync finds another.
    fill_a_segment(&log, 0);
    assert!(heard.recv().expect("the syncer comes to an end") > 0, "none in {SYNCS_MAX} syncs");
    log.close().expect("closes");
}
