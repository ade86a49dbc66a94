//! Full and read-only file systems for real: small mounts, where the tests may mount. Elsewhere `limits` has the same
//! claims on the in-memory disk, and these say that they were left out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use esker::{Attached, ErrorKind, Log, Options};

use crate::support::{drain, expected, numbered, payloads};

/// A mount that goes away with the test.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(target: &Path, options: &str) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "esker-test"]).arg(target).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(target.to_owned()));
        }
        eprintln!("left out: no right to mount a file system here");
        None
    }

    fn remount(&self, options: &str) {
        let mount = Command::new("mount").args(["-o", options]).arg(&self.0).status().expect("mount runs");
        assert!(mount.success(), "remount with {options}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "unmount {}", self.0.display());
    }
}

#[test]
fn on_a_full_file_system_appends_stop_and_go_on_once_there_is_room() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let Some(mount) = Mount::tmpfs(folder.path(), "size=3m") else { return };
    let log = Options::new().segment_bytes(1 << 20).open(folder.path()).expect("opens");
    let mut number = 0;
    let error = loop {
        match log.append(&numbered(number)) {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
    assert!(number > 5000, "{number} records in 3 MiB");
    log.sync().expect("what is there can be made durable");
    assert_eq!(payloads(&log), expected(0..number));
    let attached = Attached::open(folder.path()).expect("attaches");
    assert_eq!(drain(&mut attached.reader()).expect("readable all the while"), expected(0..number));
    mount.remount("remount,size=16m");
    let _ = log.append(&numbered(number)).expect("there is room again");
    log.close().expect("closes");
    assert_eq!(payloads(&Log::open(folder.path()).expect("opens again")), expected(0..number + 1));
}

#[test]
fn a_read_only_file_system_refuses_a_writer_and_serves_readers() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let Some(mount) = Mount::tmpfs(folder.path(), "size=8m") else { return };
    let log = Log::open(folder.path()).expect("opens");
    let _ = log.append(&numbered(0)).expect("appends");
    log.close().expect("closes");
    mount.remount("remount,ro");
    let error = Log::open(folder.path()).expect_err("read-only");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    let attached = Attached::open(folder.path()).expect("attaches");
    assert_eq!(drain(&mut attached.reader()).expect("reads"), expected(0..1));
    assert!(attached.is_clean());
}

/// The limit on open files is the process's own, so this runs the test binary once more under a smaller one.
#[test]
fn a_log_of_more_segments_than_descriptors_opens_and_reads() {
    if std::env::var_os("ESKER_TEST_FEW_DESCRIPTORS").is_some() {
        return with_few_descriptors();
    }
    let own = std::env::current_exe().expect("own path");
    let test = "real_disk::a_log_of_more_segments_than_descriptors_opens_and_reads";
    let script = format!("ulimit -n 64 && exec '{}' --exact {test} --nocapture", own.display());
    let output =
        Command::new("sh").args(["-c", &script]).env("ESKER_TEST_FEW_DESCRIPTORS", "1").output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn with_few_descriptors() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let options = Options::new().segment_bytes(16 * 1024);
    let log = options.open(folder.path()).expect("opens");
    for number in 0..4000 {
        let _ = log.append(&numbered(number)).expect("appends");
    }
    assert!(log.stats().segments > 80, "{:?}", log.stats());
    log.close().expect("closes");
    let log = options.open(folder.path()).expect("opens again");
    assert_eq!(payloads(&log), expected(0..4000));
    log.close().expect("closes");
    let attached = Attached::open(folder.path()).expect("attaches");
    assert_eq!(drain(&mut attached.reader()).expect("reads"), expected(0..4000));
    let verification = esker::inspect::verify(folder.path(), &mut |_| ()).expect("verifies");
    assert!(!verification.is_damaged(), "{:?}", verification.findings);
}

#[test]
fn what_has_the_name_of_a_checkpoint_or_the_anchor_and_is_no_file_is_passed_over() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path();
    let log = Log::open(path).expect("opens");
    let _ = log.commit(esker::Commit::new().record(b"r").state("k", "v")).expect("commits");
    log.close().expect("closes");
    fs::remove_file(path.join("anchor")).expect("removes");
    for name in ["anchor", "0000000090.ckp", "0000000099.ckp.draft"] {
        fs::create_dir(path.join(name)).expect("makes");
    }
    std::os::unix::fs::symlink("/dev/null", path.join("0000000091.ckp")).expect("links");
    let verification = esker::inspect::verify(path, &mut |_| {}).expect("looks");
    assert_eq!(verification.checkpoints, 1, "{:?}", verification.findings);
    for faults in [2, 1, 1] {
        let log = Log::open(path).expect("opens all the same");
        let report = log.recovery();
        // The link goes with the next checkpoint, the folders stay.
        assert_eq!((report.checkpoint_faults.len(), report.left.len()), (faults, 1), "{report}");
        assert_eq!(log.state("k").expect("shown").expect("held").value(), b"v");
        assert_eq!(log.stats().segments, 1, "no open costs a segment");
        log.close().expect("closes");
    }
}
