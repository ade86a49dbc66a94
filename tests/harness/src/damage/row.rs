//! The rows of the matrix: every kind of damage, and all its cases by number.
//!
//! Guarantees:
//! 1. A row has as many cases as it counts, each by one number, which always gives the same damage.
//! 2. The rows are all there are: [`Row::ALL`] names each once.

use super::edit::{Damage, Edit, Nature};
use super::extreme::{Extreme, Sums, extremes};
use super::reference::Reference;

const SECTOR: usize = 512;

/// A kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// Each bit of each file.
    BitFlipped,
    /// Each sector of 512 bytes.
    SectorZeroed,
    /// Each pair of sectors, of one file or of two.
    SectorsSwapped,
    /// Each sector over each other one.
    SectorDuplicated,
    /// Each length, count and other number, at each extreme; checksums as they were.
    Extreme,
    /// The same with every checksum made right again.
    ExtremeForged,
    /// Each file at each length below its own.
    Truncated,
    /// Each set of files.
    FilesRemoved,
    /// Each file, all zeros.
    FileZeroed,
    /// Each file as it was earlier, also those that are gone by now.
    FileOlder,
    /// Each file from another store that did the same.
    FileOfOtherStore,
    /// Each file from a copy that went on apart.
    FileApart,
    /// Each file from a copy that went on apart in frames of the very same lengths.
    FileOfTwin,
    /// Each pair of files.
    FilesExchanged,
}

impl Row {
    /// All rows, in the order of the table.
    pub const ALL: [Self; 14] = [
        Self::BitFlipped,
        Self::SectorZeroed,
        Self::SectorsSwapped,
        Self::SectorDuplicated,
        Self::Extreme,
        Self::ExtremeForged,
        Self::Truncated,
        Self::FilesRemoved,
        Self::FileZeroed,
        Self::FileOlder,
        Self::FileOfOtherStore,
        Self::FileApart,
        Self::FileOfTwin,
        Self::FilesExchanged,
    ];

    /// Its name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BitFlipped => "bit flipped",
            Self::SectorZeroed => "sector zeroed",
            Self::SectorsSwapped => "sectors swapped",
            Self::SectorDuplicated => "sector duplicated",
            Self::Extreme => "number at extreme",
            Self::ExtremeForged => "number forged",
            Self::Truncated => "file truncated",
            Self::FilesRemoved => "files removed",
            Self::FileZeroed => "file zeroed",
            Self::FileOlder => "file from earlier",
            Self::FileOfOtherStore => "file of other store",
            Self::FileApart => "file of copy apart",
            Self::FileOfTwin => "file of twin",
            Self::FilesExchanged => "files exchanged",
        }
    }

    /// Its name in one word, as it is given to a program.
    #[must_use]
    pub fn key(self) -> String {
        self.name().replace(' ', "-")
    }
}

/// All cases of one reference.
pub(super) struct Cases<'a> {
    pub(super) reference: &'a Reference,
    /// File and byte of each sector.
    sectors: Vec<(usize, usize)>,
    extremes: Vec<Extreme>,
    older: Vec<(String, Vec<u8>)>,
    other: Vec<(String, Vec<u8>)>,
    apart: Vec<(String, Vec<u8>)>,
    twin: Vec<(String, Vec<u8>)>,
}

impl<'a> Cases<'a> {
    pub(super) fn new(reference: &'a Reference) -> Self {
        let sectors = reference.files.iter().enumerate();
        let sectors =
            sectors.flat_map(|(file, stored)| (0..stored.bytes.len()).step_by(SECTOR).map(move |at| (file, at)));
        let changed = |files: Vec<(String, Vec<u8>)>| {
            let same = |name: &str, bytes: &[u8]| {
                reference.file(name).is_some_and(|file| reference.files[file].bytes == bytes)
            };
            let mut files: Vec<_> = files.into_iter().filter(|(name, bytes)| !same(name, bytes)).collect();
            files.sort();
            files.dedup();
            files
        };
        let (twin, apart) = reference.apart.split_last().expect("there are some");
        Self {
            sectors: sectors.collect(),
            extremes: extremes(reference),
            older: changed(
                reference.older.iter().flatten().map(|(name, bytes)| (name.clone(), bytes.clone())).collect(),
            ),
            other: changed(reference.other.clone().into_iter().collect()),
            apart: changed(apart.iter().flat_map(|(files, _)| files.clone()).collect()),
            twin: changed(twin.0.clone().into_iter().collect()),
            reference,
        }
    }

