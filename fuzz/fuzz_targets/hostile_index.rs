//! A log whose index files the input edits, swaps, or makes up under right sums: lookups, histories and readers with a filter
//! say what the log says, or, of a file that lies under right sums, at least nothing that is not in the log.
//!
//! `cargo +nightly fuzz run hostile_index -- -max_total_time=600 -malloc_limit_mb=8 -rss_limit_mb=1024 -timeout=10`
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| harness::hostile::open_index(input));
