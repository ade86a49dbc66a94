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
    fn nothing_that_steers_a_terminal_stays() {
        assert_eq!(readable(b"a\x1b[31m\r\n\xff\"\\"), "a\\u{1b}[31m\\r\\n\u{fffd}\"\\");
        assert_eq!(readable("\u{202e}é".as_bytes()), "\\u{202e}é");
    }
}
