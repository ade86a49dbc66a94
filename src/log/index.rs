//! What is known of where keys are: index files of sealed segments, and tables in memory for the others.
//!
//! Guarantees:
//! 1. Nothing of it is needed: what no file and no table says is read from the log.
//! 2. A file is believed only if it is bound to the segment and its sum is right, which is looked at before its first use.
//!    One that is not is removed by the log's writer until it is closed, and made again.
//! 3. Files are made in the background, newest segment first, of what is sealed and durable. One that cannot be made is
//!    counted, and tried again when the log has sealed another segment.
//! 4. Memory: `Options::index_memory`, half of it for the tables and half for making a file, and a few views of segments.

pub(crate) mod build;
pub(crate) mod file;
pub(crate) mod keys;
mod upkeep;

pub(crate) use upkeep::Step;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::file::{IndexFile, NoIndex, Role, subject};
use self::keys::{Room, Table};
use super::catalog::Entry;
use super::window::View;
use crate::error::Result;
use crate::format::{Fault, index_name};
use crate::platform::Disk;
use crate::segment::index::Entry as Block;
use crate::sync::Mutex;

/// How much memory who only looks on may use.
pub(crate) const ONLOOKER_BYTES: u64 = 64 << 20;
/// How many segments are kept mapped for the next lookup.
const VIEWS_MAX: usize = 32;

/// See the module.
#[derive(Debug)]
pub(crate) struct Index {
    role: Role,
    /// For making a file.
    memory: u64,
    files: Mutex<Files>,
    tables: Mutex<BTreeMap<u64, Arc<Mutex<Table>>>>,
    room: Arc<Room>,
    /// Used last comes last.
    views: Mutex<Vec<Arc<View>>>,
    counts: Mutex<Counts>,
}

/// The index files, by the number of their segment.
#[derive(Debug, Default)]
struct Files {
    known: BTreeMap<u64, Known>,
    /// After a failure: the newest sealed segment of then.
    paused_at: Option<u64>,
    directory: Directory,
}

/// Whose the directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Directory {
    #[default]
    Ours,
    /// The log was closed: another may write there.
    GivenBack,
}

/// What is known of the index file of a segment of this incarnation.
#[derive(Debug, Clone)]
struct Known {
    incarnation: u64,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    /// There is none.
    None,
    /// Its header is right.
    Unsummed,
    Sound(Arc<IndexFile>),
    /// None can be made.
    Unfit,
}

/// What lookups cost, and what came of making files.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) lookups: u64,
    pub(crate) segments: u64,
    pub(crate) scanned_bytes: u64,
    pub(crate) built: u64,
    pub(crate) failures: u64,
}

impl Index {
    pub(crate) fn new(role: Role, memory: u64) -> Self {
        Self {
            role,
            memory: memory >> 1,
            files: Mutex::default(),
            tables: Mutex::default(),
            room: Arc::new(Room::new(memory >> 1)),
            views: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.counts.lock()
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.counts.lock());
    }

    /// The index file of a segment, if there is one to use.
    pub(crate) fn file(&self, disk: &dyn Disk, entry: &Entry) -> Option<Arc<IndexFile>> {
        let subject = subject(entry)?;
        let known = self.files.lock().known.get(&subject.number).cloned();
        let known = known.filter(|known| known.incarnation == subject.incarnation).map(|known| known.what);
        match (known, self.role) {
            (Some(What::Sound(file)), _) => return Some(file),
            (Some(What::Unfit), _) | (Some(What::None), Role::Writer) => return None,
            (None | Some(What::None | What::Unsummed), _) => {}
        }
        let what = match IndexFile::open(disk, &subject, self.role) {
            Ok(file) => What::Sound(Arc::new(file)),
            Err(NoIndex::Absent) => What::None,
            Err(NoIndex::Bad(_)) => {
                self.drop_file(disk, entry);
                return None;
            }
        };
        self.know(entry, what.clone());
        // Its table is not needed any more.
        if let What::Sound(file) = what {
            self.tables.lock().remove(&subject.number);
            return Some(file);
        }
        None
    }

    fn know(&self, entry: &Entry, what: What) {
        let known = Known { incarnation: entry.header.incarnation, what };
        self.files.lock().known.insert(entry.number(), known);
    }

    /// Does without the file of a segment, which is not what it should be: a writer removes it, and makes another.
    pub(crate) fn drop_file(&self, disk: &dyn Disk, entry: &Entry) {
        match self.role {
            Role::Onlooker => self.know(entry, What::Unfit),
            Role::Writer => {
                self.know(entry, What::None);
                let files = self.files.lock();
                if files.directory == Directory::Ours {
                    // One that stays is replaced when the next is complete.
                    let _replaced_later = disk.unlink(&index_name(entry.number()));
                }
            }
        }
    }

    /// The directory is given back: what readers that are left find wrong there stays.
    pub(crate) fn close(&self) {
        self.files.lock().directory = Directory::GivenBack;
    }

    /// Forgets a segment that is no part of the log any more, and removes its index file.
    pub(crate) fn forget(&self, disk: &dyn Disk, number: u64) {
        self.files.lock().known.remove(&number);
        self.tables.lock().remove(&number);
        self.views.lock().retain(|view| view.header.number != number);
        // Most have one. What stays is removed by the next open.
        let _removed_later = disk.unlink(&index_name(number));
    }

    /// The table of a segment.
    pub(crate) fn table(&self, view: &View) -> Arc<Mutex<Table>> {
        let mut tables = self.tables.lock();
        let table = tables.entry(view.header.number).or_insert_with(|| self.new_table(view));
        if !table.lock().is_of(view.header.incarnation) {
            *table = self.new_table(view);
        }
        Arc::clone(table)
    }

    fn new_table(&self, view: &View) -> Arc<Mutex<Table>> {
        Arc::new(Mutex::new(Table::new(view, &self.room)))
    }

    /// A segment to look into, which stays mapped for the next who asks.
    pub(crate) fn view(&self, entry: &Entry, open: impl FnOnce() -> Result<View>) -> Result<Arc<View>> {
        if entry.end.is_none() {
            return open().map(Arc::new);
        }
        let mut views = self.views.lock();
        let found = views.iter().position(|view| view.header == entry.header);
        let view = match found {
            Some(at) => views.remove(at),
            None => Arc::new(open()?),
        };
        let most = if self.role == Role::Writer { VIEWS_MAX } else { 1 };
        let old = views.len().saturating_add(1).saturating_sub(most);
        views.drain(..old);
        views.push(Arc::clone(&view));
        Ok(view)
    }

    /// Tells a view where the first frames of its blocks are, so that a seek need not go over the segment.
    pub(crate) fn prime(&self, disk: &dyn Disk, entry: &Entry, view: &View) {
        if entry.header.incarnation != view.header.incarnation {
            return;
        }
        let Some(file) = self.file(disk, entry) else { return };
        let told = file.ask(disk, |tables| {
            for number in (0..tables.blocks()).rev() {
                let row = tables.block(number)?;
                if row.position == 0 {
                    continue;
                }
                let position = row.position.into();
                if !view.note(Block { position, offset_delta: row.offset_delta, time_max: row.time_max }) {
                    // It was told before.
                    break;
                }
            }
            Ok::<(), Fault>(())
        });
        if told.is_err() {
            self.drop_file(disk, entry);
        }
    }
}
