//! State entries: how one lies behind the records of a data frame, and in a checkpoint.
//!
//! Guarantees:
//! 1. [`measure`] refuses what does not fit its fields, before anything is stored.
//! 2. [`split`] accepts only a whole entry of a known space with known flags, and in the spaces of cursors,
//!    contracts and topic starts only one of them; [`States`] over what it accepted yields all.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use super::record::over;
use super::{Fault, STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX, cursor_value, state_head as table};
use crate::error::Result;
use crate::types::{Epoch, Offset, Topic, index};

pub(crate) const HEAD_BYTES: usize = table::BYTES;
pub(crate) const CURSOR_BYTES: usize = cursor_value::BYTES;

/// How many spaces of keys there can be.
pub(crate) const SPACES: usize = 16;

const REMOVED: u8 = 1;

/// Whose keys they are: the same key in two spaces is two entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Space(u8);

impl Space {
    /// What the caller of the library keeps.
    pub(crate) const CALLER: Self = Self(0);
    /// Cursors, by name.
    pub(crate) const CURSORS: Self = Self(1);
    /// What cursors keep retention from dropping, by the name of the cursor.
    pub(crate) const CONTRACTS: Self = Self(2);
    /// Below which offset the retention of a topic dropped records, by the topic.
    pub(crate) const TOPIC_STARTS: Self = Self(3);

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One change of the state: a value, or that there is none any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StateEntry<'a> {
    pub(crate) space: Space,
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
}

/// What an entry needs in a body.
pub(crate) fn measure(entry: &StateEntry<'_>) -> Result<usize> {
    if entry.key.len() > STATE_KEY_BYTES_MAX {
        return Err(over("bytes of state key", entry.key.len(), STATE_KEY_BYTES_MAX));
    }
    let value = entry.value.map_or(0, <[u8]>::len);
    if value > STATE_VALUE_BYTES_MAX {
        return Err(over("bytes of state value", value, STATE_VALUE_BYTES_MAX));
    }
    Ok(HEAD_BYTES.saturating_add(entry.key.len()).saturating_add(value))
}

impl StateEntry<'_> {
    pub(crate) fn head(&self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        table::SPACE.put(&mut head, [self.space.0]);
        table::FLAGS.put(&mut head, [if self.value.is_none() { REMOVED } else { 0 }]);
        table::KEY_LENGTH.put(&mut head, u16::try_from(self.key.len()).unwrap_or(u16::MAX).to_le_bytes());
        let value = self.value.map_or(0, <[u8]>::len);
        table::VALUE_LENGTH.put(&mut head, u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
        head
    }

    /// Copies the entry to the front of `to` and returns what is left of it.
    pub(crate) fn encode<'b>(&self, to: &'b mut [u8]) -> &'b mut [u8] {
        let mut rest = to;
        for piece in [&self.head()[..], self.key, self.value.unwrap_or_default()] {
            let Some((to, behind)) = rest.split_at_mut_checked(piece.len()) else {
                debug_assert!(false, "measured before");
                return &mut [];
            };
            to.copy_from_slice(piece);
            rest = behind;
        }
        rest
    }
}

const CUT: Fault = Fault::State { what: "a state entry reaches past the end of its body" };

/// Splits the first entry off the entries of a body.
pub(crate) fn split(body: &[u8]) -> std::result::Result<(StateEntry<'_>, &[u8]), Fault> {
    let (head, rest) = body.split_first_chunk::<HEAD_BYTES>().ok_or(CUT)?;
    let space = table::SPACE.u8(head);
    if usize::from(space) >= SPACES {
        return Err(Fault::Unknown { what: "space of state", found: space.into() });
    }
    let flags = table::FLAGS.u8(head);
    if flags & !REMOVED != 0 {
        return Err(Fault::Unknown { what: "flags of a state entry", found: flags.into() });
    }
    let (key, rest) = rest.split_at_checked(table::KEY_LENGTH.u16(head).into()).ok_or(CUT)?;
    let (value, rest) = rest.split_at_checked(index(table::VALUE_LENGTH.u32(head).into())).ok_or(CUT)?;
    let removed = flags & REMOVED != 0;
    if removed && !value.is_empty() {
        return Err(Fault::State { what: "a removed state entry with a value" });
    }
    if value.len() > STATE_VALUE_BYTES_MAX {
        return Err(Fault::State { what: "a state entry with a value longer than there can be" });
    }
    match Space(space) {
        Space::CURSORS if !removed => drop(CursorValue::decode(value)?),
        Space::CONTRACTS if !removed => drop(super::contract::decode(value)?),
        Space::TOPIC_STARTS => TopicStart::check(key, (!removed).then_some(value))?,
        _ => {}
    }
    Ok((StateEntry { space: Space(space), key, value: (!removed).then_some(value) }, rest))
}

