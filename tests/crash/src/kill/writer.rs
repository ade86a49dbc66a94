//! What a writer process does until it is killed.
//!
//! Guarantees:
//! 1. A thread that did not get its line out has not gone on: of what nobody heard of, each has one frame at most.
//! 2. What the consumer is about to commit, which follows from what it reads, it says before.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use esker::{Commit, Ending, Log, Offset, Record, RecordRef, Ticket, Topic};
use harness::Dice;

use super::ledger::{CURSOR, SUM, Sum, output, producer_changes};
use super::pipe::{Pipe, wait_for_parent};
use super::plan::{LastAct, OUTPUT_TOPIC, Run, Sample};

/// How an open can find a log, as numbers.
pub(super) const ENDINGS: [Ending; 4] = [Ending::Created, Ending::Clean, Ending::Unclean, Ending::Torn];
/// Handled in one commit: outputs of so many fit into a frame of the smallest segment.
const PIECE_RECORDS: usize = 40;

pub(super) fn live(folder: &Path, seed: u64) {
    let (run, pipe) = (Run::of(seed), Pipe::of_child());
    let log = match run.options.open(folder) {
        Ok(log) => log,
        Err(error) => return pipe.say(&format!("error open: {error}")),
    };
    let report = log.recovery();
    let ending = ENDINGS.iter().position(|ending| *ending == report.ending).expect("one of those");
    let (epoch, end) = (report.epoch, report.end);
    let place = format!("{} {}", end.place.segment, end.place.position);
    pipe.say(&format!("open {} {} {} {ending} {place}", epoch.counter, epoch.word, end.offset));
    let producing = AtomicU64::new(run.threads);
    thread::scope(|scope| {
        for number in 0..run.threads {
            let (run, log, pipe, producing) = (&run, &log, &pipe, &producing);
            scope.spawn(move || {
                write(run, number, log, pipe);
                // Release; pairs with the Acquire of the consumer.
                producing.fetch_sub(1, Ordering::Release);
            });
        }
        scope.spawn(|| consume(&run, &log, &producing, &pipe));
    });
    match run.last_act {
        LastAct::Stay => pipe.say("done"),
        LastAct::Close => match log.close() {
            Ok(()) => return pipe.say("closed"),
            Err(error) => return pipe.say(&format!("error close: {error}")),
        },
    }
    wait_for_parent();
}

fn write(run: &Run, thread: u64, log: &Log, pipe: &Pipe) {
    let mut dice = Dice::new(run.seed ^ (thread << 32));
    let frames = usize::try_from(run.frames).expect("few");
    for (index, samples) in (0..).zip(run.plan(thread).take(frames)) {
        let headers: Vec<_> = samples.iter().map(Sample::headers).collect();
        let records: Vec<_> = samples.iter().zip(&headers).map(|(sample, headers)| sample.record(headers)).collect();
        let ticket = match produce(log, run, thread, index, &records) {
            Ok(ticket) => ticket,
            Err(error) => return pipe.say(&format!("error append: {error}")),
        };
        let (offsets, place) = (ticket.offsets(), spell(&ticket));
        pipe.say(&format!("visible {thread} {} {} {place}", offsets.start, offsets.end));
        if dice.below(run.waits) == 0 {
            match ticket.wait() {
                Ok(()) => pipe.say(&format!("durable {} {place}", offsets.end)),
                Err(error) => return pipe.say(&format!("error wait: {error}")),
            }
        }
    }
}

fn spell(ticket: &Ticket<'_>) -> String {
    format!("{} {}", ticket.place().segment, ticket.place().position)
}

/// Appends a producer's frame with this index: records alone, or with entries.
fn produce<'l>(log: &'l Log, run: &Run, thread: u64, index: u64, records: &[Record<'_>]) -> esker::Result<Ticket<'l>> {
    let changes = producer_changes(run.seed, thread, index);
    if changes.is_empty() {
        return log.append_batch(records);
    }
    let commit = Commit::new().records(records.iter().copied());
    let commit = changes.iter().fold(commit, |commit, (key, value)| match value {
        Some(value) => commit.state(key, value),
        None => commit.remove_state(key),
    });
    log.commit(commit)
}

/// What the consumer does, until the producers are done and it has handled everything: for each piece of what it reads it
/// commits what it made of it, a sum in the state, and the move of its cursor, in one commit.
fn consume(run: &Run, log: &Log, producing: &AtomicU64, pipe: &Pipe) {
    if log.cursor_info(CURSOR).expect("shown").is_none() {
        pipe.say("moving 0");
        match log.commit(Commit::new().cursor(CURSOR, Offset::new(0))) {
            Ok(ticket) => pipe.say(&format!("moved {} {}", ticket.offset(), spell(&ticket))),
            Err(error) => return pipe.say(&format!("error begin: {error}")),
        }
    }
    let mut cursor = match log.cursor(CURSOR) {
        Ok(cursor) => cursor,
        Err(error) => return pipe.say(&format!("error cursor: {error}")),
    };
    let sum = log.state(SUM).expect("shown");
    let mut sum = sum.map_or_else(Sum::default, |held| Sum::decode(held.value()));
    loop {
        // Asked before the poll: what they appended until they were done is then seen. Acquire; pairs with the Release
        // of a producer that is done.
        let done = producing.load(Ordering::Acquire) == 0;
        let batch = match cursor.poll_wait(Duration::from_millis(1)) {
            Ok(Some(batch)) => batch,
            Ok(None) if done => return,
            Ok(None) => continue,
            Err(error) => return pipe.say(&format!("error poll: {error}")),
        };
        let records: Vec<RecordRef<'_>> = batch.iter().collect();
        for piece in records.chunks(PIECE_RECORDS) {
            let next = piece.last().expect("not empty").offset().after(1);
            let inputs = piece.iter().filter(|record| record.topic().get() != OUTPUT_TOPIC);
            let outputs: Vec<Vec<u8>> =
                inputs.clone().map(|input| output(run.seed, input.offset().get(), next.get())).collect();
            inputs.for_each(|input| sum.add(&Sample::found(input)));
            let (topic, value) = (Topic::new(OUTPUT_TOPIC).expect("small"), sum.encode());
            let commit = Commit::new().records(outputs.iter().map(|payload| Record::new(payload).topic(topic)));
            let commit = if outputs.is_empty() { commit } else { commit.state(SUM, &value) };
            pipe.say(&format!("moving {next}"));
            match cursor.commit_with(next, commit) {
                Ok(ticket) => pipe.say(&format!("moved {} {}", ticket.offset(), spell(&ticket))),
                Err(error) => return pipe.say(&format!("error commit: {error}")),
            }
        }
    }
}
