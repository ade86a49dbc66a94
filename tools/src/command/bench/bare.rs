//! A populated map of a preallocated file, to be stored into without an engine. The only file of the tool with `unsafe`.
//!
//! Guarantees:
//! 1. The file has no name any more when it is mapped, and its one handle is kept here: nobody else can shorten or change
//!    it, so the bytes belong to the map alone.
//! 2. Every page was touched: nothing is allocated or zeroed when measuring begins.
#![expect(unsafe_code, reason = "a bare loop stores through a map, and no map of a file is made without unsafe")]

use std::fs::{self, File};
use std::io;
use std::path::Path;

use memmap2::{MmapMut, MmapOptions};

use super::work::length;
use crate::failure::Failure;

/// A file in memory.
#[derive(Debug)]
pub(super) struct Area {
    file: File,
    pub(super) map: MmapMut,
}

impl Area {
    /// Makes the file in `folder`.
    pub(super) fn new(folder: &Path, bytes: usize) -> Result<Self, Failure> {
        Self::make(folder, bytes.max(1)).map_err(|error| {
            let folder = folder.display();
            Failure::Input(format!(
                "{folder}: make a file of {bytes} bytes: {error}; free some space, or choose another --dir"
            ))
        })
    }

    fn make(folder: &Path, bytes: usize) -> io::Result<Self> {
        let path = folder.join("bare");
        let file = File::options().create_new(true).read(true).write(true).open(&path)?;
        fs::remove_file(&path)?;
        reserve(&file, length(bytes))?;
        // SAFETY: guarantee 1: no other handle and no other map of this file exists or can be made by name.
        let mut map = unsafe { MmapOptions::new().len(bytes).map_mut(&file)? };
        // A page is there once it was stored into.
        map.chunks_mut(4096).filter_map(<[u8]>::first_mut).for_each(|byte| *std::hint::black_box(byte) = 0);
        Ok(Self { file, map })
    }

    /// Makes what was stored durable.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        let failed =
            |error| Failure::Input(format!("sync a bare file: {error}; check the disk, or choose another --dir"));
        self.file.sync_data().map_err(failed)
    }
}

#[cfg(target_os = "linux")]
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
}

#[cfg(not(target_os = "linux"))]
fn reserve(mut file: &File, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file).map(drop)
}
