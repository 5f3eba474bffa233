//! One suite of rules, for every registry there is: whichever node is asked, the fleet is one.

use crate::{
    client::{CLOSE, Sse, Ws},
    fleet::{Fleet, LONG, devices_of, expect, listed, readiness, written},
    http::Wire,
    node::{Node, PATIENCE, until},
    registry::{Lease, Registry},
    servers::{Cluster, Sentinels},
};
use std::time::{Duration, Instant};

#[test]
fn with_the_registry_in_memory() {
    suite(Registry::Memory, 1);
}

#[test]
fn with_one_redis() {
    suite(Registry::single(), 3);
}

#[test]
fn with_sentinels() {
    suite(Registry::Sentinels(Sentinels::start()), 3);
}

#[test]
fn with_a_cluster() {
    suite(Registry::Cluster(Cluster::start()), 3);
}

fn suite(registry: Registry, nodes: usize) {
    let mut fleet = Fleet::start(registry, nodes, &[]);
    every_node_reaches_every_device(&fleet);
    nobody_is_offline(&fleet);
    the_newer_connection_takes_over(&fleet);
    the_end_of_an_older_one_removes_nothing(&fleet);
    who_fights_for_a_device_is_parted(&fleet);
    devices_without_names_have_names(&fleet);
    any_node_disconnects(&fleet);
    who_is_blocked_is_kept_out_by_every_node(&fleet);
    at_rest_the_registry_is_what_is_connected(&fleet);
    a_broadcast_reaches_every_connection_once(&fleet);
    a_node_leaves(&mut fleet);
}

/// Pushes through a node to all of a user's devices.
fn push_all(node: &Node, user: &str, text: &str, devices: &[&str]) {
    assert_eq!(node.push(&format!("{user}/push"), text), (200, written(devices)), "{text}, by {}", node.id);
}

fn every_node_reaches_every_device(fleet: &Fleet) {
    let mut phone = Ws::user(fleet.node(0), "ada", "phone");
    let mut tab = Sse::user(fleet.node(1), "ada", "tab");
    let mut tv = Ws::user(fleet.node(2), "ada", "tv");
    fleet.wait_devices("ada", &[("phone", 0), ("tab", 1), ("tv", 2)]);
    for node in &fleet.nodes {
        let text = format!("to all through {}", node.id);
        push_all(node, "ada", &text, &["phone", "tab", "tv"]);
        assert_eq!([phone.text(), tab.event().data, tv.text()], [&*text, &*text, &*text]);
        for device in ["phone", "tab", "tv"] {
            let text = format!("to the {device} through {}", node.id);
            assert_eq!(node.push(&format!("ada/push?device={device}"), &text), (200, written(&[device])));
            let heard = match device {
                "phone" => phone.text(),
                "tv" => tv.text(),
                _ => tab.event().data,
            };
            assert_eq!(heard, text);
        }
    }
    // The answer names the node of each device.
    let answer = fleet.node(0).ask("POST", "/v1/users/ada/push?device=tv", b"x").json();
    assert_eq!(answer["outcomes"][0]["node"], fleet.node(2).id, "{answer}");
    assert_eq!(tv.text(), "x");
}

fn nobody_is_offline(fleet: &Fleet) {
    for node in &fleet.nodes {
        assert_eq!(node.push("nobody/push", "x"), (404, vec![]));
        assert_eq!(node.ask("GET", "/v1/users/nobody/devices", b"").status, 404);
    }
}

