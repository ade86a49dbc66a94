//! In which order an open changes the directory.

use std::sync::Arc;

use harness::MemoryDisk;

use crate::support::{append_numbered, at, open, options, segment_name};

#[test]
fn what_leaves_the_chain_stays_until_the_new_header_is_durable() {
    let disk = MemoryDisk::new(8);
    let log = options().unproven_segments_max(100).open_on(Arc::new(disk.clone())).expect("opens");
    let places = append_numbered(&log, 0..300);
    let last = places.last().expect("places").segment;
    let left = disk.snapshot();
    let torn = places.iter().find(|place| place.segment == 2).expect("in segment 2");
    left.edit_file(&segment_name(2), |bytes| bytes[at(torn.position)] ^= 0x10);
    let _the_setting = left.take_operations();
    let recovered = open(&left).expect("recovers");
    assert!(!recovered.recovery().quarantined.is_empty());
    let operations = left.take_operations();
    let header = format!("sync {}", segment_name(last + 1));
    let durable = operations.iter().rposition(|operation| *operation == header);
    let goes = |operation: &String| operation.starts_with("quarantine") || operation.starts_with("unlink");
    let gone = operations.iter().position(goes);
    assert!(durable.is_some() && gone > durable, "{operations:?}");
}