    /// How many cases a row has.
    pub(super) fn count(&self, row: Row) -> usize {
        let files = &self.reference.files;
        let bytes: usize = files.iter().map(|file| file.bytes.len()).sum();
        match row {
            Row::BitFlipped => bytes * 8,
            Row::SectorZeroed => self.sectors.len(),
            Row::SectorsSwapped => self.sectors.len() * (self.sectors.len() - 1) / 2,
            Row::SectorDuplicated => self.sectors.len() * (self.sectors.len() - 1),
            Row::Extreme | Row::ExtremeForged => self.extremes.len(),
            Row::Truncated => bytes,
            // All but the set of none and the set of all, which is an empty directory.
            Row::FilesRemoved => (1 << files.len()) - 2,
            Row::FileZeroed => files.len(),
            Row::FileOlder => self.older.len(),
            Row::FileOfOtherStore => self.other.len(),
            Row::FileApart => self.apart.len(),
            Row::FileOfTwin => self.twin.len(),
            Row::FilesExchanged => files.len() * (files.len() - 1) / 2,
        }
    }

    pub(super) fn damage(&self, row: Row, case: usize) -> Damage {
        let files = &self.reference.files;
        match row {
            Row::BitFlipped => {
                let (file, at) = self.byte(case / 8);
                Damage::store(file, at, vec![files[file].bytes[at] ^ 1 << (case % 8)])
            }
            Row::SectorZeroed => {
                let (file, at) = self.sectors[case];
                Damage::store(file, at, vec![0; self.sector(case).len()])
            }
            Row::SectorsSwapped => {
                let (one, other) = pair(case);
                Damage::accident(vec![self.over(one, other), self.over(other, one)])
            }
            Row::SectorDuplicated => {
                let (one, other) = pair(case / 2);
                let (from, to) = if case.is_multiple_of(2) { (one, other) } else { (other, one) };
                Damage::accident(vec![self.over(from, to)])
            }
            Row::Extreme => self.extremes[case].damage(self.reference, Sums::Stale),
            Row::ExtremeForged => self.extremes[case].damage(self.reference, Sums::Right),
            Row::Truncated => {
                let (file, length) = self.byte(case);
                Damage::accident(vec![Edit::Cut { file, length }])
            }
            Row::FilesRemoved => {
                let removed = (0..files.len()).filter(|file| (case + 1) >> file & 1 == 1);
                Damage::accident(removed.map(|file| Edit::Remove { file }).collect())
            }
            Row::FileZeroed => Damage::store(case, 0, vec![0; files[case].bytes.len()]),
            Row::FileOlder => put(&self.older[case], Nature::Accident),
            Row::FileOfOtherStore => put(&self.other[case], Nature::Accident),
            Row::FileApart => put(&self.apart[case], Nature::Apart),
            Row::FileOfTwin => put(&self.twin[case], Nature::Twin),
            Row::FilesExchanged => {
                let (one, other) = pair(case);
                let put = |from: usize, to: usize| Edit::Put {
                    name: files[to].name.clone(),
                    bytes: files[from].bytes.clone(),
                };
                Damage::accident(vec![put(one, other), put(other, one)])
            }
        }
    }

    /// The file and place of the n-th byte of all.
    fn byte(&self, mut number: usize) -> (usize, usize) {
        for (file, stored) in self.reference.files.iter().enumerate() {
            if number < stored.bytes.len() {
                return (file, number);
            }
            number -= stored.bytes.len();
        }
        unreachable!("cases are counted by the same lengths")
    }

    fn sector(&self, sector: usize) -> &[u8] {
        let (file, at) = self.sectors[sector];
        let bytes = &self.reference.files[file].bytes[at..];
        &bytes[..bytes.len().min(SECTOR)]
    }

    /// One sector over another, as far as both reach.
    fn over(&self, from: usize, to: usize) -> Edit {
        let (file, at) = self.sectors[to];
        let bytes = self.sector(from);
        Edit::Store { file, at, bytes: bytes[..bytes.len().min(self.sector(to).len())].to_vec() }
    }
}

fn put((name, bytes): &(String, Vec<u8>), nature: Nature) -> Damage {
    Damage { edits: vec![Edit::Put { name: name.clone(), bytes: bytes.clone() }], nature }
}

/// The n-th pair of different numbers, the larger one first.
fn pair(number: usize) -> (usize, usize) {
    let mut larger = 1;
    let mut left = number;
    while left >= larger {
        left -= larger;
        larger += 1;
    }
    (larger, left)
}
