//! WebSocket frames from clients: what RFC 6455 asks for, and what it forbids.

use crate::{
    client::{BINARY, CLOSE, PING, PONG, TEXT, Ws, masked},
    node::{Node, PATIENCE},
};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

const OFFER: (&str, &str) = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits");

fn echoing() -> Node {
    Node::start(&["clients.echo_all=true", "limits.message_bytes=8KiB"])
}

#[test]
fn fragments_are_put_together_with_control_frames_between_them() {
    let node = echoing();
    let mut ws = Ws::user(&node, "ada", "");
    ws.send_raw(&masked(false, false, TEXT, "grü".as_bytes()));
    ws.send_raw(&masked(true, false, PING, b"?"));
    // A character may be cut between two frames.
    ws.send_raw(&masked(false, false, 0, &"ß".as_bytes()[..1]));
    ws.send_raw(&masked(true, false, 0, &"ß".as_bytes()[1..]));
    let pong = ws.frame(PATIENCE).unwrap();
    assert_eq!((pong.op, pong.payload), (PONG, b"?".to_vec()));
    assert_eq!(ws.text(), "grüß");
}

#[test]
fn frames_may_come_byte_by_byte_or_many_at_once() {
    let node = echoing();
    let mut ws = Ws::user(&node, "ada", "");
    for byte in masked(true, false, TEXT, &[b'x'; 300]) {
        ws.send_raw(&[byte]);
    }
    assert_eq!(ws.text(), "x".repeat(300));
    let many: Vec<u8> =
        (0..50).flat_map(|number| masked(true, false, TEXT, format!("{number}").as_bytes())).collect();
    ws.send_raw(&many);
    for number in 0..50 {
        assert_eq!(ws.text(), number.to_string());
    }
    ws.send(BINARY, &[0, 255]);
    let frame = ws.next(PATIENCE).unwrap();
    assert_eq!((frame.op, frame.payload), (BINARY, vec![0, 255]));
}

#[test]
fn a_close_is_answered_with_its_code_and_the_end() {
    let node = echoing();
    for code in [1000u16, 1001, 3000, 4999] {
        let mut ws = Ws::user(&node, "ada", "");
        ws.send(CLOSE, &[&code.to_be_bytes()[..], b"bye"].concat());
        assert_eq!(ws.close_frame().0, code);
        ws.assert_end();
    }
    let mut ws = Ws::user(&node, "ada", "");
    ws.send(CLOSE, b"");
    let frame = ws.frame(PATIENCE).unwrap();
    assert_eq!((frame.op, frame.payload.len()), (CLOSE, 0));
    ws.assert_end();
    node.wait_for_metric("holdfast_closes_total{reason=\"client_closed\"}", 5.0);
}

#[test]
fn violations_end_with_the_code_that_the_rfc_names() {
    let node = echoing();
    let mut unmasked = masked(true, false, TEXT, b"hi");
    unmasked[1] &= 0x7f;
    let mut reserved_bit = masked(true, false, TEXT, b"hi");
    reserved_bit[0] |= 0x20;
    let mut long_form = vec![0x81, 0xfe, 0, 2, 0, 0, 0, 0];
    long_form.extend_from_slice(b"hi");
    for (bytes, code, what) in [
        (unmasked, 1002, "unmasked"),
        (reserved_bit, 1002, "reserved bit"),
        (masked(true, true, TEXT, b"hi"), 1002, "compressed without the extension"),
        (masked(true, false, 3, b""), 1002, "reserved opcode"),
        (masked(true, false, 11, b""), 1002, "reserved control opcode"),
        (masked(true, false, 0, b"x"), 1002, "continuation of nothing"),
        (masked(false, false, PING, b""), 1002, "fragmented ping"),
        (masked(true, false, PING, &[0; 126]), 1002, "long ping"),
        (masked(true, false, CLOSE, &[3]), 1002, "close of one byte"),
        (masked(true, false, CLOSE, &1005u16.to_be_bytes()), 1002, "reserved close code"),
        (masked(true, false, CLOSE, &999u16.to_be_bytes()), 1002, "low close code"),
        (masked(true, false, CLOSE, &[3, 0xe8, 0xff]), 1007, "close reason that is not UTF-8"),
        (masked(true, false, TEXT, &[0xc3, 0x28]), 1007, "text that is not UTF-8"),
        (masked(true, false, TEXT, &[b'x'; 8_193]), 1009, "message over the limit"),
        (long_form, 1002, "length not in its shortest form"),
    ] {
        let mut ws = Ws::user(&node, "ada", "");
        ws.send_raw(&bytes);
        assert_eq!(ws.close_frame().0, code, "{what}");
        ws.shut_write();
        ws.assert_end();
    }
    let mut ws = Ws::user(&node, "ada", "");
    ws.send_raw(&masked(false, false, TEXT, b"a"));
    ws.send_raw(&masked(true, false, TEXT, b"b"));
    assert_eq!(ws.close_frame().0, 1002, "a message within a message");
    let mut ws = Ws::user(&node, "ada", "");
    ws.send_raw(&masked(false, false, TEXT, &[b'a'; 8_000]));
    ws.send_raw(&masked(true, false, 0, &[b'a'; 200]));
    assert_eq!(ws.close_frame().0, 1009, "fragments over the limit");
}

