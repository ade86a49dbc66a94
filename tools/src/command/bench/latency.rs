//! How long calls took: counted in a histogram, and drawn.
//!
//! Guarantees:
//! 1. The longest is exact; any other figure is at most 0.1 % above a latency that was measured.
//! 2. Counting allocates nothing.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::rate::span;

/// Longer ones count as this.
const NANOSECONDS_MAX: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;
/// Width of a drawing that goes to no terminal.
const COLUMNS_DEFAULT: usize = 80;
const BAR_COLUMNS_MIN: usize = 8;

/// What is taken of each call of a pass: its latency, or nothing.
pub(super) trait Clock: Send + 'static {
    type Since: Copy + Send;
    fn new() -> Self;
    fn start() -> Self::Since;
    fn stop(&mut self, since: Self::Since);
    /// Several calls that ended at the same time.
    fn stop_at(&mut self, since: Self::Since, now: Instant);
    fn merge(&mut self, other: &Self);
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// No latency is taken: what is asked for is a rate.
#[derive(Debug)]
pub(super) struct Untimed;

impl Clock for Untimed {
    type Since = ();
    fn new() -> Self {
        Self
    }
    fn start() {}
    fn stop(&mut self, (): ()) {}
    fn stop_at(&mut self, (): (), _now: Instant) {}
    fn merge(&mut self, _other: &Self) {}
}

/// Latencies, counted.
#[derive(Debug, Clone)]
pub(super) struct Latencies {
    histogram: Option<Histogram<u64>>,
    max: u64,
}

impl Clock for Latencies {
    type Since = Instant;

    fn new() -> Self {
        // The bounds are constants that it accepts.
        Self { histogram: Histogram::new_with_bounds(1, NANOSECONDS_MAX, DIGITS).ok(), max: 0 }
    }

    #[inline]
    fn start() -> Instant {
        Instant::now()
    }

    #[inline]
    fn stop(&mut self, since: Instant) {
        self.record(since.elapsed());
    }

    #[inline]
    fn stop_at(&mut self, since: Instant, now: Instant) {
        self.record(now.saturating_duration_since(since));
    }

    fn merge(&mut self, other: &Self) {
        if let (Some(histogram), Some(other)) = (&mut self.histogram, &other.histogram) {
            // The same bounds always fit.
            let _fits = histogram.add(other);
        }
        self.max = self.max.max(other.max);
    }
}

impl Latencies {
    #[inline]
    pub(super) fn record(&mut self, latency: Duration) {
        let nanoseconds = nanoseconds(latency);
        self.max = self.max.max(nanoseconds);
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record(nanoseconds);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// The latency that this share of all calls did not exceed; of few calls it is that of the slowest.
    pub(super) fn at(&self, quantile: f64) -> Option<u64> {
        let histogram = self.histogram.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(histogram.value_at_quantile(quantile).min(self.max))
    }

    pub(super) fn max(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max)
    }

    /// p50, p99, p99.9, max.
    pub(super) fn figures(&self) -> [Option<u64>; 4] {
        [self.at(0.5), self.at(0.99), self.at(0.999), self.max()]
    }

    pub(super) fn json(&self) -> [Value; 4] {
        self.figures().map(|figure| json!(figure))
    }

    pub(super) fn cells(&self) -> [String; 4] {
        self.figures().map(|figure| figure.map_or_else(|| "-".to_owned(), span))
    }

    /// A bar for each power of two, as wide as the terminal lets it be.
    pub(super) fn draw(&self, columns: Option<usize>) -> Vec<String> {
        let Some(histogram) = self.histogram.as_ref().filter(|histogram| !histogram.is_empty()) else {
            return vec!["nothing was timed".to_owned()];
        };
        let steps = (0..u64::BITS).map(|power| {
            let (least, beyond) = (1_u64 << power, 1_u64.checked_shl(power + 1).unwrap_or(u64::MAX));
            // Zero belongs to the first.
            let from = if power == 0 { 0 } else { least };
            (beyond, histogram.count_between(from, beyond.saturating_sub(1)))
        });
        let steps: Vec<(u64, u64)> = steps.collect();
        let first = steps.iter().position(|(_, count)| *count > 0).unwrap_or_default();
        let last = steps.iter().rposition(|(_, count)| *count > 0).unwrap_or_default();
        let steps = steps.get(first..=last).unwrap_or_default();
        let largest = steps.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
        let room = columns.unwrap_or(COLUMNS_DEFAULT).saturating_sub(32).max(BAR_COLUMNS_MIN);
        steps.iter().map(|(beyond, count)| self.step(*beyond, *count, largest, room)).collect()
    }

    fn step(&self, beyond: u64, count: u64, largest: u64, room: usize) -> String {
        let eighths = u128::from(count) * u128::try_from(room * 8).unwrap_or_default() / u128::from(largest);
        let eighths = usize::try_from(eighths).unwrap_or_default().max(usize::from(count > 0));
        let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
        let bar = format!("{}{part}", "█".repeat(eighths / 8));
        let per_mille = u128::from(count) * 100_000 / u128::from(self.count().max(1));
        let share = format!("{}.{:03} %", per_mille / 1000, per_mille % 1000);
        format!("up to {:>8}  {share:>9}  {bar}", span(beyond)).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(latencies: impl IntoIterator<Item = u64>) -> Latencies {
        let mut counted = Latencies::new();
        latencies.into_iter().for_each(|latency| counted.record(Duration::from_nanos(latency)));
        counted
    }

    #[test]
    fn figures_are_those_of_what_was_counted() {
        let counted = of(1..=1000);
        assert_eq!(counted.figures(), [Some(500), Some(990), Some(999), Some(1000)]);
        assert_eq!(of([]).figures(), [None; 4]);
        assert_eq!(of([1_234_567]).figures(), [Some(1_234_567); 4]);
        let mut both = of([5]);
        both.merge(&of([7, 9]));
        assert_eq!((both.count(), both.max()), (3, Some(9)));
        let slow = of([u64::MAX, 1]);
        assert_eq!((slow.count(), slow.max()), (2, Some(u64::MAX)));
    }

    #[test]
    fn a_drawing_keeps_to_its_width_and_shows_every_step_between_the_ends() {
        let counted = of((0..1000).map(|_| 100).chain([5000]));
        for columns in [10, 40, 80, 200] {
            let lines = counted.draw(Some(columns));
            assert_eq!(lines.len(), 7, "{lines:?}");
            let widest = lines.iter().map(|line| line.chars().count()).max().unwrap_or_default();
            assert!(widest <= columns.max(40), "{columns}: {lines:?}");
            assert!(lines[0].contains('█') && lines[6].ends_with('▏') && !lines[3].contains('▏'), "{lines:?}");
        }
        assert_eq!(of([]).draw(None), ["nothing was timed"]);
    }
}
