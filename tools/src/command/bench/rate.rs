//! Rates, medians and ratios, and how they are written.
//!
//! Guarantees:
//! 1. What took less than [`MEASURABLE`] has no rate: it is nothing, not zero and not infinity.

use std::time::Duration;

/// A pass that is shorter says more about the clock and the scheduler than about what was done.
const MEASURABLE: Duration = Duration::from_millis(1);

/// So much in so long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub(super) count: u64,
    pub(super) elapsed: Duration,
}

impl Measured {
    pub(super) fn per_second(self) -> Option<f64> {
        (self.elapsed >= MEASURABLE).then(|| real(self.count) / self.elapsed.as_secs_f64())
    }
}

/// The median of what is there; the lower one of two.
pub(super) fn median(values: &[Option<f64>]) -> Option<f64> {
    let mut values: Vec<f64> = values.iter().copied().flatten().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

pub(super) fn ratio(part: Option<f64>, whole: Option<f64>) -> Option<f64> {
    let (part, whole) = (part?, whole.filter(|whole| *whole > 0.0)?);
    Some(part / whole)
}

pub(super) fn real(count: u64) -> f64 {
    let half = |bits: u64| f64::from(u32::try_from(bits & 0xffff_ffff).unwrap_or_default());
    half(count >> 32).mul_add(4_294_967_296.0, half(count))
}

/// `12.6 M/s`, or why there is no rate.
pub(super) fn per_second(rate: Option<f64>) -> String {
    rate.map_or_else(
        || "too short to measure".to_owned(),
        |rate| format!("{}/s", scaled(rate, 1000.0, ["", "k", "M", "G"])),
    )
}

/// `1.3 GiB/s`, or nothing: the rate of events says why.
pub(super) fn bytes_per_second(rate: Option<f64>) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    rate.map_or_else(|| "-".to_owned(), |rate| format!("{}/s", scaled(rate, 1024.0, units)))
}

pub(super) fn ratio_text(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}

/// Nanoseconds in the unit that suits them.
pub(super) fn span(nanoseconds: u64) -> String {
    if nanoseconds < 1000 {
        return format!("{nanoseconds} ns");
    }
    scaled(real(nanoseconds) / 1000.0, 1000.0, ["us", "ms", "s"])
}

/// Three digits and the unit, the largest that leaves a digit before the point.
fn scaled<const N: usize>(value: f64, step: f64, units: [&str; N]) -> String {
    let mut value = value;
    let mut unit = units[0];
    for larger in units.iter().skip(1) {
        if value < step * 0.9995 {
            break;
        }
        value /= step;
        unit = larger;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_short_has_no_rate() {
        let short = Measured { count: 100, elapsed: Duration::from_micros(999) };
        assert_eq!((short.per_second(), per_second(short.per_second())), (None, "too short to measure".to_owned()));
        let measured = Measured { count: 2_000_000, elapsed: Duration::from_millis(500) };
        assert_eq!(per_second(measured.per_second()), "4.00 M/s");
        assert_eq!(ratio(short.per_second(), measured.per_second()), None);
        assert_eq!(ratio(Some(1.0), Some(0.0)), None);
    }

    #[test]
    fn the_median_is_of_what_is_there() {
        assert_eq!(median(&[Some(3.0), None, Some(1.0), Some(2.0)]), Some(2.0));
        assert_eq!(median(&[Some(3.0), Some(1.0)]), Some(1.0));
        assert_eq!(median(&[None, None]), None);
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        assert_eq!(
            [0, 999, 1000, 12_345, 999_999, 1_234_567_890].map(span),
            ["0 ns", "999 ns", "1.00 us", "12.3 us", "1.00 ms", "1.23 s"]
        );
        assert_eq!(per_second(Some(7.25)), "7.25/s");
        assert_eq!(per_second(Some(123_456.0)), "123 k/s");
        assert_eq!(bytes_per_second(Some(1.5 * 1024.0 * 1024.0)), "1.50 MiB/s");
        assert!((real(u64::from(u32::MAX) + 1) - 4_294_967_296.0).abs() < f64::EPSILON);
    }
}
