#![expect(unsafe_code, reason = "threads write one memory map: that is measured")]
//! Which way for several threads to append to one memory-mapped log is fastest?
//!
//! **Variants.** All write the same frame (36-byte header, 5-byte record header, payload, padded to 8 bytes), compute
//! the same two CRC-32 and store the commit word last, with Release:
//!
//! - `Mutex`: the whole append under one `parking_lot` mutex; ratios are against this variant;
//! - `SumBefore`: body checksum before the lock, the rest inside;
//! - `LockedClaim`: body checksum before the lock, only the claim inside, the frame after it;
//! - `FetchAddClaim`: no lock; one `fetch_add` on a packed {position, count} word claims;
//! - `BareLoop`: one thread, no lock or atomic addition in the loop: the limit of the machine.
//!
//! **Method.** Every run gets a fresh temporary file without a name: allocated, mapped and populated for writing
//! before the clock starts. The threads, each pinned to a core, spin until one instant, then append as fast as they
//! can until the log is full. The cases are interleaved, each round begins with another one. The table has median
//! and min..max over the rounds; ratios are taken within a round, so that a slow drift of the host cancels.
//! *Hand-over* is the time of a cache line between the first two cores, measured before each run.
//!
//! **Check.** After each run every frame is checked: each field, both checksums, and that the frames are exactly each
//! thread's appends in its order; a variant that fails stops the program. So does a self-test of the check, which
//! first damages a log at every byte of a frame.
//!
//! **Limits.** Closed loop: no work between appends, so contention is at its worst. No readers, sync, clock or roll; a
//! run ends before write-back begins. The order of the variants depends on the hand-over, and a hypervisor may move
//! cores closer or apart at any time. More threads than cores measure the scheduler too. Rates say nothing about
//! latency or fairness. Only Linux pins and populates: elsewhere first-touch faults are measured as well.
//!
//! **Flags.** `--rounds N`: default 7, at least 5 unless quick. `--quick` or `--test`: one small round that only
//! checks; a debug build is always quick. `TMPDIR` chooses the file system.
//!
//! **Invariants.** 1. Claims of one `Log` name disjoint ranges, on 8 bytes, before its end: a run takes them all from
//! one of its two tails. 2. `Log::write` consumes its claim, which cannot be copied: a range has one writer. 3. The
//! map is page-aligned, 8 bytes longer than the end, and lives as long as its `Log`.

use std::error::Error;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, hint, io, thread};

use crc32fast::Hasher;
use crossbeam::utils::CachePadded;
use memmap2::MmapRaw;
use parking_lot::Mutex;

const PAYLOAD_BYTES: [usize; 3] = [100, 1 << 10, 64 << 10];
const THREADS: [usize; 3] = [1, 2, 8];
const RUN_BYTES: usize = 480 << 20;
const RUN_BYTES_QUICK: usize = 4 << 20;
/// Threads spin until then, so that all of them run when the clock starts.
const START_DELAY: Duration = Duration::from_millis(5);
const HAND_OVERS: usize = 4000;
/// Payloads are windows into one source: neighbours differ, and nothing is filled in while timed.
const WINDOWS: usize = 32;
const HEADER_BYTES: usize = 36;
const RECORD_HEADER_BYTES: usize = 5;
const KIND_DATA: u32 = 1;
/// Seeds the tag and, with the position, the header checksum.
const INCARNATION: u32 = 0x5eed_1e55;
/// Stands for the coarse clock, which every variant would read alike.
const TIME: u64 = 1_790_000_000_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut quick = cfg!(debug_assertions);
    let mut rounds = None;
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {} // cargo adds it
            "--quick" | "--test" => quick = true,
            "--rounds" => rounds = Some(arguments.next().unwrap_or_default().parse()?),
            _ => return Err(format!("unknown argument {argument}").into()),
        }
    }
    let rounds = rounds.unwrap_or(if quick { 1 } else { 7 });
    if rounds < if quick { 1 } else { 5 } {
        return Err(format!("--rounds {rounds}: too few").into());
    }
    check_notices_damage()?;
    let run_bytes = if quick { RUN_BYTES_QUICK } else { RUN_BYTES };
    let cases = measure(rounds, run_bytes)?;
    println!("{rounds} rounds, {} MiB a run, {} cores\n", run_bytes >> 20, thread::available_parallelism()?);
    print_table(&cases);
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Variant {
    Mutex,
    SumBefore,
    LockedClaim,
    FetchAddClaim,
    BareLoop,
}

