//! The damage matrix: a share of each row at every run, and all of it on demand.

use harness::damage::{PIECE_BYTES_MAX, Row, Share, Table, run};

use crate::hostile::allocation::largest_during;

fn metered(act: &mut dyn FnMut()) -> usize {
    largest_during(act)
}

fn hold(table: &Table) {
    assert_eq!(table.violated, 0, "\n{table}");
    for tally in &table.tallies {
        let harmless: u64 = tally.harmless.iter().sum();
        assert_eq!(tally.reported + harmless, tally.cases, "{:?}", tally.row);
        assert!(tally.largest > 0 && tally.largest <= PIECE_BYTES_MAX, "{:?}: {} bytes", tally.row, tally.largest);
    }
    assert_eq!(table.tallies.len(), 2 * Row::ALL.len(), "each row on both logs");
}

#[test]
fn damage_of_each_kind_is_reported_with_its_place_or_harmless() {
    let table = run(Share::AtMost(40), metered, &mut |_| ());
    hold(&table);
}

/// Run by `cargo test --release --test it -- --ignored damage:: --nocapture`.
#[test]
#[ignore = "a million cases: some minutes in a release build"]
fn the_complete_matrix() {
    let table = run(Share::Complete, metered, &mut |_| ());
    println!("{table}");
    hold(&table);
    assert!(table.tallies.iter().all(|tally| tally.cases == tally.of), "every case of every row");
}
