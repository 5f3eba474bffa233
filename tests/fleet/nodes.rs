//! Nodes that are killed, that stand still, that have another's name, or a clock that jumps.

use crate::{
    client::Ws,
    fleet::{Fleet, LONG, expect, listed, plan, written},
    node::until,
    registry::Registry,
    servers::command,
    traffic::Traffic,
};
use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

/// The life of a lease, and what noticing its end may take.
const LEASE: Duration = Duration::from_secs(10);
const NOTICING: Duration = Duration::from_secs(5);

#[test]
fn a_node_is_killed_under_load() {
    let mut fleet = Fleet::start(Registry::single(), 3, &[]);
    // A client that does not come back.
    let _phantom = Ws::user(fleet.node(2), "phantom", "tv");
    fleet.wait_devices("phantom", &[("tv", 2)]);
    let traffic = Traffic::start(&fleet, 24);
    let killed = Instant::now();
    fleet.nodes[2].signal("KILL");
    fleet.silent = Some(2);
    traffic.shut(2);
    // Whoever has connected elsewhere gets the next message, long before the lease ends.
    traffic.wait_heard();
    assert!(killed.elapsed() < LEASE, "{:?}", killed.elapsed());
    for node in fleet.answering() {
        expect("an end of the phantom", LONG, &404, || node.push("phantom/push", "x").0);
    }
    assert!(killed.elapsed() < LEASE + NOTICING, "{:?}", killed.elapsed());
    fleet.wait_whole();
    traffic.wait_registered(&fleet, &[]);
    // It begins anew, under its name: what its earlier run held is not there.
    fleet.nodes[2] = plan("node-3", &fleet.registry.url(), &[]).start();
    fleet.silent = None;
    traffic.open(2, fleet.node(2));
    fleet.wait_whole();
    for node in &fleet.nodes {
        assert_eq!(node.push("phantom/push", "x").0, 404);
    }
    traffic.wait_heard();
    traffic.wait_registered(&fleet, &[]);
    let counts = traffic.end().check(&[(0, fleet.node(0)), (1, fleet.node(1))]);
    assert_eq!(counts.displaced, 0, "{counts:?}");
}

#[test]
fn who_flees_from_dying_nodes_fights_with_nobody() {
    let mut fleet = Fleet::start(Registry::single(), 5, &[]);
    let mut client = Ws::user(fleet.node(4), "ada", "tv");
    fleet.wait_rows(vec![fleet.row("ada", "tv", 4)]);
    while fleet.nodes.len() > 1 {
        let dying = fleet.nodes.pop().unwrap();
        dying.signal("KILL");
        // Its record is there: for the registry, the device was taken over.
        client = Ws::user(fleet.nodes.last().unwrap(), "ada", "tv");
        if fleet.nodes.len() > 1 {
            let row = fleet.row("ada", "tv", fleet.nodes.len() - 1);
            expect("the record", LONG, &true, || fleet.registry.rows().contains(&row));
        }
    }
    fleet.wait_rows(vec![fleet.row("ada", "tv", 0)]);
    assert_eq!(fleet.node(0).push("ada/push", "here"), (200, written(&["tv"])));
    assert_eq!(client.text(), "here");
}

#[test]
fn a_node_that_stood_still_claims_nothing_back() {
    let mut fleet = Fleet::start(Registry::single(), 3, &[]);
    let mut older = Ws::user(fleet.node(2), "ada", "tv");
    let mut stays = Ws::user(fleet.node(2), "grace", "tv");
    fleet.wait_devices("ada", &[("tv", 2)]);
    fleet.wait_devices("grace", &[("tv", 2)]);
    let traffic = Traffic::start(&fleet, 24);
    traffic.shut(2);
    fleet.nodes[2].signal("STOP");
    fleet.silent = Some(2);
    let there = traffic.at(2);
    let (move_on, stay) = there.split_at(there.len() / 2);
    for &device in move_on {
        traffic.vanish(device);
    }
    let mut newer = Ws::user(fleet.node(0), "ada", "tv");
    fleet.wait_devices("ada", &[("tv", 0)]);
    fleet.wait_whole();
    for node in fleet.answering() {
        assert_eq!(node.push("grace/push", "x").0, 404, "its node has no lease");
    }
    let elsewhere = |device: &&usize| !traffic.at(2).contains(device);
    until("them to be elsewhere", || {
        (move_on.iter().filter(elsewhere).count() == move_on.len()).then_some(())
    });
    fleet.nodes[2].signal("CONT");
    fleet.silent = None;
    fleet.wait_whole();
    assert_eq!(older.close_frame(), (4001, "displaced".into()));
    fleet.wait_devices("ada", &[("tv", 0)]);
    fleet.wait_devices("grace", &[("tv", 2)]);
    let rows = [fleet.row("ada", "tv", 0), fleet.row("grace", "tv", 2)];
    traffic.wait_registered(&fleet, &rows);
    for node in &fleet.nodes {
        assert_eq!(node.push("ada/push", &node.id), (200, written(&["tv"])));
        assert_eq!(newer.text(), node.id);
        assert_eq!(node.push("grace/push", &node.id), (200, written(&["tv"])));
        assert_eq!(stays.text(), node.id);
    }
    assert!(stay.iter().all(|device| traffic.at(2).contains(device)), "who has stayed is where they were");
    traffic.open(2, fleet.node(2));
    traffic.wait_heard();
    let counts = traffic.end().check(&fleet.numbered());
    assert_eq!(counts.displaced, 0, "{counts:?}");
}

