//! Tokens that come as the first frame, and verdicts that are given later.

use crate::{
    browser::Page,
    bystander::{Bystander, assert_not_grown, resident_kib},
    client::{BINARY, PING, PONG, Sse, TEXT, Ws, get, masked, upgrade},
    clients::example,
    http::{Answer, Wire},
    node::{Node, until},
    python,
};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const SECRET: &str = "a-secret-of-at-least-thirty-two-bytes";
const CLIENT: &str = include_str!("scripts/websockets_token.py");
/// Longer than anything takes that is to happen.
const WHILE: Duration = Duration::from_millis(200);

fn token(user: &str, secret: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "sub": user, "iat": now, "exp": now + 600 });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn node(sets: &[&str]) -> Node {
    let secret = format!("auth.jwt.secret={SECRET}");
    let mut all = vec!["auth.mode=jwt", "auth.first_frame=true", &secret];
    all.extend(sets);
    Node::start(&all)
}

fn nameless(node: &Node) -> Ws {
    Ws::open(node, "/ws?device=tv", &[])
}

fn refused(node: &Node, request: &[u8]) -> Answer {
    let mut wire = Wire::connect(node.clients);
    wire.send(request);
    wire.answer().unwrap()
}

#[test]
fn a_websocket_has_a_name_from_its_token_on() {
    let node = node(&["clients.echo=true", "clients.origins=https://app.example"]);
    let good = token("ada", SECRET);
    let mut ws = nameless(&node);
    node.wait_for_metric("holdfast_handshakes_waiting", 1.0);
    assert_eq!(node.push("ada/push", "too early").0, 404);
    ws.send(PING, b"there?");
    assert_eq!(ws.frame(WHILE).unwrap().op, PONG);
    ws.send(TEXT, good.as_bytes());
    ws.send(TEXT, b"ECHO known");
    assert_eq!(ws.text(), "ECHO known");
    assert_eq!(node.push("ada/push", "hello").1, [("tv".into(), "written".into())]);
    assert_eq!(ws.text(), "hello");
    node.wait_for_metric("holdfast_handshakes_waiting", 0.0);
    // With a credential there is no second chance, and a stream has none at all.
    assert_eq!(refused(&node, &upgrade("/ws?token=bad", &[])).status, 401);
    assert_eq!(refused(&node, &get("/sse", &[])).status, 401);
    assert_eq!(refused(&node, &upgrade("/ws", &[("Origin", "https://evil.example")])).status, 403);
    Ws::open(&node, "/ws", &[("Origin", "https://app.example")]);
    let forged = token("ada", "another-secret-of-thirty-two-bytes");
    for (op, text, why) in [
        (TEXT, forged.as_str(), "Auth failed"),
        (TEXT, &format!("Bearer {good}"), "Auth failed"),
        (TEXT, &format!("{good}\r\nX-CUSTOMER_ID: eve"), "Auth failed"),
        (BINARY, &good, "Expected a token as text"),
    ] {
        let mut ws = nameless(&node);
        ws.send(op, text.as_bytes());
        assert_eq!(ws.close_frame(), (1008, why.into()));
        ws.shut_write();
        ws.assert_end();
    }
    node.wait_for_metric("holdfast_handshakes_total{result=\"token_expected\"}", 1.0);
    let log = node.log();
    for secret in [&good, &forged, SECRET] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[test]
fn a_token_that_does_not_come_is_not_waited_for() {
    let node = node(&["auth.first_frame_timeout=300ms"]);
    let began = Instant::now();
    let mut ws = nameless(&node);
    assert_eq!(ws.close_frame(), (1008, "No token came in time".into()));
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    ws.shut_write();
    ws.assert_end();
    node.wait_for_metric("holdfast_handshakes_total{result=\"no_token\"}", 1.0);
}

#[test]
fn pythons_websockets_sends_a_token() {
    let node = node(&["clients.echo=true"]);
    let (good, bad) = (token("ada", SECRET), token("ada", "another-secret-of-thirty-two-bytes"));
    let said = python::run(CLIENT, &[&node.clients.to_string(), &good, &bad]);
    assert_eq!(said.trim(), "done");
}

/// A function of a page of the docs.
fn advised(page: &str, function: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = fs::read_to_string(path).unwrap();
    let mut blocks = text.split("```js\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    let block = blocks.find(|block| block.contains(&format!("function {function}("))).unwrap();
    block
        .lines()
        .filter(|line| !line.starts_with(&format!("{function}(")))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn a_page_sends_its_token_as_advised_and_comes_back_with_a_fresh_one() {
    let node = node(&[]);
    let page = Page::serve("").open();
    let url = format!("ws://{}/ws", node.clients);
    let (ada, bob) = (token("ada", SECRET), token("bob", SECRET));
    page.run(&advised("auth.md", "openWithToken"));
    page.run(&format!("openWithToken('{url}', '{ada}', (data) => say('text', data))"));
    until("the page", || (node.push("ada/push", "hello").0 == 200).then_some(()));
    assert_eq!(page.text("text"), "hello");
    // The whole client: its first token is bad, so that it comes back with another.
    page.run(&["Math.random = () => 0.02;", &advised("protocol.md", "holdfastSocket")].concat());
    page.run(&format!(
        "var tokens = ['bad', '{bob}'];
         holdfastSocket(() => '{url}', (data) => say('text', data), async () => tokens.shift())"
    ));
    until("the page", || (node.push("bob/push", "again").0 == 200).then_some(()));
    assert_eq!(page.text("text"), "again");
    node.wait_for_metric("holdfast_handshakes_total{result=\"auth_failed\"}", 1.0);
}

#[test]
fn thousands_that_wait_for_their_first_frame_are_in_nobodys_way() {
    const WAITING: usize = 5_000;
    let node = node(&["auth.first_frame_timeout=1m", &format!("limits.unauthenticated={WAITING}")]);
    let bearer = format!("Bearer {}", token("beside", SECRET));
    let known = |device| [("Authorization", bearer.as_str()), ("X-DEVICE-ID", device)];
    let mut beside =
        Bystander::with(Ws::open(&node, "/ws", &known("ws")), Sse::open(&node, "/sse", &known("sse")));
    let before = resident_kib(&node);
    let mut waiting = Vec::new();
    let mut refusals = 0;
    for number in 0..WAITING + 10 {
        let mut wire = Wire::connect(node.clients);
        wire.send(&upgrade("/ws", &[]));
        match wire.head().unwrap().status {
            101 => waiting.push(wire),
            503 => refusals += 1,
            status => panic!("{status}"),
        }
        if number % 1_000 == 0 {
            beside.assert_unaware(&node, "clients that wait");
        }
    }
    assert_eq!((waiting.len(), refusals), (WAITING, 10));
    assert_not_grown(&node, before);
    beside.assert_unaware(&node, "clients that wait");
    // Who need not wait comes in, and who has waited long enough may still say who it is.
    Ws::open(&node, "/ws", &known("third"));
    let good = masked(true, false, TEXT, token("ada", SECRET).as_bytes());
    waiting[0].send(&good);
    until("ada", || (node.push("ada/push", "hello").0 == 200).then_some(()));
    drop(waiting);
    node.wait_for_metric("holdfast_handshakes_waiting", 0.0);
    node.wait_for_metric("holdfast_lent_bytes", 0.0);
    beside.assert_unaware(&node, "clients that have waited");
}

#[test]
fn an_authenticator_that_asks_answers_later() {
    let node = Node::start_other(&example("session_auth"), &[("HOLDFAST_AUTH_FIRST_FRAME", "true")]);
    let mut stream = Sse::open(&node, "/sse", &[("Authorization", "Bearer s-ada")]);
    let mut ws = Ws::open(&node, "/ws", &[("Authorization", "Bearer s-bob")]);
    let mut by_frame = Ws::open(&node, "/ws?device=frame", &[]);
    by_frame.send(TEXT, b"s-bob");
    until("bob's devices", || (node.push("bob/push", "x").1.len() == 2).then_some(()));
    assert_eq!((by_frame.text(), node.push_one("ada/push", "hello")), ("x".into(), "written".into()));
    assert_eq!((stream.event().data, ws.text()), ("hello".into(), "x".into()));
    for request in [upgrade("/ws", &[("Authorization", "Bearer s-eve")]), get("/sse", &[])] {
        assert_eq!(refused(&node, &request).status, 401);
    }
    let mut bad = Ws::open(&node, "/ws", &[]);
    bad.send(TEXT, b"s-eve");
    assert_eq!(bad.close_frame(), (1008, "Auth failed".into()));
    // Many at once, of whom half leave without their answer.
    let mut wires: Vec<Wire> = (0..20).map(|_| Wire::connect(node.clients)).collect();
    for wire in &mut wires {
        wire.send(&get("/sse", &[("Authorization", "Bearer s-eve")]));
    }
    wires.truncate(10);
    assert!(wires.iter_mut().all(|wire| wire.answer().unwrap().status == 401));
    node.wait_for_metric("holdfast_handshakes_waiting", 0.0);
}

#[test]
fn the_pages_authenticator_is_that_of_the_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/auth.md")).unwrap();
    let code = fs::read_to_string(root.join("examples/session_auth.rs")).unwrap();
    let blocks = page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    assert!(
        blocks.filter(|block| code.contains(block.trim())).count() == 1,
        "it is there as it is in the example"
    );
}
