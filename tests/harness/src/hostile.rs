//! What is done with hostile bytes, in fuzz targets and in ordinary tests alike.
//!
//! Guarantees:
//! 1. A panic, or an assertion here, is a bug of the engine; an error is not.
//! 2. Any bytes are an input. What they say is done on a disk in memory, the same way each time.

mod anchor;
mod checkpoint;
mod compaction;
mod directory;
mod edits;
mod frames;
mod index;
mod keyed;
mod liars;
mod reading;
mod repairs;
mod rewritten;
mod seeds;
mod ways;

use crate::MemoryDisk;
use crate::format::bytes::{Input, store, word};
use crate::format::sums::{FRAMES_START, SEGMENT_HEADER_BYTES, mend_frames, mend_opening};

pub use anchor::open_anchor;
pub use checkpoint::{good_checkpoint_bytes, open_checkpoint};
pub use compaction::compact_hostile;
pub use directory::open_directory;
pub use frames::{decode_frame, decode_state};
pub use index::open_index;
pub use liars::{LIAR_BYTES, liars};
pub use rewritten::open_rewritten;
pub use seeds::{Seed, seeds};

/// The longest segment that is looked at; longer ones are cut.
pub const SEGMENT_BYTES_MAX: usize = 256 * 1024;

const SEGMENT: &str = "0000000001.seg";

const FIX_SUM: u8 = 1;
const FIX_FRAMES: u8 = 2;
const FIX_LENGTH: u8 = 4;
const FIX_NAME: u8 = 8;

/// Opens a directory whose only segment holds `bytes`, in every way there is, and goes on with what opens.
///
/// # Panics
/// If the engine breaks a promise.
pub fn open_segment(bytes: &[u8]) {
    let bytes = bytes.get(..SEGMENT_BYTES_MAX).unwrap_or(bytes);
    open_named(SEGMENT, bytes);
}

/// As [`open_segment`], for a segment as an input says it: a byte that says what is made right, the header, and all from
/// the first frame on. What is made right: 1 the sum of the header, 2 tags and sums of the frames, 4 the length of the file,
/// 8 its name.
///
/// # Panics
/// If the engine breaks a promise.
pub fn open_packed_segment(input: &[u8]) {
    let mut input = Input(input);
    let fix = input.byte();
    let mut bytes = vec![0; FRAMES_START];
    store(&mut bytes, 0, input.take(SEGMENT_HEADER_BYTES));
    bytes.extend(input.0);
    if fix & FIX_LENGTH != 0 {
        let said = usize::try_from(word(&bytes, CAPACITY)).unwrap_or(usize::MAX);
        bytes.resize(said.min(SEGMENT_BYTES_MAX), 0);
    }
    bytes.truncate(SEGMENT_BYTES_MAX);
    if fix & FIX_SUM != 0 {
        mend_opening(&mut bytes, SEGMENT_HEADER_BYTES);
    }
    if fix & FIX_FRAMES != 0 {
        mend_frames(&mut bytes);
    }
    let number = if fix & FIX_NAME == 0 { 1 } else { word(&bytes, NUMBER) };
    open_named(&format!("{number:010}.seg"), &bytes);
}

/// Where the header says the segment's number, and how long the file is.
const NUMBER: usize = 40;
const CAPACITY: usize = 152;

fn open_named(name: &str, bytes: &[u8]) {
    let disk = MemoryDisk::new(1);
    put(&disk, name, bytes);
    repairs::repair_copies(&disk, repairs::Origin::Several);
    drop(ways::open_all_ways(&disk, ways::Checkpoints::True));
}

/// Makes header and frames of a segment, or the header of a checkpoint, check again after they were edited.
pub fn mend(bytes: &mut [u8]) {
    if bytes.starts_with(b"eskerseg") {
        mend_frames(bytes);
    }
    mend_opening(bytes, SEGMENT_HEADER_BYTES);
}

/// Makes a slot of the anchor check again after it was edited.
pub fn mend_slot(slot: &mut [u8]) {
    mend_opening(slot, slot.len());
}

/// Puts a file on a disk.
fn put(disk: &MemoryDisk, name: &str, bytes: &[u8]) {
    disk.put_file(name, bytes);
}
