//! The project's own sources, held to its rules: floors, `unsafe`, file length, attributes, headers, names.
//!
//! Guarantees:
//! 1. Each rule is a function of text and names the file and line of what breaks it.
//! 2. Each rule has a test that shows it a wrong sample and a right one.

use std::fs;
use std::path::Path;

mod lexer;
mod reliability;

use lexer::{Token, tokens};

/// The floors of `ARCHITECTURE.md`: a module names only what lies on a floor below its own.
const FLOORS: [&[&str]; 8] = [
    &["error", "types", "sync", "checksum", "format"],
    &["platform"],
    &["segment"],
    &["log"],
    &["store"],
    &["subscription", "stream"],
    &["process", "projection", "saga", "relay", "schema", "routing"],
    &["inspect", "repair", "asynchronous"],
];
/// The modules of the ground floor use each other.
const GROUND: usize = 0;
/// On their floors the others may use these.
const SHARED: [&str; 2] = ["process", "inspect"];
/// Two files of the engine. One of the tool: its bare loops store into a file's map, and no map of a file is made without.
const UNSAFE_FILES: [&str; 3] = ["src/platform/map.rs", "src/segment/buffer.rs", "tools/src/command/bench/bare.rs"];
const LINES_MAX: usize = 600;
const FOLDERS: [&str; 5] = ["src", "tests", "tools", "benches", "examples"];
const WORDS_NOT_USED: [&str; 7] = ["message", "flush", "manager", "util", "utils", "queue", "common"];

/// A file of the project, by its path from the root.
struct Source {
    path: String,
    text: String,
}

/// What breaks a rule, as `path:line: what`.
type Breaks = Vec<String>;

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The path of the module that a file of `src` is, from the crate on; empty for the root.
fn module_path(path: &str) -> Option<Vec<&str>> {
    let inside = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    Some(if inside == "lib" { Vec::new() } else { inside.split('/').collect() })
}

/// Rule a: what a file of `src` names by `crate::`, or by enough `super::`, lies on a lower floor.
fn floors(source: &Source) -> Breaks {
    let Some(path) = module_path(&source.path) else { return Vec::new() };
    let Some(module) = path.first() else { return Vec::new() };
    let Some(own) = floor(module) else { return vec![format!("{}:1: {module} is on no floor", source.path)] };
    let mut breaks = Vec::new();
    for (line, named) in lexer::named_from_root(&tokens(&source.text), path.len()) {
        let allowed = named == *module
            || match floor(&named) {
                Some(other) if other == own => own == GROUND || SHARED.contains(&named.as_str()),
                Some(other) => other < own,
                None => false,
            };
        if !allowed {
            breaks.push(format!("{}:{line}: {module} (floor {own}) names crate::{named}", source.path));
        }
    }
    breaks
}

/// Rule b: `unsafe` stands in three files of what ships; a test may have to fork, a bench to store as others do.
fn unsafe_places(source: &Source) -> Breaks {
    let beside = ["tests/", "benches/"].iter().any(|folder| source.path.starts_with(folder));
    if beside || UNSAFE_FILES.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let tokens = tokens(&source.text);
    let found = tokens.iter().filter(|token| token.is("unsafe"));
    found.map(|token| format!("{}:{}: unsafe", source.path, token.line)).collect()
}

/// Rule c: no file is longer than 600 lines.
fn length(source: &Source) -> Breaks {
    let lines = source.text.lines().count();
    if lines <= LINES_MAX {
        return Vec::new();
    }
    vec![format!("{}:{lines}: {lines} lines, at most {LINES_MAX}", source.path)]
}

/// Rule d: attributes expect, with a reason; they never allow.
fn attributes(source: &Source) -> Breaks {
    let mut breaks = Vec::new();
    let tokens = tokens(&source.text);
    for attribute in lexer::attributes(&tokens) {
        for (at, token) in attribute.iter().enumerate() {
            let called = attribute.get(at + 1).is_some_and(|next| next.is("("));
            if called && token.is("allow") {
                breaks.push(format!("{}:{}: allow, instead of expect with a reason", source.path, token.line));
            }
            if called && token.is("expect") && !attribute[at..].iter().any(|token| token.is("reason")) {
                breaks.push(format!("{}:{}: expect without a reason", source.path, token.line));
            }
        }
    }
    breaks
}

/// Rule e: a file of `src` begins by saying what it is.
fn header(source: &Source) -> Breaks {
    if !source.path.starts_with("src/") || source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![format!("{}:1: no header", source.path)]
}

/// Rule f: words that are not used name no file, folder or module.
fn names(source: &Source) -> Breaks {
    let wrong = |name: &str| name.split(['_', '-', '.']).any(|word| WORDS_NOT_USED.contains(&word));
    let parts = source.path.split('/').filter(|part| wrong(part));
    let mut breaks: Breaks = parts.map(|part| format!("{}:1: named {part}", source.path)).collect();
    let tokens = tokens(&source.text);
    for pair in tokens.windows(2).filter(|pair| pair[0].is("mod") && wrong(&pair[1].text)) {
        breaks.push(format!("{}:{}: module {}", source.path, pair[1].line, pair[1].text));
    }
    breaks
}

