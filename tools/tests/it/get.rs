//! `esker get`.

use esker::{Log, Options, Record, Topic};

use crate::run::{Folder, damage, esker, esker_fed, lines, snapshot};

/// A log of several segments, closed, whose keys are `k0` to `k6`.
fn keyed(folder: &Folder) -> (String, Log) {
    let path = folder.name("log");
    let log = Options::new().segment_bytes(16 * 1024).open(&path).expect("opens");
    for number in 0..400_u64 {
        let (key, payload) = (format!("k{}", number % 7), format!("{number:0>200}"));
        let _ = log.append(Record::new(payload.as_bytes()).key(key.as_bytes())).expect("appends");
    }
    let _ = log.append(Record::tombstone(b"k6")).expect("appends");
    let _ = log.append(Record::new(b"elsewhere").key(b"k0").topic(Topic::new(3).expect("small"))).expect("appends");
    (path, log)
}

#[test]
fn the_latest_record_is_printed_as_dump_does() {
    let folder = Folder::new();
    let (path, log) = keyed(&folder);
    // Beside the writer, and without it.
    for closed in [false, true] {
        if closed {
            log.clone().close().expect("closes");
        }
        for key in 0..6 {
            let key = format!("k{key}");
            let dumped = esker(&["dump", &path, "--key", &key, "--json"]).expect(0);
            let of_topic: Vec<_> = dumped.objects().into_iter().filter(|object| object["topic"] == 0).collect();
            let found = esker(&["get", &path, "--key", &key, "--json"]).expect(0).object();
            assert_eq!(Some(&found), of_topic.last(), "{key}");
            let history = esker(&["get", &path, "--key", &key, "--history", "--json"]).expect(0).objects();
            assert_eq!(history, of_topic, "{key}");
        }
        let found = esker(&["get", &path, "--key", "k0", "--topic", "3", "--json"]).expect(0).object();
        assert_eq!((&found["payload"], &found["topic"]), (&"elsewhere".into(), &3.into()));
    }
    let line = esker(&["get", &path, "--key", "k0", "--topic", "3"]).expect(0).text();
    assert!(line.contains("k0") && line.trim_end().ends_with("elsewhere"), "{line}");
}

#[test]
fn a_key_without_a_value_is_a_no() {
    let folder = Folder::new();
    let (path, log) = keyed(&folder);
    log.close().expect("closes");
    let before = snapshot(path.as_ref());
    for arguments in [vec!["--key", "k7"], vec!["--key", ""], vec!["--key", "k6"], vec!["--key", "k1", "--topic", "3"]]
    {
        let run = esker(&[&["get", &path][..], &arguments].concat()).expect(1).says("has no value");
        assert_eq!(run.text(), "", "{arguments:?}");
    }
    let history = esker(&["get", &path, "--key", "k6", "--history", "--json"]).expect(1).objects();
    assert_eq!((history.len(), &history[history.len() - 1]["tombstone"]), (58, &true.into()));
    assert!(snapshot(path.as_ref()) == before, "nothing is changed");
    esker(&["get", &path]).expect(2);
    esker(&["get", &path, "--key", "k1", "--topic", "4294967295"]).expect(2);
    esker(&["get", &folder.name("none"), "--key", "k1"]).expect(2).says("check the path");
}

#[test]
fn damage_in_the_latest_record_is_told_instead_of_an_older_one() {
    let folder = Folder::new();
    let path = folder.name("log");
    let input = lines(40, |number| format!("{{\"k\":\"{}\",\"n\":\"value-{number}\"}}\n", number % 4));
    esker_fed(&["import", &path, "--key-field", "k"], input.as_bytes()).expect(0);
    damage(&path, "value-39");
    let run = esker(&["get", &path, "--key", "3", "--json"]).expect(1);
    assert!(run.text().is_empty() && run.stderr.contains("checksum"), "{}", run.stderr);
}

#[test]
fn ls_and_verify_tell_of_index_files() {
    let folder = Folder::new();
    let (path, log) = keyed(&folder);
    log.sync().expect("syncs");
    log.close().expect("closes");
    let step = || {
        let log = Options::new().background(esker::Background::Manual).open(&path).expect("opens");
        // What is in it is looked at when it is used first.
        assert!(log.latest(Topic::default(), "nowhere").expect("reads").is_none());
        log.background_step();
        log.close().expect("closes");
    };
    step();
    let segments = esker(&["ls", &path, "--json"]).expect(0).objects();
    let (last, sealed) = segments.split_last().expect("several");
    assert!(sealed.len() > 3 && last["index_bytes"].is_null(), "{last}");
    assert!(sealed.iter().all(|segment| segment["index_bytes"].as_u64().is_some_and(|bytes| bytes > 256)));
    let table = esker(&["ls", &path]).expect(0).text();
    assert!(table.lines().next().expect("a heading").contains("index"), "{table}");
    esker(&["verify", &path]).expect(0);
    let index = std::path::Path::new(&path).join("0000000002.idx");
    let mut bytes = std::fs::read(&index).expect("is there");
    bytes[300] ^= 1;
    std::fs::write(&index, bytes).expect("writes");
    let found = esker(&["verify", &path, "--json"]).expect(0).text();
    assert!(found.contains("\"bad-index\""), "{found}");
    esker(&["get", &path, "--key", "k3"]).expect(0);
    step();
    assert!(!esker(&["verify", &path, "--json"]).expect(0).text().contains("bad-index"), "the writer made it anew");
}
