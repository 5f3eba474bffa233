//! Zuul Push's wire and endpoint: clients and senders of it must work unchanged.

use crate::{
    client::{BINARY, CLOSE, PING, PONG, Sse, TEXT, Ws},
    http::{Answer, Wire},
    node::{Node, PATIENCE},
};
use std::time::{Duration, Instant};

fn push(node: &Node, target: &str, user: &str, body: &[u8]) -> u16 {
    let answer = node.ask_with("POST", target, &[("X-CUSTOMER_ID", user)], body);
    assert_eq!(answer.body, b"", "Zuul's answers have no body");
    answer.status
}

fn push_as(node: &Node, headers: &[(&str, &str)]) -> u16 {
    let headers: Vec<_> = [("X-CUSTOMER_ID", "ada")].iter().chain(headers).copied().collect();
    node.ask_with("POST", "/push", &headers, b"hello").status
}

#[test]
fn a_push_is_one_text_frame_that_holds_the_body_as_it_came() {
    let node = Node::start(&[]);
    let mut ws = Ws::user(&node, "ada", "");
    for body in ["hello", "{\"a\": 1}\r\n\r\n", "ünï \u{1f680}", &"long ".repeat(30_000)] {
        assert_eq!(push(&node, "/push", "ada", body.as_bytes()), 200);
        assert_eq!(ws.text(), body);
    }
    // Whatever the sender says that it is.
    let headers = [("X-CUSTOMER_ID", "ada"), ("Content-Type", "application/octet-stream")];
    assert_eq!(node.ask_with("POST", "/push", &headers, b"still text").status, 200);
    assert_eq!(ws.text(), "still text");
}

#[test]
fn any_path_that_ends_in_push_will_do() {
    let node = Node::start(&[]);
    let mut ws = Ws::user(&node, "ada", "");
    for target in ["/push", "/x/y/push", "/api/v9/push", "/push?from=here"] {
        assert_eq!(push(&node, target, "ada", target.as_bytes()), 200, "{target}");
        assert_eq!(ws.text(), target);
    }
    for target in ["/x", "/pushx", "/push/x", "/v1/push"] {
        assert_eq!(node.ask_with("POST", target, &[("X-CUSTOMER_ID", "ada")], b"x").status, 404, "{target}");
    }
}

#[test]
fn statuses_of_the_endpoint() {
    let node = Node::start(&["limits.push_bytes=1KiB"]);
    let mut ws = Ws::user(&node, "ada", "");
    assert_eq!(push(&node, "/push", "nobody", b"x"), 404);
    assert_eq!(push(&node, "/push", "ada", b""), 204);
    assert_eq!(push(&node, "/push", "ada", b"\xff\xfe"), 400);
    assert_eq!(push(&node, "/push", "ada", &[b'x'; 1_024]), 200);
    assert_eq!(push(&node, "/push", "ada", &[b'x'; 1_025]), 413);
    assert_eq!(node.ask("POST", "/push", b"x").status, 401);
    assert_eq!(node.ask("GET", "/push", b"").status, 401);
    for method in ["PUT", "DELETE", "PATCH"] {
        let answer = node.ask_with(method, "/push", &[("X-CUSTOMER_ID", "ada")], b"");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, POST")), "{method}");
    }
    assert_eq!(ws.text().len(), 1_024);
    ws.assert_silent(Duration::from_millis(100));
}

#[test]
fn an_oversize_body_is_read_and_thrown_away_before_its_413() {
    let node = Node::start(&[]);
    let _ws = Ws::user(&node, "ada", "");
    // Larger than the socket's buffers, so that a server that closed early would cut the sender off.
    let body = vec![b'x'; 7 * 1024 * 1024];
    assert_eq!(push(&node, "/push", "ada", &body), 413);
    let mut kept = Wire::connect(node.internal);
    let headers = [("X-CUSTOMER_ID", "ada")];
    assert_eq!(kept.ask("POST", "/push", &headers, &body).status, 413);
    assert_eq!(kept.ask("POST", "/push", &headers, b"next").status, 200);
}

#[test]
fn a_get_asks_who_is_connected() {
    let node = Node::start(&[]);
    let probe = |user: &str| -> Answer { node.ask_with("GET", "/push", &[("X-CUSTOMER_ID", user)], b"") };
    assert_eq!(probe("ada").status, 404);
    let ws = Ws::user(&node, "ada", "");
    let answer = probe("ada");
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    ws.close();
    node.wait_for_metric("holdfast_connections{protocol=\"websocket\"}", 0.0);
    assert_eq!(probe("ada").status, 404);
}

#[test]
fn the_rate_of_zuul_is_three_in_two_seconds_then_503() {
    let node = Node::start(&["limits.push_rate=3/2s"]);
    let _ws = Ws::user(&node, "ada", "");
    let statuses: Vec<u16> = (0..4).map(|_| push(&node, "/push", "ada", b"x")).collect();
    assert_eq!(statuses, [200, 200, 200, 503]);
    assert!(
        node.ask_with("POST", "/push", &[("X-CUSTOMER_ID", "ada")], b"x").header("retry-after").is_some()
    );
    // A probe uses nothing up, and the bucket fills again.
    crate::node::until("the bucket to fill", || (push(&node, "/push", "ada", b"x") == 200).then_some(()));
}

#[test]
fn any_written_device_makes_it_200() {
    let node = Node::start(&["limits.push_rate=1/1h"]);
    let _limited = Ws::user(&node, "ada", "a");
    assert_eq!(push(&node, "/push", "ada", b"x"), 200);
    let mut fresh = Ws::user(&node, "ada", "b");
    assert_eq!(push(&node, "/push", "ada", b"second"), 200);
    assert_eq!(fresh.text(), "second");
    assert_eq!(push(&node, "/push", "ada", b"third"), 503);
}

