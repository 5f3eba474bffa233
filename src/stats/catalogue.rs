//! Every metric: its name, what it is and what it means.
//!
//! Owns the names; no other file spells one. `docs/metrics.md` is written from this table, and a test compares the two
//! (`UPDATE_DOCS=1` rewrites the page).

/// What a metric is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows, from zero at the start of the process. Its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
}

impl Kind {
    /// The word of the text format.
    pub const fn label(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// The whole name, as it is scraped (histograms add `_bucket`, `_sum` and `_count`).
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What one of it is.
    pub unit: &'static str,
    /// Names of its labels. Never a user or a device.
    pub labels: &'static [&'static str],
    /// What it means, one sentence.
    pub help: &'static str,
}

const fn counter(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Counter, unit, labels, help }
}

const fn gauge(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Gauge, unit, labels, help }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, unit: "seconds", labels, help }
}

/// Upper bounds of the buckets of every histogram, in microseconds: 100 us to 30 s. The last bucket, `+Inf`, is implied.
pub const BUCKET_BOUNDS_US: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

macro_rules! catalogue {
    ($($(#[$doc:meta])* $id:ident = $make:expr;)*) => {
        $($(#[$doc])* pub const $id: Metric = $make;)*

        /// All of them, in the order in which they are scraped.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

catalogue! {
    /// `holdfast_build_info`
    BUILD_INFO = gauge("holdfast_build_info", "constant 1", &["version"], "Always 1; the label is the version that runs.");
    /// `holdfast_connections`
    CONNECTIONS = gauge("holdfast_connections", "connections", &["protocol"], "Open client connections.");
    /// `holdfast_connections_capacity`
    CONNECTIONS_CAPACITY = gauge("holdfast_connections_capacity", "connections", &[], "Connections this node may hold: limits.connections, cut to its descriptors.");
    /// `holdfast_utilization`
    UTILIZATION = gauge("holdfast_utilization", "ratio", &[], "Open connections divided by the capacity, 0 to 1; what a fleet is scaled by.");
    /// `holdfast_shard_connections`
    SHARD_CONNECTIONS = gauge("holdfast_shard_connections", "connections", &["shard"], "Open client connections of each shard.");
    /// `holdfast_handshakes_total`
    HANDSHAKES = counter("holdfast_handshakes_total", "handshakes", &["result"], "Handshakes that ended: accepted, or the reason of the refusal.");
    /// `holdfast_handshakes_waiting`
    HANDSHAKES_WAITING = gauge("holdfast_handshakes_waiting", "handshakes", &[], "Connections without an identity, of which limits.unauthenticated allows so many: for the rest of a request, somebody's verdict, or a first frame.");
    /// `holdfast_handshake_seconds`
    HANDSHAKE_SECONDS = histogram("holdfast_handshake_seconds", &[], "From accept until an accepted client is known: with the rest of its request, its verdict and its first frame, where those were waited for.");
    /// `holdfast_auth_requests_total`
    AUTH_REQUESTS = counter("holdfast_auth_requests_total", "questions", &["result"], "Questions to the endpoint of auth.http: accepted, refused, bad_answer, failed, timeout, unreachable.");
    /// `holdfast_auth_seconds`
    AUTH_SECONDS = histogram("holdfast_auth_seconds", &[], "How long a question to the endpoint of auth.http took to end.");
    /// `holdfast_auth_in_flight`
    AUTH_IN_FLIGHT = gauge("holdfast_auth_in_flight", "questions", &[], "Questions to the endpoint of auth.http that are under way.");
    /// `holdfast_auth_waiting`
    AUTH_WAITING = gauge("holdfast_auth_waiting", "handshakes", &[], "Handshakes that wait for an answer of the endpoint of auth.http.");
    /// `holdfast_auth_cached`
    AUTH_CACHED = gauge("holdfast_auth_cached", "answers", &[], "Answers of the endpoint of auth.http that are kept, as it allows.");
    /// `holdfast_auth_cache_hits_total`
    AUTH_CACHE_HITS = counter("holdfast_auth_cache_hits_total", "handshakes", &[], "Handshakes that a kept answer has decided.");
    /// `holdfast_auth_breaker`
    AUTH_BREAKER = gauge("holdfast_auth_breaker", "state", &[], "0: the endpoint of auth.http is asked, 1: it failed and is left alone, 2: one question is to find out whether it is back.");
    /// `holdfast_accept_emfile_total`
    ACCEPT_EMFILE = counter("holdfast_accept_emfile_total", "failures", &[], "Accepts that failed because the process or the host had no descriptor left.");
    /// `holdfast_closes_total`
    CLOSES = counter("holdfast_closes_total", "connections", &["reason"], "Connections that ended, by reason.");
    /// `holdfast_goaways_total`
    GOAWAYS = counter("holdfast_goaways_total", "connections", &["reason"], "Connections that were asked to leave, by reason; each is asked once.");
    /// `holdfast_messages_total`
    MESSAGES = counter("holdfast_messages_total", "messages", &["lane", "outcome"], "Outcomes of messages, one per message and device, counted where the message entered.");
    /// `holdfast_delivery_seconds`
    DELIVERY_SECONDS = histogram("holdfast_delivery_seconds", &["lane"], "From the message's entry into this node to the kernel's taking its last byte.");
    /// `holdfast_received_bytes_total`
    RECEIVED_BYTES = counter("holdfast_received_bytes_total", "bytes", &[], "Bytes read from clients.");
    /// `holdfast_sent_bytes_total`
    SENT_BYTES = counter("holdfast_sent_bytes_total", "bytes", &[], "Bytes written to clients.");
    /// `holdfast_received_frames_total`
    RECEIVED_FRAMES = counter("holdfast_received_frames_total", "frames", &[], "WebSocket frames read from clients, control frames included.");
    /// `holdfast_outbox_bytes`
    OUTBOX_BYTES = gauge("holdfast_outbox_bytes", "bytes", &[], "Bytes that wait in outboxes because a kernel would not take them.");
    /// `holdfast_lent_bytes`
    LENT_BYTES = gauge("holdfast_lent_bytes", "bytes", &[], "Bytes of the buffers lent to connections with a partial request or frame.");
    /// `holdfast_mailbox_depth`
    MAILBOX_DEPTH = gauge("holdfast_mailbox_depth", "letters", &["lane"], "Letters that wait in the shards' mailboxes; the lane control is ahead of all message lanes.");
    /// `holdfast_timers`
    TIMERS = gauge("holdfast_timers", "timers", &[], "Armed timers: one per connection.");
    /// `holdfast_loop_lag_seconds`
    LOOP_LAG_SECONDS = histogram("holdfast_loop_lag_seconds", &[], "How late an event loop was for its earliest deadline.");
    /// `holdfast_loop_turn_seconds`
    LOOP_TURN_SECONDS = histogram("holdfast_loop_turn_seconds", &[], "How long one turn of an event loop worked.");
    /// `holdfast_node_info`
    NODE_INFO = gauge("holdfast_node_info", "node", &["node", "region"], "Always 1; the name and the region of this node.");
    /// `holdfast_registry_seconds`
    REGISTRY_SECONDS = histogram("holdfast_registry_seconds", &["operation"], "How long the registry took to answer.");
    /// `holdfast_registry_up`
    REGISTRY_UP = gauge("holdfast_registry_up", "state", &[], "1: the registry can be asked, 0: it cannot, or refuses; always 1 with the registry in memory.");
    /// `holdfast_registry_unsettled`
    REGISTRY_UNSETTLED = gauge("holdfast_registry_unsettled", "connections", &[], "Connections whose record in the registry is not yet what it should be.");
    /// `holdfast_registry_healing`
    REGISTRY_HEALING = gauge("holdfast_registry_healing", "state", &[], "1 while connections are registered again after a loss.");
    /// `holdfast_registry_deferred_total`
    REGISTRY_DEFERRED = counter("holdfast_registry_deferred_total", "changes", &[], "Changes that found no room on their way to the registry, and were found by a walk over the connections.");
    /// `holdfast_registry_drops_total`
    REGISTRY_DROPS = counter("holdfast_registry_drops_total", "connections", &[], "Connections to the registry that were dropped: no answer in time, or one that belongs to another question.");
    /// `holdfast_registry_losses_total`
    REGISTRY_LOSSES = counter("holdfast_registry_losses_total", "losses", &[], "Times that the registry had, or may have, lost writes.");
    /// `holdfast_registry_foreign_total`
    REGISTRY_FOREIGN = counter("holdfast_registry_foreign_total", "records", &[], "Records that named another user, and were not believed.");
    /// `holdfast_nodes`
    NODES = gauge("holdfast_nodes", "nodes", &[], "Nodes of the fleet that live, this one included.");
    /// `holdfast_peers_up`
    PEERS_UP = gauge("holdfast_peers_up", "links", &[], "Links to other nodes that have a connection.");
    /// `holdfast_peer_in_flight`
    PEER_IN_FLIGHT = gauge("holdfast_peer_in_flight", "messages", &[], "Messages to other nodes that are not answered.");
    /// `holdfast_peer_messages_total`
    PEER_MESSAGES = counter("holdfast_peer_messages_total", "messages", &["result"], "Messages handed to other nodes: answered, or failed without an answer.");
    /// `holdfast_kafka_lag`
    KAFKA_LAG = gauge("holdfast_kafka_lag", "messages", &["lane"], "Messages in the queue that this node has yet to read; 0 where there is no queue.");
    /// `holdfast_kafka_up`
    KAFKA_UP = gauge("holdfast_kafka_up", "brokers", &[], "1 while a broker of the queue is connected.");
    /// `holdfast_kafka_partitions`
    KAFKA_PARTITIONS = gauge("holdfast_kafka_partitions", "partitions", &[], "Partitions of the queue that this node holds.");
    /// `holdfast_kafka_records_total`
    KAFKA_RECORDS = counter("holdfast_kafka_records_total", "records", &["lane"], "Records that this node has taken from the queue.");
    /// `holdfast_kafka_rejected_total`
    KAFKA_REJECTED = counter("holdfast_kafka_rejected_total", "records", &["reason"], "Records that could not be read: no_key, key, header, body, too_large.");
    /// `holdfast_kafka_wait_seconds`
    KAFKA_WAIT_SECONDS = histogram("holdfast_kafka_wait_seconds", &["lane"], "From when a record was made to when this node took it.");
    /// `holdfast_kafka_parked`
    KAFKA_PARKED = gauge("holdfast_kafka_parked", "messages", &["lane"], "Messages that wait for the registry to answer.");
    /// `holdfast_kafka_retries_total`
    KAFKA_RETRIES = counter("holdfast_kafka_retries_total", "attempts", &[], "Attempts to deliver a message whose node could not be reached before.");
    /// `holdfast_kafka_reports_total`
    KAFKA_REPORTS = counter("holdfast_kafka_reports_total", "records", &["result"], "Statuses and dead letters: written, or lost.");
    /// `holdfast_kafka_events_total`
    KAFKA_EVENTS = counter("holdfast_kafka_events_total", "records", &["result"], "Connects and disconnects for kafka.events_topic: written, or lost.");
    /// `holdfast_kafka_paused`
    KAFKA_PAUSED = gauge("holdfast_kafka_paused", "lanes", &["lane"], "1 while the lane is paused.");
    /// `holdfast_kafka_skipped_total`
    KAFKA_SKIPPED = counter("holdfast_kafka_skipped_total", "records", &[], "Offsets that skips have left out.");
    /// `holdfast_drain_phase`
    DRAIN_PHASE = gauge("holdfast_drain_phase", "phase", &[], "0: serving, 1: draining but still accepting, 2: asking connections to leave, 3: done.");
    /// `holdfast_drain_remaining`
    DRAIN_REMAINING = gauge("holdfast_drain_remaining", "connections", &[], "Connections that a drain still waits for; 0 when none is on.");
    /// `holdfast_memory_pressure`
    MEMORY_PRESSURE = gauge("holdfast_memory_pressure", "level", &[], "0: none, 1: the lowest lanes are shed, 2: handshakes are refused too.");
    /// `holdfast_resident_bytes`
    RESIDENT_BYTES = gauge("holdfast_resident_bytes", "bytes", &[], "Resident memory of the process, by the kernel's count.");
    /// `holdfast_cpu_seconds_total`
    CPU_SECONDS = counter("holdfast_cpu_seconds_total", "seconds", &[], "User and system time that the process has used.");
    /// `holdfast_allocated_bytes`
    ALLOCATED_BYTES = gauge("holdfast_allocated_bytes", "bytes", &[], "Bytes that the program holds from its allocator.");
    /// `holdfast_active_bytes`
    ACTIVE_BYTES = gauge("holdfast_active_bytes", "bytes", &[], "Bytes in the pages from which the allocator serves what is held.");
    /// `holdfast_baseline_bytes`
    BASELINE_BYTES = gauge("holdfast_baseline_bytes", "bytes", &[], "Bytes that were allocated when the node was ready, before its first connection.");
    /// `holdfast_bytes_per_connection`
    BYTES_PER_CONNECTION = gauge("holdfast_bytes_per_connection", "bytes", &[], "Allocated bytes less the baseline, divided by the open connections; 0 when there are none.");
    /// `holdfast_config_reloads_total`
    CONFIG_RELOADS = counter("holdfast_config_reloads_total", "reloads", &["result"], "Reloads of the configuration: ok, or refused and the old one kept.");
    /// `holdfast_key_reloads_total`
    KEY_RELOADS = counter("holdfast_key_reloads_total", "changes", &["result"], "Changes of the files of keys that clients' credentials are checked with: ok, or refused and the old keys kept.");
    /// `holdfast_page_watchers`
    PAGE_WATCHERS = gauge("holdfast_page_watchers", "watchers", &[], "Those who watch the node's numbers as they change: admin pages that are open, and other readers of /v1/events.");
    /// `holdfast_page_sessions`
    PAGE_SESSIONS = gauge("holdfast_page_sessions", "sessions", &[], "Sessions of the admin page that somebody has opened with a token.");
    /// `holdfast_tickets_total`
    TICKETS = counter("holdfast_tickets_total", "tickets", &["result"], "Tickets of clients: made here; or brought here and accepted, or refused as used before, expired, bad, or for want of room to remember them.");
}

/// The page `docs/metrics.md`.
pub fn markdown() -> String {
    let bounds: Vec<String> = BUCKET_BOUNDS_US.iter().map(|&us| (us as f64 / 1e6).to_string()).collect();
    let mut page = format!(
        "# Metrics\n\n\
         `GET /metrics` on the internal port answers in the Prometheus text format. Labels are few and never carry a user \
         or a device. This page is written from `src/stats/catalogue.rs`.\n\n\
         Histograms have the bucket bounds {} and +Inf seconds. They are fed from HDR histograms with two significant \
         digits, so that a value up to 1 % above a bound may count as below it; `_sum` and `_count` are exact.\n\n\
         | name | kind | labels | unit | meaning |\n|---|---|---|---|---|\n",
        bounds.join(", ")
    );
    for metric in ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        page.push_str(&format!(
            "| `{}` | {} | {} | {} | {} |\n",
            metric.name,
            metric.kind.label(),
            labels.join(", "),
            metric.unit,
            metric.help
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for (at, metric) in ALL.iter().enumerate() {
            let name = metric.name;
            assert!(name.starts_with("holdfast_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), metric.kind == Kind::Histogram, "{name}");
            assert!(
                !metric.help.contains(['\\', '\n', '|']),
                "{name}: the text format and the page need no escape"
            );
            assert!(!ALL[..at].iter().any(|other| other.name == name), "{name} is there twice");
        }
    }

    #[test]
    fn bounds_ascend() {
        assert!(BUCKET_BOUNDS_US.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn the_page_is_the_catalogue() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page == markdown(), "docs/metrics.md is out of date: run the tests with UPDATE_DOCS=1");
    }
}
