//! Clients that vanish without a word, as a phone does in a tunnel: in a network of the test's own, whose link is cut.

use crate::{
    bystander::Bystander,
    namespace::{self, shell},
    node::Plan,
    python::Helper,
};
use std::time::{Duration, Instant};

const NODE_ADDRESS: &str = "10.99.0.1";
/// Linux ends a connection whose bytes are not acknowledged for TCP_USER_TIMEOUT, which is 30 s; it looks when it sends again.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// How much later than due things may be on a machine that is busy.
const SLACK: Duration = Duration::from_secs(15);

/// A WebSocket whose library answers pings, and an event stream that is read; both until the end.
const CLIENT: &str = include_str!("scripts/away.py");

#[test]
fn clients_that_vanish_without_a_word_are_found() {
    let what = "Clients that vanish without a FIN";
    if !namespace::is_inside() {
        return namespace::run("away::clients_that_vanish_without_a_word_are_found", what);
    }
    assert!(shell(&format!(
        "ip link set lo up; ip link add name near type veth peer name far
         ip addr add {NODE_ADDRESS}/24 dev near; ip link set near up"
    )));
    let node = Plan::new(&["clients.ping_min=1s", "node.insecure=true"]).clients_at("0.0.0.0:0").start();
    let mut beside = Bystander::of(&node);
    let mut client =
        Helper::start(&["unshare", "--net"], CLIENT, &[&format!("{NODE_ADDRESS}:{}", node.clients.port())]);
    assert_eq!(client.line(), "started");
    let there = format!("nsenter --net --target {}", client.pid());
    assert!(shell(&format!(
        "ip link set far netns {}; {there} ip addr add 10.99.0.2/24 dev far; {there} ip link set far up",
        client.pid()
    )));
    client.tell("connect");
    assert_eq!(client.line(), "open");
    node.wait_for_metric("holdfast_connections{protocol=\"sse\"}", 2.0);
    // As long as pings are answered it lives on, past two intervals.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(node.push("away/push?device=ws", "still there").0, 200);
    assert_eq!(client.line(), "still there");
    assert!(shell(&format!("{there} ip link set far down")));
    let gone = Instant::now();
    // Nobody says so: to the node they are there for a while, and what is pushed goes into the kernel.
    assert_eq!(node.push("away/push", "into the void").1.len(), 2);
    node.wait_for_metric("holdfast_closes_total{reason=\"dead_peer\"}", 1.0);
    assert!(gone.elapsed() < Duration::from_secs(4) + SLACK, "{:?}", gone.elapsed());
    assert_eq!(node.push("away/push?device=ws", "x").0, 404);
    beside.assert_unaware(&node, "a WebSocket that vanished");
    while node.metric("holdfast_connections{protocol=\"sse\"}") > 1.0 {
        assert!(gone.elapsed() < USER_TIMEOUT + SLACK, "the stream is open after {:?}", gone.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(node.metric("holdfast_closes_total{reason=\"dead_peer\"}"), 2.0);
    assert_eq!(node.push("away/push", "x"), (404, vec![]));
    node.wait_for_metric("holdfast_lent_bytes", 0.0);
    node.wait_for_metric("holdfast_timers", 2.0);
    beside.assert_unaware(&node, "a stream that vanished");
}
