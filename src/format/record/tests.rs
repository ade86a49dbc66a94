//! Records go into bodies and come back; limits hold; hostile bodies are refused.

use super::super::Kind;
use super::thin::{Fate, Part, thin};
use super::*;
use proptest::prelude::*;

fn frame(shape: &Shape) -> FrameHeader {
    FrameHeader {
        length: 0,
        kind: Kind::Data,
        layout: Layout::Dense,
        body_checksum: 0,
        topic: shape.topic,
        time: Timestamp::from_nanoseconds(1),
        offset_delta: 0,
        record_count: shape.record_count,
        state_count: shape.state_count,
        header_checksum: 0,
    }
}

/// All of a record.
fn owned(record: RecordRef<'_>) -> (u64, u32, Option<Vec<u8>>, Option<i64>, Vec<u8>) {
    let time = record.event_time().map(Timestamp::nanoseconds);
    (record.offset().get(), record.topic().get(), record.key().map(<[u8]>::to_vec), time, record.payload().to_vec())
}

type Parts = (Vec<u8>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>, u32, Option<i64>);

fn parts() -> impl Strategy<Value = Parts> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    (
        bytes(),
        proptest::option::of(bytes()),
        proptest::collection::vec(("[a-zé]{1,8}", bytes()), 0..3),
        0..2_u32,
        proptest::option::of(any::<i64>()),
    )
}

