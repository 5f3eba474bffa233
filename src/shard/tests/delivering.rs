//! Messages: written at once where there is room, else held, in order, for as long as their lane and their life allow.

use crate::sim::{
    rig::{Push, Rig},
    wire::{self, Frame},
};
use crate::{
    config::PushRate,
    model::{Body, Collapse, Identifier, Lane, LanePolicy, Lanes, Message, Outcome, lane::LaneConfig},
};

fn texts(frames: &[Frame]) -> Vec<String> {
    let texts = frames.iter().filter(|frame| frame.op == wire::TEXT);
    texts.map(|frame| String::from_utf8(frame.payload.clone()).unwrap()).collect()
}

fn one_lane(policy: LanePolicy) -> Lanes {
    let lane = |name: &str| LaneConfig { name: name.into(), policy, ttl_ms: None };
    Lanes::new(vec![lane("a"), lane("b")])
}

#[test]
fn a_push_to_an_idle_connection_is_written_at_once() {
    let mut rig = Rig::new(|_| {});
    let client = rig.websocket("user=ann");
    let push = rig.push("ann", "hello");
    assert_eq!(push.outcome(), Some(Outcome::Written));
    assert_eq!(rig.take_frames(client), [Frame::text("hello")]);
    assert_eq!(rig.lent(), 0);
    let message = Message::new(Lane(1), Body::Binary(b"\x00\xff".to_vec().into()), 0);
    rig.push_message("ann", message);
    assert_eq!(rig.take_frames(client), [Frame { op: wire::BINARY, payload: vec![0, 255] }]);
    let stream = rig.event_stream("user=bob");
    assert_eq!(rig.push("bob", "a\nb").outcome(), Some(Outcome::Written));
    assert!(rig.take_text(stream).contains("event: push\r\ndata: a\r\ndata: b\r\n\r\n"));
    rig.stop();
}

#[test]
fn what_the_kernel_does_not_take_is_held_and_flushed_in_order() {
    for room in [0, 1, 4, 11] {
        let mut rig = Rig::new(|_| {});
        let client = rig.websocket("user=ann");
        rig.set_room(client, room);
        let pushes: Vec<Push> = (0..5).map(|n| rig.push("ann", &format!("message {n}"))).collect();
        let written = pushes.iter().filter(|push| push.outcome() == Some(Outcome::Written)).count();
        assert_eq!(written, room / 11, "whole frames of 11 bytes");
        assert_eq!(rig.lent(), 1);
        assert!(rig.end(client).watches_writable());
        rig.set_room(client, 13);
        rig.set_room(client, usize::MAX);
        assert!(pushes.iter().all(|push| push.outcome() == Some(Outcome::Written)));
        assert_eq!(
            texts(&rig.take_frames(client)),
            (0..5).map(|n| format!("message {n}")).collect::<Vec<_>>()
        );
        assert_eq!(rig.lent(), 0);
        assert!(!rig.end(client).watches_writable(), "nothing waits");
        rig.stop();
    }
}

/// A flush is bounded, and epoll does not report again that a socket can be written whose room was never used up.
#[test]
fn more_pieces_than_one_turn_writes_are_flushed_all_the_same() {
    let mut rig = Rig::new(|_| {});
    let client = rig.websocket("user=ann");
    rig.set_room(client, 0);
    let pushes: Vec<Push> = (0..1_000).map(|n| rig.push("ann", &n.to_string())).collect();
    rig.set_room(client, usize::MAX);
    assert_eq!(texts(&rig.take_frames(client)).len(), 1_000);
    assert!(pushes.iter().all(|push| push.outcome() == Some(Outcome::Written)));
    rig.stop();
}

#[test]
fn a_slow_message_leaves_the_outbox_unless_it_has_begun() {
    let mut rig = Rig::new(|config| config.delivery.timeout_ms = 5_000);
    let client = rig.websocket("user=ann");
    rig.set_room(client, 3);
    let (begun, waiting) = (rig.push("ann", "begun"), rig.push("ann", "waiting"));
    rig.pass_ms(4_980);
    assert_eq!((begun.outcome(), waiting.outcome()), (None, None));
    rig.pass_ms(50);
    assert_eq!((begun.outcome(), waiting.outcome()), (Some(Outcome::Slow), Some(Outcome::Slow)));
    // The sender has been told; the client still gets the rest of what it has begun to read.
    rig.set_room(client, usize::MAX);
    assert_eq!(texts(&rig.take_frames(client)), ["begun"]);
    assert_eq!(rig.lent(), 0);
    rig.stop();
}

