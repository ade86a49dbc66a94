//! `esker verify`.

use std::fs;

use esker::{Background, Options};

use crate::run::{Folder, damage, esker, lines, names, numbers, snapshot};

const FINDING: &str = "v class segment position offset cause session before behind";

#[test]
fn a_whole_log_is_clean_and_stays_as_it_is() {
    let folder = Folder::new();
    let log = folder.log_of(&numbers(100), 10);
    let before = snapshot(&folder.path("log"));
    assert!(esker(&["verify", &log]).expect(0).text().starts_with("clean: "));
    let summary = esker(&["verify", &log, "--json"]).expect(0).object();
    assert!(names(&summary).starts_with("v summary "), "{summary}");
    assert_eq!((&summary["v"], &summary["summary"], &summary["damaged"]), (&1.into(), &true.into(), &false.into()));
    assert_eq!((&summary["records"], &summary["findings"]), (&100.into(), &0.into()));
    assert_eq!(snapshot(&folder.path("log")), before);
}

#[test]
fn damage_is_exit_1_with_one_object_a_finding_and_a_summary_last() {
    let folder = Folder::new();
    let lines = lines(30, |number| format!("record-{number:02}\n"));
    let log = folder.log_of(&lines, 1);
    damage(&log, "record-07");
    damage(&log, "record-23");
    let objects = esker(&["verify", &log, "--json"]).expect(1).says("damaged").objects();
    let (summary, findings) = objects.split_last().expect("a summary");
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings.iter().all(|finding| names(finding) == FINDING));
    assert!(findings.iter().all(|finding| finding["class"] == "body-rot" && finding["segment"] == 1));
    assert_eq!(findings.iter().map(|finding| finding["offset"].as_u64()).collect::<Vec<_>>(), [Some(7), Some(23)]);
    assert_eq!((&summary["summary"], &summary["damaged"]), (&true.into(), &true.into()));
    let found = &findings[0];
    assert_eq!((&found["before"]["offset"], &found["behind"]["offset"]), (&6.into(), &8.into()), "{found}");
    assert_eq!(found["session"]["says"], "same-boot", "{found}");
    assert!(found["session"]["pid"].as_u64().is_some_and(|pid| pid > 0), "{found}");
    assert!(summary["lines"].as_array().is_some_and(|lines| lines.iter().any(|line| line["carrier"] == "anchor")));
    let text = esker(&["verify", &log, "--evidence"]).expect(1).text();
    assert!(text.contains("body-rot at segment 1 position ") && text.contains("durable up to segment 1"), "{text}");
    let text = esker(&["verify", &log]).expect(1).text();
    assert!(text.starts_with("class") && text.contains("body-rot") && text.contains("\ndamaged: "), "{text}");
}

#[test]
fn a_running_writer_and_what_a_crash_leaves_are_clean() {
    let folder = Folder::new();
    // Without background threads nothing becomes durable unasked.
    let log = Options::new().background(Background::Manual).open(folder.path("log")).expect("opens");
    log.append("one").expect("appends").wait().expect("syncs");
    let _ = log.append("two").expect("appends");
    let objects = esker(&["verify", &folder.name("log"), "--json"]).expect(0).objects();
    assert!(objects.iter().any(|object| object["class"] == "live-writer"), "{objects:?}");

    // A copy of a log at work is what a crash leaves.
    fs::create_dir(folder.path("copy")).expect("makes");
    for (path, bytes, _) in snapshot(&folder.path("log")) {
        fs::write(folder.path("copy").join(path.file_name().expect("a name")), bytes).expect("writes");
    }
    let copy = folder.name("copy");
    assert!(esker(&["verify", &copy]).expect(0).text().contains("clean: "));
    assert_eq!(esker(&["dump", &copy, "--payload"]).expect(0).text(), "one\ntwo\n");
    assert_eq!(esker(&["info", &copy, "--json"]).expect(0).object()["clean"], false);
    damage(&copy, "two");
    let torn = esker(&["verify", &copy, "--json"]).expect(0).objects();
    assert!(torn.iter().any(|object| object["class"] == "torn-tail"), "{torn:?}");
    assert_eq!(esker(&["dump", &copy, "--payload"]).expect(0).text(), "one\n");
}
