//! Every metric of the catalogue with its values, read at one moment.

use super::{
    Memory, NodeStats, ShardStats,
    catalogue::{self as names, Metric},
    cpu,
    node::{REGISTRY_OPERATIONS, TicketResult},
    timing::Times,
};
use crate::model::{Lane, Outcome, Protocol, Reason};

/// One metric with all its series.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) metric: Metric,
    pub(super) series: Vec<Series>,
}

/// One series: values of the metric's labels, in the catalogue's order, and the number.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) labels: Vec<String>,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
    Times(Times),
}

impl Family {
    fn one(metric: Metric, value: Value) -> Self {
        Self { metric, series: vec![Series { labels: Vec::new(), value }] }
    }

    fn whole(metric: Metric, value: u64) -> Self {
        Self::one(metric, Value::Whole(value))
    }

    /// A metric with one label.
    fn labelled<L: Into<String>>(metric: Metric, series: impl IntoIterator<Item = (L, Value)>) -> Self {
        let series = series.into_iter().map(|(label, value)| Series { labels: vec![label.into()], value });
        Self { metric, series: series.collect() }
    }

    fn by_lane(metric: Metric, node: &NodeStats, value: impl Fn(Lane) -> Value) -> Self {
        Self::labelled(metric, node.lanes().map(|(lane, name)| (name, value(lane))))
    }
}

/// Reads everything, in the catalogue's order.
pub(super) fn collect(node: &NodeStats) -> Vec<Family> {
    let mut families = connections(node);
    families.extend(callout(node));
    families.extend(messages(node));
    families.extend(queue(node));
    families.extend(loops(node));
    families.extend(around(node));
    let place = |family: &Family| names::ALL.iter().position(|metric| metric.name == family.metric.name);
    families.sort_by_key(place);
    families
}

fn connections(node: &NodeStats) -> Vec<Family> {
    let of = |protocol| Value::Whole(node.shards.iter().map(|shard| shard.open_of(protocol)).sum());
    let handshakes = std::iter::once(("accepted", sum(node, |shard| shard.accepted.value())))
        .chain(by_reason(node, is_refusal, ShardStats::refused_for))
        .map(|(label, count)| (label, Value::Whole(count)));
    let whole = |(label, count)| (label, Value::Whole(count));
    vec![
        Family::labelled(names::CONNECTIONS, Protocol::ALL.map(|protocol| (protocol.label(), of(protocol)))),
        Family::whole(names::CONNECTIONS_CAPACITY, node.capacity()),
        Family::one(names::UTILIZATION, Value::Real(node.utilization())),
        Family::labelled(
            names::SHARD_CONNECTIONS,
            node.shards
                .iter()
                .enumerate()
                .map(|(at, shard)| (at.to_string(), Value::Whole(shard.open_now()))),
        ),
        Family::labelled(names::HANDSHAKES, handshakes),
        Family::whole(names::HANDSHAKES_WAITING, sum(node, |shard| shard.handshakes_waiting.value())),
        Family::one(names::HANDSHAKE_SECONDS, Value::Times(handshake_times(node))),
        Family::whole(names::ACCEPT_EMFILE, sum(node, |shard| shard.accept_emfile.value())),
        Family::labelled(names::CLOSES, by_reason(node, is_end, ShardStats::closed_for).map(whole)),
        Family::labelled(names::GOAWAYS, by_reason(node, is_goaway, ShardStats::goaways_for).map(whole)),
    ]
}

fn callout(node: &NodeStats) -> Vec<Family> {
    let state = node.callout.state();
    let results = node.callout.results().map(|(result, count)| (result, Value::Whole(count)));
    vec![
        Family::labelled(names::AUTH_REQUESTS, results),
        Family::one(names::AUTH_SECONDS, Value::Times(Times::of([&node.callout.seconds]))),
        Family::whole(names::AUTH_IN_FLIGHT, state.in_flight),
        Family::whole(names::AUTH_WAITING, state.waiting),
        Family::whole(names::AUTH_CACHED, state.kept),
        Family::whole(names::AUTH_CACHE_HITS, state.hits),
        Family::whole(names::AUTH_BREAKER, state.breaker),
    ]
}

