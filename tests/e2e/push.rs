//! What a sender sees: every outcome that can be had from outside, batches and broadcasts.

use crate::{
    client::{BINARY, Sse, TEXT, Ws},
    http::{Wire, request},
    node::{Node, PATIENCE, Plan, outcomes, until},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn counted(node: &Node, outcome: &str) -> f64 {
    node.metric(&format!("holdfast_messages_total{{lane=\"normal\",outcome=\"{outcome}\"}}"))
}

fn one(device: &str, outcome: &str) -> Vec<(String, String)> {
    vec![(device.into(), outcome.into())]
}

/// Sends lines; gives the answers' lines.
fn batch(node: &Node, lines: &[Value]) -> Vec<Value> {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    batch_text(node, body.as_bytes())
}

fn batch_text(node: &Node, body: &[u8]) -> Vec<Value> {
    let headers = [("Content-Type", "application/x-ndjson")];
    let answer = node.ask_with("POST", "/v1/messages", &headers, body);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")));
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn outcome_of(answer: &Value) -> String {
    let outcomes = outcomes(answer);
    if outcomes.is_empty() { "none".into() } else { outcomes[0].1.clone() }
}

#[test]
fn written_names_message_device_and_node() {
    let node = Node::start(&[]);
    let mut ws = Ws::user(&node, "ada", "phone");
    let answer = node.ask("POST", "/v1/users/ada/push?id=m-1&wait=written", b"hello");
    assert_eq!(answer.status, 200);
    let expected =
        json!({ "id": "m-1", "outcomes": [{ "device": "phone", "outcome": "written", "node": "node-1" }] });
    assert_eq!(answer.json(), expected);
    assert_eq!(ws.text(), "hello");
    let drawn = |_| node.ask("POST", "/v1/users/ada/push", b"x").json()["id"].as_str().unwrap().to_owned();
    let (one, other) = (drawn(0), drawn(1));
    assert!(!one.is_empty() && one != other, "{one} {other}");
    assert_eq!(counted(&node, "written"), 3.0);
}

#[test]
fn the_content_type_says_what_a_body_is() {
    let node = Node::start(&[]);
    let mut ws = Ws::user(&node, "ada", "");
    for (content_type, op) in [
        ("text/plain", TEXT),
        ("text/html; charset=utf-8", TEXT),
        ("application/x-www-form-urlencoded", TEXT),
        ("application/json", TEXT),
        ("application/octet-stream", BINARY),
        ("image/png", BINARY),
    ] {
        let headers = [("Content-Type", content_type)];
        assert_eq!(node.ask_with("POST", "/v1/users/ada/push", &headers, b"{\"a\":1}").status, 200);
        let frame = ws.next(PATIENCE).unwrap();
        assert_eq!((frame.op, frame.payload.as_slice()), (op, &b"{\"a\":1}"[..]), "{content_type}");
    }
    let bytes: Vec<u8> = (0..=255).collect();
    let binary = [("Content-Type", "application/octet-stream")];
    assert_eq!(node.ask_with("POST", "/v1/users/ada/push", &binary, &bytes).status, 200);
    assert_eq!(ws.next(PATIENCE).unwrap().payload, bytes);
    for (content_type, body) in
        [("text/plain", &b"\xff"[..]), ("application/json", b"{"), ("application/json", b"\xff")]
    {
        let answer = node.ask_with("POST", "/v1/users/ada/push", &[("Content-Type", content_type)], body);
        assert_eq!(answer.status, 400, "{content_type}");
        let value = answer.json();
        assert!(value["error"].is_string() && value["message"].is_string(), "{value}");
    }
}

#[test]
fn offline_is_404_with_no_outcomes_and_counted_once() {
    let node = Node::start(&[]);
    let answer = node.ask("POST", "/v1/users/ada/push?id=m", b"x");
    assert_eq!((answer.status, answer.json()), (404, json!({ "id": "m", "outcomes": [] })));
    let _ws = Ws::user(&node, "ada", "a");
    assert_eq!(node.push("ada/push?device=b", "x"), (404, vec![]));
    assert_eq!(counted(&node, "offline"), 2.0);
}

#[test]
fn each_device_has_its_own_outcome() {
    let node = Plan::new(&["limits.push_rate=1/1h"]).shards(2).start();
    let _a = Ws::user(&node, "ada", "a");
    assert_eq!(node.push("ada/push", "x").1, one("a", "written"));
    let _b = Sse::user(&node, "ada", "b");
    let (status, outcomes) = node.push("ada/push", "x");
    assert_eq!(status, 200);
    assert_eq!(outcomes, [("a".into(), "rate_limited".into()), ("b".into(), "written".into())]);
    assert_eq!((counted(&node, "written"), counted(&node, "rate_limited")), (2.0, 1.0));
}

#[test]
fn names_in_the_path_are_percent_decoded_and_checked() {
    let node = Node::start(&[]);
    let mut ws = Ws::open(&node, "/ws?user=a%2Fb%20%C3%BC&device=tv%26", &[]);
    assert_eq!(node.push("a%2Fb%20%C3%BC/push?device=tv%26", "x"), (200, one("tv&", "written")));
    assert_eq!(ws.text(), "x");
    let long = "u".repeat(257);
    for target in
        ["%00/push", "%ff/push", "/push", &format!("{long}/push"), "ada/push?device=", "ada/push?id=%0a"]
    {
        let answer = node.ask("POST", &format!("/v1/users/{target}"), b"x");
        assert_eq!(answer.status, 400, "{target}");
    }
}

#[test]
fn parameters_that_are_not_known_or_not_good_are_400() {
    let node = Node::start(&[]);
    let _ws = Ws::user(&node, "ada", "");
    for query in ["ttl=soon", "lane=express", "wait=never", "tll=5", "ttl=1&ttl=2", "timeout=-1"] {
        let answer = node.ask("POST", &format!("/v1/users/ada/push?{query}"), b"x");
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json()["message"].is_string());
    }
    for query in
        ["ttl=30", "ttl=500ms", "ttl=10m", "lane=high", "lane=low", "wait=ack", "timeout=1s", "collapse=k"]
    {
        assert_eq!(node.push(&format!("ada/push?{query}"), "x").0, 200, "{query}");
    }
}

#[test]
fn duplicate_is_what_this_device_has_had() {
    let node = Node::start(&[]);
    let mut a = Ws::user(&node, "ada", "a");
    assert_eq!(node.push("ada/push?id=m", "once").1, one("a", "written"));
    let mut b = Ws::user(&node, "ada", "b");
    let (_, second) = node.push("ada/push?id=m", "twice");
    assert_eq!(second, [("a".into(), "duplicate".into()), ("b".into(), "written".into())]);
    assert_eq!((a.text(), b.text()), ("once".into(), "twice".into()));
    let mut other = Ws::user(&node, "grace", "a");
    assert_eq!(node.push_one("grace/push?id=m", "other user"), "written");
    assert_eq!(other.text(), "other user");
    // Also after the device has come back.
    a.close();
    node.wait_for_metric("holdfast_closes_total{reason=\"client_closed\"}", 1.0);
    let _again = Ws::user(&node, "ada", "a");
    assert_eq!(node.push_one("ada/push?id=m&device=a", "thrice"), "duplicate");
}

#[test]
fn an_id_is_remembered_only_once_written() {
    let node = Node::start(&["limits.push_rate=1/1s"]);
    let _ws = Ws::user(&node, "ada", "a");
    assert_eq!(node.push_one("ada/push", "uses the token up"), "written");
    assert_eq!(node.push_one("ada/push?id=m", "x"), "rate_limited");
    until("the bucket to fill", || (node.push_one("ada/push?id=m", "x") == "written").then_some(()));
    assert_eq!(node.push_one("ada/push?id=m", "x"), "duplicate");
}

#[test]
fn too_large_is_413_and_what_just_fits_is_not() {
    let node = Node::start(&["limits.push_bytes=2KiB"]);
    let mut ws = Ws::user(&node, "ada", "");
    let answer = node.ask("POST", "/v1/users/ada/push", &[b'x'; 2_049]);
    assert_eq!((answer.status, answer.json()["error"].as_str()), (413, Some("too_large")));
    assert_eq!(node.push_one("ada/push", &"x".repeat(2_048)), "written");
    assert_eq!(ws.text().len(), 2_048);
}

#[test]
fn roles_of_tokens() {
    let tokens = "internal.tokens=shop:send:s-token,eyes:read:r-token,ops:admin:a-token";
    let node = Node::start(&[tokens]);
    let _ws = Ws::user(&node, "ada", "");
    let ask = |token: &str, method: &str, target: &str| {
        let bearer = format!("Bearer {token}");
        let headers: &[(&str, &str)] = if token.is_empty() { &[] } else { &[("Authorization", &bearer)] };
        request(node.internal, method, target, headers, if method == "POST" { b"x" } else { b"" }).status
    };
    for (method, target, send, read, admin) in [
        ("POST", "/v1/users/ada/push", 200, 403, 200),
        ("POST", "/v1/messages", 200, 403, 200),
        ("POST", "/v1/broadcast", 403, 403, 200),
        ("GET", "/v1/users/ada/devices", 403, 200, 200),
        ("GET", "/v1/stats", 403, 200, 200),
        ("GET", "/v1/nodes", 403, 200, 200),
        ("GET", "/v1/drain", 403, 200, 200),
        ("GET", "/metrics", 403, 200, 200),
        ("DELETE", "/v1/users/nobody", 403, 403, 404),
    ] {
        let seen = ["s-token", "r-token", "a-token", "", "wrong"].map(|token| ask(token, method, target));
        assert_eq!(seen, [send, read, admin, 401, 401], "{method} {target}");
    }
    for target in ["/livez", "/readyz"] {
        assert_eq!(ask("", "GET", target), 200);
    }
    // Admin actions go to the audit log with the token's name.
    let log = node.log();
    assert!(
        log.lines().any(|line| line.contains("action=\"broadcast\"") && line.contains("token=\"ops\"")),
        "{log}"
    );
    assert!(!log.contains("a-token"), "a secret in the log");
}

#[test]
fn pages_of_other_sites_and_foreign_host_names_are_turned_away() {
    let node = Node::start(&[]);
    let ask = |headers: &[(&str, &str)]| node.ask_with("GET", "/v1/stats", headers, b"").status;
    assert_eq!(ask(&[]), 200);
    assert_eq!(ask(&[("Origin", "https://evil.example")]), 403);
    assert_eq!(ask(&[("Sec-Fetch-Site", "cross-site")]), 403);
    let mut wire = Wire::connect(node.internal);
    wire.send(b"GET /v1/stats HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(wire.answer().unwrap().status, 403);
}

#[test]
fn a_batch_answers_each_line_in_its_place() {
    let node = Node::start(&["limits.push_bytes=1KiB"]);
    let mut ada = Ws::user(&node, "ada", "a");
    let mut grace = Sse::user(&node, "grace", "g");
    let good = json!({ "user": "ada", "id": "m-1", "text": "one" }).to_string();
    let body = format!(
        "{good}\n\n{{broken\n{}\r\n{}\n{}\n{}\n{}\n{}\n[]\n{}",
        json!({ "user": "grace", "json": { "a": [1, 2] }, "lane": "high", "ttl": "30s" }),
        json!({ "user": "nobody", "text": "x" }),
        json!({ "user": "ada", "text": "x".repeat(1_025) }),
        json!({ "user": "ada", "text": "x", "colour": "red" }),
        json!({ "user": "ada", "base64": "AP8=" }),
        json!({ "user": "ada", "text": "x", "json": 1 }),
        json!({ "user": "ada", "text": "last, without a line end" }),
    );
    let answers = batch_text(&node, body.as_bytes());
    let shown: Vec<String> = answers
        .iter()
        .map(|answer| answer["error"].as_str().map_or_else(|| outcome_of(answer), |_| "error".into()))
        .collect();
    let expected =
        ["written", "error", "written", "none", "error", "error", "written", "error", "error", "written"];
    assert_eq!(shown, expected, "{answers:?}");
    assert_eq!(answers[0]["id"], "m-1");
    assert!(answers.iter().all(|answer| answer["error"].is_null() || answer["message"].is_string()));
    assert_eq!(ada.text(), "one");
    assert_eq!(ada.next(PATIENCE).unwrap().payload, [0, 255]);
    assert_eq!(ada.text(), "last, without a line end");
    assert_eq!(grace.event().data, "{\"a\":[1,2]}");
    assert_eq!((counted(&node, "written"), counted(&node, "offline")), (3.0, 1.0));
}

#[test]
fn a_long_batch_keeps_the_order_of_its_lines() {
    let node = Plan::new(&[]).shards(2).start();
    let mut clients: Vec<Ws> = (0..8).map(|number| Ws::user(&node, &format!("u{number}"), "d")).collect();
    let lines: Vec<Value> = (0..4_000)
        .map(|number| json!({ "user": format!("u{}", number % 8), "id": format!("m{number}"), "text": number.to_string() }))
        .collect();
    let answers = batch(&node, &lines);
    assert_eq!(answers.len(), lines.len());
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer["id"], format!("m{number}"));
        assert_eq!(outcome_of(answer), "written");
    }
    for (number, client) in clients.iter_mut().enumerate() {
        for message in 0..500 {
            assert_eq!(client.text(), (message * 8 + number).to_string());
        }
    }
}

