//! A topic that is deleted and made again, and a lane that floods.

use crate::{
    fleet::{LONG, expect},
    lanes::{lane_of, topics},
    site::{Site, shared},
};
use std::time::{Duration, Instant};

#[test]
fn a_topic_is_deleted_and_made_again() {
    let brokers = shared();
    let mut site = Site::start(&brokers, "made-again", &[&[], &[]], 16);
    let topic = &topics("made-again")[lane_of("normal")];
    site.load.flow(300);
    site.wait_heard();
    site.settle();
    // What is to be committed when the topic goes may be committed when another of its name has come.
    site.wait_committed();
    brokers.delete_topic(topic);
    // The other lanes go on.
    for lane in ["high", "low"] {
        site.load.burst_in(lane_of(lane), 200);
    }
    // Kafka has no way to tell a consumer of a topic that it has been replaced by another one meanwhile.
    site.wait_shares_of(2, 2);
    brokers.create_topic(topic, 4, 1);
    site.wait_shares(2);
    // Nothing of the new one is.
    site.wait_committed();
    site.load.renew();
    // More than there were: where the old one was done is in the middle of the new one.
    let before = site.load.produced().iter().filter(|it| it.lane == lane_of("normal")).count();
    site.load.burst_in(lane_of("normal"), before * 2);
    site.settle();
    site.load.flow(300);
    site.wait_heard();
    let (_, _, counts) = site.end();
    assert_eq!(counts.outcomes.keys().collect::<Vec<_>>(), ["written"], "{counts:?}");
    assert_eq!(counts.twice + counts.lost + counts.dead + counts.unknown, 0, "{counts:?}");
}

#[test]
fn a_lane_that_floods_delays_no_higher_one() {
    const FLOOD: usize = 40_000;
    const ABOVE: usize = 160;
    let brokers = shared();
    let site = Site::start(&brokers, "flood", &[&[], &[]], 16);
    site.load.burst_in(lane_of("low"), FLOOD);
    site.wait_reports(500);
    let (began, from) = (Instant::now(), site.load.next_number());
    for lane in ["high", "normal"] {
        site.load.burst_in(lane_of(lane), ABOVE);
    }
    let mut low = 0;
    expect("the higher lanes", LONG, &true, || {
        let numbers: Vec<u64> = site.reports.records().iter().map(|it| it.number()).collect();
        let above = numbers.iter().filter(|&&number| number >= from).count();
        low = numbers.len() - above;
        // One in four users has two devices.
        above >= 2 * ABOVE * 5 / 4
    });
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(low < FLOOD * 5 / 4, "the flood was over when the higher lanes were done: {took:?}");
    let (_, _, counts) = site.end();
    println!("the higher lanes took {took:?}; {low} of the flood were done by then");
    assert_eq!(counts.outcomes.keys().collect::<Vec<_>>(), ["written"], "{counts:?}");
    assert_eq!(counts.twice + counts.lost + counts.dead + counts.unknown, 0, "{counts:?}");
}
