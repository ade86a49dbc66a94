//! Places and widths of the fields of headers, by the tables of `src/format.md`.
//!
//! Guarantees:
//! 1. Fields stand in the order of their places. None is wider than 8 bytes: an identity of 16 bytes is there by its halves, or by the first.

/// A field of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) at: usize,
    pub(crate) width: usize,
    pub(crate) role: Role,
}

/// What a field is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Something that has more or less of it.
    Number,
    /// Magic, checksum or identity: any other value is as wrong as the next.
    Mark,
}

const fn number(at: usize, width: usize) -> Field {
    Field { at, width, role: Role::Number }
}

const fn mark(at: usize, width: usize) -> Field {
    Field { at, width, role: Role::Mark }
}

/// Of the header of a checkpoint.
pub(crate) const CHECKPOINT: [Field; 23] = [
    mark(0, 8),
    number(8, 2),
    number(10, 2),
    mark(12, 4),
    number(16, 4),
    number(20, 4),
    mark(24, 8),
    mark(32, 8),
    number(40, 8),
    number(48, 8),
    number(56, 8),
    number(64, 8),
    number(72, 8),
    number(80, 8),
    number(88, 8),
    number(96, 8),
    number(104, 4),
    mark(108, 4),
    number(112, 8),
    number(120, 8),
    number(128, 8),
    number(136, 4),
    number(140, 8),
];

/// Of a slot of the anchor.
pub(crate) const SLOT: [Field; 11] = [
    mark(0, 8),
    number(8, 2),
    number(10, 2),
    mark(12, 4),
    number(16, 8),
    mark(24, 8),
    number(40, 8),
    number(48, 8),
    number(56, 8),
    number(64, 8),
    number(72, 8),
];

/// Of the header of a segment.
pub(crate) const SEGMENT: [Field; 30] = [
    mark(0, 8),
    number(8, 2),
    number(10, 2),
    number(16, 4),
    number(20, 4),
    mark(24, 8),
    mark(32, 8),
    number(40, 8),
    number(48, 4),
    number(52, 4),
    mark(56, 8),
    number(64, 8),
    mark(72, 8),
    number(80, 8),
    number(88, 8),
    mark(96, 8),
    number(104, 8),
    number(112, 8),
    number(120, 8),
    number(128, 8),
    number(136, 8),
    number(144, 8),
    number(152, 8),
    number(160, 8),
    number(168, 8),
    number(176, 8),
    number(184, 8),
    mark(192, 8),
    number(200, 8),
    number(208, 4),
];

/// Of the header of a frame, without its sums.
pub(crate) const FRAME: [Field; 8] = [
    number(0, 4),
    number(4, 1),
    number(5, 1),
    number(12, 4),
    number(16, 8),
    number(24, 4),
    number(28, 2),
    number(30, 2),
];

/// Of the header of an index file.
pub(crate) const INDEX: [Field; 20] = [
    mark(0, 8),
    number(8, 2),
    number(10, 2),
    number(16, 4),
    number(20, 4),
    mark(24, 8),
    mark(32, 8),
    number(40, 8),
    mark(48, 8),
    number(56, 8),
    number(64, 4),
    mark(68, 4),
    number(72, 8),
    number(80, 8),
    number(88, 4),
    number(92, 4),
    number(96, 4),
    number(100, 4),
    number(104, 4),
    number(108, 4),
];
