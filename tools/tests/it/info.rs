//! `esker info` and `esker ls`.

use esker::{Background, Options};

use crate::run::{Folder, esker, names, numbers, snapshot};

const INFO: &str = "v store_id format epoch start visible durable records bytes segments first_time last_time \
    writer_pid clean cursors state_keys state_bytes checkpoints checkpoint_offset";
const LS: &str =
    "v number generation base_offset records live_ratio bytes state first_time last_time index_bytes held_by";

#[test]
fn info_has_the_documented_keys_in_their_order() {
    let folder = Folder::new();
    let log = folder.log_of(&numbers(5), 2);
    let about = esker(&["info", &log, "--json"]).expect(0).object();
    assert_eq!(names(&about), INFO);
    let (start, visible, durable) = (&about["start"], &about["visible"], &about["durable"]);
    assert_eq!([start, visible, durable, &about["records"], &about["segments"]], [0, 5, 5, 5, 1]);
    assert_eq!((&about["v"], &about["format"], &about["epoch"]), (&1.into(), &0.into(), &1.into()));
    assert_eq!(about["store_id"].as_str().map(str::len), Some(32));
    assert_eq!(about["clean"], true);
    assert!(about["writer_pid"].is_null());
    assert!(about["bytes"].as_u64().is_some_and(|bytes| bytes > 4096));
    let first = &esker(&["dump", &log, "--json", "-n", "1"]).expect(0).object()["time"];
    assert_eq!(&about["first_time"], first);
    assert!(about["last_time"].as_str() >= first.as_str());
}

#[test]
fn an_empty_log_has_no_times() {
    let folder = Folder::new();
    let log = folder.log_of("", 1);
    let about = esker(&["info", &log, "--json"]).expect(0).object();
    assert_eq!(names(&about), INFO);
    assert!(about["first_time"].is_null() && about["last_time"].is_null());
    let segment = esker(&["ls", &log, "--json"]).expect(0).object();
    assert_eq!(names(&segment), LS);
    assert!(segment["first_time"].is_null() && segment["last_time"].is_null());
    assert_eq!(esker(&["dump", &log]).expect(0).text(), "");
    esker(&["verify", &log]).expect(0);
}

#[test]
fn a_writer_is_named_and_not_disturbed() {
    let folder = Folder::new();
    // Without background threads: a segment that is prepared meanwhile would be a change, though none of the tool's.
    let log = Options::new().background(Background::Manual).open(folder.path("log")).expect("opens");
    log.append("one").expect("appends").wait().expect("syncs");
    let before = snapshot(&folder.path("log"));
    let about = esker(&["info", &folder.name("log"), "--json"]).expect(0).object();
    assert_eq!((&about["writer_pid"], &about["clean"]), (&std::process::id().into(), &false.into()));
    assert_eq!(about["visible"], 1);
    let name = folder.name("log");
    assert!(esker(&["info", &name]).expect(0).text().contains(&format!("process {}", std::process::id())));
    esker(&["ls", &name]).expect(0);
    esker(&["dump", &name]).expect(0);
    esker(&["verify", &name]).expect(0);
    let after = snapshot(&folder.path("log"));
    let files = |snapshot: &[(std::path::PathBuf, Vec<u8>, std::time::SystemTime)]| {
        snapshot.iter().map(|(path, bytes, _)| (path.clone(), bytes.len())).collect::<Vec<_>>()
    };
    assert_eq!(files(&after), files(&before));
    log.append("two").expect("appends").wait().expect("syncs");
}

#[test]
fn ls_lists_segments_that_join_without_gaps() {
    let folder = Folder::new();
    let log = Options::new().segment_bytes(16_384).open(folder.path("log")).expect("opens");
    for number in 0..1500_u64 {
        let _ = log.append(number.to_string().as_str()).expect("appends");
    }
    log.close().expect("closes");
    let segments = esker(&["ls", &folder.name("log"), "--json"]).expect(0).objects();
    assert!(segments.len() > 3);
    let mut next = 0;
    for (index, segment) in segments.iter().enumerate() {
        assert_eq!(names(segment), LS);
        assert_eq!(segment["base_offset"].as_u64(), Some(next));
        next += segment["records"].as_u64().expect("a count");
        assert_eq!(segment["state"], if index + 1 == segments.len() { "active" } else { "sealed" });
    }
    assert_eq!(next, 1500);
    let table = esker(&["ls", &folder.name("log")]).expect(0).text();
    assert_eq!(table.lines().count(), segments.len() + 1);
    assert!(table.lines().all(|line| line == line.trim_end()), "{table}");
}

#[test]
fn sizes_are_in_units_unless_bytes_are_asked_for() {
    let folder = Folder::new();
    let log = folder.log_of(&numbers(1000), 10);
    let bytes = esker(&["info", &log, "--json"]).expect(0).object()["bytes"].to_string();
    let (plain, exact) = (esker(&["info", &log]).expect(0).text(), esker(&["info", &log, "--bytes"]).expect(0).text());
    assert!(plain.contains(" KiB") && !plain.contains(&bytes), "{plain}");
    assert!(exact.contains(&bytes) && !exact.contains(" KiB"), "{exact}");
    assert!(esker(&["ls", &log, "--bytes"]).expect(0).text().contains(&bytes));
}
