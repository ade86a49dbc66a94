//! A log that was killed, whose newest checkpoint the input edits: looking, verifying and opening it must not panic, hang,
//! or ask for much memory, and it gives the state that the log gives without it, unless the checkpoint is valid.
//!
//! `cargo +nightly fuzz run hostile_checkpoint -- -max_total_time=600 -malloc_limit_mb=8 -rss_limit_mb=1024 -timeout=10`
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| harness::hostile::open_checkpoint(input));