#[test]
fn a_batch_is_streamed_both_ways() {
    let node = Node::start(&[]);
    let mut ws = Ws::user(&node, "ada", "");
    let mut wire = Wire::connect(node.internal);
    wire.send(b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut head_read = false;
    for number in 0..3 {
        let line = format!("{}\n", json!({ "user": "ada", "text": number.to_string() }));
        wire.send(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes());
        assert_eq!(ws.text(), number.to_string(), "before the next line is sent");
        if !head_read {
            assert_eq!(wire.head().unwrap().status, 200);
            head_read = true;
        }
        let chunk = wire.chunk(PATIENCE).unwrap().expect("an answer before the next line is sent");
        assert_eq!(outcome_of(&serde_json::from_slice(&chunk).unwrap()), "written");
    }
    wire.send(b"0\r\n\r\n");
    assert_eq!(wire.chunk(PATIENCE).unwrap(), None);
}

#[test]
fn a_broadcast_reaches_every_connection_and_counts_the_outcomes() {
    let node = Plan::new(&[]).shards(2).start();
    let mut sockets: Vec<Ws> = (0..20).map(|number| Ws::user(&node, &format!("u{number}"), "")).collect();
    let mut streams: Vec<Sse> = (0..5).map(|number| Sse::user(&node, &format!("s{number}"), "")).collect();
    let answer = node.ask("POST", "/v1/broadcast?id=news&lane=low", b"to all");
    assert_eq!(answer.status, 200);
    let value = answer.json();
    assert_eq!((value["id"].as_str(), value["nodes"].as_u64()), (Some("news"), Some(1)));
    assert_eq!(value["outcomes"]["written"], 25);
    for ws in &mut sockets {
        assert_eq!(ws.text(), "to all");
    }
    for stream in &mut streams {
        assert_eq!(
            stream.event(),
            crate::client::Event {
                name: "push".into(),
                data: "to all".into(),
                id: Some("news".into()),
                retry: None,
            }
        );
    }
    node.wait_for_metric("holdfast_messages_total{lane=\"low\",outcome=\"written\"}", 25.0);
    // The same again is a duplicate for each of them.
    let again = node.ask("POST", "/v1/broadcast?id=news&scope=node", b"to all").json();
    assert_eq!(again["outcomes"]["duplicate"], 25);
    assert_eq!(node.ask("POST", "/v1/broadcast?scope=galaxy", b"x").status, 400);
}

#[test]
fn a_broadcast_to_nobody_is_done_at_once() {
    let node = Node::start(&[]);
    let value = node.ask("POST", "/v1/broadcast", b"x").json();
    assert_eq!(value["outcomes"]["written"], 0);
}

#[test]
fn a_spread_broadcast_is_paced() {
    let node = Node::start(&[]);
    let mut sockets: Vec<Ws> = (0..20).map(|number| Ws::user(&node, &format!("u{number}"), "")).collect();
    let began = Instant::now();
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| node.ask("POST", "/v1/broadcast?spread=2s", b"slowly").json());
        let readers: Vec<_> = sockets
            .iter_mut()
            .map(|ws| {
                scope.spawn(move || {
                    assert_eq!(ws.text(), "slowly");
                    began.elapsed()
                })
            })
            .collect();
        times = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert_eq!(answer.join().unwrap()["outcomes"]["written"], 20);
    });
    times.sort();
    assert!(times[9] - times[0] > Duration::from_millis(500), "{times:?}");
    assert!(times[19] - times[0] > Duration::from_millis(1_300), "{times:?}");
    assert!(times[19] < Duration::from_secs(5), "{times:?}");
}

