//! What all handles, readers and background threads of one open log share.
//!
//! Guarantees:
//! 1. Locks are taken in this order and never the other way: that of a run of the cleaner, preparing or checkpointing, state,
//!    append lock, durability, that under which a file takes the name of another, catalog. The locks inside a `Wake`, of the
//!    checkpoints, of the anchor, of the syncs of the directory, of what the cleaner remembers and of the index are leaves, save
//!    that views of the index come before the last two of the list.
//! 2. Nobody waits for the disk while holding the append lock.

use std::sync::Arc;

use super::act::Opened;
use super::anchor::AnchorFile;
use super::appender::Appender;
use super::background::Signal;
use super::catalog::Catalog;
use super::checkpoint::Checkpoints;
use super::clean::Cleaning;
use super::directory::DirectorySyncs;
use super::durability::Durability;
use super::epochs::Epochs;
use super::index::Index;
use super::index::file::Role;
use super::options::{Background, Options, Sync};
use super::report::RecoveryReport;
use super::retention::Pace;
use super::state::{Limits, State};
use crate::error::{Error, ErrorKind, Result};
use crate::format::control::StartLine;
use crate::platform::{Disk, ForkGuard, LockGuard};
use crate::sync::thread::JoinHandle;
use crate::sync::{AtomicBool, Condvar, Mutex, RwLock, Wake};
use crate::types::{Epoch, StoreId, length};
use crossbeam::utils::CachePadded;

pub(crate) struct Core {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) store_id: StoreId,
    pub(crate) epoch: Epoch,
    pub(crate) epochs: Epochs,
    /// Where the log begins. A leaf; it moves under the lock of checkpointing, and with the append lock held.
    pub(crate) start: Mutex<StartLine>,
    pub(crate) retention: Mutex<Pace>,
    pub(crate) report: RecoveryReport,
    pub(crate) frame_bytes_max: u64,
    /// Segments that are prepared have higher numbers than any file that an open found.
    pub(crate) highest_found: u64,
    pub(crate) fork: ForkGuard,
    /// Set once a sync failed.
    pub(crate) poisoned: AtomicBool,
    pub(crate) appender: CachePadded<Mutex<Appender>>,
    /// A spare is ready, or could not be had, or the log was closed.
    pub(crate) rolled: Condvar,
    /// Changed only under the append lock as well, and never waited for under it.
    pub(crate) state: RwLock<State>,
    pub(crate) durability: Mutex<Durability>,
    /// Waiters of the sync that runs, and of the next.
    pub(crate) synced: [Condvar; 2],
    pub(crate) catalog: RwLock<Catalog>,
    pub(crate) directory_syncs: DirectorySyncs,
    pub(crate) visible_moved: Wake,
    pub(crate) durable_moved: Wake,
    /// Held while a spare is prepared.
    pub(crate) preparing: Mutex<()>,
    pub(crate) preparer: Arc<Signal>,
    pub(crate) syncer: Arc<Signal>,
    pub(crate) checkpointer: Arc<Signal>,
    /// Held while a checkpoint is written.
    pub(crate) checkpointing: Mutex<()>,
    pub(crate) checkpoints: Mutex<Checkpoints>,
    pub(crate) anchor: Mutex<AnchorFile>,
    pub(crate) index: Index,
    pub(crate) clean: Cleaning,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
    /// The writer's lock on the directory; `None` once the log is closed.
    pub(crate) lock: Mutex<Option<Box<dyn LockGuard>>>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("directory", &self.disk.directory())
            .field("store_id", &self.store_id)
            .finish_non_exhaustive()
    }
}

impl Drop for Core {
    /// Threads that sleep find that there is nothing left to serve.
    fn drop(&mut self) {
        self.preparer.wake();
        self.syncer.wake();
        self.checkpointer.wake();
        self.clean.signal.wake();
    }
}

impl Core {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        options: &Options,
        lock: Box<dyn LockGuard>,
        opened: Opened,
    ) -> Result<Arc<Self>> {
        let fork = ForkGuard::new().map_err(|error| Error::io("map the fork guard", error))?;
        let segment_room = options.segment_bytes.saturating_sub(super::appender::OVERHEAD_BYTES);
        let catalog = Catalog::new(opened.entries);
        let last = opened.writer.last();
        let appender = Appender::new(opened.writer, options, catalog.settled_bytes(), opened.state_span);
        Ok(Arc::new(Self {
            frame_bytes_max: options.frame_bytes_max.min(segment_room),
            highest_found: opened.highest,
            store_id: opened.store_id,
            epoch: opened.report.epoch,
            epochs: opened.epochs,
            start: Mutex::new(opened.start),
            retention: Mutex::new(Pace::new(&*disk)),
            report: opened.report,
            fork,
            poisoned: AtomicBool::new(false),
            appender: CachePadded::new(Mutex::new(appender)),
            rolled: Condvar::new(),
            state: RwLock::new(opened.state),
            durability: Mutex::new(Durability::new(opened.durable, last)),
            synced: [Condvar::new(), Condvar::new()],
            catalog: RwLock::new(catalog),
            directory_syncs: DirectorySyncs::default(),
            visible_moved: Wake::default(),
            durable_moved: Wake::default(),
            preparing: Mutex::new(()),
            preparer: Arc::default(),
            syncer: Arc::default(),
            checkpointer: Arc::default(),
            checkpointing: Mutex::new(()),
            checkpoints: Mutex::new(opened.checkpoints),
            anchor: Mutex::new(opened.anchor),
            index: Index::new(Role::Writer, options.index_memory),
            clean: Cleaning::default(),
            threads: Mutex::new(Vec::new()),
            lock: Mutex::new(Some(lock)),
            options: options.clone(),
            disk,
        }))
    }

    pub(crate) fn is_manual(&self) -> bool {
        self.options.background == Background::Manual
    }

    pub(crate) fn state_limits(&self) -> Limits {
        Limits { bytes_max: self.options.state_bytes_max, keys_max: self.options.state_keys_max }
    }

    pub(crate) fn syncs_every_commit(&self) -> bool {
        self.options.sync == Sync::EveryCommit
    }

    pub(crate) fn check_fork(&self) -> Result<()> {
        if self.fork.is_child_for_sure() { Err(forked()) } else { Ok(()) }
    }

    /// A frame that no segment could hold.
    #[cold]
    pub(crate) fn too_large(&self, frame_bytes: u64) -> Error {
        let text = format!("append refused: a frame of {frame_bytes} bytes, at most {}", self.frame_bytes_max);
        Error::new(ErrorKind::Limit, text)
            .next_step("nothing was stored; split the batch, or raise frame_bytes_max and segment_bytes")
    }
}

#[cold]
pub(crate) fn forked() -> Error {
    Error::new(ErrorKind::Forked, "this handle was carried into a child process by fork")
        .next_step("open the log in the child, after the parent has closed it")
}

#[cold]
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the log is closed").next_step("open it again")
}

/// The frame length of a batch, as a length in the log.
pub(crate) fn frame_bytes(body_length: usize) -> u64 {
    length(body_length).saturating_add(length(crate::format::frame::HEADER_BYTES))
}
