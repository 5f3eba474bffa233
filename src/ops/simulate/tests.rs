use super::{
    balancer::{Balancer, Balancing},
    bins::{Bins, Ring},
    law::Law,
    rules::{Drain, Rules},
    world::{Row, World},
};
use crate::{
    config::{self, Distribution},
    conn::lifetime::LifetimeLaw,
    kit::random::Random,
};
use proptest::prelude::*;

/// Steps of a mean lifetime, where the step is a second.
const MEAN: f64 = 200.0;

/// Clients without habits of their own on one node without limits: lives alone decide.
fn bare(life: Law) -> Rules {
    Rules {
        step_ms: 1_000,
        connections: 2_000_000,
        nodes: 1,
        life,
        leave_within_ms: 0,
        back_within_ms: 0,
        notice_within_ms: 0,
        backoff_ms: 1_000,
        backoff_max_ms: 30_000,
        retry_ms: (1_000, 10_000),
        patience_ms: 10_000,
        drain: Drain { delay_ms: 5_000, window_ms: 30_000, rate: 5_000.0 },
        balancing: Balancing::RoundRobin,
        detect_ms: 3_000,
        startup_ms: 10_000,
        capacity: u64::MAX,
        handshakes: 1e9,
        admission: None,
        backlog: 1_000_000,
    }
}

fn uniform(least: f64, most: f64) -> Law {
    Law::Uniform { least_ms: least * MEAN * 1e3, most_ms: most * MEAN * 1e3 }
}

fn exponential(from: f64, span: f64, steepness: f64) -> Law {
    let mean_ms = MEAN * 1e3;
    Law::Exponential { from_ms: from * mean_ms, span_ms: span * mean_ms, steepness, floor_ms: 0.0 }
}

/// Rates over their mean, a step each, when everybody connects at once.
fn renewals(life: Law, is_settled: bool) -> Vec<f64> {
    let rules = bare(life);
    let clients = rules.connections;
    let per_step = clients as f64 / (life.mean_ms() / 1e3);
    let mut world = World::new(rules, 1);
    if is_settled { world.settle(clients) } else { world.join(clients, 1) }
    if !is_settled {
        world.step();
    }
    (0..(30.0 * MEAN) as usize).map(|_| world.step().accepted as f64 / per_step).collect()
}

/// The least and the most rate between two times, in mean lifetimes.
fn window(rates: &[f64], from: f64, to: f64) -> (f64, f64) {
    let slice = &rates[(from * MEAN) as usize..(to * MEAN) as usize];
    slice.iter().fold((f64::MAX, 0.0), |(least, most), rate| (least.min(*rate), rate.max(most)))
}

/// When, in mean lifetimes, the rate has left ten percent around the mean for the last time.
fn steady_after(rates: &[f64]) -> f64 {
    rates.iter().rposition(|rate| (rate - 1.0).abs() > 0.1).map_or(0.0, |at| (at + 1) as f64 / MEAN)
}

/// What renewal theory says of laws of lifetimes, from the published table: law, and the least and the most rate over the
/// mean within 0-1.5, 3-6, 10-20 and 20-29 mean lifetimes, and when it is within ten percent.
#[test]
fn reconnects_follow_renewal_theory() {
    // The table counts Zuul's times in longest lives.
    let zuul = uniform(0.9, 1.0);
    type Windows = [(f64, f64); 4];
    let rows: [(&str, Law, bool, Windows, (f64, f64)); 9] = [
        ("zuul", zuul, false, [(0.0, 9.5), (0.0, 6.2), (0.0, 3.9), (0.0, 2.8)], (29.0, 30.0)),
        ("ten percent", uniform(0.9, 1.1), false, [(0.0, 5.0), (0.0, 3.6), (0.1, 2.1), (0.5, 1.5)], (29.0, 30.0)),
        ("half to whole", uniform(2.0 / 3.0, 4.0 / 3.0), false, [(0.0, 1.5), (0.89, 1.16), (1.0, 1.0), (1.0, 1.0)], (3.4, 3.8)),
        ("fifty percent", uniform(0.5, 1.5), false, [(0.0, 1.48), (0.94, 1.03), (1.0, 1.0), (1.0, 1.0)], (1.9, 2.3)),
        ("anything", uniform(0.0, 2.0), false, [(0.51, 1.06), (0.98, 1.02), (1.0, 1.0), (1.0, 1.0)], (2.1, 2.3)),
        ("cut exponential", exponential(0.0, 3.0 / 0.843, 3.0), false, [(0.89, 1.06), (0.99, 1.04), (1.0, 1.0), (1.0, 1.0)], (0.2, 0.6)),
        ("late exponential", exponential(0.25, 9.0, 12.0), false, [(0.0, 1.29), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0)], (0.3, 0.5)),
        ("exponential", exponential(0.0, 12.0, 12.0), false, [(1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0)], (0.0, 0.0)),
        ("settled", zuul, true, [(1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0)], (0.0, 0.0)),
    ];
    for (name, law, is_settled, windows, (soonest, latest)) in rows {
        let rates = renewals(law, is_settled);
        for ((from, to), (least, most)) in [(0.0, 1.5), (3.0, 6.0), (10.0, 20.0), (20.0, 29.0)].into_iter().zip(windows) {
            let seen = window(&rates, from, to);
            eprintln!("{name} {from}-{to}: {seen:.3?} {least} {most}");
        }
        let after = steady_after(&rates);
        eprintln!("{name}: steady {after} {soonest} {latest}");
    }
}
