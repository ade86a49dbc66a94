//! `esker import`.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use esker::{Attached, Log};

use crate::run::{Folder, command, esker, esker_fed, finish, names, numbers, segment_files};

#[test]
fn what_goes_in_comes_out_byte_for_byte() {
    let every_byte: Vec<u8> = (0..=255).collect();
    let inputs: [&[u8]; 6] = [b"one\ntwo\n", b"crlf\r\n\r\nlone\rcr\r\n", b"\n\n\n", &every_byte, b"\xff\xfe\0\n", b""];
    for (index, input) in inputs.into_iter().enumerate() {
        let folder = Folder::new();
        let (log, file) = (folder.name("log"), folder.name("input"));
        let mut input = input.to_vec();
        if !input.is_empty() && input.last() != Some(&b'\n') {
            input.push(b'\n');
        }
        fs::write(&file, &input).expect("writes");
        esker(&["import", &log, &file, "--batch", "2"]).expect(0);
        assert_eq!(esker(&["dump", &log, "--payload"]).expect(0).stdout, input, "input {index}");
    }
}

#[test]
fn a_last_line_without_newline_and_an_empty_line_are_records() {
    let folder = Folder::new();
    let log = folder.log_of("a\n\nb", 1000);
    let payloads: Vec<_> =
        esker(&["dump", &log, "--json"]).expect(0).objects().iter().map(|object| object["payload"].clone()).collect();
    assert_eq!(payloads, ["a", "", "b"]);
}

#[test]
fn json_ends_with_one_summary_in_the_documented_order() {
    let folder = Folder::new();
    let log = folder.name("log");
    let first = esker_fed(&["import", &log, "--json"], b"abc\nde\n").expect(0).object();
    assert_eq!(names(&first), "v records bytes first_offset last_offset seconds");
    assert_eq!((&first["v"], &first["records"], &first["bytes"]), (&1.into(), &2.into(), &5.into()));
    assert_eq!((&first["first_offset"], &first["last_offset"]), (&0.into(), &1.into()));
    assert!(first["seconds"].is_f64());
    let second = esker_fed(&["import", &log, "-", "--json"], b"f\n").expect(0).object();
    assert_eq!((&second["first_offset"], &second["last_offset"]), (&2.into(), &2.into()));
    let none = esker_fed(&["import", &log, "--json"], b"").expect(0).object();
    assert_eq!(names(&none), "v records bytes first_offset last_offset seconds");
    assert_eq!(none["records"], 0);
    assert!(none["first_offset"].is_null() && none["last_offset"].is_null());
}

#[test]
fn keys_and_event_times_come_from_the_fields_asked_for() {
    let folder = Folder::new();
    let log = folder.name("log");
    let lines = [
        r#"{"k":"plain","t":"2013-01-01T05:17:00"}"#,
        r#"{"t":"2013-01-01T05:17:00-05:00","k":"esc\u00e9\n"}"#,
        r#"{"k":12.50,"t":"2013-01-01T05:17:00.123456789Z"}"#,
        r#"{"k":1e3,"t":null}"#,
        r#"{"k":null}"#,
        r#"{"other":{"k":"nested"}}"#,
        r#"{"k":"","t":null}"#,
        "{\"k\":\"crlf\"}\r",
    ];
    esker_fed(&["import", &log, "--key-field", "k", "--time-field", "t"], lines.join("\n").as_bytes()).expect(0);
    let objects = esker(&["dump", &log, "--json"]).expect(0).objects();
    let keys: Vec<_> = objects.iter().map(|object| object["key"].as_str()).collect();
    assert_eq!(keys, [Some("plain"), Some("escé\n"), Some("12.50"), Some("1e3"), None, None, Some(""), Some("crlf")]);
    let times: Vec<_> = objects.iter().map(|object| object["event_time"].as_str()).collect();
    let expected = [Some("2013-01-01T05:17:00Z"), Some("2013-01-01T10:17:00Z"), Some("2013-01-01T05:17:00.123456789Z")];
    assert_eq!(times.get(..3), Some(&expected[..]));
    assert!(times.iter().skip(3).all(Option::is_none));
    let payloads: Vec<_> = objects.iter().filter_map(|object| object["payload"].as_str()).collect();
    assert_eq!(payloads, lines);
}

