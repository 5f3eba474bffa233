//! A node whose own way to the registry is cut, slow, or spoils what comes over it.

use crate::{
    client::Ws,
    fleet::{Fleet, LONG, expect, listed, readiness, written},
    proxy::Proxy,
    registry::Registry,
    traffic::Traffic,
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// Far less than the registry takes in these tests.
const QUICK: Duration = Duration::from_millis(700);
const TIMEOUT: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(2);

/// Three nodes, of which the last reaches the registry through a proxy.
fn fleet_with_proxy() -> (Fleet, Proxy) {
    let mut registry = Registry::single();
    let (url, proxy) = (registry.url(), Proxy::start(registry.server().port));
    let fleet = Fleet::start_by(registry, &[&url, &url, &proxy.url()], &[]);
    (fleet, proxy)
}

#[test]
fn a_node_is_cut_off_from_the_registry() {
    let (mut fleet, proxy) = fleet_with_proxy();
    let mut older = Ws::user(fleet.node(2), "ada", "tv");
    let mut stays = Ws::user(fleet.node(2), "grace", "tv");
    let mut other = Ws::user(fleet.node(0), "edsger", "tv");
    fleet.wait_devices("ada", &[("tv", 2)]);
    fleet.wait_devices("grace", &[("tv", 2)]);
    fleet.wait_devices("edsger", &[("tv", 0)]);
    let traffic = Traffic::start(&fleet, 24);
    proxy.cut(true);
    fleet.silent = Some(2);
    let cut_off = fleet.node(2);
    let is_told = || readiness(cut_off).1.starts_with("registry: ");
    expect("the node to say that it is cut off", LONG, &true, is_told);
    assert_eq!(readiness(cut_off).0, 200);
    // The others see its lease end; to itself nobody has died.
    fleet.wait_whole();
    assert_eq!(listed(cut_off).len(), 3);
    let mut newer = Ws::user(fleet.node(0), "ada", "tv");
    fleet.wait_devices("ada", &[("tv", 0)]);
    assert_eq!(cut_off.push("grace/push", "own").1, written(&["tv"]));
    assert_eq!(stays.text(), "own");
    assert_eq!(cut_off.push("edsger/push", "known").1, written(&["tv"]));
    assert_eq!(other.text(), "known");
    for node in fleet.answering() {
        assert_eq!(node.push("grace/push", "x").0, 404, "its node has no lease");
    }
    proxy.cut(false);
    fleet.silent = None;
    fleet.wait_whole();
    assert_eq!(older.close_frame(), (4001, "displaced".into()));
    fleet.wait_devices("ada", &[("tv", 0)]);
    fleet.wait_devices("grace", &[("tv", 2)]);
    let rows = [fleet.row("ada", "tv", 0), fleet.row("grace", "tv", 2), fleet.row("edsger", "tv", 0)];
    traffic.wait_registered(&fleet, &rows);
    traffic.wait_heard();
    for node in &fleet.nodes {
        for (user, client) in [("ada", &mut newer), ("grace", &mut stays)] {
            assert_eq!(node.push(&format!("{user}/push"), &node.id), (200, written(&["tv"])));
            assert_eq!(client.text(), node.id);
        }
    }
    let record = traffic.end();
    let counts = record.check(&fleet.numbered());
    assert_eq!(counts.sessions, record.devices.len(), "nobody is cut off: {counts:?}");
}

#[test]
fn a_slow_registry_holds_up_nobody_whose_way_is_known() {
    let (fleet, proxy) = fleet_with_proxy();
    let slow = fleet.node(2);
    let mut own = Ws::user(slow, "ada", "tv");
    let mut known = Ws::user(fleet.node(0), "grace", "tv");
    fleet.wait_devices("ada", &[("tv", 2)]);
    fleet.wait_devices("grace", &[("tv", 0)]);
    let quickly = |what: &str, act: &mut dyn FnMut()| {
        let began = Instant::now();
        act();
        assert!(began.elapsed() < QUICK, "{what}: {:?}", began.elapsed());
    };
    assert_eq!(slow.push("grace/push", "asked").1, written(&["tv"]));
    proxy.delay_requests(TIMEOUT);
    quickly("a route known a moment ago", &mut || {
        assert_eq!(slow.push("grace/push", "known").1, written(&["tv"]));
    });
    assert_eq!([known.text(), known.text()], ["asked", "known"]);
    let mut late = None;
    quickly("a handshake", &mut || late = Some(Ws::user(slow, "late", "tv")));
    let mut late = late.unwrap();
    for (user, client) in [("ada", &mut own), ("late", &mut late)] {
        quickly("one device of its own", &mut || {
            assert_eq!(slow.push(&format!("{user}/push?device=tv"), "one").1, written(&["tv"]));
            assert_eq!(client.text(), "one");
        });
        // Others of the user's may be elsewhere: the answer waits for that, the message does not.
        thread::scope(|scope| {
            let push = scope.spawn(|| slow.push(&format!("{user}/push"), "all"));
            quickly("its own of all devices", &mut || assert_eq!(client.text(), "all"));
            assert_eq!(push.join().unwrap().1, written(&["tv"]));
        });
    }
    let asked = Instant::now();
    let status = slow.push("nobody/push", "x").0;
    assert!([404, 503].contains(&status), "{status}");
    assert!(asked.elapsed() < TIMEOUT + SLACK, "{:?}", asked.elapsed());
    // What was known once is used, for want of better.
    let asked = Instant::now();
    assert_eq!(slow.push("grace/push", "known once").1, written(&["tv"]));
    assert!(asked.elapsed() < TIMEOUT + SLACK, "{:?}", asked.elapsed());
    assert_eq!(known.text(), "known once");
    proxy.delay_requests(Duration::ZERO);
    fleet.wait_whole();
    fleet.wait_devices("late", &[("tv", 2)]);
    let row = |user, at| fleet.row(user, "tv", at);
    fleet.wait_rows(vec![row("ada", 2), row("grace", 0), row("late", 2)]);
}

#[test]
fn spoilt_answers_of_the_registry_lead_nobody_astray() {
    let (fleet, proxy) = fleet_with_proxy();
    let traffic = Traffic::start(&fleet, 24);
    proxy.spoil_one_in(Some(30));
    let until = Instant::now() + Duration::from_secs(6);
    while Instant::now() < until {
        traffic.wait_heard();
    }
    proxy.spoil_one_in(None);
    fleet.wait_whole();
    traffic.wait_registered(&fleet, &[]);
    traffic.wait_heard();
    let record = traffic.end();
    let counts = record.check(&fleet.numbered());
    assert_eq!(counts.sessions, record.devices.len(), "nobody is cut off: {counts:?}");
    assert!(fleet.node(2).metric("holdfast_registry_drops_total") > 0.0, "nothing was spoilt");
}
