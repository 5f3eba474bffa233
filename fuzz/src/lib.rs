//! What each fuzz target does with its input: one module a target, each with a `run` that panics upon a finding.
//!
//! The fuzzer calls the bodies through `fuzz_targets/`; `tests/corpus.rs` includes this file and runs them on the files of
//! `corpus/` and on random changes of them, without a fuzzer. Bodies keep nothing between inputs, so that each finding
//! is one input.

pub mod config;
pub mod credentials;
pub mod deflate;
pub mod deliver;
pub mod head;
pub mod proxy;
pub mod sse;
pub mod websocket;

/// A target: its name, which is also that of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 8] = [
    ("config", config::run),
    ("credentials", credentials::run),
    ("deflate", deflate::run),
    ("deliver", deliver::run),
    ("head", head::run),
    ("proxy", proxy::run),
    ("sse", sse::run),
    ("websocket", websocket::run),
];

/// Random numbers that depend on the input alone.
fn dice(data: &[u8]) -> fastrand::Rng {
    let hash = data.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    fastrand::Rng::with_seed(hash)
}

/// Lengths at which to cut the input: all of a short one, some of a long one; the whole always last.
fn prefixes(data: &[u8]) -> Vec<usize> {
    if data.len() <= 256 {
        return (0..=data.len()).collect();
    }
    let mut dice = dice(data);
    let mut cuts: Vec<usize> = (0..64).map(|_| dice.usize(..data.len())).collect();
    cuts.push(data.len() - 1);
    cuts.sort_unstable();
    cuts.push(data.len());
    cuts
}
