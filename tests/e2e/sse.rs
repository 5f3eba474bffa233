//! Event streams, byte for byte and as an EventSource reads them.

use crate::{
    client::{Event, Sse, get},
    http::{Wire, request},
    node::{Node, PATIENCE},
};
use std::{collections::BTreeSet, time::Duration};

fn event(name: &str, data: &str) -> Event {
    Event { name: name.into(), data: data.into(), ..Event::default() }
}

#[test]
fn the_head_keeps_every_cache_and_proxy_out_of_the_way() {
    let node = Node::start(&[]);
    let stream = Sse::user(&node, "ada", "");
    let header = |name: &str| stream.head.header(name);
    assert_eq!(header("content-type"), Some("text/event-stream"));
    assert_eq!(header("cache-control"), Some("no-store, no-transform"));
    assert_eq!(header("x-accel-buffering"), Some("no"));
    assert_eq!(header("transfer-encoding"), Some("chunked"));
    assert_eq!(header("content-length"), None);
    assert_eq!(header("access-control-allow-origin"), None);
}

#[test]
fn it_begins_with_a_jittered_retry() {
    let node = Node::start(&[]);
    let mut delays = BTreeSet::new();
    for _ in 0..20 {
        let mut stream = Sse::user(&node, "ada", "");
        let first = stream.block(PATIENCE).unwrap().unwrap();
        assert_eq!((first.name.as_str(), first.data.as_str()), ("", ""));
        delays.insert(first.retry.unwrap());
    }
    assert!(delays.len() >= 10, "{delays:?}");
    assert!(delays.iter().all(|delay| (1_000..=20_000).contains(delay)), "{delays:?}");
}

#[test]
fn a_push_is_an_event_on_the_wire_with_crlf() {
    let node = Node::start(&[]);
    let mut stream = Sse::user(&node, "ada", "");
    assert_eq!(node.push_one("ada/push?id=m-1", "hello"), "written");
    assert_eq!(stream.event(), Event { id: Some("m-1".into()), ..event("push", "hello") });
    let raw = String::from_utf8(stream.raw.clone()).unwrap();
    assert!(raw.ends_with("\r\n\r\nevent: push\r\nid: m-1\r\ndata: hello\r\n\r\n"), "{raw:?}");
}

