//! Every class of finding, made by a damage of its own, with what speaks for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use esker::inspect::{FINDINGS_MAX, Finding, FindingClass, Verification, verify_on};
use esker::platform::{Disk as _, File};
use esker::{Attached, Background, Commit, ErrorKind, Evidence, Offset, Options};
use harness::{Call, MemoryDisk, Watch, WatchedDisk};

use crate::support::{append_numbered, at, checkpoints, open, segment_name, segments};

fn look(disk: &MemoryDisk) -> Verification {
    verify_on(disk, &mut |_| {}).expect("looks")
}

fn reference() -> MemoryDisk {
    let disk = MemoryDisk::new(31);
    let log = open(&disk).expect("opens");
    for part in 0..4 {
        append_numbered(&log, part * 30..part * 30 + 30);
        let _ = log.commit(Commit::new().state("total", "12345")).expect("commits");
        log.sync().expect("syncs");
    }
    log.close().expect("closes");
    disk
}

/// The only finding of a damage.
fn only(damage: impl FnOnce(&MemoryDisk)) -> Finding {
    let disk = reference();
    damage(&disk);
    let found = look(&disk);
    assert_eq!(found.findings.len(), 1, "{:?}", found.findings);
    found.findings.into_iter().next().expect("one")
}

/// Position of the `n`-th frame of a segment, and of the one behind it.
fn frame(disk: &MemoryDisk, name: &str, n: usize) -> (usize, usize) {
    let bytes = disk.read_file(name).expect("a segment");
    let mut position = 4096;
    for _ in 0..n {
        position = behind(&bytes, position);
    }
    (position, behind(&bytes, position))
}

fn behind(bytes: &[u8], position: usize) -> usize {
    let length = u32::from_le_bytes(bytes[position..position + 4].try_into().expect("four bytes"));
    position + usize::try_from(length.next_multiple_of(8)).expect("small")
}

#[test]
fn each_class_has_a_damage_that_makes_it_alone() {
    use FindingClass as Class;
    let two = segment_name(2);
    let body = only(|disk| {
        let (at, _) = frame(disk, &two, 3);
        disk.edit_file(&two, |bytes| bytes[at + 41] ^= 1);
    });
    assert_eq!(body.class, Class::BodyRot);
    let header = only(|disk| {
        let (at, _) = frame(disk, &two, 3);
        disk.edit_file(&two, |bytes| bytes[at + 20] ^= 1);
    });
    assert_eq!(header.class, Class::HeaderRot);
    let zeros = only(|disk| {
        let (from, to) = frame(disk, &two, 3);
        disk.edit_file(&two, |bytes| bytes[from..to].fill(0));
    });
    assert_eq!(zeros.class, Class::LostBytes);
    assert_eq!(only(|disk| disk.edit_file(&two, |bytes| bytes[70] ^= 1)).class, Class::HeaderRot);
    assert_eq!(only(|disk| disk.remove(&two)).class, Class::MissingSegment);
    let last = segments(&reference()).pop().expect("one");
    assert_eq!(only(|disk| disk.remove(&last)).class, Class::MissingSegment);
    assert_eq!(only(|disk| disk.edit_file("anchor", |bytes| bytes[30] ^= 1)).class, Class::BadAnchor);
    let newest = checkpoints(&reference()).pop().expect("one");
    assert_eq!(only(|disk| disk.edit_file(&newest, |bytes| bytes[260] ^= 1)).class, Class::BadCheckpoint);
    let state = only(|disk| {
        disk.edit_file(&newest, |bytes| {
            let value = bytes.windows(5).position(|window| window == b"12345").expect("the value");
            bytes[value] = b'9';
            sum_checkpoint(bytes);
        });
    });
    assert_eq!(state.class, Class::BadState, "{state}");
    let entry = only(|disk| {
        let one = segment_name(1);
        let bytes = disk.read_file(&one).expect("a segment");
        let value = bytes.windows(5).position(|window| window == b"12345");
        let (name, value) = value.map_or_else(|| state_in(disk, &two), |value| (one, value));
        disk.edit_file(&name, |bytes| forge_entry(bytes, value));
    });
    assert_eq!(entry.class, Class::BadState, "{entry}");
    assert!(entry.cause.contains("state entry"), "{entry}");
}

