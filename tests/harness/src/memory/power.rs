//! The loss of power: what it leaves is chosen by a [`Fate`], within what the disk promises.
//!
//! Guarantees:
//! 1. What was synced is there. Of the rest any part may be: each dirty sector old, new, or torn at words of 8 bytes; each
//!    change of a name that was not synced, or all up to one of them; each length that was not synced.
//! 2. The disk that lost its power stays as it was: any number of images can be made of one moment.
//! 3. The image is another run of the system: its boot differs, nothing is dirty, nobody holds the lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::disk::mix;
use super::inode::Inode;
use super::medium::{SECTOR_BYTES, Survival};
use super::names::{Change, Names, NamesModel};
use super::{LockState, MemoryDisk};
use crate::numbers::{index, length as length_of};
use crate::oracle::fingerprint;

/// How much of a length that was not synced survived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// None of what came.
    None,
    /// A part.
    Half,
    /// All.
    All,
}

/// Decides what a loss of power leaves. `index` of `of` says which of all decisions of its kind it is.
pub trait Fate {
    /// Of the changes of names.
    fn names(&mut self) -> NamesModel;
    /// Whether a change of names survives; in a journal: whether this one and all before it do.
    fn change(&mut self, index: usize, of: usize) -> bool;
    /// How long a file is whose length was not synced.
    fn length(&mut self) -> Reached;
    /// What a dirty sector holds.
    fn sector(&mut self, index: usize, of: usize) -> Survival;
}

/// What power can still take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unsettled {
    /// Changes of names.
    pub changes: usize,
    /// Files whose length was not synced.
    pub lengths: usize,
    /// Dirty sectors.
    pub sectors: usize,
}

impl MemoryDisk {
    /// What power can take now.
    #[must_use]
    pub fn unsettled(&self) -> Unsettled {
        let state = self.state();
        let mut unsettled = Unsettled { changes: state.names.changes.len(), ..Unsettled::default() };
        let mut inodes: Vec<&Arc<Inode>> = state.names.inodes().collect();
        inodes.sort_by_key(|inode| inode.number);
        inodes.dedup_by_key(|inode| inode.number);
        for inode in inodes {
            unsettled.lengths += usize::from(inode.medium().length != inode.length());
            unsettled.sectors += inode.dirty().len();
        }
        unsettled
    }

    /// Differs between two moments unless power can leave the same of both, and the system shows the same.
    #[must_use]
    pub fn moment(&self) -> u64 {
        let state = self.state();
        let names = &state.names;
        let mut word = length_of(names.changes.len() + names.journaled);
        for (name, inode) in names.shown.iter().chain(&names.durable) {
            let number = [inode.number, inode.length(), inode.medium().length].map(u64::to_le_bytes).concat();
            word ^= fingerprint(&[name.as_bytes(), &number, &inode.bytes(), inode.medium().bytes()]);
            word = mix(word);
        }
        word
    }

    /// What a loss of power leaves.
    ///
    /// # Panics
    /// If the system has no memory left.
    #[must_use]
    pub fn lose_power(&self, fate: &mut dyn Fate) -> Self {
        let mut state = self.state();
        state.images += 1;
        let names = surviving(&state.names, fate);
        let files = settle(&names, fate);
        let image = Self::new(mix(state.random ^ mix(state.images)));
        let mut new = image.state();
        new.inodes = files.values().map(Arc::downgrade).collect();
        new.names = Names::settled(files);
        new.inode_next = state.inode_next;
        new.lock = if state.lock == LockState::Untouched { LockState::Untouched } else { LockState::Free };
        new.now = state.now;
        new.boot_id = mix(u64::from_le_bytes(state.boot_id[..8].try_into().expect("eight"))).to_le_bytes().repeat(2)
            [..16]
            .try_into()
            .expect("sixteen");
        (new.mount, new.space_bytes_max) = (state.mount, state.space_bytes_max);
        drop(new);
        image
    }

