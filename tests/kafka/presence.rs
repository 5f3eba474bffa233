//! Who comes and who goes, as a topic tells it.

use crate::{
    client::{Sse, Ws},
    node::{Plan, until},
    reader::Reader,
};
use serde_json::Value;

#[test]
fn each_connect_and_each_disconnect_is_a_record() {
    let node = Plan::new(&["kafka.events_topic=presence", "node.region=eu"]).kafka("embedded").start();
    let news = Reader::start(&node.kafka.clone().unwrap(), "presence");
    let first = Ws::user(&node, "ann", "tv");
    let stream = Sse::user(&node, "bob", "pad");
    let second = Ws::user(&node, "ann", "tv");
    second.close();
    drop((first, stream));
    let due = 6;
    until("six records", || (news.count() >= due).then_some(()));
    let records = news.records();
    let of = |user: &str| {
        let theirs = records.iter().filter(|record| record.key.as_deref() == Some(user.as_bytes()));
        let values =
            theirs.map(|record| serde_json::from_slice::<Value>(record.value.as_deref().unwrap()).unwrap());
        values.collect::<Vec<_>>()
    };
    let states = |user: &str| {
        of(user).iter().map(|value| value["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // The second connection takes the device over.
    assert_eq!(states("ann"), ["online", "offline", "online", "offline"]);
    assert_eq!(states("bob"), ["online", "offline"]);
    let ann = of("ann");
    assert_eq!(ann[0]["connection"], ann[1]["connection"]);
    assert_eq!(ann[2]["connection"], ann[3]["connection"]);
    assert_ne!(ann[0]["connection"], ann[2]["connection"]);
    let bob = &of("bob")[0];
    for (name, value) in
        [("user", "bob"), ("device", "pad"), ("node", "node-1"), ("region", "eu"), ("protocol", "sse")]
    {
        assert_eq!(bob[name], value, "{bob}");
    }
    assert!(bob["at"].as_i64().unwrap() > 1_700_000_000_000, "{bob}");
    assert_eq!((records.len(), node.metric("holdfast_kafka_events_total{result=\"lost\"}")), (due, 0.0));
}
