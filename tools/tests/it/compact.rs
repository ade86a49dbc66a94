//! `esker compact`, and what `ls` says of live records.

use std::collections::BTreeMap;

use esker::{Background, Log, Options, Record, Topic};
use serde_json::Value;

use crate::run::{Folder, damage, esker, names, segment_files};

/// A log of several segments in which seven keys have many versions, and every tenth record has no key.
fn superseded(folder: &Folder) -> (String, Log) {
    let path = folder.name("log");
    let log = Options::new().segment_bytes(16 * 1024).background(Background::Manual).open(&path).expect("opens");
    for number in 0..500_u64 {
        let (key, payload) = (format!("k{}", number % 7), format!("{number:0>200}"));
        let record = Record::new(payload.as_bytes());
        let _ = log.append(if number % 10 == 0 { record } else { record.key(key.as_bytes()) }).expect("appends");
    }
    let other = Topic::new(3).expect("small");
    for value in [b"first", b"later"] {
        let _ = log.append(Record::new(value).key(b"k0").topic(other)).expect("appends");
    }
    (path, log)
}

/// What a compaction has to leave, as `dump --json` prints it.
fn latest(path: &str, topics: &[u64]) -> Vec<Value> {
    let all = esker(&["dump", path, "--json"]).expect(0).objects();
    let id = |record: &Value| (record["topic"].as_u64().expect("a topic"), record["key"].to_string());
    let last: BTreeMap<_, u64> =
        all.iter().map(|record| (id(record), record["offset"].as_u64().expect("an offset"))).collect();
    let stays = |record: &Value| {
        let superseded = last[&id(record)] > record["offset"].as_u64().expect("an offset");
        record["key"].is_null() || !superseded || !topics.contains(&id(record).0)
    };
    all.into_iter().filter(stays).collect()
}

#[test]
fn what_is_left_is_the_last_of_each_key_and_all_without_one() {
    let folder = Folder::new();
    let (path, log) = superseded(&folder);
    esker(&["compact", &path]).expect(3).says("close it there");
    log.close().expect("closes");
    let expected = latest(&path, &[0, 3]);
    let done = esker(&["compact", &path, "--json"]).expect(0).object();
    assert_eq!(
        names(&done),
        "v segments_before segments_after records_before records_after bytes_before bytes_after keys passes \
         tombstones_waiting damaged seconds"
    );
    assert_eq!((done["records_before"].as_u64(), done["records_after"].as_u64()), (Some(502), Some(50 + 7 + 1)));
    assert!(done["bytes_after"].as_u64() < Some(done["bytes_before"].as_u64().expect("a number") / 2), "{done}");
    assert_eq!((&done["keys"], &done["passes"], &done["damaged"]), (&8.into(), &1.into(), &0.into()));
    assert_eq!(esker(&["dump", &path, "--json"]).expect(0).objects(), expected);
    for record in expected.iter().filter(|record| !record["key"].is_null()) {
        let (key, topic) = (record["key"].as_str().expect("text"), record["topic"].to_string());
        let found = esker(&["get", &path, "--key", key, "--topic", &topic, "--json"]).expect(0).object();
        assert_eq!(found, *record);
    }
    esker(&["verify", &path]).expect(0);
    let again = esker(&["compact", &path]).expect(0).text();
    assert!(again.contains("8 keys, 1 pass over the log"), "{again}");
}

#[test]
fn a_topic_that_is_not_named_stays_as_it_is() {
    let folder = Folder::new();
    let (path, log) = superseded(&folder);
    log.close().expect("closes");
    let expected = latest(&path, &[3]);
    esker(&["compact", &path, "--topic", "3"]).expect(0);
    assert_eq!(esker(&["dump", &path, "--json"]).expect(0).objects(), expected);
    esker(&["compact", &path, "--topic", "4294967295"]).expect(2).says("give one up to");
    esker(&["compact", &path, "--memory", "1KiB"]).expect(2).says("memory");
    esker(&["compact", &folder.name("none")]).expect(2).says("check the path");
    assert!(!folder.path("none").exists());
}

#[test]
fn ls_says_what_is_live_and_of_which_generation() {
    let folder = Folder::new();
    let (path, log) = superseded(&folder);
    log.close().expect("closes");
    let live = |path: &str| -> (u64, f64) {
        let segments = esker(&["ls", path, "--json"]).expect(0).objects();
        let of = |segment: &Value| {
            segment["records"].as_f64().expect("a number") * segment["live_ratio"].as_f64().expect("a ratio")
        };
        (segments[0]["generation"].as_u64().expect("a number"), segments.iter().map(of).sum())
    };
    let (generation, before) = live(&path);
    assert_eq!((generation, before.round()), (0, 58.0));
    esker(&["compact", &path]).expect(0);
    let (generation, after) = live(&path);
    assert_eq!((generation, after.round()), (1, 58.0));
    let text = esker(&["ls", &path, "--live"]).expect(0).text();
    assert!(text.contains("100.0 %"), "{text}");
}

#[test]
fn damage_stays_where_it_is_and_is_told() {
    let folder = Folder::new();
    let (path, log) = superseded(&folder);
    log.close().expect("closes");
    let segments = segment_files(path.as_ref()).len();
    damage(&path, &format!("{:0>200}", 250));
    let done = esker(&["compact", &path, "--json"]).expect(1).says("1 segment is damaged");
    let object = done.object();
    assert_eq!((&object["damaged"], object["records_before"].as_u64()), (&1.into(), Some(502)));
    assert!(object["records_after"].as_u64() < Some(502), "{object}");
    assert!(segment_files(path.as_ref()).len() < segments);
    esker(&["verify", &path]).expect(1);
}

#[test]
fn what_is_reserved_for_what_comes_is_little_too() {
    let folder = Folder::new();
    let path = folder.name("log");
    let log = Options::new().background(Background::Manual).open(&path).expect("opens");
    for _ in 0..12 {
        let _ = log.append(Record::new(&vec![7; 1 << 20]).key(b"k")).expect("appends");
    }
    log.close().expect("closes");
    let space =
        || -> u64 { segment_files(path.as_ref()).iter().map(|file| file.metadata().expect("is there").len()).sum() };
    let before = space();
    esker(&["compact", &path]).expect(0);
    assert!(before > 12 << 20 && space() < 3 << 20, "{before} bytes before, {} now", space());
}