/// How long key and value of the entry with this head are.
pub(crate) fn lengths(head: [u8; HEAD_BYTES]) -> std::result::Result<u64, Fault> {
    let value = table::VALUE_LENGTH.u32(&head);
    if index(value.into()) > STATE_VALUE_BYTES_MAX {
        return Err(Fault::State { what: "a state entry with a value longer than there can be" });
    }
    Ok(u64::from(table::KEY_LENGTH.u16(&head)).saturating_add(value.into()))
}

/// The state entries of a body.
#[derive(Debug, Clone)]
pub(crate) struct States<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> States<'a> {
    pub(super) fn new(rest: &'a [u8], count: u16) -> Self {
        Self { rest, left: count }
    }
}

impl<'a> Iterator for States<'a> {
    type Item = StateEntry<'a>;

    fn next(&mut self) -> Option<StateEntry<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (entry, rest) = split(self.rest).ok()?;
        self.rest = rest;
        Some(entry)
    }
}

/// The value of a cursor: an offset, and the epoch in which it was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CursorValue {
    pub(crate) epoch: Epoch,
    pub(crate) offset: Offset,
}

impl CursorValue {
    pub(crate) fn encode(&self) -> [u8; CURSOR_BYTES] {
        let mut bytes = [0; CURSOR_BYTES];
        cursor_value::EPOCH_COUNTER.put(&mut bytes, self.epoch.counter.to_le_bytes());
        cursor_value::EPOCH_WORD.put(&mut bytes, self.epoch.word.to_le_bytes());
        cursor_value::OFFSET.put(&mut bytes, self.offset.get().to_le_bytes());
        bytes
    }

    /// A longer value, or one with flags, is a later program's.
    pub(crate) fn decode(value: &[u8]) -> std::result::Result<Self, Fault> {
        let Some((bytes, rest)) = value.split_first_chunk::<CURSOR_BYTES>() else {
            return Err(Fault::State { what: "a cursor that is cut short" });
        };
        let flags = cursor_value::FLAGS.u32(bytes);
        if flags != 0 || !rest.is_empty() {
            return Err(Fault::Unknown { what: "flags of a cursor", found: flags.into() });
        }
        let epoch =
            Epoch { counter: cursor_value::EPOCH_COUNTER.u64(bytes), word: cursor_value::EPOCH_WORD.u64(bytes) };
        Ok(Self { epoch, offset: Offset::new(cursor_value::OFFSET.u64(bytes)) })
    }
}

/// Below which offset the retention of a topic dropped records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicStart {
    pub(crate) key: [u8; 4],
    pub(crate) value: [u8; 8],
}

impl TopicStart {
    pub(crate) fn new(topic: Topic, offset: Offset) -> Self {
        Self { key: Self::key(topic), value: offset.get().to_le_bytes() }
    }

    pub(crate) fn key(topic: Topic) -> [u8; 4] {
        topic.get().to_le_bytes()
    }

    /// The offset in an entry's value.
    pub(crate) fn decode(value: &[u8]) -> std::result::Result<Offset, Fault> {
        let value = value.try_into().map_err(|_| Self::WRONG)?;
        Ok(Offset::new(u64::from_le_bytes(value)))
    }

    const WRONG: Fault = Fault::State { what: "a start of a topic that makes no sense" };

