//! The rendered numbers, read back by a strict parser that shares no code with the encoder.

use super::{catalogue::Kind, *};
use crate::model::{Lane, Lanes, Outcome, Protocol, Reason, lane::LaneConfig};
use std::collections::{BTreeMap, HashMap};

type Labels = Vec<(String, String)>;

/// One sample: its labels in order and its value.
type Sample = (Labels, f64);

/// A metric, labels and the value that they must have.
type Row<'r> = (&'r str, &'r [(&'r str, &'r str)], f64);

#[derive(Default)]
struct Page {
    kinds: HashMap<String, String>,
    samples: BTreeMap<String, Vec<Sample>>,
}

impl Page {
    /// Reads the text format 0.0.4. Panics at anything that is not of it.
    fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'));
        let mut page = Page::default();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split_once(' ').expect("a help text").0.to_owned();
                continue;
            }
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type");
                assert_eq!(name, family, "type after help");
                assert!(page.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} comes twice");
                continue;
            }
            let (name, labels, value) = sample(line);
            let suffixes: &[&str] =
                if page.kinds[&family] == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            let belongs = suffixes.iter().any(|suffix| name == format!("{family}{suffix}"));
            assert!(belongs, "{line:?} under {family}");
            page.samples.entry(name).or_default().push((labels, value));
        }
        page
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let same = |sample: &&Sample| {
            sample.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(labels.iter().copied())
        };
        let found: Vec<_> = self.samples[name].iter().filter(same).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}");
        found[0].1
    }
}

/// `name{label="value",...} number`
fn sample(line: &str) -> (String, Labels, f64) {
    let name_end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).expect("a value");
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label");
            assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
            let (value, after) = quoted(after);
            labels.push((label.to_owned(), value));
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None => break rest = after.strip_prefix('}').expect("an end of labels"),
            }
        }
    }
    let number = rest.strip_prefix(' ').expect("one space");
    (name.to_owned(), labels, number.parse().unwrap_or_else(|_| panic!("{line}")))
}

/// The text up to the closing quote, and what follows that.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next().expect("an escaped character").1 {
                'n' => '\n',
                same @ ('\\' | '"') => same,
                other => panic!("\\{other}"),
            }),
            plain => value.push(plain),
        }
    }
    panic!("no closing quote in {text:?}")
}

fn busy_node() -> NodeStats {
    let node = NodeStats::new(2, &Lanes::default(), BuildInfo::current());
    node.set_capacity(100);
    for at in 0..2 {
        let shard = node.shard(at);
        for micros in [3, 100, 101, 999, 40_000_000, 99_000_000] {
            shard.opened(Protocol::Websocket);
            shard.handshake_accepted(micros);
            shard.delivered(Lane(1), micros);
            shard.turn(micros, micros / 2);
        }
        shard.opened(Protocol::Sse);
        shard.closed(Protocol::Websocket, Reason::Lifetime);
        shard.closed(Protocol::Websocket, Reason::BadRequest);
        shard.handshake_refused(Reason::AuthFailed);
        shard.goaway(Reason::Lifetime);
        shard.bytes_in(10);
        shard.bytes_out(20);
        shard.frames_in(3);
        shard.accept_emfile();
        shard.outbox_bytes(1000);
        shard.lent_bytes(2000);
        shard.mailbox_depth(0, 1);
        shard.mailbox_depth(3, 5);
        shard.wheel_len(5);
        shard.handshakes_waiting(6);
    }
    node.message(Lane(0), Outcome::Written);
    node.messages_many(Lane(2), Outcome::Offline, 7);
    node.registry("connect", 150);
    node.registry("unheard of", 150);
    node.set_kafka_lag(Lane(1), 12);
    node.set_drain(DrainPhase::Leaving, 9);
    node.set_memory_pressure(Pressure::ShedLow);
    node.config_reload(true);
    node.config_reload(false);
    node.key_reload(true);
    node.ticket(TicketResult::Expired);
    node.mark_baseline();
    node
}

