//! A directory that the input puts together: files of a log removed, swapped, renamed, cut, damaged, taken from an older
//! state or another store, and strangers among them. What is handed out is the beginning of one of the logs.
//!
//! `cargo +nightly fuzz run hostile_directory -- -max_total_time=600 -malloc_limit_mb=8 -rss_limit_mb=1024 -timeout=10`
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| harness::hostile::open_directory(input));
