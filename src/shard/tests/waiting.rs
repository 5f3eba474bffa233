//! Handshakes that wait: for the verdict of somebody else, and for the first frame.

use crate::{
    config::Config,
    model::{Outcome, Reason, mail::ToShard},
    sim::{
        rig::{Client, Rig},
        wire::{self, BINARY, Frame, PING, PONG, TEXT},
    },
};
use flate2::{Compression, write::DeflateEncoder};
use std::{io::Write, sync::atomic::Ordering};

const HANDSHAKE_MS: u64 = 10_000;
const FRAME_MS: u64 = 8_000;

fn rig() -> Rig {
    rig_with(|_| {})
}

fn rig_with(change: impl FnOnce(&mut Config)) -> Rig {
    Rig::new(|config| {
        config.auth.first_frame = true;
        config.auth.first_frame_timeout_ms = FRAME_MS;
        config.clients.echo = true;
        change(config);
    })
}

/// A client whose request was read, and of whom somebody else is asked.
fn asked(rig: &mut Rig, request: &[u8]) -> Client {
    let client = rig.connect(request);
    assert_eq!(rig.take(client), b"", "nothing is said before the verdict");
    client
}

/// A client that has a WebSocket and no name.
fn nameless(rig: &mut Rig, query: &str) -> Client {
    let client = rig.connect(&wire::upgrade(query));
    assert_eq!(wire::response(&rig.take(client)), (101, &b""[..]));
    assert_eq!((rig.stats.connections(), rig.directory.connections(), rig.lent()), (0, 0, 1));
    client
}

fn token(text: &str) -> Vec<u8> {
    wire::frame(TEXT, text.as_bytes())
}

fn accept(rig: &mut Rig) {
    let desk = rig.desk.clone();
    desk.deferred()[0].accept();
    desk.deferred().retain(|one| !one.is_done());
    rig.settle();
}

fn refuse(rig: &mut Rig, reason: Reason) {
    let desk = rig.desk.clone();
    desk.deferred().remove(0).refuse(reason);
    rig.settle();
}

/// The one close frame that a client was sent: code and text.
fn close_of(rig: &Rig, client: Client) -> (u16, String) {
    let frames = rig.take_frames(client);
    let [close] = frames.as_slice() else { panic!("{frames:?}") };
    let text = String::from_utf8(close.payload[2..].to_vec()).unwrap();
    (close.close_code().expect("a close frame"), text)
}

fn is_written(rig: &mut Rig, user: &str) -> bool {
    rig.push(user, "x").outcome() == Some(Outcome::Written)
}

#[test]
fn a_verdict_that_comes_later_has_the_same_answer() {
    for (request, waits) in [
        (wire::upgrade("user=ann&device=tv&ping=30s"), wire::upgrade("user=ann&device=tv&ping=30s&later=1")),
        (wire::event_stream("user=ann"), wire::event_stream("user=ann&later=1")),
    ] {
        let (mut at_once, mut later) = (rig(), rig());
        let client = at_once.connect(&request);
        let want = at_once.take(client);
        let client = asked(&mut later, &waits);
        assert_eq!((later.stats.connections(), later.directory.connections(), later.lent()), (0, 0, 1));
        later.pass_ms(3_000);
        accept(&mut later);
        let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().count();
        let got = later.take(client);
        assert_eq!(wire::response(&got).0, wire::response(&want).0);
        assert_eq!(lines(&got), lines(&want));
        assert_eq!(
            (later.stats.connections(), later.lent()),
            (1, 0),
            "idle, it has nothing more than others"
        );
        assert!(is_written(&mut later, "ann"));
        at_once.stop();
        later.stop();
    }
}

