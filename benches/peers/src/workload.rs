//! What is measured: the workloads, and the rows that they make.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::engine::Durability;

/// One kind of pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workload {
    /// Calls of so many events by so many threads, each waiting for its call.
    Append { batch: usize, threads: u64, durability: Durability },
    /// A log is filled and closed; it is opened again, and scanned.
    Read,
}

/// All of them, in the order of the results.
pub const ALL: [Workload; 6] = [
    Workload::Append { batch: 1, threads: 1, durability: Durability::Visible },
    Workload::Append { batch: 100, threads: 1, durability: Durability::Visible },
    Workload::Append { batch: 1, threads: 1, durability: Durability::Durable },
    Workload::Append { batch: 1, threads: 8, durability: Durability::Durable },
    Workload::Append { batch: 1, threads: 64, durability: Durability::Durable },
    Workload::Read,
];

/// What a pass that reads gives beside its scan.
pub const REOPEN: &str = "reopen";

impl Workload {
    pub fn durability(self) -> Durability {
        match self {
            Self::Append { durability, .. } => durability,
            Self::Read => Durability::Visible,
        }
    }

    /// The name in options and results; a pass that reads makes the row `reopen` too.
    pub fn name(self) -> String {
        match self {
            Self::Append { batch, durability: Durability::Visible, .. } => format!("append-{batch}"),
            Self::Append { threads, .. } => format!("durable-{threads}"),
            Self::Read => "scan".to_owned(),
        }
    }

    pub fn named(name: &str) -> Result<Self> {
        let Some(found) = ALL.into_iter().find(|workload| workload.name() == name) else {
            let names: Vec<_> = ALL.into_iter().map(Self::name).collect();
            bail!("no workload {name}; there are {}", names.join(", "))
        };
        Ok(found)
    }
}

/// What a row of this name shows, for people.
pub fn title(row: &str) -> &'static str {
    match row {
        "append-1" => "append, 1 event a call, visible",
        "append-100" => "append, 100 events a call, visible",
        "durable-1" => "append, durable, 1 thread",
        "durable-8" => "append, durable, 8 threads",
        "durable-64" => "append, durable, 64 threads",
        "scan" => "scan in order",
        _ => "open a closed log",
    }
}
