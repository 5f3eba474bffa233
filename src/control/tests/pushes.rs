//! `POST /v1/users/{user}/push`.

use super::harness::{Node, eventually, token};
use crate::{
    config::Role,
    model::{Body, Lane, Outcome},
};

#[test]
fn each_device_has_its_outcome() {
    let node = Node::start();
    node.connect("a/b", Some("tv"), Some(Outcome::Written));
    node.connect("a/b", Some("pho\"ne"), Some(Outcome::Slow));
    let answer = node.ask(&["POST /v1/users/a%2Fb/push?id=m%201", "Content-Type: application/json"], "[1]");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let json = answer.json();
    assert_eq!(json["id"], "m 1");
    let mut outcomes = json["outcomes"].as_array().unwrap().clone();
    outcomes.sort_by_key(|outcome| outcome["device"].to_string());
    let row = |device, outcome| serde_json::json!({ "device": device, "outcome": outcome, "node": "node-1" });
    assert_eq!(outcomes, [row("pho\"ne", "slow"), row("tv", "written")]);
    let one = node.ask(&["POST /v1/users/a%2Fb/push?device=tv&wait=ack"], "x").json();
    assert_eq!(one["outcomes"], serde_json::json!([row("tv", "written")]));
    let script = node.script.lock().unwrap();
    assert_eq!(script.messages[0].body, Body::Json("[1]".into()));
    assert_eq!(script.messages[0].id.as_ref().unwrap().as_str(), "m 1");
    assert!(script.messages[2].id.is_none() && script.messages[2].body == Body::Text("x".into()));
}

#[test]
fn nobody_there_is_404_with_an_id_of_its_own() {
    let node = Node::start();
    let ask = || node.ask(&["POST /v1/users/nobody/push"], "x");
    let (first, second) = (ask(), ask());
    assert_eq!((first.status, &first.json()["outcomes"]), (404, &serde_json::json!([])));
    assert!(first.json()["id"].as_str().is_some_and(|id| id.len() > 16));
    assert_ne!(first.json()["id"], second.json()["id"]);
    node.connect("ann", Some("tv"), Some(Outcome::Written));
    assert_eq!(node.status(&["POST /v1/users/ann/push?device=phone"], "x"), 404);
    assert_eq!(node.count(Outcome::Offline), 3);
}

#[test]
fn options_reach_the_message() {
    let node = Node::start();
    node.connect("ann", None, Some(Outcome::Written));
    let before = node.clock.now().unix_ms;
    let push = |query: &str| node.status(&[&format!("POST /v1/users/ann/push?{query}")], "x");
    assert_eq!(push("lane=low&ttl=60&timeout=100ms&collapse=k"), 200);
    assert_eq!(push("timeout=1h&collapse=k&ttl=500ms"), 200);
    assert_eq!(push("collapse=other"), 200);
    let script = node.script.lock().unwrap();
    let [first, second, third] = &script.messages[..] else { panic!("three messages") };
    assert_eq!((first.lane, third.lane), (Lane(2), Lane(1)));
    assert!((before + 60_000..before + 70_000).contains(&first.expires_unix_ms.unwrap()));
    assert_eq!((first.timeout_ms, second.timeout_ms, third.timeout_ms), (Some(100), Some(300), None));
    assert!(
        first.collapse.is_some() && first.collapse == second.collapse && first.collapse != third.collapse
    );
    assert_eq!(third.expires_unix_ms, None);
}

#[test]
fn what_cannot_be_done_says_why() {
    let node = Node::with(|config| config.limits.push_bytes = 100);
    node.connect("ann", None, Some(Outcome::Written));
    let ask = |line: &str, body: &[u8]| node.ask(&[line], body).error();
    let long = format!("POST /v1/users/{}/push", "a".repeat(257));
    for (line, body, expected) in [
        ("POST /v1/users/ann/push?tll=5", &b"x"[..], (400, "unknown_parameter")),
        ("POST /v1/users/ann/push?ttl=soon", b"x", (400, "bad_parameter")),
        ("POST /v1/users/ann/push?wait=long", b"x", (400, "bad_parameter")),
        ("POST /v1/users/ann/push?lane=fast", b"x", (400, "unknown_lane")),
        ("POST /v1/users/ann/push?id=%00", b"x", (400, "bad_identifier")),
        ("POST /v1/users/ann/push?collapse=", b"x", (400, "bad_identifier")),
        ("POST /v1/users/%FF/push", b"x", (400, "bad_identifier")),
        ("POST /v1/users//push", b"x", (400, "bad_identifier")),
        (&long, b"x", (400, "bad_identifier")),
        ("POST /v1/users/ann/push", b"\xff", (400, "bad_body")),
        ("POST /v1/users/ann/push", &[b'x'; 101], (413, "too_large")),
        ("GET /v1/users/ann/push", b"", (405, "method_not_allowed")),
        ("POST /v1/event", b"", (404, "not_found")),
        ("GET /none", b"", (404, "not_found")),
    ] {
        assert_eq!(ask(line, body), (expected.0, expected.1.to_owned()), "{line}");
    }
    let json = node.ask(&["POST /v1/users/ann/push", "Content-Type: application/json"], "{");
    assert_eq!(json.error(), (400, "bad_body".into()));
    assert_eq!(node.status(&["POST /v1/users/ann/push", "Content-Type: image/png"], b"\xff"), 200);
    assert!(ask("POST /v1/users/ann/push?lane=fast", b"x").1 == "unknown_lane");
    let lanes = node.ask(&["POST /v1/users/ann/push?lane=fast"], "x").json()["message"].to_string();
    assert!(lanes.contains("high, normal, low"), "{lanes}");
}

