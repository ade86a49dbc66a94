//! A directory whose only segment is the input: looking, verifying, salvaging and opening it must not panic, hang, or hand
//! out what does not check.
//!
//! `cargo +nightly fuzz run hostile_segment -- -max_total_time=600 -rss_limit_mb=1024 -timeout=10`
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| harness::hostile::open_segment(bytes));