#[test]
fn a_refusal_that_comes_later_has_the_same_answer() {
    for (reason, websocket, stream) in
        [(Reason::AuthFailed, 401, 401), (Reason::AuthUnavailable, 503, 200), (Reason::Full, 503, 200)]
    {
        let mut rig = rig();
        for (request, status) in
            [(wire::upgrade("user=a&later=1"), websocket), (wire::event_stream("user=a&later=1"), stream)]
        {
            let client = asked(&mut rig, &request);
            refuse(&mut rig, reason);
            let text = rig.take_text(client);
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
            assert_eq!(text.contains("Retry-After: "), status == 503, "{text}");
            assert_eq!(text.contains("retry: "), status == 200, "{text}");
            assert!(rig.is_closed(client));
        }
        assert_eq!((rig.refusals(reason), rig.connections_at_all(), rig.lent()), (2, 0, 0));
        rig.stop();
    }
}

#[test]
fn what_is_true_of_everyone_is_looked_at_after_the_verdict() {
    let mut rig = rig_with(|config| config.limits.connections_per_address = 1);
    let now_ms = rig.world.borrow().now().unix_ms;
    rig.shared.blocks.block("bad", now_ms + 60_000, now_ms);
    for (query, frame, status, code) in [
        ("user=bad&later=1", "", 401, 0),
        ("user=&later=1", "", 400, 0),
        ("user=ann&later=1&ping=x", "", 400, 0),
        ("", "user=bad", 101, 4003),
        ("", "user=bad&later=1", 101, 4003),
        ("device=", "user=ann", 101, 1008),
    ] {
        let client = rig.connect(&wire::upgrade(query));
        if !frame.is_empty() {
            assert_eq!(wire::response(&rig.take(client)).0, status);
            rig.send(client, &token(frame));
        }
        if query.contains("later") || frame.contains("later") {
            accept(&mut rig);
        }
        match code {
            0 => assert_eq!(wire::response(&rig.take(client)).0, status, "{query}"),
            code => assert_eq!(close_of(&rig, client).0, code, "{query} {frame}"),
        }
    }
    let _holder = rig.websocket("user=ann");
    let later = asked(&mut rig, &wire::upgrade("user=bob&later=1"));
    accept(&mut rig);
    assert_eq!(wire::response(&rig.take(later)).0, 503);
    let by_frame = nameless_beside(&mut rig);
    rig.send(by_frame, &token("user=bob"));
    assert_eq!(close_of(&rig, by_frame).0, 1013);
    assert_eq!(rig.refusals(Reason::AddressLimit), 2);
    rig.stop();
}

fn nameless_beside(rig: &mut Rig) -> Client {
    let client = rig.connect(&wire::upgrade(""));
    assert_eq!(wire::response(&rig.take(client)).0, 101);
    client
}

#[test]
fn a_verdict_that_does_not_come_is_503_and_one_too_late_is_heard_by_nobody() {
    for (request, status) in
        [(wire::upgrade("user=ann&later=1"), 503), (wire::event_stream("user=ann&later=1"), 200)]
    {
        let mut rig = rig();
        let client = asked(&mut rig, &request);
        rig.pass_ms(HANDSHAKE_MS - 20);
        assert!(!rig.is_closed(client));
        rig.pass_ms(40);
        assert_eq!(wire::response(&rig.take(client)).0, status);
        assert!(rig.is_closed(client));
        assert_eq!((rig.refusals(Reason::AuthUnavailable), rig.lent()), (1, 0));
        // Its slot has another owner by now, who has not said anything.
        let other = rig.connect(b"");
        accept(&mut rig);
        assert_eq!((rig.take(other), rig.directory.connections()), (Vec::new(), 0));
        rig.stop();
    }
}

#[test]
fn a_judgement_that_is_dropped_is_503_at_once() {
    let mut rig = rig();
    let client = asked(&mut rig, &wire::upgrade("user=ann&later=1"));
    rig.desk.deferred().clear();
    rig.settle();
    assert_eq!(wire::response(&rig.take(client)).0, 503);
    rig.stop();
}

