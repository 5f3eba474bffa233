//! One command, and nothing else: the broker inside the node, and any Kafka client.

use crate::{
    fleet::{Fleet, LONG, expect},
    lanes::LANES,
    load::{Load, now_ms},
    node::Plan,
    reader::{Read, Reader},
    registry::Registry,
    traffic::Traffic,
    verdict::{Amiss, Evidence},
};
use std::time::Instant;

#[test]
fn one_node_is_the_whole_path() {
    let node = Plan::new(&["kafka.status_topic=status"]).kafka("embedded").start();
    let broker = node.kafka.clone().expect("a broker inside");
    let log = node.log();
    assert_eq!(log.matches("embedded").count(), 1, "what it is is said once: {log}");
    let moment = (Instant::now(), now_ms());
    let fleet = Fleet { registry: Registry::Memory, nodes: vec![node], silent: None };
    let traffic = Traffic::listen(&fleet, 16);
    traffic.wait_connected();
    let mut load = Load::new(&broker, LANES.map(|lane| format!("push.{lane}")), 16);
    load.flow(300);
    load.burst(2_000);
    traffic.wait_heard_since(load.next_number());
    load.rest();
    let produced = load.produced();
    let reports = Reader::start(&broker, "status");
    // One in four has two devices.
    let is_of_two = |user: &str| user["load-".len()..].parse::<usize>().unwrap().is_multiple_of(4);
    let due: usize = produced.iter().map(|it| 1 + usize::from(is_of_two(&it.user))).sum();
    expect("reports", LONG, &due, || reports.count());
    let record = traffic.stop(1);
    let reports = reports.records().iter().map(Read::report).collect();
    let (sessions, devices) = (record.sessions, record.devices);
    let evidence = Evidence { produced, sessions, devices, reports, dead: Vec::new(), moment };
    // All of it is a calm.
    let counts = evidence.check(Amiss { repeats: 0, calm_from: 1 });
    assert_eq!(counts.unknown, 0, "{counts:?}");
}
