//! `esker bench`. What is measured is not judged here, only that it is counted, kept, removed and said as documented.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::run::{Folder, Run, command, esker, finish, names, segment_files, snapshot};

const KEYS: &str = "v bench events size batch threads durability in_flight events_per_second bytes_per_second \
    limit_events_per_second ratio_to_limit p50_ns p99_ns p999_ns max_ns";
const WAKE_KEYS: &str = "limit_p50_ns limit_p99_ns limit_p999_ns limit_max_ns spin_p50_ns spin_p99_ns spin_p999_ns \
    spin_max_ns spin_limit_p50_ns spin_limit_p99_ns spin_limit_p999_ns spin_limit_max_ns";
const OPEN_KEYS: &str = "log_bytes segments killed_p50_ns killed_max_ns killed_log_bytes killed_scanned_bytes \
    killed_bytes_per_second killed_replayed_bytes bare_p50_ns bare_max_ns bare_replayed_bytes killed_bare_p50_ns \
    killed_bare_max_ns killed_bare_replayed_bytes";
const LOOKUP_KEYS: &str = "keys lookups log_bytes segments index_bytes index_ns lookups_per_second segments_per_lookup \
    histories_per_second history_records_per_second open_p50_ns bare_open_p50_ns first_lookup_ns bare_first_lookup_ns";
const BENCHES: [&str; 5] = ["append", "scan", "wake", "open", "lookup"];

/// Runs `esker bench` with a folder of its own for temporary files, and sees to it that nothing stays there.
#[track_caller]
fn bench(arguments: &[&str]) -> Run {
    let temporary = Folder::new();
    let mut command = command(&[&["bench"], arguments].concat());
    let run = finish(command.env("TMPDIR", temporary.path("")).spawn().expect("starts"));
    assert_eq!(fs::read_dir(temporary.path("")).expect("lists").count(), 0, "{arguments:?} left something behind");
    run
}

#[track_caller]
fn is_null_or_above_zero(object: &Value, keys: &[&str]) {
    for key in keys {
        let value = &object[*key];
        assert!(value.is_null() || value.as_f64().is_some_and(|figure| figure > 0.0), "{key}: {object}");
    }
}

#[track_caller]
fn latencies_ascend(object: &Value, prefix: &str) {
    let figure = |name: &str| object[format!("{prefix}{name}_ns")].as_u64().expect("nanoseconds");
    assert!(figure("p50") <= figure("p99") && figure("p99") <= figure("p999") && figure("p999") <= figure("max"));
    assert!(figure("max") > 0, "{object}");
}

/// The log holds so many events, and is as whole and as closed as any.
#[track_caller]
fn holds(log: &str, events: u64) {
    let about = esker(&["info", log, "--json"]).expect(0).object();
    assert_eq!((&about["records"], &about["visible"], &about["clean"]), (&events.into(), &events.into(), &true.into()));
    esker(&["verify", log]).expect(0);
    let other = fs::read_dir(log).expect("lists").map(|entry| entry.expect("entry").file_name());
    let of_log = |name: &str| [".seg", ".ckp", ".idx"].iter().any(|suffix| name.ends_with(suffix));
    let other: Vec<_> = other.filter(|name| !of_log(&name.to_string_lossy())).collect();
    assert!(other.iter().all(|name| name == "anchor" || name == "lock"), "{other:?}");
}

#[test]
fn append_prints_one_object_with_the_documented_keys_in_their_order() {
    let object = bench(&["append", "--events", "3000", "--rounds", "3", "--json"]).expect(0).object();
    assert_eq!(names(&object), KEYS);
    assert_eq!((&object["v"], &object["bench"], &object["events"]), (&1.into(), &"append".into(), &3000.into()));
    assert_eq!((&object["size"], &object["batch"], &object["threads"]), (&100.into(), &1.into(), &1.into()));
    assert_eq!((&object["durability"], &object["in_flight"]), (&"visible".into(), &1.into()));
    is_null_or_above_zero(
        &object,
        &["events_per_second", "bytes_per_second", "limit_events_per_second", "ratio_to_limit"],
    );
    latencies_ascend(&object, "");
}

#[test]
fn every_bench_documents_its_keys() {
    let own = ["", "", WAKE_KEYS, OPEN_KEYS, LOOKUP_KEYS];
    for (bench, own) in BENCHES.iter().zip(own) {
        let help = esker(&["bench", bench, "--help"]).expect(0).text();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let keys = if *bench == "append" { KEYS } else { own };
        assert!(help.contains(keys), "{keys} in {help}");
        assert!(help.contains("limit row"), "{help}");
    }
    assert!(!esker(&["bench", "--help"]).expect(0).text().contains("fill"), "a part of bench open shows up");
}

