//! A run: which rows, in which turns.
//!
//! Guarantees:
//! 1. In a round ours, the peer and the bare limit follow each other at once, and each comes first in turn; ratios are
//!    taken within a round.
//! 2. No pass appends more than [`VISIBLE_BYTES`] of payload.
//! 3. What an engine cannot do, or was not seen to do, has no row; what failed is told with its reason.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::engine::{Durability, Entry, OURS};
use crate::pass::{Order, Outcome};
use crate::results::{Results, Round, Row};
use crate::statistic::{geometric_mean, real};
use crate::syncs::Syncs;
use crate::tally::length;
use crate::workload::{REOPEN, Workload};
use crate::{bare, child};

/// With all that engines keep beside it, under 1 GiB on disk.
pub const VISIBLE_BYTES: u64 = 192 << 20;
const DURABLE_BYTES: u64 = 32 << 20;
/// Filling a log to be read may take so many times the time of a pass.
const FILLING_TIMES: u32 = 4;
/// By these rows the best peers are found.
const BEST_BY: [&str; 3] = ["append-1", "append-100", "scan"];

pub struct Plan {
    pub peers: Vec<&'static Entry>,
    pub workloads: Vec<Workload>,
    /// Payload bytes of an event. The first is measured of all peers, the others of the best.
    pub sizes: Vec<usize>,
    pub best: usize,
    pub rounds: usize,
    pub events_max: Option<u64>,
    pub time_max: Duration,
    pub data: PathBuf,
}

impl Plan {
    /// Measures everything into `results`, which know the syncs.
    pub fn run(&self, results: &mut Results) {
        let mut peers = self.peers.clone();
        for (at, size) in self.sizes.iter().enumerate() {
            if at == 1 {
                peers = self.best(&results.rows);
            }
            for workload in &self.workloads {
                for peer in peers.iter().filter(|peer| takes(peer, *workload, &results.syncs)) {
                    eprintln!("{}, {size} bytes, {}", workload.name(), peer.name);
                    match self.rows(peer, *workload, *size) {
                        Ok(rows) => results.rows.extend(rows),
                        Err(error) => {
                            eprintln!("failed: {error:#}");
                            results.failed.push(format!("{error:#}"));
                        }
                    }
                }
            }
        }
    }

    /// One peer in one workload: a row, and a second one of a workload that reads.
    fn rows(&self, peer: &Entry, workload: Workload, size: usize) -> Result<Vec<Row>> {
        let (mut rounds, mut reopenings) = (Vec::new(), Vec::new());
        for round in 0..self.rounds {
            let mut turns = [(bare::NAME, None), (OURS, None), (peer.name, None)];
            turns.rotate_left(round % 3);
            for (name, outcome) in &mut turns {
                *outcome = Some(child::run(self.order(name, workload, size), &self.data)?);
            }
            let of =
                |wanted: &str| turns.iter().find(|(name, _)| *name == wanted).and_then(|(_, outcome)| outcome.as_ref());
            let (Some(bare), Some(ours), Some(theirs)) = (of(bare::NAME), of(OURS), of(peer.name)) else { continue };
            let peer_events = theirs.events;
            rounds.push(Round { ours: rate(ours), peer: rate(theirs), bare: Some(rate(bare)), peer_events });
            if let (Some(ours), Some(theirs)) = (ours.reopening, theirs.reopening) {
                let each = |time: Duration| 1.0 / time.as_secs_f64();
                reopenings.push(Round { ours: each(ours), peer: each(theirs), bare: None, peer_events });
            }
        }
        let mut rows = vec![Row::new(workload.name(), size, peer.name, rounds)];
        if !reopenings.is_empty() {
            rows.push(Row::new(REOPEN.to_owned(), size, peer.name, reopenings));
        }
        Ok(rows)
    }

    fn order(&self, name: &str, workload: Workload, size: usize) -> Order {
        let bytes = if workload.durability() == Durability::Durable { DURABLE_BYTES } else { VISIBLE_BYTES };
        let fit = (bytes / length(size)).max(1);
        let times = if workload == Workload::Read { FILLING_TIMES } else { 1 };
        Order {
            engine: name.to_owned(),
            workload,
            size,
            events_max: self.events_max.map_or(fit, |events| events.min(fit)),
            time_max: self.time_max * times,
            folder: PathBuf::new(),
        }
    }

    /// The peers with the highest mean ratio in the rows that every log has.
    fn best(&self, rows: &[Row]) -> Vec<&'static Entry> {
        let mut means = Vec::new();
        for peer in &self.peers {
            let ratios: Vec<f64> = rows
                .iter()
                .filter(|row| row.peer == peer.name && row.size == self.sizes[0] && BEST_BY.contains(&&*row.name))
                .filter_map(|row| Some(row.to_ours?.median))
                .collect();
            if let Some(mean) = geometric_mean(&ratios).filter(|_| ratios.len() == BEST_BY.len()) {
                means.push((mean, *peer));
            }
        }
        means.sort_by(|a, b| b.0.total_cmp(&a.0));
        means.into_iter().take(self.best).map(|(_, peer)| peer).collect()
    }
}

fn takes(peer: &Entry, workload: Workload, syncs: &[Syncs]) -> bool {
    let seen = || syncs.iter().any(|syncs| syncs.engine == peer.name && syncs.durable);
    match workload {
        Workload::Read => true,
        Workload::Append { durability, .. } => peer.takes(durability) && (durability == Durability::Visible || seen()),
    }
}

fn rate(outcome: &Outcome) -> f64 {
    real(outcome.events) / outcome.elapsed.as_secs_f64()
}
