//! With a real Apache Kafka, from its published jars.

use crate::{brokers::Brokers, node::*, suite};
use holdfast::bridge::queue::{Event, Output};
use std::time::Instant;

/// One after the other, as a broker takes its time to start and its share of the machine.
#[test]
fn what_holds_with_the_embedded_broker_holds_with_kafka() {
    let mut brokers = Brokers::start(1);
    let steps: &[(&str, fn(&str))] = &[
        ("whole", suite::records_come_as_they_were),
        ("bound", suite::a_lane_that_is_not_kept_up_with_stops),
        ("brakes", |broker| suite::lanes_rest_and_skip(broker, true)),
        ("lag", suite::lag_is_told),
        ("again", suite::what_is_not_done_comes_again),
        ("rebalance", suite::a_rebalance_loses_and_repeats_nothing),
        ("lanes", suite::a_high_lane_overtakes_a_backlog),
        ("waits", suite::a_record_that_waits_does_not_stop_its_lane),
        ("joins", suite::who_left_may_join_again),
        ("alone", suite::a_producer_stands_alone),
    ];
    for (name, step) in steps {
        let start = Instant::now();
        step(&brokers.addresses());
        eprintln!("{name}: {:.1} s", start.elapsed().as_secs_f32());
    }
    a_broker_that_is_killed_comes_back(&mut brokers);
}

fn a_broker_that_is_killed_comes_back(brokers: &mut Brokers) {
    let test = "killed";
    let source = Source::new(&brokers.addresses());
    source.make_topics(test);
    let node = Node::start(&settings(&brokers.addresses(), test, "a"));
    let event = |wanted: Event| {
        node.until("an event", |output| (output == Output::Event(wanted.clone())).then_some(()));
    };
    let (mut up, mut records) = (false, 0);
    node.until("the first records", |output| {
        match output {
            Output::Event(Event::Up) => up = true,
            Output::Batch { records: batch, .. } => {
                node.done_of(batch.iter());
                records += batch.len();
            }
            _ => {}
        }
        (up && records == 3).then_some(())
    });
    brokers.kill(0);
    event(Event::Down);
    // The group's session ends.
    node.until("a loss", |output| match output {
        Output::Revoked { lost, .. } => lost.then_some(()),
        _ => None,
    });
    brokers.start_again(0);
    event(Event::Up);
    source.produce([record(&topic(test, 0), "ada", "after")]);
    let mut after = node.next_batch(PATIENCE);
    // What was done in the second before may come again.
    while after.iter().all(|(_, record)| record.value.as_deref() != Some(b"after")) {
        after = node.next_batch(PATIENCE);
        assert!(!after.is_empty());
    }
}
