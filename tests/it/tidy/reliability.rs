//! `RELIABILITY.md` names tests that are there, and leaves no fault out.

use std::fs;
use std::path::Path;

use super::{Source, sources};

const FAULTS: usize = 38;

/// The paths of tests that a text names: words between ticks, of small letters and joined by double colons.
fn named(text: &str) -> Vec<&str> {
    let is_path = |part: &&str| {
        let letters = |word: &str| {
            let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            !word.is_empty() && word.chars().all(known)
        };
        part.contains("::") && part.split("::").all(letters)
    };
    text.split('`').skip(1).step_by(2).filter(is_path).collect()
}

/// Whether a test of this path is in the sources: the file ends with the path of its module, or that of its parent if the
/// module lies inside the file.
fn is_there(path: &str, sources: &[Source]) -> bool {
    let Some((module, test)) = path.rsplit_once("::") else { return false };
    let file = format!("/{}.rs", module.replace("::", "/"));
    let head = format!("fn {test}(");
    let stands_in = |source: &Source| {
        let lines: Vec<&str> = source.text.lines().map(str::trim_start).collect();
        let marked = |at: usize| lines[at.saturating_sub(3)..at].contains(&"#[test]");
        lines.iter().enumerate().any(|(at, line)| line.starts_with(&head) && marked(at))
    };
    sources.iter().any(|source| format!("/{}", source.path).ends_with(&file) && stands_in(source))
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("RELIABILITY.md")).expect("reads")
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let (page, sources) = (page(), sources());
    let named = named(&page);
    assert!(named.len() > 60, "{} are named", named.len());
    let missing: Vec<_> = named.iter().filter(|path| !is_there(path, &sources)).collect();
    assert!(missing.is_empty(), "named in RELIABILITY.md, and not there: {missing:#?}");
}

#[test]
fn every_fault_has_a_row_with_a_test_or_a_reason() {
    let page = page();
    for number in 1..=FAULTS {
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with(&format!("| {number} |"))).collect();
        assert_eq!(rows.len(), 1, "fault {number}");
        let told = !named(rows[0]).is_empty() || rows[0].contains("not tested because ");
        assert!(told, "fault {number} has neither test nor reason");
    }
}

#[test]
fn a_test_that_is_not_there_is_missed() {
    let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let sources = [source("tests/it/a/b.rs", "#[test]\nfn c() {}\nfn d() {}\n\n\n\nfn e() {}\n")];
    assert!(is_there("b::c", &sources) && is_there("a::b::c", &sources));
    assert!(!is_there("b::e", &sources) && !is_there("b::f", &sources) && !is_there("c::c", &sources));
    assert_eq!(named("`a::b` a::c `Log::open` `d` `cargo test x::y`"), ["a::b"]);
}
