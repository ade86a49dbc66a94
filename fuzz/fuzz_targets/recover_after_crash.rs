//! A life of a log on a simulated disk, and deaths in it, all from the input: nothing durable is lost, nothing else appears.
//!
//! `cargo +nightly fuzz run recover_after_crash -- -max_total_time=600 -malloc_limit_mb=8 -rss_limit_mb=4096 -timeout=10`
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| harness::crash::recover_after_crash(input));
