//! `esker dump`.

use std::fs;

use esker::{Header, Log, Options, Record, Timestamp, Topic};
use serde_json::{Value, json};

use crate::run::{Folder, damage, esker, esker_fed, lines, names, numbers, segment_files, snapshot};

fn payloads(arguments: &[&str]) -> String {
    esker(&[arguments, &["--payload"]].concat()).expect(0).text().replace('\n', " ").trim_end().to_owned()
}

#[test]
fn from_is_included_and_to_is_not() {
    let folder = Folder::new();
    let log = folder.log_of(&numbers(10), 3);
    let dump = |arguments: &[&str]| payloads(&[&["dump", &log], arguments].concat());
    assert_eq!(dump(&["--from", "7"]), "7 8 9");
    assert_eq!(dump(&["--to", "2"]), "0 1");
    assert_eq!(dump(&["--from", "4", "--to", "6"]), "4 5");
    assert_eq!(dump(&["--from", "4", "--to", "6", "--reverse"]), "5 4");
    assert_eq!(dump(&["-n", "2", "--reverse"]), "9 8");
    assert_eq!(dump(&["--from", "3", "-n", "2"]), "3 4");
    assert_eq!(dump(&["--to", "99", "--from", "8"]), "8 9");
    assert_eq!(dump(&["--to", "99", "--from", "8", "--reverse"]), "9 8");
    for nothing in [
        vec!["--from", "10"],
        vec!["--from", "18446744073709551615"],
        vec!["--from", "11", "--reverse"],
        vec!["--from", "6", "--to", "6"],
        vec!["--from", "6", "--to", "4"],
        vec!["--from", "6", "--to", "4", "--reverse"],
        vec!["--to", "0"],
        vec!["--to", "0", "--reverse"],
        vec!["-n", "0"],
    ] {
        assert_eq!(dump(&nothing), "", "{nothing:?}");
    }
}

#[test]
fn times_select_by_append_time() {
    let folder = Folder::new();
    let log = folder.log_of("a\nb\n", 1);
    let first =
        esker(&["dump", &log, "--json", "-n", "1"]).expect(0).object()["time"].as_str().expect("time").to_owned();
    let dump = |arguments: &[&str]| payloads(&[&["dump", &log], arguments].concat());
    assert_eq!(dump(&["--from", &first]), "a b");
    assert_eq!(dump(&["--from", "2001-01-01T00:00:00Z"]), "a b");
    assert_eq!(dump(&["--from", "2001-01-01T00:00:00", "--reverse"]), "b a");
    assert_eq!(dump(&["--to", &first]), "");
    assert_eq!(dump(&["--to", "2200-01-01T00:00:00+02:00"]), "a b");
    assert_eq!(dump(&["--from", "2200-01-01T00:00:00Z"]), "");
    assert_eq!(dump(&["--from", "2200-01-01T00:00:00Z", "--reverse"]), "");
    for refused in ["yesterday", "-1", "1.5", "2001-01-01", "99999999999999999999", ""] {
        esker(&["dump", &log, "--from", refused]).expect(2);
    }
}

#[test]
fn count_counts_what_is_printed_behind_the_key_filter() {
    let folder = Folder::new();
    let log = folder.name("log");
    let lines = lines(20, |number| format!("{{\"k\":\"{}\",\"n\":{number}}}\n", number % 3));
    esker_fed(&["import", &log, "--key-field", "k"], lines.as_bytes()).expect(0);
    let numbers = |arguments: &[&str]| -> Vec<u64> {
        let run = esker(&[&["dump", &log, "--payload"], arguments].concat()).expect(0);
        run.objects().iter().map(|object| object["n"].as_u64().expect("a number")).collect()
    };
    assert_eq!(numbers(&["--key", "1", "-n", "3"]), [1, 4, 7]);
    assert_eq!(numbers(&["--key", "1", "-n", "2", "--reverse"]), [19, 16]);
    assert_eq!(numbers(&["--key", "2", "--from", "6", "--to", "12"]), [8, 11]);
    assert!(numbers(&["--key", "3"]).is_empty());
    assert!(numbers(&["--key", ""]).is_empty());
}

