//! The runs of `make test` and of `make sim`, as for one node.

use super::run::{Report, run_seed, run_seed_with_queue};
use crate::{
    kit::mutant::Mutant,
    sim::tests::{seeds, variable},
};
use std::panic;

/// Seeds of every `make test`.
const FIXED: std::ops::Range<u64> = 0..5;
const STEPS: u64 = 400;
/// The same with a queue.
const QUEUE_FIXED: std::ops::Range<u64> = 0..5;
const QUEUE_STEPS: u64 = 400;
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
    let (mut repeats, mut messages) = (0, 0);
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
        (repeats, messages) = (repeats + report.repeats, messages + report.messages);
    }
    let many = variable("SIM_SEED").is_none();
    assert!(!many || repeats > 0 && messages > 0, "what a queue is about was never met");
}

#[test]
fn every_deliberate_defect_of_a_fleet_is_found() {
    check_found(Mutant::OF_FLEET, run_seed);
}

#[test]
fn every_deliberate_defect_of_a_processor_is_found() {
    check_found(Mutant::OF_QUEUE, run_seed_with_queue);
}

fn check_found(mutants: &[Mutant], run: fn(u64, u64) -> Report) {
    let mut survivors = Vec::new();
    for &mutant in mutants {
        let found = (0..MUTANT_SEEDS).find(|&seed| {
            let run = || mutant.with(|| run(seed, MUTANT_STEPS));
            panic::catch_unwind(run).is_err()
        });
        match found {
            Some(seed) => println!("{mutant:?} is found by seed {seed}"),
            None => survivors.push(mutant),
        }
    }
    assert_eq!(survivors, [], "nobody noticed");
}

#[test]
fn a_seed_is_the_same_run_again() {
    assert_eq!(run_seed(7, 200), run_seed(7, 200));
    assert_ne!(run_seed(7, 200).digest, run_seed(8, 200).digest);
    assert_eq!(run_seed_with_queue(7, 200), run_seed_with_queue(7, 200));
}
