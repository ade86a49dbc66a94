//! State entries that the input describes, in good frames: removed, replaced, cursors, of later programs. State and cursors
//! are what a reader written after the format says, from the log, and from a checkpoint of it.
//!
//! `cargo +nightly fuzz run decode_state -- -max_total_time=600 -malloc_limit_mb=8 -rss_limit_mb=1024 -timeout=10`
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| harness::hostile::decode_state(input));
