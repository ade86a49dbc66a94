//! `esker repair`.

use std::fs;
use std::path::Path;

use esker::{Background, Options};

use crate::run::{Folder, damage, esker, lines, names, segment_files, snapshot};

const STEP: &str = "v action segment file cause records_kept lost state tail loses";
const SUMMARY: &str = "v summary applied steps loses records_lost durable torn_tail anchor";

/// A log of 30 records of which two are rotten.
fn damaged(folder: &Folder) -> String {
    let log = folder.log_of(&lines(30, |number| format!("record-{number:02}\n")), 1);
    damage(&log, "record-07");
    damage(&log, "record-23");
    log
}

#[test]
fn a_whole_log_has_nothing_to_repair() {
    let folder = Folder::new();
    let log = folder.log_of("a\nb\n", 1);
    let before = snapshot(&folder.path("log"));
    assert!(esker(&["repair", &log]).expect(0).text().starts_with("nothing to repair: "));
    assert_eq!(snapshot(&folder.path("log")), before);
    let object = esker(&["repair", &log, "--apply", "--json"]).expect(0).object();
    assert_eq!((names(&object).as_str(), &object["steps"], &object["loses"]), (SUMMARY, &0.into(), &false.into()));
}

#[test]
fn a_plan_changes_nothing_and_loss_has_to_be_accepted() {
    let folder = Folder::new();
    let log = damaged(&folder);
    let before = snapshot(&folder.path("log"));
    let text = esker(&["repair", &log]).expect(1).says("--accept-loss").text();
    assert!(text.starts_with("action") && text.contains("rewrite") && text.contains("7..8 23..24"), "{text}");
    assert!(text.ends_with("planned: 1 step, 2 records lost\n"), "{text}");
    let objects = esker(&["repair", &log, "--json"]).expect(1).objects();
    assert_eq!((names(&objects[0]).as_str(), names(&objects[1]).as_str()), (STEP, SUMMARY));
    assert_eq!((&objects[0]["action"], &objects[0]["records_kept"]), (&"rewrite".into(), &28.into()));
    assert_eq!((&objects[0]["lost"][1]["offset"], &objects[0]["lost"][1]["next"]), (&23.into(), &24.into()));
    assert_eq!(snapshot(&folder.path("log")), before);
    let refused = esker(&["repair", &log, "--apply"]).expect(4).says("accept the loss");
    assert!(refused.text().contains("planned: "), "{}", refused.text());
    let same = |left: Vec<(std::path::PathBuf, Vec<u8>, _)>| {
        left.into_iter().map(|(path, bytes, _)| (path, bytes)).collect::<Vec<_>>()
    };
    assert_eq!(same(snapshot(&folder.path("log"))), same(before), "refused, it changes nothing");
    esker(&["repair", &log, "--accept-loss"]).expect(2);
}

#[test]
fn a_repaired_log_is_clean_and_its_gaps_are_said() {
    let folder = Folder::new();
    let log = damaged(&folder);
    let original = fs::read(&segment_files(Path::new(&log))[0]).expect("reads");
    let text = esker(&["repair", &log, "--apply", "--accept-loss"]).expect(0).text();
    assert!(text.ends_with("repaired: 1 step, 2 records lost\n"), "{text}");
    let kept: Vec<_> = fs::read_dir(folder.path("log/quarantine")).expect("lists").collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(fs::read(kept[0].as_ref().expect("an entry").path()).expect("reads"), original);
    let objects = esker(&["verify", &log, "--json"]).expect(0).objects();
    assert_eq!(objects.iter().filter(|object| object["class"] == "gap").count(), 2, "{objects:?}");
    assert!(esker(&["repair", &log]).expect(0).text().starts_with("nothing to repair"));
    let dump = esker(&["dump", &log, "--payload"]).expect(0);
    assert_eq!(dump.text().lines().count(), 28);
    assert!(dump.stderr.contains("offsets 7 up to 8 are lost"), "{}", dump.stderr);
    let forward = esker(&["dump", &log, "--json"]).expect(0).objects();
    let mut backward = esker(&["dump", &log, "--json", "--reverse"]).expect(0).objects();
    backward.reverse();
    assert_eq!((forward.len(), &forward), (30, &backward));
    assert_eq!((names(&forward[7]).as_str(), &forward[7]["gap"]), ("v gap offset next", &true.into()));
    // It goes on as any log.
    crate::run::esker_fed(&["import", &log], b"more\n").expect(0);
    assert_eq!(esker(&["dump", &log, "--payload", "--from", "30"]).expect(0).text(), "more\n");
    esker(&["verify", &log]).expect(0);
}

