//! What a loss of power leaves on a disk in memory.

use esker::platform::{Access, Disk as _};

use super::{MemoryDisk, read};
use crate::memory::{AfterFailure, Fate, Honesty, NamesModel, Reached, SECTOR_BYTES, Survival, Unsettled};

/// The same for all.
struct Same {
    names: NamesModel,
    changes: usize,
    length: Reached,
    sector: Survival,
}

const NOTHING: Same = Same { names: NamesModel::Adversarial, changes: 0, length: Reached::None, sector: Survival::Old };
const ALL: Same =
    Same { names: NamesModel::Adversarial, changes: usize::MAX, length: Reached::All, sector: Survival::New };

impl Fate for Same {
    fn names(&mut self) -> NamesModel {
        self.names
    }

    fn change(&mut self, index: usize, _of: usize) -> bool {
        index < self.changes
    }

    fn length(&mut self) -> Reached {
        self.length
    }

    fn sector(&mut self, _index: usize, _of: usize) -> Survival {
        self.sector
    }
}

/// Takes only the changes with these numbers.
struct Only(Vec<usize>);

impl Fate for Only {
    fn names(&mut self) -> NamesModel {
        NamesModel::Adversarial
    }

    fn change(&mut self, index: usize, _of: usize) -> bool {
        self.0.contains(&index)
    }

    fn length(&mut self) -> Reached {
        Reached::All
    }

    fn sector(&mut self, _index: usize, _of: usize) -> Survival {
        Survival::New
    }
}

/// A synced file of 8 KiB with a byte in its first sector.
fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new(1);
    let file = disk.create("a", 8192).expect("creates");
    file.map(8192, Access::Write).expect("maps").copy_in(0, &[1]);
    file.sync().expect("syncs");
    disk.sync_directory().expect("syncs");
    disk
}

fn store(disk: &MemoryDisk, position: u64, bytes: &[u8]) {
    disk.open("a", Access::Write).expect("opens").map(8192, Access::Write).expect("maps").copy_in(position, bytes);
}

#[test]
fn what_was_synced_is_there_and_what_was_not_may_be() {
    let disk = disk();
    assert_eq!(disk.unsettled(), Unsettled::default());
    store(&disk, 600, &[7; 1000]);
    assert_eq!(disk.unsettled(), Unsettled { sectors: 3, ..Unsettled::default() });
    let (none, all) = (disk.lose_power(&mut { NOTHING }), disk.lose_power(&mut { ALL }));
    assert_eq!((read(&none, "a", 0)[0], read(&none, "a", 600)[0]), (1, 0));
    assert_eq!(disk.read_file("a"), all.read_file("a"));
    assert_eq!((none.unsettled(), all.unsettled()), (Unsettled::default(), Unsettled::default()));
    assert_ne!(disk.boot_id(), none.boot_id());
    let torn = disk.lose_power(&mut Same { sector: Survival::Torn(1 << 11), ..NOTHING });
    // The twelfth word of each of the three sectors: bytes 88 to 95.
    let bytes = torn.read_file("a").expect("there");
    let new: Vec<usize> = (512..8192).filter(|at| bytes[*at] == 7).collect();
    assert_eq!(new, (600..608).chain(1112..1120).collect::<Vec<_>>());
}

#[test]
fn a_range_that_is_synced_takes_its_sectors_and_no_others() {
    let disk = disk();
    store(&disk, 0, &[9; 2048]);
    let file = disk.open("a", Access::Write).expect("opens");
    let region = file.map(8192, Access::Write).expect("maps");
    file.sync_range(&region, 600..700).expect("syncs");
    let left = disk.lose_power(&mut { NOTHING }).read_file("a").expect("there");
    let new: Vec<usize> = (0..8192).filter(|at| left[*at] == 9).collect();
    assert_eq!(new, (SECTOR_BYTES..2 * SECTOR_BYTES).collect::<Vec<_>>());
}

#[test]
fn names_that_were_not_synced_come_in_any_part_or_as_a_journal_keeps_them() {
    let disk = disk();
    disk.create("b", 4096).expect("creates");
    disk.rename("b", "c").expect("renames");
    disk.unlink("a").expect("unlinks");
    assert_eq!(disk.unsettled(), Unsettled { changes: 3, lengths: 1, sectors: 0 });
    let names = |chosen: &[usize]| disk.lose_power(&mut Only(chosen.to_vec())).names();
    assert_eq!(names(&[]), ["a"]);
    assert_eq!(names(&[0]), ["a", "b"]);
    assert_eq!(names(&[1]), ["a", "c"]);
    assert_eq!(names(&[2]), Vec::<String>::new());
    assert_eq!(names(&[0, 1, 2]), ["c"]);
    let journal = |changes| Same { names: NamesModel::Journaled, changes, ..NOTHING };
    assert_eq!(disk.lose_power(&mut journal(2)).names(), ["a", "c"]);
    // A journal that has the length of a file has what came before it.
    disk.open("c", Access::Write).expect("opens").sync().expect("syncs");
    assert_eq!(disk.lose_power(&mut journal(0)).names(), ["a", "c"]);
    assert_eq!(disk.lose_power(&mut { NOTHING }).names(), ["a"]);
    disk.sync_directory().expect("syncs");
    assert_eq!(disk.lose_power(&mut { NOTHING }).names(), ["c"]);
}

