//! `esker repair`: what a repair would do, and with `--apply` does.
//!
//! Guarantees:
//! 1. Without `--apply` nothing is changed. With it nothing is changed either if something durable would be given up and
//!    `--accept-loss` does not say that it may: exit code 4.
//! 2. What is printed are the steps that were planned, or done; what was done is durable.

use std::path::{Path, PathBuf};

use esker::repair::{self, Accept, Plan, StateLoss, Step, TailLoss};
use esker::{ErrorKind, Offset};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Align, Output};
use crate::text::readable;

const COLUMNS: [(&str, Align); 6] = [
    ("action", Align::Left),
    ("file", Align::Left),
    ("kept", Align::Right),
    ("lost offsets", Align::Left),
    ("state", Align::Left),
    ("cause", Align::Left),
];

const JSON_HELP: &str = "Print one JSON object a step: v action segment file cause records_kept lost state tail loses; lost is a \
    list of position bytes offset next cause, state is \"kept\" or \"as-left\", tail is \"kept\" or \"unknown\". Then one with \"summary\": true";

/// Show what a repair would do; with --apply, do it
///
/// Segments are written anew, with gaps in place of what does not check; the originals go to quarantine/. Records keep their
/// offsets, and readers meet the gaps as such. Exit code 0: nothing to repair, or repaired; a bad anchor alone is nothing, the next
/// open writes it anew. 1: there is something to repair. 2: something stands in the way, or it is no log. 3: a writer holds the
/// log. 4: refused, what was durable would be given up.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory of the log
    dir: PathBuf,
    /// Do it
    #[arg(long)]
    apply: bool,
    /// Give up what cannot be kept, also if it was durable
    #[arg(long, requires = "apply")]
    accept_loss: bool,
    #[arg(long, help = JSON_HELP)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let dir = &arguments.dir;
    if !arguments.apply {
        let plan = repair::plan(dir)?;
        show(arguments, &plan, Done::Planned, output)?;
        return if plan.steps.is_empty() { Ok(()) } else { Err(Failure::Damage(to_do(dir, &plan))) };
    }
    let accept = if arguments.accept_loss { Accept::Loss } else { Accept::NoLoss };
    match repair::apply(dir, accept) {
        Ok(plan) => show(arguments, &plan, Done::Applied, output),
        Err(error) if error.kind() == ErrorKind::Loss => {
            show(arguments, &repair::plan(dir)?, Done::Planned, output)?;
            Err(Failure::Engine(error))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the steps that are shown were done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Planned,
    Applied,
}

fn to_do(dir: &Path, plan: &Plan) -> String {
    let dir = readable(dir.as_os_str().as_encoded_bytes());
    let how = if plan.loses() {
        "what cannot be kept is lost: restore a copy if there is one, else repair with --apply --accept-loss"
    } else {
        "nothing durable is lost by it: repair with --apply"
    };
    format!("{dir}: nothing was changed; {how}")
}

fn show(arguments: &Arguments, plan: &Plan, done: Done, output: &mut Output) -> Result<(), Failure> {
    if arguments.json {
        plan.steps.iter().try_for_each(|step| output.json(&as_json(step)))?;
        return output.json(&summary(plan, done));
    }
    if !plan.steps.is_empty() {
        output.table(&COLUMNS, plan.steps.iter().map(as_row).collect())?;
    }
    let verb = match (done, plan.steps.is_empty()) {
        (_, true) => "nothing to repair",
        (Done::Planned, false) => "planned",
        (Done::Applied, false) => "repaired",
    };
    let state = plan.steps.iter().any(|step| step.state != StateLoss::None);
    output.line(format!(
        "{verb}: {} step{}, {}{} record{} lost{}{}",
        plan.steps.len(),
        if plan.steps.len() == 1 { "" } else { "s" },
        if plan.loses_tail() { "at least " } else { "" },
        plan.records_lost(),
        if plan.records_lost() == 1 { "" } else { "s" },
        if state { ", state as of what is left" } else { "" },
        plan.torn_tail.map_or(String::new(), |line| format!("; a torn tail at {}: the next open cuts it", line.place)),
    ))?;
    plan.anchor.as_ref().map_or(Ok(()), |note| output.line(format!("anchor: {}", readable(note.as_bytes()))))
}

fn as_row(step: &Step) -> Vec<String> {
    let offsets = |lost: &repair::Lost| format!("{}..{}", lost.offsets.start, lost.offsets.end);
    let lost: Vec<String> = step.lost.iter().filter(|lost| !lost.offsets.is_empty()).map(offsets).collect();
    let causes: Vec<&str> = step.lost.iter().map(|lost| lost.cause.as_str()).take(1).collect();
    let cause = causes.first().map_or(step.cause.clone(), |first| format!("{}: {first}", step.cause));
    vec![
        step.action.name().to_owned(),
        readable(step.file.as_os_str().as_encoded_bytes()),
        step.segment.map_or_else(|| "-".to_owned(), |_| step.records_kept.to_string()),
        match (lost.is_empty(), step.tail) {
            (true, TailLoss::None) => "-".to_owned(),
            (false, TailLoss::None) => lost.join(" "),
            (true, _) => "unknown".to_owned(),
            (false, _) => format!("{} and more", lost.join(" ")),
        },
        state(step).to_owned(),
        readable(cause.as_bytes()),
    ]
}

fn state(step: &Step) -> &'static str {
    match step.state {
        StateLoss::None => "kept",
        _ => "as-left",
    }
}

fn as_json(step: &Step) -> Value {
    let lost = step.lost.iter().map(|lost| {
        json!({
            "position": lost.position,
            "bytes": lost.bytes,
            "offset": lost.offsets.start.get(),
            "next": lost.offsets.end.get(),
            "cause": lost.cause,
        })
    });
    json!({
        "v": 1,
        "action": step.action.name(),
        "segment": step.segment,
        "file": readable(step.file.as_os_str().as_encoded_bytes()),
        "cause": step.cause,
        "records_kept": step.records_kept,
        "lost": lost.collect::<Vec<_>>(),
        "state": state(step),
        "tail": if step.tail == TailLoss::None { "kept" } else { "unknown" },
        "loses": step.loses(),
    })
}

fn summary(plan: &Plan, done: Done) -> Value {
    let offset = |offset: Offset| offset.get();
    json!({
        "v": 1,
        "summary": true,
        "applied": done == Done::Applied,
        "steps": plan.steps.len(),
        "loses": plan.loses(),
        "records_lost": plan.records_lost(),
        "durable": offset(plan.durable.offset),
        "torn_tail": plan.torn_tail.map(|line| json!({
            "segment": line.place.segment, "position": line.place.position, "offset": offset(line.offset),
        })),
        "anchor": plan.anchor,
    })
}