#[test]
fn every_catalogued_metric_is_there_and_no_other() {
    for node in [NodeStats::new(1, &Lanes::default(), BuildInfo::current()), busy_node()] {
        let page = Page::parse(&node.prometheus_text());
        assert_eq!(page.kinds.len(), catalogue::ALL.len());
        for metric in catalogue::ALL {
            assert_eq!(page.kinds[metric.name], metric.kind.label(), "{}", metric.name);
            let name = match metric.kind {
                Kind::Histogram => format!("{}_count", metric.name),
                _ => metric.name.to_owned(),
            };
            let samples = page.samples.get(&name).unwrap_or_else(|| panic!("{name} has no sample"));
            for (labels, _) in samples {
                let names: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(names, metric.labels, "{name}");
            }
        }
    }
}

#[test]
fn series_are_distinct() {
    let page = Page::parse(&busy_node().prometheus_text());
    for (name, samples) in &page.samples {
        for (at, (labels, _)) in samples.iter().enumerate() {
            assert!(!samples[..at].iter().any(|(other, _)| other == labels), "{name} {labels:?} comes twice");
        }
    }
}

#[test]
fn buckets_are_cumulative_and_end_at_the_count() {
    let page = Page::parse(&busy_node().prometheus_text());
    for metric in catalogue::ALL.iter().filter(|metric| metric.kind == Kind::Histogram) {
        let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
        for (labels, count) in &page.samples[&format!("{}_bucket", metric.name)] {
            let is_le = |label: &&(String, String)| label.0 == "le";
            let le = labels.iter().find(is_le).expect("le").1.parse().expect("a bound");
            let others = labels.iter().filter(|label| !is_le(label)).cloned().collect();
            series.entry(others).or_default().push((le, *count));
        }
        for (labels, buckets) in series {
            assert_eq!(buckets.len(), catalogue::BUCKET_BOUNDS_US.len() + 1);
            assert!(
                buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1),
                "{buckets:?}"
            );
            let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let last = buckets[buckets.len() - 1];
            assert_eq!(last, (f64::INFINITY, page.value(&format!("{}_count", metric.name), &labels)));
        }
    }
}