#[test]
fn a_log_that_is_written_is_not_repaired() {
    let folder = Folder::new();
    let log = Options::new().background(Background::Manual).open(folder.path("log")).expect("opens");
    log.append("one").expect("appends").wait().expect("syncs");
    for arguments in [&["repair"][..], &["repair", "--apply"], &["repair", "--apply", "--accept-loss"]] {
        esker(&[arguments, &[folder.name("log").as_str()]].concat()).expect(3).says("locked");
    }
}

#[test]
#[cfg(unix)]
fn what_stands_in_the_way_is_said_before_anything_is_changed() {
    let folder = Folder::new();
    let log = damaged(&folder);
    let path = folder.path("log");
    let outside = folder.path("outside");
    fs::create_dir(&outside).expect("makes a folder");
    for name in ["0000000001.seg.draft", "0000000007.seg.original", "quarantine"] {
        let planted = path.join(name);
        if name == "quarantine" {
            std::os::unix::fs::symlink(&outside, &planted).expect("links");
        } else {
            fs::create_dir(&planted).expect("makes a folder");
        }
        let before = segment_files(&path).iter().map(|file| fs::read(file).expect("reads")).collect::<Vec<_>>();
        for how in [&["repair"][..], &["repair", "--apply", "--accept-loss"]] {
            let run = esker(&[how, &[log.as_str()]].concat()).expect(2).says("in the way of a repair");
            assert!(run.stderr.contains(name) && run.stderr.contains("move it out of the directory"), "{}", run.stderr);
            assert!(run.stdout.is_empty(), "{}", run.text());
        }
        let left = segment_files(&path).iter().map(|file| fs::read(file).expect("reads")).collect::<Vec<_>>();
        assert!(left == before, "{name}");
        assert_eq!(fs::read_dir(&outside).expect("lists").count(), 0);
        fs::remove_dir(&planted).or_else(|_| fs::remove_file(&planted)).expect("removes");
    }
    esker(&["repair", &log, "--apply", "--accept-loss"]).expect(0);
}

#[test]
#[cfg(unix)]
fn a_pipe_in_place_of_the_anchor_is_in_the_way_where_the_anchor_has_to_be_written() {
    let folder = Folder::new();
    let log = damaged(&folder);
    let anchor = folder.path("log/anchor");
    fs::remove_file(&anchor).expect("removes");
    assert!(std::process::Command::new("mkfifo").arg(&anchor).status().expect("mkfifo runs").success());
    // Here it has not: it is a hint, and says nothing.
    esker(&["repair", &log, "--apply", "--accept-loss"]).expect(0);
    let text = esker(&["repair", &log]).expect(0).text();
    assert!(text.contains("anchor: ") && text.contains("move away what stands there"), "{text}");
    esker(&["verify", &log]).expect(0);
    // A cut checkpoint knew of more than anything else: that would be noted.
    let checkpoints = fs::read_dir(folder.path("log")).expect("lists").map(|entry| entry.expect("an entry").path());
    for file in checkpoints.filter(|file| file.extension().is_some_and(|extension| extension == "ckp")) {
        let mut bytes = fs::read(&file).expect("reads");
        *bytes.last_mut().expect("bytes") ^= 1;
        fs::write(&file, bytes).expect("writes");
    }
    for how in [&["repair"][..], &["repair", "--apply"]] {
        let run = esker(&[how, &[log.as_str()]].concat()).expect(2).says("in the way of a repair");
        assert!(run.stderr.contains("anchor"), "{}", run.stderr);
    }
}

#[test]
fn a_bad_anchor_alone_is_no_damage_for_a_repair_either() {
    let folder = Folder::new();
    let log = folder.log_of("a\nb\n", 1);
    for what in ["rotten", "gone"] {
        if what == "gone" {
            fs::remove_file(folder.path("log/anchor")).expect("removes");
        } else {
            fs::write(folder.path("log/anchor"), [7; 1024]).expect("writes");
        }
        let found = esker(&["verify", &log, "--json"]).expect(0).objects();
        assert!(found.iter().any(|finding| finding["class"] == "bad-anchor"), "{what}: {found:?}");
        let before = snapshot(&folder.path("log"));
        for how in [&["repair"][..], &["repair", "--apply"]] {
            let text = esker(&[how, &[log.as_str()]].concat()).expect(0).text();
            assert!(text.starts_with("nothing to repair"), "{what}: {text}");
            assert!(text.contains("anchor: ") && text.contains("the next open writes it anew"), "{what}: {text}");
        }
        let summary = esker(&["repair", &log, "--json"]).expect(0).object();
        assert!(summary["anchor"].is_string(), "{summary}");
        assert_eq!(snapshot(&folder.path("log")), before, "{what}");
    }
    crate::run::esker_fed(&["import", &log], b"c\n").expect(0);
    assert!(esker(&["verify", &log, "--json"]).expect(0).objects().iter().all(|it| it["class"] != "bad-anchor"));
    assert!(esker(&["repair", &log, "--json"]).expect(0).object()["anchor"].is_null());
}
