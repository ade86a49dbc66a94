//! The real disk: one directory of the operating system.
//!
//! Guarantees: those of [`Disk`](super::Disk), and
//! 1. Files are regular files, opened without following links, readable by their owner alone when created here.
//! 2. A file that could not be reserved in full is removed again.

use std::fmt;
use std::fs::{self, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Access, Disk, File, Holder, Identity, Lock, LockGuard, QUARANTINE, Region, native};
use crate::types::{Timestamp, length};

const LOCK_NAME: &str = "lock";
/// Somebody who only asks whether the lock is held takes it for some microseconds; a writer gives them that long.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// One directory of the operating system.
#[derive(Debug)]
pub struct SystemDisk {
    directory: PathBuf,
    started: Instant,
}

impl SystemDisk {
    /// The directory `path`, which must be there.
    ///
    /// # Errors
    /// What the system says; `NotADirectory` if it is something else.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !fs::metadata(path)?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a directory"));
        }
        let directory = std::path::absolute(path)?;
        Ok(Self { directory, started: Instant::now() })
    }

    /// The directory `path`, made if it is missing (with its parents, for the owner alone).
    ///
    /// # Errors
    /// What the system says.
    pub fn open_or_create(path: &Path) -> io::Result<Self> {
        let absolute = std::path::absolute(path)?;
        let missing: Vec<&Path> = absolute.ancestors().take_while(|folder| !folder.exists()).collect();
        for folder in missing.into_iter().rev() {
            // Somebody else may make it at the same moment.
            own_folder().recursive(true).create(folder)?;
            if let Some(parent) = folder.parent() {
                sync_path(parent)?;
            }
        }
        Self::open(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn open_file(&self, name: &str, options: &mut fs::OpenOptions) -> io::Result<fs::File> {
        native::harden(options);
        let file = options.open(self.path(name))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }
}

/// A folder for its owner alone.
fn own_folder() -> fs::DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only unix has modes"))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

fn sync_path(path: &Path) -> io::Result<()> {
    if cfg!(unix) { fs::File::open(path)?.sync_all() } else { Ok(()) }
}

impl Disk for SystemDisk {
    fn directory(&self) -> &Path {
        &self.directory
    }

    fn list(&self) -> io::Result<Vec<String>> {
        native::list(&self.directory)
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn File>> {
        let file = self.open_file(name, fs::OpenOptions::new().read(true).write(true).create_new(true))?;
        match native::reserve(&file, length) {
            Ok(()) => Ok(Arc::new(SystemFile(file))),
            Err(error) => {
                fs::remove_file(self.path(name))?;
                Err(error)
            }
        }
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(access == Access::Write);
        Ok(Arc::new(SystemFile(self.open_file(name, &mut options)?)))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn quarantine(&self, name: &str) -> io::Result<()> {
        let folder = self.path(QUARANTINE);
        // A link in its place is not followed: then the folder cannot be made, and that is the error.
        if !fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir()) {
            own_folder().create(&folder)?;
            sync_path(&self.directory)?;
        }
        let mut target = folder.join(name);
        let mut copy = 1_u32;
        while target.exists() {
            target = folder.join(format!("{name}.{copy}"));
            copy = copy.checked_add(1).ok_or(io::ErrorKind::AlreadyExists)?;
        }
        fs::rename(self.path(name), target)?;
        sync_path(&folder)
    }

    fn settle_quarantine(&self) -> io::Result<()> {
        let folder = self.path(QUARANTINE);
        match fs::symlink_metadata(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(found) if found.is_dir() => sync_path(&folder),
            Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn sync_directory(&self) -> io::Result<()> {
        sync_path(&self.directory)
    }

    fn lock(&self) -> io::Result<Lock> {
        let mut options = fs::OpenOptions::new();
        let mut file = self.open_file(LOCK_NAME, options.read(true).write(true).create(true))?;
        for attempt in 0..LOCK_ATTEMPTS {
            match file.try_lock() {
                Ok(()) => {
                    file.set_len(0)?;
                    write!(file, "{}", std::process::id())?;
                    return Ok(Lock::Held(Box::new(HeldLock(file))));
                }
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if attempt + 1 < LOCK_ATTEMPTS => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        Ok(Lock::Busy(holder_in(&mut file)))
    }

    fn lock_holder(&self) -> io::Result<Option<Holder>> {
        let mut file = match self.open_file(LOCK_NAME, fs::OpenOptions::new().read(true)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(holder_in(&mut file))),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn check_file_system(&self) -> io::Result<()> {
        native::check_file_system(&self.directory)
    }

    #[inline]
    fn now(&self) -> Timestamp {
        native::now()
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn random(&self) -> io::Result<u64> {
        native::random()
    }

    fn boot_id(&self) -> [u8; 16] {
        native::boot_id()
    }
}

/// What a holder left in the lock file.
fn holder_in(file: &mut fs::File) -> Holder {
    let mut text = String::new();
    let read = file.take(20).read_to_string(&mut text);
    Holder { pid: read.ok().and_then(|_| text.trim().parse().ok()) }
}

/// Released when the file is closed.
struct HeldLock(#[expect(dead_code, reason = "held, not read")] fs::File);

impl fmt::Debug for HeldLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldLock")
    }
}

impl LockGuard for HeldLock {}

#[derive(Debug)]
struct SystemFile(fs::File);

impl File for SystemFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match read_some_at(&self.0, rest, position.saturating_add(length(filled))) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        write_all_at(&self.0, bytes, position)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    #[cfg(unix)]
    fn identity(&self) -> io::Result<Identity> {
        let metadata = self.0.metadata()?;
        Ok(Identity {
            device: std::os::unix::fs::MetadataExt::dev(&metadata),
            inode: std::os::unix::fs::MetadataExt::ino(&metadata),
        })
    }

    #[cfg(not(unix))]
    fn identity(&self) -> io::Result<Identity> {
        Ok(Identity::default())
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        native::reserve(&self.0, length)
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        native::punch(&self.0, range.start, range.end.saturating_sub(range.start))
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn sync_range(&self, region: &Region, range: Range<u64>) -> io::Result<()> {
        region.sync(range)
    }

    fn map(&self, length: u64, access: Access) -> io::Result<Region> {
        if self.length()? < length {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a map longer than its file"));
        }
        Region::of_file(&self.0, length, access)
    }
}

#[cfg(unix)]
fn read_some_at(file: &fs::File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, position)
}

#[cfg(windows)]
fn read_some_at(file: &fs::File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, position)
}

#[cfg(unix)]
pub(super) fn write_all_at(file: &fs::File, bytes: &[u8], position: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, position)
}

#[cfg(windows)]
pub(super) fn write_all_at(file: &fs::File, bytes: &[u8], position: u64) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        let at = position.saturating_add(length(written));
        written += std::os::windows::fs::FileExt::seek_write(file, &bytes[written..], at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::index;

    #[test]
    fn a_created_file_is_zero_and_reserved_and_no_map_is_longer() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let disk = SystemDisk::open(folder.path()).expect("opens");
        let file = disk.create("a", 8192).expect("creates");
        assert_eq!(file.length().expect("length"), 8192);
        file.write_at(b"esker", 4096).expect("writes");
        let mut read = [7; 6];
        assert_eq!(file.read_at(&mut read, 4096).expect("reads"), 6);
        assert_eq!(&read, b"esker\0");
        assert_eq!(index(file.map(8192, Access::Read).expect("maps").length()), 8192);
        file.map(8193, Access::Read).expect_err("past the end");
    }

    #[test]
    fn a_second_lock_is_refused_and_names_the_holder() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let disk = SystemDisk::open(folder.path()).expect("opens");
        assert_eq!(disk.lock_holder().expect("asks"), None);
        let held = disk.lock().expect("locks");
        assert!(matches!(held, Lock::Held(_)));
        assert!(matches!(disk.lock().expect("asks"), Lock::Busy(holder) if holder.pid == Some(std::process::id())));
        assert_eq!(disk.lock_holder().expect("asks"), Some(Holder { pid: Some(std::process::id()) }));
        drop(held);
        assert_eq!(disk.lock_holder().expect("asks"), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_place_of_a_file_is_not_followed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("x")).expect("links");
        let disk = SystemDisk::open(folder.path()).expect("opens");
        if cfg!(all(target_os = "linux", not(esker_portable))) {
            disk.open("x", Access::Read).expect_err("a link");
        }
        disk.open(".", Access::Read).expect_err("a folder");
    }
}
