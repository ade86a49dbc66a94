//! A frame as `src/format.md` says, stored and walked by bare loops that know no engine: the limit rows.
//!
//! Guarantees:
//! 1. [`store`] fills the same bytes as an append of such records does: header, both checksums, heads and payloads.
//! 2. [`walk`] sums every header and every body, as a reader must, and counts the records of data frames.

use std::hint::black_box;

use super::work::{index, length};

const HEADER_BYTES: usize = 36;
const SUMMED_BYTES: usize = 32;
const RECORD_HEAD_BYTES: usize = 5;
const DATA: u8 = 1;
/// Where frames begin in a segment file, and where its incarnation stands.
const FRAMES_START: usize = 4096;
const INCARNATION: usize = 56;

/// Length of a frame of `batch` records with payloads of `size` bytes.
pub(super) fn bytes(size: usize, batch: usize) -> usize {
    HEADER_BYTES.saturating_add(batch.saturating_mul(RECORD_HEAD_BYTES.saturating_add(size)))
}

/// As [`bytes`], with the padding up to the next frame.
pub(super) fn stride(size: usize, batch: usize) -> usize {
    bytes(size, batch).next_multiple_of(8)
}

/// Stores one frame with this payload in each record, the commit word last. `frame` is as long as the frame.
pub(super) fn store(frame: &mut [u8], position: usize, payload: &[u8], batch: usize) {
    let frame_bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes();
    let payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let (header, body) = frame.split_at_mut(HEADER_BYTES);
    for record in body.chunks_exact_mut(RECORD_HEAD_BYTES + payload.len()) {
        let (head, room) = record.split_at_mut(RECORD_HEAD_BYTES);
        head[..4].copy_from_slice(&payload_bytes);
        head[4] = 0;
        room.copy_from_slice(black_box(payload));
    }
    let mut image = [0_u8; HEADER_BYTES];
    image[..4].copy_from_slice(&frame_bytes);
    image[4..8].copy_from_slice(&[DATA, 0, 7, 7]);
    image[8..12].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    image[28..30].copy_from_slice(&u16::try_from(batch).unwrap_or(u16::MAX).to_le_bytes());
    let sum = header_sum(&image[..SUMMED_BYTES], 0, position);
    image[SUMMED_BYTES..].copy_from_slice(&sum.to_le_bytes());
    header[8..].copy_from_slice(&image[8..]);
    header[..8].copy_from_slice(&image[..8]);
}

fn header_sum(header: &[u8], seed: u32, position: usize) -> u32 {
    let [a, b, c, d, ..] = length(position).to_le_bytes();
    let mut sum = crc32fast::Hasher::new_with_initial(seed ^ u32::from_le_bytes([a, b, c, d]));
    sum.update(header);
    sum.finalize()
}

/// Counts the records in the bytes of a segment file, up to the first place at which no frame checks.
pub(super) fn walk(file: &[u8]) -> u64 {
    let Some(incarnation) = file.get(INCARNATION..INCARNATION + 8) else { return 0 };
    let seed = crc32fast::hash(incarnation);
    let (mut position, mut records) = (FRAMES_START, 0);
    while let Some(header) = file.get(position..).and_then(<[u8]>::first_chunk::<HEADER_BYTES>) {
        let frame_bytes = index(word(header, 0).into());
        let body = position.checked_add(frame_bytes).and_then(|end| file.get(position + HEADER_BYTES..end));
        let Some(body) = body.filter(|_| frame_bytes >= HEADER_BYTES) else { break };
        let sum = header_sum(&header[..SUMMED_BYTES], seed, position);
        if sum != word(header, SUMMED_BYTES) || crc32fast::hash(body) != word(header, 8) {
            break;
        }
        if header[4] == DATA {
            records += u64::from(u16::from_le_bytes([header[28], header[29]]));
        }
        position += frame_bytes.next_multiple_of(8);
    }
    records
}

fn word(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    header[at..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_appends_is_walked_and_what_is_stored_is_as_long() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let log = esker::Log::open(folder.path()).expect("opens");
        let payload = [7; 101];
        for batch in [1, 3] {
            let before = log.stats().bytes;
            let _ = log.append_batch(vec![esker::Record::new(&payload); batch]).expect("appends");
            assert_eq!(log.stats().bytes - before, length(stride(payload.len(), batch)));
        }
        log.close().expect("closes");
        let mut file = std::fs::read(folder.path().join("0000000001.seg")).expect("reads");
        assert_eq!(walk(&file), 4);
        let found = file.windows(payload.len()).position(|window| window == payload).expect("stands there");
        file[found] ^= 1;
        assert_eq!(walk(&file), 0);
        assert_eq!(walk(&file[..100]), 0);
    }

    #[test]
    fn what_is_stored_is_walked() {
        // An incarnation that sums to the start of 0 is not needed: the checksum of the header is all that differs.
        let mut file = vec![0; FRAMES_START + 2 * stride(10, 2)];
        for position in [FRAMES_START, FRAMES_START + stride(10, 2)] {
            store(&mut file[position..position + bytes(10, 2)], position, &[1; 10], 2);
            let header = file[position..].first_chunk::<HEADER_BYTES>().expect("a header");
            assert_eq!(word(header, 0), 66);
            assert_eq!(word(header, 8), crc32fast::hash(&file[position + HEADER_BYTES..position + 66]));
            assert_eq!(word(header, SUMMED_BYTES), header_sum(&header[..SUMMED_BYTES], 0, position));
        }
    }
}
