//! What is asked of an engine, and the engines there are.
//!
//! Guarantees:
//! 1. Each engine is asked through its own public calls, one call of [`Writer::append`] being one call of the engine, or
//!    one transaction where it has those.
//! 2. An engine is monomorphic inside of a pass: nothing virtual is called for an event.

mod commitlog;
mod esker;
mod fjall;
mod lmdb;
mod mrecordlog;
mod okaywal;
mod raft_engine;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sqlite;
mod walrus;
mod yaque;

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::pass::{self, Order, Outcome};
use crate::tally::Tally;

/// Ours.
pub const OURS: &str = esker::Esker::NAME;

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// As little as the engine allows.
    Visible,
    /// Synced before the call returns.
    Durable,
}

/// What an engine can do at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Modes {
    /// It has no call that makes an event durable.
    VisibleOnly,
    /// It has no call that does not.
    DurableOnly,
    Both,
}

/// A log in a folder. It is opened to be written, or opened again to be read.
pub trait Engine: Sized + Send + Sync {
    const NAME: &'static str;
    /// The crate, as `Cargo.lock` names it.
    const CRATE: &'static str;
    const MODES: Modes;
    /// The setting in one line, for the results. The reasons stand in the adapter and in the README.
    const SETTING: &'static str;

    type Writer<'e>: Writer
    where
        Self: 'e;

    /// Opens the log in `folder`, which is there.
    fn open(folder: &Path, durability: Durability) -> Result<Self>;

    /// What the thread of this number writes with; it stays on that thread.
    fn writer(&self, thread: u64) -> Result<Self::Writer<'_>>;

    /// Counts every event of the log, in its order.
    fn scan(&mut self, tally: &mut Tally) -> Result<()>;

    fn close(self) -> Result<()>;
}

/// Appends for one thread.
pub trait Writer {
    /// Appends all of these in one call, one transaction if the engine has those.
    fn append(&mut self, events: &[&[u8]]) -> Result<()>;
}

/// An engine without its type.
#[derive(Clone, Copy)]
pub struct Entry {
    pub name: &'static str,
    pub crate_name: &'static str,
    pub modes: Modes,
    pub setting: &'static str,
    pub run: fn(&Order) -> Result<Outcome>,
}

impl Entry {
    const fn of<E: Engine>() -> Self {
        Self { name: E::NAME, crate_name: E::CRATE, modes: E::MODES, setting: E::SETTING, run: pass::run::<E> }
    }

    pub fn takes(&self, durability: Durability) -> bool {
        match durability {
            Durability::Visible => self.modes != Modes::DurableOnly,
            Durability::Durable => self.modes != Modes::VisibleOnly,
        }
    }

    /// The version that was built.
    pub fn version(&self) -> &'static str {
        version(include_str!("../Cargo.lock"), self.crate_name)
    }
}

/// All engines that were built, ours first.
pub const ALL: &[Entry] = &[
    Entry::of::<esker::Esker>(),
    Entry::of::<commitlog::Commitlog>(),
    Entry::of::<lmdb::Lmdb>(),
    Entry::of::<raft_engine::RaftEngine>(),
    Entry::of::<sqlite::Sqlite>(),
    #[cfg(feature = "rocksdb")]
    Entry::of::<rocksdb::RocksDb>(),
    Entry::of::<fjall::Fjall>(),
    Entry::of::<redb::Redb>(),
    Entry::of::<okaywal::OkayWal>(),
    Entry::of::<walrus::Walrus>(),
    Entry::of::<mrecordlog::Mrecordlog>(),
    Entry::of::<yaque::Yaque>(),
];

pub fn named(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}

fn version<'l>(lock: &'l str, crate_name: &str) -> &'l str {
    let name = format!("name = \"{crate_name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = \""));
    version.and_then(|version| version.strip_suffix('"')).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_has_a_name_of_its_own_and_a_version() {
        for (at, entry) in ALL.iter().enumerate() {
            assert_ne!(entry.version(), "unknown", "{}", entry.name);
            assert!(ALL[..at].iter().all(|other| other.name != entry.name), "{}", entry.name);
        }
        assert_eq!(version("name = \"a\"\nversion = \"1\"\n", "b"), "unknown");
    }
}
