//! Too much of what is allowed: each peer is held to its share, and a well-behaved connection beside it notices nothing.

use crate::{
    bystander::{Bystander, assert_not_grown, resident_kib},
    client::{PING, TEXT, Ws, get, masked, upgrade},
    hostile::close_code_of,
    http::Wire,
    node::{Node, until},
};
use flate2::{Compress, Compression, FlushCompress};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

/// How long a flood waits for a node that reads no more.
const PATIENCE_OF_FLOOD: Duration = Duration::from_secs(1);
const OFFER: (&str, &str) = ("Sec-WebSocket-Extensions", "permessage-deflate");

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
fn a_flood_of_frames_is_held_to_its_rate_and_to_bounded_memory() {
    let ping = masked(true, false, PING, &[b'p'; 125]);
    for rate in ["100", "65000", "off"] {
        // One message of a million frames; pings whose answers nobody reads.
        for (what, first, flood) in [
            ("empty fragments", masked(false, false, TEXT, b""), masked(false, false, 0, b"").repeat(10_000)),
            ("pings", ping.clone(), ping.repeat(1_000)),
        ] {
            let node = Node::start(&[&format!("limits.inbound_rate={rate}")]);
            let mut beside = Bystander::of(&node);
            let before = resident_kib(&node);
            let mut deaf = Deaf::open(&node, "mallory");
            let mut taken = deaf.send(&first);
            for _ in 0..10 {
                taken = taken && (0..10).all(|_| deaf.send(&flood));
                beside.assert_unaware(&node, what);
            }
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
fn a_client_that_reads_a_byte_a_second_is_slow_and_in_nobodys_way() {
    let node = Node::start(&["delivery.timeout=300ms"]);
    let mut beside = Bystander::of(&node);
    let before = resident_kib(&node);
    let mut trickle = Deaf::open(&node, "trickle");
    let body = "x".repeat(250_000);
    let (began, mut read, mut slow) = (Instant::now(), 0, 0);
    while began.elapsed() < Duration::from_secs(4) {
        slow += u32::from(node.push_one("trickle/push", &body) == "slow");
        beside.assert_unaware(&node, "a byte");
        if began.elapsed() >= Duration::from_secs(read) {
            trickle.0.read_exact(&mut [0]).unwrap();
            read += 1;
        }
    }
    assert!(slow > 1, "what does not fit into the kernel is slow");
    assert_not_grown(&node, before);
    // Never more than the one message that was begun.
    assert!(node.metric("holdfast_outbox_bytes") <= 256_000.0);
    drop(trickle);
    node.wait_for_metric("holdfast_lent_bytes", 0.0);
    beside.assert_unaware(&node, "a client that reads a byte a second");
}

#[test]
fn handshakes_over_the_admission_rate_are_turned_away_and_those_inside_stay() {
    let node = Node::start(&["limits.handshakes_per_second=50"]);
    let mut beside = Bystander::of(&node);
    let before = resident_kib(&node);
    let (began, mut accepted, mut refused) = (Instant::now(), 0.0, 0.0);
    while began.elapsed() < Duration::from_secs(2) {
        for number in 0..50 {
            let mut wire = Wire::connect(node.clients);
            if number % 2 == 0 {
                match Ws::try_open(wire, "/ws?user=mallory", &[]) {
                    Ok(_) => accepted += 1.0,
                    Err(answer) => {
                        assert_eq!(answer.status, 503);
                        refused += 1.0;
                    }
                }
                continue;
            }
            // A refused stream is a whole answer; one that is let in has no length.
            wire.send(&get("/sse?user=mallory", &[]));
            let head = wire.head().unwrap();
            assert_eq!(head.status, 200);
            let whole = head.header("content-length").is_some();
            *(if whole { &mut refused } else { &mut accepted }) += 1.0;
        }
        beside.assert_unaware(&node, "handshakes over the rate");
    }
    let allowed = 50.0 * (began.elapsed().as_secs_f64() + 1.0);
    assert!(refused > 0.0 && accepted <= allowed, "{accepted} let in of {allowed}, {refused} refused");
    node.wait_for_metric("holdfast_handshakes_total{result=\"admission_rate\"}", refused);
    assert_eq!(node.metric("holdfast_handshakes_total{result=\"accepted\"}"), accepted + 2.0);
    assert_not_grown(&node, before);
    until("a place", || Ws::try_open(Wire::connect(node.clients), "/ws?user=late", &[]).ok());
    beside.assert_unaware(&node, "the flood's end");
}

#[test]
fn senders_who_do_not_go_on_lock_nobody_out() {
    let node = Node::start(&[]);
    let mut beside = Bystander::of(&node);
    let begun = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n";
    let mut stalls = 0;
    // More than the internal port holds, in three ways: silent, in the middle of a head, idle after a request.
    for (bytes, what) in [
        (&b""[..], "silent senders"),
        (begun, "half heads"),
        (&[begun, &b"\r\n"[..]].concat(), "idle senders"),
    ] {
        let mut all: Vec<Wire> = (0..1_100)
            .map(|_| {
                let began = Instant::now();
                let mut wire = Wire::connect(node.internal);
                stalls += u32::from(began.elapsed() > Duration::from_millis(900));
                wire.try_send(bytes);
                wire
            })
            .collect();
        // Time to read what they sent, after which all are what they seem.
        std::thread::sleep(Duration::from_millis(100));
        for _ in 0..10 {
            beside.assert_unaware(&node, what);
            assert_eq!(node.ask("GET", "/livez", b"").status, 200, "beside {what}");
        }
        all.clear();
    }
    // Linux sends a SYN again after a second, where a queue was full. Once may be the machine's.
    assert!(stalls <= 1, "{stalls} senders were tried again");
    assert!(!node.log().contains("the internal port is full"), "{}", node.log());
}
