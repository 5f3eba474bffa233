//! How long connections live, and how those that are dead or whose token has ended are found.

use crate::{
    client::{CLOSE, PING, PONG, Sse, Ws, get, upgrade},
    http::{Silence, Wire},
    node::{Node, PATIENCE, until},
};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SECRET: &str = "a-secret-of-at-least-thirty-two-bytes";

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn token(claims: &serde_json::Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

fn jwt_node(more: &[&str]) -> Node {
    let secret = format!("auth.jwt.secret={SECRET}");
    let mut sets = vec!["auth.mode=jwt", "auth.jwt.leeway=0s", secret.as_str()];
    sets.extend_from_slice(more);
    Node::start(&sets)
}

#[test]
fn a_client_that_closes_when_asked_ends_with_the_reason_lifetime() {
    let node = Node::start(&["lifetime.mean=1s", "lifetime.max=2s", "lifetime.grace=20s"]);
    let mut ws = Ws::user(&node, "ada", "");
    assert_eq!(ws.text(), "_CLOSE_");
    ws.close();
    node.wait_for_metric("holdfast_closes_total{reason=\"lifetime\"}", 1.0);
    assert_eq!(node.metric("holdfast_goaways_total{reason=\"lifetime\"}"), 1.0);
    let mut stream = Sse::user(&node, "ada", "");
    assert_eq!(stream.event().name, "goaway");
    drop(stream);
    node.wait_for_metric("holdfast_closes_total{reason=\"lifetime\"}", 2.0);
}

#[test]
fn a_herd_is_seen_before_it_leaves() {
    // Lives of 54 to 60 s, and buckets of 2 s.
    let node = Node::start(&["lifetime.mean=60s", "lifetime.distribution=zuul"]);
    let all: Vec<Ws> = (0..20).map(|number| Ws::user(&node, &format!("u{number}"), "")).collect();
    let lifetimes = node.ask("GET", "/v1/stats", b"").json()["lifetimes"].clone();
    let sum = |name: &str, range: std::ops::Range<usize>| {
        let counts = lifetimes[name].as_array().unwrap();
        counts[range].iter().map(|count| count.as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((&lifetimes["bucket_s"], &lifetimes["distribution"]), (&json!(2.0), &json!("zuul")));
    // Connecting them takes a moment on a machine that is busy.
    assert_eq!((sum("goaways_due", 20..31), sum("ages", 0..7)), (20, 20), "{lifetimes}");
    drop(all);
}

#[test]
fn a_client_that_ignores_its_goaway_is_closed_with_1000_and_nobody_outlives_max_and_grace() {
    let node = Node::start(&["lifetime.mean=1s", "lifetime.max=2s", "lifetime.grace=500ms"]);
    let began = Instant::now();
    let mut all: Vec<Ws> = (0..20).map(|number| Ws::user(&node, &format!("u{number}"), "")).collect();
    for ws in &mut all {
        assert_eq!(ws.text(), "_CLOSE_", "one goaway");
        assert_eq!(ws.close_frame(), (1000, "Server closed connection".into()));
    }
    // Its own time, and some for a machine that is busy.
    let slack = Duration::from_secs(2);
    assert!(began.elapsed() < Duration::from_millis(2_500) + slack, "{:?}", began.elapsed());
    // Those that do not answer the close are not waited for without end.
    node.wait_for_metric("holdfast_connections{protocol=\"websocket\"}", 0.0);
    assert_eq!(node.metric("holdfast_closes_total{reason=\"lifetime\"}"), 20.0);
}

#[test]
fn lifetimes_that_began_together_do_not_end_together() {
    let node = Node::start(&["lifetime.mean=1s", "lifetime.max=3s", "lifetime.grace=20s"]);
    let began = Instant::now();
    let mut ends = Vec::new();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..40)
            .map(|number| {
                let node = &node;
                scope.spawn(move || {
                    let mut ws = Ws::user(node, &format!("u{number}"), "");
                    assert_eq!(ws.text(), "_CLOSE_");
                    began.elapsed()
                })
            })
            .collect();
        ends = clients.into_iter().map(|client| client.join().unwrap()).collect();
    });
    ends.sort();
    let (early, late) = (ends[5], ends[34]);
    assert!(late - early > Duration::from_millis(500), "{ends:?}");
    assert!(ends[39] < Duration::from_secs(5), "{ends:?}");
}

#[test]
fn a_client_may_ask_for_its_own_ping_interval_within_bounds() {
    let node = Node::start(&["clients.ping_min=1s", "clients.ping_max=1s"]);
    // Longer than allowed: it gets the longest that is.
    for target in ["/ws?user=a&ping=600", "/ws?user=b&ping=10m", "/ws?user=c&ping=1", "/ws?user=d&ping=0"] {
        let mut ws = Ws::open(&node, target, &[]);
        let began = Instant::now();
        assert_eq!(ws.frame(PATIENCE).unwrap().op, PING, "{target}");
        assert!(began.elapsed() < Duration::from_secs(4), "{target}");
    }
    let mut wire = Wire::connect(node.clients);
    wire.send(&upgrade("/ws?user=a&ping=often", &[]));
    assert_eq!(wire.answer().unwrap().status, 400);
}

