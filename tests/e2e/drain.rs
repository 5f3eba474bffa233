//! A node that leaves: told to the balancer first, spread over time, delivering until the end.

use crate::{
    client::{CLOSE, Sse, Ws, get, upgrade},
    http::{Silence, Wire, request},
    node::{Node, PATIENCE, Plan, until},
};
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

fn healthcheck(node: &Node) -> u16 {
    request(node.clients, "GET", "/healthcheck", &[], b"").status
}

fn readyz(node: &Node) -> u16 {
    node.ask("GET", "/readyz", b"").status
}

#[test]
fn a_node_is_ready_until_its_drain_begins_and_still_accepts_for_the_delay() {
    let mut node = Node::start(&["drain.delay=2s", "drain.window=200ms", "lifetime.grace=200ms"]);
    assert_eq!((readyz(&node), healthcheck(&node)), (200, 200));
    let began = Instant::now();
    node.sigterm();
    until("not ready", || (readyz(&node) == 503).then_some(()));
    assert_eq!(healthcheck(&node), 503);
    assert!(began.elapsed() < Duration::from_millis(1_500), "at once: {:?}", began.elapsed());
    assert_eq!(node.ask("GET", "/livez", b"").status, 200);
    let mut late = Ws::user(&node, "ada", "");
    assert_eq!(node.push_one("ada/push", "still here"), "written");
    assert_eq!(late.text(), "still here");
    assert!(
        began.elapsed() < Duration::from_millis(1_900),
        "the machine is too busy to tell: {:?}",
        began.elapsed()
    );
    assert_eq!(late.text(), "_CLOSE_");
    assert!(began.elapsed() >= Duration::from_millis(1_900), "{:?}", began.elapsed());
    late.close();
    assert_eq!(node.wait(), 0);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn goaways_are_spread_evenly_and_messages_flow_meanwhile() {
    const CLIENTS: usize = 50;
    let mut node =
        Plan::new(&["drain.delay=500ms", "drain.window=3s", "lifetime.grace=20s"]).shards(2).start();
    let sockets: Vec<Ws> = (0..CLIENTS).map(|number| Ws::user(&node, &format!("u{number}"), "d")).collect();
    let mut last = Ws::user(&node, "last", "d");
    let began = Instant::now();
    node.sigterm();
    let done = AtomicBool::new(false);
    let mut times: Vec<Duration> = Vec::new();
    std::thread::scope(|scope| {
        let readers: Vec<_> = sockets
            .into_iter()
            .map(|mut ws| {
                scope.spawn(move || {
                    assert_eq!(ws.text(), "_CLOSE_");
                    let at = began.elapsed();
                    ws.close();
                    at
                })
            })
            .collect();
        let pusher = scope.spawn(|| {
            let mut pushed = 0;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(node.push_one("last/push", "meanwhile"), "written");
                pushed += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            pushed
        });
        times = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(pusher.join().unwrap() > 5);
    });
    times.sort();
    // In each fifth of the window some, and in none of the tenths most.
    let window = Duration::from_secs(3);
    let first = times[0];
    let share = |from: f64, to: f64| {
        times
            .iter()
            .filter(|&&at| (from..to).contains(&((at - first).as_secs_f64() / window.as_secs_f64())))
            .count()
    };
    for fifth in 0..4 {
        let (from, to) = (f64::from(fifth) / 5.0, f64::from(fifth + 1) / 5.0);
        assert!((3..=20).contains(&share(from, to)), "{times:?}");
    }
    assert!(first >= Duration::from_millis(450), "not before the delay: {first:?}");
    assert!(times[CLIENTS - 1] < Duration::from_secs(7), "{times:?}");
    loop {
        match last.text().as_str() {
            "meanwhile" => {}
            "_CLOSE_" => break,
            other => panic!("{other:?}"),
        }
    }
    last.try_send(CLOSE, &1000u16.to_be_bytes());
    assert_eq!(node.wait(), 0);
    let log = node.log();
    assert!(log.contains("drain"), "{log}");
}

#[test]
fn after_the_delay_connections_are_refused_as_when_full() {
    let mut node = Node::start(&["drain.delay=200ms", "drain.window=500ms", "lifetime.grace=3s"]);
    // It ignores its goaway, so the drain lasts.
    let mut holder = Ws::user(&node, "ada", "");
    node.sigterm();
    assert_eq!(holder.text(), "_CLOSE_");
    let mut delays = BTreeSet::new();
    for _ in 0..10 {
        let mut wire = Wire::connect(node.clients);
        wire.send(&upgrade("/ws?user=grace", &[]));
        let answer = wire.answer().unwrap();
        assert_eq!(answer.status, 503);
        delays.insert(answer.header("retry-after").unwrap().to_owned());
        wire.assert_closed();
    }
    assert!(delays.len() >= 2, "{delays:?}");
    let mut wire = Wire::connect(node.clients);
    wire.send(&get("/sse?user=grace", &[]));
    let answer = wire.answer().unwrap();
    assert!(answer.status == 200 && answer.text().starts_with("retry: "), "{answer:?}");
    assert!(node.metric("holdfast_drain_remaining") == 1.0);
    assert_eq!(node.push_one("ada/push", "any sender, to the end"), "written");
    assert_eq!(holder.text(), "any sender, to the end");
    assert_eq!(holder.close_frame().0, 1001);
    assert_eq!(node.wait(), 0);
}

#[test]
fn a_drain_ends_at_the_latest_after_delay_window_and_grace() {
    let mut node = Node::start(&["drain.delay=300ms", "drain.window=1s", "lifetime.grace=500ms"]);
    // None of them does anything at all.
    let _sockets: Vec<Ws> = (0..10).map(|number| Ws::user(&node, &format!("u{number}"), "")).collect();
    let _streams: Vec<Sse> = (0..10).map(|number| Sse::user(&node, &format!("s{number}"), "")).collect();
    let began = Instant::now();
    node.sigterm();
    assert_eq!(node.wait(), 0);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1_200), "{took:?}");
    assert!(took < Duration::from_millis(1_800) + Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_drain_ends_early_when_nobody_is_left() {
    let mut node = Node::start(&["drain.delay=100ms", "drain.window=1h"]);
    let began = Instant::now();
    node.signal("INT");
    assert_eq!(node.wait(), 0);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn each_stream_is_told_its_own_delay() {
    let mut node = Node::start(&["drain.delay=100ms", "drain.window=300ms", "lifetime.grace=300ms"]);
    let mut streams: Vec<Sse> = (0..15).map(|number| Sse::user(&node, &format!("s{number}"), "")).collect();
    node.sigterm();
    let mut delays = BTreeSet::new();
    for stream in &mut streams {
        let goaway = stream.event();
        assert_eq!((goaway.name.as_str(), goaway.data.as_str()), ("goaway", "_CLOSE_"));
        delays.insert(goaway.retry.expect("its own reconnect delay"));
    }
    assert!(delays.len() >= 8, "{delays:?}");
    for stream in &mut streams {
        let close = stream.event();
        assert!(close.name == "close" && close.data.starts_with("1001 "), "{close:?}");
        stream.assert_end();
    }
    assert_eq!(node.wait(), 0);
}

#[test]
fn a_second_signal_ends_it_at_once_with_1() {
    let mut node = Node::start(&["drain.delay=1h"]);
    let mut ws = Ws::user(&node, "ada", "");
    node.sigterm();
    until("the drain to begin", || (readyz(&node) == 503).then_some(()));
    let began = Instant::now();
    node.sigterm();
    assert_eq!(node.wait(), 1);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    while ws.next(PATIENCE) != Err(Silence::Closed) {}
}

#[test]
fn a_drain_of_the_api_can_be_cancelled() {
    let node = Node::start(&["drain.delay=300ms", "drain.window=60s", "lifetime.grace=20s"]);
    let mut sockets: Vec<Ws> = (0..10).map(|number| Ws::user(&node, &format!("u{number}"), "")).collect();
    assert_eq!(node.ask("DELETE", "/v1/drain", b"").status, 409);
    assert_eq!(node.ask("GET", "/v1/drain", b"").json()["phase"], "serving");
    assert_eq!(node.ask("POST", "/v1/drain", b"").status, 202);
    assert_eq!((readyz(&node), healthcheck(&node)), (503, 503));
    // The first goaway shows that it is past the delay.
    let leaver =
        until("a goaway", || sockets.iter_mut().position(|ws| ws.next(Duration::from_millis(1)).is_ok()));
    let status = node.ask("GET", "/v1/drain", b"").json();
    assert_eq!(
        (status["origin"].as_str(), status["connections"].as_u64()),
        (Some("api"), Some(10)),
        "{status}"
    );
    let refused = Ws::try_open(Wire::connect(node.clients), "/ws?user=grace", &[]);
    assert_eq!(refused.err().expect("a refusal").status, 503);
    assert_eq!(node.ask("DELETE", "/v1/drain", b"").status, 202);
    assert_eq!((readyz(&node), healthcheck(&node)), (200, 200));
    let mut grace =
        until("a place", || Ws::try_open(Wire::connect(node.clients), "/ws?user=grace", &[]).ok());
    assert_eq!(node.push_one("grace/push", "back"), "written");
    assert_eq!(grace.text(), "back");
    // The others are not asked any more.
    let goaways = node.metric("holdfast_goaways_total{reason=\"drain\"}");
    for (number, ws) in sockets.iter_mut().enumerate().filter(|(number, _)| *number > leaver + 2) {
        assert_eq!(node.push_one(&format!("u{number}/push"), "you stay"), "written");
        assert_eq!(ws.text(), "you stay");
    }
    assert_eq!(node.metric("holdfast_goaways_total{reason=\"drain\"}"), goaways);
    assert_eq!(node.metric("holdfast_drain_remaining"), 0.0);
}

#[test]
fn a_drain_of_the_api_leaves_the_process_and_a_signal_ends_it() {
    let mut node = Node::start(&["drain.delay=100ms", "drain.window=100ms", "lifetime.grace=100ms"]);
    assert_eq!(node.ask("POST", "/v1/drain", b"").status, 202);
    until("its end", || (node.ask("GET", "/v1/drain", b"").json()["phase"] == "done").then_some(()));
    assert!(node.ended().is_none());
    assert_eq!(readyz(&node), 503);
    node.sigterm();
    assert_eq!(node.wait(), 0);
}

#[test]
fn a_drain_by_a_signal_cannot_be_cancelled() {
    let node = Node::start(&["drain.delay=1h"]);
    node.sigterm();
    until("the drain to begin", || (readyz(&node) == 503).then_some(()));
    assert_eq!(node.ask("DELETE", "/v1/drain", b"").status, 409);
    assert_eq!(readyz(&node), 503);
}
