//! The short run of `esker-crash errno --strace`: system calls of a process fail, and what it leaves is judged.

#![cfg(target_os = "linux")]

use std::process::Command;

#[test]
fn whichever_system_call_of_a_process_fails_nothing_acknowledged_is_lost_and_the_error_is_typed() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_esker-crash"));
    let output = command.args(["errno", "--step", "1000", "--strace", "--most", "1"]).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}", output.status);
    // Without strace it says so; with it, of each act each kind of call was made to fail.
    let calls = said.lines().filter(|line| line.starts_with("with strace, ") && !line.contains(" 0 lives")).count();
    assert!(calls > 60 || said.contains("LEFT OUT: no system call was made to fail"), "{calls} kinds of calls");
}
