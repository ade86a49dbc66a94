//! What a writer said, as the oracle wants to hear it.
//!
//! Guarantees:
//! 1. Producers' frames are those of their plans; the consumer's follow from the inputs that it read. None is taken from
//!    what is to be judged: that an input is there, the oracle says.
//! 2. Of each thread the frame that it was about to append when it died is open.

use harness::oracle::{Frame, History, Parts, cursor_key, fingerprint};

use super::ledger::{CURSOR, Ledger, SUM, output, producer_changes};
use super::life::Account;
use super::plan::{CONSUMER, Identity, OUTPUT_TOPIC, Run, Sample, usize_of};

/// Tells a history what was submitted, and what was answered, in one life of a writer.
pub(super) fn tell(history: &mut History, run: &Run, account: &Account, found: &[Identity], ledger: &Ledger) {
    let Some(opened) = account.opened else {
        assert!(account.visible.is_empty() && account.moves.is_empty(), "appended before it opened: {account:?}");
        return;
    };
    assert!(opened.end <= u64::try_from(found.len()).expect("few"), "{opened:?}: only {} are there", found.len());
    for thread in 0..run.threads {
        let mut plan =
            (0..run.frames).zip(run.plan(thread)).map(|(index, samples)| frame(run, thread, index, &samples));
        for visible in account.visible.iter().filter(|visible| visible.thread == thread) {
            let frame = plan.next().expect("no more than planned");
            assert_eq!(usize_of(visible.next - visible.first), frame.records.len(), "{visible:?}");
            history.submit(thread, frame);
            history.visible(thread, visible.first, visible.place);
        }
        if let Some(open) = plan.next() {
            history.submit(thread, open);
        }
    }
    tell_consumer(history, run, account, found, ledger);
    account.durable.iter().for_each(|place| history.durable(*place));
}

fn frame(run: &Run, thread: u64, index: u64, samples: &[Sample]) -> Frame {
    let changes = producer_changes(run.seed, thread, index).into_iter();
    let changes = changes.map(|(key, value)| (key.into_bytes(), value.map(|value| fingerprint(&[&value]))));
    Frame { records: samples.iter().map(Sample::fingerprint).collect(), changes: changes.collect() }
}

fn tell_consumer(history: &mut History, run: &Run, account: &Account, found: &[Identity], ledger: &Ledger) {
    let (mut from, mut sum) = (ledger.moved, ledger.sum);
    for moving in &account.moves {
        let next = moving.next;
        let read = found.get(usize_of(from)..usize_of(next));
        let read = read.unwrap_or_else(|| panic!("the consumer read {from} to {next}, {} are there", found.len()));
        let mut records = Vec::new();
        for (offset, identity) in (from..next).zip(read).filter(|(_, identity)| !identity.is_output()) {
            sum.add(&Sample::of(*identity));
            let payload = output(run.seed, offset, next);
            records.push(Parts { payload: &payload, topic: OUTPUT_TOPIC, ..Parts::default() }.fingerprint());
        }
        let mut changes = vec![(cursor_key(CURSOR), Some(next))];
        if !records.is_empty() {
            changes.push((SUM.into(), Some(fingerprint(&[&sum.encode()]))));
        }
        history.submit(CONSUMER, Frame { records, changes });
        if let Some((first, place)) = moving.visible {
            history.visible(CONSUMER, first, place);
        }
        from = next;
    }
}
