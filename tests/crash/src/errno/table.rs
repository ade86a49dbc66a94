//! The errors that each system call can fail with.

/// An error, as `strace` and the system's headers name it.
pub(super) type Name = &'static str;

/// The errors of the system calls that the engine makes, directly or through the standard library.
pub(super) const CALLS: [(&str, &[Name]); 34] = [
    ("openat", &["EIO", "EMFILE", "ENFILE", "ENOMEM", "EACCES", "ENOSPC", "EROFS", "EINTR"]),
    ("open", &["EIO", "EMFILE", "ENFILE", "ENOMEM", "EACCES", "ENOSPC", "EROFS", "EINTR"]),
    // Made to fail once at most: the system closes the file all the same, and `strace` does not.
    ("close", &["EIO"]),
    ("fallocate", &["EIO", "ENOSPC", "EDQUOT", "EOPNOTSUPP", "EINTR"]),
    ("mmap", &["ENOMEM", "EAGAIN"]),
    ("munmap", &["ENOMEM"]),
    ("mremap", &["ENOMEM"]),
    ("mprotect", &["ENOMEM", "EACCES"]),
    ("madvise", &["ENOMEM", "EIO", "EINVAL", "EFAULT"]),
    ("msync", &["EIO", "ENOMEM"]),
    ("fsync", &["EIO", "ENOSPC", "EDQUOT", "EINTR"]),
    ("fdatasync", &["EIO", "ENOSPC", "EDQUOT", "EINTR"]),
    ("sync_file_range", &["EIO", "ENOSPC"]),
    ("pread64", &["EIO", "EINTR"]),
    ("read", &["EIO", "EINTR"]),
    ("pwrite64", &["EIO", "ENOSPC", "EDQUOT", "EINTR"]),
    ("write", &["EIO", "ENOSPC", "EDQUOT", "EINTR"]),
    ("rename", &["EIO", "ENOSPC", "EACCES", "EROFS", "ENOMEM"]),
    ("renameat2", &["EIO", "ENOSPC", "EACCES", "EROFS", "ENOMEM"]),
    ("unlink", &["EIO", "EACCES", "EROFS"]),
    ("unlinkat", &["EIO", "EACCES", "EROFS"]),
    ("mkdir", &["EIO", "ENOSPC", "EACCES", "EROFS"]),
    ("flock", &["EIO", "ENOLCK", "EINTR"]),
    ("ftruncate", &["EIO", "EROFS", "EINTR"]),
    ("lseek", &["EIO"]),
    ("getdents64", &["EIO", "ENOMEM"]),
    ("stat", &["EIO", "ENOMEM", "EACCES"]),
    ("lstat", &["EIO", "ENOMEM", "EACCES"]),
    ("fstat", &["EIO", "ENOMEM"]),
    ("statx", &["EIO", "ENOMEM", "EACCES"]),
    ("newfstatat", &["EIO", "ENOMEM", "EACCES"]),
    ("statfs", &["EIO", "ENOMEM", "EINTR"]),
    ("getrandom", &["EINTR", "ENOSYS"]),
    ("fcntl", &["EMFILE", "EINTR"]),
];

/// Calls that do not fail in a way that could be of interest: they ask for what the process knows, or serve its own threads.
pub(super) const HARMLESS: [&str; 11] = [
    "writev",
    "brk",
    "prctl",
    "getpid",
    "gettid",
    "futex",
    "clock_gettime",
    "sched_yield",
    "clock_nanosleep",
    "rt_sigprocmask",
    "sigaltstack",
];

/// The errors of a call; none if it is not known.
pub(super) fn errors_of(call: &str) -> &'static [Name] {
    CALLS.iter().find(|(name, _)| *name == call).map_or(&[], |(_, errors)| errors)
}

/// Whether a call fails so once at most: it is made again until it does not, or it would not be what the system does.
pub(super) fn is_once(call: &str, error: Name) -> bool {
    error == "EINTR" || call == "close"
}