struct Case {
    variant: Variant,
    payload_bytes: usize,
    threads: usize,
    /// Millions of appends a second, by round.
    rates: Vec<f64>,
    /// Nanoseconds, by round.
    hand_overs: Vec<f64>,
}

fn measure(rounds: usize, run_bytes: usize) -> Result<Vec<Case>, Box<dyn Error>> {
    use Variant::{BareLoop, FetchAddClaim, LockedClaim, Mutex, SumBefore};
    let mut cases = Vec::new();
    for payload_bytes in PAYLOAD_BYTES {
        for threads in THREADS {
            for variant in [Mutex, SumBefore, LockedClaim, FetchAddClaim, BareLoop] {
                if variant != BareLoop || threads == 1 {
                    cases.push(Case { variant, payload_bytes, threads, rates: vec![], hand_overs: vec![] });
                }
            }
        }
    }
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for step in 0..cases.len() {
            let turn = (round * 5 + step) % cases.len();
            let case = &mut cases[turn];
            case.hand_overs.push(hand_over_nanoseconds());
            case.rates.push(run(case, run_bytes)?);
        }
    }
    Ok(cases)
}

/// Returns millions of appends a second, if every frame is as it should be.
fn run(case: &Case, run_bytes: usize) -> Result<f64, String> {
    let (variant, threads) = (case.variant, case.threads);
    let work = Workload::new(case.payload_bytes, run_bytes);
    let mut log = Log::create(&work).map_err(|error| format!("map a temporary file: {error}"))?;
    let (seconds, appended) = at_once(threads, |topic| append_until_full(&log, variant, &work, topic));
    check(log.bytes(), &work, &appended).map_err(|error| format!("{variant:?}, {threads} threads: {error}"))?;
    Ok(f64::from(narrow(work.appends)) / seconds / 1e6)
}

fn hand_over_nanoseconds() -> f64 {
    let word = CachePadded::new(AtomicUsize::new(0));
    let (seconds, _) = at_once(2, |own| {
        for turn in (own..HAND_OVERS).step_by(2) {
            // Acquire and Release pair with each other, as a reader's and a writer's would.
            let waits = (1_u32..).take_while(|_| word.load(Ordering::Acquire) != turn);
            // The other thread may need this very core.
            waits.filter(|wait| wait % 1024 == 0).for_each(|_| thread::yield_now());
            word.store(turn + 1, Ordering::Release);
        }
    });
    seconds * 1e9 / f64::from(narrow(HAND_OVERS))
}

/// Runs `work` on all threads; returns the seconds from the common start to the last end.
fn at_once<R: Send>(threads: usize, work: impl Fn(usize) -> R + Sync) -> (f64, Vec<R>) {
    let start = Instant::now() + START_DELAY;
    let work = &work;
    let (results, ends): (Vec<_>, Vec<_>) = thread::scope(|scope| {
        let spawn = |index| {
            scope.spawn(move || {
                #[cfg(target_os = "linux")]
                pin(index).expect("a core that we may use can be chosen");
                while Instant::now() < start {
                    hint::spin_loop();
                }
                (work(index), Instant::now())
            })
        };
        let threads: Vec<_> = (0..threads).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread panicked")).unzip()
    });
    let end = ends.into_iter().max().expect("at least one thread");
    ((end - start).as_secs_f64(), results)
}

/// Puts the calling thread on one core: left alone, two often begin a short run on the same one.
#[cfg(target_os = "linux")]
fn pin(index: usize) -> io::Result<()> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let allowed = sched_getaffinity(None)?;
    let cores: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    let mut one = CpuSet::new();
    one.set(cores[index % cores.len()]);
    Ok(sched_setaffinity(None, &one)?)
}