fn the_newer_connection_takes_over(fleet: &Fleet) {
    let mut first = Sse::user(fleet.node(0), "grace", "tab");
    let mut beside = Ws::user(fleet.node(0), "grace", "beside");
    fleet.wait_devices("grace", &[("beside", 0), ("tab", 0)]);
    let mut second = Ws::user(fleet.node(1), "grace", "tab");
    let event = first.event();
    assert_eq!((event.name.as_str(), event.data.as_str()), ("close", "4001 displaced"));
    first.assert_end();
    fleet.wait_devices("grace", &[("beside", 0), ("tab", 1)]);
    let mut third = Ws::user(fleet.node(2), "grace", "tab");
    assert_eq!(second.close_frame(), (4001, "displaced".into()));
    fleet.wait_devices("grace", &[("beside", 0), ("tab", 2)]);
    for node in &fleet.nodes {
        let text = format!("newest, through {}", node.id);
        push_all(node, "grace", &text, &["beside", "tab"]);
        assert_eq!([third.text(), beside.text()], [&*text, &*text]);
    }
}

fn the_end_of_an_older_one_removes_nothing(fleet: &Fleet) {
    let mut older = Ws::user(fleet.node(0), "edsger", "tv");
    fleet.wait_devices("edsger", &[("tv", 0)]);
    let mut newer = Ws::user(fleet.node(1), "edsger", "tv");
    assert_eq!(older.close_frame().0, 4001);
    older.send(CLOSE, &4001u16.to_be_bytes());
    older.assert_end();
    fleet.wait_devices("edsger", &[("tv", 1)]);
    // For longer than a route is believed.
    let until = Instant::now() + Duration::from_millis(1_500);
    while Instant::now() < until {
        for node in &fleet.nodes {
            push_all(node, "edsger", "still here", &["tv"]);
            assert_eq!(newer.text(), "still here");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    newer.close();
    fleet.wait_devices("edsger", &[]);
}

/// Past three takeovers in a minute the holder stays, wherever they are.
fn who_fights_for_a_device_is_parted(fleet: &Fleet) {
    let mut holder = Ws::user(fleet.node(0), "tybalt", "tab");
    for round in 1..=3 {
        fleet.wait_devices("tybalt", &[("tab", round - 1)]);
        let newer = Ws::user(fleet.node(round), "tybalt", "tab");
        assert_eq!(holder.close_frame().0, 4001);
        holder = newer;
    }
    fleet.wait_devices("tybalt", &[("tab", 3)]);
    let mut newcomer = Ws::user(fleet.node(4), "tybalt", "tab");
    assert_eq!(newcomer.close_frame().0, 4001);
    for node in &fleet.nodes {
        push_all(node, "tybalt", "the holder stays", &["tab"]);
        assert_eq!(holder.text(), "the holder stays");
    }
}

fn devices_without_names_have_names(fleet: &Fleet) {
    let mut sockets = [Ws::user(fleet.node(0), "barbara", ""), Ws::user(fleet.node(1), "barbara", "")];
    for node in &fleet.nodes {
        expect("both without a name", LONG, &2, || devices_of(node, "barbara").len());
    }
    let names = devices_of(fleet.node(2), "barbara");
    let at = |name: &str| names.iter().find(|(device, _)| device == name).map(|(_, node)| node.clone());
    for node in &fleet.nodes {
        assert_eq!(devices_of(node, "barbara"), names, "the same names everywhere");
        for (name, _) in &names {
            assert_eq!(node.push(&format!("barbara/push?device={name}"), name), (200, written(&[name])));
        }
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        let heard: Vec<String> = fleet.nodes.iter().map(|_| socket.text()).collect();
        assert!(heard.iter().all(|name| *name == heard[0]), "one name each: {heard:?}");
        assert_eq!(at(&heard[0]), Some(fleet.node(number).id.clone()));
    }
}

fn any_node_disconnects(fleet: &Fleet) {
    let mut phone = Ws::user(fleet.node(0), "tim", "phone");
    let mut tab = Sse::user(fleet.node(1), "tim", "tab");
    let mut tv = Ws::user(fleet.node(2), "tim", "tv");
    let mut other = Ws::user(fleet.node(0), "tom", "tv");
    fleet.wait_devices("tim", &[("phone", 0), ("tab", 1), ("tv", 2)]);
    fleet.wait_devices("tom", &[("tv", 0)]);
    let delete =
        |at: usize, path: &str| fleet.node(at).ask("DELETE", &format!("/v1/users/{path}"), b"").status;
    assert_eq!(delete(1, "tim/devices/radio"), 404);
    assert_eq!(delete(1, "nobody"), 404);
    assert_eq!(delete(1, "tim/devices/phone"), 202);
    assert_eq!(phone.text(), "_CLOSE_");
    assert_eq!(phone.close_frame().0, 4003);
    fleet.wait_devices("tim", &[("tab", 1), ("tv", 2)]);
    push_all(fleet.node(0), "tim", "the others stay", &["tab", "tv"]);
    assert_eq!([tab.event().data, tv.text()], ["the others stay", "the others stay"]);
    assert_eq!(delete(0, "tim"), 202);
    assert_eq!(tv.text(), "_CLOSE_");
    assert_eq!(tv.close_frame().0, 4003);
    assert_eq!(tab.event().name, "goaway");
    let close = tab.event();
    assert!(close.name == "close" && close.data.starts_with("4003"), "{close:?}");
    fleet.wait_devices("tim", &[]);
    push_all(fleet.node(1), "tom", "somebody else", &["tv"]);
    assert_eq!(other.text(), "somebody else");
}

fn who_is_blocked_is_kept_out_by_every_node(fleet: &Fleet) {
    let mut tv = Ws::user(fleet.node(2), "eve", "tv");
    fleet.wait_devices("eve", &[("tv", 2)]);
    // Made before, by the node that hears of the block last.
    let ticket = ticket(fleet.node(2), "eve");
    assert_eq!(fleet.node(0).ask("DELETE", "/v1/users/eve?block=3s", b"").status, 202);
    for node in &fleet.nodes {
        let refused = Ws::try_open(Wire::connect(node.clients), "/ws?user=eve&device=tv", &[]).err();
        let status = refused.map(|answer| answer.status);
        assert!(status.is_some_and(|status| (400..600).contains(&status)), "{}: {status:?}", node.id);
        assert!(Ws::attempt(node.clients, &ticket).is_none(), "{}: by a ticket", node.id);
        Ws::user(node, "adam", "tv").close();
    }
    assert_eq!(tv.text(), "_CLOSE_");
    assert_eq!(tv.close_frame().0, 4003);
    for node in &fleet.nodes {
        // It ends by itself.
        until("the end of the block", || Ws::attempt(node.clients, "/ws?user=eve&device=tv"));
        assert!(
            Ws::attempt(node.clients, &ticket).is_some(),
            "{}: it was used nowhere, and here once",
            node.id
        );
        assert!(Ws::attempt(node.clients, &ticket).is_none(), "{}: once", node.id);
    }
}

/// A request with one that this node has made.
fn ticket(node: &Node, user: &str) -> String {
    let order = format!("{{\"user\":\"{user}\",\"ttl\":\"5m\"}}");
    let answer = node.ask("POST", "/v1/tickets", order.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    format!("/ws?ticket={}", answer.json()["ticket"].as_str().unwrap())
}

fn a_broadcast_reaches_every_connection_once(fleet: &Fleet) {
    let mut sockets: Vec<Ws> = (0..12).map(|n| Ws::user(fleet.node(n), &format!("user {n}"), "")).collect();
    let mut streams: Vec<Sse> =
        (0..6).map(|n| Sse::user(fleet.node(n), &format!("user {n}"), "tab")).collect();
    let nodes = fleet.nodes.len();
    for node in &fleet.nodes {
        let text = format!("to everybody, through {}", node.id);
        let answer = node.ask("POST", "/v1/broadcast", text.as_bytes());
        let value = answer.json();
        let counts = (answer.status, value["nodes"].as_u64(), value["outcomes"]["written"].as_u64());
        assert_eq!(counts, (200, Some(nodes as u64), Some(18)), "{value}");
        assert!(sockets.iter_mut().all(|socket| socket.text() == text));
        assert!(streams.iter_mut().all(|stream| stream.event().data == text));
    }
    let value = fleet.node(1).ask("POST", "/v1/broadcast?scope=node", b"to some").json();
    let here = value["outcomes"]["written"].as_u64().unwrap() as usize;
    assert_eq!((value["nodes"].as_u64(), here), (Some(1), 18 / nodes), "{value}");
    // What comes last is the next that comes: nothing came twice, and to one node's only what was for them.
    for node in &fleet.nodes {
        node.ask("POST", "/v1/broadcast?scope=node", b"the last");
    }
    let heard: Vec<String> =
        sockets.iter_mut().map(Ws::text).chain(streams.iter_mut().map(|it| it.event().data)).collect();
    assert_eq!(heard.iter().filter(|text| *text == "to some").count(), here, "{heard:?}");
    assert_eq!(heard.iter().filter(|text| *text == "the last").count(), 18 - here, "{heard:?}");
}

fn at_rest_the_registry_is_what_is_connected(fleet: &Fleet) {
    for node in &fleet.nodes {
        // Those of the rules before are gone.
        node.wait_for_metric("holdfast_connections{protocol=\"sse\"}", 0.0);
        node.wait_for_metric("holdfast_connections{protocol=\"websocket\"}", 0.0);
    }
    fleet.wait_rows(Vec::new());
    let open = |n: usize| Ws::user(fleet.node(n), &format!("user {}", n / 2), &format!("d{n}"));
    let row = |n: usize| fleet.row(&format!("user {}", n / 2), &format!("d{n}"), n);
    let mut sockets: Vec<Ws> = (0..30).map(open).collect();
    fleet.wait_rows((0..30).map(row).collect());
    for socket in sockets.drain(..10) {
        socket.close();
    }
    drop(sockets.drain(..10).collect::<Vec<_>>());
    fleet.wait_rows((20..30).map(row).collect());
    drop(sockets);
    fleet.wait_rows(Vec::new());
    for node in &fleet.nodes {
        node.wait_for_metric("holdfast_registry_unsettled", 0.0);
        node.wait_for_metric("holdfast_registry_up", 1.0);
    }
}

/// The last one leaves; the others see it first leaving, then gone, at once and not when its lease would have ended.
fn a_node_leaves(fleet: &mut Fleet) {
    let [others @ .., leaver] = fleet.nodes.as_mut_slice() else { panic!("no node") };
    let mut client = Ws::user(leaver, "tony", "tv");
    leaver.sigterm();
    let draining = |node: &Node, id: &str| {
        let answer = node.ask("GET", "/v1/nodes", b"").json();
        let mut entries = answer["nodes"].as_array().unwrap().iter();
        entries.find(|entry| entry["node"] == id).map(|entry| entry["draining"].as_bool().unwrap())
    };
    for node in &*others {
        expect("that it leaves", PATIENCE, &Some(true), || draining(node, &leaver.id));
        assert_eq!(node.push("tony/push", "while it leaves"), (200, written(&["tv"])));
        assert_eq!(client.text(), "while it leaves");
        assert_eq!(readiness(node), (200, "ok".into()));
    }
    assert_eq!(client.text(), "_CLOSE_");
    client.close();
    assert_eq!(leaver.wait(), 0);
    let gone = Instant::now();
    let left: Vec<String> = others.iter().map(|node| node.id.clone()).collect();
    for node in &*others {
        expect("those that are left", PATIENCE, &left, || listed(node));
        // A route that was known a moment ago leads to nobody.
        expect("nobody", PATIENCE, &(404, vec![]), || node.push("tony/push", "x"));
    }
    assert!(gone.elapsed() < Duration::from_secs(5), "a lease's life is 10 s: {:?}", gone.elapsed());
    if !left.is_empty() {
        let names: Vec<String> = fleet.registry.leases().into_iter().map(|Lease { node, .. }| node).collect();
        assert_eq!(names, left);
    }
}
