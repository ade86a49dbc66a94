//! What a bench runs on: a log in a temporary folder that is begun anew before it grows large.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use esker::{Log, Options};
use tempfile::TempDir;

pub const PAYLOAD: [u8; 100] = [0x5a; 100];
/// How far a log grows before it is begun anew.
pub const GROWN_BYTES_MAX: u64 = 256 << 20;
/// Small enough that a new log, which begins with less, soon has segments of this size.
const SEGMENT_BYTES: u64 = 32 << 20;

/// A log, and what a bench keeps beside it: a cursor, for example.
pub struct Bed<K> {
    make: fn(&Log) -> K,
    kept: K,
    /// What was called adds at most so much.
    grown_bytes: u64,
    log: Log,
    folder: TempDir,
}

impl<K> Bed<K> {
    /// `make` is called for each new log: it fills it with what the bench needs.
    pub fn new(make: fn(&Log) -> K) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let log = Options::new().segment_bytes(SEGMENT_BYTES).open(folder.path()).expect("opens");
        Self { kept: make(&log), make, grown_bytes: 0, log, folder }
    }

    /// Calls so many times from this thread, and returns how long the calls took. Each adds at most `call_bytes` to the log.
    pub fn time(&mut self, calls: u64, call_bytes: u64, mut call: impl FnMut(&Log, &mut K)) -> Duration {
        self.in_passes(calls, call_bytes, |bed, calls| {
            let begun = Instant::now();
            for _ in 0..calls {
                call(&bed.log, &mut bed.kept);
            }
            begun.elapsed()
        })
    }

    /// As [`Bed::time`], from several threads that share the calls out.
    pub fn time_by(&mut self, threads: u64, calls: u64, call_bytes: u64, call: impl Fn(&Log) + Sync) -> Duration {
        self.in_passes(calls, call_bytes, |bed, calls| {
            let start = Barrier::new(usize::try_from(threads).expect("few") + 1);
            thread::scope(|scope| {
                let running: Vec<_> = (0..threads)
                    .map(|thread| {
                        let (start, log, call) = (&start, &bed.log, &call);
                        let share = calls / threads + u64::from(thread < calls % threads);
                        scope.spawn(move || {
                            start.wait();
                            let begun = Instant::now();
                            (0..share).for_each(|_| call(log));
                            (begun, Instant::now())
                        })
                    })
                    .collect();
                start.wait();
                let times: Vec<_> = running.into_iter().map(|running| running.join().expect("runs")).collect();
                let begun = times.iter().map(|(begun, _)| *begun).min().expect("one");
                times.iter().map(|(_, done)| *done).max().expect("one") - begun
            })
        })
    }

    /// Cuts the calls into passes that fit into one log.
    fn in_passes(&mut self, calls: u64, call_bytes: u64, mut pass: impl FnMut(&mut Self, u64) -> Duration) -> Duration {
        let (mut time, mut left) = (Duration::ZERO, calls);
        while left > 0 {
            let room = (GROWN_BYTES_MAX - self.grown_bytes) / call_bytes;
            if room == 0 {
                self.renew();
                continue;
            }
            let calls = left.min(room);
            time += pass(self, calls);
            self.grown_bytes += calls * call_bytes;
            left -= calls;
        }
        time
    }

    fn renew(&mut self) {
        let old = std::mem::replace(self, Self::new(self.make));
        old.close();
    }

    pub fn close(self) {
        self.log.close().expect("closes");
        self.folder.close().expect("is removed");
    }
}