fn messages(node: &NodeStats) -> Vec<Family> {
    let outcomes = node.lanes().flat_map(|(lane, name)| {
        Outcome::ALL.into_iter().map(move |outcome| Series {
            labels: vec![name.to_owned(), outcome.label().to_owned()],
            value: Value::Whole(node.messages_of(lane, outcome)),
        })
    });
    let depth = |at: usize| Value::Whole(sum(node, |shard| shard.mailbox_depth[at].value()));
    let mailbox_lanes = std::iter::once("control").chain(node.lanes().map(|(_, name)| name));
    vec![
        Family { metric: names::MESSAGES, series: outcomes.collect() },
        Family::by_lane(names::DELIVERY_SECONDS, node, |lane| Value::Times(delivery_times(node, lane))),
        Family::whole(names::RECEIVED_BYTES, sum(node, |shard| shard.bytes_in.value())),
        Family::whole(names::SENT_BYTES, sum(node, |shard| shard.bytes_out.value())),
        Family::whole(names::RECEIVED_FRAMES, sum(node, |shard| shard.frames_in.value())),
        Family::whole(names::OUTBOX_BYTES, sum(node, |shard| shard.outbox_bytes.value())),
        Family::whole(names::LENT_BYTES, sum(node, |shard| shard.lent_bytes.value())),
        Family::labelled(names::MAILBOX_DEPTH, mailbox_lanes.enumerate().map(|(at, name)| (name, depth(at)))),
    ]
}

fn queue(node: &NodeStats) -> Vec<Family> {
    let kafka = &node.kafka;
    let (written, lost) = kafka.reports();
    let (told, untold) = kafka.events();
    let wait = |lane: Lane| Times::of(kafka.wait.get(usize::from(lane.0)));
    vec![
        Family::whole(names::KAFKA_UP, u64::from(kafka.is_up())),
        Family::whole(names::KAFKA_PARTITIONS, kafka.partitions()),
        Family::by_lane(names::KAFKA_LAG, node, |lane| Value::Whole(node.kafka_lag(lane))),
        Family::by_lane(names::KAFKA_RECORDS, node, |lane| Value::Whole(kafka.records_of(lane))),
        Family::by_lane(names::KAFKA_WAIT_SECONDS, node, |lane| Value::Times(wait(lane))),
        Family::by_lane(names::KAFKA_PARKED, node, |lane| Value::Whole(kafka.parked(lane))),
        Family::by_lane(names::KAFKA_PAUSED, node, |lane| Value::Whole(u64::from(kafka.is_paused(lane)))),
        Family::labelled(
            names::KAFKA_REJECTED,
            kafka.rejections().map(|(reason, count)| (reason, Value::Whole(count))),
        ),
        Family::whole(names::KAFKA_RETRIES, kafka.retries()),
        Family::labelled(
            names::KAFKA_REPORTS,
            [("written", Value::Whole(written)), ("lost", Value::Whole(lost))],
        ),
        Family::labelled(
            names::KAFKA_EVENTS,
            [("written", Value::Whole(told)), ("lost", Value::Whole(untold))],
        ),
        Family::whole(names::KAFKA_SKIPPED, kafka.skips()),
    ]
}

fn loops(node: &NodeStats) -> Vec<Family> {
    vec![
        Family::whole(names::TIMERS, sum(node, |shard| shard.wheel_len.value())),
        Family::one(names::LOOP_LAG_SECONDS, Value::Times(loop_lag_times(node))),
        Family::one(names::LOOP_TURN_SECONDS, Value::Times(loop_turn_times(node))),
    ]
}

