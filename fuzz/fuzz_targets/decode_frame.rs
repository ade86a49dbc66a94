//! Frames that the input describes, behind a good header: records, state entries and control bodies. What the engine makes of
//! them is what a reader written after the format makes of them; nothing panics, hangs, or asks for much memory.
//!
//! `cargo +nightly fuzz run decode_frame -- -max_total_time=600 -malloc_limit_mb=8 -rss_limit_mb=1024 -timeout=10`
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| harness::hostile::decode_frame(input));
