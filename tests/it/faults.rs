//! Faults that no other module has: of descriptors, names, clocks, numbers, copies, and of others in the same directory.
//! `RELIABILITY.md` says for each fault which test stands for it.

mod clock;
mod copies;
mod descriptors;
mod errno;
mod exhausted;
#[cfg(target_os = "linux")]
mod paused;
#[cfg(all(target_os = "linux", not(esker_portable)))]
mod planted;
mod replaced;
