//! Whatever the bytes: no panic, and either damage is found or the change is provably harmless.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use esker::Attached;
use esker::inspect::{FrameRow, dissect, verify};

use super::{HEADER, SEGMENT, at, check, closed_log, damage, rows, segment};
use crate::support::FRAMES_START;

/// Bytes whose change no reader can notice: behind the header, padding, and at or past the end.
fn harmless(path: &Path) -> BTreeSet<usize> {
    let rows = rows(path);
    let frames: Vec<&FrameRow> = rows.iter().filter(|row| row.live && row.fault.is_none()).collect();
    let mut counts: BTreeSet<usize> = (0..HEADER).collect();
    for row in frames {
        counts.extend(at(row.position)..at(row.position + row.length));
    }
    (0..SEGMENT).filter(|byte| !counts.contains(byte)).collect()
}

#[test]
fn every_flipped_byte_is_damage_with_its_place_or_harmless() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let records = closed_log(folder.path());
    let (mut found, mut spared) = (0, 0);
    for number in 1..=3 {
        let path = segment(folder.path(), number);
        let good = fs::read(&path).expect("reads");
        let harmless = harmless(&path);
        for byte in (0..good.len()).filter(|byte| !harmless.contains(byte) || byte % 61 == 0) {
            let mut bad = good.clone();
            bad[byte] ^= 1 << (byte % 8);
            fs::write(&path, &bad).expect("writes");
            let verification = check(folder.path());
            assert!(dissect(&path).expect("dissects").frames().all(|row| row.is_ok()));
            if harmless.contains(&byte) {
                assert!(!verification.is_damaged(), "segment {number} byte {byte}: {:?}", verification.findings);
                assert_eq!(verification.records, records, "segment {number} byte {byte}");
                spared += 1;
                continue;
            }
            let all = damage(&verification);
            let place = all.iter().find(|finding| finding.segment == Some(number));
            assert!(place.is_some(), "segment {number} byte {byte}: {:?}", verification.findings);
            assert_eq!(all.len(), 1, "segment {number} byte {byte}: {:?}", verification.findings);
            // Of a rotten header only the newest segment's frames are lost to the eye.
            assert!(verification.records + 2 >= records || (byte < HEADER && number == 3));
            found += 1;
        }
        fs::write(&path, &good).expect("writes");
    }
    assert!(found > 15_000 && spared > 100, "{found} {spared}");
}

#[test]
fn what_an_open_refuses_is_damage_here_too() {
    let folder = tempfile::tempdir().expect("temporary folder");
    closed_log(folder.path());
    let names = ["0000000001.seg", "0000000002.seg", "0000000003.seg", "anchor"];
    let mut refused = 0;
    for name in names {
        let path = folder.path().join(name);
        let good = fs::read(&path).expect("reads");
        let mut variants: Vec<Option<Vec<u8>>> = vec![None];
        variants.extend((0..good.len()).step_by(512).map(|cut| Some(good[..cut].to_vec())));
        variants.extend((0..good.len()).step_by(512).map(|sector| {
            let mut bad = good.clone();
            bad[sector..sector + 512].fill(0);
            Some(bad)
        }));
        variants.extend((0..good.len()).step_by(37).map(|byte| {
            let mut bad = good.clone();
            bad[byte] ^= 0x40;
            Some(bad)
        }));
        for (index, variant) in variants.into_iter().enumerate() {
            match variant {
                None => fs::remove_file(&path).expect("removes"),
                Some(bad) => fs::write(&path, bad).expect("writes"),
            }
            let verification = check(folder.path());
            let refusal = Attached::open(folder.path()).map_or_else(Some, |attached| attached.refusal());
            if let Some(error) = refusal {
                assert!(verification.is_damaged(), "{name} {index}: {error}, but {:?}", verification.findings);
                refused += 1;
            }
            if name == "anchor" {
                assert!(!verification.is_damaged(), "{index}: {:?}", verification.findings);
            }
            fs::write(&path, &good).expect("writes");
        }
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn random_scribbles_never_panic_and_never_pass_unseen() {
    let folder = tempfile::tempdir().expect("temporary folder");
    closed_log(folder.path());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).expect("fits") % below
    };
    for _ in 0..500 {
        let (number, kind) = (u64::try_from(1 + next(3)).expect("small"), next(4));
        let path = segment(folder.path(), number);
        let good = fs::read(&path).expect("reads");
        let live = rows(&path).iter().filter(|row| row.live && row.fault.is_none()).map(|row| row.position).max();
        let mut bad = good.clone();
        let start = next(at(live.expect("frames")));
        let end = (start + 1 + next(2000)).min(bad.len());
        match kind {
            0 => bad[start..end].fill_with(|| u8::try_from(next(256)).expect("a byte")),
            1 => bad[start..end].fill(0xff),
            2 => bad.copy_within(start..end, next(SEGMENT - 2000)),
            _ => bad.truncate(start),
        }
        let same = bad == good;
        fs::write(&path, &bad).expect("writes");
        let verification = verify(folder.path(), &mut |_| {});
        let rows = rows(&path);
        assert!(rows.len() < SEGMENT / 8);
        // Scribbles behind the header page or over dead bytes alone are harmless.
        let touched = |range: std::ops::Range<usize>| good.get(range.clone()) != bad.get(range);
        if touched(0..HEADER) || (kind != 2 && touched(FRAMES_START..at(live.expect("frames")))) {
            assert!(
                same || !verification.is_ok_and(|verification| !verification.is_damaged()),
                "{kind} {start}..{end}"
            );
        }
        fs::write(&path, &good).expect("writes");
    }
}
