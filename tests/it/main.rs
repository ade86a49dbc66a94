//! The integration tests: one binary, one module a topic, each test named as a claim.

mod basic;
mod checkpoints;
mod compaction;
mod cursors;
mod damage;
mod durability;
mod faults;
mod filter;
#[cfg(target_os = "linux")]
mod flight_board;
#[cfg(all(target_os = "linux", not(esker_portable)))]
mod fork;
mod hostile;
mod inspect;
mod limits;
mod lookup;
mod power;
mod property;
#[cfg(target_os = "linux")]
mod real_disk;
mod recovery;
mod repair;
mod retention;
mod state;
mod support;
mod threads;
mod tidy;

/// Notes the largest piece that each thread asks for, where a test wants to know.
#[global_allocator]
static ALLOCATOR: harness::allocation::Noting = harness::allocation::Noting;
