//! With the broker inside the process.

use crate::{node::*, suite};
use holdfast::bridge::queue::{Embedded, Event, Invalid, Output, Queue, Settings};
use std::net::TcpStream;

fn with_broker(test: fn(&str)) {
    let broker = Embedded::start(&[]).unwrap();
    test(broker.address());
}

#[test]
fn records_come_as_they_were() {
    with_broker(suite::records_come_as_they_were);
}

#[test]
fn a_high_lane_overtakes_a_backlog() {
    with_broker(suite::a_high_lane_overtakes_a_backlog);
}

#[test]
fn a_rebalance_loses_and_repeats_nothing() {
    with_broker(suite::a_rebalance_loses_and_repeats_nothing);
}

#[test]
fn a_lane_that_is_not_kept_up_with_stops() {
    with_broker(suite::a_lane_that_is_not_kept_up_with_stops);
}

#[test]
fn lanes_rest_and_skip() {
    with_broker(|broker| suite::lanes_rest_and_skip(broker, false));
}

#[test]
fn lag_is_told() {
    with_broker(suite::lag_is_told);
}

#[test]
fn what_is_not_done_comes_again() {
    with_broker(suite::what_is_not_done_comes_again);
}

#[test]
fn a_record_that_waits_does_not_stop_its_lane() {
    with_broker(suite::a_record_that_waits_does_not_stop_its_lane);
}

#[test]
fn who_left_may_join_again() {
    with_broker(suite::who_left_may_join_again);
}

#[test]
fn a_producer_stands_alone() {
    with_broker(suite::a_producer_stands_alone);
}

#[test]
fn a_broker_goes_and_comes() {
    let broker = Embedded::start(&["push.high", "push.normal", "push.low"]).unwrap();
    assert!(TcpStream::connect(broker.address()).is_ok());
    let source = Source::new(broker.address());
    let node = Node::start(&Settings::embedded(broker.address(), "holdfast", "a"));
    let event = |wanted: Event| {
        node.until("an event", |output| (output == Output::Event(wanted.clone())).then_some(()));
    };
    event(Event::Up);
    source.produce([record("push.high", "ada", "before")]);
    assert_eq!(node.records(1)[0].1.value.as_deref(), Some(&b"before"[..]));
    broker.set_up(false);
    event(Event::Down);
    broker.set_up(true);
    event(Event::Up);
    source.produce([record("push.high", "ada", "after")]);
    assert_eq!(node.records(1)[0].1.value.as_deref(), Some(&b"after"[..]));
}

#[test]
fn what_is_not_valid_is_refused() {
    let refusal = |settings: &Settings| Queue::start(settings, |_| {}).err();
    let mut settings = Settings::new("127.0.0.1:1", "g", "a");
    settings.properties = vec![("no.such.property".into(), "1".into())];
    assert!(matches!(refusal(&settings), Some(Invalid::Property { name, .. }) if name == "no.such.property"));
    for pattern in ["push", "^push.("] {
        let mut settings = Settings::new("127.0.0.1:1", "g", "a");
        settings.topics = vec![pattern.into()];
        assert_eq!(refusal(&settings), Some(Invalid::Pattern(pattern.into())));
    }
}
