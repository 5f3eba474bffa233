//! Broadcasts and drains: everyone is reached, once, and in time.

use crate::model::{Outcome, Reason, mail::ToShard};
use crate::sim::{
    rig::{Client, Rig},
    wire::{self, Frame},
};

fn open_many(rig: &mut Rig, count: usize) -> Vec<Client> {
    let shards = rig.shards.len();
    (0..count).map(|n| rig.websocket_on(n % shards, &format!("user=u{n}"))).collect()
}

fn hearers(rig: &Rig, clients: &[Client], text: &str) -> usize {
    let heard = |&&client: &&Client| {
        let times = rig.take_frames(client).iter().filter(|frame| **frame == Frame::text(text)).count();
        assert!(times <= 1, "{client:?} heard it {times} times");
        times == 1
    };
    clients.iter().filter(heard).count()
}

#[test]
fn a_broadcast_reaches_everyone_once() {
    let mut rig = Rig::with_shards(2, 64, |_| {});
    let clients = open_many(&mut rig, 301);
    let slow = clients[7];
    rig.set_room(slow, 0);
    let broadcast = rig.broadcast("all", 0);
    rig.settle();
    assert!(!broadcast.tally.is_done(), "one outcome is not known yet");
    rig.pass_ms(6_000);
    assert!(broadcast.tally.is_done());
    let counts = (broadcast.tally.count(Outcome::Written), broadcast.tally.count(Outcome::Slow));
    assert_eq!(counts, (300, 1));
    assert_eq!(hearers(&rig, &clients, "all"), 300);
    rig.stop();
}

#[test]
fn a_broadcast_runs_in_slices() {
    let mut rig = Rig::new(|_| {});
    let clients = open_many(&mut rig, 1_000);
    rig.world.borrow_mut().write_cost_us = 10;
    rig.broadcast("all", 0);
    let began = rig.world.borrow().micros;
    rig.turn(0);
    let took = rig.world.borrow().micros - began;
    assert!((900..1_300).contains(&took), "{took} µs in one turn");
    rig.settle();
    assert_eq!(hearers(&rig, &clients, "all"), 1_000);
    rig.stop();
}

#[test]
fn those_who_come_and_go_meanwhile_hear_it_once_at_most() {
    let mut rig = Rig::with_shards(2, 64, |_| {});
    let mut clients = open_many(&mut rig, 200);
    let broadcast = rig.broadcast("all", 10_000);
    for n in 0..100 {
        rig.pass_ms(100);
        rig.end(clients[n * 2]).end();
        let newcomer = rig.websocket_on(n % 2, &format!("user=new{n}"));
        clients.push(newcomer);
    }
    rig.pass_ms(1_000);
    assert!(broadcast.tally.is_done());
    let stayed: Vec<Client> = (0..100).map(|n| clients[n * 2 + 1]).collect();
    assert_eq!(hearers(&rig, &stayed, "all"), 100, "all who were there throughout");
    let others: Vec<Client> = clients.iter().filter(|client| !stayed.contains(client)).copied().collect();
    let heard = hearers(&rig, &others, "all");
    assert_eq!(broadcast.tally.count(Outcome::Written), 100 + heard as u64);
    rig.stop();
}

#[test]
fn a_paced_broadcast_is_even_and_ends_on_time() {
    let mut rig = Rig::with_shards(2, 64, |_| {});
    let clients = open_many(&mut rig, 400);
    let broadcast = rig.broadcast("all", 10_000);
    for tenth in 0..10 {
        let heard = hearers(&rig, &clients, "all");
        assert!(tenth == 0 && heard == 0 || (38..=42).contains(&heard), "{heard} in tenth {tenth}");
        rig.pass_ms(1_000);
    }
    rig.pass_ms(20);
    assert!(broadcast.tally.is_done());
    assert_eq!(broadcast.tally.count(Outcome::Written), 400);
    rig.stop();
}

#[test]
fn a_broadcast_that_is_stopped_reaches_no_more() {
    let mut rig = Rig::new(|_| {});
    let clients = open_many(&mut rig, 100);
    let broadcast = rig.broadcast("all", 10_000);
    rig.pass_ms(5_000);
    broadcast.stop();
    rig.pass_ms(20);
    assert!(broadcast.tally.is_done());
    let heard = hearers(&rig, &clients, "all");
    assert!((48..=52).contains(&heard), "{heard}");
    rig.pass_ms(10_000);
    assert_eq!(hearers(&rig, &clients, "all"), 0);
    assert_eq!(broadcast.tally.count(Outcome::Written), heard as u64);
    rig.stop();
}

