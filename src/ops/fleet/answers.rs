//! What nodes answer, read with distrust: numbers that are none, texts that would move a cursor, lists without end.
//!
//! Pure. Knows the shape of `GET /v1/stats` and `GET /v1/nodes`. What a release does not say is missing, not an error.

use serde_json::Value;
use std::collections::BTreeMap;

/// Longest text that is kept of what others wrote, in characters: a sentence, with an address.
const TEXT_MAX: usize = 240;
/// Most entries that are kept of a list by reason, by outcome or by lane.
const LABELS_MAX: usize = 64;
/// The most shards of a node that are kept.
const SHARDS_MAX: usize = 1_024;
/// The most nodes that are kept.
const NODES_MAX: usize = 10_000;

/// Nodes measure no longer times, ms.
const LONGEST_MS: f64 = 60_000.0;

/// Counts by a label, in the order in which the node says them.
pub type Labelled = Vec<(String, u64)>;

/// How many times lay within a bound, ms, and above the one before it, from the least on.
pub type Times = Vec<(f64, u64)>;

/// What a node counts: since it started, but for what is so now.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Counts {
    /// Its name; empty when it does not say.
    pub node: String,
    /// Free text; may be empty.
    pub region: String,
    /// Its release; may be empty.
    pub version: String,
    /// Open now.
    pub connections: u64,
    /// The same by protocol.
    pub protocols: Labelled,
    /// Connections that it may hold; 0 for a processor.
    pub capacity: u64,
    /// Handshakes that were accepted.
    pub accepted: u64,
    /// Handshakes that were refused, by reason.
    pub refused: Labelled,
    /// Connections that ended, by reason.
    pub closed: Labelled,
    /// Connections that were asked to leave, by reason.
    pub goaways: Labelled,
    /// Messages by outcome, over all lanes.
    pub messages: Labelled,
    /// Messages that wait in the queue for this node, by lane.
    pub lag: Labelled,
    /// Read from clients, bytes.
    pub bytes_received: u64,
    /// Written to clients, bytes.
    pub bytes_sent: u64,
    /// Of accepted handshakes.
    pub handshake_times: Times,
    /// From a message's entry to its last byte, over all lanes.
    pub delivery_times: Times,
    /// How late event loops were.
    pub loop_lag_times: Times,
    /// `serving`, `delay`, `leaving` or `done`.
    pub drain_phase: String,
    /// Connections that a drain waits for.
    pub drain_remaining: u64,
    /// Resident memory of the process, bytes.
    pub resident: Option<u64>,
    /// What the program itself holds for each connection, bytes; none while it has no connections.
    pub bytes_per_connection: Option<u64>,
    /// 0: none, 1: the lowest lanes are shed, 2: handshakes are refused too.
    pub memory_pressure: u64,
    /// Processor time that it has used, s.
    pub cpu_seconds: Option<f64>,
    /// Each of its event loops.
    pub shards: Vec<Shard>,
}

/// One event loop of a node.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Shard {
    /// Open now.
    pub connections: u64,
    /// Since the start.
    pub opened: u64,
    /// Since the start.
    pub closed: u64,
    /// What waits for clients, bytes.
    pub outbox_bytes: u64,
    /// How late it was, since the start.
    pub loop_lag_p99_ms: Option<f64>,
}

/// A node's line in the registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Its name; never empty.
    pub node: String,
    /// What other nodes call.
    pub address: String,
    /// Free text.
    pub region: String,
    /// Its run; of two the higher is the later.
    pub incarnation: u64,
    /// Connections that it may hold.
    pub capacity: u64,
    /// Connections that it held at its last renewal, some seconds ago.
    pub connections: u64,
    /// Whether it is leaving.
    pub draining: bool,
    /// Its release.
    pub version: String,
}

/// What others wrote, in one line of bounded length that cannot move a terminal's cursor.
pub(super) fn words(text: &str) -> String {
    let short: String = text.chars().take(TEXT_MAX).collect();
    holdfast_plots::words::plain(&short)
}

impl Counts {
    /// Reads an answer to `GET /v1/stats`.
    ///
    /// # Errors
    /// What is missing without which it is no node's.
    pub fn of(body: &Value) -> Result<Self, String> {
        if !body.is_object() {
            return Err("the answer to /v1/stats is no JSON object".into());
        }
        let needed = |path: &str| {
            whole(body, path)
                .ok_or(format!("{path} is no whole number there", path = path.replace('/', " ").trim()))
        };
        let connections = needed("/connections/total")?;
        let mut protocols = labelled(body.get("connections"));
        protocols.retain(|(name, _)| name != "total");
        let mut handshakes = labelled(body.get("handshakes"));
        let accepted = whole(body, "/handshakes/accepted").unwrap_or(0);
        handshakes.retain(|(name, _)| name != "accepted");
        Ok(Self {
            node: text(body, "node"),
            region: text(body, "region"),
            version: text(body, "version"),
            connections,
            protocols,
            capacity: needed("/capacity")?,
            accepted,
            refused: handshakes,
            closed: labelled(body.get("closes")),
            goaways: labelled(body.get("goaways")),
            messages: over_lanes(body.get("messages")),
            lag: labelled(body.get("kafka_lag")),
            bytes_received: whole(body, "/bytes/received").unwrap_or(0),
            bytes_sent: whole(body, "/bytes/sent").unwrap_or(0),
            handshake_times: times(body.pointer("/latency_ms/handshake").into_iter()),
            delivery_times: times(entries(body.pointer("/latency_ms/delivery")).map(|(_, lane)| lane)),
            loop_lag_times: times(body.pointer("/latency_ms/loop_lag").into_iter()),
            drain_phase: phase(body),
            drain_remaining: whole(body, "/drain/remaining").unwrap_or(0),
            resident: whole(body, "/memory/resident"),
            bytes_per_connection: whole(body, "/memory/per_connection").filter(|_| connections > 0),
            memory_pressure: whole(body, "/memory/pressure").unwrap_or(0),
            cpu_seconds: body.get("cpu_seconds").and_then(amount),
            shards: list(body, "shards").iter().take(SHARDS_MAX).map(shard).collect(),
        })
    }

