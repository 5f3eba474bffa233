use super::{Dialect, Event, Fault, sse, ws};
use proptest::prelude::*;

/// Events with the bytes they hold.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Owned {
    Push(Vec<u8>),
    Goaway,
    Ping(Vec<u8>),
    Close(u16),
    Retry(u32),
    End,
    Other,
}

fn owned(event: Event<'_>) -> Owned {
    match event {
        Event::Push(body) => Owned::Push(body.to_vec()),
        Event::Goaway => Owned::Goaway,
        Event::Ping(body) => Owned::Ping(body.to_vec()),
        Event::Close(code) => Owned::Close(code),
        Event::Retry(ms) => Owned::Retry(ms),
        Event::End => Owned::End,
        Event::Other => Owned::Other,
    }
}

const STRICT: sse::Rules = sse::Rules { dialect: Dialect::Holdfast, chunked: true };
const DIALECTS: [Dialect; 3] = [Dialect::Holdfast, Dialect::Zuul, Dialect::Plain];

fn frame(op: u8, payload: &[u8]) -> Vec<u8> {
    part(0x80 | op, payload)
}

/// A frame with this first byte.
fn part(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
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
            assert_eq!(read_frames(&bytes[..cut], Dialect::Holdfast), Ok((Vec::new(), 0)));
        }
        let twice = [bytes.clone(), bytes.clone()].concat();
        let events = vec![expected.clone(), expected];
        assert_eq!(read_frames(&twice, Dialect::Holdfast), Ok((events, twice.len())));
    }
}

/// The events of some frames, and how many bytes they take.
fn read_frames(bytes: &[u8], dialect: Dialect) -> Result<(Vec<Owned>, usize), Fault> {
    let (mut parts, mut events) = (Vec::new(), Vec::new());
    let used = ws::feed(bytes, dialect, &mut parts, &mut |event| events.push(owned(event)))?;
    Ok((events, used))
}

#[test]
fn only_who_knows_a_goaway_hears_it() {
    let bytes = frame(1, b"_CLOSE_");
    for dialect in DIALECTS {
        let expected =
            if dialect == Dialect::Plain { Owned::Push(b"_CLOSE_".to_vec()) } else { Owned::Goaway };
        assert_eq!(read_frames(&bytes, dialect), Ok((vec![expected], bytes.len())));
    }
}

#[test]
fn others_may_send_a_message_in_parts() {
    let bytes = [
        part(1, "a\u{e9}".as_bytes().split_at(2).0),
        frame(9, b"p"),
        part(0, b"\xa9"),
        frame(0, b""),
        frame(2, b"b"),
    ];
    let bytes = bytes.concat();
    let expected = vec![
        Owned::Ping(b"p".to_vec()),
        Owned::Push("a\u{e9}".as_bytes().to_vec()),
        Owned::Push(b"b".to_vec()),
    ];
    for dialect in [Dialect::Zuul, Dialect::Plain] {
        assert_eq!(read_frames(&bytes, dialect), Ok((expected.clone(), bytes.len())));
        let bad = [
            frame(0, b"a"),
            part(0, b"a"),
            [part(1, b"a"), frame(1, b"b")].concat(),
            [part(1, b"a"), part(1, b"b")].concat(),
            [part(1, b"\xff"), frame(0, b"")].concat(),
            part(9, b"a"),
        ];
        for bytes in bad {
            assert!(read_frames(&bytes, dialect).is_err(), "{bytes:x?}");
        }
    }
    assert!(read_frames(&bytes, Dialect::Holdfast).is_err(), "a node promises not to");
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
        assert!(read_frames(bytes, Dialect::Holdfast).is_err(), "{bytes:x?}");
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

fn chunked_text(text: &str, sizes: &[usize]) -> Vec<u8> {
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
fn read_stream(bytes: &[u8], pieces: &[usize]) -> Result<Vec<Owned>, Fault> {
    read_by(STRICT, bytes, pieces)
}

fn read_by(rules: sse::Rules, bytes: &[u8], pieces: &[usize]) -> Result<Vec<Owned>, Fault> {
    let (mut held, mut text, mut joined, mut events) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut rest, mut turn) = (bytes, pieces.iter().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(*turn.next().unwrap()));
        held.extend_from_slice(piece);
        let used = sse::feed(&held, rules, &mut text, &mut joined, &mut |event| events.push(owned(event)))?;
        held.drain(..used);
        rest = after;
    }
    assert!(held.is_empty() && matches!(text[..], [] | [b'\r']));
    Ok(events)
}

