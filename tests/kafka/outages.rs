//! Brokers that are killed, restarted, away at start, a status topic that takes nothing, and a registry that stands still.

use crate::{
    brokers::Brokers,
    fleet::{LONG, expect, readiness},
    lanes::{LANES, topics},
    load::Load,
    node::Node,
    reader::uncommitted,
    site::{Site, make_topics, shared, start_fleet},
    traffic::Traffic,
};
use std::{thread, time::Duration};

/// Of 16 users, of whom one in four has two.
const DEVICES: usize = 20;
const OUTAGE: Duration = Duration::from_secs(3);

#[test]
fn kafka_is_restarted_under_load() {
    let mut brokers = Brokers::start(1);
    let mut site = Site::start(&brokers, "restart", &[&[], &[]], 16);
    site.load.flow(300);
    site.wait_heard();
    site.in_mid_batch();
    brokers.kill(0);
    for node in &site.fleet.nodes {
        let look = || readiness(node);
        // A later loss takes nobody out of the balancer.
        expect("what a node says of Kafka", LONG, &true, || {
            let (status, reason) = look();
            assert_eq!(status, 200, "{reason}");
            reason.to_lowercase().contains("kafka")
        });
    }
    brokers.start_again(0);
    site.repeats += 1;
    site.wait_heard();
    site.fleet.wait_whole();
    let (_, _, counts) = site.end();
    assert_eq!((counts.dead + counts.lost, counts.sessions), (0, DEVICES), "{counts:?}");
}

#[test]
fn one_of_three_brokers_is_killed_under_load() {
    let mut brokers = Brokers::start(3);
    let mut site = Site::start(&brokers, "one-of-three", &[&[], &[]], 16);
    site.load.flow(300);
    site.wait_heard();
    site.in_mid_batch();
    brokers.kill(1);
    site.repeats += 1;
    site.wait_heard();
    let (_, _, counts) = site.end();
    assert_eq!((counts.dead + counts.lost, counts.sessions), (0, DEVICES), "{counts:?}");
}

#[test]
fn a_broker_is_away_at_start() {
    let mut brokers = Brokers::start(1);
    make_topics(&brokers, "away");
    brokers.kill(0);
    let fleet = start_fleet(&brokers.addresses(), "away", &[&[], &[]]);
    for node in &fleet.nodes {
        expect("a node that waits for Kafka", LONG, &true, || {
            let (status, reason) = readiness(node);
            assert_eq!(status, 503, "{reason}");
            reason.to_lowercase().contains("kafka")
        });
    }
    brokers.start_again(0);
    let mut site = Site::begin(&brokers, "away", fleet, 8);
    site.load.flow(200);
    site.wait_heard();
    let (_, _, counts) = site.end();
    assert_eq!(counts.twice + counts.lost + counts.dead + counts.unknown, 0, "{counts:?}");
}

#[test]
fn the_registry_stands_still_under_load() {
    let brokers = shared();
    let nodes: [&[&str]; 2] = [&["kafka.process=false"]; 2];
    let mut site = Site::start(&brokers, "registry", &nodes, 16);
    site.process(&brokers, "processor-1");
    let parked = |node: &Node| {
        LANES
            .iter()
            .map(|lane| node.metric(&format!("holdfast_kafka_parked{{lane=\"{lane}\"}}")))
            .sum::<f64>()
    };
    // The processor knows nobody yet.
    site.fleet.registry.server().signal("-STOP");
    site.load.flow(300);
    thread::sleep(OUTAGE);
    expect("messages that wait", LONG, &true, || parked(&site.processors[0]) > 0.0);
    assert_eq!(site.reports.count(), 0);
    site.fleet.registry.server().signal("-CONT");
    site.wait_heard();
    let (_, processors, counts) = site.end();
    assert_eq!(parked(&processors[0]), 0.0);
    assert_eq!(counts.outcomes.keys().collect::<Vec<_>>(), ["written"], "{counts:?}");
    assert_eq!(counts.twice + counts.lost + counts.dead + counts.unknown, 0, "{counts:?}");
}

#[test]
fn a_status_topic_that_takes_nothing_stops_nobody() {
    let brokers = shared();
    make_topics(&brokers, "mute");
    // No report is as small as that.
    brokers.create_topic_with("mute.narrow", 1, 1, &[("max.message.bytes", "10")]);
    let fleet = start_fleet(&brokers.addresses(), "mute", &[&["kafka.status_topic=mute.narrow"]]);
    fleet.wait_whole();
    let traffic = Traffic::listen(&fleet, 8);
    traffic.wait_connected();
    let mut load = Load::new(&brokers.addresses(), topics("mute"), 8);
    load.flow(200);
    load.burst(1_000);
    traffic.wait_heard_since(load.next_number());
    load.rest();
    let produced = load.produced();
    let written = |node: &Node| {
        let of = |lane: &&str| {
            node.metric(&format!("holdfast_messages_total{{lane=\"{lane}\",outcome=\"written\"}}"))
        };
        LANES.iter().map(of).sum::<f64>() as usize
    };
    // One in four has two devices.
    let is_of_two = |user: &str| user["load-".len()..].parse::<usize>().unwrap().is_multiple_of(4);
    let due: usize = produced.iter().map(|it| 1 + usize::from(is_of_two(&it.user))).sum();
    expect("messages written", LONG, &due, || written(fleet.node(0)));
    let failed = || fleet.node(0).metric("holdfast_kafka_reports_total{result=\"lost\"}") as usize;
    expect("reports that failed", LONG, &due, failed);
    // What nobody can be told of is done all the same.
    let left = || uncommitted(&brokers.addresses(), "mute", &topics("mute"));
    expect("messages that are not committed", LONG, &0, left);
    let record = traffic.stop(load.next_number());
    assert_eq!(record.sessions.iter().map(|it| it.heard.len()).sum::<usize>(), due);
    assert_eq!(record.sessions.len(), record.devices.len(), "nobody was cut off");
}