#[test]
fn every_line_of_a_body_is_a_data_line() {
    let node = Node::start(&[]);
    let mut stream = Sse::user(&node, "ada", "");
    for (body, heard) in [
        ("one\ntwo", "one\ntwo"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("\nend\n", "\nend\n"),
        (" space", " space"),
        ("a\n\nevent: fake\ndata: x", "a\n\nevent: fake\ndata: x"),
        ("id: 7", "id: 7"),
        (":comment", ":comment"),
        ("ünï \u{1f680}", "ünï \u{1f680}"),
    ] {
        assert_eq!(node.push_one("ada/push", body), "written");
        assert_eq!(stream.event(), event("push", heard), "{body:?}");
    }
}

#[test]
fn a_binary_push_comes_in_base64() {
    let node = Node::start(&[]);
    let mut stream = Sse::user(&node, "ada", "");
    let headers = [("Content-Type", "application/octet-stream")];
    let answer = node.ask_with("POST", "/v1/users/ada/push", &headers, &[0, 255, 10, 13]);
    assert_eq!(answer.status, 200);
    assert_eq!(stream.event(), event("push.base64", "AP8KDQ=="));
}

#[test]
fn a_large_push_is_whole() {
    let node = Node::start(&[]);
    let mut stream = Sse::user(&node, "ada", "");
    let body = "0123456789abcdef".repeat(16_000);
    // More than the kernel takes unread: it is written as it is read.
    std::thread::scope(|scope| {
        let outcome = scope.spawn(|| node.push_one("ada/push", &body));
        assert_eq!(stream.event().data, body);
        assert_eq!(outcome.join().unwrap(), "written");
    });
}

#[test]
fn pings_come_at_the_asked_interval() {
    let node = Node::start(&["clients.ping_min=1s"]);
    let mut stream = Sse::open(&node, "/sse?user=ada&ping=1", &[]);
    assert!(stream.block(PATIENCE).unwrap().unwrap().retry.is_some());
    for _ in 0..3 {
        assert_eq!(stream.block(PATIENCE).unwrap().unwrap(), event("ping", "ping"));
    }
    assert_eq!(node.push_one("ada/push", "after pings it is still served"), "written");
}

#[test]
fn at_the_end_of_its_life_come_goaway_close_and_the_last_chunk() {
    let node = Node::start(&[
        "lifetime.mean=400ms",
        "lifetime.max=400ms",
        "lifetime.distribution=uniform",
        "lifetime.grace=300ms",
    ]);
    let mut stream = Sse::user(&node, "ada", "");
    let goaway = stream.event();
    assert_eq!((goaway.name.as_str(), goaway.data.as_str()), ("goaway", "_CLOSE_"));
    assert_eq!(stream.event(), event("close", "1000 Server closed connection"));
    stream.assert_end();
    node.wait_for_metric("holdfast_closes_total{reason=\"lifetime\"}", 1.0);
}

#[test]
fn a_stream_whose_client_leaves_is_gone() {
    let node = Node::start(&[]);
    let stream = Sse::user(&node, "ada", "");
    node.wait_for_metric("holdfast_connections{protocol=\"sse\"}", 1.0);
    drop(stream);
    node.wait_for_metric("holdfast_closes_total{reason=\"client_gone\"}", 1.0);
    assert_eq!(node.push("ada/push", "x"), (404, vec![]));
}

#[test]
fn a_page_of_an_allowed_origin_may_read_it_with_credentials() {
    let node = Node::start(&["clients.origins=https://app.example"]);
    let origin = "https://app.example";
    let stream = Sse::open(&node, "/sse?user=ada", &[("Origin", origin)]);
    assert_eq!(stream.head.header("access-control-allow-origin"), Some(origin));
    assert_eq!(stream.head.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(stream.head.header("vary"), Some("Origin"));
}

#[test]
fn options_is_a_preflight_where_origins_are_set() {
    let node = Node::start(&["clients.origins=https://app.example"]);
    let asked = "x-customer_id,last-event-id";
    let headers = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", asked),
    ];
    let answer = request(node.clients, "OPTIONS", "/sse", &headers, b"");
    assert!(matches!(answer.status, 200 | 204), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("GET"));
    assert_eq!(answer.header("access-control-allow-headers"), Some(asked));
    let foreign = request(node.clients, "OPTIONS", "/sse", &[("Origin", "https://evil.example")], b"");
    assert_eq!((foreign.status, foreign.header("access-control-allow-origin")), (403, None));
    assert_eq!(request(node.clients, "OPTIONS", "/ws", &headers, b"").status, 405);
}

#[test]
fn a_refusal_for_want_of_room_can_be_read_by_the_page() {
    let node = Node::start(&["clients.origins=https://app.example", "limits.connections=1"]);
    let _holder = Sse::user(&node, "ada", "");
    let mut wire = Wire::connect(node.clients);
    wire.send(&get("/sse?user=grace", &[("Origin", "https://app.example")]));
    let answer = wire.answer().unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    wire.assert_closed();
}

#[test]
fn what_a_client_sends_up_an_event_stream_is_dropped() {
    let node = Node::start(&[]);
    let mut wire = Wire::connect(node.clients);
    wire.send(&get("/sse?user=ada", &[]));
    assert_eq!(wire.head().unwrap().status, 200);
    wire.send(b"GET /sse?user=grace HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(node.push_one("ada/push", "x"), "written");
    assert_eq!(node.push("grace/push", "x").0, 404);
    assert!(wire.chunk(Duration::from_secs(5)).unwrap().is_some());
}
