//! What is made of a case: whether the damage is reported with its place, or provably harmless.
//!
//! Guarantees:
//! 1. What is judged and what is not is taken from the layout alone: an unjudged byte that is reported is a violation, and
//!    so is a judged byte that is not.
//! 2. The durable line is computed anew from the units that are whole: whatever carries one counts, also behind damage.

use std::collections::BTreeSet;

use esker::inspect::{Finding, FindingClass, Verification};
use esker::{Error, ErrorKind, Place, Result};

use super::edit::{Damage, Edit, Hit, Nature};
use super::history::History;
use super::layout::{FileKind, SLOT, SLOTS, What};
use super::proof::Proof;
use super::reference::Reference;
use super::valid;
use crate::MemoryDisk;

/// What came of a case; `Err` elsewhere is a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// With its place.
    Reported,
    /// Reported as a torn tail, and what was cut had been acknowledged.
    LimitCut,
    /// Not reported: what was acknowledged is gone without a trace, or replaced by what has the same shape.
    LimitSilent,
    Harmless(Proof),
}

/// A case, and what may be expected of it.
pub(super) struct Case<'a> {
    pub(super) reference: &'a Reference,
    pub(super) damage: &'a Damage,
    pub(super) hits: BTreeSet<Hit>,
    /// What may be read; empty: anything.
    pub(super) histories: Vec<&'a History>,
    /// The highest line that is still carried.
    pub(super) durable: Place,
}

/// A stretch of judged units of one file that are damaged one behind the other.
#[derive(Debug, Clone)]
pub(super) struct Run {
    file: usize,
    start: usize,
    end: usize,
}

impl<'a> Case<'a> {
    pub(super) fn new(reference: &'a Reference, damage: &'a Damage) -> Self {
        let hits = damage.hits(reference);
        let histories = match damage.nature {
            Nature::Accident => vec![&reference.history],
            Nature::Apart | Nature::Twin => {
                std::iter::once(&reference.history).chain(reference.apart.iter().map(|(_, history)| history)).collect()
            }
            Nature::Forgery => Vec::new(),
        };
        let durable = durable(reference, &hits);
        Self { reference, damage, hits, histories, durable }
    }

    pub(super) fn unit(&self, hit: Hit) -> What {
        self.reference.files[hit.0].units[hit.1].what
    }

    /// Whether any byte was touched that counts.
    pub(super) fn is_judged(&self) -> bool {
        self.hits.iter().any(|hit| self.unit(*hit).is_judged())
    }

    /// Whether a place lies in what was damaged.
    pub(super) fn is_hit(&self, place: Place) -> bool {
        let files = self.reference.files.iter().enumerate();
        let mut same = files.filter(|(_, file)| file.number() == Some(place.segment));
        let at = usize::try_from(place.position).unwrap_or(usize::MAX);
        same.any(|(number, file)| {
            let hit = self.hits.contains(&(number, file.unit_at(at)));
            // What follows a lost header, or a cut, is lost with it.
            hit || self.hits.contains(&(number, 0)) || self.hits.contains(&(number, file.units.len() - 1))
        })
    }

    /// Whether what was damaged at a place is not judged.
    pub(super) fn is_free(&self, place: Place) -> bool {
        self.is_hit(place)
            && self.reference.files.iter().filter(|file| file.number() == Some(place.segment)).all(|file| {
                let at = usize::try_from(place.position).unwrap_or(usize::MAX);
                file.units.get(file.unit_at(at)).is_some_and(|unit| unit.what == What::Free(Proof::ZeroTail))
            })
    }