#[test]
fn what_was_asked_for_is_in_the_log_that_is_kept_whatever_divides_what() {
    let cases: [(&[&str], u64); 9] = [
        (&["--events", "1"], 1),
        (&["--events", "1000", "--size", "0"], 1000),
        (&["--events", "1001", "--batch", "100"], 1001),
        (&["--events", "10", "--batch", "65535", "--size", "3"], 10),
        (&["--events", "1003", "--threads", "4", "--batch", "7"], 1003),
        (&["--events", "3", "--threads", "8"], 3),
        (&["--events", "20", "--durability", "sync"], 20),
        (&["--events", "31", "--durability", "sync", "--threads", "3", "--batch", "2"], 31),
        (&["--events", "501", "--durability", "sync", "--in-flight", "16", "--threads", "2"], 501),
    ];
    for (arguments, events) in cases {
        let folder = Folder::new();
        let log = folder.name("made/log");
        let arguments = [&["append", "--dir", &log, "--json", "--rounds", "3"], arguments].concat();
        let object = bench(&arguments).expect(0).object();
        assert_eq!((names(&object).as_str(), &object["events"]), (KEYS, &events.into()), "{arguments:?}");
        holds(&log, events);
    }
}

#[test]
fn a_table_and_a_drawing_stand_where_no_json_is_asked_for() {
    let text = bench(&["append", "--events", "3000", "--rounds", "3", "--threads", "2"]).expect(0).text();
    assert!(text.starts_with("3000 events of 100 bytes, 1 a call, 2 threads, visible"), "{text}");
    for part in ["p99.9", "\nesker ", "\nbare loop ", "\nratio", "latency of a call", "█"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(!text.contains("inf") && !text.contains("NaN"), "{text}");
}

#[test]
fn a_directory_that_is_not_empty_is_refused_and_left_alone() {
    let folder = Folder::new();
    fs::create_dir(folder.path("full")).expect("makes");
    fs::write(folder.path("full/letter"), "dear").expect("writes");
    fs::write(folder.path("file"), "dear").expect("writes");
    let before = snapshot(&folder.path("full"));
    for name in ["full", "file"] {
        let dir = folder.name(name);
        for one in ["append", "scan", "open"] {
            let run = bench(&[one, "--dir", &dir, "--events", "10"]).expect(2).says(name);
            assert_eq!(run.text(), "");
        }
    }
    assert_eq!(snapshot(&folder.path("full")), before);
    bench(&["append", "--dir", &folder.name("full"), "--events", "0"]).expect(2);
    assert_eq!(snapshot(&folder.path("full")), before);
}

#[test]
fn an_empty_directory_is_taken() {
    let folder = Folder::new();
    fs::create_dir(folder.path("empty")).expect("makes");
    let log = folder.name("empty");
    bench(&["append", "--dir", &log, "--events", "100", "--rounds", "3"]).expect(0);
    holds(&log, 100);
}

#[test]
fn arguments_out_of_their_range_are_usage_errors() {
    let refused: [&[&str]; 12] = [
        &["append", "--events", "0"],
        &["append", "--batch", "0"],
        &["append", "--batch", "65536"],
        &["append", "--threads", "0"],
        &["append", "--threads", "257"],
        &["append", "--size", "8388608"],
        &["append", "--in-flight", "0", "--durability", "sync"],
        &["append", "--durability", "saved"],
        &["append", "--rounds", "2"],
        &["scan", "--size", "-1"],
        &["wake", "--events", "0"],
        &["open", "--events", "1", "--bytes", "1"],
    ];
    for arguments in refused {
        assert_eq!(bench(arguments).expect(2).text(), "", "{arguments:?}");
    }
    bench(&["append", "--in-flight", "2"]).expect(2).says("--durability sync");
    bench(&["append", "--size", "8388567", "--batch", "2"]).expect(2).says("at most 8388608 fit");
    bench(&["open", "--size", "1000", "--batch", "65535"]).expect(2).says("at most 8388608 fit");
}

#[test]
fn the_largest_frame_fits() {
    let folder = Folder::new();
    let log = folder.name("log");
    bench(&["append", "--size", "8388567", "--events", "2", "--rounds", "3", "--dir", &log]).expect(0);
    holds(&log, 2);
}

#[test]
fn scan_meets_every_event() {
    let folder = Folder::new();
    let log = folder.name("log");
    let arguments = ["scan", "--events", "5001", "--batch", "10", "--size", "33", "--rounds", "3"];
    let object = bench(&[&arguments[..], &["--dir", &log, "--json"]].concat()).expect(0).object();
    assert_eq!(names(&object), KEYS);
    assert_eq!((&object["bench"], &object["events"], &object["threads"]), (&"scan".into(), &5001.into(), &1.into()));
    assert!(object["durability"].is_null() && object["p50_ns"].is_null());
    is_null_or_above_zero(
        &object,
        &["events_per_second", "bytes_per_second", "limit_events_per_second", "ratio_to_limit"],
    );
    holds(&log, 5001);
    let text = bench(&arguments).expect(0).text();
    assert!(text.contains("\nesker ") && text.contains("\nbare loop "), "{text}");
}

#[test]
fn wake_has_latencies_for_two_readers_and_two_bare_ways() {
    let object = bench(&["wake", "--events", "31", "--json"]).expect(0).object();
    assert_eq!(names(&object), format!("{KEYS} {WAKE_KEYS}"));
    assert_eq!((&object["bench"], &object["events"], &object["size"]), (&"wake".into(), &31.into(), &100.into()));
    assert!(object["events_per_second"].is_null() && object["ratio_to_limit"].is_null());
    for prefix in ["", "limit_", "spin_", "spin_limit_"] {
        latencies_ascend(&object, prefix);
    }
    let text = bench(&["wake", "--events", "30"]).expect(0).text();
    assert_eq!(text.matches("append to record").count(), 2, "{text}");
}

#[test]
fn lookup_finds_every_key_with_index_files_and_without() {
    let folder = Folder::new();
    let log = folder.name("log");
    let arguments = ["lookup", "--records", "30000", "--keys", "1000", "--lookups", "200"];
    let object = bench(&[&arguments[..], &["--dir", &log, "--json"]].concat()).expect(0).object();
    assert_eq!(names(&object), format!("{KEYS} {LOOKUP_KEYS}"));
    assert_eq!((&object["bench"], &object["events"], &object["size"]), (&"lookup".into(), &30_000.into(), &100.into()));
    assert!(object["index_bytes"].as_u64().is_some_and(|bytes| bytes > 30_000 * 6), "{object}");
    assert!(object["segments_per_lookup"].as_f64().is_some_and(|segments| segments >= 1.0), "{object}");
    latencies_ascend(&object, "");
    holds(&log, 30_000);
    let text = bench(&arguments).expect(0).text();
    assert!(text.contains("without index files"), "{text}");
}

#[test]
fn open_after_a_kill_finds_every_event() {
    let folder = Folder::new();
    let log = folder.name("log");
    let arguments = ["open", "--events", "20001", "--rounds", "2"];
    let object = bench(&[&arguments[..], &["--dir", &log, "--json"]].concat()).expect(0).object();
    assert_eq!(names(&object), format!("{KEYS} {OPEN_KEYS}"));
    assert_eq!((&object["bench"], &object["events"], &object["batch"]), (&"open".into(), &20_001.into(), &100.into()));
    latencies_ascend(&object, "");
    let number = |key: &str| object[key].as_u64().expect("a number");
    assert!(number("log_bytes") > 20_001 * 105 && number("segments") > 1);
    assert!(number("killed_scanned_bytes") > 0 && number("killed_p50_ns") > 0);
    // With a checkpoint at the end nothing is read again, without any the whole log is.
    let replayed = ["killed_replayed_bytes", "bare_replayed_bytes", "killed_bare_replayed_bytes"].map(number);
    assert!(replayed[1] > 20_001 * 105 && replayed[2] > 20_001 * 105 && replayed[0] > 0, "{replayed:?}");
    holds(&log, 20_001);
    // The writer was killed: it is another epoch now.
    assert_eq!(esker(&["info", &log, "--json"]).expect(0).object()["epoch"], 2);
    let text = bench(&["open", "--bytes", "100000", "--rounds", "1"]).expect(0).text();
    assert!(text.contains("after a close") && text.contains("after a kill"), "{text}");
}

/// The folder of a run has a log with a segment in it.
fn has_segment(temporary: &Path) -> bool {
    fs::read_dir(temporary).expect("lists").flatten().any(|entry| {
        let pass = entry.path().join("pass");
        // It may go away while it is looked at.
        fs::read_dir(pass).into_iter().flatten().flatten().any(|file| file.path().extension().is_some())
    })
}

fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "in a minute");
        std::thread::yield_now();
    }
}

