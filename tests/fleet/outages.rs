//! A registry that is away, that forgets, that fails over, that is slow or full.

use crate::{
    client::Ws,
    fleet::{Fleet, LONG, expect, readiness, written},
    node::Node,
    registry::Registry,
    servers::{Cluster, Sentinels, Server, command},
    traffic::Traffic,
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// Longer than a lease.
const OUTAGE: Duration = Duration::from_secs(12);
/// What a machine that is busy may add.
const SLACK: Duration = Duration::from_secs(2);

/// A push whose answer says that there may be other devices.
fn push_partial(node: &Node, user: &str, text: &str) -> bool {
    let answer = node.ask("POST", &format!("/v1/users/{user}/push"), text.as_bytes());
    assert_eq!(answer.status, 200, "{user} by {}: {}", node.id, answer.text());
    assert_eq!(crate::node::outcomes(&answer.json()), written(&["tv"]), "{user} by {}", node.id);
    answer.json()["partial"] == true
}

fn wait_ready(fleet: &Fleet, is_ready: bool) {
    for node in &fleet.nodes {
        let look = || {
            let (status, reason) = readiness(node);
            assert!(reason == "ok" || reason.starts_with("registry: "), "{reason}");
            (status, reason == "ok", node.metric("holdfast_registry_up"))
        };
        let up = if is_ready { 1.0 } else { 0.0 };
        expect(&format!("the health of {}", node.id), LONG, &(200, is_ready, up), look);
    }
}

#[test]
fn the_registry_stands_still() {
    an_outage(|server| server.signal("-STOP"), |server| server.signal("-CONT"));
}

#[test]
fn the_registry_ends_and_begins_anew_without_anything() {
    an_outage(Server::kill, Server::restart);
}

fn an_outage(end: impl Fn(&mut Server), begin: impl Fn(&mut Server)) {
    let timeout = Duration::from_secs(1);
    let mut fleet = Fleet::start(Registry::single(), 3, &["registry.timeout=1s"]);
    let mut own = Ws::user(fleet.node(0), "own", "tv");
    let mut known = Ws::user(fleet.node(1), "known", "tv");
    fleet.wait_devices("own", &[("tv", 0)]);
    fleet.wait_devices("known", &[("tv", 1)]);
    let traffic = Traffic::start(&fleet, 16);
    assert!(!push_partial(fleet.node(0), "known", "before"));
    end(fleet.registry.server());
    let began = Instant::now();
    wait_ready(&fleet, false);
    let mut late = Ws::user(fleet.node(2), "late", "tv");
    // At once, and when all leases would have ended long ago.
    for text in ["early in it", "late in it"] {
        assert!(push_partial(fleet.node(0), "own", text));
        // What was heard a moment ago is believed as it is.
        let is_partial = push_partial(fleet.node(0), "known", text);
        assert!(is_partial || text.starts_with("early"));
        assert!(push_partial(fleet.node(2), "late", text));
        let asked = Instant::now();
        assert_eq!(fleet.node(0).ask("POST", "/v1/users/stranger/push", b"x").status, 503);
        assert_eq!(fleet.node(0).ask("GET", "/v1/users/stranger/devices", b"").status, 503);
        assert!(asked.elapsed() < 2 * timeout + SLACK, "{:?}", asked.elapsed());
        thread::sleep(OUTAGE.saturating_sub(began.elapsed()));
    }
    begin(fleet.registry.server());
    wait_ready(&fleet, true);
    fleet.wait_whole();
    fleet.wait_devices("late", &[("tv", 2)]);
    let rows = [fleet.row("own", "tv", 0), fleet.row("known", "tv", 1), fleet.row("late", "tv", 2)];
    traffic.wait_registered(&fleet, &rows);
    traffic.wait_heard();
    assert_eq!(fleet.node(1).push("late/push", "after").1, written(&["tv"]));
    assert_eq!([late.text(), late.text(), late.text()], ["early in it", "late in it", "after"]);
    assert_eq!([own.text(), own.text()], ["early in it", "late in it"]);
    assert_eq!([known.text(), known.text(), known.text()], ["before", "early in it", "late in it"]);
    let record = traffic.end();
    let counts = record.check(&fleet.numbered());
    assert_eq!(counts.sessions, record.devices.len(), "nobody is cut off: {counts:?}");
    assert!(counts.slowest < 2 * timeout + SLACK, "{counts:?}");
}

/// Losses under load: nobody is cut off, and each time everything is registered again.
fn a_loss(mut fleet: Fleet, losses: &[fn(&mut Registry)]) {
    let traffic = Traffic::start(&fleet, 24);
    traffic.wait_registered(&fleet, &[]);
    for lose in losses {
        lose(&mut fleet.registry);
        traffic.wait_heard();
        expect("the whole registry", LONG, &true, || fleet.registry.is_whole());
        wait_ready(&fleet, true);
        fleet.wait_whole();
        traffic.wait_registered(&fleet, &[]);
        traffic.wait_heard();
    }
    let record = traffic.end();
    let counts = record.check(&fleet.numbered());
    assert_eq!(counts.sessions, record.devices.len(), "nobody is cut off: {counts:?}");
    for node in &fleet.nodes {
        assert!(node.metric("holdfast_registry_losses_total") > 0.0, "{} has noticed nothing", node.id);
    }
}

#[test]
fn the_registry_forgets_everything() {
    let forget =
        |registry: &mut Registry| drop(command(&mut registry.server().connect(), "FLUSHALL").unwrap());
    a_loss(Fleet::start(Registry::single(), 3, &[]), &[forget, forget]);
}

#[test]
fn masters_of_a_cluster_die() {
    let fleet = Fleet::start(Registry::Cluster(Cluster::start()), 3, &[]);
    // One after the other; the second is the one that holds the leases.
    a_loss(fleet, &[|registry| registry.master(false).kill(), |registry| registry.master(true).kill()]);
}

#[test]
fn sentinels_fail_over() {
    let fleet = Fleet::start(Registry::Sentinels(Sentinels::start()), 3, &[]);
    a_loss(fleet, &[|registry| registry.server().kill()]);
}

#[test]
fn a_registry_without_memory_refuses_and_nobody_else_does() {
    let fleet = Fleet::start(Registry::single(), 3, &[]);
    let mut known = Ws::user(fleet.node(1), "known", "tv");
    fleet.wait_devices("known", &[("tv", 1)]);
    let traffic = Traffic::start(&fleet, 16);
    let mut redis = fleet.registry.masters().remove(0);
    command(&mut redis, "CONFIG SET maxmemory-policy noeviction").unwrap();
    command(&mut redis, "CONFIG SET maxmemory 1").unwrap();
    let began = Instant::now();
    let mut late = Ws::user(fleet.node(2), "late", "tv");
    wait_ready(&fleet, false);
    assert!(
        readiness(fleet.node(2)).1.starts_with("registry: it refuses: "),
        "{:?}",
        readiness(fleet.node(2))
    );
    for text in ["early in it", "late in it"] {
        assert_eq!(fleet.node(2).push("late/push", text), (200, written(&["tv"])));
        assert_eq!(late.text(), text);
        for node in &fleet.nodes {
            assert_eq!(node.push("known/push", text), (200, written(&["tv"])), "by {}, {text}", node.id);
            assert_eq!(known.text(), text);
        }
        thread::sleep(OUTAGE.saturating_sub(began.elapsed()));
    }
    command(&mut redis, "CONFIG SET maxmemory 0").unwrap();
    wait_ready(&fleet, true);
    fleet.wait_whole();
    traffic.wait_registered(&fleet, &[fleet.row("known", "tv", 1), fleet.row("late", "tv", 2)]);
    traffic.wait_heard();
    let record = traffic.end();
    let counts = record.check(&fleet.numbered());
    assert_eq!(counts.sessions, record.devices.len(), "nobody is cut off: {counts:?}");
}
