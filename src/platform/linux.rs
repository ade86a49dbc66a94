//! What Linux has beyond the standard library.
//!
//! Guarantees:
//! 1. [`reserve`] returns `Ok` only if the file system holds blocks for every byte.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use memmap2::{Advice, MmapRaw};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::retry_on_intr;
use rustix::time::ClockId;

use crate::types::{Timestamp, length};

/// Never follow a link, never hand the file to a child program, never block on a pipe; for the owner alone.
pub(super) fn harden(options: &mut fs::OpenOptions) {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    options.mode(0o600).custom_flags(flags.bits().cast_signed());
}

/// Names of everything in a directory. The standard library's own panics if the directory cannot be closed.
pub(super) fn list(directory: &Path) -> io::Result<Vec<String>> {
    let entries = rustix::fs::Dir::new(OwnedFd::from(fs::File::open(directory)?))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.filter(|name: &io::Result<String>| !name.as_ref().is_ok_and(|name| name == "." || name == "..")).collect()
}

pub(super) fn reserve(file: &fs::File, bytes: u64) -> io::Result<()> {
    // A signal ends it early, on tmpfs for one.
    retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes))?;
    let blocks = file.metadata()?.blocks();
    if blocks.saturating_mul(512) < bytes {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the file system reserves no blocks for fallocate"));
    }
    Ok(())
}

pub(super) fn punch(file: &fs::File, start: u64, bytes: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    retry_on_intr(|| rustix::fs::fallocate(file, flags, start, bytes))?;
    Ok(())
}

pub(super) fn populate_for_write(map: &MmapRaw, start: usize, bytes: usize) {
    // Kernels before 5.14 refuse the advice; then the first store faults the page in, which is only slower.
    let _slower_without = map.advise_range(Advice::PopulateWrite, start, bytes);
}

pub(super) fn populate_for_read(map: &MmapRaw, start: usize, bytes: usize) -> io::Result<()> {
    match map.advise_range(Advice::PopulateRead, start, bytes) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

/// File systems on which a shared map of a file with reserved blocks can be stored into without surprise.
const SAFE_FILE_SYSTEMS: [(u64, &str); 3] = [(0xEF53, "ext4"), (0x5846_5342, "xfs"), (0x0102_1994, "tmpfs")];

pub(super) fn check_file_system(directory: &Path) -> io::Result<()> {
    let stat = retry_on_intr(|| rustix::fs::statfs(directory))?;
    let found = u64::try_from(stat.f_type).unwrap_or_default();
    if SAFE_FILE_SYSTEMS.iter().any(|(magic, _)| *magic == found) {
        return Ok(());
    }
    let known = SAFE_FILE_SYSTEMS.map(|(_, name)| name).join(", ");
    let text = format!("file system of type {found:#x}; stores through a map are known to be safe on {known}");
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

#[inline]
pub(super) fn now() -> Timestamp {
    let time = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
    Timestamp::from_nanoseconds(time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec))
}

pub(super) fn random() -> io::Result<u64> {
    let mut word = [0; 8];
    let mut filled = 0;
    while let Some(rest) = word.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    debug_assert_eq!(length(filled), 8);
    Ok(u64::from_le_bytes(word))
}

pub(super) fn boot_id() -> [u8; 16] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).unwrap_or_default().to_be_bytes()
}
