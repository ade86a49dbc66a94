//! The short run of `esker-crash kill`: writers are killed beside readers, and what they leave is judged.

#![cfg(unix)]

use std::process::Command;

#[test]
fn whatever_a_killed_writer_reported_visible_is_there_and_readers_saw_nothing_else() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_esker-crash"));
    let output = command.args(["kill", "--cycles", "120", "--readers", "2"]).output().expect("runs");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}", output.status);
}
