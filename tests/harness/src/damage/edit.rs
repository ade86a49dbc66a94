//! Damage as a list of edits: carried out on a disk, taken back, and said in terms of the layout.
//!
//! Guarantees:
//! 1. What is hit is what differs from the reference, and what a shorter file lacks: an edit that changes nothing hits nothing.
//! 2. What only stores is taken back without a trace.

use std::collections::BTreeSet;

use esker::platform::{Access, Disk as _};

use super::layout::What;
use super::proof::Proof;
use super::reference::Reference;
use crate::MemoryDisk;

/// One change of a file.
#[derive(Clone)]
pub(super) enum Edit {
    Store {
        file: usize,
        at: usize,
        bytes: Vec<u8>,
    },
    Cut {
        file: usize,
        length: usize,
    },
    Remove {
        file: usize,
    },
    /// A file in the place of another, or one more.
    Put {
        name: String,
        bytes: Vec<u8>,
    },
}

/// What may be asked of the log afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    /// The truth, or an error.
    Accident,
    /// The truth of one of several histories, or an error.
    Apart,
    /// The same of records alone, which may be of both histories: the two have the same shape throughout.
    Twin,
    /// Survival: what was put there may have been written by the engine.
    Forgery,
}

/// A case.
#[derive(Clone)]
pub(super) struct Damage {
    pub(super) edits: Vec<Edit>,
    pub(super) nature: Nature,
}

/// The unit of a file, both by their numbers.
pub(super) type Hit = (usize, usize);

impl Damage {
    pub(super) fn accident(edits: Vec<Edit>) -> Self {
        Self { edits, nature: Nature::Accident }
    }

    pub(super) fn store(file: usize, at: usize, bytes: Vec<u8>) -> Self {
        Self::accident(vec![Edit::Store { file, at, bytes }])
    }

    /// Units of which a byte changed or is gone.
    pub(super) fn hits(&self, reference: &Reference) -> BTreeSet<Hit> {
        let mut hits = BTreeSet::new();
        for edit in &self.edits {
            match edit {
                Edit::Store { file, at, bytes } => differing(reference, *file, *at, bytes, &mut hits),
                Edit::Cut { file, length } => beyond(reference, *file, *length, &mut hits),
                Edit::Remove { file } => beyond(reference, *file, 0, &mut hits),
                Edit::Put { name, bytes } => {
                    if let Some(file) = reference.file(name) {
                        let common = bytes.len().min(reference.files[file].bytes.len());
                        differing(reference, file, 0, &bytes[..common], &mut hits);
                        beyond(reference, file, bytes.len(), &mut hits);
                    }
                }
            }
        }
        hits
    }

    /// To which length a file is cut, if it is shorter than it was or not there.
    pub(super) fn cuts(&self, reference: &Reference, number: usize) -> Option<usize> {
        let stored = &reference.files[number];
        let length = self.edits.iter().find_map(|edit| match edit {
            Edit::Cut { file, length } if *file == number => Some(*length),
            Edit::Remove { file } if *file == number => Some(0),
            Edit::Put { name, bytes } if stored.name == *name => Some(bytes.len()),
            _ => None,
        });
        length.filter(|length| *length < stored.bytes.len())
    }

    /// Whether it can be taken back byte by byte.
    pub(super) fn only_stores(&self) -> bool {
        self.edits.iter().all(|edit| matches!(edit, Edit::Store { .. }))
    }

    pub(super) fn apply(&self, reference: &Reference, disk: &MemoryDisk) {
        for edit in &self.edits {
            match edit {
                Edit::Store { file, at, bytes } => store(disk, &reference.files[*file].name, *at, bytes),
                Edit::Cut { file, length } => {
                    disk.truncate(&reference.files[*file].name, u64::try_from(*length).expect("small"));
                }
                Edit::Remove { file } => disk.remove(&reference.files[*file].name),
                Edit::Put { name, bytes } => {
                    if reference.file(name).is_some() {
                        disk.remove(name);
                    }
                    disk.put_file(name, bytes);
                }
            }
        }
    }

    /// Puts back what was stored over.
    pub(super) fn take_back(&self, reference: &Reference, disk: &MemoryDisk) {
        for edit in &self.edits {
            if let Edit::Store { file, at, bytes } = edit {
                let stored = &reference.files[*file];
                store(disk, &stored.name, *at, &stored.bytes[*at..*at + bytes.len()]);
            }
        }
    }

    /// In words.
    pub(super) fn tell(&self, reference: &Reference) -> String {
        let name = |file: &usize| &reference.files[*file].name;
        let told = self.edits.iter().map(|edit| match edit {
            Edit::Store { file, at, bytes } if bytes.len() <= 8 => {
                let before = &reference.files[*file].bytes[*at..*at + bytes.len()];
                format!("{} at {at}: {before:02x?} now {bytes:02x?}", name(file))
            }
            Edit::Store { file, at, bytes } => format!("{} at {at}: {} bytes stored", name(file), bytes.len()),
            Edit::Cut { file, length } => format!("{} cut to {length}", name(file)),
            Edit::Remove { file } => format!("{} removed", name(file)),
            Edit::Put { name, bytes } => format!("{name} put there, {} bytes", bytes.len()),
        });
        format!("{} ({:?})", told.collect::<Vec<_>>().join(", "), self.nature)
    }
}

fn store(disk: &MemoryDisk, name: &str, at: usize, bytes: &[u8]) {
    let file = disk.open(name, Access::Write).expect("is there");
    file.write_at(bytes, u64::try_from(at).expect("small")).expect("inside");
}

fn differing(reference: &Reference, file: usize, at: usize, bytes: &[u8], hits: &mut BTreeSet<Hit>) {
    let stored = &reference.files[file];
    let mut place = at;
    while place < at + bytes.len() {
        let unit = stored.unit_at(place);
        let end = stored.units[unit].range.end.min(at + bytes.len());
        if stored.bytes[place..end] != bytes[place - at..end - at] {
            hits.insert((file, unit));
        }
        place = end;
    }
}

fn beyond(reference: &Reference, file: usize, length: usize, hits: &mut BTreeSet<Hit>) {
    let units = &reference.files[file].units;
    let gone =
        units.iter().enumerate().filter(|(_, unit)| unit.range.end > length && unit.what != What::CheckpointZeros);
    hits.extend(gone.map(|(unit, _)| (file, unit)));
    // The last segment has its whole length from its first day on, and any other at least up to its named end.
    let whole = match units.last() {
        Some(last) if last.what == What::Free(Proof::Dead) => last.range.start,
        Some(last) => last.range.end,
        None => 0,
    };
    if reference.files[file].number().is_some() && length < whole {
        let judged = units.iter().rposition(|unit| unit.what.is_judged());
        hits.extend(judged.map(|judged| (file, judged)));
    }
}