#[test]
fn the_promised_names_carry_the_right_values() {
    let page = Page::parse(&busy_node().prometheus_text());
    let rows: &[Row<'_>] = &[
        ("holdfast_connections", &[("protocol", "websocket")], 8.0),
        ("holdfast_connections", &[("protocol", "sse")], 2.0),
        ("holdfast_connections_capacity", &[], 100.0),
        ("holdfast_utilization", &[], 0.1),
        ("holdfast_shard_connections", &[("shard", "1")], 5.0),
        ("holdfast_handshakes_total", &[("result", "accepted")], 12.0),
        ("holdfast_handshakes_total", &[("result", "auth_failed")], 2.0),
        ("holdfast_handshakes_total", &[("result", "full")], 0.0),
        ("holdfast_closes_total", &[("reason", "lifetime")], 2.0),
        ("holdfast_closes_total", &[("reason", "bad_request")], 2.0),
        ("holdfast_closes_total", &[("reason", "client_gone")], 0.0),
        ("holdfast_goaways_total", &[("reason", "lifetime")], 2.0),
        ("holdfast_messages_total", &[("lane", "high"), ("outcome", "written")], 1.0),
        ("holdfast_messages_total", &[("lane", "low"), ("outcome", "offline")], 7.0),
        ("holdfast_kafka_lag", &[("lane", "high")], 0.0),
        ("holdfast_kafka_lag", &[("lane", "normal")], 12.0),
        ("holdfast_mailbox_depth", &[("lane", "control")], 2.0),
        ("holdfast_mailbox_depth", &[("lane", "low")], 10.0),
        ("holdfast_drain_phase", &[], 2.0),
        ("holdfast_drain_remaining", &[], 9.0),
        ("holdfast_memory_pressure", &[], 1.0),
        ("holdfast_config_reloads_total", &[("result", "refused")], 1.0),
        ("holdfast_key_reloads_total", &[("result", "ok")], 1.0),
        ("holdfast_key_reloads_total", &[("result", "refused")], 0.0),
        ("holdfast_tickets_total", &[("result", "expired")], 1.0),
        ("holdfast_tickets_total", &[("result", "accepted")], 0.0),
        ("holdfast_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0),
        ("holdfast_registry_seconds_count", &[("operation", "connect")], 1.0),
        ("holdfast_registry_seconds_count", &[("operation", "other")], 1.0),
        ("holdfast_handshake_seconds_bucket", &[("le", "0.0001")], 4.0),
        ("holdfast_handshake_seconds_bucket", &[("le", "30.0")], 8.0),
        ("holdfast_handshake_seconds_bucket", &[("le", "+Inf")], 12.0),
        ("holdfast_handshake_seconds_sum", &[], 278.002_406),
        ("holdfast_delivery_seconds_count", &[("lane", "normal")], 12.0),
        ("holdfast_loop_lag_seconds_count", &[], 12.0),
        ("holdfast_loop_turn_seconds_count", &[], 12.0),
        ("holdfast_received_bytes_total", &[], 20.0),
    ];
    for (name, labels, value) in rows {
        // A time of 101 us may share a step of the histogram with one of 100 us, whose bucket it then counts in.
        let got = page.value(name, labels);
        let slack = if name.ends_with("_bucket") { 2.0 } else { 1e-9 };
        assert!((value..=&(value + slack)).contains(&&got), "{name} {labels:?}: {got}, not {value}");
    }
}

#[test]
fn labels_are_escaped() {
    let lane = LaneConfig { name: "a\"b\\c\nd".into(), policy: Default::default(), ttl_ms: None };
    let node = NodeStats::new(1, &Lanes::new(vec![lane]), BuildInfo::current());
    let page = Page::parse(&node.prometheus_text());
    assert_eq!(page.value("holdfast_kafka_lag", &[("lane", "a\"b\\c\nd")]), 0.0);
}

#[test]
fn an_empty_node_divides_by_nothing() {
    let node = NodeStats::new(0, &Lanes::default(), BuildInfo::current());
    assert_eq!(node.utilization(), 0.0);
    assert_eq!(node.bytes_per_connection(&Memory { allocated: 10, ..Memory::default() }), 0);
    let one = NodeStats::new(1, &Lanes::default(), BuildInfo::current());
    one.shard(0).opened(Protocol::Sse);
    one.shard(0).opened(Protocol::Sse);
    assert_eq!(one.bytes_per_connection(&Memory { allocated: 300, ..Memory::default() }), 150);
}

#[test]
fn the_json_says_the_same() {
    let node = busy_node();
    node.name("push-a", "eu");
    let json = node.json();
    let rows = [
        ("/connections/websocket", 8.0),
        ("/connections/total", 10.0),
        ("/capacity", 100.0),
        ("/utilization", 0.1),
        ("/shards/1/connections", 5.0),
        ("/shards/0/mailbox/low", 5.0),
        ("/handshakes/accepted", 12.0),
        ("/handshakes/auth_failed", 2.0),
        ("/closes/lifetime", 2.0),
        ("/messages/low/offline", 7.0),
        ("/latency_ms/delivery/normal/count", 12.0),
        ("/latency_ms/registry/connect/count", 1.0),
        ("/kafka_lag/normal", 12.0),
        ("/drain/remaining", 9.0),
        ("/memory/pressure", 1.0),
    ];
    for (path, value) in rows {
        assert_eq!(json.pointer(path).and_then(serde_json::Value::as_f64), Some(value), "{path}");
    }
    assert_eq!(json.pointer("/drain/phase"), Some(&"leaving".into()));
    assert_eq!((&json["node"], &json["region"]), (&"push-a".into(), &"eu".into()));
    // 3, 100, 101, 999 us, 40 and 99 s on each of two shards; 100 us are within a bound of 100 us.
    let within = serde_json::json!([[0.1, 4], [0.25, 2], [1.0, 2], [null, 4]]);
    assert_eq!(json["latency_ms"]["delivery"]["normal"]["within_ms"], within);
    assert!(json["cpu_seconds"].as_f64().is_some_and(|seconds| seconds >= 0.0));
    let max = json.pointer("/latency_ms/handshake/max").and_then(serde_json::Value::as_f64).unwrap();
    assert!((60_000.0..60_600.0).contains(&max), "{max}");
}
