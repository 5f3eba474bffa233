//! How fast a backlog reaches its clients, and what that costs, beside a null server, the queue alone and lookups alone.

use crate::{
    clients::Clients,
    consuming::{self, Consumed},
    cost::ByThread,
    lookups::{self, LookedUp},
    null_server::NullServer,
    outcome::{Outcome, median},
    process::until,
    stage::{Cost, PATIENCE, Stage, USERS},
};
use std::collections::BTreeMap;

const LOOKUPS: u32 = 300_000;
/// See [`NullServer::broadcast`].
const STEP: usize = 7_919;
/// What costs less is not listed, us.
const LISTED: f64 = 0.05;

/// What a turn has found.
struct Turn {
    null: Cost,
    /// As users come by in the queue, not as they have connected.
    null_in_disorder: Cost,
    alone: Consumed,
    lookup: LookedUp,
    cached: Cost,
    uncached: Uncached,
}

struct Uncached {
    cost: Cost,
    /// For each message.
    lookups: f64,
}

/// The top rates, messages a second.
#[derive(Clone, Copy)]
pub struct Top {
    pub cached: f64,
    pub uncached: f64,
}

pub fn measure(stage: &mut Stage) -> Outcome<Top> {
    let mut turns = Vec::new();
    for turn in 0..stage.scale.turns {
        let one = Turn {
            null: null_server(stage, 1)?,
            null_in_disorder: null_server(stage, STEP)?,
            alone: alone(stage)?,
            lookup: lookups::measure(&stage.redis, USERS, LOOKUPS)?,
            cached: through(stage, "memory")?.cost,
            uncached: through(stage, &stage.redis.url())?,
        };
        eprintln!(
            "  turn {turn}: null server {:.0} a second, queue alone {:.0}, lookups alone {:.0}, cached {:.0}, uncached {:.0}",
            one.null.rate, one.alone.rate, one.lookup.rate, one.cached.rate, one.uncached.cost.rate
        );
        turns.push(one);
    }
    tell(stage, &turns);
    let median_of = |of: fn(&Turn) -> f64| median(&turns.iter().map(of).collect::<Vec<_>>());
    Ok(Top {
        cached: median_of(|turn| turn.cached.rate),
        uncached: median_of(|turn| turn.uncached.cost.rate),
    })
}

fn null_server(stage: &Stage, step: usize) -> Outcome<Cost> {
    let mut server = NullServer::start()?;
    let clients = Clients::open(server.address, USERS, stage.began)?;
    server.broadcast(1, step)?;
    clients.wait(u64::from(USERS), PATIENCE)?;
    let rounds = stage.scale.messages / u64::from(USERS);
    let meter = stage.meter(server.pid())?;
    server.broadcast(rounds, step)?;
    clients.wait((rounds + 1) * u64::from(USERS), PATIENCE)?;
    meter.read(rounds * u64::from(USERS))
}

fn alone(stage: &mut Stage) -> Outcome<Consumed> {
    let run = stage.name();
    let stream = stage.stream(&run, "low");
    consuming::measure(&stage.broker.address, &stream.topic, stream.hide(stage.scale.messages)?)
}

/// Shows a backlog to a node whose clients are connected, and waits until they have all of it.
fn through(stage: &mut Stage, registry: &str) -> Outcome<Uncached> {
    let (run, count) = (stage.name(), stage.scale.messages);
    let hidden = stage.stream(&run, "low").hide(count)?;
    let (node, clients) = stage.open(&run, registry, 1)?;
    let asked = || node.metric("holdfast_registry_seconds_count{operation=\"lookup\"}");
    let asked_before = asked()?;
    let meter = stage.meter(node.pid())?;
    hidden.show()?;
    clients.wait(count, PATIENCE)?;
    let cost = meter.read(count)?;
    // Clients hear of a message before the node hears of its outcome.
    until("all outcomes", || {
        Ok(node.metric("holdfast_messages_total{lane=\"low\",outcome=\"written\"}")? == count as f64)
    })?;
    Ok(Uncached { cost, lookups: (asked()? - asked_before) / count as f64 })
}