    pub(super) fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut last: Option<Hit> = None;
        for hit in self.hits.iter().copied().filter(|hit| self.unit(*hit).is_judged()) {
            let units = &self.reference.files[hit.0].units;
            let range = &units[hit.1].range;
            let adjoins = last.is_some_and(|last| {
                last.0 == hit.0 && units[last.1 + 1..hit.1].iter().all(|between| !between.what.is_judged())
            });
            match runs.last_mut() {
                Some(run) if adjoins => run.end = range.end,
                _ => runs.push(Run { file: hit.0, start: range.start, end: range.end }),
            }
            last = Some(hit);
        }
        for run in &mut runs {
            if let Some(length) = self.damage.cuts(self.reference, run.file) {
                // What is not judged before and behind it is gone too.
                run.start = run.start.min(length);
                run.end = self.reference.files[run.file].bytes.len();
            }
        }
        runs
    }

    /// The judged damage that a verification does not speak of.
    pub(super) fn unreported(&self, verified: &Result<Verification>) -> Vec<Run> {
        let runs = self.runs().into_iter();
        match verified {
            Err(error) if self.names_a_hit_file(error) => Vec::new(),
            Err(_) => runs.collect(),
            Ok(verification) => runs.filter(|run| !self.covers(run, &verification.findings)).collect(),
        }
    }

    fn names_a_hit_file(&self, error: &Error) -> bool {
        let segments = || self.reference.files.iter().enumerate().filter(|(_, file)| file.number().is_some());
        if error.kind() == ErrorKind::Invalid {
            // Not a log any more: nothing is left that could be the frames of one.
            return segments().all(|(file, _)| self.damage.cuts(self.reference, file) == Some(0));
        }
        let Some(name) = error.path().and_then(|path| path.file_name()) else { return false };
        let named = self.reference.files.iter().position(|file| *file.name == *name);
        named.is_some_and(|named| self.hits.iter().any(|hit| hit.0 == named && self.unit(*hit).is_judged()))
    }

    fn covers(&self, run: &Run, findings: &[Finding]) -> bool {
        let stored = &self.reference.files[run.file];
        let of_file = |finding: &&Finding| finding.file.file_name().is_some_and(|name| *name == *stored.name);
        match stored.kind {
            FileKind::Anchor => findings.iter().filter(of_file).any(|finding| finding.class == FindingClass::BadAnchor),
            FileKind::Checkpoint => findings.iter().filter(of_file).any(|finding| finding.class.is_damage()),
            FileKind::Segment { number, .. } => findings.iter().any(|finding| {
                let Some(segment) = finding.segment else { return false };
                let position = usize::try_from(finding.position.unwrap_or_default()).unwrap_or(usize::MAX);
                let ends_log = finding.class == FindingClass::TornTail;
                (segment == number && (run.start..run.end).contains(&position))
                    || (ends_log && (segment, position) <= (number, run.start))
                    || (segment >= number && position == 0 && self.lost_from(number, segment))
            }),
        }
    }

    /// Whether all headers behind a segment are lost up to the one that is reported, or up to the end: nobody is left to
    /// say what the segment was.
    fn lost_from(&self, number: u64, reported: u64) -> bool {
        let files = self.reference.files.iter().enumerate();
        let mut behind = files.filter(|(_, file)| file.number() > Some(number));
        let lost = |file: usize| self.hits.contains(&(file, 0));
        if reported == number {
            return behind.min_by_key(|(_, file)| file.number()).is_none_or(|(next, _)| lost(next));
        }
        behind.all(|(file, stored)| stored.number() > Some(reported) || lost(file))
    }

    /// Why damage that nobody reports does no harm, if all that is left is of one such class.
    pub(super) fn class(&self, unreported: &[Run], disk: &MemoryDisk) -> Option<Proof> {
        if self.hits.is_empty() {
            return self.damage.edits.first().map(|edit| match edit {
                Edit::Put { .. } => Proof::OtherCheckpoint,
                Edit::Cut { .. } => Proof::CutZeros,
                Edit::Store { .. } | Edit::Remove { .. } => Proof::SameBytes,
            });
        }
        let kinds: Vec<FileKind> = unreported.iter().map(|run| self.reference.files[run.file].kind).collect();
        if kinds.is_empty() {
            return self.hits.iter().find_map(|hit| match self.unit(*hit) {
                What::Free(proof) => Some(proof),
                _ => None,
            });
        }
        if kinds.iter().all(|kind| *kind == FileKind::Anchor) {
            let mut anchor = disk.read_file("anchor").unwrap_or_default();
            anchor.resize(SLOTS[1] + SLOT, 0);
            let notes = SLOTS.iter().all(|at| valid::slot(&anchor[*at..at + SLOT]));
            return notes.then_some(Proof::OlderNote);
        }
        let gone = |run: &Run| {
            let of_file = |edit: &Edit| matches!(edit, Edit::Remove { file } if *file == run.file);
            self.reference.files[run.file].kind != FileKind::Checkpoint || self.damage.edits.iter().any(of_file)
        };
        let no_segment = !kinds.iter().any(|kind| matches!(kind, FileKind::Segment { .. }));
        (no_segment && unreported.iter().all(gone)).then_some(Proof::OtherCheckpoint)
    }

    pub(super) fn of_segments(&self, runs: &[Run]) -> Vec<Run> {
        runs.iter().filter(|run| self.reference.files[run.file].number().is_some()).cloned().collect()
    }

    /// Whether all of these are above the durable line, and nothing at all is stored there and behind: a log that ended there
    /// would look the same. `format.md` names it among the limits.
    pub(super) fn vanished(&self, runs: &[Run], disk: &MemoryDisk) -> bool {
        runs.iter().all(|run| {
            let number = self.reference.files[run.file].number();
            let position = u64::try_from(run.start).unwrap_or(u64::MAX);
            number.is_some_and(|segment| {
                let place = Place { segment, position };
                self.durable <= place && is_empty_behind(self.reference, disk, place)
            })
        })
    }

    pub(super) fn show(&self, runs: &[Run]) -> String {
        let shown = runs
            .iter()
            .take(4)
            .map(|run| format!("{} {}..{}", self.reference.files[run.file].name, run.start, run.end));
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// Whether nothing but zeros is stored at a place and behind it.
pub(super) fn is_empty_behind(reference: &Reference, disk: &MemoryDisk, place: Place) -> bool {
    reference.files.iter().filter(|file| file.number() >= Some(place.segment)).all(|file| {
        let bytes = disk.read_file(&file.name).unwrap_or_default();
        let own = file.number() == Some(place.segment);
        let start = if own { usize::try_from(place.position).unwrap_or(usize::MAX) } else { 0 };
        bytes.iter().skip(start).all(|byte| *byte == 0)
    })
}

/// The highest line that a whole unit carries.
fn durable(reference: &Reference, hits: &BTreeSet<Hit>) -> Place {
    let files = reference.files.iter().enumerate();
    let lines = files.flat_map(|(number, file)| {
        let header_whole = file.number().is_none() || !hits.contains(&(number, 0));
        let units =
            file.units.iter().enumerate().filter(move |(unit, _)| header_whole && !hits.contains(&(number, *unit)));
        units.filter_map(|(_, unit)| unit.line)
    });
    lines.map(|line| line.place).max().unwrap_or_default()
}
