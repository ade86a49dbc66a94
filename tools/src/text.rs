//! Bytes and numbers as people read them.

/// Sizes in units, or to the byte (`--bytes`).
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct Sizes {
    /// Print sizes as exact numbers of bytes
    #[arg(long = "bytes")]
    exact: bool,
}

impl Sizes {
    pub(crate) fn show(self, bytes: u64) -> String {
        if self.exact { bytes.to_string() } else { in_units(bytes) }
    }
}

/// `1.4 MiB`; cut, not rounded, so that what is not full does not look full.
fn in_units(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes;
    for unit in UNITS {
        if scaled < 1024 * 1024 {
            return format!("{}.{} {unit}", scaled / 1024, scaled % 1024 * 10 / 1024);
        }
        scaled /= 1024;
    }
    format!("{bytes} B")
}

/// `10MiB`, `500KiB`, or a number of bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let refused = || format!("'{text}' is not a size; write it as 1000000, 500KiB, 10MiB, 2GiB or 1TiB");
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let shift = match text.get(digits.len()..).unwrap_or_default() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(refused()),
    };
    let number: u64 = digits.parse().map_err(|_| refused())?;
    number.checked_mul(1 << shift).ok_or_else(refused)
}

/// Text for a terminal: what is not UTF-8 replaced, what would steer the terminal or reorder the line escaped.
pub(crate) fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if !text.chars().any(is_unsafe) {
        return text.into_owned();
    }
    let mut safe = String::with_capacity(text.len().saturating_mul(2));
    for letter in text.chars() {
        if is_unsafe(letter) { safe.extend(letter.escape_default()) } else { safe.push(letter) }
    }
    safe
}

fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_cut_to_a_tenth_of_the_unit() {
        let shown = [0, 1023, 1024, 1535, 1_048_575, 1 << 20, 1 << 30, u64::MAX].map(in_units);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.4 KiB", "1023.9 KiB", "1.0 MiB", "1.0 GiB", "15.9 EiB"]);
        assert_eq!(Sizes { exact: true }.show(1 << 20), "1048576");
    }

    #[test]
    fn sizes_are_read_with_their_units_and_nothing_else_is() {
        let read = ["0", "17B", "500KiB", "10MiB", "2GiB", "1TiB"].map(|text| parse_bytes(text).expect(text));
        assert_eq!(read, [0, 17, 500 << 10, 10 << 20, 2 << 30, 1 << 40]);
        for text in ["", "KiB", "10MB", "10 MiB", "1.5MiB", "-1", "99999999999TiB", "10MiB2"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_that_steers_a_terminal_stays() {
        assert_eq!(readable(b"a\x1b[31m\r\n\xff\"\\"), "a\\u{1b}[31m\\r\\n\u{fffd}\"\\");
        assert_eq!(readable("\u{202e}é".as_bytes()), "\\u{202e}é");
    }
}
