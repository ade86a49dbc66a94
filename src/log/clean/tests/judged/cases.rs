//! Logs made for one question each: memory, hashes, and what changes while it is read.

use super::super::super::draft::Draft;
use super::super::super::rewrite::put_in_place;
use super::*;
use crate::format::GAP_FRAME_BYTES;
use crate::format::header::Places;

/// Judges a log by one policy for all topics.
fn judge_all(disk: &dyn Disk, hash: impl KeyHash, memory: usize) -> Result<Verdict> {
    let segments = segments(disk);
    let input =
        |(entry, end): &(Entry, u64)| Input { entry: entry.clone(), limit: *end, rewritable: entry.end.is_some() };
    let inputs: Vec<_> = segments.iter().map(input).collect();
    let mut policies = Policies::default();
    policies.set_others(Cleanup::compact());
    let rule = Rule { policies: &policies, now: disk.now(), start: Offset::ZERO, passed: &|_| Offset::ZERO };
    let open = &|entry: &Entry| copy_for_reading(disk, entry).map(Some);
    judge_by(
        hash,
        memory,
        STRETCH_PARTS,
        &mut Task { disk, inputs: &inputs, rule, memory, open, pace: &mut |_| Ok(()) },
    )
}

#[test]
fn more_keys_of_one_hash_than_there_is_memory_for_are_an_error() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let frame = |key: u8| Planned { records: vec![(0, Some(key), 1, 20)], entries: Vec::new(), advance: 1 };
    let frames: Vec<_> = (0..100).chain(0..100).map(frame).collect();
    let disk = write(folder.path(), &frames, 16 << 10);
    let error = judge_all(&disk, Poor { bits: 0 }, 4 << 10).expect_err("they do not fit");
    assert_eq!((error.kind(), error.to_string().contains("one hash")), (ErrorKind::Limit, true), "{error}");
    let verdict = judge_all(&disk, Poor { bits: 0 }, 32 << 10).expect("they fit");
    let whole = judge_all(&disk, Xxh3 { seed: 1 }, 4 << 10).expect("they need not fit");
    let dropped = |verdict: &Verdict| verdict.segments.iter().map(|judged| judged.dropped.count()).sum::<u64>();
    assert_eq!((verdict.keys, whole.keys, verdict.passes), (100, 100, 1));
    assert_eq!((dropped(&verdict), dropped(&whole), whole.passes > 1), (100, 100, true));
}

#[test]
fn marks_of_one_segment_that_do_not_fit_are_an_error() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let frame = |_| Planned { records: vec![(0, Some(1), 1, 300)], entries: Vec::new(), advance: 1 };
    let disk = write(folder.path(), &(0..100).map(frame).collect::<Vec<_>>(), 16 << 10);
    let error = judge_all(&disk, Xxh3 { seed: 1 }, 1100).expect_err("they do not fit");
    assert_eq!((error.kind(), error.to_string().contains("more parts")), (ErrorKind::Limit, true), "{error}");
}

#[test]
fn what_changes_between_two_passes_is_an_error() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let frame = |key: u8| Planned { records: vec![(0, Some(key), 1, 300)], entries: Vec::new(), advance: 1 };
    let disk = write(folder.path(), &(0..200).map(frame).collect::<Vec<_>>(), 16 << 10);
    let segments = segments(&disk);
    let first = segments[0].0.number();
    let opened = Cell::new(0);
    let open = |entry: &Entry| {
        opened.set(opened.get() + u32::from(entry.number() == first));
        if opened.get() == 2 {
            let file = disk.open(&segment_name(first), Access::Write).expect("opens");
            file.write_at(&[9], FRAMES_START + 200).expect("writes");
        }
        copy_for_reading(&disk, entry).map(Some)
    };
    let input =
        |(entry, end): &(Entry, u64)| Input { entry: entry.clone(), limit: *end, rewritable: entry.end.is_some() };
    let inputs: Vec<_> = segments.iter().map(input).collect();
    let mut policies = Policies::default();
    policies.set_others(Cleanup::compact());
    let rule = Rule { policies: &policies, now: disk.now(), start: Offset::ZERO, passed: &|_| Offset::ZERO };
    let mut task = Task { disk: &disk, inputs: &inputs, rule, memory: 0, open: &open, pace: &mut |_| Ok(()) };
    let error =
        judge_by(Xxh3 { seed: 1 }, 4 << 10, STRETCH_PARTS, &mut task).expect_err("tombstones were decided on by then");
    assert_eq!((error.kind(), error.place().map(|place| place.segment)), (ErrorKind::Corrupt, Some(first)), "{error}");
}