#[test]
fn a_second_verdict_changes_nothing() {
    for way in [&b""[..], &token("user=ann&later=1&twice=1")] {
        let mut rig = rig();
        let client = match way {
            b"" => rig.connect(&wire::upgrade("user=ann&later=1&twice=1")),
            frame => {
                let client = nameless(&mut rig, "");
                rig.send(client, frame);
                client
            }
        };
        accept(&mut rig);
        assert_eq!(rig.stats.connections(), 1);
        refuse(&mut rig, Reason::AuthFailed);
        assert!(is_written(&mut rig, "ann") && !rig.is_closed(client));
        rig.stop();
    }
}

#[test]
fn a_client_that_leaves_while_it_waits_is_forgotten() {
    let mut rig = rig();
    for (query, frame) in [("user=ann&later=1", ""), ("", ""), ("", "user=ann&later=1")] {
        let client = rig.connect(&wire::upgrade(query));
        if !frame.is_empty() {
            rig.send(client, &token(frame));
        }
        rig.end(client).end();
        rig.settle();
        assert!(rig.is_closed(client));
        assert_eq!((rig.connections_at_all(), rig.lent()), (0, 0));
        while !rig.desk.deferred().is_empty() {
            accept(&mut rig);
        }
        assert_eq!(rig.directory.connections(), 0);
    }
    assert_eq!(rig.refusals(Reason::ClientGone), 3);
    rig.stop();
}

#[test]
fn nothing_may_be_sent_before_the_answer() {
    for request in [wire::upgrade("user=ann&later=1"), wire::event_stream("user=ann&later=1")] {
        let mut rig = rig();
        let client = asked(&mut rig, &request);
        rig.send(client, &wire::frame(TEXT, b"early"));
        assert_eq!(wire::response(&rig.take(client)).0, 400);
        accept(&mut rig);
        assert_eq!((rig.directory.connections(), rig.refusals(Reason::BadRequest)), (0, 1));
        rig.stop();
    }
}

#[test]
fn only_so_many_may_wait() {
    let mut rig = rig_with(|config| config.limits.unauthenticated = 2);
    let named = asked(&mut rig, &wire::upgrade("user=ann&later=1"));
    let client = rig.connect(&wire::upgrade(""));
    assert_eq!(wire::response(&rig.take(client)).0, 101);
    for (query, status) in [("user=bob&later=1", 503), ("", 503), ("user=eve", 101)] {
        let client = rig.connect(&wire::upgrade(query));
        assert_eq!(wire::response(&rig.take(client)).0, status, "{query:?}: who need not wait is let in");
    }
    assert_eq!(rig.refusals(Reason::Full), 2);
    rig.desk.deferred().remove(1);
    accept(&mut rig);
    assert_eq!(wire::response(&rig.take(named)).0, 101);
    assert_eq!(
        wire::response(&{
            let client = rig.connect(&wire::upgrade(""));
            rig.take(client)
        })
        .0,
        101,
        "there is room again"
    );
    rig.stop();
}

#[test]
fn the_rate_of_handshakes_counts_each_once() {
    let mut rig = rig_with(|config| config.limits.handshakes_per_second = 2);
    let later = asked(&mut rig, &wire::upgrade("user=ann&later=1"));
    let client = nameless_beside(&mut rig);
    rig.send(client, &token("user=bob&later=1"));
    accept(&mut rig);
    accept(&mut rig);
    assert_eq!(wire::response(&rig.take(later)).0, 101);
    assert_eq!(rig.stats.connections(), 2);
    let third = rig.connect(&wire::upgrade("user=eve"));
    assert_eq!(wire::response(&rig.take(third)).0, 503);
    rig.stop();
}

#[test]
fn a_node_that_has_begun_to_leave_takes_nobody_in() {
    let mut rig = rig();
    let later = asked(&mut rig, &wire::upgrade("user=ann&later=1"));
    let (early, late) = (nameless_beside(&mut rig), nameless_beside(&mut rig));
    rig.send(late, &token("user=eve&later=1"));
    rig.post_to_all(|| ToShard::Drain { window_ms: 0 });
    rig.settle();
    accept(&mut rig);
    accept(&mut rig);
    rig.send(early, &token("user=bob"));
    assert_eq!(wire::response(&rig.take(later)).0, 503);
    for client in [early, late] {
        assert_eq!(close_of(&rig, client).0, 1001);
    }
    assert_eq!((rig.refusals(Reason::Draining), rig.directory.connections()), (3, 0));
    rig.stop();
}

