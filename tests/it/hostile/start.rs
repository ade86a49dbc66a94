//! Start lines that somebody made up.

/// A frame as the target `decode_frame` takes it.
fn frame(kind: u8, records: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("small").to_le_bytes();
    [&[0, kind, records, 0, 0][..], &length, body].concat()
}

#[test]
fn a_start_line_counts_only_if_it_lies_before_its_own_frame() {
    let record = [2, 0, 0, 0, 0, b'r', b'c'];
    let start = |offset: u64, segment: u64| [offset.to_le_bytes(), segment.to_le_bytes()].concat();
    for segment in [0, 1, 2, u64::MAX] {
        for offset in [0, 1, 2, 3, 4, 5, u64::MAX] {
            let frames = [
                frame(1, 2, &record.repeat(2)),
                frame(1, 2, &record.repeat(2)),
                frame(5, 0, &start(offset, segment)),
                frame(1, 1, &record),
                frame(5, 0, &start(1, 1)),
            ];
            harness::hostile::decode_frame(&frames.concat());
        }
    }
}
