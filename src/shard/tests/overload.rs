//! Too much of something: what gives way, and that it recovers.

use crate::sim::{rig::Rig, wire};
use crate::{
    model::{Outcome, Reason},
    stats::Pressure,
};
use std::sync::atomic::Ordering;

#[test]
fn above_the_buffers_budget_the_largest_goes_first() {
    let mut rig = Rig::new(|config| config.limits.buffer_bytes = 100_000);
    let clients = ["small", "large", "mid"].map(|user| (user, rig.websocket(&format!("user={user}"))));
    let mut pushes = Vec::new();
    for ((user, client), size) in clients.into_iter().zip([20_000, 45_000, 40_000]) {
        rig.set_room(client, 0);
        pushes.push(rig.push(user, &"x".repeat(size)));
    }
    let outcomes: Vec<_> = pushes.iter().map(|push| push.outcome()).collect();
    assert_eq!(outcomes, [None, Some(Outcome::Stale), None]);
    assert!(rig.is_closed(clients[1].1));
    assert_eq!(rig.closes(Reason::BufferPressure), 1);
    rig.stop();
}

#[test]
fn out_of_descriptors_one_is_closed_and_the_rest_wait() {
    let mut rig = Rig::new(|_| {});
    let first = rig.websocket("user=ann");
    rig.world.borrow_mut().descriptors = 0;
    let numbers: Vec<usize> = {
        let mut world = rig.world.borrow_mut();
        (0..3).map(|_| world.connect(0, [127, 0, 0, 1].into())).collect()
    };
    rig.settle();
    assert_eq!(rig.refusals(Reason::NoDescriptor), 1);
    assert!(rig.world.borrow().sockets[numbers[0]].closed);
    rig.pass_ms(90);
    assert_eq!(rig.refusals(Reason::NoDescriptor), 1, "it waits before it tries again");
    rig.end(first).end();
    rig.pass_ms(200);
    assert_eq!(rig.connections_at_all(), 1, "the descriptor that came free is used");
    rig.stop();
}

#[test]
fn an_epoll_that_is_full_ends_the_newcomer() {
    let mut rig = Rig::new(|_| {});
    rig.world.borrow_mut().full_epoll = true;
    let client = rig.connect(&wire::upgrade("user=ann"));
    assert!(rig.is_closed(client));
    assert_eq!(rig.closes(Reason::ServerError), 1);
    rig.stop();
}

#[test]
fn a_node_that_is_full_says_when_to_come_back() {
    let mut rig = Rig::new(|config| config.limits.connections = 1);
    let holder = rig.websocket("user=ann");
    let refused = rig.connect(&wire::upgrade("user=bob"));
    let text = rig.take_text(refused);
    assert!(text.starts_with("HTTP/1.1 503") && text.contains("Retry-After: ") && rig.is_closed(refused));
    let stream = rig.connect(&wire::event_stream("user=bob"));
    let text = rig.take_text(stream);
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("retry: ") && rig.is_closed(stream));
    assert_eq!(rig.refusals(Reason::Full), 2);
    rig.end(holder).end();
    rig.settle();
    rig.websocket("user=bob");
    rig.stop();
}

#[test]
fn an_address_has_so_many_connections() {
    let mut rig = Rig::new(|config| config.limits.connections_per_address = 1);
    let holder = rig.websocket("user=ann");
    let refused = rig.connect(&wire::upgrade("user=bob"));
    assert_eq!(wire::response(&rig.take(refused)).0, 503);
    rig.end(holder).end();
    rig.settle();
    rig.websocket("user=bob");
    assert_eq!((rig.refusals(Reason::AddressLimit), rig.shards[0].tools.addresses.len()), (1, 1));
    rig.stop();
}

#[test]
fn handshakes_that_wait_are_bounded() {
    let mut rig = Rig::new(|config| config.limits.unauthenticated = 2);
    let waiting = [rig.connect(b""), rig.connect(b"GET /ws")];
    let refused = [rig.connect(b"GET /ws"), rig.connect(b"")];
    assert!(refused.iter().all(|&client| rig.is_closed(client)));
    assert!(waiting.iter().all(|&client| !rig.is_closed(client)));
    rig.websocket("user=ann");
    assert_eq!(rig.refusals(Reason::Full), 2);
    rig.stop();
}

#[test]
fn under_memory_pressure_low_lanes_go_first_and_then_newcomers() {
    let mut rig = Rig::new(|_| {});
    rig.websocket("user=ann");
    let low = |rig: &Rig| crate::model::Message { lane: crate::model::Lane(2), ..rig.text("x") };
    rig.shared.pressure.store(Pressure::ShedLow as u8, Ordering::Relaxed);
    let message = low(&rig);
    assert_eq!(rig.push_message("ann", message).outcome(), Some(Outcome::Failed));
    assert_eq!(rig.push("ann", "normal").outcome(), Some(Outcome::Written));
    rig.shared.pressure.store(Pressure::Refuse as u8, Ordering::Relaxed);
    let refused = rig.connect(&wire::upgrade("user=bob"));
    assert_eq!(wire::response(&rig.take(refused)).0, 503);
    rig.shared.pressure.store(Pressure::None as u8, Ordering::Relaxed);
    let message = low(&rig);
    assert_eq!(rig.push_message("ann", message).outcome(), Some(Outcome::Written));
    rig.stop();
}

#[test]
fn what_waits_is_shown_in_the_metrics() {
    let mut rig = Rig::new(|_| {});
    let client = rig.websocket("user=ann");
    rig.set_room(client, 0);
    rig.push("ann", &"x".repeat(1_000));
    let value = |rig: &Rig, name: &str| {
        let text = rig.stats.prometheus_text();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).unwrap_or_default()
    };
    assert!(value(&rig, "holdfast_lent_bytes") > 1_000);
    assert_eq!(value(&rig, "holdfast_outbox_bytes"), 1_004);
    rig.stop();
}
