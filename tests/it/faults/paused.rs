//! Two processes and one directory: the lock is never stolen, however long its holder stands still.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use esker::{Attached, ErrorKind, Log};

use crate::support::{drain, expected, numbered, payloads};

const FOLDER: &str = "ESKER_TEST_PAUSED_FOLDER";

/// Not a test of its own: what the other process does.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let log = Log::open(Path::new(&folder)).expect("opens");
    let _ = log.append(&numbered(0)).expect("appends");
    println!("ready");
    // Until the other end is closed.
    std::io::stdin().read_to_end(&mut Vec::new()).expect("reads");
    log.close().expect("closes");
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill runs");
    assert!(status.success());
}

#[test]
fn a_holder_that_stands_still_keeps_the_lock() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut child = Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", "faults::paused::child", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert!(said.any(|line| line.expect("text").contains("ready")));
    for name in ["-STOP", "-CONT"] {
        signal(&child, name);
        let error = Log::open(folder.path()).expect_err("held");
        assert_eq!((error.kind(), error.holder_pid()), (ErrorKind::Locked, Some(child.id())), "{name}: {error}");
        let attached = Attached::open(folder.path()).expect("a look needs no lock");
        assert_eq!(drain(&mut attached.reader()).expect("reads"), expected(0..1), "{name}");
    }
    drop(child.stdin.take());
    assert!(child.wait().expect("ends").success());
    assert!(payloads(&Log::open(folder.path()).expect("free again")) == expected(0..1));
}
