//! The threads of a log, each a loop over steps that tests call one by one.
//!
//! Guarantees:
//! 1. None waits for another: the preparer for no sync of data, the syncer for no file to be created, neither for a checkpoint,
//!    nor for retention, which follows checkpoints; save for one sync of the directory, which preparer and checkpointer ask for
//!    one after the other. The third makes index files too, and looks after checkpoints between two pieces of one. A fourth
//!    cleans, if that is asked for: it waits for the others, none of them for it.
//! 2. The three sleep without a deadline while nothing is appended or synced; an append or sync that matters wakes them. While
//!    there are appends, the syncer looks every 50 ms, or as often as the sync interval asks. The cleaner looks at each
//!    checkpoint, and once a minute for what became old enough.
//! 3. All end when the log is closed or dropped; one that is awake, also when it is poisoned.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::appender::Waiting;
use super::clean::LOOK_AGAIN;
use super::core::Core;
use super::index::Step;
use super::options::Sync;
use super::prepare::Pace;
use crate::error::{Error, Result};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Condvar, Mutex};

/// How often the syncer looks while there are appends. A look that finds none since the last one writes the last mark.
pub(crate) const IDLE: Duration = Duration::from_millis(50);

/// Wakes one thread. A wake before the sleep counts.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    woken: Mutex<Option<Woken>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Woken;

impl Signal {
    pub(crate) fn wake(&self) {
        *self.woken.lock() = Some(Woken);
        self.changed.notify_one();
    }

    /// Rests, in the midst of work. A wake that comes meanwhile still counts for the sleep behind it.
    pub(crate) fn rest(&self, time: Duration) {
        self.changed.wait_while_for(&mut self.woken.lock(), |_kept| true, time);
    }

    pub(crate) fn sleep(&self, at_most: Option<Duration>) {
        let mut woken = self.woken.lock();
        match at_most {
            Some(at_most) => {
                self.changed.wait_while_for(&mut woken, |woken| woken.is_none(), at_most);
            }
            None => self.changed.wait_while(&mut woken, |woken| woken.is_none()),
        }
        *woken = None;
    }
}

/// Starts the threads. They hold the log only weakly between rounds.
pub(crate) fn start(core: &Arc<Core>) -> Result<()> {
    let weak = Arc::downgrade(core);
    let preparer = spawn("esker-prepare", move || {
        let mut pace = Pace::default();
        while let Some(core) = running(&weak) {
            core.preparer_round(&mut pace);
            let signal = Arc::clone(&core.preparer);
            drop(core);
            signal.sleep(None);
        }
    })?;
    core.threads.lock().push(preparer);
    let weak = Arc::downgrade(core);
    let syncer = spawn("esker-sync", move || {
        let mut rhythm = Rhythm::default();
        while let Some(core) = running(&weak) {
            let sleep = core.syncer_round(&mut rhythm);
            let signal = Arc::clone(&core.syncer);
            drop(core);
            signal.sleep(sleep);
        }
    })?;
    core.threads.lock().push(syncer);
    let weak = Arc::downgrade(core);
    let checkpointer = spawn("esker-checkpoint", move || {
        while let Some(core) = running(&weak) {
            core.checkpoint_step();
            core.retention_step();
            if core.index_step() == Step::Done {
                continue;
            }
            let signal = Arc::clone(&core.checkpointer);
            drop(core);
            signal.sleep(None);
        }
    })?;
    core.threads.lock().push(checkpointer);
    if core.options.policies.is_empty() {
        return Ok(());
    }
    let weak = Arc::downgrade(core);
    let cleaner = spawn("esker-clean", move || {
        while let Some(core) = running(&weak) {
            core.hold_ballast();
            core.clean_step();
            if core.is_ended() {
                // A run that was slowed down took the wake that said so.
                break;
            }
            let signal = Arc::clone(&core.clean.signal);
            drop(core);
            signal.sleep(Some(LOOK_AGAIN));
        }
    })?;
    core.threads.lock().push(cleaner);
    Ok(())
}

fn running(weak: &Weak<Core>) -> Option<Arc<Core>> {
    weak.upgrade().filter(|core| !core.is_ended())
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let builder = thread::Builder::new().name(name.to_owned());
    builder.spawn(run).map_err(|error| Error::io(format!("start the thread {name}"), error))
}

/// What the syncer remembers from round to round.
#[derive(Debug, Default)]
struct Rhythm {
    /// Appends counted in the last round.
    appends: u64,
    synced_at: Duration,
}

impl Core {
    /// One round of the syncer; returns how long it may sleep.
    fn syncer_round(&self, rhythm: &mut Rhythm) -> Option<Duration> {
        loop {
            // Also while appends fill segments faster than the disk takes them.
            if self.checkpoint_due() || self.retention_due() || self.index_due() {
                self.checkpointer.wake();
            }
            if !self.sync_sealed_step() {
                break;
            }
        }
        let appends = self.appends();
        let rests = appends == rhythm.appends;
        rhythm.appends = appends;
        let mut sleep = IDLE;
        if let Sync::Interval(interval) = self.options.sync {
            let since = self.disk.monotonic().saturating_sub(rhythm.synced_at);
            if since >= interval {
                rhythm.synced_at = self.disk.monotonic();
                // A failure has poisoned the log, which everybody is told who asks for something.
                let _poisoned = self.sync_data();
            }
            sleep = sleep.min(interval.saturating_sub(since)).max(Duration::from_millis(1));
        }
        if rests && self.all_synced() {
            self.idle_mark_step();
            if self.sleep_until_append(appends) {
                return None;
            }
        }
        Some(sleep)
    }

    /// Whether an interval sync has nothing left to do.
    fn all_synced(&self) -> bool {
        let data_end = self.appender.lock().data_end;
        !matches!(self.options.sync, Sync::Interval(_)) || self.durability.lock().durable.place >= data_end
    }

    /// Waits for the threads to end; they do once appends are refused.
    pub(crate) fn join(&self) {
        self.preparer.wake();
        self.syncer.wake();
        self.checkpointer.wake();
        self.clean.signal.wake();
        self.clean.pace.wake();
        let threads: Vec<_> = self.threads.lock().drain(..).collect();
        for thread in threads {
            // A thread that panicked has nothing left to do either.
            let _ended = thread.join();
        }
    }

    fn appends(&self) -> u64 {
        self.appender.lock().stats.appends()
    }

    /// Syncs if there is data that is not durable.
    fn sync_data(&self) -> Result<()> {
        let data_end = self.appender.lock().data_end;
        self.wait_durable(data_end)
    }

    /// Asks the next append to wake the syncer, unless one came in between.
    fn sleep_until_append(&self, appends: u64) -> bool {
        let mut appender = self.appender.lock();
        let rests = appender.stats.appends() == appends;
        if rests {
            appender.syncer_sleeps = Waiting::Somebody;
        }
        rests
    }

    /// Everything that the threads would do now, once; for logs without threads.
    pub(crate) fn background_step(&self) {
        self.prepare_step();
        while self.sync_sealed_step() {}
        if let Sync::Interval(_) = self.options.sync {
            // A failure has poisoned the log, which everybody is told who asks for something.
            let _poisoned = self.sync_data();
        }
        self.idle_mark_step();
        self.checkpoint_step();
        self.retention_step();
        while self.index_step() == Step::Done {}
        self.hold_ballast();
        self.clean_step();
    }
}
