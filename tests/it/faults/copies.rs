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
