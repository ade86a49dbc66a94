//! Links, pipes and folders in the place of files, and who may read what is made.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use esker::{Attached, ErrorKind, Log};

use crate::support::{expected, numbered, payloads, segment_name};

/// A closed log of one record.
fn closed_log(folder: &Path) {
    let log = Log::open(folder).expect("opens");
    let _ = log.append(&numbered(0)).expect("appends");
    log.close().expect("closes");
}

#[test]
fn a_link_in_place_of_the_lock_or_a_segment_is_refused_and_its_target_left_alone() {
    for name in ["lock".to_owned(), segment_name(1)] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let outside = tempfile::NamedTempFile::new().expect("temporary file");
        fs::write(outside.path(), "dear all").expect("writes");
        let path = folder.path().join("log");
        closed_log(&path);
        fs::remove_file(path.join(&name)).expect("removes");
        symlink(outside.path(), path.join(&name)).expect("links");
        let error = Log::open(&path).expect_err("a link");
        assert_eq!(error.kind(), ErrorKind::Io, "{name}: {error}");
        assert_eq!(fs::read_to_string(outside.path()).expect("reads"), "dear all", "{name}");
    }
}

#[test]
fn a_pipe_in_place_of_a_segment_is_refused_and_nobody_waits_for_its_other_end() {
    let folder = tempfile::tempdir().expect("temporary folder");
    closed_log(folder.path());
    let pipe = folder.path().join(segment_name(2));
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    assert_eq!(Log::open(folder.path()).expect_err("a pipe").kind(), ErrorKind::Io);
    assert_eq!(Attached::open(folder.path()).expect_err("a pipe").kind(), ErrorKind::Io);
    fs::remove_file(pipe).expect("removes");
    assert!(payloads(&Log::open(folder.path()).expect("opens")) == expected(0..1));
}

#[test]
fn a_link_in_place_of_the_quarantine_takes_nothing_out_of_the_directory() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let outside = tempfile::tempdir().expect("temporary folder");
    closed_log(folder.path());
    fs::write(folder.path().join(segment_name(7)), vec![1; 8192]).expect("writes");
    symlink(outside.path(), folder.path().join("quarantine")).expect("links");
    let log = Log::open(folder.path()).expect("opens");
    assert!(payloads(&log) == expected(0..1));
    assert_eq!(log.recovery().left.len(), 1, "{}", log.recovery());
    assert_eq!(fs::read_dir(outside.path()).expect("lists").count(), 0);
}

#[test]
fn what_is_made_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("some").join("log");
    let log = Log::open(&path).expect("opens");
    let _ = log.commit(esker::Commit::new().record(b"r").state("k", "v")).expect("commits");
    log.close().expect("closes");
    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().expect("one"))), (0o700, 0o700));
    let files: Vec<_> = fs::read_dir(&path).expect("lists").map(|entry| entry.expect("an entry").path()).collect();
    assert!(files.len() >= 4, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    // And the place for what an open sets aside.
    fs::write(path.join("0000000009.seg"), [0x5a; 8192]).expect("writes");
    let log = Log::open(&path).expect("opens");
    assert_eq!(log.recovery().quarantined, ["0000000009.seg"]);
    assert_eq!(mode(&path.join("quarantine")), 0o700);
}
