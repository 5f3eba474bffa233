//! The client port before anybody is connected: what is let in, and how the rest is refused.

use crate::{
    client::{ACCEPT, KEY, Sse, Ws, get, upgrade},
    http::{Answer, Wire},
    node::{Node, PATIENCE, Plan},
};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Sends bytes on a connection of their own; the answer must be a whole refusal, after which the server closes.
fn refused(node: &Node, request: &[u8]) -> Answer {
    let mut wire = Wire::connect(node.clients);
    wire.send(request);
    let answer = wire.answer().unwrap_or_else(|silence| {
        panic!("{silence:?} after {:?}", String::from_utf8_lossy(&request[..request.len().min(200)]))
    });
    wire.assert_closed();
    answer
}

fn assert_refused(node: &Node, request: &[u8], status: u16) -> Answer {
    let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    let answer = refused(node, request);
    assert_eq!(answer.status, status, "{shown:?}");
    assert_eq!(answer.body, b"", "{shown:?}");
    assert!(
        answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
        "{answer:?}"
    );
    answer
}

#[test]
fn a_websocket_is_accepted_as_rfc_6455_says() {
    let node = Node::start(&[]);
    let ws = Ws::user(&node, "ada", "");
    assert_eq!(ws.head.status, 101);
    assert_eq!(ws.head.header("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
    assert_eq!(ws.head.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(ws.head.header("sec-websocket-accept"), Some(ACCEPT));
    assert_eq!(ws.head.header("sec-websocket-protocol"), None);
    assert_eq!(ws.head.header("sec-websocket-extensions"), None);
}

#[test]
fn an_unknown_subprotocol_is_not_selected() {
    let node = Node::start(&[]);
    let ws = Ws::open(&node, "/ws?user=ada", &[("Sec-WebSocket-Protocol", "chat, superchat")]);
    assert_eq!(ws.head.header("sec-websocket-protocol"), None);
}

#[test]
fn header_names_and_token_lists_are_read_without_regard_to_case() {
    let node = Node::start(&[]);
    let request = format!(
        "GET /ws HTTP/1.1\r\nhOST: x\r\nupgrade: WebSocket\r\nCONNECTION: keep-alive, upgrade\r\n\
         sec-websocket-key: {KEY}\r\nsec-websocket-version: 13\r\nx-customer_id: ada\r\n\r\n"
    );
    let mut wire = Wire::connect(node.clients);
    wire.send(request.as_bytes());
    assert_eq!(wire.head().unwrap().status, 101);
}

#[test]
fn query_strings_name_user_and_device_and_the_header_comes_first() {
    let node = Node::start(&[]);
    let _ws = Ws::open(&node, "/ws?device=tv%20set&user=grace%2Fh", &[]);
    let devices = node.ask("GET", "/v1/users/grace%2Fh/devices", b"").json();
    assert_eq!(devices["user"], "grace/h");
    assert_eq!(devices["devices"][0]["device"], "tv set");
    let _ws = Ws::open(&node, "/ws?user=other&device=a", &[("X-CUSTOMER_ID", "ada"), ("X-DEVICE-ID", "b")]);
    assert_eq!(node.ask("GET", "/v1/users/ada/devices", b"").json()["devices"][0]["device"], "b");
    assert_eq!(node.ask("GET", "/v1/users/other/devices", b"").status, 404);
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let node = Node::start(&[]);
    let mut wire = Wire::connect(node.clients);
    for byte in upgrade("/ws?user=ada", &[]) {
        wire.send(&[byte]);
    }
    let mut ws = Ws::after_request(wire).unwrap();
    assert_eq!(node.push_one("ada/push", "here"), "written");
    assert_eq!(ws.text(), "here");
}

#[test]
fn malformed_requests_are_400() {
    let node = Node::start(&[]);
    let ws = |lines: &str| format!("GET /ws?user=a HTTP/1.1\r\nHost: x\r\n{lines}\r\n").into_bytes();
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    let version = "Sec-WebSocket-Version: 13\r\n";
    for request in [
        b"nonsense\r\n\r\n".to_vec(),
        b"GET  /ws HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"GET /ws HTTP/1.0\r\nHost: x\r\n\r\n".to_vec(),
        b"GET /ws HTTP/2.0\r\nHost: x\r\n\r\n".to_vec(),
        b"GET /sse?user=a HTTP/1.1\r\n\r\n".to_vec(),
        b"GET /sse?user=a HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n".to_vec(),
        b"GET /sse?user=a HTTP/1.1\r\nHost: x\r\nBad Name: x\r\n\r\n".to_vec(),
        b"GET /sse?user=a HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n".to_vec(),
        b"GET /sse?user=a HTTP/1.1\nHost: x\n\n".to_vec(),
        b"GET /sse?user=a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
        b"GET /sse?user=a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
        ws(""),
        ws(&format!("Upgrade: websocket\r\n{key}{version}")),
        ws(&format!("Connection: Upgrade\r\n{key}{version}")),
        ws(&format!("{upgrade}{version}")),
        ws(&format!("{upgrade}Sec-WebSocket-Key: short\r\n{version}")),
        ws(&format!("{upgrade}{key}{key}{version}")),
    ] {
        assert_refused(&node, &request, 400);
    }
}

#[test]
fn what_follows_a_request_before_its_answer_is_refused() {
    let node = Node::start(&[]);
    let mut request = upgrade("/ws?user=ada", &[]);
    request.extend_from_slice(b"GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_refused(&node, &request, 400);
    assert_eq!(node.metric("holdfast_connections{protocol=\"websocket\"}"), 0.0);
}

#[test]
fn users_and_devices_that_are_no_identifiers_are_400() {
    let node = Node::start(&[]);
    let long = "u".repeat(257);
    for target in [
        "/ws?user=".to_owned(),
        "/ws?user=a%00b".to_owned(),
        "/ws?user=a%0Ab".to_owned(),
        "/ws?user=%ff".to_owned(),
        format!("/ws?user={long}"),
        format!("/ws?user=ada&device={long}"),
        "/ws?user=ada&device=%7f".to_owned(),
    ] {
        assert_refused(&node, &upgrade(&target, &[]), 400);
    }
    assert_refused(&node, &get("/sse?user=a%00b", &[]), 400);
    let longest = "u".repeat(256);
    let _ws = Ws::open(&node, &format!("/ws?user={longest}"), &[]);
    assert_eq!(node.push_one(&format!("{longest}/push"), "x"), "written");
}

#[test]
fn without_an_identity_it_is_401() {
    let node = Node::start(&[]);
    assert_refused(&node, &upgrade("/ws", &[]), 401);
    assert_refused(&node, &get("/sse", &[]), 401);
    node.wait_for_metric("holdfast_handshakes_total{result=\"auth_failed\"}", 2.0);
}

#[test]
fn a_foreign_origin_is_403_where_origins_are_set_and_a_missing_one_is_no_browser() {
    let node = Node::start(&["clients.origins=https://app.example,https://*.sample.example"]);
    for origin in ["https://evil.example", "http://app.example", "https://sample.example", "null"] {
        assert_refused(&node, &upgrade("/ws?user=ada", &[("Origin", origin)]), 403);
        assert_refused(&node, &get("/sse?user=ada", &[("Origin", origin)]), 403);
    }
    for origin in ["https://app.example", "https://app.example:443", "https://a.b.sample.example"] {
        Ws::open(&node, "/ws?user=ada", &[("Origin", origin)]);
    }
    Ws::open(&node, "/ws?user=ada", &[]);
    let open = Node::start(&[]);
    Ws::open(&open, "/ws?user=ada", &[("Origin", "https://evil.example")]);
}

#[test]
fn other_paths_are_404() {
    let node = Node::start(&[]);
    for target in ["/", "/ws/", "/WS", "/wsx", "/sse/x", "/metrics", "/v1/stats", "/healthcheck/", "/push"] {
        assert_refused(&node, &get(target, &[("X-CUSTOMER_ID", "ada")]), 404);
    }
}

#[test]
fn other_methods_are_405_and_name_what_is_allowed() {
    let node = Node::start(&[]);
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "get"] {
        for path in ["/ws", "/sse", "/healthcheck"] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let answer = assert_refused(&node, request.as_bytes(), 405);
            assert_eq!(answer.header("allow"), Some("GET"), "{method} {path}");
        }
    }
}

#[test]
fn another_version_of_the_protocol_is_426_and_told_ours() {
    let node = Node::start(&[]);
    for version in ["8", "14"] {
        let request = String::from_utf8(upgrade("/ws?user=ada", &[])).unwrap();
        let request = request.replace("Version: 13", &format!("Version: {version}"));
        let answer = assert_refused(&node, request.as_bytes(), 426);
        assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    }
}

#[test]
fn a_head_over_the_limit_is_431_and_one_below_it_is_not() {
    let node = Node::start(&["limits.head_bytes=2KiB"]);
    let padding = "p".repeat(2_048);
    assert_refused(&node, &get("/sse?user=ada", &[("X-Padding", &padding)]), 431);
    // Endless without a line end.
    assert_refused(&node, padding.repeat(3).as_bytes(), 431);
    let lines = "X: y\r\n".repeat(150);
    let many = format!("GET /sse?user=ada HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    assert_refused(&node, many.as_bytes(), 431);
    let fits = &padding[..1_700];
    Ws::open(&node, "/ws?user=ada", &[("X-Padding", fits)]);
}

#[test]
fn a_slow_head_is_408() {
    let node = Node::start(&["limits.handshake_timeout=300ms"]);
    let began = Instant::now();
    let answer = assert_refused(&node, b"GET /ws?user=ada HTTP/1.1\r\nHost: x\r\n", 408);
    assert!(began.elapsed() >= Duration::from_millis(250), "{answer:?}");
    node.wait_for_metric("holdfast_handshakes_total{result=\"handshake_timeout\"}", 1.0);
}

#[test]
fn a_client_that_leaves_in_mid_head_costs_nothing() {
    let node = Node::start(&[]);
    for cut in [1, 20, 60] {
        let mut wire = Wire::connect(node.clients);
        wire.send(&upgrade("/ws?user=ada", &[])[..cut]);
    }
    node.wait_for_metric("holdfast_handshakes_total{result=\"client_gone\"}", 3.0);
    node.wait_for_metric("holdfast_timers", 0.0);
    assert_eq!(node.metric("holdfast_lent_bytes"), 0.0);
}

#[test]
fn a_health_check_needs_nobody() {
    let node = Node::start(&["limits.connections=1"]);
    let _full = Ws::user(&node, "ada", "");
    for target in ["/healthcheck", "/healthcheck?from=balancer"] {
        let answer = refused(&node, &get(target, &[]));
        assert_eq!((answer.status, answer.body.len()), (200, 0));
    }
}

#[test]
fn a_full_node_answers_503_with_a_jittered_delay() {
    let node = Node::start(&["limits.connections=1"]);
    let holder = Ws::user(&node, "ada", "");
    let mut delays = BTreeSet::new();
    for _ in 0..40 {
        let answer = assert_refused(&node, &upgrade("/ws?user=grace", &[]), 503);
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds));
        delays.insert(seconds);
    }
    assert!(delays.len() >= 4, "the delays are spread: {delays:?}");
    assert_eq!(node.metric("holdfast_utilization"), 1.0);
    holder.close();
    node.wait_for_metric("holdfast_connections{protocol=\"websocket\"}", 0.0);
    Ws::user(&node, "grace", "");
}

#[test]
fn an_event_stream_that_finds_no_place_gets_200_a_jittered_retry_and_the_end() {
    let node = Node::start(&["limits.connections=1"]);
    let _holder = Ws::user(&node, "ada", "");
    let mut delays = BTreeSet::new();
    for _ in 0..20 {
        let answer = refused(&node, &get("/sse?user=grace", &[]));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        let text = answer.text();
        let retry = text.strip_prefix("retry: ").and_then(|rest| rest.strip_suffix("\r\n\r\n"));
        delays.insert(retry.unwrap_or_else(|| panic!("{text:?}")).parse::<u64>().unwrap());
    }
    assert!(delays.len() >= 10, "the delays are spread: {delays:?}");
    assert!(delays.iter().all(|delay| (500..=60_000).contains(delay)), "{delays:?}");
}

#[test]
fn handshakes_over_the_admission_rate_are_told_to_come_back_later() {
    let node = Node::start(&["limits.handshakes_per_second=5"]);
    let mut open = Vec::new();
    let mut refusals = 0;
    for number in 0..20 {
        match Ws::try_open(Wire::connect(node.clients), &format!("/ws?user=u{number}"), &[]) {
            Ok(ws) => open.push(ws),
            Err(answer) => {
                assert_eq!(answer.status, 503);
                assert!(answer.header("retry-after").is_some());
                refusals += 1;
            }
        }
    }
    // Five at once, and five more for each second that the loop took.
    assert!(open.len() >= 5 && refusals >= 1, "{} open, {refusals} refused", open.len());
    node.wait_for_metric("holdfast_handshakes_total{result=\"admission_rate\"}", f64::from(refusals));
    let stream = refused(&node, &get("/sse?user=late", &[]));
    assert_eq!(stream.status, 200);
    // The rate lets others in later.
    crate::node::until("a place", || Ws::try_open(Wire::connect(node.clients), "/ws?user=late", &[]).ok());
}

#[test]
fn waiting_handshakes_are_bounded() {
    let node = Node::start(&["limits.unauthenticated=2"]);
    let begin = || {
        let mut wire = Wire::connect(node.clients);
        wire.send(b"GET /ws?user=ada HTTP/1.1\r\n");
        wire
    };
    let mut waiting: Vec<Wire> = (0..8).map(|_| begin()).collect();
    // The surplus is turned away; those within the bound may go on.
    crate::node::until("refusals", || {
        (node.metric("holdfast_handshakes_total{result=\"full\"}") >= 5.0).then_some(())
    });
    let mut let_in = 0;
    for wire in &mut waiting {
        let rest = format!(
            "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        );
        if wire.try_send(rest.as_bytes()) && wire.head().is_ok_and(|head| head.status == 101) {
            let_in += 1;
        }
    }
    assert!((1..=3).contains(&let_in), "{let_in} were let in");
}

#[test]
fn a_request_that_is_refused_in_the_middle_still_hears_why() {
    let node = Node::start(&["limits.head_bytes=1KiB"]);
    // Far more than is read of it: the answer must not be lost to a reset.
    let mut wire = Wire::connect(node.clients);
    let flood = vec![b'a'; 256 * 1024];
    wire.try_send(&flood);
    assert_eq!(wire.head().unwrap().status, 431);
    assert!(wire.read_to_end(PATIENCE));
}

#[test]
fn several_client_ports_lead_to_the_same_node() {
    let node = Plan::new(&[]).client_ports(2).start();
    let log = node.log();
    let addresses: BTreeSet<SocketAddr> = log
        .split(|at: char| at.is_whitespace() || at == '"' || at == '=')
        .filter_map(|word| word.parse().ok())
        .filter(|address| *address != node.internal)
        .collect();
    assert_eq!(addresses.len(), 2, "{log}");
    let streams: Vec<Sse> =
        addresses.iter().map(|&address| Sse::on(Wire::connect(address), "/sse?user=ada", &[])).collect();
    assert_eq!(node.push("ada/push", "x").1.len(), streams.len());
}