#[test]
fn json_has_the_documented_keys_in_their_order() {
    let folder = Folder::new();
    let log = Log::open(folder.path("log")).expect("opens");
    let headers = [Header { name: "a", value: b"text" }, Header { name: "a", value: b"\xff\x01" }];
    let whole = Record::new("päyload").key("k").headers(&headers).topic(Topic::new(7).expect("topic"));
    let _ = log.append(whole.event_time(Timestamp::from_nanoseconds(1_500_000_000))).expect("appends");
    let _ = log.append(Record::new(b"\xff\x00").key(b"\xfe")).expect("appends");
    let _ = log.append(Record::tombstone(b"k")).expect("appends");
    log.close().expect("closes");
    let mut objects = esker(&["dump", &folder.name("log"), "--json"]).expect(0).objects();
    let all: Vec<String> = objects.iter().map(names).collect();
    assert_eq!(
        all,
        [
            "v offset time event_time key headers topic tombstone payload",
            "v offset time event_time key_hex headers topic tombstone payload_hex",
            "v offset time event_time key headers topic tombstone payload",
        ]
    );
    for object in &mut objects {
        let time = object["time"].take();
        assert!(time.as_str().is_some_and(|time| time.ends_with('Z') && time.contains('T')), "{time}");
    }
    let whole = json!({"v": 1, "offset": 0, "time": null, "event_time": "1970-01-01T00:00:01.5Z", "key": "k",
        "headers": [["a", "text"], ["a", {"value_hex": "ff01"}]], "topic": 7, "tombstone": false,
        "payload": "päyload"});
    let binary = json!({"v": 1, "offset": 1, "time": null, "event_time": null, "key_hex": "fe", "headers": [],
        "topic": 0, "tombstone": false, "payload_hex": "ff00"});
    let tombstone = json!({"v": 1, "offset": 2, "time": null, "event_time": null, "key": "k", "headers": [], "topic": 0,
        "tombstone": true, "payload": null});
    assert_eq!(objects, [whole, binary, tombstone]);
    esker(&["dump", &folder.name("log"), "--json", "--payload"]).expect(2);
}

#[test]
fn a_readable_line_stays_one_line_and_steers_no_terminal() {
    let folder = Folder::new();
    let log = folder.log_of("\x1b[31mred\r\x07\n\n", 10);
    let text = esker(&["dump", &log]).expect(0).text();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let shown: Vec<&[&str]> = lines.iter().map(|line| line.get(2..).expect("columns")).collect();
    assert_eq!(shown, [&["-", "\\u{1b}[31mred\\r\\u{7}"][..], &["-"]]);
    assert_eq!(lines.iter().map(|line| line[0]).collect::<Vec<_>>(), ["0", "1"]);
}

#[test]
fn damage_is_met_after_everything_before_it_and_is_exit_1() {
    let folder = Folder::new();
    let lines = lines(30, |number| format!("record-{number:02}\n"));
    let log = folder.log_of(&lines, 1);
    damage(&log, "record-20");
    let before = snapshot(folder.path("log").as_path());
    let run = esker(&["dump", &log, "--payload"]).expect(1).says("body checksum").says("offset 20");
    assert_eq!(run.text(), lines.get(..20 * 10).expect("twenty lines"));
    assert_eq!(esker(&["dump", &log, "--json"]).expect(1).objects().len(), 20);
    // What does not reach the damage does not meet it.
    assert_eq!(payloads(&["dump", &log, "-n", "2"]), "record-00 record-01");
    assert_eq!(payloads(&["dump", &log, "--to", "2"]), "record-00 record-01");
    let forever = ["dump", &log, "--to", "2200-01-01T00:00:00Z", "--payload"];
    assert_eq!(esker(&forever).expect(1).text().lines().count(), 20);
    let back = esker(&["dump", &log, "--reverse", "--payload"]).expect(1);
    assert!(!back.text().contains("record-19"), "{}", back.text());
    assert_eq!(snapshot(folder.path("log").as_path()), before, "a look changes nothing");
}

#[test]
fn a_missing_segment_is_an_error_behind_what_lies_before_it() {
    let folder = Folder::new();
    let log = Options::new().segment_bytes(16_384).open(folder.path("log")).expect("opens");
    for number in 0..3000_u64 {
        let _ = log.append(number.to_string().as_str()).expect("appends");
    }
    log.close().expect("closes");
    let files = segment_files(&folder.path("log"));
    assert!(files.len() > 4, "{files:?}");
    fs::remove_file(&files[2]).expect("removes");
    let run = esker(&["dump", &folder.name("log"), "--payload"]).expect(1).says("; ");
    let shown: Vec<u64> = run.text().lines().map(|line| line.parse().expect("a number")).collect();
    assert!(shown.len() > 100 && shown.len() < 3000);
    assert!(shown.iter().zip(0..).all(|(shown, expected)| *shown == expected));
    for arguments in [vec!["info"], vec!["ls"], vec!["ls", "--json"]] {
        esker(&[&arguments[..], &[&folder.name("log")]].concat()).expect(1).says("; ");
    }
    esker(&["verify", &folder.name("log")]).expect(1);
}

#[test]
fn a_log_is_read_while_it_is_written() {
    let folder = Folder::new();
    let log = Options::new().segment_bytes(16_384).open(folder.path("log")).expect("opens");
    for number in 0..2000_u64 {
        let _ = log.append(number.to_string().as_str()).expect("appends");
    }
    let name = folder.name("log");
    assert_eq!(esker(&["dump", &name, "--payload"]).expect(0).text(), numbers(2000));
    let last = esker(&["dump", &name, "--reverse", "-n", "1", "--json"]).expect(0).object();
    assert_eq!(last["payload"], Value::from("1999"));
    assert_eq!(log.append("next").expect("appends").offset().get(), 2000);
}