fn tell(stage: &mut Stage, turns: &[Turn]) {
    let of = |of: &dyn Fn(&Turn) -> f64| median(&turns.iter().map(of).collect::<Vec<_>>());
    let table = &mut stage.table;
    let null_rate = of(&|turn| turn.null.rate);
    let null = of(&|turn| turn.null.of_server());
    let alone = of(&|turn| turn.alone.cpu.values().sum());
    let (asking, redis) = (of(&|turn| turn.lookup.asking), of(&|turn| turn.lookup.redis));
    let (cached, uncached) =
        (of(&|turn| turn.cached.of_server()), of(&|turn| turn.uncached.cost.of_server()));
    let rate = "messages a second from Kafka to 10,000 clients";
    let floor = "floor: the null server's broadcast";
    let ours = of(&|turn| turn.cached.rate);
    table.ratio(&format!("{rate}, routes cached; {floor}"), null_rate, ours, 0, ">= 0.65");
    let ours = of(&|turn| turn.uncached.cost.rate);
    table.ratio(&format!("{rate}, a lookup in Redis each; {floor}"), null_rate, ours, 0, ">= 0.3");
    let cpu = "node's CPU per message, us";
    let floor = "floor: the null server's write and the queue alone";
    table.ratio(&format!("{cpu}, routes cached; {floor}"), null + alone, cached, 2, "1.3");
    let floor = format!("{floor} and a bare pipeline's lookup");
    table.ratio(&format!("{cpu}, a lookup each; {floor}"), null + alone + asking, uncached, 2, "1.3");
    let with_redis = of(&|turn| turn.uncached.cost.of_server() + turn.uncached.cost.redis);
    let parts = null + alone + asking + redis;
    table.ratio("the same with Redis' own", parts, with_redis, 2, "");
    let lookups = of(&|turn| turn.uncached.lookups);
    table.remark(format!(
        "The floor, us of CPU: null server's write {null:.2} (its client {:.2}, {null_rate:.0} a second); queue alone {alone:.2} \
         ({:.0} a second); a lookup alone {asking:.2} for who asks and {redis:.2} for Redis ({:.0} a second).",
        of(&|turn| turn.null.clients),
        of(&|turn| turn.alone.rate),
        of(&|turn| turn.lookup.rate),
    ));
    table.remark(format!(
        "The null server with its clients in another order than that in which they came: {:.0} a second, {:.2} us a write.",
        of(&|turn| turn.null_in_disorder.rate),
        of(&|turn| turn.null_in_disorder.of_server()),
    ));
    table.remark(format!("The queue alone by thread, us: {}.", list(turns, |turn| &turn.alone.cpu)));
    for (name, cost) in
        [("cached", (|turn| &turn.cached) as fn(&Turn) -> &Cost), ("uncached", |turn| &turn.uncached.cost)]
    {
        table.remark(format!(
            "Routes {name}, CPU per message, us: node {:.2} ({}); clients {:.2}; Kafka {:.2}; Redis {:.2}; all {:.2}, which is \
             {:.2} cores.",
            of(&|turn| cost(turn).of_server()),
            list(turns, |turn| &cost(turn).server),
            of(&|turn| cost(turn).clients),
            of(&|turn| cost(turn).kafka),
            of(&|turn| cost(turn).redis),
            of(&|turn| cost(turn).of_all()),
            of(&|turn| cost(turn).of_all() * cost(turn).rate / 1e6),
        ));
    }
    table.remark(format!("Uncached, {lookups:.2} lookups for each message were answered by Redis."));
}

/// Medians of the threads that count, dearest first.
fn list(turns: &[Turn], of: impl Fn(&Turn) -> &ByThread) -> String {
    let mut found: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, us) in turns.iter().flat_map(of) {
        found.entry(name).or_default().push(*us);
    }
    let mut found: Vec<(&str, f64)> = found.into_iter().map(|(name, us)| (name, median(&us))).collect();
    found.retain(|(_, us)| *us >= LISTED);
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found.iter().map(|(name, us)| format!("{name} {us:.2}")).collect::<Vec<_>>().join(", ")
}
