//! A log whose anchor the input edits, with sums made right or not: it may make an open refuse, and never decides what
//! is kept.
//!
//! `cargo +nightly fuzz run hostile_anchor -- -max_total_time=600 -malloc_limit_mb=8 -rss_limit_mb=1024 -timeout=10`
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| harness::hostile::open_anchor(input));
