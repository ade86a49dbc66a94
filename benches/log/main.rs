//! The hot calls of the engine, one by one: append, commit, read, filter, lookup, open. `cargo bench --bench log`; `-- --test`
//! runs each once. For rates beside the machine's own limit see `esker bench`.
//!
//! How it counts:
//! 1. One iteration is one call. With two threads the calls of a sample are shared out between them, both begin at once,
//!    and the time is from there until the last one is done: "time" is the wall time a call of the two together, and the
//!    throughput is that of both.
//! 2. What is measured is until a call returned, so until its record is visible. Rolls, and what the background threads
//!    do meanwhile, are part of it; making a new log is not.
//! 3. A log is begun anew when it has grown by 256 MiB, outside of the measured time, so the disk space is bounded however
//!    long a bench runs. Folders are removed.

mod append;
mod bed;
mod commit;
mod filter;
mod lookup;
mod open;
mod read;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    benches,
    append::benches,
    commit::benches,
    read::benches,
    filter::benches,
    lookup::benches,
    open::benches
);
criterion_main!(benches);
