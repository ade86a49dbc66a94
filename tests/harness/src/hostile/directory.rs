//! Hostile directories: the files of a log removed, swapped, renamed, cut, taken from elsewhere, and strangers among them.
//!
//! Guarantees:
//! 1. Any input is a log to begin with and a list of steps, each on one file.
//! 2. As long as no step makes up bytes with right sums, the records that are handed out are the beginning of one of the
//!    logs that the files are from, whatever the steps did.

use std::sync::{Arc, OnceLock};

use esker::platform::{Disk as _, Lock};
use esker::{Attached, Commit, ErrorKind, Log};

use super::put;
use super::repairs::{Origin, repair_copies};
use super::ways::{Checkpoints, Drained, drain, open_all_ways, options};
use crate::MemoryDisk;
use crate::format::bytes::{Input, store};
use crate::format::sums::{SEGMENT_HEADER_BYTES, mend_frames, mend_opening};

const STEPS_MAX: usize = 24;
const FILE_BYTES_MAX: usize = 64 * 1024;
const FILES_MAX: usize = 40;
/// A checksum of 32 bits notices so many wrong bits in anything as short as what it covers here.
const FLIPS_MAX: usize = 3;

/// Of each directory of the pool those whose files are no other truth beside its own: itself, what the same log was earlier, and
/// any of another store.
const AT_PEACE: [&[usize]; 6] =
    [&[0, 5], &[0, 1, 5], &[0, 1, 2, 5], &[0, 1, 2, 3, 5], &[0, 1, 4, 5], &[0, 1, 2, 3, 4, 5]];

/// Directories to begin with, and the logs that their files are from.
struct Pool {
    disks: Vec<MemoryDisk>,
    /// Each file of each of them, and the number of the disk.
    files: Vec<(usize, String, Vec<u8>)>,
    /// The payloads of each log, in their order.
    logs: Vec<Vec<Vec<u8>>>,
}

/// One log at five times: young, killed, killed again, closed, and as a copy that went on apart from the second; and
/// another one.
fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let young = killed_after(&MemoryDisk::new(31), "one", 0..5);
        let killed = killed_after(&young.snapshot(), "one", 5..30);
        let apart = killed_after(&killed.snapshot(), "apart", 30..50);
        let again = killed_after(&killed.snapshot(), "one", 30..45);
        let closed = again.snapshot();
        open(&closed).close().expect("closes");
        let other = killed_after(&MemoryDisk::new(32), "other", 0..20);
        let disks = vec![young, killed, again, closed, apart, other];
        let logs = [2, 4, 5].map(|disk: usize| payloads(&drain(open(&disks[disk].snapshot()).reader())));
        let named = |(number, disk): (usize, &MemoryDisk)| {
            let names = disk.names().into_iter();
            names.filter_map(|name| Some((number, name.clone(), disk.read_file(&name)?))).collect::<Vec<_>>()
        };
        Pool { files: disks.iter().enumerate().flat_map(named).collect(), disks, logs: logs.into() }
    })
}

fn open(disk: &MemoryDisk) -> Log {
    options().open_on(Arc::new(disk.clone())).expect("opens")
}

/// What the death of a process leaves that stored records, state, checkpoints and an anchor; the last records were not
/// made durable.
fn killed_after(disk: &MemoryDisk, who: &str, numbers: std::ops::Range<usize>) -> MemoryDisk {
    let log = open(disk);
    let last = numbers.end - 2;
    for number in numbers {
        let mut record = format!("{who} {number}").into_bytes();
        record.resize(300 + number * 53 % 400, 0);
        let key = [u8::try_from(number % 7).expect("small")];
        let _ = log.commit(Commit::new().record(&record).state(&key, who)).expect("commits");
        if number < last {
            log.sync().expect("syncs");
            log.background_step();
        }
    }
    // While the log is open: to drop it is to close it.
    disk.snapshot()
}

fn payloads(drained: &Drained) -> Vec<Vec<u8>> {
    drained.records.iter().map(|record| record.payload.clone()).collect()
}

/// A directory while steps are done on it.
struct Scene {
    disk: MemoryDisk,
    /// Which of the pool it began with.
    base: usize,
    flips: usize,
    forged: Checkpoints,
    held: Holding,
    origin: Origin,
}

/// Whether somebody holds the writer's lock as the directory is opened first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holding {
    Nobody,
    Somebody,
}

/// Opens a directory that the input put together: a byte for the log to begin with, then steps.
///
/// # Panics
/// If the engine breaks a promise.
pub fn open_directory(input: &[u8]) {
    let pool = pool();
    let mut input = Input(input);
    let base = usize::from(input.byte()) % pool.disks.len();
    let disk = pool.disks[base].snapshot();
    let mut scene =
        Scene { disk, base, flips: 0, forged: Checkpoints::True, held: Holding::Nobody, origin: Origin::OneLog };
    for _ in 0..STEPS_MAX {
        if input.is_empty() || scene.disk.names().len() > FILES_MAX {
            break;
        }
        scene.step(&mut input, pool);
    }
    if scene.held == Holding::Somebody {
        scene.look_beside_a_writer();
    }
    let true_bytes = scene.forged == Checkpoints::True && scene.flips <= FLIPS_MAX;
    let (checkpoints, origin) =
        if true_bytes { (Checkpoints::True, scene.origin) } else { (Checkpoints::Forged, Origin::Several) };
    repair_copies(&scene.disk, origin);
    if let Ok(held) = open_all_ways(&scene.disk, checkpoints)
        && true_bytes
    {
        let found = payloads(&held.drained);
        assert!(pool.logs.iter().any(|log| log.starts_with(&found)), "records of no log: {:?}", starts(&found));
    }
}