const STREAM: &str = "retry: 7502\r\n\r\nevent: push\r\nid: m-1\r\ndata: one\r\ndata: \r\ndata: two\r\n\r\n\
    event: ping\r\ndata: ping\r\n\r\nretry: 20\r\nevent: goaway\r\ndata: _CLOSE_\r\n\r\n\
    event: close\r\ndata: 4001 displaced\r\n\r\n";

/// Whatever the RFC allows; the last line end is there twice so that a CR is not the last byte.
const OTHERS: &str = "\u{feff}: a comment\nretry: 3000\nretry: soon\nevent\nwhat: a\n\nid\ndata: one\ndata:  two\ndata\n\n\
    event: ping\n\ndata\n\nevent: goaway\ndata: _CLOSE_\n\ndata:last\n\n\n";

proptest! {
    #[test]
    fn a_stream_is_read_whatever_its_chunks_and_pieces(
        sizes in prop::collection::vec(1usize..60, 1..5), pieces in prop::collection::vec(1usize..60, 1..5),
    ) {
        let events = read_stream(&chunked_text(STREAM, &sizes), &pieces).unwrap();
        let expected = [
            Owned::Retry(7502), Owned::Other, Owned::Push(b"one\n\ntwo".to_vec()), Owned::Other, Owned::Retry(20),
            Owned::Goaway, Owned::Close(4001), Owned::End,
        ];
        prop_assert_eq!(events, expected);
    }

    #[test]
    fn a_stream_of_others_is_read_as_a_browser_would(
        sizes in prop::collection::vec(1usize..60, 1..5), pieces in prop::collection::vec(1usize..60, 1..5),
        chunked: bool, end in prop::sample::select(vec!["\r\n", "\n", "\r"]),
    ) {
        let text = OTHERS.replace('\n', end);
        let bytes = if chunked { chunked_text(&text, &sizes) } else { text.into_bytes() };
        for dialect in [Dialect::Zuul, Dialect::Plain] {
            let mut events = read_by(sse::Rules { dialect, chunked }, &bytes, &pieces).unwrap();
            events.dedup_by(|a, b| matches!((a, b), (Owned::Retry(a), Owned::Retry(b)) if a == b));
            let push = |text: &str| Owned::Push(text.as_bytes().to_vec());
            let goaway = if dialect == Dialect::Plain { push("_CLOSE_") } else { Owned::Goaway };
            let mut expected = vec![Owned::Retry(3000), push("one\n two\n"), push(""), goaway, push("last")];
            expected.extend(chunked.then_some(Owned::End));
            prop_assert_eq!(events, expected);
        }
    }

    #[test]
    fn no_bytes_can_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        for dialect in DIALECTS {
            let _ = ws::feed(&bytes, dialect, &mut Vec::new(), &mut |_| {});
            for chunked in [false, true] {
                let rules = sse::Rules { dialect, chunked };
                let _ = sse::feed(&bytes, rules, &mut Vec::new(), &mut Vec::new(), &mut |_| {});
            }
        }
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
        assert!(read_stream(&chunked_text(text, &[1000]), &[1000]).is_err(), "{text:?}");
    }
    assert!(sse_holds(b"5\r\nhello"), "it is waited for the rest");
    assert!(feed_fails(b"zz\r\n"));
    assert!(feed_fails(b"5\r\nhelloXX"));
    assert!(feed_fails(b"+5\r\n"));
    assert!(feed_fails(&[b'1'; 40]));
    assert!(feed_fails(b"2\r\nab\r\n0\r\n\r\n"), "it ends within an event");
}

fn sse_holds(bytes: &[u8]) -> bool {
    sse::feed(bytes, STRICT, &mut Vec::new(), &mut Vec::new(), &mut |_| {}) == Ok(0)
}

fn feed_fails(bytes: &[u8]) -> bool {
    sse::feed(bytes, STRICT, &mut Vec::new(), &mut Vec::new(), &mut |_| {}).is_err()
}
