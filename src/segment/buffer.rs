//! The segment buffer: memory that one writer fills from front to back while any number of readers look at what is
//! already published. One of the two files with `unsafe`.
//!
//! Guarantees:
//! 1. There is one [`Writer`] per buffer, and it needs `&mut`: no two stores overlap in time.
//! 2. The writer stores only at or past `published`; readers look only below it: no byte is stored and read at once.
//! 3. `published` only grows, always to the end of a whole frame, and is stored (Release) after the frame's bytes and its
//!    commit word; whoever loads it (Acquire) sees them.
//! 4. The commit word of a frame is stored last, as one aligned 64-bit word: another process, or recovery, that finds it
//!    non-zero may expect the frame behind it, and checks the sums all the same.
//! 5. Published bytes never change while the buffer lives.
//!
//! `tests/loom` holds 2 and 3 to be true in every order of the threads' steps: the [`Witness`] tells it what is stored and
//! looked at.
//!
//! Left to others: what a frame is, when a segment is full, who may hold the writer.
#![expect(unsafe_code, reason = "one of the two files that may: slices over memory that a writer and readers share")]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::ops::Range;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::AtomicU64 as Word;

use crossbeam::utils::CachePadded;

use crate::format::frame::WORD_BYTES;
use crate::format::{self, FRAME_ALIGNMENT};
use crate::platform::Region;
use crate::sync::{AtomicU64, Ordering, Witness};
use crate::types::{index, length};

/// Memory with a published part, which readers may look at.
#[derive(Debug)]
pub(crate) struct Buffer {
    region: Region,
    published: CachePadded<AtomicU64>,
    witness: Witness,
}

/// The right to store into a buffer.
#[derive(Debug)]
pub(crate) struct Writer {
    buffer: Arc<Buffer>,
    /// Equal to `published`; kept here so that the writer does not load a line that readers share.
    tail: u64,
}

impl Buffer {
    /// A buffer of which the first `published` bytes may be read, and its writer, which goes on from there.
    pub(crate) fn new(region: Region, published: u64) -> (Arc<Self>, Writer) {
        let tail = published.min(region.length());
        let published = CachePadded::new(AtomicU64::new(tail));
        let buffer = Arc::new(Self { region, published, witness: Witness::new(tail) });
        (Arc::clone(&buffer), Writer { buffer, tail })
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    /// Up to where the buffer may be read.
    #[inline]
    pub(crate) fn published(&self) -> u64 {
        // Acquire: pairs with the Release in `Writer::publish`.
        self.published.load(Ordering::Acquire)
    }

    /// Published bytes. `None` if the range is not all published.
    #[inline]
    pub(crate) fn bytes(&self, range: Range<u64>) -> Option<&[u8]> {
        if range.start > range.end || range.end > self.published() {
            return None;
        }
        self.witness.looks(range.clone());
        let bytes = index(range.end.saturating_sub(range.start));
        // SAFETY: the range ends at or below `published`, which is at most the region's length: it is mapped. By guarantees 2
        // and 5 nobody stores there while the slice lives, and by guarantee 3 the stores before are seen.
        Some(unsafe { slice::from_raw_parts(self.region.start().add(index(range.start)), bytes) })
    }
}

impl Writer {
    /// Where the next frame goes.
    #[inline]
    pub(crate) fn tail(&self) -> u64 {
        self.tail
    }

    /// The bytes of the next frame, `bytes` long, without its commit word. `None` if the buffer ends before.
    #[inline]
    pub(crate) fn frame(&mut self, bytes: u64) -> Option<&mut [u8]> {
        if !self.tail.is_multiple_of(FRAME_ALIGNMENT)
            || bytes < length(WORD_BYTES)
            || bytes > self.buffer.region.length().saturating_sub(self.tail)
        {
            return None;
        }
        let start = index(self.tail).saturating_add(WORD_BYTES);
        self.buffer.witness.stores(length(start)..format::align(self.tail.saturating_add(bytes)));
        let bytes = index(bytes).saturating_sub(WORD_BYTES);
        // SAFETY: the range lies inside the region, just checked, and past `published`, so that no reader looks at it
        // (guarantee 2); this is the only writer, borrowed mutably (guarantee 1).
        Some(unsafe { slice::from_raw_parts_mut(self.buffer.region.start().add(start), bytes) })
    }

    /// Publishes the frame at the tail: stores its commit word, then moves the tail and `published` past it.
    #[inline]
    pub(crate) fn publish(&mut self, word: u64, stride: u64) {
        let end = self.tail.saturating_add(stride);
        assert!(
            self.tail.is_multiple_of(FRAME_ALIGNMENT)
                && stride >= length(WORD_BYTES)
                && end <= self.buffer.region.length(),
            "a frame is published inside its segment"
        );
        // SAFETY: tail and tail + 8 lie inside the region, just checked; regions begin at a multiple of 4096 and tails are
        // multiples of 8, so the word is aligned. It lies past `published`: no slice of a reader covers it, and the slice of
        // `frame` begins behind it (guarantee 2).
        #[expect(clippy::cast_ptr_alignment, reason = "aligned, as just argued")]
        let target = unsafe { &*self.buffer.region.start().add(index(self.tail)).cast::<Word>() };
        self.buffer.witness.stores(self.tail..self.tail.saturating_add(length(WORD_BYTES)));
        // Release: pairs with whoever reads the word from outside this process, by way of the page cache, and with the
        // checksums that it then compares.
        target.store(word.to_le(), Ordering::Release);
        self.tail = end;
        // Release: pairs with the Acquire in `Buffer::published`.
        self.buffer.published.store(end, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_only_what_was_published() {
        let (buffer, mut writer) = Buffer::new(Region::anonymous(4096).expect("maps"), 0);
        writer.frame(16).expect("room").copy_from_slice(&[7; 8]);
        assert!(buffer.bytes(0..16).is_none());
        writer.publish(5, 16);
        assert_eq!(buffer.bytes(0..16).expect("published"), [5, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7]);
        assert!(buffer.bytes(8..17).is_none());
        assert!(writer.frame(4096).is_none());
        assert!(writer.frame(4080).is_some());
    }

    #[test]
    fn a_reader_on_another_thread_sees_whole_frames() {
        let (buffer, mut writer) = Buffer::new(Region::anonymous(1 << 20).expect("maps"), 0);
        let reader = std::thread::spawn(move || {
            let mut at = 0;
            while at < 1 << 20 {
                let published = buffer.published();
                for frame in buffer.bytes(at..published).expect("published").chunks(64) {
                    let first = frame.first().copied();
                    assert!(first.is_some_and(|byte| byte != 0) && frame.iter().all(|byte| Some(*byte) == first));
                }
                at = published;
            }
        });
        for i in 0..(1_u64 << 20) / 64 {
            let byte = u8::try_from(i % 255).expect("small") + 1;
            writer.frame(64).expect("room").fill(byte);
            writer.publish(u64::from_le_bytes([byte; 8]), 64);
        }
        reader.join().expect("reads");
    }
}
