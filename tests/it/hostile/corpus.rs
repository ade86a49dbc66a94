//! Every input that is kept, on stable: one test a target, and one that no target is without.

use std::fs;
use std::path::{Path, PathBuf};

use harness::hostile;

const CORPUS_FILES_MAX: usize = 40;
const CORPUS_BYTES_MAX: u64 = 600 * 1024;

type Target = (&'static str, fn(&[u8]));

/// Targets and what they do with an input. A new one needs a line here, a test below, and a folder of inputs.
const TARGETS: [Target; 10] = [
    ("decode_frame", hostile::decode_frame),
    ("decode_state", hostile::decode_state),
    ("hostile_segment", hostile::open_packed_segment),
    ("hostile_checkpoint", hostile::open_checkpoint),
    ("hostile_anchor", hostile::open_anchor),
    ("hostile_directory", hostile::open_directory),
    ("hostile_index", hostile::open_index),
    ("hostile_rewritten", hostile::open_rewritten),
    ("hostile_compaction", hostile::compact_hostile),
    ("recover_after_crash", harness::crash::recover_after_crash),
];

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The inputs of a target that are kept, by name.
fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = fuzz_folder().join("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// Whether a fuzzer put it there, under its sum: it is not kept.
fn is_found(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.len() == 40 && name.chars().all(|digit| digit.is_ascii_hexdigit())
}

/// Runs a target on each input that is kept, and on each that fuzzing begins with.
fn run(target: &str) {
    let (_, body) = TARGETS.into_iter().find(|(name, _)| *name == target).expect("a target");
    let files = corpus(target);
    assert!(!files.is_empty(), "no inputs are kept for {target}");
    for file in files {
        let input = fs::read(&file).expect("reads");
        eprintln!("{}", file.display());
        body(&input);
    }
    for seed in hostile::seeds().iter().filter(|seed| seed.target == target) {
        eprintln!("{target}: {}", seed.name);
        body(&seed.input);
    }
}

#[test]
fn recover_after_crash_holds_on_its_corpus() {
    run("recover_after_crash");
}

#[test]
fn decode_frame_holds_on_its_corpus() {
    run("decode_frame");
}

#[test]
fn decode_state_holds_on_its_corpus() {
    run("decode_state");
}

#[test]
fn hostile_segment_holds_on_its_corpus() {
    run("hostile_segment");
}

#[test]
fn hostile_checkpoint_holds_on_its_corpus() {
    run("hostile_checkpoint");
}

#[test]
fn hostile_anchor_holds_on_its_corpus() {
    run("hostile_anchor");
}

#[test]
fn hostile_directory_holds_on_its_corpus() {
    run("hostile_directory");
}

#[test]
fn hostile_index_holds_on_its_corpus() {
    run("hostile_index");
}

#[test]
fn hostile_rewritten_holds_on_its_corpus() {
    run("hostile_rewritten");
}

#[test]
fn hostile_compaction_holds_on_its_corpus() {
    run("hostile_compaction");
}

#[test]
fn every_fuzz_target_has_a_small_corpus_and_a_test_that_runs_it() {
    let manifest = fs::read_to_string(fuzz_folder().join("Cargo.toml")).expect("reads");
    let (_, bins) = manifest.split_once("[[bin]]").expect("targets");
    let named = bins.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let named: Vec<&str> = named.collect();
    let readme = fs::read_to_string(fuzz_folder().join("README.md")).expect("reads");
    let own = include_str!("corpus.rs");
    let mut bytes = 0;
    for target in &named {
        assert!(TARGETS.iter().any(|(name, _)| name == target), "{target} is in no table here");
        assert!(own.contains(&format!("fn {target}_holds_on_its_corpus()")), "{target} has no test here");
        let source = fuzz_folder().join(format!("fuzz_targets/{target}.rs"));
        let source = fs::read_to_string(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
        assert!(source.contains(&format!("cargo +nightly fuzz run {target} -- ")), "{target} says not how to run it");
        assert!(
            readme.contains(&format!("$ cargo +nightly fuzz run {target} -- ")),
            "{target} is not in fuzz/README.md"
        );
        let mut files = corpus(target);
        files.retain(|file| !is_found(file));
        assert!((1..=CORPUS_FILES_MAX).contains(&files.len()), "{target}: {} inputs", files.len());
        bytes += files.iter().map(|file| file.metadata().expect("is there").len()).sum::<u64>();
    }
    assert_eq!(named.len(), TARGETS.len(), "{named:?}");
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes of inputs");
}
