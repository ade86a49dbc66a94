//! Short crash runs; the long ones are commands of the package `esker-crash`.

use super::{Conditions, Conduct, Tempo, Totals, exhaust, replay, shrink, workload, workloads};

const OFTEN: Conditions = Conditions { tempo: Tempo::OneIn(2), conduct: Conduct::Honest };

#[test]
fn two_runs_of_a_seed_have_the_same_trace() {
    let run = |seed| replay(seed, None, OFTEN).1;
    assert_eq!(run(3), run(3));
    assert_ne!(run(3).trace, run(4).trace);
}

#[test]
fn seeds_that_failed_once_hold() {
    // An interrupted repair took the end of a segment that it had itself made up for proof of an offset.
    for seed in [85_001_295, 100_146, 202_512] {
        let outcome = replay(seed, None, OFTEN).1;
        assert_eq!(outcome.violation, None, "seed {seed}");
    }
}

#[test]
fn whatever_dies_whenever_nothing_durable_is_lost() {
    let mut totals = Totals::default();
    for seed in 1..=24 {
        let outcome = replay(seed, None, OFTEN).1;
        totals.add(&outcome.totals);
        assert!(outcome.violation.is_none(), "{}", shrink(seed, OFTEN).expect("fails again"));
    }
    println!("{totals}");
    let Totals { images, inside, process_deaths, behind, torn, faults, depths, trimmed, .. } = totals;
    let Totals { repairs_died, repairs_lost_power, repairs_names_failed, .. } = totals;
    assert!(images > 2000 && inside > images / 10 && depths[3] > 20, "{totals}");
    assert!(process_deaths > 50 && behind > 500 && torn > 50 && faults > 20, "{totals}");
    assert!(trimmed[0] > 100 && trimmed[1] > 20, "{totals}");
    assert!(repairs_died > 0 && repairs_lost_power > 0 && repairs_names_failed > 0, "{totals}");
}

#[test]
fn every_outcome_of_every_workload_of_one_operation_loses_nothing() {
    let mut totals = Totals::default();
    for number in 0..workloads(1) {
        let outcome = exhaust(number, 8, 16);
        totals.add(&outcome.totals);
        assert_eq!(outcome.violation, None, "{}", workload(number));
    }
    assert!(totals.events_all > 40 && totals.images > 500, "{totals}");
}

#[test]
fn workloads_are_numbered_without_a_gap_or_a_repetition() {
    let mut seen: Vec<String> = (0..workloads(2)).map(|number| workload(number).to_string()).collect();
    seen.sort_unstable();
    assert_eq!(seen.len(), 3 * (1 + 14 + 196));
    seen.dedup();
    assert_eq!(seen.len(), 3 * (1 + 14 + 196));
}

/// The alarms work: on a disk that writes nothing the run fails, and comes down to what is needed to fail.
#[test]
fn a_disk_that_lies_is_found_out_by_a_short_plan_that_fails_again() {
    let conditions = Conditions { conduct: Conduct::Lying, ..OFTEN };
    let failure = shrink(1, conditions).expect("nothing is durable");
    assert!(failure.only.len() < 3, "{failure}");
    let (_, again) = replay(failure.seed, Some(&failure.only), conditions);
    assert_eq!(again.violation.as_ref(), Some(&failure.violation));
    let line = failure.to_string();
    assert!(line.contains("replay: power --seed 1 --only "), "{line}");
    assert_eq!(shrink(1, OFTEN).map(|failure| failure.to_string()), None);
}

/// Outside of what is promised, and still never a wrong byte: a store that takes durable bytes beside it along.
#[test]
fn what_a_careless_disk_damaged_is_refused_or_missing_and_never_wrong() {
    let conditions = Conditions { conduct: Conduct::Careless, ..OFTEN };
    let mut totals = Totals::default();
    for seed in 1..=40 {
        let outcome = replay(seed, None, conditions).1;
        totals.add(&outcome.totals);
        assert_eq!(outcome.violation, None, "seed {seed}");
    }
    assert!(totals.refused > 20 && totals.images > 1000 && totals.records > 1000, "{totals}");
}
