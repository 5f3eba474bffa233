//! How long a message of a high lane is under way while a backlog of a low one is being worked off.

use crate::{
    latency::quantiles,
    outcome::Outcome,
    stage::{PATIENCE, Stage, USERS},
};

/// High messages a second.
const PROBES: f64 = 100.0;

pub fn measure(stage: &mut Stage) -> Outcome<()> {
    behind(stage, "memory", "routes cached")?;
    behind(stage, &stage.redis.url(), "a lookup each")
}

fn behind(stage: &mut Stage, registry: &str, how: &str) -> Outcome<()> {
    let (run, backlog, first) = (stage.name(), stage.scale.backlog, u64::from(USERS));
    let (low, high) = (stage.stream(&run, "low"), stage.stream(&run, "high"));
    // Twice as many, so that each probe has at least the backlog before it.
    let (hidden_low, hidden_high) = (low.hide(2 * backlog)?, high.hide(first)?);
    let (_node, clients) = stage.open(&run, registry, 2)?;
    hidden_high.show()?;
    clients.wait(first, PATIENCE)?;
    hidden_low.show()?;
    while clients.received() < first + backlog / 10 {
        std::thread::yield_now();
    }
    clients.watch(high.lane, stage.began.elapsed().as_micros() as u64)?;
    let probes = high.send(first, PROBES, stage.began, || clients.received() < first + backlog)?;
    clients.wait(first + 2 * backlog + probes, PATIENCE)?;
    let times = clients.times().ok_or("no times were taken")?;
    stage.table.alone(
        &format!("a high message behind {backlog} low ones, {how}: p50 / p99 / p99.9 / longest, ms"),
        quantiles(&times),
        "100 (p99)",
    );
    stage.table.remark(format!(
        "{} high messages were sent, {how}, each while there were as many low ones.",
        times.len()
    ));
    Ok(())
}
