//! Segments are rewritten under readers of the log that runs, and of another process.

use super::*;
use crate::log::catalog::Handle;

/// The sealed segments of a running log, all of them durable.
fn sealed_now(log: &Log) -> Vec<Entry> {
    log.sync().expect("syncs");
    log.background_step();
    let catalog = log.core().catalog.read();
    let entries = catalog.entries();
    entries[..entries.len() - 1].to_vec()
}

/// Rewrites as a cleaner does: the file first, then what readers go by.
fn rewrite_live(log: &Log, disk: &ClockedDisk, round: (usize, usize, Dice)) -> Option<std::ops::Range<Offset>> {
    let entries = sealed_now(log);
    if entries.is_empty() {
        return None;
    }
    let (entry, range) = rewrite_some(disk, &entries, round);
    log.core().catalog.write().replace(entry);
    Some(range)
}

fn numbered(log: &Log, disk: &ClockedDisk, count: u64) -> Vec<Stored> {
    for number in 0..count {
        disk.advance(1);
        let _ = log.append(&number.to_le_bytes().repeat(20)).expect("appends");
    }
    forward(&mut log.reader()).expect("reads")
}

fn readers(log: &Log, disk: &ClockedDisk) -> Vec<Reader> {
    let attached = Attached::open_on(Arc::new(disk.clone())).expect("attaches");
    vec![log.reader(), log.reader().mode(ReadMode::Copy), log.reader().up_to(ReadLine::Durable), attached.reader()]
}

const HALF: Dice = Dice { salt: 7, percent: 50 };

#[test]
fn a_reader_at_the_end_of_a_file_that_was_replaced_by_a_wider_one_goes_on_at_its_next_offset() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let disk = ClockedDisk::new(folder.path());
    let log = open(&disk);
    let mut model = numbered(&log, &disk, 400);
    let entries = sealed_now(&log);
    assert!(entries.len() > 4 && entries.iter().all(|entry| matches!(entry.handle, Handle::Cold(_))));
    let next = entries[2].header.first_offset;
    let mut readers = readers(&log, &disk);
    for reader in &mut readers {
        while reader.offset() < next {
            let _ = reader.poll().expect("reads").expect("records");
        }
        assert_eq!((reader.offset(), reader.line().place.segment), (next, entries[1].number()), "at the very end");
    }
    let inputs = [entries[0].clone(), entries[1].clone(), entries[2].clone(), entries[3].clone()];
    let (entry, range) = rewrite_some(&disk, &inputs, (0, 4, HALF));
    drop_from(&mut model, &range, HALF);
    log.core().catalog.write().replace(entry);
    let behind = &model[model.partition_point(|record| record.offset < next.get())..];
    for (at, reader) in readers.iter_mut().enumerate() {
        assert_eq!(forward(reader).expect("reads"), behind, "reader {at}");
        assert_eq!(backward(reader).expect("reads"), model, "reader {at}");
    }
}

#[test]
fn a_reader_that_stood_at_the_tail_is_found_again_by_its_offset() {
    // As the first of the segments that are rewritten as one, whose number stays, and as one behind it.
    for before_it in [0, 1] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let disk = ClockedDisk::new(folder.path());
        let log = open(&disk);
        let before = numbered(&log, &disk, 170).len();
        log.sync().expect("syncs");
        let mut readers = [log.reader(), log.reader().mode(ReadMode::Copy), log.reader().up_to(ReadLine::Durable)];
        for reader in &mut readers {
            // It has a place, and no file yet.
            reader.seek_latest();
        }
        let stands = readers[0].line().place.segment;
        let mut model = numbered(&log, &disk, 250);
        let entries = sealed_now(&log);
        let at = entries.iter().position(|entry| entry.number() == stands).expect("sealed");
        assert!(at > 0);
        let (entry, range) = rewrite_some(&disk, &entries[at - before_it..], (0, 3, HALF));
        log.core().catalog.write().replace(entry);
        drop_from(&mut model, &range, HALF);
        let behind = &model[model.partition_point(|record| record.offset < u64::try_from(before).expect("small"))..];
        for reader in &mut readers {
            assert_eq!(forward(reader).expect("reads"), behind, "{before_it} before it");
        }
    }
}

/// Keeps all, of a segment of which so many parts are known.
struct Known {
    left: u64,
}

impl Choice for Known {
    fn begin(&mut self, _segment: &SegmentHeader) {}

    fn passed(&mut self, _position: u64) -> Option<(u64, Offset)> {
        None
    }

    fn shared(&mut self, parts: u32) -> Option<Fate> {
        self.left = self.left.saturating_sub(parts.into());
        Some(Fate::Keep)
    }

    fn fate(&mut self, _part: &Part<'_>) -> Fate {
        Fate::Keep
    }

    fn ended(&mut self) -> bool {
        self.left > 0
    }
}

