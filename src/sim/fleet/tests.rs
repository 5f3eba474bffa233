//! The runs of `make test` and of `make sim`, as for one node.

use super::run::{Report, run_seed, run_seed_with_queue};
use crate::{
    kit::mutant::Mutant,
    sim::tests::{seeds, variable},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    panic,
};

/// Seeds of every `make test`.
const FIXED: std::ops::Range<u64> = 0..5;
const STEPS: u64 = 400;
/// The same with a queue.
const QUEUE_FIXED: std::ops::Range<u64> = 0..8;
const QUEUE_STEPS: u64 = 400;
/// What so many records meet.
const MET: [&str; 8] =
    ["written", "offline", "stale", "expired", "too_large", "duplicate", "failed", "dead letter"];
/// A defect that so many seeds do not find goes unnoticed.
const MUTANT_SEEDS: u64 = 24;
const MUTANT_STEPS: u64 = 150;

fn replayable(seed: u64, steps: u64) -> Report {
    match panic::catch_unwind(|| run_seed(seed, steps)) {
        Ok(report) => report,
        Err(cause) => {
            eprintln!("seed {seed} fails; make sim SEED={seed} FLEET_STEPS={steps} runs it again");
            panic::resume_unwind(cause)
        }
    }
}

#[test]
fn whatever_happens_to_a_fleet_every_rule_is_kept() {
    let steps = variable("FLEET_STEPS").unwrap_or(STEPS);
    let mut all = Report::default();
    for seed in seeds(FIXED) {
        let report = replayable(seed, steps);
        println!(
            "seed {seed}: {} connections, {} displaced, {} messages, {} s",
            report.connections,
            report.displaced,
            report.messages,
            report.ms / 1_000
        );
        all.displaced += report.displaced;
        all.routed += report.routed;
        for (name, count) in report.outcomes {
            *all.outcomes.entry(name).or_default() += count;
        }
    }
    println!("{all:#?}");
    let many = variable("SIM_SEED").is_none();
    assert!(!many || all.displaced > 0 && all.routed > 0, "what the fleet is about was never met");
}

#[test]
fn whatever_happens_to_a_queue_every_rule_is_kept() {
    let steps = variable("FLEET_STEPS").unwrap_or(QUEUE_STEPS);
    let (mut repeats, mut outcomes) = (0, BTreeMap::<_, u64>::new());
    for seed in seeds(QUEUE_FIXED) {
        let report = match panic::catch_unwind(|| run_seed_with_queue(seed, steps)) {
            Ok(report) => report,
            Err(cause) => {
                eprintln!(
                    "seed {seed} fails with a queue; make sim SEED={seed} FLEET_STEPS={steps} runs it again"
                );
                panic::resume_unwind(cause)
            }
        };
        println!(
            "seed {seed}: {} connections, {} records, {} heard again, {} s",
            report.connections,
            report.messages,
            report.repeats,
            report.ms / 1_000
        );
        repeats += report.repeats;
        for (name, count) in report.outcomes {
            *outcomes.entry(name).or_default() += count;
        }
    }
    println!("{outcomes:?}");
    if variable("SIM_SEED").is_none() {
        assert!(repeats > 0, "nothing was ever handed over again");
        let missing: Vec<_> = MET.iter().filter(|&name| !outcomes.contains_key(name)).collect();
        assert_eq!(missing, [&""; 0], "never met");
    }
}

#[test]
fn every_deliberate_defect_of_a_fleet_is_found() {
    check_found(Mutant::OF_FLEET, run_seed);
}

#[test]
fn every_deliberate_defect_of_a_processor_is_found() {
    check_found(Mutant::OF_QUEUE, run_seed_with_queue);
}

/// Each is noticed by a seed which finds nothing where there is no defect.
fn check_found(mutants: &[Mutant], run: fn(u64, u64) -> Report) {
    let (mut survivors, mut seeds) = (Vec::new(), BTreeSet::new());
    for &mutant in mutants {
        let found = (0..MUTANT_SEEDS).find(|&seed| {
            let run = || mutant.with(|| run(seed, MUTANT_STEPS));
            panic::catch_unwind(run).is_err()
        });
        match found {
            Some(seed) => {
                println!("{mutant:?} is found by seed {seed}");
                seeds.insert(seed);
            }
            None => survivors.push(mutant),
        }
    }
    assert_eq!(survivors, [], "nobody noticed");
    for seed in seeds {
        run(seed, MUTANT_STEPS);
    }
}

#[test]
fn a_seed_is_the_same_run_again() {
    assert_eq!(run_seed(7, 200), run_seed(7, 200));
    assert_ne!(run_seed(7, 200).digest, run_seed(8, 200).digest);
    assert_eq!(run_seed_with_queue(7, 200), run_seed_with_queue(7, 200));
}
