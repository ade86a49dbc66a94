//! `esker retain`, and who holds what, in `ls` and `cursors`.

use esker::{Background, Contract, Log, Offset, Options, Start};

use crate::run::{Folder, esker, names, segment_files, snapshot};

/// A log of many small segments.
fn log_of_segments(folder: &Folder) -> Log {
    let options = Options::new().segment_bytes(16_384).background(Background::Manual);
    let log = options.open(folder.path("log")).expect("opens");
    for number in 0..400_u32 {
        let _ = log.append(&[number.to_le_bytes()[0]; 250]).expect("appends");
    }
    log
}

#[test]
fn a_dry_run_says_what_goes_and_changes_nothing_and_then_it_goes() {
    let folder = Folder::new();
    log_of_segments(&folder).close().expect("closes");
    let log = folder.name("log");
    let before = snapshot(&folder.path("log"));
    let plan = esker(&["retain", &log, "--max-bytes", "50KiB", "--dry-run", "--json"]).expect(0).objects();
    assert_eq!(snapshot(&folder.path("log")), before, "nothing was changed");
    let (summary, held) = plan.split_last().expect("a summary");
    assert_eq!(names(summary), "v summary applied start segments records bytes");
    assert!(held.iter().all(|held| names(held) == "v by cursor contract offset records bytes"));
    assert!(summary["segments"].as_u64() > Some(2) && summary["applied"] == false, "{summary}");
    let text = esker(&["retain", &log, "--max-bytes", "50KiB"]).expect(0).text();
    let expected = format!(
        "dropped: {} segments, {} records, ",
        summary["segments"].as_u64().expect("a count"),
        summary["records"].as_u64().expect("a count")
    );
    assert!(text.contains(&expected) && text.starts_with("held by"), "{text}");
    assert!(segment_files(&folder.path("log")).len() + 2 < before.len());
    let about = esker(&["info", &log, "--json"]).expect(0).object();
    assert_eq!(about["start"], summary["start"]);
    esker(&["verify", &log]).expect(0);
    let again = esker(&["retain", &log, "--max-bytes", "50KiB", "--max-age", "7d", "--json"]).expect(0).objects();
    assert_eq!(again.last().expect("a summary")["segments"], 0);
}

#[test]
fn a_cursor_that_holds_is_named_everywhere() {
    let folder = Folder::new();
    let log = log_of_segments(&folder);
    drop(log.cursor_from("billing", Start::Offset(Offset::new(100))).expect("is made"));
    let lazy = log.cursor("lazy").expect("is made");
    let _ = lazy.set_contract(&Contract::BestEffort).expect("commits");
    drop(lazy);
    log.close().expect("closes");
    let name = folder.name("log");
    let held = esker(&["retain", &name, "--max-age", "0s", "--json"]).expect(0).objects();
    let first = &held[0];
    assert_eq!(
        (&first["by"], &first["cursor"], &first["contract"]),
        (&"cursor".into(), &"billing".into(), &"hold".into())
    );
    assert_eq!((first["offset"].as_u64(), first["records"].as_u64()), (Some(100), Some(300)));
    let start = held.last().expect("a summary")["start"].as_u64().expect("an offset");
    assert!((40..=100).contains(&start));
    let segments = esker(&["ls", &name, "--json"]).expect(0).objects();
    assert_eq!(segments[0]["held_by"], serde_json::json!(["billing"]));
    assert!(segments[1..].iter().all(|segment| segment["held_by"] == serde_json::json!([])));
    assert!(esker(&["ls", &name]).expect(0).text().contains("billing"));
    let cursors = esker(&["cursors", &name, "--json"]).expect(0).objects();
    assert_eq!((&cursors[0]["contract"], cursors[0]["held_from"].as_u64()), (&"hold".into(), Some(100)));
    assert_eq!((&cursors[1]["contract"], &cursors[1]["held_from"]), (&"best effort".into(), &serde_json::Value::Null));
}

#[test]
fn what_makes_no_sense_is_exit_2_and_a_writer_exit_3() {
    let folder = Folder::new();
    let log = log_of_segments(&folder);
    let name = folder.name("log");
    esker(&["retain", &name, "--max-bytes", "1"]).expect(3).says("close it there");
    esker(&["retain", &name, "--max-bytes", "1", "--dry-run"]).expect(0);
    log.close().expect("closes");
    for wrong in
        [&["--max-bytes", "ten"][..], &["--max-bytes", "10MB"], &["--max-age", "7"], &["--max-age", "-1d"], &[]]
    {
        let arguments: Vec<&str> = ["retain", &name].into_iter().chain(wrong.iter().copied()).collect();
        assert_eq!(esker(&arguments).code, Some(2), "{wrong:?}");
    }
    esker(&["retain", &folder.name("missing"), "--max-bytes", "1"]).expect(2);
    assert!(!folder.path("missing").exists());
}