/// The variants. The choice is outside the loop, so that each has compiled code of its own.
fn append_until_full(log: &Log, variant: Variant, work: &Workload, topic: usize) -> usize {
    match variant {
        Variant::BareLoop => {
            let mut tail = log.tail.lock();
            work.count_appends(topic, |record| {
                tail.claim(record).map(|claim| log.write(claim, record, record.body_checksum()))
            })
        }
        Variant::Mutex => work.count_appends(topic, |record| {
            let mut tail = log.tail.lock();
            tail.claim(record).map(|claim| log.write(claim, record, record.body_checksum()))
        }),
        Variant::SumBefore => work.count_appends(topic, |record| {
            let checksum = record.body_checksum();
            let mut tail = log.tail.lock();
            tail.claim(record).map(|claim| log.write(claim, record, checksum))
        }),
        Variant::LockedClaim => work.count_appends(topic, |record| {
            let checksum = record.body_checksum();
            let claim = log.tail.lock().claim(record);
            claim.map(|claim| log.write(claim, record, checksum))
        }),
        Variant::FetchAddClaim => work.count_appends(topic, |record| {
            let checksum = record.body_checksum();
            log.claim_packed(record).map(|claim| log.write(claim, record, checksum))
        }),
    }
}

/// What one run appends: thread `t` writes topic `t`, as often as it can until the log is full.
struct Workload {
    payload_bytes: usize,
    appends: usize,
    source: Vec<u8>,
}

impl Workload {
    fn new(payload_bytes: usize, run_bytes: usize) -> Self {
        let noise = |at: usize| narrow(at).wrapping_mul(0x9e37_79b9).to_le_bytes()[3];
        let source = (0..payload_bytes + 8 * WINDOWS).map(noise).collect();
        Self { payload_bytes, appends: run_bytes / frame_bytes(payload_bytes), source }
    }

    fn records(&self, topic: usize) -> impl Iterator<Item = Record<'_>> {
        (0..=self.appends).map(move |sequence| {
            let window = (topic * 7 + sequence) % WINDOWS;
            Record { topic, payload: &self.source[8 * window..][..self.payload_bytes] }
        })
    }

    /// Appends until `append` says that the log is full.
    fn count_appends(&self, topic: usize, mut append: impl FnMut(&Record) -> Option<()>) -> usize {
        self.records(topic).take_while(|record| append(record).is_some()).count()
    }
}

struct Record<'a> {
    topic: usize,
    payload: &'a [u8],
}

impl Record<'_> {
    fn body_checksum(&self) -> u32 {
        let mut hasher = Hasher::new();
        hasher.update(&u64::from(narrow(self.payload.len())).to_le_bytes()[..RECORD_HEADER_BYTES]);
        hasher.update(self.payload);
        hasher.finalize()
    }
}

/// A range of the log and a place in its order, owned by one thread until it is written.
struct Claim {
    position: usize,
    offset: usize,
}

struct Tail {
    position: usize,
    count: usize,
    end: usize,
}

impl Tail {
    /// `None` if the log is full: the tail then stays beyond the end.
    fn claim(&mut self, record: &Record) -> Option<Claim> {
        let claim = Claim { position: self.position, offset: self.count };
        self.position += frame_bytes(record.payload.len());
        self.count += 1;
        (self.position <= self.end).then_some(claim)
    }
}

/// One mapped region. A run uses one of the two tails; each has cache lines of its own.
struct Log {
    map: MmapRaw,
    /// Where the room for frames ends; a zero word follows.
    end: usize,
    tail: CachePadded<Mutex<Tail>>,
    /// Low half position, high half count.
    packed_tail: CachePadded<AtomicU64>,
}