proptest! {
    #[test]
    fn records_and_state_come_back_as_they_were_given(
        all in proptest::collection::vec(parts(), 0..6),
        kept in proptest::collection::vec((".{0,9}", proptest::option::of(".{0,40}")), 1..4),
        cut in 0..400_usize,
    ) {
        let states: Vec<StateEntry<'_>> = kept
            .iter()
            .map(|(key, value)| StateEntry {
                space: crate::format::state::Space::CALLER,
                key: key.as_bytes(),
                value: value.as_ref().map(String::as_bytes),
            })
            .collect();
        let headers: Vec<Vec<Header<'_>>> = all
            .iter()
            .map(|p| p.2.iter().map(|(name, value)| Header { name, value }).collect())
            .collect();
        let halves: Vec<[&[u8]; 2]> = all.iter().map(|p| p.0.split_at(p.0.len() / 2).into()).collect();
        let records: Vec<Record<'_>> = all
            .iter()
            .zip(&headers)
            .zip(&halves)
            .map(|((p, headers), halves)| {
                let mut record = Record::gather(halves).headers(headers).topic(Topic::new(p.3).expect("small"));
                if let Some(key) = &p.1 { record = record.key(key); }
                if let Some(time) = p.4 { record = record.event_time(Timestamp::from_nanoseconds(time)); }
                record
            })
            .collect();
        let shape = measure(&records, &states).expect("within limits");
        let mut body = vec![0; shape.body_length];
        encode(&records, &states, &shape, &mut body);
        prop_assert_eq!(crate::checksum::plain(&body), checksum_of(&records, &states, &shape));
        let header = frame(&shape);
        prop_assert_eq!(check(&body, &header), Ok(()));
        let read: Vec<RecordRef<'_>> = Records::new(&body, &header, Offset::new(7)).collect();
        prop_assert_eq!(read.len(), all.len());
        for (i, (record, p)) in read.iter().zip(&all).enumerate() {
            prop_assert_eq!(record.offset().get(), 7 + u64::try_from(i).expect("small"));
            prop_assert_eq!(record.payload(), &p.0[..]);
            prop_assert_eq!(record.key(), p.1.as_deref());
            prop_assert_eq!(record.topic().get(), p.3);
            prop_assert_eq!(record.event_time().map(Timestamp::nanoseconds), p.4);
            let back: Vec<_> = record.headers().map(|h| (h.name.to_owned(), h.value.to_vec())).collect();
            prop_assert_eq!(&back, &p.2);
        }
        prop_assert_eq!(super::states(&body, &header).collect::<Vec<_>>(), states);
        let cut = cut % body.len();
        prop_assert!(check(&body[..cut], &header).is_err(), "a body cut at {}", cut);
    }

    #[test]
    fn any_bytes_decode_or_fail_without_panic(
        body in proptest::collection::vec(any::<u8>(), 0..200),
        records in 0..4_u16,
        states in 0..4_u16,
        sparse in any::<bool>(),
        mixed in any::<bool>(),
    ) {
        let topic = (!mixed).then_some(Topic::default());
        let layout = if sparse { Layout::Sparse } else { Layout::Dense };
        let shape = Shape { body_length: 0, record_count: records, state_count: states, topic };
        let header = FrameHeader { layout, ..frame(&shape) };
        let counted = count(&body, &header);
        prop_assert!(counted <= records);
        let read: Vec<u64> = Records::new(&body, &header, Offset::ZERO).map(|record| record.offset().get()).collect();
        prop_assert!(read.len() <= usize::from(counted));
        if check(&body, &header).is_ok() {
            prop_assert_eq!(read.len(), usize::from(counted));
            prop_assert!(read.is_sorted_by(|a, b| a < b) && read.iter().all(|offset| *offset < u64::from(records)));
            prop_assert_eq!(super::states(&body, &header).count(), usize::from(states));
        }
    }

    #[test]
    fn what_is_kept_of_a_frame_comes_back_at_its_offset(
        all in proptest::collection::vec(parts(), 0..6),
        entries in proptest::collection::vec((".{0,9}", proptest::option::of(".{0,40}")), 0..4),
        kept in proptest::collection::vec(proptest::collection::vec(proptest::bool::weighted(0.7), 10), 1..4),
        cut in 0..400_usize,
    ) {
        prop_assume!(!all.is_empty() || !entries.is_empty());
        let records: Vec<Record<'_>> = all
            .iter()
            .map(|(payload, key, _, topic, time)| {
                let mut record = Record::new(payload).topic(Topic::new(*topic).expect("small"));
                if let Some(key) = key { record = record.key(key); }
                if let Some(time) = time { record = record.event_time(Timestamp::from_nanoseconds(*time)); }
                record
            })
            .collect();
        let states: Vec<StateEntry<'_>> = entries
            .iter()
            .map(|(key, value)| StateEntry {
                space: crate::format::state::Space::CALLER,
                key: key.as_bytes(),
                value: value.as_ref().map(String::as_bytes),
            })
            .collect();
        let shape = measure(&records, &states).expect("within limits");
        let mut body = vec![0; shape.body_length];
        encode(&records, &states, &shape, &mut body);
        let mut header = frame(&shape);
        let first = Offset::new(40);
        let read = |body: &[u8], header: &FrameHeader| Records::new(body, header, first).map(owned).collect::<Vec<_>>();
        let mut left: (Vec<_>, Vec<_>) = (read(&body, &header), states.clone());
        // Thinned again and again, as a segment is that is rewritten often.
        for kept in kept {
            let mut decided = 0;
            let mut asked = Vec::new();
            let mut behind = b"before".to_vec();
            let thinned = thin(&header, first, &body, &mut |part| {
                if let Part::Record(record) = part { asked.push(owned(*record)); }
                decided += 1;
                if kept[decided - 1] { Fate::Keep } else { Fate::Drop }
            }, &mut behind).expect("checked");
            prop_assert_eq!(&asked, &left.0);
            let whole = kept[..decided].iter().all(|kept| *kept);
            let mut of_records = kept.iter();
            left.0.retain(|_| *of_records.next().expect("ten"));
            left.1.retain(|_| *of_records.next().expect("ten"));
            let Some(thinned) = thinned else {
                prop_assert!(left.0.is_empty() && left.1.is_empty());
                break;
            };
            prop_assert_eq!(&behind[..6], b"before");
            if whole { prop_assert_eq!(&behind[6..], &body[..]); }
            body = behind.split_off(6);
            header = FrameHeader {
                layout: thinned.layout,
                record_count: thinned.record_count,
                state_count: thinned.state_count,
                ..header
            };
            prop_assert_eq!(check(&body, &header), Ok(()));
            prop_assert_eq!(usize::from(thinned.records), left.0.len());
            prop_assert_eq!(count(&body, &header), thinned.records);
            prop_assert_eq!(thinned.record_count, if left.0.is_empty() { 0 } else { shape.record_count });
            prop_assert_eq!(&read(&body, &header), &left.0);
            prop_assert_eq!(super::states(&body, &header).collect::<Vec<_>>(), left.1.clone());
            prop_assert!(check(&body[..cut % body.len()], &header).is_err(), "a body cut at {}", cut);
        }
    }
}

