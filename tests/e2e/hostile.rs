//! Peers that mean harm: each is refused or closed within bounds, and a well-behaved connection beside it notices nothing.

use crate::{
    client::{CLOSE, KEY, PING, Sse, TEXT, Ws, get, masked, upgrade},
    http::{Silence, Wire, find},
    node::{Node, PATIENCE},
};
use flate2::{Compress, Compression, FlushCompress};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

/// What one hostile peer may make the process grow by, in KiB.
const GROWTH_KIB: u64 = 10 * 1_024;
/// How long a flood waits for a node that reads no more.
const PATIENCE_OF_FLOOD: Duration = Duration::from_secs(1);
const OFFER: (&str, &str) = ("Sec-WebSocket-Extensions", "permessage-deflate");

/// Somebody who behaves, connected before the harm begins.
struct Bystander {
    ws: Ws,
    stream: Sse,
    pushes: u32,
}

impl Bystander {
    fn of(node: &Node) -> Self {
        let (ws, stream) = (Ws::user(node, "beside", "ws"), Sse::user(node, "beside", "sse"));
        Self { ws, stream, pushes: 0 }
    }

    /// Nothing came that is not theirs, and what is pushed to them comes.
    fn assert_unaware(&mut self, node: &Node, of: &str) {
        self.pushes += 1;
        let text = format!("still here {}", self.pushes);
        let written = |device: &str| (device.to_owned(), "written".to_owned());
        assert_eq!(node.push("beside/push", &text), (200, vec![written("sse"), written("ws")]), "after {of}");
        assert_eq!(self.ws.text(), text, "after {of}");
        assert_eq!(self.stream.event().data, text, "after {of}");
    }
}

/// Memory of the node's process, in KiB.
fn resident_kib(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A WebSocket client that sends and never reads, with little room in its kernel.
struct Deaf(TcpStream);

impl Deaf {
    fn open(node: &Node, user: &str) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.connect(&node.clients.into()).unwrap();
        let mut tcp = TcpStream::from(socket);
        tcp.set_write_timeout(Some(PATIENCE_OF_FLOOD)).unwrap();
        tcp.write_all(&upgrade(&format!("/ws?user={user}"), &[])).unwrap();
        let mut status = [0; 12];
        tcp.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 101");
        Self(tcp)
    }

    /// Whether all was taken: not by a node that has closed, nor by one that reads no more.
    fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }
}

fn assert_not_grown(node: &Node, before_kib: u64) {
    let after_kib = resident_kib(node);
    assert!(after_kib < before_kib + GROWTH_KIB, "from {before_kib} to {after_kib} KiB");
}

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
fn close_code_of(node: &Node, headers: &[(&str, &str)], bytes: &[u8]) -> u16 {
    let mut ws = Ws::open(node, "/ws?user=mallory", headers);
    ws.send_raw(bytes);
    let code = ws.close_frame().0;
    ws.shut_write();
    ws.assert_end();
    code
}

/// RFC 7692 7.2.1: zeros as raw deflate without the last four bytes of an empty block.
fn deflated_zeros(length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length / 500 + 1_024);
    let zeros = vec![0; length];
    Compress::new(Compression::best(), false).compress_vec(&zeros, &mut out, FlushCompress::Sync).unwrap();
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
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
        (sse("Content-Length: -1\r\n"), 400),
        (sse("Content-Length: 18446744073709551616\r\n"), 400),
        (sse("Host: y\r\n"), 400),
        (b"GET /sse?user=a HTTP/1.1\r\nHost: x\r\nX: a\n\r\n".to_vec(), 400),
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
        (reserved(0x40), &[1002], "RSV1"),
        (reserved(0x10), &[1002], "RSV3"),
        (reserved(0x70), &[1002], "all reserved bits"),
        (masked(true, false, PING, &[0; 126]), &[1002], "a ping of 126 bytes"),
        (masked(true, false, PING, &[0; 70_000]), &[1002], "a ping of 70,000 bytes"),
        (cut_text, &[1007], "UTF-8 that goes wrong in the second frame"),
        (ends_early, &[1007], "a character that never ends"),
        (surrogate, &[1007], "a surrogate over two frames"),
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
fn a_deflate_bomb_is_not_inflated() {
    let node = Node::start(&["clients.echo_all=true"]);
    let mut beside = Bystander::of(&node);
    let before = resident_kib(&node);
    // Sixty thousand bytes, or three times nine thousand, that would become sixty million.
    let bomb = deflated_zeros(60_000_000);
    assert!(bomb.len() < 65_536, "{} bytes", bomb.len());
    assert_eq!(close_code_of(&node, &[OFFER], &masked(true, true, TEXT, &bomb)), 1009);
    let third = deflated_zeros(9_000_000);
    let cut = [
        masked(false, true, TEXT, &third[..3_000]),
        masked(false, false, 0, &third[3_000..6_000]),
        masked(true, false, 0, &third[6_000..]),
    ];
    assert_eq!(close_code_of(&node, &[OFFER], &cut.concat()), 1009);
    assert_not_grown(&node, before);
    beside.assert_unaware(&node, "a deflate bomb");
}

#[test]
fn a_flood_of_frames_is_ended_for_its_rate_in_bounded_memory() {
    let ping = masked(true, false, PING, &[b'p'; 125]);
    for rate in ["100", "65000"] {
        // One message of a million frames; pings whose answers nobody reads.
        for (what, first, flood) in [
            ("empty fragments", masked(false, false, TEXT, b""), masked(false, false, 0, b"").repeat(10_000)),
            ("pings", ping.clone(), ping.repeat(1_000)),
        ] {
            let node = Node::start(&[&format!("limits.inbound_rate={rate}")]);
            let mut beside = Bystander::of(&node);
            let before = resident_kib(&node);
            let mut deaf = Deaf::open(&node, "mallory");
            let _all_taken = deaf.send(&first) && (0..100).all(|_| deaf.send(&flood));
            assert_not_grown(&node, before);
            beside.assert_unaware(&node, what);
            if rate == "100" {
                node.wait_for_metric("holdfast_closes_total{reason=\"inbound_rate\"}", 1.0);
            }
            drop(deaf);
            node.wait_for_metric("holdfast_connections{protocol=\"websocket\"}", 1.0);
            node.wait_for_metric("holdfast_lent_bytes", 0.0);
        }
    }
}

#[test]
fn a_client_that_never_reads_costs_an_outbox_and_no_more() {
    let node = Node::start(&["delivery.timeout=300ms", "clients.echo_all=true", "limits.inbound_rate=65000"]);
    let mut beside = Bystander::of(&node);
    let before = resident_kib(&node);
    let _deaf = Deaf::open(&node, "deaf");
    let body = "x".repeat(60_000);
    for _ in 0..100 {
        let outcome = node.push_one("deaf/push?timeout=10ms", &body);
        assert!(["written", "slow"].contains(&outcome.as_str()), "{outcome}");
    }
    // One that wants to hear everything again, and does not listen.
    let mut echoed = Deaf::open(&node, "echoed");
    let frame = masked(true, false, TEXT, body.as_bytes());
    let _all_taken = (0..300).all(|_| echoed.send(&frame));
    assert_not_grown(&node, before);
    beside.assert_unaware(&node, "clients that never read");
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
    assert_eq!(node.ask("POST", "/v1/users/beside/push", &[b'x'; 4_097]).status, 413);
    assert_eq!(node.ask("POST", "/v1/users/beside/push", &vec![b'x'; 2 * 1_024 * 1_024]).status, 413);
    assert_not_grown(&node, before);
    beside.assert_unaware(&node, "garbage on the internal port");
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