impl Log {
    /// Maps a file that has no name, so that nothing is left behind however the program ends.
    fn create(work: &Workload) -> io::Result<Self> {
        let end = work.appends * frame_bytes(work.payload_bytes);
        let file_bytes = u64::from(narrow(end + 8));
        let file = tempfile::tempfile()?;
        file.set_len(file_bytes)?;
        #[cfg(target_os = "linux")]
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, file_bytes)?;
        let map = MmapRaw::map_raw(&file)?;
        #[cfg(target_os = "linux")]
        map.advise(memmap2::Advice::PopulateWrite)?;
        let tail = CachePadded::new(Mutex::new(Tail { position: 0, count: 0, end }));
        Ok(Self { map, end, tail, packed_tail: CachePadded::default() })
    }

    /// `None` as in `Tail::claim`.
    fn claim_packed(&self, record: &Record) -> Option<Claim> {
        let bytes = frame_bytes(record.payload.len());
        // Relaxed: the addition alone makes claims disjoint; the commit word publishes the frame.
        let before = self.packed_tail.fetch_add(pair(narrow(bytes), 1), Ordering::Relaxed);
        let halves = [before & 0xffff_ffff, before >> 32];
        let [position, offset] = halves.map(|half| usize::try_from(half).expect("32 bits"));
        (position + bytes <= self.end).then_some(Claim { position, offset })
    }

    #[expect(clippy::needless_pass_by_value, reason = "a claim is written once")]
    fn write(&self, claim: Claim, record: &Record, body_checksum: u32) {
        let Claim { position, offset } = claim;
        let payload_bytes = narrow(record.payload.len());
        let length = payload_bytes + narrow(HEADER_BYTES + RECORD_HEADER_BYTES);
        let commit = pair(length, KIND_DATA | (INCARNATION & 0xffff_0000));
        let words = [commit, pair(body_checksum, narrow(record.topic)), TIME, pair(narrow(offset), 1)];
        let [_, sum_topic, time, counts] = words.map(u64::to_le_bytes);
        let mut hasher = Hasher::new_with_initial(INCARNATION ^ narrow(position));
        hasher.update(words.map(u64::to_le_bytes).as_flattened());
        let sum_payload = pair(hasher.finalize(), payload_bytes).to_le_bytes();
        // SAFETY: invariant 1 keeps the frame inside the map and on 8 bytes, 1 and 2 make us its
        // only writer, 3 keeps the map alive; nobody reads before the producers are joined.
        unsafe {
            let frame = self.map.as_mut_ptr().add(position);
            frame.add(8).cast::<[[u8; 8]; 4]>().write([sum_topic, time, counts, sum_payload]);
            frame.add(40).write(0);
            frame.add(41).copy_from_nonoverlapping(record.payload.as_ptr(), record.payload.len());
            // Release: pairs with a reader's Acquire load; in this program the join stands for it.
            AtomicU64::from_ptr(frame.cast()).store(commit.to_le(), Ordering::Release);
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: invariant 3; `&mut self` proves that no producer is left.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr(), self.map.len()) }
    }
}

/// Compares the log with what each thread says that it appended.
fn check(log: &[u8], work: &Workload, appended: &[usize]) -> Result<(), String> {
    let frame_bytes = frame_bytes(work.payload_bytes);
    let (frames, rest) = log.split_at(work.appends * frame_bytes);
    let one = |(topic, &appends)| work.records(topic).take(appends);
    let mut expected: Vec<_> = appended.iter().enumerate().map(one).collect();
    for (offset, frame) in frames.chunks(frame_bytes).enumerate() {
        let record = expected.get_mut(usize::from(frame[12])).and_then(Iterator::next);
        let record = record.ok_or_else(|| format!("frame {offset}: its thread has no append left"))?;
        check_frame(frame, offset, &record).map_err(|error| format!("frame {offset}: {error}"))?;
    }
    let complete = number(rest) == 0 && expected.into_iter().flatten().next().is_none();
    complete.then_some(()).ok_or_else(|| "bytes after the last frame, or an append without a frame".to_owned())
}