#[test]
fn an_interrupt_removes_the_temporary_folder_and_ends_with_130() {
    // Segments come and go with the passes; of an open the second one is the child's.
    let cases: [(&[&str], usize); 4] = [
        (&["append", "--events", "200000", "--rounds", "99"], 1),
        (&["append", "--events", "2000", "--rounds", "99", "--durability", "sync", "--in-flight", "8"], 2),
        (&["open", "--events", "300000", "--rounds", "99"], 2),
        (&["scan", "--events", "3000000", "--rounds", "99"], 1),
    ];
    for (arguments, segments) in cases {
        let temporary = Folder::new();
        let arguments = [&["bench"], arguments].concat();
        let child = command(&arguments).env("TMPDIR", temporary.path("")).spawn().expect("starts");
        for seen in 1..=segments {
            wait_until(|| has_segment(&temporary.path("")));
            if seen < segments {
                wait_until(|| !has_segment(&temporary.path("")));
            }
        }
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
        let run = finish(child).expect(130);
        assert!(run.stderr.contains("interrupted"), "{}", run.stderr);
        assert_eq!(run.text(), "");
        assert_eq!(fs::read_dir(temporary.path("")).expect("lists").count(), 0, "{arguments:?} left something behind");
    }
}

#[test]
fn an_interrupt_leaves_a_given_directory_and_nothing_of_a_pass_in_it() {
    let folder = Folder::new();
    fs::create_dir(folder.path("given")).expect("makes");
    let arguments = ["bench", "append", "--events", "200000", "--rounds", "99", "--dir", &folder.name("given")];
    let child = command(&arguments).spawn().expect("starts");
    wait_until(|| has_segment(&folder.path("")));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    finish(child).expect(130);
    assert!(!folder.path("given/pass").exists());
    assert_eq!(segment_files(&folder.path("given")).len(), 0);
}
