//! PROXY protocol, versions 1 and 2: a layer-4 balancer says who the client is.

use crate::{
    client::{Ws, get, upgrade},
    http::{Answer, Wire},
    node::Node,
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A version 1 header.
fn v1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 198.51.100.1 5555 7001\r\n").into_bytes()
}

/// A version 2 header of a TCP connection over IPv4, with TLVs after the addresses.
fn v2(client: [u8; 4], tlvs: &[u8]) -> Vec<u8> {
    let mut addresses = client.to_vec();
    addresses.extend_from_slice(&[198, 51, 100, 1]);
    addresses.extend_from_slice(&5_555u16.to_be_bytes());
    addresses.extend_from_slice(&7_001u16.to_be_bytes());
    addresses.extend_from_slice(tlvs);
    v2_of(0x21, 0x11, &addresses)
}

fn v2_of(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend_from_slice(&[command, family]);
    header.extend_from_slice(&(rest.len() as u16).to_be_bytes());
    header.extend_from_slice(rest);
    header
}

fn v2_ipv6(client: u16) -> Vec<u8> {
    let mut addresses = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    addresses.extend_from_slice(&client.to_be_bytes());
    addresses.extend_from_slice(&[0; 16]);
    addresses.extend_from_slice(&[0, 1, 0, 2]);
    v2_of(0x21, 0x21, &addresses)
}

fn open(node: &Node, header: &[u8], user: &str) -> Result<Ws, Answer> {
    let mut wire = Wire::connect(node.clients);
    wire.send(&[header, &upgrade(&format!("/ws?user={user}"), &[])].concat());
    Ws::after_request(wire)
}

fn status(result: Result<Ws, Answer>) -> u16 {
    result.map_or_else(|answer| answer.status, |ws| ws.head.status)
}

/// Every way in which a header may name an address.
fn headers() -> Vec<Vec<u8>> {
    vec![
        v1("192.0.2.1"),
        b"PROXY TCP6 2001:db8::1 2001:db8::2 5555 7001\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff:f::f ffff:f::f 65535 65535\r\n".to_vec(),
        v2([192, 0, 2, 1], b""),
        v2([192, 0, 2, 1], b"\x04\x00\x03abc\xe0\x00\x01x"),
        v2_ipv6(1),
        v2_of(0x20, 0x00, b""),
        v2_of(0x20, 0x11, &[0; 12]),
    ]
}

#[test]
fn accepted_is_either_version_from_a_trusted_network_and_none_at_all() {
    let node = Node::start(&["clients.proxy_protocol=accept"]);
    for header in headers() {
        assert_eq!(status(open(&node, &header, "ada")), 101, "{:?}", String::from_utf8_lossy(&header));
    }
    assert_eq!(status(open(&node, b"", "ada")), 101);
}

#[test]
fn required_means_that_it_must_be_there() {
    let node = Node::start(&["clients.proxy_protocol=require"]);
    for header in headers() {
        assert_eq!(status(open(&node, &header, "ada")), 101, "{:?}", String::from_utf8_lossy(&header));
    }
    assert_eq!(status(open(&node, b"", "ada")), 400);
    let mut wire = Wire::connect(node.clients);
    wire.send(&get("/sse?user=ada", &[]));
    assert_eq!(wire.answer().unwrap().status, 400);
    wire.assert_closed();
}

#[test]
fn off_means_that_it_is_no_request() {
    let node = Node::start(&[]);
    for header in headers() {
        assert_eq!(status(open(&node, &header, "ada")), 400, "{:?}", String::from_utf8_lossy(&header));
    }
}

#[test]
fn from_elsewhere_it_is_neither_believed_nor_required() {
    for mode in ["accept", "require"] {
        let mode = format!("clients.proxy_protocol={mode}");
        let node = Node::start(&[&mode, "clients.proxy_from=10.0.0.0/8"]);
        assert_eq!(status(open(&node, b"", "ada")), 101);
        assert_eq!(status(open(&node, &v1("192.0.2.1"), "ada")), 400);
        assert_eq!(status(open(&node, &v2([192, 0, 2, 1], b""), "ada")), 400);
    }
}

#[test]
fn a_malformed_header_is_400() {
    let node = Node::start(&["clients.proxy_protocol=accept"]);
    for header in [
        &b"PROXY TCP4 1.2.3.4\r\n"[..],
        b"PROXY TCP4 1.2.3.999 1.2.3.4 1 2\r\n",
        b"PROXY TCP9 1.2.3.4 1.2.3.4 1 2\r\n",
        &[b"PROXY TCP4 ", &[b'1'; 120][..], b"\r\n"].concat(),
        &v2_of(0x31, 0x11, &[0; 12]),
        &v2_of(0x21, 0x11, &[0; 4]),
    ] {
        assert_eq!(status(open(&node, header, "ada")), 400, "{:?}", String::from_utf8_lossy(header));
    }
}

#[test]
fn a_header_may_come_byte_by_byte_before_the_head() {
    let node = Node::start(&["clients.proxy_protocol=require"]);
    for header in [v1("192.0.2.1"), v2([192, 0, 2, 1], b"\x04\x00\x03abc")] {
        let mut wire = Wire::connect(node.clients);
        for byte in [header, upgrade("/ws?user=ada", &[])].concat() {
            wire.send(&[byte]);
        }
        assert_eq!(status(Ws::after_request(wire)), 101);
    }
}

#[test]
fn the_limit_per_address_counts_the_clients_address() {
    let node = Node::start(&["clients.proxy_protocol=accept", "limits.connections_per_address=1"]);
    let _first = open(&node, &v1("192.0.2.1"), "a").unwrap();
    let _second = open(&node, &v1("192.0.2.2"), "b").unwrap();
    let _third = open(&node, &v2([192, 0, 2, 3], b""), "c").unwrap();
    let _sixth = open(&node, &v2_ipv6(1), "d").unwrap();
    assert_eq!(status(open(&node, &v1("192.0.2.1"), "e")), 503);
    assert_eq!(status(open(&node, &v2([192, 0, 2, 2], b""), "f")), 503);
    // The balancer's own health check, and what keeps the peer's address, count as the balancer.
    let _own = open(&node, b"PROXY UNKNOWN\r\n", "g").unwrap();
    assert_eq!(status(open(&node, &v2_of(0x20, 0x00, b""), "h")), 503);
}
