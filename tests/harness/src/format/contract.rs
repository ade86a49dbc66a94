//! Whether a value is a cursor's contract.

use super::bytes::{half, word};

const TOPICS_MAX: usize = 1024;

/// What a value in the space of contracts is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    Contract,
    /// A later program's.
    Later,
    Bad,
}

pub(crate) fn contract(value: &[u8]) -> Value {
    if value.len() < 16 {
        return Value::Bad;
    }
    if value[0] > 3 {
        return Value::Later;
    }
    let topics: Vec<u32> = value[16..].chunks(4).map(|topic| half(topic, 0)).collect();
    let ascend = topics.is_sorted_by(|one, next| one < next) && topics.last() != Some(&u32::MAX);
    let of_topics = value.len().is_multiple_of(4) && topics.len() <= TOPICS_MAX && ascend;
    let tail = if value[0] == 1 { of_topics } else { topics.is_empty() };
    let limit = value[0] == 2 || word(value, 8) == 0;
    if value[1..8] == [0; 7] && limit && tail { Value::Contract } else { Value::Bad }
}