fn starts(payloads: &[Vec<u8>]) -> Vec<String> {
    payloads.iter().map(|payload| String::from_utf8_lossy(&payload[..payload.len().min(9)]).into_owned()).collect()
}

impl Scene {
    fn step(&mut self, input: &mut Input<'_>, pool: &Pool) {
        let (what, file) = (input.byte(), self.chosen(input.byte()));
        let with = input.short();
        let at = usize::from(with);
        let mut bytes = file.as_ref().and_then(|file| self.disk.read_file(file)).unwrap_or_default();
        let (number, own_name, own_bytes) = &pool.files[at % pool.files.len()];
        if [1, 2].contains(&(what % 14)) && !AT_PEACE[self.base].contains(number) {
            self.origin = Origin::Several;
        }
        let inside = at % bytes.len().max(1);
        match (what % 14, file) {
            (0, Some(file)) => self.disk.remove(&file),
            (1, Some(file)) => self.replace(&file, own_bytes),
            (2, _) => self.replace(own_name, own_bytes),
            (3, Some(file)) => {
                let other = self.chosen(with.to_le_bytes()[0]).unwrap_or_else(|| file.clone());
                let theirs = self.disk.read_file(&other).unwrap_or_default();
                self.replace(&other, &bytes);
                self.replace(&file, &theirs);
            }
            (4, Some(file)) => {
                self.disk.remove(&file);
                self.replace(&name(with, input), &bytes);
            }
            (5, _) => self.replace(&name(with, input), &bytes),
            (6, Some(file)) => self.replace(&file, &bytes[..inside]),
            (7, Some(file)) => {
                if let Some(byte) = bytes.get_mut(inside) {
                    *byte ^= 1 << (what >> 5);
                    self.flips += 1;
                }
                self.replace(&file, &bytes);
            }
            (8, Some(file)) => {
                bytes.resize((bytes.len() + at).min(FILE_BYTES_MAX), 0);
                self.replace(&file, &bytes);
            }
            (9, Some(file)) => {
                store(&mut bytes, inside, input.take(usize::from(what >> 4)));
                self.forged = Checkpoints::Forged;
                self.replace(&file, &bytes);
            }
            (10, Some(file)) => {
                mend(&file, &mut bytes);
                self.forged = Checkpoints::Forged;
                self.replace(&file, &bytes);
            }
            (11, _) => {
                let content = input.take(at % 512);
                self.forged = Checkpoints::Forged;
                self.replace(&name(with >> 8, input), content);
            }
            (12, Some(file)) => drop(self.disk.quarantine(&file)),
            _ => self.held = Holding::Somebody,
        }
    }

    /// One of the files that are there.
    fn chosen(&self, which: u8) -> Option<String> {
        let mut names = self.disk.names();
        names.retain(|name| !["lock", "quarantine"].contains(&name.as_str()));
        let at = usize::from(which) % names.len().max(1);
        names.into_iter().nth(at)
    }

    fn replace(&self, name: &str, bytes: &[u8]) {
        if self.disk.read_file(name).is_some() {
            self.disk.remove(name);
        }
        put(&self.disk, name, bytes);
    }

    /// Nobody else can open it, and looking neither waits for the writer nor takes its lock.
    fn look_beside_a_writer(&self) {
        let lock = self.disk.lock().expect("asks");
        assert!(matches!(lock, Lock::Held(_)));
        let refused = options().open_on(Arc::new(self.disk.clone())).expect_err("somebody writes");
        assert!(matches!(refused.kind(), ErrorKind::Locked | ErrorKind::Invalid), "{refused}");
        if let Ok(attached) = Attached::open_on(Arc::new(self.disk.clone())) {
            drop(drain(attached.reader()));
            drop(attached.state());
        }
        drop(esker::inspect::verify_on(&self.disk, &mut |_| ()));
    }
}

/// A name for a file: of a segment, a checkpoint, a draft, the anchor, almost one of these, or the input's own.
fn name(with: u16, input: &mut Input<'_>) -> String {
    let [kind, number] = with.to_le_bytes();
    match kind % 8 {
        0 => format!("{number:010}.seg"),
        1 => format!("{number:010}.ckp"),
        2 => format!("{number:010}.ckp.draft"),
        3 => "anchor".to_owned(),
        4 => format!("{:010}.{}", u64::MAX - u64::from(number / 2), ["seg", "ckp"][usize::from(number % 2)]),
        5 => format!("{number}.seg"),
        6 => format!("{number:011}.SEG"),
        _ => {
            let own = String::from_utf8_lossy(input.take(usize::from(number) % 64)).replace('/', "_");
            if ["", "lock", "quarantine"].contains(&own.as_str()) { "stranger".to_owned() } else { own }
        }
    }
}

/// Makes the sums right that a file of this name has.
fn mend(name: &str, bytes: &mut [u8]) {
    if name == "anchor" {
        bytes.chunks_mut(512).for_each(|slot| mend_opening(slot, 128));
    } else {
        mend_opening(bytes, SEGMENT_HEADER_BYTES);
    }
    if name.contains(".seg") {
        mend_frames(bytes);
    }
}
