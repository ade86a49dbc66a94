//! What the tests of `esker` share: disks that are not disks, and models to compare the engine with.
//!
//! Guarantees:
//! 1. Nothing here is random, waits for a clock, or depends on another test: the same calls give the same results. Only
//!    `damage` looks at a clock, to say how long its cases took.
//! 2. Whatever stands in for the system keeps the guarantees that `esker::platform` asks of an implementation, save for
//!    the faults that a test arms.
//! 3. Helpers that only tests call panic on misuse; what the engine calls returns errors as the system would.

pub mod allocation;
pub mod crash;
pub mod damage;
pub mod dice;
pub mod errno;
mod format;
pub mod history;
pub mod hostile;
pub mod life;
pub mod memory;
mod numbers;
pub mod oracle;
pub mod repairs;
pub mod watched;

pub use dice::Dice;
pub use memory::{MemoryDisk, Mount};
pub use watched::{Call, Watch, WatchedDisk};
