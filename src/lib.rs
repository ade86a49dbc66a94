//! esker is an embedded event log engine: a directory and a library, no server.
//!
//! Append records, read them back in order, resume after a crash. Records lie in segments, files that are mapped into
//! memory; an append is one short lock and one copy, a read takes no lock and copies nothing.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path();
//! let log = esker::Log::open(path)?;
//! let ticket = log.append(b"created #1")?; // visible: readers see it, it survives kill -9
//! ticket.wait()?; //                          durable: it survives power loss
//!
//! for record in &log.reader().poll()?.expect("one record") {
//!     println!("{} {:?}", record.offset(), record.payload());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Words
//!
//! *Visible*: every reader sees the record, and it survives the death of the process. *Durable*: it survives power loss,
//! and so does everything before it. An append is visible when it returns; [`Ticket::wait`], [`Log::sync`] and the
//! [`Sync`] option make it durable.
//!
//! # The contract of zero copy
//!
//! Records borrow from a memory map of the segment. That is safe as long as the directory belongs to the process that
//! holds the lock: nobody else may truncate or rewrite its files. esker itself never shortens a file that is mapped and
//! never changes a frame that is visible. A sector that the disk cannot read is turned into an error before it is touched,
//! for what was on disk when the segment was opened and where the system allows it; [`ReadMode::Copy`] turns it into an error always. To look at a log that another process
//! holds, use [`Attached`], which copies and checks.
//!
//! # Where to go on
//!
//! [`Log`] to write and read, [`Options`] for how, [`Reader`] and [`Batch`] for reading, [`Attached`] to look from outside,
//! [`Salvage`], [`inspect`] and [`repair`] when something is wrong. `src/format.md` is the file format; `ARCHITECTURE.md` the way
//! through the code.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod checksum;
mod error;
mod format;
pub mod inspect;
mod log;
pub mod platform;
pub mod repair;
mod segment;
mod sync;
mod types;

pub use error::{Conflict, Error, ErrorKind, Result};
pub use format::{
    BATCH_RECORDS_MAX, COMMIT_STATES_MAX, CONTRACT_TOPICS_MAX, HEADER_NAME_BYTES_MAX, HEADERS_BYTES_MAX, KEY_BYTES_MAX,
    SEGMENT_BYTES_MAX, STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX, VERSION as FORMAT_VERSION,
};
pub use log::{
    Attached, Background, Batch, COMMIT_CONDITIONS_MAX, COMMIT_RECORD_CONDITIONS_MAX, CURSOR_NAME_BYTES_MAX,
    CheckpointInfo, CleanPhase, CleanProgress, CleanStats, Cleaner, Cleanup, Commit, Compaction, CompactionReport,
    Cursor, CursorInfo, Cut, Ending, Evidence, FileSystems, Found, Held, HeldBy, History, Holder, Iter, LiveRecords,
    Log, Options, ReadLine, ReadMode, Reader, Recovery, RecoveryReport, Replaced, Retention, RetentionReport,
    SEGMENT_BYTES_MIN, Salvage, Salvaged, SegmentInfo, SegmentState, Skipped, Start, StateValue, StateView, Stats,
    Sync, Ticket,
};
pub use types::{
    Contract, Epoch, Header, Headers, Line, Offset, Place, Record, RecordRef, StoreId, Timestamp, Topic, Version,
};

#[cfg(all(test, not(loom)))]
#[global_allocator]
static ALLOCATOR: harness::allocation::Noting = harness::allocation::Noting;