#[test]
fn what_is_gone_is_left_out_and_keeps_no_tombstone() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let frame = |key, form| Planned { records: vec![(0, key, form, 300)], entries: Vec::new(), advance: 1 };
    let others = std::iter::repeat_n(frame(None, 1), 60);
    let frames: Vec<_> = [frame(Some(1), 1)].into_iter().chain(others).chain([frame(Some(1), 0)]).collect();
    let disk = write(folder.path(), &frames, 16 << 10);
    let segments = segments(&disk);
    let inputs = segments.iter().map(|(entry, end)| Input { entry: entry.clone(), limit: *end, rewritable: true });
    let inputs: Vec<_> = inputs.collect();
    let mut policies = Policies::default();
    policies.set_others(Cleanup::compact().grace(Duration::ZERO));
    let rule = Rule { policies: &policies, now: disk.now(), start: Offset::ZERO, passed: &|_| Offset::new(1_000) };
    for is_gone in [false, true] {
        let there = |entry: &Entry| !is_gone || entry.number() != segments[0].0.number();
        let open = &|entry: &Entry| there(entry).then(|| copy_for_reading(&disk, entry)).transpose();
        let mut task = Task { disk: &disk, inputs: &inputs, rule, memory: 0, open, pace: &mut |_| Ok(()) };
        let verdict = judge(&mut task).expect("judges");
        let judged: Vec<_> = verdict.segments.iter().map(|judged| (judged.at, judged.dropped.count())).collect();
        let (first, last) = (usize::from(is_gone), segments.len() - 1);
        let goes = if is_gone { last } else { 0 };
        assert_eq!(judged, (first..=last).map(|at| (at, u64::from(at == goes))).collect::<Vec<_>>());
        assert_eq!((verdict.waiting_tombstones, verdict.damaged.len()), (u64::from(!is_gone), 0));
    }
}

#[test]
fn any_number_of_keys_is_judged_in_the_memory_that_was_given() {
    // Summing all of it many times over takes too long without optimization.
    let (keys, memory) = if cfg!(debug_assertions) { (100_000_u64, 1 << 20) } else { (2_000_000, 8 << 20) };
    let folder = tempfile::tempdir().expect("temporary folder");
    let disk = ClockedDisk::new(folder.path());
    let options = Options::new().segment_bytes(16 << 20).background(Background::Manual);
    let log = options.open_on(Arc::new(disk.clone())).expect("opens");
    let numbers: Vec<u64> = (0..keys).chain((0..keys).step_by(10)).collect();
    for numbers in numbers.chunks(500) {
        let names: Vec<_> = numbers.iter().map(|number| format!("key-{number:012}")).collect();
        let records: Vec<_> = names.iter().map(|name| Record::new(b"payload").key(name)).collect();
        let _ = log.append_batch(&records).expect("appends");
    }
    log.close().expect("closes");
    let segments = segments(&disk);
    let input = |(entry, end): &(Entry, u64)| Input { entry: entry.clone(), limit: *end, rewritable: true };
    let inputs: Vec<_> = segments.iter().map(input).collect();
    let mut policies = Policies::default();
    policies.set(Topic::default(), Cleanup::compact());
    let rule = Rule { policies: &policies, now: disk.now(), start: Offset::ZERO, passed: &|_| Offset::ZERO };
    let open = &|entry: &Entry| copy_for_reading(&disk, entry).map(Some);
    let mut found = None;
    let taken = peak_during(|| {
        let mut task = Task { disk: &disk, inputs: &inputs, rule, memory, open, pace: &mut |_| Ok(()) };
        found = Some(judge(&mut task).expect("judges"));
    });
    let verdict = found.expect("judged");
    let dropped: u64 = verdict.segments.iter().map(|judged| judged.dropped.count()).sum();
    assert_eq!((verdict.keys, dropped, verdict.next), (keys, keys / 10, None));
    let first = verdict.segments.first().expect("one at least");
    assert!((0..first.parts).all(|ordinal| first.dropped.contains(ordinal) == (ordinal % 10 == 0)));
    assert!(verdict.passes > 3 && verdict.passes < 40, "{} passes", verdict.passes);
    // What is read at once, of two chunks, and the pages of the segments.
    assert!(taken > memory / 4 && taken < memory + (600 << 10), "{taken} of {memory}");
}

#[test]
fn a_gap_amid_records_that_all_go_stays() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let frame = |_| Planned { records: vec![(0, Some(1), 1, 300)], entries: Vec::new(), advance: 1 };
    let disk = write(folder.path(), &(0..100).map(frame).collect::<Vec<_>>(), 16 << 10);
    let entry = super::super::sealed(&disk).remove(0);
    let (first, end) = (entry.header.first_offset, entry.end.expect("sealed"));
    let view = copy_for_reading(&disk, &entry).expect("opens");
    let mut scan = Scan::new(view.store, view.frames, FRAMES_START, first, end);
    let mut draft = Draft::create(&disk, &SegmentHeader { generation: 1, ..entry.header }).expect("creates");
    let gap = first.after(10);
    while let Scanned::Frame(found) = scan.next().expect("reads") {
        let position = draft.end();
        match found.records {
            0 => {}
            _ if found.offset == gap => {
                draft.gap(position..position + GAP_FRAME_BYTES, gap, gap.after(1)).expect("takes it");
            }
            _ => draft.frame(position, &found.header, scan.frame(&found).body).expect("takes it"),
        }
    }
    let link = entry.header.link(end);
    draft.settle(Rewritten {
        end: draft.end(),
        last_number: link.number,
        end_offset: scan.offset,
        records: scan.offset.since(first) - 1,
        incarnation: link.incarnation,
        original_end: link.end,
        places: Places::Moved,
    });
    put_in_place(&disk, &draft.complete(&disk).expect("completes")).expect("takes the name");
    let verdict = judge_all(&disk, Xxh3 { seed: 1 }, 32 << 10).expect("judges");
    let (entry, judged) = (super::super::sealed(&disk).remove(0), &verdict.segments[0]);
    assert_eq!((judged.records_kept, judged.bytes_kept), (0, GAP_FRAME_BYTES));
    check_written(&disk, &entry, judged);
    let (_, frames) = written(&disk, &entry, judged, &mut Marked::new(std::slice::from_ref(judged)));
    assert_eq!(frames.iter().map(|(_, offset, _)| *offset).collect::<Vec<_>>(), [gap]);
}