#[test]
fn a_length_that_was_not_synced_may_be_short() {
    let disk = MemoryDisk::new(1);
    let file = disk.create("a", 8192).expect("creates");
    disk.sync_directory().expect("syncs");
    let length = |length| disk.lose_power(&mut Same { length, ..NOTHING }).read_file("a").expect("there").len();
    assert_eq!([Reached::None, Reached::Half, Reached::All].map(length), [0, 4096, 8192]);
    file.sync().expect("syncs");
    assert_eq!([Reached::None, Reached::Half, Reached::All].map(length), [8192; 3]);
}

#[test]
fn a_file_moved_to_quarantine_may_be_in_both_places_and_never_in_none() {
    let disk = disk();
    disk.quarantine("a").expect("moves");
    let left = disk.lose_power(&mut { NOTHING });
    assert_eq!((left.names(), left.quarantined()), (vec!["a".into(), "quarantine".into()], vec!["a".to_owned()]));
    assert_eq!(disk.lose_power(&mut { ALL }).names(), ["quarantine"]);
}

#[test]
fn a_failed_sync_gives_pages_up_until_they_are_stored_again() {
    let disk = disk();
    store(&disk, 0, &[5; 4096]);
    let file = disk.open("a", Access::Write).expect("opens");
    disk.fail_sync(1);
    file.sync().expect_err("armed");
    // The next sync says that all is well, and some sectors were never written.
    file.sync().expect("syncs");
    let lost = disk.unsettled().sectors;
    assert!((1..8).contains(&lost), "{lost} sectors of 8");
    assert!(disk.could_lose("a", 4096).is_some_and(|why| why.contains("differs")));
    let left = disk.lose_power(&mut { ALL }).read_file("a").expect("there");
    assert_eq!(left.chunks(SECTOR_BYTES).filter(|sector| sector[0] != 5).count(), 8 + lost);
    file.write_at(&[5; 4096], 0).expect("stores the same again");
    file.sync().expect("syncs");
    assert_eq!((disk.unsettled().sectors, disk.could_lose("a", 4096)), (0, None));
}

#[test]
fn a_failed_sync_may_take_pages_back_to_what_the_medium_holds() {
    let disk = disk();
    store(&disk, 0, &[5; 4096]);
    disk.fail_sync_leaving(1, AfterFailure::Reverted);
    disk.open("a", Access::Write).expect("opens").sync().expect_err("armed");
    assert_eq!(disk.unsettled().sectors, 0);
    let shown = disk.read_file("a").expect("there");
    let kept = shown[..4096].chunks(SECTOR_BYTES).filter(|sector| sector[1] == 5).count();
    assert!((1..8).contains(&kept), "{kept} sectors of 8");
}

#[test]
fn a_failed_sync_of_the_directory_gives_names_up_until_they_are_changed_again() {
    let disk = disk();
    let all: Vec<String> = (0..16).map(|number| format!("{number:02}")).collect();
    for name in &all {
        disk.create(name, 4096).expect("creates").sync().expect("syncs");
    }
    let reverted = disk.snapshot();
    disk.fail_directory_sync(1);
    disk.sync_directory().expect_err("armed");
    // The next sync says that all is well, and some names were never written.
    disk.sync_directory().expect("syncs");
    assert_eq!((disk.unsettled().changes, disk.names().len()), (0, 17));
    let left = disk.lose_power(&mut { ALL }).names();
    assert!((2..17).contains(&left.len()), "{left:?}");
    let lost = all.iter().find(|name| !left.contains(name)).expect("one");
    assert!(disk.could_lose(lost, 0).is_some_and(|why| why.contains("not synced")));
    disk.rename(lost, "new").expect("renames");
    disk.sync_directory().expect("syncs");
    assert!(disk.lose_power(&mut { NOTHING }).names().contains(&"new".to_owned()));
    // Or the system shows what the medium holds.
    reverted.fail_directory_sync_leaving(1, AfterFailure::Reverted);
    reverted.sync_directory().expect_err("armed");
    assert_eq!(reverted.names(), reverted.lose_power(&mut { ALL }).names());
    assert!((2..17).contains(&reverted.names().len()), "{:?}", reverted.names());
}

#[test]
fn a_process_that_dies_leaves_what_power_can_still_take() {
    let disk = disk();
    store(&disk, 0, &[5; 512]);
    let left = disk.snapshot();
    assert_eq!(left.read_file("a"), disk.read_file("a"));
    assert_eq!(left.unsettled(), disk.unsettled());
    assert_eq!(left.lose_power(&mut { NOTHING }).read_file("a").expect("there")[..2], [1, 0]);
}

#[test]
fn the_system_may_write_a_sector_back_at_any_moment() {
    let disk = disk();
    store(&disk, 0, &[5; 1024]);
    disk.write_back(|of| of - 1);
    let left = disk.lose_power(&mut { NOTHING }).read_file("a").expect("there");
    assert_eq!((left[0], left[512]), (1, 5));
}

#[test]
fn a_disk_that_lies_keeps_nothing() {
    let disk = disk();
    disk.set_honesty(Honesty::Lying);
    store(&disk, 0, &[5; 512]);
    disk.open("a", Access::Write).expect("opens").sync().expect("says so");
    assert!(disk.could_lose("a", 512).is_some());
    assert_eq!(disk.lose_power(&mut { NOTHING }).read_file("a").expect("there")[0], 1);
}
