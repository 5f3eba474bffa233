//! Clients that do not read: what waits is bounded, what does not fit follows its lane, and senders always hear.

use crate::{
    client::{CLOSE, Sse, TEXT, Ws},
    http::{Wire, request},
    node::{Node, PATIENCE, outcomes, until},
};
use std::time::{Duration, Instant};

/// More than the kernel takes of a socket that nobody reads.
const STOPPER: usize = 250_000;

/// A client that reads nothing until it is asked to, with a large message on its way, which its sender waits for elsewhere.
fn stopped(node: &Node, user: &str) -> Ws {
    let ws =
        Ws::try_open(Wire::connect_narrow(node.clients), &format!("/ws?user={user}&device=d"), &[]).unwrap();
    let (internal, target) = (node.internal, format!("/v1/users/{user}/push?timeout=30s&lane=high"));
    let before = waiting_bytes(node);
    std::thread::spawn(move || {
        let mut wire = Wire::connect(internal);
        let request =
            format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {STOPPER}\r\n\r\n");
        wire.try_send(request.as_bytes());
        wire.try_send(&vec![b'S'; STOPPER]);
        // Held open until the node is gone.
        wire.read_to_end(PATIENCE);
    });
    until("bytes that wait", || (waiting_bytes(node) > before + 65_536.0).then_some(()));
    ws
}

/// Outboxes are lent to connections, as all their buffers are.
fn waiting_bytes(node: &Node) -> f64 {
    node.metric("holdfast_lent_bytes")
}

#[test]
fn slow_is_what_finds_no_room_at_once() {
    let node = Node::start(&["delivery.timeout=30s"]);
    let _ws = stopped(&node, "ada");
    let began = Instant::now();
    assert_eq!(node.push("ada/push", &"x".repeat(70_000)), (200, vec![("d".into(), "slow".into())]));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let answer = node.ask_with("POST", "/push", &[("X-CUSTOMER_ID", "ada")], &[b'x'; 70_000]);
    assert_eq!(answer.status, 503, "Zuul's endpoint");
}

#[test]
fn slow_is_what_has_waited_for_the_delivery_time_out_and_it_is_not_written_later() {
    let node = Node::start(&["delivery.timeout=400ms", "limits.outbox_bytes=1MiB"]);
    let mut ws = stopped(&node, "ada");
    let began = Instant::now();
    assert_eq!(node.push_one("ada/push", "never written"), "slow");
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(350) && waited < Duration::from_secs(5), "{waited:?}");
    // A sender may ask for less, and a message that dies in the outbox is called expired.
    assert_eq!(node.push_one("ada/push?timeout=50ms", "never written"), "slow");
    assert_eq!(node.push_one("ada/push?ttl=100ms", "never written"), "expired");
    let first = ws.next(PATIENCE).unwrap();
    assert_eq!((first.op, first.payload.len()), (TEXT, STOPPER), "what was begun is ended");
    assert_eq!(node.push_one("ada/push", "after"), "written");
    assert_eq!(ws.text(), "after");
}