#[test]
fn moved_sectors_and_links_that_lead_elsewhere_are_told_apart() {
    use FindingClass as Class;
    let classes = |damage: &dyn Fn(&MemoryDisk)| {
        let disk = reference();
        damage(&disk);
        look(&disk).findings.into_iter().map(|finding| finding.class).collect::<Vec<_>>()
    };
    let (one, two) = (segment_name(1), segment_name(2));
    let moved = classes(&|disk| disk.edit_file(&two, |bytes| bytes.copy_within(6656..7680, 5120)));
    assert!(moved.contains(&Class::MisplacedBlock), "{moved:?}");
    let stale = classes(&|disk| {
        let other = disk.read_file(&one).expect("a segment");
        disk.edit_file(&two, |bytes| bytes[5120..6144].copy_from_slice(&other[5120..6144]));
    });
    assert!(stale.contains(&Class::StaleBytes), "{stale:?}");
    let broken = only(|disk| {
        disk.edit_file(&segment_name(3), |bytes| {
            bytes[96] ^= 1;
            sum_header(bytes);
        });
    });
    assert_eq!((broken.class, broken.segment), (Class::BrokenChain, Some(2)), "another incarnation: {broken}");
}

#[test]
fn a_torn_tail_is_one_finding_and_says_who_wrote_it() {
    let disk = MemoryDisk::new(3);
    let log = open(&disk).expect("opens");
    append_numbered(&log, 0..3);
    log.sync().expect("syncs");
    append_numbered(&log, 3..6);
    let left = disk.snapshot();
    let bytes = left.read_file(&segment_name(1)).expect("a segment");
    let last = std::iter::successors(Some(4096), |at| Some(behind(&bytes, *at)).filter(|at| bytes[*at] != 0)).last();
    left.edit_file(&segment_name(1), |bytes| bytes[last.expect("frames") + 40] ^= 1);
    let found = look(&left);
    let torn: Vec<&Finding> = found.findings.iter().filter(|found| found.class == FindingClass::TornTail).collect();
    assert_eq!((torn.len(), found.is_damaged()), (1, false), "{:?}", found.findings);
    assert_eq!(torn[0].evidence.before.map(|frame| frame.offset), Some(Offset::new(4)));
    left.set_boot_id([9; 16]);
    let later = look(&left);
    let session = later.findings.last().expect("one").evidence.session.expect("a session");
    assert_eq!((session.evidence, session.boot_id), (Evidence::OtherBoot, [0xb0; 16]));
}

#[test]
fn evidence_names_the_session_the_lines_and_both_neighbours() {
    let two = segment_name(2);
    let disk = reference();
    let (before, at) = frame(&disk, &two, 3);
    let (_, next) = frame(&disk, &two, 4);
    disk.edit_file(&two, |bytes| bytes[at + 20] ^= 1);
    let found = look(&disk);
    let finding = &found.findings[0];
    let evidence = &finding.evidence;
    let place = |position: usize| (2, u64::try_from(position).expect("small"));
    let of = |frame: esker::inspect::Neighbour| (frame.place.segment, frame.place.position);
    assert_eq!(evidence.before.map(of), Some(place(before)));
    assert_eq!(evidence.behind.map(of), Some(place(next)));
    let session = evidence.session.expect("a session");
    assert_eq!((session.pid, session.evidence), (std::process::id(), Evidence::SameBoot));
    let carriers: Vec<&str> = evidence.lines.iter().map(|line| line.carrier.as_str()).collect();
    assert!(carriers.contains(&"anchor") && carriers.iter().any(|name| name.contains(".ckp")), "{carriers:?}");
    assert!(evidence.lines.is_sorted_by(|one, other| one.line >= other.line));
    assert_eq!(found.lines, evidence.lines);
    // Where a segment is missing, its neighbours are those of others.
    disk.remove(&two);
    let missing = look(&disk).findings.remove(0);
    let beside = missing.evidence.before.zip(missing.evidence.behind).expect("both");
    assert_eq!((missing.class, of(beside.0).0, of(beside.1)), (FindingClass::MissingSegment, 1, (3, 4096)));
}