#[test]
fn a_message_that_leaves_last_gives_back_what_was_lent() {
    let mut rig = Rig::new(|config| config.delivery.timeout_ms = 5_000);
    let client = rig.websocket("user=ann");
    rig.set_room(client, 0);
    let push = rig.push("ann", "late");
    rig.pass_ms(6_000);
    assert_eq!((push.outcome(), rig.lent()), (Some(Outcome::Slow), 0));
    assert!(!rig.end(client).watches_writable());
    rig.set_room(client, usize::MAX);
    assert_eq!(rig.push("ann", "now").outcome(), Some(Outcome::Written));
    rig.stop();
}

#[test]
fn a_message_dies_at_the_end_of_its_life() {
    let mut rig = Rig::new(|config| config.delivery.timeout_ms = 5_000);
    let client = rig.websocket("user=ann");
    let unix_ms = rig.world.borrow().now().unix_ms;
    let with_life =
        |rig: &Rig, left_ms| Message { expires_unix_ms: Some(unix_ms + left_ms), ..rig.text("x") };
    let dead = with_life(&rig, 0);
    assert_eq!(rig.push_message("ann", dead).outcome(), Some(Outcome::Expired));
    rig.set_room(client, 0);
    let (short, long) = (with_life(&rig, 1_000), with_life(&rig, 60_000));
    let (short, long) = (rig.push_message("ann", short), rig.push_message("ann", long));
    rig.pass_ms(980);
    assert_eq!(short.outcome(), None);
    rig.pass_ms(50);
    assert_eq!((short.outcome(), long.outcome()), (Some(Outcome::Expired), None));
    rig.pass_ms(4_000);
    assert_eq!(long.outcome(), Some(Outcome::Slow), "delivery.timeout is shorter than its life");
    rig.stop();
}

/// The loop is late: room comes before the timer that was to end the message's wait.
#[test]
fn a_message_whose_time_is_over_is_not_begun() {
    let mut rig = Rig::new(|_| {});
    let client = rig.websocket("user=ann");
    let unix_ms = rig.world.borrow().now().unix_ms;
    rig.set_room(client, 0);
    let short = Message { expires_unix_ms: Some(unix_ms + 1_000), ..rig.text("x") };
    let short = rig.push_message("ann", short);
    rig.stall_ms(2_000);
    rig.set_room(client, usize::MAX);
    assert_eq!(short.outcome(), Some(Outcome::Expired));
    // The timer that watched over the message is a ping's again, and may be one that comes early.
    assert!(texts(&rig.take_frames(client)).is_empty());
    assert_eq!(rig.lent(), 0);
    rig.stop();
}

#[test]
fn the_senders_own_time_out_is_shorter_or_nothing() {
    let mut rig = Rig::new(|config| config.delivery.timeout_ms = 5_000);
    let client = rig.websocket("user=ann");
    rig.set_room(client, 0);
    let short = Message { timeout_ms: Some(100), ..rig.text("x") };
    let long = Message { timeout_ms: Some(60_000), ..rig.text("x") };
    let (short, long) = (rig.push_message("ann", short), rig.push_message("ann", long));
    rig.pass_ms(200);
    assert_eq!((short.outcome(), long.outcome()), (Some(Outcome::Slow), None));
    rig.pass_ms(5_000);
    assert_eq!(long.outcome(), Some(Outcome::Slow));
    rig.stop();
}

#[test]
fn a_full_outbox_does_what_the_lane_says() {
    let full = |policy| {
        let mut rig = Rig::new(|config| {
            config.limits.outbox_bytes = 1_000;
            config.lanes = one_lane(policy);
        });
        let client = rig.websocket("user=ann");
        rig.set_room(client, 0);
        let first = rig.push("ann", &"x".repeat(5_000));
        assert_eq!(first.outcome(), None, "an empty outbox takes a message of any size");
        let second = rig.push("ann", "second");
        (rig, client, first, second)
    };
    for policy in [LanePolicy::Drop, LanePolicy::Replace] {
        let (mut rig, client, first, second) = full(policy);
        assert_eq!(second.outcome(), Some(Outcome::Slow), "{policy:?}");
        rig.set_room(client, usize::MAX);
        assert_eq!(first.outcome(), Some(Outcome::Written));
        rig.stop();
    }
    let (mut rig, client, first, second) = full(LanePolicy::Close);
    assert_eq!((first.outcome(), second.outcome()), (Some(Outcome::Stale), Some(Outcome::Slow)));
    rig.set_room(client, usize::MAX);
    assert_eq!(rig.take_frames(client)[0].close_code(), Some(1013));
    rig.stop();
}