#[test]
fn a_sender_hears_of_a_message_that_was_begun_no_later_than_the_delivery_time_out() {
    let node = Node::start(&["delivery.timeout=400ms"]);
    let mut ws = Ws::try_open(Wire::connect_narrow(node.clients), "/ws?user=ada&device=d", &[]).unwrap();
    let mut wire = Wire::connect(node.internal);
    let head =
        format!("POST /v1/users/ada/push HTTP/1.1\r\nHost: localhost\r\nContent-Length: {STOPPER}\r\n\r\n");
    wire.send(head.as_bytes());
    wire.send(&vec![b'S'; STOPPER]);
    let began = Instant::now();
    let answer = wire.answer().expect("an outcome though the client reads nothing");
    assert_eq!(outcomes(&answer.json()), [("d".into(), "slow".into())]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // It stays in the outbox all the same: half a frame cannot be taken back.
    assert_eq!(ws.next(PATIENCE).unwrap().payload.len(), STOPPER);
}

#[test]
fn messages_wait_in_their_order_and_are_written_when_the_client_reads() {
    let node = Node::start(&["delivery.timeout=30s", "limits.outbox_bytes=1MiB"]);
    let mut ws = stopped(&node, "ada");
    let senders: Vec<_> = (0..3)
        .map(|number| {
            let before = waiting_bytes(&node);
            let internal = node.internal;
            let sender = std::thread::spawn(move || {
                let body = number.to_string().repeat(100);
                request(internal, "POST", "/v1/users/ada/push", &[], body.as_bytes()).json()
            });
            until("it to wait", || (waiting_bytes(&node) >= before + 100.0).then_some(()));
            sender
        })
        .collect();
    assert_eq!(ws.next(PATIENCE).unwrap().payload.len(), STOPPER);
    for number in 0..3 {
        assert_eq!(ws.text(), number.to_string().repeat(100));
    }
    for sender in senders {
        assert_eq!(outcomes(&sender.join().unwrap()), [("d".into(), "written".into())]);
    }
    node.wait_for_metric("holdfast_lent_bytes", 0.0);
}

#[test]
fn a_lane_may_replace_the_older_message_of_the_same_key() {
    let node =
        Node::start(&["delivery.timeout=30s", "lanes.low.policy=replace", "limits.outbox_bytes=300KiB"]);
    let mut ws = stopped(&node, "ada");
    let older = {
        let internal = node.internal;
        let before = waiting_bytes(&node);
        let older = std::thread::spawn(move || {
            let target = "/v1/users/ada/push?lane=low&collapse=price";
            request(internal, "POST", target, &[], &[b'1'; 40_000]).json()
        });
        until("it to wait", || (waiting_bytes(&node) >= before + 40_000.0).then_some(()));
        older
    };
    let newer = {
        let internal = node.internal;
        std::thread::spawn(move || {
            let target = "/v1/users/ada/push?lane=low&collapse=price";
            request(internal, "POST", target, &[], &[b'2'; 40_000]).json()
        })
    };
    assert_eq!(outcomes(&older.join().unwrap()), [("d".into(), "slow".into())], "the older made way");
    assert_eq!(ws.next(PATIENCE).unwrap().payload.len(), STOPPER);
    assert_eq!(ws.text(), "2".repeat(40_000));
    assert_eq!(outcomes(&newer.join().unwrap()), [("d".into(), "written".into())]);
    ws.assert_silent(Duration::from_millis(100));
}

#[test]
fn a_lane_may_close_who_is_too_slow_with_1013() {
    let node = Node::start(&["delivery.timeout=30s", "lanes.normal.policy=close"]);
    let mut ws = stopped(&node, "ada");
    assert_eq!(node.push_one("ada/push", &"x".repeat(70_000)), "slow");
    let frames = ws.frames_to_end();
    let last = frames.last().expect("frames");
    assert_eq!((last.op, &last.payload[..2]), (CLOSE, &1013u16.to_be_bytes()[..]));
    node.wait_for_metric("holdfast_closes_total{reason=\"slow_client\"}", 1.0);
    assert_eq!(node.push("ada/push", "x").0, 404);
}

#[test]
fn a_slow_client_does_not_hold_up_others() {
    let node = Node::start(&["delivery.timeout=30s"]);
    let _slow = stopped(&node, "slow");
    let mut quick = Ws::user(&node, "quick", "");
    let mut stream = Sse::user(&node, "quick", "");
    let began = Instant::now();
    for _ in 0..50 {
        assert_eq!(node.push("quick/push", "x").1.len(), 2);
        assert_eq!((quick.text(), stream.event().data), ("x".into(), "x".into()));
    }
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn over_the_budget_of_all_buffers_the_largest_goes_first() {
    let node =
        Node::start(&["delivery.timeout=30s", "limits.buffer_bytes=512KiB", "limits.outbox_bytes=512KiB"]);
    let mut quick = Ws::user(&node, "quick", "");
    let mut modest = stopped(&node, "modest");
    let mut greedy = stopped(&node, "greedy");
    // The greedy one waits for more than the other, and this is more than there is room for.
    let internal = node.internal;
    let more = std::thread::spawn(move || {
        request(internal, "POST", "/v1/users/greedy/push", &[], &[b'x'; 200_000]).json()
    });
    node.wait_for_metric("holdfast_closes_total{reason=\"buffer_pressure\"}", 1.0);
    assert_eq!(node.push("greedy/push", "x").0, 404);
    assert_ne!(outcomes(&more.join().unwrap()), [("d".into(), "written".into())]);
    assert_eq!(node.push_one("quick/push", "unaffected"), "written");
    assert_eq!(quick.text(), "unaffected");
    assert_eq!(modest.next(PATIENCE).unwrap().payload.len(), STOPPER);
    // What it gets at its end can be cut off, but nothing follows it.
    while greedy.frame(PATIENCE).is_ok() {}
    node.wait_for_metric("holdfast_connections{protocol=\"websocket\"}", 2.0);
}

#[test]
fn a_client_that_leaves_with_messages_waiting_makes_them_stale() {
    let node = Node::start(&["delivery.timeout=30s", "limits.outbox_bytes=1MiB"]);
    let ws = stopped(&node, "ada");
    let internal = node.internal;
    let before = waiting_bytes(&node);
    let waiting = std::thread::spawn(move || request(internal, "POST", "/v1/users/ada/push", &[], b"waits"));
    until("it to wait", || (waiting_bytes(&node) > before).then_some(()));
    drop(ws);
    let answer = waiting.join().unwrap();
    assert_eq!(
        outcomes(&answer.json()),
        [("d".into(), "stale".into())],
        "{} {}",
        answer.status,
        answer.text()
    );
    node.wait_for_metric("holdfast_lent_bytes", 0.0);
}

#[test]
fn bytes_that_wait_in_outboxes_are_a_metric() {
    let node = Node::start(&["delivery.timeout=30s"]);
    let mut ws = stopped(&node, "ada");
    let bytes = node.metric("holdfast_outbox_bytes");
    assert!(bytes > 65_536.0 && bytes <= STOPPER as f64 + 16.0, "{bytes}");
    assert_eq!(ws.next(PATIENCE).unwrap().payload.len(), STOPPER);
    node.wait_for_metric("holdfast_outbox_bytes", 0.0);
}
