//! Times as text: RFC 3339 in, RFC 3339 UTC out.
//!
//! Guarantees:
//! 1. What is printed is read back as the same moment, to the nanosecond.
//! 2. A time without zone is taken as UTC.

use std::time::Duration;

use esker::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Reads `2013-01-01T05:17:00Z`, with any offset or none, with up to nine decimals.
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    let refused = || format!("'{text}' is not a time; write it as 2013-01-31T05:17:00Z (RFC 3339)");
    let clock = clock_part(text).ok_or_else(refused)?;
    let moment = if clock.contains(['Z', 'z', '+', '-']) {
        text.parse::<jiff::Timestamp>().map_err(|_| refused())?
    } else {
        let local = text.parse::<DateTime>().map_err(|_| refused())?;
        local.to_zoned(TimeZone::UTC).map_err(|_| refused())?.timestamp()
    };
    let nanoseconds = i64::try_from(moment.as_nanosecond())
        .map_err(|_| format!("'{text}' is out of range; a time lies between the years 1678 and 2262"))?;
    Ok(Timestamp::from_nanoseconds(nanoseconds))
}

/// `90s`, `30m`, `12h`, `7d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("'{text}' is not a duration; write it as 90s, 30m, 12h or 7d");
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let seconds: u64 = match text.get(digits.len()..).unwrap_or_default() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(refused()),
    };
    let number: u64 = digits.parse().map_err(|_| refused())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(refused)
}

/// What follows the date, if the text has the shape of RFC 3339. The parser below it takes more: dates alone, weeks,
/// names of zones.
fn clock_part(text: &str) -> Option<&str> {
    let (date, clock) = (text.get(..10)?, text.get(11..)?);
    let is_date = date.bytes().enumerate().all(|(index, byte)| match index {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let is_separator = matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' '));
    let is_hour_to_second = clock.len() >= 8
        && clock.bytes().take(8).enumerate().all(|(index, byte)| match index {
            2 | 5 => byte == b':',
            _ => byte.is_ascii_digit(),
        });
    let is_plain = clock.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b':' | b'.' | b'+' | b'-' | b'Z' | b'z'));
    (is_date && is_separator && is_hour_to_second && is_plain).then_some(clock)
}

/// `2013-01-01T05:17:00.25Z`: as many decimals as needed.
pub(crate) fn exact(time: Timestamp) -> String {
    moment(time).to_string()
}

/// `2013-01-01T05:17:00.250Z`: always three decimals, so that columns stay straight. Append times come from a clock
/// that is no finer.
pub(crate) fn to_millisecond(time: Timestamp) -> String {
    format!("{:.3}", moment(time))
}

/// As [`to_millisecond`]; `-` for none.
pub(crate) fn or_dash(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), to_millisecond)
}

fn moment(time: Timestamp) -> jiff::Timestamp {
    // Every moment that fits in 64 bits of nanoseconds is one of jiff's.
    jiff::Timestamp::from_nanosecond(time.nanoseconds().into()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        for nanoseconds in [0, -1, 1, 1_357_017_420_250_000_000, i64::MIN, i64::MAX] {
            let time = Timestamp::from_nanoseconds(nanoseconds);
            assert_eq!(parse(&exact(time)), Ok(time));
        }
        assert_eq!(exact(Timestamp::from_nanoseconds(1_357_017_420_250_000_000)), "2013-01-01T05:17:00.25Z");
        assert_eq!(to_millisecond(Timestamp::from_nanoseconds(1_357_017_420_250_900_000)), "2013-01-01T05:17:00.250Z");
    }

    #[test]
    fn durations_are_read_with_their_unit_and_nothing_else_is() {
        let read = ["0s", "90s", "30m", "12h", "7d"].map(|text| parse_duration(text).expect(text).as_secs());
        assert_eq!(read, [0, 90, 1800, 43_200, 604_800]);
        for text in ["", "d", "7", "7 d", "1.5h", "-1d", "1w", "99999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_moment_is_read_in_every_notation() {
        let noon = Ok(Timestamp::from_nanoseconds(1_357_041_600_000_000_000));
        for text in [
            "2013-01-01T12:00:00Z",
            "2013-01-01t12:00:00z",
            "2013-01-01 12:00:00",
            "2013-01-01T12:00:00",
            "2013-01-01T12:00:00.000000000",
            "2013-01-01T07:00:00-05:00",
            "2013-01-01T14:00:00+02:00",
        ] {
            assert_eq!(parse(text), noon, "{text}");
        }
    }

    #[test]
    fn what_is_not_rfc_3339_is_refused() {
        for text in [
            "",
            "noon",
            "1",
            "20130101",
            "2013-01-01",
            "2013-01-01T12",
            "2013-01-01T12:00",
            "2013-13-01T12:00:00Z",
            "2013-01-01T12:00:00[Europe/Berlin]",
            "2013-01-01T12:00:00+",
            "2013-01-01T25:00:00",
            "9999-01-01T00:00:00Z",
            "2013-01-01é12:00:00",
            "2013-01-01T12:00:00Zé",
            "-009999-01-01T00:00:00Z",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
