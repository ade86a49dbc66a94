//! A life of a log on a simulated disk, and deaths in it, all from the input: nothing durable is lost, nothing else appears.
//!
//! `cargo +nightly fuzz run recover_after_crash -- -max_total_time=600 -malloc_limit_mb=8 -rss_limit_mb=4096 -timeout=10`
#![no_main]

use std::ffi::{CStr, c_char};

use libfuzzer_sys::fuzz_target;

/// Of each allocation the sanitizer keeps a stack for ever, if it is a new one. Recoveries inside recoveries have new ones in each
/// run: with stacks of 30 frames, as usual, memory grew by 0.7 MiB a run.
#[unsafe(no_mangle)]
extern "C" fn __asan_default_options() -> *const c_char {
    const OPTIONS: &CStr = c"malloc_context_size=2";
    OPTIONS.as_ptr()
}

fuzz_target!(|input: &[u8]| harness::crash::recover_after_crash(input));
