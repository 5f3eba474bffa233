//! From accept to an answer: however the bytes are cut, and within its time.

use crate::sim::{
    rig::{Client, Rig},
    wire,
};
use crate::{config::ProxyProtocol, model::Reason};
use proptest::prelude::*;

fn head_of(bytes: usize) -> Vec<u8> {
    format!("GET /ws HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(bytes)).into_bytes()
}

fn proxied(header: &[u8], request: Vec<u8>) -> Vec<u8> {
    [header, &request].concat()
}

/// Requests, and the status of their answers.
fn requests() -> Vec<(u16, Vec<u8>)> {
    let upgrade = || wire::upgrade("user=ann");
    let replaced = |from, to| String::from_utf8(upgrade()).unwrap().replace(from, to).into_bytes();
    let v2 =
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\x1f\x90\0\x50".as_slice()].concat();
    vec![
        (101, upgrade()),
        (200, wire::event_stream("user=ann")),
        (200, wire::get("/healthcheck")),
        (404, wire::get("/")),
        (400, wire::get("/ws?user=ann")),
        (401, wire::upgrade("device=tv")),
        (400, wire::upgrade("user=")),
        (405, replaced("GET", "POST")),
        (426, replaced("Version: 13", "Version: 8")),
        (400, b"GET /ws HTTP/1.1\r\n broken\r\n\r\n".to_vec()),
        (400, b"\x16\x03\x01\x02\0\x01\0\r\n\r\n".to_vec()),
        (431, head_of(20_000)),
        (101, proxied(b"PROXY TCP4 10.0.0.1 10.0.0.2 1000 80\r\n", upgrade())),
        (101, proxied(b"PROXY UNKNOWN\r\n", upgrade())),
        (101, proxied(&v2, upgrade())),
        (400, proxied(b"PROXY TCP4 10.0.0.1\r\n", upgrade())),
    ]
}

fn rig() -> Rig {
    Rig::new(|config| config.clients.proxy_protocol = ProxyProtocol::Accept)
}

/// What a client has had in answer, and whether its connection is to stay.
fn answer(rig: &Rig, client: Client) -> (Vec<u8>, bool) {
    let end = rig.end(client);
    (end.down.clone(), end.closed || end.shut)
}

fn fed(rig: &mut Rig, pieces: &[&[u8]]) -> Client {
    let client = rig.connect(pieces[0]);
    for piece in &pieces[1..] {
        if rig.is_closed(client) {
            break;
        }
        rig.send(client, piece);
    }
    client
}

#[test]
fn a_request_has_the_same_answer_whole_and_byte_by_byte() {
    for (status, bytes) in requests() {
        let (mut whole, mut cut) = (rig(), rig());
        let client = fed(&mut whole, &[&bytes]);
        let want = answer(&whole, client);
        assert_eq!(wire::response(&want.0).0, status, "{}", String::from_utf8_lossy(&bytes));
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        let client = fed(&mut cut, &pieces);
        assert_eq!(answer(&cut, client), want, "{}", String::from_utf8_lossy(&bytes));
        let open = usize::from(!want.1);
        assert_eq!((cut.stats.connections(), cut.lent()), (open as u64, 0));
        let refused: u64 = Reason::ALL.into_iter().map(|reason| cut.refusals(reason)).sum();
        assert_eq!(refused, u64::from(want.1), "counted once");
        cut.stop();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_request_has_the_same_answer_however_it_is_cut(
        which in 0..requests().len(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        silent in any::<bool>(),
    ) {
        let (status, bytes) = requests().swap_remove(which);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).filter(|&cut| cut > 0).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut pieces: Vec<&[u8]> = if silent { vec![b""] } else { Vec::new() };
        let mut rest = &bytes[..];
        let mut done = 0;
        for cut in cuts {
            let (piece, after) = rest.split_at(cut - done);
            pieces.push(piece);
            (rest, done) = (after, cut);
        }
        pieces.push(rest);
        let mut rig = rig();
        let client = fed(&mut rig, &pieces);
        let (answer, _) = answer(&rig, client);
        prop_assert_eq!(wire::response(&answer).0, status);
        rig.stop();
    }

    #[test]
    fn no_bytes_upset_a_shard(
        head in prop::collection::vec(any::<u8>(), 0..200),
        frames in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut rig = rig();
        let stranger = fed(&mut rig, &[&head]);
        rig.end(stranger).end();
        let client = rig.websocket("user=ann");
        rig.send(client, &frames);
        rig.pass_ms(100);
        rig.stop();
    }
}

#[test]
fn nothing_may_follow_a_request_before_its_answer() {
    let mut rig = rig();
    let bytes = [wire::upgrade("user=ann"), wire::frame(wire::TEXT, b"x")].concat();
    let client = rig.connect(&bytes);
    assert_eq!(wire::response(&rig.take(client)).0, 400);
    assert!(
        rig.end(client).shut && !rig.is_closed(client),
        "what comes is dropped, so that the answer arrives"
    );
    rig.send(client, b"more");
    rig.pass_ms(3_100);
    assert!(rig.is_closed(client));
    assert_eq!(rig.refusals(Reason::BadRequest), 1);
    rig.stop();
}

#[test]
fn another_method_is_405_with_and_without_a_body() {
    for body in ["", "hello"] {
        let mut rig = rig();
        let length = body.len();
        let request = format!("POST /ws HTTP/1.1\r\nHost: push\r\nContent-Length: {length}\r\n\r\n{body}");
        let client = rig.connect(request.as_bytes());
        assert_eq!(wire::response(&rig.take(client)).0, 405, "{body:?}");
        rig.stop();
    }
}

#[test]
fn a_slow_request_is_408() {
    let start = wire::upgrade("user=ann");
    for bytes in [&b""[..], b"PROXY TCP4", &start[..40]] {
        let mut rig = rig();
        let client = rig.connect(bytes);
        rig.pass_ms(9_980);
        assert!(!rig.is_closed(client));
        rig.pass_ms(30);
        assert_eq!(wire::response(&rig.take(client)).0, 408);
        assert!(rig.is_closed(client));
        assert_eq!((rig.refusals(Reason::HandshakeTimeout), rig.lent()), (1, 0));
        rig.stop();
    }
}

#[test]
fn a_byte_now_and_then_does_not_buy_time() {
    let mut rig = rig();
    let client = rig.connect(b"");
    for byte in wire::upgrade("user=ann") {
        rig.send(client, &[byte]);
        rig.pass_ms(200);
        if rig.is_closed(client) {
            break;
        }
    }
    assert_eq!(wire::response(&rig.take(client)).0, 408);
    rig.stop();
}

#[test]
fn one_who_gives_up_in_its_handshake_is_forgotten() {
    let mut rig = rig();
    for bytes in [&b""[..], b"GET"] {
        let client = rig.connect(bytes);
        rig.end(client).end();
        rig.settle();
        assert!(rig.is_closed(client));
    }
    assert_eq!((rig.refusals(Reason::ClientGone), rig.connections_at_all(), rig.lent()), (2, 0, 0));
    rig.stop();
}

#[test]
fn a_required_proxy_header_is_required_of_the_trusted() {
    let mut rig = Rig::new(|config| config.clients.proxy_protocol = ProxyProtocol::Require);
    let client = rig.connect(&wire::upgrade("user=ann"));
    assert_eq!(wire::response(&rig.take(client)).0, 400);
    assert_eq!(rig.refusals(Reason::BadProxyHeader), 1);
    rig.stop();
}

#[test]
fn a_proxied_address_is_the_one_that_counts() {
    let mut rig = Rig::new(|config| {
        config.clients.proxy_protocol = ProxyProtocol::Require;
        config.limits.connections_per_address = 1;
    });
    let statuses = ["10.0.0.1", "10.0.0.2", "10.0.0.1"].map(|address| {
        let header = format!("PROXY TCP4 {address} 10.9.9.9 1000 80\r\n");
        let bytes = proxied(header.as_bytes(), wire::upgrade("user=ann"));
        let client = fed(&mut rig, &[&bytes[..header.len()], &bytes[header.len()..]]);
        wire::response(&rig.take(client)).0
    });
    assert_eq!(statuses, [101, 101, 503]);
    rig.stop();
}

#[test]
fn an_answer_that_the_kernel_takes_in_parts_is_whole_in_the_end() {
    let mut rig = rig();
    let client = rig.connect(b"");
    rig.set_room(client, 20);
    rig.send(client, &wire::upgrade("user=ann"));
    assert_eq!((rig.take(client).len(), rig.lent()), (20, 1));
    rig.set_room(client, usize::MAX);
    assert!(rig.take(client).ends_with(b"\r\n\r\n"));
    assert_eq!(rig.lent(), 0);
    assert_eq!(rig.push("ann", "x").outcome(), Some(crate::model::Outcome::Written));
    rig.stop();
}