#[test]
fn no_room_is_503_and_come_back() {
    let node = Node::with(|config| config.limits.mailbox = 0);
    node.connect("ann", None, Some(Outcome::Written));
    let answer = node.ask(&["POST /v1/users/ann/push"], "x");
    assert_eq!((answer.error(), answer.header("retry-after")), ((503, "failed".into()), Some("1")));
    assert_eq!(node.count(Outcome::Failed), 1);
}

#[test]
fn an_oversize_body_is_read_to_its_end_and_the_connection_goes_on() {
    let node = Node::with(|config| config.limits.push_bytes = 100);
    node.connect("ann", None, Some(Outcome::Written));
    let mut client = node.client();
    client.send(&["POST /v1/users/ann/push"], vec![b'x'; 3_000_000]);
    assert_eq!(client.answer().error(), (413, "too_large".into()));
    client.raw("POST /push HTTP/1.1\r\nHost: a\r\nX-CUSTOMER_ID: ann\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..50 {
        client.raw("4\r\nabcd\r\n");
    }
    client.raw("0\r\n\r\n");
    assert_eq!(client.answer().status, 413);
    client.raw("POST /push HTTP/1.1\r\nHost: a\r\nX-CUSTOMER_ID: ann\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.raw("2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    assert_eq!(node.script.lock().unwrap().messages[0].body, Body::Text("abcd".into()));
    // More than is thrown away: refused all the same, and the connection ends.
    let mut client = node.client();
    client.raw("POST /push HTTP/1.1\r\nHost: a\r\nX-CUSTOMER_ID: ann\r\nContent-Length: 99999999\r\n\r\n");
    client.raw(vec![b'x'; 8 * 1024 * 1024]);
    assert_eq!(client.answer().status, 413);
    assert!(client.is_closed());
}

#[test]
fn a_head_too_large_is_431() {
    let node = Node::start();
    let mut client = node.client();
    client.raw(format!("GET /livez HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(20_000)));
    assert_eq!(client.head().status, 431);
}

#[test]
fn a_sender_that_leaves_is_counted_all_the_same() {
    let node = Node::start();
    node.connect("ann", None, None);
    let mut client = node.client();
    client.send(&["POST /v1/users/ann/push"], "x");
    eventually(|| !node.script.lock().unwrap().kept.is_empty());
    drop(client);
    std::thread::sleep(std::time::Duration::from_millis(50));
    let ticket = node.script.lock().unwrap().kept.pop().unwrap();
    ticket.answer(Outcome::Written);
    eventually(|| node.count(Outcome::Written) == 1);
}

#[test]
fn open_requests_finish_when_the_port_stops() {
    let node = Node::start();
    node.connect("ann", None, None);
    let mut idle = node.client();
    idle.send(&["GET /livez"], "");
    assert_eq!(idle.answer().text(), "ok");
    let mut client = node.client();
    client.send(&["POST /v1/users/ann/push"], "x");
    eventually(|| !node.script.lock().unwrap().kept.is_empty());
    let script = node.script.clone();
    let stopping = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let ticket = script.lock().unwrap().kept.pop().unwrap();
        ticket.answer(Outcome::Written);
    });
    node.stop();
    stopping.join().unwrap();
    assert_eq!(client.answer().status, 200);
    assert!(client.is_closed() && idle.is_closed());
}

#[test]
fn roles_and_replaced_tokens() {
    let node = Node::with(|config| {
        config.internal.tokens = vec![token("send", Role::Send), token("read", Role::Read)]
    });
    node.connect("ann", None, Some(Outcome::Written));
    let ask = |bearer: &str| {
        node.ask(&["POST /v1/users/ann/push", &format!("Authorization: Bearer {bearer}")], "x")
    };
    assert_eq!(ask("send-secret").status, 200);
    assert_eq!(ask("read-secret").error(), (403, "forbidden".into()));
    let wrong = ask("wrong");
    assert_eq!(
        (wrong.error(), wrong.header("www-authenticate")),
        ((401, "unauthorized".into()), Some("Bearer"))
    );
    assert_eq!(node.status(&["POST /v1/users/ann/push"], "x"), 401);
    node.control().replace_tokens(vec![token("next", Role::All)]);
    assert_eq!((ask("send-secret").status, ask("next-secret").status), (401, 200));
}