fn around(node: &NodeStats) -> Vec<Family> {
    let memory = Memory::now();
    let (taken, refused) = node.reloads();
    let (keys_taken, keys_refused) = node.key_reloads();
    let (watchers, sessions) = node.page();
    let (fleet, peers) = (node.fleet.registry(), node.fleet.peers());
    let registry = REGISTRY_OPERATIONS.iter().zip(&node.registry);
    vec![
        Family {
            metric: names::NODE_INFO,
            series: vec![Series { labels: node.name_and_region().into(), value: Value::Whole(1) }],
        },
        Family::labelled(names::BUILD_INFO, [(node.info.version, Value::Whole(1))]),
        Family::labelled(
            names::REGISTRY_SECONDS,
            registry.map(|(&name, timing)| (name, Value::Times(Times::of([timing])))),
        ),
        Family::whole(names::REGISTRY_UP, u64::from(fleet.up)),
        Family::whole(names::REGISTRY_UNSETTLED, fleet.unsettled),
        Family::whole(names::REGISTRY_HEALING, u64::from(fleet.healing)),
        Family::whole(names::REGISTRY_DEFERRED, fleet.deferred),
        Family::whole(names::REGISTRY_DROPS, node.fleet.dropped()),
        Family::whole(names::REGISTRY_LOSSES, node.fleet.losses()),
        Family::whole(names::REGISTRY_FOREIGN, fleet.foreign),
        Family::whole(names::NODES, fleet.nodes),
        Family::whole(names::PEERS_UP, peers.up),
        Family::whole(names::PEER_IN_FLIGHT, peers.in_flight),
        Family::labelled(
            names::PEER_MESSAGES,
            [("answered", Value::Whole(peers.answered)), ("failed", Value::Whole(peers.failed))],
        ),
        Family::whole(names::PAGE_WATCHERS, watchers),
        Family::whole(names::PAGE_SESSIONS, sessions),
        Family::whole(names::DRAIN_PHASE, node.drain_phase() as u64),
        Family::whole(names::DRAIN_REMAINING, node.drain_remaining()),
        Family::whole(names::MEMORY_PRESSURE, node.memory_pressure()),
        Family::whole(names::RESIDENT_BYTES, memory.resident),
        Family::one(names::CPU_SECONDS, Value::Real(cpu::seconds())),
        Family::whole(names::ALLOCATED_BYTES, memory.allocated),
        Family::whole(names::ACTIVE_BYTES, memory.active),
        Family::whole(names::BASELINE_BYTES, node.baseline_bytes()),
        Family::whole(names::BYTES_PER_CONNECTION, node.bytes_per_connection(&memory)),
        Family::labelled(
            names::CONFIG_RELOADS,
            [("ok", Value::Whole(taken)), ("refused", Value::Whole(refused))],
        ),
        Family::labelled(
            names::KEY_RELOADS,
            [("ok", Value::Whole(keys_taken)), ("refused", Value::Whole(keys_refused))],
        ),
        Family::labelled(
            names::TICKETS,
            TicketResult::ALL.map(|result| (result.label(), Value::Whole(node.tickets_of(result)))),
        ),
    ]
}

/// One number of all shards, added up.
pub(super) fn sum(node: &NodeStats, number: impl Fn(&ShardStats) -> u64) -> u64 {
    node.shards.iter().map(|shard| number(shard)).sum()
}

/// Counts by reason: the expected ones, also when zero, so that a rate has a start; any other once it has happened.
pub(super) fn by_reason(
    node: &NodeStats,
    expected: fn(Reason) -> bool,
    count: fn(&ShardStats, Reason) -> u64,
) -> impl Iterator<Item = (&'static str, u64)> {
    let counted =
        Reason::ALL.into_iter().map(move |reason| (reason, sum(node, |shard| count(shard, reason))));
    counted
        .filter(move |&(reason, count)| count > 0 || expected(reason))
        .map(|(reason, count)| (reason.label(), count))
}

/// Whether a reason usually refuses a handshake. The table lists those first.
pub(super) fn is_refusal(reason: Reason) -> bool {
    (reason as u8) < Reason::ClientClosed as u8
}

/// Whether a reason usually ends an open connection.
pub(super) fn is_end(reason: Reason) -> bool {
    !is_refusal(reason)
}

/// Whether a reason usually asks a connection to leave before it is closed.
pub(super) fn is_goaway(reason: Reason) -> bool {
    matches!(reason, Reason::Lifetime | Reason::TokenExpired | Reason::Drain | Reason::Operator)
}

pub(super) fn handshake_times(node: &NodeStats) -> Times {
    Times::of(node.shards.iter().map(|shard| &shard.handshake))
}

pub(super) fn delivery_times(node: &NodeStats, lane: Lane) -> Times {
    Times::of(node.shards.iter().filter_map(|shard| shard.delivery.get(usize::from(lane.0))))
}

pub(super) fn loop_lag_times(node: &NodeStats) -> Times {
    Times::of(node.shards.iter().map(|shard| &shard.loop_lag))
}

pub(super) fn loop_turn_times(node: &NodeStats) -> Times {
    Times::of(node.shards.iter().map(|shard| &shard.loop_turn))
}
