//! Runs the binary, and reads what it said.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A finished run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

pub(crate) fn command<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_esker"));
    command.args(arguments).env_remove("NO_COLOR").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end.
pub(crate) fn esker<S: AsRef<OsStr>>(arguments: &[S]) -> Run {
    finished(command(arguments).output().expect("runs"))
}

/// Runs to the end with this on standard input.
pub(crate) fn esker_fed<S: AsRef<OsStr>>(arguments: &[S], input: &[u8]) -> Run {
    let mut child = command(arguments).stdin(Stdio::piped()).spawn().expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    // Who refuses early does not read all of it.
    let _refused = stdin.write_all(input);
    drop(stdin);
    finish(child)
}

pub(crate) fn finish(child: Child) -> Run {
    finished(child.wait_with_output().expect("ends"))
}

fn finished(output: Output) -> Run {
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert!(!stderr.contains("panicked"), "{stderr}");
    Run { code: output.status.code(), stdout: output.stdout, stderr }
}

impl Run {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }

    /// An error names what is wrong and says what to do next.
    #[track_caller]
    pub(crate) fn says(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "{}", self.stderr);
        assert!(self.stderr.starts_with("esker: ") && self.stderr.contains("; "), "no next step: {}", self.stderr);
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn objects(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The only object.
    #[track_caller]
    pub(crate) fn object(&self) -> Value {
        let mut objects = self.objects();
        assert_eq!(objects.len(), 1, "{objects:?}");
        objects.remove(0)
    }
}

/// Names in their order, as one string.
pub(crate) fn names(object: &Value) -> String {
    object.as_object().expect("an object").keys().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// A folder for one test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("temporary folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// As text, for arguments.
    pub(crate) fn name(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().expect("text")
    }

    /// A log `log` that holds these lines, `batch` a frame.
    pub(crate) fn log_of(&self, lines: &str, batch: u32) -> String {
        let log = self.name("log");
        esker_fed(&["import", &log, "--batch", &batch.to_string()], lines.as_bytes()).expect(0);
        log
    }
}

/// `0`, `1`, ... a line each, so that payload and offset are the same number.
pub(crate) fn numbers(count: u64) -> String {
    lines(count, |number| format!("{number}\n"))
}

pub(crate) fn lines(count: u64, line: impl Fn(u64) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().concat()
}

/// Changes one bit of the first place in the segment files where `text` stands.
pub(crate) fn damage(log: &str, text: &str) {
    for file in segment_files(Path::new(log)) {
        let mut bytes = fs::read(&file).expect("reads");
        let found = bytes.windows(text.len()).position(|window| window == text.as_bytes());
        if let Some(byte) = found.and_then(|position| bytes.get_mut(position)) {
            *byte ^= 1;
            fs::write(&file, bytes).expect("writes");
            return;
        }
    }
    panic!("{text} stands nowhere in {log}");
}

pub(crate) fn segment_files(log: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(log).expect("lists").map(|entry| entry.expect("entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "seg"));
    files.sort();
    files
}

/// Every file with its bytes and its time of change.
pub(crate) fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let entries = fs::read_dir(folder).expect("lists").map(|entry| entry.expect("entry").path());
    let mut files: Vec<_> = entries
        .map(|path| {
            let changed = fs::metadata(&path).expect("stat").modified().expect("time");
            (path.clone(), fs::read(&path).expect("reads"), changed)
        })
        .collect();
    files.sort();
    files
}