/// Reads by byte places of its own, so that a mistake in `write` cannot hide.
fn check_frame(frame: &[u8], offset: usize, record: &Record) -> Result<(), String> {
    let length = 41 + record.payload.len();
    let mut hasher = Hasher::new_with_initial(INCARNATION ^ narrow(offset * frame.len()));
    hasher.update(&frame[..32]);
    let fields = [
        ("length", 0..4, narrow(length)),
        ("kind", 4..5, 1),
        ("flags", 5..6, 0),
        ("tag", 6..8, INCARNATION >> 16),
        ("body checksum", 8..12, crc32fast::hash(&frame[36..length])),
        ("topic", 12..16, narrow(record.topic)),
        ("offset delta", 24..28, narrow(offset)),
        ("record count", 28..30, 1),
        ("state count", 30..32, 0),
        ("header checksum", 32..36, hasher.finalize()),
        ("payload length", 36..40, narrow(record.payload.len())),
        ("record flags", 40..41, 0),
    ];
    for (name, place, expected) in fields {
        let found = number(&frame[place]);
        if found != u64::from(expected) {
            return Err(format!("{name}: found {found:x}, expected {expected:x}"));
        }
    }
    let same = number(&frame[16..24]) == TIME && frame[41..length] == *record.payload;
    same.then_some(()).ok_or_else(|| "another time or payload".to_owned())
}

/// Damages a good log at one place after the other: the check must refuse each.
fn check_notices_damage() -> Result<(), Box<dyn Error>> {
    let work = Workload::new(100, 1 << 14);
    let mut log = Log::create(&work)?;
    let (_, appended) = at_once(2, |topic| append_until_full(&log, Variant::FetchAddClaim, &work, topic));
    check(log.bytes(), &work, &appended)?;
    let frame = frame_bytes(work.payload_bytes);
    let last = log.end - frame;
    for place in (0..41 + work.payload_bytes).chain([frame]) {
        log.bytes()[last + place] ^= 1;
        assert!(check(log.bytes(), &work, &appended).is_err(), "damage at byte {place} was missed");
        log.bytes()[last + place] ^= 1;
    }
    log.bytes().copy_within(..frame, last);
    assert!(check(log.bytes(), &work, &appended).is_err(), "a misplaced frame was missed");
    Ok(())
}

fn print_table(cases: &[Case]) {
    println!("| payload | threads | variant | M appends/s | min..max | ratio to Mutex | min..max | hand-over ns |");
    println!("|---:|---:|---|---:|---:|---:|---:|---:|");
    let mut reference = &cases[0]; // every group of one size and thread count begins with its mutex
    for case in cases {
        if case.variant == Variant::Mutex {
            reference = case;
        }
        let pairs = case.rates.iter().zip(&reference.rates);
        let [min, rate, max] = spread(case.rates.clone());
        let [ratio_min, ratio, ratio_max] = spread(pairs.map(|(own, other)| own / other).collect());
        let [near, hand_over, far] = spread(case.hand_overs.clone());
        let digits = if rate < 1.0 { 3 } else { 1 };
        print!("| {} B | {} | {:?} ", case.payload_bytes, case.threads, case.variant);
        print!("| {rate:.digits$} | {min:.digits$}..{max:.digits$} | {ratio:.2} | {ratio_min:.2}..{ratio_max:.2} ");
        println!("| {hand_over:.0} ({near:.0}..{far:.0}) |");
    }
}

/// Minimum, median and maximum.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let (middle, last) = (values.len() / 2, values.len() - 1);
    [values[0], f64::midpoint(values[middle], values[last - middle]), values[last]]
}

fn frame_bytes(payload_bytes: usize) -> usize {
    (HEADER_BYTES + RECORD_HEADER_BYTES + payload_bytes).next_multiple_of(8)
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | (u64::from(high) << 32)
}

fn narrow(value: usize) -> u32 {
    u32::try_from(value).expect("runs stay under 4 GiB")
}

/// A little-endian number of up to 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    let add = |number, byte: &u8| (number << 8) | u64::from(*byte);
    bytes.iter().rev().fold(0, add)
}
