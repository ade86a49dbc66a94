//! What a kill leaves of a header: its first word is stored last.

use std::sync::Arc;

use esker::inspect::{FindingClass, verify_on};
use esker::{Attached, Ending, ErrorKind};
use harness::MemoryDisk;

use crate::support::{append_numbered, expected, open, payloads, segment_name};

/// What a kill leaves between the store of a header and that of its first word, which comes last.
fn cut_header(disk: &MemoryDisk, segment: u64) {
    const HEADER_BYTES: usize = 256;
    disk.edit_file(&segment_name(segment), |bytes| {
        bytes[..8].fill(0);
        bytes[HEADER_BYTES..].fill(0);
    });
}

/// Before this segment there was nothing: an open has nothing to lose by beginning anew.
#[test]
fn a_kill_in_the_header_of_the_first_segment_leaves_no_log() {
    let disk = MemoryDisk::new(1);
    let left = {
        let _log = open(&disk).expect("opens");
        disk.snapshot()
    };
    cut_header(&left, 1);
    left.remove("anchor");
    let log = open(&left).expect("begins anew");
    assert_eq!((log.recovery().ending, log.visible().get()), (Ending::Created, 0));
}

#[test]
fn a_kill_in_the_header_of_a_later_segment_keeps_all_before_it() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    let places = append_numbered(&log, 0..100);
    let newest = places.last().expect("some").segment;
    let kept = (0..).zip(&places).find(|(_, place)| place.segment == newest).expect("one").0;
    assert!(newest > 2 && kept > 0, "{places:?}");
    let left = disk.snapshot();
    cut_header(&left, newest);
    let log = open(&left).expect("recovers");
    assert_eq!((log.recovery().ending, &log.recovery().cut), (Ending::Unclean, &None));
    assert!(payloads(&log) == expected(0..kept));
    assert_eq!(log.recovery().quarantined, [segment_name(newest)]);
}

#[test]
fn frames_without_any_header_are_a_lost_log_for_everybody_who_looks() {
    let disk = MemoryDisk::new(1);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..10);
    let left = disk.snapshot();
    left.remove("anchor");
    left.edit_file(&segment_name(1), |bytes| bytes[..256].fill(0));
    let refused = open(&left).expect_err("frames are there");
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    let attached = Attached::open_on(Arc::new(left.clone())).expect("damage is met by reading");
    assert_eq!(attached.refusal().map(|error| error.to_string()), Some(refused.to_string()));
    let met = attached.reader().poll().expect_err("damage");
    assert_eq!(met.kind(), ErrorKind::Corrupt, "{met}");
    let found = verify_on(&left, &mut |_| {}).expect("damage is no error here");
    let damage: Vec<_> = found.findings.iter().filter(|finding| finding.class.is_damage()).collect();
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert_eq!((damage[0].class, damage[0].segment), (FindingClass::HeaderRot, Some(1)), "{}", damage[0]);
    // Where nothing but a session was stored, there was no log yet.
    left.edit_file(&segment_name(1), |bytes| bytes[4176..].fill(0));
    assert_eq!(verify_on(&left, &mut |_| {}).expect_err("no log").kind(), ErrorKind::Invalid);
    assert_eq!(Attached::open_on(Arc::new(left.clone())).expect_err("no log").kind(), ErrorKind::Invalid);
    assert_eq!(open(&left).expect("begins anew").recovery().ending, Ending::Created);
}