/// All files with the extension `rs` in the folders of the project.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("reads");
                let path = path.strip_prefix(root).expect("inside").to_string_lossy().replace('\\', "/");
                sources.push(Source { path, text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn hold(rule: impl Fn(&Source) -> Breaks) {
    let sources = sources();
    assert!(sources.len() > 50 && sources.iter().any(|source| source.path == "src/lib.rs"), "the sources are here");
    let breaks: Breaks = sources.iter().flat_map(rule).collect();
    assert!(breaks.is_empty(), "\n{}", breaks.join("\n"));
}

#[test]
fn modules_name_only_floors_below() {
    hold(floors);
    for module in FLOORS.iter().take(4).flat_map(|floor| floor.iter()) {
        let path = format!("src/{module}.rs");
        assert!(sources().iter().any(|source| source.path == path), "{path} is on a floor, and not there");
    }
}

#[test]
fn unsafe_stands_in_three_files() {
    hold(unsafe_places);
}

#[test]
fn no_file_is_longer_than_600_lines() {
    hold(length);
}

#[test]
fn no_attribute_allows() {
    hold(attributes);
}

#[test]
fn every_source_file_begins_with_its_header() {
    hold(header);
}

#[test]
fn no_file_and_no_module_is_named_by_a_word_not_used() {
    hold(names);
}

fn sample(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

fn caught(rule: impl Fn(&Source) -> Breaks, path: &str, text: &str, line: usize) {
    let breaks = rule(&sample(path, text));
    let place = format!("{path}:{line}: ");
    assert!(breaks.len() == 1 && breaks[0].starts_with(&place), "{path}: {text:?}: {breaks:?}");
}

fn passed(rule: impl Fn(&Source) -> Breaks, path: &str, text: &str) {
    assert_eq!(rule(&sample(path, text)), Vec::<String>::new(), "{path}: {text:?}");
}

#[test]
fn a_name_from_a_higher_or_the_same_floor_is_caught() {
    caught(floors, "src/segment.rs", "//! x\nuse crate::log::Log;\n", 2);
    caught(floors, "src/log/reader.rs", "use crate::{\n    error::{Error, log},\n    store::Store,\n};", 3);
    caught(floors, "src/stream.rs", "fn f() { crate::subscription::g() }", 1);
    caught(floors, "src/format/record.rs", "type T = super::super::platform::Disk;", 1);
    caught(floors, "src/segment.rs", "mod a {\n use super::super::store::X;\n}", 2);
    caught(floors, "src/segment.rs", "use super::log::X;", 1);
    caught(floors, "src/log.rs", "use crate::Reader;", 1);
    caught(floors, "src/attic.rs", "", 1);
    passed(floors, "src/log/reader.rs", "use crate::{error::Error, segment::{self, walk}};\nuse crate::log::core;");
    passed(floors, "src/format.rs", "use crate::checksum::Seed; use crate::types::log;");
    passed(floors, "src/saga.rs", "use crate::process::Handler;");
    passed(floors, "src/repair.rs", "use crate::inspect::verify;");
    caught(floors, "src/inspect.rs", "use crate::repair::Plan;", 1);
    passed(floors, "src/segment.rs", "/// See crate::log.\nconst A: &str = \"crate::log\"; /* crate::store */");
    passed(floors, "src/log/reader.rs", "use super::core; mod tests { use super::super::core; use super::*; }");
    passed(floors, "src/log.rs", "pub(crate) fn f() {} pub(in crate::log) fn g() {}");
    passed(floors, "src/lib.rs", "pub use crate::inspect::verify;");
}

#[test]
fn unsafe_elsewhere_is_caught() {
    caught(unsafe_places, "src/log.rs", "\nfn f() { unsafe { g() } }", 2);
    passed(unsafe_places, "src/log.rs", "#![deny(unsafe_code)] // unsafe\nconst A: &str = r#\"unsafe\"#;");
    caught(unsafe_places, "tools/src/command/bench/frame.rs", "unsafe {}", 1);
    passed(unsafe_places, "src/segment/buffer.rs", "unsafe {}");
    passed(unsafe_places, "tools/src/command/bench/bare.rs", "unsafe {}");
}

#[test]
fn a_file_too_long_is_caught() {
    caught(length, "tools/src/main.rs", &"\n".repeat(601), 601);
    passed(length, "tools/src/main.rs", &"\n".repeat(600));
}

#[test]
fn an_allow_or_a_bare_expect_is_caught() {
    caught(attributes, "src/a.rs", "\n#[allow(dead_code)]", 2);
    caught(attributes, "src/a.rs", "#![allow(dead_code)]", 1);
    caught(attributes, "src/a.rs", "#[cfg_attr(\n test,\n allow(dead_code)\n)]", 3);
    caught(attributes, "src/a.rs", "#[expect(dead_code)]", 1);
    passed(attributes, "src/a.rs", "#[expect(dead_code, reason = \"held\")] fn f() { a.expect(\"x\"); allow(1); }");
}

#[test]
fn a_file_without_header_is_caught() {
    caught(header, "src/a.rs", "use std::fs;\n//! late", 1);
    passed(header, "src/a.rs", "//! What it is.");
}

#[test]
fn a_word_not_used_is_caught() {
    caught(names, "src/log/flush.rs", "", 1);
    caught(names, "src/queue/a.rs", "", 1);
    caught(names, "tests/it/a.rs", "\nmod segment_manager;", 2);
    passed(names, "src/log/flusher.rs", "mod a; fn flush() {} // mod util");
}

#[test]
fn tokens_leave_out_comments_and_texts() {
    let text = "a /* b /* c */ d */ 'x' '\\'' \"e\\\"f\" r#\"g\"h\"# b\"i\" 'life // j\nk::l1";
    let found: Vec<Token> = tokens(text);
    let words: Vec<_> = found.iter().map(|token| (token.text.as_str(), token.line)).collect();
    assert_eq!(words, [("a", 1), ("life", 1), ("k", 2), (":", 2), (":", 2), ("l1", 2)]);
}
