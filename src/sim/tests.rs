//! The runs of `make test` and of `make sim`, which sets the environment: `SIM_SEED` (only that one), `SIM_SEEDS` (so many, from
//! a fresh one on) and `SIM_STEPS`.

use super::run::{Report, run_script, run_seed};
use crate::{
    kit::{mutant::Mutant, random::Random},
    model::{Outcome, Reason},
};
use std::{
    collections::BTreeMap,
    fs, panic,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// Seeds of every `make test`.
const FIXED: std::ops::Range<u64> = 0..10;
const STEPS: u64 = 10_000;
/// A defect that so many seeds do not find goes unnoticed.
const MUTANT_SEEDS: u64 = 40;
const MUTANT_STEPS: u64 = 3_000;
/// How often each script of the corpus is run, with more of it changed each time.
const SCRIPT_CHANGES: usize = 20;

/// What so many steps meet many times: a simulation that did not would prove little.
const COMMON: [Reason; 23] = [
    Reason::AdmissionRate,
    Reason::AuthFailed,
    Reason::AuthUnavailable,
    Reason::BadRequest,
    Reason::Blocked,
    Reason::BufferPressure,
    Reason::ClientClosed,
    Reason::ClientGone,
    Reason::DeadPeer,
    Reason::Displaced,
    Reason::Drain,
    Reason::Draining,
    Reason::Full,
    Reason::HandshakeTimeout,
    Reason::Lifetime,
    Reason::NoDescriptor,
    Reason::NoToken,
    Reason::Operator,
    Reason::ProtocolError,
    Reason::SlowClient,
    Reason::TokenExpected,
    Reason::TokenExpired,
    Reason::UserLimit,
];
/// All that a shard gives.
const OUTCOMES: [Outcome; 7] = [
    Outcome::Written,
    Outcome::Stale,
    Outcome::Slow,
    Outcome::RateLimited,
    Outcome::Expired,
    Outcome::Duplicate,
    Outcome::Failed,
];

pub(super) fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Which to run: those that the environment says, or these and a fresh one.
pub(super) fn seeds(fixed: std::ops::Range<u64>) -> Vec<u64> {
    if let Some(seed) = variable("SIM_SEED") {
        return vec![seed];
    }
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64 >> 10);
    match variable("SIM_SEEDS") {
        Some(count) => (fresh..fresh + count).collect(),
        None => fixed.chain([fresh]).collect(),
    }
}

/// Runs a seed, and says how to run it again where it fails.
fn replayable(seed: u64, steps: u64) -> Report {
    match panic::catch_unwind(|| run_seed(seed, steps)) {
        Ok(report) => report,
        Err(cause) => {
            eprintln!("seed {seed} fails; make sim SEED={seed} SIM_STEPS={steps} runs it again");
            panic::resume_unwind(cause)
        }
    }
}

#[test]
fn whatever_happens_every_rule_is_kept() {
    let steps = variable("SIM_STEPS").unwrap_or(STEPS);
    let mut all = Report::default();
    for seed in seeds(FIXED) {
        let report = replayable(seed, steps);
        println!(
            "seed {seed}: {} connections, {} messages, {} s",
            report.connections,
            report.messages,
            report.ms / 1_000
        );
        all.steps += report.steps;
        all.connections += report.connections;
        all.messages += report.messages;
        all.ms += report.ms;
        add(&mut all.reasons, &report.reasons);
        add(&mut all.outcomes, &report.outcomes);
    }
    println!("{all:#?}");
    if all.steps >= STEPS * FIXED.end {
        let reasons = COMMON.into_iter().filter(|reason| !all.reasons.contains_key(reason.label()));
        assert_eq!(reasons.collect::<Vec<_>>(), [], "never met");
        let outcomes = OUTCOMES.into_iter().filter(|outcome| !all.outcomes.contains_key(outcome.label()));
        assert_eq!(outcomes.collect::<Vec<_>>(), [], "never met");
    }
}

fn add(sums: &mut BTreeMap<&'static str, u64>, more: &BTreeMap<&'static str, u64>) {
    for (name, count) in more {
        *sums.entry(name).or_default() += count;
    }
}

/// Every defect, and how many of the fixed seeds it takes to find it.
#[test]
fn every_deliberate_defect_is_found() {
    let mut survivors = Vec::new();
    for &mutant in Mutant::OF_NODE {
        let found = (0..MUTANT_SEEDS).find(|&seed| {
            let run = || mutant.with(|| run_seed(seed, MUTANT_STEPS));
            panic::catch_unwind(run).is_err()
        });
        match found {
            Some(seed) => println!("{mutant:?} is found by seed {seed}"),
            None => survivors.push(mutant),
        }
    }
    assert_eq!(survivors, [], "nobody noticed");
}

/// The fuzzer's corpus of scripts, and random changes of it: its first steps without the fuzzer.
#[test]
fn scripts_of_the_fuzzer_keep_every_rule() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/connection");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "the corpus is too small to start from");
    for (round, file) in files.iter().cycle().take(files.len() * SCRIPT_CHANGES).enumerate() {
        let mut random = Random::seeded(round as u64);
        let mut script = fs::read(file).unwrap();
        // Once as they are.
        for _ in 0..round / files.len() {
            let at = random.below(script.len() as u64) as usize;
            script[at] = random.u64() as u8;
        }
        if let Err(cause) = panic::catch_unwind(|| run_script(&script)) {
            eprintln!("{} changed in round {round}: {}", file.display(), script.escape_ascii());
            panic::resume_unwind(cause);
        }
    }
}

#[test]
fn a_seed_is_the_same_run_again() {
    assert_eq!(run_seed(7, 1_000), run_seed(7, 1_000));
    assert_ne!(run_seed(7, 1_000).digest, run_seed(8, 1_000).digest);
}