#[test]
fn of_two_nodes_with_one_name_the_later_stays() {
    let mut fleet = Fleet::start(Registry::single(), 3, &[]);
    let mut client = Ws::user(fleet.node(2), "ada", "tv");
    fleet.wait_devices("ada", &[("tv", 2)]);
    let later = plan("node-3", &fleet.registry.url(), &[]).start();
    let mut earlier = std::mem::replace(&mut fleet.nodes[2], later);
    assert_eq!(client.text(), "_CLOSE_");
    client.close();
    let mut client = Ws::user(fleet.node(2), "ada", "tv");
    assert_eq!(earlier.wait(), 1);
    let log = earlier.log();
    assert!(log.contains("ERROR") && log.contains("node-3"), "{log}");
    fleet.wait_whole();
    fleet.wait_devices("ada", &[("tv", 2)]);
    for node in &fleet.nodes {
        assert_eq!(node.push("ada/push", &node.id), (200, written(&["tv"])));
        assert_eq!(client.text(), node.id);
    }
    // The end of the earlier has not taken the later one's lease.
    assert_eq!(listed(fleet.node(0)), ["node-1", "node-2", "node-3"]);
    fleet.wait_rows(vec![fleet.row("ada", "tv", 2)]);
}

/// Where the distribution has put the library that shows a program another time.
fn faketime() -> String {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut files = folders.chain(["/usr/lib".into(), "/usr/lib64".into()]).flat_map(|folder: PathBuf| {
        ["faketime/libfaketimeMT.so.1", "libfaketimeMT.so.1"].map(|name| folder.join(name))
    });
    let found = files.find(|file| file.exists());
    found
        .expect("libfaketime is missing: scripts/install-test-tools installs it")
        .to_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_clock_that_jumps_makes_nothing_older_or_newer() {
    let registry = Registry::single();
    let url = registry.url();
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    fs::write(&clock, "+0").unwrap();
    let jumping = plan("node-3", &url, &[])
        .environment("LD_PRELOAD", &faketime())
        .environment("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap())
        .environment("FAKETIME_CACHE_DURATION", "1")
        .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .environment("DONT_FAKE_MONOTONIC", "1");
    let nodes = vec![plan("node-1", &url, &[]).start(), plan("node-2", &url, &[]).start(), jumping.start()];
    let fleet = Fleet { registry, nodes, silent: None };
    fleet.wait_whole();
    let year = |line: &str| line[..4].parse::<u32>().unwrap();
    let now = year(&fleet.node(2).log());
    let mut before = Ws::user(fleet.node(2), "before", "tv");
    fleet.wait_devices("before", &[("tv", 2)]);
    let jumps = [("ahead", "+800d"), ("behind", "-800d"), ("right", "+0")];
    for (round, (user, jump)) in jumps.into_iter().enumerate() {
        let mut first = Ws::user(fleet.node(2), user, "tv");
        fleet.wait_devices(user, &[("tv", 2)]);
        fs::write(&clock, jump).unwrap();
        until("the jump", || {
            // Says something with a time.
            fleet.node(2).ask("DELETE", "/v1/users/nobody?block=1s&scope=node", b"");
            let shown = year(fleet.node(2).log().lines().last().unwrap());
            let is_there = [shown > now, shown < now, shown == now][round];
            is_there.then_some(())
        });
        // From a node with one time to that with the other and back.
        let mut second = Ws::user(fleet.node(0), user, "tv");
        assert_eq!(first.close_frame().0, 4001);
        fleet.wait_devices(user, &[("tv", 0)]);
        let mut third = Ws::user(fleet.node(2), user, "tv");
        assert_eq!(second.close_frame().0, 4001);
        fleet.wait_devices(user, &[("tv", 2)]);
        let mut fourth = Ws::user(fleet.node(1), user, "tv");
        assert_eq!(third.close_frame().0, 4001);
        fleet.wait_devices(user, &[("tv", 1)]);
        // What is registered late is no newer for that.
        command(&mut fleet.registry.masters()[0], "FLUSHALL").unwrap();
        fleet.wait_rows(vec![fleet.row(user, "tv", 1), fleet.row("before", "tv", 2)]);
        fleet.wait_whole();
        for node in &fleet.nodes {
            for (user, client) in [(user, &mut fourth), ("before", &mut before)] {
                // A time to live is a time, not a date.
                assert_eq!(node.push(&format!("{user}/push?ttl=30s"), &node.id), (200, written(&["tv"])));
                assert_eq!(client.text(), node.id);
            }
        }
        fourth.close();
    }
    assert_eq!(fleet.node(2).metric("holdfast_closes_total{reason=\"dead_peer\"}"), 0.0);
}
