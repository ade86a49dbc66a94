//! A log that was compacted and repaired, whose segments the input damages, swaps, or makes lie under right sums: all ways to open
//! and to read it agree.
//!
//! `cargo +nightly fuzz run hostile_rewritten -- -max_total_time=600 -malloc_limit_mb=8 -rss_limit_mb=1024 -timeout=10`
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| harness::hostile::open_rewritten(input));
