//! `esker segment`.

use std::fs;

use crate::run::{Folder, damage, esker, names, numbers, segment_files, snapshot};

const FRAME: &str = "v position kind length first_offset records time header_checksum body_checksum live fault states";

#[test]
fn a_segment_is_shown_field_by_field_and_frame_by_frame() {
    let folder = Folder::new();
    folder.log_of(&numbers(20), 5);
    let before = snapshot(&folder.path("log"));
    let file = segment_files(&folder.path("log")).remove(0).into_os_string().into_string().expect("text");
    let objects = esker(&["segment", &file, "--json"]).expect(0).objects();
    let (header, frames) = objects.split_first().expect("a header");
    assert_eq!(names(header), "v header fields fault file_bytes end");
    let fields = header["fields"].as_array().expect("fields");
    let field = |name: &str| fields.iter().find(|field| field["name"] == name).map(|field| field["value"].clone());
    assert_eq!(field("number"), Some("1".into()));
    assert!(field("incarnation").is_some() && field("checksum").is_some());
    assert!(frames.iter().all(|frame| names(frame) == FRAME));
    let data: Vec<_> = frames.iter().filter(|frame| frame["kind"] == "data").collect();
    assert_eq!(data.iter().map(|frame| frame["first_offset"].as_u64()).collect::<Vec<_>>(), [0, 5, 10, 15].map(Some));
    for frame in &data {
        assert_eq!((&frame["records"], &frame["live"]), (&5.into(), &true.into()));
        assert_eq!(frame["body_checksum"]["stored"], frame["body_checksum"]["computed"]);
        assert_eq!(frame["header_checksum"]["stored"], frame["header_checksum"]["computed"]);
    }
    let text = esker(&["segment", &file]).expect(0).text();
    for part in ["incarnation", "predecessor_end", "position", "data", "live"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(snapshot(&folder.path("log")), before);
}

#[test]
fn a_rotten_frame_shows_both_checksums_and_is_exit_1() {
    let folder = Folder::new();
    let log = folder.log_of("first\nsecond\nthird\n", 1);
    damage(&log, "second");
    let file = segment_files(&folder.path("log")).remove(0).into_os_string().into_string().expect("text");
    let frames = esker(&["segment", &file, "--json"]).expect(1).says("does not check").objects();
    let bad: Vec<_> = frames.iter().skip(1).filter(|frame| !frame["fault"].is_null()).collect();
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert_eq!(bad[0]["first_offset"], 1);
    assert_ne!(bad[0]["body_checksum"]["stored"], bad[0]["body_checksum"]["computed"]);
    assert!(esker(&["segment", &file]).expect(1).text().contains("body checksum"));
}

#[test]
fn a_file_of_zeros_is_a_spare_and_any_other_file_is_no_segment() {
    let folder = Folder::new();
    fs::write(folder.path("0000000009.seg"), vec![0; 65_536]).expect("writes");
    esker(&["segment", &folder.name("0000000009.seg")]).expect(0);
    fs::write(folder.path("letter"), "dear ".repeat(2000)).expect("writes");
    esker(&["segment", &folder.name("letter")]).expect(1).says("does not check");
}

#[test]
fn a_gap_has_no_append_time() {
    let folder = Folder::new();
    let log = folder.log_of("first\nsecond\nthird\n", 1);
    damage(&log, "second");
    esker(&["repair", &log, "--apply", "--accept-loss"]).expect(0);
    let file = segment_files(&folder.path("log")).remove(0).into_os_string().into_string().expect("text");
    let frames = esker(&["segment", &file, "--json"]).expect(0).objects();
    let gaps: Vec<_> = frames.iter().filter(|frame| frame["kind"] == "gap").collect();
    assert!(gaps.len() == 1 && gaps[0]["time"].is_null(), "{gaps:?}");
    assert!(frames.iter().all(|frame| frame["kind"] != "data" || !frame["time"].is_null()), "{frames:?}");
    let text = esker(&["segment", &file]).expect(0).text();
    assert!(!text.contains("1970-"), "{text}");
}