#[test]
fn a_node_that_has_become_full_takes_nobody_in() {
    let mut rig = rig();
    let later = asked(&mut rig, &wire::upgrade("user=ann&later=1"));
    let by_frame = nameless_beside(&mut rig);
    rig.shared.capacity.store(0, Ordering::Relaxed);
    accept(&mut rig);
    rig.send(by_frame, &token("user=bob"));
    assert_eq!(wire::response(&rig.take(later)).0, 503);
    assert_eq!(close_of(&rig, by_frame), (1013, "Server full".into()));
    rig.stop();
}

#[test]
fn the_first_frame_may_be_the_token() {
    for later in [false, true] {
        let mut rig = rig();
        let client = nameless(&mut rig, "device=tv&ping=20s");
        rig.pass_ms(FRAME_MS - 100);
        rig.send(client, &token(if later { "user=ann&later=1" } else { "user=ann" }));
        if later {
            rig.pass_ms(HANDSHAKE_MS - 100);
            accept(&mut rig);
        }
        assert_eq!((rig.stats.connections(), rig.lent()), (1, 0), "idle, it has nothing more than others");
        assert_eq!(rig.take(client), b"", "nothing is said: it is open");
        assert!(is_written(&mut rig, "ann"));
        assert_eq!(rig.take_frames(client), [Frame::text("x")]);
        let mut devices = Vec::new();
        rig.directory.lookup("ann", |route| devices.push(route.device.map(str::to_owned)));
        assert_eq!(devices, [Some("tv".to_owned())], "the wishes of the request hold");
        rig.pass_ms(20_100);
        assert_eq!(rig.take_frames(client)[0].op, PING);
        rig.send(client, &wire::frame(TEXT, b"ECHO on"));
        assert_eq!(rig.take_frames(client), [Frame::text("ECHO on")]);
        rig.stop();
    }
}

#[test]
fn a_token_comes_in_any_pieces_with_control_frames_between() {
    let mut cut = token("us");
    cut[0] &= 0x7f;
    let frames = [
        wire::frame(PING, b"before"),
        wire::frame(PONG, b""),
        cut,
        wire::frame(PING, b"between"),
        wire::frame(0, b"er=ann"),
        wire::frame(PING, b"after"),
        wire::frame(TEXT, b"ECHO hello"),
    ]
    .concat();
    for piece in [1, 7, frames.len()] {
        let mut rig = rig();
        let client = nameless(&mut rig, "");
        for piece in frames.chunks(piece) {
            rig.send(client, piece);
        }
        let heard: Vec<_> =
            rig.take_frames(client).into_iter().map(|frame| (frame.op, frame.payload)).collect();
        let pong = |text: &str| (PONG, text.as_bytes().to_vec());
        let wanted = [pong("before"), pong("between"), pong("after"), (TEXT, b"ECHO hello".to_vec())];
        assert_eq!(heard, wanted, "in pieces of {piece}");
        assert_eq!((rig.stats.connections(), rig.lent()), (1, 0));
        rig.stop();
    }
}

#[test]
fn frames_between_the_token_and_the_verdict_are_those_of_an_open_connection() {
    let mut rig = rig();
    let client = nameless(&mut rig, "");
    let frames = [token("user=ann&later=1"), wire::frame(PING, b"p"), wire::frame(TEXT, b"ECHO hi")].concat();
    rig.send(client, &frames);
    let heard = rig.take_frames(client);
    assert_eq!((heard[0].op, &heard[1]), (PONG, &Frame::text("ECHO hi")));
    // A frame whose end comes after the verdict.
    let frame = wire::frame(TEXT, b"ECHO cut in two");
    rig.send(client, &frame[..9]);
    accept(&mut rig);
    rig.send(client, &frame[9..]);
    assert_eq!(rig.take_frames(client), [Frame::text("ECHO cut in two")]);
    rig.stop();
}