/// Counts what a disk is asked for.
#[derive(Debug, Default)]
struct Counted {
    opens: AtomicU64,
    bytes: AtomicU64,
}

impl Watch for Counted {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        self.opens.fetch_add(u64::from(matches!(call, Call::Open(_))), Ordering::Relaxed);
        Ok(())
    }

    fn read(&self, file: &dyn File, _name: &str, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let read = file.read_at(buffer, position)?;
        self.bytes.fetch_add(u64::try_from(read).expect("small"), Ordering::Relaxed);
        Ok(read)
    }
}

/// A closed log with one record a frame, and where its frames begin; the first is a session, the last a close.
fn one_record_a_frame(records: usize) -> (MemoryDisk, Vec<usize>) {
    let disk = MemoryDisk::new(5);
    let options = Options::new().segment_bytes(4 << 20).background(Background::Manual);
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    for number in 0..records {
        let _ = log.append(&number.to_le_bytes()).expect("appends");
    }
    log.close().expect("closes");
    let bytes = disk.read_file(&segment_name(1)).expect("a segment");
    let next = |at: &usize| Some(behind(&bytes, *at)).filter(|at| bytes[*at] != 0);
    let frames = std::iter::successors(Some(4096), next).collect();
    (disk, frames)
}

#[test]
fn damage_in_every_frame_costs_reads_in_proportion_to_the_log() {
    let records = 6000;
    let (disk, frames) = one_record_a_frame(records);
    let count = |disk: &MemoryDisk| {
        let watched = WatchedDisk::new(disk.clone(), Counted::default());
        let found = verify_on(&watched, &mut |_| {}).expect("looks");
        (found, watched.opens.load(Ordering::Relaxed), watched.bytes.load(Ordering::Relaxed))
    };
    let (whole, opens_whole, _) = count(&disk);
    assert!(!whole.is_damaged(), "{:?}", whole.findings);
    let end = u64::try_from(*frames.last().expect("frames")).expect("small");
    // One byte of each body; and of every second header, since headers side by side are one finding.
    for (within, apart, class) in [(42, 1, FindingClass::BodyRot), (20, 2, FindingClass::HeaderRot)] {
        let rotten = disk.snapshot();
        let hit = || frames[1..=records].iter().step_by(apart);
        rotten.edit_file(&segment_name(1), |bytes| hit().for_each(|at| bytes[at + within] ^= 1));
        let (found, opens, bytes) = count(&rotten);
        assert_eq!(found.findings.len(), hit().count());
        for (nth, finding) in found.findings.iter().enumerate() {
            let next = if apart == 1 { *frames.last().expect("frames") } else { frames[2 + nth * apart] };
            let behind = finding.evidence.behind.map(|frame| at(frame.place.position));
            assert_eq!((finding.class, behind), (class, Some(next)), "the next whole frame: {finding}");
        }
        assert!(opens < opens_whole + 10, "{opens} opens for {} findings", found.findings.len());
        assert!(bytes < 60 * end, "{bytes} bytes read of a log of {end}, for {} findings", found.findings.len());
    }
}

#[test]
fn findings_that_are_omitted_are_counted_and_cost_nothing_more() {
    let records = FINDINGS_MAX + 2000;
    let (disk, frames) = one_record_a_frame(records);
    disk.edit_file(&segment_name(1), |bytes| frames[1..=records].iter().for_each(|at| bytes[at + 42] ^= 1));
    let found = look(&disk);
    assert_eq!((found.findings.len(), found.omitted, found.is_damaged()), (FINDINGS_MAX, 2000, true));
    assert_eq!((found.frames, found.records), (2, 0));
}

