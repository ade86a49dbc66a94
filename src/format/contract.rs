//! The value of a cursor's contract, in the space of contracts.
//!
//! Guarantees:
//! 1. There is one encoding of each contract, and [`decode`] accepts no other.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects))]

use std::collections::BTreeSet;

use super::{CONTRACT_TOPICS_MAX, Fault, contract_value as table};
use crate::types::{Contract, Topic};

const HOLD: u8 = 0;
const HOLD_TOPICS: u8 = 1;
const HOLD_UP_TO: u8 = 2;
const BEST_EFFORT: u8 = 3;

pub(crate) fn encode(contract: &Contract) -> Vec<u8> {
    let mut bytes = vec![0; table::BYTES];
    let (kind, limit) = match contract {
        Contract::Hold => (HOLD, 0),
        Contract::HoldTopics(_) => (HOLD_TOPICS, 0),
        Contract::HoldUpTo(limit) => (HOLD_UP_TO, *limit),
        Contract::BestEffort => (BEST_EFFORT, 0),
    };
    table::KIND.put(&mut bytes, [kind]);
    table::LIMIT.put(&mut bytes, limit.to_le_bytes());
    if let Contract::HoldTopics(topics) = contract {
        for topic in topics {
            bytes.extend_from_slice(&topic.get().to_le_bytes());
        }
    }
    bytes
}

pub(crate) fn decode(value: &[u8]) -> Result<Contract, Fault> {
    const WRONG: Fault = Fault::State { what: "a contract of a cursor that makes no sense" };
    let Some((head, rest)) = value.split_first_chunk::<{ table::BYTES }>() else { return Err(WRONG) };
    let contract = match table::KIND.u8(head) {
        HOLD => Contract::Hold,
        HOLD_TOPICS => {
            let (topics, _) = rest.as_chunks::<4>();
            if topics.len() > CONTRACT_TOPICS_MAX {
                return Err(WRONG);
            }
            let topics = topics.iter().map(|topic| Topic::new(u32::from_le_bytes(*topic)).ok_or(WRONG));
            Contract::HoldTopics(topics.collect::<Result<BTreeSet<Topic>, Fault>>()?)
        }
        HOLD_UP_TO => Contract::HoldUpTo(table::LIMIT.u64(head)),
        BEST_EFFORT => Contract::BestEffort,
        found => return Err(Fault::Unknown { what: "contract of a cursor", found: found.into() }),
    };
    if encode(&contract) == value { Ok(contract) } else { Err(WRONG) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contract_comes_back_and_nothing_else_is_one() {
        let topics = |numbers: &[u32]| Contract::HoldTopics(numbers.iter().filter_map(|it| Topic::new(*it)).collect());
        let all = [Contract::Hold, topics(&[]), topics(&[3, 1, 2]), Contract::HoldUpTo(u64::MAX), Contract::BestEffort];
        for contract in all {
            let mut bytes = encode(&contract);
            assert_eq!(decode(&bytes), Ok(contract));
            assert!(decode(&bytes[1..]).is_err());
            bytes[1] = 1;
            assert!(decode(&bytes).is_err());
        }
        let mut swapped = encode(&topics(&[1, 2]));
        swapped[16..].rotate_left(4);
        assert!(decode(&swapped).is_err(), "not ascending");
        let mut later = encode(&Contract::Hold);
        later[0] = 4;
        assert!(decode(&later).is_err_and(|fault| fault.is_unknown()));
        let mut many = encode(&Contract::HoldTopics(BTreeSet::new()));
        (0..=1024_u32).for_each(|topic| many.extend_from_slice(&topic.to_le_bytes()));
        assert!(decode(&many).is_err() && decode(&many[..many.len() - 4]).is_ok());
    }
}
