//! How a segment header, a checkpoint header and a slot of the anchor begin: magic, format version, checksum.
//!
//! Guarantees:
//! 1. The checksum is of the whole structure with this field as zero.
//! 2. The magic is looked at first, then the checksum, then the version: one under a wrong sum is rot, and only one under a
//!    right sum that of a later program. So the three, and what is summed, are at the same places in every version.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use super::field::Field;
use super::{Fault, VERSION};
use crate::checksum;

/// The opening of one kind of structure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening {
    pub(crate) magic: [u8; 8],
    pub(crate) magic_at: Field,
    pub(crate) version_at: Field,
    pub(crate) checksum_at: Field,
    /// For messages.
    pub(crate) what: &'static str,
}

impl Opening {
    /// Puts all three; the rest must be there.
    pub(crate) fn put(&self, bytes: &mut [u8]) {
        self.magic_at.put(bytes, self.magic);
        self.version_at.put(bytes, VERSION.to_le_bytes());
        self.put_sum(bytes);
    }

    /// Puts the checksum of what is there.
    pub(super) fn put_sum(&self, bytes: &mut [u8]) {
        self.checksum_at.put(bytes, [0; 4]);
        let sum = checksum::plain(bytes);
        self.checksum_at.put(bytes, sum.to_le_bytes());
    }

    /// Checks all three.
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<(), Fault> {
        if self.magic_at.of(bytes) != self.magic {
            return Err(Fault::Magic);
        }
        let stored = self.checksum_at.u32(bytes);
        let mut sum = checksum::Pieces::default();
        let (before, rest) = bytes.split_at_checked(self.checksum_at.place).unwrap_or((bytes, &[]));
        sum.update(before);
        sum.update(&[0; 4]);
        sum.update(rest.get(4..).unwrap_or_default());
        let computed = sum.finish();
        if stored != computed {
            return Err(Fault::Checksum { what: self.what, stored, computed });
        }
        let found = self.version_at.u16(bytes);
        if found == VERSION { Ok(()) } else { Err(Fault::Version { found }) }
    }
}