#[test]
fn a_checkpoint_at_the_end_with_too_low_an_offset_is_refused_and_damage() {
    let disk = reference();
    let newest = checkpoints(&disk).pop().expect("one");
    // Nothing lies behind it that could contradict; the anchor carries the true line.
    disk.edit_file(&newest, |bytes| {
        bytes[64] -= 1;
        sum_header(bytes);
    });
    let refused = open(&disk).expect_err("the log ends with another offset");
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    let attached = Attached::open_on(Arc::new(disk.clone())).expect("looks");
    assert_eq!(attached.state().expect_err("refused").kind(), ErrorKind::Corrupt);
    assert!(look(&disk).is_damaged(), "{:?}", look(&disk).findings);
}

#[test]
fn what_a_checkpoint_and_a_repair_leave_is_told_apart_and_no_damage() {
    let of_repair = [segment_name(2) + ".draft", segment_name(2) + ".original", "anchor.draft".to_owned()];
    for name in &of_repair {
        let left = only(|disk| drop(disk.create(name, 4096).expect("creates")));
        assert_eq!((left.class, left.class.is_damage()), (FindingClass::Leftover, false), "{left}");
        assert!(left.cause.contains("a repair"), "{left}");
    }
    let draft = format!("{}.draft", checkpoints(&reference()).pop().expect("one"));
    let left = only(|disk| drop(disk.create(&draft, 4096).expect("creates")));
    assert!(left.class == FindingClass::Leftover && left.cause.contains("being written"), "{left}");
}

/// Puts the checksums of a checkpoint right.
fn sum_checkpoint(bytes: &mut [u8]) {
    let long = u64::from_le_bytes(bytes[120..128].try_into().expect("eight bytes"));
    let sum = crc32fast::hash(&bytes[256..256 + usize::try_from(long).expect("small")]);
    bytes[108..112].copy_from_slice(&sum.to_le_bytes());
    sum_header(bytes);
}

/// Puts the checksum of a header of 256 bytes right.
fn sum_header(bytes: &mut [u8]) {
    bytes[12..16].fill(0);
    let sum = crc32fast::hash(&bytes[..256]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
}

/// Where a state entry's value stands.
fn state_in(disk: &MemoryDisk, name: &str) -> (String, usize) {
    let bytes = disk.read_file(name).expect("a segment");
    (name.to_owned(), bytes.windows(5).position(|window| window == b"12345").expect("the value"))
}

/// Makes the state entry with this value a removed one with a value, under checksums that are right.
fn forge_entry(bytes: &mut [u8], value: usize) {
    let mut at = 4096;
    while behind(bytes, at) <= value {
        at = behind(bytes, at);
    }
    let length = usize::try_from(u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))).expect("small");
    // Space, flags, length of the key, length of the value, key `total`, value.
    bytes[value - 5 - 8 + 1] = 1;
    let body = crc32fast::hash(&bytes[at + 36..at + length]);
    bytes[at + 8..at + 12].copy_from_slice(&body.to_le_bytes());
    let initial = crc32fast::hash(&bytes[56..64]) ^ u32::try_from(at).expect("small");
    let mut hasher = crc32fast::Hasher::new_with_initial(initial);
    hasher.update(&bytes[at..at + 32]);
    bytes[at + 32..at + 36].copy_from_slice(&hasher.finalize().to_le_bytes());
}

#[test]
fn what_is_damaged_at_the_end_of_a_segment_knows_the_frame_behind_it_in_the_next() {
    let one = segment_name(1);
    let rotten = only(|disk| {
        let bytes = disk.read_file(&one).expect("a segment");
        let is_seal = |at: &usize| bytes[at + 4] == 3;
        let seal = std::iter::successors(Some(4096), |at| Some(behind(&bytes, *at))).find(is_seal).expect("a seal");
        disk.edit_file(&one, |bytes| bytes[seal + 40] ^= 1);
    });
    let found = rotten.evidence.behind.expect("the next segment begins with a frame");
    assert_eq!((found.place.segment, found.place.position), (2, 4096), "{rotten:?}");
}
