use super::{Event, sse, ws};
use proptest::prelude::*;

/// Events with the bytes they hold.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Owned {
    Push(Vec<u8>),
    Goaway,
    Ping(Vec<u8>),
    Close(u16),
    End,
    Other,
}

fn owned(event: Event<'_>) -> Owned {
    match event {
        Event::Push(body) => Owned::Push(body.to_vec()),
        Event::Goaway => Owned::Goaway,
        Event::Ping(body) => Owned::Ping(body.to_vec()),
        Event::Close(code) => Owned::Close(code),
        Event::End => Owned::End,
        Event::Other => Owned::Other,
    }
}

fn frame(op: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | op];
    match payload.len() {
        short @ 0..=125 => out.push(short as u8),
        medium @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

#[test]
fn frames_are_read_at_every_cut() {
    let long = vec![b'x'; 70_000];
    let table: [(Vec<u8>, Owned); 8] = [
        (frame(1, b"hello"), Owned::Push(b"hello".to_vec())),
        (frame(2, &[0xff; 126]), Owned::Push(vec![0xff; 126])),
        (frame(1, &long), Owned::Push(long.clone())),
        (frame(1, b"_CLOSE_"), Owned::Goaway),
        (frame(9, b"p"), Owned::Ping(b"p".to_vec())),
        (frame(10, b""), Owned::Other),
        (frame(8, b""), Owned::Close(ws::NO_CODE)),
        (frame(8, b"\x0f\xa1displaced"), Owned::Close(4001)),
    ];
    for (bytes, expected) in table {
        for cut in (0..bytes.len()).step_by(1 + bytes.len() / 50) {
            assert_eq!(ws::next(&bytes[..cut]), Ok(None));
        }
        let (event, used) = ws::next(&bytes).unwrap().unwrap();
        assert_eq!((owned(event), used), (expected, bytes.len()));
    }
}

#[test]
fn what_a_server_must_not_send_is_a_fault() {
    let bad: [&[u8]; 12] = [
        b"\xc1\x00",                 // compressed
        b"\x81\x80\x00\x00\x00\x00", // masked
        b"\x01\x01a",                // a first fragment
        b"\x80\x01a",                // a continuation
        b"\x83\x00",                 // a reserved opcode
        b"\x89\x7e\x00\x7e",         // a long ping
        b"\x81\x7e\x00\x05hello",    // a length not in its shortest form
        b"\x81\x7f\x00\x00\x00\x00\x00\x00\xff\xff",
        b"\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00",
        b"\x81\x01\xff",         // not UTF-8
        b"\x88\x01\x03",         // half a code
        b"\x88\x03\x03\xe8\xff", // a reason that is not UTF-8
    ];
    for bytes in bad {
        assert!(ws::next(bytes).is_err(), "{bytes:x?}");
    }
}

#[test]
fn a_client_masks_what_it_sends() {
    let mut out = Vec::new();
    ws::write_close(&mut out, 1000, [1, 2, 3, 4]);
    assert_eq!(out, [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe8 ^ 2]);
    out.clear();
    ws::write_close(&mut out, ws::NO_CODE, [1, 2, 3, 4]);
    assert_eq!(out, [0x88, 0x80, 1, 2, 3, 4]);
    out.clear();
    ws::write_pong(&mut out, b"a", [1, 2, 3, 4]);
    assert_eq!(out, [0x8a, 0x81, 1, 2, 3, 4, b'a' ^ 1]);
}

fn chunked(text: &str, sizes: &[usize]) -> Vec<u8> {
    let (mut out, mut rest, mut turn) = (Vec::new(), text.as_bytes(), sizes.iter().cycle());
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(rest.len().min(*turn.next().unwrap()));
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        rest = after;
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// Feeds a stream in pieces, as a connection does that keeps what was not used.
fn read_stream(bytes: &[u8], pieces: &[usize]) -> Result<Vec<Owned>, super::Fault> {
    let (mut held, mut text, mut joined, mut events) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut rest, mut turn) = (bytes, pieces.iter().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(*turn.next().unwrap()));
        held.extend_from_slice(piece);
        let used = sse::feed(&held, &mut text, &mut joined, &mut |event| events.push(owned(event)))?;
        held.drain(..used);
        rest = after;
    }
    assert!(held.is_empty() && text.is_empty());
    Ok(events)
}

const STREAM: &str = "retry: 7502\r\n\r\nevent: push\r\nid: m-1\r\ndata: one\r\ndata: \r\ndata: two\r\n\r\n\
    event: ping\r\ndata: ping\r\n\r\nretry: 20\r\nevent: goaway\r\ndata: _CLOSE_\r\n\r\n\
    event: close\r\ndata: 4001 displaced\r\n\r\n";

proptest! {
    #[test]
    fn a_stream_is_read_whatever_its_chunks_and_pieces(
        sizes in prop::collection::vec(1usize..60, 1..5), pieces in prop::collection::vec(1usize..60, 1..5),
    ) {
        let events = read_stream(&chunked(STREAM, &sizes), &pieces).unwrap();
        let expected = [
            Owned::Other, Owned::Push(b"one\n\ntwo".to_vec()), Owned::Other, Owned::Goaway, Owned::Close(4001), Owned::End,
        ];
        prop_assert_eq!(events, expected);
    }

    #[test]
    fn no_bytes_can_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = ws::next(&bytes);
        let _ = sse::feed(&bytes, &mut Vec::new(), &mut Vec::new(), &mut |_| {});
    }
}

#[test]
fn a_stream_that_is_not_as_promised_is_a_fault() {
    let bad = [
        "event: push\ndata: a\r\n\r\n",
        "event: push\r\n\r\n",
        "event: push\r\nwhat: a\r\n\r\n",
        "event: other\r\ndata: a\r\n\r\n",
        "event: goaway\r\ndata: later\r\n\r\n",
        "event: close\r\ndata: soon\r\n\r\n",
        "retry: soon\r\n\r\n",
    ];
    for text in bad {
        assert!(read_stream(&chunked(text, &[1000]), &[1000]).is_err(), "{text:?}");
    }
    assert!(sse_holds(b"5\r\nhello"), "it is waited for the rest");
    assert!(feed_fails(b"zz\r\n"));
    assert!(feed_fails(b"5\r\nhelloXX"));
    assert!(feed_fails(b"+5\r\n"));
    assert!(feed_fails(&[b'1'; 40]));
    assert!(feed_fails(b"2\r\nab\r\n0\r\n\r\n"), "it ends within an event");
}

fn sse_holds(bytes: &[u8]) -> bool {
    sse::feed(bytes, &mut Vec::new(), &mut Vec::new(), &mut |_| {}) == Ok(0)
}

fn feed_fails(bytes: &[u8]) -> bool {
    sse::feed(bytes, &mut Vec::new(), &mut Vec::new(), &mut |_| {}).is_err()
}
