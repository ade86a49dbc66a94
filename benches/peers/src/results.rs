//! What a run found: `results.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::statistic::Spread;
use crate::syncs::Syncs;

#[derive(Debug, Serialize, Deserialize)]
pub struct Results {
    pub machine: Machine,
    pub rounds: usize,
    pub engines: Vec<Built>,
    pub syncs: Vec<Syncs>,
    pub rows: Vec<Row>,
    /// What did not run, and why.
    pub failed: Vec<String>,
}

/// An engine as it was built and set.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Built {
    pub name: String,
    pub crate_name: String,
    pub version: String,
    pub setting: String,
}

/// One peer in one row, beside ours and the bare limit.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// A workload, or what a pass gives beside it.
    pub name: String,
    /// Payload bytes of an event.
    pub size: usize,
    pub peer: String,
    /// By round, in events a second; openings a second for reopening.
    pub rounds: Vec<Round>,
    /// Peer through ours, each round for itself.
    pub to_ours: Option<Spread>,
    /// Ours through the bare limit, each round for itself.
    pub ours_to_bare: Option<Spread>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Round {
    pub ours: f64,
    pub peer: f64,
    /// There is none for reopening.
    pub bare: Option<f64>,
    /// What the peer appended, which its time may have cut short.
    pub peer_events: u64,
}

impl Row {
    pub fn new(name: String, size: usize, peer: &str, rounds: Vec<Round>) -> Self {
        let to_ours = Spread::of(rounds.iter().map(|round| round.peer / round.ours));
        let ours_to_bare = Spread::of(rounds.iter().filter_map(|round| Some(round.ours / round.bare?)));
        Self { name, size, peer: peer.to_owned(), rounds, to_ours, ours_to_bare }
    }
}

/// Rows by size and name, each in the order in which it was measured.
pub fn grouped(rows: &[Row]) -> BTreeMap<usize, Vec<(&str, Vec<&Row>)>> {
    let mut sizes: BTreeMap<usize, Vec<(&str, Vec<&Row>)>> = BTreeMap::new();
    for row in rows {
        let groups = sizes.entry(row.size).or_default();
        match groups.iter_mut().find(|(name, _)| *name == row.name) {
            Some((_, group)) => group.push(row),
            None => groups.push((&row.name, vec![row])),
        }
    }
    sizes
}
