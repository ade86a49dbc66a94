//! The same for systems other than Linux, with the standard library alone. `--cfg esker_portable` builds it on Linux too.
//!
//! Guarantees:
//! 1. [`reserve`] writes zeros over the whole file, so that blocks are there unless the file system copies on write.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use memmap2::MmapRaw;

use crate::types::{Timestamp, index};

pub(super) fn harden(options: &mut fs::OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _nothing_to_add = options;
}

pub(super) fn list(directory: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(directory)?;
    names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

pub(super) fn reserve(file: &fs::File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; index(bytes.min(1 << 20))];
    let mut at = file.metadata()?.len();
    while at < bytes {
        let step = zeros.len().min(index(bytes - at));
        super::system::write_all_at(file, &zeros[..step], at)?;
        at += crate::types::length(step);
    }
    Ok(())
}

pub(super) fn punch(_file: &fs::File, _start: u64, _bytes: u64) -> io::Result<()> {
    Ok(())
}

pub(super) fn populate_for_write(_map: &MmapRaw, _start: usize, _bytes: usize) {}

pub(super) fn populate_for_read(_map: &MmapRaw, _start: usize, _bytes: usize) -> io::Result<()> {
    Ok(())
}

pub(super) fn check_file_system(_directory: &Path) -> io::Result<()> {
    Ok(())
}

pub(super) fn now() -> Timestamp {
    SystemTime::now().into()
}

pub(super) fn random() -> io::Result<u64> {
    // The standard library seeds each `RandomState` from the system's generator, and counts up from there; the clock and
    // the hash spread that over the word.
    Ok(RandomState::new().hash_one((SystemTime::now(), std::process::id())))
}

pub(super) fn boot_id() -> [u8; 16] {
    [0; 16]
}
