//! The names in a directory: as the system shows them, and as the medium has them.
//!
//! Guarantees:
//! 1. A change is on the medium once the directory was synced after it. Until then power decides, change by change, or
//!    from the oldest on, as [`NamesModel`] says. What a failed sync gave up is the exception: no later sync writes it, and
//!    power takes it, unless the same name is changed again.
//! 2. A rename is one change, into another folder too. Once that folder was synced, power can only bring the old name back.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::inode::Inode;
use super::medium::AfterFailure;

/// Which of the changes that were not synced survive a loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamesModel {
    /// All up to some moment, as a journal keeps them; a synced file takes what came before it along.
    Journaled,
    /// Any of them.
    Adversarial,
}

/// One change of the directory.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Link { name: String, inode: Arc<Inode> },
    Unlink { name: String },
    Rename { from: String, to: String, inode: Arc<Inode> },
}

#[derive(Debug, Default)]
pub(super) struct Names {
    /// By name; the name of one in quarantine begins with the folder.
    pub(super) shown: BTreeMap<String, Arc<Inode>>,
    pub(super) durable: BTreeMap<String, Arc<Inode>>,
    /// Not synced, oldest first.
    pub(super) changes: Vec<Change>,
    /// How many of the oldest changes a journal has written.
    pub(super) journaled: usize,
}

impl Change {
    /// The names that it changes.
    pub(super) fn names(&self) -> [&str; 2] {
        match self {
            Self::Link { name, .. } | Self::Unlink { name } => [name, name],
            Self::Rename { from, to, .. } => [from, to],
        }
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<String, Arc<Inode>>) {
        match self {
            Self::Link { name, inode } => {
                names.insert(name.clone(), Arc::clone(inode));
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
            Self::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), Arc::clone(inode));
            }
        }
    }

    fn inode(&self) -> Option<&Arc<Inode>> {
        match self {
            Self::Link { inode, .. } | Self::Rename { inode, .. } => Some(inode),
            Self::Unlink { .. } => None,
        }
    }
}

impl Names {
    /// Names that are on the medium as they are shown.
    pub(super) fn settled(shown: BTreeMap<String, Arc<Inode>>) -> Self {
        Self { durable: shown.clone(), shown, ..Self::default() }
    }

    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.shown);
        self.changes.push(change);
    }

    /// A sync of the folder quarantine: what was moved there stays.
    pub(super) fn settle_quarantine(&mut self) {
        for change in &mut self.changes {
            if let Change::Rename { from, to, inode } = change
                && to.contains('/')
            {
                self.durable.insert(std::mem::take(to), Arc::clone(inode));
                *change = Change::Unlink { name: std::mem::take(from) };
            }
        }
    }

    pub(super) fn sync(&mut self) {
        for change in self.changes.drain(..) {
            change.apply(&mut self.durable);
        }
        self.journaled = 0;
    }

    /// A sync that fails: what `written` names got there before, the rest waits for no sync any more.
    pub(super) fn fail_sync(&mut self, after: AfterFailure, mut written: impl FnMut() -> bool) {
        for change in self.changes.drain(..).filter(|_| written()) {
            change.apply(&mut self.durable);
        }
        self.journaled = 0;
        if after == AfterFailure::Reverted {
            self.shown = self.durable.clone();
        }
    }

    /// Takes a name away on the medium too; whether it was there.
    pub(super) fn lose(&mut self, name: &str) -> bool {
        self.changes.retain(|change| !change.names().contains(&name));
        self.journaled = self.journaled.min(self.changes.len());
        self.durable.remove(name);
        self.shown.remove(name).is_some()
    }

    /// A journal that wrote a file's length has written what came before the file too.
    pub(super) fn file_synced(&mut self, inode: &Inode) {
        let of_file = |change: &Change| change.inode().is_some_and(|other| other.number == inode.number);
        let upto = self.changes.iter().rposition(of_file).map_or(0, |index| index + 1);
        self.journaled = self.journaled.max(upto);
    }

    /// Every file that can still be found after a loss of power, or is shown.
    pub(super) fn inodes(&self) -> impl Iterator<Item = &Arc<Inode>> {
        self.shown.values().chain(self.durable.values()).chain(self.changes.iter().filter_map(Change::inode))
    }

    /// The same names of other files.
    pub(super) fn map(&self, mut of: impl FnMut(&Arc<Inode>) -> Arc<Inode>) -> Self {
        let mut all = |names: &BTreeMap<String, Arc<Inode>>| {
            names.iter().map(|(name, inode)| (name.clone(), of(inode))).collect::<BTreeMap<_, _>>()
        };
        let (shown, durable) = (all(&self.shown), all(&self.durable));
        let changes = self.changes.iter().map(|change| match change {
            Change::Link { name, inode } => Change::Link { name: name.clone(), inode: of(inode) },
            Change::Rename { from, to, inode } => {
                Change::Rename { from: from.clone(), to: to.clone(), inode: of(inode) }
            }
            Change::Unlink { name } => Change::Unlink { name: name.clone() },
        });
        Self { changes: changes.collect(), shown, durable, journaled: self.journaled }
    }
}
