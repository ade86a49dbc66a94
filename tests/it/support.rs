//! What several tests share: a log on an in-memory disk, and short ways to read it.

use std::sync::Arc;

use esker::{Background, Log, Options, Place, Result};
use harness::MemoryDisk;

/// Where the frames of a segment begin.
pub const FRAMES_START: usize = 4096;

/// Tiny segments and no threads: every step is the test's own.
pub fn options() -> Options {
    Options::new().segment_bytes(16 * 1024).background(Background::Manual)
}

pub fn open(disk: &MemoryDisk) -> Result<Log> {
    options().open_on(Arc::new(disk.clone()))
}

/// All payloads that a reader sees now.
pub fn payloads(log: &Log) -> Vec<Vec<u8>> {
    drain(&mut log.reader()).expect("reads")
}

/// All payloads from the position of a reader on.
pub fn drain(reader: &mut esker::Reader) -> Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    while let Some(batch) = reader.poll()? {
        all.extend(batch.iter().map(|record| record.payload().to_vec()));
    }
    Ok(all)
}

/// A payload that tells its number, long enough that tiny segments roll soon.
pub fn numbered(number: u64) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(8 + usize::try_from(number * 37 % 300).expect("small"), 0xab);
    payload
}

/// Appends numbered records and returns the places just behind them.
pub fn append_numbered(log: &Log, numbers: std::ops::Range<u64>) -> Vec<Place> {
    numbers.map(|number| log.append(&numbered(number)).expect("appends").place()).collect()
}

pub fn expected(numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    numbers.map(numbered).collect()
}

pub fn segment_name(number: u64) -> String {
    format!("{number:010}.seg")
}

pub fn at(position: u64) -> usize {
    usize::try_from(position).expect("fits")
}

/// The segment files of a disk, oldest first.
pub fn segments(disk: &MemoryDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.contains(".seg")).collect()
}

/// The checkpoint files of a disk, oldest first.
pub fn checkpoints(disk: &MemoryDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.contains(".ckp")).collect()
}

/// Removes the checkpoints.
pub fn forget(disk: &MemoryDisk) {
    for name in checkpoints(disk) {
        disk.remove(&name);
    }
}