#[test]
fn broadcasts_run_side_by_side_and_to_nobody() {
    let mut rig = Rig::new(|_| {});
    let nobody = rig.broadcast("nobody", 60_000);
    rig.settle();
    assert!(nobody.tally.is_done());
    let clients = open_many(&mut rig, 50);
    let (paced, at_once) = (rig.broadcast("paced", 1_000), rig.broadcast("at once", 0));
    rig.settle();
    assert!(at_once.tally.is_done() && !paced.tally.is_done());
    rig.pass_ms(1_020);
    assert!(paced.tally.is_done());
    let all = clients.iter().map(|&client| rig.take_frames(client).len()).sum::<usize>();
    assert_eq!(all, 100);
    rig.stop();
}

#[test]
fn a_stop_ends_a_broadcast_under_way() {
    let mut rig = Rig::new(|_| {});
    let clients = open_many(&mut rig, 10);
    rig.set_room(clients[0], 0);
    let broadcast = rig.broadcast("all", 10_000);
    rig.pass_ms(2_000);
    rig.stop();
    rig.shards.clear();
    assert!(broadcast.tally.is_done());
}

#[test]
fn a_drain_asks_everyone_once_and_evenly() {
    let mut rig = Rig::with_shards(2, 64, |config| config.lifetime.grace_ms = 4_000);
    let clients = open_many(&mut rig, 400);
    rig.post_to_all(|| ToShard::Drain { window_ms: 10_000 });
    for second in 1..=10 {
        rig.pass_ms(1_000);
        let asked = rig.goaways(Reason::Drain);
        assert!((second * 40 - 3..=second * 40 + 3).contains(&asked), "{asked} after {second} s");
    }
    rig.pass_ms(20);
    assert_eq!(hearers(&rig, &clients, "_CLOSE_"), 400);
    rig.stop();
}

#[test]
fn a_drain_takes_in_what_had_queued_and_refuses_what_comes_later() {
    let mut rig = Rig::new(|_| {});
    rig.post_to_all(|| ToShard::Drain { window_ms: 1_000 });
    let early = Client(rig.world.borrow_mut().connect(0, [127, 0, 0, 1].into()));
    rig.end(early).send(&wire::upgrade("user=ann"));
    rig.turn(0);
    assert_eq!(wire::response(&rig.take(early)).0, 101);
    let late = rig.connect(&wire::upgrade("user=bob"));
    assert_eq!(wire::response(&rig.take(late)).0, 503);
    let stream = rig.connect(&wire::event_stream("user=bob"));
    let text = rig.take_text(stream);
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("retry: ") && rig.is_closed(stream));
    assert_eq!(rig.refusals(Reason::Draining), 2);
    rig.pass_ms(1_000);
    assert_eq!(rig.take_frames(early), [Frame::text("_CLOSE_")]);
    rig.stop();
}

#[test]
fn a_drain_that_is_cancelled_accepts_again_and_asks_no_more() {
    let mut rig = Rig::new(|_| {});
    let clients = open_many(&mut rig, 100);
    rig.post_to_all(|| ToShard::Drain { window_ms: 10_000 });
    rig.pass_ms(3_000);
    rig.post_to_all(|| ToShard::CancelDrain);
    rig.pass_ms(20_000);
    let asked = hearers(&rig, &clients, "_CLOSE_");
    assert!((25..=35).contains(&asked), "{asked}");
    rig.websocket("user=late");
    rig.stop();
}

#[test]
fn a_drain_leaves_shared_listeners_to_others_and_refuses_nobody() {
    let mut rig = Rig::new(|_| {});
    rig.world.borrow_mut().shared_listeners = true;
    let opening = rig.connect(b"GET /ws?user=ann HTTP/1.1\r\n");
    let (stays, leaves) = (rig.websocket("user=bob"), rig.websocket("user=cid"));
    rig.post_to_all(|| ToShard::Drain { window_ms: 1_000 });
    rig.settle();
    let waits = rig.connect(&wire::upgrade("user=dan"));
    rig.pass_ms(900);
    assert!(rig.take(waits).is_empty() && rig.world.borrow().backlog(0) == 1, "it waits for somebody else");
    let request = wire::upgrade("user=ann");
    let rest = request.windows(2).position(|two| two == b"\r\n").unwrap() + 2;
    rig.send(opening, &request[rest..]);
    let answer = rig.take(opening);
    assert_eq!(wire::response(&answer).0, 101);
    assert!(
        answer.ends_with(b"_CLOSE_"),
        "it is asked to leave at once: the others have been, up to its place"
    );
    rig.pass_ms(200);
    assert_eq!(hearers(&rig, &[stays, leaves], "_CLOSE_"), 2);
    assert_eq!((rig.refusals(Reason::Draining), rig.goaways(Reason::Drain)), (0, 3));

    rig.post_to_all(|| ToShard::CancelDrain);
    rig.settle();
    assert_eq!(wire::response(&rig.take(waits)).0, 101);
    assert_eq!(rig.world.borrow().backlog(0), 0);
    assert_eq!(rig.goaways(Reason::Drain), 3, "who comes after that stays");
    rig.stop();
}
