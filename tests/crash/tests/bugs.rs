//! Seeded bugs that the tree has grown away from would show nothing any more.

use std::process::Command;

#[test]
fn every_seeded_bug_still_applies() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_esker-crash"));
    let output = command.args(["bugs", "--check"]).output().expect("runs");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}", output.status);
}
