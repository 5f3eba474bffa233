//! Nodes and processors that are killed or stand still in the middle of their work, and nodes that leave in order.

use crate::{
    fleet::{LONG, expect},
    load::now_ms,
    site::{Site, plan, shared},
};

/// After the middle of the work not all of it was done.
fn assert_was_in_the_middle(site: &Site, killed_ms: i64) {
    let after = site.reports.records().iter().filter(|it| it.at_ms > killed_ms).count();
    assert!(after > 0, "the burst was done before the end came");
}

#[test]
fn a_node_is_killed_in_mid_batch() {
    let brokers = shared();
    let mut site = Site::start(&brokers, "node-killed", &[&[], &[], &[]], 24);
    site.load.flow(200);
    site.wait_heard();
    site.in_mid_batch();
    site.fleet.nodes[2].signal("KILL");
    let killed_ms = now_ms();
    site.traffic.shut(2);
    site.repeats += 1;
    site.wait_heard();
    assert_was_in_the_middle(&site, killed_ms);
    // It comes back under its name, and takes its part in order.
    site.fleet.nodes[2].wait_end();
    let url = site.fleet.registry.url();
    site.fleet.nodes[2] = plan("node-3", &url, &brokers.addresses(), site.test, &[]).start();
    site.traffic.open(2, site.fleet.node(2));
    site.fleet.wait_whole();
    site.wait_heard();
    let (_, _, counts) = site.end();
    assert_eq!(counts.dead + counts.unknown, 0, "{counts:?}");
    assert!(!counts.outcomes.contains_key("failed"), "all came back in time: {counts:?}");
}

#[test]
fn a_processor_is_killed_in_mid_batch() {
    let brokers = shared();
    let mut site =
        Site::start(&brokers, "processor-killed", &[&["kafka.process=false"], &["kafka.process=false"]], 24);
    site.process(&brokers, "processor-1");
    site.process(&brokers, "processor-2");
    site.wait_shares(2);
    site.load.flow(200);
    site.wait_heard();
    // One comes back at once and has its partitions as before; the other stays away, and its part goes to the first.
    for (at, comes_back) in [(0, true), (1, false)] {
        site.in_mid_batch();
        let mut killed = site.processors.remove(at);
        killed.signal("KILL");
        let killed_ms = now_ms();
        killed.wait_end();
        site.repeats += 1;
        if comes_back {
            site.process(&brokers, &killed.id);
            site.processors.swap(0, 1);
        }
        site.wait_heard();
        assert_was_in_the_middle(&site, killed_ms);
    }
    let (_, _, counts) = site.end();
    assert_eq!(counts.dead + counts.unknown + counts.lost, 0, "{counts:?}");
    let others = counts.outcomes.keys().filter(|it| *it != "written" && *it != "duplicate").count();
    assert_eq!(others, 0, "nobody was away: {counts:?}");
}

#[test]
fn a_processor_stands_still_for_longer_than_its_session() {
    let brokers = shared();
    let nodes: [&[&str]; 2] = [&["kafka.process=false"]; 2];
    let mut site = Site::start(&brokers, "stood-still", &nodes, 24);
    site.process(&brokers, "processor-1");
    site.process(&brokers, "processor-2");
    site.wait_shares(2);
    site.load.flow(200);
    site.wait_heard();
    site.in_mid_batch();
    site.processors[0].signal("STOP");
    // Its share goes to the other, from what it has committed on.
    site.repeats += 1;
    let partitions = || site.processors[1].metric("holdfast_kafka_partitions");
    expect("all partitions at the other", LONG, &12.0, partitions);
    site.processors[0].signal("CONT");
    // What it had begun it may go on with, until it hears.
    site.repeats += 1;
    site.wait_shares(2);
    site.wait_heard();
    let (_, _, counts) = site.end();
    assert_eq!(counts.dead + counts.unknown + counts.lost, 0, "{counts:?}");
}

#[test]
fn a_node_leaves_in_order_under_load() {
    let brokers = shared();
    let mut site = Site::start(&brokers, "drain", &[&[], &[], &[]], 24);
    site.load.flow(300);
    site.wait_heard();
    site.in_mid_batch();
    site.traffic.shut(2);
    site.fleet.nodes[2].sigterm();
    // What is not done within a second is left to the others, and may come again.
    site.repeats += 1;
    assert_eq!(site.fleet.nodes[2].wait(), 0);
    site.wait_heard();
    let (_, _, counts) = site.end();
    assert_eq!(counts.dead + counts.unknown, 0, "{counts:?}");
    assert!(!counts.outcomes.contains_key("failed"), "{counts:?}");
}
