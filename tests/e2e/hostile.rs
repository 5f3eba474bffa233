//! Bytes that are crafted to harm: each is refused or closed within bounds, and a well-behaved connection beside it notices
//! nothing.

use crate::{
    bystander::{Bystander, assert_not_grown, resident_kib},
    client::{CLOSE, KEY, PING, TEXT, Ws, get, masked, upgrade},
    http::{Silence, Wire, find},
    node::{Node, PATIENCE},
};
use std::time::{Duration, Instant};

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned()
}

/// Sends what may be cut off by the answer; gives the status, and asserts that the port closes after it.
fn status_of(node: &Node, request: &[u8]) -> u16 {
    let mut wire = Wire::connect(node.clients);
    wire.try_send(request);
    let answer = wire.answer().unwrap_or_else(|silence| panic!("{silence:?} after {:?}", shown(request)));
    wire.assert_closed();
    answer.status
}

/// Sends bytes as a user's WebSocket; gives the code of the close that comes of it.
pub fn close_code_of(node: &Node, headers: &[(&str, &str)], bytes: &[u8]) -> u16 {
    let mut ws = Ws::open(node, "/ws?user=mallory", headers);
    ws.send_raw(bytes);
    let code = ws.close_frame().0;
    ws.shut_write();
    ws.assert_end();
    code
}

