//! A log that is there to be scanned or opened: how it was filled is not measured.

use std::path::Path;

use esker::{Log, Options, Record};

use super::engine::append;
use super::pass::check_count;
use super::work::Work;
use crate::failure::Failure;
use crate::interrupt;

/// Calls between two words on how far it is.
const CALLS: u64 = 4096;

/// Fills a log that an interrupt closes, and leaves it open. Tells now and then how many bytes are in it.
pub(super) fn fill(work: &Work, folder: &Path, tell: &mut dyn FnMut(u64)) -> Result<Log, Failure> {
    let log = interrupt::open(&Options::new(), folder)?;
    let payload = work.payload();
    let records = vec![Record::new(&payload); work.batch];
    for share in work.by_one_thread().shares() {
        for call in 0..share.calls {
            let _visible_is_enough = append(&log, &records, share.events(call))?;
            if call % CALLS == 0 {
                tell(call.saturating_mul(work.stride()));
            }
        }
    }
    check_count(&log, work)?;
    Ok(log)
}

/// Closes a log that was opened with [`interrupt::open`].
pub(super) fn close(log: Log) -> Result<(), Failure> {
    interrupt::nothing_to_close();
    Ok(log.close()?)
}