#[test]
fn what_is_refused_leaves_the_log_as_it_was() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let disk = ClockedDisk::new(folder.path());
    let log = open(&disk);
    let model = numbered(&log, &disk, 300);
    let entries = sealed_now(&log);
    let keep = &mut |_: &Part<'_>| Fate::Keep;
    let mut other_epoch = entries[1].clone();
    other_epoch.header.epoch.counter += 1;
    let unsealed = Entry { end: None, ..entries[1].clone() };
    for inputs in [&[][..], &[entries[0].clone(), entries[2].clone()], &[entries[0].clone(), other_epoch], &[unsealed]]
    {
        assert_eq!(replace(&disk, inputs, keep).expect_err("refused").kind(), ErrorKind::Invalid);
    }
    let name = segment_name(entries[1].number());
    let file = disk.open(&name, crate::platform::Access::Write).expect("opens");
    let mut byte = [0];
    file.read_at(&mut byte, 8000).expect("reads");
    file.write_at(&[byte[0] ^ 1], 8000).expect("writes");
    let error = replace(&disk, &entries[..3], keep).expect_err("damage is not copied");
    assert_eq!((error.kind(), error.place().expect("a place").segment), (ErrorKind::Corrupt, entries[1].number()));
    file.write_at(&byte, 8000).expect("writes");
    let view = &|entry: &Entry| copy_for_reading(&disk, entry);
    let whole = entries[0].end.expect("sealed");
    for (bytes_max, known) in [(whole, 0), (whole / 2, u64::MAX)] {
        let mut job = Job { disk: &disk, inputs: &entries[..1], view, bytes_max, pace: &mut |_| Ok(()) };
        let error = rewrite(&mut job, &mut Known { left: known }).expect_err("not as judged");
        assert_eq!((error.kind(), error.to_string().contains("otherwise now")), (ErrorKind::Corrupt, true), "{error}");
    }
    let stopped = || Err(crate::log::core::closed());
    // Estimates are high: of a full segment of the largest size more may seem to be kept than a segment can hold.
    let bytes_max = crate::format::SEGMENT_BYTES_MAX + 1;
    let mut job = Job { disk: &disk, inputs: &entries[..1], view, bytes_max, pace: &mut |_| Ok(()) };
    let _ = rewrite(&mut job, &mut By(&mut |_| Fate::Keep)).expect("rewrites");
    let mut job = Job { disk: &disk, inputs: &entries[..1], view, bytes_max: whole, pace: &mut |_| stopped() };
    assert_eq!(rewrite(&mut job, &mut Known { left: u64::MAX }).expect_err("stopped").kind(), ErrorKind::Closed);
    assert!(disk.list().expect("lists").iter().all(|name| !name.contains(".draft")));
    assert_eq!(forward(&mut log.reader()).expect("reads"), model);
}

#[test]
fn damage_in_a_frame_of_which_all_stays_is_not_copied_either() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let disk = ClockedDisk::new(folder.path());
    let log = open(&disk);
    let model = numbered(&log, &disk, 100);
    let entries = sealed_now(&log);
    let inputs = &entries[..1];
    let view = copy_for_reading(&disk, &inputs[0]).expect("opens");
    let mut scan = Scan::new(view.store, view.frames, FRAMES_START, Offset::ZERO, inputs[0].end.expect("sealed"));
    while let Scanned::Frame(found) = scan.next().expect("reads")
        && found.records == 0
    {}
    // Inside of the payload: its frame ends here.
    let position = scan.position - 64;
    let file = disk.open(&segment_name(inputs[0].number()), crate::platform::Access::Write).expect("opens");
    let mut byte = [0];
    file.read_at(&mut byte, position).expect("reads");
    file.write_at(&[byte[0] ^ 1], position).expect("writes");
    let view = &|entry: &Entry| copy_for_reading(&disk, entry);
    let bytes_max = inputs[0].end.expect("sealed");
    let mut job = Job { disk: &disk, inputs, view, bytes_max, pace: &mut |_| Ok(()) };
    let error = rewrite(&mut job, &mut Known { left: u64::MAX }).expect_err("damage is not copied");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("body checksum"), "{error}");
    assert!(disk.list().expect("lists").iter().all(|name| !name.contains(".draft")));
    file.write_at(&byte, position).expect("writes");
    assert_eq!(forward(&mut log.reader()).expect("reads"), model);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn readers_of_files_that_are_rewritten_meet_each_record_that_is_kept_once(
        frames in proptest::collection::vec(planned(), 40..70),
        rounds in rounds(),
        steps in proptest::collection::vec((0..4_usize, 0..100_u64, 0..4_usize), 4..12),
    ) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let disk = ClockedDisk::new(folder.path());
        let log = open(&disk);
        let (before, behind) = frames.split_at(frames.len() * 3 / 4);
        for frame in before { append(&log, &disk, frame); }
        log.sync().expect("syncs");
        let mut readers = readers(&log, &disk);
        let end = log.visible().get();
        let (mut steps, mut behind) = (steps.into_iter().cycle(), behind.iter());
        let mut dropped: Vec<(std::ops::Range<Offset>, Dice)> = Vec::new();
        for round in rounds {
            for _ in 0..3 {
                let (reader, part, polls) = steps.next().expect("a cycle");
                let reader = &mut readers[reader];
                reader.seek(Offset::new(end * part / 100)).expect("inside the log");
                for _ in 0..polls {
                    let _ = reader.poll().expect("reads");
                }
            }
            if let Some(range) = rewrite_live(&log, &disk, round) {
                dropped.push((range, round.2));
            }
            for frame in behind.by_ref().take(3) { append(&log, &disk, frame); }
        }
        log.sync().expect("syncs");
        let model = forward(&mut log.reader()).expect("reads");
        for (range, dice) in &dropped {
            prop_assert!(model.iter().all(|record| !range.contains(&Offset::new(record.offset)) || dice.keeps(record.offset)));
        }
        for reader in &mut readers {
            let from = reader.offset().get();
            let found = forward(reader).expect("reads");
            prop_assert!(found.is_sorted_by(|a, b| a.offset < b.offset) && found.iter().all(|record| record.offset >= from));
            // What lies in a file that was left behind since may still be there.
            let gone = |record: &Stored| dropped.iter().any(|(range, dice)| range.contains(&Offset::new(record.offset)) && !dice.keeps(record.offset));
            let kept: Vec<Stored> = found.into_iter().filter(|record| !gone(record)).collect();
            prop_assert_eq!(&kept, &model[model.partition_point(|record| record.offset < from)..].to_vec());
            prop_assert_eq!(&backward(reader).expect("reads"), &model);
        }
    }
}