/// A log of 30 records of which 10 up to 15 are lost in one gap.
fn with_a_gap(folder: &Folder) -> String {
    let log = folder.log_of(&lines(30, |number| format!("record-{number:02}\n")), 5);
    damage(&log, "record-12");
    esker(&["repair", &log, "--apply", "--accept-loss"]).expect(0);
    log
}

#[test]
fn of_a_gap_both_directions_say_what_lies_in_the_range() {
    let folder = Folder::new();
    let log = with_a_gap(&folder);
    let gaps = |arguments: &[&str]| -> Vec<(u64, u64)> {
        let run = esker(&[&["dump", &log, "--json"], arguments].concat()).expect(0);
        let objects = run.objects();
        let said = run.stderr.matches(" are lost").count();
        let gaps = objects.iter().filter(|object| object["gap"] == true);
        let gaps: Vec<(u64, u64)> = gaps
            .map(|gap| (gap["offset"].as_u64().expect("an offset"), gap["next"].as_u64().expect("an offset")))
            .collect();
        assert_eq!(said, gaps.len(), "{}", run.stderr);
        gaps
    };
    for (range, expected) in [
        (&[][..], &[(10, 15)][..]),
        (&["--from", "12"], &[(12, 15)]),
        (&["--to", "13"], &[(10, 13)]),
        (&["--from", "11", "--to", "14"], &[(11, 14)]),
        (&["--from", "12", "--to", "20"], &[(12, 15)]),
        (&["--from", "15"], &[]),
        (&["--to", "10"], &[]),
        (&["--from", "2", "--to", "11"], &[(10, 11)]),
    ] {
        assert_eq!(gaps(range), expected, "{range:?}");
        assert_eq!(gaps(&[range, &["--reverse"]].concat()), expected, "{range:?}, newest first");
    }
}

/// A log of 30 records, of the topics 0 and 3 in turns, with the keys a, b, c in turns.
fn of_two_topics(folder: &Folder) -> String {
    let log = Log::open(folder.path("log")).expect("opens");
    for number in 0..30_u32 {
        let (payload, key) =
            (format!("record-{number:02}"), ["a", "b", "c"][usize::try_from(number % 3).expect("small")]);
        let topic = Topic::new(number % 2 * 3).expect("topic");
        let _ = log.append(Record::new(&payload).key(key).topic(topic)).expect("appends");
    }
    log.close().expect("closes");
    folder.name("log")
}

#[test]
fn a_topic_selects_its_records_and_with_a_key_those_of_both() {
    let folder = Folder::new();
    let log = of_two_topics(&folder);
    let dump = |arguments: &[&str]| payloads(&[&["dump", &log], arguments].concat());
    assert_eq!(dump(&["--topic", "3", "-n", "3"]), "record-01 record-03 record-05");
    assert_eq!(dump(&["--topic", "3", "-n", "2", "--reverse"]), "record-29 record-27");
    assert_eq!(dump(&["--topic", "3", "--from", "10", "--to", "14"]), "record-11 record-13");
    assert_eq!(dump(&["--topic", "3", "--key", "b", "--reverse"]), "record-25 record-19 record-13 record-07 record-01");
    assert_eq!(dump(&["--topic", "3", "--key", "b", "--to", "8"]), "record-01 record-07");
    assert_eq!(dump(&["--key", "b", "-n", "2"]), "record-01 record-04", "in any topic");
    for nothing in [vec!["--topic", "7"], vec!["--topic", "7", "--reverse"], vec!["--topic", "0", "--key", "z"]] {
        assert_eq!(dump(&nothing), "", "{nothing:?}");
    }
    for refused in ["-1", "4294967295", "orders", ""] {
        esker(&["dump", &log, "--topic", refused]).expect(2);
    }
}

#[test]
fn damage_outside_of_topic_and_range_is_not_met() {
    let folder = Folder::new();
    let log = of_two_topics(&folder);
    damage(&log, "record-20");
    let dump = |arguments: &[&str]| payloads(&[&["dump", &log], arguments].concat());
    let threes = (0..30).filter(|number| number % 2 == 1).map(|number| format!("record-{number:02} "));
    assert_eq!(dump(&["--topic", "3"]), threes.collect::<String>().trim_end());
    esker(&["dump", &log, "--topic", "0"]).expect(1).says("offset 20");
    esker(&["dump", &log, "--topic", "0", "--reverse"]).expect(1).says("offset 20");
    // In search of one more it comes to the damage, which lies behind the range.
    assert_eq!(dump(&["--topic", "0", "--key", "z", "--to", "20"]), "");
    assert_eq!(dump(&["--topic", "0", "--key", "z", "--from", "21", "--reverse"]), "");
    esker(&["dump", &log, "--topic", "0", "--key", "z", "--to", "21"]).expect(1).says("offset 20");
    esker(&["dump", &log, "--topic", "0", "--key", "z", "--from", "20", "--reverse"]).expect(1).says("offset 20");
}
