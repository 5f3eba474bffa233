//! The same numbers for `GET /v1/stats` and the admin page.

use super::{
    Memory, NodeStats, ShardStats, cpu,
    families::{self, by_reason, sum},
    node::{REGISTRY_OPERATIONS, TicketResult},
    timing::Times,
};
use crate::model::{Lane, Outcome, Protocol};
use serde_json::{Map, Value, json};

impl NodeStats {
    /// Everything as one JSON object: times in ms, memory in bytes.
    pub fn json(&self) -> Value {
        let memory = Memory::now();
        let (reloads_ok, reloads_refused) = self.reloads();
        let (keys_ok, keys_refused) = self.key_reloads();
        let [node, region] = self.name_and_region();
        json!({
            "node": node,
            "region": region,
            "version": self.info.version,
            "connections": connections(self),
            "capacity": self.capacity(),
            "utilization": self.utilization(),
            "shards": self.shards.iter().enumerate().map(|(at, shard)| shard_row(self, at, shard)).collect::<Vec<_>>(),
            "handshakes": handshakes(self),
            "closes": reasons(by_reason(self, families::is_end, ShardStats::closed_for)),
            "goaways": reasons(by_reason(self, families::is_goaway, ShardStats::goaways_for)),
            "messages": self.lanes().map(|(lane, name)| {
                let count = |outcome: Outcome| (outcome.label().to_owned(), self.messages_of(lane, outcome).into());
                (name.to_owned(), Value::Object(Outcome::ALL.into_iter().map(count).collect()))
            }).collect::<Map<_, _>>(),
            "bytes": {
                "received": sum(self, |shard| shard.bytes_in.value()),
                "sent": sum(self, |shard| shard.bytes_out.value()),
            },
            "latency_ms": latencies(self),
            "kafka_lag": self.lanes().map(|(lane, name)| (name.to_owned(), self.kafka_lag(lane).into()))
                .collect::<Map<_, _>>(),
            "kafka": queue(self),
            "drain": { "phase": self.drain_phase().label(), "remaining": self.drain_remaining() },
            "memory": {
                "resident": memory.resident,
                "allocated": memory.allocated,
                "active": memory.active,
                "baseline": self.baseline_bytes(),
                "per_connection": self.bytes_per_connection(&memory),
                "pressure": self.memory_pressure(),
            },
            "cpu_seconds": cpu::seconds(),
            "config_reloads": { "ok": reloads_ok, "refused": reloads_refused },
            "key_reloads": { "ok": keys_ok, "refused": keys_refused },
            "tickets": TicketResult::ALL.into_iter()
                .map(|result| (result.label().to_owned(), self.tickets_of(result).into()))
                .collect::<Map<_, _>>(),
        })
    }
}

fn connections(node: &NodeStats) -> Value {
    let of =
        |protocol: Protocol| (protocol.label().to_owned(), sum(node, |shard| shard.open_of(protocol)).into());
    let mut all: Map<String, Value> = Protocol::ALL.into_iter().map(of).collect();
    all.insert("total".to_owned(), node.connections().into());
    Value::Object(all)
}

fn queue(node: &NodeStats) -> Value {
    let kafka = &node.kafka;
    let (written, lost) = kafka.reports();
    let lane = |(lane, name): (Lane, &str)| {
        let row = json!({
            "lag": node.kafka_lag(lane),
            "records": kafka.records_of(lane),
            "parked": kafka.parked(lane),
            "paused": kafka.is_paused(lane),
        });
        (name.to_owned(), row)
    };
    json!({
        "embedded": kafka.embedded(),
        "up": kafka.is_up(),
        "partitions": kafka.partitions(),
        "lanes": node.lanes().map(lane).collect::<Map<_, _>>(),
        "rejected": kafka.rejections().map(|(reason, count)| (reason.to_owned(), count.into())).collect::<Map<_, _>>(),
        "retries": kafka.retries(),
        "skipped": kafka.skips(),
        "reports": { "written": written, "lost": lost },
    })
}

fn handshakes(node: &NodeStats) -> Value {
    let accepted = std::iter::once(("accepted", sum(node, |shard| shard.accepted.value())));
    reasons(accepted.chain(by_reason(node, families::is_refusal, ShardStats::refused_for)))
}

fn reasons(counts: impl Iterator<Item = (&'static str, u64)>) -> Value {
    Value::Object(counts.map(|(label, count)| (label.to_owned(), count.into())).collect())
}

fn shard_row(node: &NodeStats, at: usize, shard: &ShardStats) -> Value {
    let mailbox_lanes = std::iter::once("control").chain(node.lanes().map(|(_, name)| name));
    let depth =
        mailbox_lanes.zip(&shard.mailbox_depth).map(|(name, cell)| (name.to_owned(), cell.value().into()));
    json!({
        "shard": at,
        "connections": shard.open_now(),
        "opened": shard.accepted_total(),
        "closed": shard.closed_total(),
        "outbox_bytes": shard.outbox_bytes.value(),
        "lent_bytes": shard.lent_bytes.value(),
        "timers": shard.wheel_len.value(),
        "mailbox": Value::Object(depth.collect()),
        "accept_emfile": shard.accept_emfile.value(),
        "loop_lag_ms": percentiles(&Times::of([&shard.loop_lag])),
    })
}

fn latencies(node: &NodeStats) -> Value {
    let delivery = node
        .lanes()
        .map(|(lane, name)| (name.to_owned(), with_buckets(&families::delivery_times(node, lane))));
    let registry = REGISTRY_OPERATIONS.iter().zip(&node.registry);
    let registry = registry.map(|(&name, timing)| (name.to_owned(), percentiles(&Times::of([timing]))));
    json!({
        "handshake": with_buckets(&families::handshake_times(node)),
        "delivery": Value::Object(delivery.collect()),
        "registry": Value::Object(registry.collect()),
        "loop_lag": with_buckets(&families::loop_lag_times(node)),
        "loop_turn": percentiles(&families::loop_turn_times(node)),
    })
}

/// Percentiles since the start, and what was counted within each bound, ms, but above the one before it (null: above all of
/// them). From two answers follow the percentiles of the time between them.
fn with_buckets(times: &Times) -> Value {
    let mut all = percentiles(times);
    let counted = times.buckets().into_iter().filter(|(_, count)| *count > 0);
    all["within_ms"] = counted.map(|(bound, count)| json!([bound * 1e3, count])).collect();
    all
}

fn percentiles(times: &Times) -> Value {
    json!({
        "count": times.count(),
        "p50": times.quantile_ms(0.5),
        "p90": times.quantile_ms(0.9),
        "p99": times.quantile_ms(0.99),
        "p99.9": times.quantile_ms(0.999),
        "max": times.max_ms(),
    })
}
