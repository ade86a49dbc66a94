//! Edits of a file that was good, as an input says them.
//!
//! Guarantees:
//! 1. Any bytes are edits, four bytes each: what, where (two), and with what. No edit makes the file longer than allowed.

use crate::format::bytes::{extreme, store};
use crate::format::fields::Field;

/// What is known of the file that is edited.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form<'a> {
    /// Of its header.
    pub(super) fields: &'a [Field],
    pub(super) header_bytes: usize,
    pub(super) bytes_max: usize,
}

pub(super) fn carry_out(bytes: &mut Vec<u8>, edits: &[u8], form: &Form<'_>) {
    let good = bytes.len();
    let extreme = |which| extreme(which, good, form.header_bytes);
    for edit in edits.chunks_exact(4) {
        let &[what, low, high, with_byte] = edit else { continue };
        let (at, with) = (usize::from(u16::from_le_bytes([low, high])), usize::from(with_byte));
        let inside = at % (bytes.len() + 1);
        match what % 10 {
            0 => store(bytes, inside, &[with_byte]),
            1 => {
                let byte = bytes.get(inside).copied().unwrap_or_default();
                store(bytes, inside, &[byte ^ 1 << (with % 8)]);
            }
            2 => store(bytes, inside, &extreme(with).to_le_bytes()[..2]),
            3 => store(bytes, inside, &extreme(with).to_le_bytes()[..4]),
            4 => store(bytes, inside, &extreme(with).to_le_bytes()),
            5 => {
                let field = form.fields[with % form.fields.len()];
                store(bytes, field.at, &extreme(at).to_le_bytes()[..field.width]);
            }
            6 => bytes.truncate(inside),
            7 => bytes.resize((bytes.len() + with * 16).min(form.bytes_max), low),
            8 => drop(bytes.drain(inside..(inside + with).min(good).clamp(inside, bytes.len()))),
            _ => {
                let twice = bytes[inside..(inside + with).min(bytes.len())].to_vec();
                if bytes.len() + twice.len() <= form.bytes_max {
                    bytes.splice(inside..inside, twice);
                }
            }
        }
    }
}