#[test]
fn a_broadcast_can_be_stopped() {
    let node = Node::start(&[]);
    let mut sockets: Vec<Ws> = (0..20).map(|number| Ws::user(&node, &format!("u{number}"), "")).collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| node.ask("POST", "/v1/broadcast?spread=120s&id=b%2F1", b"x").json());
        // The first place is due at once.
        until("the first one's message", || {
            sockets.iter_mut().find_map(|ws| ws.next(Duration::from_millis(1)).ok())
        });
        assert_eq!(
            node.ask("POST", "/v1/broadcast?id=b%2F1", b"x").status,
            409,
            "one of this id is under way"
        );
        assert_eq!(node.ask("DELETE", "/v1/broadcasts/b%2F1", b"").status / 100, 2);
        let value = answer.join().unwrap();
        let written = value["outcomes"]["written"].as_u64().unwrap();
        assert!((1..20).contains(&written), "{value}");
    });
    assert!(began.elapsed() < Duration::from_secs(60));
    assert_eq!(node.ask("DELETE", "/v1/broadcasts/b%2F1", b"").status, 404);
}

#[test]
fn many_senders_on_kept_connections() {
    let node = Plan::new(&[]).shards(2).start();
    let mut clients: Vec<Ws> = (0..4).map(|number| Ws::user(&node, &format!("u{number}"), "")).collect();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let internal = node.internal;
            scope.spawn(move || {
                let mut wire = Wire::connect(internal);
                for message in 0..200 {
                    let target = format!("/v1/users/u{number}/push");
                    assert_eq!(wire.ask("POST", &target, &[], message.to_string().as_bytes()).status, 200);
                }
            });
        }
    });
    for client in &mut clients {
        for message in 0..200 {
            assert_eq!(client.text(), message.to_string());
        }
    }
    assert_eq!(counted(&node, "written"), 800.0);
    let text = node.ask("GET", "/metrics", b"").text();
    assert!(text.contains("holdfast_delivery_seconds_count{lane=\"normal\"} 800"), "{text}");
}