#[test]
fn heads_that_are_crafted_are_refused() {
    let node = Node::start(&["limits.head_bytes=128KiB"]);
    let mut beside = Bystander::of(&node);
    let sse = |lines: &str| format!("GET /sse?user=a HTTP/1.1\r\nHost: x\r\n{lines}\r\n").into_bytes();
    let replaced = |from: &str, to: &str| {
        let text = String::from_utf8(upgrade("/ws?user=a", &[])).unwrap();
        assert!(text.contains(from));
        text.replace(from, to).into_bytes()
    };
    let long = "u".repeat(65_536);
    let target = |target: &str| get(target, &[]);
    for (request, status) in [
        (sse("X: a\r\n folded\r\n"), 400),
        (sse(" X: folded into nothing\r\n"), 400),
        (sse("X : a\r\n"), 400),
        (sse(": no name\r\n"), 400),
        (sse("X: a\rb\r\n"), 400),
        (sse("X\0: a\r\n"), 400),
        (sse("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"), 400),
        (sse("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), 400),
        (sse("Content-Length: 5\r\n\r\nhello"), 400),
        (sse("Content-Length: -1\r\n"), 400),
        (sse("Content-Length: 18446744073709551616\r\n"), 400),
        (sse("Host: y\r\n"), 400),
        (b"GET /sse?user=a HTTP/1.1\r\nHost: x\r\nX: a\n\r\n".to_vec(), 400),
        (b"GET /sse?user=a HTTP/1.1\nHost: x\n\n".to_vec(), 400),
        (b"GET /sse?user=a HTTP/1.1\r\nHost: x\r\n\n".to_vec(), 400),
        (b"GET /sse?user=a\0 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        (b"GET\0 /sse?user=a HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        (vec![0; 300], 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 400),
        (replaced("Version: 13", "Version: 12"), 426),
        (replaced("Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: websocket"), 400),
        (replaced("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket"), 400),
        (replaced("Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: h2c"), 400),
        (replaced("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 12"), 400),
        (replaced(KEY, &KEY[4..]), 400),
        (replaced(KEY, &format!("{KEY}{KEY}")), 400),
        (replaced(KEY, "!!!!!!!!!!!!!!!!!!!!!!=="), 400),
        // Identities: too long, and with the line end that would become a header of the answer.
        (target(&format!("/sse?user={long}")), 400),
        (get("/sse", &[("X-CUSTOMER_ID", &long)]), 400),
        (get("/sse?user=a", &[("X-DEVICE-ID", &long)]), 400),
        (target("/sse?user=a%0d%0aX-Injected:%20yes"), 400),
        (target("/sse?user=a&device=b%0d%0a%0d%0adata:%20yes"), 400),
        (get("/sse", &[("X-CUSTOMER_ID", "a\tb")]), 400),
        // Nothing is served from a file, whatever the path says.
        (target("/../../../../etc/passwd"), 404),
        (target("/ws/../../etc/passwd?user=a"), 404),
        (target("/%2e%2e/%2e%2e/etc/passwd"), 404),
        (target("/sse/..%2f..%2fetc/passwd"), 404),
    ] {
        assert_eq!(status_of(&node, &request), status, "{:?}", shown(&request));
        assert_eq!(node.metric("holdfast_connections{protocol=\"sse\"}"), 1.0, "{:?}", shown(&request));
    }
    beside.assert_unaware(&node, "crafted heads");
}

#[test]
fn heads_without_an_end_are_cut_off_in_bounded_memory() {
    let node = Node::start(&["limits.handshake_timeout=700ms"]);
    let mut beside = Bystander::of(&node);
    let before = resident_kib(&node);
    let long = "u".repeat(65_536);
    let lines = "X-Header: value\r\n".repeat(8 * 1_024 * 1_024 / 17);
    for request in [
        format!("GET /ws?user=a HTTP/1.1\r\nHost: x\r\n{lines}\r\n"),
        format!("GET /{} HTTP/1.1\r\n", "a".repeat(8 * 1_024 * 1_024)),
        format!("GET /ws?user={long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET /ws HTTP/1.1\r\nHost: x\r\nX-CUSTOMER_ID: {long}\r\n\r\n"),
    ] {
        let mut wire = Wire::connect(node.clients);
        wire.try_send(request.as_bytes());
        // Millions of bytes that nobody reads can cost the answer, but not the end.
        match wire.head() {
            Ok(head) => assert_eq!(head.status, 431),
            Err(silence) => assert_eq!(silence, Silence::Closed),
        }
    }
    // A line at a time, each before any time-out between bytes could end it.
    let mut wire = Wire::connect(node.clients);
    wire.send(b"GET /ws?user=a HTTP/1.1\r\nHost: x\r\n");
    let began = Instant::now();
    while wire.try_send(b"X: y\r\n") && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "cut off after {:?}", began.elapsed());
    assert_not_grown(&node, before);
    beside.assert_unaware(&node, "heads without an end");
}

#[test]
fn frames_that_are_crafted_end_their_own_connection_alone() {
    let node = Node::start(&["clients.echo_all=true"]);
    let mut beside = Bystander::of(&node);
    let before = resident_kib(&node);
    let announced = |length: u64| {
        let mut frame = vec![0x82, 0xff];
        frame.extend_from_slice(&length.to_be_bytes());
        [frame, vec![0; 64]].concat()
    };
    let unmasked = |op: u8| {
        let mut frame = masked(true, false, op, b"hi");
        frame[1] &= 0x7f;
        frame
    };
    let reserved = |bits: u8| {
        let mut frame = masked(true, false, TEXT, b"hi");
        frame[0] |= bits;
        frame
    };
    let cut_text =
        [masked(false, false, TEXT, &[b'a', 0xe2]), masked(true, false, 0, &[0x28, 0xa1])].concat();
    let ends_early = [masked(false, false, TEXT, &[0xe2, 0x82]), masked(true, false, 0, b"")].concat();
    let surrogate = [masked(false, false, TEXT, &[0xed]), masked(true, false, 0, &[0xa0, 0x80])].concat();
    for (bytes, codes, what) in [
        (announced(1 << 63), &[1002, 1009][..], "a length of 2^63"),
        (announced(u64::MAX), &[1002, 1009], "a length of 2^64 - 1"),
        (announced((1 << 63) - 1), &[1009], "a length of 2^63 - 1"),
        (announced(1 << 32), &[1009], "a length of 2^32"),
        (unmasked(TEXT), &[1002], "text without a mask"),
        (unmasked(PING), &[1002], "a ping without a mask"),
        (reserved(0x40), &[1002], "RSV1"),
        (reserved(0x20), &[1002], "RSV2"),
        (reserved(0x10), &[1002], "RSV3"),
        (reserved(0x70), &[1002], "all reserved bits"),
        (masked(true, false, PING, &[0; 126]), &[1002], "a ping of 126 bytes"),
        (masked(true, false, PING, &[0; 70_000]), &[1002], "a ping of 70,000 bytes"),
        (cut_text, &[1007], "UTF-8 that goes wrong in the second frame"),
        (ends_early, &[1007], "a character that never ends"),
        (surrogate, &[1007], "a surrogate over two frames"),
        (masked(true, false, CLOSE, &[3]), &[1002], "a close of one byte"),
        (masked(true, false, CLOSE, &1_005u16.to_be_bytes()), &[1002], "close 1005"),
        (masked(true, false, CLOSE, &1_006u16.to_be_bytes()), &[1002], "close 1006"),
        (masked(true, false, CLOSE, &1_015u16.to_be_bytes()), &[1002], "close 1015"),
        (masked(true, false, CLOSE, &5_000u16.to_be_bytes()), &[1002], "close 5000"),
        (masked(true, false, CLOSE, &0u16.to_be_bytes()), &[1002], "close 0"),
        (upgrade("/ws?user=beside&device=ws", &[]), &[1002], "a second handshake as a frame"),
    ] {
        let code = close_code_of(&node, &[], &bytes);
        assert!(codes.contains(&code), "{code} after {what}");
    }
    assert_not_grown(&node, before);
    beside.assert_unaware(&node, "crafted frames");
}

#[test]
fn garbage_on_the_internal_port_is_refused() {
    let node = Node::start(&["limits.push_bytes=4KiB"]);
    let mut beside = Bystander::of(&node);
    let before = resident_kib(&node);
    let lines = "X-Header: value\r\n".repeat(8 * 1_024 * 1_024 / 17);
    for garbage in [
        vec![0; 4_096],
        vec![0xff; 4_096],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(100),
        b"GET /metrics\r\n\r\n".to_vec(),
        b"GET /metrics HTTP/1.1\r\nHost: x\0\r\n\r\n".to_vec(),
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: a\r\n folded\r\n\r\n".to_vec(),
        b"POST /push HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_vec(),
        b"POST /push HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"POST /push HTTP/1.1\r\nHost: localhost\r\nX-CUSTOMER_ID: beside\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
            .to_vec(),
        b"PROXY TCP4 192.0.2.1 198.51.100.1 5555 7008\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").into_bytes(),
    ] {
        let mut wire = Wire::connect(node.internal);
        wire.try_send(&garbage);
        wire.shut_write();
        if let Ok(head) = wire.head() {
            assert!((400..500).contains(&head.status), "{} for {:?}", head.status, shown(&garbage));
        }
        assert!(wire.read_to_end(PATIENCE), "{:?}", shown(&garbage));
    }
    assert_not_grown(&node, before);
    beside.assert_unaware(&node, "garbage on the internal port");
}

#[test]
fn bodies_over_the_limit_are_413_and_not_kept() {
    let node = Node::start(&["limits.push_bytes=4KiB"]);
    let mut beside = Bystander::of(&node);
    let before = resident_kib(&node);
    for target in ["/v1/users/beside/push", "/v1/broadcast", "/push"] {
        for length in [4_097, 2 * 1_024 * 1_024] {
            let answer = node.ask_with("POST", target, &[("X-CUSTOMER_ID", "beside")], &vec![b'x'; length]);
            assert_eq!(answer.status, 413, "{length} to {target}");
        }
    }
    // Without a length, and never at an end: what is read of it is bounded too.
    let mut wire = Wire::connect(node.internal);
    wire.send(
        b"POST /v1/users/beside/push HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let chunk = [&b"10000\r\n"[..], &[b'x'; 0x1_0000], b"\r\n"].concat();
    let chunks = (0..1_024).take_while(|_| wire.try_send(&chunk)).count();
    assert!(chunks < 1_024, "64 MiB were taken");
    assert_not_grown(&node, before);
    beside.assert_unaware(&node, "bodies over the limit");
}

#[test]
fn targets_on_the_internal_port_neither_climb_nor_inject() {
    let node = Node::start(&[]);
    let mut beside = Bystander::of(&node);
    let long = "u".repeat(65_536);
    for (method, target, statuses) in [
        ("GET", "/../../../../etc/passwd", &[400, 404][..]),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", &[400, 404]),
        ("GET", "/v1/../metrics/../../etc/passwd", &[400, 404]),
        ("POST", "/v1/users/..%2f..%2fbeside/push", &[400, 404]),
        ("POST", "/v1/users/beside%00/push", &[400]),
        ("POST", "/v1/users/beside%0d%0aX-Injected:%20yes/push", &[400]),
        ("POST", "/v1/users/%ff/push", &[400]),
        ("POST", "/v1/users/beside/push?id=1%0d%0adata:%20injected", &[400]),
        ("POST", "/v1/users/beside/push?device=ws%0d%0aX-Injected:%20yes", &[400]),
        ("POST", "/v1/users/beside/push?collapse=%0d%0aX-Injected:%20yes", &[400]),
        ("POST", "/v1/users/beside/push?lane=%0d%0aX-Injected:%20yes", &[400]),
        ("POST", &format!("/v1/users/{long}/push"), &[400, 414, 431]),
        ("POST", &format!("/v1/users/beside/push?id={long}"), &[400, 414, 431]),
    ] {
        let answer = node.ask(method, target, b"never");
        let shown = shown(target.as_bytes());
        assert!(statuses.contains(&answer.status), "{} for {method} {shown}", answer.status);
        assert_eq!(answer.header("x-injected"), None, "{shown}");
        assert_eq!(find(&answer.body, b"root:"), None, "{shown}");
    }
    let answer = node.ask_with("POST", "/push", &[("X-CUSTOMER_ID", &long)], b"never");
    assert!([400, 431].contains(&answer.status), "{answer:?}");
    // What looks like fields of the stream stays data, line by line, and what looks like a frame stays text.
    let body = "a\r\nevent: close\r\ndata: 4001 displaced\r\n\r\nid: 7\rretry: 1\n\n:";
    assert_eq!(node.push("beside/push", body).0, 200);
    assert_eq!(beside.ws.text(), body);
    let event = beside.stream.event();
    assert_eq!((event.name.as_str(), event.id), ("push", None), "{:?}", event.data);
    assert_eq!(event.data, body.replace("\r\n", "\n").replace('\r', "\n"));
    beside.assert_unaware(&node, "targets that climb or inject");
}

#[test]
fn a_proxy_header_counts_once_and_only_at_the_beginning() {
    let node = Node::start(&["clients.proxy_protocol=accept", "limits.connections_per_address=2"]);
    let mut beside = Bystander::of(&node);
    let v1 = b"PROXY TCP4 192.0.2.1 198.51.100.1 5555 7001\r\n".to_vec();
    let v2 = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..],
        &[192, 0, 2, 1, 198, 51, 100, 1, 0x15, 0xb3, 0x1b, 0x59],
    ]
    .concat();
    let head = upgrade("/ws?user=mallory", &[]);
    for first in [&v1, &v2] {
        for second in [&v1, &v2] {
            assert_eq!(status_of(&node, &[&first[..], second, &head].concat()), 400);
        }
        assert_eq!(status_of(&node, &[&first[..], &head, first].concat()), 400, "in one write with the head");
    }
    // The places of the bystander's address are taken, and a line inside the head does not find another.
    let claims =
        [("Forwarded", "for=192.0.2.9"), ("X-Forwarded-For", "192.0.2.9"), ("X-Real-IP", "192.0.2.9")];
    assert_eq!(status_of(&node, &upgrade("/ws?user=mallory", &claims)), 503);
    // On an open WebSocket it is a frame, and no good one.
    let mut wire = Wire::connect(node.clients);
    wire.send(&[&v1[..], &head].concat());
    let mut ws = Ws::after_request(wire).unwrap();
    ws.send_raw(&v1);
    assert_eq!(ws.close_frame().0, 1002);
    beside.assert_unaware(&node, "PROXY headers out of their place");
}

#[test]
fn a_proxy_header_that_nobody_asked_for_is_no_request() {
    // Not expected at all, and not from there.
    for sets in [&[][..], &["clients.proxy_protocol=accept", "clients.proxy_from=10.0.0.0/8"]] {
        let node = Node::start(&[sets, &["limits.connections_per_address=2"]].concat());
        let mut beside = Bystander::of(&node);
        for header in [
            &b"PROXY TCP4 192.0.2.1 198.51.100.1 5555 7001\r\n"[..],
            b"PROXY UNKNOWN\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x01\x15\xb3\x1b\x59",
        ] {
            let request = [header, &upgrade("/ws?user=mallory", &[])].concat();
            assert_eq!(status_of(&node, &request), 400, "{:?}", shown(header));
        }
        assert_eq!(node.metric("holdfast_connections{protocol=\"websocket\"}"), 1.0);
        beside.assert_unaware(&node, "forged PROXY headers");
    }
}
