//! What all commands have in common: exit codes, pipes, colour, paths that are no log.

use std::fs;
use std::io::{BufRead as _, BufReader};

use crate::run::{Folder, command, esker, finish, numbers};

const LOOKING: [&str; 5] = ["dump", "info", "ls", "repair", "verify"];

#[test]
fn what_is_not_a_log_is_exit_2_and_said_with_a_next_step() {
    let folder = Folder::new();
    fs::create_dir(folder.path("empty")).expect("makes");
    fs::create_dir(folder.path("other")).expect("makes");
    fs::write(folder.path("other/letter.txt"), "dear").expect("writes");
    fs::write(folder.path("file"), "dear").expect("writes");
    for command in LOOKING {
        for path in ["empty", "other", "file", "missing"] {
            let run = esker(&[command, &folder.name(path)]).expect(2).says(path);
            assert_eq!(run.text(), "", "{command} {path}");
        }
    }
    assert_eq!(fs::read_dir(folder.path("empty")).expect("lists").count(), 0, "a look leaves nothing behind");
    assert!(!folder.path("missing").exists());
    esker(&["segment", &folder.name("missing")]).expect(2).says("missing");
    esker(&["segment", &folder.name("empty")]).expect(2).says("empty");
}

#[test]
fn wrong_usage_is_exit_2_and_help_is_exit_0() {
    esker::<&str>(&[]).expect(2);
    esker(&["dump"]).expect(2);
    esker(&["destroy", "log"]).expect(2);
    esker(&["dump", "log", "-n", "many"]).expect(2);
    esker(&["dump", "log", "--color", "sometimes"]).expect(2);
    for help in [vec!["--help"], vec!["--version"], vec!["dump", "--help"], vec!["import", "--help"]] {
        assert!(!esker(&help).expect(0).stdout.is_empty());
    }
}

#[test]
fn a_reader_that_goes_away_is_a_quiet_end() {
    let folder = Folder::new();
    let log = folder.log_of(&numbers(50_000), 1000);
    for arguments in [vec!["dump"], vec!["dump", "--json"], vec!["dump", "--payload", "--reverse"]] {
        let mut child = command(&[&arguments[..], &[&log]].concat()).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("reads");
        assert!(!line.is_empty());
        let run = finish(child).expect(0);
        assert_eq!(run.stderr, "");
    }
}

#[test]
fn colour_is_there_only_when_asked_for() {
    let folder = Folder::new();
    let log = folder.log_of(&numbers(3), 1);
    for arguments in [["dump", &log], ["ls", &log], ["info", &log]] {
        let coloured = |more: &[&str]| esker(&[&arguments[..], more].concat()).expect(0).text().contains('\x1b');
        assert!(!coloured(&[]) && !coloured(&["--color=auto"]) && !coloured(&["--color=never"]));
        assert!(coloured(&["--color=always"]), "{arguments:?}");
    }
    let refused = command(&["ls", &log]).env("NO_COLOR", "1").spawn().expect("starts");
    assert!(!finish(refused).expect(0).text().contains('\x1b'));
    assert!(!esker(&["dump", &log, "--json", "--color=always"]).expect(0).text().contains('\x1b'));
    assert!(!esker(&["dump", &log, "--payload", "--color=always"]).expect(0).text().contains('\x1b'));
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_exit_2() {
    let folder = Folder::new();
    let log = folder.log_of(&numbers(3), 1);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("opens");
    let to_full = |arguments: &[&str]| {
        let full = full.try_clone().expect("a second handle");
        finish(command(arguments).stdout(full).spawn().expect("starts")).expect(2).says("standard output");
    };
    to_full(&["dump", &log]);
    // A verdict that nobody can read is none.
    let segment = std::path::Path::new(&log).join("0000000001.seg");
    let mut bytes = fs::read(&segment).expect("reads");
    bytes[4160] ^= 1;
    fs::write(&segment, bytes).expect("writes");
    esker(&["verify", &log]).expect(1);
    to_full(&["verify", &log]);
    to_full(&["repair", &log]);
}