#[test]
fn the_metrics_that_others_rely_on_are_there() {
    let node = Node::start(&[]);
    let _ws = Ws::user(&node, "ada", "");
    let _stream = Sse::user(&node, "ada", "");
    assert_eq!(node.push("ada/push", "x").0, 200);
    let answer = node.ask("GET", "/metrics", b"");
    assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
    let text = answer.text();
    for series in [
        "holdfast_connections{protocol=\"websocket\"} 1",
        "holdfast_connections{protocol=\"sse\"} 1",
        "holdfast_connections_capacity ",
        "holdfast_utilization ",
        "holdfast_handshakes_total{result=\"accepted\"} 2",
        "holdfast_closes_total{reason=\"lifetime\"} 0",
        "holdfast_messages_total{lane=\"normal\",outcome=\"written\"} 2",
        "holdfast_bytes_per_connection ",
        "holdfast_kafka_lag{lane=\"normal\"} 0",
        "holdfast_drain_remaining 0",
        "holdfast_build_info{",
        "holdfast_handshake_seconds_count 2",
        "holdfast_handshake_seconds_bucket{le=\"+Inf\"} 2",
        "holdfast_delivery_seconds_count{lane=\"normal\"} 2",
        "holdfast_registry_seconds_count{operation=",
        "holdfast_loop_lag_seconds_count ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(series)), "{series} in:\n{text}");
    }
    assert!(!text.contains("ada"), "no label names a user");
    assert!(node.ask("GET", "/v1/stats", b"").json().is_object());
    let nodes = node.ask("GET", "/v1/nodes", b"").json();
    assert_eq!(nodes["nodes"][0]["node"], "node-1", "{nodes}");
}
