//! The integration tests: one binary, one module a topic, each test named as a claim.

mod basic;
mod durability;
mod limits;
mod recovery;
mod support;