    fn check(key: &[u8], value: Option<&[u8]>) -> std::result::Result<(), Fault> {
        if key.len() != size_of::<Topic>() {
            return Err(Self::WRONG);
        }
        value.map_or(Ok(()), |value| Self::decode(value).map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn entries_come_back_as_they_were_stored(
            entries in proptest::collection::vec(
                (4..6_u8, proptest::collection::vec(any::<u8>(), 0..40), proptest::option::of(".{0,40}")), 0..8,
            ),
        ) {
            let entries: Vec<StateEntry<'_>> = entries
                .iter()
                .map(|(space, key, value)| StateEntry { space: Space(*space), key, value: value.as_ref().map(String::as_bytes) })
                .collect();
            let bytes = entries.iter().map(|entry| measure(entry).expect("short")).sum();
            let mut body = vec![0xaa; bytes];
            let rest = entries.iter().fold(&mut body[..], |rest, entry| entry.encode(rest));
            prop_assert!(rest.is_empty());
            let back: Vec<_> = States::new(&body, u16::try_from(entries.len()).expect("few")).collect();
            prop_assert_eq!(back, entries);
        }

        #[test]
        fn any_bytes_are_an_entry_or_a_fault(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok((entry, rest)) = split(&bytes) {
                prop_assert_eq!(measure(&entry).expect("fits") + rest.len(), bytes.len());
            }
        }
    }

    #[test]
    fn unknown_spaces_and_flags_are_a_later_programs() {
        for (place, byte) in [(0, 16), (1, 2)] {
            let mut bytes = [0; HEAD_BYTES];
            bytes[place] = byte;
            assert!(split(&bytes).is_err_and(|fault| fault.is_unknown()), "byte {place}");
        }
        let mut bytes = vec![0, REMOVED, 0, 0, 1, 0, 0, 0, 7];
        assert!(matches!(split(&bytes), Err(Fault::State { .. })), "removed, with a value");
        bytes[1] = 0;
        assert!(split(&bytes).is_ok());
    }

    #[test]
    fn a_cursor_comes_back_as_it_was_stored() {
        let cursor = CursorValue { epoch: Epoch { counter: 3, word: 4 }, offset: Offset::new(5) };
        assert_eq!(CursorValue::decode(&cursor.encode()), Ok(cursor));
        assert!(CursorValue::decode(&[0; CURSOR_BYTES + 1]).is_err_and(|fault| fault.is_unknown()));
        assert!(CursorValue::decode(&[0; CURSOR_BYTES - 1]).is_err_and(|fault| !fault.is_unknown()));
        let mut bytes = cursor.encode();
        bytes[24] = 1;
        assert!(CursorValue::decode(&bytes).is_err_and(|fault| fault.is_unknown()));
        let entry = StateEntry { space: Space::CURSORS, key: b"c", value: Some(b"short") };
        let mut body = vec![0; measure(&entry).expect("short")];
        entry.encode(&mut body);
        assert!(matches!(split(&body), Err(Fault::State { .. })), "no cursor in the space of cursors");
    }

    #[test]
    fn the_start_of_a_topic_comes_back_and_nothing_else_stands_in_its_space() {
        let start = TopicStart::new(Topic::new(7).expect("small"), Offset::new(1 << 40));
        assert_eq!(TopicStart::decode(&start.value), Ok(Offset::new(1 << 40)));
        let found = |key: &[u8], value: Option<&[u8]>| {
            let entry = StateEntry { space: Space::TOPIC_STARTS, key, value };
            let mut body = vec![0; measure(&entry).expect("short")];
            entry.encode(&mut body);
            split(&body).map(drop)
        };
        assert_eq!(found(&start.key, Some(&start.value)), Ok(()));
        assert_eq!(found(&start.key, None), Ok(()));
        for (key, value) in
            [(&start.key[..3], Some(&start.value[..])), (&start.key, Some(&start.value[1..])), (b"", None)]
        {
            assert!(matches!(found(key, value), Err(Fault::State { .. })), "{key:?} {value:?}");
        }
    }
}
