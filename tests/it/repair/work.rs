//! How much work hostile bytes can make: no more than so much for each byte of a file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use esker::inspect::verify_on;
use esker::repair::{Accept, apply_on, plan_on};
use esker::{Attached, Background, Options};
use harness::MemoryDisk;
use harness::hostile::{LIAR_BYTES, liars};

use super::look;
use crate::support::{append_numbered, segment_name};

const SEGMENT_BYTES: u64 = 4 << 20;
/// Each of these takes some hundred times as long if every place is summed up to the end of the file.
const PATIENCE: Duration = Duration::from_secs(20);

fn big() -> Options {
    Options::new().segment_bytes(SEGMENT_BYTES).background(Background::Manual)
}

/// A log of one long segment that was not closed, and where its frames end.
fn killed() -> (MemoryDisk, usize) {
    let disk = MemoryDisk::new(9);
    let log = big().open_on(Arc::new(disk.clone())).expect("opens");
    append_numbered(&log, 0..9);
    log.sync().expect("syncs");
    append_numbered(&log, 9..12);
    let left = disk.snapshot();
    let end = log.stats().visible.place.position;
    (left, usize::try_from(end).expect("small"))
}

/// All that goes over a whole file, whatever it says of it.
fn look_in_all_ways(disk: &MemoryDisk, what: &str) {
    let since = Instant::now();
    let verified = verify_on(disk, &mut |_| {});
    let opened = big().open_on(Arc::new(disk.snapshot()));
    let attached = Attached::open_on(Arc::new(disk.snapshot()));
    let planned = plan_on(disk);
    let applied = apply_on(disk, Accept::Loss);
    let took = since.elapsed();
    assert_eq!(planned.is_ok(), applied.is_ok(), "{what}: {planned:?}, {applied:?}");
    assert!(took < PATIENCE, "{what}: {took:?}");
    drop((verified, opened, attached));
    if applied.is_ok() {
        assert!(!look(disk).is_damaged(), "{what}: {:?}", look(disk).findings);
        drop(big().open_on(Arc::new(disk.clone())).unwrap_or_else(|error| panic!("{what}: {error}")));
    }
}

#[test]
fn frames_that_lie_inside_of_one_another_are_summed_a_few_times_at_most() {
    for kind in [1, 2] {
        for claimed in [false, true] {
            let (disk, end) = killed();
            let name = segment_name(1);
            disk.edit_file(&name, |bytes| liars(bytes, end, bytes.len(), kind));
            if claimed {
                super::hostile::claim(&disk, 1, SEGMENT_BYTES - 64);
            }
            look_in_all_ways(&disk, &format!("kind {kind}, claimed {claimed}"));
        }
    }
}

#[test]
fn lengths_that_no_frame_stands_behind_are_not_summed() {
    let word = [0, 0, 0x20, 0, 1, 0, 7, 7];
    let bytes: Vec<u8> = word.into_iter().cycle().take(usize::try_from(SEGMENT_BYTES).expect("small")).collect();
    let disk = MemoryDisk::new(1);
    disk.put_file(&segment_name(1), &bytes);
    look_in_all_ways(&disk, "one word");
}

#[test]
fn rotten_bodies_before_one_frame_are_summed_up_to_a_limit() {
    let (disk, end) = killed();
    let name = segment_name(1);
    disk.edit_file(&name, |bytes| {
        let last = bytes.len() - LIAR_BYTES;
        liars(bytes, last, bytes.len(), 1);
        liars(bytes, end, last, 1);
        bytes[..last].iter_mut().rev().take(1).for_each(|byte| *byte ^= 1);
        bytes[..end].fill(0x55);
    });
    disk.remove("anchor");
    look_in_all_ways(&disk, "rotten bodies");
}
