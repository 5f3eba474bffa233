//! A partition: packets between the nodes and their registry vanish, and nobody is told.

use crate::{
    client::Ws,
    fleet::{Fleet, LONG, expect, readiness, written},
    namespace::{self, shell},
    registry::Registry,
    servers::Server,
    traffic::Traffic,
};
use std::{
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

const NODES: &str = "10.98.0.1";
const REDIS: &str = "10.98.0.2";
/// Longer than a lease.
const PARTITION: Duration = Duration::from_secs(12);

/// A network behind a link.
struct Beyond(Child);

impl Beyond {
    fn open() -> Self {
        assert!(shell(&format!(
            "ip link set lo up; ip link add name near type veth peer name far
             ip addr add {NODES}/24 dev near; ip link set near up"
        )));
        let child = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap();
        let beyond = Self(child);
        // The process is there before it has a network of its own.
        let ready = || {
            let enter = beyond.enter();
            shell(&format!(
                "test \"$({enter} readlink /proc/self/ns/net)\" != \"$(readlink /proc/self/ns/net)\""
            ))
        };
        expect("a network of its own", LONG, &true, ready);
        let enter = beyond.enter();
        assert!(shell(&format!(
            "ip link set far netns {}; {enter} ip addr add {REDIS}/24 dev far; {enter} ip link set lo up",
            beyond.0.id()
        )));
        beyond.set(true);
        beyond
    }

    fn enter(&self) -> String {
        format!("nsenter --net --target {}", self.0.id())
    }

    fn set(&self, open: bool) {
        let state = if open { "up" } else { "down" };
        assert!(shell(&format!("{} ip link set far {state}", self.enter())));
    }
}

impl Drop for Beyond {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn packets_to_the_registry_vanish() {
    if !namespace::is_inside() {
        return namespace::run("partition::packets_to_the_registry_vanish", "Partitions without a word");
    }
    let beyond = Beyond::open();
    let server = Server::start_within(REDIS, &beyond.enter(), &["--protected-mode", "no"]);
    let fleet = Fleet::start(Registry::Single(server), 3, &["registry.timeout=1s"]);
    let mut known = Ws::user(fleet.node(1), "known", "tv");
    fleet.wait_devices("known", &[("tv", 1)]);
    let traffic = Traffic::start(&fleet, 16);
    beyond.set(false);
    let began = Instant::now();
    for node in &fleet.nodes {
        expect(&format!("the health of {}", node.id), LONG, &true, || readiness(node).1 != "ok");
    }
    let mut late = Ws::user(fleet.node(2), "late", "tv");
    for text in ["early in it", "late in it"] {
        assert_eq!(fleet.node(0).push("known/push", text), (200, written(&["tv"])));
        assert_eq!(known.text(), text);
        assert_eq!(fleet.node(2).push("late/push", text), (200, written(&["tv"])));
        assert_eq!(late.text(), text);
        assert_eq!(fleet.node(0).ask("POST", "/v1/users/stranger/push", b"x").status, 503);
        thread::sleep(PARTITION.saturating_sub(began.elapsed()));
    }
    beyond.set(true);
    for node in &fleet.nodes {
        expect(&format!("the health of {}", node.id), LONG, &(200, "ok".to_owned()), || readiness(node));
    }
    fleet.wait_whole();
    traffic.wait_registered(&fleet, &[fleet.row("known", "tv", 1), fleet.row("late", "tv", 2)]);
    traffic.wait_heard();
    let record = traffic.end();
    let counts = record.check(&fleet.numbered());
    assert_eq!(counts.sessions, record.devices.len(), "nobody is cut off: {counts:?}");
}
