//! Descriptors: few of them, none left, and some that were there before.

use crate::{
    client::Ws,
    http::Wire,
    node::{Node, PATIENCE, Plan, until},
};
use std::{
    net::TcpListener,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

#[test]
fn the_limit_of_connections_is_cut_to_the_descriptors() {
    let node = Plan::new(&["limits.connections=5000"]).prelude("ulimit -n 300; exec").start();
    let capacity = node.metric("holdfast_connections_capacity");
    assert_eq!(capacity, 300.0 - 256.0);
    let mut open = Vec::new();
    let refused = until("a refusal", || {
        let user = format!("/ws?user=u{}", open.len());
        match Ws::try_open(Wire::connect(node.clients), &user, &[]) {
            Ok(ws) => {
                open.push(ws);
                None
            }
            Err(answer) => Some(answer),
        }
    });
    assert_eq!((open.len(), refused.status), (44, 503));
    assert_eq!(node.metric("holdfast_utilization"), 1.0);
    assert_eq!(node.push_one("u0/push", "x"), "written");
}

#[test]
fn the_limit_of_connections_counts_both_protocols_and_gives_places_back() {
    let node = Plan::new(&["limits.connections=3"]).shards(2).start();
    let mut open: Vec<Ws> = (0..3).map(|number| Ws::user(&node, &format!("u{number}"), "")).collect();
    assert!(Ws::try_open(Wire::connect(node.clients), "/ws?user=more", &[]).is_err());
    for round in 0..5 {
        open.remove(0).close();
        let target = format!("/ws?user=r{round}");
        open.push(until("a place", || Ws::try_open(Wire::connect(node.clients), &target, &[]).ok()));
    }
    assert_eq!(node.metric("holdfast_connections{protocol=\"websocket\"}"), 3.0);
}

#[test]
fn without_a_descriptor_left_it_neither_spins_nor_forgets_those_it_has() {
    let node = Plan::new(&["limits.handshake_timeout=1m"]).prelude("ulimit -n 300; exec").start();
    let mut held = Ws::user(&node, "held", "");
    // Opened while there are descriptors.
    let mut sender = Wire::connect(node.internal);
    assert_eq!(sender.ask("GET", "/livez", &[], b"").status, 200);
    let mut begun: Vec<Wire> = (0..400)
        .map(|_| {
            let mut wire = Wire::connect(node.clients);
            wire.try_send(b"GET /ws?user=slow HTTP/1.1\r\n");
            wire
        })
        .collect();
    until("no descriptor to be left", || {
        let metrics = sender.ask("GET", "/metrics", &[], b"").text();
        let line = metrics.lines().find(|line| line.starts_with("holdfast_accept_emfile_total "))?.to_owned();
        (!line.ends_with(" 0")).then_some(())
    });
    let (before, began) = (node.cpu_ticks(), Instant::now());
    while began.elapsed() < Duration::from_secs(1) {
        let answer = sender.ask("POST", "/v1/users/held/push", &[], b"still served");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(held.text(), "still served");
        std::thread::sleep(Duration::from_millis(100));
    }
    let busy = (node.cpu_ticks() - before) as f64 / 100.0 / began.elapsed().as_secs_f64();
    assert!(busy < 0.2, "{:.0} % of a core", busy * 100.0);
    begun.clear();
    let mut newcomer = until("a place", || Ws::after_request(reconnected(&node)?).ok());
    assert_eq!(node.push_one("newcomer/push", "x"), "written");
    assert_eq!(newcomer.text(), "x");
}

/// A connection that has a request and an answer on the way, or none where the node closed it for want of a descriptor.
fn reconnected(node: &Node) -> Option<Wire> {
    let mut wire = Wire::connect(node.clients);
    if !wire.try_send(&crate::client::upgrade("/ws?user=newcomer", &[])) {
        return None;
    }
    wire.fill(Instant::now() + PATIENCE).ok().map(|()| wire)
}

#[test]
fn listeners_may_be_inherited() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Descriptor 3 is the first that sd_listen_fds(3) names.
    let words = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec";
    for shards in [1, 2] {
        let inherited: OwnedFd = listener.try_clone().unwrap().into();
        let mut node = Plan::new(&["drain.delay=0s"]).shards(shards).prelude(words).stdin(inherited).start();
        assert_eq!(node.clients, address, "the ready file names the port that clients use");
        let mut clients: Vec<Ws> = (0..6).map(|number| Ws::user(&node, &format!("u{number}"), "")).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(node.push_one(&format!("u{number}/push"), "x"), "written");
            assert_eq!(client.text(), "x");
        }
        drop(clients);
        node.sigterm();
        assert_eq!(node.wait(), 0);
    }
}
