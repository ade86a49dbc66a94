//! Why bytes are not a valid frame or header.

use std::fmt;

/// What is wrong with the bytes at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is stored where the log must go on.
    Missing,
    /// The bytes end inside a structure.
    Short { found: u64, expected: u64 },
    /// The file is not of this kind.
    Magic,
    /// Written by a format that this build does not know.
    Version { found: u16 },
    /// A feature, kind or flag that must be known and is not.
    Unknown { what: &'static str, found: u64 },
    /// The length of a frame does not fit where it stands.
    Length { found: u32, room: u64 },
    /// The tag is not that of the segment's incarnation.
    Tag { found: u16, expected: u16 },
    /// A checksum does not match.
    Checksum { what: &'static str, stored: u32, computed: u32 },
    /// The offset is not the one that follows.
    Offset { found: u64, expected: u64 },
    /// The system cannot read the bytes.
    Unreadable { kind: std::io::ErrorKind },
    /// Both checksums match, and the content makes no sense.
    Content { what: &'static str },
    /// So does a state entry.
    State { what: &'static str },
}

impl Fault {
    /// Whether the bytes may be good, and this build is what is missing.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Self::Version { .. } | Self::Unknown { .. })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Missing => f.write_str("nothing stored where the log must go on"),
            Self::Short { found, expected } => write!(f, "{found} bytes found, {expected} expected"),
            Self::Magic => f.write_str("not an esker file: wrong magic"),
            Self::Version { found } => {
                write!(f, "format version {found} found, this build knows version {}", super::VERSION)
            }
            Self::Unknown { what, found } => write!(f, "unknown {what} {found}, needed to read the file"),
            Self::Length { found, room } => write!(f, "frame length {found} does not fit the {room} bytes left"),
            Self::Tag { found, expected } => write!(f, "frame tag {found:04x} found, {expected:04x} expected"),
            Self::Checksum { what, stored, computed } => {
                write!(f, "{what} checksum stored {stored:08x}, computed {computed:08x}")
            }
            Self::Offset { found, expected } => write!(f, "offset {found} found, {expected} expected"),
            Self::Unreadable { kind } => write!(f, "cannot be read: {kind}"),
            Self::Content { what } | Self::State { what } => f.write_str(what),
        }
    }
}
