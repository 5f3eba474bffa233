//! With a real Apache Kafka, from its published jars.

use crate::{brokers::Brokers, faults, node::*, suite};
use holdfast::bridge::queue::{Event, Output, probe};
use std::{
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

type Step = fn(&Brokers);

/// Steps at a time: each has topics and a group of its own, and waits more than it works.
const AT_ONCE: usize = 4;

/// With one broker, as it takes its time to start and its share of the machine.
#[test]
fn what_holds_with_the_embedded_broker_holds_with_kafka() {
    let mut brokers = Brokers::start(1);
    let steps: &[(&str, Step)] = &[
        ("whole", |kafka| suite::records_come_as_they_were(&kafka.addresses())),
        ("bound", |kafka| suite::a_lane_that_is_not_kept_up_with_stops(&kafka.addresses())),
        ("brakes", |kafka| suite::lanes_rest_and_skip(&kafka.addresses(), true)),
        ("lag", |kafka| suite::lag_is_told(&kafka.addresses())),
        ("again", |kafka| suite::what_is_not_done_comes_again(&kafka.addresses())),
        ("rebalance", |kafka| suite::a_rebalance_loses_and_repeats_nothing(&kafka.addresses())),
        ("lanes", |kafka| suite::a_high_lane_overtakes_a_backlog(&kafka.addresses())),
        ("waits", |kafka| suite::a_record_that_waits_does_not_stop_its_lane(&kafka.addresses())),
        ("joins", |kafka| suite::who_left_may_join_again(&kafka.addresses())),
        ("alone", |kafka| suite::a_producer_stands_alone(&kafka.addresses())),
        ("looked at", it_is_looked_at_from_outside),
        ("odd", faults::odd_records_come_as_they_were),
        ("fenced", faults::who_comes_with_the_same_id_takes_over),
        ("guarded", faults::a_password_is_asked_for),
        ("anew", |kafka| faults::a_topic_is_made_anew(kafka, "anew", "300", 1000, 1500)),
        ("shorter", |kafka| faults::a_topic_is_made_anew(kafka, "shorter", "10000", 1000, 500)),
        ("longer", |kafka| faults::a_topic_is_made_anew(kafka, "longer", "10000", 500, 1000)),
    ];
    // For a person who looks for a fault.
    let only = std::env::var("HOLDFAST_QUEUE_STEP").ok();
    let wanted = steps.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name));
    let left = Mutex::new(wanted);
    let next = || left.lock().unwrap().next();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((name, step)) = next() {
                    let start = Instant::now();
                    step(&brokers);
                    eprintln!("{name}: {:.1} s", start.elapsed().as_secs_f32());
                }
            });
        }
    });
    if only.is_none() {
        faults::a_broker_is_away_at_start(&mut brokers);
        a_broker_that_is_killed_comes_back(&mut brokers);
    }
}

fn it_is_looked_at_from_outside(kafka: &Brokers) {
    kafka.create_topic("looked.push.high", 3, 1);
    let site = probe::site(&settings(&kafka.addresses(), "looked", "a"), Duration::from_secs(10)).unwrap();
    assert_eq!(site.brokers, [kafka.addresses()]);
    let topic = site.topics.iter().find(|topic| topic.name == "looked.push.high").unwrap();
    assert_eq!((topic.partitions, topic.copies, topic.leaderless), (3, 1, 0));
    assert_eq!(site.sessions_ms, Some(6_000..=1_800_000));
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
