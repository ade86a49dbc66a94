//! The bare limits: the same bytes by one loop, without lock or engine.
//!
//! Guarantees:
//! 1. Visible appends: frames as ours has them (header, both checksums, copy) are stored into a populated map of a file.
//! 2. Durable appends: as many frames as the threads of the workload may keep in flight are written by one `pwrite` into
//!    space that was written before, then `fdatasync`. No sync can serve more calls than that.
//! 3. A scan: the segment files that ours wrote, in memory, frame by frame, every header and every body summed.
//! 4. The file of the map has no name when it is mapped, and its one handle is kept here: the bytes belong to the map.
#![expect(unsafe_code, reason = "a bare loop stores through a map, and no map of a file is made without unsafe")]

#[path = "../../../tools/src/command/bench/frame.rs"]
mod frame;

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use esker::{Log, Record};
use memmap2::{MmapMut, MmapOptions};

use crate::engine::Durability;
use crate::pass::{Order, Outcome, settle};
use crate::tally::{POOL_EVENTS, Pool, length};
use crate::workload::Workload;

/// The name in orders.
pub const NAME: &str = "bare";
/// More would measure the system's write-back.
const FILE_BYTES_MAX: usize = 512 << 20;
const CALLS_A_LOOK: u64 = 64;

/// What the frames of the engine's bench count with.
mod work {
    pub(super) use crate::tally::{index, length};
}

pub fn run(order: &Order) -> Result<Outcome> {
    match order.workload {
        Workload::Append { batch, durability: Durability::Visible, .. } => visible(order, batch),
        Workload::Append { threads, .. } => durable(order, crate::tally::index(threads)),
        Workload::Read => scan(order),
    }
    .context("bare limit")
}

/// How many frames of the order fit, and the bytes of one.
fn frames(order: &Order, batch: usize) -> (u64, usize) {
    let stride = frame::stride(order.size, batch);
    let calls = (order.events_max / length(batch)).min(length(FILE_BYTES_MAX / stride)).max(1);
    (calls, stride)
}

fn visible(order: &Order, batch: usize) -> Result<Outcome> {
    let (calls, stride) = frames(order, batch);
    let mut map = populated(&order.folder, crate::tally::index(calls) * stride)?;
    let pool = Pool::new(order.size);
    let events = pool.events();
    let bytes = frame::bytes(order.size, batch);
    let (mut position, mut done) = (0, 0);
    let since = Instant::now();
    for event in events.into_iter().cycle() {
        let late = done % CALLS_A_LOOK == 0 && since.elapsed() > order.time_max;
        let Some(room) = map.get_mut(position..position + bytes).filter(|_| !late && done < calls) else { break };
        frame::store(room, position, event, batch);
        position += stride;
        done += 1;
    }
    Ok(Outcome { events: done * length(batch), calls: done, elapsed: since.elapsed(), reopening: None })
}

fn populated(folder: &Path, bytes: usize) -> Result<MmapMut> {
    let path = folder.join("bare");
    let file = File::options().create_new(true).read(true).write(true).open(&path)?;
    fs::remove_file(&path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length(bytes))?;
    // SAFETY: guarantee 4: no other handle and no other map of this file exists or can be made by name.
    let mut map = unsafe { MmapOptions::new().len(bytes).map_mut(&file)? };
    // A page is there once it was stored into.
    map.chunks_mut(4096).filter_map(<[u8]>::first_mut).for_each(|byte| *black_box(byte) = 0);
    Ok(map)
}

fn durable(order: &Order, group: usize) -> Result<Outcome> {
    let (calls, stride) = frames(order, 1);
    let file = File::options().create_new(true).write(true).open(order.folder.join("bare"))?;
    let zeros = vec![0; 1 << 20];
    let file_bytes = calls.saturating_mul(length(stride)).saturating_add(length(group * stride));
    let mut written = 0;
    while written < file_bytes {
        file.write_all_at(&zeros, written)?;
        written += length(zeros.len());
    }
    file.sync_all()?;
    let pool = Pool::new(order.size);
    let mut events = pool.events().into_iter().cycle();
    let bytes = frame::bytes(order.size, 1);
    let mut image = vec![0; group * stride];
    let (mut position, mut done) = (0, 0);
    let since = Instant::now();
    while done < calls && since.elapsed() <= order.time_max {
        for (number, room) in image.chunks_exact_mut(stride).enumerate() {
            let event = events.next().unwrap_or_default();
            frame::store(&mut room[..bytes], crate::tally::index(position) + number * stride, event, 1);
        }
        file.write_all_at(&image, position)?;
        file.sync_data()?;
        position += length(image.len());
        done += length(group);
    }
    Ok(Outcome { events: done, calls: done, elapsed: since.elapsed(), reopening: None })
}

fn scan(order: &Order) -> Result<Outcome> {
    let log = Log::open(&order.folder)?;
    let pool = Pool::new(order.size);
    let records: Vec<_> = pool.events().into_iter().map(Record::new).collect();
    let calls = (order.events_max / length(POOL_EVENTS)).max(1);
    let since = Instant::now();
    let mut done = 0;
    while done < calls && since.elapsed() <= order.time_max {
        let _ = log.append_batch(&records)?;
        done += 1;
    }
    log.close()?;
    settle(&order.folder)?;
    let (mut events, mut elapsed) = (0, Duration::ZERO);
    for entry in fs::read_dir(&order.folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let bytes = fs::read(&path)?;
            let since = Instant::now();
            events += frame::walk(black_box(&bytes));
            elapsed += since.elapsed();
        }
    }
    let appended = done * length(POOL_EVENTS);
    ensure!(events == appended, "the bare scan met {events} events, and {appended} were appended");
    Ok(Outcome { events, calls: done, elapsed, reopening: None })
}