#[test]
fn a_peer_that_answers_nothing_for_two_intervals_is_closed() {
    let node = Node::start(&["clients.ping_min=1s"]);
    let mut dead = Ws::open(&node, "/ws?user=dead&ping=1", &[]);
    let mut alive = Ws::open(&node, "/ws?user=alive&ping=1", &[]);
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Reads all that comes, and answers nothing.
            let mut pings = 0;
            let close = loop {
                let frame = dead.frame(PATIENCE).unwrap();
                match frame.op {
                    PING => pings += 1,
                    _ => break frame,
                }
            };
            assert!(close.op == CLOSE && pings >= 1, "{close:?} after {pings}");
            assert!(began.elapsed() >= Duration::from_millis(1_800), "{:?}", began.elapsed());
            assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
        });
        let until = began + Duration::from_secs(4);
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            match alive.frame(left) {
                Ok(frame) if frame.op == PING => alive.send(PONG, &frame.payload),
                Ok(frame) => panic!("{frame:?}"),
                Err(silence) => assert_eq!(silence, Silence::Late),
            }
        }
    });
    node.wait_for_metric("holdfast_closes_total{reason=\"dead_peer\"}", 1.0);
    assert_eq!(node.push_one("alive/push", "x"), "written");
    assert_eq!(node.push("dead/push", "x").0, 404);
}

#[test]
fn any_frame_shows_that_a_client_lives() {
    let node = Node::start(&["clients.ping_min=1s"]);
    let mut ws = Ws::open(&node, "/ws?user=ada&ping=1", &[]);
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        // Text instead of pongs.
        ws.send(crate::client::TEXT, b"busy");
        match ws.frame(Duration::from_millis(300)) {
            Ok(frame) => assert_eq!(frame.op, PING),
            Err(silence) => assert_eq!(silence, Silence::Late),
        }
    }
    assert_eq!(node.metric("holdfast_closes_total{reason=\"dead_peer\"}"), 0.0);
}

#[test]
fn a_token_says_who_it_is_wherever_it_is_carried() {
    let node = jwt_node(&["auth.jwt.cookie=session"]);
    let good = token(&json!({ "sub": "ada", "device": "phone", "exp": unix_s() + 600 }));
    let cookie = format!("other=1; session={good}");
    Ws::open(&node, "/ws", &[("Authorization", &format!("Bearer {good}"))]);
    let mut stream = Sse::open(&node, &format!("/sse?token={good}"), &[]);
    assert_eq!(node.push("ada/push", "x").1, [("phone".into(), "written".into())]);
    assert_eq!(stream.event().data, "x");
    Ws::open(&node, "/ws", &[("Cookie", &cookie)]);
    // A browser sends a cookie along for any page: then the Origin must be ours.
    Ws::open(&node, "/ws", &[("Cookie", &cookie), ("Origin", "http://push.example")]);
    let refused = |target: &str, headers: &[(&str, &str)]| {
        let mut wire = Wire::connect(node.clients);
        wire.send(&upgrade(target, headers));
        wire.answer().unwrap().status
    };
    assert_eq!(refused("/ws", &[("Cookie", &cookie), ("Origin", "https://evil.example")]), 403);
    for bad in [
        json!({ "sub": "ada", "exp": unix_s() - 60 }),
        json!({ "exp": unix_s() + 60 }),
        json!({ "sub": "ada", "nbf": unix_s() + 600 }),
    ] {
        assert_eq!(refused(&format!("/ws?token={}", token(&bad)), &[]), 401, "{bad}");
    }
    let (front, _) = good.rsplit_once('.').unwrap();
    assert_eq!(refused(&format!("/ws?token={front}.AAAA"), &[]), 401);
    assert_eq!(refused("/ws?token=nonsense", &[]), 401);
    assert_eq!(refused("/ws", &[("X-CUSTOMER_ID", "ada")]), 401);
}

#[test]
fn a_token_that_ends_brings_goaway_first_and_4002_at_its_end() {
    let node = jwt_node(&["lifetime.grace=300ms"]);
    let now = unix_s();
    // Minted a minute ago: the last tenth of its life is 6 s, over which the goaways are spread.
    let ends = now + 4;
    let claims = json!({ "sub": "ada", "iat": now - 56, "exp": ends });
    let mut ws = Ws::open(&node, &format!("/ws?token={}", token(&claims)), &[]);
    let mut stream = Sse::open(&node, &format!("/sse?token={}", token(&claims)), &[]);
    assert_eq!(ws.text(), "_CLOSE_");
    let (code, _) = ws.close_frame();
    assert_eq!(code, 4002);
    let late = unix_s() as i64 - ends as i64;
    assert!((-1..=3).contains(&late), "{late} s after the token's end");
    assert_eq!(stream.event().name, "goaway");
    let close = stream.event();
    assert!(close.name == "close" && close.data.starts_with("4002 "), "{close:?}");
    stream.assert_end();
    node.wait_for_metric("holdfast_goaways_total{reason=\"token_expired\"}", 2.0);
    // Its connections may end within the same tick as the token itself.
    until("the token's end", || {
        let mut wire = Wire::connect(node.clients);
        wire.send(&get("/sse", &[("Authorization", &format!("Bearer {}", token(&claims)))]));
        (wire.head().unwrap().status == 401).then_some(())
    });
}