#[test]
fn a_compressed_token_is_one_too() {
    let mut rig = rig();
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let client = rig.connect(&wire::upgrade_with("", deflate));
    assert!(rig.take_text(client).contains("permessage-deflate"));
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(b"user=ann").and_then(|()| encoder.flush()).unwrap();
    let plain = encoder.get_ref();
    let mut frame = wire::frame(TEXT, &plain[..plain.len() - 4]);
    frame[0] |= 0x40;
    rig.send(client, &frame);
    assert_eq!(rig.stats.connections(), 1);
    let long = "x".repeat(2_000);
    assert_eq!(rig.push("ann", &long).outcome(), Some(Outcome::Written));
    assert!(rig.take(client).len() < 200, "and what is sent to it is compressed");
    rig.stop();
}

#[test]
fn what_is_no_token_closes_and_says_why() {
    let long = "x".repeat(17_000);
    let rows: [(Vec<u8>, u16, &str, Reason); 9] = [
        (token("nobody"), 1008, "Auth failed", Reason::AuthFailed),
        (token(""), 1008, "Auth failed", Reason::AuthFailed),
        (token("user=ann\r\nX: y"), 1008, "Auth failed", Reason::AuthFailed),
        (token("user=a b"), 1008, "Auth failed", Reason::AuthFailed),
        (token("user=\u{e9}"), 1008, "Auth failed", Reason::AuthFailed),
        (wire::frame(BINARY, b"user=ann"), 1008, "Expected a token as text", Reason::TokenExpected),
        (token(&long), 1009, "message too big", Reason::MessageTooBig),
        (wire::frame(3, b""), 1002, "", Reason::ProtocolError),
        (wire::frame(TEXT, b"\xff"), 1007, "", Reason::InvalidPayload),
    ];
    for (frame, code, text, reason) in rows {
        let mut rig = rig();
        let client = nameless(&mut rig, "");
        rig.send(client, &[frame, wire::frame(TEXT, b"ECHO more")].concat());
        let (got, why) = close_of(&rig, client);
        assert_eq!(got, code, "{why}");
        assert!(why.contains(text) && !why.contains("user"), "{why}");
        assert!(rig.end(client).shut, "and its side is ended");
        assert_eq!((rig.refusals(reason), rig.lent(), rig.stats.connections()), (1, 0, 0), "{reason:?}");
        rig.pass_ms(3_100);
        assert!(rig.is_closed(client));
        let refused: u64 = Reason::ALL.into_iter().map(|reason| rig.refusals(reason)).sum();
        assert_eq!(refused, 1, "counted once");
        rig.stop();
    }
}

#[test]
fn the_token_must_come_in_time() {
    let mut rig = rig();
    let client = nameless(&mut rig, "");
    for _ in 0..10 {
        rig.pass_ms(790);
        rig.send(client, &wire::frame(PING, b""));
        assert_eq!(rig.take_frames(client)[0].op, PONG);
    }
    rig.pass_ms(120);
    assert_eq!(close_of(&rig, client), (1008, "No token came in time".into()), "pings do not buy time");
    assert_eq!(rig.refusals(Reason::NoToken), 1);
    let client = nameless(&mut rig, "");
    rig.send(client, &token("user=ann&later=1"));
    rig.pass_ms(HANDSHAKE_MS + 20);
    assert_eq!(close_of(&rig, client), (1013, "Auth unavailable".into()));
    rig.stop();
}

#[test]
fn a_nameless_client_may_not_flood() {
    let mut rig = rig_with(|config| config.limits.inbound_rate = 10);
    let client = nameless(&mut rig, "");
    rig.send(client, &wire::frame(PONG, b"").repeat(11));
    assert_eq!(close_of(&rig, client).0, 1008);
    assert_eq!(rig.refusals(Reason::InboundRate), 1);
    rig.stop();
}

