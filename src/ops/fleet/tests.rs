use super::{answers::Labelled, *};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

const SHORT: Duration = Duration::from_millis(300);

/// What a made-up node does with a question.
#[derive(Clone)]
enum Says {
    /// These answers to `/v1/stats` and to `/v1/nodes`.
    Answers(String, String),
    /// Takes the connection and never says a word.
    Hangs,
    /// Takes the connection and ends it.
    Leaves,
}

/// A made-up node, with the paths that it was asked for.
struct Made {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Made {
    fn start(says: impl FnOnce(&str) -> Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (says, log) = (says(&address), asked.clone());
        thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                match &says {
                    Says::Hangs => held.push(stream),
                    Says::Leaves => drop(stream),
                    Says::Answers(stats, nodes) => answer(stream, stats, nodes, &log),
                }
            }
        });
        Self { address, asked }
    }

    fn node(stats: &Value, nodes: &Value) -> Self {
        Self::start(|_| Says::Answers(ok(&stats.to_string()), ok(&nodes.to_string())))
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn answer(mut stream: TcpStream, stats: &str, nodes: &str, log: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(count) if count > 0 => head.extend_from_slice(&piece[..count]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let text = if path == "/v1/nodes" { nodes } else { stats };
    log.lock().unwrap().push(path);
    // Who asked may have had enough.
    let _ = stream.write_all(text.as_bytes());
}

fn stats(node: &str, connections: u64) -> Value {
    json!({
        "node": node, "region": "eu", "version": "0.1.0", "capacity": 100,
        "connections": { "websocket": connections, "sse": 0, "total": connections },
        "handshakes": { "accepted": 2 * connections, "full": 3, "bad_origin": 1 },
        "closes": { "lifetime": connections },
        "messages": { "high": { "acked": 5, "slow": 1 }, "low": { "acked": 2, "slow": 0 } },
        "latency_ms": {
            "handshake": { "within_ms": [[1.0, 2 * connections], [null, connections / 10]] },
            "delivery": { "high": { "within_ms": [[0.5, 3], [null, 1]] }, "low": { "within_ms": [[0.5, 2], [-1.0, 9], ["x"]] }, "x": 3 },
            "loop_lag": {},
        },
        "kafka_lag": { "high": 1, "low": 41 },
        "drain": { "phase": "serving", "remaining": 0 },
        "memory": { "resident": 4096, "per_connection": 120, "pressure": 0 },
        "shards": [{ "connections": connections, "opened": 9, "closed": 4, "outbox_bytes": 7, "loop_lag_ms": { "count": 1, "p99": 0.25 } }],
    })
}

fn lease(node: &str, address: &str, connections: u64) -> Value {
    json!({ "node": node, "address": address, "region": "eu", "incarnation": 7, "capacity": 100,
        "connections": connections, "draining": false, "version": "0.1.0", "lanes": {} })
}

/// An address where nothing listens.
fn nowhere() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn rows(view: &View) -> Vec<(&str, &str, u64)> {
    view.nodes.iter().map(|node| (node.name(), node.state.word(), node.connections)).collect()
}

#[test]
fn one_node_names_the_others_and_each_is_asked_once() {
    let other = Made::node(&stats("b", 20), &json!({}));
    let gone = nowhere();
    let nodes = json!({ "nodes": [lease("a", "10.255.0.1:7008", 1), lease("b", &other.address, 2), lease("c", &gone, 33)] });
    let seed = Made::node(&stats("a", 10), &nodes);
    let view = Fleet::new(vec![seed.address.clone(), seed.address.clone()], None).limit(SHORT).read();
    // The seed is known by its name, though its lease names an address that cannot be reached from here.
    assert_eq!(rows(&view), [("a", "serving", 10), ("b", "serving", 20), ("c", "silent", 33)]);
    let silent = view.nodes[2].fault().unwrap();
    assert_eq!(silent, format!("nothing listens at {gone}: is the node running there?"));
    assert_eq!(*seed.asked.lock().unwrap(), ["/v1/stats", "/v1/nodes"]);
    assert_eq!(*other.asked.lock().unwrap(), ["/v1/stats"]);
    let alone = Fleet::new(vec![seed.address], None).discover(false).read();
    assert_eq!(rows(&alone), [("a", "serving", 10)]);
}

#[test]
fn a_release_that_does_not_say_its_name_is_known_by_its_lease() {
    let mut nameless = stats("", 4);
    nameless.as_object_mut().unwrap().remove("region");
    let by_address = Made::start(|address| {
        let nodes = json!({ "nodes": [lease("x", "10.255.0.1:1", 9), lease("a", address, 9)] });
        Says::Answers(ok(&nameless.to_string()), ok(&nodes.to_string()))
    });
    let view = Fleet::new(vec![by_address.address], None).limit(SHORT).read();
    assert_eq!(view.nodes[0].id, "a");
    assert_eq!((view.nodes[0].region.as_str(), view.nodes[0].connections), ("eu", 4));
    let only = Made::node(&nameless, &json!({ "nodes": [lease("b", "10.255.0.1:1", 9)] }));
    let view = Fleet::new(vec![only.address], None).limit(SHORT).read();
    assert_eq!(rows(&view), [("b", "serving", 4)]);
}

#[test]
fn two_addresses_of_one_node_are_one_row() {
    let [one, two] = [0; 2].map(|_| Made::node(&stats("a", 10), &json!({ "nodes": [] })));
    let view = Fleet::new(vec![nowhere(), one.address, two.address], None).read();
    assert_eq!(rows(&view)[0], ("a", "serving", 10));
    assert_eq!(view.nodes.len(), 2);
    assert!(view.nodes[1].id.is_empty() && view.nodes[1].fault().is_some());
}

#[test]
fn nonsense_is_a_row_with_a_sentence() {
    let status = |line: &str, body: &str| {
        format!("HTTP/1.1 {line}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    };
    let whole = stats("a", 1).to_string();
    let cases = [
        (Says::Answers(ok("<html><body>hello</body></html>"), ok("")), "no JSON object"),
        (Says::Answers(ok(&whole[..whole.len() / 2]), ok("")), "no JSON object"),
        (Says::Answers(ok(&" ".repeat(10 << 20)), ok("")), "no JSON object"),
        (Says::Answers(ok("[]"), ok("")), "no JSON object"),
        (
            Says::Answers(ok(r#"{"connections":{"total":-1},"capacity":1}"#), ok("")),
            "connections total is no whole number",
        ),
        (
            Says::Answers(ok(r#"{"connections":{"total":1},"capacity":"9"}"#), ok("")),
            "capacity is no whole number",
        ),
        (Says::Answers(status("404 Not Found", "{}"), ok("")), "(status 404)"),
        (Says::Answers(status("302 Found\r\nlocation: http://127.0.0.1:1/", ""), ok("")), "(status 302)"),
        (Says::Answers(status("401 Unauthorized", "{}"), ok("")), "wants a token"),
        (Says::Answers("\u{1b}[2J SSH-2.0\r\n\r\n".into(), ok("")), "does not speak HTTP"),
        (Says::Leaves, "without an answer"),
        (Says::Hangs, "did not answer in time"),
    ];
    let made: Vec<Made> = cases.iter().map(|(says, _)| Made::start(|_| says.clone())).collect();
    let good = Made::node(&stats("good", 3), &json!({ "nodes": "many" }));
    let seeds = made.iter().map(|made| made.address.clone()).chain([good.address]).collect();
    let clock = Clock::start();
    let began = clock.micros();
    let view = Fleet::new(seeds, None).limit(Duration::from_secs(1)).read();
    assert!(clock.micros() - began < 10_000_000, "one that hangs holds up the view");
    assert_eq!(rows(&view)[0], ("good", "serving", 3));
    for ((_, words), made) in cases.iter().zip(&made) {
        let row = view.nodes.iter().find(|node| node.address == made.address).unwrap();
        let why = row.fault().unwrap_or_else(|| panic!("{words}: {row:?}"));
        assert!(why.contains(words), "{words}: {why}");
        assert!(!why.chars().any(char::is_control), "{why:?}");
    }
}

#[test]
fn what_a_node_counts_is_read() {
    let counts = Counts::of(&stats("a", 10)).unwrap();
    assert_eq!(
        (counts.node.as_str(), counts.region.as_str(), counts.connections, counts.capacity),
        ("a", "eu", 10, 100)
    );
    assert_eq!(
        (counts.accepted, counts.refused_total(), counts.closed_total(), counts.messages_total()),
        (20, 4, 10, 8)
    );
    let by = |counts: &Labelled, label: &str| {
        counts.iter().find(|(known, _)| known == label).map(|(_, count)| *count)
    };
    assert_eq!((by(&counts.messages, "acked"), by(&counts.lag, "low")), (Some(7), Some(41)));
    assert_eq!(counts.protocols.len(), 2);
    assert_eq!(counts.delivery_times, [(0.5, 5), (60_000.0, 1)]);
    assert_eq!(counts.loop_lag_times, []);
    assert_eq!(
        (counts.bytes_per_connection, counts.resident, counts.cpu_seconds),
        (Some(120), Some(4_096), None)
    );
    assert_eq!(counts.shards.len(), 1);
    assert_eq!(Counts::of(&stats("a", 0)).unwrap().bytes_per_connection, None);
}

#[test]
fn texts_cannot_move_the_cursor_and_lists_end() {
    let mut body = stats("a\u{1b}[2Jb\r\nc", 1);
    body["version"] = "v".repeat(10_000).into();
    let many = |count: usize| {
        (0..count).map(|at| (format!("r\u{7}{at}"), Value::from(1))).collect::<serde_json::Map<_, _>>()
    };
    body["closes"] = Value::Object(many(1_000));
    body["shards"] = vec![json!({}); 5_000].into();
    let counts = Counts::of(&body).unwrap();
    assert_eq!(counts.node, "a [2Jb  c");
    assert_eq!((counts.version.len(), counts.closed.len(), counts.shards.len()), (240, 64, 1_024));
    assert!(!counts.closed.iter().any(|(label, _)| label.chars().any(char::is_control)));
    let leases = answers::leases(
        &json!({ "nodes": [3, {}, { "node": "x" }, lease("", "y:1", 1), lease("a", "b:1", 1)] }),
    );
    assert_eq!(leases.len(), 1);
}

#[test]
fn of_two_runs_of_a_name_the_later_counts() {
    let [mut early, mut late] = [lease("a", "x:1", 1), lease("a", "y:1", 2)];
    (early["incarnation"], late["incarnation"]) = (1.into(), 2.into());
    let leases = answers::leases(&json!({ "nodes": [early, late] }));
    for order in [[0, 1], [1, 0]] {
        let merged = answers::merged(order.iter().map(|&at| &leases[at]));
        assert_eq!(merged["a"].address, "y:1");
    }
}

fn reading(at_ms: u64, incarnation: u64, connections: u64) -> Reading {
    let mut counts = Counts::of(&stats("a", connections)).unwrap();
    counts.cpu_seconds = Some(connections as f64 / 10.0);
    Reading { at: Duration::from_millis(at_ms), incarnation, counts }
}

#[test]
fn rates_are_by_the_second() {
    let rates = rates::between(&reading(1_000, 7, 10), &reading(3_000, 7, 20)).unwrap();
    assert_eq!(
        (rates.seconds, rates.opened, rates.closed, rates.refused, rates.messages),
        (2.0, 10.0, 5.0, 0.0, 0.0)
    );
    assert_eq!(rates.closed_by, [("lifetime".to_owned(), 5.0)]);
    assert_eq!(rates.cores, Some(0.5));
    // 20 handshakes within 1 ms and one above all bounds: more than one of 100. No message has come, no loop has been measured.
    assert_eq!(
        (rates.handshake_p99_ms, rates.delivery_p99_ms, rates.loop_lag_p99_ms),
        (Some(60_000.0), None, None)
    );
    let fewer = rates::between(&reading(1_000, 7, 10), &reading(3_000, 7, 19)).unwrap();
    assert_eq!(fewer.handshake_p99_ms, Some(1.0));
}

#[test]
fn a_node_that_has_started_again_has_no_rates() {
    assert_eq!(rates::between(&reading(1_000, 7, 10), &reading(2_000, 8, 20)), None);
    // No run is known: what falls tells.
    assert_eq!(rates::between(&reading(1_000, 0, 10), &reading(2_000, 0, 9)), None);
    assert!(rates::between(&reading(1_000, 0, 10), &reading(2_000, 8, 10)).is_some());
    // No time has passed, or less than none.
    assert_eq!(rates::between(&reading(1_000, 7, 10), &reading(1_000, 7, 10)), None);
    assert_eq!(rates::between(&reading(2_000, 7, 10), &reading(1_000, 7, 10)), None);
}

#[test]
fn the_second_view_has_rates() {
    let node = Made::node(&stats("a", 10), &json!({ "nodes": [] }));
    let mut fleet = Fleet::new(vec![node.address], None);
    assert_eq!(fleet.read().nodes[0].rates, None);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(fleet.read().nodes[0].rates.as_ref().map(|rates| rates.opened), Some(0.0));
}

/// Any JSON, with the names that a node uses here and there.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    let keys = "connections|total|capacity|closes|messages|nodes|node|address|latency_ms|delivery|count|p99|shards|memory|drain|phase";
    leaf.prop_recursive(4, 48, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys, inner), 0..8)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_answer_panics(body in any_json(), inner in any_json(), key in "connections|messages|closes|shards|latency_ms|kafka_lag|memory") {
        let _ = Counts::of(&body);
        let mut whole = stats("a", 1);
        whole[key.as_str()] = inner;
        if let Ok(counts) = Counts::of(&whole) {
            let reading = Reading { at: Duration::from_secs(1), incarnation: 0, counts: counts.clone() };
            let rates = rates::between(&Reading { at: Duration::ZERO, ..reading.clone() }, &reading);
            prop_assert!(rates.is_some_and(|rates| rates.messages == 0.0));
            let _ = (counts.closed_total(), counts.refused_total(), counts.messages_total());
        }
        let _ = answers::merged(answers::leases(&body).iter());
    }
}
