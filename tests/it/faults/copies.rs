//! Copies of a directory that was written meanwhile: files of different moments.

use std::sync::Arc;

use esker::platform::Disk as _;
use esker::{Attached, Commit, ErrorKind, Reader};
use harness::MemoryDisk;

use crate::support::{numbered, options};

/// A log at some moments of its life.
fn moments() -> Vec<MemoryDisk> {
    let disk = MemoryDisk::new(1);
    let log = options().checkpoint_bytes(4096).open_on(Arc::new(disk.clone())).expect("opens");
    let mut moments = Vec::new();
    for number in 0..90 {
        let record = numbered(number);
        let _ = log.commit(Commit::new().record(&record).state("last", &number.to_le_bytes())).expect("commits");
        if number % 6 == 5 {
            log.sync().expect("syncs");
            log.background_step();
        }
        if number % 9 == 8 {
            moments.push(disk.snapshot());
        }
    }
    moments
}

/// A copy whose file `name` is as it is in `of`, or not there.
fn mixed(rest: &MemoryDisk, of: &MemoryDisk, name: &str) -> MemoryDisk {
    let copy = rest.snapshot();
    if copy.read_file(name).is_some() {
        copy.remove(name);
    }
    if let Some(bytes) = of.read_file(name) {
        let file = copy.create(name, u64::try_from(bytes.len()).expect("small")).expect("creates");
        file.write_at(&bytes, 0).expect("writes");
    }
    copy
}

/// Whether a log could be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

/// How many records there are up to the end or the first damage; all are those of the log.
fn read(reader: &mut Reader, name: &str) -> (u64, Whole) {
    let mut count = 0;
    loop {
        match reader.poll() {
            Ok(Some(batch)) => {
                for record in &batch {
                    assert!(record.payload() == numbered(count), "{name}: record {count}");
                    count += 1;
                }
            }
            Ok(None) => return (count, Whole::Yes),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error}");
                return (count, Whole::No);
            }
        }
    }
}

#[test]
fn a_copy_with_one_file_of_another_moment_is_a_beginning_of_the_log_or_refused() {
    let moments = moments();
    let (mut opened, mut refused) = (0, 0);
    for (rest, of) in moments.iter().flat_map(|rest| moments.iter().map(move |of| (rest, of))) {
        let mut names = rest.names();
        names.extend(of.names());
        names.sort();
        names.dedup();
        for name in names.iter().filter(|name| *name != "lock") {
            let copy = mixed(rest, of, name);
            let outside = Attached::open_on(Arc::new(copy.clone()));
            match options().open_on(Arc::new(copy)) {
                Ok(log) => {
                    let found = read(&mut log.reader(), name);
                    assert!(found == read(&mut outside.expect("attaches").reader(), name), "{name}: seen from outside");
                    if found.1 == Whole::Yes
                        && let Some(last) = found.0.checked_sub(1)
                    {
                        let state = log.state("last").expect("shown").expect("held");
                        assert_eq!(state.value(), last.to_le_bytes(), "{name}: state of another moment");
                    }
                    *(if found.1 == Whole::Yes { &mut opened } else { &mut refused }) += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(opened > 100 && refused > 100, "{opened} opened, {refused} refused");
}

#[test]
fn an_anchor_slot_of_another_store_hides_none_of_the_own() {
    let disk = MemoryDisk::new(2);
    for _ in 0..2 {
        let log = options().open_on(Arc::new(disk.clone())).expect("opens");
        let _ = log.append(b"r").expect("appends");
        log.close().expect("closes");
    }
    let (store, sequence) = (24, 16);
    let slot_sequence = |bytes: &[u8], slot: usize| bytes[slot + sequence];
    let anchor = disk.read_file("anchor").expect("is there");
    let (own, older) = if slot_sequence(&anchor, 0) > slot_sequence(&anchor, 512) { (0, 512) } else { (512, 0) };
    disk.edit_file("anchor", |bytes| {
        let slot = &mut bytes[older..older + 128];
        slot[store] ^= 1;
        slot[sequence] = 200;
        harness::hostile::mend_slot(slot);
    });
    // Only the anchor knows of a segment that is gone.
    disk.edit_file("anchor", |bytes| {
        let slot = &mut bytes[own..own + 128];
        slot[40] = 9;
        harness::hostile::mend_slot(slot);
    });
    let error = options().open_on(Arc::new(disk)).expect_err("segment 9 is missing");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("segment 9 is missing"), "{error}");
}
