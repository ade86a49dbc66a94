//! The cleaner, and a new start, over a log that the input damages, mixes with other moments, or makes lie under right sums: the
//! latest of each key stays, damage stays damage, and nothing comes back.
//!
//! `cargo +nightly fuzz run hostile_compaction -- -max_total_time=600 -malloc_limit_mb=8 -rss_limit_mb=1024 -timeout=10`
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| harness::hostile::compact_hostile(input));
