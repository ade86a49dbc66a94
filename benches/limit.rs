//! How close one appending thread comes to the machine: the engine beside a bare loop that writes the same bytes.
//!
//! The bare loop has no engine and no lock: for each frame it fills the same 36-byte header, computes both checksums,
//! copies the payloads into a populated map of a preallocated file and stores the commit word. Engine and loop take turns
//! in one run; the table shows medians of the rounds and, per round, the ratio of the two. Each pass stays under 512 MiB,
//! where the system has not begun to write back.
//!
//! `cargo bench --bench limit [-- --rounds N] [--quick]`
#![expect(unsafe_code, reason = "the bare loop stores through a raw map, as there is no engine to do it")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints a table")]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use esker::{Log, Options, Record};
use memmap2::{Advice, MmapRaw};

const PAYLOAD: [u8; 100] = [0x5a; 100];
const HEADER_BYTES: usize = 36;
const RECORD_HEAD_BYTES: usize = 5;

struct Plan {
    rounds: usize,
    bytes: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick" || argument == "--test");
    let rounds = match arguments.iter().position(|argument| argument == "--rounds") {
        Some(at) => arguments.get(at + 1).ok_or("--rounds wants a number")?.parse()?,
        None if quick => 1,
        None => 7,
    };
    let plan = Plan { rounds, bytes: if quick { 8 << 20 } else { 448 << 20 } };
    println!("| records a call | engine, M records/s | bare loop, M records/s | engine / bare |");
    println!("|---|---|---|---|");
    for batch in [1, 100] {
        row(&plan, batch)?;
    }
    Ok(())
}

fn row(plan: &Plan, batch: usize) -> Result<(), Box<dyn Error>> {
    let frame = frame_bytes(batch).next_multiple_of(8);
    let calls = plan.bytes / frame;
    let (mut engine, mut bare, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        let limit = bare_pass(batch, calls)?;
        let ours = engine_pass(batch, calls)?;
        eprintln!("round {}: engine {ours:.2}, bare {limit:.2} M records/s", round + 1);
        engine.push(ours);
        bare.push(limit);
        ratio.push(ours / limit);
    }
    println!("| {batch} | {} | {} | {} |", spread(&mut engine), spread(&mut bare), spread(&mut ratio));
    Ok(())
}

fn spread(values: &mut [f64]) -> String {
    values.sort_by(f64::total_cmp);
    format!("{:.2} ({:.2}..{:.2})", values[values.len() / 2], values[0], values[values.len() - 1])
}

fn frame_bytes(batch: usize) -> usize {
    HEADER_BYTES + batch * (RECORD_HEAD_BYTES + PAYLOAD.len())
}

fn rate(records: usize, since: Instant) -> f64 {
    let records = f64::from(u32::try_from(records).unwrap_or(u32::MAX));
    records / since.elapsed().as_secs_f64() / 1e6
}

/// Appends through the engine, after a first segment's worth that brings it to speed.
fn engine_pass(batch: usize, calls: usize) -> Result<f64, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let log = Options::new().segment_bytes(1 << 30).open(folder.path())?;
    let records = vec![Record::new(&PAYLOAD); batch];
    // The log begins with small segments and grows; the rate of the long run is what is asked for.
    for _ in 0..calls / 8 {
        append(&log, &records)?;
    }
    let since = Instant::now();
    for _ in 0..calls {
        append(&log, &records)?;
    }
    let rate = rate(calls * batch, since);
    if log.visible().get() != u64::try_from((calls + calls / 8) * batch)? {
        return Err("the log does not hold what was appended".into());
    }
    eprintln!("  {:?}", log.stats());
    Ok(rate)
}

fn append(log: &Log, records: &[Record<'_>]) -> Result<(), esker::Error> {
    let ticket = match records {
        [one] => log.append(*one)?,
        several => log.append_batch(several)?,
    };
    black_box(ticket.offset());
    Ok(())
}

fn bare_pass(batch: usize, calls: usize) -> Result<f64, Box<dyn Error>> {
    let stride = frame_bytes(batch).next_multiple_of(8);
    let file = tempfile::tempfile()?;
    let bytes = stride * calls;
    #[cfg(target_os = "linux")]
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, u64::try_from(bytes)?)?;
    #[cfg(not(target_os = "linux"))]
    file.set_len(u64::try_from(bytes)?)?;
    let map = MmapRaw::map_raw(&file)?;
    #[cfg(target_os = "linux")]
    map.advise(Advice::PopulateWrite)?;
    let since = Instant::now();
    for call in 0..calls {
        let at = call * stride;
        // SAFETY: `at + stride` is at most the length of the map, which lives to the end of this function, and nothing else
        // refers to it.
        let frame = unsafe { std::slice::from_raw_parts_mut(map.as_mut_ptr().add(at), frame_bytes(batch)) };
        bare_frame(black_box(frame), at, batch);
    }
    let rate = rate(calls * batch, since);
    if (0..calls).any(|call| {
        // SAFETY: as above; the loop has ended.
        let word = unsafe { map.as_ptr().add(call * stride).read() };
        word == 0
    }) {
        return Err("the bare loop left a hole".into());
    }
    Ok(rate)
}

/// Stores one frame as the engine would, word last.
fn bare_frame(frame: &mut [u8], position: usize, batch: usize) {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let (header, body) = frame.split_at_mut(HEADER_BYTES);
    for record in body.chunks_exact_mut(RECORD_HEAD_BYTES + PAYLOAD.len()) {
        let (head, payload) = record.split_at_mut(RECORD_HEAD_BYTES);
        head.copy_from_slice(&[100, 0, 0, 0, 0]);
        payload.copy_from_slice(black_box(&PAYLOAD));
    }
    let mut bytes = [0_u8; HEADER_BYTES];
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..8].copy_from_slice(&[1, 0, 7, 7]);
    bytes[8..12].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    bytes[28..30].copy_from_slice(&u16::try_from(batch).unwrap_or(u16::MAX).to_le_bytes());
    let seed = u32::try_from(position & 0xffff_ffff).unwrap_or_default();
    let mut sum = crc32fast::Hasher::new_with_initial(seed);
    sum.update(&bytes[..32]);
    bytes[32..].copy_from_slice(&sum.finalize().to_le_bytes());
    header[8..].copy_from_slice(&bytes[8..]);
    header[..8].copy_from_slice(&bytes[..8]);
}
