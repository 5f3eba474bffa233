//! When nothing is amiss, and when processors come and go in order.

use crate::{
    node::Node,
    site::{Site, shared},
    verdict::Counts,
};

/// Everything was written to every device, once.
fn assert_clean(counts: &Counts) {
    let others: Vec<_> = counts.outcomes.keys().filter(|outcome| *outcome != "written").collect();
    assert!(others.is_empty(), "{counts:?}");
    assert_eq!(counts.twice + counts.lost + counts.dead + counts.unknown, 0, "{counts:?}");
}

#[test]
fn everything_arrives_once_and_is_reported_once() {
    let brokers = shared();
    // What the one that only serves holds is delivered by the others.
    let mut site = Site::start(&brokers, "steady", &[&[], &[], &["kafka.process=false"]], 24);
    site.load.flow(400);
    site.wait_heard();
    site.load.burst(3_000);
    site.wait_heard();
    let (fleet, _, counts) = site.end();
    assert_clean(&counts);
    let by = |node: &Node, outcome: &str| {
        let of = |lane: &&str| {
            node.metric(&format!("holdfast_messages_total{{lane=\"{lane}\",outcome=\"{outcome}\"}}"))
        };
        crate::lanes::LANES.iter().map(of).sum::<f64>() as usize
    };
    let written: Vec<usize> = fleet.nodes.iter().map(|node| by(node, "written")).collect();
    assert_eq!(written.iter().sum::<usize>(), counts.outcomes["written"], "{written:?}");
    assert!(written[0] > 0 && written[1] > 0 && written[2] == 0, "{written:?}");
}

#[test]
fn processors_come_and_go_under_load() {
    let brokers = shared();
    let mut site = Site::start(&brokers, "rebalance", &[&["kafka.process=false"], &[]], 24);
    site.load.flow(400);
    site.wait_heard();
    for id in ["processor-1", "processor-2"] {
        site.process(&brokers, id);
        site.wait_heard();
    }
    while let Some(mut leaver) = site.processors.pop() {
        leaver.sigterm();
        assert_eq!(leaver.wait(), 0, "{}", leaver.log());
        site.wait_heard();
    }
    site.process(&brokers, "processor-3");
    site.wait_heard();
    let (_, _, counts) = site.end();
    assert_clean(&counts);
}