#[test]
fn a_line_that_has_no_such_field_is_named_and_all_before_it_stays() {
    let bad = [
        (r#"{"k":{}}"#, "object"),
        (r#"{"k":["a"]}"#, "array"),
        ("not json", "not a JSON object"),
        ("", "not a JSON object"),
        ("[1]", "not a JSON object"),
        (r#"{"k":"a"} trailing"#, "not a JSON object"),
        (r#"{"k":"\ud800"}"#, "field 'k'"),
        (r#"{"t":"yesterday"}"#, "field 't'"),
        (r#"{"t":20130101}"#, "field 't'"),
        (r#"{"t":{"a":1}}"#, "object"),
    ];
    for batch in ["1", "2", "1000"] {
        for (line, cause) in bad {
            let folder = Folder::new();
            let log = folder.name("log");
            let input = format!("{{\"k\":\"1\"}}\n{{\"k\":\"2\"}}\n{{}}\n{line}\n{{\"k\":\"5\"}}\n");
            let arguments = ["import", &log, "--key-field", "k", "--time-field", "t", "--json", "--batch", batch];
            let run = esker_fed(&arguments, input.as_bytes()).expect(2).says("line 4: ").says(cause);
            assert_eq!(run.object()["records"], 3, "what is in the log is said all the same");
            let about = esker(&["info", &log, "--json"]).expect(0).object();
            assert_eq!((&about["visible"], &about["durable"]), (&3.into(), &3.into()), "{line}");
        }
    }
}

#[test]
fn input_that_is_no_text_fails_only_where_fields_are_asked_for() {
    let folder = Folder::new();
    let log = folder.name("log");
    esker_fed(&["import", &log], b"\xff\xff\n").expect(0);
    esker_fed(&["import", &log, "--key-field", "k"], b"{\"k\":\"\xff\"}\n").expect(2).says("line 1: ");
}

#[test]
fn a_batch_too_large_for_a_frame_is_split_and_a_line_too_large_is_named() {
    let folder = Folder::new();
    let log = folder.name("log");
    let mut input = vec![b'a'; 5 << 20];
    input.push(b'\n');
    input.extend(vec![b'b'; 5 << 20]);
    input.extend(b"\nend\n");
    esker_fed(&["import", &log], &input).expect(0);
    assert!(esker(&["dump", &log, "--payload"]).expect(0).stdout == input);

    for too_large in [8 << 20, (8 << 20) + 1, 9 << 20] {
        let mut input = b"before\n".to_vec();
        input.extend(vec![b'x'; too_large]);
        input.extend(b"\nafter\n");
        let run = esker_fed(&["import", &log, "--json"], &input).expect(2).says("line 2: ");
        assert_eq!(run.object()["records"], 1);
    }
    let last = esker(&["dump", &log, "--reverse", "-n", "1", "--payload"]).expect(0);
    assert_eq!(last.stdout, b"before\n");
}

#[test]
fn a_key_too_long_is_named_by_its_line() {
    let folder = Folder::new();
    let log = folder.name("log");
    let input = format!("{{\"k\":1}}\n{{\"k\":2}}\n{{\"k\":\"{}\"}}\n{{\"k\":4}}\n", "x".repeat(65_536));
    esker_fed(&["import", &log, "--key-field", "k"], input.as_bytes()).expect(2).says("line 3: ");
    assert_eq!(esker(&["info", &log, "--json"]).expect(0).object()["durable"], 2);
}

#[test]
fn sync_and_batch_change_frames_not_records() {
    let folder = Folder::new();
    let input = numbers(100);
    for (name, arguments) in [("a", vec!["--sync", "--batch", "7"]), ("b", vec!["--batch", "65535"]), ("c", vec![])] {
        let log = folder.name(name);
        esker_fed(&[&["import", &log], &arguments[..]].concat(), input.as_bytes()).expect(0);
        assert_eq!(esker(&["dump", &log, "--payload"]).expect(0).text(), input);
        let about = esker(&["info", &log, "--json"]).expect(0).object();
        assert_eq!((&about["durable"], &about["clean"]), (&100.into(), &true.into()));
    }
    let frames = |log: &str| esker(&["verify", log, "--json"]).expect(0).object()["frames"].as_u64().expect("a count");
    assert!(frames(&folder.name("a")) >= frames(&folder.name("b")) + 14);
    esker(&["import", &folder.name("d"), "--batch", "0"]).expect(2);
    esker(&["import", &folder.name("d"), "--batch", "65536"]).expect(2);
}

#[test]
fn a_log_that_another_writer_holds_is_exit_3() {
    let folder = Folder::new();
    let held = Log::open(folder.path("log")).expect("opens");
    let run = esker_fed(&["import", &folder.name("log")], b"a\n").expect(3);
    run.says(&format!("locked for writing by process {}", std::process::id()));
    assert_eq!(held.visible().get(), 0);
}

#[test]
fn an_input_that_is_not_there_leaves_nothing_behind() {
    let folder = Folder::new();
    for input in [folder.name("missing"), folder.name("")] {
        esker(&["import", &folder.name("log"), &input]).expect(2).says("give a file of lines");
        assert!(!folder.path("log").exists());
    }
    fs::create_dir(folder.path("other")).expect("makes");
    fs::write(folder.path("other/letter.txt"), "dear").expect("writes");
    esker_fed(&["import", &folder.name("other")], b"a\n").expect(2).says("not a log");
    assert!(segment_files(&folder.path("other")).is_empty());
}

#[test]
fn an_interrupt_closes_the_log_and_ends_with_130() {
    let folder = Folder::new();
    let log = folder.name("log");
    let mut child = command(&["import", &log, "--batch", "1"]).stdin(Stdio::piped()).spawn().expect("starts");
    child.stdin.as_mut().expect("piped").write_all(b"one\ntwo\n").expect("writes");
    let deadline = Instant::now() + Duration::from_secs(60);
    while Attached::open(&log).map_or(0, |attached| attached.visible().get()) < 2 {
        assert!(Instant::now() < deadline, "two records in a minute");
        std::thread::yield_now();
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    // The pipe stays open until the child has ended.
    let stdin = child.stdin.take();
    let run = finish(child).expect(130);
    drop(stdin);
    assert!(run.stderr.contains("interrupted"), "{}", run.stderr);
    let about = esker(&["info", &log, "--json"]).expect(0).object();
    assert_eq!((&about["durable"], &about["clean"]), (&2.into(), &true.into()));
}
