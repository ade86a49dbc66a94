//! A field of a table, and how integers are read from it and put into it.

use std::fmt;

#[cfg(test)]
use super::{
    anchor_slot, checkpoint_epoch, checkpoint_header, checkpoint_version, cursor_value, frame_header, gap_body,
    index_block, index_entry, index_header, index_topic, line_body, record_head, record_header, segment_header,
    session_body, sparse_body, start_line_body, state_head,
};

/// One field of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) place: usize,
    pub(crate) width: usize,
    pub(crate) meaning: &'static str,
}

/// Every table: name, bytes, fields; for the test that holds the prose to them.
#[cfg(test)]
pub(crate) const TABLES: [(&str, usize, &[Field]); 19] = [
    ("segment_header", segment_header::BYTES, segment_header::FIELDS),
    ("frame_header", frame_header::BYTES, frame_header::FIELDS),
    ("sparse_body", sparse_body::BYTES, sparse_body::FIELDS),
    ("record_head", record_head::BYTES, record_head::FIELDS),
    ("record_header", record_header::BYTES, record_header::FIELDS),
    ("line_body", line_body::BYTES, line_body::FIELDS),
    ("session_body", session_body::BYTES, session_body::FIELDS),
    ("start_line_body", start_line_body::BYTES, start_line_body::FIELDS),
    ("gap_body", gap_body::BYTES, gap_body::FIELDS),
    ("anchor_slot", anchor_slot::BYTES, anchor_slot::FIELDS),
    ("state_head", state_head::BYTES, state_head::FIELDS),
    ("cursor_value", cursor_value::BYTES, cursor_value::FIELDS),
    ("checkpoint_header", checkpoint_header::BYTES, checkpoint_header::FIELDS),
    ("checkpoint_epoch", checkpoint_epoch::BYTES, checkpoint_epoch::FIELDS),
    ("checkpoint_version", checkpoint_version::BYTES, checkpoint_version::FIELDS),
    ("index_header", index_header::BYTES, index_header::FIELDS),
    ("index_block", index_block::BYTES, index_block::FIELDS),
    ("index_topic", index_topic::BYTES, index_topic::FIELDS),
    ("index_entry", index_entry::BYTES, index_entry::FIELDS),
];

/// Defines a table as a module of `Field` constants, and proves that they tile its bytes.
macro_rules! table {
    ($(#[$doc:meta])* $table:ident[$bytes:literal]: $($name:ident $place:literal $width:literal $meaning:literal;)+) => {
        $(#[$doc])*
        pub(crate) mod $table {
            use super::field::{Field, tiles};
            pub(crate) const BYTES: usize = $bytes;
            $(pub(crate) const $name: Field =
                Field { name: stringify!($name), place: $place, width: $width, meaning: $meaning };)+
            pub(crate) const FIELDS: &[Field] = &[$($name),+];
            const _: () = assert!(tiles(FIELDS, BYTES), "a table must tile its bytes");
        }
    };
}
pub(crate) use table;

/// Whether the fields lie one after the other from 0 to `bytes`.
pub(crate) const fn tiles(fields: &[Field], bytes: usize) -> bool {
    let (mut next, mut rest) = (0, fields);
    while let [field, tail @ ..] = rest {
        if field.place != next {
            return false;
        }
        next += field.width;
        rest = tail;
    }
    next == bytes
}

impl Field {
    /// The field's bytes; empty if `bytes` is shorter than the table, which callers rule out by type or by length.
    #[inline]
    pub(crate) fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.place..self.place.saturating_add(self.width)).unwrap_or_default()
    }

    #[inline]
    fn of_mut<'a>(&self, bytes: &'a mut [u8]) -> &'a mut [u8] {
        bytes.get_mut(self.place..self.place.saturating_add(self.width)).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&self, bytes: &[u8]) -> [u8; N] {
        debug_assert_eq!(self.width, N, "field {}", self.name);
        self.of(bytes).try_into().unwrap_or([0; N])
    }

    #[inline]
    pub(crate) fn u8(&self, bytes: &[u8]) -> u8 {
        u8::from_le_bytes(self.array(bytes))
    }

    #[inline]
    pub(crate) fn u16(&self, bytes: &[u8]) -> u16 {
        u16::from_le_bytes(self.array(bytes))
    }

    #[inline]
    pub(crate) fn u32(&self, bytes: &[u8]) -> u32 {
        u32::from_le_bytes(self.array(bytes))
    }

    #[inline]
    pub(crate) fn u64(&self, bytes: &[u8]) -> u64 {
        u64::from_le_bytes(self.array(bytes))
    }

    #[inline]
    pub(crate) fn i64(&self, bytes: &[u8]) -> i64 {
        i64::from_le_bytes(self.array(bytes))
    }

    /// Stores a value of exactly the field's width.
    #[inline]
    pub(crate) fn put<const N: usize>(&self, bytes: &mut [u8], value: [u8; N]) {
        debug_assert_eq!(self.width, N, "field {}", self.name);
        let to = self.of_mut(bytes);
        if to.len() == N {
            to.copy_from_slice(&value);
        }
    }
}

/// A structure put together as 64-bit words, in registers: bytes stored one by one and loaded again as a whole would wait
/// for the store buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<const N: usize>([u64; N]);

impl<const N: usize> Words<N> {
    pub(crate) const fn zero() -> Self {
        Self([0; N])
    }

    /// Puts a value into a field that lies inside one word and that it fits.
    #[inline]
    #[must_use]
    pub(crate) fn with(mut self, field: Field, value: u64) -> Self {
        debug_assert!(field.width == 8 || value.checked_shr(bits(field.width)) == Some(0), "field {}", field.name);
        if let Some(word) = self.0.get_mut(field.place / 8) {
            *word |= value.wrapping_shl(bits(field.place % 8));
        }
        self
    }

    #[inline]
    pub(crate) fn words(&self) -> &[u64; N] {
        &self.0
    }
}

/// Bytes as bits, for shifts inside a word.
#[inline]
fn bits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX).saturating_mul(8)
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} | {} | {} |", self.place, self.width, self.name.to_lowercase(), self.meaning)
    }
}