    /// The system writes a dirty sector back on its own, as it may at any moment; `choose` picks one of so many.
    pub fn write_back(&self, choose: impl FnOnce(usize) -> usize) {
        let state = self.state();
        let dirty: Vec<(&Arc<Inode>, usize)> = state
            .names
            .shown
            .values()
            .flat_map(|inode| inode.dirty().into_iter().map(move |one| (inode, one)))
            .collect();
        if !dirty.is_empty()
            && let Some((inode, sector)) = dirty.get(choose(dirty.len()))
            && !inode.medium().is_given_up(&inode.bytes(), *sector)
        {
            inode.medium().settle(&inode.bytes(), *sector, Survival::New);
        }
    }

    /// Why the file's bytes up to `end` could be lost with the power; `None`: they cannot.
    #[must_use]
    pub fn could_lose(&self, name: &str, end: u64) -> Option<String> {
        let state = self.state();
        let Some(inode) = state.names.shown.get(name) else { return Some(format!("{name} is not there")) };
        if state.names.durable.get(name).is_none_or(|durable| durable.number != inode.number) {
            return Some(format!("the name {name} was not synced"));
        }
        if inode.medium().length < end {
            return Some(format!("the length of {name} was not synced"));
        }
        let end = index(end);
        let shown = inode.bytes();
        let (shown, medium) = (&shown[..end.min(shown.len())], inode.medium());
        let first = shown.iter().zip(medium.bytes()).position(|(shown, medium)| shown != medium);
        first.map(|position| format!("{name} at {position} differs from what the medium holds"))
    }

    /// Names whose last change was not synced, other than `name`.
    #[must_use]
    pub fn unsynced_names_beside(&self, name: &str) -> Vec<String> {
        let state = self.state();
        let names = state.names.changes.iter().filter(|change| !matches!(change, Change::Unlink { .. }));
        names.map(|change| change.names()[1].to_owned()).filter(|other| other != name).collect()
    }
}

fn surviving(names: &Names, fate: &mut dyn Fate) -> BTreeMap<String, Arc<Inode>> {
    let mut durable = names.durable.clone();
    let of = names.changes.len();
    let model = fate.names();
    for (index, change) in names.changes.iter().enumerate() {
        let survives = match model {
            NamesModel::Journaled => index < names.journaled || fate.change(index, of),
            NamesModel::Adversarial => fate.change(index, of),
        };
        match (survives, model) {
            (true, _) => change.apply(&mut durable),
            (false, NamesModel::Journaled) => break,
            (false, NamesModel::Adversarial) => {}
        }
    }
    durable
}

/// The files of these names as they come back.
fn settle(names: &BTreeMap<String, Arc<Inode>>, fate: &mut dyn Fate) -> BTreeMap<String, Arc<Inode>> {
    let mut inodes: Vec<&Arc<Inode>> = names.values().collect();
    inodes.sort_by_key(|inode| inode.number);
    inodes.dedup_by_key(|inode| inode.number);
    let mut found = Vec::new();
    for inode in inodes {
        let (shown, medium) = (inode.bytes(), inode.medium().clone());
        let now = inode.length();
        let length = if medium.length == now {
            now
        } else {
            match fate.length() {
                Reached::None => medium.length,
                Reached::Half => u64::midpoint(medium.length, now),
                Reached::All => now,
            }
        };
        let dirty: Vec<usize> =
            medium.dirty(&shown).into_iter().filter(|one| !medium.is_given_up(&shown, *one)).collect();
        found.push((inode, shown, medium, length, dirty));
    }
    let reachable = |sector: usize, length: u64| length_of(sector * SECTOR_BYTES) < length;
    let of = found.iter().map(|(.., length, dirty)| dirty.iter().filter(|one| reachable(**one, *length)).count()).sum();
    let mut index = 0;
    let mut after = BTreeMap::new();
    for (inode, shown, mut medium, length, dirty) in found {
        for sector in dirty.into_iter().filter(|one| reachable(*one, length)) {
            medium.settle(&shown, sector, fate.sector(index, of));
            index += 1;
        }
        let image = Inode::after_power_loss(inode, &medium, length).expect("memory for the image of a file");
        after.insert(inode.number, Arc::new(image));
    }
    names.iter().map(|(name, inode)| (name.clone(), Arc::clone(&after[&inode.number]))).collect()
}
