//! `esker cursors`, and what `info` and `verify` say of state and checkpoints.

use std::fs;

use esker::{Commit, Log, Offset};

use crate::run::{Folder, esker, names, numbers, snapshot};

/// A log of ten records with two cursors and one entry of state.
fn log_with_cursors(folder: &Folder) -> Log {
    folder.log_of(&numbers(10), 1);
    let log = Log::open(folder.path("log")).expect("opens");
    let _ = log.cursor("mail").expect("is made").commit(Offset::new(7)).expect("commits");
    let _ = log.cursor("billing").expect("is made");
    let _ = log.commit(Commit::new().state("total", "10")).expect("commits");
    log
}

#[test]
fn cursors_are_listed_by_name_with_offset_and_lag() {
    let folder = Folder::new();
    let log = log_with_cursors(&folder);
    let look = || {
        let cursors = esker(&["cursors", &folder.name("log"), "--json"]).expect(0).objects();
        assert!(cursors.iter().all(|cursor| names(cursor) == "v name offset lag epoch contract held_from held_bytes"));
        let row = |cursor: &serde_json::Value| {
            let number = |key: &str| cursor[key].as_u64().expect(key);
            (cursor["name"].as_str().expect("text").to_owned(), number("offset"), number("lag"), number("epoch"))
        };
        assert_eq!(
            cursors.iter().map(row).collect::<Vec<_>>(),
            [("billing".into(), 0, 10, 1), ("mail".into(), 7, 3, 1)]
        );
    };
    look();
    log.close().expect("closes");
    let before = snapshot(&folder.path("log"));
    look();
    let table = esker(&["cursors", &folder.name("log")]).expect(0).text();
    assert_eq!(
        table.lines().collect::<Vec<_>>(),
        [
            "name     offset  lag  epoch  contract  held from     held",
            "billing       0   10      1  hold              0  5.0 KiB",
            "mail          7    3      1  hold              7  5.0 KiB"
        ]
    );
    assert_eq!(snapshot(&folder.path("log")), before, "looking changes nothing");
}

#[test]
fn a_log_without_cursors_lists_none_and_what_is_no_log_is_exit_2() {
    let folder = Folder::new();
    let log = folder.log_of(&numbers(3), 1);
    assert_eq!(esker(&["cursors", &log, "--json"]).expect(0).text(), "");
    assert_eq!(esker(&["cursors", &log]).expect(0).text().lines().count(), 1);
    esker(&["cursors", &folder.name("missing")]).expect(2).says("missing");
}

#[test]
fn info_shows_state_and_checkpoints() {
    let folder = Folder::new();
    log_with_cursors(&folder).close().expect("closes");
    let about = esker(&["info", &folder.name("log"), "--json"]).expect(0).object();
    let shown = ["cursors", "state_keys", "checkpoints", "checkpoint_offset"].map(|key| about[key].as_u64());
    assert_eq!(shown, [Some(2), Some(3), Some(2), Some(10)]);
    let keys = "billing".len() + "mail".len() + "total".len();
    assert_eq!(about["state_bytes"], keys + 2 * 32 + "10".len() + 3 * 64);
    let text = esker(&["info", &folder.name("log")]).expect(0).text();
    assert!(text.contains("3 keys, 2 of them cursors"), "{text}");
    assert!(text.contains("2, the newest up to offset 10 with 3 entries"), "{text}");
}

#[test]
fn verify_checks_checkpoints_and_names_the_one_that_is_rotten() {
    let folder = Folder::new();
    log_with_cursors(&folder).close().expect("closes");
    let log = folder.name("log");
    let summary = esker(&["verify", &log, "--json"]).expect(0).object();
    assert_eq!((&summary["damaged"], &summary["checkpoints"]), (&false.into(), &2.into()));
    let newest = folder.path("log").join("0000000002.ckp");
    let good = fs::read(&newest).expect("is there");
    for position in [20, 130, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[position] ^= 1;
        fs::write(&newest, bytes).expect("writes");
        let found = esker(&["verify", &log, "--json"]).expect(1).says("damaged").objects();
        assert_eq!((found.len(), &found[0]["class"]), (2, &"bad-checkpoint".into()), "byte {position}");
        assert!(found[0]["cause"].as_str().is_some_and(|cause| cause.starts_with("0000000002.ckp: ")));
    }
    // Left of a writer that was killed: no damage.
    fs::write(&newest, &good).expect("writes");
    fs::write(folder.path("log").join("0000000003.ckp.draft"), &good[..50]).expect("writes");
    let found = esker(&["verify", &log, "--json"]).expect(0).objects();
    assert_eq!(found[0]["class"], "leftover");
}
