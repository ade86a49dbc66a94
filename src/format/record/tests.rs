//! Records go into bodies and come back; limits hold; hostile bodies are refused.

use super::super::Kind;
use super::*;
use proptest::prelude::*;

fn frame(shape: &Shape) -> FrameHeader {
    FrameHeader {
        length: 0,
        kind: Kind::Data,
        body_checksum: 0,
        topic: shape.topic,
        time: Timestamp::from_nanoseconds(1),
        offset_delta: 0,
        record_count: shape.record_count,
        state_count: shape.state_count,
        header_checksum: 0,
    }
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
        body in proptest::collection::vec(any::<u8>(), 0..200), count in 0..4_u16, states in 0..4_u16,
    ) {
        let header = frame(&Shape { body_length: 0, record_count: count, state_count: states, topic: None });
        if check(&body, &header).is_ok() {
            prop_assert_eq!(Records::new(&body, &header, Offset::ZERO).count(), usize::from(count));
            prop_assert_eq!(super::states(&body, &header).count(), usize::from(states));
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
