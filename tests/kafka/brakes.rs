//! Lanes that an operator pauses, lets go on, or has leave out what is old.

use crate::{
    client::Ws,
    fleet::{LONG, expect},
    load::{Source, now_ms},
    node::{Node, Plan, until},
    servers::Server,
};
use std::process::Command;

fn lanes(node: &Node, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    crate::node::without_our_environment(&mut command);
    let ran =
        command.arg("lanes").args(words).args(["--internal", &node.internal.to_string()]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn a_lane_pauses_goes_on_and_leaves_out_what_is_old() {
    let node = Plan::new(&[]).kafka("embedded").start();
    let broker = node.kafka.clone().unwrap();
    let source = Source::new(&broker);
    let mut ann = Ws::user(&node, "ann", "tv");
    let send = |number: u64, lane: &str| {
        source.send(number, &format!("push.{lane}"), Some(b"ann"), Some(number.to_string().as_bytes()), &[]);
        source.places();
    };
    assert!(lanes(&node, &["pause", "low"]).contains("yes"));
    node.wait_for_metric("holdfast_kafka_paused{lane=\"low\"}", 1.0);
    send(1, "low");
    send(2, "high");
    assert_eq!(ann.text(), "2");
    until("the paused lane's lag", || (node.metric("holdfast_kafka_lag{lane=\"low\"}") == 1.0).then_some(()));
    // What is there now is left out; what comes later is not.
    assert!(lanes(&node, &["skip", "low", "--before", "0"]).contains("low"));
    // The broker inside knows no times: it leaves out what there is when the node hears of it.
    expect("skipped", LONG, &1.0, || node.metric("holdfast_kafka_skipped_total"));
    send(3, "low");
    lanes(&node, &["resume", "low"]);
    assert_eq!(ann.text(), "3");
    let shown: serde_json::Value = serde_json::from_str(&lanes(&node, &["--json"])).unwrap();
    let low = &shown["lanes"][2];
    assert_eq!((&low["lane"], &low["paused"]), (&"low".into(), &false.into()), "{shown}");
    assert!(low["skip_before_ms"].as_i64().unwrap() <= now_ms());
}

#[test]
fn what_one_node_is_told_holds_for_the_others_and_for_those_who_come_later() {
    let redis = Server::start(&[]);
    let plan = |id: &str| Plan::new(&[]).id(id).registry(&redis.url()).kafka("embedded");
    let (first, second) = (plan("first").start(), plan("second").start());
    lanes(&first, &["pause", "normal"]);
    second.wait_for_metric("holdfast_kafka_paused{lane=\"normal\"}", 1.0);
    let third = plan("third").start();
    third.wait_for_metric("holdfast_kafka_paused{lane=\"normal\"}", 1.0);
    lanes(&third, &["resume", "normal"]);
    first.wait_for_metric("holdfast_kafka_paused{lane=\"normal\"}", 0.0);
    second.wait_for_metric("holdfast_kafka_paused{lane=\"normal\"}", 0.0);
}
