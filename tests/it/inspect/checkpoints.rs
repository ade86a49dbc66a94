//! What verify says of checkpoints that are whole and wrong.

use esker::inspect::{FindingClass, Verification, verify_on};
use harness::MemoryDisk;

use crate::support::{append_numbered, at, open};

fn look(disk: &MemoryDisk) -> Verification {
    verify_on(disk, &mut |_| {}).expect("looks")
}

#[test]
fn a_checkpoint_that_is_whole_and_says_what_the_log_does_not_is_wrong() {
    let disk = MemoryDisk::new(21);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..20);
    let _ = log.commit(esker::Commit::new().state("total", "12345")).expect("commits");
    log.close().expect("closes");
    assert_eq!(look(&disk).checkpoints, 1);
    let forged = |edit: &dyn Fn(&mut [u8])| {
        let left = disk.snapshot();
        left.edit_file("0000000001.ckp", |bytes| {
            edit(bytes);
            let body_bytes = at(u64::from_le_bytes(bytes[120..128].try_into().expect("eight bytes")));
            let sum = crc32fast::hash(&bytes[256..256 + body_bytes]);
            bytes[108..112].copy_from_slice(&sum.to_le_bytes());
            bytes[12..16].fill(0);
            let sum = crc32fast::hash(&bytes[..256]);
            bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        });
        let found = look(&left);
        assert!(found.is_damaged());
        (found.findings[0].class, found.findings[0].cause.clone())
    };
    let value = |bytes: &mut [u8]| {
        let place = bytes.windows(5).position(|window| window == b"12345").expect("the value");
        bytes[place] = b'9';
    };
    let (class, cause) = forged(&value);
    assert_eq!(class, FindingClass::BadState, "{cause}");
    assert!(cause.contains("differs from the log in state total"), "{cause}");
    let (class, cause) = forged(&|bytes| bytes[64] ^= 1);
    assert_eq!(class, FindingClass::BrokenChain, "the offset of its line, which is the durable line: {cause}");
    let (class, cause) = forged(&|bytes| bytes[72] ^= 1);
    assert_eq!(class, FindingClass::WrongCheckpoint, "the incarnation: {cause}");
    let (class, cause) = forged(&|bytes| bytes[40] ^= 2);
    assert_eq!(class, FindingClass::WrongCheckpoint, "the sequence: {cause}");
    let (class, cause) = forged(&|bytes| bytes[112] ^= 1);
    assert_eq!(class, FindingClass::BadCheckpoint, "the count of entries: {cause}");
}

/// Whatever a turned bit makes of an entry: the sum says that it rotted, and nobody waits for a later version.
#[test]
fn a_rotten_entry_is_a_bad_checkpoint_and_never_of_a_later_program() {
    let disk = MemoryDisk::new(22);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..20);
    let _ = log
        .commit(esker::Commit::new().state("total", "12345").cursor("reader", esker::Offset::new(7)))
        .expect("commits");
    log.close().expect("closes");
    let body = 256..disk.read_file("0000000001.ckp").expect("there").len();
    assert!(body.len() > 60, "an epoch, an entry, a cursor");
    for position in body {
        for bit in 0..8 {
            let left = disk.snapshot();
            left.edit_file("0000000001.ckp", |bytes| bytes[position] ^= 1 << bit);
            let found = look(&left);
            let classes: Vec<FindingClass> = found.findings.iter().map(|finding| finding.class).collect();
            assert!(classes.contains(&FindingClass::BadCheckpoint), "bit {bit} of {position}: {classes:?}");
            let log = open(&left).expect("opens by the log");
            assert_eq!(log.state("total").expect("state").expect("there").value(), b"12345");
        }
    }
}