#[test]
fn a_nameless_client_may_leave_as_any_other() {
    let mut rig = rig();
    let client = nameless(&mut rig, "");
    rig.send(client, &wire::close(1001));
    assert_eq!(close_of(&rig, client).0, 1001);
    assert!(rig.is_closed(client));
    assert_eq!((rig.refusals(Reason::ClientClosed), rig.lent()), (1, 0));
    rig.stop();
}

#[test]
fn no_message_reaches_a_client_before_its_token() {
    let mut rig = rig();
    let other = rig.websocket("user=ann&device=tv");
    let client = rig.connect(&wire::upgrade("device=tv"));
    assert_eq!(wire::response(&rig.take(client)).0, 101);
    rig.broadcast("to all", 0);
    rig.settle();
    assert_eq!((rig.take_frames(client), rig.take_frames(other)), (Vec::new(), vec![Frame::text("to all")]));
    rig.send(client, &token("user=ann"));
    assert_eq!(close_of(&rig, other).0, 4001, "the device is taken over only now");
    assert!(is_written(&mut rig, "ann"));
    rig.stop();
}

#[test]
fn a_request_with_a_credential_is_judged_as_ever() {
    let mut rig = rig();
    for (request, status) in [
        (wire::upgrade_with("", "Authorization: Bearer nobody\r\n"), 401),
        (wire::upgrade_with("", "Authorization: Bearer user=ann\r\n"), 101),
        (wire::event_stream(""), 401),
        (wire::event_stream("user=ann"), 200),
    ] {
        let client = rig.connect(&request);
        assert_eq!(wire::response(&rig.take(client)).0, status);
    }
    assert_eq!(rig.stats.connections(), 2);
    // Another scheme's line is not what judges the token.
    let client = rig.connect(&wire::upgrade_with("", "Authorization: Basic dTpw\r\n"));
    assert_eq!(wire::response(&rig.take(client)).0, 101);
    rig.send(client, &token("user=bob"));
    assert!(is_written(&mut rig, "bob"));
    rig.stop();
}

#[test]
fn where_frames_may_bring_no_token_none_is_waited_for() {
    let mut rig = Rig::new(|_| {});
    let client = rig.connect(&wire::upgrade(""));
    assert_eq!(wire::response(&rig.take(client)).0, 401);
    rig.stop();
}

#[test]
fn a_fight_for_a_device_ends_with_4001_for_a_nameless_client_too() {
    let mut rig = rig();
    for _ in 0..4 {
        rig.websocket("user=ann&device=tv");
    }
    let client = nameless_beside(&mut rig);
    rig.send(client, &token("user=eve"));
    let client = rig.connect(&wire::upgrade("device=tv"));
    rig.take(client);
    rig.send(client, &token("user=ann"));
    assert_eq!(close_of(&rig, client), (4001, "displaced".into()));
    assert_eq!(rig.refusals(Reason::TakeoverFight), 1);
    rig.stop();
}

#[test]
fn a_token_that_ends_takes_its_connection_along() {
    let mut rig = rig();
    let now_s = rig.world.borrow().now().unix_ms / 1_000;
    let client = nameless(&mut rig, "");
    rig.send(client, &token(&format!("user=ann&expires={}", now_s + 20)));
    rig.pass_ms(21_000);
    assert_eq!(rig.take_frames(client).iter().find_map(Frame::close_code), Some(4002));
    rig.stop();
}

#[test]
fn the_time_of_a_handshake_is_from_accept_to_identity() {
    let mut rig = rig();
    let client = nameless(&mut rig, "");
    rig.pass_ms(5_000);
    rig.send(client, &token("user=ann&later=1"));
    rig.pass_ms(3_000);
    accept(&mut rig);
    let text = rig.stats.prometheus_text();
    assert!(text.contains("holdfast_handshake_seconds_bucket{le=\"5.0\"} 0"), "{text}");
    assert!(text.contains("holdfast_handshakes_waiting 0"), "{text}");
    nameless_beside(&mut rig);
    assert!(rig.stats.prometheus_text().contains("holdfast_handshakes_waiting 1"));
    rig.stop();
}
