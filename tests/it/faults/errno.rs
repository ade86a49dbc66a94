//! Each call of the system fails, on the disk in memory: a part of what `esker-crash errno` does in full.

use harness::errno::{ERRORS, Swept, sweep};
use harness::life::Act;

/// Each so many calls one fails, another one for each error; coprime to the rhythm of the appends.
const STEP: usize = 13;

#[test]
fn whichever_call_of_a_short_life_fails_nothing_acknowledged_is_lost_and_the_error_is_typed() {
    let mut all = Swept::default();
    for act in Act::ALL {
        for (first, error) in (0..).zip(ERRORS) {
            let swept = sweep(act, error, first, STEP).unwrap_or_else(|wrong| panic!("{wrong}"));
            all.add(swept);
        }
    }
    assert!(all.lives > 300 && all.errors > all.lives / 2 && all.unharmed > all.lives / 10, "{all}");
}
