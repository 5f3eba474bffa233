//! How long a message is under way, from when its sender hands it to the push library until its client has read it, at half of
//! the rate that is possible.

use crate::{
    outcome::Outcome,
    stage::{PATIENCE, Stage, USERS},
    throughput::Top,
};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// Where nobody has measured the top rate.
const TOP: Top = Top { cached: 80_000.0, uncached: 50_000.0 };
/// So long messages are sent before, to a topic that nobody reads: a broker that has just begun compiles what it does often.
const WARMING: Duration = Duration::from_secs(20);
/// What is sent first is not counted.
const CALM: Duration = Duration::from_secs(2);

pub fn measure(stage: &mut Stage, top: Option<Top>) -> Outcome<()> {
    let top = top.unwrap_or(TOP);
    let run = stage.name();
    let (unread, began) = (stage.stream(&run, "low"), Instant::now());
    unread.send(0, top.cached / 2.0, stage.began, || began.elapsed() < WARMING)?;
    at_half(stage, "memory", "routes cached", top.cached / 2.0)?;
    at_half(stage, &stage.redis.url(), "a lookup each", top.uncached / 2.0)
}

fn at_half(stage: &mut Stage, registry: &str, how: &str, rate: f64) -> Outcome<()> {
    let run = stage.name();
    let stream = stage.stream(&run, "low");
    let first = u64::from(USERS);
    let hidden = stream.hide(first)?;
    let (node, clients) = stage.open(&run, registry, 1)?;
    hidden.show()?;
    clients.wait(first, PATIENCE)?;
    clients.watch(stream.lane, (stage.began.elapsed() + CALM).as_micros() as u64)?;
    let (meter, began) = (stage.meter(node.pid())?, Instant::now());
    let sent = stream.send(first, rate, stage.began, || began.elapsed() < CALM + stage.scale.latency)?;
    clients.wait(first + sent, PATIENCE)?;
    let cost = meter.read(sent)?;
    let times = clients.times().ok_or("no times were taken")?;
    stage.table.alone(
        &format!("from produce to receipt, {how}, {rate:.0} a second: p50 / p99 / p99.9 / longest, ms"),
        quantiles(&times),
        "50 (p99)",
    );
    stage.table.remark(format!(
        "{} messages at {rate:.0} a second, {how}, CPU per message, us: node {:.2}, clients {:.2}, senders {:.2}, Kafka {:.2}, \
         Redis {:.2}, which is {:.2} cores.",
        times.len(),
        cost.of_server(),
        cost.clients,
        cost.senders,
        cost.kafka,
        cost.redis,
        cost.of_all() * rate / 1e6
    ));
    Ok(())
}

/// In ms.
pub fn quantiles(times: &Histogram<u64>) -> String {
    let at = |share: f64| format!("{:.1}", times.value_at_quantile(share) as f64 / 1e3);
    [0.5, 0.99, 0.999, 1.0].map(at).join(" / ")
}
