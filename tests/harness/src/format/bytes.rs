//! Bytes that are taken from an input and stored in a file, whatever their number.
//!
//! Guarantees:
//! 1. Nothing here fails or panics for lack of bytes: what is missing is zero, what does not fit is left out.

/// An input that is used up from its front.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    pub(crate) fn short(&mut self) -> u16 {
        let mut short = [0; 2];
        store(&mut short, 0, self.take(2));
        u16::from_le_bytes(short)
    }

    /// The next bytes, fewer at the end.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Stores what fits.
pub(crate) fn store(bytes: &mut [u8], at: usize, with: &[u8]) {
    let room = bytes.get_mut(at..).unwrap_or_default();
    let count = with.len().min(room.len());
    room[..count].copy_from_slice(&with[..count]);
}

/// Eight bytes as a number.
pub(crate) fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    store(&mut word, 0, bytes.get(at..).unwrap_or_default());
    u64::from_le_bytes(word)
}

/// Four bytes as a number.
pub(crate) fn half(bytes: &[u8], at: usize) -> u32 {
    u32::try_from(word(bytes, at) & 0xffff_ffff).expect("masked")
}

/// Two bytes as a number.
pub(crate) fn short(bytes: &[u8], at: usize) -> u16 {
    u16::try_from(word(bytes, at) & 0xffff).expect("masked")
}

/// The next multiple of 8.
pub(crate) fn align(bytes: usize) -> usize {
    bytes.next_multiple_of(8)
}

/// Numbers at which arithmetic and limits break, for something that is `length` bytes long behind a header.
pub(crate) fn extreme(which: usize, length: usize, header: usize) -> u64 {
    let length = u64::try_from(length).expect("small");
    let all = [0, 1, 2, 15, 16, 24, 4096, 65535, 65536, 1 << 31, u64::from(u32::MAX), 1 << 32, 1 << 63, u64::MAX];
    let header = u64::try_from(header).expect("small");
    let body = length.saturating_sub(header);
    let near = [length, body, body + 1, body.saturating_sub(1), u64::MAX - header + 1, u64::MAX - header];
    all.iter().chain(&near).copied().nth(which % (all.len() + near.len())).expect("one of them")
}
