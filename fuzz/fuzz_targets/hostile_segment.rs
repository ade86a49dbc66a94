//! A directory whose only segment is the input, with sums made right if it says so: looking, verifying, salvaging and
//! opening it must agree, and must not panic, hang, or hand out what does not check.
//!
//! `cargo +nightly fuzz run hostile_segment -- -max_total_time=600 -malloc_limit_mb=8 -rss_limit_mb=1024 -timeout=10`
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| harness::hostile::open_packed_segment(input));
