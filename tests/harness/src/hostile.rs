//! What is done with hostile bytes, in fuzz targets and in ordinary tests alike.
//!
//! Guarantees:
//! 1. A panic, or an assertion here, is a bug of the engine; an error is not.

mod checkpoint;

use std::sync::Arc;

use esker::platform::Disk as _;
use esker::{Attached, Background, ErrorKind, Options};

use crate::MemoryDisk;

pub use checkpoint::{good_checkpoint_bytes, open_checkpoint};

/// The longest input that is looked at; longer ones are cut.
pub const SEGMENT_BYTES_MAX: usize = 256 * 1024;

const SEGMENT: &str = "0000000001.seg";

/// Opens a directory whose only segment holds `bytes`, in every way there is, and appends to what opens.
///
/// # Panics
/// If the engine breaks a promise.
pub fn open_segment(bytes: &[u8]) {
    let bytes = bytes.get(..SEGMENT_BYTES_MAX).unwrap_or(bytes);
    let disk = MemoryDisk::new(1);
    let length = u64::try_from(bytes.len()).unwrap_or_default();
    disk.create(SEGMENT, length).expect("an empty disk has room");
    disk.edit_file(SEGMENT, |file| file.copy_from_slice(bytes));
    let _verdict = esker::inspect::verify_on(&disk, &mut |_| ());
    if let Ok(attached) = Attached::open_on(Arc::new(disk.clone())) {
        let mut reader = attached.reader();
        while let Ok(Some(batch)) = reader.poll() {
            assert_eq!(batch.iter().count(), batch.len(), "a batch holds what it says");
        }
        let _segments = attached.segments();
    }
    let options = Options::new().segment_bytes(64 * 1024).background(Background::Manual);
    match options.open_on(Arc::new(disk)) {
        Ok(log) => {
            let before = log.visible();
            let ticket = log.append(b"goes on");
            let refused = ticket.as_ref().err().map(esker::Error::kind);
            assert!(matches!(refused, None | Some(ErrorKind::Limit)), "an open log takes a record: {refused:?}");
            assert!(log.visible() >= before);
        }
        Err(error) => assert_ne!(error.kind(), ErrorKind::Poisoned, "{error}"),
    }
}
