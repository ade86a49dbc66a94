//! The integration tests: one binary, one module a topic, each test named as a claim.

mod basic;
mod checkpoints;
mod cursors;
mod durability;
#[cfg(target_os = "linux")]
mod flight_board;
#[cfg(all(target_os = "linux", not(esker_portable)))]
mod fork;
mod hostile;
mod inspect;
mod limits;
mod property;
#[cfg(target_os = "linux")]
mod real_disk;
mod recovery;
mod state;
mod support;
mod threads;
mod tidy;