#[test]
fn the_limit_on_messages_allows_what_it_names() {
    let node = echoing();
    let mut ws = Ws::user(&node, "ada", "");
    ws.send(TEXT, &[b'x'; 8_192]);
    assert_eq!(ws.text().len(), 8_192);
}

#[test]
fn more_frames_than_the_inbound_rate_end_it_with_1008() {
    let node = Node::start(&["limits.inbound_rate=20"]);
    let mut ws = Ws::user(&node, "ada", "");
    for _ in 0..100 {
        if !ws.try_send(TEXT, b"x") {
            break;
        }
    }
    assert_eq!(ws.close_frame().0, 1008);
    node.wait_for_metric("holdfast_closes_total{reason=\"inbound_rate\"}", 1.0);
}

#[test]
fn deflate_is_negotiated_without_a_context_either_way() {
    let node = Node::start(&[]);
    let ws = Ws::open(&node, "/ws?user=ada", &[OFFER]);
    let agreed = ws.head.header("sec-websocket-extensions").expect("the extension");
    assert!(agreed.starts_with("permessage-deflate"), "{agreed}");
    assert!(
        agreed.contains("server_no_context_takeover") && agreed.contains("client_no_context_takeover"),
        "{agreed}"
    );
    let off = Node::start(&["clients.deflate=false"]);
    let ws = Ws::open(&off, "/ws?user=ada", &[OFFER]);
    assert_eq!(ws.head.header("sec-websocket-extensions"), None);
}

#[test]
fn large_pushes_are_compressed_for_who_asked_and_small_ones_are_not() {
    let node = Node::start(&[]);
    let mut deflating = Ws::open(&node, "/ws?user=ada&device=a", &[OFFER]);
    let mut plain = Ws::user(&node, "ada", "b");
    let body = "a message that repeats itself; ".repeat(200);
    for _ in 0..2 {
        assert_eq!(node.push("ada/push", &body).1.len(), 2);
        let frame = deflating.next(PATIENCE).unwrap();
        assert!(frame.fin && frame.compressed && frame.op == TEXT);
        assert!(frame.payload.len() < body.len() / 4, "{} bytes", frame.payload.len());
        assert_eq!(inflate(&frame.payload), body.as_bytes());
        assert_eq!(plain.text(), body);
    }
    node.push("ada/push", "short");
    assert_eq!(deflating.text(), "short");
}

#[test]
fn compressed_messages_of_clients_are_understood_and_bounded() {
    let node = echoing();
    let mut ws = Ws::open(&node, "/ws?user=ada", &[OFFER]);
    let body = "client ".repeat(500);
    for _ in 0..2 {
        ws.send_raw(&masked(true, true, TEXT, &deflate(body.as_bytes())));
        let frame = ws.next(PATIENCE).unwrap();
        let payload = if frame.compressed { inflate(&frame.payload) } else { frame.payload };
        assert_eq!(payload, body.as_bytes());
    }
    // A few hundred bytes that would become a megabyte.
    let bomb = deflate(&vec![b'x'; 1024 * 1024]);
    assert!(bomb.len() < 8_192);
    ws.send_raw(&masked(true, true, TEXT, &bomb));
    assert_eq!(ws.close_frame().0, 1009);
    let mut ws = Ws::open(&node, "/ws?user=ada", &[OFFER]);
    ws.send_raw(&masked(true, true, TEXT, b"\xff\xff\xff\xff\xff\xff"));
    assert!(matches!(ws.close_frame().0, 1002 | 1007));
}

/// RFC 7692 7.2.1: raw deflate without the last four bytes of an empty block.
fn deflate(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 64);
    Compress::new(Compression::best(), false).compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

fn inflate(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024 * 1024);
    let whole = [payload, &[0, 0, 0xff, 0xff]].concat();
    Decompress::new(false).decompress_vec(&whole, &mut out, FlushDecompress::Sync).unwrap();
    out
}