#[test]
fn a_tombstone_keeps_its_key_and_has_no_payload() {
    let records = [Record::tombstone(b"k")];
    let shape = measure(&records, &[]).expect("small");
    let mut body = vec![0; shape.body_length];
    encode(&records, &[], &shape, &mut body);
    let read = Records::new(&body, &frame(&shape), Offset::ZERO).next().expect("one");
    assert!(read.is_tombstone() && read.payload().is_empty());
    assert_eq!(read.key(), Some(&b"k"[..]));
}

#[test]
fn a_sparse_body_says_offsets_that_rise_inside_of_its_frame() {
    let shape = Shape { body_length: 0, record_count: 4, state_count: 0, topic: Some(Topic::default()) };
    let header = FrameHeader { layout: Layout::Sparse, ..frame(&shape) };
    let body = |kept: u16, deltas: &[u8]| {
        let records = deltas.iter().flat_map(|delta| [1, 0, 0, 0, 0, *delta, 0, b'x']);
        kept.to_le_bytes().into_iter().chain(records).collect::<Vec<u8>>()
    };
    for (kept, deltas, valid) in [
        (2, &[0, 3][..], true),
        (4, &[0, 1, 2, 3], true),
        (2, &[1, 1], false),
        (2, &[2, 1], false),
        (1, &[4], false),
        (0, &[], false),
        (2, &[1], false),
        (1, &[1, 2], false),
    ] {
        assert_eq!(check(&body(kept, deltas), &header).is_ok(), valid, "{kept} {deltas:?}");
    }
    let five = Shape { record_count: 5, ..shape };
    assert!(check(&body(5, &[0, 1, 2, 3, 4]), &FrameHeader { layout: Layout::Sparse, ..frame(&five) }).is_ok());
    assert!(check(&body(5, &[0, 1, 2, 3, 4]), &header).is_err(), "more records than offsets");
    assert!(check(&[0], &header).is_err() && check(&[], &header).is_err());
}

#[test]
fn each_limit_holds_at_the_limit_and_fails_one_past_it() {
    let key = vec![1; KEY_BYTES_MAX + 1];
    assert!(measure(&[Record::new(b"").key(&key[1..])], &[]).is_ok());
    let error = measure(&[Record::new(b"").key(&key)], &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("65536, at most 65535"), "{error}");

    let name = "n".repeat(HEADER_NAME_BYTES_MAX + 1);
    assert!(measure(&[Record::new(b"").headers(&[Header { name: &name[1..], value: b"" }])], &[]).is_ok());
    assert!(measure(&[Record::new(b"").headers(&[Header { name: &name, value: b"" }])], &[]).is_err());
    assert!(measure(&[Record::new(b"").headers(&[Header { name: "", value: b"" }])], &[]).is_err());

    let value = vec![1; HEADERS_BYTES_MAX - 3];
    assert!(measure(&[Record::new(b"").headers(&[Header { name: "n", value: &value[1..] }])], &[]).is_ok());
    assert!(measure(&[Record::new(b"").headers(&[Header { name: "n", value: &value }])], &[]).is_err());

    let many = vec![Record::new(b""); BATCH_RECORDS_MAX + 1];
    assert!(measure(&many[1..], &[]).is_ok());
    assert_eq!(measure(&many, &[]).unwrap_err().kind(), ErrorKind::Limit);
}