#[test]
fn the_secure_token_is_the_tokens_other_spelling() {
    let node = Node::start(&["internal.tokens=shop:send:s3cret,eyes:read:l00k"]);
    let _ws = Ws::user(&node, "ada", "");
    assert_eq!(push_as(&node, &[]), 401);
    assert_eq!(push_as(&node, &[("X-Zuul.push.secure.token", "s3cret")]), 200);
    assert_eq!(push_as(&node, &[("X-Zuul.push.secure.token", "wrong")]), 403);
    assert_eq!(push_as(&node, &[("X-Zuul.push.secure.token", "l00k")]), 403);
    assert_eq!(push_as(&node, &[("Authorization", "Bearer s3cret")]), 200);
    assert_eq!(push_as(&node, &[("Authorization", "Bearer wrong")]), 401);
    assert_eq!(push_as(&node, &[("Authorization", "Bearer l00k")]), 403);
    // Present where none is configured.
    let open = Node::start(&[]);
    let _ws = Ws::user(&open, "ada", "");
    assert_eq!(push_as(&open, &[]), 200);
    assert_eq!(push_as(&open, &[("X-Zuul.push.secure.token", "any")]), 403);
}

#[test]
fn trusted_networks_push_without_a_token_but_not_with_a_wrong_one() {
    let node = Node::start(&["internal.token=s3cret", "internal.push_from=127.0.0.0/8"]);
    let _ws = Ws::user(&node, "ada", "");
    assert_eq!(push_as(&node, &[]), 200);
    assert_eq!(push_as(&node, &[("Authorization", "Bearer wrong")]), 401);
    assert_eq!(push_as(&node, &[("X-Zuul.push.secure.token", "wrong")]), 403);
    assert_eq!(node.ask("POST", "/v1/users/ada/push", b"x").status, 401, "only Zuul's endpoint");
}

#[test]
fn the_identity_header_may_have_another_name() {
    let node = Node::start(&["internal.identity_header=X-Account", "auth.header=X-Account"]);
    let mut ws = Ws::open(&node, "/ws", &[("X-Account", "ada")]);
    assert_eq!(node.ask_with("POST", "/push", &[("x-account", "ada")], b"hi").status, 200);
    assert_eq!(node.ask_with("POST", "/push", &[("X-CUSTOMER_ID", "ada")], b"hi").status, 401);
    assert_eq!(ws.text(), "hi");
}

#[test]
fn at_the_end_of_its_life_close_is_asked_for_in_band_and_then_done() {
    let node = Node::start(&[
        "lifetime.mean=400ms",
        "lifetime.max=400ms",
        "lifetime.distribution=uniform",
        "lifetime.grace=500ms",
    ]);
    let mut ws = Ws::user(&node, "ada", "");
    assert_eq!(ws.text(), "_CLOSE_");
    let asked = Instant::now();
    assert_eq!(node.push_one("ada/push", "late"), "written", "it takes messages until it is closed");
    assert_eq!(ws.text(), "late");
    assert_eq!(ws.close_frame(), (1000, "Server closed connection".into()));
    assert!(asked.elapsed() >= Duration::from_millis(400), "{:?}", asked.elapsed());
    ws.send(CLOSE, &1000u16.to_be_bytes());
    ws.assert_end();
    node.wait_for_metric("holdfast_closes_total{reason=\"lifetime\"}", 1.0);
}

#[test]
fn echo_is_behind_a_flag_and_everything_else_from_a_client_is_ignored() {
    let node = Node::start(&["clients.echo=true"]);
    let mut ws = Ws::user(&node, "ada", "");
    for (op, payload) in [(TEXT, "hello"), (TEXT, "ECHO"), (TEXT, "echo x"), (BINARY, "ECHO x"), (PONG, "x")]
    {
        ws.send(op, payload.as_bytes());
    }
    ws.send(TEXT, b"ECHO  one two ");
    assert_eq!(ws.text(), "ECHO  one two ");
    let quiet = Node::start(&[]);
    let mut ws = Ws::user(&quiet, "ada", "");
    ws.send(TEXT, b"ECHO x");
    ws.send(PING, b"still there?");
    let frame = ws.frame(PATIENCE).unwrap();
    assert_eq!((frame.op, frame.payload), (PONG, b"still there?".to_vec()));
}

#[test]
fn keep_alive_is_a_ping_frame() {
    let node = Node::start(&["clients.ping_min=1s"]);
    let mut ws = Ws::open(&node, "/ws?user=ada&ping=1", &[]);
    let frame = ws.frame(PATIENCE).unwrap();
    assert_eq!((frame.op, frame.fin), (PING, true));
}

#[test]
fn the_latest_connection_of_a_user_without_device_is_not_the_only_one() {
    // Zuul's registry has one connection for each user and leaves the older one open but out of reach; here both are
    // reached, and one leaving does not make the user absent.
    let node = Node::start(&[]);
    let mut first = Ws::user(&node, "ada", "");
    let mut second = Sse::user(&node, "ada", "");
    assert_eq!(push(&node, "/push", "ada", b"both"), 200);
    assert_eq!(first.text(), "both");
    assert_eq!(second.event().data, "both");
    drop(second);
    node.wait_for_metric("holdfast_connections{protocol=\"sse\"}", 0.0);
    assert_eq!(push(&node, "/push", "ada", b"one"), 200);
    assert_eq!(first.text(), "one");
}