    /// Connections that have ended.
    pub fn closed_total(&self) -> u64 {
        sum(&self.closed)
    }

    /// Handshakes that were refused.
    pub fn refused_total(&self) -> u64 {
        sum(&self.refused)
    }

    /// Messages of any outcome.
    pub fn messages_total(&self) -> u64 {
        sum(&self.messages)
    }
}

/// All together.
pub fn sum(counts: &[(String, u64)]) -> u64 {
    counts.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
}

/// Reads an answer to `GET /v1/nodes`; what is no lease there is passed over.
pub(super) fn leases(body: &Value) -> Vec<Lease> {
    let leases = list(body, "nodes").iter().filter_map(|lease| {
        let [node, address] = ["node", "address"].map(|key| text(lease, key));
        (!node.is_empty() && !address.is_empty()).then(|| Lease {
            node,
            address,
            region: text(lease, "region"),
            incarnation: whole(lease, "/incarnation").unwrap_or(0),
            capacity: whole(lease, "/capacity").unwrap_or(0),
            connections: whole(lease, "/connections").unwrap_or(0),
            draining: lease.get("draining").and_then(Value::as_bool).unwrap_or(false),
            version: text(lease, "version"),
        })
    });
    leases.take(NODES_MAX).collect()
}

/// What several nodes say of the registry, by the node's name: of two leases the later run's.
pub(super) fn merged<'a>(leases: impl Iterator<Item = &'a Lease>) -> BTreeMap<String, Lease> {
    let mut all: BTreeMap<String, Lease> = BTreeMap::new();
    for lease in leases {
        let is_later = all.get(&lease.node).is_none_or(|known| known.incarnation < lease.incarnation);
        if is_later && all.len() < NODES_MAX {
            all.insert(lease.node.clone(), lease.clone());
        }
    }
    all
}

fn whole(value: &Value, path: &str) -> Option<u64> {
    value.pointer(path).and_then(Value::as_u64)
}

fn amount(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.is_finite() && *number >= 0.0)
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).map(words).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn entries(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn labelled(value: Option<&Value>) -> Labelled {
    let counts = entries(value).filter_map(|(label, count)| Some((words(label), count.as_u64()?)));
    counts.take(LABELS_MAX).collect()
}

fn over_lanes(lanes: Option<&Value>) -> Labelled {
    let mut all = Labelled::new();
    for lane in entries(lanes).map(|(_, lane)| lane).take(LABELS_MAX) {
        for (outcome, count) in labelled(Some(lane)) {
            if let Some((_, sum)) = all.iter_mut().find(|(known, _)| *known == outcome) {
                *sum = sum.saturating_add(count);
            } else if all.len() < LABELS_MAX {
                all.push((outcome, count));
            }
        }
    }
    all
}

/// What several measurements of one kind have counted.
fn times<'a>(measured: impl Iterator<Item = &'a Value>) -> Times {
    let mut all = Times::new();
    for pair in measured.flat_map(|measured| list(measured, "within_ms").iter().take(LABELS_MAX)) {
        let bound = match pair.get(0) {
            Some(Value::Null) => Some(LONGEST_MS),
            bound => bound.and_then(amount),
        };
        let Some((bound, count)) = bound.zip(pair.get(1).and_then(Value::as_u64)) else { continue };
        match all.binary_search_by(|(known, _)| known.total_cmp(&bound)) {
            Ok(at) => all[at].1 = all[at].1.saturating_add(count),
            Err(at) if all.len() < LABELS_MAX => all.insert(at, (bound, count)),
            Err(_) => {}
        }
    }
    all
}

/// Since the start. None when nothing was measured, as 0 would look good.
fn p99(times: Option<&Value>) -> Option<f64> {
    let times = times?;
    whole(times, "/count").filter(|count| *count > 0)?;
    times.get("p99").and_then(amount)
}

/// A node that says nothing of drains serves.
fn phase(body: &Value) -> String {
    let phase = body.pointer("/drain/phase").and_then(Value::as_str);
    phase.map_or_else(|| "serving".to_owned(), words)
}

fn shard(value: &Value) -> Shard {
    let count = |path| whole(value, path).unwrap_or(0);
    Shard {
        connections: count("/connections"),
        opened: count("/opened"),
        closed: count("/closed"),
        outbox_bytes: count("/outbox_bytes"),
        loop_lag_p99_ms: p99(value.get("loop_lag_ms")),
    }
}
