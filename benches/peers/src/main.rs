//! esker beside the engines that a user would pick instead. See `README.md`.

mod bare;
mod chart;
mod child;
mod engine;
mod machine;
mod pass;
mod plan;
mod results;
mod statistic;
mod syncs;
mod table;
mod tally;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::engine::{Entry, OURS};
use crate::machine::Machine;
use crate::plan::Plan;
use crate::results::{Built, Results, grouped};
use crate::workload::Workload;

/// esker beside the engines that a user would pick instead
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure everything: events of 100 bytes with all peers, of 1 and 16 KiB with the best four
    All(Options),
    /// The same shape in short passes, events of 100 bytes: to see that it works, not to publish
    Quick(Options),
    /// Count the syncs of a durable call, engine by engine, by strace
    Syncs {
        /// Engines, separated by commas; all unless given
        #[arg(long, value_delimiter = ',')]
        engines: Vec<String>,
        /// A folder on a disk, for temporary data
        #[arg(long, default_value = ".")]
        data: PathBuf,
    },
    /// The engines that were built
    List,
    /// One pass; what the other commands start
    #[command(name = child::PASS, hide = true)]
    Pass { order: String },
}

#[derive(Args)]
struct Options {
    /// Where results.json, results.md and the charts go
    #[arg(long, default_value = "results")]
    out: PathBuf,
    /// A folder on a disk, for temporary data
    #[arg(long, default_value = ".")]
    data: PathBuf,
    /// Peers, separated by commas; all unless given
    #[arg(long, value_delimiter = ',')]
    engines: Vec<String>,
    /// append-1, append-100, durable-1, durable-8, durable-64, scan (which opens too); all unless given
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<String>,
    /// Payload bytes of an event; the first with all peers, the others with the best four
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<usize>,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// At most so many events a pass
    #[arg(long)]
    events: Option<u64>,
    /// At most so many milliseconds a pass; 2000, or 200 of a quick run
    #[arg(long)]
    milliseconds: Option<u64>,
}

/// How a run differs from another one.
struct Extent {
    sizes: &'static [usize],
    milliseconds: u64,
    events: Option<u64>,
}

const ALL: Extent = Extent { sizes: &[100, 1024, 16_384], milliseconds: 2000, events: None };
const QUICK: Extent = Extent { sizes: &[100], milliseconds: 200, events: Some(200_000) };
const BEST: usize = 4;

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::All(options) => run(&options, &ALL),
        Command::Quick(options) => run(&options, &QUICK),
        Command::Syncs { engines, data } => {
            let mut page = String::new();
            table::syncs(&mut page, &seen(&chosen(&engines, true)?, &data.canonicalize()?)?)?;
            print!("{page}");
            Ok(())
        }
        Command::List => {
            for entry in engine::ALL {
                println!("{} ({} {}): {}", entry.name, entry.crate_name, entry.version(), entry.setting);
            }
            Ok(())
        }
        Command::Pass { order } => pass(&serde_json::from_str(&order)?),
    }
}

fn pass(order: &pass::Order) -> Result<()> {
    let outcome = match engine::named(&order.engine) {
        Some(entry) => (entry.run)(order)?,
        None if order.engine == bare::NAME => bare::run(order)?,
        None => bail!("no engine {}", order.engine),
    };
    child::print(&outcome)
}

fn run(options: &Options, extent: &Extent) -> Result<()> {
    let data = options.data.canonicalize().with_context(|| format!("{}: find", options.data.display()))?;
    let peers = chosen(&options.engines, false)?;
    let workloads = match &options.workloads[..] {
        [] => workload::ALL.to_vec(),
        names => names.iter().map(|name| Workload::named(name)).collect::<Result<_>>()?,
    };
    let plan = Plan {
        workloads,
        sizes: if options.sizes.is_empty() { extent.sizes.to_vec() } else { options.sizes.clone() },
        best: BEST,
        rounds: options.rounds,
        events_max: options.events.or(extent.events),
        time_max: Duration::from_millis(options.milliseconds.unwrap_or(extent.milliseconds)),
        data: data.clone(),
        peers: peers.clone(),
    };
    let mut engines = chosen(&[OURS.to_owned()], true)?;
    engines.extend(peers);
    let built = |entry: &&Entry| Built {
        name: entry.name.to_owned(),
        crate_name: entry.crate_name.to_owned(),
        version: entry.version().to_owned(),
        setting: entry.setting.to_owned(),
    };
    let mut results = Results {
        machine: Machine::of(&data)?,
        rounds: plan.rounds,
        engines: engines.iter().map(built).collect(),
        syncs: seen(&engines, &data)?,
        rows: Vec::new(),
        failed: Vec::new(),
    };
    plan.run(&mut results);
    write(&results, &options.out)
}

fn seen(engines: &[&'static Entry], data: &Path) -> Result<Vec<syncs::Syncs>> {
    engines.iter().map(|entry| syncs::of(entry, data)).collect()
}

/// The engines of these names; all if there are none, and ours among them if it is wanted.
fn chosen(names: &[String], with_ours: bool) -> Result<Vec<&'static Entry>> {
    if names.is_empty() {
        return Ok(engine::ALL.iter().filter(|entry| with_ours || entry.name != OURS).collect());
    }
    names
        .iter()
        .map(|name| {
            let known = || engine::ALL.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
            engine::named(name).with_context(|| format!("no engine {name}; there are {}", known()))
        })
        .collect()
}

fn write(results: &Results, out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("{}: make", out.display()))?;
    fs::write(out.join("results.json"), serde_json::to_string_pretty(results)?)?;
    fs::write(out.join("results.md"), table::page(results)?)?;
    for (size, groups) in grouped(&results.rows) {
        fs::write(out.join(format!("results-{size}.svg")), chart::picture(size, &groups, &results.machine)?)?;
    }
    eprintln!("{}: results.json, results.md and the charts", out.display());
    Ok(())
}