#[test]
fn a_newer_message_of_a_key_replaces_the_older() {
    let mut rig = Rig::new(|config| config.lanes = one_lane(LanePolicy::Replace));
    let client = rig.websocket("user=ann");
    rig.set_room(client, 0);
    let with_key = |rig: &Rig, hash: u64, text| {
        let key = Identifier::new(&hash.to_string()).unwrap();
        Message { collapse: Some(Collapse { hash, key }), ..rig.text(text) }
    };
    let messages = [(1, "old"), (2, "other"), (1, "new")].map(|(key, text)| with_key(&rig, key, text));
    let pushes = messages.map(|message| rig.push_message("ann", message));
    rig.set_room(client, usize::MAX);
    let outcomes = pushes.map(|push| push.outcome().unwrap());
    assert_eq!(outcomes, [Outcome::Slow, Outcome::Written, Outcome::Written]);
    assert_eq!(texts(&rig.take_frames(client)), ["other", "new"]);
    rig.stop();
}

#[test]
fn an_id_is_written_once() {
    let mut rig = Rig::new(|_| {});
    let client = rig.websocket("user=ann&device=tv");
    let with_id = |rig: &Rig| Message { id: Identifier::new("m1").ok(), ..rig.text("x") };
    let (first, second) = (with_id(&rig), with_id(&rig));
    assert_eq!(rig.push_message("ann", first).outcome(), Some(Outcome::Written));
    assert_eq!(rig.push_message("ann", second).outcome(), Some(Outcome::Duplicate));
    assert_eq!(rig.take_frames(client).len(), 1);
    rig.stop();
}

#[test]
fn the_push_rate_of_a_connection_is_its_own() {
    let mut rig = Rig::new(|config| config.limits.push_rate = Some(PushRate { count: 3, window_ms: 2_000 }));
    let clients = ["ann", "bob"].map(|user| (user, rig.websocket(&format!("user={user}"))));
    for (user, client) in clients {
        let outcomes: Vec<_> = (0..4).map(|_| rig.push(user, "x").outcome().unwrap()).collect();
        assert_eq!(outcomes, [Outcome::Written, Outcome::Written, Outcome::Written, Outcome::RateLimited]);
        assert_eq!(rig.take_frames(client).len(), 3);
    }
    rig.pass_ms(2_000);
    assert_eq!(rig.push("ann", "x").outcome(), Some(Outcome::Written));
    rig.end(clients[0].1).end();
    rig.settle();
    assert_eq!(rig.shards[0].tools.push_buckets.len(), 1, "a bucket goes with its connection");
    rig.stop();
}

#[test]
fn a_stale_key_is_nobody() {
    let mut rig = Rig::new(|_| {});
    let client = rig.websocket("user=ann");
    let gone = rig.handle("ann");
    rig.end(client).end();
    rig.settle();
    let other = rig.websocket("user=bob");
    assert_eq!(rig.handle("bob").key.index, gone.key.index, "the slot is used again");
    let message = rig.text("for ann only");
    let push = rig.post(gone, message);
    rig.settle();
    assert_eq!(push.outcome(), Some(Outcome::Stale));
    assert_eq!(rig.take(other), b"");
    rig.stop();
}

/// Whatever ends a connection, what waited for it was not written: `stale`.
#[test]
fn messages_of_a_connection_that_is_gone_are_stale() {
    for begun in [0, 3] {
        let mut rig = Rig::new(|_| {});
        let client = rig.websocket("user=ann");
        rig.set_room(client, begun);
        let pushes = [rig.push("ann", "one"), rig.push("ann", "two")];
        rig.end(client).reset();
        rig.settle();
        assert!(rig.is_closed(client));
        assert_eq!(pushes.map(|push| push.outcome()), [Some(Outcome::Stale); 2], "{begun} bytes had gone");
        rig.stop();
    }
}

#[test]
fn a_write_that_fails_is_stale_and_ends_the_connection() {
    let mut rig = Rig::new(|_| {});
    let client = rig.websocket("user=ann");
    let message = rig.text("x");
    let push = rig.post(rig.handle("ann"), message);
    rig.world.borrow_mut().events_max = 0;
    rig.end(client).reset();
    rig.turn(0);
    assert_eq!(push.outcome(), Some(Outcome::Stale));
    assert!(rig.is_closed(client));
    rig.stop();
}
